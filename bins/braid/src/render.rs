//! Results for people: aligned tables. Not an interface; programs use `--json`.

use crate::{
    json::{CompareRow, ProfileEntry, RunResult, Status, StreamResult, WorkloadEntry},
    test::report::ArchiveEntry,
};
use std::{collections::BTreeMap, fmt::Write, time::Duration};

/// Columns of text, aligned.
struct Table {
    rows: Vec<Vec<String>>,
    /// Whether a column is of words (left) or numbers (right).
    words: Vec<bool>,
    color: bool,
}

impl Table {
    /// Columns headed so; a leading `<` marks a column of words.
    fn new(heads: &[&str], color: bool) -> Self {
        let words = heads.iter().map(|head| head.starts_with('<')).collect();
        let heads = heads.iter().map(|head| head.trim_start_matches('<').to_owned()).collect();
        Table { rows: vec![heads], words, color }
    }

    fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    fn render(&self) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.words.len()).map(width).collect();
        let mut text = String::new();
        for (index, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let gap = if column == 0 { "" } else { "  " };
                let width = widths[column];
                let _ = if self.words[column] {
                    write!(line, "{gap}{cell:<width$}")
                } else {
                    write!(line, "{gap}{cell:>width$}")
                };
            }
            let line = line.trim_end();
            let _ = if index == 0 && self.color {
                writeln!(text, "\u{1b}[1m{line}\u{1b}[0m")
            } else {
                writeln!(text, "{line}")
            };
        }
        text
    }
}

/// The table of `run`.
pub(crate) fn run(results: &[RunResult], color: bool) -> String {
    let heads =
        ["<input", "block", "txs", "Mgas", "time", "Mgas/s", "executions", "retries", "<checks", "<status"];
    let rooted = results.iter().any(|result| result.root.is_some());
    let kept = results.iter().any(|result| result.disk.is_some());
    let more = [("root ahead", rooted), ("root after", rooted), ("with root", rooted), ("disk", kept)];
    let more = more.into_iter().filter(|(_, shown)| *shown).map(|(head, _)| head);
    let heads: Vec<&str> = heads.into_iter().chain(more).collect();
    let mut table = Table::new(&heads, color);
    for result in results {
        let number = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        let rate = match (result.gas_used, result.elapsed_ns) {
            (Some(gas), Some(time)) => mgas_per_second(gas, time),
            _ => "-".to_owned(),
        };
        let held = result.checks.values().filter(|held| **held == Some(true)).count();
        let checked = result.checks.values().flatten().count();
        let mut cells = vec![
            short(&result.input),
            number(result.block),
            number(result.txs.map(|txs| txs as u64)),
            result.gas_used.map_or_else(|| "-".to_owned(), mgas),
            result.elapsed_ns.map_or_else(|| "-".to_owned(), time),
            rate,
            number(result.executions),
            number(result.retries),
            format!("{held}/{checked}"),
            status(result.status, color),
        ];
        let optional = |ns: Option<u64>| ns.map_or_else(|| "-".to_owned(), time);
        if rooted {
            let root = result.root.as_ref();
            let times =
                [root.map(|one| one.ahead_ns), root.map(|one| one.after_ns), root.map(|one| one.rooted_ns)];
            cells.extend(times.map(optional));
        }
        if kept {
            cells.push(optional(result.disk.as_ref().map(|disk| disk.total_ns())));
        }
        table.row(cells);
    }
    let ok = results.iter().filter(|result| result.status == Status::Ok).count();
    let mut text = table.render();
    let _ = writeln!(text, "{ok} of {} ok", results.len());
    text
}

/// The table of `run --stream`.
pub(crate) fn stream(streams: &[StreamResult], color: bool) -> String {
    let heads = [
        "<stream",
        "blocks",
        "txs",
        "Mgas",
        "time",
        "Mgas/s",
        "recovering",
        "executing",
        "hashing",
        "<status",
    ];
    let mut table = Table::new(&heads, color);
    let count = |value: Option<usize>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    let duration = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), time);
    for one in streams {
        let rate = match (one.gas_used, one.elapsed_ns) {
            (Some(gas), Some(time)) => mgas_per_second(gas, time),
            _ => "-".to_owned(),
        };
        table.row(vec![
            short(&one.input),
            count(one.blocks),
            count(one.txs),
            one.gas_used.map_or_else(|| "-".to_owned(), mgas),
            duration(one.elapsed_ns),
            rate,
            duration(one.recover_ns),
            duration(one.execute_ns),
            duration(one.hash_ns),
            status(one.status, color),
        ]);
    }
    let ok = streams.iter().filter(|one| one.status == Status::Ok).count();
    let mut text = table.render();
    let learning = match streams.iter().find_map(|one| one.learning) {
        Some(true) => ", engines learning from block to block",
        Some(false) => ", engines forgetting what they learned",
        None => "",
    };
    let all = streams.len();
    let _ = writeln!(text, "{ok} of {all} streams ok; times are of whole chains, not of blocks{learning}");
    text
}

