//! No schedule is faster than its own rules allow: checked on measured schedules.

use crate::{
    graph::{Graph, GraphError},
    trace::{Fate, Trace},
};

/// What a scheduler's way of telling conflicts forbids, as far as time is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConflictModel {
    /// One transaction after another: a block takes at least the sum of its executions.
    Serial,
    /// A transaction starts only after those that it needs have ended, which is known and binds (locks, graphs and
    /// batches of declared accesses): a block takes at least the heaviest chain of its own executions. To be chosen
    /// by who knows that accesses bind: where they are guesses that are validated by value, a transaction may
    /// rightly run ahead of a write that leaves its reads true.
    Whole,
    /// A transaction may start before those that it needs and meet their writes in the middle, or predict what it
    /// reads (optimistic engines, access lists). Then chains overlap, and what is left is the longest execution, and
    /// each worker's share of all.
    Inside,
}

impl ConflictModel {
    /// That of a scheduler whose hints, if any, are guesses, by its standard name.
    pub fn of(scheduler: &str) -> Self {
        match scheduler {
            "serial" => ConflictModel::Serial,
            _ => ConflictModel::Inside,
        }
    }
}

impl Trace {
    /// Holds the time of the block against the span of its conflict model, with the executions of this very
    /// schedule as weights. `graph` has the dependencies for [`ConflictModel::Whole`], which without it is taken for
    /// [`ConflictModel::Inside`]. A trace with gaps passes.
    ///
    /// # Errors
    /// [`GraphError::Impossible`]; [`GraphError::Weights`] if `graph` is of another block.
    pub fn check_time(&self, model: ConflictModel, graph: Option<&Graph>) -> Result<(), GraphError> {
        if self.lost > 0 {
            return Ok(());
        }
        let what = format!("{} on {} threads", self.profile, self.threads);
        let totals = self.totals();
        let hold = |bound, bound_ns| {
            if self.elapsed_ns < bound_ns {
                return Err(GraphError::Impossible {
                    what: what.clone(),
                    time_ns: self.elapsed_ns,
                    bound,
                    bound_ns,
                });
            }
            Ok(())
        };
        let longest = self.tasks.iter().map(|task| task.end_ns.saturating_sub(task.start_ns)).max();
        hold("its longest execution", longest.unwrap_or(0))?;
        match (model, graph) {
            (ConflictModel::Serial, _) => hold("all of its executions, one by one,", totals.busy_ns),
            (ConflictModel::Whole, Some(graph)) => {
                let mut weights = vec![0; graph.len()];
                for task in self.tasks.iter().filter(|task| task.fate == Fate::Committed) {
                    if let Some(weight) = usize::try_from(task.tx).ok().and_then(|tx| weights.get_mut(tx)) {
                        *weight = task.end_ns.saturating_sub(task.start_ns);
                    }
                }
                if graph.len() != self.txs as usize {
                    return Err(GraphError::Weights { weights: graph.len(), txs: self.txs as usize });
                }
                graph.weighing(weights).check_time(what, self.elapsed_ns, self.threads)
            }
            _ => hold("a worker's share of its executions", totals.busy_ns / self.threads.max(1) as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{graph::Edge, trace::Task};

    fn trace(elapsed_ns: u64, spans: &[(u16, u64, u64)]) -> Trace {
        let task = |(tx, &(worker, start_ns, end_ns)): (i64, &(u16, u64, u64))| Task {
            tx,
            incarnation: 0,
            worker,
            lane: 0,
            start_ns,
            end_ns,
            fate: Fate::Committed,
        };
        let tasks = (0..).zip(spans).map(task).collect();
        Trace { elapsed_ns, threads: 2, txs: spans.len() as u32, tasks, ..Trace::default() }
    }

    #[test]
    fn each_model_has_its_bound() {
        let two = trace(12, &[(0, 0, 10), (1, 2, 12)]);
        assert_eq!(two.check_time(ConflictModel::Inside, None), Ok(()));
        assert!(two.check_time(ConflictModel::Serial, None).is_err());
        let chain = Graph::new([vec![], vec![Edge { on: 0, key: 0 }]], vec![1, 1]).unwrap();
        let error = two.check_time(ConflictModel::Whole, Some(&chain)).unwrap_err();
        assert!(matches!(error, GraphError::Impossible { time_ns: 12, bound_ns: 20, .. }), "{error}");
        let free = Graph::new([vec![], vec![]], vec![1, 1]).unwrap();
        assert_eq!(two.check_time(ConflictModel::Whole, Some(&free)), Ok(()));
        let other = Graph::new([vec![]], vec![1]).unwrap();
        assert!(matches!(
            two.check_time(ConflictModel::Whole, Some(&other)),
            Err(GraphError::Weights { weights: 1, txs: 2 })
        ));
        assert!(trace(9, &[(0, 0, 10)]).check_time(ConflictModel::Inside, None).is_err());
        let gaps = Trace { lost: 1, ..trace(9, &[(0, 0, 10)]) };
        assert_eq!(gaps.check_time(ConflictModel::Inside, None), Ok(()));
        let busy = trace(10, &[(0, 0, 10), (1, 0, 10), (2, 0, 10)]);
        assert!(busy.check_time(ConflictModel::Inside, None).is_err());
    }

    #[test]
    fn models_by_name() {
        assert_eq!(ConflictModel::of("serial"), ConflictModel::Serial);
        assert_eq!(ConflictModel::of("block_stm"), ConflictModel::Inside);
        assert_eq!(ConflictModel::of("anything"), ConflictModel::Inside);
    }
}
