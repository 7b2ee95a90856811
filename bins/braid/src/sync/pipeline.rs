//! Blocks into a data folder: recover and execute as in [`pipeline`](crate::pipeline), then what the folder keeps.
//!
//! 1. Execution does not wait for the disk: a block is executed on the last version that is known to be durable and
//!    the layers of the blocks between.
//! 2. The folder takes all blocks that wait as a group: their bodies, receipts and code are made durable together,
//!    then the version after each by itself. A root that is wrong ends the import before its version is committed.

use crate::{
    pipeline::{Failure, Inbox, Passing, pass, recoverers, timed},
    receipts,
};
use alloy_primitives::B256;
use braid_core::Control;
use braid_db::{DataFolder, DbError, Finished, Layer, LayeredState};
use braid_evm::ExecutedBlock;
use braid_profiles::{Engine, bench::execute_once};
use braid_store::{Below, disk::Prepared};
use braid_work::{Chain, ChainBlock, PreState};
use std::{
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
    time::Duration,
};

/// Most blocks that wait for the folder: as many layers are looked through for what is not in any.
const DEPTH: usize = 32;

fn of_folder(block: u64, error: &DbError) -> Failure {
    match error {
        DbError::StateRoot { .. } => Failure::of(block, error.kind(), error.to_string()),
        _ => Failure::local(block, error.kind(), error.to_string()),
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
        let done = execute_once(self.engine, &block.input, &pre, control);
        let (done, _) = done.map_err(|error| Failure::of_execution(number, &error))?;
        let state = |error: braid_core::StoreError| Failure::local(number, "state", error.to_string());
        let layer = self.state.reader().and_then(|mut reader| Layer::new(&done, &mut *reader));
        self.state = self.state.with(Arc::new(layer.map_err(state)?));
        let consensus = block.consensus.as_ref().map(|(_, block)| block.clone());
        Ok(Finished { number, block: consensus, done })
    }
}

/// Imports blocks that follow the latest version. `progress` is told each block that is durable, with its gas.
pub(crate) fn import(
    folder: &mut DataFolder,
    chain: &Chain,
    engine: &mut dyn Engine,
    interrupt: &AtomicBool,
    progress: &mut dyn FnMut(u64),
) -> Imported {
    let mut imported = Imported::default();
    let Some((latest, _)) = folder.latest() else {
        imported.failed = Some(of_folder(0, &DbError::Empty));
        return imported;
    };
    let state = match folder.state(latest) {
        Ok(state) => state,
        Err(error) => {
            imported.failed = Some(of_folder(latest, &error));
            return imported;
        }
    };
    let durable = Mutex::new(state.clone());
    let mut execution = Execution { engine, state, durable: &durable };
    let execute = |block: &ChainBlock, control: &Control<'_>| execution.next(block, control);
    let passed = pass(chain, (recoverers(), DEPTH), execute, interrupt, |inbox| {
        imported.failed = keep(folder, inbox, &durable, &mut imported, progress);
    });
    (imported.recover, imported.execute) = (passed.recover, passed.execute);
    if passed.panicked && imported.failed.is_none() {
        imported.failed = Some(Failure::panicked(next(folder)));
    }
    imported
}

/// Number of the block that the folder waits for.
fn next(folder: &DataFolder) -> u64 {
    folder.latest().map_or(0, |(latest, _)| latest + 1)
}

/// Takes what is executed, group by group, up to the first that fails.
fn keep(
    folder: &mut DataFolder,
    executed: &Inbox<'_, Finished>,
    durable: &Mutex<LayeredState>,
    imported: &mut Imported,
    progress: &mut dyn FnMut(u64),
) -> Option<Failure> {
    while let Some(first) = executed.next(next(folder)) {
        let (mut group, mut failed) = (Vec::new(), None);
        for next in std::iter::once(first).chain(executed.waiting(DEPTH)) {
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
    None
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
    recorded.map_err(|error| of_folder(first, &error))?;
    for (block, finished) in blocks.iter().zip(&finished) {
        let number = finished.number;
        let in_folder = |error: DbError| of_folder(number, &error);
        let prepared = timed(&mut imported.root, || {
            let prepared = folder.store().prepare(number, &finished.batch());
            let prepared = prepared.map_err(|error| in_folder(error.into()))?;
            let checked = block.check(&finished.done, || prepared.root());
            checked.map_err(|error| Failure::of(number, error.kind(), error.to_string()))?;
            receipts::check(block, &finished.done, roots_within(folder, block)?)?;
            Ok(prepared)
        })?;
        timed(&mut imported.commit, || folder.commit_prepared(prepared)).map_err(in_folder)?;
        let state = folder.state(number).map_err(in_folder)?;
        *durable.lock().unwrap_or_else(PoisonError::into_inner) = state;
        imported.blocks += 1;
        imported.txs += block.input.txs.len() as u64;
        let gas: u64 = gas_used(&finished.done);
        imported.gas_used = imported.gas_used.saturating_add(gas);
        progress(number);
    }
    Ok(())
}

/// The roots of the states after each transaction of a block that comes next in the folder, where receipts have them.
fn roots_within(folder: &DataFolder, block: &ChainBlock) -> Passing<Vec<B256>> {
    let number = block.number();
    let failed = |error: DbError| of_folder(number, &error);
    let before = || Ok(Arc::new(folder.state(number.saturating_sub(1)).map_err(failed)?) as Arc<_>);
    let alone = receipts::one_by_one(block, before, &Control::default())?;
    let (mut roots, mut last) = (Vec::with_capacity(alone.len()), None::<Prepared>);
    for (version, done) in (number..).zip(alone) {
        let batch = Finished { number: version, block: None, done }.batch();
        let prepared = match &last {
            None => folder.store().prepare(version, &batch),
            Some(last) => folder.store().prepare_on(last, version, &batch),
        };
        let prepared = prepared.map_err(|error| failed(error.into()))?;
        roots.push(prepared.root());
        last = Some(prepared);
    }
    Ok(roots)
}

fn gas_used(done: &ExecutedBlock) -> u64 {
    done.results.iter().map(|result| result.gas_used).sum()
}
