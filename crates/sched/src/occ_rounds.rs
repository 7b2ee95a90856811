//! Optimistic in rounds with barriers (the schedule of Sei, sei-protocol/sei-cosmos, `tasks/scheduler.go`).
//!
//! 1. In a round all transactions that have no execution that may stand are executed at the same time, on the
//!    nearest lower versions. What they write is a version for the others; an addition is not, it becomes
//!    part of the value at its commit.
//! 2. Then the leader validates in order, by value. As long as all before a transaction are valid it is held
//!    against what is final, assumptions and ranges included, and if it holds it is final itself and
//!    delivered. After the first that does not hold, transactions are held against the versions as they
//!    stand, for the next round.
//! 3. What does not hold leaves estimates in place of its versions. Who reads one in the next round stops there, and
//!    is executed again in the one after. Who has read what is an estimate now does not hold either.
//! 4. The first transaction of a round is executed finally, so every round ends with at least one more that is
//!    delivered, or with the block's error.
//! 5. After ten rounds the rest of the block is executed one by one.
//!
//! A long block is run in parts, and while too many reads wait to be validated nothing but the first transaction
//! is executed, so that memory is bounded; what a round passes over is for the next. Sei validates on all threads;
//! here the leader does.

use crate::{
    Pool,
    arena::Arenas,
    attempt::Attempt,
    cells::Resolved,
    commit::{Ledger, Worker, scan},
    mutants::{self, Mutant},
    phases::{self, Floor, Means, Phased},
};
use braid_core::{
    Block, BlockError, Cause, Control, Event, Outcome, Probe, Scheduler, Sink, State, Stats, TxIndex, Value,
    Vm, Write,
};
use std::sync::Arc;

/// Rounds before the rest goes one by one.
const ROUNDS: u32 = 10;
/// Transactions of one part of a block.
const PART: u32 = 4096;

/// Optimistic rounds with barriers, and serial after ten of them.
#[derive(Debug)]
pub struct OccRounds {
    pool: Arc<Pool>,
    arenas: Arenas,
    chaos: Option<u64>,
}

impl OccRounds {
    /// On the threads of `pool`.
    pub fn new(pool: Arc<Pool>) -> Self {
        OccRounds { pool, arenas: Arenas::default(), chaos: None }
    }

    /// Perturbs the schedule by `seed`. For tests: does nothing without debug assertions.
    #[must_use]
    pub fn chaos(mut self, seed: u64) -> Self {
        self.chaos = Some(seed);
        self
    }
}

impl Scheduler for OccRounds {
    fn name(&self) -> &'static str {
        "occ_rounds"
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

impl Phased for OccRounds {
    /// Rules 1 and 3.
    fn execute<M: Vm, S: State<M::Key, M::Value>, P: Probe<M::Key>>(
        &self,
        floor: &Floor<'_, M, S, P>,
        me: &mut Worker<M, S::Reader<'_>>,
        tx: TxIndex,
    ) -> bool {
        if tx != floor.cursor() && floor.crowd.heavy() {
            return true;
        }
        let mut seat = floor.seats[tx as usize].lock();
        let incarnation = floor.begin(me, tx, &mut seat);
        match floor.speculate(me, tx) {
            None => return false,
            Some(Err((key, on))) => {
                me.hand.count(|stats| stats.waits += 1);
                floor.event(me, Event::Wait { tx, key: &key, on });
            }
            Some(Ok(mut attempt)) => {
                publish(floor, tx, incarnation, &mut attempt);
                floor.crowd.hold(attempt.log.reads.len());
                if let Some(before) = seat.attempt.replace(attempt) {
                    for loc in before.log.locs.iter().filter(|_| !mutants::on(Mutant::Retract)) {
                        floor.arena.cells.at(*loc).retract(tx, incarnation);
                    }
                    me.put(before, &floor.arena.buffers);
                }
                seat.wrong = false;
                floor.event(me, Event::Finish { tx, incarnation });
            }
        }
        true
    }

