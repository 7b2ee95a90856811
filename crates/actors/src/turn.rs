//! A turn: what one message does to its receiver. Reads, changes that can be undone, and what is left at its end.

use crate::{
    frame::{Kept, Parked},
    key::{ActorKey, ActorSeen, ActorValue},
    message::{Body, FrameId, Message, Trail},
    rules::Rules,
    vm::ActorError,
    warm::{Original, Place},
};
use alloy_primitives::{Address, B256, KECCAK256_EMPTY, Log, U256};
use braid_core::{Halt, ReadId, Stop, View, Write};
use braid_evm::{AccountSeen, AccountState, EvmKey, EvmSeen, EvmValue};
use revm::{bytecode::Bytecode, context::TxEnv, state::AccountInfo};
use std::{collections::BTreeMap, sync::Arc};

/// A value before the turn and in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) before: U256,
    pub(crate) now: U256,
}

/// An account that is not the receiver, and what was learned of it.
struct Other {
    read: ReadId,
    account: AccountState,
    seen: AccountSeen,
}

enum Undo {
    Slot(U256, U256),
    Transient(U256, U256),
}

/// A point of a turn to which it can be undone.
pub(crate) struct Checkpoint {
    now: AccountState,
    code: Option<(B256, Bytecode)>,
    born: bool,
    destroyed: bool,
    undo: usize,
    logs: usize,
    sends: usize,
}

/// The receiver of a message while it handles it.
pub(crate) struct Turn<'t> {
    pub(crate) rules: &'t Rules<'t>,
    pub(crate) tx: &'t TxEnv,
    pub(crate) origin: u32,
    pub(crate) address: Address,
    view: &'t mut (dyn View<ActorKey, ActorValue> + 't),
    /// The receiver's record.
    pub(crate) before: AccountState,
    pub(crate) now: AccountState,
    code: Option<(B256, Bytecode)>,
    /// Created in this turn.
    pub(crate) born: bool,
    /// Gone at its end.
    destroyed: bool,
    /// A frame has failed that had waited, so that its earlier steps stay.
    pub(crate) partial: bool,
    pub(crate) slots: BTreeMap<U256, Cell>,
    transient: BTreeMap<U256, Cell>,
    others: BTreeMap<Address, Other>,
    codes: BTreeMap<B256, Bytecode>,
    pub(crate) logs: Vec<Log>,
    pub(crate) sends: Vec<Message>,
    undo: Vec<Undo>,
    pub(crate) trail: Trail,
    /// Number of the message.
    step: u32,
    /// What was touched in this turn and is not in the trail yet.
    touched: BTreeMap<Place, Original>,
    /// Why the view stopped it.
    pub(crate) halt: Option<Halt>,
    /// The answer to the instruction that asks for an account.
    pub(crate) answer: AccountInfo,
    frames: Vec<(FrameId, Option<Arc<Parked>>)>,
    start: Option<Checkpoint>,
}

