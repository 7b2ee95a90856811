//! Frames at work on one actor, until they end or one of them has to wait for another actor.

use crate::{
    frame::{Awaits, Beginning, Kept, Live, ParkedFrame, Root},
    message::{Body, Call, Create, Message, Outcome, Reply},
    turn::{Checkpoint, Turn},
    vm::ActorError,
};
use alloy_primitives::{Address, Bytes, U256};
use braid_core::Stop;
use revm::{
    bytecode::Bytecode,
    context_interface::Cfg,
    handler::precompile_output_to_interpreter_result,
    interpreter::{
        CallInput, CallInputs, CallScheme, CallValue, CreateInputs, FrameInput, InstructionResult,
        InterpreterAction, InterpreterResult,
    },
    primitives::hardfork::SpecId,
};
use std::sync::Arc;

/// A frame of the actor.
pub(crate) enum Frame {
    /// From an earlier turn, untouched in this one.
    Parked(Arc<ParkedFrame>),
    /// At work in this turn.
    Live(Box<Live>),
}

/// What becomes of what a frame asks for.
enum Began {
    /// It has ended already.
    Ended(Outcome),
    /// It runs on this actor.
    Here(Box<Live>),
    /// It is a message to another one.
    Elsewhere(Address, Body),
}

/// Runs frames, the last of which is given `answer` if it waits for one. They end with the turn: in an answer of
/// their own, or suspended.
pub(crate) fn run(
    turn: &mut Turn<'_>,
    root: Root,
    mut frames: Vec<Frame>,
    mut answer: Option<Outcome>,
) -> Result<(), Stop<ActorError>> {
    while let Some(frame) = frames.pop() {
        let mut live = match frame {
            Frame::Live(live) => live,
            Frame::Parked(parked) => Box::new(parked.resume(turn.rules.spec)),
        };
        if let Some(answer) = answer.take() {
            live.answered(answer);
        }
        let rules = turn.rules;
        let action = live.interpreter.run_plain(Turn::INSTRUCTIONS, &rules.gas, turn);
        if let Some(halt) = turn.halt.take() {
            return Err(Stop::Halt(halt));
        }
        let asked = match action {
            InterpreterAction::NewFrame(asked) => asked,
            InterpreterAction::Return(result) => {
                let outcome = ended(turn, &live, result);
                if frames.is_empty() {
                    answer_root(turn, &root, &live, outcome);
                    return Ok(());
                }
                answer = Some(outcome);
                continue;
            }
        };
        let size = size(&live, &frames);
        let began = match asked {
            FrameInput::Call(inputs) => {
                live.awaits = Awaits::Call(inputs.return_memory_offset.clone());
                call(turn, &live, &inputs, size)
            }
            FrameInput::Create(inputs) => {
                live.awaits = Awaits::Create;
                create(turn, &live, &inputs, size)
            }
            FrameInput::Empty => Began::Ended(Outcome::failed(InstructionResult::Revert, 0)),
        };
        frames.push(Frame::Live(live));
        match began {
            Began::Ended(outcome) => answer = Some(outcome),
            Began::Here(frame) => frames.push(Frame::Live(frame)),
            Began::Elsewhere(to, body) => {
                suspend(turn, root, &frames);
                turn.sends.push(Message::new(turn.origin, to, body));
                return Ok(());
            }
        }
    }
    Ok(())
}

/// What it takes to suspend these frames, in bytes. Those that are suspended already are shared.
fn size(live: &Live, frames: &[Frame]) -> u64 {
    let size = |live: &Live| (live.interpreter.memory.len() + 32 * live.interpreter.stack.len()) as u64;
    let others = frames.iter().map(|frame| match frame {
        Frame::Live(live) => size(live),
        Frame::Parked(_) => 0,
    });
    others.sum::<u64>().saturating_add(size(live))
}

