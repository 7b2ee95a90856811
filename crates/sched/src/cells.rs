//! The locations of a block: each key once, with its committed value, its versions and its readers.
//!
//! 1. A key is interned on first touch (`index.rs`), and from then on named by a [`Loc`]: one lock away,
//!    without hashing. A look-up by key costs one lock too: that of the cell, in which the key is compared.
//!    A fresh cell is locked, given its key, and only then entered into the index: who finds it there waits
//!    for the lock, and finds the key. Cells never move; each worker hands them out of a stripe of its own,
//!    so that what it interns lies together.
//! 2. `committed` is the value after the committed prefix. It is loaded from the state, outside the
//!    lock, by the first who needs it; a load that comes second is dropped (the state is immutable).
//! 3. `versions` holds the full writes in flight (puts and deletes), ascending, at most one per
//!    transaction. Committing a transaction moves its version into `committed`, so the list is as long
//!    as the window of transactions in flight, and the value that later transactions see stays the same.
//!    Additions are never versions: a commit folds them into `committed`. So a location that every
//!    transaction adds to is touched once by each, and read at the cost of one value. It is *watched*
//!    from the first addition on: who reads it then checks at its own commit whether `stamp` has moved.
//! 4. `readers` names who resolved the location for which of its reads. Who registers does so in the
//!    critical section in which it reads; who writes collects in the one in which it writes. So of a
//!    reader and a writer either the reader sees the write or the writer sees the reader.
//! 5. Lock order: a slot, then a cell, then the ordered index. Nobody takes a slot under a cell, and nobody a
//!    cell under another but one that is not in the index yet.
//! 6. Cells are reset when their index is used again in a later block, not before: one pass less.

use crate::{
    index::{Found, Index},
    sync::{
        MODEL, Mutex, MutexGuard,
        atomic::{AtomicU32, Ordering},
    },
};
use braid_core::{Key, Reader, StoreError, TxIndex, Value, Write};
use crossbeam_utils::CachePadded;
use foldhash::fast::RandomState;
use smallvec::SmallVec;
use std::{
    collections::BTreeMap,
    hash::BuildHasher,
    ops::{Deref, DerefMut, Range},
    sync::OnceLock,
};

/// Names an interned key: stripe in the low bits, index within the stripe above.
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
    /// `None`: deleted.
    value: Option<V>,
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

/// Whether anybody has written to a location (`quiet.rs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Calm {
    /// Nobody; so often it was read.
    Read(u8),
    /// Nobody, and workers may remember its value.
    Quiet,
    /// Somebody.
    Written,
}

/// One location.
#[derive(Debug)]
pub(crate) struct Cell<K, V: Value> {
    /// `None` only before its first block.
    key: Option<K>,
    committed: Committed<V>,
    /// The last transaction that committed a change, plus one; zero if none has.
    stamp: u32,
    /// Whether an addition has been folded.
    watched: bool,
    /// Grows with executions that were thrown away for what they read here, shrinks with waits in vain.
    contention: i8,
    calm: Calm,
    versions: Vec<Version<V>>,
    readers: SmallVec<[Registered; 4]>,
}

impl<K: Key, V: Value> Cell<K, V> {
    const MOST_CONTENTION: i8 = 6;

    fn new() -> Self {
        Cell {
            key: None,
            committed: Committed::Unread,
            stamp: 0,
            watched: false,
            contention: 0,
            calm: Calm::Read(0),
            versions: Vec::new(),
            readers: SmallVec::new(),
        }
    }

    fn reset(&mut self, key: K) {
        self.key = Some(key);
        self.committed = Committed::Unread;
        self.stamp = 0;
        self.watched = false;
        self.contention = 0;
        self.calm = Calm::Read(0);
        self.versions.clear();
        self.readers.clear();
    }

    pub(crate) fn key(&self) -> &K {
        self.key.as_ref().expect("a cell has a key before it has a name")
    }

    pub(crate) fn stamp(&self) -> u32 {
        self.stamp
    }

    /// The stamp with which `tx` reads: one that never comes again if it reads a version, which may be
    /// retracted without a trace.
    pub(crate) fn stamp_for(&self, tx: TxIndex) -> u32 {
        if self.below(tx).is_some() { u32::MAX } else { self.stamp }
    }

