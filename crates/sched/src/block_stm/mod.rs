//! Block-STM: optimistic execution on a multi-version memory, with push invalidation and a rolling
//! commit (Gelashvili et al., arXiv 2203.06871; push invalidation as in Aptos' BlockSTMv2,
//! github.com/aptos-labs/aptos-core, `block-executor`).
//!
//! Slots. Each transaction has a slot whose lock guards its status:
//! 1. `Executing`: owned by one worker (at first by whoever draws its index from `next`, maybe with a few
//!    that follow). Becomes
//!    `Executed` (rule 9), `Blocked` (rule 7), or `Executing` again as the next incarnation.
//! 2. `Executed`: its attempt rests in the slot, its writes are published. Becomes `Ready` if a push
//!    invalidates it (rule 11), `Executing` if the holder of the baton runs it finally (rule 14), or
//!    `Committed`.
//! 3. `Blocked`: waits in the waiter list of one lower transaction, which makes it `Ready`.
//! 4. `Ready`: in the heap of transactions to run again; who pops it, or the holder of the baton at the
//!    cursor, makes it `Executing`. A popped index that is not `Ready` any more is dropped.
//! 5. A worker takes the lowest transaction of the heap, else the next fresh index, as far as the crowd
//!    lets it (`crowd.rs`).
//!
//! Reads.
//! 6. A read of `tx` resolves the location below `tx` and registers in the same critical section, unless
//!    the location is watched (rule 13), or quiet and remembered by the worker: `quiet.rs` has the rules of that.
//! 7. If a version on the way is an estimate of `k`, the execution waits for `k`: it becomes `Blocked`, or
//!    is parked in its lane (`lanes.rs`), still `Executing`; then it looks at `k`'s slot: if `k`'s writes are
//!    published it reads again, else it joins the waiters under `k`'s lock. Who settles or commits `k` takes
//!    the waiters under that same lock, so no wake-up is lost. A published transaction has no estimates, so
//!    reading again makes progress.
//!    A location for which an execution was thrown away is *contended*: its next readers first wait until
//!    nobody executes a lower transaction, unless most such waits are in vain: for a bounded time, and then
//!    parked until that one is settled, if the lane may park. That only saves executions.
//!    Nobody waits for what has not begun; a worker whose lanes all but one are parked begins nothing fresh.
//!    So the lowest transaction that has begun goes on, and with it, one by one, whatever waits.
//!
//! Finishing `tx`, not final.
//! 8. Publish: for each full write, in one critical section of its location, replace the version of `tx`
//!    and collect the registered readers above; additions wait for the commit (rule 13). Retract the
//!    versions that the previous incarnation left and this one did not write, collecting likewise. Then
//!    push (rule 11). All of this while `Executing`.
//!    An execution that has become dirty resolves its reads so far again, by value, at its next read, and is
//!    given up there if one differs: all that follows would be in vain.
//! 9. Settle: under the slot's lock, `Executed` unless the slot is dirty. If dirty: clean it, resolve
//!    every read again by value, and settle again or, if one differs, run the next incarnation at once.
//! 10. No invalidation is missed. Let `i` change what `j > i` read. By rule 6 and 8 either `j` read the
//!    new version, or `i` collected `j` and pushes before `i` is `Executed`. If `j` still executes, the
//!    push marks its slot dirty before rule 9 settles it; if `j` is `Executed`, the push checks the
//!    value; `j` cannot be committed, because `i` is not.
//! 11. Push of a write of `i` at a location to a reader `j`: under `j`'s slot lock, `Executing` becomes
//!    dirty; `Executed` resolves the location again and, only if that differs from what `j` saw, turns
//!    `j`'s writes into estimates and `j` `Ready`. In other states `j` will read again anyway. Checks read
//!    through estimates: whoever replaces the estimate pushes again.
//!
//! Commit.
//! 12. The baton passes the duty to commit. A worker rings it after it has settled a few transactions,
//!    at once if one of them was final (rule 15), and before it idles. So whatever is settled is followed
//!    by a ring. The holder commits as long as the transaction at the cursor is `Executed` or `Ready`.
//! 13. Then every earlier transaction is committed, so by rule 10 all its registered reads are true. Assumptions
//!    are checked now and only now. Its versions are moved into the committed values, which changes no
//!    value that anyone resolves. Its additions are folded into them. The first addition to a location
//!    makes it watched and, in the same critical section, collects all registered readers above; they
//!    are pushed (rule 11), and told to check all their reads again at their own commit. Whoever reads a
//!    watched location checks that read at its commit: by stamp, and by value if the stamp has moved or
//!    the read met a version. So an addition costs one look, however many read the location and do not
//!    depend on the sum.
//! 14. If an assumption or a checked read is false, or the attempt failed, or the transaction is `Ready`,
//!    it runs here with a final view, and its writes are folded and pushed at once. A failure of a final
//!    execution is the block's.
//! 15. A worker that begins the transaction at the cursor knows that its view is final: it publishes
//!    nothing and leaves folding and pushing to the commit.
//! 16. Ranges: a scan registers its range before it resolves; whoever changes a key checks the ranges
//!    after it has published. Both lists have a lock, so the argument of rule 10 holds again.
//! 17. The lowest transaction that is not committed waits for nobody: it is in the heap, executing, woken in
//!    its lane (and resumed after what runs on that thread), or held by the holder of the baton. So the block
//!    makes progress. It ends when the cursor reaches the end, or with `stop`.
//! 18. A block may begin with a lead (`lead.rs`). Then all of this begins behind what that has committed.
//!
//! An execution that reads a slow state is suspended (`reads.rs`), still `Executing`: whatever waits for it
//! waits as for one that runs.
//!
//! Locks are taken in the order ledger, slot (of the lower transaction first), cell, and the heap, the
//! ranges and the ordered index last.

