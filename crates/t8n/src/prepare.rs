//! From an environment and the name of a fork to a block without transactions.

use crate::{Env, T8nError, Withdrawal};
use alloy_consensus::{EMPTY_OMMER_ROOT_HASH, Header};
use alloy_evm::eth::dao_fork;
use alloy_primitives::{Address, B256, U256};
use braid_evm::{After, BlockInput, EvmRules, Rites};
use braid_rules::{ChainSpec, Fork, ForkCondition, blob, difficulty, header, input};
use std::collections::BTreeMap;

/// What `--state.*` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Name of the fork, or of one that another follows (`ShanghaiToCancunAtTime15k`).
    pub fork: String,
    /// Chain id.
    pub chain_id: u64,
    /// Reward of the block in wei; `None`: no reward, and the beneficiary is not touched.
    pub reward: Option<u64>,
}

/// A block without transactions, and what the result says of its header.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    pub(crate) fork: Fork,
    /// The block. It has no transactions.
    pub(crate) block: BlockInput,
    /// Before the Merge.
    pub(crate) difficulty: Option<U256>,
    pub(crate) base_fee: Option<u64>,
    /// `None`: the environment does not say what blob gas costs, so no transaction may have blobs.
    pub(crate) excess_blob_gas: Option<u64>,
    /// Price of blob gas in wei.
    pub(crate) blob_price: Option<u128>,
}

/// Wei in a gwei, in which withdrawals are.
const WEI_PER_GWEI: u128 = 1_000_000_000;

/// Most ommers and withdrawals of one environment.
const MAX_CREDITS: usize = 1_000_000;

impl Prepared {
    /// # Errors
    /// [`T8nError::Config`], if the fork is unknown, or the environment lacks what it needs.
    pub(crate) fn new(env: &Env, rules: &Rules) -> Result<Prepared, T8nError> {
        if rules.fork.contains('+') {
            let reason = format!("state.fork `{:.80}`: EIPs on top of a fork are not supported", rules.fork);
            return Err(T8nError::Config(reason));
        }
        let chain = ChainSpec::of_network(&rules.fork, rules.chain_id)
            .map_err(|error| T8nError::config(format!("state.fork: {error}")))?;
        let (number, timestamp) = (env.current_number, env.current_timestamp);
        let fork = chain.fork_at(number, timestamp, U256::ZERO);
        let difficulty = difficulty_of(env, fork)?;
        let base_fee = base_fee_of(env, fork)?;
        let excess_blob_gas = excess_blob_gas_of(env, fork, &chain)?;
        if fork >= Fork::Shanghai && env.withdrawals.is_none() {
            return Err(missing(fork, "withdrawals"));
        }
        if fork >= Fork::Cancun && env.parent_beacon_block_root.is_none() {
            return Err(missing(fork, "parentBeaconBlockRoot"));
        }
        let head = Header {
            number,
            timestamp,
            beneficiary: env.current_coinbase,
            gas_limit: env.current_gas_limit,
            difficulty: difficulty.unwrap_or_default(),
            mix_hash: env.current_random.unwrap_or_default().into(),
            base_fee_per_gas: base_fee.filter(|_| fork >= Fork::London),
            excess_blob_gas,
            slot_number: env.current_slot_number,
            ..Header::default()
        };
        let block_env =
            input::block_env(&chain, fork, &head).map_err(|error| T8nError::config(error.to_string()))?;
        let (spec, evm_rules) = ChainSpec::evm(fork);
        let blob_price = block_env.blob_excess_gas_and_price.map(|blob| blob.blob_gasprice);
        let block = BlockInput {
            chain_id: rules.chain_id,
            spec,
            env: block_env,
            txs: Vec::new(),
            block_hashes: env.block_hashes.clone().unwrap_or_default(),
            max_blob_gas: chain.blob_params(fork).map(|params| params.max_blob_gas_per_block()),
            rites: rites(env, fork, &chain, rules)?,
            rules: EvmRules { listed_hashes_only: true, ..evm_rules },
            gas_used: None,
        };
        let blob_price = blob_price.filter(|_| excess_blob_gas.is_some());
        Ok(Prepared { fork, block, difficulty, base_fee, excess_blob_gas, blob_price })
    }
}

fn missing(fork: Fork, field: &str) -> T8nError {
    T8nError::Config(format!("{fork} needs `{field}` in env"))
}

