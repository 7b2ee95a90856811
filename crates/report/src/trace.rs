//! A schedule as it was: which worker executed what and when, who waited for whom, what was thrown away.

use crate::{
    lanes::{Lane, SPANS_MAX, Span},
    model::ModelTimes,
    recorder::{Stamped, What},
};
use braid_core::TxIndex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of [`Trace`] as a document. Fields may be added within one.
pub const TRACE_VERSION: u32 = 1;

/// A location, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// Names it exactly: an address, `address[slot]`.
    pub text: String,
    /// What it is, where that is known: the token balance of whom, a pool's reserves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl Key {
    /// A location without a name.
    pub fn new(text: impl Into<String>) -> Self {
        Key { text: text.into(), name: None }
    }

    /// The same location, called so.
    pub fn named(self, name: Option<String>) -> Self {
        Key { name, ..self }
    }

    /// The name, or else the exact text.
    pub fn label(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.text)
    }
}

/// What was run, as far as events do not say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Described {
    /// Text that names the block.
    pub input: String,
    /// The profile.
    pub profile: String,
    /// The scheduler, by its standard name.
    pub scheduler: String,
    /// Threads that the profile was asked to use.
    pub threads: usize,
    /// Positions of the schedule before the block's first transaction (system calls).
    pub before: u32,
    /// Transactions of the block.
    pub txs: u32,
}

/// How an execution ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It became final.
    Committed,
    /// It was thrown away: what it saw was not true.
    Aborted,
    /// It stopped at a location that an earlier transaction had yet to write, and began again later.
    Blocked,
    /// It ended, but the block did not get so far, or the events that would tell were dropped.
    Open,
}

/// One execution of one transaction. Times are nanoseconds since the beginning of the block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// The transaction: its place in the block. What surrounds the transactions is numbered as well: below 0
    /// what comes before them, from their number on what comes after.
    pub tx: i64,
    /// Which of its executions, from 0.
    pub incarnation: u32,
    /// Who executed it.
    pub worker: u16,
    /// Which of the executions that the worker has in hand at a time, from 0: an execution that is parked
    /// overlaps those that its worker goes on with.
    pub lane: u16,
    /// Its start.
    pub start_ns: u64,
    /// Its end.
    pub end_ns: u64,
    /// How it ended.
    pub fate: Fate,
}

/// An execution that had to wait at a location.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// Index of the execution in [`Trace::tasks`], if its start is known.
    pub task: Option<u32>,
    /// The transaction that waits.
    pub tx: i64,
    /// Index of the location in [`Trace::keys`].
    pub key: u32,
    /// The transaction that it waits for.
    pub on: i64,
    /// When it found that it had to.
    pub at_ns: u64,
    /// When it went on, at the latest: when the other one ended, or this transaction's next event.
    pub until_ns: u64,
}

/// An execution thrown away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abort {
    /// Index of the execution in [`Trace::tasks`], if its start is known.
    pub task: Option<u32>,
    /// The transaction that has to run again.
    pub tx: i64,
    /// Index in [`Trace::keys`] of the location where what it saw was not true.
    pub key: u32,
    /// Who wrote there, if one transaction of the block made the difference.
    pub by: Option<i64>,
    /// The worker that noticed.
    pub worker: u16,
    /// When.
    pub at_ns: u64,
    /// Time of the execution that was thrown away; 0 if another reason had thrown it away before.
    pub cost_ns: u64,
}

/// A transaction that became final.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// The transaction.
    pub tx: i64,
    /// The worker that made it final.
    pub worker: u16,
    /// When.
    pub at_ns: u64,
}