mod commit;
mod push;
mod reads;
mod task;
mod view;

use crate::{
    arena::Arenas,
    attempt::Attempt,
    brake::Brake,
    cells::Loc,
    commit::{Arena, Ledger, in_arena, spread},
    crowd::Crowd,
    lanes::{Desk, LANES, Stacks, lanes},
    lead::{Alone, lead},
    pool::Pool,
    quiet::{Disturbances, ENOUGH},
    solo::Solo,
    sync::{
        Baton, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};
use braid_core::{
    Block, BlockError, Cause, Control, Event, Outcome, Probe, Scheduler, Sink, State, Stats, TxIndex, Vm,
};
use crossbeam_utils::CachePadded;
use std::{cmp::Reverse, collections::BinaryHeap, ops::Range, sync::Arc};

/// What an execution does when it reads an estimate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Waits {
    /// It stops, and runs again from its start once the other transaction is done.
    #[default]
    Retry,
    /// It is parked inside of the read, on a stack of its own, and goes on from there.
    Resume,
}

/// Optimistic execution on a multi-version memory.
#[derive(Debug)]
pub struct BlockStm {
    pool: Arc<Pool>,
    arenas: Arenas,
    stacks: Stacks,
    waits: Waits,
    chaos: Option<u64>,
}

impl BlockStm {
    /// On the threads of `pool`.
    pub fn new(pool: Arc<Pool>) -> Self {
        BlockStm {
            pool,
            arenas: Arenas::default(),
            stacks: Stacks::default(),
            waits: Waits::default(),
            chaos: None,
        }
    }

    /// Chooses what a read of an estimate does.
    #[must_use]
    pub fn waits(mut self, waits: Waits) -> Self {
        self.waits = waits;
        self
    }

    /// Perturbs the schedule by `seed`. For tests: does nothing without debug assertions.
    #[must_use]
    pub fn chaos(mut self, seed: u64) -> Self {
        self.chaos = Some(seed);
        self
    }
}

/// Rules 1 to 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Executing,
    Executed,
    Blocked,
    Ready,
    Committed,
}

/// The slot of a transaction.
struct Place<M: Vm> {
    slot: Mutex<Slot<M>>,
    /// Whether `dirty` is set, for who executes it and has no lock. Changed under the lock.
    alarm: AtomicBool,
}

