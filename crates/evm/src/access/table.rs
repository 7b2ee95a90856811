//! The tables that an access list is decoded into: rows side by side in a few parts, and an index of all.

use super::error::{AccessListError, AccessPart, Listing};
use crate::{EvmKey, key::hash_address};
use alloy_primitives::{Address, B256, Bytes, U256};
use foldhash::fast::RandomState;
use revm::bytecode::Bytecode;
use std::{
    hash::{BuildHasher, Hasher},
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
};

/// A value from an index on.
#[derive(Clone, Debug)]
pub(super) struct Change<T> {
    pub(super) index: u32,
    pub(super) value: T,
}

/// Rows up to this length are walked.
const FEW: usize = 8;

/// How many of the changes come before `index`.
///
/// Long rows are those of accounts and slots that change again and again, all over the block; so the search
/// begins where an even row would have it.
fn position<T>(changes: &[Change<T>], index: u32) -> usize {
    let below = |change: &Change<T>| change.index < index;
    let (Some(first), Some(last)) = (changes.first(), changes.last()) else { return 0 };
    if changes.len() <= FEW {
        return changes.iter().take_while(|change| below(change)).count();
    }
    if !below(first) {
        return 0;
    }
    if below(last) {
        return changes.len();
    }
    let (into, over) = (u64::from(index - first.index), u64::from(last.index - first.index));
    let guess = (into * (changes.len() as u64 - 1) / over) as usize;
    // Below: all before `low`. Not below: all from `high` on.
    let (mut low, mut high, mut step) = (0, changes.len(), 1);
    if below(&changes[guess]) {
        low = guess + 1;
        while low + step < high {
            if !below(&changes[low + step]) {
                high = low + step;
                break;
            }
            low += step + 1;
            step *= 2;
        }
    } else {
        high = guess;
        while high > step {
            if below(&changes[high - step]) {
                low = high - step + 1;
                break;
            }
            high -= step;
            step *= 2;
        }
    }
    low + changes[low..high].partition_point(below)
}

/// The last change below `index`.
pub(super) fn below<T>(changes: &[Change<T>], index: u32) -> Option<&Change<T>> {
    if changes.is_empty() { None } else { changes[..position(changes, index)].last() }
}

/// The value of the change at `index`.
pub(super) fn at<T: Copy>(changes: &[Change<T>], index: u32) -> Option<T> {
    let found = changes.get(position(changes, index))?;
    (found.index == index).then_some(found.value)
}

pub(super) fn row<'a, T>(all: &'a [T], range: &Range<u32>) -> &'a [T] {
    &all[range.start as usize..range.end as usize]
}

/// Balance and nonce of an account from an index on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields {
    pub(super) balance: U256,
    pub(super) nonce: u64,
    /// Which of the two are known, and which of them change here.
    set: u8,
}

const BALANCE: u8 = 1;
const NONCE: u8 = 2;
const BALANCE_HERE: u8 = 4;
const NONCE_HERE: u8 = 8;

impl Fields {
    /// The balance, if it has changed up to here.
    pub(super) fn balance(&self) -> Option<U256> {
        (self.set & BALANCE != 0).then_some(self.balance)
    }

    /// The nonce, if it has changed up to here.
    pub(super) fn nonce(&self) -> Option<u64> {
        (self.set & NONCE != 0).then_some(self.nonce)
    }

    /// What changes here.
    fn changed(&self) -> (Option<U256>, Option<u64>) {
        let balance = (self.set & BALANCE_HERE != 0).then_some(self.balance);
        (balance, (self.set & NONCE_HERE != 0).then_some(self.nonce))
    }

    /// Appends the changes of one account, by index.
    pub(super) fn merge(balances: &[Change<U256>], nonces: &[Change<u64>], to: &mut Vec<Change<Fields>>) {
        let only = |change: &Change<U256>| {
            let value = Fields { balance: change.value, nonce: 0, set: BALANCE | BALANCE_HERE };
            Change { index: change.index, value }
        };
        if nonces.is_empty() {
            return to.extend(balances.iter().map(only));
        }
        let (mut balances, mut nonces) = (balances.iter(), nonces.iter());
        let (mut balance, mut nonce) = (balances.next(), nonces.next());
        let mut now = Fields { balance: U256::ZERO, nonce: 0, set: 0 };
        loop {
            let (left, right) = (balance.map(|change| change.index), nonce.map(|change| change.index));
            let index = match (left, right) {
                (Some(left), Some(right)) => left.min(right),
                (Some(index), None) | (None, Some(index)) => index,
                (None, None) => return,
            };
            now.set &= BALANCE | NONCE;
            if let Some(change) = balance.filter(|change| change.index == index) {
                now.balance = change.value;
                now.set |= BALANCE | BALANCE_HERE;
                balance = balances.next();
            }
            if let Some(change) = nonce.filter(|change| change.index == index) {
                now.nonce = change.value;
                now.set |= NONCE | NONCE_HERE;
                nonce = nonces.next();
            }
            to.push(Change { index, value: now });
        }
    }
}

