//! Explores schedules of the production code on small blocks (shuttle: random and PCT). A failure prints
//! the schedule that repeats it.
#![cfg(feature = "shuttle")]

use braid_core::Scheduler;
use braid_sched::{Batch, BlockStm, Graph, Occ, OccRounds, Policy, Pool, Waits};
use braid_testkit::{Case, Family, Telling, check, check_told};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Iterations per family, unless `BRAID_SHUTTLE` says otherwise.
fn iterations() -> usize {
    std::env::var("BRAID_SHUTTLE").ok().and_then(|count| count.parse().ok()).unwrap_or(400)
}

fn explore<S: Scheduler>(family: Family, make: impl Fn(Arc<Pool>) -> S + Send + Sync + Copy + 'static) {
    // Blocks follow from the count of the iteration, so that a failing one is named by its case.
    let count = Arc::new(AtomicU64::new(0));
    let body = move || {
        let seed = count.fetch_add(1, Ordering::Relaxed);
        let case = Case {
            txs: 2 + (seed % 5) as u32,
            keys: 1 + seed % 4,
            error_permille: if seed.is_multiple_of(4) { 60 } else { 0 },
            ..Case::random(family, seed)
        };
        let threads = 2 + (seed % 2) as u16;
        let scheduler = make(Arc::new(Pool::new(threads)));
        if let Err(difference) = check(&scheduler, case) {
            panic!("{} on {threads} threads, {case:?}: {difference}", scheduler.name());
        }
    };
    shuttle::check_random(body.clone(), iterations());
    shuttle::check_pct(body, iterations(), 3);
}

fn occ(pool: Arc<Pool>) -> Occ {
    Occ::new(pool)
}

fn block_stm(pool: Arc<Pool>) -> BlockStm {
    BlockStm::new(pool)
}

fn resuming(pool: Arc<Pool>) -> BlockStm {
    BlockStm::new(pool).waits(Waits::Resume)
}

#[test]
fn occ_programs() {
    explore(Family::Programs, occ);
}

#[test]
fn occ_mixed() {
    explore(Family::Mixed, occ);
}

#[test]
fn block_stm_programs() {
    explore(Family::Programs, block_stm);
}

#[test]
fn block_stm_counters() {
    explore(Family::Counters, block_stm);
}

#[test]
fn block_stm_ranges() {
    explore(Family::Ranges, block_stm);
}

#[test]
fn block_stm_chain() {
    explore(Family::Chain, block_stm);
}

#[test]
fn block_stm_mixed() {
    explore(Family::Mixed, block_stm);
}

#[test]
fn block_stm_resume_chain() {
    explore(Family::Chain, resuming);
}

#[test]
fn block_stm_resume_programs() {
    explore(Family::Programs, resuming);
}

/// As [`explore`], on machines that tell what transactions touch, truly or not.
fn explore_told(family: Family, policy: Policy, binding_percent: u64) {
    let count = Arc::new(AtomicU64::new(0));
    let body = move || {
        let seed = count.fetch_add(1, Ordering::Relaxed);
        let case = Case {
            txs: 2 + (seed % 5) as u32,
            keys: 1 + seed % 4,
            error_permille: 0,
            ..Case::random(family, seed)
        };
        let threads = 2 + (seed % 2) as u16;
        let telling = Telling::random(binding_percent, seed);
        let scheduler = Graph::new(Arc::new(Pool::new(threads)), policy);
        if let Err(difference) = check_told(&scheduler, case, telling) {
            panic!("{policy:?} on {threads} threads, {telling:?}, {case:?}: {difference}");
        }
    };
    shuttle::check_random(body.clone(), iterations());
    shuttle::check_pct(body, iterations(), 3);
}

#[test]
fn graph_programs() {
    explore(Family::Programs, |pool| Graph::new(pool, Policy::Critical));
}

#[test]
fn graph_critical_bound() {
    explore_told(Family::Mixed, Policy::Critical, 100);
}

#[test]
fn graph_critical_partly_bound() {
    explore_told(Family::Programs, Policy::Critical, 60);
}

#[test]
fn graph_prio_partly_bound() {
    explore_told(Family::Programs, Policy::PrioGraph, 60);
}

#[test]
fn graph_greedy_bound() {
    explore_told(Family::Programs, Policy::Greedy, 100);
}

#[test]
fn graph_fifo_partly_bound() {
    explore_told(Family::Counters, Policy::Fifo, 60);
}

#[test]
fn batch_programs() {
    explore(Family::Programs, Batch::new);
}

#[test]
fn batch_ranges() {
    explore(Family::Ranges, Batch::new);
}

#[test]
fn occ_rounds_programs() {
    explore(Family::Programs, OccRounds::new);
}

#[test]
fn occ_rounds_mixed() {
    explore(Family::Mixed, OccRounds::new);
}

#[test]
fn pool_runs_every_worker_once() {
    let body = || {
        let pool = Pool::new(3);
        for width in [3, 2, 3] {
            let calls: Vec<_> = (0..3).map(|_| AtomicU64::new(0)).collect();
            let work = |worker: u16| {
                calls[usize::from(worker)].fetch_add(1, Ordering::Relaxed);
            };
            pool.run_on(width, &work).expect("no panic");
            let calls: Vec<_> = calls.iter().map(|calls| calls.load(Ordering::Relaxed)).collect();
            let expected: Vec<_> = (0..3).map(|worker| u64::from(worker < width)).collect();
            assert_eq!(calls, expected);
        }
    };
    shuttle::check_random(body, iterations());
    shuttle::check_pct(body, iterations(), 3);
}

/// Explorations until a mutant is noticed. One draws other schedules each time, and misses the rarest fault in every
/// tenth; so many miss it never.
#[cfg(feature = "mutants")]
const EXPLORATIONS: usize = 40;

/// Exploring finds what a missing measure breaks. One test, because the switch is the process's: run it alone.
#[cfg(feature = "mutants")]
#[test]
#[ignore = "switches mutants on for the whole process"]
fn finds_mutants() {
    use braid_sched::mutants::{Mutant, set};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    for mutant in [Mutant::Push, Mutant::Assume, Mutant::Retract, Mutant::Range] {
        set(Some(mutant));
        let family = match mutant {
            Mutant::Assume => Family::Counters,
            Mutant::Range => Family::Ranges,
            _ => Family::Programs,
        };
        let missed = || catch_unwind(AssertUnwindSafe(|| explore(family, block_stm))).is_ok();
        let found = !(0..EXPLORATIONS).all(|_| missed());
        set(None);
        assert!(found, "{mutant:?} went unnoticed");
    }
}