/// The table of `test`.
pub(crate) fn test(archives: &[ArchiveEntry], color: bool) -> String {
    let heads = ["<archive", "cases", "passed", "failed", "skipped", "executions", "time"];
    let mut table = Table::new(&heads, color);
    for one in archives {
        let numbers = [one.passed + one.failed + one.skipped, one.passed, one.failed, one.skipped];
        let mut cells = vec![short(&one.path)];
        cells.extend(numbers.iter().chain([&one.executions]).map(u64::to_string));
        cells.push(format!("{:.1}s", Duration::from_millis(one.elapsed_ms).as_secs_f64()));
        table.row(cells);
    }
    table.render()
}

fn status(status: Status, color: bool) -> String {
    let (word, code) = match status {
        Status::Ok => ("ok", "32"),
        Status::Invalid => ("invalid", "31"),
        Status::Unreadable => ("unreadable", "31"),
        Status::Diverged => ("DIVERGED", "1;31"),
    };
    if color { format!("\u{1b}[{code}m{word}\u{1b}[0m") } else { word.to_owned() }
}

/// One line of the summary of `compare`.
pub(crate) struct Summary {
    /// The profile.
    pub(crate) profile: String,
    /// Its threads.
    pub(crate) threads: usize,
    /// Geometric mean of the speed-up over all blocks, and how many they are.
    pub(crate) all: Option<f64>,
    /// Number of blocks.
    pub(crate) blocks: usize,
    /// The same over big blocks.
    pub(crate) big: Option<f64>,
    /// Number of big blocks.
    pub(crate) big_blocks: usize,
    /// Median over big blocks of the share of the block's limit that was reached.
    pub(crate) share: Option<f64>,
}

/// The tables of `compare`.
pub(crate) fn compare(reference: &str, rows: &[CompareRow], summary: &[Summary], color: bool) -> String {
    let mut text = String::new();
    let mut rest = rows;
    while let Some(first) = rest.first() {
        let same = |row: &CompareRow| row.input == first.input;
        let (block, others) = rest.split_at(rest.iter().take_while(|row| same(row)).count());
        rest = others;
        let gas = mgas(first.gas_used);
        let _ = writeln!(text, "{}: block {}, {} txs, {gas} Mgas", first.input, first.block, first.txs);
        text.push_str(&compare_block(reference, block, color));
        text.push('\n');
    }
    let speedup = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}x"));
    let mean = format!("vs {reference}");
    let heads = ["<profile", "threads", &mean, "blocks", ">= 4 Mgas", "blocks >= 4 Mgas", "of limit"];
    let mut table = Table::new(&heads, color);
    for line in summary {
        table.row(vec![
            line.profile.clone(),
            line.threads.to_string(),
            speedup(line.all),
            line.blocks.to_string(),
            speedup(line.big),
            line.big_blocks.to_string(),
            line.share.map_or_else(|| "-".to_owned(), |share| format!("{:.0}%", share * 100.0)),
        ]);
    }
    text.push_str("geometric means; the median share of the limit of blocks >= 4 Mgas\n");
    text.push_str(&table.render());
    text
}

