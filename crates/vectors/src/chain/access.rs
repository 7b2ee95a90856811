//! Access lists (EIP-7928) as fixtures have them.

use crate::json::Num;
use alloy_eips::eip7928::{
    BalanceChange, BlockAccessIndex, CodeChange, NonceChange, SlotChanges, StorageChange,
};
use alloy_primitives::{Address, Bytes, U256};
use braid_evm::{AccountChanges, BlockAccessList};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct JsonAccess {
    address: Address,
    nonce_changes: Vec<JsonNonce>,
    balance_changes: Vec<JsonBalance>,
    code_changes: Vec<JsonCode>,
    storage_changes: Vec<JsonSlot>,
    storage_reads: Vec<U256>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonNonce {
    block_access_index: Num<u64>,
    post_nonce: Num<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonBalance {
    block_access_index: Num<u64>,
    post_balance: U256,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonCode {
    block_access_index: Num<u64>,
    new_code: Bytes,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonSlot {
    slot: U256,
    slot_changes: Vec<JsonWord>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonWord {
    block_access_index: Num<u64>,
    post_value: U256,
}

/// The list of a fixture, in the order in which it stands there.
pub(super) fn access_list(json: Vec<JsonAccess>) -> BlockAccessList {
    let at = |index: Num<u64>| BlockAccessIndex::new(index.0);
    let slot = |json: JsonSlot| {
        let word = |word: JsonWord| StorageChange::new(at(word.block_access_index), word.post_value);
        SlotChanges::new(json.slot, json.slot_changes.into_iter().map(word).collect())
    };
    let balance = |json: JsonBalance| BalanceChange::new(at(json.block_access_index), json.post_balance);
    let nonce = |json: JsonNonce| NonceChange::new(at(json.block_access_index), json.post_nonce.0);
    let code = |json: JsonCode| CodeChange::new(at(json.block_access_index), json.new_code);
    let account = |json: JsonAccess| AccountChanges {
        address: json.address,
        storage_changes: json.storage_changes.into_iter().map(slot).collect(),
        storage_reads: json.storage_reads,
        balance_changes: json.balance_changes.into_iter().map(balance).collect(),
        nonce_changes: json.nonce_changes.into_iter().map(nonce).collect(),
        code_changes: json.code_changes.into_iter().map(code).collect(),
    };
    json.into_iter().map(account).collect()
}
