//! Blocks with their state roots inside the measured time.
//!
//! 1. With a witness, its tries stand before the clock runs ([`WitnessTries`]), as those of a store would. Where the
//!    engine leaves a processor idle, the root begins while the block is executed ([`root_ahead`]); elsewhere that costs
//!    more than it saves, and it is found afterwards. The threads of the engine hash.
//! 2. With a whole state in memory, its tries stand before the clock runs, and what the block changed is hashed
//!    afterwards.
//! 3. On a data folder to which results are committed, the version is begun while the block is executed
//!    ([`execute_begun`]), where that pays (`on_store.rs`).
//! 4. The clock runs from the beginning of the block to its root, over what makes one difference of the result, too.

use crate::engines::{Engines, Seat};
use alloy_primitives::B256;
use braid_core::Control;
use braid_db::{AheadStats, BegunRoot, BegunVersion, Told, WitnessTries, root_ahead, version_ahead};
use braid_evm::{ExecutedBlock, Feed};
use braid_profiles::{
    Engine, ExecError, Names, Profile,
    bench::{BenchError, Given},
    schedule::{self, ScheduleError, Watched},
    stats::median,
};
use braid_report::{DiskTimes, Lane, RootTimes, Span, Trace};
use braid_store::{
    disk::Begun,
    trie::{Crew, TrieNodes},
};
use braid_work::{HashedState, Witness};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

/// Most rounds in which roots are timed.
const MAX_ROUNDS: usize = 30;

/// What the root of a block can be computed from.
pub(crate) struct Rooting<'a> {
    pub(crate) tries: Tries<'a>,
    /// Whether an account that ends empty is not in the state (EIP-161).
    pub(crate) clears_empty: bool,
    /// What it has to be, if that is known.
    pub(crate) expected: Option<B256>,
}

/// See [`Rooting`].
pub(crate) enum Tries<'a> {
    Witness(&'a Witness, TrieNodes),
    Whole(Box<HashedState>),
}

/// A block that was executed.
struct Ran<T> {
    began: Instant,
    elapsed: Duration,
    done: ExecutedBlock,
    with: T,
}

/// The root of a block that was executed, or why there is none, and its times.
pub(crate) struct Rooted {
    pub(crate) root: Result<B256, String>,
    pub(crate) times: RootTimes,
    /// When the first writes were told, since the beginning of the block.
    fed_ns: Option<u64>,
    /// When the result was handed over.
    handed_ns: u64,
}

pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl Rooting<'_> {
    /// What is left for an engine with rules of its own: headers have roots by Ethereum's, and a witness has what these
    /// touch.
    pub(crate) fn of_other_rules(self) -> Option<Self> {
        match self.tries {
            Tries::Witness(..) => None,
            Tries::Whole(_) => Some(Rooting { expected: None, ..self }),
        }
    }

    fn from(&self) -> &'static str {
        match self.tries {
            Tries::Witness(..) => "witness",
            Tries::Whole(_) => "state",
        }
    }

    /// Runs a block on `engine`, which has so many threads, and finds its root.
    fn with<T, E>(
        &self,
        (engine, threads): (&mut dyn Engine, usize),
        run: impl FnOnce(&mut dyn Engine, Option<&mut Feed<'_>>) -> Result<Ran<T>, E>,
    ) -> Result<(Ran<T>, Rooted), E> {
        let (ran, handed, root, stats, fed) = match &self.tries {
            Tries::Witness(witness, nodes) => {
                let tries = WitnessTries::new(witness, nodes);
                let mut first = None;
                let (ran, handed, begun) = if threads < processors() {
                    let ((ran, handed), begun) = root_ahead(tries, |told: &mut Told| {
                        let mut feed = |writes: &_| {
                            first.get_or_insert_with(Instant::now);
                            told.feed(writes);
                        };
                        let ran = run(engine, Some(&mut feed))?;
                        Ok((ran, Instant::now()))
                    })?;
                    (ran, handed, begun)
                } else {
                    let ran = run(engine, None)?;
                    (ran, Instant::now(), BegunRoot::from(tries))
                };
                let mut split = |count: usize, work: &(dyn Fn(usize) + Sync)| engine.split(count, work);
                let crew = &mut Crew::new(threads, &mut split);
                let rooted = begun.finish(witness, &ran.done.diff, self.clears_empty, crew);
                let (root, stats) = match rooted {
                    Ok(rooted) => (Ok(rooted.root), rooted.stats),
                    Err(error) => {
                        let stats = AheadStats { after: handed.elapsed(), ..AheadStats::default() };
                        (Err(error.to_string()), stats)
                    }
                };
                (ran, handed, root, stats, first)
            }
            Tries::Whole(state) => {
                let mut state = state.clone();
                let ran = run(engine, None)?;
                let handed = Instant::now();
                state.apply(&ran.done);
                let root = state.root();
                let stats = AheadStats { after: handed.elapsed(), ..AheadStats::default() };
                (ran, handed, Ok(root), stats, None)
            }
        };
        let handed = handed.saturating_duration_since(ran.began);
        let times = RootTimes {
            from: self.from().to_owned(),
            rooted_ns: nanos(handed + stats.after),
            ahead_ns: nanos(stats.ahead),
            after_ns: nanos(stats.after),
            locations: stats.locations,
        };
        let root = root.and_then(|root| match self.expected {
            Some(expected) if expected != root => Err(format!("state root is {root}, not {expected}")),
            _ => Ok(root),
        });
        let fed = fed.map(|fed| nanos(fed.saturating_duration_since(ran.began)));
        Ok((ran, Rooted { root, times, fed_ns: fed, handed_ns: nanos(handed) }))
    }
}

