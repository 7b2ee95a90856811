//! The end of a prescribed block: whether all of its list was touched, and what it changed.

use super::{
    Prescribed, Run,
    log::{self, WRITTEN},
};
use crate::{attempt::guarded, sync::Mutex};
use braid_core::{BlockError, Cause, Outcome, Probe, Sink, State, TxIndex, Versions, Vm};

/// Changed locations with their last values.
type Changed<M> = braid_core::Changes<M>;

/// Fewer changes are looked up by one worker: it takes some tens of microseconds.
const APART: usize = 512;

impl<M, S, L, K, P> Run<'_, M, S, L, K, P>
where
    M: Vm,
    S: State<M::Key, M::Value>,
    L: Versions<M>,
    K: Sink<M>,
    P: Probe<M::Key>,
{
    /// The end of the block: rule 5.
    pub(super) fn end(mut self, on: &Prescribed) -> Result<Outcome<M>, BlockError<M::Error>> {
        let count = self.block.txs.len() as TxIndex;
        let ledger = Mutex::get_mut(&mut self.ledger);
        if let Some(error) = ledger.error.take() {
            return Err(error);
        }
        let tx = ledger.cursor;
        if tx < count {
            // A worker that could not go on without having been told to left the cause behind.
            let cause = self.interrupted.get_mut().take().unwrap_or(Cause::Cancelled);
            return Err(BlockError { tx, cause });
        }
        let (free, spawned) = (std::mem::take(&mut ledger.free), std::mem::take(&mut ledger.spawned));
        let fail = |cause| BlockError { tx: count, cause };
        let marks = log::union(self.scratch, self.locations);
        let touched = |location: u32| marks[location as usize] != 0;
        self.versions.complete(&touched).map_err(|error| fail(Cause::Invalid(error)))?;
        let mut changes = self.changes(on, &marks, free.len()).map_err(fail)?;
        changes.extend(free);
        if let Some(scratch) = self.scratch.first() {
            scratch.lock().marks = marks;
        }
        let stats = *self.stats.lock();
        Ok(Outcome { changes, spawned, stats })
    }

    /// The last versions of what was written, with room for `more`.
    fn changes(&self, on: &Prescribed, marks: &[u8], more: usize) -> Result<Changed<M>, Cause<M::Error>> {
        let count = marks.iter().filter(|mark| **mark & WRITTEN != 0).count();
        let parts = if count < APART { 1 } else { usize::from(self.plan.width) };
        if parts == 1 {
            let mut changes = Vec::with_capacity(count + more);
            self.settle(marks, 0, &mut changes)?;
            return Ok(changes);
        }
        let size = marks.len().div_ceil(parts);
        let pieces: Vec<_> = marks.chunks(size).map(|marks| Mutex::new((marks, Ok(Vec::new())))).collect();
        on.split(pieces.len(), &|at| {
            let (marks, done) = &mut *pieces[at].lock();
            // The others follow the first.
            let room = marks.iter().filter(|mark| **mark & WRITTEN != 0).count();
            let mut changes = Vec::with_capacity(if at == 0 { count + more } else { room });
            *done = self.settle(marks, (at * size) as u32, &mut changes).map(|()| changes);
        });
        let mut pieces = pieces.into_iter().map(|piece| piece.into_inner().1);
        let first = pieces.next().unwrap_or(Ok(Vec::new()))?;
        pieces.try_fold(first, |mut all, piece| {
            all.append(&mut piece?);
            Ok(all)
        })
    }

    /// The last versions of what is marked as written; the first mark is that of `first`.
    fn settle(&self, marks: &[u8], first: u32, changes: &mut Changed<M>) -> Result<(), Cause<M::Error>> {
        let mut reader = self.block.state.reader().map_err(Cause::Store)?;
        let units = self.plan.starts.len() as u32 - 1;
        let settled = guarded(|| {
            for (mark, location) in marks.iter().zip(first..) {
                if mark & WRITTEN != 0 {
                    let value = self.before(location, units, &mut reader)?;
                    changes.push((self.versions.final_key(location), value));
                }
            }
            Ok(())
        });
        settled.map_err(Cause::Panicked)?.map_err(Cause::Store)
    }
}
