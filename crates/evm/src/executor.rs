//! Blocks: what surrounds the transactions becomes pseudo transactions of the same schedule.
//!
//! Index 0 of the schedule is what the block does before its first transaction (EIP-2935, EIP-4788, the
//! DAO drain), the last index what it does after its last one (withdrawals, rewards, the EIP-7002 and
//! EIP-7251 queues); each is left out if there is nothing to do. So their reads and writes are tracked
//! like any others, and their credits commute. Block gas and blob gas are admitted in order by the sink.

use crate::{
    After, BlockInput, EvmChanges, EvmError, EvmKey, EvmOutput, EvmShared, EvmTx, EvmValue, EvmVm,
    ExecutedBlock, Rites, SystemStep, SystemTx, TxResult,
};
use alloy_eips::{
    eip2935::HISTORY_STORAGE_ADDRESS, eip4788::BEACON_ROOTS_ADDRESS, eip6110::DEPOSIT_REQUEST_TYPE,
    eip6110::MAINNET_DEPOSIT_CONTRACT_ADDRESS, eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS,
    eip7002::WITHDRAWAL_REQUEST_TYPE, eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS,
    eip7251::CONSOLIDATION_REQUEST_TYPE,
};
use alloy_evm::eth::eip6110::accumulate_deposits_from_logs;
use alloy_primitives::{Address, B256, Bytes, U256, address};
use braid_core::{
    Block, BlockError, Cause, Control, Effects, Outcome, Probe, Scheduler, Sink, State, Stats, StoreError,
    TxIndex,
};
use revm::{context::CfgEnv, context_interface::Transaction, primitives::hardfork::SpecId};
use std::{fmt, sync::Arc};

/// An executed block, as the engine leaves it: results in order and one merged difference.
#[derive(Debug)]
pub struct BlockOutput {
    /// Results of the transactions, in order.
    pub results: Vec<TxResult>,
    /// Merged changes, everything that surrounds the transactions included.
    pub changes: EvmChanges,
    /// EIP-7685 requests, each with its type byte first; empty ones left out.
    pub requests: Vec<Bytes>,
    /// Sum of the transactions' gas.
    pub gas_used: u64,
    /// Sum of the transactions' blob gas.
    pub blob_gas_used: u64,
    /// What it cost.
    pub stats: Stats,
}

impl BlockOutput {
    /// The common form, reduced to what really changed from `pre`.
    ///
    /// # Errors
    /// If `pre` cannot be read.
    pub fn into_block<S: State<EvmKey, EvmValue>>(self, pre: &S) -> Result<ExecutedBlock, StoreError> {
        let mut block = ExecutedBlock {
            results: self.results,
            requests: self.requests,
            stats: self.stats,
            ..ExecutedBlock::default()
        };
        block.enter(&self.changes, pre)?;
        block.minimize(pre)?;
        Ok(block)
    }
}

/// Where in a block it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Before the first transaction.
    Before,
    /// In this transaction.
    Tx(usize),
    /// After the last transaction.
    After,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Before => f.write_str("before the first transaction"),
            Place::Tx(tx) => write!(f, "transaction {tx}"),
            Place::After => f.write_str("after the last transaction"),
        }
    }
}

/// Why a block was not executed to its end: the lowest failure, as serial sees it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{place}: {cause}")]
pub struct BlockFailure {
    /// Where.
    pub place: Place,
    /// Why.
    pub cause: Cause<EvmError>,
}

/// Executes `input` on the state before it, under any schedule.
///
/// # Errors
/// The failure of the lowest transaction that fails, the same under every schedule.
pub fn execute_block<C, S, P>(
    scheduler: &C,
    shared: &EvmShared,
    input: &BlockInput,
    state: &S,
    probe: &P,
    control: &Control<'_>,
) -> Result<BlockOutput, BlockFailure>
where
    C: Scheduler,
    S: State<EvmKey, EvmValue>,
    P: Probe<EvmKey>,
{
    execute_block_with(scheduler, shared, input, state, probe, control, &mut |_, _| {})
}