fn compare_block(reference: &str, rows: &[CompareRow], color: bool) -> String {
    let versus = format!("vs {reference}");
    let heads = [
        "<profile",
        "threads",
        "time",
        "Mgas/s",
        &versus,
        "95% CI",
        "floor",
        "limit",
        "end to end",
        "cpu",
        "peak",
        "executions",
        "retries",
        "fallbacks",
    ];
    let hinted = rows.iter().any(|row| row.hints.is_some());
    let rooted = rows.iter().any(|row| row.rooted_ns.is_some());
    let own = rows.iter().any(|row| row.oracle_equal.is_some());
    let more = [
        ("with root", rooted),
        ("root adds", rooted),
        ("<hints", hinted),
        ("<own oracle", own),
        ("not as Ethereum", own),
    ];
    let more = more.into_iter().filter(|(_, shown)| *shown).map(|(head, _)| head);
    let heads: Vec<&str> = heads.into_iter().chain(more).collect();
    let percent =
        |share: Option<f64>| share.map_or_else(|| "-".to_owned(), |it| format!("{:.0}%", it * 100.0));
    let mut table = Table::new(&heads, color);
    for row in rows {
        let mut cells = vec![
            row.profile.clone(),
            row.threads.to_string(),
            time(row.median_ns),
            mgas_per_second(row.gas_used, row.median_ns),
            format!("{:.3}x", row.speedup),
            format!("[{:.3}, {:.3}]", row.ci95[0], row.ci95[1]),
            format!("{:.1}%", row.noise_floor * 100.0),
            row.limit.map_or_else(|| "-".to_owned(), |limit| format!("{limit:.2}x")),
            time(row.end_to_end_ns),
            time(row.cpu_ns),
            bytes(row.peak_bytes),
            row.executions.to_string(),
            row.retries.to_string(),
            row.fallbacks.to_string(),
        ];
        if rooted {
            let adds = row.root_adds.map_or_else(|| "-".to_owned(), |adds| format!("{:.1}%", adds * 100.0));
            cells.extend([row.rooted_ns.map_or_else(|| "-".to_owned(), time), adds]);
        }
        if hinted {
            cells.push(row.hints.as_ref().map_or_else(String::new, |hints| {
                let (precision, recall) = (percent(hints.precision), percent(hints.recall));
                format!("{} in {}, precise {precision}, complete {recall}", hints.source, time(hints.ns))
            }));
        }
        if own {
            let equal = row.oracle_equal.map_or("", |equal| if equal { "equal" } else { "different" });
            let differs = row.differs_from_evm.map_or_else(String::new, |share| percent(Some(share)));
            cells.extend([equal.to_owned(), differs]);
        }
        table.row(cells);
    }
    table.render()
}

/// What `compare --trace` adds: computed times, in a table of their own so that nobody takes them for measured ones.
/// Empty if no row has any.
pub(crate) fn virtual_times(rows: &[CompareRow], color: bool) -> String {
    let heads = ["<block", "<profile", "threads", "work", "span", "on 8", "on 16", "on 32", "again on 8"];
    let mut table = Table::new(&heads, color);
    let mut any = false;
    for row in rows {
        let Some(times) = &row.on_workers else { continue };
        any = true;
        let on = |workers| times.on.iter().find(|one| one.workers == workers);
        let speedup =
            |workers| on(workers).map_or_else(|| "-".to_owned(), |one| format!("{:.2}x", one.speedup));
        let first = on(1).map_or(0, |one| one.executions);
        table.row(vec![
            short(&row.input),
            row.profile.clone(),
            row.threads.to_string(),
            time(times.work_ns),
            time(times.span_ns),
            speedup(8),
            speedup(16),
            speedup(32),
            on(8).map_or_else(|| "-".to_owned(), |one| one.executions.saturating_sub(first).to_string()),
        ]);
    }
    if !any {
        return String::new();
    }
    let head = "VIRTUAL, NOT MEASURED: workers that nobody has, by each profile's own model of conflicts and the times \
                of one schedule of that row, in multiples of its executions one by one";
    format!("\n{head}\n{}", table.render())
}

/// What `compare --costs` adds: one line for each block, profile and number of threads, then the most that
/// each profile cost. The reference's lines show what two equal engines come to.
pub(crate) fn costs(reference: &str, rows: &[CompareRow], color: bool) -> String {
    let per_tx = |row: &CompareRow| row.executions as f64 / row.txs.max(1) as f64;
    let ratio = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}x"));
    let heads = ["<block", "<profile", "threads", "cpu", "memory", "executions per tx"];
    let mut table = Table::new(&heads, color);
    let mut most: BTreeMap<(&str, usize), [f64; 3]> = BTreeMap::new();
    for row in rows {
        let costs = [row.cpu_ratio.unwrap_or(0.0), row.memory_ratio, per_tx(row)];
        let seat = most.entry((&row.profile, row.threads)).or_default();
        *seat = std::array::from_fn(|at| seat[at].max(costs[at]));
        table.row(vec![
            short(&row.input),
            row.profile.clone(),
            row.threads.to_string(),
            ratio(row.cpu_ratio),
            ratio(Some(row.memory_ratio)),
            format!("{:.2}", per_tx(row)),
        ]);
    }
    for ((profile, threads), [cpu, memory, executions]) in most {
        let (cpu, memory) = (ratio(Some(cpu).filter(|cpu| *cpu > 0.0)), ratio(Some(memory)));
        let cells = ["at most", profile, &threads.to_string(), &cpu, &memory, &format!("{executions:.2}")];
        table.row(cells.map(str::to_owned).to_vec());
    }
    format!("costs, in multiples of {reference}\n{}", table.render())
}

