//! What the parallel schedules share at the point of commit: the view of a final execution, the ledger
//! of what is final, and the state of one worker.

use crate::{
    arena::Arenas,
    attempt::{Attempt, Buffers, Verdict, execute, guarded},
    brake::Brake,
    cells::{self, Cells, Loc, Open, Resolved, intern_as},
    chaos::Chaos,
    crowd::{Crowd, Pace},
    mutants::{self, Mutant},
    pool::Pool,
    quiet::Quiet,
    serial::{Change, Overlay},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};
use braid_core::{
    BlockError, Cause, Halt, Key, Outcome, Read, ReadId, Reader, Sink, Stats, StoreError, TxIndex, Value,
    View, Vm, Write,
};
use crossbeam_utils::CachePadded;
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    ops::Range,
    rc::Rc,
    time::Duration,
};

/// What a block has changed, with memory that outlives it.
pub(crate) struct Changed<K, V> {
    /// Locations whose cells have been changed, by first change.
    pub(crate) cells: Vec<(K, Loc)>,
    /// What was changed after that without touching cells, by a worker alone (`graph/alone.rs`).
    pub(crate) apart: Overlay<K, V>,
    /// If all that cells hold has been taken in there, so many locations are those of cells.
    adopted: Option<u32>,
}

impl<K: Key, V: Value> Changed<K, V> {
    /// Locations that are taken in at once, rather than looked for in cells one by one.
    const ADOPTED: u32 = 128;

    fn new(ranges: bool) -> Self {
        Changed { cells: Vec::new(), apart: Overlay::new(ranges), adopted: None }
    }

    /// Before the first change apart: makes it cheap if cells are few.
    pub(crate) fn part(&mut self, cells: &Cells<K, V>) {
        let Some(few) = cells.all(Self::ADOPTED) else { return };
        let mut adopted = 0;
        for cell in few {
            // What nobody has asked the state for is as the state says. So is a location whose cell was lost to another.
            if let Some(value) = cell.committed() {
                self.apart.adopt(cell.key(), value.cloned());
                adopted += 1;
            }
        }
        self.adopted = Some(adopted);
    }

    /// What is below the changes apart, and these.
    pub(crate) fn over<'a, R>(
        &'a mut self,
        cells: &'a Cells<K, V>,
        reader: &'a mut R,
    ) -> (&'a mut Overlay<K, V>, Beneath<'a, K, V, R>) {
        let cells = self.adopted.is_none().then_some(cells);
        (&mut self.apart, Beneath { cells, reader })
    }

    /// Commits what was changed apart. Whether a quiet location is among it.
    pub(crate) fn join(&mut self, cells: &Cells<K, V>) -> bool {
        let mut disturbed = false;
        for Change { key, value, by, .. } in self.apart.drain_changes() {
            let mut cell = cells.open(&key);
            disturbed |= cell.disturb();
            if cell.commit_value(by, value) {
                self.cells.push((key, cell.loc));
            }
        }
        self.apart.clear(usize::MAX);
        self.adopted = None;
        disturbed
    }
}

/// What a ledger leaves: what was changed, and spawned transactions.
pub(crate) type End<M> = (Changed<<M as Vm>::Key, <M as Vm>::Value>, Vec<<M as Vm>::Tx>);

/// Tables and buffers of a parallel schedule, kept from block to block.
pub(crate) struct Arena<K, V: Value> {
    pub(crate) cells: Cells<K, V>,
    pub(crate) buffers: CachePadded<Mutex<Vec<Buffers<K, V>>>>,
    /// `None` while it is lent.
    changed: Option<Changed<K, V>>,
}

impl<K: Key, V: Value> Arena<K, V> {
    /// Locations changed apart for which memory is kept.
    const APART_KEPT: usize = 1 << 16;

    /// An empty arena for `threads` threads.
    pub(crate) fn new(threads: u16, ranges: bool) -> Self {
        let buffers = CachePadded::new(Mutex::new(Vec::new()));
        Arena { cells: Cells::new(threads, ranges), buffers, changed: None }
    }

