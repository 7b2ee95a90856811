//! The report as a document: what the page draws, what `--format json` prints.

use crate::{
    Analysis, RunRecord, Trace,
    model::Model,
    record::{Machine, Row, RunRow},
    text::{count, percent, thousands, time},
    trace::{KeyCost, Totals},
};
use serde::Serialize;

/// Version of [`Report`] as a document. Fields may be added within one.
pub const REPORT_VERSION: u32 = 1;

/// Locations that a schedule's list of costs has.
const COSTS_MAX: usize = 100;

/// A report.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// [`REPORT_VERSION`].
    pub version: u32,
    /// What came out, in a sentence.
    pub verdict: String,
    /// What is virtual or missing, in sentences.
    pub notes: Vec<String>,
    /// What was run where.
    pub run: Origin,
    /// Whom profiles were compared with.
    pub reference: Option<String>,
    /// Comparisons by block.
    pub rows: Vec<Row>,
    /// Executions by block.
    pub results: Vec<RunRow>,
    /// Comparisons over all blocks.
    pub means: Vec<Mean>,
    /// The blocks, with what is known of them.
    pub blocks: Vec<BlockView>,
}

/// What was run where.
#[derive(Clone, Debug, Serialize)]
pub struct Origin {
    /// The command line after the program's name.
    pub arguments: Vec<String>,
    /// Version of the program that ran.
    pub version: String,
    /// Seconds since 1970.
    pub finished_unix: u64,
    /// As text: it may be larger than what every reader of JSON keeps.
    pub seed: String,
    /// The machine.
    pub machine: Machine,
}

/// One profile and number of threads over all blocks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mean {
    /// The profile.
    pub profile: String,
    /// Its threads.
    pub threads: usize,
    /// Blocks.
    pub blocks: usize,
    /// Geometric mean of the speed-ups.
    pub speedup: f64,
    /// 95% interval, if there is one block only.
    pub ci95: Option<[f64; 2]>,
    /// Geometric mean of what the dependencies allow, if that is known of all blocks.
    pub limit: Option<f64>,
    /// Greatest noise floor.
    pub noise_floor: f64,
    /// Whether it ran from what the blocks themselves do, which nobody knows in time: never a headline.
    pub foretold: bool,
}

/// A block.
#[derive(Clone, Debug, Serialize)]
pub struct BlockView {
    /// Text that names it.
    pub input: String,
    /// What its dependencies allow.
    pub analysis: Option<Analysis>,
    /// Its schedules.
    pub traces: Vec<TraceView>,
}

/// A schedule with what follows from it.
#[derive(Clone, Debug, Serialize)]
pub struct TraceView {
    /// The schedule.
    #[serde(flatten)]
    pub trace: Trace,
    /// Totals.
    pub totals: Totals,
    /// The dearest locations.
    pub costs: Vec<KeyCost>,
    /// What is impossible about its times, if anything: a defect of whoever measured.
    pub impossible: Option<String>,
}

impl Report {
    /// Whether a time in it is impossible, which its notes then tell.
    pub fn is_impossible(&self) -> bool {
        self.schedules().any(|schedule| schedule.impossible.is_some())
    }

    /// Everything that a record tells.
    pub fn new(record: RunRecord) -> Self {
        let RunRecord {
            version, finished_unix, arguments, seed, machine, document, analyses, traces, ..
        } = record;
        let mut blocks: Vec<BlockView> = Vec::new();
        let place = |blocks: &mut Vec<BlockView>, input: &str| {
            blocks.iter().position(|block| block.input == input).unwrap_or_else(|| {
                blocks.push(BlockView { input: input.to_owned(), analysis: None, traces: Vec::new() });
                blocks.len() - 1
            })
        };
        for analysis in analyses {
            let at = place(&mut blocks, &analysis.input);
            blocks[at].analysis = Some(analysis);
        }
        for trace in traces {
            let at = place(&mut blocks, &trace.input);
            let (totals, mut costs) = (trace.totals(), trace.costs());
            costs.truncate(COSTS_MAX);
            let checked =
                trace.check_time(Model::of(&trace.scheduler), None).and_then(|()| trace.check_model());
            let impossible = checked.err().map(|error| error.to_string());
            blocks[at].traces.push(TraceView { trace, totals, costs, impossible });
        }
        let mut report = Report {
            version: REPORT_VERSION,
            verdict: String::new(),
            notes: Vec::new(),
            run: Origin { arguments, version, finished_unix, seed: seed.to_string(), machine },
            means: means(&document.rows),
            reference: document.reference,
            rows: document.rows,
            results: document.results,
            blocks,
        };
        report.verdict = report.say_verdict();
        report.notes = report.say_notes();
        report
    }