/// As [`execute_block`]; each transaction's result also goes to `deliver`, with its position among the
/// block's transactions, in block order and once, as soon as it is final and while later ones still run.
///
/// `deliver` is called by whichever worker made the result final, never by two at a time; the schedule
/// waits for it, so it should hand on what takes long. What was delivered stays true of its transaction,
/// but the block may still fail at a later one, or at what follows the last.
///
/// # Errors
/// As [`execute_block`]; the results of all transactions before the failing one have been delivered.
///
/// # Panics
/// With the panic of `deliver`; scheduler and state stay usable.
pub fn execute_block_with<C, S, P>(
    scheduler: &C,
    shared: &EvmShared,
    input: &BlockInput,
    state: &S,
    probe: &P,
    control: &Control<'_>,
    deliver: &mut Deliver<'_>,
) -> Result<BlockOutput, BlockFailure>
where
    C: Scheduler,
    S: State<EvmKey, EvmValue>,
    P: Probe<EvmKey>,
{
    let plan = Plan::of(input);
    let mut cfg = CfgEnv::new_with_spec(input.spec).with_chain_id(input.chain_id);
    cfg.max_blobs_per_tx = input.spec.is_enabled_in(SpecId::OSAKA).then_some(MAX_BLOBS_PER_TX);
    let mut sink = InOrder::new(input, plan.first, deliver);
    let vm = EvmVm::with_cfg(shared, input, cfg, input.rules)
        .map_err(|error| BlockFailure { place: Place::Before, cause: Cause::Invalid(error) })?;
    let block = Block { vm: &vm, txs: &plan.txs, state };
    match scheduler.run(&block, &mut sink, probe, control) {
        Ok(outcome) => sink.finish(outcome),
        Err(error) => Err(sink.locate(error)),
    }
}

/// Takes the final results of transactions in block order; see [`execute_block_with`].
pub type Deliver<'a> = dyn FnMut(usize, &TxResult) + Send + 'a;

/// The schedule of a block: pseudo transactions around the real ones.
struct Plan {
    txs: Vec<EvmTx>,
    /// Index of the first real transaction.
    first: TxIndex,
}

impl Plan {
    fn of(input: &BlockInput) -> Plan {
        let mut plan = Plan { txs: Vec::with_capacity(input.txs.len() + 2), first: 0 };
        plan.system(before(&input.rites));
        plan.first = plan.txs.len() as TxIndex;
        plan.txs.extend((0..input.txs.len() as u32).map(EvmTx::User));
        plan.system(input.rites.after.as_ref().map(after).unwrap_or_default());
        plan
    }

    fn system(&mut self, steps: Vec<SystemStep>) {
        if !steps.is_empty() {
            self.txs.push(EvmTx::System(Arc::new(SystemTx { steps })));
        }
    }
}

fn before(rites: &Rites) -> Vec<SystemStep> {
    let mut steps = Vec::new();
    if let Some((accounts, refund)) = &rites.dao_drain {
        steps.extend(accounts.iter().map(|account| SystemStep::Drain { from: *account, to: *refund }));
    }
    let call = |to: Address, word: B256| SystemStep::Call { to, data: word.0.into(), optional: true };
    steps.extend(rites.parent_hash.map(|hash| call(HISTORY_STORAGE_ADDRESS, hash)));
    steps.extend(rites.parent_beacon_root.map(|root| call(BEACON_ROOTS_ADDRESS, root)));
    steps
}

fn after(after: &After) -> Vec<SystemStep> {
    let mut steps = Vec::new();
    if after.requests {
        for to in [WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS] {
            steps.push(SystemStep::Call { to, data: Bytes::new(), optional: false });
        }
    }
    let credits = after.withdrawals.iter().chain(&after.rewards);
    steps.extend(credits.map(|(address, wei)| SystemStep::Credit { to: *address, amount: U256::from(*wei) }));
    steps
}

/// Takes final transactions in order: admission, results, running gas.
struct InOrder<'a, 'd> {
    input: &'a BlockInput,
    first: TxIndex,
    deliver: &'a mut Deliver<'d>,
    results: Vec<TxResult>,
    /// Outputs of the system calls after the last transaction.
    queues: Vec<Bytes>,
    gas_used: u64,
    blob_gas_used: u64,
}

impl<'a, 'd> InOrder<'a, 'd> {
    fn new(input: &'a BlockInput, first: TxIndex, deliver: &'a mut Deliver<'d>) -> Self {
        InOrder {
            input,
            first,
            deliver,
            results: Vec::with_capacity(input.txs.len()),
            queues: Vec::new(),
            gas_used: 0,
            blob_gas_used: 0,
        }
    }

