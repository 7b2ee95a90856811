//! The versions of a block as its access list prescribes them.

use super::{
    error::{AccessListError, AccessPart, Listing},
    record::{record, word},
};
use crate::{AccountState, BlockInput, EvmError, EvmKey, EvmOutput, EvmValue, EvmVm};
use alloy_primitives::{Address, B256, Bytes, U256};
use braid_core::{Effects, Located, TxIndex, Versions, Written};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use revm::{bytecode::Bytecode, primitives::hardfork::SpecId};
use std::ops::Range;

/// A value from an index on.
#[derive(Clone, Debug)]
pub(super) struct Change<T> {
    pub(super) index: u32,
    pub(super) value: T,
}

/// The value of the last change below `index`.
fn below<T>(changes: &[Change<T>], index: u32) -> Option<&Change<T>> {
    let count = changes.partition_point(|change| change.index < index);
    changes[..count].last()
}

/// The value of the change at `index`.
fn at<T: Copy>(changes: &[Change<T>], index: u32) -> Option<T> {
    let found = changes.binary_search_by_key(&index, |change| change.index).ok()?;
    Some(changes[found].value)
}

/// A listed account: rows of [`PrescribedBlock`].
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) address: Address,
    pub(super) slots: Range<u32>,
    pub(super) balances: Range<u32>,
    pub(super) nonces: Range<u32>,
    pub(super) codes: Range<u32>,
    pub(super) deaths: Range<u32>,
}

/// A listed slot; without changes it is only touched.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) account: u32,
    pub(super) key: U256,
    pub(super) changes: Range<u32>,
}

/// A decoded access list, ready to run its block by. True or not: running the block tells.
#[derive(Clone, Debug)]
pub struct PrescribedBlock {
    pub(super) spec: SpecId,
    pub(super) accounts: Vec<Account>,
    pub(super) slots: Vec<Slot>,
    pub(super) words: Vec<Change<U256>>,
    pub(super) balances: Vec<Change<U256>>,
    pub(super) nonces: Vec<Change<u64>>,
    pub(super) codes: Vec<Change<B256>>,
    pub(super) raw_codes: Vec<Change<Bytes>>,
    /// Indices at which accounts are destroyed, of each account ascending.
    pub(super) deaths: Vec<u32>,
    /// Changes at each index.
    pub(super) counts: Vec<u32>,
    /// Accounts, and slots of generation 0, by key; a slot's number comes after those of all accounts.
    table: HashMap<EvmKey, u32, RandomState>,
    /// Listed codes. Only looked up.
    pub(super) code_table: HashMap<B256, Bytecode, RandomState>,
}

fn row<'a, T>(all: &'a [T], range: &Range<u32>) -> &'a [T] {
    &all[range.start as usize..range.end as usize]
}

impl PrescribedBlock {
    /// An empty one for the block `input`, with room for a list of so many bytes.
    pub(super) fn sized(bytes: usize, input: &BlockInput) -> Self {
        PrescribedBlock {
            spec: input.spec,
            accounts: Vec::with_capacity(bytes / 256),
            slots: Vec::with_capacity(bytes / 64),
            words: Vec::with_capacity(bytes / 128),
            balances: Vec::new(),
            nonces: Vec::new(),
            codes: Vec::new(),
            raw_codes: Vec::new(),
            deaths: Vec::new(),
            counts: vec![0; input.txs.len() + 2],
            table: HashMap::with_capacity_and_hasher(bytes / 48, RandomState::default()),
            code_table: HashMap::default(),
        }
    }

    /// Adds an account whose rows are there.
    pub(super) fn add_account(&mut self, account: Account) {
        self.table.insert(EvmKey::Account(account.address), self.accounts.len() as u32);
        for at in account.slots.clone() {
            let slot = self.slots[at as usize].key;
            // Corrected by the number of accounts when it is looked up: that is not known yet.
            self.table.insert(EvmKey::Slot { address: account.address, generation: 0, slot }, at);
        }
        self.accounts.push(account);
    }

    /// Accounts, and slots.
    pub fn counts(&self) -> (usize, usize) {
        (self.accounts.len(), self.slots.len())
    }

    fn slot_at(&self, location: u32) -> Option<&Slot> {
        self.slots.get((location as usize).checked_sub(self.accounts.len())?)
    }

