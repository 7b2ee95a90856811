//! Schedules of engines, and what the block they ran allows: the parts of a record that reports are made of.

use crate::{
    Engine, ExecError, Names, Profile,
    bench::{BenchError, Given},
    limit::{Dependencies, Footprint, Link, Nonces, Place, edges},
    names::short,
};
use alloy_primitives::Address;
use braid_core::{Control, Hint, Mode, Trust};
use braid_evm::{EvmKey, ExecutedBlock, Feed, first_position};
use braid_report::{
    Analysis, Conflicts, Described, Graph, Key, Model, Recorder, Trace,
    analysis::{Access, Facts},
    graph::{Edge, GraphError},
};
use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

/// Why there is no schedule.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ScheduleError {
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] BenchError),
    /// The schedule is faster than its own rules allow: a defect of whoever recorded it.
    #[error(transparent)]
    Impossible(#[from] GraphError),
}

impl From<ExecError> for ScheduleError {
    fn from(error: ExecError) -> Self {
        ScheduleError::Engine(error.into())
    }
}

/// A block that was executed once with its events recorded.
#[derive(Debug)]
pub struct Watched {
    /// When execution began, and how long it took.
    pub began: Instant,
    /// See `began`.
    pub elapsed: Duration,
    /// Its result.
    pub done: ExecutedBlock,
    recorder: Recorder<EvmKey>,
}

/// Executes a block once and keeps its events; `Ok(None)` if the engine tells of none. The writes of transactions
/// are told to `feed` as they become final, if there is one.
///
/// # Errors
/// [`ScheduleError`]; after a panic the engine must not be used any more.
pub fn watch(
    engine: &mut dyn Engine,
    threads: usize,
    given: Given<'_>,
    feed: Option<&mut Feed<'_>>,
    control: &Control<'_>,
) -> Result<Option<Watched>, ScheduleError> {
    let Given { input, pre, access_list } = given;
    engine.reset();
    // Unwind safety: the caller drops the engine after a panic, and the block and state are read only.
    let watched = catch_unwind(AssertUnwindSafe(|| {
        engine.prepare(input, pre, access_list);
        let recorder = Recorder::new(threads);
        let began = Instant::now();
        let done = match feed {
            Some(feed) => engine.execute_watched_fed(input, pre, feed, &recorder, control),
            None => engine.execute_watched(input, pre, &recorder, control),
        };
        let elapsed = began.elapsed();
        done.map(|done| (done, recorder.stop(), began, elapsed))
    }));
    let watched =
        watched.map_err(|_| BenchError::Panicked("engine panicked while it was watched".to_owned()))?;
    let Some((done, recorder, began, elapsed)) = watched else { return Ok(None) };
    // Off the clock.
    let done = done?.try_into_block(pre).map_err(|error| ExecError::Store { tx: None, error })?;
    Ok(Some(Watched { began, elapsed, done, recorder }))
}

impl Watched {
    /// The schedule. `name` is that of the block.
    ///
    /// # Errors
    /// [`ScheduleError::Impossible`] if it is faster than the engine's own rules allow.
    pub fn into_trace(
        self,
        engine: &mut dyn Engine,
        (profile, threads): (&Profile, usize),
        name: &str,
        given: Given<'_>,
        names: &Names,
    ) -> Result<Trace, ScheduleError> {
        let described = Described {
            input: name.to_owned(),
            profile: profile.name.to_owned(),
            scheduler: profile.scheduler.to_owned(),
            threads,
            before: first_position(given.input),
            txs: given.input.txs.len() as u32,
        };
        let hint_ns = self.done.stats.hint_ns;
        let trace = Trace { hint_ns, ..self.recorder.into_trace(described, |key| names.key(key)) };
        trace.check_time(engine.model().unwrap_or(Model::of(profile.scheduler)), None)?;
        Ok(trace)
    }
}

/// Executes a block once and records its schedule; `Ok(None)` if the engine has none. `name` is that of the
/// block.
///
/// # Errors
/// [`ScheduleError`]; after a panic the engine must not be used any more.
pub fn record(
    engine: &mut dyn Engine,
    (profile, threads): (&Profile, usize),
    name: &str,
    given: Given<'_>,
    names: &Names,
    control: &Control<'_>,
) -> Result<Option<Trace>, ScheduleError> {
    let Some(watched) = watch(engine, threads, given, None, control)? else { return Ok(None) };
    watched.into_trace(engine, (profile, threads), name, given, names).map(Some)
}

/// Accesses of one transaction, and of one block, that schedulers take in of hints.
const HINTED_EACH: usize = 4096;
const HINTED_MOST: usize = 1 << 22;

/// What the transactions of a block, as [`observe`](crate::limit::observe) saw them, have to do with one another, and
/// what `engine` is told of that, in `count` positions. Nonces are predicted, as all engines do.
fn conflicts(engine: &mut dyn Engine, given: Given<'_>, block: &[Footprint], count: usize) -> Conflicts {
    let before = first_position(given.input);
    let mut needs = vec![Vec::new(); count];
    let drawn = Dependencies::new(block, Nonces::Predicted).on;
    for (needs, on) in needs.iter_mut().skip(before as usize).zip(drawn) {
        *needs = on.iter().map(|on| on + before).collect();
    }
    let told = engine.told(given.input, given.pre).unwrap_or_default();
    Conflicts { before, needs, hints: numbered(&told, count) }
}

