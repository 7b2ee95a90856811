//! What a design makes its transactions wait for, and what follows: the least time that a schedule of its own can
//! have taken, and its time on workers that nobody has.
//!
//! A [`Model`] is one line of a profile. With what the block's transactions need of one another and what the design
//! was told of them ([`Conflicts`]), and with the times of one recorded schedule, it gives *work* (what has to be
//! done once), *span* (the heaviest chain of what waits for one another) and times on 1 to 32 virtual workers, by a
//! simulation in which
//!
//! 1. an execution takes the time of the one that became final in the recorded schedule, however often it is
//!    repeated; waits inside of it and what its worker did meanwhile are no part of it;
//! 2. an execution sees at its start what it will see, and its writes appear at its end, or at its merge where the
//!    design publishes nothing sooner; so what really overlaps within executions is not credited;
//! 3. nothing else costs time but getting hints: neither validation nor commits, nor the scheduler;
//! 4. whatever happens at one moment ends before anything begins, and what begins is chosen as the design says, by
//!    place in the block where it does not. So the same numbers always give the same times.
//!
//! Every time is held against `max(span, busy / workers)`: one below is an error, never a number.

mod floor;
mod merge;
mod phases;
mod stm;
#[cfg(test)]
mod tests;

use crate::{
    graph::{GraphError, span},
    trace::{Fate, Trace},
};
use braid_core::Mode;
use serde::{Deserialize, Serialize};
use std::{cmp::Reverse, collections::BinaryHeap};

/// Numbers of virtual workers.
pub const MODEL_WORKERS: [usize; 5] = [1, 2, 8, 16, 32];

/// What waits for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// Each transaction for the one before it.
    Serial,
    /// Nothing waits to begin. Transactions merge in order; one that began before all that it reads was merged
    /// runs again at its merge, by whoever merges (Monad).
    InOrder,
    /// Nothing waits to begin the first time. Who has read what is written later runs again, after whom it needs if
    /// that one is to run again itself (Block-STM).
    MultiVersion,
    /// What hints say: a transaction begins when those that it waits for have been executed. Where hints are wrong
    /// it runs again when all before it are final.
    Hinted(Waits, First),
    /// Batches, one after the other: closed at the first conflict of hints or at so many members, and done again one
    /// by one if a member has read what another wrote (Reddio).
    Batches {
        /// Members at most.
        most: usize,
    },
    /// Rounds with barriers: in each, all that does not stand is executed, then all is validated; after so many, what
    /// is left goes one by one (Sei).
    Rounds {
        /// Rounds at most.
        most: u32,
        /// Transactions that are looked at together; each such part has its own rounds.
        part: usize,
    },
    /// Messages in rounds: a round begins when the one before has been executed, and ends before the first message that
    /// needs one of its own. Within it each location that hints name is a lock (MegaETH, as the article has it).
    Delivery,
    /// Nothing: what transactions read is known. The longest go first.
    Values,
    /// As [`MultiVersion`](Self::MultiVersion) where that pays, else as [`Serial`](Self::Serial): if all but the
    /// longest transaction take at least so long, and each worker's share of the work, with what sharing costs each
    /// transaction, is less than so many percent of the work.
    Adaptive {
        /// Nanoseconds that all but the longest transaction must take.
        least_ns: u64,
        /// Nanoseconds that sharing costs each transaction.
        each_ns: u64,
        /// Of the work, what a share must be below.
        percent: u64,
    },
}

/// How hints make transactions wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// Locations have versions: who reads or writes waits for the nearest earlier one that writes there. Additions wait
    /// for nobody; who reads after one waits for its merge.
    Versions,
    /// Locations have locks, for many readers or one writer, in the order of the block. Additions write.
    Locks,
}

/// Which of the transactions that may begin does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// The first of the block.
    InBlock,
    /// The one with the heaviest chain behind it.
    OnCriticalPath,
}

/// Who gets the hints about a block, before anything is executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HintTime {
    /// Nobody: there are none, or they were there before.
    #[default]
    None,
    /// One worker.
    One,
    /// All workers, transaction by transaction.
    All,
}

/// What the transactions of a block have to do with one another. Positions count from the first thing that is
/// scheduled: what comes before the transactions, the transactions, what comes after them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conflicts {
    /// Positions before the block's first transaction.
    pub before: u32,
    /// By position, the earlier ones whose writes it reads.
    pub needs: Vec<Vec<u32>>,
    /// By position, what hints say: locations by number, each once, and how they are used. Nothing where nothing is
    /// known.
    pub hints: Vec<Vec<(u32, Mode)>>,
}

