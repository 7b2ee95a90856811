//! `braid t8n` on official test vectors: a sample of state tests, and of chains of blocks in which the
//! state that one transition leaves is what the next begins with.
//!
//! The sample is drawn from a seed, which every failure prints; `BRAID_SEED` repeats it, `BRAID_LONG=1`
//! takes twenty times as many.

use alloy_consensus::Header;
use alloy_primitives::{Address, Bytes, U64, U256, hex};
use braid_core::Control;
use braid_profiles::{Engine, profile};
use braid_rules::{Block, ChainSpec, Fork, ommers::block_reward};
use braid_t8n::{
    Inputs, ResultDocument, Rules, Tracing, Transition, TxsInput, parse_alloc, parse_body, parse_env,
    parse_txs, transition,
};
use braid_testkit::data;
use braid_vectors::{archive, state};
use braid_work::Alloc;
use serde_json::{Value, json};
use std::{collections::BTreeMap, ops::ControlFlow, path::Path};

/// Files drawn from each archive.
const FILES: usize = 40;

/// Cases of one file, at most.
const CASES: usize = 6;

/// Blocks of one chain, at most.
const BLOCKS: usize = 12;

const STATE_ARCHIVES: [&str; 4] =
    ["eest_state", "legacy_state_cancun", "legacy_state_constantinople", "tests_state"];

const CHAIN_ARCHIVES: [&str; 6] = [
    "eest_blockchain_older",
    "eest_blockchain_prague",
    "eest_blockchain_osaka",
    "legacy_blockchain_valid",
    "tests_blockchain",
    "tests_blockchain_gst",
];

/// The engines that are compared, and the seed.
struct Bench {
    engines: Vec<(&'static str, Box<dyn Engine>)>,
    seed: u64,
}

impl Bench {
    fn new() -> Self {
        let seed =
            std::env::var("BRAID_SEED").map_or(0, |seed| seed.parse().expect("BRAID_SEED is a number"));
        let engine = |(name, threads)| (name, (profile(name).unwrap().build)(threads).unwrap());
        Bench { engines: [("serial", 1), ("aptos", 2)].map(engine).into(), seed }
    }

