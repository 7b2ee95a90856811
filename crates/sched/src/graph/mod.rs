//! Runs from hints: who starts when follows from what transactions are known to touch (MegaETH's dependency graph,
//! the locks of Solana's schedulers), on locations with versions; what the hints do not say is found out at the
//! commit.
//!
//! 1. Before the block, hints become numbers (`plan.rs`): locks by transaction. A [`Policy`] decides from
//!    them who may start, in a monitor of its own: transactions are fed to it in block order, up to a window
//!    beyond the first that is not final, so that what waits for its commit is bounded.
//! 2. A worker takes a transaction from the policy and executes it on the nearest lower versions (`view.rs`). Then
//!    it publishes what was written: puts and deletions as versions, and an addition too if the hint named
//!    its location as one that is written, as the value that it makes of the nearest lower one. Then it fills
//!    the transaction's slot, tells the policy, which may let others start, takes its next one, and rings the baton.
//! 3. The holder of the baton commits, as long as the slot at the cursor is filled, in order: it asks the sink,
//!    checks what was recorded by value against the committed prefix, folds, delivers. What fails the check
//!    runs again right there, finally, and its versions that it does not write any more are withdrawn. So
//!    there are at most two executions of each, and hints are never more than advice; but for rule 4.
//! 4. An execution is *exact* if its hint binds (the machine enforces it, [`braid_core::Bound`]), all hints of
//!    earlier transactions that are not final bind, and none of them was executed in another way. Then all
//!    that it may read has been written when it starts, by executions that are exact themselves: the
//!    policies let no transaction start before the earlier ones that its hint conflicts with have been executed (or
//!    committed, where they add and the policy lets additions pass each other). So it sees the
//!    truth. It records nothing, is not checked, never runs again, and its failure is the block's, if no
//!    earlier one fails.
//!    That none was executed in another way is read from `inexact`, which an execution raises before it
//!    starts. Who depends on it has started after the monitor was told of its end, so it finds it raised
//!    (Relaxed: the monitor's lock orders it). Of one that does not depend on it, it does not matter.
//! 5. A transaction that begins at the cursor is executed finally, as everywhere.
//! 6. Who takes a transaction at the desk and leaves others there that may start, has somebody else look. Without that,
//!    and unless commits let transactions start, those who have nothing to do leave the desk alone: a chain runs on
//!    one worker as fast as it would alone.
//! 7. Nobody waits for a transaction inside of one. The first that is not executed waits for nobody who is not
//!    executing, or begins when its worker has committed what it can, so some worker can always go on. A worker
//!    that finds nothing to start asks again when there is news, and sleeps for short times in between; one that finds everything started leaves, and the last ring commits what is left.

mod critical;
mod fifo;
mod greedy;
mod holders;
mod order;
pub(crate) mod plan;
mod prio;
#[cfg(all(test, not(any(feature = "shuttle", feature = "loom"))))]
mod tests;
pub(crate) mod view;

pub use fifo::UsageQueues;
pub use order::Policy;

use crate::{
    arena::Arenas,
    attempt::{Attempt, Verdict, execute},
    brake::Brake,
    cells::Resolved,
    chaos::Chaos,
    commit::{Arena, Ledger, Shift, StopOnPanic, Worker, changes_of},
    crowd::Crowd,
    mutants::{self, Mutant},
    pool::Pool,
    sync::{
        Backoff, Baton, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};
use braid_core::{
    Block, BlockError, Cause, Control, Event, Outcome, Probe, Reader, Scheduler, Sink, State, Stats, TxIndex,
    Value, Vm, Write,
};
use crossbeam_utils::CachePadded;
use order::{Order, Waited};
use plan::Plan;
use std::sync::Arc;
use view::VersionView;

/// Runs a block from the hints about its transactions.
#[derive(Debug)]
pub struct Graph {
    pool: Arc<Pool>,
    policy: Policy,
    arenas: Arenas,
    chaos: Option<u64>,
}

impl Graph {
    /// On the threads of `pool`; `policy` decides who starts next.
    pub fn new(pool: Arc<Pool>, policy: Policy) -> Self {
        Graph { pool, policy, arenas: Arenas::default(), chaos: None }
    }

    /// Perturbs the schedule by `seed`. For tests: does nothing without debug assertions.
    #[must_use]
    pub fn chaos(mut self, seed: u64) -> Self {
        self.chaos = Some(seed);
        self
    }
}

type Slot<M> = CachePadded<Mutex<Option<Box<Attempt<M>>>>>;

/// The monitor of rule 1.
struct Desk<'a> {
    order: Box<dyn Order + 'a>,
    /// Transactions that the policy has taken in, and that it has given out.
    fed: TxIndex,
    started: TxIndex,
    waited: Vec<Waited>,
}

