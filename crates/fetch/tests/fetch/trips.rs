//! Cases that arrive: what is in them, and that every engine runs them.

use crate::{
    NODE, StopAfter, Temp, all, assert_fetched,
    chain::{BLOCKS, FIRST},
    error_of, fetch,
    node::{account_of, created, slot_of},
    options, run, serve,
};
use alloy_primitives::U256;
use braid_core::Control;
use braid_evm::{EvmKey, EvmValue};
use braid_fetch::{Method, Outcome, fetch as fetch_range};
use braid_profiles::PROFILES;
use braid_work::{Case, Scope};
use std::{fs, path::Path, sync::atomic::AtomicBool, time::Instant};

/// Loads all cases of a folder as any command does, and runs them on every engine.
pub(crate) fn run_everywhere(folder: &Path) -> Vec<Case> {
    let sources = braid_work::load(folder).expect("cases");
    let cases: Vec<Case> = sources.iter().map(|source| source.load().expect("a case")).collect();
    for case in &cases {
        for profile in PROFILES {
            let mut engine = (profile.build)(if profile.parallel { 2 } else { 1 }).expect("an engine");
            let pre = case.state().expect("a state");
            let ran = engine.execute(&case.input, pre, &Control::default());
            let name = format!("{} under {}", case.name, profile.name);
            let done = ran.unwrap_or_else(|error| panic!("{name}: {error}")).into_block(pre);
            let checks = braid_work::verify(case, &done);
            assert!(checks.passed(), "{name}: {checks}");
            assert_eq!(checks.state_root.is_some(), case.expect.witness.is_some(), "{name}");
            assert_eq!(checks.post_state, Some(true), "{name}");
        }
    }
    cases
}

/// Everything that a case lists is so in the chain's whole state.
fn assert_true_state(case: &Case) {
    let number = u64::try_from(case.input.env.number).expect("a number");
    let whole = &NODE.blocks[&number].pre;
    let pre = case.state().expect("a state");
    let mut accounts = 0;
    for (key, value) in pre.store.iter() {
        match (key, value) {
            (EvmKey::Account(address), EvmValue::Account(account)) => {
                let mut truth = account_of(whole, *address).expect("an account of the chain");
                truth.has_storage = account.has_storage;
                assert_eq!(*account, truth, "{address} before {number}");
                accounts += 1;
            }
            (EvmKey::Slot { address, slot, .. }, EvmValue::Slot(value)) => {
                assert_eq!(*value, slot_of(whole, *address, *slot), "{address} {slot} before {number}");
            }
            _ => {}
        }
    }
    assert!(accounts >= 10, "{accounts} accounts before {number}");
    for address in created(&case.input.txs) {
        assert!(account_of(pre, address).is_none(), "{address} is created by block {number}");
    }
}

#[test]
fn by_witness_everything_is_proven_and_runs() {
    let (server, out) = (serve(NODE.clone()), Temp::new());
    let summary = fetch(&server, &out, &all(), Method::Auto);
    assert_fetched(&summary, BLOCKS as usize);
    assert_eq!(summary.chain_id, Some(1));
    for block in &summary.blocks {
        assert_eq!(block.method.as_deref(), Some("witness"));
        assert_eq!(block.scope.as_deref(), Some("full_block"));
        for (name, held) in &block.checks {
            assert_eq!(*held, Some(true), "{name} of {}", block.number);
        }
        assert!(block.checks.len() >= 12);
    }
    assert!(server.calls("debug_traceBlockByNumber").is_empty());
    let cases = run_everywhere(&out.0);
    assert_eq!(cases.len(), BLOCKS as usize);
    for case in &cases {
        assert_eq!(case.expect.scope, Scope::FullBlock);
        assert!(!case.expect.new_codes.is_empty());
        assert_true_state(case);
    }
    assert_eq!(out.names().len(), BLOCKS as usize, "nothing but cases: {:?}", out.names());
}

#[test]
fn by_prestate_the_state_is_the_one_before_the_block() {
    let (server, out) = (serve(NODE.clone()), Temp::new());
    assert_fetched(&fetch(&server, &out, &all(), Method::Prestate), BLOCKS as usize);
    assert!(server.calls("debug_executionWitness").is_empty());
    let cases = run_everywhere(&out.0);
    for case in &cases {
        assert_true_state(case);
        assert!(case.expect.witness.is_none());
        // BLOCKHASH of three before.
        let number = u64::try_from(case.input.env.number).expect("a number");
        assert!(case.input.block_hashes.contains_key(&(number - 3)), "{:?}", case.input.block_hashes);
    }
}

