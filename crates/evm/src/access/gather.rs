//! From notes to the list of a block: each account and slot once, in order, with its changes.
//!
//! Every table is flat, and serves the next list: fresh memory would cost more than what is done in it.

use super::{
    notes::{Item, Name, address},
    record::{AccessRecord, Codes, record, word},
    rlp::Backwards,
};
use crate::{EvmKey, EvmValue};
use alloy_eips::eip7928::{
    AccountChanges, BalanceChange, BlockAccessIndex, BlockAccessList, CodeChange, NonceChange, SlotChanges,
    StorageChange,
};
use alloy_primitives::{Address, Bytes, U256};
use braid_core::{Reader, State, StoreError};
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::{
    hash::{BuildHasher, Hasher},
    mem::take,
    ops::{Range, RangeInclusive},
};

/// The end of a chain; the place of an account that is left out.
const NONE: u32 = u32::MAX;

/// Changes of one location, in the order in which they came.
#[derive(Clone, Copy, Debug)]
struct Chain {
    first: u32,
    last: u32,
}

impl Chain {
    const EMPTY: Chain = Chain { first: NONE, last: NONE };

    /// Appends `change` to the chain; it goes to the end of `all`.
    fn push<T>(&mut self, all: &mut Vec<Link<T>>, index: u32, change: T) {
        let at = all.len() as u32;
        all.push(Link { next: NONE, index, change });
        if self.first == NONE {
            self.first = at;
        } else {
            all[self.last as usize].next = at;
        }
        self.last = at;
    }

    fn iter<T>(self, all: &[Link<T>]) -> impl Iterator<Item = &Link<T>> {
        let get = |at: u32| all.get(at as usize);
        std::iter::successors(get(self.first), move |link| get(link.next))
    }
}

#[derive(Debug)]
struct Link<T> {
    next: u32,
    index: u32,
    change: T,
}

/// Where an item is: whose, and where in theirs.
#[derive(Clone, Copy, Debug)]
struct ItemAt {
    writer: u32,
    at: usize,
}

impl ItemAt {
    fn get(self, access: &AccessRecord) -> Item<'_> {
        access.notes[self.writer as usize].item(self.at)
    }
}

#[derive(Debug)]
struct Account {
    name: Name,
    /// Of its slots.
    count: u32,
    changes: Chain,
}

#[derive(Debug)]
struct Slot {
    account: u32,
    key: U256,
    changes: Chain,
}

/// Accounts and slots, each once, as they came.
#[derive(Debug, Default)]
struct Merged {
    hasher: RandomState,
    /// Places of the accounts of the note at hand.
    places: Vec<u32>,
    /// Places of accounts and slots.
    account_table: HashTable<u32>,
    slot_table: HashTable<u32>,
    accounts: Vec<Account>,
    slots: Vec<Slot>,
    records: Vec<Link<ItemAt>>,
    words: Vec<Link<U256>>,
}

fn hash_of_account(hasher: &RandomState, name: &Name) -> u64 {
    let mut state = hasher.build_hasher();
    name.iter().for_each(|word| state.write_u64(*word));
    state.finish()
}

fn hash_of_slot(hasher: &RandomState, account: u32, key: &U256) -> u64 {
    let mut state = hasher.build_hasher();
    state.write_u32(account);
    key.as_limbs().iter().for_each(|limb| state.write_u64(*limb));
    state.finish()
}

impl Merged {
    fn clear(&mut self) {
        self.account_table.clear();
        self.slot_table.clear();
        self.accounts.clear();
        self.slots.clear();
        self.records.clear();
        self.words.clear();
    }

    /// Enters what is noted of accounts that begin with one of `bytes`.
    fn enter(&mut self, access: &AccessRecord, bytes: &RangeInclusive<u8>) {
        let mut places = take(&mut self.places);
        for (index, note) in &access.entries {
            places.clear();
            let writer = note.writer;
            for item in access.notes[writer as usize].items(note.at) {
                if item.is_slot() {
                    let account = places[item.account() as usize];
                    if account == NONE {
                        continue;
                    }
                    let at = self.slot(account, item.key());
                    if item.is_changed() {
                        self.slots[at as usize].changes.push(&mut self.words, *index, item.value());
                    }
                } else if bytes.contains(&item.first_byte()) {
                    let at = self.account(item.name());
                    places.push(at);
                    if item.is_changed() {
                        let item = ItemAt { writer, at: item.at };
                        self.accounts[at as usize].changes.push(&mut self.records, *index, item);
                    }
                } else {
                    places.push(NONE);
                }
            }
        }
        self.places = places;
    }

