//! The speculative view: everything below the transaction, as far as it has run.

use super::{RangeReader, Run, Status, Waiter, Waits};
use crate::{
    attempt::{Log, ReadRecord, ScanRecord, Told},
    brake::Brake,
    cells::{Loc, Registered, Resolved},
    commit::{Hand, scan},
    lanes::{LANES, Lane},
    quiet::Quiet,
    sync::{
        Backoff, MODEL,
        atomic::{AtomicBool, Ordering},
    },
};
use braid_core::{Event, Halt, Probe, Read, ReadId, Reader, Sink, State, TxIndex, Value, View, Vm};
use std::{
    ops::Range,
    time::{Duration, Instant},
};

type Seen<M> = <<M as Vm>::Value as Value>::Seen;

/// Reads of one speculative execution (rules 6, 7 and 16), recorded.
pub(super) struct StmView<'v, 'a, M: Vm, S, K, P, R> {
    pub(super) run: &'v Run<'a, M, S, K, P>,
    pub(super) hand: &'v mut Hand<R>,
    pub(super) brake: Brake<'v>,
    pub(super) tx: TxIndex,
    pub(super) log: &'v mut Log<M::Key, M::Value>,
    /// The worker's table of quiet locations.
    pub(super) quiet: &'v mut Quiet<M::Key, M::Value>,
    /// Of the transaction's slot.
    pub(super) alarm: &'v AtomicBool,
    /// Reads that were resolved again on its alarm.
    pub(super) checked: usize,
    pub(super) halted: Option<Halt>,
    /// The location read last: the one that an assumption is usually about.
    pub(super) last: Option<(M::Key, Loc)>,
    /// How long to wait for lower executions; so many rounds, if nobody knows.
    pub(super) patience: Option<Duration>,
    pub(super) lane: &'v Lane<'v>,
}

