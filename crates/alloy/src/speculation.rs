//! One block that is executed ahead, shared by the thread that does it and the executor that follows.
//!
//! Protocol:
//! 1. The thread that executes ahead puts results in, in block order, each when it is final, and says at the
//!    end that there will be no more, whatever the end is (finished, failed, cancelled, panicked).
//! 2. One executor takes them out in order. Who finds none waits for half of those that are missing, but for
//!    [`BATCH`] at least, or for the last one: a thread that is woken often takes the processor from those
//!    that execute, and one that is woken at the end has everything yet to do. While one thread alone executes,
//!    there is a processor for each of the two: then it looks for more for a while before it sleeps, and is
//!    woken for [`BATCH`].
//! 3. Who gives up sets `cancel`; the schedule looks at it between transactions and at every read.

use crate::{
    ahead::BlockAhead,
    snapshot::{Snapshot, SnapshotReader, SnapshotState},
};
use alloy_eips::{eip2935::HISTORY_STORAGE_ADDRESS, eip4788::BEACON_ROOTS_ADDRESS};
use alloy_evm::EvmEnv;
use alloy_primitives::B256;
use braid_core::{Block, Control, Effects, Scheduler, Sink, State, StoreError, TxIndex};
use braid_evm::{BlockInput, EvmRules, EvmShared, EvmTx, StepAccount, StepOutput, StepVm, SystemTx};
use braid_sched::Adaptive;
use parking_lot::{Condvar, Mutex};
use revm::{
    context::{
        TxEnv,
        result::{ExecutionResult, HaltReason},
    },
    primitives::{BLOCK_HASH_HISTORY, hardfork::SpecId},
};
use std::{
    collections::{BTreeMap, VecDeque},
    hint::spin_loop,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread::yield_now,
};

/// Results that are put in at a time.
const ROW: usize = 8;

/// Fewest results that a waiting executor is woken for.
const BATCH: usize = 16;

/// So often an executor looks for more before it sleeps, if that takes no processor from anybody; with as many
/// spins between two looks.
const LOOKS: u32 = 64;
const SPINS: u32 = 32;

/// A final transaction.
pub(crate) struct Ready {
    pub(crate) result: ExecutionResult,
    pub(crate) accounts: Vec<StepAccount>,
}

/// See the module.
pub(crate) struct Speculation {
    /// Environment of the block.
    pub(crate) env: EvmEnv,
    /// Argument of EIP-2935's call.
    pub(crate) parent_hash: B256,
    /// Argument of EIP-4788's call.
    pub(crate) parent_beacon_root: Option<B256>,
    /// See [`BlockAhead::with_setup`].
    pub(crate) setup_allowed: bool,
    /// See [`BlockAhead::with_deferred_commits`].
    pub(crate) deferred: bool,
    /// The block; there from the first result on.
    input: OnceLock<BlockInput>,
    cancel: AtomicBool,
    progress: Mutex<Progress>,
    more: Condvar,
}

#[derive(Default)]
struct Progress {
    ready: VecDeque<Ready>,
    /// Transactions of the block.
    all: usize,
    /// Results put in so far.
    put: usize,
    ended: bool,
    /// Whether one thread alone executes.
    alone: bool,
    /// Results that the executor waits for; none: it does not wait.
    awaited: usize,
}

impl Speculation {
    /// Of `block`, which nobody executes yet.
    pub(crate) fn of<S>(block: &BlockAhead<S>) -> Arc<Self> {
        Arc::new(Speculation {
            env: block.env.clone(),
            parent_hash: block.parent_hash,
            parent_beacon_root: block.parent_beacon_root,
            setup_allowed: block.setup_allowed,
            deferred: block.deferred,
            input: OnceLock::new(),
            cancel: AtomicBool::new(false),
            progress: Mutex::new(Progress { all: block.txs.len(), ..Progress::default() }),
            more: Condvar::new(),
        })
    }

    /// The transaction at `index`, once there was a result.
    pub(crate) fn tx(&self, index: usize) -> Option<&TxEnv> {
        self.input.get()?.txs.get(index)
    }

    /// Takes what is ready into `taken`, which is empty, waiting until something is. Nothing: there will be no
    /// more.
    pub(crate) fn take(&self, taken: &mut VecDeque<Ready>) {
        let mut progress = self.progress.lock();
        let mut looks = if progress.put > 0 && progress.alone { LOOKS } else { 0 };
        while progress.ready.is_empty() && !progress.ended && looks > 0 {
            drop(progress);
            pause();
            looks -= 1;
            progress = self.progress.lock();
        }
        if progress.ready.is_empty() {
            let missing = progress.all.saturating_sub(progress.put);
            let most = if progress.alone { 0 } else { missing / 2 };
            progress.awaited = most.max(BATCH).min(missing);
            while progress.ready.len() < progress.awaited && !progress.ended {
                self.more.wait(&mut progress);
            }
            progress.awaited = 0;
        }
        std::mem::swap(&mut progress.ready, taken);
    }

    /// Gives up. Returns how many results there were so far.
    pub(crate) fn cancel(&self) -> usize {
        // Relaxed: the flag carries no data; a late look only delays the stop.
        self.cancel.store(true, Ordering::Relaxed);
        let mut progress = self.progress.lock();
        progress.ready.clear();
        progress.put
    }

    /// Says that one thread alone executes.
    fn alone(&self) {
        let mut progress = self.progress.lock();
        progress.alone = true;
        progress.awaited = progress.awaited.min(BATCH);
    }