/// Leaves the frames as data.
fn suspend(turn: &mut Turn<'_>, root: Root, frames: &[Frame]) {
    let mut kept = Vec::with_capacity(frames.len());
    for frame in frames {
        kept.push(match frame {
            Frame::Parked(parked) => parked.clone(),
            Frame::Live(live) => Arc::new(live.park()),
        });
    }
    turn.put_frame(Kept::Frames { root, frames: kept });
}

fn call(turn: &mut Turn<'_>, live: &Live, inputs: &CallInputs, size: u64) -> Began {
    let (gas, depth) = (inputs.gas_limit, live.interpreter.input.depth + 1);
    let failed = |result| Began::Ended(Outcome::failed(result, gas));
    if depth > turn.rules.limits.depth {
        return failed(InstructionResult::CallTooDeep);
    }
    let (value, moves) = match inputs.value {
        CallValue::Transfer(value) => (value, true),
        CallValue::Apparent(value) => (value, false),
    };
    if moves && value > turn.now.balance {
        return failed(InstructionResult::OutOfFunds);
    }
    if !turn.may_copy(inputs.input.len() as u64) {
        return failed(InstructionResult::CallTooDeep);
    }
    let here = matches!(inputs.scheme, CallScheme::CallCode | CallScheme::DelegateCall);
    let input = input_of(live, inputs);
    if let Some(outcome) = precompile(turn, inputs.bytecode_address, &input, gas) {
        if outcome.result.is_ok() && !here && !value.is_zero() {
            if !turn.may_send() {
                return failed(InstructionResult::CallTooDeep);
            }
            turn.pay(value);
            turn.send_credit(inputs.target_address, value);
        }
        return Began::Ended(outcome);
    }
    if here {
        let (hash, code) = inputs.known_bytecode.clone();
        if code.is_empty() {
            return failed(InstructionResult::Stop);
        }
        let beginning = Beginning {
            target: inputs.target_address,
            caller: inputs.caller,
            code: (code, Some(hash), Some(inputs.bytecode_address)),
            input,
            value,
            gas,
            is_static: inputs.is_static,
            depth,
        };
        let checkpoint = turn.checkpoint();
        return Began::Here(Box::new(begin(turn, beginning, checkpoint)));
    }
    if !turn.may_send() || !turn.may_copy(size) {
        return failed(InstructionResult::CallTooDeep);
    }
    turn.pay(value);
    let waiting = Some((turn.address, turn.waiting()));
    let body = Body::Call(Call {
        caller: inputs.caller,
        waiting,
        value,
        input,
        gas,
        is_static: inputs.is_static,
        depth,
        trail: turn.sending(),
    });
    Began::Elsewhere(inputs.target_address, body)
}

fn create(turn: &mut Turn<'_>, live: &Live, inputs: &CreateInputs, size: u64) -> Began {
    let (gas, depth, value) = (inputs.gas_limit(), live.interpreter.input.depth + 1, inputs.value());
    let failed = |result| Began::Ended(Outcome::failed(result, gas));
    if depth > turn.rules.limits.depth {
        return failed(InstructionResult::CallTooDeep);
    }
    if value > turn.now.balance {
        return failed(InstructionResult::OutOfFunds);
    }
    let nonce = turn.now.nonce;
    let Some(next) = nonce.checked_add(1) else { return failed(InstructionResult::Return) };
    turn.now.nonce = next;
    let address = inputs.created_address(nonce);
    turn.touch(address);
    if !turn.may_send() || !turn.may_copy(size) {
        return failed(InstructionResult::CallTooDeep);
    }
    turn.pay(value);
    let waiting = (turn.address, turn.waiting());
    let body = Body::Create(Create {
        creator: inputs.caller(),
        waiting,
        value,
        init_code: inputs.init_code().clone(),
        gas,
        depth,
        trail: turn.sending(),
    });
    Began::Elsewhere(address, body)
}

/// A frame that begins in this turn; its failure goes back to `checkpoint`.
pub(crate) fn begin(turn: &mut Turn<'_>, beginning: Beginning, checkpoint: Checkpoint) -> Live {
    let warm = turn.warm();
    Live::begin(beginning, turn.rules.spec, checkpoint, warm)
}

