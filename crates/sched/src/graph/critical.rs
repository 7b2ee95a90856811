//! A graph of dependencies, and the longest chain first.
//!
//! 1. A transaction that may read a location ([`Mode::Read`], [`Mode::Write`], [`Mode::Consume`]) waits for the
//!    execution of the nearest earlier one that may write it. That one waits in turn for the one before, so
//!    all of them have been executed, whichever of them really wrote.
//! 2. Additions ([`Mode::Add`]) wait for nobody. Who reads after them waits until the nearest one is final, and
//!    with it all before: additions become part of the value at their commit.
//! 3. The rank of a transaction is its weight and the greatest rank that waits for it. Of those that may start
//!    the one of highest rank does, and of equals the first.

use super::{
    order::{Order, Waited},
    plan::Footprints,
};
use braid_core::{Mode, TxIndex};
use std::{cmp::Reverse, collections::BinaryHeap};

const NOBODY: TxIndex = TxIndex::MAX;

/// `from` is waited for by `to` at `lock`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Edge {
    from: TxIndex,
    to: TxIndex,
    lock: u32,
}

pub(super) struct Critical {
    /// What ends with an execution (rule 1), by `from`.
    edges: Vec<Edge>,
    /// Where the edges from each transaction begin; one more than there are transactions.
    starts: Vec<u32>,
    /// What ends with a commit (rule 2), by `from`.
    commits: Vec<Edge>,
    /// The first of `commits` that has not ended.
    pending: usize,
    /// How much each transaction still waits for; being fed counts as one.
    missing: Vec<u32>,
    ranks: Vec<u64>,
    ready: BinaryHeap<(u64, Reverse<TxIndex>)>,
}

/// Who touched a lock last.
#[derive(Clone, Copy)]
struct Last {
    writer: TxIndex,
    /// Since that writer.
    adder: TxIndex,
}

impl Critical {
    pub(super) fn new(feet: &Footprints) -> Self {
        let count = feet.len();
        let (mut edges, mut commits) = (Vec::new(), Vec::new());
        let mut last = vec![Last { writer: NOBODY, adder: NOBODY }; feet.locks as usize];
        let mut missing = vec![1; count as usize];
        for to in 0..count {
            for &(lock, mode) in feet.of(to) {
                let last = &mut last[lock as usize];
                if mode == Mode::Add {
                    last.adder = to;
                    continue;
                }
                for (from, into) in [(last.writer, &mut edges), (last.adder, &mut commits)] {
                    if from != NOBODY {
                        into.push(Edge { from, to, lock });
                        missing[to as usize] += 1;
                    }
                }
                if mode != Mode::Read {
                    *last = Last { writer: to, adder: NOBODY };
                }
            }
        }
        let ranks = ranks(feet, &edges, &commits);
        edges.sort_unstable();
        commits.sort_unstable();
        let mut starts = vec![0; count as usize + 1];
        for edge in &edges {
            starts[edge.from as usize + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        Critical { edges, starts, commits, pending: 0, missing, ranks, ready: BinaryHeap::new() }
    }

    /// One thing less that `tx` waits for; whether it was the last.
    fn release(&mut self, tx: TxIndex) -> bool {
        let missing = &mut self.missing[tx as usize];
        *missing -= 1;
        let free = *missing == 0;
        if free {
            self.ready.push((self.ranks[tx as usize], Reverse(tx)));
        }
        free
    }

    fn end(&mut self, edge: Edge, waited: &mut Vec<Waited>) {
        if self.release(edge.to) {
            waited.push(Waited { tx: edge.to, lock: edge.lock, on: edge.from });
        }
    }
}

/// Rule 3. Edges are in the order of `to`, and lead from lower to higher numbers.
fn ranks(feet: &Footprints, edges: &[Edge], commits: &[Edge]) -> Vec<u64> {
    let mut ranks = feet.weights.clone();
    let (mut edges, mut commits) = (edges.iter().rev().peekable(), commits.iter().rev().peekable());
    // The rank of `to` is whole once all edges from it, which lead to higher ones, have been looked at.
    for to in (0..feet.len()).rev() {
        let rank = ranks[to as usize];
        for list in [&mut edges, &mut commits] {
            while let Some(edge) = list.next_if(|edge| edge.to == to) {
                let from = edge.from as usize;
                ranks[from] = ranks[from].max(feet.weights[from].saturating_add(rank));
            }
        }
    }
    ranks
}

impl Order for Critical {
    fn feed(&mut self, tx: TxIndex) {
        self.release(tx);
    }

    fn more(&self) -> bool {
        !self.ready.is_empty()
    }

    fn alone(&mut self, _worker: u16) -> bool {
        self.ready.is_empty()
    }

    fn waits_for_commits(&self) -> bool {
        !self.commits.is_empty()
    }

    fn next(&mut self, _worker: u16, _waited: &mut Vec<Waited>) -> Option<TxIndex> {
        self.ready.pop().map(|(_, Reverse(tx))| tx)
    }

    fn done(&mut self, tx: TxIndex, _worker: u16, waited: &mut Vec<Waited>) {
        for at in self.starts[tx as usize]..self.starts[tx as usize + 1] {
            self.end(self.edges[at as usize], waited);
        }
    }

    fn committed(&mut self, cursor: TxIndex, waited: &mut Vec<Waited>) {
        while let Some(edge) = self.commits.get(self.pending).copied().filter(|edge| edge.from < cursor) {
            self.pending += 1;
            self.end(edge, waited);
        }
    }
}
