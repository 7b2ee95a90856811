//! State roots by a witness: apply a block's changes to a partial trie.

use crate::Witness;
use alloy_primitives::{Address, B256, KECCAK256_EMPTY, U256, keccak256};
use alloy_rlp::Decodable;
use alloy_trie::{EMPTY_ROOT_HASH, TrieAccount};
use braid_evm::{AccountDiff, AccountInfoDiff};
use braid_store::trie::{PartialTrie, TrieError, TrieNodes};
use std::collections::BTreeMap;

/// Why a root cannot be computed from a witness.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WitnessError {
    /// In the trie of accounts.
    #[error("account {address}: {error}")]
    Account {
        /// The account on the way to which it happened.
        address: Address,
        /// What happened.
        error: TrieError,
    },
    /// In an account's trie of slots.
    #[error("storage of {address}: {error}")]
    Storage {
        /// The account.
        address: Address,
        /// What happened.
        error: TrieError,
    },
    /// An account in the trie that is none.
    #[error("account {address}: {reason}")]
    Rlp {
        /// The account.
        address: Address,
        /// Why it does not decode.
        reason: String,
    },
}

/// State root after `diff` on top of the state of `witness`. With `clears_empty` (EIP-161) an account
/// that ends empty is not in the state.
///
/// # Errors
/// If the witness lacks a node that the change needs, or has one that is not right.
pub fn state_root_after(
    witness: &Witness,
    diff: &BTreeMap<Address, AccountDiff>,
    clears_empty: bool,
) -> Result<B256, WitnessError> {
    let nodes: TrieNodes = witness.nodes.iter().cloned().collect();
    let mut accounts = PartialTrie::new(witness.pre_state_root, &nodes);
    let mut gone = Vec::new();
    for (address, change) in diff {
        let in_trie = |error| WitnessError::Account { address: *address, error };
        let key = keccak256(address);
        let Some(info) = change.account.filter(|info| !(clears_empty && is_empty(info))) else {
            gone.push((address, key));
            continue;
        };
        let before = match accounts.find(key).map_err(in_trie)? {
            Some(rlp) => Some(
                TrieAccount::decode(&mut rlp.as_slice())
                    .map_err(|error| WitnessError::Rlp { address: *address, reason: error.to_string() })?,
            ),
            None => None,
        };
        let root_before = before.filter(|_| !change.wiped).map_or(EMPTY_ROOT_HASH, |one| one.storage_root);
        let storage_root = storage_root_after(&nodes, root_before, &change.storage)
            .map_err(|error| WitnessError::Storage { address: *address, error })?;
        let account =
            TrieAccount { nonce: info.nonce, balance: info.balance, storage_root, code_hash: info.code_hash };
        accounts.insert(key, alloy_rlp::encode(account)).map_err(in_trie)?;
    }
    // Removals last: what was inserted keeps branches from collapsing onto nodes that no witness has.
    for (address, key) in gone {
        accounts.remove(key).map_err(|error| WitnessError::Account { address: *address, error })?;
    }
    Ok(accounts.root())
}

fn storage_root_after(
    nodes: &TrieNodes,
    root: B256,
    slots: &BTreeMap<U256, U256>,
) -> Result<B256, TrieError> {
    let mut trie = PartialTrie::new(root, nodes);
    let key = |slot: &U256| keccak256(slot.to_be_bytes::<32>());
    for (slot, value) in slots.iter().filter(|(_, value)| !value.is_zero()) {
        trie.insert(key(slot), alloy_rlp::encode(value))?;
    }
    for (slot, _) in slots.iter().filter(|(_, value)| value.is_zero()) {
        trie.remove(key(slot))?;
    }
    Ok(trie.root())
}

fn is_empty(info: &AccountInfoDiff) -> bool {
    info.balance.is_zero() && info.nonce == 0 && info.code_hash == KECCAK256_EMPTY
}
