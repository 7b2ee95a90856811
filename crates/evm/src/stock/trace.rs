//! Traces of what the interpreter does, as EIP-3155 has them and `evm t8n` writes them: one JSON object
//! a line for each instruction, and a last one for how it ended.

use super::StockContext;
use alloy_primitives::{Address, U256, hex};
use revm::{
    bytecode::opcode::OpCode,
    context_interface::ContextTr,
    inspector::Inspector,
    interpreter::{
        CallInputs, CallOutcome, CreateInputs, CreateOutcome, InstructionResult, Interpreter,
        InterpreterResult,
        interpreter::EthInterpreter,
        interpreter_types::{Jumps, LoopControl, MemoryTr, ReturnData},
    },
};
use std::io::Write;

/// What a trace shows, and how long it may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceOptions {
    /// The stack before each instruction.
    pub stack: bool,
    /// All of memory before each instruction.
    pub memory: bool,
    /// What the last call returned.
    pub return_data: bool,
    /// Bytes of one transaction's trace after which no more instructions are recorded; a line with
    /// `"truncated":true` tells so, and the outcome follows.
    pub limit: usize,
}

impl Default for TraceOptions {
    /// The stack, and no more than 1 GiB for each transaction.
    fn default() -> Self {
        TraceOptions { stack: true, memory: false, return_data: false, limit: 1 << 30 }
    }
}

/// Writes the trace of one execution into a buffer of its own.
#[derive(Debug)]
pub(crate) struct Tracer {
    options: TraceOptions,
    eip7610: bool,
    out: Vec<u8>,
    truncated: bool,
    /// The instruction that runs, unless it is not recorded: its line as far as it is known before.
    head: Vec<u8>,
    tail: Vec<u8>,
    gas: u64,
    running: bool,
    /// Refund counter of the frames above each frame: interpreters count their own only.
    refunds: Vec<i64>,
    refund: i64,
}

impl Tracer {
    pub(crate) fn new(options: TraceOptions, eip7610: bool) -> Self {
        Tracer {
            options,
            eip7610,
            out: Vec::new(),
            truncated: false,
            head: Vec::new(),
            tail: Vec::new(),
            gas: 0,
            running: false,
            refunds: Vec::new(),
            refund: 0,
        }
    }

    /// The trace of a transaction that used so much gas.
    pub(crate) fn into_trace(mut self, gas_used: u64) -> Vec<u8> {
        if self.out.is_empty() {
            // Nothing ran: the gas did not last beyond what is due before (EIP-2780).
            let error = reason(InstructionResult::OutOfGas);
            put(
                &mut self.out,
                format_args!("{{\"output\":\"\",\"gasUsed\":\"{gas_used:#x}\",\"error\":\"{error}\"}}\n"),
            );
        }
        self.out
    }

    fn base(&self) -> i64 {
        self.refunds.last().copied().unwrap_or(0)
    }

    /// The part of a line that is known before the instruction runs.
    fn before(&mut self, interp: &Interpreter<EthInterpreter>) {
        let op = interp.bytecode.opcode();
        self.gas = interp.gas.remaining();
        self.refund = self.base() + interp.gas.refunded();
        self.head.clear();
        self.tail.clear();
        put(
            &mut self.head,
            format_args!("{{\"pc\":{},\"op\":{op},\"gas\":\"{:#x}\"", interp.bytecode.pc(), self.gas),
        );
        let size = interp.memory.size();
        if self.options.memory && size > 0 {
            let memory = hex::encode_prefixed(interp.memory.slice(0..size).as_ref());
            put(&mut self.tail, format_args!(",\"memory\":\"{memory}\""));
        }
        put(&mut self.tail, format_args!(",\"memSize\":{size},\"stack\":"));
        if self.options.stack {
            stack(&mut self.tail, interp.stack.data());
        } else {
            self.tail.extend_from_slice(b"null");
        }
        let returned = interp.return_data.buffer();
        if self.options.return_data && !returned.is_empty() {
            put(&mut self.tail, format_args!(",\"returnData\":\"{}\"", hex::encode_prefixed(returned)));
        }
        // A refund counter is never below zero in the end; on the way to there it may be.
        let (depth, refund) = (self.refunds.len(), self.refund.max(0));
        put(&mut self.tail, format_args!(",\"depth\":{depth},\"refund\":{refund},\"opName\":\""));
        match OpCode::new(op) {
            Some(known) => self.tail.extend_from_slice(known.as_str().as_bytes()),
            None => put(&mut self.tail, format_args!("opcode {op:#x} not defined")),
        }
        self.tail.push(b'"');
    }

    fn enter(&mut self) {
        self.refunds.push(self.refund);
    }

    fn leave(&mut self, result: &InterpreterResult) {
        self.refunds.pop();
        if !self.refunds.is_empty() {
            return;
        }
        if self.truncated {
            put(&mut self.out, format_args!("{{\"truncated\":true,\"limit\":{}}}\n", self.options.limit));
        }
        let output = hex::encode(&result.output);
        let used = result.gas.total_gas_spent();
        put(&mut self.out, format_args!("{{\"output\":\"{output}\",\"gasUsed\":\"{used:#x}\""));
        if !result.result.is_ok() {
            put(&mut self.out, format_args!(",\"error\":\"{}\"", reason(result.result)));
        }
        self.out.extend_from_slice(b"}\n");
    }
}