/// A listed account: rows of its [`Part`]. One line of a cache.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(super) struct Account {
    pub(super) address: Address,
    /// Slots that change, ascending, and from `reads` on those that do not, ascending.
    pub(super) slots: Range<u32>,
    pub(super) reads: u32,
    pub(super) fields: Range<u32>,
    pub(super) codes: Range<u32>,
    pub(super) deaths: Range<u32>,
}

/// A listed slot; without changes it is only touched. One line of a cache.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(super) struct Slot {
    pub(super) key: U256,
    pub(super) address: Address,
    pub(super) changes: Range<u32>,
    /// Of the part.
    pub(super) account: u32,
}

/// Consecutive accounts of a list.
#[derive(Clone, Debug, Default)]
pub(super) struct Part {
    pub(super) accounts: Vec<Account>,
    pub(super) slots: Vec<Slot>,
    pub(super) words: Vec<Change<U256>>,
    pub(super) fields: Vec<Change<Fields>>,
    /// Of the account that is being decoded.
    pub(super) balances: Vec<Change<U256>>,
    pub(super) nonces: Vec<Change<u64>>,
    pub(super) codes: Vec<Change<B256>>,
    pub(super) raw_codes: Vec<Change<Bytes>>,
    /// Codes to run, by hash.
    pub(super) bytecodes: Vec<(B256, Bytecode)>,
    /// Indices at which accounts are destroyed, of each account ascending.
    pub(super) deaths: Vec<u32>,
    /// Changes at each index.
    pub(super) counts: Vec<u32>,
    /// Changes in all.
    pub(super) changes: usize,
}

impl Part {
    /// Empties it, for a block that has indices up to `last`.
    pub(super) fn clear(&mut self, last: u64) {
        self.accounts.clear();
        self.slots.clear();
        self.words.clear();
        self.fields.clear();
        self.codes.clear();
        self.raw_codes.clear();
        self.bytecodes.clear();
        self.deaths.clear();
        self.counts.clear();
        self.counts.resize(last as usize + 1, 0);
        self.changes = 0;
    }

    /// Bytes that are allocated, roughly.
    pub(super) fn bytes(&self) -> usize {
        fn of<T>(all: &Vec<T>) -> usize {
            all.capacity() * size_of::<T>()
        }
        of(&self.accounts)
            + of(&self.slots)
            + of(&self.words)
            + of(&self.fields)
            + of(&self.balances)
            + of(&self.nonces)
            + of(&self.codes)
            + of(&self.counts)
    }

    /// Accounts and slots.
    pub(super) fn items(&self) -> usize {
        self.accounts.len() + self.slots.len()
    }

    pub(super) fn slot(&self, at: usize) -> &Slot {
        &self.slots[at - self.accounts.len()]
    }

    pub(super) fn words(&self, slot: &Slot) -> &[Change<U256>] {
        row(&self.words, &slot.changes)
    }

    /// Key of its place `at`: accounts come first, then slots.
    pub(super) fn key(&self, at: usize) -> EvmKey {
        match self.accounts.get(at) {
            Some(account) => EvmKey::Account(account.address),
            None => {
                let slot = self.slot(at);
                EvmKey::Slot { address: slot.address, generation: 0, slot: slot.key }
            }
        }
    }

    /// Whether `key`, whatever its generation, has the place `at`.
    fn has(&self, at: usize, key: &EvmKey) -> bool {
        match (key, self.accounts.get(at)) {
            (EvmKey::Account(address), Some(account)) => account.address == *address,
            (EvmKey::Slot { address, slot, .. }, None) => {
                let listed = self.slot(at);
                listed.key == *slot && listed.address == *address
            }
            _ => false,
        }
    }

