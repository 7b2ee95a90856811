//! Locations that everyone reads and nobody writes, remembered by each worker.
//!
//! 1. A location is *quiet* from a read on that finds it read [`ENOUGH`] times before, under its lock,
//!    and never written by any execution of the block, nor added to. That reader remembers the value, and takes it
//!    from its own table in later executions: no lock is taken, no line of another core looked at, and no reader
//!    registered.
//! 2. Whoever writes to a quiet location for the first time (a version, or a fold) ends that, in the critical section
//!    in which it writes, and counts a *disturbance*. It is never quiet again in this block.
//! 3. An execution notes the count before its first read. If it is not that under which the table was filled, the
//!    table is forgotten.
//! 4. At the commit, reads from the table hold if the count is still the noted one. Else each is checked as one of a
//!    watched location is: by stamp, then by value.
//! 5. So no read from a table is missed. Let `i` write what `j > i` read from a table, first of all who wrote there.
//!    The entry was made before that write, for it was made in a critical section that found the location quiet, and
//!    the count that `i` raised was not yet raised when the execution that made the entry began. If it was when `j`
//!    began, the table was forgotten by rule 3. If not, it is raised when `j` is to be committed, as `i` is committed
//!    then; and the check by rule 4 compares with what `i` committed. If the first writer was another one, the same
//!    holds with its disturbance.

use crate::{
    cells::Loc,
    sync::atomic::{AtomicU32, Ordering},
};
use braid_core::{Key, Value};

/// Reads after which a location that nobody has written is taken to be quiet. Fewer would often be wrong, and whoever
/// reads from a table learns of a write only at its commit.
pub(crate) const ENOUGH: u8 = if crate::sync::MODEL { 0 } else { 8 };

/// How often quiet locations of the block were disturbed.
#[derive(Debug, Default)]
pub(crate) struct Disturbances(AtomicU32);

impl Disturbances {
    /// The count. Acquire: who sees a disturbance sees the location as the one who caused it left it; and at a commit
    /// it is ordered after all of lower transactions by their slots' locks.
    pub(crate) fn count(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    /// One more. Release: pairs with the Acquire of [`count`](Self::count).
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

/// One location.
#[derive(Debug)]
struct Entry<K, V> {
    key: K,
    loc: Loc,
    value: Option<V>,
}

/// What one worker remembers: a table in which a location has one place.
#[derive(Debug)]
pub(crate) struct Quiet<K, V> {
    entries: Box<[Option<Entry<K, V>>]>,
    /// The count of disturbances under which it was filled.
    at: u32,
}

impl<K, V> Default for Quiet<K, V> {
    fn default() -> Self {
        Quiet { entries: Box::default(), at: 0 }
    }
}

impl<K: Key, V: Value> Quiet<K, V> {
    /// Places: a power of two.
    const PLACES: usize = if crate::sync::MODEL { 2 } else { 64 };

    /// Begins an execution under `count` (rule 3).
    pub(crate) fn begin(&mut self, count: u32) {
        if self.at != count {
            self.entries.iter_mut().for_each(|entry| *entry = None);
            self.at = count;
        }
    }

    /// Where a key of this hash has its place. Not by the bits that choose its cell.
    fn place(hash: u64) -> usize {
        (hash >> 40) as usize & (Self::PLACES - 1)
    }

    /// What is remembered of `key`.
    pub(crate) fn get(&self, hash: u64, key: &K) -> Option<(Loc, &Option<V>)> {
        let entry = self.entries.get(Self::place(hash))?.as_ref()?;
        (entry.key == *key).then_some((entry.loc, &entry.value))
    }

    /// Remembers a quiet location.
    pub(crate) fn put(&mut self, hash: u64, key: &K, loc: Loc, value: &Option<V>) {
        if self.entries.is_empty() {
            self.entries = (0..Self::PLACES).map(|_| None).collect();
        }
        self.entries[Self::place(hash)] = Some(Entry { key: *key, loc, value: value.clone() });
    }
}
