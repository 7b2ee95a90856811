//! The factory: where blocks are announced, and executors made.

use crate::{
    ahead::{BlockAhead, Refused, supported},
    executor::{Follow, ParallelExecutor, ParallelTxResult},
    snapshot::Snapshot,
    speculation::{Ending, Given, Speculation, execute},
};
use alloy_consensus::{Transaction, TransactionEnvelope, TxReceipt};
use alloy_eips::Encodable2718;
use alloy_evm::{
    EthEvmFactory, Evm, EvmFactory, FromRecoveredTx, FromTxWithEncoded,
    block::{BlockExecutorFactory, StateDB},
    eth::{
        EthBlockExecutionCtx, EthBlockExecutor, EthEvmContext,
        receipt_builder::{AlloyReceiptBuilder, ReceiptBuilder},
        spec::{EthExecutorSpec, EthSpec},
    },
};
use alloy_primitives::Log;
use braid_evm::EvmShared;
use braid_sched::{Adaptive, Pool};
use parking_lot::Mutex;
use revm::{
    Inspector,
    context::{Block, TxEnv, result::HaltReason},
    inspector::NoOpInspector,
    primitives::hardfork::SpecId,
};
use std::{
    any::type_name,
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

/// Most blocks that are announced and have no executor yet. One more, and the oldest is given up.
const ANNOUNCED_MAX: usize = 8;

/// What became of the transactions of blocks that were executed ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Executions that were answered by a speculated result.
    pub used: u64,
    /// Speculated results that were ready and never committed.
    pub discarded: u64,
    /// Executions that were serial although the block had been announced.
    pub serial: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) used: AtomicU64,
    pub(crate) discarded: AtomicU64,
    pub(crate) serial: AtomicU64,
}

type Task = Box<dyn FnOnce(&Adaptive, &EvmShared) + Send>;

/// Makes executors that follow a parallel execution of their block; see the crate's introduction.
///
/// It has threads of its own, which end when it is dropped. To share it, put it into an [`Arc`], for which
/// alloy-evm implements the trait too.
pub struct ParallelExecutorFactory<R = AlloyReceiptBuilder, Spec = EthSpec> {
    receipt_builder: R,
    spec: Spec,
    evm_factory: EthEvmFactory,
    tasks: Option<mpsc::Sender<Task>>,
    announced: Mutex<VecDeque<Arc<Speculation>>>,
    counters: Arc<Counters>,
}

impl<R, Spec> fmt::Debug for ParallelExecutorFactory<R, Spec> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParallelExecutorFactory").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

impl<R, Spec> ParallelExecutorFactory<R, Spec> {
    /// A factory whose blocks are executed ahead by `threads` threads (at least one), besides those that drive
    /// executors, which mostly wait.
    pub fn new(receipt_builder: R, spec: Spec, threads: u16) -> Self {
        let (tasks, inbox) = mpsc::channel::<Task>();
        let drive = move || {
            let (scheduler, shared) = (Adaptive::new(Arc::new(Pool::new(threads))), EvmShared::default());
            for task in inbox {
                // A task says at its end that it has ended, also so. Tables of the engine stay usable.
                let _ = catch_unwind(AssertUnwindSafe(|| task(&scheduler, &shared)));
            }
        };
        let started = thread::Builder::new().name("braid-ahead".to_owned()).spawn(drive).is_ok();
        ParallelExecutorFactory {
            receipt_builder,
            spec,
            evm_factory: EthEvmFactory::default(),
            tasks: started.then_some(tasks),
            announced: Mutex::default(),
            counters: Arc::default(),
        }
    }

    /// Begins to execute `block` ahead of its executor, after blocks that were announced before. Returns at
    /// once.
    ///
    /// The next executor that is made with this environment, parent and beacon root follows it. A block whose
    /// executor is never made is executed for nothing, and given up once eight others were announced.
    ///
    /// # Errors
    /// [`Refused`], which may well be ignored: the block's executor then executes serially.
    pub fn speculate<S: Snapshot>(&self, block: BlockAhead<S>) -> Result<(), Refused> {
        supported(&block)?;
        let tasks = self.tasks.as_ref().ok_or(Refused::NoThread)?;
        let speculation = Speculation::of(&block);
        let given = Given { txs: block.txs, state: block.state, block_hashes: block.block_hashes };
        let ending = Ending(speculation.clone());
        let task: Task = Box::new(move |scheduler, shared| {
            let ending = ending;
            execute(&ending.0, given, scheduler, shared);
        });
        tasks.send(task).map_err(|_| Refused::NoThread)?;
        let mut announced = self.announced.lock();
        announced.push_back(speculation);
        if announced.len() > ANNOUNCED_MAX
            && let Some(oldest) = announced.pop_front()
        {
            self.give_up(&oldest);
        }
        Ok(())
    }

