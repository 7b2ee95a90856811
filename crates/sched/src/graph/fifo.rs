//! A queue for each location, in block order (the rules of Solana's unified scheduler, anza-xyz/agave,
//! `unified-scheduler-logic`).

use super::{
    order::{Order, Waited},
    plan::{Footprints, excludes},
};
use braid_core::TxIndex;
use std::{cmp::Reverse, collections::BinaryHeap};

const NONE: u32 = u32::MAX;
/// Holders of a lock that one task writes under.
const WRITTEN: u32 = u32::MAX;

/// Queues of tasks for locks. Neither retries nor looks twice: inserting and completing a task costs a few words
/// for each lock.
///
/// 1. Tasks are inserted in order, numbered from zero, each with its locks.
/// 2. A lock is held by one task that writes or by any number that read. A task that finds it free, or
///    held by readers with nobody waiting and itself a reader, holds it; else it waits at the end of the lock's
///    queue, and counts one more lock that it waits for.
/// 3. A task may run while it waits for no lock. It holds all its locks until it is completed.
/// 4. When the last holder leaves, the first who waits holds the lock, and if that one reads, so do all readers
///    directly behind it.
///
/// So tasks that share a lock, unless both read, run in the order of insertion, and the first task that is not
/// completed can always run.
#[derive(Debug, Default)]
pub struct UsageQueues {
    locks: Vec<Usage>,
    nodes: Vec<Node>,
    tasks: Vec<Task>,
}

/// A lock.
#[derive(Clone, Copy, Debug)]
struct Usage {
    /// Readers that hold it, or [`WRITTEN`].
    held: u32,
    /// The first and the last node that waits.
    head: u32,
    tail: u32,
}

/// A task at a lock.
#[derive(Clone, Copy, Debug)]
struct Node {
    lock: u32,
    task: u32,
    /// The node that waits behind it.
    next: u32,
    writes: bool,
}

#[derive(Clone, Copy, Debug)]
struct Task {
    /// Its nodes: from here to those of the next task.
    first: u32,
    /// Locks that it waits for.
    waits: u32,
}

impl UsageQueues {
    /// Queues for locks numbered below `locks`.
    pub fn new(locks: u32) -> Self {
        let free = Usage { held: 0, head: NONE, tail: NONE };
        UsageQueues { locks: vec![free; locks as usize], nodes: Vec::new(), tasks: Vec::new() }
    }

    /// Forgets all tasks, and keeps memory.
    pub fn clear(&mut self) {
        let free = Usage { held: 0, head: NONE, tail: NONE };
        self.locks.fill(free);
        self.nodes.clear();
        self.tasks.clear();
    }

    /// Inserts the next task, which takes these locks, ascending, and writes where it says `true`. Whether it
    /// may run at once.
    ///
    /// # Panics
    /// If locks do not ascend, or are not below the number given to [`new`](Self::new).
    pub fn insert(&mut self, locks: impl IntoIterator<Item = (u32, bool)>) -> bool {
        let task = self.tasks.len() as u32;
        let (first, mut waits, mut last) = (self.nodes.len() as u32, 0, None);
        for (lock, writes) in locks {
            assert!(last.replace(lock).is_none_or(|last| last < lock), "locks ascend");
            let node = self.nodes.len() as u32;
            let usage = &mut self.locks[lock as usize];
            let free = if writes { usage.held == 0 } else { usage.held != WRITTEN && usage.head == NONE };
            if free {
                usage.held = if writes { WRITTEN } else { usage.held + 1 };
            } else {
                waits += 1;
                match usage.tail {
                    NONE => usage.head = node,
                    tail => self.nodes[tail as usize].next = node,
                }
                usage.tail = node;
            }
            self.nodes.push(Node { lock, task, next: NONE, writes });
        }
        self.tasks.push(Task { first, waits });
        waits == 0
    }

    /// Completes a task that could run. Tells of each task that may run by that which lock it waited for last.
    pub fn complete(&mut self, task: u32, mut freed: impl FnMut(u32, u32)) {
        let first = self.tasks[task as usize].first;
        let end = self.tasks.get(task as usize + 1).map_or(self.nodes.len() as u32, |next| next.first);
        for node in first..end {
            let lock = self.nodes[node as usize].lock;
            let usage = &mut self.locks[lock as usize];
            if usage.held != WRITTEN && usage.held > 1 {
                usage.held -= 1;
                continue;
            }
            usage.held = 0;
            while usage.head != NONE {
                let waiting = self.nodes[usage.head as usize];
                if waiting.writes && usage.held > 0 {
                    break;
                }
                usage.head = waiting.next;
                if usage.head == NONE {
                    usage.tail = NONE;
                }
                usage.held = if waiting.writes { WRITTEN } else { usage.held + 1 };
                let waits = &mut self.tasks[waiting.task as usize].waits;
                *waits -= 1;
                if *waits == 0 {
                    freed(waiting.task, lock);
                }
                if waiting.writes {
                    break;
                }
            }
        }
    }
}

pub(super) struct Fifo<'a> {
    feet: &'a Footprints,
    queues: UsageQueues,
    ready: BinaryHeap<Reverse<TxIndex>>,
}

impl<'a> Fifo<'a> {
    pub(super) fn new(feet: &'a Footprints) -> Self {
        Fifo { feet, queues: UsageQueues::new(feet.locks), ready: BinaryHeap::new() }
    }
}

impl Order for Fifo<'_> {
    fn feed(&mut self, tx: TxIndex) {
        if self.queues.insert(self.feet.of(tx).iter().map(|(lock, mode)| (*lock, excludes(*mode)))) {
            self.ready.push(Reverse(tx));
        }
    }

    fn more(&self) -> bool {
        !self.ready.is_empty()
    }

    fn alone(&mut self, _worker: u16) -> bool {
        self.ready.is_empty()
    }

    fn next(&mut self, _worker: u16, _waited: &mut Vec<Waited>) -> Option<TxIndex> {
        self.ready.pop().map(|Reverse(tx)| tx)
    }

    fn done(&mut self, tx: TxIndex, _worker: u16, waited: &mut Vec<Waited>) {
        let ready = &mut self.ready;
        self.queues.complete(tx, |freed, lock| {
            ready.push(Reverse(freed));
            waited.push(Waited { tx: freed, lock, on: tx });
        });
    }
}