/// What a worker finds at the desk.
enum Next {
    Start(TxIndex),
    Nothing,
    Over,
}

struct Run<'a, 'p, M: Vm, S, K, P> {
    block: &'a Block<'a, M, S>,
    probe: &'a P,
    control: &'a Control<'a>,
    arena: &'a Arena<M::Key, M::Value>,
    plan: &'p Plan<M::Key>,
    policy: Policy,
    slots: Vec<Slot<M>>,
    desk: CachePadded<Mutex<Desk<'p>>>,
    /// Raised when something may have come that can be started, for those who have nothing to do.
    news: CachePadded<AtomicU32>,
    /// The ledger's cursor, for those who do not hold the baton.
    cursor: CachePadded<AtomicU32>,
    baton: CachePadded<Baton>,
    ledger: CachePadded<Mutex<Ledger<'a, M, K>>>,
    stop: CachePadded<AtomicBool>,
    /// The transactions up to the last that was not executed exactly (rule 4).
    inexact: CachePadded<AtomicU32>,
    interrupted: Mutex<Option<Cause<M::Error>>>,
    stats: Mutex<Stats>,
    crowd: Crowd,
    /// Whether a commit may let transactions start (rule 6).
    awaited: bool,
    chaos: Option<u64>,
}

impl Scheduler for Graph {
    fn name(&self) -> &'static str {
        "graph"
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
        let threads = self.pool.threads();
        let mut arena = Arena::take(&self.arenas, threads, M::RANGES);
        let changed = arena.lend_changed();
        let mut plan = self.arenas.take(Plan::new);
        plan.fill(block);
        let (ended, stats) = {
            let order = self.policy.order(&plan.feet, threads);
            let awaited = order.waits_for_commits() || count > self.policy.window();
            let run = Run {
                block,
                probe,
                control,
                arena: &arena,
                plan: &plan,
                policy: self.policy,
                slots: block.txs.iter().map(|_| CachePadded::new(Mutex::new(None))).collect(),
                desk: CachePadded::new(Mutex::new(Desk { order, fed: 0, started: 0, waited: Vec::new() })),
                news: CachePadded::new(AtomicU32::new(0)),
                cursor: CachePadded::new(AtomicU32::new(0)),
                baton: CachePadded::new(Baton::new()),
                ledger: CachePadded::new(Mutex::new(Ledger::new(sink, changed))),
                stop: CachePadded::new(AtomicBool::new(false)),
                inexact: CachePadded::new(AtomicU32::new(0)),
                interrupted: Mutex::new(None),
                stats: Mutex::new(Stats::default()),
                crowd: Crowd::new(threads, self.chaos),
                awaited,
                chaos: self.chaos,
            };
            if count > 0 {
                let width = u16::try_from(count).unwrap_or(u16::MAX);
                self.pool.run_on(width, &|worker| run.work(worker)).unwrap_or_else(|panic| panic.resume());
            }
            let Run { ledger, interrupted, stats, .. } = run;
            (
                ledger.into_inner().into_inner().end(block.txs.len(), interrupted.into_inner()),
                stats.into_inner(),
            )
        };
        let (changed, result) = match ended {
            Ok((changed, spawned)) => (changed, Ok(spawned)),
            Err(error) => (Vec::new(), Err(error)),
        };
        let changes = changes_of::<M>(&mut arena, changed);
        self.arenas.put(arena);
        plan.clear();
        self.arenas.put(plan);
        Ok(Outcome { changes, spawned: result?, stats })
    }
}

