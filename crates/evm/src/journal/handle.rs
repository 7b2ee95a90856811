//! One account of the journal, as revm's frames handle it.

use super::{Journal, arena::Undo};
use alloy_primitives::{Address, B256, U256};
use revm::{
    bytecode::Bytecode,
    context_interface::{
        ErasedError,
        context::{SStoreResult, StateLoad},
        journaled_state::{JournalLoadError, account::JournaledAccountTr},
    },
    state::{Account, EvmStorageSlot},
};

/// A loaded account.
///
/// Its plain getters observe nothing, since they cannot know what for: frame creation asks only whether
/// the balance covers an endowment, which [`crate::ctx`] and [`Journal::create`] record, and for the
/// nonce that it is about to change, which the change records.
pub(crate) struct Handle<'j, 'a> {
    pub(super) journal: &'j mut Journal<'a>,
    pub(super) at: u32,
}

impl JournaledAccountTr for Handle<'_, '_> {
    fn account(&self) -> &Account {
        &self.journal.arenas.entry(self.at).account
    }

    fn sload(
        &mut self,
        key: U256,
        skip_cold_load: bool,
    ) -> Result<StateLoad<&mut EvmStorageSlot>, JournalLoadError<ErasedError>> {
        let (slot, is_cold) = self
            .journal
            .load_slot(self.at, key, skip_cold_load)
            .map_err(|error| error.map(ErasedError::new))?;
        Ok(StateLoad::new(&mut self.journal.arenas.slots[slot as usize].slot, is_cold))
    }

    fn sstore(
        &mut self,
        key: U256,
        new: U256,
        skip_cold_load: bool,
    ) -> Result<StateLoad<SStoreResult>, JournalLoadError<ErasedError>> {
        self.journal.store(self.at, key, new, skip_cold_load).map_err(|error| error.map(ErasedError::new))
    }

    fn load_code(&mut self) -> Result<&Bytecode, JournalLoadError<ErasedError>> {
        self.journal
            .load_code(self.at)
            .map_err(|error| JournalLoadError::DBError(ErasedError::new(error)))?;
        let code = self.journal.arenas.entry(self.at).account.info.code.as_ref();
        Ok(code.expect("just loaded"))
    }

    fn balance(&self) -> &U256 {
        &self.account().info.balance
    }

    fn nonce(&self) -> u64 {
        self.account().info.nonce
    }

    fn code_hash(&self) -> &B256 {
        &self.account().info.code_hash
    }

    fn code(&self) -> Option<&Bytecode> {
        self.account().info.code.as_ref()
    }

    fn touch(&mut self) {
        self.journal.touch(self.at);
    }

    fn unsafe_mark_cold(&mut self) {
        self.journal.arenas.entry_mut(self.at).account.mark_cold();
    }

    fn set_balance(&mut self, balance: U256) {
        self.journal.touch(self.at);
        let entry = self.journal.arenas.entry_mut(self.at);
        entry.balance();
        let old = std::mem::replace(&mut entry.account.info.balance, balance);
        self.journal.arenas.undo.push(Undo::Balance { account: self.at, old });
    }

    fn incr_balance(&mut self, balance: U256) -> bool {
        self.journal.credit(self.at, balance)
    }

    fn decr_balance(&mut self, balance: U256) -> bool {
        self.journal.debit(self.at, balance)
    }

    fn bump_nonce(&mut self) -> bool {
        self.journal.bump_nonce(self.at)
    }

    fn set_nonce(&mut self, nonce: u64) {
        self.journal.set_nonce(self.at, nonce);
    }

    fn unsafe_set_nonce(&mut self, nonce: u64) {
        let entry = self.journal.arenas.entry_mut(self.at);
        entry.nonce();
        entry.account.info.nonce = nonce;
    }

    fn set_code(&mut self, code_hash: B256, code: Bytecode) {
        self.journal.set_code_at(self.at, code, code_hash);
    }

    fn set_code_and_hash_slow(&mut self, code: Bytecode) {
        let hash = code.hash_slow();
        self.journal.set_code_at(self.at, code, hash);
    }

    fn delegate(&mut self, address: Address) {
        self.journal.set_delegation(self.at, address);
    }
}