impl<M, S, K, P, R> StmView<'_, '_, M, S, K, P, R>
where
    M: Vm,
    S: State<M::Key, M::Value>,
    K: Sink<M>,
    P: Probe<M::Key>,
    R: Reader<M::Key, M::Value>,
{
    /// How often a wait looks again, if nobody knows how long executions take.
    const PATIENCE: u32 = if crate::sync::MODEL { 3 } else { 512 };

    fn value(&mut self, key: &M::Key) -> Result<Option<M::Value>, Halt> {
        self.brake.check()?;
        self.hand.chaos.point();
        // Relaxed: a late look costs time only.
        if self.alarm.load(Ordering::Relaxed) {
            self.look_back()?;
        }
        let cells = &self.run.arena.cells;
        let hash = cells.hash(key);
        if let Some((loc, value)) = self.quiet.get(hash, key) {
            self.log.quiet += 1;
            let (told, seen) = (Told::Quiet, M::Value::exactly(value.as_ref()));
            self.log.reads.push(ReadRecord { loc, stamp: 0, told, seen });
            self.last = Some((*key, loc));
            return Ok(value.clone());
        }
        let mut cell = cells.open_hashed(hash, key);
        let loc = cell.loc;
        if cell.contended() {
            let before = cell.source(self.tx);
            drop(cell);
            let waited = self.let_lower_end(key)?;
            cell = cells.at(loc);
            if waited && cell.source(self.tx) == before {
                cell.calm();
            }
        }
        let mut patience = Backoff::default();
        loop {
            match cell.resolve(self.tx) {
                Resolved::Value(value) => {
                    let (stamp, watched) = (cell.stamp_for(self.tx), cell.watched());
                    if !watched {
                        let read = self.log.reads.len() as u32;
                        // Relaxed: an old horizon only keeps more readers than needed. Looked at only
                        // then: every commit takes this line away from the other cores.
                        let horizon = || self.run.cursor.load(Ordering::Relaxed);
                        cell.register(Registered { tx: self.tx, read }, horizon);
                        if cell.quiets(self.run.enough) {
                            self.quiet.put(hash, key, loc, &value);
                        }
                    }
                    drop(cell);
                    self.last = Some((*key, loc));
                    let seen = M::Value::exactly(value.as_ref());
                    self.log.watched += u32::from(watched);
                    let told = if watched { Told::Watched } else { Told::Pushed };
                    self.log.reads.push(ReadRecord { loc, stamp, told, seen });
                    return Ok(value);
                }
                Resolved::Unread => {
                    drop(cell);
                    cell = match cells.load(loc, key, &mut self.hand.reader) {
                        Ok(cell) => cell,
                        Err(_) if self.brake.given_up() => return Err(Halt::Interrupted),
                        Err(error) => return Err(error.into()),
                    };
                }
                Resolved::Estimate(on) => {
                    drop(cell);
                    self.wait(key, on, &mut patience)?;
                    cell = cells.at(loc);
                }
            }
        }
    }

    /// Gives the execution up if what it has read is not true any more (rule 8).
    fn look_back(&mut self) -> Result<(), Halt> {
        // No more work than reading was: a block may be made to push very often.
        if self.checked > self.log.reads.len() {
            return Ok(());
        }
        let mut slot = self.run.slot(self.tx).lock();
        let dirty = self.run.take_dirty(self.tx, &mut slot);
        drop(slot);
        self.checked += self.log.reads.len();
        match !dirty || self.run.revalidate(self.hand, self.tx, self.log) {
            true => Ok(()),
            false => Err(Halt::Blocked(self.tx)),
        }
    }

    /// Waits until nobody executes a lower transaction (rule 7): in place for as long as executions usually
    /// take, because a change of stacks lets others go first; then parked, or no longer. Whether it had to.
    fn let_lower_end(&mut self, key: &M::Key) -> Result<bool, Halt> {
        let (mut patience, since) = (Backoff::default(), Instant::now());
        // A model knows no time.
        let longest = self.patience;
        let patient = |rounds| match longest {
            Some(longest) if !MODEL => since.elapsed() < longest,
            _ => rounds < Self::PATIENCE,
        };
        // Relaxed: a late look waits a little too long, or reads too early and is pushed.
        let (run, tx) = (self.run, self.tx);
        let lower = || {
            let running = run.running.iter().flat_map(|lanes| lanes.iter());
            running.map(|running| running.load(Ordering::Relaxed)).filter(|running| *running < tx).max()
        };
        while let Some(on) = lower() {
            let parks = self.lane.may_park();
            if !parks && patience.rounds() > 0 && !patient(patience.rounds()) {
                break;
            }
            if patience.rounds() == 0 {
                self.hand.count(|stats| stats.waits += 1);
                self.run.event(self.hand.id, Event::Wait { tx: self.tx, key, on });
            }
            self.brake.check()?;
            patience.wait();
            let parks = parks && (!patient(patience.rounds()) || self.is_here(on));
            if parks && !self.park(on)? {
                // Its worker still says so, but it has ended.
                break;
            }
        }
        if patience.rounds() > 0
            && let Some(longest) = longest
        {
            // What comes after that is time in which others were resumed.
            self.hand.shift.waited(since.elapsed().min(longest));
        }
        Ok(patience.rounds() > 0)
    }

    /// Waits a little for `on`, if that is the way and makes sense.
    fn wait(&mut self, key: &M::Key, on: TxIndex, patience: &mut Backoff) -> Result<(), Halt> {
        if patience.rounds() == 0 {
            self.hand.count(|stats| stats.waits += 1);
            self.run.event(self.hand.id, Event::Wait { tx: self.tx, key, on });
        }
        self.brake.check()?;
        if self.run.waits == Waits::Retry || patience.rounds() >= Self::PATIENCE {
            return Err(Halt::Blocked(on));
        }
        if self.lane.may_park() {
            return self.park(on).map(drop);
        }
        {
            let other = self.run.slot(on).lock();
            if !other.pending() {
                // It settled between the read and this look: read again.
                return Ok(());
            }
            if matches!(other.status, Status::Blocked | Status::Ready) {
                return Err(Halt::Blocked(on));
            }
        }
        patience.wait();
        Ok(())
    }

    /// Whether this thread has to go on with `on`.
    fn is_here(&self, on: TxIndex) -> bool {
        // Relaxed: a lane of this thread wrote it.
        let rows = self.run.running.chunks(self.run.lanes / LANES).nth(usize::from(self.hand.id));
        rows.into_iter().flatten().flat_map(|row| row.iter()).any(|tx| tx.load(Ordering::Relaxed) == on)
    }

    /// Parks until `on` is settled (rule 7); false if it is.
    fn park(&mut self, on: TxIndex) -> Result<bool, Halt> {
        debug_assert!(on < self.tx, "transactions wait for lower ones only");
        let mut other = self.run.slot(on).lock();
        if !other.pending() {
            return Ok(false);
        }
        other.waiters.push(Waiter::Parked(self.hand.id, self.lane.index()));
        drop(other);
        self.lane.park(self.tx);
        self.brake.check()?;
        // Relaxed: as in `value`.
        if self.alarm.load(Ordering::Relaxed) {
            self.look_back()?;
        }
        Ok(true)
    }

    fn register_range(&self, range: &Range<M::Key>) {
        let mut ranges = self.run.ranges.lock();
        if ranges.len() == ranges.capacity() {
            // Relaxed: as for single readers.
            let horizon = self.run.cursor.load(Ordering::Relaxed);
            ranges.retain(|reader| reader.tx >= horizon);
            let kept = ranges.len();
            ranges.reserve(kept + 16);
        }
        ranges.push(RangeReader { tx: self.tx, scan: self.log.scans.len() as u32, range: range.clone() });
    }
}

