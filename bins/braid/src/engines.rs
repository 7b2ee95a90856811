//! One engine per profile and number of threads, built when first asked for.

use crate::world::Case;
use braid_core::Control;
use braid_evm::{ExecutedBlock, hints::Learned};
use braid_profiles::{
    Engine, Profile, ProfileError,
    bench::{BenchError, Given, execute_given},
};
use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

/// A block executed once: its result, and the time it took.
pub(crate) type Ran = Result<(ExecutedBlock, Duration), BenchError>;

/// Name of a profile and number of threads.
pub(crate) type Seat = (&'static str, usize);

/// The engines built so far.
#[derive(Default)]
pub(crate) struct Engines {
    /// What every engine is taught.
    pub(crate) lessons: Arc<Learned>,
    built: BTreeMap<Seat, Box<dyn Engine>>,
}

impl Engines {
    /// The engine of a seat. A panic while it is built is an error like any other.
    pub(crate) fn get(
        &mut self,
        profile: &Profile,
        threads: usize,
    ) -> Result<&mut Box<dyn Engine>, BenchError> {
        match self.built.entry((profile.name, threads)) {
            std::collections::btree_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let engine = entry.insert(build(profile, threads)?);
                engine.teach(&self.lessons);
                Ok(engine)
            }
        }
    }

    /// Executes a block once. An engine that panicked is dropped, and built anew when next asked for.
    pub(crate) fn execute(
        &mut self,
        profile: &Profile,
        threads: usize,
        given: Given<'_>,
        control: &Control<'_>,
    ) -> Ran {
        let engine = self.get(profile, threads)?;
        engine.reset();
        let done = execute_given(engine.as_mut(), given, control);
        if matches!(done, Err(BenchError::Panicked(_))) {
            self.forget(profile, threads);
        }
        done
    }

    /// What an engine's result has to equal if that is not Ethereum's: a block executed once by its own oracle.
    pub(crate) fn own_oracle(
        &mut self,
        profile: &Profile,
        threads: usize,
        given: Given<'_>,
        control: &Control<'_>,
    ) -> Option<Ran> {
        let mut oracle = self.get(profile, threads).ok()?.oracle()?;
        Some(execute_given(oracle.as_mut(), given, control))
    }

    /// The share of a block's transactions that end in another way than under Ethereum's rules, if the engine has
    /// its own.
    pub(crate) fn differs_from_evm(
        &mut self,
        (profile, threads): (&Profile, usize),
        case: &dyn Case,
    ) -> Option<f64> {
        self.get(profile, threads).ok()?.differs_from_evm(case.input(), case.pre())
    }

    /// Drops an engine that must not be used any more.
    pub(crate) fn forget(&mut self, profile: &Profile, threads: usize) {
        self.built.remove(&(profile.name, threads));
    }

    /// Lends several engines at once. `seats` must have been built, each be named once.
    pub(crate) fn lend(&mut self, seats: &[Seat]) -> Vec<Box<dyn Engine>> {
        seats.iter().filter_map(|seat| self.built.remove(seat)).collect()
    }

    /// Takes back what was lent.
    pub(crate) fn take_back(&mut self, seats: &[Seat], engines: Vec<Box<dyn Engine>>) {
        self.built.extend(seats.iter().copied().zip(engines));
    }
}

/// Builds an engine of its own, which no one else uses.
pub(crate) fn build(profile: &Profile, threads: usize) -> Result<Box<dyn Engine>, BenchError> {
    let built = catch_unwind(AssertUnwindSafe(|| (profile.build)(threads)));
    let failed = |error: ProfileError| BenchError::Panicked(error.to_string());
    built.map_err(|_| BenchError::Panicked("engine panicked while being built".to_owned()))?.map_err(failed)
}
