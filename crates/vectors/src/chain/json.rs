//! Blockchain tests as their files have them: ethereum/tests, ethereum/legacytests, EEST blockchain_test.

use super::{BlockCase, ChainCase, Post};
use alloy_eips::{eip4844, eip7840::BlobParams};
use alloy_primitives::{B256, Bytes, U256};
use braid_rules::{ChainSpec, Fork, decode};
use braid_work::Alloc;
use serde::Deserialize;
use std::{collections::BTreeMap, sync::Arc};

/// Why a member of a file is no blockchain test.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainJsonError {
    /// The JSON has another shape.
    #[error("not a blockchain test: {0}")]
    Json(String),
    /// The network, or one that the blob schedule names, is not known.
    #[error("unknown network `{0}`")]
    Network(String),
    /// A number is out of range.
    #[error("{what} {value} is out of range")]
    Range {
        /// What it is.
        what: &'static str,
        /// The number.
        value: U256,
    },
    /// The genesis block does not decode, or does not have the hash it should.
    #[error("genesis: {0}")]
    Genesis(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonChain {
    network: String,
    #[serde(rename = "genesisRLP")]
    genesis_rlp: Bytes,
    genesis_block_header: JsonHash,
    pre: Alloc,
    post_state: Option<Alloc>,
    post_state_hash: Option<B256>,
    lastblockhash: B256,
    config: Option<JsonConfig>,
    blocks: Vec<JsonBlock>,
}

#[derive(Deserialize)]
struct JsonHash {
    hash: B256,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonConfig {
    chainid: Option<U256>,
    #[serde(default)]
    blob_schedule: BTreeMap<String, JsonBlobs>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonBlobs {
    target: U256,
    max: U256,
    base_fee_update_fraction: U256,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonBlock {
    rlp: Bytes,
    block_header: Option<JsonHash>,
    expect_exception: Option<String>,
}

impl ChainCase {
    /// From one member of a file.
    ///
    /// # Errors
    /// [`ChainJsonError`].
    pub fn from_json(json: &str) -> Result<ChainCase, ChainJsonError> {
        let json: JsonChain =
            serde_json::from_str(json).map_err(|error| ChainJsonError::Json(error.to_string()))?;
        let config = json.config.unwrap_or(JsonConfig { chainid: None, blob_schedule: BTreeMap::new() });
        let chain = chain(&json.network, config)?;
        let genesis = decode::Block::decode(&json.genesis_rlp)
            .map_err(|error| ChainJsonError::Genesis(error.to_string()))?;
        if genesis.hash != json.genesis_block_header.hash {
            let (got, expected) = (genesis.hash, json.genesis_block_header.hash);
            return Err(ChainJsonError::Genesis(format!("hash {got}, expected {expected}")));
        }
        let post = match (json.post_state, json.post_state_hash) {
            (Some(state), _) => Post::State(Box::new(state)),
            (None, Some(root)) => Post::Root(root),
            (None, None) => Post::Unknown,
        };
        let block = |json: JsonBlock| BlockCase {
            valid: json.expect_exception.is_none() && json.block_header.is_some(),
            hash: json.block_header.map(|header| header.hash),
            exception: json.expect_exception,
            rlp: json.rlp,
        };
        Ok(ChainCase {
            network: json.network,
            chain: Arc::new(chain),
            genesis: genesis.header,
            pre: Arc::new(json.pre),
            blocks: json.blocks.into_iter().map(block).collect(),
            last: json.lastblockhash,
            post,
        })
    }
}

fn chain(network: &str, config: JsonConfig) -> Result<ChainSpec, ChainJsonError> {
    let chain_id = config.chainid.map_or(Ok(1), |id| range("chain id", id))?;
    let mut chain =
        ChainSpec::of_network(network, chain_id).map_err(|unknown| ChainJsonError::Network(unknown.0))?;
    for (name, blobs) in config.blob_schedule {
        let fork = ChainSpec::fork_named(&name)
            .ok_or_else(|| ChainJsonError::Network(name.chars().take(80).collect()))?;
        chain = chain.with_blobs(fork, params(fork, &blobs)?);
    }
    Ok(chain)
}

/// EIP-7840: the schedule says three numbers; the others follow from the fork.
fn params(fork: Fork, blobs: &JsonBlobs) -> Result<BlobParams, ChainJsonError> {
    const MOST: u64 = u64::MAX / eip4844::DATA_GAS_PER_BLOB;
    let count = |what, value| {
        range(what, value).and_then(|count| match count <= MOST {
            true => Ok(count),
            false => Err(ChainJsonError::Range { what, value }),
        })
    };
    let base = if fork >= Fork::Osaka { BlobParams::osaka() } else { BlobParams::prague() };
    Ok(BlobParams {
        target_blob_count: count("blob target", blobs.target)?,
        max_blob_count: count("most blobs", blobs.max)?,
        update_fraction: range("blob update fraction", blobs.base_fee_update_fraction)?.into(),
        ..base
    })
}

fn range(what: &'static str, value: U256) -> Result<u64, ChainJsonError> {
    u64::try_from(value).map_err(|_| ChainJsonError::Range { what, value })
}
