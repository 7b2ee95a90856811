//! A chain through stages, each on a thread of its own: recover, execute, and whatever is last (hashing for
//! `run --stream`, a data folder for `sync`).
//!
//! 1. A block passes from stage to stage in order, through queues that are bounded: a stage that is ahead waits.
//! 2. The first stage is several threads, which recover senders of several blocks at a time but hand on in order.
//!    With queues full, it holds a few blocks more.
//! 3. The second stage alone has the state that blocks are executed on.
//! 4. The last stage is on the caller's thread, and takes what is executed out of an [`Inbox`], which looks for
//!    interrupts while it waits.
//! 5. A failure passes through the queues like a block, so all blocks before it are finished and none after it is
//!    told of. The stage that met it ends, and those before it end because nobody takes what they make; an engine
//!    that is in the midst of a later block is cancelled.
//! 6. A stage that panics ends like one that failed, and is told of as the block that would have been next.

use crate::judge;
use braid_core::Control;
use braid_profiles::{ExecError, bench::BenchError};
use braid_work::{Chain, ChainBlock, ChainError};
use std::{
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

/// How often an interrupt is looked for.
const TICK: Duration = Duration::from_millis(50);

/// Why a chain ends before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Number of the block.
    pub(crate) block: u64,
    /// A stable word.
    pub(crate) kind: String,
    /// The item of the block.
    pub(crate) item: Option<String>,
    /// In words.
    pub(crate) message: String,
    /// Whether nothing is wrong with the block: it was told to stop.
    pub(crate) interrupted: bool,
    /// Whether nothing is known to be wrong with the block: the state that it is executed on, or the folder that it
    /// goes into, could not be read or written.
    pub(crate) local: bool,
}

/// A block, or the failure that ends the chain where it stands.
pub(crate) type Passing<T> = Result<T, Failure>;

impl Failure {
    pub(crate) fn of(block: u64, kind: &str, message: String) -> Self {
        Failure { block, kind: kind.to_owned(), item: None, message, interrupted: false, local: false }
    }

    /// Of what the block stands on or goes into, not of the block.
    pub(crate) fn local(block: u64, kind: &str, message: String) -> Self {
        Failure { local: true, ..Failure::of(block, kind, message) }
    }

    pub(crate) fn of_chain(error: &ChainError) -> Self {
        Failure::of(error.number, error.error.kind(), error.to_string())
    }

    pub(crate) fn of_execution(block: u64, error: &BenchError) -> Self {
        let (problem, interrupted) = (judge::problem(error), judge::interrupted(error));
        let local = matches!(error, BenchError::Exec(ExecError::Store { .. }));
        let failure = Failure::of(block, &problem.kind, problem.message);
        Failure { item: problem.item, interrupted, local, ..failure }
    }

    fn interrupted(block: u64) -> Self {
        Failure { interrupted: true, ..Failure::of(block, "cancelled", "interrupted".to_owned()) }
    }

    /// A stage panicked, at this block or one close behind it.
    pub(crate) fn panicked(block: u64) -> Self {
        Failure::of(block, "panicked", "a stage panicked".to_owned())
    }
}

/// What the last stage takes blocks from.
pub(crate) struct Inbox<'a, D> {
    from: Receiver<Passing<(ChainBlock, D)>>,
    interrupt: &'a AtomicBool,
}

impl<D> Inbox<'_, D> {
    /// The next block, waited for; `None` after the last. An interrupt is a failure of block `number`.
    pub(crate) fn next(&self, number: u64) -> Option<Passing<(ChainBlock, D)>> {
        loop {
            // Relaxed: the flag carries no data; a late look only delays the stop.
            if self.interrupt.load(Ordering::Relaxed) {
                return Some(Err(Failure::interrupted(number)));
            }
            match self.from.recv_timeout(TICK) {
                Ok(next) => return Some(next),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// What is there already, at most `most`.
    pub(crate) fn waiting(&self, most: usize) -> impl Iterator<Item = Passing<(ChainBlock, D)>> {
        self.from.try_iter().take(most)
    }
}

/// How the stages ended.
pub(crate) struct Passed {
    /// For which recovering was at work.
    pub(crate) recover: Duration,
    /// For which execution was at work.
    pub(crate) execute: Duration,
    /// Whether a stage panicked.
    pub(crate) panicked: bool,
}

/// Passes a chain through the stages. `depth` is the most blocks that wait between two of them, `recoverers` are
/// the threads of the first one. `last` gets what is executed and ends at the first failure.
pub(crate) fn pass<D: Send>(
    chain: &Chain,
    (recoverers, depth): (usize, usize),
    execute: impl FnMut(&ChainBlock, &Control<'_>) -> Passing<D> + Send,
    interrupt: &AtomicBool,
    last: impl FnOnce(&Inbox<'_, D>),
) -> Passed {
    let stop = &AtomicBool::new(false);
    let (recovered, to_execute) = sync_channel(depth);
    let (executed, from) = sync_channel(depth);
    let inbox = Inbox { from, interrupt };
    thread::scope(|scope| {
        let recover = scope.spawn(move || recover(chain, recoverers, &recovered));
        let execute = scope.spawn(move || second(execute, &to_execute, &executed, stop));
        // Whoever looks at the state of the last stage afterwards sees what it finished.
        let ended = catch_unwind(AssertUnwindSafe(|| last(&inbox)));
        // Who still has something to say finds nobody who listens, and ends.
        drop(inbox);
        stop.store(true, Ordering::Relaxed);
        let times = [recover.join(), execute.join()];
        let panicked = ended.is_err() || times.iter().any(Result::is_err);
        let [recover, execute] = times.map(Result::unwrap_or_default);
        Passed { recover, execute, panicked }
    })
}

/// Runs `work`, adding the time it takes.
pub(crate) fn timed<T>(busy: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let done = work();
    *busy += start.elapsed();
    done
}

/// Threads that recover senders: one for each processor, up to what a chain takes.
pub(crate) fn recoverers() -> usize {
    thread::available_parallelism().map_or(1, usize::from).min(braid_work::MAX_RECOVERERS)
}

fn recover(chain: &Chain, threads: usize, recovered: &SyncSender<Passing<ChainBlock>>) -> Duration {
    chain.for_each_block(threads, &mut |block| match recovered
        .send(block.map_err(|error| Failure::of_chain(&error)))
    {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    })
}

fn second<D>(
    mut execute: impl FnMut(&ChainBlock, &Control<'_>) -> Passing<D>,
    blocks: &Receiver<Passing<ChainBlock>>,
    executed: &SyncSender<Passing<(ChainBlock, D)>>,
    stop: &AtomicBool,
) -> Duration {
    let mut busy = Duration::ZERO;
    let control = Control { cancel: Some(stop), deadline: None };
    for block in blocks {
        let done = timed(&mut busy, || {
            let block = block?;
            let done = execute(&block, &control)?;
            Ok((block, done))
        });
        let ends = done.is_err();
        if executed.send(done).is_err() || ends {
            break;
        }
    }
    busy
}
