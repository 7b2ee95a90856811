//! Why a transaction waited or ran again.

use crate::{
    RunRecord, Trace,
    analysis::Analysis,
    text::{count, moment, time},
    trace::{Fate, Task},
};
use serde::Serialize;
use std::fmt::Write;

/// Version of [`Explanation`] as a document. Fields may be added within one.
pub const EXPLANATION_VERSION: u32 = 1;

/// Dependencies that an explanation lists.
const NEEDS_MAX: usize = 100;

/// One transaction in one schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// [`EXPLANATION_VERSION`].
    pub version: u32,
    /// Text that names the block.
    pub input: String,
    /// The profile.
    pub profile: String,
    /// Its threads.
    pub threads: usize,
    /// The transaction.
    pub tx: i64,
    /// The whole story in sentences.
    pub story: Vec<String>,
    /// Its executions.
    pub executions: Vec<Task>,
    /// Why it waited.
    pub waits: Vec<Waited>,
    /// Why executions were thrown away.
    pub aborts: Vec<Aborted>,
    /// When it became final, in nanoseconds from the beginning of the block.
    pub committed_ns: Option<u64>,
    /// Its time in a serial run; null without an analysis.
    pub serial_ns: Option<u64>,
    /// Whether it is one of the block's heaviest chain.
    pub on_critical_path: Option<bool>,
    /// What it needs, whoever runs the block.
    pub needs: Vec<Needed>,
    /// Transactions that need it.
    pub needed_by: u64,
}

/// A wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Waited {
    /// The location.
    pub key: String,
    /// What it is, where that is known.
    pub name: Option<String>,
    /// Whom it waited for.
    pub on: i64,
    /// From when.
    pub at_ns: u64,
    /// How long, at most.
    pub cost_ns: u64,
}

/// An execution thrown away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Aborted {
    /// Which execution.
    pub incarnation: Option<u32>,
    /// The location.
    pub key: String,
    /// What it is, where that is known.
    pub name: Option<String>,
    /// Who wrote it.
    pub by: Option<i64>,
    /// When.
    pub at_ns: u64,
    /// Time of the execution.
    pub cost_ns: u64,
}

/// A dependency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Needed {
    /// The earlier transaction.
    pub on: u32,
    /// The location.
    pub key: String,
    /// What it is, where that is known.
    pub name: Option<String>,
}

/// Why nothing can be explained.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExplainError {
    /// The record has no schedule.
    #[error("the record has no schedule: it was made without --trace, or of profiles that have none")]
    NoTrace,
    /// No schedule has this transaction.
    #[error("no schedule of the record has transaction {tx}: the largest block has {txs}")]
    NoTx {
        /// Asked for.
        tx: u32,
        /// What there is.
        txs: u32,
    },
}

/// Explains a transaction in every schedule of the record.
///
/// # Errors
/// [`ExplainError`] if no schedule has it.
pub fn explain(record: &RunRecord, tx: u32) -> Result<Vec<Explanation>, ExplainError> {
    let txs = record.traces.iter().map(|trace| trace.txs).max().ok_or(ExplainError::NoTrace)?;
    if tx >= txs {
        return Err(ExplainError::NoTx { tx, txs });
    }
    let having = record.traces.iter().filter(|trace| tx < trace.txs);
    Ok(having.map(|trace| explain_in(trace, record.analysis(&trace.input), tx)).collect())
}

