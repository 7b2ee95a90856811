//! Merging in order: what schedules have in common whose executions rest, one for each transaction, until the holder
//! of a baton takes them in.
//!
//! 1. A worker leaves its execution in the transaction's slot ([`rest`](Merge::rest)), then rings the baton.
//! 2. The holder of the baton merges: as long as the slot at the cursor is filled, in order. A ring that comes
//!    meanwhile makes it look once more, so nothing stays behind.
//! 3. To merge is to ask the sink, to check every read and assumption by value against the committed prefix, to fold
//!    the writes, and to deliver. While the baton is held nobody else changes committed values, so a location whose
//!    stamp is the one that was read has the value that was read.
//! 4. If a check fails, the transaction runs again right there. Every earlier one is committed and nothing can be
//!    committed meanwhile, so this execution is final: at most two per transaction.
//! 5. A failure (invalid, store, panic) is believed of a final execution only.
//! 6. Who has executed at the cursor itself may ask for the baton first ([`settle_now`](Merge::settle_now)): whoever
//!    gets it merges that execution without a slot, and goes on with rule 2.
//! 7. Who has the baton ([`hold`](Merge::hold)), and knows that nobody else executes or commits anything, may execute
//!    at the cursor on an overlay ([`execute_apart`](Merge::execute_apart), `solo.rs`), which is joined to what is
//!    committed before anybody looks at cells again.

use crate::{
    attempt::Attempt,
    brake::Brake,
    cells::Loc,
    chaos::Chaos,
    commit::{Arena, Ended, Ledger, Shift, Worker},
    crowd::Crowd,
    mutants::{self, Mutant},
    solo::Solo,
    sync::{
        Baton, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};
use braid_core::{Block, Cause, Control, Event, Probe, Sink, State, Stats, TxIndex, Vm};
use crossbeam_utils::CachePadded;

type Slot<M> = CachePadded<Mutex<Option<Box<Attempt<M>>>>>;

/// One block on its way.
pub(crate) struct Merge<'a, M: Vm, S, K, P> {
    pub(crate) block: &'a Block<'a, M, S>,
    probe: &'a P,
    pub(crate) control: &'a Control<'a>,
    pub(crate) arena: &'a Arena<M::Key, M::Value>,
    slots: Vec<Slot<M>>,
    /// The ledger's cursor, for those who do not hold the baton.
    pub(crate) cursor: CachePadded<AtomicU32>,
    baton: CachePadded<Baton>,
    ledger: CachePadded<Mutex<Ledger<'a, M, K>>>,
    /// Looked at by every read, so alone on its line, as whatever is written often is on its own.
    pub(crate) stop: CachePadded<AtomicBool>,
    interrupted: Mutex<Option<Cause<M::Error>>>,
    stats: Mutex<Stats>,
    pub(crate) crowd: Crowd,
    chaos: Option<u64>,
}