    /// The transition on all engines, which must agree.
    fn run(&mut self, inputs: &Inputs, rules: &Rules, what: &str) -> Transition {
        let mut first: Option<Transition> = None;
        for (name, engine) in &mut self.engines {
            engine.shuffle(self.seed);
            let done = transition(
                inputs.clone(),
                rules,
                Tracing::default(),
                engine.as_mut(),
                2,
                &Control::default(),
            );
            let done =
                done.unwrap_or_else(|error| panic!("{what}: {name}: {error}; BRAID_SEED={}", self.seed));
            let first = first.get_or_insert_with(|| done.clone());
            assert_eq!(first.result, done.result, "{what}: {name}; BRAID_SEED={}", self.seed);
            assert_eq!(first.alloc, done.alloc, "{what}: {name}; BRAID_SEED={}", self.seed);
            assert_eq!(first.body, done.body, "{what}: {name}; BRAID_SEED={}", self.seed);
        }
        let first = first.unwrap();
        // By another way than the one that the transition takes.
        let root = first.alloc.pre_state(Path::new(what)).unwrap().state_root();
        assert_eq!(root, first.result.state_root, "{what}: state root of the state that is written");
        first
    }
}

/// Calls `each` with the units of files drawn from an archive; `None` if there is no data.
fn draw(archive: &str, seed: u64, mut each: impl FnMut(&str, &Value)) -> Option<()> {
    let path = data()?.join(format!("ethereum/tests/{archive}.tar.zst"));
    let many = if std::env::var_os("BRAID_LONG").is_some() { 20 } else { 1 };
    let rank = |path: &str| {
        // FNV-1a, so that a seed draws the same files everywhere.
        let start = 0xcbf2_9ce4_8422_2325u64 ^ seed;
        path.bytes().fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    };
    let mut names = archive::list(&path).unwrap();
    // Four billion rounds of a hash are a minute on every engine, and show nothing of transitions.
    names.retain(|name| !name.contains("MaxRounds"));
    names.sort_by_cached_key(|name| rank(name));
    names.truncate(FILES * many);
    let mut read = |member: archive::Member| {
        let units: BTreeMap<String, Value> = serde_json::from_slice(&member.bytes).unwrap();
        let step = units.len().div_ceil(CASES * many).max(1);
        for (name, unit) in units.iter().step_by(step) {
            each(&format!("{archive}/{}: {name}", member.path), unit);
        }
        ControlFlow::Continue(())
    };
    archive::visit(&path, &mut |name| names.iter().any(|drawn| drawn == name), &mut read).unwrap();
    Some(())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What a t8n caller would make of one choice of a state test; `None` if the form cannot say it: system
/// contracts that a block would call, numbers that no transaction holds.
fn of_state_test(what: &str, unit: &Value, network: &str, post: &Value) -> Option<(Inputs, Rules)> {
    let chain = ChainSpec::of_network(network, 1).ok()?;
    let fork = chain.fork_at(1, 1, U256::ZERO);
    let alloc = parse_alloc("pre", unit["pre"].to_string().as_bytes()).ok()?;
    let beacon_roots: Address = "0x000f3df6d732807ef1319fb7b8bb8522d0beac02".parse().unwrap();
    if fork >= Fork::Prague || (fork >= Fork::Cancun && alloc.0.contains_key(&beacon_roots)) {
        return None;
    }
    let mut env = unit["env"].clone();
    let fields = env.as_object_mut()?;
    if fork >= Fork::London {
        fields.entry("currentBaseFee").or_insert(json!("0x0a"));
    } else {
        fields.remove("currentBaseFee");
    }
    if fork >= Fork::Paris {
        let difficulty = fields.remove("currentDifficulty").unwrap_or_default();
        fields.entry("currentRandom").or_insert(difficulty);
    }
    if fork >= Fork::Shanghai {
        fields.insert("withdrawals".into(), json!([]));
    }
    if fork >= Fork::Cancun {
        fields.insert("parentBeaconBlockRoot".into(), json!(format!("0x{}", "0".repeat(64))));
        fields.entry("currentExcessBlobGas").or_insert(json!("0x0"));
    }
    let number = U256::from_str_radix(text(&fields["currentNumber"]).trim_start_matches("0x"), 16).ok()?;
    fields.insert("blockHashes".into(), json!(state::block_hashes(number)));
    let env = parse_env("env", env.to_string().as_bytes()).ok()?;
    let txs =
        parse_txs("txs", json!([tx_of(&unit["transaction"], &post["indexes"])?]).to_string().as_bytes());
    // EEST fills without a reward; the older fillers with one of nothing, which touches the beneficiary.
    let reward = (!what.starts_with("eest_")).then_some(0);
    let rules = Rules { fork: network.into(), chain_id: 1, reward };
    Some((Inputs { alloc, env, txs: txs.ok()? }, rules))
}

fn tx_of(tx: &Value, indexes: &Value) -> Option<Value> {
    let at = |field: &str, index: &str| tx[field].get(indexes[index].as_u64()? as usize).cloned();
    let mut one = json!({
        "nonce": tx["nonce"], "to": tx["to"], "secretKey": tx["secretKey"], "protected": false,
        "gas": at("gasLimit", "gas")?, "value": at("value", "value")?, "input": at("data", "data")?,
    });
    let mut ty = 0;
    let access_list = at("accessLists", "data").filter(|list| !list.is_null());
    for (field, value, least) in [
        ("gasPrice", Some(tx["gasPrice"].clone()), 0),
        ("accessList", access_list, 1),
        ("maxFeePerGas", Some(tx["maxFeePerGas"].clone()), 2),
        ("maxPriorityFeePerGas", Some(tx["maxPriorityFeePerGas"].clone()), 2),
        ("maxFeePerBlobGas", Some(tx["maxFeePerBlobGas"].clone()), 3),
        ("blobVersionedHashes", Some(tx["blobVersionedHashes"].clone()), 3),
        ("authorizationList", Some(tx["authorizationList"].clone()), 4),
    ] {
        if let Some(value) = value.filter(|value| !value.is_null()) {
            one[field] = value;
            ty = ty.max(least);
        }
    }
    if ty > 0 {
        one["type"] = json!(ty);
        one["chainId"] = json!("0x1");
    }
    Some(one)
}

#[test]
fn state_tests_come_out_as_they_demand() {
    let mut bench = Bench::new();
    for archive in STATE_ARCHIVES {
        let (mut ran, mut rejected) = (0, 0);
        let seed = bench.seed;
        let drawn = draw(archive, seed, |what, unit| {
            let posts = unit["post"].as_object().into_iter().flatten();
            let posts = posts.flat_map(|(network, posts)| {
                posts.as_array().into_iter().flatten().map(move |post| (network, post))
            });
            for (network, post) in posts.take(CASES) {
                let Some((inputs, rules)) = of_state_test(what, unit, network, post) else { continue };
                let what = format!("{what}/{network}/{}", post["indexes"]);
                let done = bench.run(&inputs, &rules, &what);
                let exception = !post["expectException"].is_null();
                assert_eq!(
                    done.result.rejected.len(),
                    usize::from(exception),
                    "{what}: {:?}",
                    done.result.rejected
                );
                assert_eq!(json!(done.result.state_root), post["hash"], "{what}; BRAID_SEED={seed}");
                assert_eq!(json!(done.result.logs_hash), post["logs"], "{what}; BRAID_SEED={seed}");
                ran += 1;
                rejected += usize::from(exception);
            }
        });
        if drawn.is_none() {
            return;
        }
        eprintln!(
            "{archive}: {ran} cases, {rejected} of them with a rejected transaction; BRAID_SEED={seed}"
        );
        assert!(ran >= 10, "{archive}: only {ran} cases can be told to t8n; BRAID_SEED={seed}");
    }
}

/// The environment of a block after `parent`, with as much as possible left to compute.
fn env_of(fork: Fork, block: &Block, parent: &Header, hashes: &BTreeMap<u64, String>) -> Value {
    let header = &block.header;
    let mut env = json!({
        "currentCoinbase": header.beneficiary, "currentGasLimit": header.gas_limit,
        "currentNumber": header.number.to_string(), "currentTimestamp": header.timestamp,
        "parentTimestamp": parent.timestamp, "parentGasUsed": parent.gas_used,
        "parentGasLimit": parent.gas_limit, "parentUncleHash": parent.ommers_hash, "blockHashes": hashes,
    });
    if fork < Fork::Paris {
        env["parentDifficulty"] = json!(parent.difficulty);
        let ommer =
            |ommer: &Header| json!({"address": ommer.beneficiary, "delta": header.number - ommer.number});
        env["ommers"] = block.ommers.iter().map(ommer).collect();
    } else {
        env["currentRandom"] = json!(header.mix_hash);
    }
    match parent.base_fee_per_gas {
        Some(base_fee) => env["parentBaseFee"] = json!(base_fee),
        None => env["currentBaseFee"] = json!(header.base_fee_per_gas),
    }
    match (parent.excess_blob_gas, parent.blob_gas_used) {
        (Some(excess), Some(used)) => {
            env["parentExcessBlobGas"] = json!(excess);
            env["parentBlobGasUsed"] = json!(used);
        }
        _ => env["currentExcessBlobGas"] = json!(header.excess_blob_gas),
    }
    env["parentBeaconBlockRoot"] = json!(header.parent_beacon_block_root);
    env["withdrawals"] = json!(block.withdrawals);
    env
}

/// The header fields that a transition computes.
fn computed(header: &Header, fork: Fork) -> impl PartialEq + std::fmt::Debug + use<> {
    (
        (header.state_root, header.transactions_root, header.receipts_root, header.logs_bloom),
        (header.gas_used, (fork < Fork::Paris).then_some(header.difficulty), header.base_fee_per_gas),
        (header.withdrawals_root, header.excess_blob_gas, header.blob_gas_used, header.requests_hash),
    )
}

fn computed_by(result: &ResultDocument) -> Header {
    let number = |number: Option<U64>| number.map(|number| number.to::<u64>());
    Header {
        state_root: result.state_root,
        transactions_root: result.tx_root,
        receipts_root: result.receipts_root,
        logs_bloom: result.logs_bloom,
        gas_used: result.gas_used.to(),
        difficulty: result.current_difficulty.unwrap_or_default(),
        base_fee_per_gas: number(result.current_base_fee),
        withdrawals_root: result.withdrawals_root,
        excess_blob_gas: number(result.current_excess_blob_gas),
        blob_gas_used: number(result.blob_gas_used),
        requests_hash: result.requests_hash,
        ..Header::default()
    }
}

fn rlp_of(json: &Value) -> Option<Block> {
    Block::decode(&hex::decode(json.as_str()?).ok()?).ok()
}

/// The blocks of a chain with its genesis first; `None` if it forks, or holds what is to be refused, or
/// rules that `--state.fork` cannot name.
fn chain_of(unit: &Value) -> Option<Vec<Block>> {
    let network = unit["network"].as_str()?;
    if network.contains("Amsterdam") || network.contains("AtDiff") {
        return None;
    }
    let mut chain = vec![rlp_of(&unit["genesisRLP"])?];
    for block in unit["blocks"].as_array()? {
        if !block["expectException"].is_null() || block["blockHeader"].is_null() {
            return None;
        }
        let block = rlp_of(&block["rlp"])?;
        if block.header.parent_hash != chain.last()?.header.hash_slow() {
            return None;
        }
        chain.push(block);
    }
    Some(chain)
}

/// Every transaction twice: the second of each has a nonce that is used.
fn doubled(txs: &TxsInput) -> TxsInput {
    TxsInput(txs.0.iter().flat_map(|tx| [tx.clone(), tx.clone()]).collect())
}

fn without_zeros(mut alloc: Alloc) -> Alloc {
    for account in alloc.0.values_mut() {
        account.storage.retain(|_, value| !value.is_zero());
    }
    alloc
}

/// Carries the state over the chain, block by block; the number of transactions.
fn follow(bench: &mut Bench, what: &str, unit: &Value, chain: &[Block]) -> usize {
    let network = text(&unit["network"]);
    let chain_id = text(&unit["config"]["chainid"]).trim_start_matches("0x");
    let chain_id = u64::from_str_radix(chain_id, 16).unwrap_or(1);
    let spec = ChainSpec::of_network(network, chain_id).unwrap();
    let mut alloc = parse_alloc(what, unit["pre"].to_string().as_bytes()).unwrap();
    let (mut hashes, mut txs_in_all) = (BTreeMap::new(), 0);
    for pair in chain.windows(2).take(BLOCKS) {
        let [parent, block] = pair else { unreachable!("windows of two") };
        let header = &block.header;
        let what = format!("{what}: block {}", header.number);
        hashes.insert(parent.header.number, header.parent_hash.to_string());
        let fork = spec.fork_at(header.number, header.timestamp, U256::ZERO);
        let reward = (fork < Fork::Paris).then(|| block_reward(fork).try_into().unwrap());
        let rules = Rules { fork: network.into(), chain_id, reward };
        let env =
            parse_env(&what, env_of(fork, block, &parent.header, &hashes).to_string().as_bytes()).unwrap();
        let mut body = Vec::new();
        alloy_rlp::encode_list(&block.txs, &mut body);
        let body = Bytes::from(body);
        let txs = parse_body(&what, json!(body).to_string().as_bytes()).unwrap();
        let inputs = Inputs { alloc, env, txs };
        let mut done = bench.run(&inputs, &rules, &what);
        let (got, expected) = (computed(&computed_by(&done.result), fork), computed(header, fork));
        assert_eq!(format!("{got:?}"), format!("{expected:?}"), "{what}: {:?}", done.result.rejected);
        assert_eq!((done.body.clone(), done.result.rejected.len()), (body, 0), "{what}");
        if !inputs.txs.0.is_empty() {
            let txs = doubled(&inputs.txs);
            let mut twice = bench.run(&Inputs { txs, ..inputs.clone() }, &rules, &what);
            let places: Vec<_> = twice.result.rejected.drain(..).map(|one| one.index).collect();
            assert_eq!(places, (0..inputs.txs.0.len()).map(|at| 2 * at + 1).collect::<Vec<_>>(), "{what}");
            assert_eq!((twice.result, &twice.alloc), (done.result, &done.alloc), "{what}: twice each");
        }
        txs_in_all += inputs.txs.0.len();
        alloc = std::mem::take(&mut done.alloc);
    }
    if unit["postState"].is_object() && chain.len() <= BLOCKS + 1 {
        let expected = parse_alloc(what, unit["postState"].to_string().as_bytes()).unwrap();
        assert_eq!(alloc, without_zeros(expected), "{what}: post-state");
    }
    txs_in_all
}

#[test]
fn chains_of_blocks_come_out_as_their_headers_say() {
    let mut bench = Bench::new();
    for archive in CHAIN_ARCHIVES {
        let (mut chains, mut txs) = (0, 0);
        let seed = bench.seed;
        let drawn = draw(archive, seed, |what, unit| {
            let Some(chain) = chain_of(unit) else { return };
            txs += follow(&mut bench, what, unit, &chain);
            chains += 1;
        });
        if drawn.is_none() {
            return;
        }
        eprintln!("{archive}: {chains} chains, {txs} transactions; BRAID_SEED={seed}");
        assert!(chains >= 10, "{archive}: only {chains} chains can be told to t8n; BRAID_SEED={seed}");
    }
}
