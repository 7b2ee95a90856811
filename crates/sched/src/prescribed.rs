//! Execution of a block whose versions are known beforehand: no conflicts, no waiting, any order.
//!
//! Protocol:
//! 1. A worker draws units (transactions, or the few that share a place between versions) in the order of
//!    the plan: those that could hold up the end first, then the others as they stand in the block.
//! 2. An execution sees the prescribed version of each location. What is not listed it cannot see.
//! 3. Who executed a unit checks it at once: each write, applied to the prescribed version before the unit,
//!    must give the one after it, and every version that is prescribed after the unit must be written.
//! 4. Finished units are delivered in order under the baton; the first that failed ends the block. All
//!    before it did what is prescribed, so what it saw is true (induction), and so is its failure.
//! 5. At the end, every listed location must have been touched. Marks are set by whoever touches it.
//!
//! What stood before the block is read once for each location, and kept.

use crate::{
    Pool,
    attempt::{Verdict, execute, guarded},
    brake::Brake,
    commit::StopOnPanic,
    sync::{
        Baton, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};
use braid_core::{
    Block, BlockError, Cause, Control, Effects, Event, Halt, Located, Outcome, Probe, Read, ReadId, Reader,
    Replay, Sink, State, Stats, StoreError, TxIndex, Versions, View, Vm, Write, Written,
};
use crossbeam_utils::CachePadded;
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use smallvec::SmallVec;
use std::{
    ops::Range,
    sync::{Arc, OnceLock},
};

/// Runs a block by prescribed versions of its locations.
#[derive(Debug)]
pub struct Prescribed {
    pool: Arc<Pool>,
}

impl Prescribed {
    /// On the threads of `pool`.
    pub fn new(pool: Arc<Pool>) -> Self {
        Prescribed { pool }
    }
}

/// A write as the ledger needs it.
enum Change<M: Vm> {
    /// To a listed location.
    At(u32),
    /// To one that nothing is prescribed of, with the value after it.
    Free(M::Key, Option<M::Value>),
}

/// An executed unit.
struct Ran<M: Vm> {
    /// Of its transactions up to the one that failed.
    effects: SmallVec<[Effects<M>; 1]>,
    changes: Vec<Change<M>>,
    /// The transaction that failed, and why. Those after it did not run.
    failure: Option<(TxIndex, Cause<M::Error>)>,
}

type Slot<M> = Mutex<Option<Box<Ran<M>>>>;

/// What one worker brings.
struct Hand<'r, M: Vm, R> {
    id: u16,
    reader: &'r mut R,
    scratch: M::Worker,
    executions: u64,
    /// What the unit at hand wrote.
    written: Vec<Written<M::Value>>,
    /// Where a location is in `written`; kept for units of several transactions only.
    index: HashMap<u32, usize, RandomState>,
}

/// What is final. Guarded by the baton.
struct Ledger<'a, M: Vm, K> {
    sink: &'a mut K,
    /// The first unit that is not delivered.
    unit: usize,
    changed: Vec<bool>,
    changes: Vec<Change<M>>,
    free: HashSet<M::Key, RandomState>,
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
    /// First transaction of each unit, and their number.
    starts: Vec<TxIndex>,
    /// Units in the order in which they are drawn.
    plan: Vec<u32>,
    next: CachePadded<AtomicUsize>,
    slots: Vec<Slot<M>>,
    bases: Vec<OnceLock<Option<M::Value>>>,
    touched: Vec<AtomicBool>,
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
        let starts = starts(versions, block.txs.len());
        let units = starts.len() - 1;
        let width = self.pool.threads().min(u16::try_from(units.max(1)).unwrap_or(u16::MAX));
        let locations = versions.locations();
        let ledger = Ledger {
            sink,
            unit: 0,
            changed: vec![false; locations],
            changes: Vec::new(),
            free: HashSet::default(),
            spawned: Vec::new(),
            error: None,
            cursor: 0,
        };
        let run = Run {
            block,
            versions,
            probe,
            control,
            plan: plan(versions, units as u32, width),
            starts,
            next: CachePadded::new(AtomicUsize::new(0)),
            slots: (0..units).map(|_| Mutex::new(None)).collect(),
            bases: (0..locations).map(|_| OnceLock::new()).collect(),
            touched: (0..locations).map(|_| AtomicBool::new(false)).collect(),
            baton: CachePadded::new(Baton::new()),
            ledger: CachePadded::new(Mutex::new(ledger)),
            stop: CachePadded::new(AtomicBool::new(false)),
            interrupted: Mutex::new(None),
            stats: Mutex::new(Stats::default()),
        };
        if units > 0 {
            self.pool.run_on(width, &|worker| run.work(worker)).unwrap_or_else(|panic| panic.resume());
        }
        run.end()
    }
}

