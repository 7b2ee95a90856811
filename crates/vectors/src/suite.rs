//! All cases of an archive, or a sample of them, on several workers.

use crate::{Case, Outcome, Runner, VectorError, Verdict, archive, load, skips};
use alloy_primitives::keccak256;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
};

/// Which cases to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// All of them.
    All,
    /// At most so many of an archive, from as many of its files as possible; none that is not run anyway.
    Sample(usize),
}

/// What of an archive to run.
#[derive(Clone, Copy)]
pub struct Plan<'a> {
    /// How many cases.
    pub take: Take,
    /// Decides which cases a sample is of.
    pub seed: u64,
    /// Cases to leave out, unless there is none.
    pub filter: Option<&'a (dyn Fn(&Case) -> bool + Sync)>,
    /// Set to stop.
    pub cancel: Option<&'a AtomicBool>,
}

impl std::fmt::Debug for Plan<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Plan { take, seed, filter, .. } = self;
        write!(f, "Plan {{ take: {take:?}, seed: {seed}, filtered: {} }}", filter.is_some())
    }
}

/// A case that was run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// Its file.
    pub file: Arc<str>,
    /// Its name.
    pub name: String,
    /// What came of it.
    pub verdict: Verdict,
}

/// What a run tells as it goes, in the order of the archive, however many workers there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A case was run.
    Done(Done),
    /// A file could not be read.
    Unreadable(VectorError),
}

/// What came of many cases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// As demanded.
    pub passed: u64,
    /// Not as demanded.
    pub failed: u64,
    /// Not run.
    pub skipped: u64,
    /// Blocks executed, over all engines.
    pub executions: u64,
}

impl Totals {
    /// Counts a case.
    pub fn add(&mut self, verdict: &Verdict) {
        match verdict.outcome {
            Outcome::Passed => self.passed += 1,
            Outcome::Failed => self.failed += 1,
            Outcome::Skipped(_) => self.skipped += 1,
        }
        self.executions += verdict.executions;
    }

    /// Number of cases.
    pub fn cases(&self) -> u64 {
        self.passed + self.failed + self.skipped
    }
}

/// Work for one worker.
enum Batch {
    /// A file yet to be parsed.
    File(Arc<str>, Vec<u8>),
    /// Cases of one file.
    Cases(Vec<Case>),
    /// A file that cannot be parsed.
    Broken(VectorError),
}