    fn account(&mut self, name: Name) -> u32 {
        let Merged { hasher, account_table, accounts, .. } = self;
        let hash = hash_of_account(hasher, &name);
        if let Some(at) = account_table.find(hash, |at| accounts[*at as usize].name == name) {
            return *at;
        }
        let at = accounts.len() as u32;
        accounts.push(Account { name, count: 0, changes: Chain::EMPTY });
        account_table.insert_unique(hash, at, |at| hash_of_account(hasher, &accounts[*at as usize].name));
        at
    }

    fn slot(&mut self, account: u32, key: U256) -> u32 {
        let Merged { hasher, slot_table, slots, accounts, .. } = self;
        let hash = hash_of_slot(hasher, account, &key);
        let is = |at: &u32| slots[*at as usize].key == key && slots[*at as usize].account == account;
        if let Some(at) = slot_table.find(hash, is) {
            return *at;
        }
        let at = slots.len() as u32;
        slots.push(Slot { account, key, changes: Chain::EMPTY });
        accounts[account as usize].count += 1;
        slot_table.insert_unique(hash, at, |at| {
            let slot = &slots[*at as usize];
            hash_of_slot(hasher, slot.account, &slot.key)
        });
        at
    }
}

/// Accounts and slots in their order.
#[derive(Debug, Default)]
struct Order {
    /// Places of accounts, by address; first bytes, which mostly tell, beside them.
    accounts: Vec<(u64, u32)>,
    /// Places of slots, those of an account side by side, accounts by address.
    slots: Vec<u32>,
    /// Where the next slot of each account goes, by place; in the end, where those of each account end.
    ends: Vec<u32>,
}

impl Order {
    fn fill(&mut self, merged: &Merged) {
        let leading = |account: &Account| {
            let [first, second, _] = account.name;
            u64::from((first as u32).swap_bytes()) << 32 | u64::from((second as u32).swap_bytes())
        };
        self.accounts.clear();
        self.accounts.extend(merged.accounts.iter().map(leading).zip(0..));
        self.accounts.sort_unstable_by(|left, right| {
            let address = |at: u32| address(&merged.accounts[at as usize].name);
            left.0.cmp(&right.0).then_with(|| address(left.1).cmp(&address(right.1)))
        });
        self.ends.clear();
        self.ends.resize(merged.accounts.len(), 0);
        let mut sum = 0;
        for (_, at) in &self.accounts {
            self.ends[*at as usize] = sum;
            sum += merged.accounts[*at as usize].count;
        }
        self.slots.clear();
        self.slots.resize(merged.slots.len(), 0);
        for (slot, at) in merged.slots.iter().zip(0..) {
            let next = &mut self.ends[slot.account as usize];
            self.slots[*next as usize] = at;
            *next += 1;
        }
        let mut start = 0;
        for (_, at) in &self.accounts {
            let end = self.ends[*at as usize] as usize;
            self.slots[start..end].sort_unstable_by_key(|at| merged.slots[*at as usize].key);
            start = end;
        }
    }
}

/// An account of a list; its parts are ranges of the tables.
#[derive(Debug)]
struct Entry {
    address: Address,
    written: Range<usize>,
    read: Range<usize>,
    balances: Range<usize>,
    nonces: Range<usize>,
    codes: Range<usize>,
}

/// A list, or a part of it, in order, in flat tables.
#[derive(Debug, Default)]
struct Tables {
    entries: Vec<Entry>,
    /// Slots that changed, with their changes.
    written: Vec<(U256, Range<usize>)>,
    read: Vec<U256>,
    /// Changes with their indices.
    words: Vec<(u32, U256)>,
    balances: Vec<(u32, U256)>,
    nonces: Vec<(u32, u64)>,
    codes: Vec<(u32, Bytes)>,
}

