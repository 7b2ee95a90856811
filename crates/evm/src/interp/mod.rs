//! The loop of the interpreter.
//!
//! Nineteen of twenty instructions of a real block are pushes, copies, jumps, sums and the like. They run in
//! one `match` ([`plain`]) on a stack pointer, an instruction pointer and an amount of gas that are locals,
//! common pairs of them at once. Everything else, whatever touches the host, grows memory or fails, is left
//! to revm's instructions: where `plain` does not do an instruction, it stands before it, and nothing has
//! happened yet. So there is but one place where an execution halts, revm's.

#[allow(unsafe_code, reason = "pointers into code and stack; argued there")]
mod cursor;
mod plain;
#[cfg(test)]
mod tests;

use revm::{
    context_interface::Host,
    interpreter::{
        InstructionTable, Interpreter, InterpreterAction, instructions::GasTable,
        interpreter::EthInterpreter, interpreter_types::LoopControl,
    },
};

/// Runs a frame until it ends or asks for another one: as [`Interpreter::run_plain`].
pub(crate) fn run<H: Host + ?Sized>(
    interpreter: &mut Interpreter<EthInterpreter>,
    table: &InstructionTable<EthInterpreter, H>,
    gas: &GasTable,
    host: &mut H,
) -> InterpreterAction {
    let end = loop {
        plain::run(interpreter);
        if let Err(end) = interpreter.step(table, gas, host) {
            break end;
        }
    };
    if interpreter.bytecode.action().is_none() {
        interpreter.halt(end);
    }
    interpreter.take_next_action()
}