    /// An arena that a finished block left, or a new one.
    pub(crate) fn take(idle: &Arenas, threads: u16, ranges: bool) -> Box<Self> {
        let mut arena = idle.take(|| Arena::new(threads, ranges));
        if arena.cells.has_ranges() != ranges {
            // Left by a VM with the same keys and other needs.
            *arena = Arena::new(threads, ranges);
        }
        arena
    }

    /// Lends the lists of what was changed to a ledger.
    pub(crate) fn lend_changed(&mut self) -> Changed<K, V> {
        self.changed.take().unwrap_or_else(|| Changed::new(self.cells.has_ranges()))
    }

    /// The final values of the changed locations, if the block has come to its end. Takes the lists back, and forgets
    /// all locations.
    pub(crate) fn finish(&mut self, changed: Option<Changed<K, V>>) -> Vec<(K, Option<V>)> {
        let mut values = Vec::new();
        if let Some(mut changed) = changed {
            values.reserve_exact(changed.cells.len() + changed.apart.changes());
            values.extend(changed.cells.iter().map(|(key, _)| (*key, None)));
            let looked_for = changed.adopted.take().unwrap_or(u32::MAX);
            for Change { at, key, value, by } in changed.apart.drain_changes() {
                let cell = (at < looked_for).then(|| self.cells.find(&key)).flatten();
                match cell.filter(|cell| cell.stamp() != 0) {
                    Some(mut cell) => _ = cell.commit_value(by, value),
                    None => values.push((key, value)),
                }
            }
            changed.apart.clear(Self::APART_KEPT);
            for ((_, value), (_, loc)) in values.iter_mut().zip(changed.cells.drain(..)) {
                *value = self.cells.take(loc);
            }
            self.changed = Some(changed);
        }
        self.cells.clear();
        values
    }
}

/// What a view needs of its thread, while the VM has the scratch.
pub(crate) struct Hand<R> {
    pub(crate) id: u16,
    pub(crate) reader: R,
    pub(crate) chaos: Chaos,
    pub(crate) shift: Rc<Shift>,
}

impl<R> Hand<R> {
    /// Counts.
    pub(crate) fn count(&self, count: impl FnOnce(&mut Stats)) {
        let mut stats = self.shift.stats.get();
        count(&mut stats);
        self.shift.stats.set(stats);
    }
}

/// A thread's part in a block: what its lanes (`lanes.rs`) have in common.
#[derive(Debug)]
pub(crate) struct Shift {
    pub(crate) stats: Cell<Stats>,
    pace: RefCell<Pace>,
    /// Fresh transactions that were drawn and not begun.
    pub(crate) drawn: RefCell<Range<TxIndex>>,
    /// Transactions settled since the thread last asked for the duty to commit.
    pub(crate) settled: Cell<u32>,
}

impl Shift {
    /// The part of the thread that works as `worker`.
    pub(crate) fn new(worker: u16, crowd: &Crowd) -> Rc<Self> {
        intern_as(worker);
        Rc::new(Shift {
            stats: Cell::new(Stats::default()),
            pace: RefCell::new(crowd.pace()),
            drawn: RefCell::new(0..0),
            settled: Cell::new(0),
        })
    }

    /// Fresh transactions to draw at a time.
    pub(crate) fn chunk(&self) -> u32 {
        self.pace.borrow().chunk
    }

    /// How long to wait for other executions (rule 8 of the crowd).
    pub(crate) fn patience(&self) -> Option<Duration> {
        self.pace.borrow().patience
    }

    /// An execution has waited so long for others.
    pub(crate) fn waited(&self, time: Duration) {
        self.pace.borrow_mut().waited += time;
    }

    /// Leaves the block.
    pub(crate) fn end(&self, total: &Mutex<Stats>) {
        let (stats, mut total) = (self.stats.take(), total.lock());
        total.executions += stats.executions;
        total.retries += stats.retries;
        total.waits += stats.waits;
        total.validations += stats.validations;
        total.fallbacks += stats.fallbacks;
        total.most_in_flight = total.most_in_flight.max(stats.most_in_flight);
    }
}