impl Tables {
    fn clear(&mut self) {
        self.entries.clear();
        self.written.clear();
        self.read.clear();
        self.words.clear();
        self.balances.clear();
        self.nonces.clear();
        self.codes.clear();
    }

    fn fill<R: Reader<EvmKey, EvmValue>>(
        &mut self,
        access: &AccessRecord,
        merged: &Merged,
        order: &Order,
        codes: &Codes<'_>,
        reader: &mut R,
    ) -> Result<(), StoreError> {
        let mut start = 0;
        for (_, at) in &order.accounts {
            let account = &merged.accounts[*at as usize];
            let address = address(&account.name);
            let end = order.ends[*at as usize] as usize;
            let (written, read) = (self.written.len(), self.read.len());
            for slot in &order.slots[start..end] {
                self.slot(address, &merged.slots[*slot as usize], &merged.words, reader)?;
            }
            start = end;
            let (balances, nonces, new_codes) = (self.balances.len(), self.nonces.len(), self.codes.len());
            if account.changes.first != NONE {
                let changes = account.changes.iter(&merged.records);
                let changes = changes.map(|link| (link.index, link.change.get(access)));
                self.fields(address, changes, codes, reader)?;
            }
            self.entries.push(Entry {
                address,
                written: written..self.written.len(),
                read: read..self.read.len(),
                balances: balances..self.balances.len(),
                nonces: nonces..self.nonces.len(),
                codes: new_codes..self.codes.len(),
            });
        }
        Ok(())
    }

    /// Every write is a change, as the machine leaves out those that are none; only where several
    /// transactions share an index, later ones may take back what earlier ones did.
    fn slot<R: Reader<EvmKey, EvmValue>>(
        &mut self,
        address: Address,
        slot: &Slot,
        words: &[Link<U256>],
        reader: &mut R,
    ) -> Result<(), StoreError> {
        let first = self.words.len();
        let mut links = slot.changes.iter(words).peekable();
        while let Some(link) = links.next() {
            let mut value = link.change;
            let mut several = false;
            while let Some(same) = links.next_if(|next| next.index == link.index) {
                (value, several) = (same.change, true);
            }
            if several {
                let before = match self.words[first..].last() {
                    Some((_, before)) => *before,
                    None => {
                        let key = EvmKey::Slot { address, generation: 0, slot: slot.key };
                        word(reader.get(&key)?.as_ref())
                    }
                };
                if value == before {
                    continue;
                }
            }
            self.words.push((link.index, value));
        }
        if self.words.len() > first {
            self.written.push((slot.key, first..self.words.len()));
        } else {
            self.read.push(slot.key);
        }
        Ok(())
    }

    /// Balance, nonce and code after each index at which they change.
    fn fields<'a, R: Reader<EvmKey, EvmValue>>(
        &mut self,
        address: Address,
        changes: impl Iterator<Item = (u32, Item<'a>)>,
        codes: &Codes<'_>,
        reader: &mut R,
    ) -> Result<(), StoreError> {
        let before = record(reader.get(&EvmKey::Account(address))?.as_ref());
        let (mut balance, mut nonce, mut code_hash) = (before.balance, before.nonce, before.code_hash);
        let mut changes = changes.peekable();
        while let Some((index, change)) = changes.next() {
            let mut new_balance = change.balance(balance);
            let mut new_nonce = change.nonce().unwrap_or(nonce);
            let mut new_code = change.code_hash();
            while let Some((_, same)) = changes.next_if(|(at, _)| *at == index) {
                new_balance = same.balance(new_balance);
                new_nonce = same.nonce().unwrap_or(new_nonce);
                new_code = same.code_hash().or(new_code);
            }
            if new_balance != balance {
                balance = new_balance;
                self.balances.push((index, balance));
            }
            if new_nonce != nonce {
                nonce = new_nonce;
                self.nonces.push((index, nonce));
            }
            if let Some(new_code) = new_code.filter(|new_code| *new_code != code_hash) {
                code_hash = new_code;
                self.codes.push((index, codes.get(code_hash, reader)?));
            }
        }
        Ok(())
    }

