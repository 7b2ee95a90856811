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
//! 3. The holder of the baton commits (`merge.rs`): in order, checked by value against the committed prefix. What
//!    fails the check runs again right there, finally, and its versions that it does not write any more are
//!    withdrawn. So there are at most two executions of each, and hints are never more than advice; but for rule 4.
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
//! 5. A transaction that begins at the cursor is executed finally, as everywhere. If its worker then gets the baton,
//!    it commits it before it tells the policy (`merge.rs`, rule 6): what is committed can be read, so nothing is
//!    published. So a chain costs little more than under `serial`.
//!    While nobody else can start anything, its worker goes on as `serial` would (`alone.rs`).
//! 6. Who takes a transaction at the desk and leaves others there that may start, has somebody else look. Without that,
//!    and unless commits let transactions start, those who have nothing to do leave the desk alone: a chain runs on
//!    one worker as fast as it would alone.
//! 7. Nobody waits for a transaction inside of one. The first that is not executed waits for nobody who is not
//!    executing, or begins when its worker has committed what it can, so some worker can always go on. A worker
//!    that finds nothing to start asks again when there is news, and sleeps for short times in between; one that
//!    finds everything started leaves, and the last ring commits what is left.

mod alone;
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
    cells::{Loc, Resolved},
    commit::{Ledger, StopOnPanic, Worker, in_arena, spread},
    crowd::Crowd,
    merge::Merge,
    mutants::{self, Mutant},
    pool::Pool,
    sync::{
        Backoff, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};
use alone::Alone;
use braid_core::{
    Block, BlockError, Control, Event, Outcome, Probe, Reader, Scheduler, Sink, State, TxIndex, Value, Vm,
    Write,
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

/// The monitor of rule 1.
struct Desk<'a> {
    order: Box<dyn Order + 'a>,
    /// Transactions that the policy has taken in, and that it has given out.
    fed: TxIndex,
    started: TxIndex,
    waited: Vec<Waited>,
    alone: Alone,
}

/// What a worker finds at the desk.
enum Next {
    Start(TxIndex),
    /// As `Start`, and nobody else is given anything until this worker says so (`alone.rs`).
    Alone(TxIndex),
    Nothing,
    Over,
}

