//! lean against real blocks: every check that each case allows.

use braid_core::Control;
use braid_profiles::{Engine, LeanEngine};
use braid_work::{Scope, Source, load, verify};
use std::{
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
};

const THREADS: usize = 2;

/// Folder of the shared data: `BRAID_DATA`, or `shared/data` beside the workspace.
fn data() -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    let folder = std::env::var_os("BRAID_DATA").map_or_else(|| PathBuf::from(beside), PathBuf::from);
    if !folder.is_dir() {
        eprintln!("SKIPPED: no data at {} (set BRAID_DATA)", folder.display());
        return None;
    }
    Some(folder)
}

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