    /// Whether executions are often thrown away for what they read here.
    pub(crate) fn contended(&self) -> bool {
        self.contention > 0
    }

    /// Notes that one was.
    pub(crate) fn contend(&mut self) {
        self.contention = (self.contention + 2).min(Self::MOST_CONTENTION);
    }

    /// Notes that somebody waited here for a change that did not come.
    pub(crate) fn calm(&mut self) {
        self.contention = (self.contention - 1).max(0);
    }

    /// What `tx` would read, by name: the execution that wrote it, or the last commit.
    pub(crate) fn source(&self, tx: TxIndex) -> (TxIndex, u32) {
        self.below(tx).map_or((TxIndex::MAX, self.stamp), |version| (version.tx, version.incarnation))
    }

    /// Counts a read; whether the location is quiet, as it has been read `enough` times before and never written.
    pub(crate) fn quiets(&mut self, enough: u8) -> bool {
        match &mut self.calm {
            Calm::Read(times) if *times < enough => *times += 1,
            Calm::Read(_) => self.calm = Calm::Quiet,
            Calm::Quiet | Calm::Written => {}
        }
        self.calm == Calm::Quiet
    }

    /// Notes that it is written to; whether that ends its being quiet.
    pub(crate) fn disturb(&mut self) -> bool {
        std::mem::replace(&mut self.calm, Calm::Written) == Calm::Quiet
    }

    /// Whether readers check at their own commit.
    pub(crate) fn watched(&self) -> bool {
        self.watched
    }