impl<M, S, K, P, R> View<M::Key, M::Value> for StmView<'_, '_, M, S, K, P, R>
where
    M: Vm,
    S: State<M::Key, M::Value>,
    K: Sink<M>,
    P: Probe<M::Key>,
    R: Reader<M::Key, M::Value>,
{
    fn read(&mut self, key: &M::Key) -> Result<Read<M::Value>, Halt> {
        let value = self.value(key).inspect_err(|halt| self.halted = Some(halt.clone()))?;
        Ok(Read { id: ReadId(self.log.reads.len() as u32 - 1), value })
    }

    fn narrow(&mut self, read: ReadId, seen: Seen<M>) {
        if let Some(record) = self.log.reads.get_mut(read.0 as usize) {
            record.seen = seen;
        } else {
            debug_assert!(false, "{read:?} was not handed out");
        }
    }

    fn assume(&mut self, key: &M::Key, seen: Seen<M>) {
        if let Some((_, loc)) = self.last.filter(|(last, _)| last == key) {
            return self.log.assumed.push((*key, loc, seen));
        }
        let mut cell = self.run.arena.cells.open(key);
        let loc = cell.loc;
        if cell.committed().is_none() {
            drop(cell);
            // Here rather than in the commit. If it fails now, it fails there as well.
            if let Ok(value) = self.hand.reader.get(key) {
                cell = self.run.arena.cells.at(loc);
                cell.fill(value);
            }
        }
        self.log.assumed.push((*key, loc, seen));
    }

    fn is_final(&self) -> bool {
        false
    }

    fn scan(&mut self, range: Range<M::Key>) -> Result<Vec<(M::Key, M::Value)>, Halt> {
        debug_assert!(M::RANGES, "a VM that scans says so");
        // Registered first, resolved second (rule 16).
        self.register_range(&range);
        let tx = self.tx;
        let cells = &self.run.arena.cells;
        let reader = &mut self.hand.reader;
        let scanned = self.brake.check().and_then(|()| scan(cells, reader, &range, |cell| cell.resolve(tx)));
        if let Err(Halt::Blocked(on)) = &scanned {
            self.hand.count(|stats| stats.waits += 1);
            self.run.event(self.hand.id, Event::Wait { tx, key: &range.start, on: *on });
        }
        let found = scanned.inspect_err(|halt| self.halted = Some(halt.clone()))?;
        let seen = found.iter().map(|(key, value)| (*key, M::Value::exactly(Some(value)))).collect();
        self.log.scans.push(ScanRecord { range, found: seen });
        Ok(found)
    }
}
