//! Engines that deliver messages between actors: not Ethereum's result, but that of delivering them one by one.

use crate::{
    Engine, ExecError, Executed, ProfileError,
    ours::{in_range, pool},
};
use braid_actors::{ActorBlock, ActorBlockError, ActorError, Limits, deliver, differing, evm_outcomes};
use braid_core::{Cause, Control, Scheduler};
use braid_evm::{BlockInput, EvmShared, ExecutedBlock};
use braid_sched::{DeliveryError, Pool, Serial};
use braid_work::PreState;
use std::sync::Arc;

struct Delivering<S> {
    /// Always there: taken only while it is perturbed, which goes by value.
    scheduler: Option<S>,
    perturb: fn(S, u64) -> S,
    /// For the comparison with Ethereum.
    shared: EvmShared,
}

/// Messages, each round of them under the scheduler that `build` makes on `threads` threads.
pub(crate) fn delivering<S: Scheduler + 'static>(
    threads: usize,
    build: fn(Arc<Pool>) -> S,
    perturb: fn(S, u64) -> S,
) -> Result<Box<dyn Engine>, ProfileError> {
    in_range(threads)?;
    let scheduler = Some(build(pool(threads)?));
    Ok(Box::new(Delivering { scheduler, perturb, shared: EvmShared::default() }))
}

struct Delivered(ActorBlock);

impl Executed for Delivered {
    fn into_block(self: Box<Self>, pre: &PreState) -> ExecutedBlock {
        match self.0.into_block(pre) {
            Ok(block) => block,
            Err(error) => unreachable!("state in memory cannot fail: {error}"),
        }
    }
}

impl<S: Scheduler> Delivering<S> {
    fn run(
        &self,
        input: &BlockInput,
        pre: &PreState,
        with_effects: bool,
        control: &Control<'_>,
    ) -> Result<ActorBlock, ExecError> {
        let Some(scheduler) = &self.scheduler else { unreachable!("put back after every perturbation") };
        let done = deliver(scheduler, input, Limits::default(), with_effects, pre, &(), control);
        done.map_err(|error| exec_error(error, input.txs.len()))
    }
}

impl<S: Scheduler + 'static> Engine for Delivering<S> {
    fn execute(
        &mut self,
        input: &BlockInput,
        pre: &PreState,
        control: &Control<'_>,
    ) -> Result<Box<dyn Executed>, ExecError> {
        Ok(Box::new(Delivered(self.run(input, pre, false, control)?)))
    }

    fn oracle(&self) -> Option<Box<dyn Engine>> {
        let serial: Delivering<Serial> = Delivering {
            scheduler: Some(Serial::new()),
            perturb: |serial, _| serial,
            shared: EvmShared::default(),
        };
        Some(Box::new(serial))
    }

    fn differs_from_evm(&mut self, input: &BlockInput, pre: &PreState) -> Option<f64> {
        let done = self.run(input, pre, true, &Control::default()).ok()?;
        let evm = evm_outcomes(&self.shared, input, pre).ok()?;
        let (differing, all) = (differing(&done, &evm).len(), evm.len());
        Some(if all == 0 { 0.0 } else { differing as f64 / all as f64 })
    }

    fn bound_code(&mut self, bytes: usize) {
        self.shared = EvmShared::new(bytes);
    }

    fn shuffle(&mut self, seed: u64) {
        self.scheduler = self.scheduler.take().map(|scheduler| (self.perturb)(scheduler, seed));
    }
}

fn exec_error(error: ActorBlockError, txs: usize) -> ExecError {
    let refused = |kind, reason| ExecError::Invalid { tx: 0, kind, reason };
    let error = match error {
        ActorBlockError::Fork(_) => return refused("fork", error.to_string()),
        ActorBlockError::Delivery(error) => error,
    };
    let DeliveryError::Message(error) = error else { return refused("messages", error.to_string()) };
    // Messages have numbers of their own; the first of them are the transactions, and a few before them.
    let tx = (error.tx as usize).min(txs);
    match error.cause {
        Cause::Invalid(error @ (ActorError::NoFrame { .. } | ActorError::NoSuchTransaction(_))) => {
            refused("messages", error.to_string())
        }
        Cause::Store(error) => ExecError::Store { tx: None, error },
        Cause::Panicked(message) => ExecError::Panicked { tx, message },
        Cause::Undeclared => unreachable!("no hint of an actor binds"),
        Cause::Cancelled => ExecError::Cancelled { tx },
        Cause::Deadline => ExecError::Deadline { tx },
    }
}