fn put(to: &mut Vec<u8>, what: std::fmt::Arguments<'_>) {
    // Writing to a vector does not fail.
    let _ = to.write_fmt(what);
}

fn stack(to: &mut Vec<u8>, words: &[U256]) {
    to.push(b'[');
    for (at, word) in words.iter().enumerate() {
        put(to, format_args!("{}\"{word:#x}\"", if at > 0 { "," } else { "" }));
    }
    to.push(b']');
}

/// Why an instruction or a frame failed, in the words of `evm t8n` where it has some.
fn reason(result: InstructionResult) -> String {
    use InstructionResult as R;
    let known = match result {
        R::Revert => "execution reverted",
        R::CallTooDeep => "max call depth exceeded",
        R::OutOfFunds => "insufficient balance for transfer",
        R::OutOfGas | R::MemoryOOG | R::PrecompileOOG | R::ReentrancySentryOOG => "out of gas",
        R::InvalidOperandOOG => "gas uint64 overflow",
        R::StateChangeDuringStaticCall | R::CallNotAllowedInsideStatic => "write protection",
        R::InvalidJump => "invalid jump destination",
        R::StackUnderflow => "stack underflow",
        R::StackOverflow => "stack limit reached",
        R::OutOfOffset => "return data out of bounds",
        R::CreateCollision => "contract address collision",
        R::NonceOverflow => "nonce uint64 overflow",
        R::CreateContractSizeLimit => "max code size exceeded",
        R::CreateInitCodeSizeLimit => "max initcode size exceeded",
        R::CreateContractStartingWithEF => "invalid code: must not begin with 0xef",
        R::InvalidFEOpcode | R::OpcodeNotFound | R::NotActivated => "invalid opcode",
        other => return format!("{other:?}"),
    };
    known.to_owned()
}

impl<'a> Inspector<StockContext<'a>, EthInterpreter> for Tracer {
    fn step(&mut self, interp: &mut Interpreter<EthInterpreter>, _: &mut StockContext<'a>) {
        self.truncated |= self.out.len() > self.options.limit;
        self.running = !self.truncated;
        if self.running {
            self.before(interp);
        }
    }

    fn step_end(&mut self, interp: &mut Interpreter<EthInterpreter>, _: &mut StockContext<'a>) {
        self.refund = self.base() + interp.gas.refunded();
        if !std::mem::take(&mut self.running) {
            return;
        }
        let left = interp.gas.remaining();
        let failed = interp.bytecode.action().as_ref().and_then(|action| action.instruction_result());
        let failed = failed.filter(|result| !result.is_ok());
        // The gas of an instruction that cannot pay its static price wraps around.
        let cost = if failed.is_some() { self.gas.wrapping_sub(left) } else { self.gas.saturating_sub(left) };
        self.out.append(&mut self.head);
        put(&mut self.out, format_args!(",\"gasCost\":\"{cost:#x}\""));
        self.out.append(&mut self.tail);
        if let Some(result) = failed.filter(|result| *result != InstructionResult::Revert) {
            put(&mut self.out, format_args!(",\"error\":\"{}\"", reason(result)));
        }
        self.out.extend_from_slice(b"}\n");
    }

    fn call(&mut self, _: &mut StockContext<'a>, _: &mut CallInputs) -> Option<CallOutcome> {
        self.enter();
        None
    }

    fn call_end(&mut self, _: &mut StockContext<'a>, _: &CallInputs, outcome: &mut CallOutcome) {
        self.leave(&outcome.result);
    }

    fn create(&mut self, context: &mut StockContext<'a>, inputs: &mut CreateInputs) -> Option<CreateOutcome> {
        self.enter();
        if self.eip7610 {
            occupy(context, inputs);
        }
        None
    }

    fn create_end(&mut self, context: &mut StockContext<'a>, _: &CreateInputs, outcome: &mut CreateOutcome) {
        if let Some(address) = context.journaled_state.database.occupied.take() {
            show(context, address, 0);
        }
        self.leave(&outcome.result);
    }
}

/// EIP-7610: where storage is left, nothing can be created. revm does not check that, but refuses to
/// create where a nonce is; so until the creation has failed, the account shows one.
fn occupy(context: &mut StockContext<'_>, inputs: &CreateInputs) {
    let Some(creator) = context.journaled_state.inner.state.get(&inputs.caller()) else { return };
    let address = inputs.created_address(creator.info.nonce);
    // What stops the view stops the creation, too, if that comes as far as to look.
    let Ok(record) = context.journaled_state.database.record(address) else { return };
    let loaded = context.journaled_state.inner.state.get(&address);
    let nonce = loaded.map_or(record.nonce, |account| account.info.nonce);
    if record.has_storage && nonce == 0 {
        context.db_mut().occupied = Some(address);
        show(context, address, 1);
    }
}

/// Makes an account show `nonce`, if it is loaded.
fn show(context: &mut StockContext<'_>, address: Address, nonce: u64) {
    if let Some(account) = context.journaled_state.inner.state.get_mut(&address) {
        account.info.nonce = nonce;
    }
}