    fn say_verdict(&self) -> String {
        let reference = self.reference.as_deref().unwrap_or_default();
        let others = self.means.iter().filter(|mean| mean.profile != reference && !mean.foretold);
        if let Some(best) = others.max_by(|a, b| a.speedup.total_cmp(&b.speedup)) {
            return verdict_of(best, reference);
        }
        let Some(schedule) = self.schedules().next() else {
            return match &self.results[..] {
                [] => "The record has nothing to compare.".to_owned(),
                results => {
                    let ok = results.iter().filter(|result| result.status == "ok").count() as u64;
                    format!("{} of {} ok.", thousands(ok), count(results.len() as u64, "block"))
                }
            };
        };
        let (trace, totals) = (&schedule.trace, schedule.totals);
        let wasted = percent(totals.wasted_ns, totals.busy_ns);
        let (txs, threads) = (count(trace.txs.into(), "transaction"), count(trace.threads as u64, "thread"));
        let took = time(trace.elapsed_ns);
        let mut text = format!("{} with {threads} ran {txs} in {took}", trace.profile);
        text += &match totals.aborted + totals.blocked {
            0 => ", with no execution thrown away".to_owned(),
            lost => {
                format!(", and {} came to nothing ({wasted} of the time at work)", count(lost, "execution"))
            }
        };
        if let Some(cost) = schedule.costs.first() {
            text += &format!("; the dearest location was {}", trace.keys[cost.key as usize].label());
        }
        text + "."
    }

    fn say_notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for block in &self.blocks {
            let Some(analysis) = &block.analysis else { continue };
            let Some(eight) = analysis.on_workers.iter().find(|one| one.workers == 8) else { continue };
            let best = eight.block_order_ns.min(eight.critical_path_ns).max(1);
            notes.push(format!(
                "Virtual, not measured: {}: work {}, critical path {} ({:.2} times); on 8 workers that cost nothing \
                 {:.2} times.",
                block.input,
                time(analysis.work_ns),
                time(analysis.span_ns),
                analysis.parallelism(),
                analysis.work_ns as f64 / best as f64,
            ));
        }
        for schedule in self.schedules() {
            let trace = &schedule.trace;
            if trace.lost > 0 {
                let lost = count(trace.lost, "event");
                notes.push(format!("The schedule of {} on {} lacks {lost}.", trace.profile, trace.input));
            }
            notes.extend(schedule.impossible.iter().map(|why| format!("Impossible: {why}.")));
        }
        if self.schedules().next().is_none() {
            notes.push("There is no schedule in this record: it was made without --trace, or of profiles that have none.".to_owned());
        }
        notes
    }

    fn schedules(&self) -> impl Iterator<Item = &TraceView> {
        self.blocks.iter().flat_map(|block| &block.traces)
    }
}

fn verdict_of(best: &Mean, reference: &str) -> String {
    let who = format!("{} with {}", best.profile, count(best.threads as u64, "thread"));
    let on = if best.blocks == 1 {
        String::new()
    } else {
        format!("Over {}, ", count(best.blocks as u64, "block"))
    };
    let how = match best.ci95 {
        Some([low, high]) => format!(" (95% interval {low:.2} to {high:.2})"),
        None => " (geometric mean)".to_owned(),
    };
    let of = match best.limit {
        Some(limit) => format!(", where the dependencies between transactions allow {limit:.2}"),
        None => String::new(),
    };
    let difference = (best.speedup - 1.0).abs();
    if difference <= best.noise_floor {
        return format!("{on}{who} is as fast as {reference}, as far as this measurement can tell{of}.");
    }
    format!("{on}{who} is {:.2} times as fast as {reference}{how}{of}.", best.speedup)
}

/// By profile and threads, in the order of their first rows.
fn means(rows: &[Row]) -> Vec<Mean> {
    let mut seats: Vec<(&str, usize)> = Vec::new();
    for row in rows {
        let seat = (row.profile.as_str(), row.threads);
        if !seats.contains(&seat) {
            seats.push(seat);
        }
    }
    let mean_of = |(profile, threads): (&str, usize)| {
        let mine: Vec<&Row> =
            rows.iter().filter(|row| row.profile == profile && row.threads == threads).collect();
        let limits: Option<Vec<f64>> = mine.iter().map(|row| row.limit).collect();
        let floor = mine.iter().map(|row| row.noise_floor).fold(0.0, f64::max);
        Mean {
            profile: profile.to_owned(),
            threads,
            blocks: mine.len(),
            speedup: geometric_mean(mine.iter().map(|row| row.speedup)),
            ci95: if let [one] = mine[..] { Some(one.ci95) } else { None },
            limit: limits.map(|limits| geometric_mean(limits.into_iter())),
            noise_floor: floor,
            foretold: mine.iter().any(|row| row.is_foretold()),
        }
    };
    seats.into_iter().map(mean_of).collect()
}

/// 0 if one of the values is not positive.
fn geometric_mean(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let count = values.clone().count().max(1) as f64;
    let mean = (values.map(f64::ln).sum::<f64>() / count).exp();
    if mean.is_finite() { mean } else { 0.0 }
}
