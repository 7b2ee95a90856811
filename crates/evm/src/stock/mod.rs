//! The second machine: revm's own context, journal and course of a transaction, over a view.
//!
//! It runs what the first one does not: forks after Osaka, and any fork with a tracer attached. It takes
//! part in every schedule like the first, but observes whole records, exactly: what it costs is
//! conflicts, never results. Only the fee of a beneficiary that the transaction did not touch is a blind
//! credit here too, or every transaction would depend on the one before it.

mod source;
mod trace;
mod writes;

pub use trace::TraceOptions;
pub(crate) use trace::Tracer;

use crate::{EvmKey, EvmValue, Status, Touches, TxResult, access::Wanted, eip1283, handler::Fault, journal};
use alloy_primitives::{Address, Bytes, KECCAK256_EMPTY, U256};
use braid_core::Write;
use revm::{
    Context, MainBuilder,
    bytecode::opcode::SSTORE,
    context::{BlockEnv, CfgEnv, TxEnv},
    context_interface::{
        ContextTr, JournalTr, Transaction,
        result::{ExecutionResult, HaltReason},
    },
    handler::{
        EvmTr, FrameResult, Handler, MainnetContext, MainnetEvm, SYSTEM_ADDRESS, post_execution,
        system_call::SYSTEM_CALL_GAS_LIMIT,
    },
    inspector::{Inspector, InspectorHandler},
    interpreter::{Instruction, interpreter::EthInterpreter},
    primitives::{TxKind, hardfork::SpecId},
};
use source::StockSource;
use std::marker::PhantomData;

/// What a transaction gave on this machine.
#[derive(Clone, Debug, PartialEq)]
pub struct StockOutput {
    /// Its result.
    pub result: TxResult,
    /// Gas that counts against the block's regular gas. Up to Osaka what the transaction was charged;
    /// then without refunds (EIP-7778) and without state gas (EIP-8037).
    pub regular_gas: u64,
    /// Gas that counts against the block's state gas (EIP-8037); zero up to Osaka.
    pub state_gas: u64,
    /// Its trace, one JSON object a line; empty if none was asked for.
    pub trace: Vec<u8>,
}

/// Rules and surroundings of one execution.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting<'a> {
    pub(crate) cfg: &'a CfgEnv,
    pub(crate) env: &'a BlockEnv,
    /// Net gas metering of SSTORE; the prices are in `cfg`.
    pub(crate) eip1283: bool,
    /// Creation fails where storage is left. Only tracers see to it: revm does not know the rule, and
    /// drafts are run as revm runs them.
    pub(crate) eip7610: bool,
    pub(crate) trace: Option<TraceOptions>,
    pub(crate) touches: Wanted,
}

/// revm's context over a view.
pub(crate) type StockContext<'a> = MainnetContext<StockSource<'a>>;

type Machine<'a, I> = MainnetEvm<StockContext<'a>, I>;

/// Runs a user's transaction and leaves what it writes in `writes`. Never inlined: the frame of the first
/// machine's caller stays small.
#[inline(never)]
pub(crate) fn run_user<'a>(
    setting: Setting<'a>,
    tx: &TxEnv,
    source: journal::Source<'a>,
    writes: &mut Vec<(EvmKey, Write<EvmValue>)>,
    touches: &mut Touches,
) -> Result<StockOutput, Fault> {
    let Some(options) = setting.trace else {
        let mut evm = machine(setting, tx.clone(), StockSource::new(source), ());
        let result = Course::default().run(&mut evm)?;
        evm.ctx.finish(setting.touches, writes, touches);
        return Ok(output(setting, result, Vec::new()));
    };
    let eip7610 = setting.eip7610 && !setting.cfg.spec.is_enabled_in(SpecId::AMSTERDAM);
    let tracer = Tracer::new(options, eip7610);
    let mut evm = machine(setting, tx.clone(), StockSource::new(source), tracer);
    let result = Course::default().inspect_run(&mut evm)?;
    evm.ctx.finish(setting.touches, writes, touches);
    let trace = evm.inspector.into_trace(result.tx_gas_used());
    Ok(output(setting, result, trace))
}

/// Calls a system contract as a transaction of its own; `None` if there is nothing to call.
#[inline(never)]
pub(crate) fn run_system<'a>(
    setting: Setting<'a>,
    to: Address,
    data: &Bytes,
    source: journal::Source<'a>,
    writes: &mut Vec<(EvmKey, Write<EvmValue>)>,
    touches: &mut Touches,
) -> Result<Option<ExecutionResult>, Fault> {
    let mut source = StockSource::new(source);
    if source.record(to)?.code_hash == KECCAK256_EMPTY {
        touches.accounts.extend((setting.touches != Wanted::Nothing).then_some(to));
        return Ok(None);
    }
    let tx = system_call(setting.cfg.spec, to, data.clone());
    let mut evm = machine(setting, tx, source, ());
    let result = Course::default().run_system_call(&mut evm)?;
    evm.ctx.finish(setting.touches, writes, touches);
    Ok(Some(result))
}

