//! From statements to code.

use super::{
    super::asm::{Asm, Label},
    Block, Expression, SCRATCH, Statement, YulError,
};
use revm::bytecode::opcode::{self as op, OpCode};
use std::{collections::BTreeMap, mem};

/// A function as its callers see it.
#[derive(Clone, Debug)]
struct Function {
    start: Label,
    /// The words of its arguments.
    takes: Vec<u64>,
    /// The word of its result.
    gives: Option<u64>,
}

/// The code so far.
#[derive(Debug, Default)]
struct Emitter {
    asm: Asm,
    /// Variables of the function at hand, and their words of the memory.
    variables: BTreeMap<String, u64>,
    functions: BTreeMap<String, Function>,
    /// Words given to variables.
    used: usize,
    /// The end of the function at hand.
    end: Option<Label>,
}

/// Translates a program: its statements, then its functions.
pub(super) fn program(statements: &Block) -> Result<Asm, YulError> {
    let mut emitter = Emitter::default();
    let mut bodies = Vec::new();
    for statement in statements {
        if let Statement::Function { name, takes, gives, body } = statement {
            let scope = emitter.declare(name, takes, gives.as_ref())?;
            bodies.push((name, scope, body));
        }
    }
    for statement in statements.iter().filter(|one| !matches!(one, Statement::Function { .. })) {
        emitter.statement(statement)?;
    }
    emitter.op(op::STOP);
    for (name, scope, body) in bodies {
        emitter.variables = scope;
        emitter.function(name, body)?;
    }
    Ok(emitter.asm)
}

/// The instruction of this name, as Yul writes it.
fn builtin(name: &str) -> Option<OpCode> {
    let hidden = ["jump", "jumpi", "jumpdest", "pc"].contains(&name);
    let starts = ["push", "dup", "swap"].iter().any(|prefix| name.starts_with(prefix));
    let named = |code: &OpCode| code.as_str().eq_ignore_ascii_case(name);
    (0..=u8::MAX).filter_map(OpCode::new).find(named).filter(|_| !hidden && !starts)
}

impl Emitter {
    fn with(&mut self, step: impl FnOnce(Asm) -> Asm) {
        self.asm = step(mem::take(&mut self.asm));
    }

    fn op(&mut self, opcode: u8) {
        self.with(|asm| asm.op(&[opcode]));
    }

    fn jump(&mut self, to: Label, jump: u8) {
        self.with(|asm| asm.push_label(to).op(&[jump]));
    }

    fn place(&mut self, label: Label) {
        self.with(|asm| asm.place(label));
    }

    /// A word of the memory for a new variable.
    fn word(&mut self) -> Result<u64, YulError> {
        let at = 32 * self.used;
        self.used += 1;
        if at < SCRATCH { Ok(at as u64) } else { Err(YulError::Variables) }
    }

    fn variable(&mut self, name: &str) -> Result<u64, YulError> {
        let word = self.word()?;
        match self.variables.insert(name.to_owned(), word) {
            None => Ok(word),
            Some(_) => Err(YulError::Twice(name.to_owned())),
        }
    }

    fn find(&self, name: &str) -> Result<u64, YulError> {
        self.variables.get(name).copied().ok_or_else(|| YulError::Unknown(name.to_owned()))
    }

    /// Makes a function known, and gives the variables that its body begins with.
    fn declare(
        &mut self,
        name: &str,
        takes: &[String],
        gives: Option<&String>,
    ) -> Result<BTreeMap<String, u64>, YulError> {
        let takes = takes.iter().map(|name| self.variable(name)).collect::<Result<_, _>>()?;
        let gives = gives.map(|name| self.variable(name)).transpose()?;
        let start = self.asm.label();
        if self.functions.insert(name.to_owned(), Function { start, takes, gives }).is_some() {
            return Err(YulError::Twice(name.to_owned()));
        }
        Ok(mem::take(&mut self.variables))
    }

    /// The stack has where to return, which the result goes below.
    fn function(&mut self, name: &str, body: &Block) -> Result<(), YulError> {
        let Function { start, gives, .. } = self.functions[name].clone();
        let end = self.asm.label();
        self.place(start);
        if let Some(word) = gives {
            self.with(|asm| asm.push(0).mstore(word));
        }
        self.end = Some(end);
        self.block(body)?;
        self.place(end);
        if let Some(word) = gives {
            self.with(|asm| asm.push(word).op(&[op::MLOAD, op::SWAP1]));
        }
        self.op(op::JUMP);
        Ok(())
    }

