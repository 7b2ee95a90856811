//! A header against its parent.

use crate::{ChainSpec, Field, Fork, ForkCondition, RuleError, blob, difficulty};
use alloy_consensus::{Header, constants::EMPTY_OMMER_ROOT_HASH};
use alloy_eips::eip4844::DATA_GAS_PER_BLOB;
use alloy_primitives::U256;

/// Least gas limit of a block (Yellow Paper, 4.4.4).
pub const MIN_GAS_LIMIT: u64 = 5000;
/// Most gas limit of a block, 2^63 - 1.
pub const MAX_GAS_LIMIT: u64 = i64::MAX as u64;
/// Most bytes of extra data (Yellow Paper, 4.4.4).
pub const MAX_EXTRA_DATA: usize = 32;
/// The gas limit changes by less than this fraction of the parent's (Yellow Paper, 4.4.4).
const GAS_LIMIT_BOUND_DIVISOR: u64 = 1024;
/// Base fee of the first block of London in wei (EIP-1559).
pub const INITIAL_BASE_FEE: u64 = 1_000_000_000;
/// Gas limit over gas target (EIP-1559).
const ELASTICITY: u64 = 2;
/// The base fee changes by at most this fraction (EIP-1559).
const BASE_FEE_MAX_CHANGE_DENOMINATOR: u128 = 8;
/// Extra data of the first blocks of the DAO fork (EIP-779), and how many they are.
const DAO_EXTRA_DATA: &[u8] = b"dao-hard-fork";
const DAO_EXTRA_DATA_BLOCKS: u64 = 10;

/// Checks all that `header` says of itself and of its parent, whose hash is taken to be the one it names.
/// `total_difficulty` is that of the chain up to and with the parent. Seals are not checked.
///
/// # Errors
/// The first rule that it breaks.
pub fn check(
    chain: &ChainSpec,
    header: &Header,
    parent: &Header,
    total_difficulty: U256,
) -> Result<(), RuleError> {
    violations(chain, header, parent, total_difficulty).into_iter().next().map_or(Ok(()), Err)
}

/// As [`check`]: all rules that it breaks.
pub fn violations(
    chain: &ChainSpec,
    header: &Header,
    parent: &Header,
    total_difficulty: U256,
) -> Vec<RuleError> {
    let fork = chain.fork_at(header.number, header.timestamp, total_difficulty);
    // The parent's own difficulty is part of the total; before the Merge only forks by number matter.
    let before = total_difficulty.saturating_sub(parent.difficulty);
    let begins =
        fork >= Fork::London && chain.fork_at(parent.number, parent.timestamp, before) < Fork::London;
    let limit = if begins { parent.gas_limit.saturating_mul(ELASTICITY) } else { parent.gas_limit };
    let checks = [
        number(header, parent),
        timestamp(header, parent),
        fields(fork, header),
        extra_data(header),
        dao_extra_data(chain, header),
        gas_limit(header, limit),
        gas_used(header),
        seal(fork, header, parent),
        base_fee(header, parent, begins),
        excess_blob_gas(chain, fork, header, parent),
        blob_gas_used(chain, fork, header),
    ];
    checks.into_iter().filter_map(Result::err).collect()
}

fn number(header: &Header, parent: &Header) -> Result<(), RuleError> {
    match parent.number.checked_add(1) == Some(header.number) {
        true => Ok(()),
        false => Err(RuleError::Number { got: header.number, parent: parent.number }),
    }
}

fn timestamp(header: &Header, parent: &Header) -> Result<(), RuleError> {
    match header.timestamp > parent.timestamp {
        true => Ok(()),
        false => Err(RuleError::Timestamp { got: header.timestamp, parent: parent.timestamp }),
    }
}

/// Fields that the header must have, and may have, under `fork`.
fn fields(fork: Fork, header: &Header) -> Result<(), RuleError> {
    for (field, there, from) in [
        (Field::BaseFee, header.base_fee_per_gas.is_some(), Fork::London),
        (Field::WithdrawalsRoot, header.withdrawals_root.is_some(), Fork::Shanghai),
        (Field::BlobGasUsed, header.blob_gas_used.is_some(), Fork::Cancun),
        (Field::ExcessBlobGas, header.excess_blob_gas.is_some(), Fork::Cancun),
        (Field::ParentBeaconRoot, header.parent_beacon_block_root.is_some(), Fork::Cancun),
        (Field::RequestsHash, header.requests_hash.is_some(), Fork::Prague),
        (Field::BlockAccessListHash, header.block_access_list_hash.is_some(), Fork::Amsterdam),
        (Field::SlotNumber, header.slot_number.is_some(), Fork::Amsterdam),
    ] {
        match (there, fork >= from) {
            (false, true) => return Err(RuleError::FieldMissing { field, fork }),
            (true, false) => return Err(RuleError::FieldTooEarly { field, fork }),
            _ => {}
        }
    }
    Ok(())
}

fn extra_data(header: &Header) -> Result<(), RuleError> {
    match header.extra_data.len() {
        0..=MAX_EXTRA_DATA => Ok(()),
        got => Err(RuleError::ExtraDataTooLong { got, limit: MAX_EXTRA_DATA }),
    }
}