/// What one thread, or one lane of it, brings to a block.
pub(crate) struct Worker<M: Vm, R> {
    pub(crate) hand: Hand<R>,
    pub(crate) scratch: M::Worker,
    /// Transactions in whose slots executions of this worker lie, by time.
    pub(crate) lent: VecDeque<TxIndex>,
    /// Quiet locations, under `block_stm`.
    pub(crate) quiet: Quiet<M::Key, M::Value>,
    /// Executions whose memory can be used again.
    spare: Vec<Box<Attempt<M>>>,
}

impl<M: Vm, R: Reader<M::Key, M::Value>> Worker<M, R> {
    /// Spare executions one worker keeps for itself before it offers them to the others.
    const KEPT: usize = 8;

    pub(crate) fn new(id: u16, vm: &M, reader: R, chaos: Chaos, shift: Rc<Shift>) -> Self {
        let hand = Hand { id, reader, chaos, shift };
        Worker {
            hand,
            scratch: vm.worker(),
            lent: VecDeque::new(),
            quiet: Quiet::default(),
            spare: Vec::new(),
        }
    }

    /// Has executed once more.
    pub(crate) fn look(&self, crowd: &Crowd) {
        let shift = &*self.hand.shift;
        crowd.look(self.hand.id, &mut shift.pace.borrow_mut(), &shift.stats.get());
    }

    /// Has executed so many alone.
    pub(crate) fn went_alone(&mut self, crowd: &Crowd, executed: u32) {
        let shift = &*self.hand.shift;
        crowd.went_alone(executed, &mut shift.pace.borrow_mut(), &shift.stats.get());
    }

    /// A cleared execution.
    pub(crate) fn take(&mut self, shared: &Mutex<Vec<Buffers<M::Key, M::Value>>>) -> Box<Attempt<M>> {
        self.spare.pop().unwrap_or_else(|| {
            let buffers = shared.lock().pop().unwrap_or_default();
            Box::new(Attempt::new(buffers))
        })
    }

    /// Gives back an execution that nobody needs any more.
    pub(crate) fn put(
        &mut self,
        mut attempt: Box<Attempt<M>>,
        shared: &Mutex<Vec<Buffers<M::Key, M::Value>>>,
    ) {
        attempt.clear(false);
        attempt.slim();
        if self.spare.len() < Self::KEPT {
            self.spare.push(attempt);
        } else {
            shared.lock().push(attempt.into_buffers());
        }
    }

    /// Leaves the block.
    pub(crate) fn finish(self, shared: &Mutex<Vec<Buffers<M::Key, M::Value>>>) {
        shared.lock().extend(self.spare.into_iter().map(|attempt| attempt.into_buffers()));
    }

    /// Executes `tx` with every earlier transaction committed. False if the block was given up.
    pub(crate) fn execute_final(
        &mut self,
        vm: &M,
        tx: &M::Tx,
        cells: &Cells<M::Key, M::Value>,
        brake: Brake<'_>,
        attempt: &mut Attempt<M>,
    ) -> bool {
        attempt.clear(true);
        self.hand.count(|stats| stats.executions += 1);
        let mut view = FinalView::new(cells, &mut self.hand.reader, brake);
        let verdict =
            execute(vm, &mut self.scratch, tx, &mut view, |view| view.halted.take(), &mut attempt.effects);
        match verdict {
            Verdict::Done => true,
            Verdict::Failed(cause) => {
                attempt.failure = Some(cause);
                true
            }
            Verdict::Blocked(_) => unreachable!("a final view never waits"),
            Verdict::Interrupted => false,
        }
    }

    /// Folds the writes of the transaction at the cursor into what is committed. Its failure, if it has failed.
    pub(crate) fn fold<K: Sink<M>>(
        &mut self,
        ledger: &mut Ledger<'_, M, K>,
        cells: &Cells<M::Key, M::Value>,
        attempt: &mut Attempt<M>,
    ) -> Result<(), Cause<M::Error>> {
        if let Some(cause) = attempt.failure.take() {
            return Err(cause);
        }
        let tx = ledger.cursor;
        for (at, (key, write)) in attempt.effects.writes.iter().enumerate() {
            let cell = attempt.log.locs.get(at).map_or_else(|| cells.open(key), |loc| cells.at(*loc));
            let mut cell = open_for_commit(cells, cell, write, &mut self.hand.reader)?;
            if cell.commit(tx, write) {
                ledger.changed.cells.push((*key, cell.loc));
            }
        }
        Ok(())
    }

