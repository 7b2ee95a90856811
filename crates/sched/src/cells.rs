//! The locations of a block: each key once, with its committed value, its versions and its readers.
//!
//! 1. A key is interned on first touch into one of the shards, and from then on named by a [`Loc`]: one
//!    lock and one index away, without hashing. The shard's lock guards its table and its cells, so a
//!    look-up by key costs one lock too.
//! 2. `committed` is the value after the committed prefix. It is loaded from the state, outside the
//!    lock, by the first who needs it; a load that comes second is dropped (the state is immutable).
//! 3. `versions` holds the writes in flight, ascending, at most one per transaction. Committing a
//!    transaction folds its version into `committed`, so the list is as long as the window of
//!    transactions in flight, and the value seen by every later transaction stays the same.
//! 4. `readers` names who resolved the location for which of its reads. Who registers does so in the
//!    critical section in which it reads; who writes collects in the one in which it writes. So of a
//!    reader and a writer either the reader sees the write or the writer sees the reader.
//! 5. Lock order: a slot, then a shard, then the ordered index. Nobody takes a slot under a shard.
//! 6. Cells are reset when their index is used again in a later block, not before: one pass less.

use crate::sync::{Mutex, MutexGuard};
use braid_core::{Key, Reader, StoreError, TxIndex, Value, Write};
use crossbeam_utils::CachePadded;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use smallvec::SmallVec;
use std::{
    collections::BTreeMap,
    hash::BuildHasher,
    ops::{Deref, DerefMut, Range},
};

/// Names an interned key: shard in the low bits, index within the shard above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Loc(u32);

/// The value after the committed prefix.
#[derive(Debug)]
enum Committed<V> {
    /// Nobody has asked the state yet.
    Unread,
    /// What the state said, and committed writes made of it.
    Known(Option<V>),
}

/// One write in flight.
#[derive(Debug)]
struct Version<V: Value> {
    tx: TxIndex,
    incarnation: u32,
    /// The execution that wrote this was invalidated; the next one will probably write here again.
    estimate: bool,
    write: Write<V>,
}

/// A registered read: `read` counts within the log of `tx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Registered {
    pub(crate) tx: TxIndex,
    pub(crate) read: u32,
}

/// What a location holds for one transaction.
#[derive(Debug)]
pub(crate) enum Resolved<V> {
    /// This value, after all lower transactions as far as they have run.
    Value(Option<V>),
    /// The state has to be asked first: [`Cells::load`].
    Unread,
    /// An invalidated execution of this transaction wrote here.
    Estimate(TxIndex),
}

/// One location.
#[derive(Debug)]
pub(crate) struct Cell<K, V: Value> {
    key: K,
    committed: Committed<V>,
    /// Counts commits that changed the location.
    stamp: u32,
    versions: Vec<Version<V>>,
    readers: SmallVec<[Registered; 4]>,
}

impl<K: Key, V: Value> Cell<K, V> {
    fn new(key: K) -> Self {
        Cell { key, committed: Committed::Unread, stamp: 0, versions: Vec::new(), readers: SmallVec::new() }
    }

    fn reset(&mut self, key: K) {
        self.key = key;
        self.committed = Committed::Unread;
        self.stamp = 0;
        self.versions.clear();
        self.readers.clear();
    }

    pub(crate) fn key(&self) -> &K {
        &self.key
    }

    pub(crate) fn stamp(&self) -> u32 {
        self.stamp
    }

    /// Fills in what the state said, unless somebody was faster (rule 2).
    pub(crate) fn fill(&mut self, value: Option<V>) {
        if let Committed::Unread = self.committed {
            self.committed = Committed::Known(value);
        }
    }

    /// The committed value; `None` if nobody has asked the state yet.
    pub(crate) fn committed(&self) -> Option<Option<&V>> {
        match &self.committed {
            Committed::Unread => None,
            Committed::Known(value) => Some(value.as_ref()),
        }
    }