struct Slot<M: Vm> {
    status: Status,
    /// Of the execution that runs, or of the last one.
    incarnation: u32,
    /// A write may have changed what the running execution read.
    dirty: bool,
    /// A location that the running execution read came to be watched (rule 13).
    recheck: bool,
    /// The attempt at rest, if `Executed`; if `Committed`, memory that its owner takes back.
    attempt: Option<Box<Attempt<M>>>,
    /// Locations with versions of an incarnation that is no longer true.
    prior: Vec<Loc>,
    /// Who waits for this transaction.
    waiters: Vec<Waiter>,
}

/// Who goes on when a transaction is settled.
enum Waiter {
    /// One that is `Blocked`: it begins again.
    Blocked(TxIndex),
    /// One that is parked in a lane of this worker: it goes on from there.
    Parked(u16, u8),
}

impl<M: Vm> Place<M> {
    fn new() -> Self {
        Place { slot: Mutex::new(Slot::new()), alarm: AtomicBool::new(false) }
    }
}

impl<M: Vm> Slot<M> {
    fn new() -> Self {
        Slot {
            status: Status::Executing,
            incarnation: 0,
            dirty: false,
            recheck: false,
            attempt: None,
            prior: Vec::new(),
            waiters: Vec::new(),
        }
    }

    /// Whether its writes are still to come. A final attempt publishes only at its commit (rule 15).
    fn pending(&self) -> bool {
        match self.status {
            Status::Executing | Status::Blocked | Status::Ready => true,
            Status::Executed => self.attempt.as_ref().is_some_and(|attempt| attempt.is_final),
            Status::Committed => false,
        }
    }

    /// Owns the slot for its next execution.
    fn begin(&mut self) -> u32 {
        self.status = Status::Executing;
        self.dirty = false;
        self.recheck = false;
        self.incarnation += 1;
        self.incarnation
    }
}

/// A range that `tx` has read in its scan number `scan` (rule 16).
struct RangeReader<K> {
    tx: TxIndex,
    scan: u32,
    range: Range<K>,
}

/// One block on its way.
struct Run<'a, M: Vm, S, K, P> {
    block: &'a Block<'a, M, S>,
    probe: &'a P,
    control: &'a Control<'a>,
    arena: &'a Arena<M::Key, M::Value>,
    slots: Vec<CachePadded<Place<M>>>,
    /// The next index that nobody has drawn.
    next: CachePadded<AtomicU32>,
    /// The ledger's cursor, for those who do not hold the baton.
    cursor: CachePadded<AtomicU32>,
    /// Length of `heap`, so that the usual look at an empty one takes no lock.
    ready: CachePadded<AtomicU32>,
    heap: CachePadded<Mutex<BinaryHeap<Reverse<TxIndex>>>>,
    ranges: CachePadded<Mutex<Vec<RangeReader<M::Key>>>>,
    baton: CachePadded<Baton>,
    ledger: CachePadded<Mutex<Ledger<'a, M, K>>>,
    /// Looked at by every read, so alone on its line, as whatever is written often is on its own.
    stop: CachePadded<AtomicBool>,
    /// What each lane of each worker executes, `lanes` of each in rows; `TxIndex::MAX` for nothing.
    running: Box<[CachePadded<[AtomicU32; LANES]>]>,
    /// Lanes of each worker, a multiple of [`LANES`].
    lanes: usize,
    /// Executions that are suspended over reads of the state.
    in_flight: CachePadded<AtomicU32>,
    /// Where the lanes of each worker are woken.
    desks: Box<[CachePadded<Desk>]>,
    stacks: &'a Stacks,
    interrupted: Mutex<Option<Cause<M::Error>>>,
    stats: Mutex<Stats>,
    waits: Waits,
    disturbances: CachePadded<Disturbances>,
    /// Reads after which a location that nobody has written is quiet.
    enough: u8,
    crowd: Crowd,
    chaos: Option<u64>,
}

impl Scheduler for BlockStm {
    fn name(&self) -> &'static str {
        "block_stm"
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
        self.run_led(block, sink, probe, control, None)
    }
}

