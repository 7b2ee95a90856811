//! Braid's EVM under any of Braid's schedulers, as an [`Engine`].

use crate::{
    Engine, ExecError, Executed, HintSource, ProfileError, Traced, WithRecord,
    hinted::{Grain, Hinting, Source},
};
use alloy_primitives::Bytes;
use braid_core::{Cause, Control, Hint, Probe, Scheduler, StoreError};
use braid_evm::{
    AccessRecord, BlockFailure, BlockInput, BlockOutput, EvmError, EvmKey, EvmShared, ExecOptions,
    ExecutedBlock, Feed, Place, TraceOptions, execute_block_fed, hints::Learned, record_block,
};
use braid_report::{Model, Recorder, model::HintTime};
use braid_sched::{Accuracy, Pool};
use braid_work::PreState;
use std::sync::Arc;

/// Most threads of an engine.
pub const THREADS_MAX: usize = 256;

struct Ours<S> {
    model: Model,
    /// Always there: taken only while it is perturbed, which goes by value.
    scheduler: Option<S>,
    perturb: fn(S, u64) -> S,
    shared: EvmShared,
    /// For what is to be done beside executing blocks.
    pool: Option<Arc<Pool>>,
    /// If it runs from hints. Then it has a pool.
    hinting: Option<Hinting>,
}

/// Parts of an access list for each thread.
pub(crate) const PARTS_EACH: usize = 2;

/// The EVM under `scheduler`, whose schedules `perturb` can shuffle by a seed.
pub(crate) fn over<S: Scheduler + 'static>(
    scheduler: S,
    perturb: fn(S, u64) -> S,
    model: Model,
) -> Box<dyn Engine> {
    Box::new(Ours {
        model,
        scheduler: Some(scheduler),
        perturb,
        shared: EvmShared::default(),
        pool: None,
        hinting: None,
    })
}

/// As [`over`] the scheduler that `build` makes on `threads` threads.
pub(crate) fn over_pool<S: Scheduler + 'static>(
    threads: usize,
    build: fn(Arc<Pool>) -> S,
    perturb: fn(S, u64) -> S,
    model: Model,
) -> Result<Box<dyn Engine>, ProfileError> {
    let pool = pool(threads)?;
    let (scheduler, shared) = (Some(build(pool.clone())), EvmShared::default());
    Ok(Box::new(Ours { model, scheduler, perturb, shared, pool: Some(pool), hinting: None }))
}

/// As [`over_pool`], with hints from `source`.
pub(crate) fn hinted<S: Scheduler + 'static>(
    threads: usize,
    build: fn(Arc<Pool>) -> S,
    perturb: fn(S, u64) -> S,
    source: impl Into<Source>,
    grain: Grain,
    model: Model,
) -> Result<Box<dyn Engine>, ProfileError> {
    let pool = pool(threads)?;
    let (scheduler, hinting) = (Some(build(pool.clone())), Some(Hinting::new(source.into(), grain)));
    Ok(Box::new(Ours { model, scheduler, perturb, shared: EvmShared::default(), pool: Some(pool), hinting }))
}

/// `threads`, if an engine can be asked for so many; one that has a single thread is asked, too.
pub(crate) fn in_range(threads: usize) -> Result<u16, ProfileError> {
    let known = u16::try_from(threads).ok().filter(|_| (1..=THREADS_MAX).contains(&threads));
    known.ok_or(ProfileError::Threads { threads })
}

/// Worker threads for one engine.
pub(crate) fn pool(threads: usize) -> Result<Arc<Pool>, ProfileError> {
    Ok(Arc::new(Pool::new(in_range(threads)?)))
}

/// Hints about the scheduled transactions of a block.
type Hints = Arc<Vec<Hint<EvmKey>>>;

pub(crate) struct Ran(pub(crate) BlockOutput);

impl Executed for Ran {
    fn into_block(self: Box<Self>, pre: &PreState) -> ExecutedBlock {
        match self.try_into_block(pre) {
            Ok(block) => block,
            Err(error) => unreachable!("state in memory cannot fail: {error}"),
        }
    }