/// What a model makes of one schedule. Virtual, but for `floor_ns`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelTimes {
    /// Time to get hints, as measured, and who gets them.
    pub hint_ns: u64,
    /// Who gets them.
    pub hints_by: HintTime,
    /// All executions, each once, one by one: what virtual times are compared with. The same executions, so that
    /// nothing but the schedule makes the difference.
    pub one_by_one_ns: u64,
    /// That, and getting hints.
    pub work_ns: u64,
    /// The heaviest chain of what waits for one another, getting hints included.
    pub span_ns: u64,
    /// The least time that the recorded schedule itself can have taken under its own model.
    pub floor_ns: u64,
    /// What takes that time.
    pub floor: String,
    /// Times on so many workers.
    #[serde(rename = "virtual")]
    pub on_workers: Vec<OnWorkers>,
}

/// A virtual schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnWorkers {
    /// On how many workers.
    pub workers: usize,
    /// From the beginning to the end.
    pub time_ns: u64,
    /// Sum over workers of the time in which they work, in vain or not.
    pub busy_ns: u64,
    /// Executions.
    pub executions: u64,
}

impl ModelTimes {
    /// How many times as fast as its own executions one by one: at most as many as there are workers. `None` if that is
    /// not known.
    pub fn speedup(&self, workers: usize) -> Option<f64> {
        self.on(workers).map(|one| self.one_by_one_ns as f64 / one.time_ns.max(1) as f64)
    }

    /// The schedule on so many workers.
    pub fn on(&self, workers: usize) -> Option<&OnWorkers> {
        self.on_workers.iter().find(|one| one.workers == workers)
    }
}

impl Conflicts {
    /// How many positions there are.
    pub fn len(&self) -> usize {
        self.needs.len()
    }

    /// Whether nothing is scheduled.
    pub fn is_empty(&self) -> bool {
        self.needs.is_empty()
    }

    /// What hints make each position wait for: the execution of these, and the merge of those.
    fn waits(&self, waits: Waits) -> (Vec<Vec<u32>>, Vec<Vec<u32>>) {
        match waits {
            Waits::Versions => self.by_versions(),
            Waits::Locks => (self.by_locks(), vec![Vec::new(); self.len()]),
        }
    }

    fn by_versions(&self) -> (Vec<Vec<u32>>, Vec<Vec<u32>>) {
        #[derive(Clone, Copy, Default)]
        struct Last {
            writer: Option<u32>,
            adder: Option<u32>,
        }
        let mut last = vec![Last::default(); self.locations()];
        let (mut executed, mut merged) = (vec![Vec::new(); self.len()], vec![Vec::new(); self.len()]);
        for (to, hint) in (0u32..).zip(self.hints.iter().take(self.len())) {
            for &(location, mode) in hint {
                let last = &mut last[location as usize];
                if mode == Mode::Add {
                    last.adder = Some(to);
                    continue;
                }
                executed[to as usize].extend(last.writer);
                merged[to as usize].extend(last.adder);
                if mode != Mode::Read {
                    *last = Last { writer: Some(to), adder: None };
                }
            }
        }
        (executed, merged)
    }

    fn by_locks(&self) -> Vec<Vec<u32>> {
        #[derive(Clone, Default)]
        struct Last {
            writer: Option<u32>,
            readers: Vec<u32>,
        }
        let mut last = vec![Last::default(); self.locations()];
        let mut executed = vec![Vec::new(); self.len()];
        for (to, hint) in (0u32..).zip(self.hints.iter().take(self.len())) {
            for &(location, mode) in hint {
                let last = &mut last[location as usize];
                let mine: &mut Vec<u32> = &mut executed[to as usize];
                if mode == Mode::Read {
                    mine.extend(last.writer);
                    last.readers.push(to);
                } else {
                    match last.readers.is_empty() {
                        true => mine.extend(last.writer),
                        false => mine.append(&mut last.readers),
                    }
                    last.writer = Some(to);
                }
            }
        }
        executed
    }

    fn locations(&self) -> usize {
        let all = self.hints.iter().flatten();
        all.map(|(location, _)| *location as usize + 1).max().unwrap_or(0)
    }
}

/// What a simulation comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Simulated {
    time: u64,
    busy: u64,
    executions: u64,
}

