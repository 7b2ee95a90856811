//! The commands against made-up inputs and engines: right ones, wrong ones, broken ones.

mod folders;
mod impossible;
mod vectors;

use crate::{
    Exit, command,
    json::Problem,
    progress::Ui,
    world::{Case, Checked, Inputs, Refusal, Source, World},
};
use alloy_primitives::{Address, B256, TxKind, U256};
use braid_core::{Control, Event, Probe, StoreError};
use braid_evm::{AccountState, BlockInput, EvmKey, EvmValue, ExecutedBlock, Rites};
use braid_profiles::{Engine, ExecError, Executed, Fidelity, LeanEngine, Profile, ProfileError};
use braid_report::{Model, Recorder};
use braid_work::PreState;
use revm::{
    context::{BlockEnv, TxEnv},
    primitives::hardfork::SpecId,
};
use serde_json::Value;
use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

/// How a made-up engine departs from `lean`, on which it is built.
#[derive(Clone, Copy, PartialEq)]
enum Flaw {
    None,
    /// Gas of the last transaction.
    Gas,
    /// One more account in the difference.
    Account,
    /// Refuses the block.
    Refuses,
    Panics,
    /// Right the first times, then refuses: as an engine with a race would.
    Unstable,
    /// As `Gas`, under schedule 5 alone.
    Racy,
    /// As `Gas`, and right by rules of its own.
    Own,
    /// Wrong by rules of its own, too.
    OwnWrong,
    /// Tells of a schedule in which transactions overlap, though it says that they do not.
    TooFast,
}

struct Fake {
    flaw: Flaw,
    runs: usize,
    schedule: Option<u64>,
}

struct FakeExecuted(Box<dyn Executed>, Flaw);

impl Executed for FakeExecuted {
    fn into_block(self: Box<Self>, pre: &PreState) -> ExecutedBlock {
        let mut block = self.0.into_block(pre);
        match self.1 {
            Flaw::Gas | Flaw::Own | Flaw::OwnWrong => {
                block.results.last_mut().into_iter().for_each(|result| result.gas_used += 1)
            }
            Flaw::Account => {
                let other = block.diff.values().next().cloned();
                block.diff.extend(other.map(|diff| (Address::repeat_byte(0x77), diff)));
            }
            _ => {}
        }
        block
    }
}

impl Engine for Fake {
    fn execute(
        &mut self,
        input: &BlockInput,
        pre: &PreState,
        control: &Control<'_>,
    ) -> Result<Box<dyn Executed>, ExecError> {
        if control.interrupted::<()>().is_some() {
            return Err(ExecError::Cancelled { tx: 0 });
        }
        self.runs += 1;
        let refuses = self.flaw == Flaw::Refuses || (self.flaw == Flaw::Unstable && self.runs > 4);
        if refuses {
            return Err(ExecError::Invalid { tx: 0, kind: "nonce_too_low", reason: "made up".to_owned() });
        }
        assert!(self.flaw != Flaw::Panics, "made up");
        let races = self.flaw == Flaw::Racy && self.schedule == Some(5);
        let flaw = if races { Flaw::Gas } else { self.flaw };
        Ok(Box::new(FakeExecuted(LeanEngine.execute(input, pre, control)?, flaw)))
    }

    fn oracle(&self) -> Option<Box<dyn Engine>> {
        let flaw = match self.flaw {
            Flaw::Own => Flaw::Gas,
            Flaw::OwnWrong => Flaw::Account,
            _ => return None,
        };
        Some(Box::new(Fake { flaw, runs: 0, schedule: None }))
    }

    fn differs_from_evm(&mut self, _input: &BlockInput, _pre: &PreState) -> Option<f64> {
        self.oracle().map(|_| 0.25)
    }

