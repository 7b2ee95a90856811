//! Simulation of Block-STM: multi-version memory, estimates, readers of what is written later run again.
//!
//! 1. A free worker begins the lowest transaction that is to run again, else the next that has not begun.
//! 2. If one that it needs has run and is to run again, it waits for the end of that instead, at no cost. If one that
//!    it needs has not ended its first execution, it reads what will not stand.
//! 3. Whose execution ends makes those wrong that need it and began before: one that has ended is to run again, one
//!    that still executes ends first and begins again at once.
//! 4. After so many executions in vain a transaction waits for all that it needs, so that all comes to an end soon.

use super::{Conflicts, Simulated, merge::PopNow};
use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap},
};

/// Executions in vain before a transaction waits (rule 4).
const PATIENCE: u32 = 8;

/// Where a transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    /// To run, for the first time or again.
    Ready,
    /// Whether it is known to be wrong.
    Running { wrong: bool },
    /// Waits for another.
    Waiting,
    /// Executed.
    Done,
}

struct Run<'a> {
    needs: &'a [Vec<u32>],
    weights: &'a [u64],
    behind: Vec<Vec<u32>>,
    status: Vec<Status>,
    /// Executions that have ended.
    ended: Vec<u32>,
    waiters: Vec<Vec<u32>>,
    again: BTreeSet<u32>,
    next: u32,
    running: BinaryHeap<Reverse<(u64, u32)>>,
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
        status: vec![Status::Ready; count],
        ended: vec![0; count],
        waiters: vec![Vec::new(); count],
        again: BTreeSet::new(),
        next: 0,
        running: BinaryHeap::new(),
        done: Simulated::default(),
    };
    let mut now = 0;
    loop {
        while run.running.len() < workers.max(1) {
            let Some(tx) = run.choose() else { break };
            run.begin(now, tx);
        }
        let Some(Reverse((end, _))) = run.running.peek() else { break };
        now = *end;
        while let Some(Reverse((_, tx))) = run.running.pop_if_now(now) {
            run.end(now, tx);
        }
    }
    debug_assert!(run.status.iter().all(|status| *status == Status::Done), "all are executed");
    Simulated { time: now, ..run.done }
}

impl Run<'_> {
    fn choose(&mut self) -> Option<u32> {
        if let Some(tx) = self.again.pop_first() {
            return Some(tx);
        }
        ((self.next as usize) < self.weights.len()).then(|| {
            self.next += 1;
            self.next - 1
        })
    }

    /// Rules 2 and 4.
    fn begin(&mut self, now: u64, tx: u32) {
        let patient = self.ended[tx as usize] >= PATIENCE;
        let in_the_way = |on: &&u32| {
            let on = **on as usize;
            self.status[on] != Status::Done && (patient || self.ended[on] > 0)
        };
        let on = self.needs[tx as usize].iter().find(in_the_way).copied();
        if let Some(on) = on {
            self.status[tx as usize] = Status::Waiting;
            self.waiters[on as usize].push(tx);
            return;
        }
        self.status[tx as usize] = Status::Running { wrong: false };
        let weight = self.weights[tx as usize];
        self.done.busy = self.done.busy.saturating_add(weight);
        self.done.executions += 1;
        self.running.push(Reverse((now.saturating_add(weight), tx)));
    }

    fn end(&mut self, now: u64, tx: u32) {
        self.ended[tx as usize] += 1;
        if self.status[tx as usize] == (Status::Running { wrong: true }) {
            self.status[tx as usize] = Status::Ready;
            return self.begin(now, tx);
        }
        self.status[tx as usize] = Status::Done;
        for next in &self.behind[tx as usize] {
            // Whoever has begun did so before this end.
            match &mut self.status[*next as usize] {
                Status::Running { wrong } => *wrong = true,
                status @ Status::Done => {
                    *status = Status::Ready;
                    self.again.insert(*next);
                }
                Status::Ready | Status::Waiting => {}
            }
        }
        let waiters = std::mem::take(&mut self.waiters[tx as usize]);
        for waiter in waiters {
            self.status[waiter as usize] = Status::Ready;
            self.again.insert(waiter);
        }
    }
}