impl Rooted {
    fn spans(&self) -> Vec<Span> {
        let (times, mut spans) = (&self.times, Vec::new());
        if let Some(fed) = self.fed_ns.filter(|_| times.locations > 0) {
            let ahead = Span::new(Lane::Root, "ahead", fed, self.handed_ns.saturating_sub(fed));
            let busy_ns = Some(times.ahead_ns.min(ahead.end_ns - ahead.start_ns));
            spans.push(Span { busy_ns, ..ahead });
        }
        spans.push(Span::new(Lane::Root, "after", self.handed_ns, times.after_ns));
        spans
    }
}

/// Executes a block once; a panic of the engine becomes an error.
fn once(
    engine: &mut dyn Engine,
    Given { input, pre, access_list }: Given<'_>,
    feed: Option<&mut Feed<'_>>,
    control: &Control<'_>,
) -> Result<Ran<()>, BenchError> {
    // Unwind safety: the caller drops the engine after a panic, and the block and state are read only.
    let done = catch_unwind(AssertUnwindSafe(|| {
        engine.prepare(input, pre, access_list);
        let began = Instant::now();
        let done = match feed {
            Some(feed) => engine.execute_fed(input, pre, feed, control),
            None => engine.execute(input, pre, control),
        }?;
        let elapsed = began.elapsed();
        let done = done.try_into_block(pre).map_err(|error| ExecError::Store { tx: None, error })?;
        Ok(Ran { began, elapsed, done, with: () })
    }));
    done.map_err(|_| BenchError::Panicked("engine panicked while it was told to feed".to_owned()))?
}

/// As [`Engines::execute`], with the root.
pub(crate) fn execute(
    engines: &mut Engines,
    (profile, threads): (&Profile, usize),
    given: Given<'_>,
    rooting: &Rooting<'_>,
    control: &Control<'_>,
) -> (crate::engines::Ran, Option<Rooted>) {
    with_engine(engines, (profile, threads), |engine| {
        rooting.with((engine, threads), |engine, feed| once(engine, given, feed, control))
    })
}

/// Lets `run` execute a block on an engine that begins anew, which is forgotten if it panics.
fn with_engine<T>(
    engines: &mut Engines,
    (profile, threads): (&Profile, usize),
    run: impl FnOnce(&mut dyn Engine) -> Result<(Ran<()>, T), BenchError>,
) -> (crate::engines::Ran, Option<T>) {
    let engine = match engines.get(profile, threads) {
        Ok(engine) => engine,
        Err(error) => return (Err(error), None),
    };
    engine.reset();
    match run(engine.as_mut()) {
        Ok((ran, with)) => (Ok((ran.done, ran.elapsed)), Some(with)),
        Err(error) => {
            if matches!(error, BenchError::Panicked(_)) {
                engines.forget(profile, threads);
            }
            (Err(error), None)
        }
    }
}

/// As [`Engines::execute`], while the version after the block is worked on.
pub(crate) fn execute_begun(
    engines: &mut Engines,
    (profile, threads): (&Profile, usize),
    given: Given<'_>,
    begun: Begun,
    control: &Control<'_>,
) -> (crate::engines::Ran, Option<BegunVersion>) {
    with_engine(engines, (profile, threads), |engine| {
        version_ahead(begun, |told: &mut Told| {
            let mut feed = |writes: &_| told.feed(writes);
            once(engine, given, Some(&mut feed), control)
        })
    })
}

/// What a block's record has besides its schedule.
#[derive(Default)]
pub(crate) struct Besides<'a> {
    /// To find the root by in recorded executions.
    pub(crate) rooting: Option<&'a Rooting<'a>>,
    /// What committing the block to a store took.
    pub(crate) committed: Option<(RootTimes, DiskTimes)>,
}