    fn execute_watched(
        &mut self,
        input: &BlockInput,
        pre: &PreState,
        recorder: &Recorder<EvmKey>,
        control: &Control<'_>,
    ) -> Option<Result<Box<dyn Executed>, ExecError>> {
        if self.flaw != Flaw::TooFast {
            return None;
        }
        let told = |event: fn(u32) -> Event<'static, EvmKey>| {
            (0..3u16).for_each(|tx| recorder.event(tx, event(u32::from(tx))));
        };
        told(|tx| Event::Start { tx, incarnation: 0 });
        std::thread::sleep(std::time::Duration::from_millis(50));
        told(|tx| Event::Finish { tx, incarnation: 0 });
        told(|tx| Event::Commit { tx });
        Some(self.execute(input, pre, control))
    }

    fn model(&self) -> Option<Model> {
        Some(Model::Serial)
    }

    fn shuffle(&mut self, seed: u64) {
        self.schedule = Some(seed);
    }
}

macro_rules! profile {
    ($name:literal, $parallel:literal, $flaw:ident) => {
        Profile {
            name: $name,
            article: "",
            real: "Nobody.",
            about: "Made up. For tests.",
            limits: "None.",
            fidelity: Fidelity::Model,
            scheduler: "none",
            parallel: $parallel,
            build: |_| -> Result<Box<dyn Engine>, ProfileError> {
                Ok(Box::new(Fake { flaw: Flaw::$flaw, runs: 0, schedule: None }))
            },
        }
    };
}

static PROFILES: &[Profile] = &[
    profile!("lean", false, None),
    profile!("good", true, None),
    profile!("wrong_gas", true, Gas),
    profile!("wrong_account", true, Account),
    profile!("wrong_serial", false, Gas),
    profile!("refuses", true, Refuses),
    profile!("panics", true, Panics),
    profile!("unstable", true, Unstable),
    profile!("racy", true, Racy),
    profile!("too_fast", false, TooFast),
];

static OWN_RULES: &[Profile] = &[profile!("own", true, Own), profile!("own_wrong", true, OwnWrong)];

/// Names of inputs: `good`, `plain` (nothing recorded), `bad_root` (records something else),
/// `invalid` (a bad nonce), `no_code` (state lacks a code), `broken` (does not load), `absent`,
/// `none` (no blocks), `word?` (bad workload).
struct FakeInputs;

struct FakeSource(String);

struct FakeCase {
    name: String,
    input: BlockInput,
    pre: PreState,
}

impl Inputs for FakeInputs {
    fn resolve(&self, text: &str) -> Result<Vec<Box<dyn Source>>, Refusal> {
        match text {
            "none" => Ok(Vec::new()),
            "absent" => Err(Refusal::Input(broken("not_found"))),
            _ if text.contains('?') => Err(Refusal::Usage(format!("workload `{text}`: made up"))),
            _ => Ok(vec![Box::new(FakeSource(text.to_owned()))]),
        }
    }

    fn sample(&self) -> Result<Vec<Box<dyn Source>>, Refusal> {
        self.resolve("good")
    }
}

fn broken(kind: &str) -> Problem {
    let (file, item) = (Some("a/file".to_owned()), Some("an item".to_owned()));
    Problem { kind: kind.to_owned(), file, item, message: "a/file: made up".to_owned() }
}

impl Source for FakeSource {
    fn name(&self) -> String {
        self.0.clone()
    }

    fn file(&self) -> Option<String> {
        Some(format!("folder/{}", self.0))
    }

    fn load(&self) -> Result<Box<dyn Case>, Problem> {
        if self.0 == "broken" {
            return Err(broken("zstd"));
        }
        let mut pre = PreState::default();
        let code_hash = B256::repeat_byte(0xcc);
        for index in 1..=4 {
            let mut account = AccountState {
                exists: true,
                balance: U256::from(10).pow(U256::from(18)),
                ..AccountState::default()
            };
            if self.0 == "no_code" && index == 4 {
                account.code_hash = code_hash;
            }
            let key = EvmKey::Account(Address::repeat_byte(index));
            pre.store.set(key, Some(EvmValue::Account(account)));
        }
        let nonce = u64::from(self.0 == "invalid");
        let tx = |from| TxEnv {
            caller: Address::repeat_byte(from),
            nonce,
            kind: TxKind::Call(Address::repeat_byte(4)),
            value: U256::from(1),
            gas_limit: 100_000,
            gas_price: 1,
            ..TxEnv::default()
        };
        let env = BlockEnv {
            number: U256::from(7),
            gas_limit: 30_000_000,
            prevrandao: Some(B256::ZERO),
            ..BlockEnv::default()
        };
        let input = BlockInput {
            chain_id: 1,
            spec: SpecId::OSAKA,
            env,
            txs: (1..=3).map(tx).collect(),
            block_hashes: Default::default(),
            max_blob_gas: None,
            rites: Rites::default(),
            rules: braid_evm::EvmRules::default(),
            gas_used: None,
        };
        Ok(Box::new(FakeCase { name: self.0.clone(), input, pre }))
    }
}