#[test]
fn both_ways_give_the_same_block() {
    let (server, by_witness, by_prestate) = (serve(NODE.clone()), Temp::new(), Temp::new());
    let number = FIRST.to_string();
    assert_fetched(&fetch(&server, &by_witness, &number, Method::Witness), 1);
    assert_fetched(&fetch(&server, &by_prestate, &number, Method::Prestate), 1);
    for file in ["block.json.zst", "post_state.json.zst", "new_codes.json.zst", "block_hashes.json"] {
        let read = |out: &Temp| fs::read(out.0.join(&number).join(file)).expect(file);
        assert_eq!(read(&by_witness), read(&by_prestate), "{file}");
    }
}

#[test]
fn without_the_method_the_other_is_taken_and_the_first_not_asked_again() {
    let mut node = NODE.clone();
    node.blocks.values_mut().for_each(|block| block.witness = None);
    let (server, out) = (serve(node), Temp::new());
    let summary = fetch(&server, &out, &all(), Method::Auto);
    assert_fetched(&summary, BLOCKS as usize);
    assert_eq!(server.calls("debug_executionWitness").len(), 1);
    for block in &summary.blocks {
        assert_eq!(block.method.as_deref(), Some("prestate"));
        assert!(block.without_witness.as_deref().is_some_and(|why| why.contains("does not offer")));
    }
}

#[test]
fn a_finished_range_is_not_asked_for_again() {
    let (server, out) = (serve(NODE.clone()), Temp::new());
    assert_fetched(&fetch(&server, &out, &all(), Method::Auto), BLOCKS as usize);
    let before = server.calls("").len();
    let again = fetch(&server, &out, &all(), Method::Auto);
    assert!(again.stopped.is_none() && again.blocks.iter().all(|block| block.outcome == Outcome::Skipped));
    assert_eq!(server.calls("").len(), before + 1, "only the chain id is asked for");
}

#[test]
fn what_was_interrupted_goes_on_where_it_was() {
    let (server, out) = (serve(NODE.clone()), Temp::new());
    let cancel = AtomicBool::new(false);
    let (range, with) = (all().parse().expect("a range"), options(&server, &out.0, Method::Auto));
    let summary = fetch_range(&range, &with, &cancel, &mut StopAfter(FIRST + 1, &cancel));
    assert_eq!(summary.stopped.as_ref().map(|error| error.kind()), Some("cancelled"));
    assert_eq!(out.names(), [FIRST.to_string(), (FIRST + 1).to_string()]);
    // What a killed fetch leaves is cleared away, and is no case meanwhile.
    let partial = out.0.join(format!(".{}.partial", FIRST + 2));
    fs::create_dir(&partial).expect("a folder");
    fs::copy(out.0.join(FIRST.to_string()).join("block.json.zst"), partial.join("block.json.zst"))
        .expect("a copy");
    assert_eq!(braid_work::load(&out.0).expect("cases").len(), 2);
    let blocks_before = server.calls("eth_getBlockReceipts").len();
    let again = fetch(&server, &out, &all(), Method::Auto);
    let outcomes: Vec<&Outcome> = again.blocks.iter().map(|block| &block.outcome).collect();
    assert_eq!(outcomes, [&Outcome::Skipped, &Outcome::Skipped, &Outcome::Fetched]);
    assert_eq!(server.calls("eth_getBlockReceipts").len(), blocks_before + 1);
    assert_eq!(out.names().len(), BLOCKS as usize);
    run_everywhere(&out.0);
}

#[test]
fn damaged_cases_are_fetched_anew_and_foreign_ones_left_alone() {
    let (server, out) = (serve(NODE.clone()), Temp::new());
    let place = out.0.join(FIRST.to_string());
    for damage in ["truncated", "missing", "changed"] {
        fetch(&server, &out, &FIRST.to_string(), Method::Prestate);
        let file = place.join("pre_state.json.zst");
        let bytes = fs::read(&file).expect("a file");
        match damage {
            "truncated" => fs::write(&file, &bytes[..bytes.len() / 2]).expect("a file"),
            "missing" => fs::remove_file(&file).expect("removed"),
            _ => fs::write(&file, bytes.iter().map(|byte| byte ^ 1).collect::<Vec<u8>>()).expect("a file"),
        }
        assert_fetched(&fetch(&server, &out, &FIRST.to_string(), Method::Prestate), 1);
        assert_eq!(fs::read(&file).expect("a file"), bytes, "{damage}");
    }
    let foreign = out.0.join((FIRST + 1).to_string());
    fs::create_dir(&foreign).expect("a folder");
    fs::write(foreign.join("mine.txt"), "mine").expect("a file");
    let error = error_of(&fetch(&server, &out, &(FIRST + 1).to_string(), Method::Prestate));
    assert_eq!(error.kind(), "foreign");
    assert!(foreign.join("mine.txt").is_file());
}

