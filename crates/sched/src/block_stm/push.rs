//! Publishing writes, and telling exactly those who read something else.

use super::{Run, Status, reads::Me};
use crate::{
    attempt::{Attempt, Log, guarded},
    cells::{Loc, Registered},
    commit::{Hand, scan},
    mutants::{self, Mutant},
    sync::atomic::Ordering,
};
use braid_core::{Event, Probe, Reader, Sink, State, TxIndex, Value, Vm, Write};

impl<'a, M, S, K, P> Run<'a, M, S, K, P>
where
    M: Vm,
    S: State<M::Key, M::Value>,
    K: Sink<M>,
    P: Probe<M::Key>,
{
    /// Rule 8: makes the full writes of `attempt` visible, takes away what only an earlier incarnation wrote
    /// (at `prior`), and pushes.
    pub(super) fn publish(
        &self,
        me: &mut Me<'_, '_, M, S>,
        tx: TxIndex,
        incarnation: u32,
        attempt: &mut Attempt<M>,
        prior: &[Loc],
    ) {
        let mut readers = Vec::new();
        for (at, (key, write)) in attempt.effects.writes.iter().enumerate() {
            let value = match write {
                Write::Put(value) => Some(value.clone()),
                Write::Delete => None,
                Write::Add(_) => {
                    attempt.log.adds.push(at as u32);
                    continue;
                }
            };
            let mut cell = self.arena.cells.open(key);
            let loc = cell.loc;
            if cell.disturb() {
                self.disturbances.add();
            }
            let changed = cell.publish(tx, incarnation, value);
            attempt.log.locs.push(loc);
            if changed {
                cell.readers_of(tx, &mut readers);
                drop(cell);
                self.push(me, tx, loc, key, &mut readers, false);
            }
        }
        self.retract(me, tx, incarnation, prior);
    }

    /// Removes the versions at `prior` that incarnations other than `incarnation` left, and pushes.
    pub(super) fn retract(&self, me: &mut Me<'_, '_, M, S>, tx: TxIndex, incarnation: u32, prior: &[Loc]) {
        let mut readers = Vec::new();
        for loc in prior {
            let mut cell = self.arena.cells.at(*loc);
            if mutants::on(Mutant::Retract) || !cell.retract(tx, incarnation) {
                continue;
            }
            let key = *cell.key();
            cell.readers_of(tx, &mut readers);
            drop(cell);
            self.push(me, tx, *loc, &key, &mut readers, false);
        }
    }

    /// Rule 11 for a change that `by` made at `loc`. Empties `readers`. With `recheck` the location has
    /// come to be watched (rule 13).
    pub(super) fn push(
        &self,
        me: &mut Me<'_, '_, M, S>,
        by: TxIndex,
        loc: Loc,
        key: &M::Key,
        readers: &mut Vec<Registered>,
        recheck: bool,
    ) {
        me.hand.chaos.point();
        let recheck = recheck && !mutants::on(Mutant::Recheck);
        for reader in readers.drain(..) {
            if mutants::on(Mutant::Push) {
                continue;
            }
            let holds = |me: &mut Me<'_, '_, M, S>, attempt: &Attempt<M>| {
                let record = attempt.log.reads.get(reader.read as usize).filter(|read| read.loc == loc);
                // A registration that an earlier incarnation left behind.
                record.is_none_or(|read| self.still_sees(&mut me.hand, reader.tx, loc, &read.seen))
            };
            if self.tell(me, by, key, reader.tx, recheck, holds) {
                self.arena.cells.at(loc).contend();
            }
        }
        if M::RANGES && !mutants::on(Mutant::Range) {
            self.push_ranges(me, by, loc, key);
        }
    }

    /// Rule 16.
    fn push_ranges(&self, me: &mut Me<'_, '_, M, S>, by: TxIndex, loc: Loc, key: &M::Key) {
        let touched: Vec<(TxIndex, u32)> = {
            let ranges = self.ranges.lock();
            let hit = ranges.iter().filter(|reader| reader.tx > by && reader.range.contains(key));
            hit.map(|reader| (reader.tx, reader.scan)).collect()
        };
        for (tx, at) in touched {
            let holds = |me: &mut Me<'_, '_, M, S>, attempt: &Attempt<M>| {
                let record = attempt.log.scans.get(at as usize).filter(|scan| scan.range.contains(key));
                record.is_none_or(|record| {
                    self.with_value(&mut me.hand, tx, loc, |value| record.agrees(key, value)).unwrap_or(false)
                })
            };
            self.tell(me, by, key, tx, false, holds);
        }
    }

    /// Tells `tx` that `by` changed `key`: `holds` says whether an attempt at rest stands. Returns whether
    /// it threw one away.
    fn tell(
        &self,
        me: &mut Me<'_, '_, M, S>,
        by: TxIndex,
        key: &M::Key,
        tx: TxIndex,
        recheck: bool,
        holds: impl FnOnce(&mut Me<'_, '_, M, S>, &Attempt<M>) -> bool,
    ) -> bool {
        let mut slot = self.slot(tx).lock();
        match slot.status {
            Status::Executing => {
                slot.dirty = true;
                // Relaxed: as in `take_dirty`.
                self.slots[tx as usize].alarm.store(true, Ordering::Relaxed);
                slot.recheck |= recheck;
            }
            Status::Executed => {
                let Some(attempt) = slot.attempt.as_deref_mut() else { return false };
                attempt.recheck |= recheck;
                debug_assert!(!attempt.is_final, "a final execution has no predecessor left to push");
                if holds(me, attempt) {
                    return false;
                }
                let Some(mut attempt) = slot.attempt.take() else { return false };
                self.crowd.release(attempt.log.reads.len());
                self.event(me.hand.id, Event::Abort { tx, key, by: Some(by) });
                me.hand.count(|stats| stats.retries += 1);
                self.mark_estimates(tx, &attempt);
                std::mem::swap(&mut slot.prior, &mut attempt.log.locs);
                slot.status = Status::Ready;
                drop(slot);
                me.put(attempt, &self.arena.buffers);
                self.enqueue(tx);
                return true;
            }
            // It reads again anyway.
            Status::Blocked | Status::Ready => {}
            // Left behind by an incarnation that did not make it.
            Status::Committed => debug_assert!(tx < by, "{tx} was committed before {by}"),
        }
        false
    }

    pub(super) fn mark_estimates(&self, tx: TxIndex, attempt: &Attempt<M>) {
        if mutants::on(Mutant::Estimate) {
            return;
        }
        for loc in &attempt.log.locs {
            self.arena.cells.at(*loc).estimate(tx);
        }
    }

    /// Rules 8 and 9: whether all that `log` saw is still what it would see. Tells the probe if not.
    pub(super) fn revalidate<R: Reader<M::Key, M::Value>>(
        &self,
        hand: &mut Hand<R>,
        tx: TxIndex,
        log: &Log<M::Key, M::Value>,
    ) -> bool {
        hand.count(|stats| stats.validations += 1);
        for read in &log.reads {
            if !self.still_sees(hand, tx, read.loc, &read.seen) {
                let mut cell = self.arena.cells.at(read.loc);
                cell.contend();
                let (key, by) = (*cell.key(), cell.writer_below(tx));
                drop(cell);
                self.event(hand.id, Event::Abort { tx, key: &key, by });
                return false;
            }
        }
        for record in &log.scans {
            // A scan that meets an estimate counts as changed.
            let now = scan(&self.arena.cells, &mut hand.reader, &record.range, |cell| cell.resolve(tx));
            if !now.is_ok_and(|now| record.agrees_all(&now)) {
                self.event(hand.id, Event::Abort { tx, key: &record.range.start, by: None });
                return false;
            }
        }
        true
    }

    pub(super) fn still_sees<R: Reader<M::Key, M::Value>>(
        &self,
        hand: &mut Hand<R>,
        tx: TxIndex,
        loc: Loc,
        seen: &<M::Value as Value>::Seen,
    ) -> bool {
        // A state that fails counts as a change: the next execution meets the failure itself.
        self.with_value(hand, tx, loc, |value| M::Value::holds(seen, value)).unwrap_or(false)
    }

    /// Shows what `tx` would read at `loc`; `None` if the state fails.
    pub(super) fn with_value<T, R: Reader<M::Key, M::Value>>(
        &self,
        hand: &mut Hand<R>,
        tx: TxIndex,
        loc: Loc,
        show: impl Fn(Option<&M::Value>) -> T,
    ) -> Option<T> {
        let cell = self.arena.cells.at(loc);
        if let Some(shown) = cell.peek(tx, &show) {
            return Some(shown);
        }
        let key = *cell.key();
        drop(cell);
        let loaded = guarded(|| self.arena.cells.load(loc, &key, &mut hand.reader));
        loaded.ok()?.ok()?.peek(tx, show)
    }
}
