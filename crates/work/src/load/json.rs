//! The JSON forms of blocks, transactions and states, field by field.

use crate::fields::JsonAccess;
use alloy_primitives::{Address, B64, B256, Bloom, Bytes, Log, U256};
use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor},
};
use std::{collections::BTreeMap, fmt, marker::PhantomData};

/// A quantity: a JSON number, or a string of hexadecimal digits after `0x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Q<T>(pub(crate) T);

struct QVisitor<T>(PhantomData<T>);

impl<T: TryFrom<U256>> Visitor<'_> for QVisitor<T> {
    type Value = Q<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or a hex quantity")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Q<T>, E> {
        T::try_from(U256::from(number)).map(Q).map_err(|_| E::custom(format!("{number} is out of range")))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Q<T>, E> {
        let digits = text.strip_prefix("0x").ok_or_else(|| E::custom(format!("`{text:.80}` has no 0x")))?;
        if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(E::custom(format!("`{text:.80}` is not a hex quantity")));
        }
        let number = U256::from_str_radix(digits, 16).map_err(E::custom)?;
        T::try_from(number).map(Q).map_err(|_| E::custom(format!("{text:.80} is out of range")))
    }
}

impl<'de, T: TryFrom<U256>> Deserialize<'de> for Q<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(QVisitor(PhantomData))
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JsonHeader {
    pub(crate) hash: Option<B256>,
    pub(crate) parent_hash: B256,
    pub(crate) sha3_uncles: B256,
    pub(crate) miner: Address,
    pub(crate) state_root: B256,
    pub(crate) transactions_root: B256,
    pub(crate) receipts_root: B256,
    pub(crate) logs_bloom: Bloom,
    pub(crate) difficulty: Q<U256>,
    pub(crate) number: Q<u64>,
    pub(crate) gas_limit: Q<u64>,
    pub(crate) gas_used: Q<u64>,
    pub(crate) timestamp: Q<u64>,
    pub(crate) extra_data: Bytes,
    pub(crate) mix_hash: B256,
    pub(crate) nonce: B64,
    pub(crate) base_fee_per_gas: Option<Q<u64>>,
    pub(crate) withdrawals_root: Option<B256>,
    pub(crate) blob_gas_used: Option<Q<u64>>,
    pub(crate) excess_blob_gas: Option<Q<u64>>,
    pub(crate) parent_beacon_block_root: Option<B256>,
    pub(crate) requests_hash: Option<B256>,
}

/// What an RPC block has besides its header.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct JsonBody {
    pub(crate) transactions: Vec<JsonTx>,
    #[serde(default)]
    pub(crate) uncles: Vec<B256>,
    pub(crate) withdrawals: Option<Vec<JsonWithdrawal>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JsonWithdrawal {
    pub(crate) index: Q<u64>,
    pub(crate) validator_index: Q<u64>,
    pub(crate) address: Address,
    /// In gwei.
    pub(crate) amount: Q<u64>,
}

/// A signed transaction as RPC and the chain file list it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JsonTx {
    #[serde(rename = "type")]
    pub(crate) ty: Option<Q<u64>>,
    pub(crate) from: Option<Address>,
    pub(crate) chain_id: Option<Q<u64>>,
    pub(crate) nonce: Q<u64>,
    #[serde(alias = "gasLimit")]
    pub(crate) gas: Q<u64>,
    pub(crate) gas_price: Option<Q<u128>>,
    pub(crate) max_fee_per_gas: Option<Q<u128>>,
    pub(crate) max_priority_fee_per_gas: Option<Q<u128>>,
    pub(crate) max_fee_per_blob_gas: Option<Q<u128>>,
    pub(crate) to: Option<Address>,
    pub(crate) value: Q<U256>,
    pub(crate) input: Bytes,
    #[serde(default)]
    pub(crate) access_list: Option<Vec<JsonAccess>>,
    #[serde(default)]
    pub(crate) blob_versioned_hashes: Option<Vec<B256>>,
    #[serde(default)]
    pub(crate) authorization_list: Option<Vec<JsonAuthorization>>,
    pub(crate) r: Q<U256>,
    pub(crate) s: Q<U256>,
    pub(crate) v: Option<Q<u64>>,
    pub(crate) y_parity: Option<Q<u64>>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct JsonAuthorization {
    #[serde(alias = "chainId")]
    pub(crate) chain_id: Q<U256>,
    pub(crate) address: Address,
    pub(crate) nonce: Q<u64>,
    #[serde(alias = "yParity", alias = "v")]
    pub(crate) y_parity: Q<u8>,
    pub(crate) r: Q<U256>,
    pub(crate) s: Q<U256>,
}

