//! In-order optimistic concurrency: speculate on the committed prefix, merge in order, re-execute what
//! saw something else (the schedule of Monad, github.com/category-labs/monad).
//!
//! 1. A worker takes the next index and executes it on the committed values as they stand at each read.
//!    They may come from different prefixes: rule 4 finds out.
//! 2. It leaves the execution in the transaction's slot, then rings the baton.
//! 3. The holder of the baton merges: as long as the slot at the cursor is filled, in order.
//! 4. To merge is to ask the sink, to check every read and assumption by value against the committed
//!    prefix, to fold the writes, and to deliver. While the baton is held nobody else changes committed
//!    values, so a location whose stamp is the one that was read has the value that was read.
//! 5. If a check fails, the transaction runs again right there. Every earlier one is committed and
//!    nothing can be committed meanwhile, so this execution is final: at most two per transaction.
//! 6. A failure (invalid, store, panic) is believed of a final execution only.
//! 7. Nobody waits for a transaction: a worker without work leaves, and the last ring merges what is left
//!    (see [`Baton`](crate::sync::Baton)). How many work, and how far ahead, is for the crowd to say
//!    (`crowd.rs`).

use crate::{
    arena::Arenas,
    attempt::{Attempt, ReadRecord, ScanRecord, Verdict, execute},
    brake::Brake,
    cells::Cells,
    chaos::Chaos,
    commit::{Arena, Ledger, Shift, StopOnPanic, Worker, changes_of, committed, scan},
    crowd::Crowd,
    lanes::LANES,
    mutants::{self, Mutant},
    pool::Pool,
    sync::{
        Backoff, Baton, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};
use braid_core::{
    Block, BlockError, Cause, Control, Event, Halt, Key, Outcome, Probe, Read, ReadId, Reader, Scheduler,
    Sink, State, Stats, TxIndex, Value, View, Vm,
};
use crossbeam_utils::CachePadded;
use std::{ops::Range, sync::Arc};

/// In-order optimistic schedule with at most one re-execution per transaction.
#[derive(Debug)]
pub struct Occ {
    pool: Arc<Pool>,
    arenas: Arenas,
    chaos: Option<u64>,
}

impl Occ {
    /// On the threads of `pool`.
    pub fn new(pool: Arc<Pool>) -> Self {
        Occ { pool, arenas: Arenas::default(), chaos: None }
    }

    /// Perturbs the schedule by `seed`. For tests: does nothing without debug assertions.
    #[must_use]
    pub fn chaos(mut self, seed: u64) -> Self {
        self.chaos = Some(seed);
        self
    }
}

type Slot<M> = CachePadded<Mutex<Option<Box<Attempt<M>>>>>;

struct Run<'a, M: Vm, S, K, P> {
    block: &'a Block<'a, M, S>,
    probe: &'a P,
    control: &'a Control<'a>,
    arena: &'a Arena<M::Key, M::Value>,
    slots: Vec<Slot<M>>,
    next: CachePadded<AtomicU32>,
    /// The ledger's cursor, for those who do not hold the baton.
    cursor: CachePadded<AtomicU32>,
    baton: CachePadded<Baton>,
    ledger: CachePadded<Mutex<Ledger<'a, M, K>>>,
    /// Looked at by every read, so alone on its line, as whatever is written often is on its own.
    stop: CachePadded<AtomicBool>,
    interrupted: Mutex<Option<Cause<M::Error>>>,
    stats: Mutex<Stats>,
    crowd: Crowd,
    chaos: Option<u64>,
}

impl Scheduler for Occ {
    fn name(&self) -> &'static str {
        "occ"
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
        let count = u32::try_from(block.txs.len()).expect("a block has at most u32::MAX - 1 transactions");
        let mut arena = Arena::take(&self.arenas, self.pool.threads(), M::RANGES);
        let changed = arena.lend_changed();
        let run = Run {
            block,
            probe,
            control,
            arena: &arena,
            slots: block.txs.iter().map(|_| CachePadded::new(Mutex::new(None))).collect(),
            next: CachePadded::new(AtomicU32::new(0)),
            cursor: CachePadded::new(AtomicU32::new(0)),
            baton: CachePadded::new(Baton::new()),
            ledger: CachePadded::new(Mutex::new(Ledger::new(sink, changed))),
            stop: CachePadded::new(AtomicBool::new(false)),
            interrupted: Mutex::new(None),
            stats: Mutex::new(Stats::default()),
            crowd: Crowd::new(self.pool.threads(), LANES, self.chaos),
            chaos: self.chaos,
        };
        if count > 0 {
            let width = u16::try_from(count).unwrap_or(u16::MAX);
            self.pool.run_on(width, &|worker| run.work(worker)).unwrap_or_else(|panic| panic.resume());
        }
        let Run { ledger, interrupted, stats, .. } = run;
        let ended = ledger.into_inner().into_inner().end(block.txs.len(), interrupted.into_inner());
        let (changed, result) = match ended {
            Ok((changed, spawned)) => (changed, Ok(spawned)),
            Err(error) => (Vec::new(), Err(error)),
        };
        let changes = changes_of::<M>(&mut arena, changed);
        self.arenas.put(arena);
        Ok(Outcome { changes, spawned: result?, stats: stats.into_inner() })
    }
}

