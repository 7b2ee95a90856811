//! Hostile blocks: every profile equals `lean` on them under shuffled schedules, and does not execute, check
//! or throw away more than so much for it. `BRAID_SEED` repeats one seed, that of the blocks and of their
//! schedules; `BRAID_LONG=1` makes it many.

mod common;

use braid_core::{Control, Stats};
use braid_evm::{ExecutedBlock, Status};
use braid_profiles::{Engine, PROFILES};
use braid_work::{
    Case,
    synth::{Hostile, Workload},
};
use common::{engine, seed_to_repeat};

const THREADS: [usize; 3] = [1, 2, 8];

/// Executions per transaction that a speculative schedule may need, at most: one that is right, one that was
/// not, and two that had to stop early, which cost little. On a machine under load more stop early.
const EXECUTIONS: f64 = 4.0;
/// Executions per transaction that may be thrown away.
const RETRIES: f64 = 3.0;
/// Checks of reads per transaction: one for each execution.
const VALIDATIONS: f64 = 4.0;

fn case(kind: Hostile, txs: u64, seed: u64) -> Case {
    let text = format!("hostile?kind={kind}&txs={txs}&seed={seed}");
    text.parse::<Workload>().unwrap().generate().unwrap()
}

/// Enough for the weakness to show, few enough for a test.
fn size(kind: Hostile) -> u64 {
    kind.usual_txs().min(if kind == Hostile::Tiny { 10_000 } else { 160 })
}

/// Rounds of `sei`, each of which may execute everything again.
const SEI_ROUNDS: f64 = 10.0;

fn run(engine: &mut Box<dyn Engine>, case: &Case) -> (ExecutedBlock, Stats) {
    let pre = case.state().unwrap();
    let mut block = engine.execute(&case.input, pre, &Control::default()).unwrap().into_block(pre);
    let stats = std::mem::take(&mut block.stats);
    (block, stats)
}

/// Every parallel profile with every number of threads, and `serial`.
fn seats() -> Vec<(&'static str, usize, Box<dyn Engine>)> {
    let others = PROFILES.iter().filter(|profile| profile.name != "lean");
    let seats = others.flat_map(|profile| {
        let threads = if profile.parallel { &THREADS[..] } else { &THREADS[..1] };
        threads.iter().map(|threads| (profile.name, *threads, engine(profile.name, *threads)))
    });
    seats.collect()
}

fn check(kind: Hostile, seed: u64, seats: &mut [(&'static str, usize, Box<dyn Engine>)]) {
    let case = case(kind, size(kind), seed);
    let txs = case.input.txs.len();
    let (expected, _) = run(&mut engine("lean", 1), &case);
    assert_eq!(expected.results.len(), txs);
    for (name, threads, engine) in seats.iter_mut() {
        engine.shuffle(seed);
        let (got, stats) = run(engine, &case);
        let who = || format!("{kind} under {name} with {threads} threads; repeat with BRAID_SEED={seed}");
        // Not `assert_eq`: thousands of lines say less than the place of the first difference.
        let differs = got.results.iter().zip(&expected.results).position(|(got, expected)| got != expected);
        assert!(got == expected, "{}: not as under lean, first at transaction {differs:?}", who());
        let per_tx = |count: u64| count as f64 / txs as f64;
        let within = |what: &str, count: u64, most: f64| {
            assert!(per_tx(count) <= most, "{}: {:.2} {what} per transaction", who(), per_tx(count));
        };
        assert!(stats.executions >= txs as u64, "{}: {stats:?}", who());
        // Who runs from hints, or in rounds, does so on one thread, too.
        let speculates = engine.hints_from().is_some() || *name == "sei";
        if !speculates && (*threads == 1 || *name == "serial") {
            assert_eq!(stats.executions, txs as u64, "{}: one thread has nothing to speculate on", who());
        }
        // Ten rounds before it gives in: its real form has no better bound.
        let rounds = if *name == "sei" { SEI_ROUNDS } else { 0.0 };
        within("executions", stats.executions, EXECUTIONS + rounds);
        within("retries", stats.retries, RETRIES + rounds);
        within("validations", stats.validations, VALIDATIONS + rounds);
    }
}

#[test]
fn every_profile_equals_lean_within_bounds() {
    let mut seats = seats();
    let rounds = if std::env::var_os("BRAID_LONG").is_some() { 200 } else { 3 };
    let seeds = seed_to_repeat().map_or(0..rounds, |seed| seed..seed + 1);
    for seed in seeds {
        for kind in Hostile::ALL {
            check(kind, seed, &mut seats);
        }
    }
}

/// A generator that had become harmless would make the test above pass for nothing.
#[test]
fn hostile_blocks_do_what_they_are_for() {
    let results = |kind: Hostile, seed| run(&mut engine("serial", 1), &case(kind, 200, seed)).0;
    let count =
        |block: &ExecutedBlock, status| block.results.iter().filter(|result| result.status == status).count();
    for seed in 0..4 {
        for kind in Hostile::ALL {
            let block = results(kind, seed);
            assert!(count(&block, Status::Success) >= 50, "{kind} {seed}: few transactions succeed");
        }
        let reverts = results(Hostile::Revert, seed);
        assert!(count(&reverts, Status::Revert) >= 50, "{seed}");
        // Creations at addresses that are taken, and calls of delegations that lead nowhere.
        for kind in [Hostile::Destruct, Hostile::Rebirth, Hostile::Delegate] {
            assert!(count(&results(kind, seed), Status::Halt) >= 10, "{kind} {seed}");
        }
        let deployed = results(Hostile::Deploy, seed);
        assert!(deployed.codes.len() >= 20, "{seed}: {} codes", deployed.codes.len());
    }
    // What is destroyed is gone, which it is not from Cancun on.
    for seed in 0..4 {
        let mut reborn = case(Hostile::Rebirth, 200, seed);
        let before = run(&mut engine("serial", 1), &reborn).0;
        reborn.input.spec = revm::primitives::hardfork::SpecId::OSAKA;
        reborn.input.env.set_blob_excess_gas_and_price(0, 5_007_716);
        assert_ne!(run(&mut engine("serial", 1), &reborn).0.diff, before.diff, "{seed}");
    }
}

/// A block in which all depend on one another still ends, at whatever number of threads.
#[test]
fn there_is_no_livelock() {
    let mut engines: Vec<_> = ["monad", "aptos"].map(|name| engine(name, 32)).into();
    for kind in [Hostile::Cascade, Hostile::Hot, Hostile::Beneficiary] {
        let case = case(kind, 64, 1);
        let (expected, _) = run(&mut engine("lean", 1), &case);
        for engine in &mut engines {
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
            let control = Control { cancel: None, deadline: Some(deadline) };
            let pre = case.state().unwrap();
            let done =
                engine.execute(&case.input, pre, &control).unwrap_or_else(|error| panic!("{kind}: {error}"));
            let mut got = done.into_block(pre);
            got.stats = Stats::default();
            assert!(got == expected, "{kind}: not as under lean");
        }
    }
}
