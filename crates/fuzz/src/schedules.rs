//! Toy transactions, spelled out by the bytes, on every scheduler.

use crate::Choices;
use braid_sched::{Batch, BlockStm, Graph, Occ, OccRounds, Policy, Pool, Waits};
use braid_testkit::{Num, Op, STALL, Telling, ToyState, ToyTx, check_block, check_block_told};
use std::{cell::RefCell, sync::Arc};

/// Most transactions of a block, and most steps of one.
const MAX_TXS: u64 = 24;
const MAX_OPS: u64 = 7;

/// Most threads.
const THREADS: u16 = 4;

/// A block, as tests of schedulers have it.
fn block(choices: &mut Choices<'_>) -> (Vec<ToyTx>, ToyState, Option<u64>) {
    let keys = 1 + choices.below(12);
    let mut state = ToyState::default();
    for key in 0..keys {
        match choices.below(8) {
            value @ 0..5 => drop(state.values.insert(key, Num(value as i64))),
            5 if choices.one_in(6) => drop(state.broken.insert(key)),
            _ => {}
        }
    }
    let count = 1 + choices.below(MAX_TXS);
    let budget = choices.one_in(8).then(|| choices.below(64));
    let txs = (0..count).map(|_| {
        let steps = choices.below(MAX_OPS);
        ToyTx { ops: (0..steps).map(|_| step(choices, keys)).collect() }
    });
    (txs.collect(), state, budget)
}

/// Everything but panics, which libFuzzer takes for its own.
fn step(choices: &mut Choices<'_>, keys: u64) -> Op {
    let (kind, key, other) = (choices.below(16), choices.below(keys), choices.byte());
    let (amount, other) = (i64::from(other % 4), u64::from(other) % keys);
    match kind {
        0 | 1 => Op::Read(key),
        2 => Op::ReadNear(key, 3),
        3 | 4 => Op::Put(key),
        5 => Op::PutNear(key, 3),
        6 => Op::Delete(key),
        7 => Op::Add(key, amount),
        8 => Op::Take(key, amount),
        9 => Op::Expect(key, amount),
        10 => Op::Consume(key),
        11 => Op::Scan(key.min(other), key.max(other) + 1),
        12 => Op::SkipIfOdd(key, 1 + amount as u8),
        13 if amount == 3 => Op::InvalidIf(key, 5),
        13 => Op::Add(key, 1),
        14 => Op::Spawn(key),
        _ => Op::Work(40 * amount as u16),
    }
}

/// A block on every scheduler, perturbed by what the bytes say.
pub(crate) fn run(data: &[u8]) {
    thread_local! {
        static POOLS: RefCell<Vec<Arc<Pool>>> = const { RefCell::new(Vec::new()) };
    }
    let mut choices = Choices::new(data);
    let seed = u64::from(choices.byte());
    let (txs, state, budget) = block(&mut choices);
    let pools = POOLS.with_borrow_mut(|pools| {
        if pools.is_empty() {
            pools.extend((1..=THREADS).map(|threads| Arc::new(Pool::new(threads))));
        }
        pools.clone()
    });
    let told = |name: &str, pool: &Arc<Pool>, result: Result<(), String>| {
        let at = format!("{name} on {} threads, seed {seed}", pool.threads());
        result
            .unwrap_or_else(|difference| panic!("{at}: {difference}\n{txs:?}\n{state:?} budget {budget:?}"));
    };
    for pool in &pools {
        let occ = Occ::new(pool.clone()).chaos(seed);
        told("occ", pool, check_block(&occ, &txs, &state, budget, STALL));
        for waits in [Waits::Retry, Waits::Resume] {
            let stm = BlockStm::new(pool.clone()).waits(waits).chaos(seed);
            told("block_stm", pool, check_block(&stm, &txs, &state, budget, STALL));
        }
        // These learn something from hints: true ones, false ones, ones that bind.
        let telling = Telling::random([0, 60, 100][seed as usize % 3], seed);
        let policy = Policy::ALL[seed as usize % Policy::ALL.len()];
        let graph = Graph::new(pool.clone(), policy).chaos(seed);
        told("graph", pool, check_block_told(&graph, &txs, &state, budget, telling));
        let batch = Batch::new(pool.clone()).chaos(seed);
        told("batch", pool, check_block_told(&batch, &txs, &state, budget, telling));
        let rounds = OccRounds::new(pool.clone()).chaos(seed);
        told("occ_rounds", pool, check_block(&rounds, &txs, &state, budget, STALL));
    }
}