impl<'a, M, S, K, P> Run<'a, M, S, K, P>
where
    M: Vm,
    S: State<M::Key, M::Value>,
    K: Sink<M>,
    P: Probe<M::Key>,
{
    fn work(&self, id: u16) {
        let _guard = StopOnPanic(&self.stop);
        let reader = match self.block.state.reader() {
            Ok(reader) => reader,
            // The others can do without this worker, but somebody has to say why nobody runs.
            Err(error) if id == 0 => return self.interrupt(Some(Cause::Store(error))),
            Err(_) => return,
        };
        let mut me =
            Worker::new(id, self.block.vm, reader, Chaos::new(self.chaos, id), Shift::new(id, &self.crowd));
        let (mut ahead, mut seen) = (Backoff::default(), TxIndex::MAX);
        while !self.brake().stopped() {
            self.crowd.rest(id, || self.brake().stopped());
            // Relaxed: an index is only a name; what it names was there before the block.
            let next = self.next.load(Ordering::Relaxed);
            // Acquire: what is committed has been released.
            if !self.crowd.may_draw(next, || self.cursor.load(Ordering::Acquire)) {
                self.control
                    .interrupted::<M::Error>()
                    .into_iter()
                    .for_each(|cause| self.interrupt(Some(cause)));
                // Relaxed: a hint.
                let cursor = self.cursor.load(Ordering::Relaxed);
                self.crowd.held_back(id, &mut ahead, &mut seen, cursor, || self.brake().stopped());
                continue;
            }
            ahead.reset();
            // Relaxed: as above.
            let tx = self.next.fetch_add(1, Ordering::Relaxed);
            if tx as usize >= self.slots.len() {
                break;
            }
            me.hand.chaos.point();
            if !self.speculate(&mut me, tx) {
                break;
            }
            me.hand.chaos.point();
            self.merge(&mut me);
            me.look(&self.crowd);
        }
        self.crowd.dismiss();
        me.hand.shift.end(&self.stats);
        me.finish(&self.arena.buffers);
    }

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

    /// Rules 1 and 2. False if the block was given up.
    fn speculate(&self, me: &mut Worker<M, S::Reader<'_>>, tx: TxIndex) -> bool {
        let mut attempt = me.take(&self.arena.buffers);
        self.event(me.hand.id, Event::Start { tx, incarnation: 0 });
        // Acquire: whatever was folded before the cursor moved here is seen (the cells' locks see to
        // that as well).
        let is_final = self.cursor.load(Ordering::Acquire) == tx;
        if is_final {
            if !me.execute_final(
                self.block.vm,
                &self.block.txs[tx as usize],
                &self.arena.cells,
                self.brake(),
                &mut attempt,
            ) {
                self.interrupt(None);
                return false;
            }
        } else {
            attempt.clear(false);
            me.hand.count(|stats| stats.executions += 1);
            let Attempt { log, effects, failure, .. } = &mut *attempt;
            let mut view = OccView {
                cells: &self.arena.cells,
                reader: &mut me.hand.reader,
                brake: self.brake(),
                chaos: &mut me.hand.chaos,
                reads: &mut log.reads,
                scans: &mut log.scans,
                assumed: &mut log.assumed,
                halted: None,
            };
            let tx = &self.block.txs[tx as usize];
            let halted = |view: &mut OccView<'_, _, _, _>| view.halted.take();
            match execute(self.block.vm, &mut me.scratch, tx, &mut view, halted, effects) {
                Verdict::Done => {
                    // Interning here keeps hashing out of the merge.
                    log.locs.extend(effects.writes.iter().map(|(key, _)| self.arena.cells.open(key).loc));
                }
                Verdict::Failed(cause) => *failure = Some(cause),
                Verdict::Blocked(_) => unreachable!("a committed prefix has no writes to wait for"),
                Verdict::Interrupted => {
                    self.interrupt(None);
                    return false;
                }
            }
        }
        self.event(me.hand.id, Event::Finish { tx, incarnation: 0 });
        self.crowd.hold(attempt.log.reads.len());
        *self.slots[tx as usize].lock() = Some(attempt);
        true
    }

    /// Rules 3 and 7.
    fn merge(&self, me: &mut Worker<M, S::Reader<'_>>) {
        if !self.baton.ring() {
            return;
        }
        let mut seen = 1;
        loop {
            let mut ledger = self.ledger.lock();
            while !self.brake().stopped() {
                let Some(slot) = self.slots.get(ledger.cursor as usize) else { break };
                let Some(attempt) = slot.lock().take() else { break };
                self.crowd.release(attempt.log.reads.len());
                match self.settle(me, &mut ledger, attempt) {
                    Ok(true) => {
                        // Release: pairs with the Acquire in `speculate`.
                        self.cursor.store(ledger.cursor, Ordering::Release);
                    }
                    Ok(false) => self.interrupt(None),
                    Err(cause) => {
                        ledger.fail(cause);
                        self.interrupt(None);
                    }
                }
            }
            drop(ledger);
            me.hand.chaos.point();
            match self.baton.leave(seen) {
                Ok(()) => return,
                Err(now) => seen = now,
            }
        }
    }

    /// Rules 4 to 6 for the transaction at the cursor. False if the block was given up.
    fn settle(
        &self,
        me: &mut Worker<M, S::Reader<'_>>,
        ledger: &mut Ledger<'a, M, K>,
        mut attempt: Box<Attempt<M>>,
    ) -> Result<bool, Cause<M::Error>> {
        let tx = ledger.cursor;
        if self.brake().interrupted::<M::Error>().is_some() {
            return Ok(false);
        }
        ledger.admit()?;
        if !attempt.is_final && !self.valid(me, tx, &attempt) {
            me.hand.count(|stats| stats.retries += 1);
            self.event(me.hand.id, Event::Start { tx, incarnation: 1 });
            me.look(&self.crowd);
            let (vm, txs) = (self.block.vm, self.block.txs);
            if !me.execute_final(vm, &txs[tx as usize], &self.arena.cells, self.brake(), &mut attempt) {
                return Ok(false);
            }
            self.event(me.hand.id, Event::Finish { tx, incarnation: 1 });
        }
        me.fold(ledger, &self.arena.cells, &mut attempt)?;
        self.event(me.hand.id, Event::Commit { tx });
        ledger.deliver(&mut attempt);
        me.put(attempt, &self.arena.buffers);
        Ok(true)
    }

    /// Whether a speculative execution stands (rules 4 and 6). Tells the probe if not.
    fn valid(&self, me: &mut Worker<M, S::Reader<'_>>, tx: TxIndex, attempt: &Attempt<M>) -> bool {
        if mutants::on(Mutant::Validation) {
            return attempt.failure.is_none();
        }
        if let Err((key, by)) = me.holds(&self.arena.cells, tx, attempt) {
            self.event(me.hand.id, Event::Abort { tx, key: &key, by });
            return false;
        }
        attempt.failure.is_none()
    }
}