/// The schedule of one execution of one block.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// [`TRACE_VERSION`].
    pub version: u32,
    /// Text that names the block.
    pub input: String,
    /// The profile.
    pub profile: String,
    /// The scheduler, by its standard name.
    pub scheduler: String,
    /// Threads that the profile was asked to use.
    pub threads: usize,
    /// Transactions of the block.
    pub txs: u32,
    /// From the beginning to the end of the block, telling of events included.
    pub elapsed_ns: u64,
    /// Of that, getting hints, before anything was executed.
    #[serde(default)]
    pub hint_ns: u64,
    /// What the profile's own model makes of it, if that was asked for. Virtual, but for its floor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelTimes>,
    /// Events dropped because a worker had more than its limit. If any, the rest has gaps.
    pub lost: u64,
    /// The locations that [`Wait`]s and [`Abort`]s name by their index here.
    pub keys: Vec<Key>,
    /// Executions, by their start.
    pub tasks: Vec<Task>,
    /// By time.
    pub waits: Vec<Wait>,
    /// By time.
    pub aborts: Vec<Abort>,
    /// In block order.
    pub commits: Vec<Commit>,
    /// What the block took besides its workers, by lane and start; empty unless that was asked for. Root and disk may
    /// end after `elapsed_ns`, which is execution alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lanes: Vec<Span>,
}

/// A trace that contradicts itself, as one that was edited by hand may.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// Written by a version that this one does not know.
    #[error("schedule trace of version {0}: this program reads version {TRACE_VERSION}")]
    Version(u32),
    /// An index that points nowhere, or times out of order.
    #[error("{what} {index} of the schedule trace: {reason}")]
    Entry {
        /// The list it is in.
        what: &'static str,
        /// Its place there.
        index: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// Totals of a trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Executions.
    pub executions: u64,
    /// Executions thrown away.
    pub aborted: u64,
    /// Executions that stopped to begin again.
    pub blocked: u64,
    /// Waits at a location.
    pub waits: u64,
    /// Sum over workers of the time in which they had an execution in hand.
    pub busy_ns: u64,
    /// Sum of the executions that came to nothing.
    pub wasted_ns: u64,
    /// Sum of waits.
    pub waited_ns: u64,
}

/// What one location cost a schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyCost {
    /// Index in [`Trace::keys`].
    pub key: u32,
    /// Executions thrown away because of it.
    pub aborts: u64,
    /// Waits at it.
    pub waits: u64,
    /// Time of what was thrown away, and of the waits.
    pub cost_ns: u64,
}

impl Trace {
    /// Whether every index points somewhere and times are in order.
    ///
    /// # Errors
    /// The first entry that is not so.
    pub fn check(&self) -> Result<(), TraceError> {
        if self.version != TRACE_VERSION {
            return Err(TraceError::Version(self.version));
        }
        let bad = |what, index, reason| Err(TraceError::Entry { what, index, reason });
        for (index, task) in self.tasks.iter().enumerate() {
            if task.end_ns < task.start_ns {
                return bad("task", index, "ends before it starts");
            }
        }
        if self.lanes.len() > SPANS_MAX {
            return bad("lane", SPANS_MAX, "is one too many");
        }
        for (index, span) in self.lanes.iter().enumerate() {
            if let Some(reason) = span.wrong() {
                return bad("lane", index, reason);
            }
        }
        let known = |task: Option<u32>| task.is_none_or(|task| (task as usize) < self.tasks.len());
        for (index, wait) in self.waits.iter().enumerate() {
            if wait.key as usize >= self.keys.len() || !known(wait.task) {
                return bad("wait", index, "refers to what is not there");
            }
            if wait.until_ns < wait.at_ns {
                return bad("wait", index, "ends before it starts");
            }
        }
        for (index, abort) in self.aborts.iter().enumerate() {
            if abort.key as usize >= self.keys.len() || !known(abort.task) {
                return bad("abort", index, "refers to what is not there");
            }
        }
        Ok(())
    }

    /// From the beginning of the block to the end of the last lane.
    pub fn whole_ns(&self) -> u64 {
        self.lanes.iter().map(|span| span.end_ns).fold(self.elapsed_ns, u64::max)
    }

    /// For how long each lane that there is was at work.
    pub fn lane_times(&self) -> Vec<(Lane, u64)> {
        let of = |lane| self.lanes.iter().filter(move |span| span.lane == lane);
        let time = |lane| of(lane).fold(0, |sum: u64, span| sum.saturating_add(span.work_ns()));
        Lane::ALL
            .into_iter()
            .filter(|lane| of(*lane).next().is_some())
            .map(|lane| (lane, time(lane)))
            .collect()
    }

    /// How the transaction is called: by its number, or by where it stands besides the transactions.
    pub fn tx_name(&self, tx: i64) -> String {
        tx_name(tx, self.txs)
    }

