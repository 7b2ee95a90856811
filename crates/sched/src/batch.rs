//! Batches without conflicts, one after the other (the schedule of Reddio, reddio-com/reddio,
//! `parallel/parallel_evm.go`).
//!
//! 1. A batch is a run of consecutive transactions, closed before the first one whose hint conflicts with one of a
//!    member, or when it has as many members as are allowed. Of a transaction without a hint nothing is known
//!    that could conflict.
//! 2. All members are executed at the same time, each on the state before the batch.
//! 3. Then the leader looks at what they did. If a member saw (read, assumed, found in a range) a location
//!    that an earlier member wrote, or failed, or assumed what is not so, the whole batch is discarded and done
//!    again, one by one.
//! 4. Else every member saw the truth, since what it saw is as the members before it left it, and all are merged
//!    in order.

use crate::{
    Pool,
    arena::Arenas,
    attempt::Attempt,
    commit::{Ledger, Worker},
    graph::plan::{Plan, excludes},
    mutants::{self, Mutant},
    phases::{self, Floor, Means, Phased},
};
use braid_core::{
    Block, BlockError, Cause, Control, Event, Outcome, Probe, Scheduler, Sink, State, TxIndex, Vm,
};
use std::{collections::BTreeMap, ops::Range, sync::Arc};

/// Members of a batch, at most, unless said otherwise.
const MOST: u32 = 64;

/// Batches without conflicts, discarded as a whole.
#[derive(Debug)]
pub struct Batch {
    pool: Arc<Pool>,
    most: u32,
    arenas: Arenas,
    chaos: Option<u64>,
}

impl Batch {
    /// On the threads of `pool`.
    pub fn new(pool: Arc<Pool>) -> Self {
        Batch { pool, most: MOST, arenas: Arenas::default(), chaos: None }
    }

    /// With at most so many members of a batch: 64 unless set, at least 1.
    #[must_use]
    pub fn most(mut self, members: u32) -> Self {
        self.most = members.max(1);
        self
    }

    /// Perturbs the schedule by `seed`. For tests: does nothing without debug assertions.
    #[must_use]
    pub fn chaos(mut self, seed: u64) -> Self {
        self.chaos = Some(seed);
        self
    }

    /// Rule 1: the end of the batch that begins at `start`, and why it ends there: lock and member.
    fn close<K>(
        &self,
        plan: &Plan<K>,
        locks: &mut Locks,
        start: TxIndex,
    ) -> (TxIndex, Option<(u32, TxIndex)>) {
        let last = plan.feet.len().min(start.saturating_add(self.most));
        for tx in start..last {
            for (lock, mode) in plan.feet.of(tx) {
                let (touched, written) = locks.0[*lock as usize];
                let met = if excludes(*mode) { touched } else { written };
                if let Some(on) = met.filter(|on| *on >= start) {
                    return (tx, Some((*lock, on)));
                }
            }
            for (lock, mode) in plan.feet.of(tx) {
                let (touched, written) = &mut locks.0[*lock as usize];
                *touched = Some(tx);
                if excludes(*mode) {
                    *written = Some(tx);
                }
            }
        }
        (last, None)
    }
}

/// By lock, the last transaction that takes it, and that takes it for writing.
struct Locks(Vec<(Option<TxIndex>, Option<TxIndex>)>);

/// What the members of a batch wrote, and who did.
struct Written<K> {
    locs: BTreeMap<crate::cells::Loc, TxIndex>,
    /// Only if the machine reads ranges.
    keys: BTreeMap<K, TxIndex>,
}

/// Why a batch is discarded: the location, if it is for one, and who wrote there, if a member did.
type Conflict<K> = (Option<K>, Option<TxIndex>);

impl Scheduler for Batch {
    fn name(&self) -> &'static str {
        "batch"
    }

    fn run<M, S, K, P>(
        &self,
        block: &Block<'_, M, S>,
        sink: &mut K,
        probe: &P,
        control: &Control<'_>,
    ) -> Result<Outcome<M>, BlockError<M::Error>>
    where
        M: Vm,
        S: State<M::Key, M::Value>,
        K: Sink<M>,
        P: Probe<M::Key>,
    {
        let means = Means { pool: &self.pool, arenas: &self.arenas, chaos: self.chaos };
        phases::run(self, means, block, sink, probe, control)
    }
}