/// The committed prefix as it stands at each read, recorded.
struct OccView<'a, K, V: Value, R> {
    cells: &'a Cells<K, V>,
    reader: &'a mut R,
    brake: Brake<'a>,
    chaos: &'a mut Chaos,
    reads: &'a mut Vec<ReadRecord<V>>,
    scans: &'a mut Vec<ScanRecord<K, V>>,
    assumed: &'a mut Vec<(K, crate::cells::Loc, V::Seen)>,
    halted: Option<Halt>,
}

impl<K: Key, V: Value, R: Reader<K, V>> OccView<'_, K, V, R> {
    fn value(&mut self, key: &K) -> Result<Option<V>, Halt> {
        self.brake.check()?;
        self.chaos.point();
        let mut cell = self.cells.open(key);
        if cell.committed().is_none() {
            let loc = cell.loc;
            drop(cell);
            cell = self.cells.load(loc, key, self.reader)?;
        }
        let value = cell.committed().flatten().cloned();
        let (loc, stamp) = (cell.loc, cell.stamp());
        drop(cell);
        self.reads.push(ReadRecord { loc, stamp, watched: true, seen: V::exactly(value.as_ref()) });
        Ok(value)
    }
}

impl<K: Key, V: Value, R: Reader<K, V>> View<K, V> for OccView<'_, K, V, R> {
    fn read(&mut self, key: &K) -> Result<Read<V>, Halt> {
        let value = self.value(key).inspect_err(|halt| self.halted = Some(halt.clone()))?;
        Ok(Read { id: ReadId(self.reads.len() as u32 - 1), value })
    }

    fn narrow(&mut self, read: ReadId, seen: V::Seen) {
        if let Some(record) = self.reads.get_mut(read.0 as usize) {
            record.seen = seen;
        } else {
            debug_assert!(false, "{read:?} was not handed out");
        }
    }

    fn assume(&mut self, key: &K, seen: V::Seen) {
        let mut cell = self.cells.open(key);
        let loc = cell.loc;
        if cell.committed().is_none() {
            drop(cell);
            // Here rather than in the merge. If it fails now, it fails there as well.
            if let Ok(value) = self.reader.get(key) {
                cell = self.cells.at(loc);
                cell.fill(value);
            }
        }
        self.assumed.push((*key, loc, seen));
    }

    fn is_final(&self) -> bool {
        false
    }

    fn scan(&mut self, range: Range<K>) -> Result<Vec<(K, V)>, Halt> {
        let scanned =
            self.brake.check().and_then(|()| scan(self.cells, self.reader, &range, committed::<K, V>));
        let found = scanned.inspect_err(|halt| self.halted = Some(halt.clone()))?;
        let seen = found.iter().map(|(key, value)| (*key, V::exactly(Some(value)))).collect();
        self.scans.push(ScanRecord { range, found: seen });
        Ok(found)
    }
}
