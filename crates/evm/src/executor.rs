//! Blocks: what surrounds the transactions becomes pseudo transactions of the same schedule.
//!
//! The schedule begins with what the block does before its first transaction (EIP-2935, EIP-4788, the DAO
//! drain) and ends with what it does after its last one (the EIP-7002 and EIP-7251 queues, withdrawals and
//! rewards); each call is a transaction of its own. So their reads and writes are tracked like any others,
//! and their credits commute. Block gas and blob gas are admitted in order by the sink.

use crate::{
    AccessRecord, After, BlockInput, EvmChanges, EvmError, EvmKey, EvmOutput, EvmShared, EvmTx, EvmValue,
    EvmVm, ExecutedBlock, PrescribedBlock, Rites, StockOutput, SystemTx, TraceOptions, TxResult,
    access::{Book, NoteAt, Prescription, Wanted},
    block_vm::{BlockTx, BlockVm},
    deposit,
};
use alloy_eips::{
    eip2935::HISTORY_STORAGE_ADDRESS, eip4788::BEACON_ROOTS_ADDRESS, eip6110::DEPOSIT_REQUEST_TYPE,
    eip6110::MAINNET_DEPOSIT_CONTRACT_ADDRESS, eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS,
    eip7002::WITHDRAWAL_REQUEST_TYPE, eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS,
    eip7251::CONSOLIDATION_REQUEST_TYPE, eip7928::BlockAccessList,
};
use alloy_primitives::{Address, B256, Bytes, U256, address};
use braid_core::{
    Block, BlockError, Cause, Control, Effects, Hint, Outcome, Probe, Replay, Scheduler, Sink, State, Stats,
    StoreError, TxIndex, Write,
};
use revm::{
    context::CfgEnv,
    context_interface::{Cfg, Transaction},
    primitives::hardfork::SpecId,
};
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
    /// Gas of the block, as its header has it: the sum of the transactions' gas; after Osaka the greater
    /// of the sums of regular and of state gas, without refunds (EIP-7778, EIP-8037).
    pub gas_used: u64,
    /// Sum of the transactions' blob gas.
    pub blob_gas_used: u64,
    /// Traces of the transactions, in order, one JSON object a line; empty unless asked for.
    pub traces: Vec<Vec<u8>>,
    /// What the block touched and changed, index by index (EIP-7928), if that was asked for.
    pub access_list: Option<BlockAccessList>,
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
            gas_used: self.gas_used,
            access_list: self.access_list,
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

/// What may be asked of an execution besides its result. Nothing of it changes the result.
#[derive(Default)]
pub struct ExecOptions<'a> {
    /// Trace every transaction, into [`BlockOutput::traces`]. Each execution writes a buffer of its own,
    /// so traces do not disturb any schedule; but they cost far more than the execution itself.
    pub trace: Option<TraceOptions>,
    /// Takes each transaction's result, with its position among the block's transactions, in block order
    /// and once, as soon as it is final and while later ones still run. Called by whichever worker made
    /// the result final, never by two at a time; the schedule waits for it, so it should hand on what
    /// takes long. What was delivered stays true of its transaction, but the block may still fail at a
    /// later one, or at what follows the last.
    pub deliver: Option<&'a mut Deliver<'a>>,
    /// Make the block's access list (EIP-7928), into [`BlockOutput::access_list`], at any fork. See
    /// [`record_block`] for doing that later, or not at all.
    pub access_list: bool,
    /// What is known of each scheduled transaction ([`crate::hints`]); empty for nothing.
    pub hints: &'a [Hint<EvmKey>],
}

impl fmt::Debug for ExecOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let deliver = self.deliver.is_some();
        f.debug_struct("ExecOptions")
            .field("trace", &self.trace)
            .field("deliver", &deliver)
            .field("access_list", &self.access_list)
            .field("hints", &self.hints.len())
            .finish()
    }
}

/// Takes the final results of transactions in block order; see [`ExecOptions::deliver`].
pub type Deliver<'a> = dyn FnMut(usize, &TxResult) + Send + 'a;

/// Takes the writes of each transaction of a schedule in block order and once, as soon as it is final and while
/// later ones still run: those of the pseudo transactions around the block's own, too. Called as
/// [`ExecOptions::deliver`] is, so it should hand on what takes long. The block may still fail.
pub type Feed<'a> = dyn FnMut(&[(EvmKey, Write<EvmValue>)]) + Send + 'a;

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
    execute_block_with(ExecOptions::default(), scheduler, shared, input, state, probe, control)
}