impl<'a, M, S, K, P> Run<'a, '_, M, S, K, P>
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
        let mut idle = Backoff::default();
        let mut news = self.news();
        let mut next = self.next(&me);
        while !self.brake().stopped() {
            match next {
                Next::Start(tx) => {
                    idle.reset();
                    me.hand.chaos.point();
                    let Some(following) = self.step(&mut me, tx) else { break };
                    me.hand.chaos.point();
                    self.merge(&mut me);
                    next = following;
                    if let Next::Nothing = next {
                        news = self.news();
                        next = self.next(&me);
                    }
                }
                Next::Nothing => {
                    if let Some(cause) = self.control.interrupted() {
                        self.interrupt(Some(cause));
                    }
                    self.crowd.idle(id, &mut idle, || self.brake().stopped());
                    if self.news() != news {
                        news = self.news();
                        next = self.next(&me);
                    }
                }
                Next::Over => break,
            }
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

    /// Tells who had to wait; under the lock of the desk, so that it is told before they start.
    fn tell(&self, me: &Worker<M, S::Reader<'_>>, waited: &mut Vec<Waited>) {
        me.hand.count(|stats| stats.waits += waited.len() as u64);
        for Waited { tx, lock, on } in waited.drain(..) {
            self.event(me.hand.id, Event::Wait { tx, key: &self.plan.keys[lock as usize], on });
        }
    }

    /// Changes when something may have come that can be started.
    fn news(&self) -> (u32, TxIndex) {
        // Relaxed, twice: who looks again and again sees a change in the end, and then asks the desk.
        let cursor = if self.awaited { self.cursor.load(Ordering::Relaxed) } else { 0 };
        (self.news.load(Ordering::Relaxed), cursor)
    }

    /// Rule 1: what to start next.
    fn next(&self, me: &Worker<M, S::Reader<'_>>) -> Next {
        self.next_at(me, &mut self.desk.lock())
    }

    /// As [`next`](Self::next), at the desk.
    fn next_at(&self, me: &Worker<M, S::Reader<'_>>, desk: &mut Desk<'_>) -> Next {
        // Acquire: what is committed has been released.
        let cursor = self.cursor.load(Ordering::Acquire);
        let count = self.slots.len() as TxIndex;
        let Desk { order, fed, started, waited } = desk;
        if *started == count {
            return Next::Over;
        }
        order.committed(cursor, waited);
        let ahead = if self.crowd.heavy() { 1 } else { self.policy.window() };
        while *fed < count.min(cursor.saturating_add(ahead)) {
            order.feed(*fed);
            *fed += 1;
        }
        let next = order.next(me.hand.id, waited);
        *started += TxIndex::from(next.is_some());
        let more = next.is_some() && order.more();
        if more || *started == count {
            self.tidings();
        }
        self.tell(me, waited);
        if more {
            self.crowd.wake_one();
        }
        next.map_or(Next::Nothing, Next::Start)
    }

    /// Has idle workers ask the desk.
    fn tidings(&self) {
        // Relaxed: as in `news`.
        self.news.fetch_add(1, Ordering::Relaxed);
    }

    /// Rule 2: from the start of a transaction to the news of its end, and what this worker starts next: a chain
    /// stays where it is. `None` if the block was given up.
    fn step(&self, me: &mut Worker<M, S::Reader<'_>>, tx: TxIndex) -> Option<Next> {
        let mut attempt = me.take(&self.arena.buffers);
        self.event(me.hand.id, Event::Start { tx, incarnation: 0 });
        if !self.execute(me, tx, &mut attempt) {
            self.interrupt(None);
            return None;
        }
        self.publish(me, tx, &mut attempt);
        self.event(me.hand.id, Event::Finish { tx, incarnation: 0 });
        self.crowd.hold(attempt.log.reads.len());
        *self.slots[tx as usize].lock() = Some(attempt);
        me.hand.chaos.point();
        let mut desk = self.desk.lock();
        let Desk { order, waited, .. } = &mut *desk;
        order.done(tx, me.hand.id, waited);
        self.tell(me, waited);
        Some(self.next_at(me, &mut desk))
    }

    /// Rules 4 and 5. False if the block was given up.
    fn execute(&self, me: &mut Worker<M, S::Reader<'_>>, tx: TxIndex, attempt: &mut Attempt<M>) -> bool {
        let (vm, cells, body) = (self.block.vm, &self.arena.cells, &self.block.txs[tx as usize]);
        // Acquire: whatever was folded before the cursor moved here is seen.
        let cursor = self.cursor.load(Ordering::Acquire);
        if cursor == tx {
            return me.execute_final(vm, body, cells, self.brake(), attempt);
        }
        // Relaxed, twice: rule 4.
        let inexact = self.inexact.load(Ordering::Relaxed).max(self.plan.loose[tx as usize]);
        let believed = mutants::on(Mutant::Exact) && self.plan.loose[tx as usize] != TxIndex::MAX;
        let exact = cursor >= inexact || believed;
        if !exact {
            self.inexact.fetch_max(tx + 1, Ordering::Relaxed);
        }
        attempt.clear(exact);
        me.hand.count(|stats| stats.executions += 1);
        let Attempt { log, effects, failure, .. } = attempt;
        let mut view = VersionView {
            tx,
            cells,
            reader: &mut me.hand.reader,
            brake: self.brake(),
            chaos: &mut me.hand.chaos,
            log,
            exact,
            reads: 0,
            halted: None,
            blocked: None,
        };
        let halted = |view: &mut VersionView<'_, _, _, _>| view.halted.take();
        match execute(vm, &mut me.scratch, body, &mut view, halted, effects) {
            Verdict::Done => {}
            Verdict::Failed(cause) => *failure = Some(cause),
            Verdict::Blocked(_) => unreachable!("no version is an estimate here"),
            Verdict::Interrupted => return false,
        }
        true
    }

    /// Rule 2: makes readable what was written.
    fn publish(&self, me: &mut Worker<M, S::Reader<'_>>, tx: TxIndex, attempt: &mut Attempt<M>) {
        if attempt.failure.is_some() {
            return;
        }
        let cells = &self.arena.cells;
        for (key, write) in &attempt.effects.writes {
            let mut cell = cells.open(key);
            attempt.log.locs.push(cell.loc);
            let value = match write {
                Write::Put(value) => Some(value.clone()),
                Write::Delete => None,
                Write::Add(delta) => {
                    if !self.plan.writes(tx, key, self.policy.adds_exclude()) {
                        continue;
                    }
                    if let Resolved::Unread = cell.resolve(tx) {
                        let loc = cell.loc;
                        drop(cell);
                        // If the state cannot tell, the commit of this transaction fails for that.
                        let Ok(value) = me.hand.reader.get(key) else { continue };
                        cell = cells.at(loc);
                        cell.fill(value);
                    }
                    let Resolved::Value(base) = cell.resolve(tx) else { continue };
                    M::Value::apply(base, delta)
                }
            };
            cell.publish(tx, 0, value);
        }
    }

    /// Rules 3 and 6.
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
                        // Release: pairs with the Acquire in `execute` and in `next`.
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
                Ok(()) if self.awaited => return self.crowd.wake_one(),
                Ok(()) => return,
                Err(now) => seen = now,
            }
        }
    }

    /// Rule 3 for the transaction at the cursor. False if the block was given up.
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
        let cells = &self.arena.cells;
        if !attempt.is_final && !self.valid(me, tx, &attempt) {
            me.hand.count(|stats| stats.retries += 1);
            self.event(me.hand.id, Event::Start { tx, incarnation: 1 });
            let published = std::mem::take(&mut attempt.log.locs);
            let (vm, txs) = (self.block.vm, self.block.txs);
            if !me.execute_final(vm, &txs[tx as usize], cells, self.brake(), &mut attempt) {
                return Ok(false);
            }
            self.event(me.hand.id, Event::Finish { tx, incarnation: 1 });
            if !mutants::on(Mutant::Retract) {
                for loc in published {
                    cells.at(loc).retract(tx, 1);
                }
            }
        }
        me.fold(ledger, &self.arena.cells, &mut attempt)?;
        self.event(me.hand.id, Event::Commit { tx });
        ledger.deliver(&mut attempt);
        me.put(attempt, &self.arena.buffers);
        Ok(true)
    }

    /// Whether a recorded execution stands. Tells the probe if not.
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