fn explain_in(trace: &Trace, analysis: Option<&Analysis>, tx: u32) -> Explanation {
    let number = i64::from(tx);
    let executions: Vec<Task> = trace.tasks.iter().filter(|task| task.tx == number).cloned().collect();
    let key = |key: u32| (trace.keys[key as usize].text.clone(), trace.keys[key as usize].name.clone());
    let waits = trace.waits.iter().filter(|wait| wait.tx == number).map(|wait| {
        let (key, name) = key(wait.key);
        Waited { key, name, on: wait.on, at_ns: wait.at_ns, cost_ns: wait.until_ns - wait.at_ns }
    });
    let aborts = trace.aborts.iter().filter(|abort| abort.tx == number).map(|abort| {
        let (key, name) = key(abort.key);
        let incarnation = abort.task.map(|task| trace.tasks[task as usize].incarnation);
        Aborted { incarnation, key, name, by: abort.by, at_ns: abort.at_ns, cost_ns: abort.cost_ns }
    });
    let edges = |of: fn(&[u32; 3]) -> u32| {
        analysis.into_iter().flat_map(|one| &one.edges).filter(move |edge| of(edge) == tx)
    };
    let needs = edges(|edge| edge[0]).take(NEEDS_MAX).map(|edge| {
        let key = analysis.map(|one| one.keys[edge[2] as usize].clone()).unwrap_or_default();
        Needed { on: edge[1], key: key.text, name: key.name }
    });
    let mut explanation = Explanation {
        version: EXPLANATION_VERSION,
        input: trace.input.clone(),
        profile: trace.profile.clone(),
        threads: trace.threads,
        tx: number,
        story: Vec::new(),
        executions,
        waits: waits.collect(),
        aborts: aborts.collect(),
        committed_ns: trace.commits.iter().find(|commit| commit.tx == number).map(|commit| commit.at_ns),
        serial_ns: analysis.and_then(|one| one.weights.get(tx as usize).copied()),
        on_critical_path: analysis.map(|one| one.critical_path.contains(&tx)),
        needs: needs.collect(),
        needed_by: edges(|edge| edge[1]).count() as u64,
    };
    explanation.story = story(&explanation, trace);
    explanation
}

fn called(key: &str, name: Option<&str>) -> String {
    name.map_or_else(|| key.to_owned(), |name| format!("{name} ({key})"))
}

