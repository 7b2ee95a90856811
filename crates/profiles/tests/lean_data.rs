//! lean against real blocks: every check that each case allows.

use alloy_primitives::U256;
use braid_core::Control;
use braid_evm::{ExecutedBlock, Status};
use braid_profiles::{Engine, LeanEngine};
use braid_testkit::data;
use braid_work::{Scope, Source, load, verify};
use std::sync::atomic::{AtomicUsize, Ordering};

const THREADS: usize = 2;

fn check(source: &Source) -> Result<(), String> {
    let case = source.load().map_err(|error| error.to_string())?;
    let pre = case.state().map_err(|error| error.to_string())?;
    let done = LeanEngine.execute(&case.input, pre, &Control::default());
    let done = done.map_err(|error| format!("{}: {error}", case.name))?.into_block(pre);
    let checks = verify(&case, &done);
    let rooted = checks.state_root.is_some() || case.expect.scope != Scope::FullBlock;
    let compared = checks.post_state.is_some() && checks.gas_used.is_some() && rooted;
    match checks.passed() && (compared || case.header.is_none()) {
        true => Ok(()),
        false => Err(format!("{}: {checks}", case.name)),
    }
}

/// Runs `check` on all of `sources`, a few at a time; all failures.
fn failures(sources: &[Source]) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut failed = Vec::new();
        // Relaxed: the counter only hands out indices.
        while let Some(source) = sources.get(next.fetch_add(1, Ordering::Relaxed)) {
            failed.extend(check(source).err());
        }
        failed
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a check panicked")).collect()
    })
}

fn assert_all(folders: &[&str], at_least: usize) {
    let Some(data) = data() else { return };
    let load = |folder: &&str| load(&data.join(folder)).expect("a folder of cases");
    let sources: Vec<Source> = folders.iter().flat_map(load).collect();
    assert!(sources.len() >= at_least, "only {} cases found", sources.len());
    let failures = failures(&sources);
    assert!(failures.is_empty(), "{} cases failed:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn lean_reproduces_every_block_case() {
    assert_all(&["ethereum/mainnet", "ethereum/holesky"], 40);
}

#[test]
fn lean_runs_the_environments_that_have_a_state() {
    assert_all(&["ethereum/mainnet_env/22546209", "ethereum/mainnet_env/25323281"], 2);
}

#[test]
fn verification_notices_each_kind_of_wrong_result() {
    let Some(data) = data() else { return };
    let source = load(&data.join("ethereum/mainnet/19426587")).expect("a case").remove(0);
    let case = source.load().expect("a case");
    let pre = case.state().expect("a state");
    let done = LeanEngine.execute(&case.input, pre, &Control::default()).expect("a valid block");
    let done = done.into_block(pre);
    let failed = |spoil: fn(&mut ExecutedBlock)| {
        let mut wrong = done.clone();
        spoil(&mut wrong);
        let checks = verify(&case, &wrong).all();
        checks.into_iter().filter(|(_, ok)| *ok == Some(false)).map(|(name, _)| name).collect::<Vec<_>>()
    };
    assert_eq!(failed(|_| ()), [""; 0]);
    assert_eq!(failed(|done| done.results[3].gas_used += 1), ["gas_used", "receipts_root"]);
    assert_eq!(failed(|done| done.results[0].status = Status::Revert), ["receipts_root"]);
    assert_eq!(
        failed(|done| done.results.iter_mut().for_each(|result| result.logs.clear())),
        ["receipts_root", "logs_bloom"]
    );
    let forget = |done: &mut ExecutedBlock| drop(done.diff.pop_last());
    assert_eq!(failed(forget), ["post_state", "state_root"]);
    let pay = |done: &mut ExecutedBlock| {
        let account = done.diff.values_mut().find_map(|diff| diff.account.as_mut()).expect("an account");
        account.balance += U256::ONE;
    };
    assert_eq!(failed(pay), ["post_state", "state_root"]);
    let store = |done: &mut ExecutedBlock| {
        let slot = done.diff.values_mut().find_map(|diff| diff.storage.values_mut().next()).expect("a slot");
        *slot = slot.wrapping_add(U256::ONE);
    };
    assert_eq!(failed(store), ["post_state", "state_root"]);
}