impl Model {
    /// That of a scheduler, by its standard name, as far as it can be held against without what hints said.
    pub fn of(scheduler: &str) -> Self {
        match scheduler {
            "serial" => Model::Serial,
            "occ" => Model::InOrder,
            "block_stm" | "adaptive" => Model::MultiVersion,
            "occ_rounds" => Model::Rounds { most: 10, part: 4096 },
            _ => Model::Values,
        }
    }

    /// In words, for people.
    pub fn says(&self) -> &'static str {
        match self {
            Model::Serial => "one after the other",
            Model::InOrder => "in-order merge, one retry",
            Model::MultiVersion => "multi-version, readers of what is written later run again",
            Model::Hinted(Waits::Versions, _) => "graph of hinted locations",
            Model::Hinted(Waits::Locks, _) => "locks on hinted locations",
            Model::Batches { .. } => "batches with barriers",
            Model::Rounds { .. } => "rounds with barriers",
            Model::Delivery => "messages in rounds, a queue for each receiver",
            Model::Values => "nothing waits",
            Model::Adaptive { .. } => "serial or multi-version",
        }
    }

    /// Work, span and virtual times of `trace` under this model. `None` if the trace does not say how long each
    /// position took: it has gaps, or the block did not get to its end.
    ///
    /// # Errors
    /// [`GraphError::Impossible`] if the schedule was faster than its own model allows, or a virtual time is: a defect
    /// of whoever recorded or computed it. [`GraphError::Edge`] if a position needs a later one.
    /// [`GraphError::Weights`] if `conflicts` are of another block.
    pub fn times(
        &self,
        trace: &Trace,
        conflicts: &Conflicts,
        hints_by: HintTime,
    ) -> Result<Option<ModelTimes>, GraphError> {
        let Some(weights) = weights(trace, conflicts)? else { return Ok(None) };
        let (floor, floor_ns) = trace.floor(*self, Some(conflicts));
        trace.hold(floor, floor_ns)?;
        let hint_ns = if hints_by == HintTime::None { 0 } else { trace.hint_ns };
        let hints = hint_parts(hint_ns, hints_by, trace.threads, &weights);
        let hint_span = hints.iter().copied().max().unwrap_or(0);
        let mut times = ModelTimes {
            hint_ns,
            hints_by,
            one_by_one_ns: total(&weights),
            work_ns: total(&weights).saturating_add(total(&hints)),
            span_ns: self.span(conflicts, &weights).saturating_add(hint_span),
            floor_ns,
            floor: floor.to_owned(),
            on_workers: Vec::new(),
        };
        for workers in MODEL_WORKERS {
            let done = self.simulate(conflicts, &weights, workers);
            let one = OnWorkers {
                workers,
                time_ns: done.time.saturating_add(listed(&hints, workers)),
                busy_ns: done.busy.saturating_add(total(&hints)),
                executions: done.executions,
            };
            times.hold(&trace.profile, &one)?;
            times.on_workers.push(one);
        }
        Ok(Some(times))
    }

    /// The heaviest chain of what waits for one another under this model.
    fn span(&self, conflicts: &Conflicts, weights: &[u64]) -> u64 {
        let chain = |edges: &[Vec<u32>]| span(edges.iter().map(|on| on.iter().copied()), weights);
        match self {
            Model::Serial => total(weights),
            Model::InOrder | Model::MultiVersion | Model::Rounds { .. } => chain(&conflicts.needs),
            // Where it is serial it is longer, and where it is not, it is this.
            Model::Adaptive { .. } => chain(&conflicts.needs),
            Model::Hinted(waits, _) => {
                // What runs again waits for what it needs, and what does not for what hints say; nothing for both.
                let (mut executed, merged) = conflicts.waits(*waits);
                executed.iter_mut().zip(merged).for_each(|(all, more)| all.extend(more));
                chain(&executed).max(chain(&conflicts.needs))
            }
            Model::Batches { most } => phases::batches(conflicts, weights, *most, usize::MAX).time,
            Model::Delivery => phases::lines(conflicts, weights),
            Model::Values => weights.iter().copied().max().unwrap_or(0),
        }
    }

    fn simulate(&self, conflicts: &Conflicts, weights: &[u64], workers: usize) -> Simulated {
        let one_by_one = || {
            let time = total(weights);
            Simulated { time, busy: time, executions: weights.len() as u64 }
        };
        match self {
            Model::Serial => one_by_one(),
            Model::InOrder => merge::in_order(conflicts, weights, workers),
            Model::MultiVersion => stm::multi_version(conflicts, weights, workers),
            Model::Hinted(waits, first) => merge::hinted(conflicts, weights, workers, *waits, *first),
            Model::Batches { most } => phases::batches(conflicts, weights, *most, workers),
            Model::Rounds { most, part } => phases::rounds(conflicts, weights, (*most, *part), workers),
            Model::Delivery => phases::delivery(conflicts, weights, workers),
            Model::Values => {
                let mut longest_first = weights.to_vec();
                longest_first.sort_unstable_by_key(|weight| Reverse(*weight));
                let time = listed(&longest_first, workers);
                Simulated { time, ..one_by_one() }
            }
            Model::Adaptive { least_ns, each_ns, percent } => {
                let longest = weights.iter().copied().max().unwrap_or(0);
                let total = total(weights);
                let sharing = each_ns.saturating_mul(weights.len() as u64);
                let shared = total.saturating_add(sharing) / workers.max(1) as u64;
                let pays = workers > 1
                    && total - longest >= *least_ns
                    && u128::from(shared) * 100 < u128::from(total) * u128::from(*percent);
                if pays { stm::multi_version(conflicts, weights, workers) } else { one_by_one() }
            }
        }
    }
}

