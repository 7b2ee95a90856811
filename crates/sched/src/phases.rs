//! Schedules with barriers: worker 0 leads, in phases; within a phase all workers execute.
//!
//! 1. The leader opens a phase with the transactions to execute. Workers claim them one by one, the leader as well,
//!    and say when each is done. All of that happens under one lock, so what an execution left behind is
//!    seen by the leader when the phase has ended.
//! 2. A phase ends when everything that was claimed is done and nothing is left to be claimed. It does not
//!    matter how many workers came: the leader can execute a whole phase alone.
//! 3. Between phases only the leader works: it validates, commits, delivers, decides on the next phase. Committed
//!    values do not change while a phase runs.
//! 4. When the leader returns, or anything stops the block, `stop` ends the waits of the others.

use crate::{
    arena::Arenas,
    attempt::{Attempt, Verdict, execute},
    brake::Brake,
    chaos::Chaos,
    commit::{Arena, Ledger, Shift, StopOnPanic, Worker, in_arena, spread},
    crowd::Crowd,
    graph::view::VersionView,
    pool::Pool,
    sync::{
        Backoff, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};
use braid_core::{Block, BlockError, Cause, Control, Event, Outcome, Probe, Sink, State, Stats, TxIndex, Vm};
use crossbeam_utils::CachePadded;

/// What is there of one transaction.
pub(crate) struct Seat<M: Vm> {
    /// The last execution that came to an end, if it was not taken away.
    pub(crate) attempt: Option<Box<Attempt<M>>>,
    /// Executions so far.
    pub(crate) executions: u32,
    /// The last execution is known to be wrong.
    pub(crate) wrong: bool,
}

/// What is claimed in a phase.
#[derive(Default)]
struct Phase {
    tasks: Vec<TxIndex>,
    claimed: usize,
    done: usize,
}

/// A block under way.
pub(crate) struct Floor<'a, M: Vm, S, P> {
    pub(crate) block: &'a Block<'a, M, S>,
    pub(crate) arena: &'a Arena<M::Key, M::Value>,
    pub(crate) seats: Vec<CachePadded<Mutex<Seat<M>>>>,
    pub(crate) crowd: Crowd,
    probe: &'a P,
    control: &'a Control<'a>,
    /// The first transaction that is not final; moves between phases only.
    cursor: AtomicU32,
    phase: CachePadded<Mutex<Phase>>,
    stop: CachePadded<AtomicBool>,
    interrupted: Mutex<Option<Cause<M::Error>>>,
    stats: Mutex<Stats>,
    threads: u16,
    chaos: Option<u64>,
}

/// A schedule in phases.
pub(crate) trait Phased: Sync {
    /// Executes `tx` in a phase. False if the block was given up.
    fn execute<M: Vm, S: State<M::Key, M::Value>, P: Probe<M::Key>>(
        &self,
        floor: &Floor<'_, M, S, P>,
        me: &mut Worker<M, S::Reader<'_>>,
        tx: TxIndex,
    ) -> bool;

    /// Leads the block to its end. `Ok(false)` if it was given up, the error if the transaction at the cursor of
    /// the ledger fails.
    fn lead<M: Vm, S: State<M::Key, M::Value>, K: Sink<M>, P: Probe<M::Key>>(
        &self,
        floor: &Floor<'_, M, S, P>,
        me: &mut Worker<M, S::Reader<'_>>,
        ledger: &mut Ledger<'_, M, K>,
    ) -> Result<bool, Cause<M::Error>>;
}

/// What a scheduler in phases keeps from block to block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Means<'a> {
    pub(crate) pool: &'a Pool,
    pub(crate) arenas: &'a Arenas,
    pub(crate) chaos: Option<u64>,
}

