//! A scan for what can start at once (the rules of Solana's greedy scheduler, anza-xyz/agave, with the order of the
//! block for priority).
//!
//! 1. A worker without work looks at the transactions that nobody has taken, in block order, and takes those whose
//!    locks nobody else holds, several at a time.
//! 2. If it comes to one that conflicts with what it has just taken, it executes that first.
//! 3. What it passes over blocks its locks for the rest of the scan, so nobody overtakes one that it conflicts
//!    with. (Solana's scheduler lets it be overtaken; it makes the order, and here the order is given.)
//! 4. Locks are given back when the transaction has been executed.

use super::{
    holders::Holders,
    order::{Order, Waited},
    plan::{Footprints, excludes},
    prio::{BATCH, LOOKS, STRANGER, effort},
};
use braid_core::{Mode, TxIndex};
use std::collections::VecDeque;

/// Open transactions that are looked at to know whether a worker is alone, and transactions for which it then is.
const GLANCE: usize = 32;

/// Locks noted in the present scan.
#[derive(Debug)]
struct Noted {
    /// By lock, the scan in which it was noted: for writing, and at all.
    writes: Vec<u64>,
    any: Vec<u64>,
}

impl Noted {
    fn new(locks: u32) -> Self {
        Noted { writes: vec![0; locks as usize], any: vec![0; locks as usize] }
    }

    /// The first of `locks` at which they conflict with what was noted in `scan`.
    fn meets(&self, scan: u64, locks: &[(u32, Mode)]) -> bool {
        let meets = |lock: u32, mode| {
            let noted = if excludes(mode) { &self.any } else { &self.writes };
            noted[lock as usize] == scan
        };
        locks.iter().any(|(lock, mode)| meets(*lock, *mode))
    }

    fn note(&mut self, scan: u64, locks: &[(u32, Mode)]) {
        for (lock, mode) in locks {
            self.any[*lock as usize] = scan;
            if excludes(*mode) {
                self.writes[*lock as usize] = scan;
            }
        }
    }
}

pub(super) struct Greedy<'a> {
    feet: &'a Footprints,
    threads: usize,
    /// Fed, ascending; those that have been taken are dropped when they are half of it.
    window: VecDeque<TxIndex>,
    taken: Vec<bool>,
    /// Fed and not taken.
    open: usize,
    holders: Holders,
    queues: Vec<VecDeque<TxIndex>>,
    scan: u64,
    passed: Noted,
    drawn: Noted,
    /// By lock, who wrote it last or was the last to read it: the one that a conflicting one waits for.
    last: Vec<(Option<TxIndex>, Option<TxIndex>)>,
    done: Vec<bool>,
    blocker: Vec<Option<(u32, TxIndex)>>,
    /// For so many transactions a worker is alone without another look.
    believed: usize,
}

impl<'a> Greedy<'a> {
    pub(super) fn new(feet: &'a Footprints, threads: u16) -> Self {
        Greedy {
            feet,
            threads: usize::from(threads),
            window: VecDeque::new(),
            taken: vec![false; feet.len() as usize],
            open: 0,
            holders: Holders::new(feet.locks, threads),
            queues: vec![VecDeque::new(); usize::from(threads)],
            scan: 0,
            passed: Noted::new(feet.locks),
            drawn: Noted::new(feet.locks),
            last: vec![(None, None); feet.locks as usize],
            done: vec![false; feet.len() as usize],
            blocker: vec![None; feet.len() as usize],
            believed: 0,
        }
    }

    /// Rules 1 to 3.
    fn draw(&mut self, worker: u16) {
        let room = (self.open / (2 * self.threads)).clamp(1, BATCH);
        self.scan += 1;
        let queue = &mut self.queues[usize::from(worker)];
        let mut looks = 0;
        let open = self.window.iter().filter(|tx| !self.taken[**tx as usize]);
        for tx in open {
            if looks >= LOOKS {
                break;
            }
            let locks = self.feet.of(*tx);
            looks += effort(locks);
            if self.passed.meets(self.scan, locks) || !self.holders.allows(worker, locks) {
                self.passed.note(self.scan, locks);
                continue;
            }
            if self.drawn.meets(self.scan, locks) || queue.len() == room {
                break;
            }
            self.drawn.note(self.scan, locks);
            self.holders.take(worker, locks);
            queue.push_back(*tx);
        }
        for tx in queue {
            self.taken[*tx as usize] = true;
            self.open -= 1;
        }
        while self.window.front().is_some_and(|tx| self.taken[*tx as usize]) {
            self.window.pop_front();
        }
        if self.window.len() > 2 * self.open {
            self.window.retain(|tx| !self.taken[*tx as usize]);
        }
    }
}

impl Order for Greedy<'_> {
    fn feed(&mut self, tx: TxIndex) {
        for &(lock, mode) in self.feet.of(tx) {
            let (writer, reader) = &mut self.last[lock as usize];
            let on = if excludes(mode) { reader.or(*writer) } else { *writer };
            if let Some(on) = on.filter(|on| !self.done[*on as usize]) {
                self.blocker[tx as usize] = Some((lock, on));
            }
            if excludes(mode) {
                (*writer, *reader) = (Some(tx), None);
            } else {
                *reader = Some(tx);
            }
        }
        self.window.push_back(tx);
        self.open += 1;
    }

    fn more(&self) -> bool {
        self.open > 0
    }

    /// Looks at the first of what is open, as another worker's scan would, and believes what it sees for a while.
    fn alone(&mut self, worker: u16) -> bool {
        let mut others = (0..).zip(&self.queues).filter(|(other, _)| *other != worker);
        if !others.all(|(_, queue)| queue.is_empty()) {
            self.believed = 0;
            return false;
        }
        if self.believed > 0 {
            self.believed -= 1;
            return true;
        }
        self.scan += 1;
        let open = self.window.iter().filter(|tx| !self.taken[**tx as usize]);
        for tx in open.take(GLANCE) {
            let locks = self.feet.of(*tx);
            if !self.passed.meets(self.scan, locks) && self.holders.allows(STRANGER, locks) {
                return false;
            }
            self.passed.note(self.scan, locks);
        }
        self.believed = GLANCE;
        true
    }

    fn next(&mut self, worker: u16, waited: &mut Vec<Waited>) -> Option<TxIndex> {
        if self.queues[usize::from(worker)].is_empty() {
            self.draw(worker);
        }
        let tx = self.queues[usize::from(worker)].pop_front()?;
        waited.extend(self.blocker[tx as usize].map(|(lock, on)| Waited { tx, lock, on }));
        Some(tx)
    }

    fn done(&mut self, tx: TxIndex, worker: u16, _waited: &mut Vec<Waited>) {
        self.done[tx as usize] = true;
        self.holders.release(worker, self.feet.of(tx));
    }
}