    /// Gives up all blocks that are announced and have no executor yet.
    pub fn forget(&self) {
        for speculation in self.announced.lock().drain(..) {
            self.give_up(&speculation);
        }
    }

    /// What became of speculation so far, over all executors that have ended.
    pub fn counts(&self) -> Counts {
        // Relaxed: the counters carry nothing but themselves.
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters { used, discarded, serial } = &*self.counters;
        Counts { used: read(used), discarded: read(discarded), serial: read(serial) }
    }

    fn give_up(&self, speculation: &Speculation) {
        let discarded = speculation.cancel() as u64;
        self.counters.discarded.fetch_add(discarded, Ordering::Relaxed);
    }

    /// Takes the announced block that `evm` and `ctx` are for.
    fn claim<E>(&self, evm: &E, ctx: &EthBlockExecutionCtx<'_>) -> Option<Follow>
    where
        E: Evm<Spec = SpecId, BlockEnv = revm::context::BlockEnv>,
        Spec: EthExecutorSpec,
    {
        let mut announced = self.announced.lock();
        let at = announced.iter().position(|one| {
            one.env.block_env == *evm.block()
                && one.env.cfg_env == *evm.cfg_env()
                && one.parent_hash == ctx.parent_hash
                && one.parent_beacon_root == ctx.parent_beacon_block_root
        })?;
        let found = announced.remove(at)?;
        // The system calls follow the chain's forks, the engine follows the configuration's.
        let (time, spec) = (evm.block().timestamp().saturating_to(), evm.cfg_env().spec);
        let agree = self.spec.is_prague_active_at_timestamp(time) == spec.is_enabled_in(SpecId::PRAGUE)
            && self.spec.is_cancun_active_at_timestamp(time) == spec.is_enabled_in(SpecId::CANCUN);
        if !agree {
            self.give_up(&found);
            return None;
        }
        Some(Follow::new(found, self.counters.clone()))
    }
}

impl<R, Spec> Drop for ParallelExecutorFactory<R, Spec> {
    fn drop(&mut self) {
        self.forget();
    }
}

impl<R, Spec> BlockExecutorFactory for ParallelExecutorFactory<R, Spec>
where
    R: ReceiptBuilder<Transaction: Transaction + Encodable2718, Receipt: TxReceipt<Log = Log>>,
    Spec: EthExecutorSpec,
    TxEnv: FromRecoveredTx<R::Transaction> + FromTxWithEncoded<R::Transaction>,
    <R::Transaction as TransactionEnvelope>::TxType: Send + 'static,
    Self: 'static,
{
    type EvmFactory = EthEvmFactory;
    type ExecutionCtx<'a> = EthBlockExecutionCtx<'a>;
    type Transaction = R::Transaction;
    type Receipt = R::Receipt;
    type TxExecutionResult = ParallelTxResult<HaltReason, <R::Transaction as TransactionEnvelope>::TxType>;
    type Executor<'a, DB: StateDB, I: Inspector<EthEvmContext<DB>>> =
        ParallelExecutor<'a, <EthEvmFactory as EvmFactory>::Evm<DB, I>, &'a Spec, &'a R>;

    fn evm_factory(&self) -> &EthEvmFactory {
        &self.evm_factory
    }

    /// The executor of a block: one that follows its execution ahead, if the block was announced; alloy-evm's
    /// own, otherwise. Inspectors want to see the execution, so with one there is nothing to follow.
    fn create_executor<'a, DB, I>(
        &'a self,
        evm: <EthEvmFactory as EvmFactory>::Evm<DB, I>,
        ctx: EthBlockExecutionCtx<'a>,
    ) -> Self::Executor<'a, DB, I>
    where
        DB: StateDB,
        I: Inspector<EthEvmContext<DB>>,
    {
        let inspected = type_name::<I>() != type_name::<NoOpInspector>() || size_of::<I>() != 0;
        let follow = if inspected { None } else { self.claim(&evm, &ctx) };
        let inner = EthBlockExecutor::new(evm, ctx, &self.spec, &self.receipt_builder);
        ParallelExecutor::new(inner, follow)
    }
}