impl Case for FakeCase {
    fn input(&self) -> &BlockInput {
        &self.input
    }

    fn pre(&self) -> &PreState {
        &self.pre
    }

    fn verify(&self, done: &ExecutedBlock) -> Vec<Checked> {
        let gas: u64 = done.results.iter().map(|result| result.gas_used).sum();
        let held = match self.name.as_str() {
            "plain" => None,
            "bad_root" => Some(false),
            _ => Some(gas == 3 * 21_000),
        };
        let difference = (held == Some(false)).then(|| format!("gas_used: {gas}"));
        vec![
            Checked { name: "gas_used", held, difference },
            Checked { name: "state_root", held: None, difference: None },
        ]
    }

    fn recover_senders(&self, _: usize) {}
}

/// What a command did.
struct Ran {
    exit: Exit,
    out: String,
    err: String,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

/// A folder of a test's own, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        // Relaxed: the counter only hands out numbers.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("braid-test-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn braid_with(line: &str, cancel: bool, cache: Option<PathBuf>) -> Ran {
    let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let folder = Folder::new();
    let exit = {
        let mut ui = Ui::new(&mut out, &mut err);
        ui.folder = folder.0.clone();
        let world = World { profiles: PROFILES, own_rules: OWN_RULES, inputs: &FakeInputs };
        command(&arguments, &world, &AtomicBool::new(cancel), cache, &mut ui)
    };
    let files = std::fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().path());
    let mut err = String::from_utf8(err).unwrap();
    for file in files {
        err.push_str(&format!("file {}\n", file.file_name().unwrap().display()));
        err.push_str(&std::fs::read_to_string(file).unwrap());
    }
    Ran { exit, out: String::from_utf8(out).unwrap(), err }
}

fn braid(line: &str) -> Ran {
    braid_with(line, false, None)
}

/// Status, kind of error and exit of a run of one block.
fn outcome(line: &str) -> (String, Option<String>, u8) {
    let ran = braid(&format!("run {line} --json"));
    let result = ran.json()["results"][0].clone();
    let kind = result["error"]["kind"].as_str().map(str::to_owned);
    (result["status"].as_str().unwrap().to_owned(), kind, ran.exit.code())
}

#[test]
fn a_right_engine_is_ok() {
    for check in ["serial", "root", "none"] {
        for input in ["good", "plain"] {
            let line = format!("{input} --profile good --threads 2 --check {check}");
            assert_eq!(outcome(&line), ("ok".into(), None, 0), "{line}");
        }
    }
    let ran = braid("run good --profile good -j 2 --json");
    let result = &ran.json()["results"][0];
    assert_eq!(result["txs"], 3);
    assert_eq!(result["gas_used"], 63_000);
    assert_eq!(result["threads"], 2);
    assert_eq!(result["block"], 7);
    assert_eq!(result["checks"]["gas_used"], true);
    assert!(result["checks"]["state_root"].is_null() && result["error"].is_null());
    assert_eq!(ran.out.lines().count(), 1);
}