    /// Times that an account is destroyed before `index`, and the last index at which it is.
    pub(super) fn deaths(&self, account: &Account, index: u32) -> (u32, Option<u32>) {
        if account.deaths.is_empty() {
            return (0, None);
        }
        let deaths = row(&self.deaths, &account.deaths);
        let count = deaths.partition_point(|at| *at < index);
        (count as u32, deaths[..count].last().copied())
    }

    /// Changes of balance and nonce of an account at `index`.
    pub(super) fn fields_at(&self, account: &Account, index: u32) -> (Option<U256>, Option<u64>) {
        let row = row(&self.fields, &account.fields);
        let found = row.get(position(row, index)).filter(|change| change.index == index);
        found.map_or((None, None), |change| change.value.changed())
    }

    /// The first change at `index`, in the order of the list, of a place that `known` does not know.
    pub(super) fn first_at(&self, index: u32, known: impl Fn(usize) -> bool) -> Option<AccessListError> {
        let at64 = u64::from(index);
        self.accounts.iter().enumerate().find_map(|(place, account)| {
            // Those that change are in order.
            let word = (account.slots.start..account.reads).find_map(|slot| {
                let place = self.accounts.len() + slot as usize;
                let slot = &self.slots[slot as usize];
                let value = at(self.words(slot), index).filter(|_| !known(place))?;
                Some((AccessPart::Storage(slot.key, at64), Listing::Word(value)))
            });
            let field = || {
                let (balance, nonce) = self.fields_at(account, index);
                let code = at(row(&self.codes, &account.codes), index);
                let balance = balance.map(|value| (AccessPart::Balance(at64), Listing::Word(value)));
                let nonce = nonce.map(|value| (AccessPart::Nonce(at64), Listing::Nonce(value)));
                let code = code.map(|value| (AccessPart::Code(at64), Listing::Code(value)));
                balance.or(nonce).or(code).filter(|_| !known(place))
            };
            let (part, listed) = word.or_else(field)?;
            Some(AccessListError::differs(account.address, part, listed, Listing::Absent))
        })
    }

    /// The first account or slot, in the order of the list, of a place that is not `touched`.
    pub(super) fn first_untouched(&self, touched: impl Fn(usize) -> bool) -> Option<AccessListError> {
        self.accounts.iter().enumerate().find_map(|(place, account)| {
            let missing = |part| {
                Some(AccessListError::differs(account.address, part, Listing::Access, Listing::Absent))
            };
            if !touched(place) {
                return missing(AccessPart::Account);
            }
            let is_untouched = |slot: &u32| !touched(self.accounts.len() + *slot as usize);
            let untouched = account.slots.clone().filter(is_untouched);
            let slot = untouched.map(|slot| self.slots[slot as usize].key).min()?;
            missing(AccessPart::Slot(slot))
        })
    }
}

/// The parts of a list, and where each location is. The number of a location is that of its part, shifted,
/// and its place there.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) parts: Vec<Part>,
    /// Parts in use.
    pub(super) count: usize,
    shift: u32,
    /// Upper half of the hash of a key, and number of its location, plus one; 0 if free. Open addressing,
    /// at most half full.
    buckets: Vec<AtomicU64>,
    mask: usize,
    hasher: RandomState,
}

impl Default for Tables {
    fn default() -> Self {
        Tables {
            parts: Vec::new(),
            count: 0,
            shift: 0,
            buckets: vec![AtomicU64::new(0)],
            mask: 0,
            hasher: RandomState::default(),
        }
    }
}

impl Clone for Tables {
    fn clone(&self) -> Self {
        let buckets = self.buckets.iter();
        Tables {
            parts: self.parts.clone(),
            // Relaxed: changed only through `&mut`, or within `insert`, which ends before it is shared.
            buckets: buckets.map(|bucket| AtomicU64::new(bucket.load(Ordering::Relaxed))).collect(),
            hasher: self.hasher.clone(),
            ..*self
        }
    }
}

impl Tables {
    /// The parts in use.
    pub(super) fn parts(&self) -> &[Part] {
        &self.parts[..self.count]
    }

    /// A bound of the numbers of locations.
    pub(super) fn bound(&self) -> usize {
        self.count << self.shift
    }