    fn words(&self, slot: &Slot) -> &[Change<U256>] {
        row(&self.words, &slot.changes)
    }

    /// Times that an account is destroyed before `index`, and the last index at which it is.
    fn deaths(&self, account: &Account, index: u32) -> (u32, Option<u32>) {
        if account.deaths.is_empty() {
            return (0, None);
        }
        let deaths = row(&self.deaths, &account.deaths);
        let count = deaths.partition_point(|at| *at < index);
        (count as u32, deaths[..count].last().copied())
    }

    /// Whether an account is touched by EIP-161's rule about empty accounts.
    fn exists(&self, account: &AccountState) -> bool {
        !self.spec.is_enabled_in(SpecId::SPURIOUS_DRAGON) || !account.is_empty()
    }

    /// The first change at `index`, in the order of the list, that `known` does not know.
    fn first_at(&self, index: u32, known: impl Fn(u32) -> bool) -> Option<AccessListError> {
        let at64 = u64::from(index);
        self.accounts.iter().zip(0u32..).find_map(|(account, number)| {
            let address = account.address;
            let word = account.slots.clone().find_map(|slot| {
                let location = self.accounts.len() as u32 + slot;
                let slot = &self.slots[slot as usize];
                let value = at(self.words(slot), index).filter(|_| !known(location))?;
                Some((AccessPart::Storage(slot.key, at64), Listing::Word(value)))
            });
            let field = || {
                let balance = at(row(&self.balances, &account.balances), index);
                let nonce = at(row(&self.nonces, &account.nonces), index);
                let code = at(row(&self.codes, &account.codes), index);
                let balance = balance.map(|value| (AccessPart::Balance(at64), Listing::Word(value)));
                let nonce = nonce.map(|value| (AccessPart::Nonce(at64), Listing::Nonce(value)));
                let code = code.map(|value| (AccessPart::Code(at64), Listing::Code(value)));
                balance.or(nonce).or(code).filter(|_| !known(number))
            };
            let (part, listed) = word.or_else(field)?;
            Some(AccessListError::differs(address, part, listed, Listing::Absent))
        })
    }
}

/// A decoded list beside the block it is of.
pub(crate) struct Prescription<'a> {
    list: &'a PrescribedBlock,
    input: &'a BlockInput,
    /// Index in the schedule of the first real transaction.
    first: TxIndex,
    /// Whether anything follows the last one.
    has_after: bool,
    /// Whether some transaction may observe that an empty account exists (the refund of EIP-7702).
    delegates: bool,
}

impl<'a> Prescription<'a> {
    /// The list of a block with `first` pseudo transactions before the real ones.
    ///
    /// # Errors
    /// If the list has changes where nothing happens.
    pub(crate) fn new(
        list: &'a PrescribedBlock,
        input: &'a BlockInput,
        first: TxIndex,
        has_after: bool,
    ) -> Result<Self, AccessListError> {
        let delegates = input.txs.iter().any(|tx| !tx.authorization_list.is_empty());
        let this = Prescription { list, input, first, has_after, delegates };
        if first == 0
            && list.counts.first().is_some_and(|count| *count > 0)
            && let Some(extra) = list.first_at(0, |_| false)
        {
            return Err(extra);
        }
        Ok(this)
    }

    /// Index of the list at which `unit` stands: there may be nothing before the transactions.
    fn index(&self, unit: u32) -> u32 {
        unit + u32::from(self.first == 0)
    }

    fn unlisted(address: Address, part: AccessPart) -> EvmError {
        AccessListError::differs(address, part, Listing::Absent, Listing::Access).into()
    }

    /// Checks one row of changes: the value after `index`, if that is another one than before.
    fn row<T: Copy + PartialEq>(
        changes: &[Change<T>],
        index: u32,
        (before, after): (T, T),
        address: Address,
        part: impl Fn(u64) -> AccessPart,
        show: impl Fn(T) -> Listing,
    ) -> Result<u32, AccessListError> {
        let (listed, found) = (at(changes, index), (before != after).then_some(after));
        if listed == found {
            return Ok(u32::from(found.is_some()));
        }
        let show = |value: Option<T>| value.map_or(Listing::Absent, &show);
        Err(AccessListError::differs(address, part(index.into()), show(listed), show(found)))
    }