impl BlockStm {
    /// As [`Scheduler::run`]. With `alone`, the calling thread leads (`lead.rs`): it goes on alone while that says so.
    pub(crate) fn run_led<M, S, K, P>(
        &self,
        block: &Block<'_, M, S>,
        sink: &mut K,
        probe: &P,
        control: &Control<'_>,
        alone: Option<&mut Alone<'_>>,
    ) -> Result<Outcome<M>, BlockError<M::Error>>
    where
        M: Vm,
        S: State<M::Key, M::Value>,
        K: Sink<M>,
        P: Probe<M::Key>,
    {
        let threads = self.pool.threads();
        let overlap = block.state.overlap();
        let lanes = lanes(threads, overlap).next_multiple_of(LANES);
        in_arena(&self.arenas, threads, |arena, changed| {
            let count = block.txs.len();
            let (mut ledger, stats) = (Ledger::new(sink, changed), Mutex::new(Stats::default()));
            if let Some(alone) = alone {
                let stop = AtomicBool::new(false);
                let solo = Solo { block, probe, control, cells: &arena.cells, stop: &stop };
                if !lead(&solo, &mut ledger, arena, &stats, alone) {
                    let mut stats = stats.into_inner();
                    stats.fallbacks += u64::from(threads > 1);
                    return (ledger.end(count, None), stats);
                }
            }
            let led = ledger.cursor;
            let run = Run {
                block,
                probe,
                control,
                arena,
                slots: block.txs.iter().map(|_| CachePadded::new(Place::new())).collect(),
                next: CachePadded::new(AtomicU32::new(led)),
                cursor: CachePadded::new(AtomicU32::new(led)),
                ready: CachePadded::new(AtomicU32::new(0)),
                heap: CachePadded::new(Mutex::new(BinaryHeap::new())),
                ranges: CachePadded::new(Mutex::new(Vec::new())),
                baton: CachePadded::new(Baton::new()),
                ledger: CachePadded::new(Mutex::new(ledger)),
                stop: CachePadded::new(AtomicBool::new(false)),
                running: (0..usize::from(threads) * lanes / LANES)
                    .map(|_| CachePadded::new([(); LANES].map(|()| AtomicU32::new(TxIndex::MAX))))
                    .collect(),
                lanes,
                in_flight: CachePadded::new(AtomicU32::new(0)),
                desks: (0..threads).map(|_| CachePadded::new(Desk::new())).collect(),
                stacks: &self.stacks,
                interrupted: Mutex::new(None),
                stats,
                waits: self.waits,
                disturbances: CachePadded::default(),
                // Perturbed blocks are small: less is enough, or none of their locations would ever be quiet.
                enough: self.chaos.map_or(ENOUGH, |seed| (seed % 3) as u8),
                crowd: Crowd::with_lanes(threads, lanes, self.chaos),
                chaos: self.chaos,
            };
            spread(&self.pool, count - led as usize, &|worker| run.work(worker));
            let Run { ledger, interrupted, stats, .. } = run;
            let ended = ledger.into_inner().into_inner().end(count, interrupted.into_inner());
            (ended, stats.into_inner())
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
    fn brake(&self) -> Brake<'_> {
        Brake::new(self.control, &self.stop)
    }

    fn slot(&self, tx: TxIndex) -> &Mutex<Slot<M>> {
        &self.slots[tx as usize].slot
    }

    /// Takes the mark that a write may have changed what `tx`, which executes, has read (rules 8 and 9).
    fn take_dirty(&self, tx: TxIndex, slot: &mut Slot<M>) -> bool {
        // Relaxed: a hint; `dirty` has its lock.
        self.slots[tx as usize].alarm.store(false, Ordering::Relaxed);
        std::mem::take(&mut slot.dirty)
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

    /// Puts a transaction that is `Ready` into the heap.
    fn enqueue(&self, tx: TxIndex) {
        let mut heap = self.heap.lock();
        heap.push(Reverse(tx));
        // Relaxed: a hint where to look; the heap has its lock. A worker that misses it looks again.
        self.ready.store(heap.len() as u32, Ordering::Relaxed);
        drop(heap);
        self.crowd.wake_one();
    }
}
