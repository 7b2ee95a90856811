//! Schedules and analyses that a record takes along, if they were asked for.

use crate::{
    engines::Engines,
    json::{Problem, VirtualTime, VirtualTimes},
    progress::Ui,
    rooted::Besides,
    world::Case,
};
use braid_core::Control;
use braid_evm::BlockInput;
use braid_profiles::{
    Names, Profile,
    bench::{BenchError, Given},
    limit::{Footprint, LimitError, Nonces, observe, weigh},
    schedule::{self, ScheduleError},
};
use braid_report::{Analysis, ModelTimes, Trace};
use braid_work::PreState;

/// Serial runs that weigh the transactions.
const WEIGHING_PASSES: usize = 3;

/// Executions that are recorded; the fastest is kept.
const RECORDED_EACH: usize = 3;

/// Most schedules of one record.
const TRACES_MAX: usize = 128;

/// What a block's transactions touch, how locations are called, how long transactions take.
pub(crate) struct Weighed {
    pub(crate) block: Vec<Footprint>,
    pub(crate) names: Names,
    pub(crate) weights: Vec<u64>,
}

impl Weighed {
    /// Runs the block, off the clock.
    pub(crate) fn new(input: &BlockInput, pre: &PreState) -> Result<Self, LimitError> {
        let (block, names) = observe(input, pre)?;
        Ok(Weighed { block, names, weights: weigh(input, pre, WEIGHING_PASSES)? })
    }
}

/// What there is so far.
pub(crate) struct Schedules {
    wanted: bool,
    /// There was one schedule too many.
    full: bool,
    analyses: Vec<Analysis>,
    traces: Vec<Trace>,
}

impl Schedules {
    /// None, and none to come unless they are `wanted`.
    pub(crate) fn new(wanted: bool) -> Self {
        Schedules { wanted, full: false, analyses: Vec::new(), traces: Vec::new() }
    }

    pub(crate) fn into_parts(self) -> (Vec<Analysis>, Vec<Trace>) {
        (self.analyses, self.traces)
    }

    /// Works out what the dependencies of a block allow.
    pub(crate) fn analyse(&mut self, name: &str, weighed: &Weighed, ui: &mut Ui<'_>) {
        if !self.wanted || self.full {
            return;
        }
        let Weighed { block, names, weights } = weighed;
        match schedule::analyse(name, block, names, weights, Nonces::default()) {
            Ok(analysis) => self.analyses.push(analysis),
            Err(error) => ui.warn(format_args!("{name}: no analysis: {error}")),
        }
    }

    /// As [`analyse`](Self::analyse), of a block that nobody has weighed.
    pub(crate) fn analyse_block(&mut self, name: &str, case: &dyn Case, ui: &mut Ui<'_>) -> Option<Weighed> {
        if !self.wanted {
            return None;
        }
        match Weighed::new(case.input(), case.pre()) {
            Ok(weighed) => {
                self.analyse(name, &weighed, ui);
                Some(weighed)
            }
            Err(error) => {
                ui.warn(format_args!("{name}: no analysis: {error}"));
                None
            }
        }
    }

    /// Executes the block a few times more and keeps the fastest schedule, if there is room. What follows from it under the model of
    /// the profile is told in any case; that it breaks its own model is a problem.
    #[expect(clippy::too_many_arguments, reason = "those of an execution, and where it is told of")]
    pub(crate) fn record(
        &mut self,
        engines: &mut Engines,
        (profile, threads): (&Profile, usize),
        name: &str,
        given: Given<'_>,
        besides: &Besides<'_>,
        weighed: Option<&Weighed>,
        control: &Control<'_>,
        ui: &mut Ui<'_>,
    ) -> Result<Option<ModelTimes>, Problem> {
        if !self.wanted {
            return Ok(None);
        }
        let unnamed = Names::default();
        let names = weighed.map_or(&unnamed, |weighed| &weighed.names);
        let done = engines.get(profile, threads).map_err(ScheduleError::from).and_then(|engine| {
            let engine = engine.as_mut();
            let mut trace: Option<Trace> = None;
            for _ in 0..RECORDED_EACH {
                let one = besides.record(engine, (profile, threads), name, given, names, control)?;
                let Some(one) = one else { break };
                if trace.as_ref().is_none_or(|best| one.elapsed_ns < best.elapsed_ns) {
                    trace = Some(one);
                }
            }
            if let Some((trace, weighed)) = trace.as_mut().zip(weighed) {
                schedule::model(engine, trace, given, &weighed.block)?;
            }
            Ok(trace)
        });
        let seat = || format!("{} with {threads} threads", profile.name);
        match done {
            Ok(None) => Ok(None),
            Ok(Some(trace)) => {
                let model = trace.model.clone();
                if self.traces.len() < TRACES_MAX {
                    self.traces.push(trace);
                } else if !std::mem::replace(&mut self.full, true) {
                    ui.warn(format_args!(
                        "{name}: a record has at most {TRACES_MAX} schedules: the rest is left out"
                    ));
                }
                Ok(model)
            }
            Err(ScheduleError::Impossible(error)) => {
                let (item, message) = (Some(seat()), format!("a time that cannot be: {error}"));
                Err(Problem { kind: "impossible_time".to_owned(), file: None, item, message })
            }
            Err(error) => {
                if matches!(error, ScheduleError::Engine(BenchError::Panicked(_))) {
                    engines.forget(profile, threads);
                }
                ui.error(format_args!("{name}: no schedule of {}: {error}", seat()));
                Ok(None)
            }
        }
    }
}

/// What a row tells of a profile's own model.
pub(crate) fn virtual_times(model: &ModelTimes) -> VirtualTimes {
    let one = |on: &braid_report::model::OnWorkers| VirtualTime {
        workers: on.workers,
        ns: on.time_ns,
        speedup: model.speedup(on.workers).unwrap_or(0.0),
        executions: on.executions,
    };
    VirtualTimes {
        one_by_one_ns: model.one_by_one_ns,
        work_ns: model.work_ns,
        span_ns: model.span_ns,
        on: model.on_workers.iter().map(one).collect(),
    }
}