struct Run<'a, 'p, M: Vm, S, K, P> {
    merge: Merge<'a, M, S, K, P>,
    plan: &'p Plan<M::Key>,
    policy: Policy,
    desk: CachePadded<Mutex<Desk<'p>>>,
    /// Raised when something may have come that can be started, for those who have nothing to do.
    news: CachePadded<AtomicU32>,
    /// The transactions up to the last that was not executed exactly (rule 4).
    inexact: CachePadded<AtomicU32>,
    /// Whether a commit may let transactions start (rule 6).
    awaited: bool,
    threads: u16,
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
        let threads = self.pool.threads();
        let mut plan = self.arenas.take(Plan::new);
        plan.fill(block);
        let outcome = in_arena(&self.arenas, threads, |arena, changed| {
            let order = self.policy.order(&plan.feet, threads);
            let awaited = order.waits_for_commits();
            let (ledger, crowd) = (Ledger::new(sink, changed), Crowd::new(threads, self.chaos));
            let run = Run {
                merge: Merge::new(block, ledger, probe, control, arena, crowd, self.chaos),
                plan: &plan,
                policy: self.policy,
                desk: CachePadded::new(Mutex::new(Desk {
                    order,
                    fed: 0,
                    started: 0,
                    waited: Vec::new(),
                    alone: Alone::new(),
                })),
                news: CachePadded::new(AtomicU32::new(0)),
                inexact: CachePadded::new(AtomicU32::new(0)),
                awaited,
                threads,
                chaos: self.chaos.filter(|_| cfg!(debug_assertions)),
            };
            spread(&self.pool, block.txs.len(), &|worker| run.work(worker));
            run.merge.end()
        });
        plan.clear();
        self.arenas.put(plan);
        outcome
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
        let merge = &self.merge;
        let _guard = StopOnPanic(&merge.stop);
        let Some(mut me) = merge.worker(id) else { return };
        let stopped = || merge.brake().stopped();
        let mut idle = Backoff::default();
        let mut news = self.news();
        let mut next = self.next(&me);
        while !stopped() {
            match next {
                Next::Start(tx) | Next::Alone(tx) => {
                    idle.reset();
                    me.hand.chaos.point();
                    let alone = matches!(next, Next::Alone(_));
                    let done = if alone { self.go_alone(&mut me, tx) } else { self.step(&mut me, tx) };
                    let Some((following, holds)) = done else { break };
                    me.hand.chaos.point();
                    let withdraw = |tx, locs: &[Loc]| self.withdraw(tx, locs);
                    let merged = if holds {
                        merge.merge_on(&mut me, &withdraw)
                    } else {
                        merge.merge(&mut me, &withdraw)
                    };
                    if merged && self.awaited {
                        merge.crowd.wake_one();
                    }
                    next = following;
                    if let Next::Nothing = next {
                        news = self.news();
                        next = self.next(&me);
                    }
                }
                Next::Nothing => {
                    if let Some(cause) = merge.control.interrupted() {
                        merge.interrupt(Some(cause));
                    }
                    merge.crowd.idle(id, &mut idle, stopped);
                    if self.news() != news {
                        news = self.news();
                        next = self.next(&me);
                    }
                }
                Next::Over => break,
            }
        }
        merge.leave(me);
    }

    /// Takes away what an execution of `tx` had published that was not true (rule 3).
    fn withdraw(&self, tx: TxIndex, published: &[Loc]) {
        for loc in published.iter().filter(|_| !mutants::on(Mutant::Retract)) {
            self.merge.arena.cells.at(*loc).retract(tx, 1);
        }
    }

    /// Tells who had to wait; under the lock of the desk, so that it is told before they start.
    fn tell(&self, me: &Worker<M, S::Reader<'a>>, waited: &mut Vec<Waited>) {
        me.hand.count(|stats| stats.waits += waited.len() as u64);
        for Waited { tx, lock, on } in waited.drain(..) {
            self.merge.event(me.hand.id, Event::Wait { tx, key: &self.plan.keys[lock as usize], on });
        }
    }

    /// Changes when something may have come that can be started.
    fn news(&self) -> (u32, TxIndex) {
        // Relaxed, twice: who looks again and again sees a change in the end, and then asks the desk.
        let cursor = if self.awaited { self.merge.cursor.load(Ordering::Relaxed) } else { 0 };
        (self.news.load(Ordering::Relaxed), cursor)
    }

    /// Rule 1: what to start next.
    fn next(&self, me: &Worker<M, S::Reader<'a>>) -> Next {
        self.next_at(me, &mut self.desk.lock())
    }

    /// As [`next`](Self::next), at the desk.
    fn next_at(&self, me: &Worker<M, S::Reader<'a>>, desk: &mut Desk<'_>) -> Next {
        // Acquire: what is committed has been released.
        let cursor = self.merge.cursor.load(Ordering::Acquire);
        let count = self.merge.count();
        let Desk { order, fed, started, waited, alone } = desk;
        if *started == count {
            return Next::Over;
        }
        if alone.excludes(me.hand.id) && !mutants::on(Mutant::Alone) {
            return Next::Nothing;
        }
        order.committed(cursor, waited);
        let ahead = if self.merge.crowd.heavy() { 1 } else { self.policy.window() };
        while *fed < count.min(cursor.saturating_add(ahead)) {
            order.feed(*fed);
            *fed += 1;
        }
        let next = order.next(me.hand.id, waited);
        *started += TxIndex::from(next.is_some());
        let single = next.is_some_and(|tx| {
            tx == cursor && *started == tx + 1 && (self.nobody_else(tx) || order.alone(me.hand.id))
        });
        let alone = next.is_some() && alone.give(me.hand.id, single);
        let more = next.is_some() && !alone && order.more();
        if more || *started == count {
            self.tidings();
        }
        self.tell(me, waited);
        if more {
            self.merge.crowd.wake_one();
        }
        match next {
            Some(tx) if alone => Next::Alone(tx),
            Some(tx) => Next::Start(tx),
            None => Next::Nothing,
        }
    }

    /// Whether the worker that executes `tx` is alone whatever the policy has. Tests have it so now and then.
    fn nobody_else(&self, tx: TxIndex) -> bool {
        self.threads == 1 || self.chaos.is_some_and(|seed| !(seed ^ u64::from(tx / 8)).is_multiple_of(3))
    }

    /// Has idle workers ask the desk.
    fn tidings(&self) {
        // Relaxed: as in `news`.
        self.news.fetch_add(1, Ordering::Relaxed);
    }

    /// Rule 2: from the start of a transaction to the news of its end, and what this worker starts next: a chain
    /// stays where it is; and whether it holds the baton. `None` if the block was given up.
    fn step(&self, me: &mut Worker<M, S::Reader<'a>>, tx: TxIndex) -> Option<(Next, bool)> {
        let mut attempt = me.take(&self.merge.arena.buffers);
        self.merge.event(me.hand.id, Event::Start { tx, incarnation: 0 });
        let Some(at_cursor) = self.execute(me, tx, &mut attempt) else {
            self.merge.interrupt(None);
            return None;
        };
        let holds = self.surrender(me, tx, attempt, at_cursor);
        me.hand.chaos.point();
        let mut desk = self.desk.lock();
        let Desk { order, waited, .. } = &mut *desk;
        order.done(tx, me.hand.id, waited);
        self.tell(me, waited);
        Some((self.next_at(me, &mut desk), holds))
    }

    /// Rules 2 and 5: makes readable what was written, and leaves the execution to the commits, which it may be one of.
    /// Whether this worker holds the baton.
    fn surrender(
        &self,
        me: &mut Worker<M, S::Reader<'a>>,
        tx: TxIndex,
        mut attempt: Box<Attempt<M>>,
        at_cursor: bool,
    ) -> bool {
        self.merge.event(me.hand.id, Event::Finish { tx, incarnation: 0 });
        let hidden = mutants::on(Mutant::Publish) && at_cursor;
        if at_cursor && !hidden {
            match self.merge.settle_now(me, attempt, &|_, _| {}) {
                Ok(()) => return true,
                Err(back) => attempt = back,
            }
        }
        if !hidden {
            self.publish(me, tx, &mut attempt);
        }
        self.merge.rest(tx, attempt);
        false
    }

    /// Rules 4 and 5. Whether it began at the cursor; `None` if the block was given up.
    fn execute(
        &self,
        me: &mut Worker<M, S::Reader<'a>>,
        tx: TxIndex,
        attempt: &mut Attempt<M>,
    ) -> Option<bool> {
        let (vm, cells, body) =
            (self.merge.block.vm, &self.merge.arena.cells, &self.merge.block.txs[tx as usize]);
        // Acquire: whatever was folded before the cursor moved here is seen.
        let cursor = self.merge.cursor.load(Ordering::Acquire);
        if cursor == tx {
            return me.execute_final(vm, body, cells, self.merge.brake(), attempt).then_some(true);
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
            brake: self.merge.brake(),
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
            Verdict::Interrupted => return None,
        }
        Some(false)
    }

    /// Rule 2: makes readable what was written.
    fn publish(&self, me: &mut Worker<M, S::Reader<'a>>, tx: TxIndex, attempt: &mut Attempt<M>) {
        if attempt.failure.is_some() {
            return;
        }
        let cells = &self.merge.arena.cells;
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
}
