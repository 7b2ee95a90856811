//! The rolling commit (rules 12 to 15).

use super::{Run, Status, reads::Me};
use crate::{
    attempt::{Attempt, ReadRecord, Told},
    commit::{Ledger, open_for_commit},
    mutants::{self, Mutant},
    sync::atomic::Ordering,
};
use braid_core::{Cause, Event, Probe, Sink, State, TxIndex, Vm, Write};

impl<'a, M, S, K, P> Run<'a, M, S, K, P>
where
    M: Vm,
    S: State<M::Key, M::Value>,
    K: Sink<M>,
    P: Probe<M::Key>,
{
    /// Rule 12: asks for the duty to commit, and does it if it is free.
    pub(super) fn commit(&self, me: &mut Me<'_, '_, M, S>) {
        if self.baton.ring() {
            self.commit_on(me);
        }
    }

    /// As [`commit`](Self::commit), for who has the baton already.
    pub(super) fn commit_on(&self, me: &mut Me<'_, '_, M, S>) {
        let mut seen = 1;
        loop {
            let mut ledger = self.ledger.lock();
            while !self.brake().stopped() && self.commit_next(me, &mut ledger) {}
            drop(ledger);
            me.hand.chaos.point();
            match self.baton.leave(seen) {
                Ok(()) => return,
                Err(now) => seen = now,
            }
        }
    }

    /// Commits the transaction at the cursor. False if it is not ready for that, or the block has ended.
    fn commit_next(&self, me: &mut Me<'_, '_, M, S>, ledger: &mut Ledger<'a, M, K>) -> bool {
        let tx = ledger.cursor;
        let mut slot = self.slot(tx).lock();
        let attempt = match slot.status {
            Status::Executed => slot.attempt.take(),
            // Its entry in the heap is dropped when it is popped.
            Status::Ready => None,
            Status::Executing | Status::Blocked | Status::Committed => return false,
        };
        // Owned by this worker until it is committed; nobody pushes to it any more (rule 13).
        slot.status = Status::Executing;
        drop(slot);
        self.crowd.release(attempt.as_ref().map_or(0, |attempt| attempt.log.reads.len()));
        if self.brake().interrupted::<M::Error>().is_some() {
            self.interrupt(None);
            return false;
        }
        if let Err(cause) = self.settle(me, ledger, attempt) {
            match cause {
                Some(cause) => ledger.fail(cause),
                None => self.interrupt(None),
            }
            // Relaxed: it carries no data.
            self.stop.store(true, Ordering::Relaxed);
            return false;
        }
        if ledger.cursor as usize == self.slots.len() {
            // Relaxed: it carries no data.
            self.stop.store(true, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// Rules 13 and 14. The error is the block's, or `None` if it was given up.
    fn settle(
        &self,
        me: &mut Me<'_, '_, M, S>,
        ledger: &mut Ledger<'a, M, K>,
        attempt: Option<Box<Attempt<M>>>,
    ) -> Result<(), Option<Cause<M::Error>>> {
        let tx = ledger.cursor;
        ledger.admit().map_err(Some)?;
        let borrowed = attempt.is_some();
        let mut attempt = match attempt {
            Some(attempt) if attempt.is_final || self.stands(me, tx, &attempt) => attempt,
            other => self.execute_here(me, tx, other).ok_or(None)?,
        };
        if let Some(cause) = attempt.failure.take() {
            return Err(Some(cause));
        }
        self.fold(me, ledger, &mut attempt).map_err(Some)?;
        self.event(me.hand.id, Event::Commit { tx });
        ledger.deliver(&mut attempt);
        let mut slot = self.slot(tx).lock();
        slot.status = Status::Committed;
        if borrowed {
            attempt.slim();
            // For whose it is: that core has its memory in its cache.
            slot.attempt = Some(attempt);
        } else {
            me.put(attempt, &self.arena.buffers);
        }
        let waiters = std::mem::take(&mut slot.waiters);
        drop(slot);
        // Release: pairs with the Acquire of rule 15.
        self.cursor.store(ledger.cursor, Ordering::Release);
        self.wake(waiters);
        Ok(())
    }

    /// Whether a speculative attempt at the cursor is what serial would have done.
    fn stands(&self, me: &mut Me<'_, '_, M, S>, tx: TxIndex, attempt: &Attempt<M>) -> bool {
        me.hand.count(|stats| stats.validations += 1);
        // Seldom any: the reads lie in the cache of the core that executed.
        let log = &attempt.log;
        let disturbed =
            log.quiet > 0 && self.disturbances.count() != log.disturbances && !mutants::on(Mutant::Quiet);
        let reads = if attempt.recheck || disturbed || log.watched > 0 { &log.reads[..] } else { &[] };
        let checked = |read: &&ReadRecord<M::Value>| match read.told {
            Told::Pushed => attempt.recheck,
            Told::Watched => true,
            Told::Quiet => attempt.recheck || disturbed,
        };
        for read in reads.iter().filter(checked) {
            if !self.unmoved(me, tx, read) {
                me.hand.count(|stats| stats.retries += 1);
                let mut cell = self.arena.cells.at(read.loc);
                cell.contend();
                let (key, by) = (*cell.key(), cell.writer_below(tx));
                drop(cell);
                self.event(me.hand.id, Event::Abort { tx, key: &key, by });
                return false;
            }
        }
        self.check_reads(me, tx, attempt);
        if attempt.failure.is_some() {
            me.hand.count(|stats| stats.retries += 1);
            return false;
        }
        if let Err((key, by)) = me.assumed_holds(&self.arena.cells, attempt) {
            me.hand.count(|stats| stats.retries += 1);
            self.event(me.hand.id, Event::Abort { tx, key: &key, by });
            return false;
        }
        true
    }

    /// Whether a read at the cursor would see the same (rule 13).
    fn unmoved(&self, me: &mut Me<'_, '_, M, S>, tx: TxIndex, read: &ReadRecord<M::Value>) -> bool {
        if mutants::on(Mutant::Watch) || self.arena.cells.at(read.loc).stamp() == read.stamp {
            return true;
        }
        self.still_sees(&mut me.hand, tx, read.loc, &read.seen)
    }

    /// Rule 10, checked: pushes must have caught every read that is not true.
    fn check_reads(&self, me: &mut Me<'_, '_, M, S>, tx: TxIndex, attempt: &Attempt<M>) {
        if !cfg!(debug_assertions) || cfg!(feature = "mutants") {
            return;
        }
        for read in &attempt.log.reads {
            let value = self.with_value(&mut me.hand, tx, read.loc, |value| value.cloned());
            let holds = value
                .as_ref()
                .is_none_or(|value| <M::Value as braid_core::Value>::holds(&read.seen, value.as_ref()));
            assert!(holds, "{tx} saw {:?} at {:?}, which holds {value:?}", read.seen, read.loc);
        }
    }

    /// Rule 14: executes the transaction at the cursor with a final view. `None` if given up.
    fn execute_here(
        &self,
        me: &mut Me<'_, '_, M, S>,
        tx: TxIndex,
        attempt: Option<Box<Attempt<M>>>,
    ) -> Option<Box<Attempt<M>>> {
        let mut attempt = attempt.unwrap_or_else(|| self.take(me));
        let mut slot = self.slot(tx).lock();
        let incarnation = slot.begin();
        if !attempt.log.locs.is_empty() {
            std::mem::swap(&mut slot.prior, &mut attempt.log.locs);
        }
        drop(slot);
        self.event(me.hand.id, Event::Start { tx, incarnation });
        me.look(&self.crowd);
        let (vm, txs) = (self.block.vm, self.block.txs);
        if !me.execute_final(vm, &txs[tx as usize], &self.arena.cells, self.brake(), &mut attempt) {
            return None;
        }
        self.event(me.hand.id, Event::Finish { tx, incarnation });
        Some(attempt)
    }

    /// Folds the writes of the transaction at the cursor into the committed values. Additions, and all
    /// writes of a final execution, were not published, so they are pushed here.
    fn fold(
        &self,
        me: &mut Me<'_, '_, M, S>,
        ledger: &mut Ledger<'a, M, K>,
        attempt: &mut Attempt<M>,
    ) -> Result<(), Cause<M::Error>> {
        let (tx, cells) = (ledger.cursor, &self.arena.cells);
        let mut readers = Vec::new();
        let (mut published, mut adds) = (attempt.log.locs.iter(), attempt.log.adds.iter().peekable());
        for (at, entry) in attempt.effects.writes.iter().enumerate() {
            // What is published is folded without a look at the write, which another core may hold.
            if !attempt.is_final && adds.next_if(|add| **add == at as u32).is_none() {
                let Some(loc) = published.next() else {
                    unreachable!("a write is published or an addition");
                };
                let mut cell = cells.at(*loc);
                if cell.commit_published(tx) {
                    ledger.changed.cells.push((*cell.key(), *loc));
                }
                continue;
            }
            let (key, write) = entry;
            let mut cell = open_for_commit(cells, cells.open(key), write, &mut me.hand.reader)?;
            let loc = cell.loc;
            if cell.disturb() {
                self.disturbances.add();
            }
            if cell.commit(tx, write) {
                ledger.changed.cells.push((*key, loc));
            }
            let is_add = matches!(write, Write::Add(_));
            let checked_later = is_add && cell.watch();
            match is_add {
                true if checked_later => {}
                true => cell.readers_above(tx, &mut readers),
                false => cell.readers_of(tx, &mut readers),
            }
            drop(cell);
            // Scans are always pushed: they check nothing at their commit.
            if !checked_later || M::RANGES {
                self.push(me, tx, loc, key, &mut readers, is_add);
            }
        }
        if attempt.is_final {
            let prior = std::mem::take(&mut self.slot(tx).lock().prior);
            self.retract(me, tx, TxIndex::MAX, &prior);
        }
        Ok(())
    }
}
