//! A blockchain test of our own, which passes, and every way to spoil it, which fails.

use alloy_consensus::{EMPTY_OMMER_ROOT_HASH, Header};
use alloy_primitives::{Address, B256, U256, hex};
use braid_profiles::profile;
use braid_rules::{Fork, difficulty, ommers};
use braid_vectors::{Options, Outcome, Runner, Seats, Verdict, load};
use braid_work::{Alloc, AllocAccount};
use serde_json::{Value, json};
use std::{path::Path, sync::Arc};

const MINER: Address = Address::repeat_byte(0xaa);

fn root(state: &Alloc) -> B256 {
    state.pre_state(Path::new("state")).unwrap().state_root()
}

fn genesis_state() -> Alloc {
    let rich = AllocAccount { balance: U256::from(1_000_000), ..AllocAccount::default() };
    Alloc([(Address::repeat_byte(1), rich)].into())
}

/// The state after so many blocks of the miner.
fn state_after(blocks: u64) -> Alloc {
    let mut state = genesis_state();
    let reward = U256::from(ommers::block_reward(Fork::Berlin)) * U256::from(blocks);
    state.0.entry(MINER).or_default().balance = reward;
    state
}

fn genesis() -> Header {
    let state_root = root(&genesis_state());
    Header { gas_limit: 5_000_000, difficulty: U256::from(1_000_000), state_root, ..Header::default() }
}

/// An empty block of the miner.
fn child(parent: &Header, elapsed: u64) -> Header {
    let (number, timestamp) = (parent.number + 1, parent.timestamp + elapsed);
    let ommers = parent.ommers_hash != EMPTY_OMMER_ROOT_HASH;
    Header {
        parent_hash: parent.hash_slow(),
        number,
        timestamp,
        gas_limit: parent.gas_limit,
        beneficiary: MINER,
        difficulty: difficulty::next(
            Fork::Berlin,
            parent.difficulty,
            parent.timestamp,
            ommers,
            timestamp,
            number,
        ),
        state_root: root(&state_after(number)),
        ..Header::default()
    }
}

fn rlp(header: &Header) -> String {
    // A list of the header, no transactions, no ommers.
    let payload = [alloy_rlp::encode(header), vec![0xc0, 0xc0]].concat();
    let mut rlp = Vec::new();
    alloy_rlp::Header { list: true, payload_length: payload.len() }.encode(&mut rlp);
    hex::encode_prefixed([rlp, payload].concat())
}

fn valid(header: &Header) -> Value {
    json!({ "rlp": rlp(header), "blockHeader": { "hash": header.hash_slow() } })
}

fn invalid(header: &Header, class: &str) -> Value {
    json!({ "rlp": rlp(header), "expectException": class })
}

/// A case that ends with the second of two blocks; between them a side chain and a block to reject.
fn case() -> Value {
    let genesis = genesis();
    let first = child(&genesis, 9);
    let aside = child(&genesis, 20);
    let late = Header { gas_used: 1, ..child(&first, 9) };
    let second = child(&first, 9);
    let more = child(&aside, 5);
    json!({
        "network": "Berlin",
        "genesisRLP": rlp(&genesis),
        "genesisBlockHeader": { "hash": genesis.hash_slow() },
        "pre": genesis_state(),
        "postState": state_after(2),
        "lastblockhash": second.hash_slow(),
        "blocks": [
            valid(&first),
            valid(&aside),
            invalid(&late, "BlockException.INVALID_GAS_USED"),
            valid(&second),
            valid(&more),
        ],
    })
}

fn run(case: &Value) -> Verdict {
    let label: Arc<str> = "own.json".into();
    let cases = load(&label, json!({ "own": case }).to_string().as_bytes()).unwrap();
    let seats = Seats::new(&[profile("serial").unwrap(), profile("aptos").unwrap()], &[2]).unwrap();
    Runner::new(seats, Options::default()).run(&cases[0])
}

/// Spoils the case, and checks that it fails for a reason with this in it.
fn spoiled(reason: &str, spoil: impl Fn(&mut Value)) {
    let mut case = case();
    spoil(&mut case);
    let verdict = run(&case);
    assert_eq!(verdict.outcome, Outcome::Failed, "{reason}");
    let found = verdict.failures.iter().any(|failure| failure.reason.contains(reason));
    assert!(found, "{reason}: {:?}", verdict.failures);
}

#[test]
fn the_case_passes_on_every_engine() {
    let verdict = run(&case());
    assert_eq!((verdict.outcome, &verdict.failures[..]), (Outcome::Passed, &[][..]));
    assert_eq!(verdict.executions, 2 * 5);
}

#[test]
fn what_is_demanded_is_checked() {
    spoiled("post state: account", |case| case["postState"] = json!(state_after(1)));
    spoiled("was not accepted", |case| case["lastblockhash"] = json!(B256::ZERO));
    spoiled("expected", |case| case["blocks"][0]["blockHeader"]["hash"] = json!(B256::ZERO));
    spoiled("genesis state root", |case| case["pre"] = json!({}));
    spoiled("post state root", |case| {
        case["postStateHash"] = json!(B256::ZERO);
        case.as_object_mut().unwrap().remove("postState");
    });
}

#[test]
fn rejections_are_for_their_class() {
    let class =
        |class: &'static str| move |case: &mut Value| case["blocks"][2]["expectException"] = json!(class);
    spoiled("rejected for another reason", class("BlockException.INVALID_STATE_ROOT"));
    spoiled("unknown exception", class("BlockException.INVALID_GAS_USED|BlockException.NONSENSE"));
    spoiled("rejected: gas_used", |case| {
        case["blocks"][2] = valid(&Header { gas_used: 1, ..child(&child(&genesis(), 9), 9) });
    });
    spoiled("accepted, but must be rejected", |case| {
        case["blocks"][4] = invalid(&child(&child(&genesis(), 20), 5), "BlockException.INVALID_GAS_USED");
    });
}

#[test]
fn blocks_need_their_parents() {
    spoiled("unknown_parent", |case| drop(case["blocks"].as_array_mut().unwrap().remove(1)));
    spoiled("state_root", |case| {
        let wrong = Header { state_root: B256::ZERO, ..child(&genesis(), 9) };
        case["blocks"][0] = valid(&wrong);
    });
}

#[test]
fn what_is_no_case_is_refused() {
    let label: Arc<str> = "own.json".into();
    for (key, value) in [
        ("network", json!("Berlin2")),
        ("genesisRLP", json!("0xc0")),
        ("genesisBlockHeader", json!({ "hash": B256::ZERO })),
        (
            "config",
            json!({ "blobSchedule": { "Cancun": {
            "target": "0x3", "max": "0x6", "baseFeeUpdateFraction": "0x0" } } }),
        ),
        (
            "config",
            json!({ "blobSchedule": { "Nowhere": {
            "target": "0x3", "max": "0x6", "baseFeeUpdateFraction": "0x1" } } }),
        ),
        ("blocks", json!(1)),
    ] {
        let mut case = case();
        case[key] = value;
        let loaded = load(&label, json!({ "own": case }).to_string().as_bytes());
        assert!(loaded.is_err(), "{key}");
    }
}