    /// Has readers check at their own commit from now on; whether they did already.
    pub(crate) fn watch(&mut self) -> bool {
        std::mem::replace(&mut self.watched, true)
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

    /// The nearest version below `tx`.
    fn below(&self, tx: TxIndex) -> Option<&Version<V>> {
        self.versions.iter().rev().find(|version| version.tx < tx)
    }

    /// What `tx` reads here.
    pub(crate) fn resolve(&self, tx: TxIndex) -> Resolved<V> {
        match (self.below(tx), &self.committed) {
            (Some(version), _) if version.estimate => Resolved::Estimate(version.tx),
            (Some(version), _) => Resolved::Value(version.value.clone()),
            (None, Committed::Known(value)) => Resolved::Value(value.clone()),
            (None, Committed::Unread) => Resolved::Unread,
        }
    }

    /// Shows what `tx` would read here, reading through estimates: a check against an estimate that
    /// turns out wrong is made again when the estimate is replaced. `None` if the state has to be asked
    /// first.
    pub(crate) fn peek<R>(&self, tx: TxIndex, show: impl FnOnce(Option<&V>) -> R) -> Option<R> {
        match (self.below(tx), &self.committed) {
            (Some(version), _) => Some(show(version.value.as_ref())),
            (None, Committed::Known(value)) => Some(show(value.as_ref())),
            (None, Committed::Unread) => None,
        }
    }

    /// The transaction of this block whose write `tx` would read, if there is one.
    pub(crate) fn writer_below(&self, tx: TxIndex) -> Option<TxIndex> {
        self.below(tx).map(|version| version.tx).or_else(|| self.stamp.checked_sub(1))
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

    /// Appends the readers to which a write by `tx` matters: above `tx`, up to the next version.
    pub(crate) fn readers_of(&self, tx: TxIndex, into: &mut Vec<Registered>) {
        let last = self.versions.iter().map(|above| above.tx).find(|above| *above > tx);
        let last = last.unwrap_or(TxIndex::MAX);
        into.extend(self.readers.iter().filter(|reader| reader.tx > tx && reader.tx <= last));
    }

    /// Appends all readers above `tx`: whoever reads a version now may fall through to what is committed
    /// later.
    pub(crate) fn readers_above(&self, tx: TxIndex, into: &mut Vec<Registered>) {
        into.extend(self.readers.iter().filter(|reader| reader.tx > tx));
    }

    /// Inserts or replaces the version of `tx`; whether a reader could tell the difference.
    pub(crate) fn publish(&mut self, tx: TxIndex, incarnation: u32, value: Option<V>) -> bool {
        let at = match self.versions.last() {
            None => 0,
            Some(last) if last.tx < tx => self.versions.len(),
            Some(_) => self.versions.partition_point(|version| version.tx < tx),
        };
        let version = Version { tx, incarnation, estimate: false, value };
        match self.versions.get_mut(at) {
            Some(old) if old.tx == tx => {
                let same = old.value == version.value;
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

    /// Folds the write of the lowest transaction in flight into the committed value (rule 3), by moving the
    /// version that it has published; whether this is the block's first change here.
    pub(crate) fn commit_published(&mut self, tx: TxIndex) -> bool {
        let at = self.position(tx);
        debug_assert!(at.is_some(), "{tx} has published here");
        if let Some(at) = at {
            self.committed = Committed::Known(self.versions.remove(at).value);
        }
        std::mem::replace(&mut self.stamp, tx + 1) == 0
    }

    /// As [`commit_published`](Self::commit_published), for a write that is no version. One that an earlier
    /// incarnation left is removed.
    pub(crate) fn commit(&mut self, tx: TxIndex, write: &Write<V>) -> bool {
        if let Some(at) = self.position(tx) {
            self.versions.remove(at);
        }
        let value = match std::mem::replace(&mut self.committed, Committed::Unread) {
            Committed::Known(value) => write.onto(value),
            Committed::Unread => {
                debug_assert!(!matches!(write, Write::Add(_)), "the base of an addition is loaded before");
                write.onto(None)
            }
        };
        self.commit_value(tx, value)
    }

    /// Makes `value` the committed one, as `tx` has left it; whether this is the block's first change here.
    pub(crate) fn commit_value(&mut self, tx: TxIndex, value: Option<V>) -> bool {
        self.committed = Committed::Known(value);
        std::mem::replace(&mut self.stamp, tx + 1) == 0
    }
}

/// Chunks of a stripe.
const CHUNKS: usize = 24;
/// Cells of the first chunk; each of the others has twice as many as the one before.
const FIRST: u32 = if MODEL { 4 } else { 64 };

/// A cell with its lock, on lines of its own.
type Locked<K, V> = CachePadded<Mutex<Cell<K, V>>>;

type Chunk<K, V> = Box<[Locked<K, V>]>;

/// Cells that one worker hands out, in chunks that never move.
#[derive(Debug)]
struct Stripe<K, V: Value> {
    next: AtomicU32,
    chunks: [OnceLock<Chunk<K, V>>; CHUNKS],
}

impl<K: Key, V: Value> Stripe<K, V> {
    fn new() -> Self {
        Stripe { next: AtomicU32::new(0), chunks: [const { OnceLock::new() }; CHUNKS] }
    }

    /// Chunk and place of the cell `index`.
    fn place(index: u32) -> (usize, usize) {
        let chunk = (index / FIRST + 1).ilog2();
        (chunk as usize, (index - FIRST * ((1 << chunk) - 1)) as usize)
    }

    fn cell(&self, index: u32) -> &Mutex<Cell<K, V>> {
        let (chunk, at) = Self::place(index);
        let fill = || (0..FIRST << chunk).map(|_| CachePadded::new(Mutex::new(Cell::new()))).collect();
        &self.chunks[chunk].get_or_init(fill)[at]
    }
}

/// All locations of a block.
pub(crate) struct Cells<K, V: Value> {
    stripes: Box<[CachePadded<Stripe<K, V>>]>,
    bits: u32,
    index: Index,
    hasher: RandomState,
    ordered: Option<Mutex<BTreeMap<K, Loc>>>,
}

/// A locked cell.
pub(crate) struct Open<'a, K, V: Value> {
    cell: MutexGuard<'a, Cell<K, V>>,
    /// Its name.
    pub(crate) loc: Loc,
}

impl<K, V: Value> Deref for Open<'_, K, V> {
    type Target = Cell<K, V>;
    fn deref(&self) -> &Cell<K, V> {
        &self.cell
    }
}

impl<K, V: Value> DerefMut for Open<'_, K, V> {
    fn deref_mut(&mut self) -> &mut Cell<K, V> {
        &mut self.cell
    }
}

impl<K: Key, V: Value> Cells<K, V> {
    /// Chunks kept for later blocks, per stripe: 65,472 cells.
    const CHUNKS_KEPT: usize = 10;

    /// No locations, for `threads` threads; `ranges` keeps them in order as well.
    pub(crate) fn new(threads: u16, ranges: bool) -> Self {
        let count = usize::from(threads).next_power_of_two();
        Cells {
            stripes: (0..count).map(|_| CachePadded::new(Stripe::new())).collect(),
            bits: count.trailing_zeros(),
            index: Index::new(),
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
        self.index.clear();
        for stripe in &mut self.stripes {
            // Relaxed: nobody else is there.
            stripe.next.store(0, Ordering::Relaxed);
            for chunk in &mut stripe.chunks[Self::CHUNKS_KEPT..] {
                chunk.take();
            }
        }
        if let Some(ordered) = &mut self.ordered {
            ordered.get_mut().clear();
        }
    }

    /// The hash by which `key` is interned.
    pub(crate) fn hash(&self, key: &K) -> u64 {
        self.hasher.hash_one(key)
    }

    /// The cell of `key`, interned if need be (rule 1).
    pub(crate) fn open(&self, key: &K) -> Open<'_, K, V> {
        self.open_hashed(self.hash(key), key)
    }

    /// As [`open`](Self::open), with the [`hash`](Self::hash) of `key`.
    pub(crate) fn open_hashed(&self, hash: u64, key: &K) -> Open<'_, K, V> {
        let mut probe = self.index.probe(hash);
        let mut fresh: Option<Open<'_, K, V>> = None;
        loop {
            match probe.next() {
                Found::Cell(cell) => {
                    let open = self.at(Loc(cell));
                    if open.key() == key {
                        return open;
                    }
                }
                Found::Free => {
                    let open = fresh.take().unwrap_or_else(|| self.fresh(key));
                    if !probe.claim(open.loc.0) {
                        // Somebody was faster; maybe with this very key.
                        fresh = Some(open);
                        continue;
                    }
                    if let Some(ordered) = &self.ordered {
                        ordered.lock().insert(*key, open.loc);
                    }
                    return open;
                }
            }
        }
    }

    /// The cell of `key`, if it has been interned.
    pub(crate) fn find(&self, key: &K) -> Option<Open<'_, K, V>> {
        let mut probe = self.index.probe(self.hash(key));
        loop {
            let Found::Cell(cell) = probe.next() else { return None };
            let open = self.at(Loc(cell));
            if open.key() == key {
                return Some(open);
            }
        }
    }

