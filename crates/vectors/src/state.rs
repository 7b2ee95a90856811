//! State tests: one transaction on one state (GeneralStateTests of ethereum/tests and
//! ethereum/legacytests, `state_tests` of EEST).
//!
//! A unit of a file says for each fork what comes of each choice of data, gas limit and value. There is
//! no block around the transaction: no system calls, no rewards, no withdrawals. The beneficiary is
//! touched even if it gets nothing, as geth does it (`tests/state_test_util.go`).

use crate::{
    Case, CaseKind, Field, Flaw, StateCase, StateExpect, TxFault, VectorError,
    json::{self, Num},
    network::{self, JsonConfig},
    tx::{Indexes, JsonTransaction, NoTx, decode_tx},
};
use alloy_eips::eip4844::DATA_GAS_PER_BLOB;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use braid_rules::{ChainSpec, Fork, blob, input::tx_env};
use braid_work::Alloc;
use revm::{
    context::{BlockEnv, TxEnv},
    context_interface::block::BlobExcessGasAndPrice,
    primitives::hardfork::SpecId,
};
use serde::Deserialize;
use std::{collections::BTreeMap, sync::Arc};

/// Base fee of an environment from London on that names none, as fillers had it.
const DEFAULT_BASE_FEE: u64 = 10;

/// How far BLOCKHASH looks back.
const BLOCK_HASHES: u64 = 256;

