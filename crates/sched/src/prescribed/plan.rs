//! In what pieces and in what order the units of a block are drawn.

use braid_core::{Block, TxIndex, Versions, Vm};
use std::{ops::Range, time::Duration};

/// A unit is heavy if it weighs more than this fraction of what each worker has to do.
const HEAVY_SHARE: u64 = 32;

/// Light units are drawn together up to this fraction of what each worker has to do,
const BATCH_SHARE: u64 = 64;

/// up to about this time, if that can be told,
const BATCH_TIME: Duration = Duration::from_micros(8);

/// and so many at most.
const BATCH_MOST: u32 = 16;

/// The units of a block.
pub(super) struct Plan {
    /// First transaction of each unit, and their number.
    pub(super) starts: Vec<TxIndex>,
    /// Units that are drawn at once, in block order.
    pub(super) batches: Vec<Range<u32>>,
    /// Batches in the order in which they are drawn.
    pub(super) order: Vec<u32>,
    /// Workers that there is work for.
    pub(super) width: u16,
}

impl Plan {
    /// Units that weigh so much that one begun late would hold up the end come first, heaviest first; the
    /// others keep their order, so that results are delivered while the rest runs.
    pub(super) fn of<M: Vm, S, L: Versions<M>>(block: &Block<'_, M, S>, versions: &L, threads: u16) -> Plan {
        let starts = starts(versions, block.txs.len());
        let units = starts.len() as u32 - 1;
        let width = threads.min(u16::try_from(units.max(1)).unwrap_or(u16::MAX));
        let mut plan = Plan { starts, batches: Vec::new(), order: Vec::new(), width };
        if width == 1 {
            let starts = (0..units).step_by(BATCH_MOST as usize);
            plan.batches = starts.map(|start| start..units.min(start + BATCH_MOST)).collect();
            plan.order = (0..plan.batches.len() as u32).collect();
            return plan;
        }
        let weights: Vec<u64> = (0..units).map(|unit| versions.weight(unit)).collect();
        let share = weights.iter().fold(0u64, |sum, weight| sum.saturating_add(*weight)) / u64::from(width);
        let (heavy, batch) = ((share / HEAVY_SHARE).max(1), share / BATCH_SHARE);
        let mut alone: Vec<(u64, u32)> = Vec::new();
        let (mut start, mut sum, mut time) = (0, 0u64, Duration::ZERO);
        for (unit, weight) in (0..units).zip(&weights) {
            let is_heavy = *weight > heavy;
            let txs = plan.starts[unit as usize] as usize..plan.starts[unit as usize + 1] as usize;
            let guessed = block.txs[txs].iter().filter_map(|tx| block.vm.weigh(tx));
            let guess = guessed.fold(Duration::ZERO, Duration::saturating_add);
            let is_full =
                sum >= batch || time.saturating_add(guess) > BATCH_TIME || unit - start >= BATCH_MOST;
            if start < unit && (is_heavy || is_full) {
                plan.order.push(plan.batches.len() as u32);
                plan.batches.push(start..unit);
                (start, sum, time) = (unit, 0, Duration::ZERO);
            }
            (sum, time) = (sum.saturating_add(*weight), time.saturating_add(guess));
            if is_heavy {
                alone.push((*weight, plan.batches.len() as u32));
                plan.batches.push(unit..unit + 1);
                (start, sum, time) = (unit + 1, 0, Duration::ZERO);
            }
        }
        if start < units {
            plan.order.push(plan.batches.len() as u32);
            plan.batches.push(start..units);
        }
        alone.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
        plan.order.splice(..0, alone.into_iter().map(|(_, batch)| batch));
        plan
    }
}

/// First transaction of each unit, and the number of all.
fn starts<M: Vm, L: Versions<M>>(versions: &L, txs: usize) -> Vec<TxIndex> {
    let txs = u32::try_from(txs).expect("a block has at most u32::MAX - 1 transactions");
    let mut starts = Vec::with_capacity(txs as usize + 1);
    for tx in 0..txs {
        let unit = versions.unit(tx) as usize;
        debug_assert!(unit == starts.len() || unit + 1 == starts.len(), "units are numbered in order");
        if unit >= starts.len() {
            starts.push(tx);
        }
    }
    starts.push(txs);
    starts
}