    /// All that have been interned, if they are no more than `most`. Nobody interns meanwhile.
    pub(crate) fn all(&self, most: u32) -> Option<impl Iterator<Item = Open<'_, K, V>>> {
        // Relaxed: who has interned is ordered before by whatever says that nobody does now.
        let counts = || self.stripes.iter().map(|stripe| stripe.next.load(Ordering::Relaxed));
        let bits = self.bits;
        (counts().fold(0, u32::saturating_add) <= most).then(|| {
            let locs = (0..).zip(counts()).flat_map(move |(stripe, count): (u32, u32)| {
                (0..count).map(move |index| Loc(index << bits | stripe))
            });
            locs.map(|loc| self.at(loc))
        })
    }

    /// A cell that nobody else knows yet, locked. One that is not needed after all is lost for this block.
    fn fresh(&self, key: &K) -> Open<'_, K, V> {
        let stripe = STRIPE.get() as usize & (self.stripes.len() - 1);
        // Relaxed: only a number; the cell has its lock.
        let index = self.stripes[stripe].next.fetch_add(1, Ordering::Relaxed);
        assert!(index <= u32::MAX >> self.bits >> 1, "fewer locations fit into memory");
        let mut open = self.at(Loc(index << self.bits | stripe as u32));
        open.reset(*key);
        open
    }

    /// The cell named `loc`.
    pub(crate) fn at(&self, loc: Loc) -> Open<'_, K, V> {
        let stripe = &self.stripes[loc.0 as usize & (self.stripes.len() - 1)];
        Open { cell: stripe.cell(loc.0 >> self.bits).lock(), loc }
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
        match std::mem::replace(&mut self.at(loc).committed, Committed::Unread) {
            Committed::Known(value) => value,
            Committed::Unread => None,
        }
    }
}

thread_local! {
    /// The worker that the calling thread is.
    static STRIPE: std::cell::Cell<u16> = const { std::cell::Cell::new(0) };
}

/// The calling thread is `worker` from here on: it interns into that stripe.
pub(crate) fn intern_as(worker: u16) {
    STRIPE.set(worker);
}