    /// The versions that make up the value below `tx`, from the nearest full write upwards, and whether
    /// they start with one.
    fn walk(&self, tx: TxIndex) -> (&[Version<V>], bool) {
        let end = match self.versions.last() {
            None => return (&[], false),
            Some(last) if last.tx < tx => self.versions.len(),
            Some(_) => self.versions.partition_point(|version| version.tx < tx),
        };
        let full = self.versions[..end].iter().rposition(|version| !matches!(version.write, Write::Add(_)));
        (&self.versions[full.unwrap_or(0)..end], full.is_some())
    }

    /// What `tx` reads here.
    pub(crate) fn resolve(&self, tx: TxIndex) -> Resolved<V> {
        let (walk, full) = self.walk(tx);
        if let Some(estimate) = walk.iter().rev().find(|version| version.estimate) {
            return Resolved::Estimate(estimate.tx);
        }
        match self.peek_walk(walk, full, |value| value.cloned()) {
            Some(value) => Resolved::Value(value),
            None => Resolved::Unread,
        }
    }

    /// Shows what `tx` would read here, reading through estimates: a check against an estimate that
    /// turns out wrong is made again when the estimate is replaced. `None` if the state has to be asked
    /// first.
    pub(crate) fn peek<R>(&self, tx: TxIndex, show: impl FnOnce(Option<&V>) -> R) -> Option<R> {
        let (walk, full) = self.walk(tx);
        self.peek_walk(walk, full, show)
    }

    fn peek_walk<R>(&self, walk: &[Version<V>], full: bool, show: impl FnOnce(Option<&V>) -> R) -> Option<R> {
        match (walk, &self.committed) {
            ([], Committed::Known(value)) => return Some(show(value.as_ref())),
            ([Version { write: Write::Put(value), .. }], _) => return Some(show(Some(value))),
            _ => {}
        }
        let base = match &self.committed {
            _ if full => None,
            Committed::Unread => return None,
            Committed::Known(value) => value.clone(),
        };
        Some(show(walk.iter().fold(base, |value, version| version.write.onto(value)).as_ref()))
    }

    /// The nearest writer in flight below `tx`.
    pub(crate) fn writer_below(&self, tx: TxIndex) -> Option<TxIndex> {
        self.versions.iter().rev().map(|version| version.tx).find(|writer| *writer < tx)
    }

    /// Registers a read (rule 4). `horizon` tells the first transaction that is not committed: readers
    /// below it are forgotten when the list is full.
    pub(crate) fn register(&mut self, reader: Registered, horizon: impl FnOnce() -> TxIndex) {
        let capacity = self.readers.capacity();
        if self.readers.len() == capacity {
            let horizon = horizon();
            self.readers.retain(|reader| reader.tx >= horizon);
            // A list that is still half full grows, or pruning would not be amortised.
            if self.readers.len() > capacity / 2 {
                self.readers.reserve(capacity);
            }
        }
        self.readers.push(reader);
    }

    /// Appends the readers to which a write by `tx` matters: above `tx`, up to the next full write.
    pub(crate) fn readers_of(&self, tx: TxIndex, into: &mut Vec<Registered>) {
        let next_full =
            self.versions.iter().find(|above| above.tx > tx && !matches!(above.write, Write::Add(_)));
        let last = next_full.map_or(TxIndex::MAX, |above| above.tx);
        into.extend(self.readers.iter().filter(|reader| reader.tx > tx && reader.tx <= last));
    }

    /// Inserts or replaces the version of `tx`; whether a reader could tell the difference.
    pub(crate) fn publish(&mut self, tx: TxIndex, incarnation: u32, write: Write<V>) -> bool {
        let at = match self.versions.last() {
            None => 0,
            Some(last) if last.tx < tx => self.versions.len(),
            Some(_) => self.versions.partition_point(|version| version.tx < tx),
        };
        let version = Version { tx, incarnation, estimate: false, write };
        match self.versions.get_mut(at) {
            Some(old) if old.tx == tx => {
                let same = match (&old.write, &version.write) {
                    (Write::Put(old), Write::Put(new)) => old == new,
                    (Write::Delete, Write::Delete) => true,
                    _ => false,
                };
                *old = version;
                !same
            }
            _ => {
                self.versions.insert(at, version);
                true
            }
        }
    }

