//! Paired, interleaved timing of engines on one block.
//!
//! 1. A *round* takes one sample of every contestant, the reference twice. Odd rounds go backwards and
//!    every round starts one place further (A B C, then C B A from another start), so that drift of the
//!    machine and the heat a neighbour leaves behind fall on all alike.
//! 2. A *sample* is at least [`MIN_SAMPLE`] of executions of the block on the same immutable state;
//!    its time is the mean of one execution. The number of executions is settled once, in a warm-up.
//! 3. The clock runs over [`Engine::execute`] and the drop of its result, nothing else. Before each
//!    execution, off the clock, [`Engine::reset`] makes the engine forget what it learned from blocks.
//! 4. Ratios are taken between samples of one round. The second sample of the reference is a contestant
//!    like any other: its ratio to the first says what the set-up reports for two equal engines, which
//!    is the noise floor.

use crate::{Engine, ExecError};
use alloy_primitives::Bytes;
use braid_core::Control;
use braid_evm::BlockInput;
use braid_work::PreState;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

/// Least time on the clock of one sample.
pub const MIN_SAMPLE: Duration = Duration::from_millis(5);

/// Most executions in one sample, whatever the warm-up says.
pub const MAX_LOOPS: u32 = 100_000;

/// Most rounds of one measurement.
pub const MAX_ROUNDS: usize = 1_000;

/// When to stop taking rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounds {
    /// Exactly so many (at least one, at most [`MAX_ROUNDS`]).
    Exactly(usize),
    /// At least this many, then until the time is over, at most [`MAX_ROUNDS`].
    Within {
        /// Rounds that are taken even if they take too long.
        least: usize,
        /// Time for the whole measurement.
        time: Duration,
    },
}

/// One sample.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// Wall-clock nanoseconds of one execution.
    pub elapsed_ns: f64,
    /// Processor nanoseconds of one execution, all threads of the process and the reset before the
    /// execution included; 0 where the platform does not tell.
    pub cpu_ns: f64,
}

/// The samples of one contestant, one a round.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// In order of rounds.
    pub samples: Vec<Sample>,
    /// Executions of the block in each sample, at least; one that falls short of [`MIN_SAMPLE`] adds some.
    pub loops: u32,
}

impl Series {
    /// Wall-clock nanoseconds of an execution, by round.
    pub fn elapsed(&self) -> Vec<f64> {
        self.samples.iter().map(|sample| sample.elapsed_ns).collect()
    }

    /// Processor nanoseconds of an execution, by round.
    pub fn cpu(&self) -> Vec<f64> {
        self.samples.iter().map(|sample| sample.cpu_ns).collect()
    }
}

/// What [`measure`] gives: one series per contestant, and two of the reference.
#[derive(Clone, Debug, Default)]
pub struct Measurement {
    /// The reference's first sample of each round: what contestants are compared with.
    pub reference: Series,
    /// Its second sample of each round: a contestant equal to the reference.
    pub again: Series,
    /// The contestants, in the order given.
    pub contestants: Vec<Series>,
}

/// Why a contestant has no time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BenchError {
    /// The engine refused the block.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// The engine panicked outside of a transaction. It must not be used any more.
    #[error("engine panicked: {0}")]
    Panicked(String),
}

/// A block, with what comes with it.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// The block.
    pub input: &'a BlockInput,
    /// The state before it.
    pub pre: &'a PreState,
    /// Its access list (EIP-7928) as RLP, if it came with one.
    pub access_list: Option<&'a Bytes>,
}

/// Executes a block once and keeps the result in common form; a panic of the engine becomes an error.
/// The time is that of [`Engine::execute`] alone.
///
/// # Errors
/// [`BenchError`]; after a panic the engine must not be used any more.
pub fn execute_once(
    engine: &mut dyn Engine,
    input: &BlockInput,
    pre: &PreState,
    control: &Control<'_>,
) -> Result<(braid_evm::ExecutedBlock, Duration), BenchError> {
    execute_given(engine, Given { input, pre, access_list: None }, control)
}

/// As [`execute_once`], with what comes with the block.
///
/// # Errors
/// As [`execute_once`].
pub fn execute_given(
    engine: &mut dyn Engine,
    Given { input, pre, access_list }: Given<'_>,
    control: &Control<'_>,
) -> Result<(braid_evm::ExecutedBlock, Duration), BenchError> {
    guarded(|| {
        engine.prepare(input, pre, access_list);
        let start = Instant::now();
        let done = engine.execute(input, pre, control)?;
        let elapsed = start.elapsed();
        let block = done.try_into_block(pre).map_err(|error| ExecError::Store { tx: None, error })?;
        Ok((block, elapsed))
    })
}