impl Besides<'_> {
    /// Executes a block once and records its schedule, with the lanes; `Ok(None)` if the engine has none.
    pub(crate) fn record(
        &self,
        engine: &mut dyn Engine,
        seat: (&Profile, usize),
        name: &str,
        given: Given<'_>,
        names: &Names,
        control: &Control<'_>,
    ) -> Result<Option<Trace>, ScheduleError> {
        let watch = |engine: &mut dyn Engine,
                     feed: Option<&mut Feed<'_>>|
         -> Result<Ran<Watched>, Option<ScheduleError>> {
            let mut watched =
                schedule::watch(engine, seat.1, given, feed, control).map_err(Some)?.ok_or(None)?;
            let (began, elapsed, done) = (watched.began, watched.elapsed, std::mem::take(&mut watched.done));
            Ok(Ran { began, elapsed, done, with: watched })
        };
        let done = match self.rooting {
            Some(rooting) => rooting.with((engine, seat.1), watch).map(|(ran, rooted)| (ran, rooted.spans())),
            None => watch(engine, None).map(|ran| (ran, Vec::new())),
        };
        let (ran, mut lanes) = match done {
            Ok(done) => done,
            Err(None) => return Ok(None),
            Err(Some(error)) => return Err(error),
        };
        let mut watched = ran.with;
        watched.done = ran.done;
        let mut trace = watched.into_trace(engine, seat, name, given, names)?;
        if let Some((root, disk)) = &self.committed {
            // Measured when the block was committed, and drawn as if after this execution.
            lanes.push(Span::new(Lane::Root, "prepare", trace.elapsed_ns, root.after_ns));
            lanes.extend(disk.spans(trace.elapsed_ns.saturating_add(root.after_ns)));
        }
        if !lanes.is_empty() {
            lanes.insert(0, Span::new(Lane::Execution, "block", 0, trace.elapsed_ns));
        }
        trace.lanes = lanes;
        Ok(Some(trace))
    }
}

/// What a root costs besides execution.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Adds {
    /// Median of the time from the beginning of the block to its root.
    pub(crate) rooted_ns: u64,
    /// Median over rounds of that by the time of execution alone, less one.
    pub(crate) share: f64,
}

/// Times execution alone and with the root, by turns: in each round every engine once each way, backwards in odd
/// rounds. As many rounds as there were, up to a limit.
pub(crate) fn measure(
    (engines, seats): (&mut [Box<dyn Engine>], &[Seat]),
    given: Given<'_>,
    rooting: &Rooting<'_>,
    rounds: usize,
    control: &Control<'_>,
) -> Result<Vec<Adds>, (usize, BenchError)> {
    let mut times: Vec<(Vec<f64>, Vec<f64>)> = vec![Default::default(); engines.len()];
    for round in 0..rounds.clamp(1, MAX_ROUNDS) {
        for turn in 0..engines.len() {
            let at = if round % 2 == 0 { turn } else { engines.len() - 1 - turn };
            let (engine, threads) = (engines[at].as_mut(), seats[at].1);
            let failed = |error| (at, error);
            engine.reset();
            let alone = once(engine, given, None, control).map_err(failed)?.elapsed;
            engine.reset();
            let run =
                |engine: &mut dyn Engine, feed: Option<&mut Feed<'_>>| once(engine, given, feed, control);
            let (_, rooted) = rooting.with((engine, threads), run).map_err(failed)?;
            let rooted_ns = rooted.times.rooted_ns as f64;
            times[at].0.push(rooted_ns);
            times[at].1.push(rooted_ns / (alone.as_nanos() as f64).max(1.0));
        }
    }
    let adds = |(rooted, ratios): (Vec<f64>, Vec<f64>)| Adds {
        rooted_ns: median(&rooted).unwrap_or(0.0) as u64,
        share: median(&ratios).unwrap_or(1.0) - 1.0,
    };
    Ok(times.into_iter().map(adds).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{inputs::Library, world::Inputs};
    use braid_profiles::{PROFILES, bench::execute_once};

    #[test]
    fn every_profile_finds_the_root_of_the_whole_state_and_a_wrong_one_is_told() {
        let source = Library.resolve("erc20?txs=40&holders=9").unwrap().remove(0);
        let case = source.load().unwrap();
        let mut rooting = case.rooting().unwrap();
        let mut after = case.pre().clone();
        let oracle =
            execute_once(&mut braid_profiles::LeanEngine, case.input(), case.pre(), &Control::default());
        after.apply(&oracle.unwrap().0).unwrap();
        let expected = after.state_root();
        rooting.expected = Some(expected);
        let mut engines = Engines::default();
        for profile in PROFILES {
            let threads = if profile.parallel { 2 } else { 1 };
            let seat = (profile, threads);
            let (done, rooted) = execute(&mut engines, seat, case.given(), &rooting, &Control::default());
            assert!(done.is_ok(), "{}", profile.name);
            assert_eq!(rooted.unwrap().root, Ok(expected), "{}", profile.name);
        }
        rooting.expected = Some(B256::ZERO);
        let (done, rooted) =
            execute(&mut engines, (&PROFILES[0], 1), case.given(), &rooting, &Control::default());
        let told = rooted.unwrap().root.unwrap_err();
        assert!(done.is_ok() && told.contains(&expected.to_string()), "{told}");
    }

    #[test]
    fn spans_stay_within_the_block() {
        let times =
            RootTimes { ahead_ns: 900, after_ns: 50, rooted_ns: 1_050, locations: 3, ..RootTimes::default() };
        let rooted = Rooted { root: Ok(B256::ZERO), times, fed_ns: Some(400), handed_ns: 1_000 };
        let spans = rooted.spans();
        let times: Vec<_> = spans.iter().map(|span| (span.start_ns, span.end_ns, span.work_ns())).collect();
        assert_eq!(times, [(400, 1_000, 600), (1_000, 1_050, 50)]);
    }
}
