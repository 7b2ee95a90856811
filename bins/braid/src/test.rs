//! `braid test`: official test vectors on every engine.

pub(crate) mod packed;
pub(crate) mod report;

use crate::{
    Exit, ORACLE, Session,
    args::{TestArgs, resolve_threads},
    diverge::quote,
    progress::Ui,
    render,
    world::World,
};
use braid_profiles::{Profile, find};
use braid_vectors::{
    Case, Done, Event, Options, Plan, Runner, Seats, Take, Totals, packed::Packed, run_archive,
};
use regex::Regex;
use report::{CaseEntry, TestDocument};
use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

/// Longest time for one case on all engines together.
const DEADLINE: Duration = Duration::from_secs(600);

/// Most workers; each has engines of its own.
const MAX_WORKERS: usize = 4;

/// Failures that are told on stderr, one line each.
const MAX_TOLD: usize = 20;

/// Carries the command out.
pub(crate) fn test(args: &TestArgs, world: &World<'_>, session: &Session<'_>, ui: &mut Ui<'_>) -> Exit {
    let profiles = match profiles(args, world) {
        Ok(profiles) => profiles,
        Err(error) => {
            ui.error(error);
            ui.hint("braid profiles");
            return Exit::Usage;
        }
    };
    let filter = match args.filter.as_deref().map(Regex::new).transpose() {
        Ok(filter) => filter,
        Err(error) => {
            ui.error(format_args!("--filter: {error}"));
            return Exit::Usage;
        }
    };
    let seed = args.seed.unwrap_or_else(crate::random_seed);
    let mut runners = match runners(args, &profiles, session, seed) {
        Ok(runners) => runners,
        Err(error) => {
            ui.error(error);
            return Exit::Usage;
        }
    };
    let wanted =
        filter.map(|filter| move |case: &Case| filter.is_match(&format!("{}::{}", case.file, case.name)));
    let plan = Plan {
        take: if args.full { Take::All } else { Take::Sample(args.sample as usize) },
        seed,
        filter: wanted.as_ref().map(|wanted| wanted as _),
        cancel: Some(session.cancel),
    };
    let what =
        if args.full { "all cases".to_owned() } else { format!("{} cases of each archive", args.sample) };
    ui.note(format_args!("{what}, seed {seed}"));
    let mut course = Course { args, seed, document: TestDocument::new(seed), exit: Exit::Ok, told: 0 };
    ui.start(args.path.len());
    for path in &args.path {
        ui.item(&path.display().to_string());
        let (begun, mut totals) = (Instant::now(), Totals::default());
        let ended = run_archive(path, &plan, &mut runners, &mut |event| course.event(event, &mut totals, ui));
        if let Err(error) = ended {
            course.unreadable(error.to_string(), ui);
        }
        if let (Some(take), Some(runner)) = (packed::wanted(args), runners.first_mut()) {
            course.packed(path, take, &plan, runner.seats(), ui);
        }
        if session.cancel.load(Ordering::Relaxed) {
            ui.finish();
            ui.error("interrupted");
            return Exit::Interrupted;
        }
        let elapsed = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        course.document.finish(path.display().to_string(), totals, elapsed);
    }
    ui.finish();
    course.end(ui)
}

/// The profiles that take part, in the order of the registry, the yardstick first.
fn profiles<'a>(
    args: &TestArgs,
    world: &World<'a>,
) -> Result<Vec<&'a Profile>, braid_profiles::ProfileError> {
    if args.profile == "all" {
        return Ok(world.profiles.iter().collect());
    }
    let (oracle, chosen) = (find(world.profiles, ORACLE)?, find(world.profiles, &args.profile)?);
    Ok(if chosen.name == oracle.name { vec![oracle] } else { vec![oracle, chosen] })
}

fn runners<'a>(
    args: &TestArgs,
    profiles: &[&Profile],
    session: &Session<'a>,
    seed: u64,
) -> Result<Vec<Runner<'a>>, braid_profiles::ProfileError> {
    let mut threads: Vec<usize> = args.threads.iter().map(|threads| resolve_threads(*threads)).collect();
    threads.sort_unstable();
    threads.dedup();
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS);
    let options = Options { deadline: DEADLINE, shuffle: Some(seed), cancel: Some(session.cancel) };
    (0..workers).map(|_| Ok(Runner::new(Seats::new(profiles, &threads)?, options))).collect()
}

