//! What a worker does: draw a transaction, execute it, publish, settle.

use super::{Run, Status, view::StmView};
use crate::{
    attempt::{Attempt, Verdict, execute},
    chaos::Chaos,
    commit::{StopOnPanic, Worker},
    mutants::{self, Mutant},
    sync::{Backoff, atomic::Ordering},
};
use braid_core::{Cause, Event, Probe, Sink, State, TxIndex, Vm};
use std::{cmp::Reverse, ops::Range};

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
        let _guard = StopOnPanic(&self.stop);
        let reader = match self.block.state.reader() {
            Ok(reader) => reader,
            // The others can do without this worker, but somebody has to say why nobody runs.
            Err(error) if id == 0 => return self.interrupt(Some(Cause::Store(error))),
            Err(_) => return,
        };
        let mut me = Worker::new(id, self.block.vm, reader, Chaos::new(self.chaos, id), &self.crowd);
        let (mut idle, mut seen) = (Backoff::default(), TxIndex::MAX);
        let mut settled = 0;
        let mut drawn = 0..0;
        while !self.brake().stopped() {
            me.hand.chaos.point();
            if settled == 0 && drawn.is_empty() {
                self.crowd.rest(id, || self.brake().stopped());
            }
            let Some((tx, mut incarnation)) = self.draw(&mut drawn, me.pace.chunk) else {
                if settled > 0 {
                    settled = 0;
                    self.commit(&mut me);
                    continue;
                }
                if self.control.interrupted::<M::Error>().is_some() {
                    self.interrupt(None);
                }
                // Relaxed: a hint.
                let cursor = self.cursor.load(Ordering::Relaxed);
                self.crowd.held_back(id, &mut idle, &mut seen, cursor, || self.brake().stopped());
                continue;
            };
            idle.reset();
            loop {
                match self.attempt(&mut me, tx, incarnation) {
                    Next::Again(next) => incarnation = next,
                    Next::Done => break,
                    Next::Final => {
                        settled = RING;
                        break;
                    }
                    Next::Stop => return self.interrupt(None),
                }
            }
            settled += 1;
            if settled >= RING {
                settled = 0;
                self.commit(&mut me);
            }
        }
        self.crowd.dismiss();
        me.finish(&self.arena.buffers, &self.stats);
    }

    /// Rule 5: a transaction to execute, and its incarnation. Of the fresh ones, `chunk` are `drawn` at once.
    fn draw(&self, drawn: &mut Range<TxIndex>, chunk: u32) -> Option<(TxIndex, u32)> {
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
        let chunk = chunk.min((count - next) / (4 * self.running.len() as u32)).max(1);
        let first = self.next.fetch_add(chunk, Ordering::Relaxed);
        *drawn = first.min(count)..first.saturating_add(chunk).min(count);
        drawn.next().map(|tx| (tx, 0))
    }

    /// Executes `tx` once.
    fn attempt(&self, me: &mut Worker<M, S::Reader<'_>>, tx: TxIndex, incarnation: u32) -> Next {
        self.event(me.hand.id, Event::Start { tx, incarnation });
        self.crowd.look(me.hand.id, &mut me.pace, &me.hand.stats);
        let mut attempt = me.take(&self.arena.buffers);
        // Acquire: all lower transactions are folded if this says so (rule 15).
        if self.cursor.load(Ordering::Acquire) == tx {
            let (vm, txs) = (self.block.vm, self.block.txs);
            if !me.execute_final(vm, &txs[tx as usize], &self.arena.cells, self.brake(), &mut attempt) {
                return Next::Stop;
            }
            self.event(me.hand.id, Event::Finish { tx, incarnation });
            let mut slot = self.slot(tx).lock();
            slot.attempt = Some(attempt);
            slot.status = Status::Executed;
            return Next::Final;
        }
        // Relaxed: the slots have their locks; who waits for this (rule 7) waits for nothing else.
        self.running[usize::from(me.hand.id)].store(tx, Ordering::Relaxed);
        let next = self.attempt_early(me, tx, incarnation, attempt);
        self.running[usize::from(me.hand.id)].store(TxIndex::MAX, Ordering::Relaxed);
        next
    }

    /// Executes `tx` while lower transactions may still run.
    fn attempt_early(
        &self,
        me: &mut Worker<M, S::Reader<'_>>,
        tx: TxIndex,
        incarnation: u32,
        mut attempt: Box<Attempt<M>>,
    ) -> Next {
        match self.speculate(me, tx, &mut attempt) {
            Verdict::Done => {}
            Verdict::Failed(cause) => {
                attempt.failure = Some(cause);
                attempt.effects.writes.clear();
            }
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
        me: &mut Worker<M, S::Reader<'_>>,
        tx: TxIndex,
        attempt: &mut Attempt<M>,
    ) -> Verdict<M::Error> {
        attempt.clear(false);
        me.hand.stats.executions += 1;
        let Attempt { log, effects, .. } = attempt;
        let mut view = StmView {
            run: self,
            hand: &mut me.hand,
            brake: self.brake(),
            tx,
            reads: &mut log.reads,
            scans: &mut log.scans,
            assumed: &mut log.assumed,
            halted: None,
            last: None,
            patience: me.pace.patience,
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
            other.waiters.push(tx);
            return Next::Done;
        }
        drop(other);
        // Nobody else touches a blocked slot that is in no waiter list.
        Next::Again(self.slot(tx).lock().begin())
    }

    /// Rules 8 and 9.
    fn finish(
        &self,
        me: &mut Worker<M, S::Reader<'_>>,
        tx: TxIndex,
        incarnation: u32,
        mut attempt: Box<Attempt<M>>,
    ) -> Next {
        let mut slot = self.slot(tx).lock();
        let dirty = std::mem::take(&mut slot.dirty);
        if dirty {
            drop(slot);
            if !self.revalidate(me, tx, &attempt) {
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
                let waiters = std::mem::take(&mut slot.waiters);
                drop(slot);
                self.wake(waiters);
                return Next::Done;
            }
            slot.dirty = false;
            drop(slot);
            if !self.revalidate(me, tx, &attempt) {
                self.disown(tx, &mut attempt);
                return self.again(me, tx, attempt);
            }
        }
    }

    fn again(&self, me: &mut Worker<M, S::Reader<'_>>, tx: TxIndex, attempt: Box<Attempt<M>>) -> Next {
        me.hand.stats.retries += 1;
        me.put(attempt, &self.arena.buffers);
        Next::Again(self.slot(tx).lock().begin())
    }

    /// Marks the published writes of an execution that is not true as estimates.
    fn disown(&self, tx: TxIndex, attempt: &mut Attempt<M>) {
        self.mark_estimates(tx, attempt);
        std::mem::swap(&mut self.slot(tx).lock().prior, &mut attempt.log.locs);
    }

    /// Makes waiters ready (rule 3).
    pub(super) fn wake(&self, waiters: Vec<TxIndex>) {
        if mutants::on(Mutant::Wake) {
            return;
        }
        for tx in waiters {
            let mut slot = self.slot(tx).lock();
            debug_assert_eq!(slot.status, Status::Blocked, "only the one it waits for wakes it");
            slot.status = Status::Ready;
            drop(slot);
            self.enqueue(tx);
        }
    }
}