/// Runs `body`, turning a panic into [`BenchError::Panicked`].
fn guarded<T>(body: impl FnOnce() -> Result<T, BenchError>) -> Result<T, BenchError> {
    // Unwind safety: the caller drops the engine after a panic, and the block and state are read only.
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        let message = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let message = message.or_else(|| payload.downcast_ref::<String>().cloned());
        Err(BenchError::Panicked(message.unwrap_or_else(|| "no message".to_owned())))
    })
}

/// Times `engines` on one block, `engines[reference]` twice a round. `progress` is told the rounds done.
///
/// # Errors
/// The first error of any engine, with its place in `engines`. The others stay usable.
pub fn measure(
    engines: &mut [&mut dyn Engine],
    reference: usize,
    input: &BlockInput,
    pre: &PreState,
    rounds: Rounds,
    control: &Control<'_>,
    progress: &mut dyn FnMut(usize),
) -> Result<Measurement, (usize, BenchError)> {
    measure_given(engines, reference, Given { input, pre, access_list: None }, rounds, control, progress)
}

/// As [`measure`], with what comes with the block.
///
/// # Errors
/// As [`measure`].
pub fn measure_given(
    engines: &mut [&mut dyn Engine],
    reference: usize,
    Given { input, pre, access_list }: Given<'_>,
    rounds: Rounds,
    control: &Control<'_>,
    progress: &mut dyn FnMut(usize),
) -> Result<Measurement, (usize, BenchError)> {
    let start = Instant::now();
    let mut loops = Vec::with_capacity(engines.len());
    for (index, engine) in engines.iter_mut().enumerate() {
        let prepared = guarded(|| {
            engine.prepare(input, pre, access_list);
            Ok(())
        });
        prepared.map_err(|error| (index, error))?;
        loops.push(warm_up(&mut **engine, input, pre, control).map_err(|error| (index, error))?);
    }
    // Seats: every engine once, and the reference a second time at the end.
    let seats: Vec<usize> = (0..engines.len()).chain([reference]).collect();
    let mut series: Vec<Series> =
        seats.iter().map(|&engine| Series { samples: Vec::new(), loops: loops[engine] }).collect();
    let (least, most, time) = match rounds {
        Rounds::Exactly(count) => (count.clamp(1, MAX_ROUNDS), count.clamp(1, MAX_ROUNDS), None),
        Rounds::Within { least, time } => (least.clamp(1, MAX_ROUNDS), MAX_ROUNDS, Some(time)),
    };
    for round in 0..most {
        if round >= least && time.is_some_and(|time| start.elapsed() >= time) {
            break;
        }
        for seat in order(round, seats.len()) {
            let engine = seats[seat];
            let taken = sample(&mut *engines[engine], loops[engine], input, pre, control);
            series[seat].samples.push(taken.map_err(|error| (engine, error))?);
        }
        progress(round + 1);
    }
    let again = series.pop().unwrap_or_default();
    Ok(Measurement { reference: series[reference].clone(), again, contestants: series })
}

/// The order in which `count` seats are served in `round`: started one further each round, and
/// backwards in odd rounds (rule 1).
fn order(round: usize, count: usize) -> impl Iterator<Item = usize> {
    let start = (round / 2) % count;
    (0..count).map(move |step| {
        let step = if round.is_multiple_of(2) { step } else { count - 1 - step };
        (start + step) % count
    })
}

/// Two executions off the record (the first one fills caches and arenas), and from the second the
/// number of executions that make a sample (rule 2).
fn warm_up(
    engine: &mut dyn Engine,
    input: &BlockInput,
    pre: &PreState,
    control: &Control<'_>,
) -> Result<u32, BenchError> {
    sample(engine, 1, input, pre, control)?;
    let once = sample(engine, 1, input, pre, control)?.elapsed_ns.max(1.0);
    let loops = (MIN_SAMPLE.as_nanos() as f64 / once).ceil();
    // A float-to-integer cast saturates, so an absurd quotient is only cut off.
    Ok((loops as u32).clamp(1, MAX_LOOPS))
}