/// Hints with numbers for locations, as far as schedulers take them in.
fn numbered(told: &[Hint<EvmKey>], count: usize) -> Vec<Vec<(u32, Mode)>> {
    let (mut numbers, mut room) = (BTreeMap::<EvmKey, u32>::new(), HINTED_MOST);
    let mut hints = Vec::with_capacity(count);
    for hint in told.iter().take(count) {
        let mut uses = BTreeMap::<u32, Mode>::new();
        let most = if hint.trust == Trust::None { 0 } else { HINTED_EACH.min(room) };
        for (key, mode) in hint.access.iter().take(most) {
            room -= 1;
            let next = numbers.len() as u32;
            let number = *numbers.entry(*key).or_insert(next);
            uses.entry(number).and_modify(|has| *has = has.with(*mode)).or_insert(*mode);
        }
        hints.push(uses.into_iter().collect());
    }
    hints.resize(count, Vec::new());
    hints
}

/// Puts into `trace`, which `engine` left of this very block, what follows from it under the engine's own model: work,
/// span, and times on workers that nobody has. Not if it has no model, or the trace has gaps. `block` is what
/// [`observe`](crate::limit::observe) saw.
///
/// # Errors
/// [`ScheduleError::Impossible`] if the schedule is faster than its own model allows.
pub fn model(
    engine: &mut dyn Engine,
    trace: &mut Trace,
    given: Given<'_>,
    block: &[Footprint],
) -> Result<(), ScheduleError> {
    let Some(model) = engine.model() else { return Ok(()) };
    let by = engine.hints_from().map(|(_, by)| by).unwrap_or_default();
    let conflicts = conflicts(engine, given, block, trace.commits.len());
    trace.model = model.times(trace, &conflicts, by)?;
    Ok(())
}

/// What the dependencies of a block allow: its transactions as [`observe`](crate::limit::observe) saw them, weighed
/// by [`weigh`](crate::limit::weigh). `input` names the block.
///
/// # Errors
/// [`GraphError`] if there are too many dependencies, or not as many weights as transactions.
pub fn analyse(
    input: &str,
    block: &[Footprint],
    names: &Names,
    weights: &[u64],
    nonces: Nonces,
) -> Result<Analysis, GraphError> {
    let mut numbers = Numbers::default();
    let drawn = edges(block, nonces);
    let needs: Vec<Vec<Edge>> = drawn
        .iter()
        .map(|needed| needed.iter().map(|(on, link)| Edge { on: *on, key: numbers.of(*link) }).collect())
        .collect();
    let graph = Graph::new(needs, weights.to_vec())?;
    let access = block.iter().map(|tx| numbers.access(tx)).collect();
    let keys = numbers.links.iter().map(|link| key(link, names)).collect();
    Analysis::new(Facts { input: input.to_owned(), keys, access, graph })
}

/// Numbers locations as they come.
#[derive(Default)]
struct Numbers {
    known: BTreeMap<Link, u32>,
    links: Vec<Link>,
}

impl Numbers {
    fn of(&mut self, link: Link) -> u32 {
        // A sender's nonce is one location, whoever uses it and for what.
        let link = match link {
            Link::Place(Place::Nonce(address)) => Link::Sender(address),
            other => other,
        };
        let next = self.links.len() as u32;
        *self.known.entry(link).or_insert_with(|| {
            self.links.push(link);
            next
        })
    }

    fn access(&mut self, tx: &Footprint) -> Access {
        let sender = Link::Sender(tx.sender);
        let reads = tx.reads.iter().map(|place| Link::Place(*place));
        let reads = reads.chain(tx.observed.iter().map(|address| Link::Balance(*address)));
        let writes = tx.writes.iter().map(|place| Link::Place(*place));
        let writes = writes.chain(tx.paid.iter().map(|address| Link::Balance(*address)));
        let mut numbered = |links: &mut dyn Iterator<Item = Link>| {
            let mut numbers: Vec<u32> = links.map(|link| self.of(link)).collect();
            numbers.sort_unstable();
            numbers.dedup();
            numbers
        };
        Access {
            reads: numbered(&mut reads.chain([sender])),
            writes: numbered(&mut writes.chain([sender])),
            private: 0,
        }
    }
}

fn key(link: &Link, names: &Names) -> Key {
    let part = |address: &Address, part: &str, name: &str| {
        Key::new(format!("{address}.{part}")).named(Some(format!("{name} {}", short(address))))
    };
    match link {
        Link::Place(Place::Slot(address, slot)) => names.slot(*address, *slot),
        Link::Place(Place::Code(address)) => part(address, "code", "code of"),
        Link::Place(Place::Nonce(address)) | Link::Sender(address) => part(address, "nonce", "nonce of"),
        Link::Balance(address) => part(address, "balance", "ether of"),
    }
}