#[derive(Deserialize)]
struct JsonUnit {
    env: JsonEnv,
    pre: Alloc,
    transaction: JsonTransaction,
    post: BTreeMap<String, Vec<JsonPost>>,
    config: Option<JsonConfig>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonEnv {
    current_coinbase: Address,
    current_gas_limit: Num<u64>,
    current_number: Num<U256>,
    current_timestamp: Num<U256>,
    current_difficulty: Option<Num<U256>>,
    current_random: Option<Num<U256>>,
    current_base_fee: Option<Num<u64>>,
    current_excess_blob_gas: Option<Num<u64>>,
    parent_excess_blob_gas: Option<Num<u64>>,
    parent_blob_gas_used: Option<Num<u64>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonPost {
    hash: B256,
    logs: B256,
    indexes: Indexes,
    txbytes: Option<Bytes>,
    expect_exception: Option<String>,
}

/// The cases of a file of state tests that `label` names, in order.
///
/// # Errors
/// If it is no such file, or says what cannot be.
pub fn cases(label: &Arc<str>, bytes: &[u8]) -> Result<Vec<Case>, VectorError> {
    let units: BTreeMap<String, JsonUnit> = json::parse(label, bytes)?;
    let mut cases = Vec::new();
    for (name, unit) in units {
        let invalid = |reason: String| VectorError::invalid(label, &name, reason);
        let pre = Arc::new(unit.pre);
        for (network, posts) in unit.post {
            let (chain, fork) =
                chain(&network, unit.config.as_ref(), &unit.env).map_err(|error| invalid(error.clone()))?;
            let chain = Arc::new(chain);
            let (env, max_blob_gas) = block_env(&unit.env, &chain, fork).map_err(invalid)?;
            for post in posts {
                let Indexes { data, gas, value } = post.indexes;
                let name = format!("{name}/{network}/d{data}g{gas}v{value}");
                let tx = transaction(&unit.transaction, &post, fork, chain.chain_id)
                    .map_err(|reason| VectorError::invalid(label, &name, reason))?;
                let expect =
                    StateExpect { root: post.hash, logs: post.logs, exception: post.expect_exception };
                let case = StateCase {
                    chain: chain.clone(),
                    fork,
                    env: env.clone(),
                    max_blob_gas,
                    pre: pre.clone(),
                    tx,
                    raw: post.txbytes,
                    expect,
                };
                cases.push(Case { file: label.clone(), name, kind: CaseKind::State(Box::new(case)) });
            }
        }
    }
    Ok(cases)
}

fn chain(network: &str, config: Option<&JsonConfig>, env: &JsonEnv) -> Result<(ChainSpec, Fork), String> {
    let chain = network::chain(network, config)?;
    let number = u64::try_from(env.current_number.0).unwrap_or(u64::MAX);
    let timestamp = u64::try_from(env.current_timestamp.0).unwrap_or(u64::MAX);
    let fork = chain.fork_at(number, timestamp, U256::ZERO);
    Ok((chain, fork))
}

fn block_env(env: &JsonEnv, chain: &ChainSpec, fork: Fork) -> Result<(BlockEnv, Option<u64>), String> {
    let (spec, _) = ChainSpec::evm(fork);
    let mut block = BlockEnv {
        number: env.current_number.0,
        beneficiary: env.current_coinbase,
        timestamp: env.current_timestamp.0,
        gas_limit: env.current_gas_limit.0,
        basefee: 0,
        difficulty: env.current_difficulty.map_or(U256::ZERO, |difficulty| difficulty.0),
        prevrandao: None,
        blob_excess_gas_and_price: None,
        ..BlockEnv::default()
    };
    if spec.is_enabled_in(SpecId::LONDON) {
        block.basefee = env.current_base_fee.map_or(DEFAULT_BASE_FEE, |fee| fee.0);
    }
    if spec.is_enabled_in(SpecId::MERGE) {
        let random = env.current_random.or(env.current_difficulty).map_or(U256::ZERO, |random| random.0);
        block.prevrandao = Some(random.into());
        block.difficulty = U256::ZERO;
    }
    let Some(params) = chain.blob_params(fork).filter(|_| spec.is_enabled_in(SpecId::CANCUN)) else {
        return Ok((block, None));
    };
    let parent = |field: Option<Num<u64>>| field.map_or(0, |amount| amount.0);
    let (before, used) = (parent(env.parent_excess_blob_gas), parent(env.parent_blob_gas_used));
    let after_parent = || blob::next_excess(&params, before, used, block.basefee);
    let excess = env.current_excess_blob_gas.map_or_else(after_parent, |excess| excess.0);
    let price = blob::price(&params, excess);
    let blob_gasprice = price.ok_or_else(|| format!("excess blob gas {excess} is beyond any price"))?;
    block.blob_excess_gas_and_price = Some(BlobExcessGasAndPrice { excess_blob_gas: excess, blob_gasprice });
    Ok((block, Some(params.max_blob_count.saturating_mul(DATA_GAS_PER_BLOB))))
}

/// The transaction, by its encoding if the vector has it. The fields then say the sender only.
fn transaction(
    json: &JsonTransaction,
    post: &JsonPost,
    fork: Fork,
    chain_id: u64,
) -> Result<Result<TxEnv, TxFault>, String> {
    let decoded = match post.txbytes.as_ref().filter(|raw| !raw.is_empty()) {
        Some(raw) => decode_tx(raw, fork).map(|tx| tx_env(tx.inner(), tx.signer())),
        None => match json.env(post.indexes, chain_id) {
            Ok(tx) => Ok(tx),
            Err(NoTx::Fault(fault)) => Err(fault),
            Err(NoTx::Invalid(reason)) => return Err(reason),
        },
    };
    Ok(decoded.and_then(|tx| match json.sender {
        Some(sender) if sender != tx.caller => Err(TxFault::new(Field::S, Flaw::Signature)),
        _ => Ok(tx),
    }))
}

/// Hashes of the blocks before `number` as state tests have them: of the number in decimal digits
/// (`vmTestBlockHash` in geth).
pub fn block_hashes(number: U256) -> BTreeMap<u64, B256> {
    let number = u64::try_from(number).unwrap_or(u64::MAX);
    let before = number.saturating_sub(BLOCK_HASHES)..number;
    before.map(|number| (number, keccak256(number.to_string()))).collect()
}
