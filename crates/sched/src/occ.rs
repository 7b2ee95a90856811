//! In-order optimistic concurrency: speculate on the committed prefix, merge in order, re-execute what
//! saw something else (the schedule of Monad, github.com/category-labs/monad).
//!
//! 1. A worker takes the next index and executes it on the committed values as they stand at each read.
//!    They may come from different prefixes: the merge finds out.
//! 2. It leaves the execution in the transaction's slot, and what follows is `merge.rs`: in order, checked by value
//!    against the committed prefix, executed again right there if a check fails.
//! 3. Nobody waits for a transaction: a worker without work leaves, and the last ring merges what is left
//!    (see [`Baton`](crate::sync::Baton)). How many work, and how far ahead, is for the crowd to say
//!    (`crowd.rs`).

use crate::{
    arena::Arenas,
    attempt::{Attempt, ReadRecord, ScanRecord, Told, Verdict, execute},
    brake::Brake,
    cells::Cells,
    chaos::Chaos,
    commit::{Ledger, StopOnPanic, Worker, committed, in_arena, scan, spread},
    crowd::Crowd,
    merge::Merge,
    pool::Pool,
    sync::{
        Backoff,
        atomic::{AtomicU32, Ordering},
    },
};
use braid_core::{
    Block, BlockError, Control, Event, Halt, Key, Outcome, Probe, Read, ReadId, Reader, Scheduler, Sink,
    State, TxIndex, Value, View, Vm,
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

struct Run<'a, M: Vm, S, K, P> {
    merge: Merge<'a, M, S, K, P>,
    next: CachePadded<AtomicU32>,
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
        let threads = self.pool.threads();
        in_arena(&self.arenas, threads, |arena, changed| {
            let (ledger, crowd) = (Ledger::new(sink, changed), Crowd::new(threads, self.chaos));
            let merge = Merge::new(block, ledger, probe, control, arena, crowd, self.chaos);
            let run = Run { merge, next: CachePadded::new(AtomicU32::new(0)) };
            spread(&self.pool, block.txs.len(), &|worker| run.work(worker));
            run.merge.end()
        })
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
        let merge = &self.merge;
        let _guard = StopOnPanic(&merge.stop);
        let Some(mut me) = merge.worker(id) else { return };
        let stopped = || merge.brake().stopped();
        let (mut ahead, mut seen) = (Backoff::default(), TxIndex::MAX);
        while !stopped() {
            merge.crowd.rest(id, stopped);
            // Relaxed: an index is only a name; what it names was there before the block.
            let next = self.next.load(Ordering::Relaxed);
            // Acquire: what is committed has been released.
            if !merge.crowd.may_draw(next, || merge.cursor.load(Ordering::Acquire)) {
                let interrupted = merge.control.interrupted::<M::Error>();
                interrupted.into_iter().for_each(|cause| merge.interrupt(Some(cause)));
                // Relaxed: a hint.
                let cursor = merge.cursor.load(Ordering::Relaxed);
                merge.crowd.held_back(id, &mut ahead, &mut seen, cursor, stopped);
                continue;
            }
            ahead.reset();
            // Relaxed: as above.
            let tx = self.next.fetch_add(1, Ordering::Relaxed);
            if tx >= merge.count() {
                break;
            }
            me.hand.chaos.point();
            if !self.speculate(&mut me, tx) {
                merge.interrupt(None);
                break;
            }
            me.hand.chaos.point();
            // Nothing is published before it is merged.
            merge.merge(&mut me, &|_, _| {});
            me.look(&merge.crowd);
        }
        merge.leave(me);
    }

    /// Rules 1 and 2. False if the block was given up.
    fn speculate(&self, me: &mut Worker<M, S::Reader<'a>>, tx: TxIndex) -> bool {
        let merge = &self.merge;
        let (vm, cells, body) = (merge.block.vm, &merge.arena.cells, &merge.block.txs[tx as usize]);
        let mut attempt = me.take(&merge.arena.buffers);
        merge.event(me.hand.id, Event::Start { tx, incarnation: 0 });
        // Acquire: whatever was folded before the cursor moved here is seen (the cells' locks see to
        // that as well).
        let is_final = merge.cursor.load(Ordering::Acquire) == tx;
        let done = if is_final {
            me.execute_final(vm, body, cells, merge.brake(), &mut attempt)
        } else {
            attempt.clear(false);
            me.hand.count(|stats| stats.executions += 1);
            let Attempt { log, effects, failure, .. } = &mut *attempt;
            let mut view = OccView {
                cells,
                reader: &mut me.hand.reader,
                brake: merge.brake(),
                chaos: &mut me.hand.chaos,
                reads: &mut log.reads,
                scans: &mut log.scans,
                assumed: &mut log.assumed,
                halted: None,
            };
            let halted = |view: &mut OccView<'_, _, _, _>| view.halted.take();
            match execute(vm, &mut me.scratch, body, &mut view, halted, effects) {
                // Interning here keeps hashing out of the merge.
                Verdict::Done => log.locs.extend(effects.writes.iter().map(|(key, _)| cells.open(key).loc)),
                Verdict::Failed(cause) => *failure = Some(cause),
                Verdict::Blocked(_) => unreachable!("a committed prefix has no writes to wait for"),
                Verdict::Interrupted => return false,
            }
            true
        };
        if done {
            merge.event(me.hand.id, Event::Finish { tx, incarnation: 0 });
            merge.rest(tx, attempt);
        }
        done
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
        self.reads.push(ReadRecord { loc, stamp, told: Told::Watched, seen: V::exactly(value.as_ref()) });
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
