//! State roots that others computed: of official blockchain tests, before and after, and of the genesis of
//! mainnet.

use crate::{long, small};
use alloy_primitives::{Address, B256, U256, b256, hex, keccak256};
use alloy_trie::TrieAccount;
use braid_store::{
    disk::{Batch, DiskStore},
    io::{FaultMedium, Faults},
};
use braid_testkit::data;
use serde_json::{Map, Value};
use std::{collections::BTreeMap, fs::File, io::Read, path::Path, sync::Arc};

/// State root of mainnet's block 0.
const MAINNET_GENESIS: B256 = b256!("d7f8974fb5ac78d9ac099b9ad5018bedc2ce0a72dad1827a1709da30580f0544");

/// Without `BRAID_LONG=1`, each of so many tests is run.
const SAMPLE: usize = 5;

type Accounts = BTreeMap<Address, (TrieAccount, BTreeMap<U256, U256>)>;

fn number(value: &Value) -> U256 {
    let text = value.as_str().unwrap();
    let (digits, radix) = text.strip_prefix("0x").map_or((text, 10), |digits| (digits, 16));
    if digits.is_empty() { U256::ZERO } else { U256::from_str_radix(digits, radix).unwrap() }
}

fn accounts(state: &Map<String, Value>) -> Accounts {
    let account = |(address, of): (&String, &Value)| {
        let code = of.get("code").and_then(Value::as_str).unwrap_or("0x");
        let code_hash = keccak256(hex::decode(code).unwrap());
        let nonce = of.get("nonce").map_or(U256::ZERO, number).to::<u64>();
        let account =
            TrieAccount { nonce, balance: number(&of["balance"]), code_hash, ..TrieAccount::default() };
        let slots = of.get("storage").and_then(Value::as_object).into_iter().flatten();
        let slots = slots.map(|(slot, value)| (number(&Value::String(slot.clone())), number(value)));
        (address.parse().unwrap(), (account, slots.filter(|(_, value)| !value.is_zero()).collect()))
    };
    state.iter().map(account).collect()
}

/// What makes `after` of `before`.
fn difference(before: &Accounts, after: &Accounts) -> Batch {
    let mut batch = Batch::default();
    for address in before.keys().filter(|address| !after.contains_key(*address)) {
        batch.change(*address, None, false, []);
    }
    for (address, (account, slots)) in after {
        let was = before.get(address).map(|(_, slots)| slots);
        let gone = was.into_iter().flatten().filter(|(slot, _)| !slots.contains_key(*slot));
        let gone = gone.map(|(slot, _)| (*slot, U256::ZERO));
        let set = slots.iter().map(|(slot, value)| (*slot, *value));
        batch.change(*address, Some(*account), false, gone.chain(set));
    }
    batch
}

fn store() -> DiskStore {
    DiskStore::create_on(Arc::new(FaultMedium::new(0, Faults::default())), small()).unwrap()
}

/// Each JSON file of an archive, by name.
fn files(archive: &Path, mut each: impl FnMut(&str, BTreeMap<String, Value>)) {
    let mut decoder = zstd::Decoder::new(File::open(archive).unwrap()).unwrap();
    decoder.window_log_max(27).unwrap();
    let mut archive = tar::Archive::new(decoder);
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_string_lossy().into_owned();
        let mut text = String::new();
        if name.ends_with(".json") && entry.read_to_string(&mut text).is_ok() {
            each(&name, serde_json::from_str(&text).unwrap());
        }
    }
}

#[test]
fn blockchain_tests() {
    let Some(folder) = data() else { return };
    let (mut seen, mut roots) = (0, 0);
    let mut run = |name: &str, file: BTreeMap<String, Value>| {
        for (case, test) in file {
            let (Some(pre), Some(post)) = (test["pre"].as_object(), test["postState"].as_object()) else {
                continue;
            };
            seen += 1;
            if !long() && seen % SAMPLE != 0 {
                continue;
            }
            let blocks = test["blocks"].as_array().into_iter().flatten();
            let headers = blocks.map(|block| &block["blockHeader"]).chain([&test["genesisBlockHeader"]]);
            let last = headers.into_iter().find(|header| header["hash"] == test["lastblockhash"]);
            let (before, after) = (accounts(pre), accounts(post));
            let root =
                |header: &Value| header["stateRoot"].as_str().map(|root| root.parse::<B256>().unwrap());
            let mut store = store();
            let genesis = store.apply(0, &difference(&Accounts::new(), &before)).unwrap();
            assert_eq!(Some(genesis.root), root(&test["genesisBlockHeader"]), "{name} {case}");
            roots += 1;
            let done = store.apply(1, &difference(&before, &after)).unwrap();
            if let Some(expected) = last.and_then(root) {
                assert_eq!(done.root, expected, "{name} {case}");
                roots += 1;
            }
            store.verify().unwrap();
        }
    };
    for archive in [
        "tests_blockchain",
        "legacy_blockchain_valid",
        "eest_blockchain_older",
        "eest_blockchain_prague",
        "eest_blockchain_osaka",
    ] {
        files(&folder.join(format!("ethereum/tests/{archive}.tar.zst")), &mut run);
    }
    println!("{roots} roots of {seen} cases");
    assert!(roots > 500, "only {roots} roots of {seen} cases");
}

#[test]
fn the_genesis_of_mainnet() {
    let Some(folder) = data() else { return };
    let file = File::open(folder.join("ethereum/era1/mainnet_genesis_alloc.json.zst")).unwrap();
    let mut decoder = zstd::Decoder::new(file).unwrap();
    decoder.window_log_max(27).unwrap();
    let genesis: Value = serde_json::from_reader(decoder).unwrap();
    let accounts = accounts(genesis["alloc"].as_object().unwrap());
    let mut store = store();
    let done = store.apply(0, &difference(&Accounts::new(), &accounts)).unwrap();
    assert_eq!(done.root, MAINNET_GENESIS);
    assert_eq!(store.verify().unwrap().accounts, accounts.len() as u64);
}
