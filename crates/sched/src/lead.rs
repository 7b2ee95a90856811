//! The lead: what one thread does of a block before anybody knows whether others would pay.
//!
//! 1. The calling thread executes transactions in order, each with a final view, folds it and delivers it. Nobody
//!    else takes part yet, so every earlier transaction is committed and nothing has to be checked.
//! 2. Before each transaction it asks whether to go on alone. If not, or at the end of the block, the lead ends; what
//!    it has folded is the committed prefix that a parallel schedule goes on from.
//! 3. A failure is the block's, and ends it.

use crate::{
    brake::Brake,
    chaos::Chaos,
    commit::{Arena, Ledger, Shift, Worker},
    crowd::Crowd,
    sync::{Mutex, atomic::AtomicBool},
};
use braid_core::{Block, Cause, Control, Event, Probe, Sink, State, Stats, TxIndex, Vm};

/// Asked before each transaction: whether to go on alone.
pub(crate) type Alone<'a> = dyn FnMut(TxIndex) -> bool + 'a;

/// Leads `block` on, from the cursor of `ledger` that it advances. Whether the block has not failed.
pub(crate) fn lead<'a, M, S, K, P>(
    block: &'a Block<'a, M, S>,
    ledger: &mut Ledger<'a, M, K>,
    arena: &'a Arena<M::Key, M::Value>,
    (probe, control): (&P, &Control<'_>),
    (crowd, stats): (&Crowd, &Mutex<Stats>),
    alone: &mut Alone<'_>,
) -> bool
where
    M: Vm,
    S: State<M::Key, M::Value>,
    K: Sink<M>,
    P: Probe<M::Key>,
{
    let reader = match block.state.reader() {
        Ok(reader) => reader,
        Err(error) => {
            ledger.fail(Cause::Store(error));
            return false;
        }
    };
    let shift = Shift::new(0, crowd);
    let mut me = Worker::new(0, block.vm, reader, Chaos::new(None, 0), shift.clone());
    let mut attempt = me.take(&arena.buffers);
    let stop = AtomicBool::new(false);
    let mut next = |ledger: &mut Ledger<'a, M, K>| {
        let tx = ledger.cursor;
        if let Some(cause) = control.interrupted() {
            return Err(cause);
        }
        ledger.admit()?;
        let event = |event| {
            if P::ON {
                probe.event(0, event);
            }
        };
        event(Event::Start { tx, incarnation: 0 });
        let brake = Brake::new(control, &stop);
        if !me.execute_final(block.vm, &block.txs[tx as usize], &arena.cells, brake, &mut attempt) {
            return Err(control.interrupted().unwrap_or(Cause::Cancelled));
        }
        event(Event::Finish { tx, incarnation: 0 });
        me.fold(ledger, &arena.cells, &mut attempt)?;
        event(Event::Commit { tx });
        ledger.deliver(&mut attempt);
        Ok(())
    };
    let mut sound = true;
    while sound && (ledger.cursor as usize) < block.txs.len() && alone(ledger.cursor) {
        if let Err(cause) = next(ledger) {
            ledger.fail(cause);
            sound = false;
        }
    }
    me.put(attempt, &arena.buffers);
    me.finish(&arena.buffers);
    shift.end(stats);
    sound
}