/// As [`execute_block`], with `options`.
///
/// # Errors
/// As [`execute_block`]; the results of all transactions before the failing one have been delivered.
///
/// # Panics
/// With the panic of [`ExecOptions::deliver`]; scheduler and state stay usable.
pub fn execute_block_with<C, S, P>(
    options: ExecOptions<'_>,
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
    execute_block_fed(options, None, scheduler, shared, input, state, probe, control)
}

/// As [`execute_block_with`], with the writes of transactions told to `feed`.
///
/// # Errors
/// As [`execute_block_with`].
///
/// # Panics
/// As [`execute_block_with`], and with the panic of `feed`.
#[expect(clippy::too_many_arguments, reason = "those of an execution, and who is fed")]
pub fn execute_block_fed<'d, C, S, P>(
    options: ExecOptions<'d>,
    feed: Option<&'d mut Feed<'d>>,
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
    let wants_list = options.access_list;
    let (mut output, record) =
        run_block(options, feed, wants_list, scheduler, shared, input, state, probe, control)?;
    output.access_list = record.map(|record| list_of(&record, state)).transpose()?;
    Ok(output)
}

/// As [`execute_block_with`], with a record of what the block touched and changed, of which its access list
/// (EIP-7928) can be made, at any fork, as long as the state before the block is there. Making it takes
/// several times as long as recording.
///
/// [`ExecOptions::access_list`] makes the list, too.
///
/// # Errors
/// As [`execute_block_with`].
///
/// # Panics
/// As [`execute_block_with`].
pub fn record_block<C, S, P>(
    options: ExecOptions<'_>,
    scheduler: &C,
    shared: &EvmShared,
    input: &BlockInput,
    state: &S,
    probe: &P,
    control: &Control<'_>,
) -> Result<(BlockOutput, AccessRecord), BlockFailure>
where
    C: Scheduler,
    S: State<EvmKey, EvmValue>,
    P: Probe<EvmKey>,
{
    let wants_list = options.access_list;
    let (mut output, record) =
        run_block(options, None, true, scheduler, shared, input, state, probe, control)?;
    let record = record.unwrap_or_default();
    output.access_list = wants_list.then(|| list_of(&record, state)).transpose()?;
    Ok((output, record))
}

/// The list of `record`; its state answers after the last transaction.
fn list_of<S: State<EvmKey, EvmValue>>(
    record: &AccessRecord,
    pre: &S,
) -> Result<BlockAccessList, BlockFailure> {
    record.list(pre).map_err(|error| BlockFailure { place: Place::After, cause: Cause::Store(error) })
}

#[expect(clippy::too_many_arguments, reason = "those of an execution, who is fed, and whether to record")]
fn run_block<'d, C, S, P>(
    options: ExecOptions<'d>,
    feed: Option<&'d mut Feed<'d>>,
    records: bool,
    scheduler: &C,
    shared: &EvmShared,
    input: &BlockInput,
    state: &S,
    probe: &P,
    control: &Control<'_>,
) -> Result<(BlockOutput, Option<AccessRecord>), BlockFailure>
where
    C: Scheduler,
    S: State<EvmKey, EvmValue>,
    P: Probe<EvmKey>,
{
    let hints = options.hints;
    let Setup { vm, plan, mut sink } = Setup::new(options, records, Wanted::Nothing, shared, input);
    sink.feed = feed;
    let block = Block::new(&vm, &plan.txs, state).with_hints(hints);
    match scheduler.run(&block, &mut sink, probe, control) {
        Ok(outcome) => sink.finish(outcome),
        Err(error) => Err(sink.locate(error)),
    }
}

/// As [`execute_block_with`], by the access list of the block (EIP-7928): each transaction sees what the
/// list says that those before it leave, so that none waits for another, and the list is held against what
/// they do.
///
/// # Errors
/// As [`execute_block_with`], if the list is that of the block. Otherwise [`EvmError::AccessList`] with the
/// first difference, or the failure of an earlier transaction. The results before it have been delivered.
///
/// # Panics
/// As [`execute_block_with`].
#[expect(clippy::too_many_arguments, reason = "those of an execution, and the list")]
pub fn replay_block<C, S, P>(
    options: ExecOptions<'_>,
    list: &PrescribedBlock,
    replay: &C,
    shared: &EvmShared,
    input: &BlockInput,
    state: &S,
    probe: &P,
    control: &Control<'_>,
) -> Result<BlockOutput, BlockFailure>
where
    C: Replay,
    S: State<EvmKey, EvmValue>,
    P: Probe<EvmKey>,
{
    let wants_list = options.access_list;
    let (mut output, record) =
        run_replay(options, wants_list, list, replay, shared, input, state, probe, control)?;
    output.access_list = record.map(|record| list_of(&record, state)).transpose()?;
    Ok(output)
}

