//! Schedules for the viewer at ui.perfetto.dev, in the Trace Event Format (JSON) of Chrome: a process is a schedule,
//! a track a worker or a lane beside them (execution, root, disk), a slice an execution, an arrow leads from the writer that made an execution void to the one
//! that took its place.

use crate::{
    Lane, Trace,
    trace::{Fate, Task},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The document.
pub fn perfetto(traces: &[Trace]) -> Value {
    let mut events = Vec::new();
    for (pid, trace) in (1u64..).zip(traces) {
        one(trace, pid, &mut events);
    }
    json!({ "traceEvents": events, "displayTimeUnit": "ns" })
}

/// Microseconds with all digits of the nanoseconds.
fn micros(ns: u64) -> Value {
    // Numbers of this size keep three decimals in a double for a hundred days.
    json!(ns as f64 / 1e3)
}

/// Track of a worker's lane. Executions that overlap in one worker would not nest, so each lane is a track.
fn track(task: &Task) -> u64 {
    u64::from(task.worker) << 16 | u64::from(task.lane)
}

fn one(trace: &Trace, pid: u64, events: &mut Vec<Value>) {
    let title = format!("{} with {} threads: {}", trace.profile, trace.threads, trace.input);
    events.push(json!({ "ph": "M", "pid": pid, "name": "process_name", "args": { "name": title } }));
    let mut tracks = BTreeMap::<u64, String>::new();
    for task in &trace.tasks {
        tracks.entry(track(task)).or_insert_with(|| match task.lane {
            0 => format!("worker {}", task.worker),
            lane => format!("worker {}, parked beside ({lane})", task.worker),
        });
    }
    for (order, (tid, name)) in tracks.iter().enumerate() {
        events.push(
            json!({ "ph": "M", "pid": pid, "tid": tid, "name": "thread_name", "args": { "name": name } }),
        );
        let args = json!({ "sort_index": order });
        events.push(json!({ "ph": "M", "pid": pid, "tid": tid, "name": "thread_sort_index", "args": args }));
    }
    lanes(trace, pid, tracks.len(), events);
    let mut causes = BTreeMap::<u32, usize>::new();
    for (index, abort) in trace.aborts.iter().enumerate() {
        if let Some(task) = abort.task {
            causes.entry(task).or_insert(index);
        }
    }
    for (index, task) in (0..).zip(&trace.tasks) {
        let cause = causes.get(&index).map(|at| &trace.aborts[*at]);
        let key = cause.map(|abort| trace.keys[abort.key as usize].label());
        events.push(json!({
            "ph": "X", "pid": pid, "tid": track(task), "ts": micros(task.start_ns),
            "dur": micros((task.end_ns - task.start_ns).max(1)),
            "name": format!("{} #{}", trace.tx_name(task.tx), task.incarnation),
            "cat": task.fate, "cname": color(task.fate),
            "args": {
                "tx": task.tx, "incarnation": task.incarnation, "fate": task.fate,
                "thrown away for": key, "written by": cause.and_then(|abort| abort.by),
            },
        }));
    }
    waits(trace, pid, events);
    arrows(trace, pid, events);
    counters(trace, pid, events);
}

/// Each lane is a track after those of the workers.
fn lanes(trace: &Trace, pid: u64, workers: usize, events: &mut Vec<Value>) {
    for (lane, _) in trace.lane_times() {
        // Above any worker's track.
        let (tid, order) = (1u64 << 32 | lane as u64, workers + lane as usize);
        let args = json!({ "name": lane.name() });
        events.push(json!({ "ph": "M", "pid": pid, "tid": tid, "name": "thread_name", "args": args }));
        let args = json!({ "sort_index": order });
        events.push(json!({ "ph": "M", "pid": pid, "tid": tid, "name": "thread_sort_index", "args": args }));
        for span in trace.lanes.iter().filter(|span| span.lane == lane) {
            events.push(json!({
                "ph": "X", "pid": pid, "tid": tid, "ts": micros(span.start_ns),
                "dur": micros((span.end_ns - span.start_ns).max(1)), "name": span.what, "cat": "lane",
                "cname": lane_color(lane), "args": { "at work (ns)": span.work_ns() },
            }));
        }
    }
}

fn lane_color(lane: Lane) -> &'static str {
    match lane {
        Lane::Execution => "thread_state_running",
        Lane::Root => "rail_animation",
        Lane::Disk => "thread_state_iowait",
    }
}

/// Waits inside of an execution are slices in it; one at which an execution stopped is an instant.
fn waits(trace: &Trace, pid: u64, events: &mut Vec<Value>) {
    for wait in &trace.waits {
        let Some(task) = wait.task.map(|task| &trace.tasks[task as usize]) else { continue };
        let key = &trace.keys[wait.key as usize];
        let until = wait.until_ns.min(task.end_ns);
        let name = format!("waits for {}", trace.tx_name(wait.on));
        let args = json!({ "key": key.text, "name": key.name, "for": wait.on });
        let mut event = json!({
            "pid": pid, "tid": track(task), "ts": micros(wait.at_ns), "name": name, "cat": "wait", "args": args,
        });
        if until > wait.at_ns {
            (event["ph"], event["dur"]) = (json!("X"), micros(until - wait.at_ns));
        } else {
            (event["ph"], event["s"]) = (json!("i"), json!("t"));
        }
        events.push(event);
    }
}