    fn block(&mut self, block: &Block) -> Result<(), YulError> {
        block.iter().try_for_each(|statement| self.statement(statement))
    }

    fn statement(&mut self, statement: &Statement) -> Result<(), YulError> {
        match statement {
            Statement::Let(name, value) => {
                let value = value.as_ref().unwrap_or(&Expression::Number(alloy_primitives::U256::ZERO));
                self.value(value)?;
                let word = self.variable(name)?;
                self.with(|asm| asm.mstore(word));
            }
            Statement::Assign(name, value) => {
                self.value(value)?;
                let word = self.find(name)?;
                self.with(|asm| asm.mstore(word));
            }
            Statement::Call(call) => {
                if self.expression(call)? {
                    return Err(YulError::Value(format!("{call:?}")));
                }
            }
            Statement::If(condition, body) => {
                let end = self.asm.label();
                self.unless(condition, end)?;
                self.block(body)?;
                self.place(end);
            }
            Statement::For { first, condition, next, body } => {
                self.block(first)?;
                let (turn, end) = (self.asm.label(), self.asm.label());
                self.place(turn);
                self.unless(condition, end)?;
                self.block(body)?;
                self.block(next)?;
                self.jump(turn, op::JUMP);
                self.place(end);
            }
            Statement::Switch { value, cases, otherwise } => self.switch(value, cases, otherwise)?,
            Statement::Leave => {
                let end = self.end.ok_or_else(|| YulError::Unknown("leave".to_owned()))?;
                self.jump(end, op::JUMP);
            }
            Statement::Function { name, .. } => return Err(YulError::Unknown(name.clone())),
        }
        Ok(())
    }

    /// Jumps there if the condition is zero.
    fn unless(&mut self, condition: &Expression, end: Label) -> Result<(), YulError> {
        self.value(condition)?;
        self.op(op::ISZERO);
        self.jump(end, op::JUMPI);
        Ok(())
    }

    fn switch(
        &mut self,
        value: &Expression,
        cases: &[(Expression, Block)],
        otherwise: &Block,
    ) -> Result<(), YulError> {
        let end = self.asm.label();
        self.value(value)?;
        let mut bodies = Vec::new();
        for (case, body) in cases {
            let label = self.asm.label();
            self.op(op::DUP1);
            self.value(case)?;
            self.op(op::EQ);
            self.jump(label, op::JUMPI);
            bodies.push((label, body));
        }
        self.op(op::POP);
        self.block(otherwise)?;
        self.jump(end, op::JUMP);
        for (label, body) in bodies {
            self.place(label);
            self.op(op::POP);
            self.block(body)?;
            self.jump(end, op::JUMP);
        }
        self.place(end);
        Ok(())
    }

    /// An expression that must give a value.
    fn value(&mut self, expression: &Expression) -> Result<(), YulError> {
        match self.expression(expression)? {
            true => Ok(()),
            false => Err(YulError::Value(format!("{expression:?}"))),
        }
    }

    /// Whether it gives a value, which then is on the stack.
    fn expression(&mut self, expression: &Expression) -> Result<bool, YulError> {
        match expression {
            Expression::Number(number) => self.with(|asm| asm.push_word(*number)),
            Expression::Variable(name) => {
                let word = self.find(name)?;
                self.with(|asm| asm.push(word).op(&[op::MLOAD]));
            }
            Expression::Call(name, arguments) => return self.call(name, arguments),
        }
        Ok(true)
    }

    fn call(&mut self, name: &str, arguments: &[Expression]) -> Result<bool, YulError> {
        let takes = |takes: usize| match arguments.len() == takes {
            true => Ok(()),
            false => Err(YulError::Arguments { name: name.to_owned(), takes, given: arguments.len() }),
        };
        if let Some(function) = self.functions.get(name).cloned() {
            takes(function.takes.len())?;
            arguments.iter().try_for_each(|argument| self.value(argument))?;
            for word in function.takes.iter().rev() {
                self.with(|asm| asm.mstore(*word));
            }
            let back = self.asm.label();
            self.with(|asm| asm.push_label(back));
            self.jump(function.start, op::JUMP);
            self.place(back);
            return Ok(function.gives.is_some());
        }
        let code = builtin(name).ok_or_else(|| YulError::Unknown(name.to_owned()))?;
        takes(usize::from(code.inputs()))?;
        arguments.iter().rev().try_for_each(|argument| self.value(argument))?;
        self.op(code.get());
        Ok(code.outputs() > 0)
    }
}