impl Phased for Batch {
    fn execute<M: Vm, S: State<M::Key, M::Value>, P: Probe<M::Key>>(
        &self,
        floor: &Floor<'_, M, S, P>,
        me: &mut Worker<M, S::Reader<'_>>,
        tx: TxIndex,
    ) -> bool {
        let mut seat = floor.seats[tx as usize].lock();
        let incarnation = floor.begin(me, tx, &mut seat);
        let Some(Ok(mut attempt)) = floor.speculate(me, tx) else { return false };
        let locs = attempt.effects.writes.iter().map(|(key, _)| floor.arena.cells.open(key).loc);
        attempt.log.locs.extend(locs);
        seat.attempt = Some(attempt);
        floor.event(me, Event::Finish { tx, incarnation });
        true
    }

    fn lead<M: Vm, S: State<M::Key, M::Value>, K: Sink<M>, P: Probe<M::Key>>(
        &self,
        floor: &Floor<'_, M, S, P>,
        me: &mut Worker<M, S::Reader<'_>>,
        ledger: &mut Ledger<'_, M, K>,
    ) -> Result<bool, Cause<M::Error>> {
        let mut plan = Plan::new();
        plan.fill(floor.block);
        let mut locks = Locks(vec![(None, None); plan.feet.locks as usize]);
        while ledger.cursor < plan.feet.len() {
            let start = ledger.cursor;
            let (end, closed) = self.close(&plan, &mut locks, start);
            if !floor.phase(self, me, (start..end).collect()) {
                return Ok(false);
            }
            if let Some((lock, on)) = closed {
                me.hand.count(|stats| stats.waits += 1);
                floor.event(me, Event::Wait { tx: end, key: &plan.keys[lock as usize], on });
            }
            if let Some((key, by)) = conflict(floor, me, start..end) {
                for tx in start..end {
                    let by = by.filter(|by| *by < tx);
                    key.iter().for_each(|key| floor.event(me, Event::Abort { tx, key, by }));
                    if !floor.serially(me, ledger)? {
                        return Ok(false);
                    }
                }
                continue;
            }
            for tx in start..end {
                let attempt = floor.seats[tx as usize].lock().attempt.take();
                let attempt = attempt.expect("a phase leaves an execution in every seat");
                ledger.admit()?;
                floor.settle(me, ledger, attempt)?;
            }
        }
        Ok(true)
    }
}

/// Rule 3.
fn conflict<M: Vm, S: State<M::Key, M::Value>, P: Probe<M::Key>>(
    floor: &Floor<'_, M, S, P>,
    me: &mut Worker<M, S::Reader<'_>>,
    members: Range<TxIndex>,
) -> Option<Conflict<M::Key>> {
    let mut written = Written { locs: BTreeMap::new(), keys: BTreeMap::new() };
    for tx in members {
        let seat = floor.seats[tx as usize].lock();
        let attempt = seat.attempt.as_ref().expect("a phase leaves an execution in every seat");
        if !attempt.is_final
            && let Some(conflict) = meets(floor, me, attempt, &written)
        {
            return Some(conflict);
        }
        written.locs.extend(attempt.log.locs.iter().map(|loc| (*loc, tx)));
        if M::RANGES {
            written.keys.extend(attempt.effects.writes.iter().map(|(key, _)| (*key, tx)));
        }
    }
    None
}

/// Whether `attempt` saw anything that earlier members wrote, or cannot stand by itself.
fn meets<M: Vm, S: State<M::Key, M::Value>, P: Probe<M::Key>>(
    floor: &Floor<'_, M, S, P>,
    me: &mut Worker<M, S::Reader<'_>>,
    attempt: &Attempt<M>,
    written: &Written<M::Key>,
) -> Option<Conflict<M::Key>> {
    me.hand.count(|stats| stats.validations += 1);
    let cells = &floor.arena.cells;
    let reads = attempt.log.reads.iter().map(|read| read.loc);
    let assumed = attempt.log.assumed.iter().map(|(_, loc, _)| *loc);
    let met = reads.chain(assumed).find_map(|loc| Some((loc, *written.locs.get(&loc)?)));
    if let Some((loc, by)) = met.filter(|_| !mutants::on(Mutant::Validation)) {
        return Some((Some(*cells.at(loc).key()), Some(by)));
    }
    for scan in &attempt.log.scans {
        if scan.range.start < scan.range.end
            && let Some((key, by)) = written.keys.range(scan.range.clone()).next()
            && !mutants::on(Mutant::Range)
        {
            return Some((Some(*key), Some(*by)));
        }
    }
    if let Err((key, by)) = me.assumed_holds(cells, attempt) {
        return Some((Some(key), by));
    }
    // A failure is believed of a final execution only.
    attempt.failure.as_ref().map(|_| (None, None))
}
