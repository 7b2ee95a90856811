//! The lead: what one thread does of a block before anybody knows whether others would pay.
//!
//! 1. The calling thread executes transactions in order, alone (`solo.rs`): nobody else takes part yet.
//! 2. Before each transaction it asks whether to go on alone. If not, what it has changed is joined to the cells: the
//!    committed prefix that a parallel schedule goes on from.
//! 3. A failure is the block's, and ends it.

use crate::{
    chaos::Chaos,
    commit::{Arena, Ledger, Shift, Worker},
    crowd::Crowd,
    mutants::{self, Mutant},
    solo::Solo,
    sync::Mutex,
};
use braid_core::{Cause, Probe, Sink, State, Stats, TxIndex, Vm};

/// Asked before each transaction: whether to go on alone.
pub(crate) type Alone<'a> = dyn FnMut(TxIndex) -> bool + 'a;

/// Leads a block on, from the cursor of `ledger` that it advances. Whether others are to go on with the rest: the
/// block has not come to its end, nor failed.
pub(crate) fn lead<'a, M, S, K, P>(
    solo: &Solo<'_, 'a, M, S, P>,
    ledger: &mut Ledger<'a, M, K>,
    arena: &'a Arena<M::Key, M::Value>,
    stats: &Mutex<Stats>,
    alone: &mut Alone<'_>,
) -> bool
where
    M: Vm,
    S: State<M::Key, M::Value>,
    K: Sink<M>,
    P: Probe<M::Key>,
{
    let reader = match solo.block.state.reader() {
        Ok(reader) => reader,
        Err(error) => {
            ledger.fail(Cause::Store(error));
            return false;
        }
    };
    let shift = Shift::new(0, &Crowd::new(1, None));
    let mut me = Worker::new(0, solo.block.vm, reader, Chaos::new(None, 0), shift.clone());
    let mut attempt = me.take(&arena.buffers);
    ledger.changed.part(&arena.cells);
    let count = solo.block.txs.len();
    let mut sound = true;
    while sound && (ledger.cursor as usize) < count && alone(ledger.cursor) {
        let cause = match solo.step(&mut me, ledger, &mut attempt) {
            Ok(true) => continue,
            Ok(false) => solo.control.interrupted().unwrap_or(Cause::Cancelled),
            Err(cause) => cause,
        };
        ledger.fail(cause);
        sound = false;
    }
    me.put(attempt, &arena.buffers);
    me.finish(&arena.buffers);
    shift.end(stats);
    let goes_on = sound && (ledger.cursor as usize) < count;
    if goes_on && !mutants::on(Mutant::Join) {
        ledger.changed.join(&arena.cells);
    }
    goes_on
}
