//! The least time that a recorded schedule can have taken under its own model, from its own events.
//!
//! What the design promises to do after something else, it tells of after it has told that the other has ended, on a
//! clock that never goes back. So the times of a chain of such executions, as recorded, add up to no more than the
//! time of the block, on however busy a machine: a schedule that took less has broken a promise of its own design, or
//! was recorded wrongly. Nothing is compared with the times of another run.

use super::{Conflicts, Model, phases};
use crate::{graph::GraphError, trace::Trace};

/// Durations of a schedule by position.
struct Durations {
    /// Of the first execution.
    first: Vec<u64>,
    /// Of all others together.
    again: Vec<u64>,
}

impl Durations {
    fn of(trace: &Trace, before: u32) -> Self {
        let place = |tx: i64| usize::try_from(tx.saturating_add(i64::from(before))).ok();
        let count = trace.tasks.iter().filter_map(|task| place(task.tx)).max().map_or(0, |last| last + 1);
        // Bounded by the tasks there are, whatever numbers a file has.
        let count = count.min(trace.tasks.len());
        let (mut first, mut again) = (vec![0u64; count], vec![0u64; count]);
        for task in &trace.tasks {
            let Some(at) = place(task.tx).filter(|at| *at < count) else { continue };
            let times = if task.incarnation == 0 { &mut first } else { &mut again };
            times[at] = times[at].saturating_add(task.end_ns.saturating_sub(task.start_ns));
        }
        Durations { first, again }
    }

    /// The greatest of `ends`, each followed by all that was repeated from it on: merges are in order, and what is
    /// repeated is repeated there.
    fn merged(&self, ends: &[u64]) -> u64 {
        let (mut behind, mut most) = (0u64, 0u64);
        for (end, again) in ends.iter().zip(&self.again).rev() {
            behind = behind.saturating_add(*again);
            most = most.max(end.saturating_add(behind));
        }
        most
    }
}

impl Trace {
    /// What takes the most time of what `model` forbids to overlap, and that time. `conflicts` are needed where hints
    /// make transactions wait; without them, and in a trace with gaps, less is forbidden.
    pub fn floor(&self, model: Model, conflicts: Option<&Conflicts>) -> (&'static str, u64) {
        let longest = self.tasks.iter().map(|task| task.end_ns.saturating_sub(task.start_ns)).max();
        let longest = ("its longest execution", longest.unwrap_or(0));
        if self.lost > 0 {
            return longest;
        }
        let totals = self.totals();
        let share = ("a worker's share of its executions", totals.busy_ns / self.threads.max(1) as u64);
        let own = self.own_floor(model, conflicts, totals.busy_ns);
        [longest, share, own].into_iter().max_by_key(|(_, time)| *time).unwrap_or(longest)
    }

    fn own_floor(&self, model: Model, conflicts: Option<&Conflicts>, busy_ns: u64) -> (&'static str, u64) {
        let below = || self.tasks.iter().map(|task| task.tx.saturating_neg()).max().unwrap_or(0);
        let before = conflicts.map_or_else(|| below().clamp(0, i64::from(u32::MAX)) as u32, |of| of.before);
        let times = Durations::of(self, before);
        let count = times.first.len();
        let conflicts = conflicts.filter(|conflicts| conflicts.len() == count);
        match (model, conflicts) {
            (Model::Serial, _) => ("all of its executions, one by one,", busy_ns),
            (Model::InOrder, _) => {
                ("an execution and what was repeated at the merges after it", times.merged(&times.first))
            }
            (Model::Hinted(waits, _), Some(conflicts)) => {
                let (mut on, merged) = conflicts.waits(waits);
                on.iter_mut().zip(merged).for_each(|(all, more)| all.extend(more));
                let mut ends: Vec<u64> = Vec::with_capacity(count);
                for (on, time) in on.iter().zip(&times.first) {
                    let ready = on.iter().filter_map(|on| ends.get(*on as usize)).max();
                    ends.push(ready.copied().unwrap_or(0).saturating_add(*time));
                }
                ("the heaviest chain of its hints, and what was repeated after it,", times.merged(&ends))
            }
            (Model::Batches { most }, Some(conflicts)) => {
                let (mut sum, mut start) =
                    (times.again.iter().fold(0u64, |sum, time| sum.saturating_add(*time)), 0);
                for end in phases::closed(conflicts, most) {
                    sum = sum.saturating_add(times.first[start..end].iter().copied().max().unwrap_or(0));
                    start = end;
                }
                ("the longest of each batch, and what was repeated,", sum)
            }
            (Model::MultiVersion | Model::Rounds { .. } | Model::Adaptive { .. }, _) => {
                let both = times.first.iter().zip(&times.again);
                let most = both.map(|(first, again)| first.saturating_add(*again)).max();
                ("the executions of one transaction", most.unwrap_or(0))
            }
            (Model::Delivery, Some(conflicts)) => {
                ("the longest queue of each round", phases::lines(conflicts, &times.first))
            }
            (Model::Values | Model::Hinted(..) | Model::Batches { .. } | Model::Delivery, _) => ("", 0),
        }
    }

    /// Holds the time of the block against what cannot have taken less.
    ///
    /// # Errors
    /// [`GraphError::Impossible`].
    pub(crate) fn hold(&self, bound: &'static str, bound_ns: u64) -> Result<(), GraphError> {
        if self.elapsed_ns >= bound_ns {
            return Ok(());
        }
        let what = format!("{} on {} threads", self.profile, self.threads);
        Err(GraphError::Impossible { what, time_ns: self.elapsed_ns, bound, bound_ns })
    }

    /// Holds the time of the block against the least that a schedule of this model can have taken: the longest
    /// execution, each worker's share of all, and what the model forbids to overlap. All of these are sums of times
    /// of this very schedule. A trace with gaps passes.
    ///
    /// # Errors
    /// [`GraphError::Impossible`].
    pub fn check_time(&self, model: Model, conflicts: Option<&Conflicts>) -> Result<(), GraphError> {
        if self.lost > 0 {
            return Ok(());
        }
        let (bound, bound_ns) = self.floor(model, conflicts);
        self.hold(bound, bound_ns)
    }
}
