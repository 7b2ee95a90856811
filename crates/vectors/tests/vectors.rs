//! A sample of every archive of official vectors, on every profile; and the list of skipped cases.

use braid_testkit::data;
use braid_vectors::{
    Class, Event, Options, Outcome, Plan, Runner, Seats, Take, Totals, archive, run_archive, skips,
};
use serde::{Deserialize, de::IgnoredAny};
use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{BuildHasher, Hasher, RandomState},
    ops::ControlFlow,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

/// Cases of each archive, all of which have more.
const SAMPLE: usize = 50;

/// The archives, if there are any.
fn archives() -> Option<Vec<PathBuf>> {
    let folder = data()?.join("ethereum/tests");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        eprintln!("SKIPPED: no vectors at {}", folder.display());
        return None;
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut archives: Vec<PathBuf> =
        paths.filter(|path| path.to_string_lossy().ends_with(".tar.zst")).collect();
    archives.sort();
    Some(archives)
}

/// From `BRAID_SEED`, or another in each run.
fn seed() -> u64 {
    let given = std::env::var("BRAID_SEED").ok().map(|seed| seed.parse().expect("BRAID_SEED is a number"));
    given.unwrap_or_else(|| RandomState::new().build_hasher().finish() >> 11)
}

#[test]
fn a_sample_of_every_archive_is_as_demanded_on_every_profile() {
    let Some(archives) = archives() else { return };
    let seed = seed();
    eprintln!("BRAID_SEED={seed} repeats this sample");
    let profiles: Vec<_> =
        ["lean", "serial", "monad", "aptos"].map(|name| braid_profiles::profile(name).unwrap()).to_vec();
    let options = Options { shuffle: Some(seed), deadline: Duration::from_secs(300), cancel: None };
    let runner = || Runner::new(Seats::new(&profiles, &[1, 2, 8]).unwrap(), options);
    let mut runners = [runner(), runner()];
    let plan = Plan { take: Take::Sample(SAMPLE), seed, filter: None, cancel: None };
    let mut wrong = Vec::new();
    for path in &archives {
        let (begun, mut totals) = (Instant::now(), Totals::default());
        let mut reported: BTreeMap<Class, u64> = BTreeMap::new();
        let ended = run_archive(path, &plan, &mut runners, &mut |event| match event {
            Event::Unreadable(error) => wrong.push(error.to_string()),
            Event::Done(done) => {
                totals.add(&done.verdict);
                for (class, _) in done.verdict.reported.iter().filter(|(_, failed)| failed.is_some()) {
                    *reported.entry(*class).or_default() += 1;
                }
                wrong.extend(done.verdict.failures.iter().map(|failure| {
                    let (profile, threads, reason) = (failure.profile, failure.threads, &failure.reason);
                    format!("{}::{} [{profile}@{threads}]: {reason}", done.file, done.name)
                }));
            }
        });
        wrong.extend(ended.err().map(|error| error.to_string()));
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        eprintln!("{name}: {totals:?}, reported {reported:?}, {:.1?}", begun.elapsed());
        assert!(
            totals.passed + totals.failed >= SAMPLE as u64,
            "{name}: only {} cases, seed {seed}",
            totals.cases()
        );
    }
    let shown = wrong[..wrong.len().min(30)].join("\n");
    assert!(wrong.is_empty(), "seed {seed}: {} failures:\n{shown}", wrong.len());
}

