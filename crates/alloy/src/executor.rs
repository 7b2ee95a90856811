//! The executor: hands out what was executed ahead, as long as the caller does what was expected.

use crate::{
    changes,
    factory::Counters,
    pending::Pending,
    speculation::{Ready, Speculation},
};
use alloy_consensus::{Transaction, TransactionEnvelope, TxReceipt};
use alloy_eips::Encodable2718;
use alloy_evm::{
    Evm, EvmEnv, FromRecoveredTx, FromTxWithEncoded, RecoveredTx,
    block::{
        BalIndexedDatabase, BlockExecutionError, BlockExecutionResult, BlockExecutor, ExecutableTx,
        GasOutput, StateDB, TxResult,
    },
    eth::{EthBlockExecutor, EthTxResult, receipt_builder::ReceiptBuilder, spec::EthExecutorSpec},
};
use alloy_primitives::Log;
use braid_evm::StepAccount;
use revm::{
    context::{
        Block, BlockEnv, TxEnv,
        result::{HaltReason, ResultAndState},
    },
    context_interface::Cfg,
    primitives::hardfork::SpecId,
    state::EvmState,
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
    /// Whether changes are kept back; see [`BlockAhead::with_deferred_commits`](crate::BlockAhead).
    deferred: bool,
    /// What the result that was handed out changes, if that is kept back.
    handed_out: Vec<StepAccount>,
}

static FOLLOWED: AtomicU64 = AtomicU64::new(0);

impl Follow {
    pub(crate) fn new(speculation: Arc<Speculation>, counters: Arc<Counters>) -> Self {
        let id = FOLLOWED.fetch_add(1, Ordering::Relaxed);
        let (deferred, stage) = (speculation.deferred, Stage::Made(false));
        let (ready, handed_out) = (VecDeque::new(), Vec::new());
        Follow { speculation, counters, id, stage, next: 0, ready, deferred, handed_out }
    }

    fn at(mut self, stage: Stage) -> Self {
        self.stage = stage;
        self
    }

    /// The result of the next transaction, if that is `tx`.
    fn take(&mut self, tx: &TxEnv) -> Option<Ready> {
        if self.ready.is_empty() {
            self.speculation.take(&mut self.ready);
        }
        let ready = self.ready.pop_front()?;
        same(self.speculation.tx(self.next)?, tx).then_some(ready)
    }
}

/// Whether these are the same transaction. They mostly share their calldata, which then need not be read.
fn same(one: &TxEnv, other: &TxEnv) -> bool {
    // No field is left out: a new one shall not go unnoticed.
    let TxEnv {
        tx_type,
        caller,
        gas_limit,
        gas_price,
        kind,
        value,
        data,
        nonce,
        chain_id,
        access_list,
        gas_priority_fee,
        blob_hashes,
        max_fee_per_blob_gas,
        authorization_list,
    } = one;
    let shared = data.as_ptr() == other.data.as_ptr() && data.len() == other.data.len();
    (shared || *data == other.data)
        && (*caller, *nonce, *tx_type) == (other.caller, other.nonce, other.tx_type)
        && (*kind, *value, *gas_limit) == (other.kind, other.value, other.gas_limit)
        && (*gas_price, *gas_priority_fee) == (other.gas_price, other.gas_priority_fee)
        && (*chain_id, *max_fee_per_blob_gas) == (other.chain_id, other.max_fee_per_blob_gas)
        && (access_list, blob_hashes) == (&other.access_list, &other.blob_hashes)
        && *authorization_list == other.authorization_list
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
    /// Taken by `finish` alone.
    inner: Option<EthBlockExecutor<'a, E, Spec, R>>,
    follow: Option<Follow>,
    /// Where serial executions are counted, if there was something to follow.
    counters: Option<Arc<Counters>>,
    /// What was committed here and not yet to the database of the EVM.
    pending: Pending,
    /// [`Pending::settle`], for `drop`, which cannot know that `E` is an EVM.
    settle: fn(&mut Pending, &mut E),
}

impl<E, Spec, R: ReceiptBuilder> fmt::Debug for ParallelExecutor<'_, E, Spec, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParallelExecutor").field("follow", &self.follow).finish_non_exhaustive()
    }
}