fn difficulty_of(env: &Env, fork: Fork) -> Result<Option<U256>, T8nError> {
    if fork >= Fork::Paris {
        if env.current_random.is_none() {
            return Err(missing(fork, "currentRandom"));
        }
        return match env.current_difficulty {
            Some(difficulty) if !difficulty.is_zero() => {
                Err(T8nError::config("post-merge difficulty must be zero (or omitted) in env"))
            }
            _ => Ok(None),
        };
    }
    if let Some(difficulty) = env.current_difficulty {
        return Ok(Some(difficulty));
    }
    let cannot = |reason: String| T8nError::Config(format!("currentDifficulty is not given, and {reason}"));
    let parent = env.parent_difficulty.ok_or_else(|| cannot("neither is parentDifficulty".into()))?;
    let parent_time = env.parent_timestamp.unwrap_or_default();
    if env.current_number == 0 {
        return Err(cannot("block 0 has no parent".into()));
    }
    if env.current_timestamp <= parent_time {
        let now = env.current_timestamp;
        return Err(cannot(format!("currentTimestamp {now} is not after parentTimestamp {parent_time}")));
    }
    let has_ommers = |hash: &B256| !hash.is_zero() && *hash != EMPTY_OMMER_ROOT_HASH;
    let parent_has_ommers = env.parent_uncle_hash.as_ref().is_some_and(has_ommers);
    let (now, number) = (env.current_timestamp, env.current_number);
    Ok(Some(difficulty::next(fork, parent, parent_time, parent_has_ommers, now, number)))
}

fn base_fee_of(env: &Env, fork: Fork) -> Result<Option<u64>, T8nError> {
    if fork < Fork::London || env.current_base_fee.is_some() {
        return Ok(env.current_base_fee);
    }
    if env.parent_base_fee.is_none() || env.current_number == 0 {
        return Err(missing(fork, "currentBaseFee` or `parentBaseFee"));
    }
    let parent = Header {
        base_fee_per_gas: env.parent_base_fee,
        gas_used: env.parent_gas_used.unwrap_or_default(),
        gas_limit: env.parent_gas_limit.unwrap_or_default(),
        ..Header::default()
    };
    Ok(Some(header::next_base_fee(&parent)))
}

fn excess_blob_gas_of(env: &Env, fork: Fork, chain: &ChainSpec) -> Result<Option<u64>, T8nError> {
    let Some(params) = chain.blob_params(fork) else { return Ok(None) };
    if env.current_excess_blob_gas.is_some() {
        return Ok(env.current_excess_blob_gas);
    }
    let (Some(excess), Some(used)) = (env.parent_excess_blob_gas, env.parent_blob_gas_used) else {
        return Ok(None);
    };
    let reserve = fork >= Fork::Osaka;
    let parent_base_fee = match env.parent_base_fee {
        None if reserve => return Err(missing(fork, "parentBaseFee")),
        base_fee => base_fee.unwrap_or_default(),
    };
    Ok(Some(blob::next_excess(&params, excess, used, parent_base_fee)))
}

fn rites(env: &Env, fork: Fork, chain: &ChainSpec, rules: &Rules) -> Result<Rites, T8nError> {
    let hashes = env.block_hashes.as_ref().filter(|_| fork >= Fork::Prague);
    let parent_hash = hashes.zip(env.current_number.checked_sub(1));
    let drains = chain.condition(Fork::Dao) == ForkCondition::Block(env.current_number);
    let withdrawals = env.withdrawals.as_deref().unwrap_or_default();
    limit("withdrawals", withdrawals.len())?;
    let in_wei = |one: &Withdrawal| (one.address, u128::from(one.amount) * WEI_PER_GWEI);
    Ok(Rites {
        parent_hash: parent_hash.map(|(hashes, parent)| hash_of(hashes, parent)),
        parent_beacon_root: env.parent_beacon_block_root.filter(|_| fork >= Fork::Cancun),
        dao_drain: drains
            .then(|| (dao_fork::DAO_HARDFORK_ACCOUNTS.to_vec(), dao_fork::DAO_HARDFORK_BENEFICIARY)),
        after: Some(After {
            rewards: rewards(env, rules)?,
            withdrawals: withdrawals.iter().map(in_wei).collect(),
            requests: fork >= Fork::Prague,
        }),
    })
}

/// go-ethereum writes zero for a parent that is not listed.
fn hash_of(hashes: &BTreeMap<u64, B256>, number: u64) -> B256 {
    hashes.get(&number).copied().unwrap_or_default()
}

fn limit(what: &str, count: usize) -> Result<(), T8nError> {
    if count <= MAX_CREDITS {
        return Ok(());
    }
    Err(T8nError::TooLarge { what: format!("env: {what}"), size: count as u64, limit: MAX_CREDITS as u64 })
}

/// An ommer `delta` blocks behind gets `(8 - delta) / 8` of the reward, and the beneficiary a 32nd more
/// for it (Yellow Paper, 11.3). A reward of zero touches the beneficiary.
fn rewards(env: &Env, rules: &Rules) -> Result<Vec<(Address, u128)>, T8nError> {
    let Some(reward) = rules.reward.map(u128::from) else { return Ok(Vec::new()) };
    let ommers = env.ommers.as_deref().unwrap_or_default();
    limit("ommers", ommers.len())?;
    let mut rewards = Vec::with_capacity(ommers.len() + 1);
    for ommer in ommers {
        let part = 8u128.checked_sub(ommer.delta.into());
        let part = part.ok_or_else(|| {
            T8nError::config(format!("ommer of {}: delta {} is more than 8", ommer.address, ommer.delta))
        })?;
        rewards.push((ommer.address, part * reward / 8));
    }
    let nephew = reward + ommers.len() as u128 * (reward / 32);
    rewards.push((env.current_coinbase, nephew));
    Ok(rewards)
}