    /// Puts `row` in, the next results.
    fn put(&self, row: &mut Vec<Ready>) {
        let mut progress = self.progress.lock();
        progress.put += row.len();
        if self.cancel.load(Ordering::Relaxed) {
            return row.clear();
        }
        progress.ready.extend(row.drain(..));
        if progress.awaited > 0 && progress.ready.len() >= progress.awaited {
            progress.awaited = 0;
            self.more.notify_one();
        }
    }

    /// Says that there will be no more.
    pub(crate) fn end(&self) {
        self.progress.lock().ended = true;
        self.more.notify_all();
    }
}

/// Between two looks.
fn pause() {
    (0..SPINS).for_each(|_| spin_loop());
    // Who executes may stand behind this very thread.
    yield_now();
}

/// Says that there will be no more, however the thread leaves.
pub(crate) struct Ending(pub(crate) Arc<Speculation>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// What a block's transactions are executed on.
pub(crate) struct Given<S> {
    pub(crate) txs: Vec<TxEnv>,
    pub(crate) state: S,
    pub(crate) block_hashes: Option<BTreeMap<u64, B256>>,
}

/// Executes the block ahead. However it ends, what was put in is right.
pub(crate) fn execute<S: Snapshot>(
    speculation: &Speculation,
    given: Given<S>,
    scheduler: &Adaptive,
    shared: &EvmShared,
) {
    if speculation.cancel.load(Ordering::Relaxed) {
        return;
    }
    let state = SnapshotState(given.state);
    let Ok(block_hashes) = given.block_hashes.map_or_else(|| hashes(&state, &speculation.env), Ok) else {
        return;
    };
    let cfg = speculation.env.cfg_env.clone();
    // EIP-7610: see the reader of snapshots.
    let rules = EvmRules { eip7610: false, listed_hashes_only: true, ..EvmRules::default() };
    let mut input = BlockInput::new(cfg.chain_id, cfg.spec, speculation.env.block_env.clone(), given.txs);
    (input.block_hashes, input.rules) = (block_hashes, rules);
    let input = speculation.input.get_or_init(|| input);
    let Some(vm) = StepVm::new(shared, input, cfg, rules) else { return };
    let mut txs = before(speculation);
    txs.extend((0..input.txs.len() as u32).map(EvmTx::User));
    // There is no such transaction, so the schedule ends with an error, and does not gather the changes of the
    // block, which nobody wants: whoever follows has those of each transaction.
    txs.push(EvmTx::User(u32::MAX));
    let block = Block::new(&vm, &txs, &state);
    let control = Control { cancel: Some(&speculation.cancel), deadline: None };
    // Why it ended early does not matter: the executor meets the reason itself, serially.
    if !scheduler.shares(&block) {
        speculation.alone();
    }
    let mut feed = Feed { speculation, row: Vec::with_capacity(ROW), missing: input.txs.len() };
    let _ = scheduler.run(&block, &mut feed, &(), &control);
}

/// The calls before the first transaction, in alloy-evm's order.
fn before(speculation: &Speculation) -> Vec<EvmTx> {
    let spec = speculation.env.cfg_env.spec;
    let call =
        |to, word: B256| EvmTx::System(Arc::new(SystemTx::Call { to, data: word.0.into(), optional: true }));
    let mut txs = Vec::new();
    if spec.is_enabled_in(SpecId::PRAGUE) {
        txs.push(call(HISTORY_STORAGE_ADDRESS, speculation.parent_hash));
    }
    if let Some(root) = speculation.parent_beacon_root.filter(|_| spec.is_enabled_in(SpecId::CANCUN)) {
        txs.push(call(BEACON_ROOTS_ADDRESS, root));
    }
    txs
}

/// All that BLOCKHASH can ask for.
fn hashes<S: Snapshot>(state: &SnapshotState<S>, env: &EvmEnv) -> Result<BTreeMap<u64, B256>, StoreError> {
    let reader: SnapshotReader<_> = state.reader()?;
    let number = u64::try_from(env.block_env.number).unwrap_or(u64::MAX);
    let first = number.saturating_sub(BLOCK_HASH_HISTORY);
    // One that cannot be told fails the transaction that asks for it.
    let listed = (first..number).filter_map(|number| Some((number, reader.block_hash(number).ok()?)));
    Ok(listed.collect())
}

/// Puts final transactions in, a row at a time.
struct Feed<'s> {
    speculation: &'s Speculation,
    row: Vec<Ready>,
    /// Transactions that are not final yet.
    missing: usize,
}

impl Sink<StepVm<'_>> for Feed<'_> {
    fn commit(&mut self, _index: TxIndex, effects: &mut Effects<StepVm<'_>>) {
        if let Some(StepOutput::User { mut result, accounts }) = effects.output.take() {
            // alloy-evm's precompiles do not say why they fail, as revm's do.
            if let ExecutionResult::Halt { reason, .. } = &mut result
                && matches!(reason, HaltReason::PrecompileErrorWithContext(_))
            {
                *reason = HaltReason::PrecompileError;
            }
            self.row.push(Ready { result, accounts });
            self.missing -= 1;
            if self.row.len() >= ROW || self.missing == 0 {
                self.speculation.put(&mut self.row);
            }
        }
    }
}

/// The last row.
impl Drop for Feed<'_> {
    fn drop(&mut self) {
        self.speculation.put(&mut self.row);
    }
}
