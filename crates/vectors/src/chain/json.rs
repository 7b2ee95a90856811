//! Blockchain tests as their files have them: ethereum/tests, ethereum/legacytests, EEST blockchain_test.

use super::{
    BlockCase, ChainCase, Post,
    access::{JsonAccess, access_list},
};
use crate::{
    Case, CaseKind, VectorError, json,
    network::{self, JsonConfig},
};
use alloy_primitives::{B256, Bytes};
use braid_rules::Block;
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
    let chain = network::chain(&json.network, json.config.as_ref())?;
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
