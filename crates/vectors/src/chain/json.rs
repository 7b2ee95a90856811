//! Blockchain tests as their files have them: ethereum/tests, ethereum/legacytests, EEST blockchain_test.

use super::{
    BlockCase, ChainCase, Post,
    access::{JsonAccess, access_list},
};
use crate::{
    Case, CaseKind, VectorError,
    json::{self, Num},
};
use alloy_eips::{eip4844::DATA_GAS_PER_BLOB, eip7840::BlobParams};
use alloy_primitives::{B256, Bytes};
use braid_rules::{Block, ChainSpec, Fork};
use braid_work::Alloc;
use serde::Deserialize;
use std::{collections::BTreeMap, sync::Arc};

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

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonConfig {
    chainid: Option<Num<u64>>,
    #[serde(default)]
    blob_schedule: BTreeMap<String, JsonBlobs>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonBlobs {
    target: Num<u64>,
    max: Num<u64>,
    base_fee_update_fraction: Num<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonBlock {
    rlp: Bytes,
    block_header: Option<JsonHash>,
    expect_exception: Option<String>,
    block_access_list: Option<Vec<JsonAccess>>,
}

/// The cases of a file of blockchain tests that `label` names, in order.
///
/// # Errors
/// If it is no such file, or says what cannot be.
pub(crate) fn cases(label: &Arc<str>, bytes: &[u8]) -> Result<Vec<Case>, VectorError> {
    let units: BTreeMap<String, JsonChain> = json::parse(label, bytes)?;
    let case = |(name, unit): (String, JsonChain)| match chain_case(unit) {
        Ok(case) => Ok(Case { file: label.clone(), name, kind: CaseKind::Chain(Box::new(case)) }),
        Err(reason) => Err(VectorError::invalid(label, &name, reason)),
    };
    units.into_iter().map(case).collect()
}

fn chain_case(json: JsonChain) -> Result<ChainCase, String> {
    let chain = chain(&json.network, json.config)?;
    let genesis = Block::decode(&json.genesis_rlp).map_err(|error| format!("genesis: {error}"))?;
    if genesis.hash != json.genesis_block_header.hash {
        let (got, expected) = (genesis.hash, json.genesis_block_header.hash);
        return Err(format!("genesis: hash {got}, expected {expected}"));
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
        access_list: json.block_access_list.map(access_list),
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

fn chain(network: &str, config: Option<JsonConfig>) -> Result<ChainSpec, String> {
    let config = config.unwrap_or_default();
    let chain_id = config.chainid.map_or(1, |id| id.0);
    let mut chain = ChainSpec::of_network(network, chain_id).map_err(|unknown| unknown.to_string())?;
    for (name, blobs) in config.blob_schedule {
        let fork = ChainSpec::fork_named(&name)
            .ok_or_else(|| format!("blob schedule of an unknown fork `{name:.80}`"))?;
        chain = chain.with_blobs(fork, params(fork, &blobs)?);
    }
    Ok(chain)
}

/// EIP-7840: the schedule says three numbers; the others follow from the fork.
fn params(fork: Fork, blobs: &JsonBlobs) -> Result<BlobParams, String> {
    let (target, max, fraction) = (blobs.target.0, blobs.max.0, blobs.base_fee_update_fraction.0);
    if target.max(max) > u64::MAX / DATA_GAS_PER_BLOB || fraction == 0 {
        return Err(format!("blob schedule of {fork:?}: {target}, {max}, {fraction} cannot be"));
    }
    let of_fork = if fork >= Fork::Osaka { BlobParams::osaka() } else { BlobParams::prague() };
    Ok(BlobParams {
        target_blob_count: target,
        max_blob_count: max,
        update_fraction: fraction.into(),
        ..of_fork
    })
}