    /// Position among the real transactions.
    fn place(&self, index: TxIndex) -> Place {
        match index.checked_sub(self.first) {
            None => Place::Before,
            Some(tx) if (tx as usize) < self.input.txs.len() => Place::Tx(tx as usize),
            Some(_) => Place::After,
        }
    }

    fn locate(&self, error: BlockError<EvmError>) -> BlockFailure {
        BlockFailure { place: self.place(error.tx), cause: error.cause }
    }

    fn finish(mut self, outcome: Outcome<EvmVm<'_>>) -> Result<BlockOutput, BlockFailure> {
        let requests = self.requests().map_err(|reason| BlockFailure {
            place: Place::After,
            cause: Cause::Invalid(EvmError::SystemCall { to: deposit_contract(self.input.chain_id), reason }),
        })?;
        Ok(BlockOutput {
            results: self.results,
            changes: outcome.changes,
            requests,
            gas_used: self.gas_used,
            blob_gas_used: self.blob_gas_used,
            stats: outcome.stats,
        })
    }

    /// EIP-7685: deposits from the logs (EIP-6110), then the outputs of the two queues.
    fn requests(&mut self) -> Result<Vec<Bytes>, String> {
        if !self.input.rites.after.as_ref().is_some_and(|after| after.requests) {
            return Ok(Vec::new());
        }
        let mut deposits = Vec::new();
        let logs = self.results.iter().flat_map(|result| &result.logs);
        accumulate_deposits_from_logs(deposit_contract(self.input.chain_id), logs, &mut deposits)
            .map_err(|error| error.to_string())?;
        let kinds = [DEPOSIT_REQUEST_TYPE, WITHDRAWAL_REQUEST_TYPE, CONSOLIDATION_REQUEST_TYPE];
        let bodies = std::iter::once(Bytes::from(deposits)).chain(std::mem::take(&mut self.queues));
        let requests = kinds.into_iter().zip(bodies).filter(|(_, body)| !body.is_empty());
        Ok(requests.map(|(kind, body)| [&[kind], body.as_ref()].concat().into()).collect())
    }
}

impl Sink<EvmVm<'_>> for InOrder<'_, '_> {
    fn admit(&mut self, index: TxIndex) -> Result<(), EvmError> {
        let Place::Tx(tx) = self.place(index) else { return Ok(()) };
        let tx = &self.input.txs[tx];
        let left = self.input.env.gas_limit.saturating_sub(self.gas_used);
        if tx.gas_limit > left {
            return Err(EvmError::BlockGasLimit { gas_limit: tx.gas_limit, left });
        }
        if let Some(most) = self.input.max_blob_gas {
            let (blob_gas, left) = (tx.total_blob_gas(), most.saturating_sub(self.blob_gas_used));
            if blob_gas > left {
                return Err(EvmError::BlobGasLimit { blob_gas, left });
            }
        }
        Ok(())
    }

    fn commit(&mut self, index: TxIndex, effects: &mut Effects<EvmVm<'_>>) {
        match effects.output.take() {
            Some(EvmOutput::User(result)) => {
                let Place::Tx(tx) = self.place(index) else {
                    unreachable!("a transaction's result at the place of a system call")
                };
                self.gas_used += result.gas_used;
                self.blob_gas_used += self.input.txs[tx].total_blob_gas();
                (self.deliver)(tx, &result);
                self.results.push(result);
            }
            Some(EvmOutput::System(outputs)) if self.place(index) == Place::After => self.queues = outputs,
            Some(EvmOutput::System(_)) => {}
            None => unreachable!("a committed transaction has an output"),
        }
    }
}

/// Blobs that one transaction may carry from Osaka on (EIP-7594).
const MAX_BLOBS_PER_TX: u64 = 6;

/// The deposit contract whose logs EIP-6110 reads; chains that name none use mainnet's address.
fn deposit_contract(chain_id: u64) -> Address {
    match chain_id {
        17_000 => address!("0x4242424242424242424242424242424242424242"),
        11_155_111 => address!("0x7f02C3E3c98b133055B8B348B2Ac625669Ed295D"),
        560_048 => address!("0x00000000219ab540356cBB839Cbe05303d7705Fa"),
        _ => MAINNET_DEPOSIT_CONTRACT_ADDRESS,
    }
}
