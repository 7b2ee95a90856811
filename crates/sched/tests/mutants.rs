//! The suite notices when a safety measure is missing: each is left out in turn, and some block has to
//! come out wrong, stall, or trip an assertion.
#![cfg(feature = "mutants")]

use braid_core::Scheduler;
use braid_sched::{
    Adaptive, Batch, BlockStm, Graph, Occ, OccRounds, Policy, Pool,
    mutants::{Mutant, set},
};
use braid_testkit::{
    Case, Family, Op, STALL, Telling, ToyState, ToyTx, check_block, check_told, check_within,
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// The switch is the process's.
static TURN: Mutex<()> = Mutex::new(());

fn survives<S: Scheduler>(
    mutant: Option<Mutant>,
    families: &[Family],
    rounds: u64,
    make: impl Fn(Arc<Pool>, u64) -> S,
) -> bool {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    set(mutant);
    let run = || {
        let pool = Arc::new(Pool::new(4));
        (0..rounds).all(|seed| {
            let scheduler = make(pool.clone(), seed + 1);
            families.iter().all(|family| {
                let case = Case { txs: 60, keys: 12, error_permille: 0, ..Case::random(*family, seed) };
                check_within(&scheduler, case, Duration::from_secs(3)).is_ok()
            })
        })
    };
    let survived = catch_unwind(AssertUnwindSafe(run)).unwrap_or(false);
    set(None);
    survived
}

fn occ(pool: Arc<Pool>, seed: u64) -> Occ {
    Occ::new(pool).chaos(seed)
}

fn block_stm(pool: Arc<Pool>, seed: u64) -> BlockStm {
    BlockStm::new(pool).chaos(seed)
}

fn graph(pool: Arc<Pool>, seed: u64) -> Graph {
    Graph::new(pool, Policy::ALL[seed as usize % 4]).chaos(seed)
}

fn adaptive(pool: Arc<Pool>, seed: u64) -> Adaptive {
    Adaptive::new(pool).chaos(seed)
}

/// Whether `graph` survives on machines whose hints bind for so many of one hundred transactions.
fn survives_told(mutant: Option<Mutant>, family: Family, binding_percent: u64) -> bool {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    set(mutant);
    let run = || {
        let pool = Arc::new(Pool::new(4));
        (0..ROUNDS).all(|seed| {
            let telling = Telling { lies_permille: 100, ..Telling::random(binding_percent, seed) };
            let case = Case { txs: 60, keys: 12, error_permille: 0, ..Case::random(family, seed) };
            check_told(&graph(pool.clone(), seed), case, telling).is_ok()
        })
    };
    let survived = catch_unwind(AssertUnwindSafe(run)).unwrap_or(false);
    set(None);
    survived
}

#[test]
fn graph_is_well_without_mutants() {
    assert!(survives_told(None, Family::Programs, 100));
    assert!(survives_told(None, Family::Programs, 60));
    assert!(survives(None, &Family::ALL, 20, graph));
}

#[test]
fn graph_needs_validation() {
    assert!(!survives(Some(Mutant::Validation), &[Family::Programs], ROUNDS, graph));
}

#[test]
fn graph_needs_assumptions_checked() {
    assert!(!survives(Some(Mutant::Assume), &[Family::Counters], ROUNDS, graph));
}

#[test]
fn graph_needs_ranges_validated() {
    assert!(!survives(Some(Mutant::Range), &[Family::Ranges], ROUNDS, graph));
}

#[test]
fn graph_needs_to_know_what_is_exact() {
    assert!(!survives_told(Some(Mutant::Exact), Family::Programs, 60));
}

#[test]
fn graph_needs_dependencies() {
    assert!(!survives_told(Some(Mutant::Edge), Family::Programs, 100));
}

#[test]
fn graph_needs_writes_to_be_readable_before_it_tells() {
    assert!(!survives_told(Some(Mutant::Publish), Family::Programs, 100));
}

#[test]
fn graph_needs_others_kept_out_while_one_is_alone() {
    assert!(!survives_told(Some(Mutant::Alone), Family::Programs, 100));
}

/// Versions that were not withdrawn only mislead: their readers are validated like all others.
#[test]
fn graph_is_right_without_retractions() {
    assert!(survives(Some(Mutant::Retract), &[Family::Programs], 40, graph));
}

fn batch(pool: Arc<Pool>, seed: u64) -> Batch {
    Batch::new(pool).chaos(seed)
}

fn occ_rounds(pool: Arc<Pool>, seed: u64) -> OccRounds {
    OccRounds::new(pool).chaos(seed)
}

#[test]
fn schedules_with_barriers_are_well_without_mutants() {
    assert!(survives(None, &Family::ALL, 20, batch));
    assert!(survives(None, &Family::ALL, 20, occ_rounds));
}

#[test]
fn schedules_with_barriers_need_validation() {
    assert!(!survives(Some(Mutant::Validation), &[Family::Programs], ROUNDS, batch));
    assert!(!survives(Some(Mutant::Validation), &[Family::Programs], ROUNDS, occ_rounds));
}

#[test]
fn schedules_with_barriers_need_assumptions_checked() {
    assert!(!survives(Some(Mutant::Assume), &[Family::Counters], ROUNDS, occ_rounds));
    // Elsewhere something that a member wrote discards the batch: here nothing else does than a wrong prediction.
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let txs = [ToyTx { ops: vec![Op::Put(1)] }, ToyTx { ops: vec![Op::Expect(2, 3)] }];
    let check = || check_block(&batch(Arc::new(Pool::new(2)), 1), &txs, &ToyState::default(), None, STALL);
    assert_eq!(check(), Ok(()));
    set(Some(Mutant::Assume));
    let survived = check().is_ok();
    set(None);
    assert!(!survived);
}

#[test]
fn schedules_with_barriers_need_ranges_validated() {
    assert!(!survives(Some(Mutant::Range), &[Family::Ranges], ROUNDS, batch));
    assert!(!survives(Some(Mutant::Range), &[Family::Ranges], ROUNDS, occ_rounds));
}

const ROUNDS: u64 = 400;

#[test]
fn without_mutants_all_is_well() {
    assert!(survives(None, &Family::ALL, 20, occ));
    assert!(survives(None, &Family::ALL, 20, block_stm));
}

#[test]
fn who_goes_on_needs_what_the_lead_has_changed() {
    assert!(survives(None, &Family::ALL, 20, adaptive));
    assert!(!survives(Some(Mutant::Join), &[Family::Programs], ROUNDS, adaptive));
}

#[test]
fn occ_needs_validation() {
    assert!(!survives(Some(Mutant::Validation), &[Family::Programs], ROUNDS, occ));
}

#[test]
fn occ_needs_assumptions_checked() {
    assert!(!survives(Some(Mutant::Assume), &[Family::Counters], ROUNDS, occ));
}

#[test]
fn occ_needs_ranges_validated() {
    assert!(!survives(Some(Mutant::Range), &[Family::Ranges], ROUNDS, occ));
}

#[test]
fn block_stm_needs_pushes() {
    assert!(!survives(Some(Mutant::Push), &[Family::Programs], ROUNDS, block_stm));
}

#[test]
fn block_stm_needs_watched_reads_checked() {
    assert!(!survives(Some(Mutant::Watch), &[Family::Counters], ROUNDS, block_stm));
}

#[test]
fn block_stm_needs_readers_told_of_a_first_addition() {
    assert!(!survives(Some(Mutant::Recheck), &[Family::Counters, Family::Programs], ROUNDS, block_stm));
}

#[test]
fn block_stm_needs_quiet_reads_checked() {
    assert!(!survives(Some(Mutant::Quiet), &[Family::Programs, Family::Chain], ROUNDS, block_stm));
}

#[test]
fn block_stm_needs_wake_ups() {
    assert!(!survives(Some(Mutant::Wake), &[Family::Programs, Family::Chain], ROUNDS, block_stm));
}

#[test]
fn block_stm_needs_assumptions_checked() {
    assert!(!survives(Some(Mutant::Assume), &[Family::Counters], ROUNDS, block_stm));
}

#[test]
fn block_stm_needs_ranges_pushed() {
    assert!(!survives(Some(Mutant::Range), &[Family::Ranges], ROUNDS, block_stm));
}

#[test]
fn block_stm_needs_retractions() {
    assert!(!survives(Some(Mutant::Retract), &[Family::Programs], ROUNDS, block_stm));
}

/// Estimates only save executions: pushes alone find every wrong one.
#[test]
fn block_stm_is_right_without_estimates() {
    assert!(survives(Some(Mutant::Estimate), &Family::ALL, 40, block_stm));
}
