//! What is known of the transactions of a block, as numbers: which locks each takes, and what it weighs.
//!
//! A lock is a key that a hint names, numbered by first mention. Nothing here is more than advice, but for one
//! thing: of transactions whose hints bind, the locks are all that they touch.

use crate::{
    attempt::guarded,
    mutants::{self, Mutant},
};
use braid_core::{Block, Hint, Key, Mode, State, Trust, TxIndex, Vm};
use foldhash::fast::RandomState;
use hashbrown::{HashTable, hash_table::Entry};
use std::hash::BuildHasher;

/// Accesses of one transaction that are taken in. Of a longer hint the rest is ignored, and it does not bind.
const MOST_EACH: usize = 4096;
/// Accesses of one block that are taken in. Nothing is known of the transactions after that.
const MOST: usize = 1 << 22;
/// Accesses and keys for which memory is kept from block to block.
const KEPT: usize = 1 << 18;
/// Weight of a transaction about which the machine says nothing, in nanoseconds.
const WEIGHT: u64 = 1000;

/// Locks and weights of the transactions of a block.
#[derive(Debug, Default)]
pub(crate) struct Footprints {
    /// Where the locks of each transaction begin in `access`; one more than there are transactions.
    starts: Vec<u32>,
    /// For each transaction its locks, ascending, each once.
    access: Vec<(u32, Mode)>,
    /// Time that each transaction may take, in nanoseconds.
    pub(crate) weights: Vec<u64>,
    /// How many locks there are.
    pub(crate) locks: u32,
}

impl Footprints {
    /// The locks of `tx`, ascending, each once.
    pub(crate) fn of(&self, tx: TxIndex) -> &[(u32, Mode)] {
        let (start, end) = (self.starts[tx as usize], self.starts[tx as usize + 1]);
        &self.access[start as usize..end as usize]
    }

    fn clear(&mut self) {
        if self.access.capacity() > KEPT || self.weights.capacity() > KEPT {
            *self = Footprints::default();
        }
        self.starts.clear();
        self.access.clear();
        self.weights.clear();
        self.locks = 0;
    }

    /// How many transactions there are.
    pub(crate) fn len(&self) -> u32 {
        self.weights.len() as u32
    }

    /// Appends a transaction with these locks, in any order.
    pub(crate) fn push(&mut self, locks: &mut [(u32, Mode)], weight: u64) {
        if self.starts.is_empty() {
            self.starts.push(0);
        }
        locks.sort_unstable_by_key(|(lock, _)| *lock);
        let start = self.access.len();
        for (lock, mode) in &*locks {
            match self.access[start..].last_mut() {
                Some(last) if last.0 == *lock => last.1 = last.1.with(*mode),
                _ => self.access.push((*lock, *mode)),
            }
            self.locks = self.locks.max(lock + 1);
        }
        self.starts.push(self.access.len() as u32);
        self.weights.push(weight);
    }
}

/// Whether accesses in this mode exclude each other.
pub(crate) fn excludes(mode: Mode) -> bool {
    mode != Mode::Read
}

/// The hints of a block, numbered.
pub(crate) struct Plan<K> {
    pub(crate) feet: Footprints,
    /// The key of each lock.
    pub(crate) keys: Vec<K>,
    numbers: HashTable<u32>,
    hasher: RandomState,
    /// For a transaction whose hint binds, the number of transactions up to the last one before it whose hint
    /// does not; for others `TxIndex::MAX`.
    pub(crate) loose: Vec<TxIndex>,
}

impl<K: Key> Plan<K> {
    /// Nothing.
    pub(crate) fn new() -> Self {
        Plan {
            feet: Footprints::default(),
            keys: Vec::new(),
            numbers: HashTable::new(),
            hasher: RandomState::default(),
            loose: Vec::new(),
        }
    }

    /// Forgets it, and keeps memory for a block of ordinary size.
    pub(crate) fn clear(&mut self) {
        if self.keys.capacity() > KEPT {
            *self = Plan::new();
        }
        self.feet.clear();
        self.keys.clear();
        self.numbers.clear();
        self.loose.clear();
    }

    /// Takes in what is known of `block`; nothing was known before. A machine that panics when asked knows nothing.
    pub(crate) fn fill<M: Vm<Key = K>, S: State<K, M::Value>>(&mut self, block: &Block<'_, M, S>) {
        let (mut locks, mut loose) = (Vec::new(), 0);
        for (tx, at) in block.txs.iter().zip(0..) {
            let room = MOST - self.feet.access.len();
            let asked = guarded(|| (block.hint(at), block.vm.weigh(tx)));
            let (trust, weight) = match &asked {
                Ok((hint, weight)) => (self.number(hint, room, &mut locks), *weight),
                Err(_) => (Trust::None, None),
            };
            let weight = weight.map_or(WEIGHT, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
            self.feet.push(&mut locks, weight);
            locks.clear();
            if trust == Trust::Binding {
                self.loose.push(loose);
            } else {
                self.loose.push(TxIndex::MAX);
                loose = at + 1;
            }
        }
    }

    /// The locks of `hint`, and how far they can be relied on.
    fn number(&mut self, hint: &Hint<K>, room: usize, locks: &mut Vec<(u32, Mode)>) -> Trust {
        if hint.trust == Trust::None {
            return Trust::None;
        }
        let most = MOST_EACH.min(room);
        let most_believed = if mutants::on(Mutant::Edge) { most.min(1) } else { most };
        for (key, mode) in hint.access.iter().take(most_believed) {
            let (keys, hasher) = (&mut self.keys, &self.hasher);
            let same = |lock: &u32| keys[*lock as usize] == *key;
            let entry =
                self.numbers.entry(hasher.hash_one(key), same, |lock| hasher.hash_one(keys[*lock as usize]));
            let lock = match entry {
                Entry::Occupied(found) => *found.get(),
                Entry::Vacant(free) => {
                    let next = keys.len() as u32;
                    free.insert(next);
                    keys.push(*key);
                    next
                }
            };
            locks.push((lock, *mode));
        }
        if hint.access.len() > most { Trust::Guess } else { hint.trust }
    }

    /// Whether `tx` is known to write at `key`, so that those who read there wait for its execution: so they do
    /// for an addition that was announced as one only under a policy to which additions are writes, `adds`.
    pub(crate) fn writes(&self, tx: TxIndex, key: &K, adds: bool) -> bool {
        let same = |lock: &u32| self.keys[*lock as usize] == *key;
        let Some(lock) = self.numbers.find(self.hasher.hash_one(key), same) else { return false };
        let locks = self.feet.of(tx);
        let found = locks.binary_search_by_key(lock, |(lock, _)| *lock);
        found.is_ok_and(|at| match locks[at].1 {
            Mode::Read => false,
            Mode::Add => adds,
            Mode::Write | Mode::Consume => true,
        })
    }
}