/// Runs a block as `how` says.
pub(crate) fn run<H, M, S, K, P>(
    how: &H,
    means: Means<'_>,
    block: &Block<'_, M, S>,
    sink: &mut K,
    probe: &P,
    control: &Control<'_>,
) -> Result<Outcome<M>, BlockError<M::Error>>
where
    H: Phased,
    M: Vm,
    S: State<M::Key, M::Value>,
    K: Sink<M>,
    P: Probe<M::Key>,
{
    let threads = means.pool.threads();
    in_arena(means.arenas, threads, |arena, changed| {
        let seat = || Seat { attempt: None, executions: 0, wrong: false };
        let floor = Floor {
            block,
            arena,
            seats: block.txs.iter().map(|_| CachePadded::new(Mutex::new(seat()))).collect(),
            crowd: Crowd::new(threads, means.chaos),
            probe,
            control,
            cursor: AtomicU32::new(0),
            phase: CachePadded::new(Mutex::new(Phase::default())),
            stop: CachePadded::new(AtomicBool::new(false)),
            interrupted: Mutex::new(None),
            stats: Mutex::new(Stats::default()),
            threads,
            chaos: means.chaos,
        };
        let ledger = Mutex::new(Ledger::new(sink, changed));
        spread(means.pool, block.txs.len(), &|worker| floor.work(how, worker, &ledger));
        let Floor { interrupted, stats, .. } = floor;
        (ledger.into_inner().end(block.txs.len(), interrupted.into_inner()), stats.into_inner())
    })
}