#[test]
fn a_wrong_parallel_engine_alone_is_three() {
    let wrong = |profile: &str, input: &str| outcome(&format!("{input} --profile {profile} -j 2"));
    let result = ("diverged".to_owned(), Some("different_result".to_owned()), 3);
    assert_eq!(wrong("wrong_gas", "good"), result);
    assert_eq!(wrong("wrong_gas", "plain"), result);
    assert_eq!(wrong("wrong_account", "good"), result);
    let error = ("diverged".to_owned(), Some("different_error".to_owned()), 3);
    assert_eq!(wrong("refuses", "good"), error);
    assert_eq!(wrong("panics", "good"), error);
    // It refuses, as it should, but for another reason.
    assert_eq!(wrong("refuses", "invalid"), error);
    let ran = braid("run good --profile wrong_gas -j 2 --seed 5 -q");
    assert!(
        ran.err.contains("replay: braid run good --profile wrong_gas --threads 2 --seed 5"),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("file diverge-5.json"), "{}", ran.err);
    let file: Value = serde_json::from_str(ran.err.split("diverge-5.json\n").nth(1).unwrap()).unwrap();
    assert_eq!(file["kind"], "braid-divergence");
    assert_eq!((&file["input"], &file["profile"]), (&"good".into(), &"wrong_gas".into()));
    assert_eq!((&file["threads"], &file["seed"]), (&2.into(), &5.into()));
    assert!(file["difference"]["message"].as_str().unwrap().starts_with("transaction 2: "));
}

#[test]
fn a_divergence_is_replayed_with_its_schedule() {
    let ran = braid("run good good good --profile racy -j 2 --seed 4");
    assert_eq!(ran.exit, Exit::Diverged, "{}", ran.err);
    let replay = "run good --profile racy --threads 2 --seed 5";
    assert!(ran.err.contains(&format!("replay: braid {replay}\n")), "{}", ran.err);
    assert!(ran.err.contains("file diverge-5.json"), "{}", ran.err);
    assert_eq!(braid(replay).exit, Exit::Diverged);
    assert_eq!(braid("run good --profile racy --threads 2 --seed 6").exit, Exit::Ok);
}

#[test]
fn whose_fault_it_is() {
    // Not a parallel engine: a failure like any other.
    assert_eq!(
        outcome("good --profile wrong_serial"),
        ("diverged".into(), Some("different_result".into()), 1)
    );
    // The oracle does not satisfy what the input records either.
    let (_, _, exit) = outcome("bad_root --profile wrong_gas -j 2");
    assert_eq!(exit, 1);
    // What is checked without the oracle is enough to call for it.
    assert_eq!(
        outcome("good --profile wrong_gas --check root"),
        ("diverged".into(), Some("different_result".into()), 3)
    );
    // Not seen without the oracle, and not looked at.
    assert_eq!(outcome("good --profile wrong_account --check root"), ("ok".into(), None, 0));
    assert_eq!(outcome("good --profile wrong_gas --check none"), ("ok".into(), None, 0));
}