/// First transaction of each unit, and the number of all.
fn starts<M: Vm, L: Versions<M>>(versions: &L, txs: usize) -> Vec<TxIndex> {
    let txs = u32::try_from(txs).expect("a block has at most u32::MAX - 1 transactions");
    let mut starts = Vec::with_capacity(txs as usize + 1);
    for tx in 0..txs {
        let unit = versions.unit(tx) as usize;
        debug_assert!(unit == starts.len() || unit + 1 == starts.len(), "units are numbered in order");
        if unit >= starts.len() {
            starts.push(tx);
        }
    }
    starts.push(txs);
    starts
}

/// Units that weigh so much that one begun late would hold up the end come first, heaviest first; the
/// others keep their order, so that results are delivered while the rest runs.
fn plan<M: Vm, L: Versions<M>>(versions: &L, units: u32, width: u16) -> Vec<u32> {
    if width == 1 {
        return (0..units).collect();
    }
    let weights: Vec<u64> = (0..units).map(|unit| versions.weight(unit)).collect();
    let total = weights.iter().fold(0u64, |sum, weight| sum.saturating_add(*weight));
    let heavy = (total / u64::from(width) / HEAVY_SHARE).max(1);
    let is_heavy = |unit: &u32| weights[*unit as usize] > heavy;
    let mut plan: Vec<u32> = (0..units).filter(is_heavy).collect();
    plan.sort_by_key(|unit| std::cmp::Reverse(weights[*unit as usize]));
    plan.extend((0..units).filter(|unit| !is_heavy(unit)));
    plan
}

