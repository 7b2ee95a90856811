//! Schedules of real schedulers on toy blocks: what is recorded agrees with what they count, and with itself.

use braid_core::{Block, Control, Scheduler, Stats};
use braid_report::{Described, Key, Model, Recorder, Trace, trace::Fate};
use braid_sched::{Batch, BlockStm, Graph, Occ, OccRounds, Policy, Pool, Serial, Waits};
use braid_testkit::{Op, RecordingSink, Toy, ToyState, ToyTx};
use std::sync::Arc;

/// Transactions that work for a while between reading and writing: every third a location of its own, the others
/// one of two that they share.
fn block(txs: u64) -> Vec<ToyTx> {
    let tx = |index: u64| {
        let key = if index.is_multiple_of(3) { 100 + index } else { index % 2 };
        ToyTx { ops: vec![Op::Read(key), Op::Work(400), Op::Put(key)] }
    };
    (0..txs).map(tx).collect()
}

fn traced<S: Scheduler>(scheduler: &S, threads: usize, limit: usize) -> (Trace, Stats) {
    let (vm, txs, state) = (Toy::<false>, block(60), ToyState::default());
    let block = Block::new(&vm, &txs, &state);
    let recorder = Recorder::with_limit(threads, limit);
    let outcome = scheduler.run(&block, &mut RecordingSink::default(), &recorder, &Control::default());
    let described = Described {
        input: "toys".to_owned(),
        profile: scheduler.name().to_owned(),
        scheduler: scheduler.name().to_owned(),
        threads,
        before: 0,
        txs: txs.len() as u32,
    };
    let trace = recorder.into_trace(described, |key| Key::new(format!("toy {key}")));
    (trace, outcome.expect("valid").stats)
}

/// Everything that holds for every engine.
fn holds(trace: &Trace, stats: Stats, seed: u64) {
    let name = format!("{} with {} threads, seed {seed}", trace.profile, trace.threads);
    trace.check().unwrap_or_else(|error| panic!("{name}: {error}"));
    let model = Model::of(&trace.scheduler);
    trace.check_time(model, None).unwrap_or_else(|error| panic!("{name}: {error}"));
    let totals = trace.totals();
    assert_eq!(totals.executions, stats.executions, "{name}");
    assert_eq!(totals.waits, stats.waits, "{name}");
    let committed: Vec<i64> = trace.commits.iter().map(|commit| commit.tx).collect();
    assert_eq!(committed, (0..60).collect::<Vec<_>>(), "{name}");
    for tx in 0..60 {
        let mine: Vec<_> = trace.tasks.iter().filter(|task| task.tx == tx).collect();
        let (last, others) = mine.split_last().unwrap_or_else(|| panic!("{name}: {tx} never ran"));
        assert_eq!(last.fate, Fate::Committed, "{name}: {tx}");
        let thrown = |fate| matches!(fate, Fate::Aborted | Fate::Blocked);
        assert!(others.iter().all(|task| thrown(task.fate)), "{name}: {tx}: {mine:?}");
        assert!(mine.is_sorted_by_key(|task| task.incarnation), "{name}: {tx}: {mine:?}");
    }
    let lost: usize = trace.tasks.iter().filter(|task| task.fate == Fate::Aborted).count();
    assert_eq!(lost as u64, totals.aborted, "{name}");
    for abort in &trace.aborts {
        let label = trace.keys[abort.key as usize].label();
        assert!(["toy 0", "toy 1"].contains(&label), "{name}: only shared locations abort, not {label}");
        assert!(abort.task.is_some() && abort.by.is_none_or(|by| by < abort.tx), "{name}: {abort:?}");
    }
}

#[test]
fn every_scheduler_leaves_a_schedule_that_agrees_with_its_counts() {
    let (trace, stats) = traced(&Serial::new(), 1, usize::MAX);
    holds(&trace, stats, 0);
    assert_eq!((trace.tasks.len(), trace.aborts.len()), (60, 0));
    let (mut aborts, mut waits) = (0, 0);
    for threads in [1, 2, 4] {
        let pool = Arc::new(Pool::new(threads));
        for seed in 1..=20 {
            let mut take = |(trace, stats): (Trace, Stats)| {
                holds(&trace, stats, seed);
                (aborts, waits) = (aborts + trace.aborts.len(), waits + trace.waits.len());
            };
            let threads = usize::from(threads);
            take(traced(&Occ::new(pool.clone()).chaos(seed), threads, usize::MAX));
            take(traced(&BlockStm::new(pool.clone()).chaos(seed), threads, usize::MAX));
            let resume = BlockStm::new(pool.clone()).waits(Waits::Resume).chaos(seed);
            take(traced(&resume, threads, usize::MAX));
            take(traced(&Batch::new(pool.clone()).chaos(seed), threads, usize::MAX));
            take(traced(&OccRounds::new(pool.clone()).chaos(seed), threads, usize::MAX));
            for policy in [Policy::Critical, Policy::PrioGraph, Policy::Greedy, Policy::Fifo] {
                take(traced(&Graph::new(pool.clone(), policy).chaos(seed), threads, usize::MAX));
            }
        }
    }
    assert!(aborts > 0 && waits > 0, "{aborts} aborts, {waits} waits: too little to be looked at");
}

#[test]
fn a_recorder_that_is_full_says_so_and_disturbs_nothing() {
    let pool = Arc::new(Pool::new(2));
    let (trace, stats) = traced(&BlockStm::new(pool), 2, 10);
    assert!(trace.lost > 0 && trace.tasks.len() <= 20);
    assert!(stats.executions >= 60);
    trace.check().unwrap();
    assert_eq!(trace.check_time(Model::Serial, None), Ok(()));
}