/// The data of a call, out of the caller's memory.
fn input_of(live: &Live, inputs: &CallInputs) -> Bytes {
    match &inputs.input {
        CallInput::Bytes(bytes) => bytes.clone(),
        CallInput::SharedBuffer(range) if range.is_empty() => Bytes::new(),
        // Every frame has a memory of its own, so the range is one of the caller's.
        CallInput::SharedBuffer(range) => {
            Bytes::copy_from_slice(&live.interpreter.memory.slice_range(range.clone()))
        }
    }
}

/// What a precompiled contract answers; `None` if there is none at `address`.
pub(crate) fn precompile(turn: &Turn<'_>, address: Address, input: &[u8], gas: u64) -> Option<Outcome> {
    let output = turn.rules.precompiles.get(&address)?.execute(input, gas, 0);
    // revm's precompiles report no errors but those of their surroundings, of which there are none.
    let Ok(output) = output else { return Some(Outcome::failed(InstructionResult::PrecompileError, gas)) };
    Some(outcome(precompile_output_to_interpreter_result(output, gas)))
}

fn outcome(result: InterpreterResult) -> Outcome {
    let InterpreterResult { result, output, gas } = result;
    let refund = if result.is_ok() { gas.refunded() } else { 0 };
    let gas = if result.is_halt() { 0 } else { gas.remaining() };
    Outcome { result, output, gas, refund, created: None }
}

/// How a frame ended; a failure is undone.
fn ended(turn: &mut Turn<'_>, live: &Live, result: InterpreterResult) -> Outcome {
    if !result.result.is_ok() {
        fail(turn, live);
    }
    outcome(result)
}

fn fail(turn: &mut Turn<'_>, live: &Live) {
    turn.partial |= live.checkpoint.is_none();
    turn.undo(live.checkpoint.as_ref());
    turn.cool(live.warm.clone());
}

/// The actor has done what the message asked for.
fn answer_root(turn: &mut Turn<'_>, root: &Root, live: &Live, mut outcome: Outcome) {
    if root.creates && outcome.result.is_ok() {
        outcome = deploy(turn, outcome);
        if !outcome.result.is_ok() {
            fail(turn, live);
        }
    }
    let back = if outcome.result.is_ok() {
        U256::ZERO
    } else if live.checkpoint.is_some() {
        // It came in this turn, and is undone with it.
        root.value
    } else {
        let back = root.value.min(turn.now.balance);
        turn.pay(back);
        back
    };
    reply(turn, root, outcome, back);
}

/// Sends the answer to who waits for it.
pub(crate) fn reply(turn: &mut Turn<'_>, root: &Root, outcome: Outcome, value: U256) {
    let Some((to, frame)) = root.waiting else { return };
    let trail = turn.answering();
    let body = Body::Reply(Reply { frame, outcome, value, trail });
    turn.sends.push(Message::new(turn.origin, to, body));
}

/// Deploys what init code returned. As revm's `return_create`.
fn deploy(turn: &mut Turn<'_>, mut outcome: Outcome) -> Outcome {
    let failed = |result| Outcome::failed(result, 0);
    let rules = turn.rules;
    if rules.since(SpecId::SPURIOUS_DRAGON) && outcome.output.len() > rules.cfg.max_code_size() {
        return failed(InstructionResult::CreateContractSizeLimit);
    }
    if rules.since(SpecId::LONDON) && outcome.output.first() == Some(&0xEF) {
        return failed(InstructionResult::CreateContractStartingWithEF);
    }
    match outcome.gas.checked_sub(rules.cfg.gas_params().code_deposit_cost(outcome.output.len())) {
        Some(gas) => outcome.gas = gas,
        None if rules.since(SpecId::HOMESTEAD) => return failed(InstructionResult::OutOfGas),
        None => outcome.output = Bytes::new(),
    }
    turn.set_code(Bytecode::new_legacy(outcome.output.clone()));
    Outcome { created: Some(turn.address), ..outcome }
}