/// What the run has come to so far.
struct Course<'a> {
    args: &'a TestArgs,
    seed: u64,
    document: TestDocument,
    exit: Exit,
    told: usize,
}

impl Course<'_> {
    fn event(&mut self, event: Event, totals: &mut Totals, ui: &mut Ui<'_>) {
        let done = match event {
            Event::Done(done) => done,
            Event::Unreadable(error) => return self.unreadable(error.to_string(), ui),
        };
        totals.add(&done.verdict);
        self.document.add(&done);
        if self.args.jsonl {
            ui.result(&crate::to_json(&CaseEntry::new(&done)));
        }
        self.tell(&done, ui);
        ui.detail(|| format!("{} cases, {} failed: {}", totals.cases(), totals.failed, done.name));
    }

    fn unreadable(&mut self, error: String, ui: &mut Ui<'_>) {
        ui.error(&error);
        self.document.unreadable.push(error);
        self.exit = self.exit.and(Exit::Failure);
    }

    /// Says what failed, the divergences always.
    fn tell(&mut self, done: &Done, ui: &mut Ui<'_>) {
        let failures = &done.verdict.failures;
        let Some(first) = failures.first() else { return };
        self.exit = self.exit.and(if done.verdict.diverged { Exit::Diverged } else { Exit::Tests });
        let seat = match first.profile {
            "" => String::new(),
            profile => {
                format!(" [{profile} with {} threads, {} seats in all]", first.threads, failures.len())
            }
        };
        if done.verdict.diverged {
            ui.error(format_args!("DIVERGED {}::{}{seat}: {}", done.file, done.name, first.reason));
            let filter = format!("^{}$", regex::escape(&format!("{}::{}", done.file, done.name)));
            let path = self.args.path.iter().find(|path| done.file.starts_with(&*path.to_string_lossy()));
            let path = path.map(|path| quote(&path.to_string_lossy())).unwrap_or_default();
            let (profile, seed) = (&self.args.profile, self.seed);
            let filter = quote(&filter);
            ui.hint(format_args!(
                "braid test {path} --profile {profile} --full --seed {seed} --filter {filter}"
            ));
            return;
        }
        self.told += 1;
        match self.told {
            ..=MAX_TOLD => ui.error(format_args!("{}::{}{seat}: {}", done.file, done.name, first.reason)),
            told if told == MAX_TOLD + 1 => ui.error("more failures: see --json"),
            _ => {}
        }
    }

    fn end(self, ui: &mut Ui<'_>) -> Exit {
        let document = self.document;
        let cases = document.passed + document.failed + document.skipped;
        if self.args.json || self.args.jsonl {
            ui.result(&crate::to_json(&document));
        } else {
            let mut text = render::test(&document.archives, ui.color_out);
            let TestDocument { passed, failed, skipped, executions, seed, .. } = &document;
            text.push_str(&format!(
                "{cases} cases: {passed} passed, {failed} failed, {skipped} skipped; {executions} executions, \
                 seed {seed}\n"
            ));
            if document.packed.blocks > 0 {
                text.push_str(&told_packed(&document.packed));
            }
            for (class, entry) in &document.reported {
                let (passed, failed) = (entry.passed, entry.failed);
                text.push_str(&format!("reported {class}: {passed} passed, {failed} failed"));
                text.push_str(
                    &entry.first_cause.as_ref().map(|cause| format!("; first: {cause}")).unwrap_or_default(),
                );
                text.push('\n');
            }
            ui.result(&text);
        }
        if cases == 0 && self.exit == Exit::Ok {
            ui.error("no case was selected");
            return Exit::Nothing;
        }
        self.exit
    }
}

/// One line about packed blocks.
fn told_packed(packed: &Packed) -> String {
    let Packed { blocks, transactions, refused, failed, .. } = packed;
    let percent = packed.dependent_percent();
    format!(
        "packed blocks: {blocks} with {transactions} transactions, {percent:.1} % of which need an earlier one; \
         {refused} with a refused one; {failed} failed\n"
    )
}
