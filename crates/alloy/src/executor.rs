//! The executor: hands out what was executed ahead, as long as the caller does what was expected.

use crate::{
    changes,
    factory::Counters,
    speculation::{Ready, Speculation},
};
use alloy_consensus::{Transaction, TransactionEnvelope, TxReceipt};
use alloy_eips::Encodable2718;
use alloy_evm::{
    Evm, FromRecoveredTx, FromTxWithEncoded, RecoveredTx,
    block::{
        BalIndexedDatabase, BlockExecutionError, BlockExecutionResult, BlockExecutor, ExecutableTx,
        GasOutput, StateDB, TxResult,
    },
    eth::{EthBlockExecutor, EthTxResult, receipt_builder::ReceiptBuilder, spec::EthExecutorSpec},
};
use alloy_primitives::Log;
use revm::{
    context::{
        Block, BlockEnv, TxEnv,
        result::{HaltReason, ResultAndState},
    },
    context_interface::Cfg,
    primitives::hardfork::SpecId,
};
use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// What the caller may do next without leaving the path that was executed ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Apply the pre-execution changes. The flag: somebody had the EVM in hand since it was compared.
    Made(bool),
    /// Execute the next transaction.
    Between,
    /// Commit the result that was handed out.
    HandedOut,
}

/// An executor's part in an execution ahead. Dropped as soon as the caller leaves its path, which cancels it.
pub(crate) struct Follow {
    speculation: Arc<Speculation>,
    counters: Arc<Counters>,
    /// Names this executor, so that no result of another one passes for its own.
    id: u64,
    stage: Stage,
    /// The transaction that comes next.
    next: usize,
    /// Taken, not handed out.
    ready: VecDeque<Ready>,
}

static FOLLOWED: AtomicU64 = AtomicU64::new(0);

impl Follow {
    pub(crate) fn new(speculation: Arc<Speculation>, counters: Arc<Counters>) -> Self {
        let id = FOLLOWED.fetch_add(1, Ordering::Relaxed);
        Follow { speculation, counters, id, stage: Stage::Made(false), next: 0, ready: VecDeque::new() }
    }

    fn at(mut self, stage: Stage) -> Self {
        self.stage = stage;
        self
    }

    /// The result of the next transaction, if that is `tx`.
    fn take(&mut self, tx: &TxEnv) -> Option<Ready> {
        if self.ready.is_empty() {
            self.ready = self.speculation.take();
        }
        let ready = self.ready.pop_front()?;
        (self.speculation.tx(self.next)? == tx).then_some(ready)
    }
}

impl fmt::Debug for Follow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follow").field("stage", &self.stage).field("next", &self.next).finish_non_exhaustive()
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        let (ready, used) = (self.speculation.cancel(), self.next);
        self.counters.used.fetch_add(used as u64, Ordering::Relaxed);
        self.counters.discarded.fetch_add(ready.saturating_sub(used) as u64, Ordering::Relaxed);
    }
}

/// The result of a transaction, not yet committed. It cannot be changed: what was executed ahead after it
/// holds only if it is committed as it is.
#[derive(Debug)]
pub struct ParallelTxResult<H, T> {
    result: EthTxResult<H, T>,
    /// Executor and position, if it was executed ahead.
    ticket: Option<(u64, usize)>,
}

impl<H, T> ParallelTxResult<H, T> {
    /// Whether it was executed ahead.
    pub fn is_speculated(&self) -> bool {
        self.ticket.is_some()
    }

    /// As alloy-evm has it, for good.
    pub fn into_eth(self) -> EthTxResult<H, T> {
        self.result
    }
}

impl<H: Send + 'static, T: Send + 'static> TxResult for ParallelTxResult<H, T> {
    type HaltReason = H;

    fn result(&self) -> &ResultAndState<H> {
        &self.result.result
    }

    fn into_result(self) -> ResultAndState<H> {
        self.result.result
    }
}

/// Executes one block; see the crate's introduction. `E`, `Spec` and `R` are those of
/// [`EthBlockExecutor`], which it is as soon as it has nothing to follow.
pub struct ParallelExecutor<'a, E, Spec, R: ReceiptBuilder> {
    inner: EthBlockExecutor<'a, E, Spec, R>,
    follow: Option<Follow>,
    /// Where serial executions are counted, if there was something to follow.
    counters: Option<Arc<Counters>>,
}

impl<E, Spec, R: ReceiptBuilder> fmt::Debug for ParallelExecutor<'_, E, Spec, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParallelExecutor").field("follow", &self.follow).finish_non_exhaustive()
    }
}

impl<'a, E, Spec, R: ReceiptBuilder> ParallelExecutor<'a, E, Spec, R> {
    pub(crate) fn new(inner: EthBlockExecutor<'a, E, Spec, R>, follow: Option<Follow>) -> Self {
        let counters = follow.as_ref().map(|follow| follow.counters.clone());
        ParallelExecutor { inner, follow, counters }
    }

    /// Whether the rest of the block is still taken from what is executed ahead. False from the first call on
    /// that departs from what was announced.
    pub fn is_following(&self) -> bool {
        self.follow.is_some()
    }
}