#[test]
fn bad_blocks_and_inputs_are_one() {
    let of = |input: &str| outcome(&format!("{input} --profile good -j 2"));
    assert_eq!(of("bad_root"), ("invalid".into(), Some("check_failed".into()), 1));
    assert_eq!(of("invalid"), ("invalid".into(), Some("nonce_too_high".into()), 1));
    assert_eq!(of("no_code"), ("unreadable".into(), Some("state".into()), 1));
    assert_eq!(of("broken"), ("unreadable".into(), Some("zstd".into()), 1));
    assert_eq!(of("absent"), ("unreadable".into(), Some("not_found".into()), 1));
    let ran = braid("run broken good invalid absent good --profile good -j 2 --json");
    let document = ran.json();
    let statuses: Vec<&str> =
        document["results"].as_array().unwrap().iter().map(|one| one["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["unreadable", "ok", "invalid", "unreadable", "ok"]);
    assert_eq!(ran.exit, Exit::Failure);
    assert_eq!(document["results"][0]["error"]["file"], "a/file");
    assert_eq!(document["results"][0]["error"]["item"], "an item");
    // Three dominates one.
    assert_eq!(braid("run broken good --profile wrong_gas").exit, Exit::Diverged);
}

#[test]
fn wrong_command_lines_are_two_and_print_nothing() {
    for line in [
        "",
        "walk",
        "run",
        "run good",
        "run good --profile nobody",
        "run good --profile good --threads 257",
        "run good --profile good --threads -1",
        "run good --profile good --threads many",
        "run good --profile good --check twice",
        "run good word? --profile good",
        "compare nobody",
        "compare --reference nobody",
        "compare --threads 1,999",
        "compare --runs 0",
        "compare --runs 5 --for 1s",
        "compare --for never",
        "profiles nobody",
        "profiles --color pink",
    ] {
        let ran = braid(line);
        assert_eq!(ran.exit.code(), 2, "{line}: {}", ran.err);
        assert_eq!(ran.out, "", "{line}");
        assert!(!ran.err.is_empty(), "{line}");
    }
    assert_eq!(braid("--help").exit, Exit::Ok);
    assert!(braid("compare --help").out.contains("--reference"));
}

#[test]
fn nothing_selected_is_four() {
    for line in ["run none --profile good --json", "compare --on none --json"] {
        let ran = braid(line);
        assert_eq!(ran.exit.code(), 4, "{line}");
        assert_eq!(ran.json()["schema"], 1);
    }
    assert_eq!(braid("run none --profile good").exit.code(), 4);
}

#[test]
fn interrupts_are_130() {
    for line in ["run good --profile good", "compare good --runs 1"] {
        let ran = braid_with(line, true, None);
        assert_eq!((ran.exit.code(), ran.out.as_str()), (130, ""), "{line}");
    }
}

#[test]
fn comparisons_have_a_row_a_seat() {
    let ran = braid("compare good lean good --on good plain --threads 2,1,2 --runs 2 --json --seed 3");
    assert_eq!(ran.exit, Exit::Ok, "{}", ran.err);
    let document = ran.json();
    assert_eq!((&document["schema"], &document["command"]), (&1.into(), &"compare".into()));
    assert_eq!(document["reference"], "lean");
    let rows = document["rows"].as_array().unwrap();
    let seats: Vec<String> = rows
        .iter()
        .map(|row| format!("{} {} {}", row["input"], row["profile"], row["threads"]).replace('"', ""))
        .collect();
    let expected =
        ["good lean 1", "good good 1", "good good 2", "plain lean 1", "plain good 1", "plain good 2"];
    assert_eq!(seats, expected);
    for row in rows {
        assert_eq!((&row["runs"], &row["txs"], &row["gas_used"]), (&2.into(), &3.into(), &63_000.into()));
        let number = |name: &str| row[name].as_f64().unwrap_or_else(|| panic!("{name}: {row}"));
        let (low, high) = (row["ci95"][0].as_f64().unwrap(), row["ci95"][1].as_f64().unwrap());
        assert!(low <= number("speedup") && number("speedup") <= high, "{row}");
        assert!(number("median_ns") > 0.0 && number("reference_median_ns") > 0.0, "{row}");
        assert!(number("end_to_end_ns") >= number("median_ns"), "{row}");
        assert!(number("noise_floor") >= 0.0 && number("peak_bytes") > 0.0, "{row}");
        assert!((1.0..=number("threads")).contains(&number("limit")), "{row}");
        assert_eq!(row["executions"], 3);
    }
}

#[test]
fn a_parallel_reference_is_compared_at_equal_threads() {
    let ran = braid("compare lean good --reference good --threads 1,2 --runs 1 --json");
    let document = ran.json();
    let rows = document["rows"].as_array().unwrap();
    let seats: Vec<String> =
        rows.iter().map(|row| format!("{} {}", row["profile"].as_str().unwrap(), row["threads"])).collect();
    assert_eq!(seats, ["good 1", "lean 1", "good 2", "lean 1"]);
}

#[test]
fn wrong_engines_are_not_timed() {
    let ran = braid("compare good wrong_gas panics --on good --threads 2 --runs 1 --json");
    assert_eq!(ran.exit, Exit::Diverged);
    let document = ran.json();
    let profiles: Vec<&str> =
        document["rows"].as_array().unwrap().iter().map(|row| row["profile"].as_str().unwrap()).collect();
    assert_eq!(profiles, ["lean", "good"]);
    assert!(ran.err.contains("wrong_gas with 2 threads diverged on good"), "{}", ran.err);
    // Right when it was checked, wrong when it was timed.
    let ran = braid("compare unstable --on good --threads 2 --runs 1");
    assert_eq!(ran.exit, Exit::Diverged, "{}", ran.err);
    // A bad input does not stop the others.
    let ran = braid("compare good --on broken invalid good --threads 2 --runs 1 --json");
    assert_eq!(ran.exit, Exit::Failure);
    assert_eq!(ran.json()["rows"].as_array().unwrap().len(), 2);
}

#[test]
fn profiles_are_listed() {
    let ran = braid("profiles --json");
    let document = ran.json();
    assert_eq!(document["command"], "profiles");
    let all = PROFILES.len() + OWN_RULES.len();
    assert_eq!(document["profiles"].as_array().unwrap().len(), all);
    assert_eq!(document["profiles"][1]["name"], "good");
    assert_eq!(document["profiles"][1]["fidelity"], "model");
    assert!(braid("profiles good").out.contains("Made up. For tests."));
    assert_eq!(braid("profiles").out.lines().count(), all + 1);
}

/// Profiles with rules of their own run if they are named, and are held against their own oracle.
#[test]
fn rules_of_their_own() {
    let ran = braid("compare own --on good --threads 2 --runs 2 --json");
    assert_eq!(ran.exit, Exit::Ok, "{}", ran.err);
    let row = &ran.json()["rows"][1];
    assert_eq!((&row["profile"], &row["oracle_equal"]), (&"own".into(), &true.into()));
    assert_eq!((&row["differs_from_evm"], &row["limit"]), (&0.25.into(), &serde_json::Value::Null));
    assert_eq!(ran.json()["rows"][0]["oracle_equal"], serde_json::Value::Null, "the reference has none");
    let table = braid("compare own --on good --threads 2 --runs 2").out;
    assert!(table.contains("own oracle") && table.contains("25%"), "{table}");
    let ran = braid("run good --profile own --json");
    let result = &ran.json()["results"][0];
    assert_eq!((&result["status"], &result["oracle_equal"]), (&"ok".into(), &true.into()));
    let checks = result["checks"].as_object().unwrap();
    assert!(!checks.is_empty() && checks.values().all(serde_json::Value::is_null), "{checks:?}");
    let ran = braid("run good --profile own_wrong --json");
    assert_eq!((ran.exit, &ran.json()["results"][0]["oracle_equal"]), (Exit::Diverged, &false.into()));
    assert_eq!(braid("compare own_wrong --on good --threads 2 --runs 2").exit, Exit::Diverged);
    // Not among all, and not for a chain.
    let ran = braid("compare --on plain --threads 1 --runs 1 --json");
    assert!(!ran.out.contains("\"own\""), "{}", ran.out);
    assert_eq!(braid("run good --profile own --stream").exit, Exit::Usage);
}

#[test]
fn quiet_and_colour() {
    assert_eq!(braid("run good --profile good -q").err, "");
    assert!(braid("run good --profile good").err.contains("[1/1] good"));
    assert!(!braid("run good --profile good").out.contains('\u{1b}'));
    assert!(braid("run good --profile good --color always").out.contains('\u{1b}'));
}

#[test]
fn records_are_kept() {
    let folder = Folder::new();
    let record = folder.0.join("record.json");
    let cache = folder.0.join("cache");
    let line = format!("compare good --on good --threads 1 --runs 2 --seed 9 --record {}", record.display());
    let ran = braid_with(&line, false, Some(cache.clone()));
    assert_eq!(ran.exit, Exit::Ok, "{}", ran.err);
    let read = |path: PathBuf| -> Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    let document = read(record);
    assert_eq!(document, read(cache.join("last.json")));
    assert_eq!((&document["kind"], &document["schema"]), (&"braid-run-record".into(), &1.into()));
    assert_eq!((&document["seed"], &document["arguments"][0]), (&9.into(), &"compare".into()));
    assert_eq!(document["document"]["rows"].as_array().unwrap().len(), 2);
    assert_eq!(document["samples"][1]["elapsed_ns"].as_array().unwrap().len(), 2);
    // A record that was asked for and cannot be written is a failure; the cache is not.
    let nowhere = folder.0.join("record.json/below");
    let line = format!("run good --profile good --record {}", nowhere.display());
    assert_eq!(braid(&line).exit, Exit::Failure);
    let ran = braid_with("run good --profile good", false, Some(nowhere));
    assert_eq!(ran.exit, Exit::Ok);
    assert!(ran.err.contains("warning:"), "{}", ran.err);
}

#[test]
fn missing_code_is_an_error_of_the_input() {
    // The fixture must really lack it, or `bad_blocks_and_inputs_are_one` would test nothing.
    let case = FakeSource("no_code".to_owned()).load().unwrap();
    let failed = LeanEngine.execute(case.input(), case.pre(), &Control::default()).err();
    assert!(matches!(failed, Some(ExecError::Store { error: StoreError::Missing { .. }, .. })), "{failed:?}");
}

#[test]
fn a_stream_is_labelled_as_one() {
    let cache = Folder::new();
    let ran = braid_with(
        "run --stream transfers?txs=20&blocks=5 erc20?txs=6&blocks=2 --profile good --json",
        false,
        Some(cache.0.clone()),
    );
    assert_eq!(ran.exit, Exit::Ok, "{}", ran.err);
    let document = ran.json();
    assert_eq!(document["command"], "stream");
    assert_eq!((&document["streams"][0]["blocks"], &document["streams"][0]["txs"]), (&5.into(), &20.into()));
    assert_eq!(document["streams"][1]["status"], "ok");
    assert!(document.get("results").is_none());
    let record = std::fs::read_to_string(cache.0.join("last.json")).unwrap();
    let record: Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record["document"]["command"], "stream");
    let table = braid("run --stream transfers?txs=20&blocks=5 --profile good").out;
    assert!(table.contains("stream") && table.contains("whole chains"), "{table}");
    assert!(table.contains("engines learning from block to block"), "{table}");
    assert_eq!(document["streams"][0]["learning"], true);
    assert!(document["streams"][0]["recoverers"].as_u64().unwrap() >= 1);
    let forgets = "run --stream transfers?txs=20&blocks=5 --profile good --forget";
    assert!(braid(forgets).out.contains("engines forgetting"));
    assert_eq!(braid(&format!("{forgets} --json")).json()["streams"][0]["learning"], false);
    assert_eq!(braid("run transfers?txs=20 --profile good --forget").exit, Exit::Usage);
}

#[test]
fn a_stream_that_goes_wrong_names_the_block() {
    for (profile, status, exit) in [
        ("wrong_gas", "diverged", Exit::Diverged),
        ("wrong_account", "diverged", Exit::Diverged),
        ("refuses", "diverged", Exit::Diverged),
        ("panics", "diverged", Exit::Diverged),
        ("unstable", "diverged", Exit::Diverged),
        ("wrong_serial", "diverged", Exit::Failure),
    ] {
        let ran = braid(&format!("run --stream transfers?txs=20&blocks=10 --profile {profile} --json"));
        let result = ran.json()["streams"][0].clone();
        assert_eq!((result["status"].as_str(), ran.exit), (Some(status), exit), "{profile}: {}", ran.err);
        let item = result["error"]["item"].as_str().unwrap();
        assert!(item.starts_with("block 2"), "{profile}: {item}");
        assert!(exit != Exit::Diverged || ran.err.contains("--stream"), "{}", ran.err);
    }
    let ran = braid("run --stream good --profile good --json");
    assert_eq!((ran.exit, ran.json()["streams"][0]["status"].as_str()), (Exit::Failure, Some("unreadable")));
    assert_eq!(
        braid_with("run --stream transfers?txs=9&blocks=3 --profile good", true, None).exit,
        Exit::Interrupted
    );
}
