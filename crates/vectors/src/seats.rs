//! The engines that a case runs on.

use braid_core::Control;
use braid_evm::{BlockAccessList, BlockInput, ExecutedBlock};
use braid_profiles::{Engine, ExecError, Profile, ProfileError};
use braid_work::PreState;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// One engine: a profile at a number of threads.
pub struct Seat {
    /// The profile.
    pub profile: Profile,
    /// Its threads.
    pub threads: usize,
    engine: Box<dyn Engine>,
}

impl std::fmt::Debug for Seat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.profile.name, self.threads)
    }
}

/// Bytes of analysed code that an engine keeps from case to case: the cases of a file share their code, those
/// of other files do not.
const CODE_BYTES: usize = 4 << 20;

fn build(profile: &Profile, threads: usize) -> Result<Box<dyn Engine>, ProfileError> {
    let mut engine = (profile.build)(threads)?;
    engine.bound_code(CODE_BYTES);
    Ok(engine)
}

/// What one engine made of a block.
pub type Ran = Result<ExecutedBlock, ExecError>;

/// The engines that cases run on, kept warm from case to case.
#[derive(Debug, Default)]
pub struct Seats {
    seats: Vec<Seat>,
}

impl Seats {
    /// One engine for each profile and number of threads; a profile that is not parallel gets one seat.
    ///
    /// # Errors
    /// If an engine cannot be built.
    pub fn new(profiles: &[&Profile], threads: &[usize]) -> Result<Self, ProfileError> {
        let mut seats = Vec::new();
        for profile in profiles {
            let threads = if profile.parallel { threads } else { &threads[..threads.len().min(1)] };
            for &threads in threads {
                seats.push(Seat { profile: **profile, threads, engine: build(profile, threads)? });
            }
        }
        Ok(Seats { seats })
    }

    /// Number of engines.
    pub fn len(&self) -> usize {
        self.seats.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// Profile and threads of each engine, in order.
    pub fn names(&self) -> impl Iterator<Item = (&'static str, usize)> + '_ {
        self.seats.iter().map(|seat| (seat.profile.name, seat.threads))
    }

    /// Whether each engine could be wrong for being parallel, in order.
    pub fn parallel(&self) -> impl Iterator<Item = bool> + '_ {
        self.seats.iter().map(|seat| seat.profile.parallel)
    }

    /// Perturbs the schedules to come, where the build can (see [`Engine::shuffle`]).
    pub fn shuffle(&mut self, seed: u64) {
        for seat in &mut self.seats {
            seat.engine.shuffle(seed);
        }
    }

    /// Runs a block on the first engine that records access lists; `None` if it fails, or there is none.
    pub fn record(
        &mut self,
        input: &BlockInput,
        pre: &PreState,
        control: &Control<'_>,
    ) -> Option<BlockAccessList> {
        self.seats.iter_mut().find_map(|seat| {
            let engine = &mut seat.engine;
            engine.reset();
            let run = AssertUnwindSafe(|| engine.execute_recorded(input, pre, control));
            let done = catch_unwind(run);
            done.ok()?.map(|done| done.ok().map(|(_, list)| list))
        })?
    }

    /// Runs a block on every engine, in the order of [`Self::names`]. An engine that panics outside of
    /// transactions is built anew, and its result is [`ExecError::Panicked`].
    pub fn execute(&mut self, input: &BlockInput, pre: &PreState, control: &Control<'_>) -> Vec<Ran> {
        let run = |seat: &mut Seat| {
            let engine = &mut seat.engine;
            engine.reset();
            let done = catch_unwind(AssertUnwindSafe(|| {
                engine.execute(input, pre, control).map(|executed| executed.into_block(pre))
            }));
            done.unwrap_or_else(|_| {
                if let Ok(anew) = build(&seat.profile, seat.threads) {
                    seat.engine = anew;
                }
                let message = "the engine panicked outside of transactions".to_owned();
                Err(ExecError::Panicked { tx: 0, message })
            })
        };
        self.seats.iter_mut().map(run).collect()
    }
}
