//! What a finished transaction observed and what it changes.

use super::{Journal, entry::AccountEntry};
use crate::{
    AccountDelta, AccountState, EvmKey, EvmSeen, EvmValue, Touches,
    access::{Notes, Wanted},
};
use alloy_primitives::{Address, KECCAK256_EMPTY, U256};
use braid_core::Write;

/// Writes of one transaction.
pub(crate) type Writes = Vec<(EvmKey, Write<EvmValue>)>;

/// What becomes of the slots that a transaction wrote.
enum Fate {
    /// They are written in this generation.
    Generation(u32),
    /// The account is gone, and they with it.
    Gone,
}

impl Journal<'_> {
    /// Tells the view what each read of an account taught. Last thing of every execution.
    pub(crate) fn report(&mut self) {
        for entry in self.arenas.accounts() {
            self.source.view.narrow(entry.read, EvmSeen::Account(entry.seen));
        }
    }

    /// Credits an account without reading it, unless it is loaded. Comes after everything else that
    /// the transaction does to the account, and once.
    pub(crate) fn credit_blindly(&mut self, address: Address, amount: U256) {
        match self.arenas.find(&address) {
            Some(at) => drop(self.credit(at, amount)),
            None => self.arenas.blind.push((address, amount)),
        }
    }

    /// Writes what changed: accounts in the order in which they were loaded, each with its new code;
    /// then slots in theirs; then blind credits.
    pub(crate) fn write(&mut self, writes: &mut Writes) {
        let state_clear = self.state_clear();
        let mut destroyed = false;
        for entry in self.arenas.accounts() {
            if !entry.account.is_touched() {
                continue;
            }
            let gone = account(entry, state_clear, writes);
            destroyed |= gone;
            if !gone {
                code(entry, writes);
            }
        }
        for at in 0..self.arenas.slots.len() {
            let (account, key, initial, value) = {
                let slot = &self.arenas.slots[at];
                (slot.account, slot.key, slot.initial, slot.slot.present_value)
            };
            if value == initial {
                continue;
            }
            let entry = self.arenas.entry(account);
            if let Fate::Generation(generation) = fate(entry, destroyed, state_clear) {
                let key = EvmKey::Slot { address: entry.address, generation, slot: key };
                writes.push((key, Write::Put(EvmValue::Slot(value))));
            }
        }
        for (address, credit) in self.arenas.blind.drain(..) {
            let delta = AccountDelta { credit, ..AccountDelta::default() };
            writes.push((EvmKey::Account(address), Write::Add(delta)));
        }
    }

    /// Tells what the transaction touched. Blind credits are told by what is written.
    pub(crate) fn touches(&mut self, wanted: Wanted, touches: &mut Touches) {
        if wanted == Wanted::Nothing {
            return;
        }
        let all = wanted == Wanted::All;
        if all {
            touches.accounts.extend(self.arenas.accounts().iter().map(|entry| entry.address));
            touches.slots.reserve(self.arenas.slots.len());
        }
        for slot in &self.arenas.slots {
            let entry = self.arenas.entry(slot.account);
            // Only slots of accounts that were created meanwhile are not read from the view.
            let creatable = || entry.initial.nonce == 0 && entry.initial.code_hash == KECCAK256_EMPTY;
            if all || creatable() {
                touches.slots.push((entry.address, slot.key));
            }
        }
    }

    /// Notes what the transaction touched, and what it changed: `writes` as [`Self::write`] wrote them, so
    /// that they come in the order of what was touched, and blind credits last.
    pub(crate) fn note(&mut self, writes: &Writes, notes: &mut Notes) {
        let mut writes = writes.iter().peekable();
        for entry in self.arenas.accounts() {
            let address = entry.address;
            let write =
                writes.next_if(|(key, _)| matches!(key, EvmKey::Account(written) if *written == address));
            notes.account(&address, write.map(|(_, write)| write));
            while let Some((EvmKey::Code(hash), write)) =
                writes.next_if(|(key, _)| matches!(key, EvmKey::Code(_)))
            {
                notes.code(hash, write);
            }
        }
        for slot in &self.arenas.slots {
            let value = slot.slot.present_value;
            // Not written if the account is gone.
            let is_this = |(key, _): &&(EvmKey, Write<EvmValue>)| {
                let EvmKey::Slot { address, slot: key, .. } = key else { return false };
                *key == slot.key && *address == self.arenas.entry(slot.account).address
            };
            let is_written = value != slot.initial && writes.next_if(is_this).is_some();
            notes.slot(slot.account, &slot.key, is_written.then_some(&value));
        }
        for (key, write) in writes {
            if let EvmKey::Account(address) = key {
                notes.account(address, Some(write));
            }
        }
    }

    /// Keeps the code that the transaction deployed where other workers find it.
    pub(crate) fn share_code(&mut self) {
        for at in 0..self.arenas.accounts().len() as u32 {
            let entry = self.arenas.entry(at);
            let info = &entry.account.info;
            if info.code_hash != entry.initial.code_hash
                && let Some(code) = info.code.as_ref().filter(|code| !code.is_empty())
            {
                self.source.codes.insert(info.code_hash, code);
            }
        }
    }
}