#[test]
fn one_folder_holds_one_chain_and_has_one_writer() {
    let (server, out) = (serve(NODE.clone()), Temp::new());
    assert_fetched(&fetch(&server, &out, &FIRST.to_string(), Method::Auto), 1);
    let other = serve(crate::node::Node { chain_id: 17_000, ..NODE.clone() });
    assert_eq!(error_of(&fetch(&other, &out, &all(), Method::Auto)).kind(), "other_chain");
    let lock = fs::File::open(out.0.join(".fetch.lock")).expect("the lock");
    lock.lock().expect("locked");
    assert_eq!(error_of(&fetch(&server, &out, &all(), Method::Auto)).kind(), "busy");
}

#[test]
fn the_newest_blocks_are_counted_from_the_chain() {
    let (server, out) = (serve(NODE.clone()), Temp::new());
    let summary = fetch(&server, &out, "latest", Method::Auto);
    assert_eq!(summary.blocks.iter().map(|block| block.number).collect::<Vec<_>>(), [FIRST + BLOCKS - 1]);
    let summary = fetch(&server, &out, "-2..latest", Method::Auto);
    let numbers: Vec<u64> = summary.blocks.iter().map(|block| block.number).collect();
    assert_eq!(numbers, [FIRST + BLOCKS - 3, FIRST + BLOCKS - 2]);
    let error = error_of(&fetch(&server, &out, "99999999..latest", Method::Auto));
    assert!(error.is_usage(), "{error}");
}

#[test]
fn the_rate_is_kept() {
    let (server, out) = (serve(NODE.clone()), Temp::new());
    let rate = 20.0;
    let begin = Instant::now();
    let mut with = options(&server, &out.0, Method::Prestate);
    with.rate = Some(rate);
    let summary = run(&all(), &with);
    assert_fetched(&summary, BLOCKS as usize);
    let calls = server.calls("");
    assert_eq!(calls.len() as u64, summary.calls);
    assert!(calls.len() > 60, "{} calls show nothing", calls.len());
    // A second's worth at once, then no more than the rate; a little for the clock.
    for (index, at) in calls.iter().enumerate() {
        let allowed = rate * (1.0 + at.duration_since(begin).as_secs_f64()) + 1.0;
        assert!((index + 1) as f64 <= allowed, "{} calls after {:?}", index + 1, at.duration_since(begin));
    }
}

#[test]
fn headers_are_sent_along() {
    let (server, out) = (serve(NODE.clone()), Temp::new());
    let mut with = options(&server, &out.0, Method::Auto);
    with.endpoint =
        braid_fetch::Endpoint::new(&server.url(), &["X-Key: s3cret".to_owned()]).expect("an endpoint");
    assert_fetched(&run(&FIRST.to_string(), &with), 1);
    assert!(
        server.headers().iter().any(|line| line.to_lowercase() == "x-key: s3cret"),
        "{:?}",
        server.headers()
    );
    assert!(
        !fs::read_to_string(out.0.join(FIRST.to_string()).join("meta.json"))
            .expect("meta")
            .contains("s3cret")
    );
}

#[test]
fn slots_that_the_block_finds_empty_are_listed_as_such() {
    let (server, out) = (serve(NODE.clone()), Temp::new());
    assert_fetched(&fetch(&server, &out, &FIRST.to_string(), Method::Auto), 1);
    let packed = fs::read(out.0.join(FIRST.to_string()).join("pre_state.json.zst")).expect("a file");
    let json: serde_json::Value =
        serde_json::from_slice(&zstd::decode_all(packed.as_slice()).expect("zstd")).expect("JSON");
    let busy = &json[format!("{:#x}", alloy_primitives::Address::repeat_byte(0xc0))];
    assert_eq!(busy["storage"]["0x0"], serde_json::json!(U256::from(41)));
    assert_eq!(busy["storage"]["0x1"], "0x0");
    assert!(busy["storage"].get("0x9").is_none(), "what is not touched is not listed");
}