impl<E, Spec, R> ParallelExecutor<'_, E, Spec, R>
where
    E: Evm<DB: StateDB, Spec = SpecId, Tx = TxEnv, BlockEnv = BlockEnv, HaltReason = HaltReason>,
    R: ReceiptBuilder<Transaction: Transaction>,
{
    /// Whether alloy-evm's executor would let a transaction with this gas limit into the block. What it says
    /// of one that it would not is its own affair.
    fn admits(&self, gas_limit: u64) -> bool {
        let most = gas_limit.min(self.inner.evm.cfg_env().tx_gas_limit_cap());
        let left = self.inner.evm.block().gas_limit().checked_sub(self.inner.cumulative_tx_gas_used);
        left.is_some_and(|left| most <= left)
    }

    /// The result of `tx`, if it is the next transaction of what is executed ahead. If not, there is nothing
    /// to follow any more.
    fn speculated(
        &mut self,
        env: &TxEnv,
        gas_limit: u64,
    ) -> Option<(ResultAndState<HaltReason>, (u64, usize))> {
        let admitted = self.admits(gas_limit);
        let mut follow = self.follow.take().filter(|follow| admitted && follow.stage == Stage::Between)?;
        let Ready { result, accounts } = follow.take(env)?;
        // What a database that fails has to say, serial execution will say.
        let state = changes::state(self.inner.evm.db_mut(), accounts).ok()?;
        let ticket = (follow.id, follow.next);
        follow.stage = Stage::HandedOut;
        self.follow = Some(follow);
        Some((ResultAndState { result, state }, ticket))
    }
}

impl<E, Spec, R> BlockExecutor for ParallelExecutor<'_, E, Spec, R>
where
    E: Evm<DB: StateDB, Spec = SpecId, Tx = TxEnv, BlockEnv = BlockEnv, HaltReason = HaltReason>,
    TxEnv: FromRecoveredTx<R::Transaction> + FromTxWithEncoded<R::Transaction>,
    Spec: EthExecutorSpec,
    R: ReceiptBuilder<Transaction: Transaction + Encodable2718, Receipt: TxReceipt<Log = Log>>,
    <R::Transaction as TransactionEnvelope>::TxType: Send + 'static,
{
    type Transaction = R::Transaction;
    type Receipt = R::Receipt;
    type Evm = E;
    type Result = ParallelTxResult<HaltReason, <R::Transaction as TransactionEnvelope>::TxType>;

    fn apply_pre_execution_changes(&mut self) -> Result<(), BlockExecutionError> {
        let evm = &self.inner.evm;
        let follow = self.follow.take().filter(|follow| match follow.stage {
            Stage::Made(false) => true,
            Stage::Made(true) => {
                let env = &follow.speculation.env;
                env.block_env == *evm.block() && env.cfg_env == *evm.cfg_env()
            }
            Stage::Between | Stage::HandedOut => false,
        });
        self.inner.apply_pre_execution_changes()?;
        self.follow = follow.map(|follow| follow.at(Stage::Between));
        Ok(())
    }

    fn execute_transaction_without_commit(
        &mut self,
        tx: impl ExecutableTx<Self>,
    ) -> Result<Self::Result, BlockExecutionError> {
        let (env, tx) = tx.into_parts();
        if let Some((result, ticket)) = self.speculated(&env, tx.tx().gas_limit()) {
            let tx = tx.tx();
            let blob_gas_used = tx.blob_gas_used().unwrap_or_default();
            let result = EthTxResult { result, blob_gas_used, tx_type: tx.tx_type() };
            return Ok(ParallelTxResult { result, ticket: Some(ticket) });
        }
        if let Some(counters) = &self.counters {
            counters.serial.fetch_add(1, Ordering::Relaxed);
        }
        let result = self.inner.execute_transaction_without_commit((env, tx))?;
        Ok(ParallelTxResult { result, ticket: None })
    }

    fn commit_transaction(&mut self, output: Self::Result) -> GasOutput {
        let follow = self.follow.take().filter(|follow| {
            follow.stage == Stage::HandedOut && output.ticket == Some((follow.id, follow.next))
        });
        if let Some(mut follow) = follow {
            follow.next += 1;
            follow.stage = Stage::Between;
            self.follow = Some(follow);
        }
        self.inner.commit_transaction(output.result)
    }

    /// As alloy-evm's, but the EVM stays in hand: an index of an access list is no change of the state.
    fn execute_transaction_with_index_and_result_closure(
        &mut self,
        tx: impl ExecutableTx<Self>,
        tx_index: usize,
        f: impl FnOnce(&Self::Result),
    ) -> Result<GasOutput, BlockExecutionError>
    where
        E::DB: BalIndexedDatabase,
    {
        self.inner.evm.db_mut().set_bal_index(tx_index as u64 + 1);
        self.execute_transaction_with_result_closure(tx, f)
    }

    fn finish(self) -> Result<(E, BlockExecutionResult<R::Receipt>), BlockExecutionError> {
        self.inner.finish()
    }

    /// The EVM, with which the caller may do what it likes: so there is nothing to follow any more, unless
    /// the block was announced [`with_setup`](crate::BlockAhead::with_setup) and has not begun.
    fn evm_mut(&mut self) -> &mut E {
        let setup = self
            .follow
            .take()
            .filter(|follow| follow.speculation.setup_allowed && matches!(follow.stage, Stage::Made(_)));
        self.follow = setup.map(|follow| follow.at(Stage::Made(true)));
        &mut self.inner.evm
    }

    fn evm(&self) -> &E {
        &self.inner.evm
    }

    fn receipts(&self) -> &[R::Receipt] {
        &self.inner.receipts
    }
}