    /// Whether everything that a speculative `attempt` of `tx` saw and assumed is true of the committed prefix; the
    /// error names a location where it is not, and its writer.
    pub(crate) fn holds(
        &mut self,
        cells: &Cells<M::Key, M::Value>,
        tx: TxIndex,
        attempt: &Attempt<M>,
    ) -> Result<(), (M::Key, Option<TxIndex>)> {
        self.hand.count(|stats| stats.validations += 1);
        for read in &attempt.log.reads {
            let cell = cells.at(read.loc);
            let holds = cell.stamp() == read.stamp
                || cell.committed().is_some_and(|value| M::Value::holds(&read.seen, value));
            if !holds {
                // What earlier transactions wrote is folded, so the stamp names the last of them.
                return Err((*cell.key(), cell.writer_below(tx)));
            }
        }
        for record in &attempt.log.scans {
            let now = scan(cells, &mut self.hand.reader, &record.range, committed);
            if !now.is_ok_and(|now| record.agrees_all(&now)) && !mutants::on(Mutant::Range) {
                return Err((record.range.start, None));
            }
        }
        self.assumed_holds(cells, attempt)
    }

    /// Whether everything that `attempt` assumed is true of the committed prefix; the error names a
    /// location where it is not, and its writer. A state that cannot tell counts as no: the execution that
    /// follows meets the same failure.
    pub(crate) fn assumed_holds(
        &mut self,
        cells: &Cells<M::Key, M::Value>,
        attempt: &Attempt<M>,
    ) -> Result<(), (M::Key, Option<TxIndex>)> {
        for (key, loc, seen) in &attempt.log.assumed {
            let mut cell = cells.at(*loc);
            if cell.committed().is_none() {
                drop(cell);
                let loaded = guarded(|| cells.load(*loc, key, &mut self.hand.reader));
                cell = loaded.ok().and_then(Result::ok).ok_or((*key, None))?;
            }
            let holds = cell.committed().is_some_and(|value| M::Value::holds(seen, value));
            if !holds && !mutants::on(Mutant::Assume) {
                return Err((*key, cell.writer_below(TxIndex::MAX)));
            }
        }
        Ok(())
    }
}

/// Opens a cell for the commit of `write`, its base loaded if the write needs one. A state that fails or
/// panics does so for the transaction that is being committed.
pub(crate) fn open_for_commit<'a, K: Key, V: Value, R: Reader<K, V>, E>(
    cells: &'a Cells<K, V>,
    cell: Open<'a, K, V>,
    write: &Write<V>,
    reader: &mut R,
) -> Result<Open<'a, K, V>, Cause<E>> {
    if !cell.lacks_base(write) {
        return Ok(cell);
    }
    let (loc, key) = (cell.loc, *cell.key());
    drop(cell);
    guarded(|| cells.load(loc, &key, reader)).map_err(Cause::Panicked)?.map_err(Cause::Store)
}

/// What is final, and who is told. Guarded by the baton of its schedule.
pub(crate) struct Ledger<'a, M: Vm, K> {
    sink: &'a mut K,
    /// The first transaction that is not final.
    pub(crate) cursor: TxIndex,
    /// What was changed up to there.
    pub(crate) changed: Changed<M::Key, M::Value>,
    spawned: Vec<M::Tx>,
    error: Option<BlockError<M::Error>>,
}

impl<'a, M: Vm, K: Sink<M>> Ledger<'a, M, K> {
    pub(crate) fn new(sink: &'a mut K, changed: Changed<M::Key, M::Value>) -> Self {
        Ledger { sink, cursor: 0, changed, spawned: Vec::new(), error: None }
    }

