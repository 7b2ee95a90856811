//! `braid compare`: time profiles against a reference, paired and interleaved.

use crate::{
    Exit, ORACLE, Session,
    args::{CompareArgs, resolve_threads},
    diverge::Divergence,
    engines::{Engines, Seat, build},
    finish,
    json::{CompareDocument, CompareRow, HintCosts, Problem, SCHEMA, Status},
    judge::{interrupted, judge, judge_own, problem},
    memory,
    progress::Ui,
    record::{Record, Samples},
    render::{self, Summary},
    rooted::{self, Adds, Besides, Rooting},
    schedules::{Schedules, Weighed, virtual_times},
    selection::{Item, select},
    world::{Case, Source, World},
};
use braid_core::{Control, Stats};
use braid_evm::{EvmShared, ExecutedBlock, hints::Learned};
use braid_profiles::{
    Engine, HintSource, Profile,
    bench::{BenchError, Given, Measurement, Rounds, Series, measure_given},
    find, find_any,
    limit::{Dependencies, Nonces},
    stats::{Estimate, geometric_mean, median, paired_speedup},
};
use braid_report::ModelTimes;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// Time for all timing if the command line does not say.
const DEFAULT_TIME: Duration = Duration::from_secs(20);

/// Rounds that every block gets even if time is up.
const LEAST_ROUNDS: usize = 5;

/// Gas from which on a block counts as big in the summary.
const BIG_BLOCK_GAS: u64 = 4_000_000;

/// Carries the command out.
pub(crate) fn compare(args: &CompareArgs, world: &World<'_>, session: &Session<'_>, ui: &mut Ui<'_>) -> Exit {
    let plan = match Plan::new(args, world) {
        Ok(plan) => plan,
        Err(error) => {
            ui.error(error);
            ui.hint("braid profiles");
            return Exit::Usage;
        }
    };
    let items = match select(world.inputs, &args.on, ui) {
        Ok(items) => items,
        Err(exit) => return exit,
    };
    let seed = args.seed.unwrap_or_else(crate::random_seed);
    let mut bench = Bench {
        plan,
        engines: Engines::default(),
        control: session.control(),
        seed,
        root: args.root,
        exit: Exit::Ok,
        rows: Vec::new(),
        samples: Vec::new(),
        schedules: Schedules::new(args.trace),
    };
    let start = Instant::now();
    ui.start(items.len());
    bench.learn(&items, ui);
    for (index, item) in items.iter().enumerate() {
        ui.item(&item.name());
        let rounds = match args.runs {
            Some(runs) => Rounds::Exactly(usize::from(runs)),
            None => {
                let left = args.time.unwrap_or(DEFAULT_TIME).saturating_sub(start.elapsed());
                let blocks = u32::try_from(items.len() - index).unwrap_or(u32::MAX);
                Rounds::Within { least: LEAST_ROUNDS, time: left / blocks }
            }
        };
        let done = match item {
            Item::Source(source) => bench.block(source.as_ref(), index, rounds, ui),
            Item::Broken { text, problem } => {
                bench.fail(text, problem, ui);
                Ok(())
            }
        };
        if done.is_err() {
            ui.finish();
            ui.error("interrupted");
            return Exit::Interrupted;
        }
    }
    ui.finish();
    bench.tell(args, items.is_empty(), session, ui)
}

/// Told to stop.
struct Interrupted;

/// Who is timed.
struct Plan<'a> {
    reference: &'a Profile,
    oracle: &'a Profile,
    /// Seats that are timed together against one reference seat.
    groups: Vec<Group<'a>>,
}

struct Group<'a> {
    reference_threads: usize,
    /// The others, in the order of the command line.
    others: Vec<(&'a Profile, usize)>,
}

impl<'a> Plan<'a> {
    /// Every profile with every number of threads; one that has no use for threads only once, with
    /// one. A reference that uses threads is compared only at equal numbers, so each has a group.
    fn new(args: &CompareArgs, world: &World<'a>) -> Result<Self, braid_profiles::ProfileError> {
        let profiles = world.profiles;
        let reference = find(profiles, &args.reference)?;
        let oracle = find(profiles, ORACLE)?;
        let mut chosen: Vec<&Profile> = Vec::new();
        for name in &args.profile {
            let profile = find_any(profiles, world.own_rules, name)?;
            if chosen.iter().all(|there| there.name != profile.name) {
                chosen.push(profile);
            }
        }
        if args.profile.is_empty() {
            chosen = profiles.iter().collect();
        }
        chosen.retain(|profile| profile.name != reference.name);
        let mut threads: Vec<usize> = args.threads.iter().map(|&asked| resolve_threads(asked)).collect();
        threads.sort_unstable();
        threads.dedup();
        let seats = |profile: &'a Profile, threads: &[usize]| -> Vec<(&'a Profile, usize)> {
            let threads = if profile.parallel { threads } else { &[1] };
            threads.iter().map(|&threads| (profile, threads)).collect()
        };
        let group = |reference_threads, threads: &[usize]| Group {
            reference_threads,
            others: chosen.iter().flat_map(|profile| seats(profile, threads)).collect(),
        };
        let groups = if reference.parallel {
            threads.iter().map(|&threads| group(threads, &[threads])).collect()
        } else {
            vec![group(1, &threads)]
        };
        Ok(Plan { reference, oracle, groups })
    }
}

