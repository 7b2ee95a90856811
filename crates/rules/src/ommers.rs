//! Ommers: blocks beside the chain that miners are paid for (Yellow Paper, 11.1 and 11.3).

use crate::{ChainSpec, Fork, RuleError, header};
use alloy_consensus::Header;
use alloy_primitives::{Address, B256, U256};

/// Most ommers of a block.
pub const MAX_OMMERS: usize = 2;

/// How many generations up from the parent the parent of an ommer may be.
pub const MAX_DEPTH: usize = 6;

/// A block of the chain that ends in the parent, as its ommers are checked against it.
#[derive(Clone, Debug)]
pub struct Ancestor<'a> {
    /// Hash of the block.
    pub hash: B256,
    /// Its header.
    pub header: &'a Header,
    /// Hashes of its ommers.
    pub ommers: &'a [B256],
    /// Total difficulty up to and with it.
    pub total_difficulty: U256,
}

/// Checks the ommers of a block whose ancestors, from the parent up, are `ancestors` (the first seven of
/// them matter).
///
/// # Errors
/// The first rule that an ommer breaks.
pub fn check(chain: &ChainSpec, ommers: &[Header], ancestors: &[Ancestor<'_>]) -> Result<(), RuleError> {
    if ommers.len() > MAX_OMMERS {
        return Err(RuleError::TooManyOmmers { got: ommers.len(), limit: MAX_OMMERS });
    }
    let near = &ancestors[..ancestors.len().min(MAX_DEPTH + 1)];
    let mut before = Vec::with_capacity(MAX_OMMERS);
    for ommer in ommers {
        let hash = ommer.hash_slow();
        if before.contains(&hash) || near.iter().any(|ancestor| ancestor.ommers.contains(&hash)) {
            return Err(RuleError::OmmerIncluded { hash });
        }
        if near.iter().any(|ancestor| ancestor.hash == hash) {
            return Err(RuleError::OmmerIsAncestor { hash });
        }
        // The parent itself is no parent of an ommer: that would be a sibling of the block.
        let parent = near.iter().skip(1).find(|ancestor| ancestor.hash == ommer.parent_hash);
        let Some(parent) = parent else {
            return Err(RuleError::OmmerParent { hash, parent: ommer.parent_hash });
        };
        header::check(chain, ommer, parent.header, parent.total_difficulty)
            .map_err(|error| RuleError::OmmerHeader { hash, error: Box::new(error) })?;
        before.push(hash);
    }
    Ok(())
}

/// Static reward of a block in wei (EIP-649, EIP-1234), zero from the Merge on.
pub fn block_reward(fork: Fork) -> u128 {
    const ETHER: u128 = 1_000_000_000_000_000_000;
    match fork {
        _ if fork >= Fork::Paris => 0,
        _ if fork >= Fork::Constantinople => 2 * ETHER,
        _ if fork >= Fork::Byzantium => 3 * ETHER,
        _ => 5 * ETHER,
    }
}

/// Rewards in wei of a block with this number, beneficiary and ommers: the beneficiary gets a 32nd more
/// for each ommer, the miner of an ommer `(8 - depth) / 8`. None from the Merge on.
pub fn rewards(fork: Fork, number: u64, beneficiary: Address, ommers: &[Header]) -> Vec<(Address, u128)> {
    let reward = block_reward(fork);
    if reward == 0 {
        return Vec::new();
    }
    let nephew = reward / 32 * ommers.len() as u128;
    let of_ommer = |ommer: &Header| {
        let depth = number.saturating_sub(ommer.number).min(8);
        (ommer.beneficiary, reward * u128::from(8 - depth) / 8)
    };
    std::iter::once((beneficiary, reward + nephew)).chain(ommers.iter().map(of_ommer)).collect()
}
