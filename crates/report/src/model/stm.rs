//! Simulation of Block-STM: multi-version memory, estimates, readers of what is written later run again.
//!
//! 1. A free worker begins the lowest transaction that is to run again, else the next that has not begun.
//! 2. If one that it needs has run and is to run again, it waits for the end of that instead, at no cost; one that was
//!    thrown away before waits until all that it needs, and what that needs, is executed. If one that it needs has not ended its first execution, it reads
//!    what will not stand.
//! 3. Whose execution ends makes those wrong that need it and began before: one that has ended is to run again, one
//!    that still executes is given up and begins again at once.

use super::{Conflicts, Simulated};
use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap},
};

/// Where a transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    /// To run, for the first time or again, or waiting for another.
    Idle,
    /// Since when, and the number of the execution.
    Running { since: u64, number: u64 },
    /// Executed.
    Done,
}

struct Run<'a> {
    needs: &'a [Vec<u32>],
    weights: &'a [u64],
    behind: Vec<Vec<u32>>,
    status: Vec<Status>,
    /// Has been thrown away.
    again: Vec<bool>,
    /// Executed, and known not to run again.
    stands: Vec<bool>,
    waiters: Vec<Vec<u32>>,
    ready: BTreeSet<u32>,
    next: u32,
    /// Executions under way, and their number, among others that were given up.
    at_work: usize,
    running: BinaryHeap<Reverse<(u64, u32, u64)>>,
    done: Simulated,
}

pub(super) fn multi_version(conflicts: &Conflicts, weights: &[u64], workers: usize) -> Simulated {
    let count = weights.len();
    let mut behind = vec![Vec::new(); count];
    for (to, on) in (0u32..).zip(&conflicts.needs) {
        on.iter().for_each(|on| behind[*on as usize].push(to));
    }
    let mut run = Run {
        needs: &conflicts.needs,
        weights,
        behind,
        status: vec![Status::Idle; count],
        again: vec![false; count],
        stands: vec![false; count],
        waiters: vec![Vec::new(); count],
        ready: BTreeSet::new(),
        next: 0,
        at_work: 0,
        running: BinaryHeap::new(),
        done: Simulated::default(),
    };
    let mut now = 0;
    loop {
        while run.at_work < workers.max(1) {
            let Some(tx) = run.choose() else { break };
            run.begin(now, tx);
        }
        let Some(Reverse((end, _, _))) = run.running.peek() else { break };
        let moment = *end;
        while let Some(Reverse((end, tx, number))) = run.running.peek().copied() {
            if end != moment {
                break;
            }
            run.running.pop();
            if matches!(run.status[tx as usize], Status::Running { number: this, .. } if this == number) {
                now = moment;
                run.end(now, tx);
            }
        }
    }
    debug_assert!(run.status.iter().all(|status| *status == Status::Done), "all are executed");
    Simulated { time: now, ..run.done }
}

impl Run<'_> {
    fn choose(&mut self) -> Option<u32> {
        if let Some(tx) = self.ready.pop_first() {
            return Some(tx);
        }
        ((self.next as usize) < self.weights.len()).then(|| {
            self.next += 1;
            self.next - 1
        })
    }

    /// Rule 2.
    fn begin(&mut self, now: u64, tx: u32) {
        let again = |on: &&u32| self.status[**on as usize] != Status::Done && self.again[**on as usize];
        let on = match self.again[tx as usize] {
            true => self.behind_whom(tx),
            false => self.needs[tx as usize].iter().find(again).copied(),
        };
        self.status[tx as usize] = Status::Idle;
        if let Some(on) = on {
            return self.waiters[on as usize].push(tx);
        }
        self.status[tx as usize] = Status::Running { since: now, number: self.done.executions };
        self.at_work += 1;
        let end = now.saturating_add(self.weights[tx as usize]);
        self.running.push(Reverse((end, tx, self.done.executions)));
        self.done.executions += 1;
    }

    /// One that `tx` needs, by itself or through others, and that is not executed.
    fn behind_whom(&mut self, tx: u32) -> Option<u32> {
        let mut path = vec![tx];
        while let Some(last) = path.last().copied() {
            let open = self.needs[last as usize].iter().find(|on| !self.stands[**on as usize]).copied();
            match open {
                Some(on) if self.status[on as usize] != Status::Done => return Some(on),
                Some(on) => path.push(on),
                None => {
                    // Nothing that it needs changes any more.
                    self.stands[last as usize] = last != tx;
                    path.pop();
                }
            }
        }
        None
    }

    /// Leaves the worker free.
    fn stop(&mut self, now: u64, tx: u32) {
        if let Status::Running { since, .. } = self.status[tx as usize] {
            self.done.busy = self.done.busy.saturating_add(now - since);
            self.at_work -= 1;
        }
    }

    /// Rule 3.
    fn end(&mut self, now: u64, tx: u32) {
        self.stop(now, tx);
        self.status[tx as usize] = Status::Done;
        for at in 0..self.behind[tx as usize].len() {
            let next = self.behind[tx as usize][at];
            // Whoever has begun did so before this end.
            match self.status[next as usize] {
                Status::Idle => {}
                Status::Running { .. } => {
                    self.again[next as usize] = true;
                    self.stop(now, next);
                    self.begin(now, next);
                }
                Status::Done => {
                    self.again[next as usize] = true;
                    self.status[next as usize] = Status::Idle;
                    self.ready.insert(next);
                }
            }
        }
        let waiters = std::mem::take(&mut self.waiters[tx as usize]);
        self.ready.extend(waiters);
    }
}