    /// Whether the sink lets the next transaction follow.
    pub(crate) fn admit(&mut self) -> Result<(), Cause<M::Error>> {
        self.sink.admit(self.cursor).map_err(Cause::Invalid)
    }

    /// Ends the block at the cursor.
    pub(crate) fn fail(&mut self, cause: Cause<M::Error>) {
        self.error.get_or_insert(BlockError { tx: self.cursor, cause });
    }

    /// Delivers the final effects of the transaction at the cursor, whose writes are folded, and
    /// advances.
    pub(crate) fn deliver(&mut self, attempt: &mut Attempt<M>) {
        debug_assert!(self.error.is_none(), "nothing is delivered after the block has failed");
        debug_assert!(attempt.failure.is_none(), "only effects are delivered");
        self.spawned.extend(attempt.effects.spawn.iter().cloned());
        self.sink.commit(self.cursor, &mut attempt.effects);
        self.cursor += 1;
    }

    /// The end of the block: changes by location, spawned transactions.
    pub(crate) fn end(
        self,
        txs: usize,
        interrupted: Option<Cause<M::Error>>,
    ) -> Result<End<M>, BlockError<M::Error>> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if (self.cursor as usize) < txs {
            // A worker that could not go on without having been told to left the cause behind.
            let cause = interrupted.unwrap_or(Cause::Cancelled);
            return Err(BlockError { tx: self.cursor, cause });
        }
        Ok((self.changed, self.spawned))
    }
}

/// How a block ended for its schedule.
pub(crate) type Ended<M> = (Result<End<M>, BlockError<<M as Vm>::Error>>, Stats);

/// Runs a block on the tables of an idle arena: `go` says how it ended.
pub(crate) fn in_arena<M: Vm>(
    arenas: &Arenas,
    threads: u16,
    go: impl FnOnce(&Arena<M::Key, M::Value>, Changed<M::Key, M::Value>) -> Ended<M>,
) -> Result<Outcome<M>, BlockError<M::Error>> {
    let mut arena = Arena::take(arenas, threads, M::RANGES);
    let changed = arena.lend_changed();
    let (ended, stats) = go(&arena, changed);
    let (changed, result) = match ended {
        Ok((changed, spawned)) => (Some(changed), Ok(spawned)),
        Err(error) => (None, Err(error)),
    };
    let changes = arena.finish(changed);
    arenas.put(arena);
    Ok(Outcome { changes, spawned: result?, stats })
}

/// Has as many threads of `pool` work as `count` transactions can use.
pub(crate) fn spread(pool: &Pool, count: usize, work: &(dyn Fn(u16) + Sync)) {
    if count > 0 {
        let width = u16::try_from(count).unwrap_or(u16::MAX);
        pool.run_on(width, work).unwrap_or_else(|panic| panic.resume());
    }
}

/// Stops the other workers if this one unwinds: what they wait for would never come.
pub(crate) struct StopOnPanic<'a>(pub(crate) &'a AtomicBool);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Relaxed: it carries no data.
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

/// The view of a transaction whose predecessors are all committed. Records nothing.
pub(crate) struct FinalView<'a, K, V: Value, R> {
    cells: &'a Cells<K, V>,
    reader: &'a mut R,
    brake: Brake<'a>,
    reads: u32,
    halted: Option<Halt>,
    /// What was read, to check what the VM says about it.
    #[cfg(debug_assertions)]
    values: Vec<Option<V>>,
}

impl<'a, K: Key, V: Value, R: Reader<K, V>> FinalView<'a, K, V, R> {
    fn new(cells: &'a Cells<K, V>, reader: &'a mut R, brake: Brake<'a>) -> Self {
        FinalView {
            cells,
            reader,
            brake,
            reads: 0,
            halted: None,
            #[cfg(debug_assertions)]
            values: Vec::new(),
        }
    }

