//! The state before a case in the form that engines read, and the root of the state after it.

use alloy_primitives::{Address, B256, KECCAK256_EMPTY, Log, U256, keccak256};
use alloy_trie::TrieAccount;
use braid_evm::ExecutedBlock;
use braid_store::trie;
use braid_work::{Alloc, AllocAccount, PreState, WorkError};
use std::{collections::BTreeMap, path::Path, sync::Arc};

/// A whole state before a block, with what is hashed of it once for all blocks on it.
#[derive(Debug)]
pub struct Base {
    /// The state.
    pub alloc: Arc<Alloc>,
    /// The same as engines read it.
    pub pre: PreState,
    accounts: BTreeMap<Address, TrieAccount>,
}

impl Base {
    /// The state `alloc`, in which BLOCKHASH answers with `block_hashes`. `file` is for errors.
    ///
    /// # Errors
    /// If a code in it cannot be analysed.
    pub fn new(alloc: Arc<Alloc>, block_hashes: BTreeMap<u64, B256>, file: &str) -> Result<Self, WorkError> {
        let mut pre = alloc.pre_state(Path::new(file))?;
        pre.block_hashes = block_hashes;
        let accounts = alloc.0.iter().map(|(address, account)| (*address, hashed(account))).collect();
        Ok(Base { alloc, pre, accounts })
    }

    /// State root.
    pub fn root(&self) -> B256 {
        trie::state_root(self.accounts.clone())
    }

    /// State root if nothing happens but that `address` is touched: it begins to exist if it does not, or,
    /// if it is empty and the fork `clears_empty` accounts (EIP-161), it is gone.
    pub fn root_touched(&self, address: Address, clears_empty: bool) -> B256 {
        let mut accounts = self.accounts.clone();
        let account = accounts.entry(address).or_default();
        let empty = account.nonce == 0 && account.balance.is_zero() && account.code_hash == KECCAK256_EMPTY;
        if empty && clears_empty {
            accounts.remove(&address);
        }
        trie::state_root(accounts)
    }

    /// State root after `block`, which was executed on this state.
    pub fn root_after(&self, block: &ExecutedBlock) -> B256 {
        let mut accounts = self.accounts.clone();
        for (address, diff) in &block.diff {
            let Some(info) = &diff.account else {
                accounts.remove(address);
                continue;
            };
            let before = self.alloc.0.get(address).filter(|_| !diff.wiped);
            let mut slots: BTreeMap<U256, U256> =
                before.map(|account| account.storage.clone()).unwrap_or_default();
            let storage_root = match before.and_then(|_| self.accounts.get(address)) {
                Some(account) if diff.storage.is_empty() => account.storage_root,
                _ => {
                    slots.extend(&diff.storage);
                    storage_root(&slots)
                }
            };
            let account = TrieAccount {
                nonce: info.nonce,
                balance: info.balance,
                storage_root,
                code_hash: info.code_hash,
            };
            accounts.insert(*address, account);
        }
        trie::state_root(accounts)
    }
}

fn hashed(account: &AllocAccount) -> TrieAccount {
    TrieAccount {
        nonce: account.nonce,
        balance: account.balance,
        storage_root: storage_root(&account.storage),
        code_hash: if account.code.is_empty() { KECCAK256_EMPTY } else { keccak256(&account.code) },
    }
}

fn storage_root(slots: &BTreeMap<U256, U256>) -> B256 {
    trie::storage_root(
        slots.iter().filter(|(_, value)| !value.is_zero()).map(|(slot, value)| (*slot, *value)),
    )
}

/// Keccak-256 of the RLP of logs in order.
pub fn logs_hash<'a>(logs: impl IntoIterator<Item = &'a Log>) -> B256 {
    let logs: Vec<&Log> = logs.into_iter().collect();
    keccak256(alloy_rlp::encode(&logs))
}
