//! The changes of a block by hashed keys, sorted by a crew.
//!
//! 1. Each worker hashes the addresses of some entries and counts how many of them go to whom: each worker has the
//!    accounts of a range of hashes.
//! 2. Each sorts its range and writes the changes to where they stand among all. Nothing is put together afterwards,
//!    and as ranges stay the same from block to block, what a worker writes is mostly in its own caches already.
//!
//! Memory is kept from block to block: pieces of megabytes that an allocator gives back and takes anew have to be
//! cleared by the system each time, which takes as long as to sort what goes into them.

use super::{
    batch::{Entry, hash_into, slot_value, sort_slots},
    kinds::{AccountChange, SlotChange},
};
use crate::trie::Crew;
use alloy_primitives::{Address, B256, U256};
use parking_lot::Mutex;

/// Slots by plain keys, and their values.
pub(super) type PlainSlots = Vec<(Address, U256, U256)>;

/// Less accounts than this for each worker are not shared.
const SHARE_MIN: usize = 128;
/// Accounts, and slots, for which memory is kept from block to block.
const SPARE: usize = 1 << 14;

/// The changes of a block.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    /// By key, each once.
    pub(super) changes: Vec<AccountChange>,
    /// All slots that are set, in the order in which each was set, in parts.
    pub(super) slots: Vec<PlainSlots>,
    /// By worker: what it hashes, and what it sorts.
    addresses: Vec<Addresses>,
    ranges: Vec<Range>,
}

/// Hashes of the addresses of a part of all entries.
#[derive(Debug, Default)]
struct Addresses {
    keys: Vec<B256>,
    /// How many of them are in the range of each worker.
    counts: Vec<usize>,
}

/// What a worker sorts.
#[derive(Debug, Default)]
struct Range {
    /// Entries by hash.
    order: Vec<(B256, u32)>,
    /// Hashes of their slots.
    keys: Vec<B256>,
}

/// The worker whose range a hash is in.
fn range_of(key: &B256, workers: usize) -> usize {
    (usize::from(u16::from_be_bytes([key[0], key[1]])) * workers) >> 16
}

impl From<Vec<AccountChange>> for Sorted {
    /// Changes that are sorted already, of which nobody knows plain keys.
    fn from(changes: Vec<AccountChange>) -> Self {
        Sorted { changes, ..Sorted::default() }
    }
}

impl Sorted {
    /// Sorts entries, in the memory of others before them.
    pub(super) fn of(entries: &[(&Address, &Entry)], crew: &mut Crew<'_>, spare: Sorted) -> Self {
        let Sorted { mut changes, mut slots, mut addresses, mut ranges } = spare;
        let workers = crew.workers().min(entries.len() / SHARE_MIN).max(1);
        let share = entries.len().div_ceil(workers).max(1);
        addresses.resize_with(workers, Addresses::default);
        ranges.resize_with(workers, Range::default);
        slots.resize_with(workers, PlainSlots::new);
        changes.truncate(entries.len());
        changes.resize_with(entries.len(), || AccountChange::none(B256::ZERO));

        let parts: Vec<Mutex<&mut Addresses>> = addresses.iter_mut().map(Mutex::new).collect();
        crew.split(workers, &|at| {
            let mine = entries.chunks(share).nth(at).unwrap_or_default();
            parts[at].lock().hash(mine, workers);
        });
        drop(parts);
        let mut rest = changes.as_mut_slice();
        let mut hands = Vec::with_capacity(workers);
        for (at, (range, plain)) in ranges.iter_mut().zip(&mut slots).enumerate() {
            let count = addresses.iter().map(|part| part.counts[at]).sum();
            let (mine, others) = rest.split_at_mut(count);
            rest = others;
            hands.push(Mutex::new((range, mine, plain)));
        }
        crew.split(workers, &|at| {
            let (range, changes, plain) = &mut *hands[at].lock();
            let keys = addresses.iter().flat_map(|part| &part.keys).zip(0..);
            range.take(keys.filter(|(key, _)| range_of(key, workers) == at));
            range.write(entries, changes, plain);
        });
        drop(hands);
        Sorted { changes, slots, addresses, ranges }
    }

    /// How many slots are set.
    pub(super) fn set(&self) -> usize {
        self.slots.iter().map(Vec::len).sum()
    }

    /// What is kept of it for the next block, and the slots.
    pub(super) fn into_spare(mut self) -> (Self, Vec<PlainSlots>) {
        let much = self.changes.len() > SPARE || self.set() > SPARE;
        let slots = std::mem::take(&mut self.slots);
        (if much { Sorted::default() } else { self }, slots)
    }

    /// Takes back the memory of slots that went their way.
    pub(super) fn take_back(&mut self, mut slots: Vec<PlainSlots>) {
        if self.slots.is_empty() && slots.iter().all(|slots| slots.capacity() <= SPARE) {
            slots.iter_mut().for_each(Vec::clear);
            self.slots = slots;
        }
    }
}

impl Addresses {
    fn hash(&mut self, entries: &[(&Address, &Entry)], workers: usize) {
        hash_into(&mut self.keys, entries, |(address, _)| address.0.0);
        self.counts.clear();
        self.counts.resize(workers, 0);
        for key in &self.keys {
            self.counts[range_of(key, workers)] += 1;
        }
    }
}

impl Range {
    fn take<'a>(&mut self, keys: impl Iterator<Item = (&'a B256, u32)>) {
        self.order.clear();
        self.order.extend(keys.map(|(key, number)| (*key, number)));
        // Two addresses never have the same hash.
        self.order.sort_unstable_by_key(|(key, _)| *key);
    }

    /// Writes the changes and slots of what was taken.
    fn write(
        &mut self,
        entries: &[(&Address, &Entry)],
        changes: &mut [AccountChange],
        plain: &mut PlainSlots,
    ) {
        plain.clear();
        for (_, number) in &self.order {
            let (address, entry) = entries[*number as usize];
            plain.extend(entry.slots.iter().map(|(slot, value)| (*address, *slot, *value)));
        }
        hash_into(&mut self.keys, plain, |(_, slot, _)| slot.to_be_bytes::<32>());
        let mut keys = self.keys.as_slice();
        for ((key, number), change) in self.order.iter().zip(changes) {
            let (address, entry) = entries[*number as usize];
            let (own, others) = keys.split_at(entry.slots.len());
            keys = others;
            let set = own.iter().zip(&entry.slots);
            let set = set.map(|(key, (_, value))| SlotChange { key: *key, value: slot_value(value) });
            let mut slots: Vec<SlotChange> = set.collect();
            sort_slots(&mut slots);
            let (address, record, wiped) = (Some(*address), entry.record, entry.wiped);
            *change = AccountChange { address, record, wiped, slots, ..AccountChange::none(*key) };
        }
    }
}