impl<E, Spec, R: ReceiptBuilder> ParallelExecutor<'_, E, Spec, R> {
    /// Whether the rest of the block is still taken from what is executed ahead. False from the first call on
    /// that departs from what was announced.
    pub fn is_following(&self) -> bool {
        self.follow.is_some()
    }
}

/// Commits what is kept back, as if it had been committed call by call.
impl<E, Spec, R: ReceiptBuilder> Drop for ParallelExecutor<'_, E, Spec, R> {
    fn drop(&mut self) {
        if let Some(inner) = &mut self.inner {
            (self.settle)(&mut self.pending, &mut inner.evm);
        }
    }
}

impl<'a, E: Evm<DB: StateDB>, Spec, R: ReceiptBuilder> ParallelExecutor<'a, E, Spec, R> {
    pub(crate) fn new(inner: EthBlockExecutor<'a, E, Spec, R>, follow: Option<Follow>) -> Self {
        let counters = follow.as_ref().map(|follow| follow.counters.clone());
        let settle = |pending: &mut Pending, evm: &mut E| pending.settle(evm.db_mut());
        ParallelExecutor { inner: Some(inner), follow, counters, pending: Pending::default(), settle }
    }
}

impl<'a, E, Spec, R: ReceiptBuilder> ParallelExecutor<'a, E, Spec, R> {
    fn inner(&self) -> &EthBlockExecutor<'a, E, Spec, R> {
        self.inner.as_ref().expect("taken by finish alone, which takes self")
    }

    fn inner_mut(&mut self) -> &mut EthBlockExecutor<'a, E, Spec, R> {
        self.inner.as_mut().expect("taken by finish alone, which takes self")
    }

    /// alloy-evm's executor, on a database to which everything is committed.
    fn settled(&mut self) -> &mut EthBlockExecutor<'a, E, Spec, R> {
        let inner = self.inner.as_mut().expect("taken by finish alone, which takes self");
        (self.settle)(&mut self.pending, &mut inner.evm);
        inner
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
        let inner = self.inner();
        let most = gas_limit.min(inner.evm.cfg_env().tx_gas_limit_cap());
        let left = inner.evm.block().gas_limit().checked_sub(inner.cumulative_tx_gas_used);
        left.is_some_and(|left| most <= left)
    }

    /// What is executed ahead of `tx`, if that is its next transaction. If not, there is nothing to follow
    /// any more. What it changes can be kept back, if it shall be.
    fn take(&mut self, env: &TxEnv, gas_limit: u64) -> Option<(Follow, Ready)> {
        let admitted = self.admits(gas_limit);
        let mut follow = self.follow.take().filter(|follow| admitted && follow.stage == Stage::Between)?;
        let ready = follow.take(env)?;
        if follow.deferred {
            let db = self.inner.as_mut()?.evm.db_mut();
            // What a database that fails has to say, serial execution will say.
            self.pending.prepare(db, &ready.accounts).ok()?;
        }
        Some((follow, ready))
    }

    /// The result of `tx`, if it is the next transaction of what is executed ahead.
    fn speculated(
        &mut self,
        env: &TxEnv,
        gas_limit: u64,
    ) -> Option<(ResultAndState<HaltReason>, (u64, usize))> {
        let (mut follow, Ready { result, accounts }) = self.take(env, gas_limit)?;
        let state = if follow.deferred {
            let state = self.pending.state(&accounts);
            follow.handed_out = accounts;
            state
        } else {
            changes::state(self.inner_mut().evm.db_mut(), accounts).ok()?
        };
        let ticket = (follow.id, follow.next);
        follow.stage = Stage::HandedOut;
        self.follow = Some(follow);
        Some((ResultAndState { result, state }, ticket))
    }

    /// As [`Self::speculated`], and commits it: here, not to the database.
    fn confirmed(&mut self, env: &TxEnv, gas_limit: u64) -> Option<ResultAndState<HaltReason>> {
        let admitted = self.admits(gas_limit);
        let follow = self.follow.as_mut().filter(|follow| follow.deferred)?;
        let ready = if admitted && follow.stage == Stage::Between { follow.take(env) } else { None };
        let db = self.inner.as_mut()?.evm.db_mut();
        let prepared = ready.filter(|ready| self.pending.prepare(db, &ready.accounts).is_ok());
        let Some(Ready { result, accounts }) = prepared else {
            self.follow = None;
            return None;
        };
        self.pending.add(db, accounts);
        follow.next += 1;
        Some(ResultAndState { result, state: EvmState::default() })
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
        let evm = &self.inner().evm;
        let same = |env: &EvmEnv| env.block_env == *evm.block() && env.cfg_env == *evm.cfg_env();
        let keeps = self.follow.as_ref().is_some_and(|follow| match follow.stage {
            Stage::Made(false) => true,
            Stage::Made(true) => same(&follow.speculation.env),
            Stage::Between | Stage::HandedOut => false,
        });
        let follow = self.follow.take().filter(|_| keeps);
        self.settled().apply_pre_execution_changes()?;
        self.follow = follow.map(|follow| follow.at(Stage::Between));
        Ok(())
    }

    /// As alloy-evm's. Nobody sees the state that the transaction leaves, so it need not be made.
    fn execute_transaction(&mut self, tx: impl ExecutableTx<Self>) -> Result<GasOutput, BlockExecutionError> {
        let (env, tx) = tx.into_parts();
        let Some(result) = self.confirmed(&env, tx.tx().gas_limit()) else {
            return self.execute_transaction_with_result_closure((env, tx), |_| ());
        };
        let tx = tx.tx();
        let blob_gas_used = tx.blob_gas_used().unwrap_or_default();
        let result = EthTxResult { result, blob_gas_used, tx_type: tx.tx_type() };
        Ok(self.inner_mut().commit_transaction(result))
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
        let result = self.settled().execute_transaction_without_commit((env, tx))?;
        Ok(ParallelTxResult { result, ticket: None })
    }

    fn commit_transaction(&mut self, output: Self::Result) -> GasOutput {
        let mut result = output.result;
        let follow = self.follow.take().filter(|follow| {
            follow.stage == Stage::HandedOut && output.ticket == Some((follow.id, follow.next))
        });
        let Some(mut follow) = follow else { return self.settled().commit_transaction(result) };
        if follow.deferred
            && let Some(inner) = &mut self.inner
        {
            self.pending.add(inner.evm.db_mut(), std::mem::take(&mut follow.handed_out));
            result.result.state = EvmState::default();
        }
        follow.next += 1;
        follow.stage = Stage::Between;
        self.follow = Some(follow);
        self.inner_mut().commit_transaction(result)
    }

    /// As alloy-evm's, but the EVM stays in hand: an index of an access list is no change of the state. From
    /// now on each transaction is committed by itself, under its index.
    fn execute_transaction_with_index_and_result_closure(
        &mut self,
        tx: impl ExecutableTx<Self>,
        tx_index: usize,
        f: impl FnOnce(&Self::Result),
    ) -> Result<GasOutput, BlockExecutionError>
    where
        E::DB: BalIndexedDatabase,
    {
        if let Some(follow) = self.follow.as_mut().filter(|follow| follow.stage != Stage::HandedOut) {
            follow.deferred = false;
        }
        self.settled().evm.db_mut().set_bal_index(tx_index as u64 + 1);
        self.execute_transaction_with_result_closure(tx, f)
    }

    fn finish(mut self) -> Result<(E, BlockExecutionResult<R::Receipt>), BlockExecutionError> {
        self.settled();
        self.inner.take().expect("taken once").finish()
    }

    /// The EVM, with which the caller may do what it likes: so there is nothing to follow any more, unless
    /// the block was announced [`with_setup`](crate::BlockAhead::with_setup) and has not begun.
    fn evm_mut(&mut self) -> &mut E {
        let setup = self
            .follow
            .take()
            .filter(|follow| follow.speculation.setup_allowed && matches!(follow.stage, Stage::Made(_)));
        self.follow = setup.map(|follow| follow.at(Stage::Made(true)));
        &mut self.settled().evm
    }

    fn evm(&self) -> &E {
        &self.inner().evm
    }

    fn receipts(&self) -> &[R::Receipt] {
        &self.inner().receipts
    }
}
