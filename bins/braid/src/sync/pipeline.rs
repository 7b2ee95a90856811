//! Blocks into a data folder: recover, execute, and what the folder keeps, each on threads of its own.
//!
//! 1. As in `stream/pipeline.rs`, blocks pass from stage to stage in order, through queues that are bounded, and a
//!    failure passes like a block.
//! 2. Execution does not wait for the disk: a block is executed on the last version that is known to be durable and
//!    the layers of the blocks between.
//! 3. The folder takes all blocks that wait as a group: their bodies, receipts and code are made durable together,
//!    then the version after each by itself. A root that is wrong ends the import before its version is committed.

use crate::judge;
use braid_core::Control;
use braid_db::{DataFolder, DbError, Finished, Layer, LayeredState};
use braid_evm::ExecutedBlock;
use braid_profiles::{Engine, bench::execute_once};
use braid_store::Below;
use braid_work::{Chain, ChainBlock, ChainError, PreState};
use std::{
    ops::ControlFlow,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

/// Most blocks that wait for the folder: as many layers are looked through for what is not in any.
const DEPTH: usize = 32;

/// How often an interrupt is looked for.
const TICK: Duration = Duration::from_millis(50);

/// Why an import ends before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Number of the block.
    pub(crate) block: u64,
    /// A stable word.
    pub(crate) kind: String,
    /// In words.
    pub(crate) message: String,
    /// Whether nothing is wrong: it was told to stop.
    pub(crate) interrupted: bool,
}

impl Failure {
    fn of(block: u64, kind: &str, message: String) -> Self {
        Failure { block, kind: kind.to_owned(), message, interrupted: false }
    }

    fn of_chain(error: &ChainError) -> Self {
        Failure::of(error.number, error.error.kind(), error.to_string())
    }

    pub(crate) fn of_folder(block: u64, error: &DbError) -> Self {
        Failure::of(block, error.kind(), error.to_string())
    }
}

/// What was imported, and what it took.
#[derive(Clone, Debug, Default)]
pub(crate) struct Imported {
    pub(crate) blocks: u64,
    pub(crate) txs: u64,
    pub(crate) gas_used: u64,
    /// Time for which each stage was at work.
    pub(crate) recover: Duration,
    pub(crate) execute: Duration,
    /// Roots, and the checks against headers.
    pub(crate) root: Duration,
    /// Making blocks, receipts and code durable.
    pub(crate) archive: Duration,
    /// Making versions durable.
    pub(crate) commit: Duration,
    pub(crate) failed: Option<Failure>,
}

type Passing<T> = Result<T, Failure>;
type Executed = (ChainBlock, Finished);

/// Executes blocks on the folder's latest version and the layers that are not in it yet.
struct Execution<'a> {
    engine: &'a mut dyn Engine,
    state: LayeredState,
    /// The latest version that is durable.
    durable: &'a Mutex<LayeredState>,
}

impl Execution<'_> {
    fn next(&mut self, block: &ChainBlock, control: &Control<'_>) -> Passing<Finished> {
        let number = block.number();
        let base = self.durable.lock().unwrap_or_else(PoisonError::into_inner).base().clone();
        let committed = base.version().saturating_sub(self.state.base().version());
        if committed > 0 {
            self.state = self.state.rebased(base, committed as usize);
        }
        let mut pre = PreState::over(Arc::new(self.state.clone()));
        pre.block_hashes.clone_from(&block.input.block_hashes);
        let done = execute_once(self.engine, &block.input, &pre, control).map_err(|error| Failure {
            interrupted: judge::interrupted(&error),
            ..Failure::of(number, &judge::problem(&error).kind, error.to_string())
        });
        let (done, _) = done?;
        let state = |error: braid_core::StoreError| Failure::of(number, "state", error.to_string());
        let layer = self.state.reader().and_then(|mut reader| Layer::new(&done, &mut *reader));
        self.state = self.state.with(Arc::new(layer.map_err(state)?));
        let consensus = block.consensus.as_ref().map(|(_, block)| block.clone());
        Ok(Finished { number, block: consensus, done })
    }
}

/// Runs `work`, adding the time it takes.
fn timed<T>(busy: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let done = work();
    *busy += start.elapsed();
    done
}

