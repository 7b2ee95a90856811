//! Frames of the interpreter: live ones, and suspended ones as plain data.

use crate::{
    message::{Outcome, Waiting},
    turn::Checkpoint,
    warm::Warm,
};
use alloy_primitives::{Address, B256, Bytes, U256};
use revm::{
    bytecode::Bytecode,
    interpreter::{
        CallInput, Gas, InputsImpl, InstructionResult, Interpreter, SharedMemory,
        interpreter::{EthInterpreter, ExtBytecode},
        interpreter_types::{Jumps, ReturnData},
    },
    primitives::hardfork::SpecId,
};
use std::{ops::Range, sync::Arc};

/// What is kept under a [`FrameId`](crate::FrameId).
#[derive(Clone, Debug, PartialEq)]
pub struct Parked(pub(crate) Kept);

impl Parked {
    /// Bytes of memory and stack in its frames.
    pub fn bytes(&self) -> u64 {
        match &self.0 {
            Kept::Frames { frames, .. } => frames.iter().map(|frame| frame.bytes()).sum(),
            Kept::Sender(_) => 0,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kept {
    /// Frames of one actor, the outermost first; the last one waits for an answer.
    Frames { root: Root, frames: Vec<Arc<ParkedFrame>> },
    /// A sender that waits for the end of its transaction.
    Sender(Ticket),
}

/// What the outermost frame of an actor is for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Root {
    /// Who waits for the answer.
    pub(crate) waiting: Option<Waiting>,
    /// What came with the message.
    pub(crate) value: U256,
    /// Whether it creates the actor's contract.
    pub(crate) creates: bool,
}

/// What a sender has prepaid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ticket {
    /// Gas that is charged at least (EIP-7623).
    pub(crate) floor: u64,
    /// Refund for authorities that existed (EIP-7702).
    pub(crate) refund: u64,
    /// Gas at its price, and the blobs.
    pub(crate) prepaid: U256,
}

/// A suspended frame.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ParkedFrame {
    code: Bytecode,
    code_hash: Option<B256>,
    pc: usize,
    gas: Gas,
    stack: Vec<U256>,
    memory: Vec<u8>,
    return_data: Bytes,
    input: InputsImpl,
    is_static: bool,
    awaits: Awaits,
    warm: Warm,
}

impl ParkedFrame {
    fn bytes(&self) -> u64 {
        (self.memory.len() + 32 * self.stack.len()) as u64
    }
}

/// What a frame waits for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Awaits {
    /// Nothing: it is at work.
    Nothing,
    /// A call whose output goes there in its memory.
    Call(Range<usize>),
    /// A creation.
    Create,
}

/// A frame at work.
pub(crate) struct Live {
    pub(crate) interpreter: Interpreter<EthInterpreter>,
    pub(crate) awaits: Awaits,
    /// To which its failure goes back, if it began in this turn; else the turn itself is undone.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// What was touched before it began.
    pub(crate) warm: Warm,
}

/// How a frame begins.
pub(crate) struct Beginning {
    pub(crate) target: Address,
    pub(crate) caller: Address,
    /// Code, its hash, and where it is from; from nowhere if it creates.
    pub(crate) code: (Bytecode, Option<B256>, Option<Address>),
    pub(crate) input: Bytes,
    pub(crate) value: U256,
    pub(crate) gas: u64,
    pub(crate) is_static: bool,
    pub(crate) depth: usize,
}

impl Live {
    pub(crate) fn begin(at: Beginning, spec: SpecId, checkpoint: Checkpoint, warm: Warm) -> Self {
        let (code, hash, code_address) = at.code;
        let input = InputsImpl {
            target_address: at.target,
            bytecode_address: code_address,
            caller_address: at.caller,
            input: CallInput::Bytes(at.input),
            call_value: at.value,
            depth: at.depth,
        };
        let code = ExtBytecode::new_with_optional_hash(code, hash);
        let interpreter = Interpreter::new(SharedMemory::new(), code, input, at.is_static, spec, at.gas);
        Live { interpreter, awaits: Awaits::Nothing, checkpoint: Some(checkpoint), warm }
    }

    /// A copy as data.
    pub(crate) fn park(&self) -> ParkedFrame {
        let at = &self.interpreter;
        ParkedFrame {
            code: (*at.bytecode).clone(),
            code_hash: at.bytecode.hash(),
            pc: at.bytecode.pc(),
            gas: at.gas,
            stack: at.stack.data().clone(),
            memory: at.memory.context_memory().to_vec(),
            return_data: at.return_data.buffer().clone(),
            input: at.input.clone(),
            is_static: at.runtime_flag.is_static,
            awaits: self.awaits.clone(),
            warm: self.warm.clone(),
        }
    }

    /// Takes the answer that it waits for. As revm's `EthFrame::return_result`.
    pub(crate) fn answered(&mut self, outcome: Outcome) {
        let at = &mut self.interpreter;
        let ok = outcome.result.is_ok();
        match std::mem::replace(&mut self.awaits, Awaits::Nothing) {
            Awaits::Call(range) => {
                let length = range.len().min(outcome.output.len());
                at.return_data.set_buffer(outcome.output);
                // A call leaves room: it takes more from the stack than it puts back.
                let _ = at.stack.push(U256::from(u8::from(ok)));
                if length > 0 && outcome.result.is_ok_or_revert() {
                    at.memory.set(range.start, &at.return_data.buffer()[..length]);
                }
            }
            Awaits::Create | Awaits::Nothing => {
                let reverted = outcome.result == InstructionResult::Revert;
                at.return_data.set_buffer(if reverted { outcome.output } else { Bytes::new() });
                let address = outcome.created.filter(|_| ok).unwrap_or_default();
                let _ = at.stack.push(address.into_word().into());
            }
        }
        if outcome.result.is_ok_or_revert() {
            at.gas.erase_cost(outcome.gas);
        }
        if ok {
            at.gas.record_refund(outcome.refund);
        }
    }
}

impl ParkedFrame {
    /// A frame that goes on from there. The data stays what it is: an execution may be repeated.
    pub(crate) fn resume(&self, spec: SpecId) -> Live {
        let code = ExtBytecode::new_with_optional_hash(self.code.clone(), self.code_hash);
        let (input, limit) = (self.input.clone(), self.gas.limit());
        let mut at = Interpreter::new(
            SharedMemory::with_capacity(self.memory.len()),
            code,
            input,
            self.is_static,
            spec,
            limit,
        );
        at.bytecode.absolute_jump(self.pc);
        at.gas = self.gas;
        at.stack.data_mut().extend_from_slice(&self.stack);
        at.memory.resize(self.memory.len());
        if !self.memory.is_empty() {
            at.memory.set(0, &self.memory);
        }
        at.return_data.set_buffer(self.return_data.clone());
        let (awaits, warm) = (self.awaits.clone(), self.warm.clone());
        Live { interpreter: at, awaits, checkpoint: None, warm }
    }
}
