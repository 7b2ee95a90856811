//! A graph over a window, and locks that know who holds them (the rules of Solana's prio-graph scheduler,
//! anza-xyz/agave, with the order of the block for priority).
//!
//! 1. Transactions of the window are in a graph: one waits for all earlier ones that it conflicts with, and
//!    which are not scheduled. Those that wait for nobody are on top.
//! 2. A worker without work looks at the top in block order, and takes what its locks allow: a lock that
//!    another worker holds is in the way, one of its own is not. It takes several at a time.
//! 3. What waits in the graph for a transaction that has been taken comes to the top at once, and since the locks
//!    are held it can be taken by the same worker only, which executes in order. A worker that begins with its
//!    last one takes one such, that nobody else could take. So a chain stays on one worker, without a gap.
//! 4. Locks are given back when the transaction has been executed.
//!
//! Solana's scheduler is a thread of its own that hands batches to workers, by the compute units that they have in hand,
//! and caps those; here the worker that has nothing to do is the one with the least in hand.
//!
//! Of two that conflict the later one comes to the top when the earlier one is taken, so it is taken by the same
//! worker and executed after it, or by another one when the earlier one has given its locks back. The first one that
//! is not taken is on top, and nobody but the holders of its locks is in its way, who end.

use super::{
    holders::Holders,
    order::{Order, Waited},
    plan::{Footprints, excludes},
};
use braid_core::{Mode, TxIndex};
use smallvec::SmallVec;
use std::collections::{BTreeSet, VecDeque};

/// Transactions that one worker takes at a time, at most.
pub(super) const BATCH: usize = 64;
/// Effort of one search: a transaction that is looked at is one, and so are sixteen of its locks.
pub(super) const LOOKS: usize = 128;
/// Transactions on top that are looked at to know whether a worker is alone.
const GLANCE: usize = 4;
const NOBODY: TxIndex = TxIndex::MAX;
/// A worker that holds nothing.
pub(super) const STRANGER: u16 = u16::MAX;

/// What it takes to look at a transaction with these locks.
pub(super) fn effort(locks: &[(u32, Mode)]) -> usize {
    1 + locks.len() / 16
}

/// Who of the fed transactions is at a lock.
#[derive(Clone, Debug, Default)]
struct Access {
    writer: Option<TxIndex>,
    /// Since that writer.
    readers: SmallVec<[TxIndex; 4]>,
}

pub(super) struct PrioGraph<'a> {
    feet: &'a Footprints,
    threads: usize,
    last: Vec<Access>,
    /// Who waits for a transaction that is not taken.
    behind: Vec<SmallVec<[TxIndex; 4]>>,
    /// For how many a transaction waits.
    ahead: Vec<u32>,
    taken: Vec<bool>,
    done: Vec<bool>,
    /// The lock at which, and the transaction after which a transaction came that had not been executed then.
    blocker: Vec<(u32, TxIndex)>,
    top: BTreeSet<TxIndex>,
    /// Fed and not taken.
    open: usize,
    holders: Holders,
    queues: Vec<VecDeque<TxIndex>>,
    /// By worker, some of what came to the top behind what it has taken.
    next: Vec<Vec<TxIndex>>,
}

impl<'a> PrioGraph<'a> {
    pub(super) fn new(feet: &'a Footprints, threads: u16) -> Self {
        let count = feet.len() as usize;
        PrioGraph {
            feet,
            threads: usize::from(threads),
            last: vec![Access::default(); feet.locks as usize],
            behind: vec![SmallVec::new(); count],
            ahead: vec![0; count],
            taken: vec![false; count],
            done: vec![false; count],
            blocker: vec![(0, NOBODY); count],
            top: BTreeSet::new(),
            open: 0,
            holders: Holders::new(feet.locks, threads),
            queues: vec![VecDeque::new(); usize::from(threads)],
            next: vec![Vec::new(); usize::from(threads)],
        }
    }

    /// `tx` comes after `on` at `lock`.
    fn order(&mut self, tx: TxIndex, on: TxIndex, lock: u32) {
        if !self.done[on as usize] {
            self.blocker[tx as usize] = (lock, on);
        }
        if !self.taken[on as usize] {
            self.behind[on as usize].push(tx);
            self.ahead[tx as usize] += 1;
        }
    }

