//! What a worker does: draw a transaction, execute it, publish, settle.

use super::{
    Run, Status, Waiter,
    reads::{Keeper, LaneReader, Me, Reads},
    view::StmView,
};
use crate::{
    attempt::{Attempt, Verdict, execute},
    chaos::Chaos,
    commit::{Shift, StopOnPanic, Worker},
    crowd::NAP,
    lanes::{self, LANES, Lane},
    mutants::{self, Mutant},
    sync::{
        Backoff,
        atomic::{AtomicU32, Ordering},
    },
};
use braid_core::{Cause, Event, Probe, Sink, State, TxIndex, Vm};
use std::{cmp::Reverse, rc::Rc, time::Duration};

/// Transactions that a worker settles before it asks for the duty to commit. Commits in a row find the
/// ledger and the cursor in their own cache; and whoever runs ahead needs no commit to go on.
const RING: u32 = if crate::sync::MODEL { 2 } else { 8 };

/// What became of an execution.
enum Next {
    /// The transaction is settled, or waits, or is somebody else's.
    Done,
    /// As `Done`, and nothing of it is seen before it is committed.
    Final,
    /// Run it again, as this incarnation.
    Again(u32),
    /// The block was given up.
    Stop,
}

impl<'a, M, S, K, P> Run<'a, M, S, K, P>
where
    M: Vm,
    S: State<M::Key, M::Value>,
    K: Sink<M>,
    P: Probe<M::Key>,
{
    /// One worker's part of the block.
    pub(super) fn work(&self, id: u16) {
        let shift = Shift::new(id, &self.crowd);
        let stopped = || self.brake().stopped();
        let reader = match self.block.state.reader() {
            Ok(reader) => reader,
            // The others can do without this worker, but somebody has to say why nobody runs.
            Err(error) if id == 0 => return self.interrupt(Some(Cause::Store(error))),
            Err(_) => return,
        };
        let reads = Reads::new(reader, self.block.state.overlap() > 1);
        let lane = |lane: &Lane<'_>| self.lane(id, lane, &shift, &reads);
        lanes::run(self.stacks, &self.desks[usize::from(id)], self.lanes, stopped, &lane);
        shift.end(&self.stats);
    }

    /// One lane of it.
    fn lane(&self, id: u16, lane: &Lane<'_>, shift: &Rc<Shift>, reads: &Reads<S::Reader<'_>>) {
        let _guard = StopOnPanic(&self.stop);
        let desk = &*self.desks[usize::from(id)];
        let keeper = Keeper { desk, in_flight: &self.in_flight };
        let reader = LaneReader::new(reads, lane, keeper, self.brake());
        let chaos = Chaos::new(self.chaos, id + u16::from(lane.index()));
        let mut me = Worker::new(id, self.block.vm, reader, chaos, shift.clone());
        let (mut idle, mut seen) = (Backoff::default(), TxIndex::MAX);
        while !self.brake().stopped() {
            me.hand.chaos.point();
            if reads.waiting() {
                reads.collect(Duration::ZERO, desk);
            }
            lane.give_way();
            if lane.is_alone() && shift.settled.get() == 0 && shift.drawn.borrow().is_empty() {
                self.crowd.rest(id, || self.brake().stopped());
            }
            // Relaxed: a hint; `go_alone` looks again.
            if id == 0
                && let Some(most) = self.crowd.alone(self.cursor.load(Ordering::Relaxed))
                && !me.hand.reader.is_slow()
                && let Some(executed) = self.go_alone(&mut me, most)
            {
                me.went_alone(&self.crowd, executed);
                continue;
            }
            let Some((tx, mut incarnation)) = self.draw(lane, shift) else {
                if shift.settled.take() > 0 {
                    self.commit(&mut me);
                    continue;
                }
                if self.control.interrupted::<M::Error>().is_some() {
                    self.interrupt(None);
                }
                if reads.waiting() {
                    reads.collect(NAP, desk);
                    continue;
                }
                // Relaxed: a hint.
                let cursor = self.cursor.load(Ordering::Relaxed);
                let on = || self.brake().stopped() || desk.has_woken();
                self.crowd.held_back(id, &mut idle, &mut seen, cursor, on);
                continue;
            };
            idle.reset();
            let settled = loop {
                match self.attempt(&mut me, lane, tx, incarnation) {
                    // Each execution has a brake of its own, and may be too short for it to look at the clock.
                    Next::Again(_) if self.brake().given_up() => return self.interrupt(None),
                    Next::Again(next) => incarnation = next,
                    Next::Done => break 1,
                    Next::Final => break RING,
                    Next::Stop => return self.interrupt(None),
                }
            };
            shift.settled.set(shift.settled.get() + settled);
            if shift.settled.get() >= RING {
                shift.settled.set(0);
                self.commit(&mut me);
            }
            // Only here: what was final has published nothing before its commit.
            self.running(id, lane).store(TxIndex::MAX, Ordering::Relaxed);
        }
        self.crowd.dismiss();
        let most = me.hand.reader.most_in_flight();
        me.hand.count(|stats| stats.most_in_flight = stats.most_in_flight.max(most));
        while let Some(tx) = me.lent.pop_front() {
            if let Some(attempt) = self.give_back(tx) {
                me.put(attempt, &self.arena.buffers);
            }
        }
        me.finish(&self.arena.buffers);
    }

    /// An execution to use: one that this worker has lent to a slot whose transaction is committed, or any.
    pub(super) fn take(&self, me: &mut Me<'_, '_, M, S>) -> Box<Attempt<M>> {
        // Relaxed: a hint; the slot has its lock.
        let cursor = self.cursor.load(Ordering::Relaxed);
        while let Some(tx) = me.lent.pop_front_if(|tx| *tx < cursor) {
            if let Some(mut attempt) = self.give_back(tx) {
                attempt.clear(false);
                return attempt;
            }
        }
        me.take(&self.arena.buffers)
    }

    /// The execution that lies in the slot of `tx`, if that is committed.
    fn give_back(&self, tx: TxIndex) -> Option<Box<Attempt<M>>> {
        let mut slot = self.slot(tx).lock();
        if slot.status == Status::Committed { slot.attempt.take() } else { None }
    }

    /// Rule 5: a transaction to execute, and its incarnation. Fresh ones are drawn a few at a time.
    fn draw(&self, lane: &Lane<'_>, shift: &Shift) -> Option<(TxIndex, u32)> {
        // Relaxed, here and below: only hints where to look; slots and heap have their locks.
        while self.ready.load(Ordering::Relaxed) > 0 {
            let mut heap = self.heap.lock();
            let popped = heap.pop();
            self.ready.store(heap.len() as u32, Ordering::Relaxed);
            drop(heap);
            let Some(Reverse(tx)) = popped else { break };
            let mut slot = self.slot(tx).lock();
            if slot.status == Status::Ready {
                return Some((tx, slot.begin()));
            }
        }
        if lane.is_last() {
            // Who is parked waits for nothing that has not begun, so one of them goes on soon.
            return None;
        }
        let mut drawn = shift.drawn.borrow_mut();
        if let Some(tx) = drawn.next() {
            return Some((tx, 0));
        }
        let count = self.slots.len() as u32;
        let next = self.next.load(Ordering::Relaxed);
        // Acquire: what is committed has been released.
        if next >= count || !self.crowd.may_draw(next, || self.cursor.load(Ordering::Acquire)) {
            return None;
        }
        // Near the end of the block one at a time, or one worker would have what another could do.
        let chunk = shift.chunk().min((count - next) / (4 * self.desks.len() as u32)).max(1);
        let first = self.next.fetch_add(chunk, Ordering::Relaxed);
        *drawn = first.min(count)..first.saturating_add(chunk).min(count);
        drawn.next().map(|tx| (tx, 0))
    }

    /// Executes `tx` once.
    fn attempt(&self, me: &mut Me<'_, '_, M, S>, lane: &Lane<'_>, tx: TxIndex, incarnation: u32) -> Next {
        self.event(me.hand.id, Event::Start { tx, incarnation });
        me.look(&self.crowd);
        let mut attempt = self.take(me);
        if incarnation == 0 && me.hand.reader.is_slow() {
            self.begin_reads(me, tx);
        }
        // Relaxed: the slots have their locks; who waits for this (rule 7) waits for nothing else.
        self.running(me.hand.id, lane).store(tx, Ordering::Relaxed);
        // Acquire: all lower transactions are folded if this says so (rule 15).
        if self.cursor.load(Ordering::Acquire) == tx {
            let (vm, txs) = (self.block.vm, self.block.txs);
            me.hand.reader.executes(Some(tx));
            let done = me.execute_final(vm, &txs[tx as usize], &self.arena.cells, self.brake(), &mut attempt);
            me.hand.reader.executes(None);
            if !done {
                return Next::Stop;
            }
            if me.hand.reader.is_slow() && attempt.failure.is_none() {
                self.load_bases(me, tx, &attempt.effects);
            }
            self.event(me.hand.id, Event::Finish { tx, incarnation });
            let mut slot = self.slot(tx).lock();
            slot.attempt = Some(attempt);
            slot.status = Status::Executed;
            me.lent.push_back(tx);
            return Next::Final;
        }
        self.attempt_early(me, lane, tx, incarnation, attempt)
    }

    /// What the lane executes.
    fn running(&self, worker: u16, lane: &Lane<'_>) -> &AtomicU32 {
        let at = usize::from(worker) * self.lanes + usize::from(lane.index());
        &self.running[at / LANES][at % LANES]
    }

    /// Executes `tx` while lower transactions may still run.
    fn attempt_early(
        &self,
        me: &mut Me<'_, '_, M, S>,
        lane: &Lane<'_>,
        tx: TxIndex,
        incarnation: u32,
        mut attempt: Box<Attempt<M>>,
    ) -> Next {
        me.hand.reader.executes(Some(tx));
        let verdict = self.speculate(me, lane, tx, &mut attempt);
        me.hand.reader.executes(None);
        match verdict {
            Verdict::Done if me.hand.reader.is_slow() => self.load_bases(me, tx, &attempt.effects),
            Verdict::Done => {}
            Verdict::Failed(cause) => {
                attempt.failure = Some(cause);
                attempt.effects.writes.clear();
            }
            // What it has read is not true any more (rule 8).
            Verdict::Blocked(on) if on == tx => return self.again(me, tx, attempt),
            Verdict::Blocked(on) => {
                me.put(attempt, &self.arena.buffers);
                return self.wait_for(tx, on);
            }
            Verdict::Interrupted => return Next::Stop,
        }
        me.hand.chaos.point();
        self.finish(me, tx, incarnation, attempt)
    }

    fn speculate(
        &self,
        me: &mut Me<'_, '_, M, S>,
        lane: &Lane<'_>,
        tx: TxIndex,
        attempt: &mut Attempt<M>,
    ) -> Verdict<M::Error> {
        attempt.clear(false);
        let disturbances = self.disturbances.count();
        attempt.log.disturbances = disturbances;
        me.quiet.begin(disturbances);
        me.hand.count(|stats| stats.executions += 1);
        let patience = me.hand.shift.patience();
        let Attempt { log, effects, .. } = attempt;
        let mut view = StmView {
            run: self,
            hand: &mut me.hand,
            brake: self.brake(),
            tx,
            log,
            quiet: &mut me.quiet,
            alarm: &self.slots[tx as usize].alarm,
            checked: 0,
            halted: None,
            last: None,
            patience,
            lane,
        };
        let halted = |view: &mut StmView<'_, '_, M, S, K, P, _>| view.halted.take();
        execute(self.block.vm, &mut me.scratch, &self.block.txs[tx as usize], &mut view, halted, effects)
    }

    /// Rule 7.
    fn wait_for(&self, tx: TxIndex, on: TxIndex) -> Next {
        debug_assert!(on < tx, "transactions wait for lower ones only");
        self.slot(tx).lock().status = Status::Blocked;
        let mut other = self.slot(on).lock();
        if other.pending() {
            other.waiters.push(Waiter::Blocked(tx));
            return Next::Done;
        }
        drop(other);
        // Nobody else touches a blocked slot that is in no waiter list.
        Next::Again(self.slot(tx).lock().begin())
    }

    /// Rules 8 and 9.
    fn finish(
        &self,
        me: &mut Me<'_, '_, M, S>,
        tx: TxIndex,
        incarnation: u32,
        mut attempt: Box<Attempt<M>>,
    ) -> Next {
        let mut slot = self.slot(tx).lock();
        let dirty = self.take_dirty(tx, &mut slot);
        if dirty {
            drop(slot);
            if !self.revalidate(&mut me.hand, tx, &attempt.log) {
                return self.again(me, tx, attempt);
            }
            slot = self.slot(tx).lock();
        }
        let prior = std::mem::take(&mut slot.prior);
        drop(slot);
        self.publish(me, tx, incarnation, &mut attempt, &prior);
        me.hand.chaos.point();
        loop {
            let mut slot = self.slot(tx).lock();
            if !slot.dirty {
                self.event(me.hand.id, Event::Finish { tx, incarnation });
                attempt.recheck = slot.recheck;
                self.crowd.hold(attempt.log.reads.len());
                slot.attempt = Some(attempt);
                slot.status = Status::Executed;
                me.lent.push_back(tx);
                let waiters = std::mem::take(&mut slot.waiters);
                drop(slot);
                self.wake(waiters);
                return Next::Done;
            }
            self.take_dirty(tx, &mut slot);
            drop(slot);
            if !self.revalidate(&mut me.hand, tx, &attempt.log) {
                self.disown(tx, &mut attempt);
                return self.again(me, tx, attempt);
            }
        }
    }

    fn again(&self, me: &mut Me<'_, '_, M, S>, tx: TxIndex, attempt: Box<Attempt<M>>) -> Next {
        me.hand.count(|stats| stats.retries += 1);
        me.put(attempt, &self.arena.buffers);
        Next::Again(self.slot(tx).lock().begin())
    }

    /// Marks the published writes of an execution that is not true as estimates.
    fn disown(&self, tx: TxIndex, attempt: &mut Attempt<M>) {
        self.mark_estimates(tx, attempt);
        std::mem::swap(&mut self.slot(tx).lock().prior, &mut attempt.log.locs);
    }

    /// Makes waiters ready (rule 3), or resumes them (rule 7).
    pub(super) fn wake(&self, waiters: Vec<Waiter>) {
        if mutants::on(Mutant::Wake) {
            return;
        }
        for waiter in waiters {
            let tx = match waiter {
                Waiter::Blocked(tx) => tx,
                Waiter::Parked(worker, lane) => {
                    self.desks[usize::from(worker)].wake(lane);
                    self.crowd.wake(worker);
                    continue;
                }
            };
            let mut slot = self.slot(tx).lock();
            debug_assert_eq!(slot.status, Status::Blocked, "only the one it waits for wakes it");
            slot.status = Status::Ready;
            drop(slot);
            self.enqueue(tx);
        }
    }
}
