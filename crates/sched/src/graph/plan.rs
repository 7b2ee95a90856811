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
use std::collections::HashMap;

/// Accesses of one transaction that are taken in. Of a longer hint the rest is ignored, and it does not bind.
const MOST_EACH: usize = 4096;
/// Accesses of one block that are taken in. Nothing is known of the transactions after that.
const MOST: usize = 1 << 22;
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
    numbers: HashMap<K, u32, RandomState>,
    /// For a transaction whose hint binds, the number of transactions up to the last one before it whose hint
    /// does not; for others `TxIndex::MAX`.
    pub(crate) loose: Vec<TxIndex>,
}

impl<K: Key> Plan<K> {
    /// What is known of `block`. A machine that panics when asked knows nothing.
    pub(crate) fn new<M: Vm<Key = K>, S: State<K, M::Value>>(block: &Block<'_, M, S>) -> Self {
        let mut plan = Plan {
            feet: Footprints::default(),
            keys: Vec::new(),
            numbers: HashMap::default(),
            loose: Vec::with_capacity(block.txs.len()),
        };
        let (mut locks, mut loose) = (Vec::new(), 0);
        for (tx, at) in block.txs.iter().zip(0..) {
            let room = MOST - plan.feet.access.len();
            let asked = guarded(|| (block.hint(at), block.vm.weigh(tx)));
            let (trust, weight) = match &asked {
                Ok((hint, weight)) => (plan.number(hint, room, &mut locks), *weight),
                Err(_) => (Trust::None, None),
            };
            let weight = weight.map_or(WEIGHT, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
            plan.feet.push(&mut locks, weight);
            locks.clear();
            if trust == Trust::Binding {
                plan.loose.push(loose);
            } else {
                plan.loose.push(TxIndex::MAX);
                loose = at + 1;
            }
        }
        plan
    }

    /// The locks of `hint`, and how far they can be relied on.
    fn number(&mut self, hint: &Hint<K>, room: usize, locks: &mut Vec<(u32, Mode)>) -> Trust {
        if hint.trust == Trust::None {
            return Trust::None;
        }
        let most = MOST_EACH.min(room);
        let most_believed = if mutants::on(Mutant::Edge) { most.min(1) } else { most };
        for (key, mode) in hint.access.iter().take(most_believed) {
            let next = self.keys.len() as u32;
            let lock = *self.numbers.entry(*key).or_insert(next);
            if lock == next {
                self.keys.push(*key);
            }
            locks.push((lock, *mode));
        }
        if hint.access.len() > most { Trust::Guess } else { hint.trust }
    }

    /// Whether `tx` is known to write at `key`, so that those who read there wait for its execution: so they do
    /// for an addition that was announced as one only under a policy to which additions are writes, `adds`.
    pub(crate) fn writes(&self, tx: TxIndex, key: &K, adds: bool) -> bool {
        let Some(lock) = self.numbers.get(key) else { return false };
        let locks = self.feet.of(tx);
        let found = locks.binary_search_by_key(lock, |(lock, _)| *lock);
        found.is_ok_and(|at| match locks[at].1 {
            Mode::Read => false,
            Mode::Add => adds,
            Mode::Write | Mode::Consume => true,
        })
    }
}