    /// Totals.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals {
            executions: self.tasks.len() as u64,
            waits: self.waits.len() as u64,
            waited_ns: self.waits.iter().fold(0, |sum, wait| sum.saturating_add(wait.until_ns - wait.at_ns)),
            ..Totals::default()
        };
        // Tasks are by their start, so what a worker has in hand is one interval after another.
        let mut in_hand = BTreeMap::<u16, u64>::new();
        for task in &self.tasks {
            let until = in_hand.entry(task.worker).or_insert(0);
            let more = task.end_ns.saturating_sub(task.start_ns.max(*until));
            totals.busy_ns = totals.busy_ns.saturating_add(more);
            *until = task.end_ns.max(*until);
            let time = task.end_ns - task.start_ns;
            match task.fate {
                Fate::Aborted => totals.aborted += 1,
                Fate::Blocked => totals.blocked += 1,
                Fate::Committed | Fate::Open => continue,
            }
            totals.wasted_ns = totals.wasted_ns.saturating_add(time);
        }
        totals
    }

    /// For each execution the time that it took itself: without the waits inside of it, and without what its worker
    /// executed meanwhile.
    pub fn own_times(&self) -> Vec<u64> {
        let mut apart: Vec<Vec<(u64, u64)>> = vec![Vec::new(); self.tasks.len()];
        for wait in &self.waits {
            if let Some(apart) = wait.task.and_then(|task| apart.get_mut(task as usize)) {
                apart.push((wait.at_ns, wait.until_ns));
            }
        }
        // By their start, so what is open when another begins has begun before.
        let mut open = BTreeMap::<u16, Vec<usize>>::new();
        for (at, task) in self.tasks.iter().enumerate() {
            let open = open.entry(task.worker).or_default();
            open.retain(|other| self.tasks[*other].end_ns > task.start_ns);
            open.iter().for_each(|other| apart[*other].push((task.start_ns, task.end_ns)));
            open.push(at);
        }
        let own = |(task, mut apart): (&Task, Vec<(u64, u64)>)| {
            apart.sort_unstable();
            let (mut own, mut until) = (task.end_ns.saturating_sub(task.start_ns), task.start_ns);
            for (from, to) in apart {
                let (from, to) = (from.max(until), to.min(task.end_ns));
                own = own.saturating_sub(to.saturating_sub(from));
                until = until.max(to);
            }
            own
        };
        self.tasks.iter().zip(apart).map(own).collect()
    }

    /// What each location cost, dearest first.
    pub fn costs(&self) -> Vec<KeyCost> {
        let mut costs: Vec<KeyCost> = Vec::new();
        costs.resize(self.keys.len(), KeyCost::default());
        for (cost, key) in costs.iter_mut().zip(0..) {
            cost.key = key;
        }
        for wait in &self.waits {
            let cost = &mut costs[wait.key as usize];
            cost.waits += 1;
            cost.cost_ns = cost.cost_ns.saturating_add(wait.until_ns - wait.at_ns);
        }
        for abort in &self.aborts {
            let cost = &mut costs[abort.key as usize];
            cost.aborts += 1;
            cost.cost_ns = cost.cost_ns.saturating_add(abort.cost_ns);
        }
        costs.retain(|cost| cost.aborts + cost.waits > 0);
        costs.sort_by_key(|cost| (std::cmp::Reverse((cost.cost_ns, cost.aborts + cost.waits)), cost.key));
        costs
    }
}

/// How a transaction of a block of `txs` is called.
pub(crate) fn tx_name(tx: i64, txs: u32) -> String {
    if tx < 0 {
        "what comes before the transactions".to_owned()
    } else if tx >= i64::from(txs) {
        "what comes after the transactions".to_owned()
    } else {
        format!("transaction {tx}")
    }
}

/// Puts events in the order of their times together.
pub(crate) fn build<K: Copy + Ord>(
    events: &[Stamped<K>],
    lost: u64,
    elapsed_ns: u64,
    described: Described,
    name: impl FnMut(&K) -> Key,
) -> Trace {
    let Described { input, profile, scheduler, threads, before, txs } = described;
    let trace = Trace {
        version: TRACE_VERSION,
        input,
        profile,
        scheduler,
        threads,
        txs,
        elapsed_ns,
        lost,
        ..Trace::default()
    };
    let mut builder = Builder { trace, before, name, known: BTreeMap::new(), open: BTreeMap::new() };
    for event in events {
        builder.take(event);
    }
    builder.end(events.last().map_or(0, |last| last.at))
}