/// Runs the cases of `archive` that `plan` names, one worker for each of `runners`, and calls `each` with
/// what comes of them. Stops early, without an error, if told to.
///
/// # Errors
/// If the archive cannot be read (to its end). What stands before the damage has been run then.
pub fn run_archive(
    archive: &Path,
    plan: &Plan<'_>,
    runners: &mut [Runner<'_>],
    each: &mut dyn FnMut(Event),
) -> Result<(), VectorError> {
    let (batches, inbox) = mpsc::sync_channel::<(usize, Batch)>(runners.len());
    let inbox = Mutex::new(inbox);
    let (done, outcomes) = mpsc::channel::<(usize, Vec<Event>)>();
    std::thread::scope(|scope| {
        for runner in runners {
            let (inbox, done) = (&inbox, done.clone());
            scope.spawn(move || {
                loop {
                    // The lock is held while waiting, so the others wait for it instead.
                    let batch = inbox.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((number, batch)) = batch else { return };
                    let worked = catch_unwind(AssertUnwindSafe(|| work(batch, runner, plan)));
                    // A defect, but no reason for the reader to wait for a worker that is gone.
                    let events = worked.unwrap_or_else(|_| vec![Event::Unreadable(panicked(archive))]);
                    if done.send((number, events)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        let reader = scope.spawn(move || {
            let mut number = 0;
            let mut send = |batch| {
                let sent = batches.send((number, batch)).is_ok();
                number += 1;
                if sent && !stopped(plan) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            };
            match plan.take {
                Take::All => archive::visit(archive, &mut |_| true, &mut |member| {
                    send(Batch::File(archive::label(archive, &member.path).into(), member.bytes))
                }),
                Take::Sample(most) => sample(archive, most, plan, &mut send),
            }
        });
        let (mut early, mut next) = (BTreeMap::new(), 0);
        for (number, events) in outcomes {
            early.insert(number, events);
            while let Some(events) = early.remove(&next) {
                events.into_iter().for_each(&mut *each);
                next += 1;
            }
        }
        reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn panicked(archive: &Path) -> VectorError {
    let file = archive.display().to_string();
    VectorError::Invalid { file, name: "a file of it".to_owned(), reason: "the runner panicked".to_owned() }
}

fn stopped(plan: &Plan<'_>) -> bool {
    // Relaxed: the flag carries no data; a late look only delays the stop.
    plan.cancel.is_some_and(|flag| flag.load(Ordering::Relaxed))
}

fn work(batch: Batch, runner: &mut Runner<'_>, plan: &Plan<'_>) -> Vec<Event> {
    let cases = match batch {
        Batch::Cases(cases) => cases,
        Batch::Broken(error) => return vec![Event::Unreadable(error)],
        Batch::File(label, bytes) => match load(&label, &bytes) {
            Ok(cases) => cases,
            Err(error) => return vec![Event::Unreadable(error)],
        },
    };
    let mut events = Vec::with_capacity(cases.len());
    for case in cases.into_iter().filter(|case| plan.filter.is_none_or(|wanted| wanted(case))) {
        let verdict = runner.run(&case);
        // What was stopped half-way is no verdict.
        if stopped(plan) {
            break;
        }
        events.push(Event::Done(Done { file: case.file, name: case.name, verdict }));
    }
    events
}

/// Deals cases: the first of each file, then the second of each, and so on, in an order that only the
/// seed decides, until there are enough. Without a filter only as many files are parsed.
fn sample(
    archive: &Path,
    most: usize,
    plan: &Plan<'_>,
    send: &mut dyn FnMut(Batch) -> ControlFlow<()>,
) -> Result<(), VectorError> {
    let mut files: Vec<(u64, String)> =
        archive::list(archive)?.into_iter().map(|path| (rank(plan.seed, &path), path)).collect();
    files.sort();
    if plan.filter.is_none() {
        files.truncate(most);
    }
    let chosen: BTreeSet<String> = files.into_iter().map(|(_, path)| path).collect();
    // By rank in the file, then at random: the lowest are the ones dealt.
    let mut dealt: BTreeMap<(usize, u64, String), Case> = BTreeMap::new();
    let mut broken = Vec::new();
    archive::visit(archive, &mut |path| chosen.contains(path), &mut |member| {
        let label: Arc<str> = archive::label(archive, &member.path).into();
        let cases = match load(&label, &member.bytes) {
            Ok(cases) => cases,
            Err(error) => {
                broken.push(error);
                Vec::new()
            }
        };
        let wanted = |case: &Case| plan.filter.is_none_or(|wanted| wanted(case));
        let wanted = cases.into_iter().filter(|case| wanted(case) && skips::skipped(case).is_none());
        let id = |case: &Case| format!("{}::{}", member.path, case.name);
        let mut ranked: Vec<(u64, Case)> = wanted.map(|case| (rank(plan.seed, &id(&case)), case)).collect();
        ranked.sort_by(|one, other| (one.0, &one.1.name).cmp(&(other.0, &other.1.name)));
        for (place, (hash, case)) in ranked.into_iter().take(most).enumerate() {
            dealt.insert((place, hash, id(&case)), case);
            if dealt.len() > most {
                dealt.pop_last();
            }
        }
        if stopped(plan) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    let mut by_file: BTreeMap<Arc<str>, Vec<Case>> = BTreeMap::new();
    for case in dealt.into_values() {
        by_file.entry(case.file.clone()).or_default().push(case);
    }
    let cases = by_file.into_values().map(|mut cases| {
        cases.sort_by(|one, other| one.name.cmp(&other.name));
        Batch::Cases(cases)
    });
    // Whoever is sent to no longer listens only when all is to stop.
    let _ = broken.into_iter().map(Batch::Broken).chain(cases).try_for_each(send);
    Ok(())
}

/// The place of a text in the order that `seed` decides.
fn rank(seed: u64, text: &str) -> u64 {
    let hash = keccak256([&seed.to_be_bytes(), text.as_bytes()].concat());
    u64::from_be_bytes(hash.0[..8].try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, Seats};
    use std::fs;

    /// Paths to encoding vectors, `cases` of them in each of `files` files, one of which is broken.
    fn folder(name: &str, files: usize, cases: usize) -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("braid-suite-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for file in 0..files {
            let unit = |case: usize| format!(r#""c{case:02}": {{"in": "dog", "out": "0x83646f67"}}"#);
            let units: Vec<String> = (0..cases).map(unit).collect();
            fs::write(folder.join(format!("f{file:02}.json")), format!("{{{}}}", units.join(","))).unwrap();
        }
        folder
    }

    fn run(folder: &Path, plan: Plan<'_>, workers: usize) -> Vec<Event> {
        let runner = || Runner::new(Seats::new(&[], &[]).unwrap(), Options::default());
        let mut runners: Vec<Runner<'_>> = (0..workers).map(|_| runner()).collect();
        let mut events = Vec::new();
        run_archive(folder, &plan, &mut runners, &mut |event| events.push(event)).unwrap();
        events
    }

    fn names(events: &[Event]) -> Vec<String> {
        let name = |event: &Event| match event {
            Event::Done(done) => format!("{}::{}", done.file.rsplit('/').next().unwrap(), done.name),
            Event::Unreadable(_) => "unreadable".to_owned(),
        };
        events.iter().map(name).collect()
    }

    #[test]
    fn a_sample_is_spread_repeatable_and_in_order() {
        let folder = folder("sample", 12, 9);
        let plan = |seed, most| Plan { take: Take::Sample(most), seed, filter: None, cancel: None };
        let one = names(&run(&folder, plan(1, 8), 1));
        assert_eq!(one, names(&run(&folder, plan(1, 8), 3)), "workers change nothing");
        assert_ne!(one, names(&run(&folder, plan(2, 8), 1)), "the seed decides");
        let files: BTreeSet<&str> = one.iter().map(|name| &name[..3]).collect();
        assert_eq!((one.len(), files.len()), (8, 8), "{one:?}");
        let many = names(&run(&folder, plan(1, 40), 2));
        let mut sorted = many.clone();
        sorted.sort();
        assert_eq!((many.len(), &many), (40, &sorted));
        assert_eq!(names(&run(&folder, plan(1, 1000), 2)).len(), 12 * 9);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn all_cases_come_in_order_and_a_broken_file_in_its_place() {
        let folder = folder("all", 5, 3);
        fs::write(folder.join("f02.json"), "{").unwrap();
        let filter = |case: &Case| case.name != "c01";
        let plan = Plan { take: Take::All, seed: 0, filter: Some(&filter), cancel: None };
        let expected =
            ["f00.json", "f01.json", "", "f03.json", "f04.json"].iter().flat_map(|file| match *file {
                "" => vec!["unreadable".to_owned()],
                file => vec![format!("{file}::c00"), format!("{file}::c02")],
            });
        assert_eq!(names(&run(&folder, plan, 3)), expected.collect::<Vec<_>>());
        let sample = Plan { take: Take::Sample(100), ..plan };
        let sampled = names(&run(&folder, sample, 2));
        assert_eq!((sampled.len(), sampled[0].as_str()), (9, "unreadable"));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_is_cancelled_stops() {
        let folder = folder("cancel", 30, 3);
        let cancel = AtomicBool::new(true);
        let plan = Plan { take: Take::All, seed: 0, filter: None, cancel: Some(&cancel) };
        assert_eq!(run(&folder, plan, 2), []);
        fs::remove_dir_all(folder).unwrap();
    }
}