    /// Bytes that are allocated, roughly.
    pub(super) fn bytes(&self) -> usize {
        self.parts.iter().map(Part::bytes).sum::<usize>() + self.buckets.capacity() * size_of::<AtomicU64>()
    }

    /// Number of the place `at` in `part`.
    pub(super) fn number(&self, part: usize, at: usize) -> u32 {
        ((part << self.shift) | at) as u32
    }

    /// Part and place of a location.
    pub(super) fn place(&self, location: u32) -> (usize, usize) {
        let location = location as usize;
        (location >> self.shift, location & ((1 << self.shift) - 1))
    }

    /// Makes room for what stands in the parts, which is to be inserted.
    ///
    /// Numbers must have 32 bits: parts are few, and hold fewer items than [`Limits`](super::decode) allow.
    pub(super) fn prepare(&mut self) {
        let items = || self.parts[..self.count].iter().map(Part::items);
        let (most, all) = (items().max().unwrap_or(0), items().sum::<usize>());
        self.shift = most.next_power_of_two().trailing_zeros();
        let size = (all * 2).next_power_of_two();
        self.mask = size - 1;
        self.buckets.iter_mut().take(size).for_each(|bucket| *bucket.get_mut() = 0);
        if self.buckets.len() < size {
            self.buckets.resize_with(size, || AtomicU64::new(0));
        }
    }

    /// Enters the locations of a part. Parts may be entered at the same time.
    pub(super) fn insert(&self, part: usize) {
        let table = &self.parts[part];
        for at in 0..table.items() {
            let hash = self.hash(&table.key(at));
            let entry = (hash & HIGH) | u64::from(self.number(part, at) + 1);
            let mut bucket = hash as usize & self.mask;
            // Relaxed, both: who looks comes after all have been entered.
            while self.buckets[bucket].load(Ordering::Relaxed) != 0
                || self.buckets[bucket]
                    .compare_exchange(0, entry, Ordering::Relaxed, Ordering::Relaxed)
                    .is_err()
            {
                bucket = (bucket + 1) & self.mask;
            }
        }
    }

    /// The hash of a key, that of a slot whatever its generation.
    fn hash(&self, key: &EvmKey) -> u64 {
        let mut state = self.hasher.build_hasher();
        match key {
            EvmKey::Account(address) => hash_address(address, 0, &mut state),
            EvmKey::Slot { address, slot, .. } => {
                hash_address(address, 1, &mut state);
                slot.as_limbs().iter().for_each(|limb| state.write_u64(*limb));
            }
            EvmKey::Code(hash) => state.write(hash.as_slice()),
        }
        state.finish()
    }

    /// Where a key is, that of a slot in any generation.
    #[inline]
    pub(super) fn find(&self, key: &EvmKey) -> Option<u32> {
        let hash = self.hash(key);
        let mut bucket = hash as usize & self.mask;
        loop {
            // Relaxed: it does not change any more.
            let entry = self.buckets[bucket].load(Ordering::Relaxed);
            if entry == 0 {
                return None;
            }
            if (entry ^ hash) & HIGH == 0 {
                let location = entry as u32 - 1;
                let (part, at) = self.place(location);
                if self.parts[part].has(at, key) {
                    return Some(location);
                }
            }
            bucket = (bucket + 1) & self.mask;
        }
    }
}

/// The half of a hash that an index keeps.
const HIGH: u64 = !(u32::MAX as u64);

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of all shapes, around every index that occurs in them.
    #[test]
    fn positions_are_those_of_a_binary_search() {
        let even: Vec<u32> = (1..200).collect();
        let sparse: Vec<u32> = (0..40).map(|n| n * n * 3).collect();
        let late: Vec<u32> = [1].into_iter().chain(900..960).collect();
        let early: Vec<u32> = (1..60).chain([5_000_000]).collect();
        let ends = vec![0, u32::MAX - 1];
        for indices in [even, sparse, late, early, ends, vec![], vec![7]] {
            for len in 0..=indices.len() {
                let row: Vec<Change<()>> =
                    indices[..len].iter().map(|index| Change { index: *index, value: () }).collect();
                let around = indices.iter().flat_map(|index| [index.saturating_sub(1), *index, index + 1]);
                for index in around.chain([0, 1, u32::MAX]) {
                    let expected = row.partition_point(|change| change.index < index);
                    assert_eq!(position(&row, index), expected, "{index} in {:?}", &indices[..len]);
                }
            }
        }
    }
}