    /// Rule 2: takes up to `room` transactions.
    fn draw(&mut self, worker: u16, room: usize) {
        let (mut from, mut looks) = (0, 0);
        self.next[usize::from(worker)].clear();
        while self.queues[usize::from(worker)].len() < room && looks < LOOKS {
            let Some(tx) = self.top.range(from..).next().copied() else { break };
            let locks = self.feet.of(tx);
            (from, looks) = (tx + 1, looks + effort(locks));
            if self.holders.allows(worker, locks) {
                self.take(worker, tx);
            }
        }
    }

    /// Rule 3: takes one that has come to the top behind what this worker has taken, and that nobody else can take.
    fn draw_behind(&mut self, worker: u16) {
        let mut next = std::mem::take(&mut self.next[usize::from(worker)]);
        next.retain(|tx| self.top.contains(tx));
        let mine = |tx: &&TxIndex| {
            let locks = self.feet.of(**tx);
            self.holders.allows(worker, locks) && !self.holders.allows(STRANGER, locks)
        };
        let found = next.iter().find(mine).copied();
        self.next[usize::from(worker)] = next;
        if let Some(tx) = found {
            self.take(worker, tx);
        }
    }

    fn take(&mut self, worker: u16, tx: TxIndex) {
        self.holders.take(worker, self.feet.of(tx));
        self.top.remove(&tx);
        self.taken[tx as usize] = true;
        self.open -= 1;
        self.queues[usize::from(worker)].push_back(tx);
        for next in std::mem::take(&mut self.behind[tx as usize]) {
            self.ahead[next as usize] -= 1;
            if self.ahead[next as usize] == 0 {
                self.top.insert(next);
                let mine = &mut self.next[usize::from(worker)];
                if mine.len() < BATCH {
                    mine.push(next);
                }
            }
        }
    }
}

impl Order for PrioGraph<'_> {
    fn feed(&mut self, tx: TxIndex) {
        for &(lock, mode) in self.feet.of(tx) {
            let access = &mut self.last[lock as usize];
            if excludes(mode) {
                let Access { writer, readers } = std::mem::take(access);
                access.writer = Some(tx);
                // Readers came after the writer.
                match writer.filter(|_| readers.is_empty()) {
                    Some(on) => self.order(tx, on, lock),
                    None => readers.into_iter().for_each(|on| self.order(tx, on, lock)),
                }
            } else {
                access.readers.push(tx);
                if let Some(on) = access.writer {
                    self.order(tx, on, lock);
                }
            }
        }
        self.open += 1;
        if self.ahead[tx as usize] == 0 {
            self.top.insert(tx);
        }
    }

    fn more(&self) -> bool {
        !self.top.is_empty()
    }

    fn alone(&mut self, worker: u16) -> bool {
        let mut others = (0..).zip(&self.queues).filter(|(other, _)| *other != worker);
        let free = |tx: &TxIndex| self.holders.allows(STRANGER, self.feet.of(*tx));
        others.all(|(_, queue)| queue.is_empty()) && self.top.len() <= GLANCE && !self.top.iter().any(free)
    }

    fn next(&mut self, worker: u16, waited: &mut Vec<Waited>) -> Option<TxIndex> {
        if self.queues[usize::from(worker)].is_empty() {
            let room = (self.open / (2 * self.threads)).clamp(1, BATCH);
            self.draw(worker, room);
        }
        let tx = self.queues[usize::from(worker)].pop_front()?;
        if self.queues[usize::from(worker)].is_empty() {
            self.draw_behind(worker);
        }
        let (lock, on) = self.blocker[tx as usize];
        if on != NOBODY {
            waited.push(Waited { tx, lock, on });
        }
        Some(tx)
    }

    fn done(&mut self, tx: TxIndex, worker: u16, _waited: &mut Vec<Waited>) {
        self.done[tx as usize] = true;
        self.holders.release(worker, self.feet.of(tx));
    }
}