impl Trace {
    /// Holds what the record says of its own model against the time of the block and of its virtual schedules. A trace
    /// with gaps, or without such times, passes.
    ///
    /// # Errors
    /// [`GraphError::Impossible`].
    pub fn check_model(&self) -> Result<(), GraphError> {
        let Some(model) = self.model.as_ref().filter(|_| self.lost == 0) else { return Ok(()) };
        self.hold("what its own model takes", model.floor_ns)?;
        model.on_workers.iter().try_for_each(|one| model.hold(&self.profile, one))
    }
}

impl ModelTimes {
    fn hold(&self, profile: &str, one: &OnWorkers) -> Result<(), GraphError> {
        let share = one.busy_ns.div_ceil(one.workers.max(1) as u64);
        for (bound, bound_ns) in [("the span of its own model", self.span_ns), ("a worker's share", share)] {
            if one.time_ns < bound_ns {
                let what = format!("{profile} on {} virtual workers", one.workers);
                return Err(GraphError::Impossible { what, time_ns: one.time_ns, bound, bound_ns });
            }
        }
        Ok(())
    }
}

/// Time of each position's last execution in the schedule, by position.
fn weights(trace: &Trace, conflicts: &Conflicts) -> Result<Option<Vec<u64>>, GraphError> {
    let scheduled = trace.commits.len();
    for (tx, on) in (0..).zip(&conflicts.needs) {
        if let Some(on) = on.iter().find(|on| **on >= tx) {
            return Err(GraphError::Edge { tx, on: *on });
        }
    }
    if trace.lost > 0 || scheduled < trace.txs as usize {
        return Ok(None);
    }
    if conflicts.len() != scheduled {
        return Err(GraphError::Weights { weights: scheduled, txs: conflicts.len() });
    }
    let mut weights = vec![None; scheduled];
    for (task, time) in trace.tasks.iter().zip(trace.own_times()) {
        let place = usize::try_from(task.tx.saturating_add(i64::from(conflicts.before))).ok();
        if let Some(place) = place.and_then(|at| weights.get_mut(at)).filter(|_| task.fate == Fate::Committed)
        {
            *place = Some(time);
        }
    }
    Ok(weights.into_iter().collect())
}

/// Getting hints, in parts that different workers can do.
fn hint_parts(hint_ns: u64, by: HintTime, threads: usize, weights: &[u64]) -> Vec<u64> {
    match by {
        HintTime::None => Vec::new(),
        HintTime::One => vec![hint_ns],
        HintTime::All => {
            // All threads were at it, each position for as long as it takes to execute it, but for a factor.
            let all = u128::from(hint_ns) * threads.max(1) as u128;
            let total: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
            let part = |weight: &u64| (all * u128::from(*weight)).checked_div(total).unwrap_or(0) as u64;
            weights.iter().map(part).collect()
        }
    }
}

/// All of these.
fn total(times: &[u64]) -> u64 {
    times.iter().fold(0, |sum, time| sum.saturating_add(*time))
}

/// Time of what waits for nothing, begun in this order by whoever is free.
fn listed(times: &[u64], workers: usize) -> u64 {
    let mut ends: BinaryHeap<Reverse<u64>> = BinaryHeap::new();
    let mut last = 0;
    for time in times {
        let begin = if ends.len() < workers.max(1) { 0 } else { ends.pop().map_or(0, |Reverse(end)| end) };
        let end = begin.saturating_add(*time);
        last = last.max(end);
        ends.push(Reverse(end));
    }
    last
}
