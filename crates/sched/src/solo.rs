//! One worker that executes in order while nobody else executes, publishes or commits anything: as fast as `serial`
//! does, because it does the same.
//!
//! 1. It executes on an overlay over what is committed ([`Changed::over`](crate::commit::Changed::over)), folds there,
//!    and delivers. Every earlier transaction is committed, so every view is final and nothing is recorded.
//! 2. Whoever is to look at cells afterwards finds nothing of it there until it has been joined to them
//!    ([`Changed::join`](crate::commit::Changed::join)), which comes before anybody else is let in. At the end of a
//!    block it may stay where it is.
//! 3. A failure is that of a final execution, so the block's.

use crate::{
    attempt::{Attempt, Verdict, execute},
    brake::Brake,
    cells::Cells,
    commit::{Ledger, Worker},
    serial::SerialView,
    sync::atomic::AtomicBool,
};
use braid_core::{Block, Cause, Control, Event, Probe, Sink, State, Vm};

/// What it executes, and for whom.
pub(crate) struct Solo<'b, 'a, M: Vm, S, P> {
    pub(crate) block: &'a Block<'a, M, S>,
    pub(crate) probe: &'b P,
    pub(crate) control: &'b Control<'b>,
    pub(crate) cells: &'b Cells<M::Key, M::Value>,
    /// Whether the block has ended.
    pub(crate) stop: &'b AtomicBool,
}

impl<'a, M, S, P> Solo<'_, 'a, M, S, P>
where
    M: Vm,
    S: State<M::Key, M::Value>,
    P: Probe<M::Key>,
{
    /// Executes and commits the transaction at the cursor of `ledger`. False if the block was given up.
    pub(crate) fn step<K: Sink<M>>(
        &self,
        me: &mut Worker<M, S::Reader<'a>>,
        ledger: &mut Ledger<'a, M, K>,
        attempt: &mut Attempt<M>,
    ) -> Result<bool, Cause<M::Error>> {
        let (tx, id) = (ledger.cursor, me.hand.id);
        let brake = || Brake::new(self.control, self.stop);
        if brake().interrupted::<M::Error>().is_some() {
            return Ok(false);
        }
        ledger.admit()?;
        self.event(id, Event::Start { tx, incarnation: 0 });
        attempt.clear(true);
        me.hand.count(|stats| stats.executions += 1);
        let (apart, mut beneath) = ledger.changed.over(self.cells, &mut me.hand.reader);
        let mut view = SerialView::new(apart, &mut beneath, brake());
        let body = &self.block.txs[tx as usize];
        let halted = |view: &mut SerialView<'_, _, _, _>| view.halted.take();
        match execute(self.block.vm, &mut me.scratch, body, &mut view, halted, &mut attempt.effects) {
            Verdict::Done => {}
            // A slow state is not waited for any more.
            Verdict::Failed(Cause::Store(_)) if brake().given_up() => return Ok(false),
            Verdict::Failed(cause) => return Err(cause),
            Verdict::Blocked(_) => unreachable!("what is committed never waits"),
            Verdict::Interrupted => return Ok(false),
        }
        self.event(id, Event::Finish { tx, incarnation: 0 });
        apart.fold(tx, &attempt.effects, &mut beneath)?;
        self.event(id, Event::Commit { tx });
        ledger.deliver(attempt);
        Ok(true)
    }

    fn event(&self, worker: u16, event: Event<'_, M::Key>) {
        if P::ON {
            self.probe.event(worker, event);
        }
    }
}
