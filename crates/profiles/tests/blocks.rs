//! Real blocks: every profile must pass every check that a case allows, and equal `lean`.
//!
//! Blocks are read from `BRAID_DATA`, or `../shared/data` beside the repository; without them these tests
//! say so and skip. Every round shuffles the schedules by a seed of its own, which a failure prints;
//! `BRAID_SEED` starts from it. `BRAID_LONG=1` runs every block 100 times a profile and thread count.

mod common;

use braid_core::Control;
use braid_profiles::{Engine, PROFILES, profile};
use braid_testkit::data;
use braid_work::{Case, load, verify};
use common::schedule_seeds;
use revm::primitives::hardfork::SpecId;

fn rounds() -> u64 {
    if std::env::var_os("BRAID_LONG").is_some() { 100 } else { 5 }
}

/// Every engine there is, with each thread count it can use.
fn engines() -> Vec<(&'static str, usize, Box<dyn Engine>)> {
    let counts = |parallel| if parallel { &[1, 2, 4, 8][..] } else { &[1][..] };
    let all = PROFILES.iter().flat_map(|p| counts(p.parallel).iter().map(move |n| (p, *n)));
    all.map(|(p, n)| (p.name, n, (p.build)(n).unwrap())).collect()
}

/// Runs `case` under all engines; returns how many checks `lean` passed.
fn check(case: &Case, engines: &mut [(&'static str, usize, Box<dyn Engine>)]) -> usize {
    let pre = case.state().unwrap();
    let mut lean = (profile("lean").unwrap().build)(1).unwrap();
    let done = lean.execute(&case.input, pre, &Control::default());
    let mut expected = done.unwrap_or_else(|error| panic!("{}: lean: {error}", case.name)).into_block(pre);
    expected.stats = Default::default();
    let checks = verify(case, &expected);
    assert!(checks.passed(), "{}: lean: {:?}", case.name, checks.differences);
    for (name, threads, engine) in engines {
        for seed in schedule_seeds(rounds()) {
            engine.shuffle(seed);
            let what =
                || format!("{}: {name} with {threads} threads; repeat with BRAID_SEED={seed}", case.name);
            let done = engine.execute(&case.input, pre, &Control::default());
            let mut block = done.unwrap_or_else(|error| panic!("{}: {error}", what())).into_block(pre);
            let stats = std::mem::take(&mut block.stats);
            assert!(stats.executions >= case.input.txs.len() as u64, "{}: {stats:?}", what());
            // No access list tells of empty accounts, which the state had until EIP-161 was through with them;
            // `braid` runs serially what is not worth more, and `sei` what is left after ten rounds.
            let early = !case.input.spec.is_enabled_in(SpecId::BYZANTIUM);
            let falls = ["braid", "sei"].contains(name) || (*name == "bal" && early);
            assert!(stats.fallbacks <= u64::from(falls), "{}", what());
            // With what comes before and after the transactions.
            let all = case.input.txs.len() as u64 + 2;
            assert!(*name != "monad" || stats.executions <= 2 * all, "{}: {stats:?}", what());
            if block != expected {
                let checks = verify(case, &block);
                let results = expected.results.iter().zip(&block.results).position(|(a, b)| a != b);
                let account =
                    expected.diff.iter().find(|(address, entry)| block.diff.get(*address) != Some(entry));
                panic!(
                    "{}: differs from lean\nchecks: {:?}\nfirst result: {results:?}\nfirst account: {account:?} \
                     instead {:?}",
                    what(),
                    checks.differences,
                    account.and_then(|(address, _)| block.diff.get(address)),
                );
            }
        }
    }
    checks.made()
}

fn check_folder(folder: &str, least: usize) {
    let Some(path) = data().map(|data| data.join(folder)) else { return };
    let mut engines = engines();
    let (mut blocks, mut checks) = (0, 0);
    for source in load(&path).unwrap() {
        let case = source.load().unwrap_or_else(|error| panic!("{error}"));
        if case.pre.is_none() {
            continue;
        }
        checks += check(&case, &mut engines);
        blocks += 1;
    }
    eprintln!("{folder}: {blocks} blocks, {checks} checks");
    assert!(blocks >= least, "only {blocks} blocks in {}", path.display());
}

#[test]
fn mainnet() {
    check_folder("ethereum/mainnet", 1);
}

#[test]
fn holesky() {
    check_folder("ethereum/holesky", 1);
}

#[test]
fn environments() {
    check_folder("ethereum/mainnet_env", 1);
}