/// The table of `profiles`, or all about the one there is.
pub(crate) fn profiles(profiles: &[ProfileEntry], color: bool) -> String {
    if let [one] = profiles {
        let threads = if one.parallel { "many threads" } else { "one thread" };
        let mut text = format!(
            "{}\n  scheduler  {}, {threads}\n  fidelity   {}\n",
            one.name, one.scheduler, one.fidelity
        );
        let parts =
            [("article", one.article), ("really", one.real), ("here", one.about), ("limits", one.limits)];
        for (part, said) in parts.into_iter().filter(|(_, said)| !said.is_empty()) {
            let _ = writeln!(text, "  {part:<10} {said}");
        }
        return text;
    }
    let mut table = Table::new(&["<profile", "<scheduler", "<fidelity", "<about"], color);
    for entry in profiles {
        let mut about = entry.about.split_inclusive(". ").next().unwrap_or("").trim_end().to_owned();
        if about.chars().count() > 90 {
            about = about.chars().take(87).chain("...".chars()).collect();
        }
        table.row(vec![entry.name.into(), entry.scheduler.into(), entry.fidelity.into(), about]);
    }
    table.render()
}

/// The table of `workloads`: a row for each parameter.
pub(crate) fn workloads(workloads: &[WorkloadEntry], color: bool) -> String {
    let mut table = Table::new(&["<workload", "<parameter", "<default", "<possible", "<about"], color);
    for workload in workloads {
        table.row(vec![workload.name.into(), "".into(), "".into(), "".into(), workload.about.into()]);
        for parameter in &workload.parameters {
            let possible = match parameter.possible.chars().count() {
                0..=40 => parameter.possible.clone(),
                _ => parameter.possible.chars().take(37).chain("...".chars()).collect(),
            };
            let default = parameter.default.clone().unwrap_or_else(|| "-".into());
            table.row(vec!["".into(), parameter.name.into(), default, possible, parameter.about.into()]);
        }
    }
    table.render()
}

/// Widest name of an input in a table, in characters.
const MAX_NAME: usize = 48;

/// The end of a long name, which says more than its beginning.
fn short(name: &str) -> String {
    let count = name.chars().count();
    if count <= MAX_NAME {
        return name.to_owned();
    }
    "...".chars().chain(name.chars().skip(count - MAX_NAME + 3)).collect()
}

fn mgas(gas: u64) -> String {
    format!("{:.2}", gas as f64 / 1e6)
}

fn mgas_per_second(gas: u64, ns: u64) -> String {
    format!("{:.0}", gas as f64 * 1e3 / ns.max(1) as f64)
}

fn time(ns: u64) -> String {
    match ns {
        0..10_000 => format!("{ns} ns"),
        10_000..10_000_000 => format!("{:.1} us", ns as f64 / 1e3),
        _ => format!("{:.2} ms", ns as f64 / 1e6),
    }
}

fn bytes(count: u64) -> String {
    match count {
        0..10_000 => format!("{count} B"),
        10_000..10_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        _ => format!("{:.1} MB", count as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align() {
        let mut table = Table::new(&["<name", "number"], false);
        table.row(vec!["a".into(), "1".into()]);
        table.row(vec!["long".into(), "1234567".into()]);
        assert_eq!(table.render(), "name   number\na           1\nlong  1234567\n");
    }

    #[test]
    fn long_names_keep_their_ends() {
        let name = format!("{}é/15274915", "x".repeat(200));
        assert_eq!(short(&name).chars().count(), MAX_NAME);
        assert!(short(&name).ends_with("é/15274915"));
        assert_eq!(short("a"), "a");
    }

    #[test]
    fn units() {
        assert_eq!(
            (time(999), time(15_000), time(15_000_000)),
            ("999 ns".into(), "15.0 us".into(), "15.00 ms".into())
        );
        assert_eq!(bytes(1_500_000), "1500.0 kB");
        assert_eq!(mgas_per_second(30_000_000, 10_000_000), "3000");
    }
}