/// Where slots of an account go. `destroyed`: some account of the transaction is gone.
fn fate(entry: &AccountEntry, destroyed: bool, state_clear: bool) -> Fate {
    let account = &entry.account;
    if destroyed && (account.is_selfdestructed() || (state_clear && account.is_empty())) {
        Fate::Gone
    } else {
        Fate::Generation(entry.initial.generation + u32::from(account.is_created()))
    }
}

/// Writes a touched account. Returns whether it is gone.
fn account(entry: &mut AccountEntry, state_clear: bool, writes: &mut Writes) -> bool {
    let key = EvmKey::Account(entry.address);
    if entry.account.is_selfdestructed() {
        let generation = entry.generation() + 1;
        remove(entry, generation, key, writes);
        return true;
    }
    if entry.account.is_created() {
        let generation = Some(entry.generation() + 1);
        writes.push((key, Write::Add(AccountDelta { generation, ..entry.delta() })));
        return false;
    }
    if state_clear && entry.is_empty() {
        // An empty account can have storage only from before EIP-161; it goes with the account.
        entry.seen.has_storage = Some(entry.initial.has_storage);
        let generation = entry.generation() + u32::from(entry.initial.has_storage);
        remove(entry, generation, key, writes);
        return true;
    }
    let delta = entry.delta();
    let unchanged = delta == AccountDelta::default();
    // Before EIP-161 a touch brings an account into existence.
    let appears = unchanged && !state_clear && {
        entry.seen.exists = Some(entry.initial.exists);
        !entry.initial.exists
    };
    if !unchanged || appears {
        writes.push((key, Write::Add(delta)));
    }
    false
}

/// Writes that an account is gone, if it was there.
fn remove(entry: &mut AccountEntry, generation: u32, key: EvmKey, writes: &mut Writes) {
    entry.seen.exists = Some(entry.initial.exists);
    if entry.initial.exists {
        let gone = AccountState { generation, ..AccountState::default() };
        writes.push((key, Write::Put(EvmValue::Account(gone))));
    }
}

/// Writes the code of an account, if it is new.
fn code(entry: &AccountEntry, writes: &mut Writes) {
    let info = &entry.account.info;
    if info.code_hash == entry.initial.code_hash {
        return;
    }
    if let Some(code) = info.code.as_ref().filter(|code| !code.is_empty()) {
        let key = EvmKey::Code(info.code_hash);
        // The same code twice in one transaction is rare; a scan of its few writes is cheap.
        if !writes.iter().any(|(written, _)| *written == key) {
            writes.push((key, Write::Put(EvmValue::Code(code.clone()))));
        }
    }
}
