//! State before a block, for Braid's engines and for plain revm alike.

use alloy_primitives::{Address, B256, U256};
use alloy_trie::TrieAccount;
use braid_core::{Reader, State, StoreError};
use braid_evm::{AccountInfoDiff, AccountState, EvmKey, EvmValue, ExecutedBlock};
use braid_store::{Below, MemReader, MemStore, trie};
use revm::{
    database_interface::{DBErrorMarker, DatabaseRef},
    primitives::{StorageKey, StorageValue},
    state::{AccountInfo, Bytecode},
};
use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    sync::Arc,
};

/// An account, its storage root left out, and its slots.
pub type WithSlots = (Address, TrieAccount, Vec<(U256, U256)>);

/// Accounts, slots and analysed code before a block, in memory.
#[derive(Clone, Debug, Default)]
pub struct PreState {
    /// Everything by location. Slots are of generation 0.
    pub store: MemStore<EvmKey, EvmValue>,
    /// Hashes of earlier blocks, for revm's BLOCKHASH (Braid's engines take the input's).
    pub block_hashes: BTreeMap<u64, B256>,
}

impl PreState {
    /// A state that is somewhere else, and nothing of it in memory. Of what is not in memory engines see all,
    /// [`Self::state_root`], [`Self::accounts`] and [`Self::apply`] nothing.
    pub fn over(below: Arc<dyn Below<EvmKey, EvmValue>>) -> Self {
        PreState { store: MemStore::over(below), block_hashes: BTreeMap::new() }
    }

    /// State root, if this is the whole state.
    pub fn state_root(&self) -> B256 {
        trie::state_root(self.accounts().into_iter().map(|(address, account, slots)| {
            (address, TrieAccount { storage_root: trie::storage_root(slots), ..account })
        }))
    }

    /// All accounts that exist; in no particular order.
    pub fn accounts(&self) -> Vec<WithSlots> {
        let mut slots: HashMap<Address, Vec<(U256, U256)>> = HashMap::new();
        let mut accounts = Vec::new();
        for (key, value) in self.store.iter() {
            match (key, value) {
                (EvmKey::Slot { address, slot, .. }, EvmValue::Slot(value)) => {
                    slots.entry(*address).or_default().push((*slot, *value));
                }
                (EvmKey::Account(address), EvmValue::Account(account)) if account.exists => {
                    let AccountState { nonce, balance, code_hash, .. } = *account;
                    let account = TrieAccount { nonce, balance, code_hash, ..TrieAccount::default() };
                    accounts.push((*address, account));
                }
                _ => {}
            }
        }
        let with_slots = |(address, account)| {
            let slots = slots.remove(&address).unwrap_or_default();
            (address, account, slots)
        };
        accounts.into_iter().map(with_slots).collect()
    }

    /// Changes this state as `block`, executed on it, did.
    ///
    /// # Errors
    /// [`StoreError::Failed`] names a code that the EVM would not deploy; the state is then changed in part.
    pub fn apply(&mut self, block: &ExecutedBlock) -> Result<(), StoreError> {
        for (hash, code) in &block.codes {
            let code = Bytecode::new_raw_checked(code.clone())
                .map_err(|error| StoreError::Failed(format!("code {hash}: {error}")))?;
            self.store.set(EvmKey::Code(*hash), Some(EvmValue::Code(code)));
        }
        for (address, diff) in &block.diff {
            let key = EvmKey::Account(*address);
            let before = match self.store.get(&key) {
                Some(EvmValue::Account(account)) => *account,
                _ => AccountState::default(),
            };
            if before.has_storage && (diff.wiped || diff.account.is_none()) {
                self.wipe(*address);
            }
            let Some(info) = diff.account else {
                self.store.set(key, None);
                continue;
            };
            for (slot, value) in &diff.storage {
                let slot = EvmKey::Slot { address: *address, generation: 0, slot: *slot };
                self.store.set(slot, (!value.is_zero()).then_some(EvmValue::Slot(*value)));
            }
            // Stays after the last slot is zero again: only creation asks (EIP-7610), which an account that
            // has written slots, and so has code or a nonce, refuses anyway.
            let has_storage =
                (before.has_storage && !diff.wiped) || diff.storage.values().any(|value| !value.is_zero());
            let AccountInfoDiff { balance, nonce, code_hash } = info;
            let account =
                AccountState { exists: true, balance, nonce, code_hash, generation: 0, has_storage };
            self.store.set(key, Some(EvmValue::Account(account)));
        }
        Ok(())
    }