    fn try_into_block(self: Box<Self>, pre: &PreState) -> Result<ExecutedBlock, StoreError> {
        self.0.into_block(pre)
    }
}

impl<S: Scheduler> Ours<S> {
    fn scheduler(&self) -> &S {
        let Some(scheduler) = &self.scheduler else { unreachable!("put back after every perturbation") };
        scheduler
    }

    /// Hints about a block, if it runs from any, and the nanoseconds that it took to get them.
    fn hints(&self, input: &BlockInput, pre: &PreState, control: &Control<'_>) -> (Hints, u64) {
        let parts = self.hinting.as_ref().zip(self.pool.as_ref());
        parts.map_or_else(Default::default, |(hinting, pool)| {
            hinting.hints(pool, &self.shared, input, pre, control)
        })
    }

    fn run(
        &self,
        feed: Option<&mut Feed<'_>>,
        trace: Option<TraceOptions>,
        input: &BlockInput,
        pre: &PreState,
        probe: &impl Probe<EvmKey>,
        control: &Control<'_>,
    ) -> Result<BlockOutput, ExecError> {
        let (hints, hint_ns) = self.hints(input, pre, control);
        let options = ExecOptions { trace, hints: &hints, ..ExecOptions::default() };
        let (scheduler, shared) = (self.scheduler(), &self.shared);
        // So that it may live as short as the hints do.
        let feed = feed.map(|feed| feed as &mut Feed<'_>);
        let done = execute_block_fed(options, feed, scheduler, shared, input, pre, probe, control);
        let mut output = done.map_err(|failure| exec_error(failure, input.txs.len()))?;
        output.stats.hint_ns = hint_ns;
        Ok(output)
    }
}

impl<S: Scheduler> Engine for Ours<S> {
    fn execute(
        &mut self,
        input: &BlockInput,
        pre: &PreState,
        control: &Control<'_>,
    ) -> Result<Box<dyn Executed>, ExecError> {
        Ok(Box::new(Ran(self.run(None, None, input, pre, &(), control)?)))
    }

    fn split(&self, count: usize, work: &(dyn Fn(usize) + Sync)) {
        match &self.pool {
            Some(pool) => pool.split(count, work),
            None => (0..count).for_each(work),
        }
    }

    fn execute_fed(
        &mut self,
        input: &BlockInput,
        pre: &PreState,
        feed: &mut Feed<'_>,
        control: &Control<'_>,
    ) -> Result<Box<dyn Executed>, ExecError> {
        Ok(Box::new(Ran(self.run(Some(feed), None, input, pre, &(), control)?)))
    }

    fn execute_traced(
        &mut self,
        input: &BlockInput,
        pre: &PreState,
        options: TraceOptions,
        control: &Control<'_>,
    ) -> Option<Result<Traced, ExecError>> {
        let output = self.run(None, Some(options), input, pre, &(), control);
        Some(output.map(|mut output| {
            let traces = std::mem::take(&mut output.traces);
            (Box::new(Ran(output)) as Box<dyn Executed>, traces)
        }))
    }

    fn prepare(&mut self, input: &BlockInput, pre: &PreState, access_list: Option<&Bytes>) {
        if let Some((hinting, pool)) = self.hinting.as_mut().zip(self.pool.as_ref()) {
            hinting.prepare(pool, &self.shared, input, pre, access_list);
        }
    }

    fn model(&self) -> Option<Model> {
        Some(self.model)
    }

    fn told(&mut self, input: &BlockInput, pre: &PreState) -> Option<Vec<Hint<EvmKey>>> {
        let (hinting, pool) = self.hinting.as_ref().zip(self.pool.as_ref())?;
        let (hints, _) = hinting.hints(pool, &self.shared, input, pre, &Control::default());
        Some(Arc::unwrap_or_clone(hints))
    }

    fn teach(&mut self, learned: &Arc<Learned>) {
        if let Some(hinting) = &mut self.hinting {
            hinting.learned = learned.clone();
        }
    }