/// As much of a vector as it takes to count its cases.
#[derive(Deserialize)]
#[serde(untagged)]
enum Shape {
    State { post: BTreeMap<String, Vec<IgnoredAny>> },
    Transaction { result: BTreeMap<String, IgnoredAny> },
    Other(IgnoredAny),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Units {
    Named(BTreeMap<String, Shape>),
    Listed(Vec<IgnoredAny>),
}

/// Number of cases in a file, at least.
fn count(bytes: &[u8]) -> usize {
    let of_unit = |unit: &Shape| match unit {
        Shape::State { post } => post.values().map(Vec::len).sum(),
        Shape::Transaction { result } => result.len(),
        Shape::Other(_) => 1,
    };
    match serde_json::from_slice(bytes).unwrap() {
        Units::Listed(units) => units.len(),
        Units::Named(units) => units.values().map(of_unit).sum(),
    }
}

#[test]
fn the_list_of_skipped_cases_is_exact_and_short() {
    let Some(archives) = archives() else { return };
    let mut used = BTreeSet::new();
    for path in &archives {
        let of_list = |path: &str| skips::skips().iter().any(|skip| path.ends_with(skip.file));
        if !archive::list(path).unwrap().iter().any(|path| of_list(path)) {
            continue;
        }
        let (mut skipped, mut cases) = (0, 0);
        let mut look = |member: archive::Member| {
            cases += count(&member.bytes);
            if of_list(&member.path) {
                let label: Arc<str> = archive::label(path, &member.path).into();
                let found = braid_vectors::load(&label, &member.bytes).unwrap();
                let found: Vec<_> = found.iter().filter_map(skips::skipped).collect();
                skipped += found.len();
                used.extend(found.into_iter().map(|skip| (skip.file, skip.case)));
            }
            ControlFlow::Continue(())
        };
        archive::visit(path, &mut |_| true, &mut look).unwrap();
        eprintln!("{}: {skipped} of {cases} cases skipped", path.display());
        assert!(skipped * 100 <= cases, "{}: {skipped} of {cases} cases are skipped", path.display());
    }
    let unused: Vec<_> =
        skips::skips().iter().filter(|skip| !used.contains(&(skip.file, skip.case))).collect();
    assert!(unused.is_empty(), "these skip nothing: {unused:?}");
}

/// A state test of one transfer, with this root and these more fields of its result.
fn transfer(root: &str, more: &str) -> String {
    format!(
        r#"{{"t": {{
            "env": {{"currentCoinbase": "0x2adc25665018aa1fe0e6bc666dac8fc2697ff9ba",
                "currentGasLimit": "0x989680", "currentNumber": "0x01", "currentTimestamp": "0x03e8",
                "currentDifficulty": "0x020000"}},
            "pre": {{"0xa94f5374fce5edbc8e2a8697c15331677e6ebf0b":
                {{"balance": "0x0de0b6b3a7640000", "nonce": "0x00", "code": "0x", "storage": {{}}}}}},
            "transaction": {{"data": ["0x"], "gasLimit": ["0x5208"], "value": ["0x01"], "nonce": "0x00",
                "gasPrice": "0x0a", "to": "0x1000000000000000000000000000000000000000",
                "sender": "0xa94f5374fce5edbc8e2a8697c15331677e6ebf0b"}},
            "post": {{"Istanbul": [{{"hash": "{root}",
                "logs": "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347",
                "indexes": {{"data": 0, "gas": 0, "value": 0}}{more}}}]}}}}}}"#
    )
}

#[test]
fn a_wrong_demand_fails_and_a_skipped_case_does_not_run() {
    let profiles: Vec<_> = ["lean", "serial"].map(|name| braid_profiles::profile(name).unwrap()).to_vec();
    let mut runner = Runner::new(Seats::new(&profiles, &[1]).unwrap(), Options::default());
    let mut run = |file: &str, text: &str| {
        let cases = braid_vectors::load(&file.into(), text.as_bytes()).unwrap();
        runner.run(&cases[0])
    };
    let wrong_root = run("x.json", &transfer(&format!("0x{}", "0".repeat(64)), ""));
    assert_eq!(wrong_root.outcome, Outcome::Failed);
    assert!(!wrong_root.diverged && wrong_root.failures.len() == 1, "{wrong_root:?}");
    // The failure says what the root is; with that root it passes.
    let reason = &wrong_root.failures[0].reason;
    let root = reason.split("computed ").nth(1).unwrap().split(',').next().unwrap();
    assert_eq!(run("x.json", &transfer(root, "")).outcome, Outcome::Passed);
    let exception = r#", "expectException": "TransactionException.NONCE_IS_MAX""#;
    assert_eq!(run("x.json", &transfer(root, exception)).outcome, Outcome::Failed);
    let skipped = run("a/stTimeConsuming/CALLBlake2f_MaxRounds.json", &transfer(root, ""));
    assert!(matches!(skipped.outcome, Outcome::Skipped(_)) && skipped.executions == 0);
}