    /// Removes all slots of an account. Rare, so it may look at everything.
    fn wipe(&mut self, of: Address) {
        let is_of = |key: &EvmKey| matches!(key, EvmKey::Slot { address, .. } if *address == of);
        let gone: Vec<EvmKey> = self.store.iter().map(|(key, _)| *key).filter(is_of).collect();
        self.store.commit(gone.into_iter().map(|key| (key, None)));
    }

    /// Puts an account into the state, with its slots; zero ones are absent. Code is put in apart.
    pub(crate) fn put_account(
        &mut self,
        address: Address,
        (balance, nonce, code_hash): (U256, u64, B256),
        slots: impl Iterator<Item = (U256, U256)>,
    ) {
        let mut has_storage = false;
        for (slot, value) in slots.filter(|(_, value)| !value.is_zero()) {
            has_storage = true;
            self.store.set(EvmKey::Slot { address, generation: 0, slot }, Some(EvmValue::Slot(value)));
        }
        let account = AccountState { exists: true, balance, nonce, code_hash, generation: 0, has_storage };
        self.store.set(EvmKey::Account(address), Some(EvmValue::Account(account)));
    }

    fn code(&self, hash: B256) -> Result<Bytecode, StoreError> {
        match self.store.read(&EvmKey::Code(hash))? {
            Some(EvmValue::Code(code)) => Ok(code),
            _ => Err(StoreError::Missing { what: "code", item: hash.to_string() }),
        }
    }
}

impl State<EvmKey, EvmValue> for PreState {
    type Reader<'a> = MemReader<'a, EvmKey, EvmValue>;

    fn reader(&self) -> Result<Self::Reader<'_>, StoreError> {
        self.store.reader()
    }

    fn overlap(&self) -> u16 {
        State::overlap(&self.store)
    }
}

impl Reader<EvmKey, EvmValue> for &PreState {
    fn get(&mut self, key: &EvmKey) -> Result<Option<EvmValue>, StoreError> {
        self.store.read(key)
    }

    fn scan(&mut self, range: Range<EvmKey>) -> Result<Vec<(EvmKey, EvmValue)>, StoreError> {
        (&self.store).scan(range)
    }
}

/// A [`StoreError`] as revm wants it.
#[derive(Clone, Debug, thiserror::Error)]
#[error(transparent)]
pub struct DbError(#[from] pub StoreError);
impl DBErrorMarker for DbError {}

impl DatabaseRef for PreState {
    type Error = DbError;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, DbError> {
        let Some(EvmValue::Account(account)) = self.store.read(&EvmKey::Account(address))? else {
            return Ok(None);
        };
        Ok(Some(
            AccountInfo {
                balance: account.balance,
                nonce: account.nonce,
                code_hash: account.code_hash,
                ..AccountInfo::default()
            }
            .without_code(),
        ))
    }

    fn code_by_hash_ref(&self, hash: B256) -> Result<Bytecode, DbError> {
        Ok(self.code(hash)?)
    }

    fn storage_ref(&self, address: Address, slot: StorageKey) -> Result<StorageValue, DbError> {
        match self.store.read(&EvmKey::Slot { address, generation: 0, slot })? {
            Some(EvmValue::Slot(value)) => Ok(value),
            _ => Ok(U256::ZERO),
        }
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, DbError> {
        Ok(self.block_hashes.get(&number).copied().unwrap_or_default())
    }
}
