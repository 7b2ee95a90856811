//! Execution of a block whose versions are known beforehand: no conflicts, no waiting, any order.
//!
//! Protocol:
//! 1. A worker draws batches of units (transactions, or the few that share a place between versions) in the
//!    order of the plan: units that could hold up the end first, each alone, then the others as they stand in
//!    the block, a few at a time.
//! 2. An execution sees the prescribed version of each location. What is not listed it cannot see.
//! 3. Who executed a unit checks it at once: each write, applied to the prescribed version before the unit,
//!    must give the one after it, and every version that is prescribed after the unit must be written.
//! 4. Finished batches are delivered in order under the baton; the first unit that failed ends the block. All
//!    before it did what is prescribed, so what it saw is true (induction), and so is its failure.
//! 5. Each worker marks what it touches and writes. At the end, every listed location must have been touched,
//!    and what was written has its last prescribed version: the changes of the block are not merged, but
//!    looked up, by all workers.

use crate::{
    Pool,
    arena::Arenas,
    attempt::{Verdict, execute, guarded},
    brake::Brake,
    commit::StopOnPanic,
    sync::{
        Baton, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};
use braid_core::{
    Block, BlockError, Cause, Control, Effects, Event, Located, Outcome, Probe, Reader, Replay, Sink, State,
    Stats, StoreError, TxIndex, Versions, Vm, Write, Written,
};
use crossbeam_utils::CachePadded;
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use std::{ops::Range, sync::Arc};

mod end;
mod log;
mod plan;
mod view;

use log::{READ, Scratch, WRITTEN};
use plan::Plan;
use view::PrescribedView;

/// Runs a block by prescribed versions of its locations.
#[derive(Debug)]
pub struct Prescribed {
    pool: Arc<Pool>,
    arenas: Arenas,
}

impl Prescribed {
    /// On the threads of `pool`.
    pub fn new(pool: Arc<Pool>) -> Self {
        Prescribed { pool, arenas: Arenas::default() }
    }

    /// Threads of the pool.
    pub fn threads(&self) -> u16 {
        self.pool.threads()
    }

    /// Calls `work` once with each number below `count`, on the threads of the pool: for what is to be done
    /// before the block can run.
    pub fn split(&self, count: usize, work: &(dyn Fn(usize) + Sync)) {
        self.pool.split(count, work);
    }
}

/// Executed units, up to the one that failed, with memory for the next ones.
struct Batch<M: Vm> {
    /// Those beyond `len` are leftovers.
    effects: Vec<Effects<M>>,
    len: usize,
    /// Writes to locations of which nothing is prescribed, with the value after them.
    free: Vec<(M::Key, Option<M::Value>)>,
    /// The transaction that failed, and why. Those after it did not run.
    failure: Option<(TxIndex, Cause<M::Error>)>,
}

impl<M: Vm> Batch<M> {
    fn new() -> Self {
        Batch { effects: Vec::new(), len: 0, free: Vec::new(), failure: None }
    }

    /// Cleared effects, which count from here on.
    fn next(&mut self) -> &mut Effects<M> {
        if self.len == self.effects.len() {
            self.effects.push(Effects::default());
        }
        self.len += 1;
        &mut self.effects[self.len - 1]
    }

    fn clear(&mut self) {
        self.effects[..self.len].iter_mut().for_each(Effects::clear);
        self.len = 0;
        self.free.clear();
        self.failure = None;
    }
}

type Slot<M> = Mutex<Option<Box<Batch<M>>>>;

/// What one worker brings.
struct Hand<'r, M: Vm, R> {
    id: u16,
    reader: &'r mut R,
    worker: M::Worker,
    executions: u64,
    scratch: &'r mut Scratch<M::Key, M::Value>,
    /// Delivered batches, to be used again.
    spare: Vec<Box<Batch<M>>>,
}

