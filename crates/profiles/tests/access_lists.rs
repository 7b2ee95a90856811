//! Access lists (EIP-7928) of real blocks: every engine records the same bytes, a block runs by them to the
//! result of `lean`, and what they say is what `lean` changed.
//!
//! Blocks are read from `BRAID_DATA`, or `../shared/data` beside the repository; without them these tests
//! say so and skip. `BRAID_LONG=1` takes every block; otherwise it is a sample.

mod common;

use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256, keccak256};
use alloy_rlp::Decodable;
use braid_core::Control;
use braid_evm::{
    AccountChanges, BlockAccessList, BlockInput, ExecutedBlock, PrescribedBlock, access_list_hash,
    access_list_rlp,
};
use braid_profiles::{Engine, profile};
use braid_testkit::data;
use braid_work::{Case, PreState, load};
use common::schedule_seeds;
use revm::primitives::hardfork::SpecId;
use std::collections::BTreeMap;

const SEATS: [(&str, usize); 10] = [
    ("serial", 1),
    ("monad", 1),
    ("monad", 2),
    ("monad", 4),
    ("aptos", 1),
    ("aptos", 2),
    ("aptos", 4),
    ("bal", 1),
    ("bal", 2),
    ("bal", 4),
];

type Seats = Vec<(&'static str, usize, Box<dyn Engine>)>;

fn seats() -> Seats {
    let seat = |(name, threads)| (name, threads, (profile(name).unwrap().build)(threads).unwrap());
    SEATS.into_iter().map(seat).collect()
}

/// The block and its list, as `engine` gives them.
fn recorded(
    engine: &mut dyn Engine,
    input: &BlockInput,
    pre: &PreState,
    what: &dyn Fn() -> String,
) -> (ExecutedBlock, BlockAccessList) {
    let done = engine.execute_recorded(input, pre, &Control::default()).expect("records lists");
    let (done, list) = done.unwrap_or_else(|error| panic!("{}: {error}", what()));
    (done.into_block(pre), list)
}

/// Balance, nonce and hash of code that an entry ends with, where it changes them, and its slots.
type Ends = (Option<U256>, Option<u64>, Option<B256>, BTreeMap<U256, U256>);

fn ends(entry: &AccountChanges) -> Ends {
    let hash = |code: &Bytes| if code.is_empty() { KECCAK256_EMPTY } else { keccak256(code) };
    let slots = entry.storage_changes.iter();
    (
        entry.balance_changes.last().map(|change| change.post_balance),
        entry.nonce_changes.last().map(|change| change.new_nonce),
        entry.code_changes.last().map(|change| hash(&change.new_code)),
        slots.map(|slot| (slot.slot, slot.changes.last().unwrap().new_value)).collect(),
    )
}

/// Every change of the block, which an engine that knows nothing of lists found, is the last one of an entry.
fn covers(list: &BlockAccessList, block: &ExecutedBlock, what: &dyn Fn() -> String) {
    let entries: BTreeMap<Address, Ends> = list.iter().map(|entry| (entry.address, ends(entry))).collect();
    for (address, diff) in &block.diff {
        let what = || format!("{}: {address}", what());
        let (balance, nonce, code, slots) = entries.get(address).unwrap_or_else(|| panic!("{}", what()));
        match &diff.account {
            Some(after) => {
                assert!(balance.is_none_or(|balance| balance == after.balance), "{}", what());
                assert!(nonce.is_none_or(|nonce| nonce == after.nonce), "{}", what());
                assert!(code.is_none_or(|code| code == after.code_hash), "{}", what());
            }
            None => assert!(nonce.unwrap_or(0) == 0 && balance.unwrap_or_default().is_zero(), "{}", what()),
        }
        for (slot, value) in &diff.storage {
            assert_eq!(slots.get(slot), Some(value), "{}: slot {slot}", what());
        }
    }
}

fn check(case: &Case, seats: &mut Seats) -> usize {
    let (input, pre) = (&case.input, case.state().unwrap());
    let mut lean = (profile("lean").unwrap().build)(1).unwrap();
    let mut expected = lean.execute(input, pre, &Control::default()).unwrap().into_block(pre);
    expected.stats = Default::default();
    let (_, list) = recorded(&mut *seats[0].2, input, pre, &|| case.name.clone());
    let bytes = access_list_rlp(&list);
    assert_eq!(BlockAccessList::decode(&mut bytes.as_ref()).unwrap(), list, "{}", case.name);
    assert_eq!(access_list_hash(&list), keccak256(&bytes));
    alloy_eips::eip7928::validate_block_access_list(&list, input.txs.len()).unwrap();
    covers(&list, &expected, &|| case.name.clone());
    let decoded = PrescribedBlock::decode(&bytes, input).unwrap();
    assert_eq!(decoded.counts().0, list.len());
    for (name, threads, engine) in seats {
        for seed in schedule_seeds(2) {
            engine.shuffle(seed);
            let what =
                || format!("{}: {name} with {threads} threads; repeat with BRAID_SEED={seed}", case.name);
            engine.prepare(input, pre, Some(&bytes));
            let (mut block, again) = recorded(&mut **engine, input, pre, &what);
            assert!(access_list_rlp(&again) == bytes, "{}: another list", what());
            if let Some(record) = engine.record(input, pre, &Control::default()) {
                let (_, record) = record.unwrap_or_else(|error| panic!("{}: {error}", what()));
                assert!(engine.encode(&record, pre).unwrap() == bytes, "{}: other bytes", what());
                assert!(record.rlp(&**pre).unwrap() == bytes, "{}: other bytes in one part", what());
            }
            let stats = std::mem::take(&mut block.stats);
            // No access list tells of empty accounts, which the state had until EIP-161 was through with them.
            let falls = *name == "bal" && !input.spec.is_enabled_in(SpecId::BYZANTIUM);
            assert!(stats.fallbacks <= u64::from(falls), "{}", what());
            assert!(block == expected, "{}: differs from lean", what());
        }
    }
    bytes.len()
}

#[test]
fn mainnet() {
    let Some(path) = data().map(|data| data.join("ethereum/mainnet")) else { return };
    let every = if std::env::var_os("BRAID_LONG").is_some() { 1 } else { 4 };
    let mut seats = seats();
    let (mut blocks, mut bytes, mut gas) = (0, 0, 0);
    for source in load(&path).unwrap().into_iter().step_by(every) {
        let case = source.load().unwrap_or_else(|error| panic!("{error}"));
        if case.pre.is_some() {
            bytes += check(&case, &mut seats);
            gas += case.header.as_ref().map_or(0, |header| header.gas_used);
            blocks += 1;
        }
    }
    eprintln!("{blocks} blocks, {bytes} bytes of lists, {} Mgas", gas / 1_000_000);
    assert!(blocks >= 8, "only {blocks} blocks in {}", path.display());
}
