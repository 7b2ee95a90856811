//! The report in its forms.

use crate::{
    Report, Trace,
    text::{thousands, time},
    view::{BlockView, TraceView},
};
use std::fmt::Write;

/// The page, without its data. Made from `web/src` by `web/build`.
const PAGE: &str = include_str!("../web/dist/report.html");

/// Where the data goes: the content of one element of the page.
const PLACE: &str = "{\"braid-report\":null}";

/// Rows of a table in Markdown.
const ROWS_MAX: usize = 20;

/// One self-contained page that needs no network.
pub fn html(report: &Report) -> String {
    let data = serde_json::to_string(report).unwrap_or_else(|error| error.to_string());
    // Nothing in the data may end the element that it stands in.
    let data = data.replace('<', "\\u003c");
    let (before, after) = PAGE.split_once(PLACE).unwrap_or((PAGE, ""));
    format!("{before}{data}{after}")
}

/// Tables in Markdown.
pub fn markdown(report: &Report) -> String {
    let mut text = format!("# Braid report\n\n**{}**\n", cell(&report.verdict));
    for note in &report.notes {
        let _ = write!(text, "\n- {}", cell(note));
    }
    if !report.notes.is_empty() {
        text.push('\n');
    }
    if !report.rows.is_empty() {
        text += "\n## Measured\n\n| block | profile | threads | time | times the reference | 95% interval | \
                 noise floor | limit | retries | hints |\n|---|---|--:|--:|--:|--:|--:|--:|--:|---|\n";
        for row in &report.rows {
            let limit = row.limit.map_or_else(|| "-".to_owned(), |limit| format!("{limit:.2}"));
            let hints = match &row.hints {
                None => "-".to_owned(),
                Some(hints) if row.is_foretold() => format!("{}: no headline", cell(&hints.source)),
                Some(hints) => format!("{} in {}", cell(&hints.source), time(hints.ns)),
            };
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {:.3} | {:.3} to {:.3} | {:.3} | {limit} | {} | {hints} |",
                cell(&row.input),
                cell(&row.profile),
                row.threads,
                time(row.median_ns),
                row.speedup,
                row.ci95[0],
                row.ci95[1],
                row.noise_floor,
                thousands(row.retries),
            );
        }
    }
    if !report.results.is_empty() {
        text += "\n## Executed\n\n| block | profile | threads | transactions | time | retries | status |\n\
                 |---|---|--:|--:|--:|--:|---|\n";
        let number = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), thousands);
        for row in &report.results {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {} |",
                cell(&row.input),
                cell(&row.profile),
                row.threads,
                number(row.txs.map(|txs| txs as u64)),
                row.elapsed_ns.map_or_else(|| "-".to_owned(), time),
                number(row.retries),
                cell(&row.status),
            );
        }
    }
    lanes_in_markdown(report, &mut text);
    for block in &report.blocks {
        block_in_markdown(block, &mut text);
    }
    text
}

/// What blocks took with their roots, and to be durable.
fn lanes_in_markdown(report: &Report, text: &mut String) {
    let optional = |ns: Option<u64>| ns.map_or_else(|| "-".to_owned(), time);
    let mut head = "\n## With the state root\n\n| block | profile | threads | execution | with the root | adds |\n\
                    |---|---|--:|--:|--:|--:|\n";
    for row in &report.rows {
        let (Some(rooted), Some(adds)) = (row.rooted_ns, row.root_adds) else { continue };
        *text += std::mem::take(&mut head);
        let (input, profile) = (cell(&row.input), cell(&row.profile));
        let (threads, alone) = (row.threads, time(row.median_ns));
        let adds = 100.0 * adds;
        let _ =
            writeln!(text, "| {input} | {profile} | {threads} | {alone} | {} | {adds:.1}% |", time(rooted));
    }
    let mut head = "\n## Execution, root, disk\n\n| block | profile | threads | execution | root ahead | root after | \
                    with the root | archive | write | sync |\n|---|---|--:|--:|--:|--:|--:|--:|--:|--:|\n";
    for row in &report.results {
        let (root, disk) = (row.root.as_ref(), row.disk.as_ref());
        if root.is_none() && disk.is_none() {
            continue;
        }
        *text += std::mem::take(&mut head);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            cell(&row.input),
            cell(&row.profile),
            row.threads,
            optional(row.elapsed_ns),
            optional(root.map(|root| root.ahead_ns)),
            optional(root.map(|root| root.after_ns)),
            optional(root.map(|root| root.rooted_ns)),
            optional(disk.map(|disk| disk.archive_ns)),
            optional(disk.map(|disk| disk.write_ns)),
            optional(disk.map(|disk| disk.sync_ns)),
        );
    }
}

/// The lanes of a schedule, in a sentence.
fn lanes_of(trace: &Trace) -> String {
    let lanes = trace.lane_times();
    if lanes.is_empty() {
        return String::new();
    }
    let times: Vec<String> =
        lanes.iter().map(|(lane, ns)| format!("{} {}", lane.name(), time(*ns))).collect();
    format!("\nLanes, at work: {}; {} from beginning to end.\n", times.join(", "), time(trace.whole_ns()))
}

