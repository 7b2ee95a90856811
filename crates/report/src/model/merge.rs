//! Simulation of schedules that merge in order, where what was wrong runs again: in-order optimistic ones, and those
//! that run from hints.
//!
//! 1. A free worker begins what may begin: the next of the block, or of those whose hints let them, the first.
//! 2. Who ends an execution merges, unless somebody does: all that is executed, in order. What has begun before all
//!    that it needs could be seen runs again right there, and takes the time of the worker that merges.
//! 3. Seen can be what is merged; where there are versions, what has been executed for the last time.

use super::{Conflicts, First, Simulated, Waits};
use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap},
};

/// Positions beyond the first that is not merged which may begin, where hints say who may.
const WINDOW: usize = 1024;

/// Nothing waits to begin.
pub(super) fn in_order(conflicts: &Conflicts, weights: &[u64], workers: usize) -> Simulated {
    Run::new(conflicts, weights, None).run(workers)
}

/// Hints say what waits.
pub(super) fn hinted(
    conflicts: &Conflicts,
    weights: &[u64],
    workers: usize,
    waits: Waits,
    first: First,
) -> Simulated {
    Run::new(conflicts, weights, Some(Hinted::new(conflicts, weights, waits, first))).run(workers)
}

/// What hints say of who waits for whom.
struct Hinted {
    /// By position, who waits for its execution, and for its merge.
    executed: Vec<Vec<u32>>,
    merged: Vec<Vec<u32>>,
    /// For how much each still waits; being within the window counts as one.
    missing: Vec<u32>,
    rank: Vec<u64>,
    ready: BTreeSet<(Reverse<u64>, u32)>,
    fed: usize,
}

impl Hinted {
    fn new(conflicts: &Conflicts, weights: &[u64], waits: Waits, first: First) -> Self {
        let count = conflicts.len();
        let (on, on_merge) = conflicts.waits(waits);
        let mut missing = vec![1; count];
        let mut turned = |edges: Vec<Vec<u32>>| {
            let mut behind = vec![Vec::new(); count];
            for (to, on) in (0u32..).zip(edges) {
                missing[to as usize] += on.len() as u32;
                on.iter().for_each(|on| behind[*on as usize].push(to));
            }
            behind
        };
        let (executed, merged) = (turned(on), turned(on_merge));
        let mut rank = vec![0u64; count];
        if first == First::OnCriticalPath {
            for tx in (0..count).rev() {
                let behind = executed[tx].iter().chain(&merged[tx]);
                let heaviest = behind.map(|next| rank[*next as usize]).max().unwrap_or(0);
                rank[tx] = heaviest.saturating_add(weights[tx]);
            }
        }
        Hinted { executed, merged, missing, rank, ready: BTreeSet::new(), fed: 0 }
    }

    fn release(&mut self, tx: u32) {
        let missing = &mut self.missing[tx as usize];
        *missing -= 1;
        if *missing == 0 {
            self.ready.insert((Reverse(self.rank[tx as usize]), tx));
        }
    }

    fn end(&mut self, tx: u32) {
        std::mem::take(&mut self.executed[tx as usize]).into_iter().for_each(|next| self.release(next));
    }

    fn merge(&mut self, tx: u32) {
        std::mem::take(&mut self.merged[tx as usize]).into_iter().for_each(|next| self.release(next));
    }
}

/// What ends: a first execution, or one that is repeated at its merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ends {
    First(u32),
    Again(u32),
}

struct Run<'a> {
    needs: &'a [Vec<u32>],
    weights: &'a [u64],
    hinted: Option<Hinted>,
    /// When each began first, and when what it wrote in the end could be seen.
    began: Vec<u64>,
    seen: Vec<u64>,
    executed: Vec<bool>,
    next: u32,
    cursor: u32,
    /// Somebody repeats the position at the cursor.
    merging: bool,
    running: BinaryHeap<Reverse<(u64, Ends)>>,
    done: Simulated,
}