fn dao_extra_data(chain: &ChainSpec, header: &Header) -> Result<(), RuleError> {
    let ForkCondition::Block(first) = chain.condition(Fork::Dao) else { return Ok(()) };
    let marked = header.number.checked_sub(first).is_some_and(|since| since < DAO_EXTRA_DATA_BLOCKS);
    match marked && *header.extra_data != *DAO_EXTRA_DATA {
        true => Err(RuleError::DaoExtraData { number: header.number }),
        false => Ok(()),
    }
}

fn gas_limit(header: &Header, parent: u64) -> Result<(), RuleError> {
    match header.gas_limit {
        got if got > MAX_GAS_LIMIT => Err(RuleError::GasLimitTooBig { got, most: MAX_GAS_LIMIT }),
        got if got.abs_diff(parent) >= parent / GAS_LIMIT_BOUND_DIVISOR => {
            Err(RuleError::GasLimitChange { got, parent })
        }
        got if got < MIN_GAS_LIMIT => Err(RuleError::GasLimitTooSmall { got, least: MIN_GAS_LIMIT }),
        _ => Ok(()),
    }
}

fn gas_used(header: &Header) -> Result<(), RuleError> {
    match header.gas_used > header.gas_limit {
        true => Err(RuleError::GasUsedOverLimit { got: header.gas_used, limit: header.gas_limit }),
        false => Ok(()),
    }
}

/// Difficulty before the Merge; the constants of EIP-3675 from then on.
fn seal(fork: Fork, header: &Header, parent: &Header) -> Result<(), RuleError> {
    if fork < Fork::Paris {
        let ommers = parent.ommers_hash != EMPTY_OMMER_ROOT_HASH;
        let (difficulty, time) = (parent.difficulty, parent.timestamp);
        let expected = difficulty::next(fork, difficulty, time, ommers, header.timestamp, header.number);
        let got = header.difficulty;
        return if got == expected { Ok(()) } else { Err(RuleError::Difficulty { got, expected }) };
    }
    if !header.difficulty.is_zero() {
        return Err(RuleError::DifficultyAfterMerge { got: header.difficulty });
    }
    if !header.nonce.is_zero() {
        return Err(RuleError::NonceAfterMerge { got: header.nonce.into() });
    }
    if header.ommers_hash != EMPTY_OMMER_ROOT_HASH {
        return Err(RuleError::OmmersAfterMerge);
    }
    Ok(())
}

fn base_fee(header: &Header, parent: &Header, begins: bool) -> Result<(), RuleError> {
    let Some(got) = header.base_fee_per_gas else { return Ok(()) };
    let expected = if begins { INITIAL_BASE_FEE } else { next_base_fee(parent) };
    if got == expected { Ok(()) } else { Err(RuleError::BaseFee { got, expected }) }
}

/// Base fee in wei of the block after `parent` (EIP-1559); the initial one if `parent` has none.
pub fn next_base_fee(parent: &Header) -> u64 {
    let Some(base_fee) = parent.base_fee_per_gas else { return INITIAL_BASE_FEE };
    let target = u128::from((parent.gas_limit / ELASTICITY).max(1));
    let (used, fee) = (u128::from(parent.gas_used), u128::from(base_fee));
    let step = |distance: u128| fee.saturating_mul(distance) / target / BASE_FEE_MAX_CHANGE_DENOMINATOR;
    let next = match used.cmp(&target) {
        std::cmp::Ordering::Equal => fee,
        std::cmp::Ordering::Greater => fee.saturating_add(step(used - target).max(1)),
        std::cmp::Ordering::Less => fee.saturating_sub(step(target - used)),
    };
    u64::try_from(next).unwrap_or(u64::MAX)
}

/// Excess blob gas that the block after `parent` has under `fork`; `None` before Cancun.
pub fn next_excess_blob_gas(chain: &ChainSpec, fork: Fork, parent: &Header) -> Option<u64> {
    let params = chain.blob_params(fork)?;
    let (excess, used) = (parent.excess_blob_gas.unwrap_or(0), parent.blob_gas_used.unwrap_or(0));
    Some(blob::next_excess(&params, excess, used, parent.base_fee_per_gas.unwrap_or(0)))
}

fn excess_blob_gas(chain: &ChainSpec, fork: Fork, header: &Header, parent: &Header) -> Result<(), RuleError> {
    match (header.excess_blob_gas, next_excess_blob_gas(chain, fork, parent)) {
        (Some(got), Some(expected)) if got != expected => Err(RuleError::ExcessBlobGas { got, expected }),
        _ => Ok(()),
    }
}

fn blob_gas_used(chain: &ChainSpec, fork: Fork, header: &Header) -> Result<(), RuleError> {
    let (Some(params), Some(got)) = (chain.blob_params(fork), header.blob_gas_used) else { return Ok(()) };
    let limit = params.max_blob_count.saturating_mul(DATA_GAS_PER_BLOB);
    if got > limit { Err(RuleError::BlobGasOverLimit { got, limit }) } else { Ok(()) }
}