/// What is known of a transaction while its events come in.
#[derive(Default)]
struct Progress {
    /// Its latest execution.
    last: Option<usize>,
    /// Whether that one still runs.
    runs: bool,
    /// A wait whose end is not known.
    wait: Option<usize>,
}

struct Builder<K, N> {
    trace: Trace,
    before: u32,
    name: N,
    known: BTreeMap<K, u32>,
    open: BTreeMap<TxIndex, Progress>,
}

impl<K: Copy + Ord, N: FnMut(&K) -> Key> Builder<K, N> {
    fn number(&self, tx: TxIndex) -> i64 {
        i64::from(tx) - i64::from(self.before)
    }

    fn key(&mut self, key: &K) -> u32 {
        let next = self.trace.keys.len() as u32;
        let (keys, name) = (&mut self.trace.keys, &mut self.name);
        *self.known.entry(*key).or_insert_with(|| {
            keys.push(name(key));
            next
        })
    }

    fn take(&mut self, event: &Stamped<K>) {
        let at = event.at;
        match event.what {
            What::Start { tx, incarnation } => self.start(tx, incarnation, event),
            What::Wait { tx, key, on } => {
                self.resume(tx, at);
                let (key, number, on) = (self.key(&key), self.number(tx), self.number(on));
                let progress = self.open.entry(tx).or_default();
                progress.wait = Some(self.trace.waits.len());
                let task = progress.last.filter(|_| progress.runs).map(|task| task as u32);
                self.trace.waits.push(Wait { task, tx: number, key, on, at_ns: at, until_ns: at });
            }
            What::Abort { tx, key, by } => self.abort(tx, &key, by, event),
            What::Finish { tx, .. } => {
                self.resume(tx, at);
                let progress = self.open.entry(tx).or_default();
                if let Some(task) = progress.last.filter(|_| std::mem::take(&mut progress.runs)) {
                    self.trace.tasks[task].end_ns = at;
                }
            }
            What::Commit { tx } => {
                self.resume(tx, at);
                let number = self.number(tx);
                let progress = self.open.entry(tx).or_default();
                if let Some(task) = progress.last {
                    self.trace.tasks[task].fate = Fate::Committed;
                }
                self.trace.commits.push(Commit { tx: number, worker: event.worker, at_ns: at });
            }
        }
    }

    fn start(&mut self, tx: TxIndex, incarnation: u32, event: &Stamped<K>) {
        // An execution that stopped at a location told that it waits, and nothing else.
        let waited = self.open.get(&tx).and_then(|progress| progress.wait);
        self.resume(tx, event.at);
        let number = self.number(tx);
        let progress = self.open.entry(tx).or_default();
        if let Some(task) = progress.last.filter(|_| !progress.runs) {
            // It had its effects, and somebody wanted others: a whole batch, say, that is done again.
            self.trace.tasks[task].fate = Fate::Aborted;
        } else if let Some(task) = progress.last {
            let task = &mut self.trace.tasks[task];
            task.end_ns = waited.map_or(event.at, |wait| self.trace.waits[wait].at_ns).max(task.start_ns);
            task.fate = Fate::Blocked;
        }
        (progress.last, progress.runs) = (Some(self.trace.tasks.len()), true);
        self.trace.tasks.push(Task {
            tx: number,
            incarnation,
            worker: event.worker,
            lane: 0,
            start_ns: event.at,
            end_ns: event.at,
            fate: Fate::Open,
        });
    }

    fn abort(&mut self, tx: TxIndex, key: &K, by: Option<TxIndex>, event: &Stamped<K>) {
        self.resume(tx, event.at);
        let (key, number, by) = (self.key(key), self.number(tx), by.map(|by| self.number(by)));
        let progress = self.open.entry(tx).or_default();
        let mut cost_ns = 0;
        if let Some(task) = progress.last {
            let task = &mut self.trace.tasks[task];
            if std::mem::take(&mut progress.runs) {
                task.end_ns = event.at;
            }
            if task.fate != Fate::Aborted {
                cost_ns = task.end_ns - task.start_ns;
            }
            task.fate = Fate::Aborted;
        }
        let task = progress.last.map(|task| task as u32);
        let worker = event.worker;
        self.trace.aborts.push(Abort { task, tx: number, key, by, worker, at_ns: event.at, cost_ns });
    }