/// Where a write goes.
struct At<'h, M: Vm, R> {
    location: u32,
    /// What was read there.
    read: Option<&'h Option<M::Value>>,
    /// Of the unit: see [`Scratch`].
    written: &'h mut Vec<Written<M::Value>>,
    index: &'h mut HashMap<u32, usize, RandomState>,
    reader: &'h mut R,
}

/// Batches that a worker keeps for itself before it offers them to the others.
const SPARE: usize = 4;

/// What is final. Guarded by the baton.
struct Ledger<'a, M: Vm, K> {
    sink: &'a mut K,
    /// The first batch that is not delivered.
    batch: usize,
    /// Changes of locations of which nothing is prescribed.
    free: Vec<(M::Key, Option<M::Value>)>,
    known: HashSet<M::Key, RandomState>,
    spawned: Vec<M::Tx>,
    error: Option<BlockError<M::Error>>,
    /// The first transaction that is not delivered.
    cursor: TxIndex,
}

struct Run<'a, M: Vm, S, L, K, P> {
    block: &'a Block<'a, M, S>,
    versions: &'a L,
    probe: &'a P,
    control: &'a Control<'a>,
    locations: usize,
    plan: Plan,
    next: CachePadded<AtomicUsize>,
    /// Of each batch, in block order.
    slots: Vec<Slot<M>>,
    /// Of each worker.
    scratch: &'a [Mutex<Scratch<M::Key, M::Value>>],
    spare: Mutex<Vec<Box<Batch<M>>>>,
    baton: CachePadded<Baton>,
    ledger: CachePadded<Mutex<Ledger<'a, M, K>>>,
    stop: CachePadded<AtomicBool>,
    interrupted: Mutex<Option<Cause<M::Error>>>,
    stats: Mutex<Stats>,
}

impl Replay for Prescribed {
    fn replay<M, S, L, K, P>(
        &self,
        block: &Block<'_, M, S>,
        versions: &L,
        sink: &mut K,
        probe: &P,
        control: &Control<'_>,
    ) -> Result<Outcome<M>, BlockError<M::Error>>
    where
        M: Vm,
        S: State<M::Key, M::Value>,
        L: Versions<M>,
        K: Sink<M>,
        P: Probe<M::Key>,
    {
        let plan = Plan::of(block, versions, self.pool.threads());
        let width = plan.width;
        let mut arena = self.arenas.take(Vec::<Mutex<Scratch<M::Key, M::Value>>>::new);
        if arena.len() < usize::from(width) {
            arena.resize_with(width.into(), || Mutex::new(Scratch::default()));
        }
        arena[..width.into()].iter_mut().for_each(|scratch| scratch.get_mut().clear());
        let ledger = Ledger {
            sink,
            batch: 0,
            free: Vec::new(),
            known: HashSet::default(),
            spawned: Vec::new(),
            error: None,
            cursor: 0,
        };
        let run = Run {
            block,
            versions,
            probe,
            control,
            locations: versions.locations(),
            slots: (0..plan.batches.len()).map(|_| Mutex::new(None)).collect(),
            plan,
            next: CachePadded::new(AtomicUsize::new(0)),
            scratch: &arena[..width.into()],
            spare: Mutex::new(Vec::new()),
            baton: CachePadded::new(Baton::new()),
            ledger: CachePadded::new(Mutex::new(ledger)),
            stop: CachePadded::new(AtomicBool::new(false)),
            interrupted: Mutex::new(None),
            stats: Mutex::new(Stats::default()),
        };
        if !block.txs.is_empty() {
            self.pool.run_on(width, &|worker| run.work(worker)).unwrap_or_else(|panic| panic.resume());
        }
        let done = run.end(self);
        arena.iter_mut().for_each(|scratch| scratch.get_mut().shrink());
        self.arenas.put(arena);
        done
    }
}

