//! Changes of state: transfers, creation, destruction, storage.

use super::{
    Journal,
    arena::{Undo, add},
    load::LoadFailure,
};
use alloy_primitives::{Address, B256, KECCAK256_EMPTY, U256};
use revm::{
    bytecode::Bytecode,
    context_interface::{
        context::{SStoreResult, SelfDestructResult, StateLoad},
        journaled_state::{JournalCheckpoint, TransferError},
    },
    primitives::hardfork::SpecId,
};

impl Journal<'_> {
    /// Marks a loaded account as touched (EIP-161).
    pub(crate) fn touch(&mut self, at: u32) {
        let account = &mut self.arenas.entry_mut(at).account;
        if !account.is_touched() {
            account.mark_touch();
            self.arenas.undo.push(Undo::Touched(at));
        }
    }

    fn loaded(&mut self, address: Address) -> u32 {
        self.arenas.find(&address).expect("the EVM loads an account before it changes it")
    }

    /// Opens a frame.
    pub(crate) fn open(&mut self) -> JournalCheckpoint {
        self.arenas.depth += 1;
        self.arenas.deepest = self.arenas.deepest.max(self.arenas.depth);
        JournalCheckpoint {
            log_i: self.arenas.logs.len(),
            journal_i: self.arenas.undo.len(),
            selfdestructed_i: 0,
        }
    }

    /// Ends a frame and takes back what it did.
    pub(crate) fn undo_to(&mut self, checkpoint: JournalCheckpoint) {
        self.arenas.depth = self.arenas.depth.saturating_sub(1);
        self.arenas.logs.truncate(checkpoint.log_i);
        let state_clear = self.state_clear();
        self.arenas.revert(checkpoint.journal_i, state_clear);
    }

    /// Moves wei between loaded accounts. The payer of nothing need not be loaded.
    pub(crate) fn move_wei(&mut self, from: Address, to: Address, amount: U256) -> Option<TransferError> {
        if from == to {
            let at = self.loaded(to);
            return (!self.arenas.entry_mut(at).covers(amount)).then_some(TransferError::OutOfFunds);
        }
        let to = self.loaded(to);
        if amount.is_zero() {
            self.touch(to);
            return None;
        }
        let from = self.loaded(from);
        self.touch(from);
        let payer = self.arenas.entry_mut(from);
        if !payer.covers(amount) {
            return Some(TransferError::OutOfFunds);
        }
        payer.account.info.balance -= amount;
        self.touch(to);
        let payee = self.arenas.entry_mut(to);
        let Some(sum) = payee.credited(amount) else {
            // As in revm, the frame reverts but this debit is not in the log of changes. No chain has
            // that much wei.
            return Some(TransferError::OverflowPayment);
        };
        payee.account.info.balance = sum;
        self.arenas.undo.push(Undo::Transfer { from, to, amount });
        None
    }

    /// Credits a loaded account. `false`, and only a touch, if the balance would overflow.
    pub(crate) fn credit(&mut self, at: u32, amount: U256) -> bool {
        self.touch(at);
        let entry = self.arenas.entry_mut(at);
        let Some(sum) = entry.credited(amount) else { return false };
        self.set_balance(at, sum);
        true
    }

    /// Debits a loaded account. `false`, and only a touch, if the balance is too low.
    pub(crate) fn debit(&mut self, at: u32, amount: U256) -> bool {
        self.touch(at);
        let entry = self.arenas.entry_mut(at);
        if !entry.covers(amount) {
            return false;
        }
        let rest = entry.account.info.balance - amount;
        self.set_balance(at, rest);
        true
    }

    /// Sets the balance of a touched account. The caller observed what the new balance depends on.
    pub(crate) fn set_balance(&mut self, at: u32, balance: U256) {
        let old = std::mem::replace(&mut self.arenas.entry_mut(at).account.info.balance, balance);
        if old != balance {
            self.arenas.undo.push(Undo::Balance { account: at, old });
        }
    }

    /// Adds one to the nonce, unless that overflows.
    pub(crate) fn bump_nonce(&mut self, at: u32) -> bool {
        self.touch(at);
        let entry = self.arenas.entry_mut(at);
        let old = entry.nonce();
        let Some(next) = old.checked_add(1) else { return false };
        entry.account.info.nonce = next;
        self.arenas.undo.push(Undo::Nonce { account: at, old });
        true
    }

    /// Sets the nonce.
    pub(crate) fn set_nonce(&mut self, at: u32, nonce: u64) {
        self.touch(at);
        let entry = self.arenas.entry_mut(at);
        let old = entry.nonce();
        entry.account.info.nonce = nonce;
        self.arenas.undo.push(Undo::Nonce { account: at, old });
    }

    /// Sets the code.
    pub(crate) fn set_code_at(&mut self, at: u32, code: Bytecode, hash: B256) {
        self.touch(at);
        let entry = self.arenas.entry_mut(at);
        entry.observe_code();
        let info = &mut entry.account.info;
        let old_hash = std::mem::replace(&mut info.code_hash, hash);
        let old = info.code.replace(code);
        self.arenas.undo.push(Undo::Code { account: at, old_hash, old });
    }

    /// Makes an account delegate to `target` (EIP-7702), or no longer if that is zero.
    pub(crate) fn set_delegation(&mut self, at: u32, target: Address) {
        let (code, hash) = if target.is_zero() {
            (self.arenas.codes.empty(), KECCAK256_EMPTY)
        } else {
            let code = Bytecode::new_eip7702(target);
            let hash = code.hash_slow();
            (code, hash)
        };
        self.set_code_at(at, code, hash);
        self.bump_nonce(at);
    }

    /// Sets the code of a new contract.
    pub(crate) fn deploy(&mut self, address: Address, code: Bytecode, hash: B256) {
        let at = self.loaded(address);
        self.set_code_at(at, code, hash);
    }

    /// Creates a loaded account and endows it; opens its frame.
    pub(crate) fn create(
        &mut self,
        creator: Address,
        address: Address,
        endowment: U256,
    ) -> Result<JournalCheckpoint, TransferError> {
        let checkpoint = self.open();
        let at = self.loaded(address);
        let eip7610 = self.rules.eip7610;
        let state_clear = self.state_clear();
        let entry = self.arenas.entry_mut(at);
        entry.observe_code();
        let taken = entry.has_code() || entry.nonce() != 0 || {
            // Storage of this transaction's own cannot be there without code or nonce.
            eip7610 && {
                entry.seen.has_storage = Some(entry.initial.has_storage);
                entry.initial.has_storage
            }
        };
        if taken {
            self.undo_to(checkpoint);
            return Err(TransferError::CreateCollision);
        }
        entry.generation();
        entry.account.mark_created_locally();
        entry.account.info.code = None;
        if state_clear {
            entry.account.info.nonce = 1;
        }
        self.arenas.undo.push(Undo::Created { account: at });
        self.touch(at);
        if endowment.is_zero() {
            return Ok(checkpoint);
        }
        let Some(sum) = self.arenas.entry_mut(at).credited(endowment) else {
            self.undo_to(checkpoint);
            return Err(TransferError::OverflowPayment);
        };
        self.arenas.entry_mut(at).account.info.balance = sum;
        let from = self.loaded(creator);
        let payer = self.arenas.entry_mut(from);
        // That it is enough was checked by the frame; here it is recorded.
        payer.covers(endowment);
        payer.account.info.balance = payer.account.info.balance.wrapping_sub(endowment);
        self.arenas.undo.push(Undo::Transfer { from, to: at, amount: endowment });
        Ok(checkpoint)
    }

    /// SELFDESTRUCT of a loaded account in favour of `target` (EIP-6780 from Cancun on).
    pub(crate) fn destroy(
        &mut self,
        address: Address,
        target: Address,
        skip_cold: bool,
    ) -> Result<StateLoad<SelfDestructResult>, LoadFailure> {
        let spec = self.rules.spec;
        let (heir, is_cold) = self.load(target, skip_cold)?;
        let at = self.loaded(address);
        let entry = self.arenas.entry_mut(at);
        let dies = entry.account.is_created_locally() || !spec.is_enabled_in(SpecId::CANCUN);
        // To itself, and alive: nothing moves, and gas does not depend on the balance.
        let moves = dies || heir != at;
        let balance = if moves { entry.balance() } else { entry.account.info.balance };
        let first = !entry.account.is_selfdestructed_locally();

        // Asked before the heir is touched and credited.
        let target_exists = if heir == at {
            true
        } else if self.state_clear() {
            balance.is_zero() || !self.arenas.entry_mut(heir).is_empty()
        } else {
            !spec.is_enabled_in(SpecId::TANGERINE) || self.arenas.entry_mut(heir).exists()
        };
        if heir != at {
            self.touch(heir);
            let entry = self.arenas.entry_mut(heir);
            if entry.credited(balance).is_none() {
                // What it wraps around to depends on all of it.
                entry.balance();
            }
            add(&mut entry.account.info.balance, balance);
        }
        if moves {
            self.arenas.entry_mut(at).account.info.balance = U256::ZERO;
        }
        if dies {
            self.arenas.entry_mut(at).account.mark_selfdestructed_locally();
            let had_balance = balance;
            self.arenas.undo.push(Undo::Destroyed { account: at, target: heir, had_balance, first });
        } else if heir != at {
            self.arenas.undo.push(Undo::Transfer { from: at, to: heir, amount: balance });
        }
        let data =
            SelfDestructResult { had_value: !balance.is_zero(), target_exists, previously_destroyed: !first };
        Ok(StateLoad { data, is_cold })
    }

    /// SSTORE to a loaded account.
    pub(crate) fn store(
        &mut self,
        at: u32,
        key: U256,
        new_value: U256,
        skip_cold: bool,
    ) -> Result<StateLoad<SStoreResult>, LoadFailure> {
        self.touch(at);
        let (position, is_cold) = self.load_slot(at, key, skip_cold)?;
        let slot = &mut self.arenas.slots[position as usize].slot;
        let data = SStoreResult {
            original_value: slot.original_value(),
            present_value: slot.present_value(),
            new_value,
        };
        if data.present_value != new_value {
            slot.present_value = new_value;
            self.arenas.undo.push(Undo::Storage { slot: position, old: data.present_value });
        }
        Ok(StateLoad { data, is_cold })
    }
}