    fn value(&mut self, key: &K) -> Result<Option<V>, Halt> {
        self.brake.check()?;
        let mut cell = self.cells.open(key);
        if cell.committed().is_none() {
            let loc = cell.loc;
            drop(cell);
            cell = match self.cells.load(loc, key, self.reader) {
                Ok(cell) => cell,
                // A slow state is not waited for any more.
                Err(_) if self.brake.given_up() => return Err(Halt::Interrupted),
                Err(error) => return Err(error.into()),
            };
        }
        Ok(cell.committed().flatten().cloned())
    }
}

impl<K: Key, V: Value, R: Reader<K, V>> View<K, V> for FinalView<'_, K, V, R> {
    fn read(&mut self, key: &K) -> Result<Read<V>, Halt> {
        let value = self.value(key).inspect_err(|halt| self.halted = Some(halt.clone()))?;
        #[cfg(debug_assertions)]
        self.values.push(value.clone());
        let id = ReadId(self.reads);
        self.reads += 1;
        Ok(Read { id, value })
    }

    fn narrow(&mut self, read: ReadId, seen: V::Seen) {
        #[cfg(debug_assertions)]
        {
            let value = &self.values[read.0 as usize];
            assert!(V::holds(&seen, value.as_ref()), "narrowed to {seen:?}, but read {value:?}");
        }
        let _ = (read, seen);
    }

    fn assume(&mut self, key: &K, _seen: V::Seen) {
        debug_assert!(false, "a final execution checks {key:?} instead of assuming");
    }

    fn is_final(&self) -> bool {
        true
    }

    fn scan(&mut self, range: Range<K>) -> Result<Vec<(K, V)>, Halt> {
        let scanned =
            self.brake.check().and_then(|()| scan(self.cells, self.reader, &range, committed::<K, V>));
        scanned.inspect_err(|halt| self.halted = Some(halt.clone()))
    }
}

/// What is committed, as a state: for who is alone, and changes it apart.
pub(crate) struct Beneath<'a, K, V: Value, R> {
    /// `None` if they hold nothing that matters.
    cells: Option<&'a Cells<K, V>>,
    reader: &'a mut R,
}

impl<K: Key, V: Value, R: Reader<K, V>> Reader<K, V> for Beneath<'_, K, V, R> {
    fn get(&mut self, key: &K) -> Result<Option<V>, StoreError> {
        if let Some(cell) = self.cells.and_then(|cells| cells.find(key))
            && let Some(value) = cell.committed()
        {
            return Ok(value.cloned());
        }
        self.reader.get(key)
    }

    fn scan(&mut self, range: Range<K>) -> Result<Vec<(K, V)>, StoreError> {
        let Some(cells) = self.cells else { return self.reader.scan(range) };
        scan(cells, self.reader, &range, committed).map_err(|halt| match halt {
            Halt::Store(error) => error,
            halt => unreachable!("what is committed does not halt anybody: {halt:?}"),
        })
    }
}

/// What the committed prefix holds at a location.
pub(crate) fn committed<K: Key, V: Value>(cell: &cells::Cell<K, V>) -> Resolved<V> {
    match cell.committed() {
        Some(value) => Resolved::Value(value.cloned()),
        None => Resolved::Unread,
    }
}

/// All present keys of `range` with their values, as `resolve` sees each location.
pub(crate) fn scan<K: Key, V: Value, R: Reader<K, V>>(
    cells: &Cells<K, V>,
    reader: &mut R,
    range: &Range<K>,
    resolve: impl Fn(&cells::Cell<K, V>) -> Resolved<V>,
) -> Result<Vec<(K, V)>, Halt> {
    if range.start >= range.end {
        return Ok(Vec::new());
    }
    for (key, value) in reader.scan(range.clone())? {
        cells.open(&key).fill(Some(value));
    }
    let mut found = Vec::new();
    for (key, loc) in cells.in_range(range) {
        let mut cell = cells.at(loc);
        // Whatever nobody has filled in was not in what the state just listed.
        cell.fill(None);
        match resolve(&cell) {
            Resolved::Value(Some(value)) => found.push((key, value)),
            Resolved::Value(None) => {}
            Resolved::Estimate(tx) => return Err(Halt::Blocked(tx)),
            Resolved::Unread => debug_assert!(false, "a filled location resolves"),
        }
    }
    Ok(found)
}