fn sample(
    engine: &mut dyn Engine,
    loops: u32,
    input: &BlockInput,
    pre: &PreState,
    control: &Control<'_>,
) -> Result<Sample, BenchError> {
    guarded(|| {
        let cpu = cpu_time();
        let (mut elapsed, mut done) = (Duration::ZERO, 0u32);
        while done < loops || (elapsed < MIN_SAMPLE && done < MAX_LOOPS) {
            // An engine need not look at `control`; between executions it is looked at for all.
            if control.interrupted::<()>().is_some() {
                return Err(ExecError::Cancelled { tx: 0 }.into());
            }
            engine.reset();
            let start = Instant::now();
            let executed = engine.execute(input, pre, control)?;
            drop(executed);
            elapsed += start.elapsed();
            done += 1;
        }
        let cpu = cpu_time().saturating_sub(cpu);
        let each = |time: Duration| time.as_nanos() as f64 / f64::from(done.max(1));
        Ok(Sample { elapsed_ns: each(elapsed), cpu_ns: each(cpu) })
    })
}

/// Processor time of the whole process so far.
#[cfg(unix)]
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Processor time of the whole process so far: not known on this platform.
#[cfg(not(unix))]
fn cpu_time() -> Duration {
    Duration::ZERO
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Executed;
    use braid_evm::ExecutedBlock;
    use revm::{context::BlockEnv, primitives::hardfork::SpecId};
    use std::{
        collections::BTreeMap,
        sync::{Arc, Mutex},
    };

    struct Nothing;
    impl Executed for Nothing {
        fn into_block(self: Box<Self>, _: &PreState) -> ExecutedBlock {
            ExecutedBlock::default()
        }
    }

    /// Sleeps for a while, and writes its name into a log.
    struct Sleeper {
        name: char,
        time: Duration,
        log: Arc<Mutex<String>>,
        panics: bool,
    }

    impl Engine for Sleeper {
        fn execute(
            &mut self,
            _: &BlockInput,
            _: &PreState,
            _: &Control<'_>,
        ) -> Result<Box<dyn Executed>, ExecError> {
            assert!(!self.panics, "a defect");
            self.log.lock().unwrap().push(self.name);
            std::thread::sleep(self.time);
            Ok(Box::new(Nothing))
        }
    }

    fn empty_block() -> BlockInput {
        BlockInput {
            chain_id: 1,
            spec: SpecId::OSAKA,
            env: BlockEnv::default(),
            txs: Vec::new(),
            block_hashes: BTreeMap::new(),
            max_blob_gas: None,
            rites: braid_evm::Rites::default(),
            rules: braid_evm::EvmRules::default(),
            gas_used: None,
        }
    }

    #[test]
    fn rounds_rotate_and_turn() {
        let orders: Vec<Vec<usize>> = (0..4).map(|round| order(round, 3).collect()).collect();
        assert_eq!(orders, [[0, 1, 2], [2, 1, 0], [1, 2, 0], [0, 2, 1]]);
    }

    #[test]
    fn samples_are_paired_interleaved_and_long_enough() {
        let log = Arc::new(Mutex::new(String::new()));
        let sleeper = |name, millis| Sleeper {
            name,
            time: Duration::from_millis(millis),
            log: log.clone(),
            panics: false,
        };
        let (mut slow, mut quick) = (sleeper('a', 6), sleeper('b', 1));
        let mut engines: [&mut dyn Engine; 2] = [&mut slow, &mut quick];
        let pre = PreState::default();
        let mut told = Vec::new();
        let measured = measure(
            &mut engines,
            0,
            &empty_block(),
            &pre,
            Rounds::Exactly(4),
            &Control::default(),
            &mut |round| told.push(round),
        )
        .unwrap();
        assert_eq!(told, [1, 2, 3, 4]);
        assert_eq!(measured.contestants.len(), 2);
        for series in measured.contestants.iter().chain([&measured.reference, &measured.again]) {
            assert_eq!(series.samples.len(), 4);
            for sample in &series.samples {
                let loops = if series.loops == 1 { 1.0 } else { f64::from(MAX_LOOPS) };
                assert!(sample.elapsed_ns * loops >= MIN_SAMPLE.as_nanos() as f64, "{sample:?}");
            }
        }
        // Warm-up a b; rounds a b a, a b a, b a a, a a b. Neighbours of one engine melt into one.
        let mut turns = log.lock().unwrap().clone();
        let mut last = None;
        turns.retain(|letter| last.replace(letter) != Some(letter));
        assert_eq!(turns, "ababababab");
    }

    #[test]
    fn panics_become_errors() {
        let mut broken =
            Sleeper { name: 'x', time: Duration::ZERO, log: Arc::new(Mutex::default()), panics: true };
        let block = empty_block();
        let pre = PreState::default();
        let failed = execute_once(&mut broken, &block, &pre, &Control::default());
        assert_eq!(failed.unwrap_err(), BenchError::Panicked("a defect".to_owned()));
    }
}