impl<M, S, P> Floor<'_, M, S, P>
where
    M: Vm,
    S: State<M::Key, M::Value>,
    P: Probe<M::Key>,
{
    fn work<H: Phased, K: Sink<M>>(&self, how: &H, id: u16, ledger: &Mutex<Ledger<'_, M, K>>) {
        let _guard = StopOnPanic(&self.stop);
        let reader = match self.block.state.reader() {
            Ok(reader) => reader,
            // The leader can do without this worker, but somebody has to say why nobody runs.
            Err(error) if id == 0 => return self.interrupt(Some(Cause::Store(error))),
            Err(_) => return,
        };
        let mut me =
            Worker::new(id, self.block.vm, reader, Chaos::new(self.chaos, id), Shift::new(id, &self.crowd));
        if id == 0 {
            let mut ledger = ledger.lock();
            if let Err(cause) = how.lead(self, &mut me, &mut ledger) {
                ledger.fail(cause);
            }
            // Whatever the reason: there is nothing more to do.
            self.interrupt(None);
        } else {
            let mut idle = Backoff::default();
            while !self.brake().stopped() {
                if self.help(how, &mut me) {
                    idle.reset();
                } else {
                    self.crowd.idle(id, &mut idle, || self.brake().stopped());
                }
            }
        }
        self.crowd.dismiss();
        me.hand.shift.end(&self.stats);
        me.finish(&self.arena.buffers);
    }

    pub(crate) fn brake(&self) -> Brake<'_> {
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

    pub(crate) fn event(&self, me: &Worker<M, S::Reader<'_>>, event: Event<'_, M::Key>) {
        if P::ON {
            self.probe.event(me.hand.id, event);
        }
    }

    /// The first transaction that is not final.
    pub(crate) fn cursor(&self) -> TxIndex {
        // Relaxed: it moves between phases only, and the lock of the phase orders those.
        self.cursor.load(Ordering::Relaxed)
    }

    /// Rule 1: claims and executes one transaction. Whether there was one.
    fn help<H: Phased>(&self, how: &H, me: &mut Worker<M, S::Reader<'_>>) -> bool {
        let mut phase = self.phase.lock();
        let Some(tx) = phase.tasks.get(phase.claimed).copied() else { return false };
        phase.claimed += 1;
        drop(phase);
        me.hand.chaos.point();
        if !how.execute(self, me, tx) {
            self.interrupt(None);
        }
        me.hand.chaos.point();
        self.phase.lock().done += 1;
        true
    }

    /// Rules 1 and 2: has these transactions executed. False if the block was given up.
    pub(crate) fn phase<H: Phased>(
        &self,
        how: &H,
        me: &mut Worker<M, S::Reader<'_>>,
        tasks: Vec<TxIndex>,
    ) -> bool {
        let count = tasks.len();
        *self.phase.lock() = Phase { tasks, claimed: 0, done: 0 };
        let helpers = u16::try_from(count).unwrap_or(u16::MAX).min(self.threads);
        (1..helpers).for_each(|worker| self.crowd.wake(worker));
        let mut idle = Backoff::default();
        while !self.brake().stopped() {
            if self.help(how, me) {
                continue;
            }
            if self.phase.lock().done == count {
                return self.brake().interrupted::<M::Error>().is_none();
            }
            idle.wait();
        }
        false
    }

    /// Executes `tx` on the nearest lower versions, or finally if it is at the cursor, and leaves it in its seat.
    /// `None` if the block was given up; otherwise whether it ended, and else where it met an estimate of whom.
    #[expect(clippy::type_complexity, reason = "an end or a place and a transaction")]
    pub(crate) fn speculate(
        &self,
        me: &mut Worker<M, S::Reader<'_>>,
        tx: TxIndex,
    ) -> Option<Result<Box<Attempt<M>>, (M::Key, TxIndex)>> {
        let (vm, body, cells) = (self.block.vm, &self.block.txs[tx as usize], &self.arena.cells);
        let mut attempt = me.take(&self.arena.buffers);
        if tx == self.cursor() {
            return me.execute_final(vm, body, cells, self.brake(), &mut attempt).then_some(Ok(attempt));
        }
        attempt.clear(false);
        me.hand.count(|stats| stats.executions += 1);
        let Attempt { log, effects, failure, .. } = &mut *attempt;
        let mut view = VersionView {
            tx,
            cells,
            reader: &mut me.hand.reader,
            brake: self.brake(),
            chaos: &mut me.hand.chaos,
            log,
            exact: false,
            reads: 0,
            halted: None,
            blocked: None,
        };
        let halted = |view: &mut VersionView<'_, _, _, _>| view.halted.take();
        match execute(vm, &mut me.scratch, body, &mut view, halted, effects) {
            Verdict::Done => {}
            Verdict::Failed(cause) => *failure = Some(cause),
            Verdict::Blocked(on) => {
                let key = view.blocked.take();
                me.put(attempt, &self.arena.buffers);
                return key.map(|key| Err((key, on)));
            }
            Verdict::Interrupted => return None,
        }
        Some(Ok(attempt))
    }

    /// Tells that an execution of `tx` begins; the seat counts it.
    pub(crate) fn begin(&self, me: &Worker<M, S::Reader<'_>>, tx: TxIndex, seat: &mut Seat<M>) -> u32 {
        let incarnation = seat.executions;
        seat.executions += 1;
        self.event(me, Event::Start { tx, incarnation });
        incarnation
    }

    /// Delivers the transaction at the cursor, whose `attempt` stands.
    pub(crate) fn settle<K: Sink<M>>(
        &self,
        me: &mut Worker<M, S::Reader<'_>>,
        ledger: &mut Ledger<'_, M, K>,
        mut attempt: Box<Attempt<M>>,
    ) -> Result<(), Cause<M::Error>> {
        me.fold(ledger, &self.arena.cells, &mut attempt)?;
        self.event(me, Event::Commit { tx: ledger.cursor });
        ledger.deliver(&mut attempt);
        // Relaxed: as in `cursor`.
        self.cursor.store(ledger.cursor, Ordering::Relaxed);
        me.put(attempt, &self.arena.buffers);
        Ok(())
    }

    /// Executes the transaction at the cursor and delivers it. False if the block was given up.
    pub(crate) fn serially<K: Sink<M>>(
        &self,
        me: &mut Worker<M, S::Reader<'_>>,
        ledger: &mut Ledger<'_, M, K>,
    ) -> Result<bool, Cause<M::Error>> {
        let tx = ledger.cursor;
        if self.brake().interrupted::<M::Error>().is_some() {
            return Ok(false);
        }
        ledger.admit()?;
        let mut seat = self.seats[tx as usize].lock();
        if let Some(attempt) = seat.attempt.take() {
            // One that is wrong was counted when that was found out.
            me.hand.count(|stats| stats.retries += u64::from(!seat.wrong));
            me.put(attempt, &self.arena.buffers);
        }
        let incarnation = self.begin(me, tx, &mut seat);
        drop(seat);
        let mut attempt = me.take(&self.arena.buffers);
        let body = &self.block.txs[tx as usize];
        if !me.execute_final(self.block.vm, body, &self.arena.cells, self.brake(), &mut attempt) {
            return Ok(false);
        }
        self.event(me, Event::Finish { tx, incarnation });
        self.settle(me, ledger, attempt)?;
        Ok(true)
    }
}
