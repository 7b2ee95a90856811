//! The versions of a block as its access list prescribes them.

use super::{
    bases::Bases,
    error::{AccessListError, AccessPart, Listing},
    record::{record, word},
    table::{Account, Part, Slot, Tables, at, below, row},
};
use crate::{AccountState, BlockInput, EvmError, EvmKey, EvmOutput, EvmValue, block_vm::BlockVm};
use alloy_primitives::{Address, B256, U256};
use braid_core::{Effects, Located, TxIndex, Versions, Write, Written};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use revm::{bytecode::Bytecode, primitives::hardfork::SpecId};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A decoded access list, ready to run its block by. True or not: running the block tells.
#[derive(Clone, Debug)]
pub struct PrescribedBlock {
    pub(super) spec: SpecId,
    pub(super) tables: Tables,
    /// Changes at each index.
    pub(super) counts: Vec<u32>,
    /// Listed codes. Only looked up.
    pub(super) code_table: HashMap<B256, Bytecode, RandomState>,
    spare: Spare,
}

/// Memory for values before the block, while no block runs by the list.
#[derive(Debug, Default)]
struct Spare(Mutex<Box<Bases>>);

impl Spare {
    fn lock(&self) -> MutexGuard<'_, Box<Bases>> {
        // It is reset before it is used.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clone for Spare {
    fn clone(&self) -> Self {
        Spare::default()
    }
}

impl Default for PrescribedBlock {
    /// The list of an empty block that touches nothing.
    fn default() -> Self {
        PrescribedBlock {
            spec: SpecId::default(),
            tables: Tables::default(),
            counts: vec![0; 2],
            code_table: HashMap::default(),
            spare: Spare::default(),
        }
    }
}

impl PrescribedBlock {
    /// Accounts, and slots.
    pub fn counts(&self) -> (usize, usize) {
        let parts = || self.tables.parts().iter();
        (parts().map(|part| part.accounts.len()).sum(), parts().map(|part| part.slots.len()).sum())
    }

    /// Bytes that are allocated, roughly.
    pub(super) fn bytes(&self) -> usize {
        self.tables.bytes() + self.spare.lock().bytes()
    }

    /// Whether an account is touched by EIP-161's rule about empty accounts.
    fn exists(&self, account: &AccountState) -> bool {
        !self.spec.is_enabled_in(SpecId::SPURIOUS_DRAGON) || !account.is_empty()
    }

    /// The first change at `index`, in the order of the list, that `known` does not know.
    fn first_at(&self, index: u32, known: impl Fn(u32) -> bool) -> Option<AccessListError> {
        let mut parts = self.tables.parts().iter().enumerate();
        parts.find_map(|(number, part)| part.first_at(index, |at| known(self.tables.number(number, at))))
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
    /// What stood before the block, as far as it is known.
    bases: Box<Bases>,
}

impl Drop for Prescription<'_> {
    fn drop(&mut self) {
        *self.list.spare.lock() = std::mem::take(&mut self.bases);
    }
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
        let mut bases = std::mem::take(&mut *list.spare.lock());
        bases.reset(&list.tables);
        let this = Prescription { list, input, first, has_after, delegates, bases };
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

    /// Checks one change: `listed` is what the list has, and there is a change if the value after is another
    /// one than before. How many changes that is.
    fn same<T: Copy + PartialEq>(
        listed: Option<T>,
        (before, after): (T, T),
        differs: impl FnOnce(Listing, Listing) -> AccessListError,
        show: impl Fn(T) -> Listing,
    ) -> Result<u32, AccessListError> {
        let found = (before != after).then_some(after);
        if listed == found {
            return Ok(u32::from(found.is_some()));
        }
        let show = |value: Option<T>| value.map_or(Listing::Absent, &show);
        Err(differs(show(listed), show(found)))
    }

    /// Checks what became of a slot, and returns how many changes that was.
    fn check_slot(part: &Part, slot: &Slot, index: u32, pair: (U256, U256)) -> Result<u32, AccessListError> {
        let name = AccessPart::Storage(slot.key, index.into());
        let differs = |listed, found| AccessListError::differs(slot.address, name, listed, found);
        Self::same(at(part.words(slot), index), pair, differs, Listing::Word)
    }