/// From the writer's execution to the one that took the place of what was thrown away.
fn arrows(trace: &Trace, pid: u64, events: &mut Vec<Value>) {
    let mut by_tx = BTreeMap::<i64, Vec<&Task>>::new();
    for task in &trace.tasks {
        by_tx.entry(task.tx).or_default().push(task);
    }
    for (id, abort) in trace.aborts.iter().enumerate() {
        let runs = |tx: i64| by_tx.get(&tx).map_or(&[][..], Vec::as_slice);
        let Some(writer) = abort.by.and_then(|by| {
            let runs = runs(by);
            // The last one that had begun: it told of the write.
            runs.iter().rev().find(|task| task.start_ns <= abort.at_ns).or(runs.first())
        }) else {
            continue;
        };
        let Some(again) = runs(abort.tx).iter().find(|task| task.start_ns >= abort.at_ns) else { continue };
        // An arrow begins inside of its slice, and leads forward.
        let from = abort.at_ns.clamp(writer.start_ns, writer.end_ns.saturating_sub(1).max(writer.start_ns));
        let to = again.start_ns.max(from);
        let name = trace.keys[abort.key as usize].label();
        let end = |ph, task: &Task, at| {
            json!({
                "ph": ph, "pid": pid, "tid": track(task), "ts": micros(at), "name": name, "cat": "abort",
                "id": (pid << 32 | id as u64).to_string(), "bp": "e",
            })
        };
        events.extend([end("s", writer, from), end("f", again, to)]);
    }
}

/// Transactions that are final.
fn counters(trace: &Trace, pid: u64, events: &mut Vec<Value>) {
    for (done, commit) in (1u64..).zip(&trace.commits) {
        let args = json!({ "transactions": done });
        events.push(
            json!({ "ph": "C", "pid": pid, "ts": micros(commit.at_ns), "name": "final", "args": args }),
        );
    }
}

/// A name of the format's palette.
fn color(fate: Fate) -> &'static str {
    match fate {
        Fate::Committed => "good",
        Fate::Aborted => "terrible",
        Fate::Blocked => "bad",
        Fate::Open => "grey",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Key, Span,
        trace::{Abort, Commit, Wait},
    };

    #[test]
    fn slices_nest_and_arrows_lead_forward() {
        let task = |tx, incarnation, worker, lane, start_ns, end_ns, fate| Task {
            tx,
            incarnation,
            worker,
            lane,
            start_ns,
            end_ns,
            fate,
        };
        let trace = Trace {
            keys: vec![Key::new("a")],
            txs: 2,
            tasks: vec![
                task(0, 0, 0, 0, 10, 90, Fate::Committed),
                task(1, 0, 1, 0, 20, 50, Fate::Aborted),
                task(1, 1, 1, 1, 80, 99, Fate::Committed),
            ],
            waits: vec![
                Wait { task: Some(2), tx: 1, key: 0, on: 0, at_ns: 81, until_ns: 120 },
                Wait { task: Some(1), tx: 1, key: 0, on: 0, at_ns: 50, until_ns: 60 },
            ],
            aborts: vec![Abort {
                task: Some(1),
                tx: 1,
                key: 0,
                by: Some(0),
                worker: 0,
                at_ns: 70,
                cost_ns: 30,
            }],
            commits: vec![Commit { tx: 0, worker: 0, at_ns: 95 }, Commit { tx: 1, worker: 0, at_ns: 99 }],
            lanes: vec![
                Span::new(Lane::Execution, "transactions", 0, 120),
                Span { busy_ns: Some(20), ..Span::new(Lane::Root, "ahead", 40, 80) },
                Span::new(Lane::Root, "rest", 120, 30),
            ],
            ..Trace::default()
        };
        let document = perfetto(&[trace.clone(), trace]);
        let events = document["traceEvents"].as_array().unwrap();
        let of = |ph: &str| -> Vec<&Value> {
            events.iter().filter(|event| event["ph"] == ph && event["pid"] == 1).collect()
        };
        assert_eq!(of("M").len(), 1 + (3 + 2) * 2, "three of workers, two of lanes");
        let (lanes, slices): (Vec<&Value>, Vec<&Value>) =
            of("X").into_iter().partition(|slice| slice["cat"] == "lane");
        let tracks: Vec<&Value> = slices.iter().map(|slice| &slice["tid"]).collect();
        assert!(lanes.iter().all(|lane| !tracks.contains(&&lane["tid"])), "lanes have tracks of their own");
        assert_eq!(
            (lanes.len(), lanes[0]["tid"] == lanes[1]["tid"], lanes[1]["tid"] == lanes[2]["tid"]),
            (3, false, true)
        );
        assert_eq!((&lanes[1]["name"], &lanes[1]["args"]["at work (ns)"]), (&json!("ahead"), &json!(20)));
        assert_eq!(slices.len(), 3 + 1);
        assert_eq!(slices[0]["ts"], 0.01);
        assert_eq!(slices[1]["args"]["written by"], 0);
        // The wait ends with its execution at the latest.
        assert_eq!((&slices[3]["ts"], &slices[3]["dur"]), (&json!(0.081), &json!(0.018)));
        assert_eq!(of("i").len(), 1);
        let (start, end) = (of("s")[0], of("f")[0]);
        assert_eq!((&start["tid"], &start["ts"]), (&json!(0), &json!(0.07)));
        assert_eq!((&end["tid"], &end["ts"]), (&json!(1 << 16 | 1), &json!(0.08)));
        assert_eq!(start["id"], end["id"]);
        assert_ne!(start["id"], events.iter().rfind(|event| event["ph"] == "s").unwrap()["id"]);
        assert_eq!(of("C").len(), 2);
    }
}