    /// The transaction goes on, at the latest.
    fn resume(&mut self, tx: TxIndex, at: u64) {
        if let Some(wait) = self.open.get_mut(&tx).and_then(|progress| progress.wait.take()) {
            self.trace.waits[wait].until_ns = at;
        }
    }

    fn end(mut self, last: u64) -> Trace {
        let trace = &mut self.trace;
        for progress in self.open.values() {
            if let Some(task) = progress.last.filter(|_| progress.runs) {
                trace.tasks[task].end_ns = last;
            }
            if let Some(wait) = progress.wait {
                trace.waits[wait].until_ns = last;
            }
        }
        shorten(trace);
        lanes(&mut trace.tasks);
        trace.commits.sort_by_key(|commit| commit.tx);
        trace.elapsed_ns = trace.elapsed_ns.max(last);
        self.trace
    }
}

/// Waits end when the one that is waited for ends, if that is sooner than what is known of the waiting one.
fn shorten(trace: &mut Trace) {
    let mut ends = BTreeMap::<i64, Vec<u64>>::new();
    for task in &trace.tasks {
        ends.entry(task.tx).or_default().push(task.end_ns);
    }
    ends.values_mut().for_each(|ends| ends.sort_unstable());
    for wait in &mut trace.waits {
        let Some(ends) = ends.get(&wait.on) else { continue };
        if let Some(end) = ends.get(ends.partition_point(|end| *end < wait.at_ns)) {
            wait.until_ns = wait.until_ns.min(*end);
        }
    }
}