    /// Checks what became of an account, and returns how many changes that was.
    fn check_account(
        &self,
        account: &Account,
        index: u32,
        before: &AccountState,
        after: &AccountState,
    ) -> Result<u32, AccessListError> {
        let (list, address) = (self.list, account.address);
        let balances = row(&list.balances, &account.balances);
        let nonces = row(&list.nonces, &account.nonces);
        let codes = row(&list.codes, &account.codes);
        let pair = (before.balance, after.balance);
        let mut found = Self::row(balances, index, pair, address, AccessPart::Balance, Listing::Word)?;
        let pair = (before.nonce, after.nonce);
        found += Self::row(nonces, index, pair, address, AccessPart::Nonce, Listing::Nonce)?;
        let pair = (before.code_hash, after.code_hash);
        found += Self::row(codes, index, pair, address, AccessPart::Code, Listing::Code)?;
        // What no row says must follow from those that do.
        let dies = row(&list.deaths, &account.deaths).binary_search(&index).is_ok();
        let exists = if found > 0 { list.exists(after) } else { before.exists };
        let has_storage = before.has_storage && !dies;
        let renewed = after.generation != before.generation;
        // An empty account that a state has in spite of EIP-161 goes when it is touched; nothing but a
        // delegation could tell.
        let vanishes = before.exists && before.is_empty() && !self.delegates && !list.exists(after);
        let exists = if found == 0 && vanishes { false } else { exists };
        if after.exists != exists || after.has_storage != has_storage || (dies && !renewed) {
            return Err(AccessListError::Inexpressible { address, index: index.into() });
        }
        Ok(found)
    }
}

