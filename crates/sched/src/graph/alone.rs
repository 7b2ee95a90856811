//! A worker alone: what it does while nobody else can start anything, as on a chain.
//!
//! 1. A worker is alone if it is given the transaction at the cursor while all before are committed, none after it has
//!    started, and the policy has nothing for anybody else. That is noted at the desk, and while it is, nobody else is
//!    given a transaction.
//! 2. So until then nobody executes, publishes or commits. The worker takes the baton and executes as `serial` does
//!    (`merge.rs`, rule 7; `solo.rs`), as long as what the policy gives it next is at the cursor, and it is still alone.
//! 3. Then what it has changed is committed into the cells, and only after that others are let in. At the end of the
//!    block it is left where it is.
//! 4. Being alone where others could have started costs time and nothing else, so the policy may be wrong about that;
//!    tests make it so.

use super::{Desk, Next, Run};
use crate::commit::Worker;
use braid_core::{Probe, Sink, State, TxIndex, Vm};

/// Transactions in a row that were given to a worker alone before it is taken at its word: to begin and to end costs
/// more than one transaction gains.
const ROW: u32 = 4;

/// Whether anybody is alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Alone {
    worker: Option<u16>,
    /// Transactions in a row that were given to a worker alone.
    row: u32,
}

impl Alone {
    /// Before the first transaction, which begins a row as well as any.
    pub(super) fn new() -> Self {
        Alone { worker: None, row: ROW }
    }

    /// Whether another than `worker` is.
    pub(super) fn excludes(&self, worker: u16) -> bool {
        self.worker.is_some_and(|alone| alone != worker)
    }

    /// `worker` is given a transaction, alone or not; whether it is to go on alone.
    pub(super) fn give(&mut self, worker: u16, alone: bool) -> bool {
        self.row = if alone { self.row.saturating_add(1) } else { 0 };
        let long = self.row > ROW;
        if long {
            self.worker = Some(worker);
        }
        long
    }
}

impl<'a, M, S, K, P> Run<'a, '_, M, S, K, P>
where
    M: Vm,
    S: State<M::Key, M::Value>,
    K: Sink<M>,
    P: Probe<M::Key>,
{
    /// Rules 2 and 3, from `tx` on. What this worker starts next, and whether it still holds the baton; `None` if the
    /// block has failed or was given up.
    pub(super) fn go_alone(
        &self,
        me: &mut Worker<M, S::Reader<'a>>,
        mut tx: TxIndex,
    ) -> Option<(Next, bool)> {
        let Some(mut ledger) = self.merge.hold() else {
            self.let_in();
            return self.step(me, tx);
        };
        ledger.changed.part(&self.merge.arena.cells);
        let mut attempt = me.take(&self.merge.arena.buffers);
        let following = loop {
            me.hand.chaos.point();
            debug_assert_eq!(tx, ledger.cursor, "who is alone is at the cursor");
            if !self.merge.execute_apart(me, &mut ledger, &mut attempt) {
                return None;
            }
            let mut desk = self.desk.lock();
            let Desk { order, waited, .. } = &mut *desk;
            order.done(tx, me.hand.id, waited);
            self.tell(me, waited);
            match self.next_at(me, &mut desk) {
                Next::Alone(next) => tx = next,
                following => break following,
            }
        };
        me.put(attempt, &self.merge.arena.buffers);
        if !matches!(following, Next::Over) {
            ledger.changed.join(&self.merge.arena.cells);
        }
        drop(ledger);
        self.let_in();
        Some((following, true))
    }

    /// Nobody is alone any more.
    fn let_in(&self) {
        self.desk.lock().alone.worker = None;
        self.tidings();
        self.merge.crowd.wake_one();
    }
}
