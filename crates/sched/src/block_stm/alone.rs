//! Worker 0 alone (rule 19), as on a chain, where others would only wait for it.

use super::{Run, reads::Me};
use crate::{
    mutants::{self, Mutant},
    solo::Solo,
    sync::atomic::Ordering,
};
use braid_core::{Probe, Sink, State, TxIndex, Vm};

impl<M, S, K, P> Run<'_, M, S, K, P>
where
    M: Vm,
    S: State<M::Key, M::Value>,
    K: Sink<M>,
    P: Probe<M::Key>,
{
    /// Executes up to `most` transactions from the cursor on, if nobody has one. How many it were, if so.
    pub(super) fn go_alone(&self, me: &mut Me<'_, '_, M, S>, most: u32) -> Option<u32> {
        let count = self.slots.len() as u32;
        // Acquire: as for who begins at the cursor (rule 15).
        let from = self.cursor.load(Ordering::Acquire);
        // Relaxed: a hint.
        if from >= count || self.next.load(Ordering::Relaxed) != from || !self.baton.ring() {
            return None;
        }
        let alone = self.take_all(me, from, most);
        self.commit_on(me);
        alone
    }

    /// With the baton held.
    fn take_all(&self, me: &mut Me<'_, '_, M, S>, from: TxIndex, most: u32) -> Option<u32> {
        let mut ledger = self.ledger.lock();
        let count = self.slots.len() as u32;
        // Relaxed: that nobody else has drawn or draws is all that it says, and `next` alone decides who draws what.
        let claim = self.next.compare_exchange(from, count, Ordering::Relaxed, Ordering::Relaxed);
        if claim.is_err() {
            return None;
        }
        debug_assert_eq!(ledger.cursor, from, "all that was drawn is committed");
        let cells = &self.arena.cells;
        let solo =
            Solo { block: self.block, probe: self.probe, control: self.control, cells, stop: &self.stop };
        ledger.changed.part(cells);
        let mut attempt = self.take(me);
        let end = count.min(from.saturating_add(most));
        while ledger.cursor < end {
            match solo.step(me, &mut ledger, &mut attempt) {
                Ok(true) => {}
                Ok(false) => {
                    self.interrupt(None);
                    break;
                }
                Err(cause) => {
                    ledger.fail(cause);
                    // Relaxed: it carries no data.
                    self.stop.store(true, Ordering::Relaxed);
                    break;
                }
            }
        }
        me.put(attempt, &self.arena.buffers);
        if ledger.cursor == count {
            // Relaxed: it carries no data.
            self.stop.store(true, Ordering::Relaxed);
        } else if !self.brake().stopped() {
            let disturbed = !mutants::on(Mutant::Join) && ledger.changed.join(cells);
            if disturbed {
                self.disturbances.add();
            }
            // Release: pairs with the Acquire of rule 15.
            self.cursor.store(ledger.cursor, Ordering::Release);
            // Relaxed: as above. Whoever draws finds what is committed by the locks of the cells.
            self.next.store(ledger.cursor, Ordering::Relaxed);
            self.crowd.wake_one();
        }
        Some(ledger.cursor - from)
    }
}