impl<'t> Turn<'t> {
    /// Reads the receiver's record.
    pub(crate) fn new(
        rules: &'t Rules<'t>,
        message: &Message,
        trail: Trail,
        view: &'t mut (dyn View<ActorKey, ActorValue> + 't),
    ) -> Result<Self, Stop<ActorError>> {
        let address = message.to;
        let before = account(view.read(&ActorKey::account(address))?.value);
        Ok(Turn {
            rules,
            tx: rules.tx(message.origin),
            origin: message.origin,
            address,
            view,
            before,
            now: before,
            code: None,
            born: false,
            destroyed: false,
            partial: false,
            slots: BTreeMap::new(),
            transient: BTreeMap::new(),
            others: BTreeMap::new(),
            codes: BTreeMap::new(),
            logs: Vec::new(),
            sends: Vec::new(),
            undo: Vec::new(),
            step: trail.step,
            trail,
            touched: BTreeMap::new(),
            halt: None,
            answer: AccountInfo::default(),
            frames: Vec::new(),
            start: None,
        })
    }

    /// From here on a failure undoes the turn to here, unless it knows a later point.
    pub(crate) fn begin(&mut self) {
        self.start = Some(self.checkpoint());
    }

    pub(crate) fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            now: self.now,
            code: self.code.clone(),
            born: self.born,
            destroyed: self.destroyed,
            undo: self.undo.len(),
            logs: self.logs.len(),
            sends: self.sends.len(),
        }
    }

    /// Undoes what was done since `to`; without it, since the turn began.
    pub(crate) fn undo(&mut self, to: Option<&Checkpoint>) {
        let start = self.start.take();
        if let Some(to) = to.or(start.as_ref()) {
            for undo in self.undo.drain(to.undo..).rev() {
                let (cells, key, value) = match undo {
                    Undo::Slot(slot, value) => (&mut self.slots, slot, value),
                    Undo::Transient(slot, value) => (&mut self.transient, slot, value),
                };
                if let Some(cell) = cells.get_mut(&key) {
                    cell.now = value;
                }
            }
            self.now = to.now;
            self.code.clone_from(&to.code);
            (self.born, self.destroyed) = (to.born, to.destroyed);
            self.logs.truncate(to.logs);
            self.trail.sent -= (self.sends.len() - to.sends) as u32;
            self.sends.truncate(to.sends);
        }
        self.start = start;
    }

    fn read(&mut self, key: &ActorKey) -> Result<Option<ActorValue>, Halt> {
        Ok(self.view.read(key)?.value)
    }

    /// The record of an account, with what is to be learned of it.
    pub(crate) fn look(
        &mut self,
        address: Address,
        learn: impl FnOnce(&AccountState, &mut AccountSeen),
    ) -> Result<AccountState, Halt> {
        if address == self.address {
            return Ok(self.now);
        }
        let other = match self.others.entry(address) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let read = self.view.read(&ActorKey::account(address))?;
                let account = account(read.value);
                entry.insert(Other { read: read.id, account, seen: AccountSeen::NOTHING })
            }
        };
        learn(&other.account, &mut other.seen);
        Ok(other.account)
    }

    /// Whether an account is as if it were not there.
    pub(crate) fn is_empty(&self, account: &AccountState) -> bool {
        if self.rules.state_clear() { account.is_empty() } else { !account.exists }
    }

    /// The record of an account of which code and emptiness are looked at, and its code.
    pub(crate) fn look_at_code(&mut self, address: Address) -> Result<(AccountState, Bytecode), Halt> {
        let state_clear = self.rules.state_clear();
        let account = self.look(address, |account, seen| {
            seen.code_hash = Some(account.code_hash);
            if state_clear {
                seen.empty = Some(account.is_empty());
            } else {
                seen.exists = Some(account.exists);
            }
        })?;
        Ok((account, self.code(account.code_hash)?))
    }

    /// The code of this hash.
    pub(crate) fn code(&mut self, hash: B256) -> Result<Bytecode, Halt> {
        if hash == KECCAK256_EMPTY {
            return Ok(Bytecode::default());
        }
        if let Some((_, code)) = self.code.as_ref().filter(|(own, _)| *own == hash) {
            return Ok(code.clone());
        }
        if let Some(code) = self.codes.get(&hash) {
            return Ok(code.clone());
        }
        let code = match self.read(&ActorKey::State(EvmKey::Code(hash)))? {
            Some(ActorValue::State(EvmValue::Code(code))) => code,
            _ => {
                let item = hash.to_string();
                return Err(Halt::Store(braid_core::StoreError::Missing { what: "code", item }));
            }
        };
        self.codes.insert(hash, code.clone());
        Ok(code)
    }

    /// The code that runs when `address` is called, with its hash and where it is from: delegated code is that of
    /// the account it names (EIP-7702).
    pub(crate) fn code_to_run(&mut self, address: Address) -> Result<(Bytecode, B256, Address), Halt> {
        let (account, code) = self.look_at_code(address)?;
        let Some(target) = code.eip7702_address() else { return Ok((code, account.code_hash, address)) };
        self.touch(target);
        let (target_account, code) = self.look_at_code(target)?;
        // A delegation is followed once.
        let code = if code.is_eip7702() { Bytecode::default() } else { code };
        Ok((code, target_account.code_hash, target))
    }

    /// Sets the receiver's code.
    pub(crate) fn set_code(&mut self, code: Bytecode) {
        let hash = if code.is_empty() { KECCAK256_EMPTY } else { code.hash_slow() };
        self.now.code_hash = hash;
        self.code = (!code.is_empty()).then_some((hash, code));
    }

    pub(crate) fn slot(&mut self, slot: U256) -> Result<U256, Halt> {
        if let Some(cell) = self.slots.get(&slot) {
            return Ok(cell.now);
        }
        let key = EvmKey::Slot { address: self.address, generation: self.now.generation, slot };
        let value = match self.read(&ActorKey::State(key))? {
            Some(ActorValue::State(EvmValue::Slot(value))) => value,
            _ => U256::ZERO,
        };
        self.slots.insert(slot, Cell { before: value, now: value });
        Ok(value)
    }

    /// Sets a slot that was read.
    pub(crate) fn set_slot(&mut self, slot: U256, value: U256) {
        if let Some(cell) = self.slots.get_mut(&slot).filter(|cell| cell.now != value) {
            self.undo.push(Undo::Slot(slot, cell.now));
            cell.now = value;
        }
    }

    pub(crate) fn transient(&mut self, slot: U256) -> Result<U256, Halt> {
        if let Some(cell) = self.transient.get(&slot) {
            return Ok(cell.now);
        }
        let key = ActorKey::Transient { address: self.address, origin: self.origin, slot };
        let value = match self.read(&key)? {
            Some(ActorValue::Transient(value)) => value,
            _ => U256::ZERO,
        };
        self.transient.insert(slot, Cell { before: value, now: value });
        Ok(value)
    }

    pub(crate) fn set_transient(&mut self, slot: U256, value: U256) -> Result<(), Halt> {
        let old = self.transient(slot)?;
        if old != value {
            self.undo.push(Undo::Transient(slot, old));
            self.transient.insert(slot, Cell { before: self.transient[&slot].before, now: value });
        }
        Ok(())
    }

    /// Whether the receiver was created in this very transaction.
    pub(crate) fn born_here(&mut self) -> Result<bool, Halt> {
        let origin = self.origin;
        let born = |value: &ActorValue| *value == ActorValue::Born(origin);
        Ok(self.born || self.read(&ActorKey::Born(self.address))?.is_some_and(|value| born(&value)))
    }

    pub(crate) const fn is_destroyed(&self) -> bool {
        self.destroyed
    }

    /// The account ends with this turn.
    pub(crate) fn destroy(&mut self) {
        self.destroyed = true;
    }

    /// Takes ether out of a message. Nothing, if there would be 2^256 wei.
    pub(crate) fn receive(&mut self, value: U256) -> bool {
        let Some(balance) = self.now.balance.checked_add(value) else { return false };
        self.now.balance = balance;
        if !value.is_zero() || !self.rules.state_clear() {
            self.now.exists = true;
        }
        true
    }

    /// Puts ether into a message that will be sent; `false` if there is too little.
    pub(crate) fn pay(&mut self, value: U256) -> bool {
        match self.now.balance.checked_sub(value) {
            Some(balance) => {
                self.now.balance = balance;
                true
            }
            None => false,
        }
    }

    /// Whether the transaction may send another message.
    pub(crate) fn may_send(&self) -> bool {
        self.trail.sent < self.rules.limits.messages
    }

    /// Whether the transaction may copy so many more bytes; they are counted, if so.
    pub(crate) fn may_copy(&mut self, bytes: u64) -> bool {
        let copied = self.trail.copied.saturating_add(bytes);
        let may = copied <= self.rules.limits.copied;
        if may {
            self.trail.copied = copied;
        }
        may
    }

    /// Sends ether for which nobody waits.
    pub(crate) fn send_credit(&mut self, to: Address, value: U256) {
        self.trail.sent += 1;
        self.sends.push(Message::new(self.origin, to, Body::Credit(value)));
    }

    /// What is known of a place, if it is warm.
    pub(crate) fn warmth(&self, place: &Place) -> Option<Original> {
        if place.1.is_none()
            && (self.rules.precompiles.contains(&place.0) || self.is_warm_beneficiary(place.0))
        {
            return Some(None);
        }
        self.touched.get(place).copied().or_else(|| self.trail.warm.get(place))
    }

    fn is_warm_beneficiary(&self, address: Address) -> bool {
        address == self.rules.env.beneficiary
            && self.rules.since(revm::primitives::hardfork::SpecId::SHANGHAI)
    }

    pub(crate) fn touch(&mut self, address: Address) {
        if self.warmth(&(address, None)).is_none() {
            self.touched.insert((address, None), None);
        }
    }

    pub(crate) fn touch_slot(&mut self, slot: U256, original: U256) {
        self.touched.insert((self.address, Some(slot)), Some(original));
    }

    /// Forgets what was touched since `warm`.
    pub(crate) fn cool(&mut self, warm: crate::warm::Warm) {
        self.touched.clear();
        self.trail.warm = warm;
    }

    /// What is touched by now.
    pub(crate) fn warm(&mut self) -> crate::warm::Warm {
        self.trail.warm.add(std::mem::take(&mut self.touched));
        self.trail.warm.clone()
    }

    /// Takes the frames that wait for an answer; they are gone with the turn.
    pub(crate) fn take_frame(&mut self, id: FrameId) -> Result<Arc<Parked>, Stop<ActorError>> {
        let found = self.read(&ActorKey::Frame(self.address, id))?;
        let Some(ActorValue::Frame(parked)) = found else {
            return Err(Stop::Invalid(ActorError::NoFrame { actor: self.address, frame: id }));
        };
        self.frames.push((id, None));
        Ok(parked)
    }

    /// The name of what waits at the end of this turn: the number of the message at hand.
    pub(crate) const fn waiting(&self) -> FrameId {
        FrameId { origin: self.origin, step: self.step }
    }

    /// Leaves what waits.
    pub(crate) fn put_frame(&mut self, kept: Kept) {
        self.frames.push((self.waiting(), Some(Arc::new(Parked(kept)))));
    }

    /// The trail of a message that asks something of another actor.
    pub(crate) fn sending(&mut self) -> Trail {
        self.trail.sent += 1;
        self.answering()
    }

    /// The trail of an answer.
    pub(crate) fn answering(&mut self) -> Trail {
        let warm = self.warm();
        let Trail { sent, copied, .. } = self.trail;
        Trail { warm, step: self.step + 1, sent, copied }
    }

    /// Reports what was learned, and writes what changed.
    pub(crate) fn end(&mut self, writes: &mut Vec<(ActorKey, Write<ActorValue>)>) {
        for other in self.others.values() {
            self.view.narrow(other.read, ActorSeen::State(EvmSeen::Account(other.seen)));
        }
        self.settle();
        let (address, origin) = (self.address, self.origin);
        if self.now != self.before {
            let account = ActorValue::State(EvmValue::Account(self.now));
            writes.push((ActorKey::account(address), Write::Put(account)));
        }
        if let Some((hash, code)) = self.code.take().filter(|(hash, _)| *hash == self.now.code_hash) {
            let code = ActorValue::State(EvmValue::Code(code));
            writes.push((ActorKey::State(EvmKey::Code(hash)), Write::Put(code)));
        }
        let generation = self.now.generation;
        for (slot, cell) in self.slots.iter().filter(|(_, cell)| cell.now != cell.before) {
            let key = EvmKey::Slot { address, generation, slot: *slot };
            writes.push((ActorKey::State(key), Write::Put(ActorValue::State(EvmValue::Slot(cell.now)))));
        }
        for (slot, cell) in self.transient.iter().filter(|(_, cell)| cell.now != cell.before) {
            let key = ActorKey::Transient { address, origin, slot: *slot };
            writes.push((key, Write::Put(ActorValue::Transient(cell.now))));
        }
        if self.born {
            writes.push((ActorKey::Born(address), Write::Put(ActorValue::Born(origin))));
        }
        for (id, frame) in self.frames.drain(..) {
            let write = frame.map_or(Write::Delete, |frame| Write::Put(ActorValue::Frame(frame)));
            writes.push((ActorKey::Frame(address, id), write));
        }
    }

    /// What the account is after the turn: one that is destroyed or empty is gone.
    fn settle(&mut self) {
        let generation = self.now.generation;
        if self.destroyed {
            let balance = self.now.balance;
            self.slots.clear();
            self.now = AccountState { generation: generation + 1, balance, ..AccountState::default() };
            self.now.exists = !balance.is_zero();
        } else if self.rules.state_clear() && self.now.is_empty() {
            let generation =
                if self.before.exists { generation + u32::from(self.now.has_storage) } else { generation };
            let has_storage = self.now.has_storage && !self.before.exists;
            self.now = AccountState { generation, has_storage, ..AccountState::default() };
        } else if self.now != self.before {
            // What has changed is there: a sender without ether, too, whose gas costs nothing.
            self.now.exists = true;
        }
    }
}

/// The record in a value.
pub(crate) fn account(value: Option<ActorValue>) -> AccountState {
    match value {
        Some(ActorValue::State(EvmValue::Account(account))) => account,
        _ => AccountState::default(),
    }
}