/// As [`replay_block`], with a record as [`record_block`] gives it: made of what the transactions did, not of
/// the list.
///
/// # Errors
/// As [`replay_block`].
///
/// # Panics
/// As [`execute_block_with`].
#[expect(clippy::too_many_arguments, reason = "those of an execution, and the list")]
pub fn record_replay<C, S, P>(
    options: ExecOptions<'_>,
    list: &PrescribedBlock,
    replay: &C,
    shared: &EvmShared,
    input: &BlockInput,
    state: &S,
    probe: &P,
    control: &Control<'_>,
) -> Result<(BlockOutput, AccessRecord), BlockFailure>
where
    C: Replay,
    S: State<EvmKey, EvmValue>,
    P: Probe<EvmKey>,
{
    let wants_list = options.access_list;
    let (mut output, record) = run_replay(options, true, list, replay, shared, input, state, probe, control)?;
    let record = record.unwrap_or_default();
    output.access_list = wants_list.then(|| list_of(&record, state)).transpose()?;
    Ok((output, record))
}

#[expect(clippy::too_many_arguments, reason = "those of an execution, the list, and whether to record")]
fn run_replay<C, S, P>(
    options: ExecOptions<'_>,
    records: bool,
    list: &PrescribedBlock,
    replay: &C,
    shared: &EvmShared,
    input: &BlockInput,
    state: &S,
    probe: &P,
    control: &Control<'_>,
) -> Result<(BlockOutput, Option<AccessRecord>), BlockFailure>
where
    C: Replay,
    S: State<EvmKey, EvmValue>,
    P: Probe<EvmKey>,
{
    let Setup { vm, plan, mut sink } = Setup::new(options, records, Wanted::Unseen, shared, input);
    let block = Block::new(&vm, &plan.txs, state);
    let has_after = plan.txs.len() > plan.first as usize + input.txs.len();
    let versions = Prescription::new(list, input, plan.first, has_after);
    let versions = versions
        .map_err(|error| BlockFailure { place: Place::Before, cause: Cause::Invalid(error.into()) })?;
    match replay.replay(&block, &versions, &mut sink, probe, control) {
        Ok(outcome) => sink.finish(outcome),
        Err(error) => Err(sink.locate(error)),
    }
}

/// All that a schedule needs.
struct Setup<'a, 'd> {
    vm: BlockVm<'a>,
    plan: Plan,
    sink: InOrder<'a, 'd>,
}

impl<'a, 'd> Setup<'a, 'd> {
    fn new(
        options: ExecOptions<'d>,
        records: bool,
        wanted: Wanted,
        shared: &'a EvmShared,
        input: &'a BlockInput,
    ) -> Self {
        let plan = Plan::of(input);
        let book = records.then(|| Book::new(shared.notes.clone()));
        let recorder =
            book.clone().map(|book| Recorder { entries: Vec::with_capacity(plan.txs.len()), book });
        let sink = InOrder::new(input, plan.first, config(input).tx_gas_limit_cap(), options, recorder);
        let mut vm = machine(shared, input).wanting(wanted);
        if let Some(trace) = sink.trace {
            vm = vm.with_trace(trace);
        }
        Setup { vm: BlockVm::new(vm, book), plan, sink }
    }
}

/// The position, in the schedule of a block, of its first transaction: those before it are what the block does
/// first. Probes are told positions, not transactions.
pub fn first_position(input: &BlockInput) -> TxIndex {
    before(&input.rites).count() as TxIndex
}

fn config(input: &BlockInput) -> CfgEnv {
    let mut cfg = CfgEnv::new_with_spec(input.spec).with_chain_id(input.chain_id);
    cfg.max_blobs_per_tx = input.spec.is_enabled_in(SpecId::OSAKA).then_some(MAX_BLOBS_PER_TX);
    cfg
}