    /// Checks what became of an account, and returns how many changes that was.
    fn check_account(
        &self,
        part: &Part,
        account: &Account,
        index: u32,
        before: &AccountState,
        after: &AccountState,
    ) -> Result<u32, AccessListError> {
        let (list, address, at64) = (self.list, account.address, u64::from(index));
        let differs = |name| move |listed, found| AccessListError::differs(address, name, listed, found);
        let (balance, nonce) = part.fields_at(account, index);
        let pair = (before.balance, after.balance);
        let mut found = Self::same(balance, pair, differs(AccessPart::Balance(at64)), Listing::Word)?;
        let pair = (before.nonce, after.nonce);
        found += Self::same(nonce, pair, differs(AccessPart::Nonce(at64)), Listing::Nonce)?;
        let code = at(row(&part.codes, &account.codes), index);
        let pair = (before.code_hash, after.code_hash);
        found += Self::same(code, pair, differs(AccessPart::Code(at64)), Listing::Code)?;
        // What no row says must follow from those that do.
        let dies = row(&part.deaths, &account.deaths).binary_search(&index).is_ok();
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

impl<'b> Versions<BlockVm<'b>> for Prescription<'_> {
    fn locations(&self) -> usize {
        self.list.tables.bound()
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
        // Code is the same wherever it stands.
        if let EvmKey::Code(hash) = key {
            return Ok(match self.list.code_table.get(hash) {
                Some(code) => Located::Fixed(EvmValue::Code(code.clone())),
                None => Located::Free,
            });
        }
        match (self.list.tables.find(key), key) {
            (Some(location), _) => Ok(Located::At(location)),
            (None, EvmKey::Slot { address, slot, .. }) => {
                Err(Self::unlisted(*address, AccessPart::Slot(*slot)))
            }
            (None, EvmKey::Account(address)) => Err(Self::unlisted(*address, AccessPart::Account)),
            (None, EvmKey::Code(_)) => Ok(Located::Free),
        }
    }

    fn base_key(&self, location: u32) -> EvmKey {
        let (part, at) = self.list.tables.place(location);
        self.list.tables.parts[part].key(at)
    }

    /// A slot belongs to the life of its account in which it changed last.
    fn final_key(&self, location: u32) -> EvmKey {
        let (part, at) = self.list.tables.place(location);
        let part = &self.list.tables.parts[part];
        match part.key(at) {
            EvmKey::Slot { address, slot, .. } => {
                let listed = part.slot(at);
                let last = part.words(listed).last().map_or(u32::MAX, |change| change.index);
                let account = &part.accounts[listed.account as usize];
                EvmKey::Slot { address, generation: part.deaths(account, last).0, slot }
            }
            key => key,
        }
    }

    #[inline]
    fn before<E>(
        &self,
        location: u32,
        unit: u32,
        base: impl FnOnce() -> Result<Option<EvmValue>, E>,
    ) -> Result<Option<EvmValue>, E> {
        let (list, index) = (self.list, self.index(unit));
        let (number, at) = list.tables.place(location);
        let part = &list.tables.parts[number];
        let Some(account) = part.accounts.get(at) else {
            let slot = part.slot(at);
            let change = below(part.words(slot), index);
            let (_, died) = part.deaths(&part.accounts[slot.account as usize], index);
            return match change.filter(|change| died.is_none_or(|died| change.index > died)) {
                Some(change) => Ok(Some(EvmValue::Slot(change.value))),
                None if died.is_some() => Ok(None),
                None => {
                    let base = || base().map(|value| word(value.as_ref()));
                    let value = self.bases.word(number, at - part.accounts.len(), base)?;
                    Ok(Some(EvmValue::Slot(*value)))
                }
            };
        };
        let base = self.bases.account(number, at, || base().map(|value| record(value.as_ref())))?;
        // At the end it is asked for what was written, and so touched.
        let at_end = index > list.counts.len() as u32 - 2 + u32::from(self.has_after);
        let fields = below(row(&part.fields, &account.fields), index).map(|change| &change.value);
        // One copy in either case: records are large, and this is done for every access.
        if account.codes.is_empty() && !at_end {
            let Some(fields) = fields else { return Ok(Some(EvmValue::Account(*base))) };
            let (balance, nonce) =
                (fields.balance().unwrap_or(base.balance), fields.nonce().unwrap_or(base.nonce));
            let now = AccountState { balance, nonce, ..*base };
            let exists = list.exists(&now);
            return Ok(Some(EvmValue::Account(AccountState { exists, ..now })));
        }
        let code = below(row(&part.codes, &account.codes), index);
        let mut now = *base;
        if fields.is_none() && code.is_none() && !at_end {
            return Ok(Some(EvmValue::Account(now)));
        }
        if let Some(fields) = fields {
            now.balance = fields.balance().unwrap_or(now.balance);
            now.nonce = fields.nonce().unwrap_or(now.nonce);
        }
        now.code_hash = code.map_or(now.code_hash, |change| change.value);
        let (deaths, _) = part.deaths(account, index);
        now.generation += deaths;
        now.has_storage &= deaths == 0;
        now.exists = list.exists(&now);
        Ok(Some(EvmValue::Account(now)))
    }

    fn check(&self, unit: u32, written: &[Written<EvmValue>]) -> Result<(), EvmError> {
        let (list, index) = (self.list, self.index(unit));
        let mut found = 0;
        for (location, before, after) in written {
            let (number, at) = list.tables.place(*location);
            let part = &list.tables.parts[number];
            found += match part.accounts.get(at) {
                None => {
                    let pair = (word(before.as_ref()), word(after.as_ref()));
                    Self::check_slot(part, part.slot(at), index, pair)?
                }
                Some(account) => {
                    let (before, after) = (record(before.as_ref()), record(after.as_ref()));
                    self.check_account(part, account, index, &before, &after)?
                }
            };
        }
        self.check_count(unit, found, &mut written.iter().map(|(location, ..)| *location))
    }

    fn check_write(
        &self,
        unit: u32,
        location: u32,
        before: Option<&EvmValue>,
        write: &Write<EvmValue>,
    ) -> Option<Result<u32, EvmError>> {
        let index = self.index(unit);
        let (number, at) = self.list.tables.place(location);
        let part = &self.list.tables.parts[number];
        let found = match part.accounts.get(at) {
            None => {
                let after = match write {
                    Write::Put(value) => word(Some(value)),
                    Write::Add(_) | Write::Delete => U256::ZERO,
                };
                Self::check_slot(part, part.slot(at), index, (word(before), after))
            }
            Some(account) => {
                let before = record(before);
                self.check_account(part, account, index, &before, &before.written(write))
            }
        };
        Some(found.map_err(EvmError::from))
    }

    fn check_count(
        &self,
        unit: u32,
        found: u32,
        written: &mut dyn Iterator<Item = u32>,
    ) -> Result<(), EvmError> {
        let index = self.index(unit);
        if self.list.counts.get(index as usize).is_none_or(|count| *count == found) {
            return Ok(());
        }
        let mut known: Vec<u32> = written.collect();
        known.sort_unstable();
        let extra = self.list.first_at(index, |location| known.binary_search(&location).is_ok());
        extra.map_or(Ok(()), |extra| Err(extra.into()))
    }

    fn touched(
        &self,
        unit: u32,
        effects: &Effects<BlockVm<'b>>,
        touch: &mut dyn FnMut(u32),
    ) -> Result<(), EvmError> {
        let output = effects.output.as_ref().map(|done| &done.output);
        let Some(EvmOutput::Touched(touched)) = output else { return Ok(()) };
        let accounts = touched.touches.accounts.iter().map(|address| EvmKey::Account(*address));
        let slots = touched.touches.slots.iter();
        let slots =
            slots.map(|(address, slot)| EvmKey::Slot { address: *address, generation: 0, slot: *slot });
        for key in accounts.chain(slots) {
            if let Located::At(location) = Versions::<BlockVm<'b>>::locate(self, &key, unit)? {
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
        let mut parts = list.tables.parts().iter().enumerate();
        let missing = parts
            .find_map(|(number, part)| part.first_untouched(|at| touched(list.tables.number(number, at))));
        missing.map_or(Ok(()), |missing| Err(missing.into()))
    }
}