impl<'a> Run<'a> {
    fn new(conflicts: &'a Conflicts, weights: &'a [u64], hinted: Option<Hinted>) -> Self {
        let count = weights.len();
        Run {
            needs: &conflicts.needs,
            weights,
            hinted,
            began: vec![0; count],
            seen: vec![u64::MAX; count],
            executed: vec![false; count],
            next: 0,
            cursor: 0,
            merging: false,
            running: BinaryHeap::new(),
            done: Simulated::default(),
        }
    }

    fn run(mut self, workers: usize) -> Simulated {
        let mut now = 0;
        self.feed();
        loop {
            while self.running.len() < workers.max(1) {
                let Some(tx) = self.choose() else { break };
                self.began[tx as usize] = now;
                self.start(now, Ends::First(tx));
            }
            let Some(Reverse((end, _))) = self.running.peek() else { break };
            now = *end;
            while let Some(Reverse((_, ends))) = self.running.pop_if_now(now) {
                self.end(now, ends);
            }
        }
        debug_assert_eq!(self.cursor as usize, self.weights.len(), "all are merged");
        Simulated { time: now, ..self.done }
    }

    fn choose(&mut self) -> Option<u32> {
        if let Some(hinted) = &mut self.hinted {
            return hinted.ready.pop_first().map(|(_, tx)| tx);
        }
        ((self.next as usize) < self.weights.len()).then(|| {
            self.next += 1;
            self.next - 1
        })
    }

    fn start(&mut self, now: u64, ends: Ends) {
        let (Ends::First(tx) | Ends::Again(tx)) = ends;
        let weight = self.weights[tx as usize];
        self.done.busy = self.done.busy.saturating_add(weight);
        self.done.executions += 1;
        self.running.push(Reverse((now.saturating_add(weight), ends)));
    }

    fn end(&mut self, now: u64, ends: Ends) {
        match ends {
            Ends::First(tx) => {
                self.executed[tx as usize] = true;
                if let Some(hinted) = &mut self.hinted {
                    // Whoever may begin by this begins later, so it sees what is seen then.
                    if self.needs[tx as usize]
                        .iter()
                        .all(|on| self.seen[*on as usize] <= self.began[tx as usize])
                    {
                        self.seen[tx as usize] = now;
                    }
                    hinted.end(tx);
                }
            }
            Ends::Again(tx) => {
                self.merging = false;
                self.merged(now, tx);
            }
        }
        while !self.merging && self.executed.get(self.cursor as usize) == Some(&true) {
            let tx = self.cursor;
            let began = self.began[tx as usize];
            if self.needs[tx as usize].iter().all(|on| self.seen[*on as usize] <= began) {
                self.merged(now, tx);
            } else {
                self.merging = true;
                self.seen[tx as usize] = u64::MAX;
                self.start(now, Ends::Again(tx));
            }
        }
    }

    fn merged(&mut self, now: u64, tx: u32) {
        self.seen[tx as usize] = self.seen[tx as usize].min(now);
        self.cursor += 1;
        if let Some(hinted) = &mut self.hinted {
            hinted.merge(tx);
        }
        self.feed();
    }

    fn feed(&mut self) {
        let (cursor, count) = (self.cursor as usize, self.weights.len());
        let Some(hinted) = &mut self.hinted else { return };
        while hinted.fed < count.min(cursor.saturating_add(WINDOW)) {
            hinted.fed += 1;
            hinted.release(hinted.fed as u32 - 1);
        }
    }
}

/// What ends at a moment, one by one.
trait PopNow<T> {
    fn pop_if_now(&mut self, now: u64) -> Option<Reverse<(u64, T)>>;
}

impl<T: Ord + Copy> PopNow<T> for BinaryHeap<Reverse<(u64, T)>> {
    fn pop_if_now(&mut self, now: u64) -> Option<Reverse<(u64, T)>> {
        if self.peek().is_some_and(|Reverse((end, _))| *end == now) { self.pop() } else { None }
    }
}
