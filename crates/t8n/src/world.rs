//! A state that follows the chain of blocks, in every form in which it is needed.

use crate::T8nError;
use alloy_primitives::{Address, B256, KECCAK256_EMPTY, keccak256};
use alloy_trie::TrieAccount;
use braid_evm::{EvmKey, ExecutedBlock};
use braid_store::trie;
use braid_work::{Alloc, AllocAccount, PreState};
use std::{collections::BTreeMap, path::Path};

/// A whole state: as it is written, and as engines read it.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) alloc: Alloc,
    pub(crate) pre: PreState,
    /// Accounts as the trie holds them, once a root was asked for.
    roots: Option<BTreeMap<Address, TrieAccount>>,
}

impl World {
    /// # Errors
    /// [`T8nError::Config`], if a code cannot be one.
    pub(crate) fn new(alloc: Alloc, block_hashes: &BTreeMap<u64, B256>) -> Result<World, T8nError> {
        let pre = alloc.pre_state(Path::new("alloc"));
        let mut pre = pre.map_err(|error| T8nError::config(error.to_string()))?;
        pre.block_hashes.clone_from(block_hashes);
        Ok(World { alloc, pre, roots: None })
    }

    /// Goes on to the state after `block`, which ran on this one.
    ///
    /// # Errors
    /// [`T8nError::Evm`], if the block deployed code that cannot be any.
    pub(crate) fn fold(&mut self, block: &ExecutedBlock) -> Result<(), T8nError> {
        let mut gone = Vec::new();
        for (address, diff) in &block.diff {
            let Some(account) = self.alloc.0.get(address) else { continue };
            gone.push(EvmKey::Account(*address));
            let slot = |slot: &_| EvmKey::Slot { address: *address, generation: 0, slot: *slot };
            match diff.wiped || diff.account.is_none() {
                true => gone.extend(account.storage.keys().map(slot)),
                false => gone.extend(diff.storage.keys().map(slot)),
            }
        }
        self.alloc.apply(block);
        for key in gone {
            self.pre.store.set(key, None);
        }
        let mut changed = Alloc::default();
        for address in block.diff.keys() {
            changed.0.extend(self.alloc.0.get(address).map(|account| (*address, account.clone())));
        }
        let changed = changed.pre_state(Path::new("post-state"));
        let changed = changed.map_err(|error| T8nError::Evm(error.to_string()))?;
        for (key, value) in changed.store.iter() {
            self.pre.store.set(*key, Some(value.clone()));
        }
        if let Some(roots) = &mut self.roots {
            for address in block.diff.keys() {
                match self.alloc.0.get(address) {
                    Some(account) => drop(roots.insert(*address, in_trie(account))),
                    None => drop(roots.remove(address)),
                }
            }
        }
        Ok(())
    }

    /// The state root.
    pub(crate) fn root(&mut self) -> B256 {
        let accounts = self.alloc.0.iter().map(|(address, account)| (*address, in_trie(account)));
        let roots = self.roots.get_or_insert_with(|| accounts.collect());
        trie::state_root(roots.iter().map(|(address, account)| (*address, *account)))
    }
}

fn in_trie(account: &AllocAccount) -> TrieAccount {
    let slots = account.storage.iter().filter(|(_, value)| !value.is_zero());
    let code_hash = if account.code.is_empty() { KECCAK256_EMPTY } else { keccak256(&account.code) };
    TrieAccount {
        nonce: account.nonce,
        balance: account.balance,
        storage_root: trie::storage_root(slots.map(|(slot, value)| (*slot, *value))),
        code_hash,
    }
}