    fn lead<M: Vm, S: State<M::Key, M::Value>, K: Sink<M>, P: Probe<M::Key>>(
        &self,
        floor: &Floor<'_, M, S, P>,
        me: &mut Worker<M, S::Reader<'_>>,
        ledger: &mut Ledger<'_, M, K>,
    ) -> Result<bool, Cause<M::Error>> {
        let count = floor.seats.len() as TxIndex;
        let (mut end, mut rounds) = (0, 0);
        while ledger.cursor < count {
            if ledger.cursor == end {
                (end, rounds) = (count.min(end.saturating_add(PART)), 0);
            }
            if rounds == ROUNDS {
                me.hand.count(|stats| stats.fallbacks += 1);
                while ledger.cursor < count {
                    if !floor.serially(me, ledger)? {
                        return Ok(false);
                    }
                }
                return Ok(true);
            }
            rounds += 1;
            let stands = |tx: &TxIndex| {
                let seat = floor.seats[*tx as usize].lock();
                seat.attempt.is_some() && !seat.wrong
            };
            let tasks = (ledger.cursor..end).filter(|tx| !stands(tx)).collect();
            if !floor.phase(self, me, tasks) || !validate(floor, me, ledger, end)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Makes readable what was written, but for additions.
fn publish<M: Vm, S: State<M::Key, M::Value>, P: Probe<M::Key>>(
    floor: &Floor<'_, M, S, P>,
    tx: TxIndex,
    incarnation: u32,
    attempt: &mut Attempt<M>,
) {
    if attempt.failure.is_some() {
        return;
    }
    for (key, write) in &attempt.effects.writes {
        let mut cell = floor.arena.cells.open(key);
        attempt.log.locs.push(cell.loc);
        match write {
            Write::Put(value) => _ = cell.publish(tx, incarnation, Some(value.clone())),
            Write::Delete => _ = cell.publish(tx, incarnation, None),
            Write::Add(_) => {}
        }
    }
}

/// Rules 2 and 3. False if the block was given up.
fn validate<M: Vm, S: State<M::Key, M::Value>, K: Sink<M>, P: Probe<M::Key>>(
    floor: &Floor<'_, M, S, P>,
    me: &mut Worker<M, S::Reader<'_>>,
    ledger: &mut Ledger<'_, M, K>,
    end: TxIndex,
) -> Result<bool, Cause<M::Error>> {
    let cells = &floor.arena.cells;
    for tx in ledger.cursor..end {
        if floor.brake().interrupted::<M::Error>().is_some() {
            return Ok(false);
        }
        let mut seat = floor.seats[tx as usize].lock();
        let Some(attempt) = seat.attempt.as_ref().filter(|_| !seat.wrong) else { continue };
        let last = tx == ledger.cursor;
        let held = match attempt.is_final || mutants::on(Mutant::Validation) {
            true => Ok(()),
            false if last => me.holds(cells, tx, attempt),
            false => holds_for_now(floor, me, tx, attempt),
        };
        if let Err((key, by)) = &held {
            floor.event(me, Event::Abort { tx, key, by: *by });
        }
        // A failure is believed of a final execution only.
        let stands = held.is_ok() && (attempt.is_final || !last || attempt.failure.is_none());
        if stands && !last {
            continue;
        }
        floor.crowd.release(attempt.log.reads.len());
        if !stands {
            attempt.log.locs.iter().for_each(|loc| cells.at(*loc).estimate(tx));
            seat.wrong = true;
            me.hand.count(|stats| stats.retries += 1);
            continue;
        }
        let attempt = seat.attempt.take().expect("looked at above");
        drop(seat);
        ledger.admit()?;
        floor.settle(me, ledger, attempt)?;
    }
    Ok(true)
}

/// Whether `attempt` would see the same between the versions as they stand; the error names a location where it
/// would not, and its writer.
fn holds_for_now<M: Vm, S: State<M::Key, M::Value>, P: Probe<M::Key>>(
    floor: &Floor<'_, M, S, P>,
    me: &mut Worker<M, S::Reader<'_>>,
    tx: TxIndex,
    attempt: &Attempt<M>,
) -> Result<(), (M::Key, Option<TxIndex>)> {
    me.hand.count(|stats: &mut Stats| stats.validations += 1);
    let cells = &floor.arena.cells;
    for read in &attempt.log.reads {
        let cell = cells.at(read.loc);
        let holds = match cell.resolve(tx) {
            Resolved::Value(value) => M::Value::holds(&read.seen, value.as_ref()),
            Resolved::Estimate(_) => false,
            // Nobody has asked the state: it says what it said.
            Resolved::Unread => true,
        };
        if !holds {
            return Err((*cell.key(), cell.writer_below(tx)));
        }
    }
    for record in &attempt.log.scans {
        let now = scan(cells, &mut me.hand.reader, &record.range, |cell| cell.resolve(tx));
        if !now.is_ok_and(|now| record.agrees_all(&now)) {
            return Err((record.range.start, None));
        }
    }
    Ok(())
}