    fn position(&self, tx: TxIndex) -> Option<usize> {
        self.versions.binary_search_by_key(&tx, |version| version.tx).ok()
    }

    /// Removes the version of `tx` if an execution other than `incarnation` left it; whether it did.
    pub(crate) fn retract(&mut self, tx: TxIndex, incarnation: u32) -> bool {
        let stale = self.position(tx).filter(|at| self.versions[*at].incarnation != incarnation);
        stale.map(|at| self.versions.remove(at)).is_some()
    }

    /// Marks the version of `tx` as an estimate.
    pub(crate) fn estimate(&mut self, tx: TxIndex) {
        if let Some(at) = self.position(tx) {
            self.versions[at].estimate = true;
        }
    }

    /// Whether folding `write` needs a value that nobody has asked the state for.
    pub(crate) fn lacks_base(&self, write: &Write<V>) -> bool {
        matches!((&self.committed, write), (Committed::Unread, Write::Add(_)))
    }

    /// Folds the write of the lowest transaction in flight into the committed value (rule 3), taking
    /// its version if it has one; whether this is the block's first change here.
    pub(crate) fn commit(&mut self, tx: TxIndex, write: &Write<V>, published: bool) -> bool {
        let version = self.position(tx).map(|at| self.versions.remove(at).write);
        let write = version.filter(|_| published).unwrap_or_else(|| write.clone());
        let base = std::mem::replace(&mut self.committed, Committed::Unread);
        self.committed = Committed::Known(match (write, base) {
            (Write::Put(value), _) => Some(value),
            (Write::Delete, _) => None,
            (Write::Add(delta), Committed::Known(value)) => V::apply(value, &delta),
            (Write::Add(delta), Committed::Unread) => {
                debug_assert!(false, "the base of an added location is loaded before the commit");
                V::apply(None, &delta)
            }
        });
        self.stamp = self.stamp.wrapping_add(1);
        self.stamp == 1
    }
}

#[derive(Debug)]
struct Shard<K, V: Value> {
    table: HashTable<u32>,
    cells: Vec<Cell<K, V>>,
    /// Cells in use; those above are left from earlier blocks (rule 6).
    live: usize,
}

/// On lines of its own: the locks of two shards do not disturb each other.
type Padded<K, V> = CachePadded<Mutex<Shard<K, V>>>;

/// All locations of a block.
#[derive(Debug)]
pub(crate) struct Cells<K, V: Value> {
    shards: Box<[Padded<K, V>]>,
    bits: u32,
    hasher: RandomState,
    ordered: Option<Mutex<BTreeMap<K, Loc>>>,
}

/// A locked cell.
pub(crate) struct Open<'a, K, V: Value> {
    shard: MutexGuard<'a, Shard<K, V>>,
    index: usize,
    /// Its name.
    pub(crate) loc: Loc,
}

impl<K, V: Value> Deref for Open<'_, K, V> {
    type Target = Cell<K, V>;
    fn deref(&self) -> &Cell<K, V> {
        &self.shard.cells[self.index]
    }
}

impl<K, V: Value> DerefMut for Open<'_, K, V> {
    fn deref_mut(&mut self) -> &mut Cell<K, V> {
        &mut self.shard.cells[self.index]
    }
}

impl<K: Key, V: Value> Cells<K, V> {
    const SHARDS_PER_THREAD: usize = 4;
    const MIN_SHARDS: usize = 16;
    /// Cells kept for later blocks, per shard.
    const MAX_KEPT: usize = 1 << 16;