/// A unit is heavy if it weighs more than this fraction of what each worker has to do.
const HEAVY_SHARE: u64 = 16;

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
        let mut hand = Hand {
            id,
            reader: &mut reader,
            scratch: self.block.vm.worker(),
            executions: 0,
            written: Vec::new(),
            index: HashMap::default(),
        };
        while !self.brake().stopped() {
            // Relaxed: an index is only a name; what it names was there before the block.
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(unit) = self.plan.get(at).copied() else { break };
            let ran = match self.control.interrupted::<M::Error>() {
                None => self.run_unit(&mut hand, unit),
                Some(_) => None,
            };
            let Some(ran) = ran else {
                self.interrupt(None);
                break;
            };
            *self.slots[unit as usize].lock() = Some(ran);
            self.deliver(id);
        }
        self.stats.lock().executions += hand.executions;
    }

    /// Rules 2 and 3. `None` if the block was given up.
    fn run_unit(&self, hand: &mut Hand<'_, M, S::Reader<'_>>, unit: u32) -> Option<Box<Ran<M>>> {
        let txs = self.starts[unit as usize]..self.starts[unit as usize + 1];
        let many = txs.len() > 1;
        hand.written.clear();
        hand.index.clear();
        let mut ran = Box::new(Ran { effects: SmallVec::new(), changes: Vec::new(), failure: None });
        for tx in txs.clone() {
            self.event(hand.id, Event::Start { tx, incarnation: 0 });
            let mut effects = Effects::default();
            let done = match self.execute(hand, unit, tx, &mut effects) {
                Verdict::Done => self.account(hand, unit, many, &effects, &mut ran.changes),
                Verdict::Failed(cause) => Err(cause),
                Verdict::Blocked(_) => unreachable!("a prescribed version is never waited for"),
                Verdict::Interrupted => return None,
            };
            ran.effects.push(effects);
            if let Err(cause) = done {
                ran.failure = Some((tx, cause));
                return Some(ran);
            }
            self.event(hand.id, Event::Finish { tx, incarnation: 0 });
        }
        if let Err(error) = self.versions.check(unit, &hand.written) {
            ran.failure = Some((txs.end - 1, Cause::Invalid(error)));
        }
        Some(ran)
    }

    fn execute(
        &self,
        hand: &mut Hand<'_, M, S::Reader<'_>>,
        unit: u32,
        tx: TxIndex,
        effects: &mut Effects<M>,
    ) -> Verdict<M::Error> {
        hand.executions += 1;
        let mut view = PrescribedView {
            run: self,
            unit,
            reader: &mut *hand.reader,
            written: &hand.written,
            index: &hand.index,
            brake: self.brake(),
            reads: 0,
            halted: None,
            refused: None,
        };
        let halted = |view: &mut PrescribedView<'_, 'a, M, S, L, K, P, _>| view.halted.take();
        let tx = &self.block.txs[tx as usize];
        let verdict = execute(self.block.vm, &mut hand.scratch, tx, &mut view, halted, effects);
        match view.refused.take() {
            Some(error) => Verdict::Failed(Cause::Invalid(error)),
            None => verdict,
        }
    }

    /// Applies what a transaction wrote to the prescribed versions, and marks what it touched.
    fn account(
        &self,
        hand: &mut Hand<'_, M, S::Reader<'_>>,
        unit: u32,
        many: bool,
        effects: &Effects<M>,
        changes: &mut Vec<Change<M>>,
    ) -> Result<(), Cause<M::Error>> {
        let mut touch = |location| self.touch(location);
        self.versions.touched(unit, effects, &mut touch).map_err(Cause::Invalid)?;
        changes.reserve(effects.writes.len());
        for (key, write) in &effects.writes {
            let location = match self.versions.locate(key, unit).map_err(Cause::Invalid)? {
                Located::At(location) => location,
                Located::Fixed(value) => {
                    changes.push(Change::Free(*key, write.onto(Some(value))));
                    continue;
                }
                Located::Free => {
                    let base = match write {
                        Write::Put(_) | Write::Delete => None,
                        Write::Add(_) => guarded(|| hand.reader.get(key))
                            .map_err(Cause::Panicked)?
                            .map_err(Cause::Store)?,
                    };
                    changes.push(Change::Free(*key, write.onto(base)));
                    continue;
                }
            };
            self.touch(location);
            changes.push(Change::At(location));
            if let Some(at) = hand.index.get(&location) {
                let after = &mut hand.written[*at].2;
                *after = write.onto(after.take());
                continue;
            }
            let before = guarded(|| self.before(location, unit, hand.reader));
            let before = before.map_err(Cause::Panicked)?.map_err(Cause::Store)?;
            if many {
                hand.index.insert(location, hand.written.len());
            }
            let after = write.onto(before.clone());
            hand.written.push((location, before, after));
        }
        Ok(())
    }

    /// The prescribed value of a location before `unit`.
    fn before<R: Reader<M::Key, M::Value>>(
        &self,
        location: u32,
        unit: u32,
        reader: &mut R,
    ) -> Result<Option<M::Value>, StoreError> {
        self.versions.before(location, unit, || {
            let base = &self.bases[location as usize];
            if let Some(value) = base.get() {
                return Ok(value.clone());
            }
            let value = reader.get(&self.versions.base_key(location))?;
            // Another worker may have been faster, with the same.
            let _ = base.set(value.clone());
            Ok(value)
        })
    }

    /// Rule 5. Looks before it writes: most locations that many touch have been touched before.
    fn touch(&self, location: u32) {
        let mark = &self.touched[location as usize];
        // Relaxed, both: the end of the run orders them before the last look.
        if !mark.load(Ordering::Relaxed) {
            mark.store(true, Ordering::Relaxed);
        }
    }

    /// Rule 4.
    fn deliver(&self, id: u16) {
        if !self.baton.ring() {
            return;
        }
        let mut seen = 1;
        loop {
            let mut ledger = self.ledger.lock();
            while !self.brake().stopped() {
                let Some(slot) = self.slots.get(ledger.unit) else { break };
                let Some(ran) = slot.lock().take() else { break };
                if self.control.interrupted::<M::Error>().is_some() {
                    self.interrupt(None);
                } else if let Err(cause) = self.deliver_unit(id, &mut ledger, *ran) {
                    let tx = ledger.cursor;
                    ledger.error.get_or_insert(BlockError { tx, cause });
                    self.interrupt(None);
                }
            }
            drop(ledger);
            match self.baton.leave(seen) {
                Ok(()) => return,
                Err(now) => seen = now,
            }
        }
    }

    fn deliver_unit(
        &self,
        id: u16,
        ledger: &mut Ledger<'a, M, K>,
        mut ran: Ran<M>,
    ) -> Result<(), Cause<M::Error>> {
        for effects in &mut ran.effects {
            ledger.sink.admit(ledger.cursor).map_err(Cause::Invalid)?;
            if let Some((_, cause)) = ran.failure.take_if(|(tx, _)| *tx == ledger.cursor) {
                return Err(cause);
            }
            self.event(id, Event::Commit { tx: ledger.cursor });
            ledger.spawned.append(&mut effects.spawn);
            ledger.sink.commit(ledger.cursor, effects);
            ledger.cursor += 1;
        }
        for change in ran.changes {
            let is_new = match &change {
                Change::At(location) => !std::mem::replace(&mut ledger.changed[*location as usize], true),
                Change::Free(key, _) => ledger.free.insert(*key),
            };
            if is_new {
                ledger.changes.push(change);
            }
        }
        ledger.unit += 1;
        Ok(())
    }

    /// The end of the block.
    fn end(mut self) -> Result<Outcome<M>, BlockError<M::Error>> {
        let count = self.block.txs.len() as TxIndex;
        let ledger = Mutex::get_mut(&mut self.ledger);
        if let Some(error) = ledger.error.take() {
            return Err(error);
        }
        let tx = ledger.cursor;
        if tx < count {
            // A worker that could not go on without having been told to left the cause behind.
            let cause = self.interrupted.get_mut().take().unwrap_or(Cause::Cancelled);
            return Err(BlockError { tx, cause });
        }
        let (changes, spawned) = (std::mem::take(&mut ledger.changes), std::mem::take(&mut ledger.spawned));
        let fail = |cause| BlockError { tx: count, cause };
        // Relaxed: the workers have returned.
        let touched = |location: u32| self.touched[location as usize].load(Ordering::Relaxed);
        self.versions.complete(&touched).map_err(|error| fail(Cause::Invalid(error)))?;
        let mut reader = self.block.state.reader().map_err(|error| fail(Cause::Store(error)))?;
        let units = self.slots.len() as u32;
        let mut settle = |change| match change {
            Change::Free(key, value) => Ok((key, value)),
            Change::At(location) => {
                let value = self.before(location, units, &mut reader)?;
                Ok((self.versions.final_key(location), value))
            }
        };
        let changes =
            guarded(|| changes.into_iter().map(&mut settle).collect::<Result<Vec<_>, StoreError>>())
                .map_err(|message| fail(Cause::Panicked(message)))?
                .map_err(|error| fail(Cause::Store(error)))?;
        let stats = *self.stats.lock();
        Ok(Outcome { changes, spawned, stats })
    }
}