/// The machine for a block.
pub(crate) fn machine<'a>(shared: &'a EvmShared, input: &'a BlockInput) -> EvmVm<'a> {
    EvmVm::with_cfg(shared, input, config(input), input.rules)
}

/// The schedule of a block: pseudo transactions around the real ones.
pub(crate) struct Plan {
    pub(crate) txs: Vec<EvmTx>,
    /// Index of the first real transaction.
    pub(crate) first: TxIndex,
}

impl Plan {
    pub(crate) fn of(input: &BlockInput) -> Plan {
        let mut txs = Vec::with_capacity(input.txs.len() + 6);
        txs.extend(before(&input.rites).map(system));
        let first = txs.len() as TxIndex;
        txs.extend((0..input.txs.len() as u32).map(EvmTx::User));
        txs.extend(input.rites.after.iter().flat_map(after).map(system));
        Plan { txs, first }
    }
}

fn system(tx: SystemTx) -> EvmTx {
    EvmTx::System(Arc::new(tx))
}

fn before(rites: &Rites) -> impl Iterator<Item = SystemTx> {
    let call = |to: Address, word: B256| SystemTx::Call { to, data: word.0.into(), optional: true };
    let parent_hash = rites.parent_hash.map(|hash| call(HISTORY_STORAGE_ADDRESS, hash));
    let parent_root = rites.parent_beacon_root.map(|root| call(BEACON_ROOTS_ADDRESS, root));
    let drain = rites.dao_drain.clone().map(|(from, to)| SystemTx::Drain { from, to });
    parent_hash.into_iter().chain(parent_root).chain(drain)
}

fn after(after: &After) -> impl Iterator<Item = SystemTx> {
    let queues: &[Address] = if after.requests { &QUEUES } else { &[] };
    let calls = queues.iter().map(|to| SystemTx::Call { to: *to, data: Bytes::new(), optional: false });
    let credits = after.withdrawals.iter().chain(&after.rewards);
    let credits: Vec<_> = credits.map(|(address, wei)| (*address, U256::from(*wei))).collect();
    calls.chain((!credits.is_empty()).then_some(SystemTx::Credits(credits)))
}

/// Contracts that are called after the last transaction, in the order of their requests.
const QUEUES: [Address; 2] = [WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS];

/// Where the notes of final transactions are, in block order.
struct Recorder {
    /// With their indices in the access list.
    entries: Vec<(u32, NoteAt)>,
    book: Arc<Book>,
}

/// Takes final transactions in order: admission, results, running gas.
struct InOrder<'a, 'd> {
    input: &'a BlockInput,
    first: TxIndex,
    deliver: Option<&'d mut Deliver<'d>>,
    feed: Option<&'d mut Feed<'d>>,
    /// Most regular gas that one transaction uses (EIP-7825).
    gas_cap: u64,
    results: Vec<TxResult>,
    /// Whether traces are wanted.
    trace: Option<TraceOptions>,
    /// If a record is wanted.
    recorder: Option<Recorder>,
    traces: Vec<Vec<u8>>,
    /// Outputs of the system transactions after the last user's, calls first.
    queues: Vec<Bytes>,
    /// All gas, up to Osaka.
    regular_gas: u64,
    state_gas: u64,
    blob_gas_used: u64,
}