    /// No locations, for `threads` threads; `ranges` keeps them in order as well.
    pub(crate) fn new(threads: u16, ranges: bool) -> Self {
        let count =
            (usize::from(threads) * Self::SHARDS_PER_THREAD).next_power_of_two().max(Self::MIN_SHARDS);
        let shard = || Mutex::new(Shard { table: HashTable::new(), cells: Vec::new(), live: 0 });
        Cells {
            shards: (0..count).map(|_| CachePadded::new(shard())).collect(),
            bits: count.trailing_zeros(),
            hasher: RandomState::default(),
            ordered: ranges.then(|| Mutex::new(BTreeMap::new())),
        }
    }

    /// Whether keys are kept in order.
    pub(crate) fn has_ranges(&self) -> bool {
        self.ordered.is_some()
    }

    /// Forgets all locations, keeping memory for as many as a large block needs.
    pub(crate) fn clear(&mut self) {
        for shard in &mut self.shards {
            let shard = shard.get_mut();
            shard.table.clear();
            shard.live = 0;
            if shard.cells.len() > Self::MAX_KEPT {
                *shard = Shard { table: HashTable::new(), cells: Vec::new(), live: 0 };
            }
        }
        if let Some(ordered) = &mut self.ordered {
            ordered.get_mut().clear();
        }
    }

    /// The cell of `key`, interned if need be.
    pub(crate) fn open(&self, key: &K) -> Open<'_, K, V> {
        let hash = self.hasher.hash_one(key);
        // The table uses the low bits for buckets and the top seven for tags; take others.
        let at = (hash >> 32) as usize & (self.shards.len() - 1);
        let mut guard = self.shards[at].lock();
        let shard = &mut *guard;
        let found = shard.table.find(hash, |index| shard.cells[*index as usize].key == *key);
        if let Some(index) = found {
            let index = *index;
            return Open { shard: guard, index: index as usize, loc: self.name(index, at) };
        }
        let index = shard.live;
        let name = u32::try_from(index).expect("fewer than 2^32 locations fit into memory");
        shard.live += 1;
        match shard.cells.get_mut(index) {
            Some(cell) => cell.reset(*key),
            None => shard.cells.push(Cell::new(*key)),
        }
        let cells = &shard.cells;
        shard.table.insert_unique(hash, name, |index| self.hasher.hash_one(cells[*index as usize].key));
        let loc = self.name(name, at);
        if let Some(ordered) = &self.ordered {
            ordered.lock().insert(*key, loc);
        }
        Open { shard: guard, index, loc }
    }

    fn name(&self, index: u32, shard: usize) -> Loc {
        debug_assert!(index <= u32::MAX >> self.bits, "fewer locations fit into memory");
        Loc(index << self.bits | shard as u32)
    }

    /// The cell named `loc`.
    pub(crate) fn at(&self, loc: Loc) -> Open<'_, K, V> {
        let shard = self.shards[loc.0 as usize & (self.shards.len() - 1)].lock();
        Open { shard, index: (loc.0 >> self.bits) as usize, loc }
    }

    /// Asks the state for `key` without holding a lock, and opens the cell again.
    pub(crate) fn load<R: Reader<K, V>>(
        &self,
        loc: Loc,
        key: &K,
        reader: &mut R,
    ) -> Result<Open<'_, K, V>, StoreError> {
        let value = reader.get(key)?;
        let mut cell = self.at(loc);
        cell.fill(value);
        Ok(cell)
    }

    /// The interned keys of `range`, ascending. Empty unless built with `ranges`.
    pub(crate) fn in_range(&self, range: &Range<K>) -> Vec<(K, Loc)> {
        match &self.ordered {
            Some(ordered) if range.start < range.end => {
                ordered.lock().range(range.clone()).map(|(key, loc)| (*key, *loc)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Takes the committed value out of a cell, after the block.
    pub(crate) fn take(&mut self, loc: Loc) -> Option<V> {
        let shard = self.shards[loc.0 as usize & (self.shards.len() - 1)].get_mut();
        let cell = &mut shard.cells[(loc.0 >> self.bits) as usize];
        match std::mem::replace(&mut cell.committed, Committed::Unread) {
            Committed::Known(value) => value,
            Committed::Unread => None,
        }
    }
}