    /// As alloy has it.
    fn list(&self) -> BlockAccessList {
        let index = |index: &u32| BlockAccessIndex::new((*index).into());
        let words = |row: &Range<usize>| {
            let row = self.words[row.clone()].iter();
            row.map(|(at, value)| StorageChange::new(index(at), *value)).collect()
        };
        let entry = |entry: &Entry| {
            let written = self.written[entry.written.clone()].iter();
            let balances = self.balances[entry.balances.clone()].iter();
            let nonces = self.nonces[entry.nonces.clone()].iter();
            let codes = self.codes[entry.codes.clone()].iter();
            AccountChanges {
                address: entry.address,
                storage_changes: written.map(|(key, row)| SlotChanges::new(*key, words(row))).collect(),
                storage_reads: self.read[entry.read.clone()].to_vec(),
                balance_changes: balances.map(|(at, wei)| BalanceChange::new(index(at), *wei)).collect(),
                nonce_changes: nonces.map(|(at, nonce)| NonceChange::new(index(at), *nonce)).collect(),
                code_changes: codes.map(|(at, code)| CodeChange::new(index(at), code.clone())).collect(),
            }
        };
        self.entries.iter().map(entry).collect()
    }

    /// Its accounts in RLP, one after the other.
    fn encode(&self, out: &mut Backwards) {
        for entry in self.entries.iter().rev() {
            let end = out.len();
            out.row(&self.codes[entry.codes.clone()], |out, code| out.bytes(code));
            out.row(&self.nonces[entry.nonces.clone()], |out, nonce| out.number(*nonce));
            out.row(&self.balances[entry.balances.clone()], Backwards::word);
            let reads = out.len();
            self.read[entry.read.clone()].iter().rev().for_each(|key| out.word(key));
            out.list(reads);
            let writes = out.len();
            for (key, row) in self.written[entry.written.clone()].iter().rev() {
                let slot = out.len();
                out.row(&self.words[row.clone()], Backwards::word);
                out.word(key);
                out.list(slot);
            }
            out.list(writes);
            out.address(&entry.address);
            out.list(end);
        }
    }
}

/// Makes lists of notes, and keeps its memory.
#[derive(Debug, Default)]
pub(super) struct Gatherer {
    merged: Merged,
    order: Order,
    tables: Tables,
    out: Backwards,
}

impl Gatherer {
    /// Gathers what is noted of accounts that begin with one of `bytes`.
    ///
    /// # Errors
    /// If the state before the block cannot be read.
    pub(super) fn gather<S: State<EvmKey, EvmValue>>(
        &mut self,
        access: &AccessRecord,
        codes: &Codes<'_>,
        bytes: &RangeInclusive<u8>,
        pre: &S,
    ) -> Result<(), StoreError> {
        self.clear();
        self.merged.enter(access, bytes);
        self.order.fill(&self.merged);
        self.tables.fill(access, &self.merged, &self.order, codes, &mut pre.reader()?)
    }

    /// The list of what was gathered, as alloy has it.
    pub(super) fn list(&self) -> BlockAccessList {
        self.tables.list()
    }

    /// Writes the accounts of that list in RLP, one after the other.
    pub(super) fn encode(&mut self) {
        self.out.clear();
        self.tables.encode(&mut self.out);
    }

    /// What [`Self::encode`] wrote.
    pub(super) fn encoded(&self) -> &[u8] {
        self.out.written()
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.merged.clear();
        self.tables.clear();
        self.out.clear();
    }

    /// Bytes that are allocated, roughly: by the largest tables.
    pub(super) fn bytes(&self) -> usize {
        fn of<T>(all: &Vec<T>) -> usize {
            all.capacity() * size_of::<T>()
        }
        let Gatherer { merged, tables, out, .. } = self;
        of(&merged.accounts)
            + of(&merged.slots)
            + of(&merged.records)
            + of(&merged.words)
            + of(&tables.entries)
            + of(&tables.written)
            + of(&tables.words)
            + of(&tables.balances)
            + out.bytes_allocated()
    }
}
