//! The environment of the block.

use crate::{T8nError, number::Num};
use alloy_primitives::{Address, B256, U256};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;

/// The environment of the block, as go-ethereum's tool reads it. What is computed from the parent is so
/// only if the value itself is not given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Env {
    /// Beneficiary.
    pub current_coinbase: Address,
    /// Gas limit.
    #[serde(deserialize_with = "number")]
    pub current_gas_limit: u64,
    /// Number.
    #[serde(deserialize_with = "number")]
    pub current_number: u64,
    /// Time in seconds.
    #[serde(deserialize_with = "number")]
    pub current_timestamp: u64,
    /// Difficulty; computed from the parent's if not given. Zero or not given from the Merge on.
    #[serde(default, deserialize_with = "optional")]
    pub current_difficulty: Option<U256>,
    /// Randomness (EIP-4399), from the Merge on.
    #[serde(default, deserialize_with = "optional")]
    pub current_random: Option<U256>,
    /// Base fee in wei, from London on; computed from the parent's if not given.
    #[serde(default, deserialize_with = "optional")]
    pub current_base_fee: Option<u64>,
    /// Excess blob gas, from Cancun on; computed from the parent's if not given.
    #[serde(default, deserialize_with = "optional")]
    pub current_excess_blob_gas: Option<u64>,
    /// Slot number (EIP-7843), from Amsterdam on.
    #[serde(default, alias = "slotNumber", deserialize_with = "optional")]
    pub current_slot_number: Option<u64>,
    /// Difficulty of the parent.
    #[serde(default, deserialize_with = "optional")]
    pub parent_difficulty: Option<U256>,
    /// Time of the parent.
    #[serde(default, deserialize_with = "optional")]
    pub parent_timestamp: Option<u64>,
    /// Hash of the parent's ommers; zero or not given: it has none.
    #[serde(default)]
    pub parent_uncle_hash: Option<B256>,
    /// Base fee of the parent in wei.
    #[serde(default, deserialize_with = "optional")]
    pub parent_base_fee: Option<u64>,
    /// Gas used by the parent.
    #[serde(default, deserialize_with = "optional")]
    pub parent_gas_used: Option<u64>,
    /// Gas limit of the parent.
    #[serde(default, deserialize_with = "optional")]
    pub parent_gas_limit: Option<u64>,
    /// Excess blob gas of the parent.
    #[serde(default, deserialize_with = "optional")]
    pub parent_excess_blob_gas: Option<u64>,
    /// Blob gas used by the parent.
    #[serde(default, deserialize_with = "optional")]
    pub parent_blob_gas_used: Option<u64>,
    /// Root of the parent beacon block (EIP-4788), from Cancun on.
    #[serde(default)]
    pub parent_beacon_block_root: Option<B256>,
    /// Hashes of earlier blocks by number.
    #[serde(default, deserialize_with = "block_hashes")]
    pub block_hashes: Option<BTreeMap<u64, B256>>,
    /// Ommers that are rewarded.
    #[serde(default)]
    pub ommers: Option<Vec<Ommer>>,
    /// Withdrawals, from Shanghai on.
    #[serde(default)]
    pub withdrawals: Option<Vec<Withdrawal>>,
}

/// An ommer that is rewarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Ommer {
    /// How many blocks it is behind.
    #[serde(deserialize_with = "number")]
    pub delta: u64,
    /// Its beneficiary.
    pub address: Address,
}

/// A withdrawal (EIP-4895).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Withdrawal {
    /// Its index.
    #[serde(deserialize_with = "number")]
    pub index: u64,
    /// Index of the validator.
    #[serde(deserialize_with = "number")]
    pub validator_index: u64,
    /// Who gets it.
    pub address: Address,
    /// In gwei.
    #[serde(deserialize_with = "number")]
    pub amount: u64,
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Num::deserialize(deserializer).map(|number| number.0)
}

fn optional<'de, T: TryFrom<U256>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Ok(Option::<Num<T>>::deserialize(deserializer)?.map(|number| number.0))
}

fn block_hashes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<BTreeMap<u64, B256>>, D::Error> {
    let listed = Option::<BTreeMap<Num<u64>, B256>>::deserialize(deserializer)?;
    Ok(listed.map(|listed| listed.into_iter().map(|(number, hash)| (number.0, hash)).collect()))
}

/// Parses an environment; `what` names the input in errors.
///
/// # Errors
/// [`T8nError::Json`].
pub fn parse_env(what: &str, json: &[u8]) -> Result<Env, T8nError> {
    crate::inputs::parse(what, json)
}