/// One block of a chain file.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct JsonChainBlock {
    pub(crate) hash: B256,
    pub(crate) header: JsonHeader,
    pub(crate) transactions: Vec<JsonTx>,
    pub(crate) receipts: Vec<JsonReceipt>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JsonReceipt {
    pub(crate) status: Q<u8>,
    pub(crate) cumulative_gas_used: Q<u64>,
    pub(crate) logs: Vec<JsonLog>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct JsonLog {
    address: Address,
    topics: Vec<B256>,
    data: Bytes,
}

impl From<JsonLog> for Log {
    fn from(log: JsonLog) -> Log {
        Log::new_unchecked(log.address, log.topics, log.data)
    }
}

/// One account of `pre_state.json.zst`, with its code by hash (block cases) or inline (environments).
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct JsonAccount {
    pub(crate) balance: Q<U256>,
    pub(crate) nonce: Q<u64>,
    pub(crate) code_hash: Option<B256>,
    pub(crate) code: Option<Bytes>,
    #[serde(default)]
    pub(crate) storage: BTreeMap<Q<U256>, Q<U256>>,
}

/// One account of `post_state.json.zst`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct JsonPostAccount {
    pub(crate) balance: Option<Q<U256>>,
    pub(crate) nonce: Option<Q<u64>>,
    pub(crate) code_hash: Option<B256>,
    #[serde(default)]
    pub(crate) storage: BTreeMap<Q<U256>, Q<U256>>,
    #[serde(default)]
    pub(crate) created: bool,
    #[serde(default)]
    pub(crate) deleted: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct JsonWitness {
    pub(crate) pre_state_root: B256,
    pub(crate) state: Vec<Bytes>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct JsonMeta {
    pub(crate) chain_id: u64,
    pub(crate) scope: String,
    pub(crate) dao_drain: Option<Vec<Address>>,
}

/// `block.json.zst` of an environment.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct JsonEnv {
    pub(crate) number: Q<u64>,
    pub(crate) coinbase: Address,
    pub(crate) timestamp: Q<u64>,
    pub(crate) gas_limit: Q<u64>,
    pub(crate) basefee: Q<u64>,
    pub(crate) difficulty: Q<U256>,
    pub(crate) prevrandao: Option<B256>,
    pub(crate) excess_blob_gas: Option<Q<u64>>,
    pub(crate) chain_id: Q<u64>,
    pub(crate) spec_id: String,
    #[serde(default)]
    pub(crate) block_hashes: BTreeMap<String, B256>,
}

/// A transaction of an environment: no signature, sender given.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct JsonEnvTx {
    pub(crate) tx_type: Q<u64>,
    pub(crate) caller: Address,
    pub(crate) to: Option<Address>,
    pub(crate) nonce: Q<u64>,
    pub(crate) value: Q<U256>,
    pub(crate) data: Bytes,
    pub(crate) gas_limit: Q<u64>,
    pub(crate) gas_price: Q<u128>,
    pub(crate) gas_priority_fee: Option<Q<u128>>,
    pub(crate) chain_id: Option<Q<u64>>,
    #[serde(default)]
    pub(crate) access_list: Vec<JsonAccess>,
    #[serde(default)]
    pub(crate) blob_hashes: Vec<B256>,
    #[serde(default)]
    pub(crate) max_fee_per_blob_gas: Option<Q<u128>>,
    #[serde(default)]
    pub(crate) authorization_list: Vec<JsonAuthorization>,
}
