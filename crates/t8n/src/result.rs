//! The result document, in go-ethereum's form.

use alloy_primitives::{Address, B256, Bloom, Bytes, U64, U256};
use serde::Serialize;

/// Hash that stands for the block's in receipts: the block has none yet.
pub(crate) const BLOCK_HASH: B256 = {
    let mut hash = [0; 32];
    (hash[0], hash[1]) = (0x13, 0x37);
    B256::new(hash)
};

/// What came of the block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResultDocument {
    /// Root of the state after.
    pub state_root: B256,
    /// Root of the included transactions.
    pub tx_root: B256,
    /// Root of the receipts.
    pub receipts_root: B256,
    /// Keccak-256 of the RLP of all logs.
    pub logs_hash: B256,
    /// Bloom filter over all logs.
    pub logs_bloom: Bloom,
    /// Receipts of the included transactions.
    pub receipts: Vec<ReceiptEntry>,
    /// Transactions that are not included.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<Rejected>,
    /// Difficulty; null from the Merge on.
    pub current_difficulty: Option<U256>,
    /// Gas used.
    pub gas_used: U64,
    /// Base fee in wei.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_base_fee: Option<U64>,
    /// Root of the withdrawals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub withdrawals_root: Option<B256>,
    /// Excess blob gas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_excess_blob_gas: Option<U64>,
    /// Blob gas used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blob_gas_used: Option<U64>,
    /// Hash of the requests (EIP-7685).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_hash: Option<B256>,
    /// Requests, each with its type byte first; null before Prague.
    pub requests: Option<Vec<Bytes>>,
}

/// A transaction that is not included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rejected {
    /// Its place in the input.
    pub index: usize,
    /// Why.
    pub error: String,
}

/// A receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReceiptEntry {
    /// Type of the transaction; left out if legacy.
    #[serde(rename = "type", skip_serializing_if = "U64::is_zero")]
    pub ty: U64,
    /// State root after the transaction before Byzantium; empty since.
    pub root: Bytes,
    /// 1 if it succeeded.
    pub status: U64,
    /// Gas used in the block up to and including it.
    pub cumulative_gas_used: U64,
    /// Bloom filter over its logs.
    pub logs_bloom: Bloom,
    /// Its logs.
    pub logs: Vec<LogEntry>,
    /// Hash of the transaction.
    pub transaction_hash: B256,
    /// Address of the contract that it was to create; zero if none.
    pub contract_address: Address,
    /// Gas used by it.
    pub gas_used: U64,
    /// Always null, as in go-ethereum's tool.
    pub effective_gas_price: Option<U256>,
    /// Its blob gas; left out if none.
    #[serde(skip_serializing_if = "U64::is_zero")]
    pub blob_gas_used: U64,
    /// Price of blob gas in wei, for a transaction with blobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blob_gas_price: Option<U256>,
    /// A constant: the block has no hash yet.
    pub block_hash: B256,
    /// Number of the block.
    pub block_number: U64,
    /// Place among the included transactions.
    pub transaction_index: U64,
}

/// A log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogEntry {
    /// Who logged.
    pub address: Address,
    /// Topics.
    pub topics: Vec<B256>,
    /// Data.
    pub data: Bytes,
    /// Number of the block.
    pub block_number: U64,
    /// Hash of the transaction.
    pub transaction_hash: B256,
    /// Place of the transaction among the included ones.
    pub transaction_index: U64,
    /// A constant: the block has no hash yet.
    pub block_hash: B256,
    /// Time of the block in seconds.
    pub block_timestamp: U64,
    /// Place of the log in the block.
    pub log_index: U64,
    /// Always false.
    pub removed: bool,
}