/// A seat whose result on a block is right, with what was counted then.
struct Ready<'a> {
    profile: &'a Profile,
    threads: usize,
    stats: Stats,
    peak_bytes: u64,
    hints: Option<HintCosts>,
    oracle_equal: Option<bool>,
    differs_from_evm: Option<f64>,
    model: Option<ModelTimes>,
}

impl Ready<'_> {
    fn seat(&self) -> Seat {
        (self.profile.name, self.threads)
    }
}

/// What is known about a block before it is timed.
struct Block<'a> {
    name: String,
    case: &'a dyn Case,
    /// The right result.
    done: ExecutedBlock,
    gas_used: u64,
    limit: Option<(Dependencies, Weighed)>,
    /// If roots are to be timed and can be.
    rooting: Option<Rooting<'a>>,
    /// Time of what comes besides execution, by number of threads.
    finish: BTreeMap<usize, Duration>,
}

struct Bench<'a> {
    plan: Plan<'a>,
    engines: Engines,
    control: Control<'a>,
    seed: u64,
    /// Whether roots are to be timed.
    root: bool,
    exit: Exit,
    rows: Vec<CompareRow>,
    samples: Vec<Samples>,
    schedules: Schedules,
}

impl<'a> Bench<'a> {
    fn fail(&mut self, input: &str, problem: &Problem, ui: &mut Ui<'_>) {
        ui.error(problem.of(input));
        self.exit = self.exit.and(Exit::Failure);
    }

    /// Checks, then times everyone on one block.
    fn block(
        &mut self,
        source: &dyn Source,
        index: usize,
        rounds: Rounds,
        ui: &mut Ui<'_>,
    ) -> Result<(), Interrupted> {
        let name = source.name();
        let case = match source.load() {
            Ok(case) => case,
            Err(problem) => {
                self.fail(&name, &problem, ui);
                return Ok(());
            }
        };
        let case = case.as_ref();
        let oracle = self.execute(self.plan.oracle, 1, case)?;
        let verdict = judge(case, &oracle, None, false);
        let done = match (verdict.error, &oracle) {
            (None, Ok((done, _))) => done.clone(),
            (Some(problem), _) => {
                self.fail(&name, &problem, ui);
                return Ok(());
            }
            (None, Err(error)) => {
                self.fail(&name, &problem(error), ui);
                return Ok(());
            }
        };
        let gas_used = done.results.iter().map(|result| result.gas_used).sum();
        let limit = match Weighed::new(case.input(), case.pre()) {
            Ok(weighed) => {
                self.schedules.analyse(&name, &weighed, ui);
                let needs = Dependencies::new(&weighed.block, Nonces::default());
                Some((needs, weighed))
            }
            Err(error) => {
                ui.warn(format_args!("{name}: no limit: {error}"));
                None
            }
        };
        let rooting = if self.root { case.rooting() } else { None };
        if self.root && rooting.is_none() {
            ui.warn(format_args!("{name}: no root: it comes with neither a witness nor a whole state"));
        }
        let mut block = Block { name, case, done, gas_used, limit, rooting, finish: BTreeMap::new() };
        let groups = self.plan.groups.len();
        for group in 0..groups {
            let rounds = match rounds {
                Rounds::Within { least, time } => {
                    Rounds::Within { least, time: time / u32::try_from(groups).unwrap_or(u32::MAX) }
                }
                exactly => exactly,
            };
            self.group(group, index, &mut block, &oracle, rounds, ui)?;
        }
        Ok(())
    }

    /// One execution off the clock.
    fn execute(
        &mut self,
        profile: &Profile,
        threads: usize,
        case: &dyn Case,
    ) -> Result<crate::engines::Ran, Interrupted> {
        let interrupted_now = self.control.interrupted::<()>().is_some();
        let done = self.engines.execute(profile, threads, case.given(), &self.control);
        if interrupted_now || done.as_ref().is_err_and(interrupted) { Err(Interrupted) } else { Ok(done) }
    }

