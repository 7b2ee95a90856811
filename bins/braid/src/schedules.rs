//! Schedules and analyses that a record takes along, if they were asked for.

use crate::{engines::Engines, progress::Ui, world::Case};
use braid_core::Control;
use braid_evm::BlockInput;
use braid_profiles::{
    Names, Profile,
    bench::{BenchError, Given},
    limit::{Footprint, LimitError, Nonces, observe, weigh},
    schedule::{self, ScheduleError},
};
use braid_report::{Analysis, Trace};
use braid_work::PreState;

/// Serial runs that weigh the transactions.
const WEIGHING_PASSES: usize = 3;

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
    analyses: Vec<Analysis>,
    traces: Vec<Trace>,
}

impl Schedules {
    /// None, and none to come unless they are `wanted`.
    pub(crate) fn new(wanted: bool) -> Self {
        Schedules { wanted, analyses: Vec::new(), traces: Vec::new() }
    }

    pub(crate) fn into_parts(self) -> (Vec<Analysis>, Vec<Trace>) {
        (self.analyses, self.traces)
    }

    /// Works out what the dependencies of a block allow.
    pub(crate) fn analyse(&mut self, name: &str, weighed: &Weighed, ui: &mut Ui<'_>) {
        if !self.wanted || self.traces.len() >= TRACES_MAX {
            return;
        }
        let Weighed { block, names, weights } = weighed;
        match schedule::analyse(name, block, names, weights, Nonces::default()) {
            Ok(analysis) => self.analyses.push(analysis),
            Err(error) => ui.warn(format_args!("{name}: no analysis: {error}")),
        }
    }

    /// As [`analyse`](Self::analyse), of a block that nobody has weighed.
    pub(crate) fn analyse_block(&mut self, name: &str, case: &dyn Case, ui: &mut Ui<'_>) -> Names {
        if !self.wanted {
            return Names::default();
        }
        match Weighed::new(case.input(), case.pre()) {
            Ok(weighed) => {
                self.analyse(name, &weighed, ui);
                weighed.names
            }
            Err(error) => {
                ui.warn(format_args!("{name}: no analysis: {error}"));
                Names::default()
            }
        }
    }

    /// Executes the block once more and keeps its schedule.
    #[expect(clippy::too_many_arguments, reason = "those of an execution, and where it is told of")]
    pub(crate) fn record(
        &mut self,
        engines: &mut Engines,
        (profile, threads): (&Profile, usize),
        name: &str,
        given: Given<'_>,
        names: &Names,
        control: &Control<'_>,
        ui: &mut Ui<'_>,
    ) {
        if !self.wanted {
            return;
        }
        if self.traces.len() >= TRACES_MAX {
            if self.traces.len() == TRACES_MAX {
                ui.warn(format_args!("{name}: no schedule: a record has at most {TRACES_MAX}"));
            }
            return;
        }
        let done = engines.get(profile, threads).map_err(ScheduleError::from).and_then(|engine| {
            schedule::record(engine.as_mut(), (profile, threads), name, given, names, control)
        });
        match done {
            Ok(trace) => self.traces.extend(trace),
            Err(error) => {
                if matches!(error, ScheduleError::Engine(BenchError::Panicked(_))) {
                    engines.forget(profile, threads);
                }
                let seat = format!("{} with {threads} threads", profile.name);
                ui.error(format_args!("{name}: no schedule of {seat}: {error}"));
            }
        }
    }
}