impl<'a, M, S, L, K, P> Run<'a, M, S, L, K, P>
where
    M: Vm,
    S: State<M::Key, M::Value>,
    L: Versions<M>,
    K: Sink<M>,
    P: Probe<M::Key>,
{
    fn brake(&self) -> Brake<'_> {
        Brake::new(self.control, &self.stop)
    }

    /// Stops the block, for `cause` or what the control says.
    fn interrupt(&self, cause: Option<Cause<M::Error>>) {
        if let Some(cause) = cause.or_else(|| self.control.interrupted()) {
            self.interrupted.lock().get_or_insert(cause);
        }
        // Relaxed: it carries no data.
        self.stop.store(true, Ordering::Relaxed);
    }

    fn event(&self, worker: u16, event: Event<'_, M::Key>) {
        if P::ON {
            self.probe.event(worker, event);
        }
    }

    /// Rule 1.
    fn work(&self, id: u16) {
        let _guard = StopOnPanic(&self.stop);
        let mut reader = match self.block.state.reader() {
            Ok(reader) => reader,
            // The others can do without this worker, but somebody has to say why nobody runs.
            Err(error) if id == 0 => return self.interrupt(Some(Cause::Store(error))),
            Err(_) => return,
        };
        let mut scratch = self.scratch[usize::from(id)].lock();
        scratch.marks.resize(self.locations, 0);
        let mut hand = Hand {
            id,
            reader: &mut reader,
            worker: self.block.vm.worker(),
            executions: 0,
            scratch: &mut scratch,
            spare: Vec::new(),
        };
        while !self.brake().stopped() {
            // Relaxed: an index is only a name; what it names was there before the block.
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(number) = self.plan.order.get(at).copied() else { break };
            let mut batch = self.batch(&mut hand);
            if !self.run_batch(&mut hand, self.plan.batches[number as usize].clone(), &mut batch) {
                self.interrupt(None);
                break;
            }
            *self.slots[number as usize].lock() = Some(batch);
            self.deliver(&mut hand);
        }
        self.stats.lock().executions += hand.executions;
    }

    /// An empty batch.
    fn batch<R>(&self, hand: &mut Hand<'_, M, R>) -> Box<Batch<M>> {
        let spare = hand.spare.pop().or_else(|| self.spare.lock().pop());
        spare.unwrap_or_else(|| Box::new(Batch::new()))
    }

    /// Executes `units` up to one that fails. False if the block was given up.
    fn run_batch(
        &self,
        hand: &mut Hand<'_, M, S::Reader<'_>>,
        units: Range<u32>,
        batch: &mut Batch<M>,
    ) -> bool {
        for unit in units {
            if self.control.interrupted::<M::Error>().is_some() || !self.run_unit(hand, unit, batch) {
                return false;
            }
            if batch.failure.is_some() {
                break;
            }
        }
        true
    }

    /// Rules 2 and 3. False if the block was given up.
    fn run_unit(&self, hand: &mut Hand<'_, M, S::Reader<'_>>, unit: u32, batch: &mut Batch<M>) -> bool {
        let txs = self.plan.starts[unit as usize]..self.plan.starts[unit as usize + 1];
        let many = txs.len() > 1;
        hand.scratch.written.clear();
        hand.scratch.index.clear();
        for tx in txs.clone() {
            self.event(hand.id, Event::Start { tx, incarnation: 0 });
            hand.scratch.log.clear();
            let effects = batch.next();
            let verdict = self.execute(hand, unit, tx, effects);
            let done = match verdict {
                Verdict::Done if many => self.account(hand, unit, batch),
                Verdict::Done => self.check_one(hand, unit, batch),
                Verdict::Failed(cause) => Err(cause),
                Verdict::Blocked(_) => unreachable!("a prescribed version is never waited for"),
                Verdict::Interrupted => return false,
            };
            if let Err(cause) = done {
                batch.failure = Some((tx, cause));
                return true;
            }
            self.event(hand.id, Event::Finish { tx, incarnation: 0 });
        }
        if many && let Err(error) = self.versions.check(unit, &hand.scratch.written) {
            batch.failure = Some((txs.end - 1, Cause::Invalid(error)));
        }
        true
    }

    fn execute(
        &self,
        hand: &mut Hand<'_, M, S::Reader<'_>>,
        unit: u32,
        tx: TxIndex,
        effects: &mut Effects<M>,
    ) -> Verdict<M::Error> {
        hand.executions += 1;
        let Scratch { log, written, index, marks } = &mut *hand.scratch;
        let mut view = PrescribedView {
            run: self,
            unit,
            reader: &mut *hand.reader,
            log,
            marks,
            written,
            index,
            brake: self.brake(),
            reads: 0,
            halted: None,
            refused: None,
        };
        let halted = |view: &mut PrescribedView<'_, 'a, M, S, L, K, P, _>| view.halted.take();
        let tx = &self.block.txs[tx as usize];
        let verdict = execute(self.block.vm, &mut hand.worker, tx, &mut view, halted, effects);
        match view.refused.take() {
            Some(error) => Verdict::Failed(Cause::Invalid(error)),
            None => verdict,
        }
    }

    /// Finds where the last transaction of `batch` wrote, marks it, and hands each write to `each`, with the
    /// value before it if the transaction has read that.
    fn writes(
        &self,
        hand: &mut Hand<'_, M, S::Reader<'_>>,
        unit: u32,
        batch: &mut Batch<M>,
        mut each: impl FnMut(At<'_, M, S::Reader<'_>>, &Write<M::Value>) -> Result<(), Cause<M::Error>>,
    ) -> Result<(), Cause<M::Error>> {
        let effects = &batch.effects[batch.len - 1];
        let Scratch { log, written, index, marks } = &mut *hand.scratch;
        let mut touch = |location: u32| marks[location as usize] |= READ;
        self.versions.touched(unit, effects, &mut touch).map_err(Cause::Invalid)?;
        log.rewind();
        for (key, write) in &effects.writes {
            let (location, read) = match log.find(key) {
                Some((location, value)) => (location, Some(value)),
                None => match self.versions.locate(key, unit).map_err(Cause::Invalid)? {
                    Located::At(location) => (location, None),
                    Located::Fixed(value) => {
                        batch.free.push((*key, write.onto(Some(value))));
                        continue;
                    }
                    Located::Free => {
                        let base = match write {
                            Write::Put(_) | Write::Delete => None,
                            Write::Add(_) => guarded(|| hand.reader.get(key))
                                .map_err(Cause::Panicked)?
                                .map_err(Cause::Store)?,
                        };
                        batch.free.push((*key, write.onto(base)));
                        continue;
                    }
                },
            };
            marks[location as usize] |= READ | WRITTEN;
            each(At { location, read, written, index, reader: hand.reader }, write)?;
        }
        Ok(())
    }

    /// Rule 3 for a transaction that is a unit. What it wrote is left behind if that is to be checked as a
    /// whole.
    fn check_one(
        &self,
        hand: &mut Hand<'_, M, S::Reader<'_>>,
        unit: u32,
        batch: &mut Batch<M>,
    ) -> Result<(), Cause<M::Error>> {
        let (mut found, mut whole, mut differs) = (0, true, None);
        self.writes(hand, unit, batch, |at, write| {
            let mut fetched = None;
            let before = match at.read {
                Some(value) => value,
                None => fetched.insert(self.guarded_before(at.location, unit, at.reader)?),
            };
            match self.versions.check_write(unit, at.location, before.as_ref(), write) {
                Some(Ok(changes)) => (found, whole) = (found + changes, false),
                // What is not listed at all comes first.
                Some(Err(error)) => drop(differs.get_or_insert(error)),
                None => {
                    let after = write.onto(before.clone());
                    at.written.push((at.location, before.clone(), after));
                }
            }
            Ok(())
        })?;
        if let Some(error) = differs {
            return Err(Cause::Invalid(error));
        }
        let checked = if whole {
            self.versions.check(unit, &hand.scratch.written)
        } else {
            let effects = &batch.effects[batch.len - 1];
            let locate = |key| match self.versions.locate(key, unit) {
                Ok(Located::At(location)) => Some(location),
                _ => None,
            };
            let mut written = effects.writes.iter().filter_map(|(key, _)| locate(key));
            self.versions.check_count(unit, found, &mut written)
        };
        checked.map_err(Cause::Invalid)
    }

    /// Applies what the last transaction of `batch`, one of several of its unit, wrote to the prescribed
    /// versions.
    fn account(
        &self,
        hand: &mut Hand<'_, M, S::Reader<'_>>,
        unit: u32,
        batch: &mut Batch<M>,
    ) -> Result<(), Cause<M::Error>> {
        self.writes(hand, unit, batch, |at, write| {
            if let Some(before) = at.index.get(&at.location) {
                let after = &mut at.written[*before].2;
                *after = write.onto(after.take());
                return Ok(());
            }
            let before = match at.read {
                Some(value) => value.clone(),
                None => self.guarded_before(at.location, unit, at.reader)?,
            };
            at.index.insert(at.location, at.written.len());
            let after = write.onto(before.clone());
            at.written.push((at.location, before, after));
            Ok(())
        })
    }

    fn guarded_before<R: Reader<M::Key, M::Value>>(
        &self,
        location: u32,
        unit: u32,
        reader: &mut R,
    ) -> Result<Option<M::Value>, Cause<M::Error>> {
        let before = guarded(|| self.before(location, unit, reader));
        before.map_err(Cause::Panicked)?.map_err(Cause::Store)
    }

    /// The prescribed value of a location before `unit`.
    #[inline]
    fn before<R: Reader<M::Key, M::Value>>(
        &self,
        location: u32,
        unit: u32,
        reader: &mut R,
    ) -> Result<Option<M::Value>, StoreError> {
        self.versions.before(location, unit, || reader.get(&self.versions.base_key(location)))
    }

    /// Rule 4.
    fn deliver<R>(&self, hand: &mut Hand<'_, M, R>) {
        if !self.baton.ring() {
            return;
        }
        let mut seen = 1;
        loop {
            let mut ledger = self.ledger.lock();
            while !self.brake().stopped() {
                let Some(slot) = self.slots.get(ledger.batch) else { break };
                let Some(mut batch) = slot.lock().take() else { break };
                if self.control.interrupted::<M::Error>().is_some() {
                    self.interrupt(None);
                } else if let Err(cause) = self.deliver_batch(hand.id, &mut ledger, &mut batch) {
                    let tx = ledger.cursor;
                    ledger.error.get_or_insert(BlockError { tx, cause });
                    self.interrupt(None);
                }
                batch.clear();
                if hand.spare.len() < SPARE {
                    hand.spare.push(batch);
                } else {
                    self.spare.lock().push(batch);
                }
            }
            drop(ledger);
            match self.baton.leave(seen) {
                Ok(()) => return,
                Err(now) => seen = now,
            }
        }
    }

    fn deliver_batch(
        &self,
        id: u16,
        ledger: &mut Ledger<'a, M, K>,
        batch: &mut Batch<M>,
    ) -> Result<(), Cause<M::Error>> {
        for effects in &mut batch.effects[..batch.len] {
            ledger.sink.admit(ledger.cursor).map_err(Cause::Invalid)?;
            if let Some((_, cause)) = batch.failure.take_if(|(tx, _)| *tx == ledger.cursor) {
                return Err(cause);
            }
            self.event(id, Event::Commit { tx: ledger.cursor });
            ledger.spawned.append(&mut effects.spawn);
            ledger.sink.commit(ledger.cursor, effects);
            ledger.cursor += 1;
        }
        for (key, value) in batch.free.drain(..) {
            if ledger.known.insert(key) {
                ledger.free.push((key, value));
            }
        }
        ledger.batch += 1;
        Ok(())
    }
}