/// Gas of a system call: state gas comes on top from the fork after Osaka on.
pub(crate) fn system_call_gas(spec: SpecId) -> u64 {
    if spec.is_enabled_in(SpecId::AMSTERDAM) { SYSTEM_CALL_GAS_LIMIT } else { crate::SYSTEM_CALL_GAS }
}

/// The transaction that a system call is.
pub(crate) fn system_call(spec: SpecId, to: Address, data: Bytes) -> TxEnv {
    TxEnv {
        caller: SYSTEM_ADDRESS,
        kind: TxKind::Call(to),
        data,
        gas_limit: system_call_gas(spec),
        ..TxEnv::default()
    }
}

fn machine<'a, I>(setting: Setting<'a>, tx: TxEnv, source: StockSource<'a>, inspector: I) -> Machine<'a, I> {
    let context: StockContext<'a> = Context::new(source, setting.cfg.spec);
    let context = context.with_block(setting.env.clone()).with_cfg(setting.cfg.clone()).with_tx(tx);
    let mut evm = context.build_mainnet_with_inspector(inspector);
    if setting.eip1283 {
        evm.instruction.insert_instruction(SSTORE, Instruction::new(eip1283::sstore), 0);
    }
    evm
}

fn output(setting: Setting<'_>, result: ExecutionResult, trace: Vec<u8>) -> StockOutput {
    let gas = result.gas();
    let (regular_gas, state_gas) = if setting.cfg.spec.is_enabled_in(SpecId::AMSTERDAM) {
        (gas.block_regular_gas_used(), gas.block_state_gas_used())
    } else {
        (gas.tx_gas_used(), 0)
    };
    StockOutput { result: tx_result(result), regular_gas, state_gas, trace }
}

/// What is kept of revm's result.
pub(crate) fn tx_result(result: ExecutionResult) -> TxResult {
    let gas_used = result.tx_gas_used();
    match result {
        ExecutionResult::Success { logs, output, .. } => {
            let created = output.address().copied();
            TxResult { status: Status::Success, gas_used, logs, output: output.into_data(), created }
        }
        ExecutionResult::Revert { logs, output, .. } => {
            TxResult { status: Status::Revert, gas_used, logs, output, created: None }
        }
        ExecutionResult::Halt { logs, .. } => {
            TxResult { status: Status::Halt, gas_used, logs, output: Default::default(), created: None }
        }
    }
}

/// revm's course of a transaction, but for the fee.
struct Course<'a, I>(PhantomData<fn(&'a (), I)>);

impl<I> Default for Course<'_, I> {
    fn default() -> Self {
        Course(PhantomData)
    }
}

impl<'a, I> Handler for Course<'a, I> {
    type Evm = Machine<'a, I>;
    type Error = Fault;
    type HaltReason = HaltReason;

    /// As revm's, without loading a beneficiary that the transaction did not load, unless there is
    /// nothing to pay: a touch asks whether the account is empty.
    fn reward_beneficiary(&self, evm: &mut Machine<'a, I>, result: &mut FrameResult) -> Result<(), Fault> {
        let context = evm.ctx();
        let beneficiary = context.block.beneficiary;
        let price = context.tx.effective_gas_price(u128::from(context.block.basefee));
        let burnt = if context.cfg.spec.is_enabled_in(SpecId::LONDON) { context.block.basefee } else { 0 };
        let gas = result.gas();
        let used = gas.used().saturating_sub(gas.reservoir());
        let fee = price.saturating_sub(u128::from(burnt)).saturating_mul(u128::from(used));
        if fee == 0 || context.journaled_state.inner.state.contains_key(&beneficiary) {
            return Ok(post_execution::reward_beneficiary(context, gas)?);
        }
        context.journaled_state.database.credit(beneficiary, U256::from(fee));
        Ok(())
    }
}

impl<'a, I: Inspector<StockContext<'a>, EthInterpreter>> InspectorHandler for Course<'a, I> {
    type IT = EthInterpreter;
}

/// Ends an execution.
trait Finish {
    /// Takes the transaction's state out of the journal, as writes, and what it touched.
    fn finish(&mut self, wanted: Wanted, writes: &mut Vec<(EvmKey, Write<EvmValue>)>, touches: &mut Touches);
}

impl Finish for StockContext<'_> {
    fn finish(&mut self, wanted: Wanted, writes: &mut Vec<(EvmKey, Write<EvmValue>)>, touches: &mut Touches) {
        let spec = self.cfg.spec;
        let state = self.journal_mut().finalize();
        if wanted != Wanted::Nothing {
            writes::touch(&state, &self.journaled_state.database, touches);
        }
        writes::write(state, &self.journaled_state.database, spec, writes);
    }
}