/// Imports blocks that follow the latest version. `progress` is told each block that is durable, with its gas.
pub(crate) fn import(
    folder: &mut DataFolder,
    chain: &Chain,
    engine: &mut dyn Engine,
    recoverers: usize,
    interrupt: &AtomicBool,
    progress: &mut dyn FnMut(u64),
) -> Imported {
    let mut imported = Imported::default();
    let Some((latest, _)) = folder.latest() else {
        imported.failed = Some(Failure::of_folder(0, &DbError::Empty));
        return imported;
    };
    let state = match folder.state(latest) {
        Ok(state) => state,
        Err(error) => {
            imported.failed = Some(Failure::of_folder(latest, &error));
            return imported;
        }
    };
    let (stop, durable) = (AtomicBool::new(false), Mutex::new(state.clone()));
    let execution = Execution { engine, state, durable: &durable };
    let (recovered, to_execute) = sync_channel(DEPTH);
    let (executed, to_keep) = sync_channel(DEPTH);
    thread::scope(|scope| {
        let recover = scope.spawn(move || recover(chain, recoverers, &recovered));
        let stop_execution = &stop;
        let execute = scope.spawn(move || execute(execution, &to_execute, &executed, stop_execution));
        let failed = keep(folder, &to_keep, &durable, &mut imported, interrupt, progress);
        // Who still has something to say finds nobody who listens, and ends.
        drop(to_keep);
        stop.store(true, Ordering::Relaxed);
        let times = [recover.join(), execute.join()];
        let panicked = times.iter().any(Result::is_err);
        [imported.recover, imported.execute] = times.map(Result::unwrap_or_default);
        let next = folder.latest().map_or(0, |(latest, _)| latest + 1);
        let panicked = panicked.then(|| Failure::of(next, "panicked", "a stage panicked".to_owned()));
        imported.failed = failed.or(panicked);
    });
    imported
}

fn recover(chain: &Chain, threads: usize, recovered: &SyncSender<Passing<ChainBlock>>) -> Duration {
    chain.for_each_block(threads, &mut |block| match recovered
        .send(block.map_err(|error| Failure::of_chain(&error)))
    {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    })
}

fn execute(
    mut execution: Execution<'_>,
    blocks: &Receiver<Passing<ChainBlock>>,
    executed: &SyncSender<Passing<Executed>>,
    stop: &AtomicBool,
) -> Duration {
    let mut busy = Duration::ZERO;
    let control = Control { cancel: Some(stop), deadline: None };
    for block in blocks {
        let done = timed(&mut busy, || {
            let block = block?;
            let done = execution.next(&block, &control)?;
            Ok((block, done))
        });
        let ends = done.is_err();
        if executed.send(done).is_err() || ends {
            break;
        }
    }
    busy
}

/// Takes what is executed, group by group, up to the first that fails.
fn keep(
    folder: &mut DataFolder,
    executed: &Receiver<Passing<Executed>>,
    durable: &Mutex<LayeredState>,
    imported: &mut Imported,
    interrupt: &AtomicBool,
    progress: &mut dyn FnMut(u64),
) -> Option<Failure> {
    loop {
        // Relaxed: the flag carries no data; a late look only delays the stop.
        if interrupt.load(Ordering::Relaxed) {
            let next = folder.latest().map_or(0, |(latest, _)| latest + 1);
            let message = "interrupted".to_owned();
            return Some(Failure { interrupted: true, ..Failure::of(next, "cancelled", message) });
        }
        let first = match executed.recv_timeout(TICK) {
            Ok(first) => first,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return None,
        };
        let (mut group, mut failed) = (Vec::new(), None);
        for next in std::iter::once(first).chain(executed.try_iter().take(DEPTH)) {
            match next {
                Ok(block) => group.push(block),
                Err(failure) => failed = Some(failure),
            }
        }
        if let Err(failure) = keep_group(folder, group, durable, imported, progress) {
            return Some(failure);
        }
        if failed.is_some() {
            return failed;
        }
    }
}

fn keep_group(
    folder: &mut DataFolder,
    group: Vec<Executed>,
    durable: &Mutex<LayeredState>,
    imported: &mut Imported,
    progress: &mut dyn FnMut(u64),
) -> Passing<()> {
    let (blocks, finished): (Vec<ChainBlock>, Vec<Finished>) = group.into_iter().unzip();
    let Some(first) = finished.first().map(|finished| finished.number) else { return Ok(()) };
    let recorded = timed(&mut imported.archive, || folder.record(&finished));
    recorded.map_err(|error| Failure::of_folder(first, &error))?;
    for (block, finished) in blocks.iter().zip(&finished) {
        let number = finished.number;
        let of_folder = |error: DbError| Failure::of_folder(number, &error);
        let prepared = timed(&mut imported.root, || {
            let prepared = folder.store().prepare(number, &finished.batch());
            let prepared = prepared.map_err(|error| of_folder(error.into()))?;
            let checked = block.check(&finished.done, || prepared.root());
            checked.map_err(|error| Failure::of(number, error.kind(), error.to_string()))?;
            Ok(prepared)
        })?;
        timed(&mut imported.commit, || folder.commit_prepared(prepared)).map_err(of_folder)?;
        let state = folder.state(number).map_err(of_folder)?;
        *durable.lock().unwrap_or_else(PoisonError::into_inner) = state;
        imported.blocks += 1;
        imported.txs += block.input.txs.len() as u64;
        let gas: u64 = gas_used(&finished.done);
        imported.gas_used = imported.gas_used.saturating_add(gas);
        progress(number);
    }
    Ok(())
}

fn gas_used(done: &ExecutedBlock) -> u64 {
    done.results.iter().map(|result| result.gas_used).sum()
}