fn block_in_markdown(block: &BlockView, text: &mut String) {
    let _ = write!(text, "\n## {}\n", cell(&block.input));
    if let Some(analysis) = &block.analysis {
        let _ = write!(
            text,
            "\nWork {}, critical path {} over {} transactions: at most {:.2} times as fast as one by one.\n\n\
             Virtual, not measured: on workers that cost nothing.\n\n\
             | workers | in block order | by critical path |\n|--:|--:|--:|\n",
            time(analysis.work_ns),
            time(analysis.span_ns),
            thousands(analysis.critical_path.len() as u64),
            analysis.parallelism(),
        );
        let times =
            |ns: u64| format!("{} ({:.2} times)", time(ns), analysis.work_ns as f64 / ns.max(1) as f64);
        for one in &analysis.on_workers {
            let (order, path) = (times(one.block_order_ns), times(one.critical_path_ns));
            let _ = writeln!(text, "| {} | {order} | {path} |", one.workers);
        }
        if !analysis.hot.is_empty() {
            *text += "\n| location | dependencies | on the critical path | if it commuted: critical path | on 8 | \
                      on 32 |\n|---|--:|---|--:|--:|--:|\n";
        }
        for hot in analysis.hot.iter().take(ROWS_MAX) {
            let on = |workers| {
                let one = hot.on_workers.iter().find(|one| one.workers == workers);
                one.map_or_else(|| "-".to_owned(), |one| times(one.critical_path_ns))
            };
            let critical = if hot.critical { "yes" } else { "no" };
            let key = &analysis.keys[hot.key as usize];
            let with = match hot.with.len() {
                0 => String::new(),
                others => format!(" and {others} with the same dependencies"),
            };
            let _ = writeln!(
                text,
                "| {}{with} | {} | {critical} | {} | {} | {} |",
                cell(key.label()),
                thousands(hot.edges),
                times(hot.span_ns),
                on(8),
                on(32),
            );
        }
    }
    models_in_markdown(block, text);
    for schedule in &block.traces {
        schedule_in_markdown(schedule, text);
    }
}

/// Times by the models of the profiles, in multiples of their executions one by one.
fn models_in_markdown(block: &BlockView, text: &mut String) {
    let mut head = "\nVirtual, not measured: by each profile's own model of conflicts, from the times of its own \
                    schedule, in multiples of its executions one by one; getting hints and repeated executions \
                    included, everything else free.\n\n\
                    | schedule of | threads | hints | work | span | on 2 | on 8 | on 16 | on 32 | again on 8 |\n\
                    |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n";
    for TraceView { trace, .. } in &block.traces {
        let Some(model) = &trace.model else { continue };
        *text += std::mem::take(&mut head);
        let on = |workers| {
            model.speedup(workers).map_or_else(|| "-".to_owned(), |speedup| format!("{speedup:.2} times"))
        };
        let executions = |workers| model.on(workers).map_or(0, |one| one.executions);
        let hints = if model.hint_ns == 0 { "-".to_owned() } else { time(model.hint_ns) };
        let _ = writeln!(
            text,
            "| {} | {} | {hints} | {} | {} | {} | {} | {} | {} | {} |",
            cell(&trace.profile),
            trace.threads,
            time(model.work_ns),
            time(model.span_ns),
            on(2),
            on(8),
            on(16),
            on(32),
            thousands(executions(8).saturating_sub(executions(1))),
        );
    }
}

fn schedule_in_markdown(TraceView { trace, totals, costs, .. }: &TraceView, text: &mut String) {
    let threads = trace.threads;
    let _ = write!(
        text,
        "\n### Schedule of {} with {threads} threads\n\n{} in {}; {} thrown away, {} stopped to wait; {} waits of {} \
         in all; {} came to nothing.\n",
        cell(&trace.profile),
        crate::text::count(totals.executions, "execution"),
        time(trace.elapsed_ns),
        thousands(totals.aborted),
        thousands(totals.blocked),
        thousands(totals.waits),
        time(totals.waited_ns),
        time(totals.wasted_ns),
    );
    *text += &lanes_of(trace);
    if costs.is_empty() {
        return;
    }
    *text += "\n| location | thrown away | waits | cost |\n|---|--:|--:|--:|\n";
    for cost in costs.iter().take(ROWS_MAX) {
        let label = cell(trace.keys[cost.key as usize].label());
        let (aborts, waits) = (thousands(cost.aborts), thousands(cost.waits));
        let _ = writeln!(text, "| {label} | {aborts} | {waits} | {} |", time(cost.cost_ns));
    }
}

/// Text that stays in its cell, and is no markup.
fn cell(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '|' | '<' | '`' | '*' | '[' | ']' | '\\' => safe.extend(['\\', letter]),
            '\n' | '\r' => safe.push(' '),
            _ => safe.push(letter),
        }
    }
    safe
}