    /// Executes the block once off the clock and judges the result. `None` if it is wrong, which is
    /// reported: a wrong engine is not timed.
    fn ready(
        &mut self,
        (profile, threads): (&'a Profile, usize),
        index: usize,
        block: &Block<'_>,
        oracle: &crate::engines::Ran,
        ui: &mut Ui<'_>,
    ) -> Result<Option<Ready<'a>>, Interrupted> {
        let done = self.execute(profile, threads, block.case)?;
        let own = self.engines.own_oracle(profile, threads, block.case.given(), &self.control);
        if own.as_ref().is_some_and(|own| own.as_ref().is_err_and(interrupted)) {
            return Err(Interrupted);
        }
        let verdict = match &own {
            Some(own) => judge_own(block.case, &done, own),
            None => judge(block.case, &done, Some(oracle), profile.parallel),
        };
        let oracle_equal = verdict.oracle_equal;
        if let (true, Some(problem)) = (verdict.alone, &verdict.error) {
            let seed = self.seed.wrapping_add(index as u64);
            Divergence::new(&block.name, profile.name, threads, seed, problem).report(ui);
            self.exit = self.exit.and(Exit::Diverged);
            return Ok(None);
        }
        if verdict.status != Status::Ok {
            let message = verdict.error.map_or_else(String::new, |problem| problem.message);
            let message = format!("{} with {threads} threads: {message}", profile.name);
            let problem = Problem { kind: "wrong".to_owned(), file: None, item: None, message };
            self.fail(&block.name, &problem, ui);
            return Ok(None);
        }
        let stats = done.map(|(done, _)| done.stats).unwrap_or_default();
        // An engine of its own, so that what it keeps from block to block counts as well.
        let control = self.control;
        let Given { input, pre, access_list } = block.case.given();
        let run = || {
            let mut fresh = build(profile, threads).ok()?;
            if access_list.is_some() {
                fresh.prepare(input, pre, access_list);
            }
            fresh.execute(input, pre, &control).map(drop).ok()
        };
        // On a thread of its own, too: this one's has stacks from earlier runs.
        let (_, peak_bytes) = std::thread::scope(|scope| {
            let measured = scope.spawn(|| memory::peak(run)).join();
            measured.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        let (name, weighed) = (&block.name, block.limit.as_ref().map(|(_, weighed)| weighed));
        let (schedules, given, control) = (&mut self.schedules, block.case.given(), &self.control);
        let (besides, seat) =
            (Besides { rooting: block.rooting.as_ref(), committed: None }, (profile, threads));
        let recorded = schedules.record(&mut self.engines, seat, name, given, &besides, weighed, control, ui);
        let model = recorded.unwrap_or_else(|problem| {
            self.fail(&block.name, &problem, ui);
            None
        });
        let hints = self.hint_costs(profile, threads, &stats, block.case);
        let differs_from_evm = self.engines.differs_from_evm((profile, threads), block.case);
        Ok(Some(Ready { profile, threads, stats, peak_bytes, hints, model, oracle_equal, differs_from_evm }))
    }

    /// What the hints of one execution off the clock cost, and how good they are.
    fn hint_costs(
        &mut self,
        profile: &Profile,
        threads: usize,
        stats: &Stats,
        case: &dyn Case,
    ) -> Option<HintCosts> {
        let engine = self.engines.get(profile, threads).ok()?;
        let (source, _) = engine.hints_from()?;
        let accuracy = engine.accuracy(case.input(), case.pre())?;
        let (precision, recall) = (accuracy.precision(), accuracy.recall());
        Some(HintCosts { source, ns: stats.hint_ns, precision, recall })
    }

    /// Learns from all blocks, if one of the profiles runs from what was learned. No block is predicted from
    /// itself.
    fn learn(&mut self, items: &[Item], ui: &mut Ui<'_>) {
        let mut seats = self.plan.groups.iter().flat_map(|group| &group.others);
        let learns = |profile: &Profile, threads| {
            build(profile, threads).is_ok_and(|engine| engine.hint_source() == Some(HintSource::Learned))
        };
        if !seats.any(|(profile, threads)| profile.parallel && learns(profile, *threads)) {
            return;
        }
        let (mut learned, shared) = (Learned::default(), EvmShared::default());
        for item in items {
            if let Item::Source(source) = item
                && let Ok(case) = source.load()
            {
                ui.detail(|| format!("learning from {}", source.name()));
                braid_profiles::learn(&mut learned, &shared, case.input(), case.pre());
            }
        }
        self.engines.lessons = Arc::new(learned);
    }

    /// Times one group on one block, and adds its rows.
    fn group(
        &mut self,
        group: usize,
        index: usize,
        block: &mut Block<'_>,
        oracle: &crate::engines::Ran,
        rounds: Rounds,
        ui: &mut Ui<'_>,
    ) -> Result<(), Interrupted> {
        let seats: Vec<(&Profile, usize)> = {
            let group = &self.plan.groups[group];
            let reference = (self.plan.reference, group.reference_threads);
            std::iter::once(reference).chain(group.others.iter().copied()).collect()
        };
        let mut ready = Vec::with_capacity(seats.len());
        for (place, seat) in seats.into_iter().enumerate() {
            match self.ready(seat, index, block, oracle, ui)? {
                Some(one) => ready.push(one),
                // Without the reference there is nothing to compare with.
                None if place == 0 => return Ok(()),
                None => {}
            }
        }
        let names: Vec<Seat> = ready.iter().map(Ready::seat).collect();
        let mut engines = self.engines.lend(&names);
        let mut borrowed: Vec<&mut dyn Engine> = Vec::with_capacity(engines.len());
        for engine in &mut engines {
            borrowed.push(engine.as_mut());
        }
        let (given, name) = (block.case.given(), block.name.clone());
        let mut told = |round: usize| ui.detail(|| format!("{name}, round {round}"));
        let measured = measure_given(&mut borrowed, 0, given, rounds, &self.control, &mut told);
        match measured {
            Ok(measured) => {
                let rounds = measured.again.samples.len();
                let adds = block.rooting.as_ref().map_or(Ok(Vec::new()), |rooting| {
                    let seats = (&mut engines[..], &names[..]);
                    rooted::measure(seats, given, rooting, rounds, &self.control)
                });
                match adds {
                    Ok(adds) => {
                        self.engines.take_back(&names, engines);
                        self.add_rows(&ready, block, &measured, &adds, index);
                        Ok(())
                    }
                    Err((_, error)) if interrupted(&error) => Err(Interrupted),
                    Err((place, error)) => {
                        self.unstable(&ready, place, index, block, &error, ui);
                        Ok(())
                    }
                }
            }
            Err((_, error)) if interrupted(&error) => Err(Interrupted),
            // The engines are dropped, so the next block starts with new ones.
            Err((place, error)) => {
                drop(engines);
                self.unstable(&ready, place, index, block, &error, ui);
                Ok(())
            }
        }
    }

    /// An engine that was right off the clock failed on it: a divergence, too.
    fn unstable(
        &mut self,
        ready: &[Ready<'_>],
        place: usize,
        index: usize,
        block: &Block<'_>,
        error: &BenchError,
        ui: &mut Ui<'_>,
    ) {
        let problem = problem(error);
        match ready.get(place) {
            Some(one) if one.profile.parallel => {
                let seed = self.seed.wrapping_add(index as u64);
                Divergence::new(&block.name, one.profile.name, one.threads, seed, &problem).report(ui);
                self.exit = self.exit.and(Exit::Diverged);
            }
            _ => self.fail(&block.name, &problem, ui),
        }
    }

    fn add_rows(
        &mut self,
        ready: &[Ready<'_>],
        block: &mut Block<'_>,
        measured: &Measurement,
        adds: &[Adds],
        index: usize,
    ) {
        let reference = measured.reference.elapsed();
        let reference_median = median(&reference).unwrap_or(0.0);
        let seed = self.seed.wrapping_add(index as u64);
        let point = Estimate { value: 1.0, low: 1.0, high: 1.0 };
        let floor = paired_speedup(&reference, &measured.again.elapsed(), seed).unwrap_or(point);
        let reference_cpu = measured.reference.cpu();
        let (_, state_bytes) = memory::peak(|| (block.case.input().clone(), block.case.pre().clone()));
        let least = ready.first().map_or(1, |one| state_bytes + one.peak_bytes);
        for (place, one) in ready.iter().enumerate() {
            // The reference's own row shows its second run, paired like any other.
            let series: &Series = if place == 0 { &measured.again } else { &measured.contestants[place] };
            let elapsed = series.elapsed();
            let speedup = paired_speedup(&reference, &elapsed, seed).unwrap_or(point);
            let median_ns = median(&elapsed).unwrap_or(0.0);
            let (case, done) = (block.case, &block.done);
            let finish =
                *block.finish.entry(one.threads).or_insert_with(|| finish::time(case, done, one.threads));
            // The dependencies are Ethereum's.
            let limit = block.limit.as_ref().filter(|_| one.oracle_equal.is_none());
            self.rows.push(CompareRow {
                input: block.name.clone(),
                block: u64::try_from(case.input().env.number).unwrap_or(u64::MAX),
                gas_used: block.gas_used,
                txs: case.input().txs.len(),
                profile: one.profile.name.to_owned(),
                threads: one.threads,
                runs: elapsed.len(),
                median_ns: median_ns as u64,
                reference_median_ns: reference_median as u64,
                speedup: speedup.value,
                ci95: [speedup.low, speedup.high],
                noise_floor: floor.half_width(),
                cpu_ns: median(&series.cpu()).unwrap_or(0.0) as u64,
                cpu_ratio: paired_speedup(&series.cpu(), &reference_cpu, seed).map(|ratio| ratio.value),
                peak_bytes: one.peak_bytes,
                memory_ratio: (state_bytes + one.peak_bytes) as f64 / least.max(1) as f64,
                executions: one.stats.executions,
                retries: one.stats.retries,
                fallbacks: one.stats.fallbacks,
                hints: one.hints,
                limit: limit.map(|(needs, weighed)| needs.limit(one.threads, &weighed.weights)),
                on_workers: one.model.as_ref().map(virtual_times),
                end_to_end_ns: (median_ns + finish.as_nanos() as f64) as u64,
                rooted_ns: adds.get(place).map(|adds| adds.rooted_ns),
                root_adds: adds.get(place).map(|adds| adds.share),
                oracle_equal: one.oracle_equal,
                differs_from_evm: one.differs_from_evm,
            });
            self.samples.push(Samples {
                input: block.name.clone(),
                profile: one.profile.name.to_owned(),
                threads: one.threads,
                loops: series.loops,
                elapsed_ns: elapsed,
                cpu_ns: series.cpu(),
                reference_ns: reference.clone(),
            });
        }
    }

    /// Prints and records what came out.
    fn tell(self, args: &CompareArgs, nothing: bool, session: &Session<'_>, ui: &mut Ui<'_>) -> Exit {
        let reference = self.plan.reference.name.to_owned();
        let document = CompareDocument { schema: SCHEMA, command: "compare", reference, rows: self.rows };
        if args.json {
            ui.result(&crate::to_json(&document));
        } else if !document.rows.is_empty() {
            let summary = summarize(&document.rows);
            ui.result(&render::compare(&document.reference, &document.rows, &summary, ui.color_out));
            let computed = render::virtual_times(&document.rows, ui.color_out);
            if !computed.is_empty() {
                ui.result(&computed);
            }
            if args.costs {
                ui.result(&render::costs(&document.reference, &document.rows, ui.color_out));
            }
        }
        if nothing {
            ui.error("no input matched");
            return Exit::Nothing;
        }
        if document.rows.iter().any(|row| row.runs < LEAST_ROUNDS) {
            ui.warn(format_args!("intervals of fewer than {LEAST_ROUNDS} runs are too narrow"));
        }
        let record = Record::new(session.arguments, self.seed, &document, self.samples).with(self.schedules);
        let kept = record.keep(args.record.as_deref(), session.cache.as_deref(), ui);
        if args.record.is_none() && self.exit == Exit::Ok {
            ui.hint(if args.trace {
                "braid report last -o report.html"
            } else {
                "add --json or --record PATH to keep the numbers, --trace for braid report"
            });
        }
        self.exit.and(if kept { Exit::Ok } else { Exit::Failure })
    }
}

/// Geometric means by profile and threads, in the order of their first rows.
fn summarize(rows: &[CompareRow]) -> Vec<Summary> {
    let mut order: Vec<(&str, usize)> = Vec::new();
    for row in rows {
        let seat = (row.profile.as_str(), row.threads);
        if !order.contains(&seat) {
            order.push(seat);
        }
    }
    let mut lines = Vec::with_capacity(order.len());
    for (profile, threads) in order {
        let mine = || rows.iter().filter(move |row| row.profile == profile && row.threads == threads);
        let all: Vec<f64> = mine().map(|row| row.speedup).collect();
        let big: Vec<f64> =
            mine().filter(|row| row.gas_used >= BIG_BLOCK_GAS).map(|row| row.speedup).collect();
        let big_with_limit = mine().filter(|row| row.gas_used >= BIG_BLOCK_GAS);
        let shares: Vec<f64> =
            big_with_limit.filter_map(|row| row.limit.map(|limit| row.speedup / limit)).collect();
        lines.push(Summary {
            profile: profile.to_owned(),
            threads,
            all: geometric_mean(&all),
            blocks: all.len(),
            big: geometric_mean(&big),
            big_blocks: big.len(),
            share: median(&shares),
        });
    }
    lines
}