    fn hint_source(&self) -> Option<HintSource> {
        self.hinting.as_ref().and_then(|hinting| hinting.source.known())
    }

    fn hints_from(&self) -> Option<(&'static str, HintTime)> {
        self.hinting.as_ref().map(|hinting| (hinting.source.name(), hinting.source.by()))
    }

    fn accuracy(&mut self, input: &BlockInput, pre: &PreState) -> Option<Accuracy> {
        let (hinting, pool) = self.hinting.as_ref().zip(self.pool.as_ref())?;
        Some(hinting.accuracy(pool, &self.shared, input, pre))
    }

    fn bound_code(&mut self, bytes: usize) {
        self.shared = EvmShared::new(bytes);
    }

    fn record(
        &mut self,
        input: &BlockInput,
        pre: &PreState,
        control: &Control<'_>,
    ) -> Option<Result<WithRecord, ExecError>> {
        let (hints, hint_ns) = self.hints(input, pre, control);
        let (options, shared) = (ExecOptions { hints: &hints, ..ExecOptions::default() }, &self.shared);
        let done = record_block(options, self.scheduler(), shared, input, pre, &(), control);
        let done = done.map(|(mut output, record)| {
            output.stats.hint_ns = hint_ns;
            (Box::new(Ran(output)) as Box<dyn Executed>, record)
        });
        Some(done.map_err(|failure| exec_error(failure, input.txs.len())))
    }

    fn encode(&mut self, record: &AccessRecord, pre: &PreState) -> Result<Bytes, StoreError> {
        let Some(pool) = self.pool.as_ref().filter(|pool| pool.threads() > 1) else { return record.rlp(pre) };
        // Addresses of contracts are not spread evenly.
        let parts = usize::from(pool.threads()) * PARTS_EACH;
        record.rlp_in_parts(pre, parts, &mut |count, work| pool.split(count, work))
    }

    fn execute_watched(
        &mut self,
        input: &BlockInput,
        pre: &PreState,
        recorder: &Recorder<EvmKey>,
        control: &Control<'_>,
    ) -> Option<Result<Box<dyn Executed>, ExecError>> {
        let output = self.run(None, None, input, pre, recorder, control);
        Some(output.map(|output| Box::new(Ran(output)) as Box<dyn Executed>))
    }

    fn execute_watched_fed(
        &mut self,
        input: &BlockInput,
        pre: &PreState,
        feed: &mut Feed<'_>,
        recorder: &Recorder<EvmKey>,
        control: &Control<'_>,
    ) -> Option<Result<Box<dyn Executed>, ExecError>> {
        let output = self.run(Some(feed), None, input, pre, recorder, control);
        Some(output.map(|output| Box::new(Ran(output)) as Box<dyn Executed>))
    }

    fn shuffle(&mut self, seed: u64) {
        self.scheduler = self.scheduler.take().map(|scheduler| (self.perturb)(scheduler, seed));
    }
}

pub(crate) fn exec_error(failure: BlockFailure, txs: usize) -> ExecError {
    // Outside of transactions, the nearest one stands for the place.
    let (tx, inside) = match failure.place {
        Place::Before => (0, None),
        Place::Tx(tx) => (tx, Some(tx)),
        Place::After => (txs, None),
    };
    match failure.cause {
        Cause::Invalid(EvmError::SystemCall { to, reason }) => {
            ExecError::SystemCall { name: system_call_name(to), reason }
        }
        Cause::Invalid(error) => ExecError::Invalid { tx, kind: error.kind(), reason: error.to_string() },
        Cause::Store(error) => ExecError::Store { tx: inside, error },
        Cause::Panicked(message) => ExecError::Panicked { tx, message },
        Cause::Undeclared => unreachable!("no hint of the EVM binds"),
        Cause::Cancelled => ExecError::Cancelled { tx },
        Cause::Deadline => ExecError::Deadline { tx },
    }
}

fn system_call_name(to: alloy_primitives::Address) -> &'static str {
    use alloy_eips::{eip7002, eip7251};
    match to {
        eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS => "eip7002",
        eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS => "eip7251",
        _ => "eip6110",
    }
}
