//! Every form of the shared data loads, and what can be checked without running it is right.

use alloy_primitives::{Address, U256, b256};
use braid_evm::{AccountState, EvmKey, EvmValue};
use braid_testkit::data;
use braid_work::{PreState, Source, WorkError, load, recover_senders, verify_input};

fn sources(folder: &str) -> Option<Vec<Source>> {
    Some(load(&data()?.join(folder)).unwrap_or_else(|error| panic!("{error}")))
}

#[test]
fn blocks_without_state_match_their_headers() {
    let Some(sources) = sources("ethereum/mainnet_blocks_only") else { return };
    assert!(sources.len() >= 15);
    for source in sources {
        let case = source.load().unwrap_or_else(|error| panic!("{error}"));
        let checks = verify_input(&case);
        assert!(checks.passed() && checks.made() >= 2, "{}: {checks}", case.name);
        assert!(matches!(case.state(), Err(WorkError::NoState { .. })));
    }
}

#[test]
fn the_chain_matches_its_headers_and_receipts() {
    let Some(sources) = sources("ethereum/chain") else { return };
    assert_eq!(sources.len(), 31);
    let mut parent = None;
    for source in sources {
        let case = source.load().unwrap_or_else(|error| panic!("{error}"));
        let checks = verify_input(&case);
        let made = [checks.header_hash, checks.transactions_root, checks.receipts_root, checks.logs_bloom];
        assert!(made.iter().all(|check| *check == Some(true)), "{}: {checks}", case.name);
        let header = case.header.expect("a header");
        assert!(parent.is_none_or(|parent| parent == header.parent_hash), "{}", case.name);
        parent = case.expect.block_hash;
    }
}

#[test]
fn environments_load() {
    let Some(sources) = sources("ethereum/mainnet_env") else { return };
    let cases: Vec<_> = sources.iter().map(|source| source.load().expect("an environment")).collect();
    assert!(cases.len() >= 6);
    assert_eq!(cases.iter().filter(|case| case.pre.is_some()).count(), 2);
    assert!(cases.iter().all(|case| !case.input.txs.is_empty() && case.raw.is_none()));
}

#[test]
fn the_genesis_state_has_its_known_root() {
    let Some(data) = data() else { return };
    let file = std::fs::read(data.join("ethereum/era1/mainnet_genesis_alloc.json.zst")).expect("the file");
    let json = zstd::decode_all(&file[..]).expect("a compressed file");
    let genesis: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    let mut pre = PreState::default();
    for (address, account) in genesis["alloc"].as_object().expect("an allocation") {
        let address: Address = address.parse().expect("an address");
        let balance: U256 = account["balance"].as_str().expect("a balance").parse().expect("a number");
        let account = AccountState { exists: true, balance, ..AccountState::default() };
        pre.store.set(EvmKey::Account(address), Some(EvmValue::Account(account)));
    }
    let known = b256!("0xd7f8974fb5ac78d9ac099b9ad5018bedc2ce0a72dad1827a1709da30580f0544");
    assert_eq!(pre.state_root(), known);
}

#[test]
fn senders_do_not_depend_on_the_number_of_threads() {
    let Some(sources) = sources("ethereum/mainnet/14396881") else { return };
    let case = sources[0].load().expect("a case");
    let raw = case.raw.expect("signed transactions");
    let one = recover_senders(&raw, 1).expect("senders");
    for threads in [0, 2, 3, 64, 10_000] {
        assert_eq!(recover_senders(&raw, threads).as_ref(), Ok(&one), "{threads} threads");
    }
}
