//! Loading accounts, code and slots.

use super::{
    Journal, Stopped,
    arena::Undo,
    entry::{AccountEntry, SlotEntry},
    mismatch, missing_code,
};
use crate::{
    AccountSeen, AccountState, EvmKey, EvmSeen, EvmValue,
    precompiles::may_be_precompile,
    transfer::{Given, Loaded},
};
use alloy_primitives::{Address, B256, KECCAK256_EMPTY, U256};
use revm::{
    bytecode::Bytecode,
    context_interface::journaled_state::JournalLoadError,
    state::{EvmStorageSlot, TransactionId},
};

/// Why a load came to nothing: it was cold and the gas does not cover that, or the view stopped.
pub(crate) type LoadFailure = JournalLoadError<Stopped>;

impl Journal<'_> {
    /// Whether an address is warm before its first access.
    fn starts_warm(&self, address: &Address) -> bool {
        self.coinbase == Some(*address)
            || (self.warm_precompiles
                && may_be_precompile(address)
                && self.rules.precompiles.get(address).is_some())
            || (!self.arenas.warm_addresses.is_empty() && self.arenas.warm_addresses.contains(address))
    }

    fn check_cold(&self, address: &Address, skip_cold: bool) -> Result<bool, LoadFailure> {
        let cold = !self.starts_warm(address);
        if cold && skip_cold { Err(JournalLoadError::ColdLoadSkipped) } else { Ok(cold) }
    }

    /// Loads an account and warms it; observes nothing. Returns its position and whether it was cold.
    /// With `skip_cold` a cold account is left alone.
    pub(crate) fn load(&mut self, address: Address, skip_cold: bool) -> Result<(u32, bool), LoadFailure> {
        let Some(at) = self.arenas.find(&address) else {
            let cold = self.check_cold(&address, skip_cold)?;
            let at = self.fetch(address)?;
            if cold {
                self.arenas.undo.push(Undo::AccountWarmed(at));
            }
            return Ok((at, cold));
        };
        let id = self.arenas.id;
        if !self.arenas.entry(at).account.is_cold_transaction_id(id) {
            return Ok((at, false));
        }
        let cold = self.check_cold(&address, skip_cold)?;
        let account = &mut self.arenas.entry_mut(at).account;
        account.mark_warm_with_transaction_id(id);
        account.unmark_created_locally();
        account.unmark_selfdestructed_locally();
        self.arenas.undo.push(Undo::AccountWarmed(at));
        Ok((at, cold))
    }

    /// Loads an account whatever its warmth.
    pub(crate) fn load_any(&mut self, address: Address) -> Result<(u32, bool), Stopped> {
        self.load(address, false).map_err(JournalLoadError::unwrap_db_error)
    }

    /// Reads the record of an account that is not loaded.
    fn fetch(&mut self, address: Address) -> Result<u32, LoadFailure> {
        let read = self.source.view.read(&EvmKey::Account(address)).map_err(Stopped)?;
        let initial = match read.value {
            Some(EvmValue::Account(account)) => account,
            None => AccountState::default(),
            Some(_) => return Err(mismatch("account", &address).into()),
        };
        let id = self.arenas.id;
        let at = self.arenas.push_account(address);
        self.arenas.entry_mut(at).reset(address, read.id, initial, id);
        Ok(at)
    }

    /// Takes over what was read before there was a journal. First thing of an execution.
    pub(crate) fn adopt(&mut self, given: Given) {
        let id = self.arenas.id;
        for Loaded { address, read, state } in given.into_iter().flatten() {
            let at = self.arenas.push_account(address);
            self.arenas.entry_mut(at).reset(address, read, state, id);
        }
    }

    /// The sender's account, with `nonce` for its nonce: predicted, unless the view is final.
    pub(crate) fn load_sender(&mut self, address: Address, nonce: u64) -> Result<u32, Stopped> {
        let (at, _) = self.load_any(address)?;
        if !self.source.view.is_final() {
            let seen = AccountSeen { nonce: Some(nonce), ..AccountSeen::NOTHING };
            self.source.view.assume(&EvmKey::Account(address), EvmSeen::Account(seen));
            let entry = self.arenas.entry_mut(at);
            entry.nonce_assumed = true;
            entry.initial.nonce = nonce;
            entry.account.info.nonce = nonce;
        }
        Ok(at)
    }

    /// Loads and observes the code of a loaded account.
    pub(crate) fn load_code(&mut self, at: u32) -> Result<(), Stopped> {
        let entry = self.arenas.entry_mut(at);
        entry.observe_code();
        if entry.account.info.code.is_some() {
            return Ok(());
        }
        let hash = entry.account.info.code_hash;
        let code = if hash == KECCAK256_EMPTY { self.arenas.codes.empty() } else { self.fetch_code(hash)? };
        self.arenas.entry_mut(at).account.info.code = Some(code);
        Ok(())
    }

    fn fetch_code(&mut self, hash: B256) -> Result<Bytecode, Stopped> {
        if let Some(code) = self.arenas.codes.get(&hash) {
            return Ok(code);
        }
        if let Some(code) = self.source.codes.get(&hash) {
            self.arenas.codes.insert(hash, code.clone());
            return Ok(code);
        }
        let read = self.source.view.read(&EvmKey::Code(hash)).map_err(Stopped)?;
        match read.value {
            Some(EvmValue::Code(code)) => {
                self.source.view.narrow(read.id, EvmSeen::Code(true));
                self.source.codes.insert(hash, &code);
                self.arenas.codes.insert(hash, code.clone());
                Ok(code)
            }
            Some(_) => Err(mismatch("code", &hash)),
            // Not `narrow`ed: under speculation the code may be yet to come.
            None => Err(missing_code(hash)),
        }
    }

    /// Loads a slot of a loaded account and warms it. Returns its position and whether it was cold.
    pub(crate) fn load_slot(
        &mut self,
        account: u32,
        key: U256,
        skip_cold: bool,
    ) -> Result<(u32, bool), LoadFailure> {
        let id = self.arenas.id;
        let found = self.arenas.find_slot(account, &key);
        if let Some(at) = found
            && !self.arenas.slots[at as usize].slot.is_cold_transaction_id(id)
        {
            return Ok((at, false));
        }
        let cold = self.arenas.warm_slots.is_empty()
            || !self.arenas.warm_slots.contains(&(self.arenas.entry(account).address, key));
        if cold && skip_cold {
            return Err(JournalLoadError::ColdLoadSkipped);
        }
        let at = match found {
            Some(at) => {
                self.arenas.slots[at as usize].slot.mark_warm_with_transaction_id(id);
                at
            }
            None => {
                let initial = self.fetch_slot(account, key)?;
                let slot = EvmStorageSlot::new(initial, id);
                self.arenas.push_slot(SlotEntry { account, key, initial, slot })
            }
        };
        if cold {
            self.arenas.undo.push(Undo::SlotWarmed(at));
        }
        Ok((at, cold))
    }

    /// Reads a slot that is not loaded. All slots of an account created by this transaction are zero.
    fn fetch_slot(&mut self, account: u32, slot: U256) -> Result<U256, Stopped> {
        let entry: &mut AccountEntry = self.arenas.entry_mut(account);
        if entry.account.is_created() {
            return Ok(U256::ZERO);
        }
        let key = EvmKey::Slot { address: entry.address, generation: entry.generation(), slot };
        match self.source.view.read(&key).map_err(Stopped)?.value {
            Some(EvmValue::Slot(value)) => Ok(value),
            None => Ok(U256::ZERO),
            Some(_) => Err(mismatch("slot", &entry.address)),
        }
    }

    /// Ends one transaction or system call; another may follow on the same journal.
    pub(crate) fn next_call(&mut self) {
        self.arenas.end_call();
        self.coinbase = None;
        // Only a system transaction of four billion calls would run out of numbers.
        let next = self.arenas.id.get() + 1;
        self.arenas.id = TransactionId::new(next).unwrap_or(TransactionId::ZERO);
    }
}