/// The prescribed state before a unit, with what earlier transactions of the unit wrote.
struct PrescribedView<'v, 'a, M: Vm, S, L, K, P, R> {
    run: &'v Run<'a, M, S, L, K, P>,
    unit: u32,
    reader: &'v mut R,
    written: &'v [Written<M::Value>],
    index: &'v HashMap<u32, usize, RandomState>,
    brake: Brake<'v>,
    reads: u32,
    halted: Option<Halt>,
    /// Why a location could not be seen.
    refused: Option<M::Error>,
}

impl<'a, M, S, L, K, P, R> PrescribedView<'_, 'a, M, S, L, K, P, R>
where
    M: Vm,
    S: State<M::Key, M::Value>,
    L: Versions<M>,
    K: Sink<M>,
    P: Probe<M::Key>,
    R: Reader<M::Key, M::Value>,
{
    fn value(&mut self, key: &M::Key) -> Result<Option<M::Value>, Halt> {
        self.brake.check()?;
        let located = self.run.versions.locate(key, self.unit).map_err(|error| {
            self.refused.get_or_insert(error);
            Halt::Undeclared
        })?;
        let location = match located {
            Located::Fixed(value) => return Ok(Some(value)),
            Located::Free => return Ok(self.reader.get(key)?),
            Located::At(location) => location,
        };
        self.run.touch(location);
        if let Some(at) = self.index.get(&location) {
            return Ok(self.written[*at].2.clone());
        }
        Ok(self.run.before(location, self.unit, self.reader)?)
    }
}

impl<M, S, L, K, P, R> View<M::Key, M::Value> for PrescribedView<'_, '_, M, S, L, K, P, R>
where
    M: Vm,
    S: State<M::Key, M::Value>,
    L: Versions<M>,
    K: Sink<M>,
    P: Probe<M::Key>,
    R: Reader<M::Key, M::Value>,
{
    fn read(&mut self, key: &M::Key) -> Result<Read<M::Value>, Halt> {
        let value = self.value(key).inspect_err(|halt| self.halted = Some(halt.clone()))?;
        let id = ReadId(self.reads);
        self.reads += 1;
        Ok(Read { id, value })
    }

    fn narrow(&mut self, _read: ReadId, _seen: <M::Value as braid_core::Value>::Seen) {}

    fn assume(&mut self, key: &M::Key, _seen: <M::Value as braid_core::Value>::Seen) {
        debug_assert!(false, "a final execution checks {key:?} instead of assuming");
    }

    /// What is seen is what is, or the list is wrong at an earlier transaction.
    fn is_final(&self) -> bool {
        true
    }

    fn scan(&mut self, _range: Range<M::Key>) -> Result<Vec<(M::Key, M::Value)>, Halt> {
        let halt = Halt::Store(StoreError::NoRanges);
        self.halted = Some(halt.clone());
        Err(halt)
    }
}