impl<'b> Versions<EvmVm<'b>> for Prescription<'_> {
    fn locations(&self) -> usize {
        self.list.accounts.len() + self.list.slots.len()
    }

    fn unit(&self, tx: TxIndex) -> u32 {
        let index = match tx.checked_sub(self.first) {
            None => 0,
            Some(tx) => tx.min(self.input.txs.len() as u32) + 1,
        };
        index - u32::from(self.first == 0)
    }

    /// Gas limits are what senders fear; how much the list says it changes is what a transaction does.
    fn weight(&self, unit: u32) -> u64 {
        let index = self.index(unit) as usize;
        let changes = self.list.counts.get(index).copied().unwrap_or_default();
        let tx = index.checked_sub(1).and_then(|tx| self.input.txs.get(tx));
        let gas = tx.map_or(0, |tx| tx.gas_limit.min(self.input.env.gas_limit));
        21_000 + u64::from(changes) * 10_000 + gas / 8
    }

    fn locate(&self, key: &EvmKey, _unit: u32) -> Result<Located<EvmValue>, EvmError> {
        match key {
            EvmKey::Account(address) => match self.list.table.get(key) {
                Some(at) => Ok(Located::At(*at)),
                None => Err(Self::unlisted(*address, AccessPart::Account)),
            },
            EvmKey::Slot { address, slot, .. } => {
                let first = EvmKey::Slot { address: *address, generation: 0, slot: *slot };
                match self.list.table.get(&first) {
                    Some(at) => Ok(Located::At(self.list.accounts.len() as u32 + *at)),
                    None => Err(Self::unlisted(*address, AccessPart::Slot(*slot))),
                }
            }
            // Code is the same wherever it stands.
            EvmKey::Code(hash) => Ok(match self.list.code_table.get(hash) {
                Some(code) => Located::Fixed(EvmValue::Code(code.clone())),
                None => Located::Free,
            }),
        }
    }

    fn base_key(&self, location: u32) -> EvmKey {
        match self.list.slot_at(location) {
            None => EvmKey::Account(self.list.accounts[location as usize].address),
            Some(slot) => {
                let address = self.list.accounts[slot.account as usize].address;
                EvmKey::Slot { address, generation: 0, slot: slot.key }
            }
        }
    }

    /// A slot belongs to the life of its account in which it changed last.
    fn final_key(&self, location: u32) -> EvmKey {
        let key = self.base_key(location);
        let (EvmKey::Slot { address, slot, .. }, Some(listed)) = (key, self.list.slot_at(location)) else {
            return key;
        };
        let last = self.list.words(listed).last().map_or(u32::MAX, |change| change.index);
        let account = &self.list.accounts[listed.account as usize];
        EvmKey::Slot { address, generation: self.list.deaths(account, last).0, slot }
    }

    fn before<E>(
        &self,
        location: u32,
        unit: u32,
        base: impl FnOnce() -> Result<Option<EvmValue>, E>,
    ) -> Result<Option<EvmValue>, E> {
        let (list, index) = (self.list, self.index(unit));
        if let Some(slot) = list.slot_at(location) {
            let change = below(list.words(slot), index);
            let (_, died) = list.deaths(&list.accounts[slot.account as usize], index);
            return match change.filter(|change| died.is_none_or(|died| change.index > died)) {
                Some(change) => Ok(Some(EvmValue::Slot(change.value))),
                None if died.is_some() => Ok(None),
                None => base(),
            };
        }
        let account = &list.accounts[location as usize];
        let balance = below(row(&list.balances, &account.balances), index);
        let nonce = below(row(&list.nonces, &account.nonces), index);
        let code = below(row(&list.codes, &account.codes), index);
        let base = base()?;
        // At the end it is asked for what was written, and so touched.
        let at_end = index > list.counts.len() as u32 - 2 + u32::from(self.has_after);
        if balance.is_none() && nonce.is_none() && code.is_none() && !at_end {
            return Ok(base);
        }
        let mut now = record(base.as_ref());
        now.balance = balance.map_or(now.balance, |change| change.value);
        now.nonce = nonce.map_or(now.nonce, |change| change.value);
        now.code_hash = code.map_or(now.code_hash, |change| change.value);
        let (deaths, _) = list.deaths(account, index);
        now.generation += deaths;
        now.has_storage &= deaths == 0;
        now.exists = list.exists(&now);
        Ok(Some(EvmValue::Account(now)))
    }

    fn check(&self, unit: u32, written: &[Written<EvmValue>]) -> Result<(), EvmError> {
        let (list, index) = (self.list, self.index(unit));
        let mut found = 0;
        for (location, before, after) in written {
            found += match list.slot_at(*location) {
                Some(slot) => {
                    let address = list.accounts[slot.account as usize].address;
                    let pair = (word(before.as_ref()), word(after.as_ref()));
                    let part = |index| AccessPart::Storage(slot.key, index);
                    Self::row(list.words(slot), index, pair, address, part, Listing::Word)?
                }
                None => {
                    let account = &list.accounts[*location as usize];
                    let (before, after) = (record(before.as_ref()), record(after.as_ref()));
                    self.check_account(account, index, &before, &after)?
                }
            };
        }
        if list.counts.get(index as usize).is_none_or(|count| *count == found) {
            return Ok(());
        }
        let mut known: Vec<u32> = written.iter().map(|(location, ..)| *location).collect();
        known.sort_unstable();
        let extra = list.first_at(index, |location| known.binary_search(&location).is_ok());
        extra.map_or(Ok(()), |extra| Err(extra.into()))
    }

    fn touched(
        &self,
        unit: u32,
        effects: &Effects<EvmVm<'b>>,
        touch: &mut dyn FnMut(u32),
    ) -> Result<(), EvmError> {
        let Some(EvmOutput::Touched(touched)) = &effects.output else { return Ok(()) };
        let accounts = touched.touches.accounts.iter().map(|address| EvmKey::Account(*address));
        let slots = touched.touches.slots.iter();
        let slots =
            slots.map(|(address, slot)| EvmKey::Slot { address: *address, generation: 0, slot: *slot });
        for key in accounts.chain(slots) {
            if let Located::At(location) = Versions::<EvmVm<'b>>::locate(self, &key, unit)? {
                touch(location);
            }
        }
        Ok(())
    }

    fn complete(&self, touched: &dyn Fn(u32) -> bool) -> Result<(), EvmError> {
        let list = self.list;
        let after = list.counts.len() as u32 - 1;
        if !self.has_after
            && list.counts[after as usize] > 0
            && let Some(extra) = list.first_at(after, |_| false)
        {
            return Err(extra.into());
        }
        for (account, number) in list.accounts.iter().zip(0u32..) {
            let missing = |part| {
                AccessListError::differs(account.address, part, Listing::Access, Listing::Absent).into()
            };
            if !touched(number) {
                return Err(missing(AccessPart::Account));
            }
            for slot in account.slots.clone() {
                if !touched(list.accounts.len() as u32 + slot) {
                    return Err(missing(AccessPart::Slot(list.slots[slot as usize].key)));
                }
            }
        }
        Ok(())
    }
}