/// Gives each execution the lowest lane of its worker that is free when it starts.
fn lanes(tasks: &mut [Task]) {
    let mut busy = BTreeMap::<u16, Vec<u64>>::new();
    for task in tasks {
        let lanes = busy.entry(task.worker).or_default();
        let free = lanes.iter().position(|until| *until <= task.start_ns);
        let lane = free.unwrap_or_else(|| {
            lanes.push(0);
            lanes.len() - 1
        });
        lanes[lane] = task.end_ns;
        task.lane = u16::try_from(lane).unwrap_or(u16::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traced(events: &[(u64, u16, What<u64>)]) -> Trace {
        let events: Vec<_> = events.iter().map(|&(at, worker, what)| Stamped { at, worker, what }).collect();
        let described = Described { before: 1, txs: 3, threads: 2, ..Described::default() };
        let trace = build(&events, 0, 0, described, |key| Key::new(format!("k{key}")));
        trace.check().unwrap();
        trace
    }

    #[test]
    fn an_execution_thrown_away_after_its_end() {
        let trace = traced(&[
            (10, 0, What::Start { tx: 1, incarnation: 0 }),
            (11, 1, What::Start { tx: 2, incarnation: 0 }),
            (20, 1, What::Finish { tx: 2, incarnation: 0 }),
            (30, 0, What::Abort { tx: 2, key: 7, by: Some(1) }),
            (31, 0, What::Finish { tx: 1, incarnation: 0 }),
            (32, 1, What::Start { tx: 2, incarnation: 1 }),
            (33, 0, What::Commit { tx: 1 }),
            (40, 1, What::Finish { tx: 2, incarnation: 1 }),
            (41, 0, What::Commit { tx: 2 }),
        ]);
        let fates: Vec<_> = trace.tasks.iter().map(|task| (task.tx, task.end_ns, task.fate)).collect();
        assert_eq!(fates, [(0, 31, Fate::Committed), (1, 20, Fate::Aborted), (1, 40, Fate::Committed)]);
        let abort = &trace.aborts[0];
        assert_eq!((abort.tx, abort.by, abort.task, abort.cost_ns), (1, Some(0), Some(1), 9));
        let totals = trace.totals();
        assert_eq!((totals.busy_ns, totals.wasted_ns, totals.aborted), (21 + 9 + 8, 9, 1));
        assert_eq!(trace.costs(), [KeyCost { key: 0, aborts: 1, waits: 0, cost_ns: 9 }]);
        assert_eq!(trace.tx_name(-1), "what comes before the transactions");
        assert_eq!(trace.tx_name(3), "what comes after the transactions");
    }

    #[test]
    fn an_execution_that_stops_to_wait_begins_again() {
        let trace = traced(&[
            (10, 0, What::Start { tx: 1, incarnation: 0 }),
            (12, 1, What::Start { tx: 2, incarnation: 0 }),
            (15, 1, What::Wait { tx: 2, key: 7, on: 1 }),
            (30, 0, What::Finish { tx: 1, incarnation: 0 }),
            (33, 1, What::Start { tx: 2, incarnation: 1 }),
            (40, 1, What::Finish { tx: 2, incarnation: 1 }),
        ]);
        assert_eq!((trace.tasks[1].fate, trace.tasks[1].end_ns), (Fate::Blocked, 15));
        assert_eq!((trace.waits[0].at_ns, trace.waits[0].until_ns), (15, 30));
        assert_eq!(trace.tasks[2].fate, Fate::Open);
        assert_eq!(trace.elapsed_ns, 40);
    }

    #[test]
    fn a_parked_execution_has_a_lane_of_its_own() {
        let trace = traced(&[
            (10, 0, What::Start { tx: 1, incarnation: 0 }),
            (12, 0, What::Wait { tx: 1, key: 7, on: 0 }),
            (13, 0, What::Start { tx: 2, incarnation: 0 }),
            (20, 0, What::Finish { tx: 2, incarnation: 0 }),
            (25, 0, What::Finish { tx: 1, incarnation: 0 }),
            (26, 0, What::Start { tx: 3, incarnation: 0 }),
            (27, 0, What::Abort { tx: 3, key: 8, by: None }),
        ]);
        let lanes: Vec<_> = trace.tasks.iter().map(|task| (task.tx, task.lane, task.end_ns)).collect();
        assert_eq!(lanes, [(0, 0, 25), (1, 1, 20), (2, 0, 27)]);
        assert_eq!(trace.waits[0].until_ns, 25);
        assert_eq!(trace.totals().busy_ns, 15 + 1);
    }

    #[test]
    fn what_a_worker_does_meanwhile_is_no_part_of_an_execution() {
        let trace = traced(&[
            (10, 0, What::Start { tx: 1, incarnation: 0 }),
            (12, 0, What::Wait { tx: 1, key: 7, on: 0 }),
            (13, 0, What::Start { tx: 2, incarnation: 0 }),
            (20, 0, What::Finish { tx: 2, incarnation: 0 }),
            (22, 1, What::Start { tx: 3, incarnation: 0 }),
            (25, 0, What::Finish { tx: 1, incarnation: 0 }),
            (40, 1, What::Finish { tx: 3, incarnation: 0 }),
        ]);
        // It waits from 12 to the end, so its own time is 2; the other two are whole.
        assert_eq!(trace.own_times(), [2, 7, 18]);
        let mut known = trace.clone();
        known.waits.clear();
        assert_eq!(known.own_times(), [15 - 7, 7, 18]);
    }

    #[test]
    fn a_trace_edited_by_hand_is_noticed() {
        let good = traced(&[
            (1, 0, What::Start { tx: 1, incarnation: 0 }),
            (2, 0, What::Wait { tx: 1, key: 7, on: 0 }),
            (3, 0, What::Abort { tx: 1, key: 7, by: None }),
        ]);
        let edits: [fn(&mut Trace); 6] = [
            |trace| trace.version = 9,
            |trace| trace.tasks[0].start_ns = 99,
            |trace| trace.waits[0].key = 5,
            |trace| trace.waits[0].until_ns = 0,
            |trace| trace.aborts[0].task = Some(4),
            |trace| trace.keys.clear(),
        ];
        for edit in edits {
            let mut trace = good.clone();
            edit(&mut trace);
            assert!(trace.check().is_err());
        }
        let text = serde_json::to_string(&good).unwrap();
        assert_eq!(serde_json::from_str::<Trace>(&text).unwrap(), good);
    }
}
