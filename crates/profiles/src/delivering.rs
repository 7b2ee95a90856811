//! Engines that deliver messages between actors: not Ethereum's result, but that of delivering them one by one.

use crate::{
    Engine, ExecError, Executed, ProfileError,
    ours::{in_range, pool},
};
use alloy_primitives::Address;
use braid_actors::{
    ActorBlock, ActorBlockError, ActorError, ActorKey, Limits, deliver, differing, evm_outcomes, mail,
    messages_before,
};
use braid_core::{Cause, Control, Event, Mode, Probe, Scheduler};
use braid_evm::{BlockInput, EvmKey, EvmShared, ExecutedBlock};
use braid_report::{Conflicts, Model, Recorder};
use braid_sched::{DeliveryError, Pool, Serial};
use braid_work::PreState;
use std::{collections::BTreeMap, sync::Arc};

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

/// A recorder that is told of an actor where a message is concerned with something that Ethereum does not have.
struct Located<'a>(&'a Recorder<EvmKey>);

impl Probe<ActorKey> for Located<'_> {
    fn event(&self, worker: u16, event: Event<'_, ActorKey>) {
        let located = |key: &ActorKey| match key {
            ActorKey::State(key) => *key,
            other => EvmKey::Account(other.owner().unwrap_or(Address::ZERO)),
        };
        match event {
            Event::Start { tx, incarnation } => self.0.event(worker, Event::Start { tx, incarnation }),
            Event::Wait { tx, key, on } => self.0.event(worker, Event::Wait { tx, key: &located(key), on }),
            Event::Abort { tx, key, by } => self.0.event(worker, Event::Abort { tx, key: &located(key), by }),
            Event::Finish { tx, incarnation } => self.0.event(worker, Event::Finish { tx, incarnation }),
            Event::Commit { tx } => self.0.event(worker, Event::Commit { tx }),
        }
    }
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
        probe: &impl Probe<ActorKey>,
        control: &Control<'_>,
    ) -> Result<ActorBlock, ExecError> {
        let Some(scheduler) = &self.scheduler else { unreachable!("put back after every perturbation") };
        let done = deliver(scheduler, input, Limits::default(), with_effects, pre, probe, control);
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
        Ok(Box::new(Delivered(self.run(input, pre, false, &(), control)?)))
    }

    fn execute_watched(
        &mut self,
        input: &BlockInput,
        pre: &PreState,
        recorder: &Recorder<EvmKey>,
        control: &Control<'_>,
    ) -> Option<Result<Box<dyn Executed>, ExecError>> {
        let done = self.run(input, pre, false, &Located(recorder), control);
        Some(done.map(|done| Box::new(Delivered(done)) as Box<dyn Executed>))
    }

    fn model(&self) -> Option<Model> {
        self.scheduler.as_ref().map(|scheduler| match scheduler.name() {
            "serial" => Model::Serial,
            _ => Model::Delivery,
        })
    }

    fn before(&self, input: &BlockInput) -> u32 {
        messages_before(input)
    }

    /// A message needs the one that sent it, and its receiver for itself. What begins when all else is quiet needs the
    /// last one before.
    fn conflicts(&mut self, input: &BlockInput, pre: &PreState) -> Option<Conflicts> {
        let all = mail(input, Limits::default(), pre, &Control::default()).ok()?;
        let (mut numbers, mut needs, mut hints) = (BTreeMap::new(), Vec::new(), Vec::new());
        let mut quiet = None;
        for (at, message) in (0u32..).zip(&all) {
            if message.from.is_none() && message.round > 0 {
                quiet = quiet.or(at.checked_sub(1));
            }
            needs.push(Vec::from_iter(message.from.or(quiet)));
            let next = numbers.len() as u32;
            hints.push(vec![(*numbers.entry(message.to).or_insert(next), Mode::Write)]);
        }
        Some(Conflicts { before: messages_before(input), needs, hints })
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
        let done = self.run(input, pre, true, &(), &Control::default()).ok()?;
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
