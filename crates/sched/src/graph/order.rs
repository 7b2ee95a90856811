//! Who may start next: what the policies have in common.

use super::{critical::Critical, fifo::Fifo, greedy::Greedy, plan::Footprints, prio::PrioGraph};
use braid_core::TxIndex;

/// Which transaction starts next, of those that may.
///
/// All keep the order of the block between transactions whose hints conflict: of two, the later one starts when
/// the earlier one has been executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Policy {
    /// A graph of dependencies: a reader waits for the nearest earlier writer of each location. Locations have
    /// versions, so a writer waits for nobody that it does not read from, and additions for nobody at all.
    /// Of those that may start, the one with the longest chain behind it goes first.
    #[default]
    Critical,
    /// As Solana's prio-graph scheduler (anza-xyz/agave): a graph over a window of 2048 transactions, and locks
    /// that know who holds them, so that a transaction queues behind one that it conflicts with on the same
    /// worker, without waiting for its end.
    PrioGraph,
    /// As Solana's greedy scheduler (anza-xyz/agave): no graph; a scan for what can start at once.
    Greedy,
    /// As Solana's unified scheduler (anza-xyz/agave): each location has a queue in block order, a transaction
    /// counts the queues in which it waits, and readers that stand together are released together.
    Fifo,
}

/// A transaction may start, that had to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waited {
    pub(super) tx: TxIndex,
    /// Where.
    pub(super) lock: u32,
    /// For whom, in the end.
    pub(super) on: TxIndex,
}

/// Decides who starts next. Knows of a transaction only its number, its locks and its weight.
pub(super) trait Order: Send {
    /// Takes in the next transaction, in block order.
    fn feed(&mut self, tx: TxIndex);

    /// A transaction for `worker` to start. Tells who had to wait up to now.
    fn next(&mut self, worker: u16, waited: &mut Vec<Waited>) -> Option<TxIndex>;

    /// `tx` has been executed by `worker`, and what it wrote can be read.
    fn done(&mut self, tx: TxIndex, worker: u16, waited: &mut Vec<Waited>);

    /// All before `cursor` are final.
    fn committed(&mut self, _cursor: TxIndex, _waited: &mut Vec<Waited>) {}

    /// Whether something may be there for another worker to start.
    fn more(&self) -> bool;

    /// Whether nobody but `worker` may start anything, as far as can be told at a glance. Who is told so keeps the
    /// others out for one transaction at a time.
    fn alone(&mut self, worker: u16) -> bool;

    /// Whether transactions wait for commits, not only for executions.
    fn waits_for_commits(&self) -> bool {
        false
    }
}

impl Policy {
    /// All of them.
    pub const ALL: [Policy; 4] = [Policy::Critical, Policy::PrioGraph, Policy::Greedy, Policy::Fifo];

    /// Transactions beyond the first that is not final which it may look at.
    pub(super) const fn window(self) -> u32 {
        match self {
            Policy::PrioGraph => 2048,
            Policy::Critical | Policy::Greedy | Policy::Fifo => 1024,
        }
    }

    /// Whether additions exclude each other, as locks know only reading and writing.
    pub(super) const fn adds_exclude(self) -> bool {
        !matches!(self, Policy::Critical)
    }

    pub(super) fn order(self, feet: &Footprints, threads: u16) -> Box<dyn Order + '_> {
        match self {
            Policy::Critical => Box::new(Critical::new(feet)),
            Policy::PrioGraph => Box::new(PrioGraph::new(feet, threads)),
            Policy::Greedy => Box::new(Greedy::new(feet, threads)),
            Policy::Fifo => Box::new(Fifo::new(feet)),
        }
    }
}