impl<'a, M, S, K, P> Merge<'a, M, S, K, P>
where
    M: Vm,
    S: State<M::Key, M::Value>,
    K: Sink<M>,
    P: Probe<M::Key>,
{
    /// Before the first transaction of `block`.
    pub(crate) fn new(
        block: &'a Block<'a, M, S>,
        ledger: Ledger<'a, M, K>,
        probe: &'a P,
        control: &'a Control<'a>,
        arena: &'a Arena<M::Key, M::Value>,
        crowd: Crowd,
        chaos: Option<u64>,
    ) -> Self {
        Merge {
            block,
            probe,
            control,
            arena,
            slots: block.txs.iter().map(|_| CachePadded::new(Mutex::new(None))).collect(),
            cursor: CachePadded::new(AtomicU32::new(0)),
            baton: CachePadded::new(Baton::new()),
            ledger: CachePadded::new(Mutex::new(ledger)),
            stop: CachePadded::new(AtomicBool::new(false)),
            interrupted: Mutex::new(None),
            stats: Mutex::new(Stats::default()),
            crowd,
            chaos,
        }
    }

    /// How the block ended. Nobody works on it any more.
    pub(crate) fn end(self) -> Ended<M> {
        let (ledger, interrupted) = (self.ledger.into_inner().into_inner(), self.interrupted.into_inner());
        (ledger.end(self.slots.len(), interrupted), self.stats.into_inner())
    }

    /// How many transactions the block has.
    pub(crate) fn count(&self) -> TxIndex {
        self.slots.len() as TxIndex
    }

    /// A worker's part; `None` if the state has no reader for it. The others can do without this worker, but somebody
    /// has to say why nobody runs.
    pub(crate) fn worker(&self, id: u16) -> Option<Worker<M, S::Reader<'a>>> {
        match self.block.state.reader() {
            Ok(reader) => {
                let shift = Shift::new(id, &self.crowd);
                Some(Worker::new(id, self.block.vm, reader, Chaos::new(self.chaos, id), shift))
            }
            Err(error) => {
                if id == 0 {
                    self.interrupt(Some(Cause::Store(error)));
                }
                None
            }
        }
    }

    /// A worker leaves.
    pub(crate) fn leave(&self, me: Worker<M, S::Reader<'a>>) {
        self.crowd.dismiss();
        me.hand.shift.end(&self.stats);
        me.finish(&self.arena.buffers);
    }

    pub(crate) fn brake(&self) -> Brake<'_> {
        Brake::new(self.control, &self.stop)
    }

    /// Stops the block, for `cause` or what the control says.
    pub(crate) fn interrupt(&self, cause: Option<Cause<M::Error>>) {
        if let Some(cause) = cause.or_else(|| self.control.interrupted()) {
            self.interrupted.lock().get_or_insert(cause);
        }
        // Relaxed: it carries no data.
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(crate) fn event(&self, worker: u16, event: Event<'_, M::Key>) {
        if P::ON {
            self.probe.event(worker, event);
        }
    }

    /// Rule 1.
    pub(crate) fn rest(&self, tx: TxIndex, attempt: Box<Attempt<M>>) {
        self.crowd.hold(attempt.log.reads.len());
        *self.slots[tx as usize].lock() = Some(attempt);
    }

    /// Rule 2. `withdraw` gets the locations that an execution had interned which was not true, and ran again. Whether
    /// this worker had the baton.
    pub(crate) fn merge(
        &self,
        me: &mut Worker<M, S::Reader<'a>>,
        withdraw: &impl Fn(TxIndex, &[Loc]),
    ) -> bool {
        self.baton.ring() && self.merge_on(me, withdraw)
    }

    /// As [`merge`](Self::merge), for who has the baton already.
    pub(crate) fn merge_on(
        &self,
        me: &mut Worker<M, S::Reader<'a>>,
        withdraw: &impl Fn(TxIndex, &[Loc]),
    ) -> bool {
        let mut seen = 1;
        loop {
            let mut ledger = self.ledger.lock();
            while !self.brake().stopped() {
                let Some(slot) = self.slots.get(ledger.cursor as usize) else { break };
                let Some(attempt) = slot.lock().take() else { break };
                self.crowd.release(attempt.log.reads.len());
                self.advance(me, &mut ledger, attempt, withdraw);
            }
            drop(ledger);
            me.hand.chaos.point();
            match self.baton.leave(seen) {
                Ok(()) => return true,
                Err(now) => seen = now,
            }
        }
    }

    /// Rule 6. Gives `attempt` back, a final execution of the transaction at the cursor, if somebody else has the baton.
    /// Otherwise it is merged, and the caller has the baton: [`merge_on`](Self::merge_on) is to follow.
    pub(crate) fn settle_now(
        &self,
        me: &mut Worker<M, S::Reader<'a>>,
        attempt: Box<Attempt<M>>,
        withdraw: &impl Fn(TxIndex, &[Loc]),
    ) -> Result<(), Box<Attempt<M>>> {
        if !self.baton.ring() {
            return Err(attempt);
        }
        self.advance(me, &mut self.ledger.lock(), attempt, withdraw);
        Ok(())
    }

    /// Rule 7: asks for the baton. Who gets it has to go on with [`merge_on`](Self::merge_on) without the ledger.
    pub(crate) fn hold(&self) -> Option<MutexGuard<'_, Ledger<'a, M, K>>> {
        self.baton.ring().then(|| self.ledger.lock())
    }

    /// Rule 7: executes and commits the transaction at the cursor. Whether the block goes on.
    pub(crate) fn execute_apart(
        &self,
        me: &mut Worker<M, S::Reader<'a>>,
        ledger: &mut Ledger<'a, M, K>,
        attempt: &mut Attempt<M>,
    ) -> bool {
        let (block, probe, control, cells) = (self.block, self.probe, self.control, &self.arena.cells);
        let solo = Solo { block, probe, control, cells, stop: &self.stop };
        let goes_on = solo.step(me, ledger, attempt);
        match goes_on {
            // Release: as in `advance`.
            Ok(true) => self.cursor.store(ledger.cursor, Ordering::Release),
            Ok(false) => self.interrupt(None),
            Err(cause) => {
                ledger.fail(cause);
                self.interrupt(None);
                return false;
            }
        }
        matches!(goes_on, Ok(true))
    }

    /// Merges the transaction at the cursor, or ends the block there.
    fn advance(
        &self,
        me: &mut Worker<M, S::Reader<'a>>,
        ledger: &mut Ledger<'a, M, K>,
        attempt: Box<Attempt<M>>,
        withdraw: &impl Fn(TxIndex, &[Loc]),
    ) {
        match self.settle(me, ledger, attempt, withdraw) {
            // Release: whoever finds the cursor here sees what was folded.
            Ok(true) => self.cursor.store(ledger.cursor, Ordering::Release),
            Ok(false) => self.interrupt(None),
            Err(cause) => {
                ledger.fail(cause);
                self.interrupt(None);
            }
        }
    }

    /// Rules 3 to 5 for the transaction at the cursor. False if the block was given up.
    fn settle(
        &self,
        me: &mut Worker<M, S::Reader<'a>>,
        ledger: &mut Ledger<'a, M, K>,
        mut attempt: Box<Attempt<M>>,
        withdraw: &impl Fn(TxIndex, &[Loc]),
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
            let interned = std::mem::take(&mut attempt.log.locs);
            let (vm, txs) = (self.block.vm, self.block.txs);
            if !me.execute_final(vm, &txs[tx as usize], &self.arena.cells, self.brake(), &mut attempt) {
                return Ok(false);
            }
            self.event(me.hand.id, Event::Finish { tx, incarnation: 1 });
            withdraw(tx, &interned);
        }
        me.fold(ledger, &self.arena.cells, &mut attempt)?;
        self.event(me.hand.id, Event::Commit { tx });
        ledger.deliver(&mut attempt);
        me.put(attempt, &self.arena.buffers);
        Ok(true)
    }

    /// Whether a speculative execution stands. Tells the probe if not.
    fn valid(&self, me: &mut Worker<M, S::Reader<'a>>, tx: TxIndex, attempt: &Attempt<M>) -> bool {
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