impl<'a, 'd> InOrder<'a, 'd> {
    fn new(
        input: &'a BlockInput,
        first: TxIndex,
        gas_cap: u64,
        options: ExecOptions<'d>,
        recorder: Option<Recorder>,
    ) -> Self {
        InOrder {
            input,
            first,
            deliver: options.deliver,
            feed: None,
            gas_cap,
            results: Vec::with_capacity(input.txs.len()),
            trace: options.trace,
            recorder,
            traces: Vec::new(),
            queues: Vec::new(),
            regular_gas: 0,
            state_gas: 0,
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

    /// Index in the access list (EIP-7928).
    fn access_index(&self, index: TxIndex) -> u32 {
        match self.place(index) {
            Place::Before => 0,
            Place::Tx(tx) => tx as u32 + 1,
            Place::After => self.input.txs.len() as u32 + 1,
        }
    }

    fn locate(&self, error: BlockError<EvmError>) -> BlockFailure {
        BlockFailure { place: self.place(error.tx), cause: error.cause }
    }

    /// What the block gives, once all its workers are gone.
    fn finish(
        mut self,
        outcome: Outcome<BlockVm<'_>>,
    ) -> Result<(BlockOutput, Option<AccessRecord>), BlockFailure> {
        let requests = self.requests().map_err(|reason| BlockFailure {
            place: Place::After,
            cause: Cause::Invalid(EvmError::SystemCall { to: deposit_contract(self.input.chain_id), reason }),
        })?;
        let record = self.recorder.map(|Recorder { entries, book }| AccessRecord::new(entries, &book));
        let output = BlockOutput {
            results: self.results,
            changes: outcome.changes,
            requests,
            gas_used: self.regular_gas.max(self.state_gas),
            blob_gas_used: self.blob_gas_used,
            traces: self.traces,
            access_list: None,
            stats: outcome.stats,
        };
        Ok((output, record))
    }

    /// EIP-7685: deposits from the logs (EIP-6110), then the outputs of the two queues.
    fn requests(&mut self) -> Result<Vec<Bytes>, String> {
        if !self.input.rites.after.as_ref().is_some_and(|after| after.requests) {
            return Ok(Vec::new());
        }
        let logs = self.results.iter().flat_map(|result| &result.logs);
        let deposits = deposit::deposits(deposit_contract(self.input.chain_id), logs)?;
        let kinds = [DEPOSIT_REQUEST_TYPE, WITHDRAWAL_REQUEST_TYPE, CONSOLIDATION_REQUEST_TYPE];
        let bodies = std::iter::once(Bytes::from(deposits)).chain(std::mem::take(&mut self.queues));
        let requests = kinds.into_iter().zip(bodies).filter(|(_, body)| !body.is_empty());
        Ok(requests.map(|(kind, body)| [&[kind], body.as_ref()].concat().into()).collect())
    }
}

impl Sink<BlockVm<'_>> for InOrder<'_, '_> {
    fn admit(&mut self, index: TxIndex) -> Result<(), EvmError> {
        let Place::Tx(tx) = self.place(index) else { return Ok(()) };
        let tx = &self.input.txs[tx];
        let (gas_limit, all) = (tx.gas_limit, self.input.env.gas_limit);
        // EIP-8037: gas above the cap can only be state gas, of which the block has as much again.
        let parted = self.input.spec.is_enabled_in(SpecId::AMSTERDAM);
        let regular = if parted { gas_limit.min(self.gas_cap) } else { gas_limit };
        let state = if parted { gas_limit } else { 0 };
        for (most, used) in [(regular, self.regular_gas), (state, self.state_gas)] {
            let left = all.saturating_sub(used);
            if most > left {
                return Err(EvmError::BlockGasLimit { gas_limit, left });
            }
        }
        if let Some(most) = self.input.max_blob_gas {
            let (blob_gas, left) = (tx.total_blob_gas(), most.saturating_sub(self.blob_gas_used));
            if blob_gas > left {
                return Err(EvmError::BlobGasLimit { blob_gas, left });
            }
        }
        Ok(())
    }

    fn commit(&mut self, index: TxIndex, effects: &mut Effects<BlockVm<'_>>) {
        let Some(BlockTx { output, note }) = effects.output.take() else {
            unreachable!("a committed transaction has an output")
        };
        if let Some(feed) = &mut self.feed {
            feed(&effects.writes);
        }
        let access_index = self.access_index(index);
        if let Some(recorder) = &mut self.recorder {
            recorder.entries.push((access_index, note));
        }
        let output = match output {
            EvmOutput::Touched(touched) => touched.output,
            output => output,
        };
        let (result, regular_gas, state_gas) = match output {
            EvmOutput::User(result) => {
                let gas = result.gas_used;
                (result, gas, 0)
            }
            EvmOutput::Stock(output) => {
                let StockOutput { result, regular_gas, state_gas, trace } = *output;
                self.traces.extend(self.trace.is_some().then_some(trace));
                (result, regular_gas, state_gas)
            }
            EvmOutput::System(output) => {
                if self.place(index) == Place::After {
                    self.queues.push(output);
                }
                return;
            }
            EvmOutput::Touched(_) => unreachable!("touches are told once"),
        };
        let Place::Tx(tx) = self.place(index) else {
            unreachable!("a transaction's result at the place of a system call")
        };
        self.regular_gas = self.regular_gas.saturating_add(regular_gas);
        self.state_gas = self.state_gas.saturating_add(state_gas);
        self.blob_gas_used += self.input.txs[tx].total_blob_gas();
        if let Some(deliver) = &mut self.deliver {
            deliver(tx, &result);
        }
        self.results.push(result);
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