fn story(one: &Explanation, trace: &Trace) -> Vec<String> {
    let mut story = Vec::new();
    let times = match one.executions.len() {
        0 => "not at all, as far as the record goes".to_owned(),
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        more => format!("{more} times"),
    };
    let mut line = format!("transaction {} ran {times}", one.tx);
    for (index, task) in one.executions.iter().enumerate() {
        let fate = match task.fate {
            Fate::Committed => "became final",
            Fate::Aborted => "was thrown away",
            Fate::Blocked => "stopped to wait",
            Fate::Open => "was left open",
        };
        let (start, took) = (moment(task.start_ns), time(task.end_ns - task.start_ns));
        let sign = if index == 0 { ": " } else { "; " };
        let _ = write!(line, "{sign}from {start} for {took} on worker {}, which {fate}", task.worker);
    }
    story.push(line);
    for abort in &one.aborts {
        let who = abort.by.map_or_else(|| "somebody".to_owned(), |by| trace.tx_name(by));
        let key = called(&abort.key, abort.name.as_deref());
        let cost =
            if abort.cost_ns > 0 { format!("; that cost {}", time(abort.cost_ns)) } else { String::new() };
        story.push(format!("it was thrown away because {who} changed {key} after it was read{cost}"));
    }
    for wait in &one.waits {
        let (key, who) = (called(&wait.key, wait.name.as_deref()), trace.tx_name(wait.on));
        story.push(format!("it waited {} for {who}, which was to write {key}", time(wait.cost_ns)));
    }
    if one.executions.len() == 1 && one.waits.is_empty() {
        story.push("it never waited for another, nor was any of it thrown away".to_owned());
    }
    let ended = one.executions.last().map(|task| task.end_ns);
    if let (Some(end), Some(committed)) = (ended, one.committed_ns) {
        let after = time(committed.saturating_sub(end));
        story.push(format!("it became final at {}, {after} after its end", moment(committed)));
    }
    if let Some(serial) = one.serial_ns {
        let path = if one.on_critical_path == Some(true) { " and is on the critical path" } else { "" };
        let needs = count(one.needs.len() as u64, "earlier write");
        let serial = time(serial);
        story.push(format!(
            "run serially it takes {serial}{path}; it needs {needs}, and later transactions need its own {} times",
            one.needed_by
        ));
    }
    for needed in one.needs.iter().take(8) {
        let key = called(&needed.key, needed.name.as_deref());
        story.push(format!("it needs transaction {} for {key}", needed.on));
    }
    if trace.lost > 0 {
        story
            .push(format!("{} of the schedule were dropped: this may have gaps", count(trace.lost, "event")));
    }
    story
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Key,
        analysis::Access,
        trace::{Abort, Commit, TRACE_VERSION, Wait},
    };

    fn record() -> RunRecord {
        let task = |tx, incarnation, start_ns, end_ns, fate| Task {
            tx,
            incarnation,
            worker: 1,
            lane: 0,
            start_ns,
            end_ns,
            fate,
        };
        let trace = Trace {
            version: TRACE_VERSION,
            input: "made up".to_owned(),
            profile: "braid".to_owned(),
            threads: 2,
            txs: 2,
            keys: vec![Key::new("0x1[0x8]").named(Some("pool reserves".to_owned()))],
            tasks: vec![
                task(0, 0, 0, 900, Fate::Committed),
                task(1, 0, 100, 500, Fate::Aborted),
                task(1, 1, 1_000, 1_400, Fate::Committed),
            ],
            waits: vec![Wait { task: Some(2), tx: 1, key: 0, on: 0, at_ns: 1_100, until_ns: 1_200 }],
            aborts: vec![Abort {
                task: Some(1),
                tx: 1,
                key: 0,
                by: Some(0),
                worker: 0,
                at_ns: 800,
                cost_ns: 400,
            }],
            commits: vec![Commit { tx: 0, worker: 0, at_ns: 950 }, Commit { tx: 1, worker: 0, at_ns: 1_500 }],
            ..Trace::default()
        };
        let analysis = Analysis {
            version: 1,
            input: "made up".to_owned(),
            txs: 2,
            critical_path: vec![0, 1],
            weights: vec![850, 390],
            keys: trace.keys.clone(),
            access: vec![Access::default(); 2],
            edges: vec![[1, 0, 0]],
            ..Analysis::default()
        };
        RunRecord { traces: vec![trace], analyses: vec![analysis], ..RunRecord::default() }
    }

    #[test]
    fn a_retry_names_key_writer_and_cost() {
        let explained = explain(&record(), 1).unwrap();
        let [one] = &explained[..] else { panic!("one schedule, one explanation") };
        assert_eq!(
            one.story,
            [
                "transaction 1 ran twice: from 0.1 µs for 400 ns on worker 1, which was thrown away; \
                 from 1.0 µs for 400 ns on worker 1, which became final",
                "it was thrown away because transaction 0 changed pool reserves (0x1[0x8]) after it was read; \
                 that cost 400 ns",
                "it waited 100 ns for transaction 0, which was to write pool reserves (0x1[0x8])",
                "it became final at 1.5 µs, 100 ns after its end",
                "run serially it takes 390 ns and is on the critical path; it needs 1 earlier write, and later \
                 transactions need its own 0 times",
                "it needs transaction 0 for pool reserves (0x1[0x8])",
            ]
        );
        assert_eq!((one.aborts[0].by, one.aborts[0].cost_ns, one.waits[0].on), (Some(0), 400, 0));
        let first = explain(&record(), 0).unwrap();
        assert_eq!((first[0].needed_by, first[0].needs.len()), (1, 0));
        assert!(first[0].story[1].contains("never waited"), "{:?}", first[0].story);
    }

    #[test]
    fn what_is_not_there_is_not_explained() {
        assert_eq!(explain(&RunRecord::default(), 0), Err(ExplainError::NoTrace));
        assert_eq!(explain(&record(), 2), Err(ExplainError::NoTx { tx: 2, txs: 2 }));
    }
}
