//! What a worker remembers of the unit at hand, and of the block.

use crate::sync::Mutex;
use braid_core::{Key, Value, Written};
use foldhash::fast::RandomState;
use hashbrown::HashMap;

/// Marks of a location.
pub(super) const READ: u8 = 1;
pub(super) const WRITTEN: u8 = 2;

/// One read.
struct Entry<K, V> {
    key: K,
    location: u32,
    value: Option<V>,
}

/// Where the reads of a transaction went, in their order.
///
/// What is written was mostly read before, in about the same order; so a write finds its location by going
/// on from where the last one was found, without hashing.
pub(super) struct Log<K, V> {
    entries: Vec<Entry<K, V>>,
    at: usize,
    /// Entries that may still be looked at: a few rounds.
    patience: usize,
}

impl<K: Key, V: Value> Log<K, V> {
    const ROUNDS: usize = 4;

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    #[inline]
    pub(super) fn push(&mut self, key: &K, location: u32, value: &Option<V>) {
        self.entries.push(Entry { key: *key, location, value: value.clone() });
    }

    /// Before the first write of a transaction.
    pub(super) fn rewind(&mut self) {
        self.at = 0;
        self.patience = self.entries.len() * Self::ROUNDS;
    }

    /// Location of `key` and what was read there. Not everything is found that was read.
    pub(super) fn find(&mut self, key: &K) -> Option<(u32, &Option<V>)> {
        let len = self.entries.len();
        for _ in 0..len {
            if self.patience == 0 {
                return None;
            }
            self.patience -= 1;
            let at = if self.at >= len { 0 } else { self.at };
            self.at = at + 1;
            if self.entries[at].key == *key {
                return Some((self.entries[at].location, &self.entries[at].value));
            }
        }
        None
    }
}

/// What a worker needs, kept from block to block.
pub(super) struct Scratch<K, V> {
    pub(super) log: Log<K, V>,
    /// What the unit at hand wrote.
    pub(super) written: Vec<Written<V>>,
    /// Where a location is in `written`; kept for units of several transactions only.
    pub(super) index: HashMap<u32, usize, RandomState>,
    /// Of each location; empty if the worker did not run. Each worker has its own, as they are set at
    /// every access.
    pub(super) marks: Vec<u8>,
}

impl<K, V> Default for Scratch<K, V> {
    fn default() -> Self {
        Scratch {
            log: Log { entries: Vec::new(), at: 0, patience: 0 },
            written: Vec::new(),
            index: HashMap::default(),
            marks: Vec::new(),
        }
    }
}

impl<K, V> Scratch<K, V> {
    /// Most entries that are kept of each kind, and marks.
    const KEPT: usize = 1 << 14;
    const KEPT_MARKS: usize = 1 << 21;

    /// For the next block.
    pub(super) fn clear(&mut self) {
        self.log.entries.clear();
        self.written.clear();
        self.index.clear();
        self.marks.clear();
    }

    /// Frees what an unusual block has made grow.
    pub(super) fn shrink(&mut self) {
        if self.log.entries.capacity().max(self.written.capacity()).max(self.index.capacity()) > Self::KEPT
            || self.marks.capacity() > Self::KEPT_MARKS
        {
            *self = Scratch::default();
        }
    }
}

/// All marks together; takes those of one worker.
pub(super) fn union<K, V>(scratch: &[Mutex<Scratch<K, V>>], locations: usize) -> Vec<u8> {
    let mut all: Option<Vec<u8>> = None;
    for scratch in scratch {
        let mut scratch = scratch.lock();
        match &mut all {
            _ if scratch.marks.is_empty() => {}
            None => all = Some(std::mem::take(&mut scratch.marks)),
            Some(all) => all.iter_mut().zip(&scratch.marks).for_each(|(all, mark)| *all |= mark),
        }
    }
    all.unwrap_or_else(|| vec![0; locations])
}
