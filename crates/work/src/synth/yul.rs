//! A compiler for as much of Yul as the contracts here need (docs.soliditylang.org/en/latest/yul.html), so
//! that their listings can be read.
//!
//! There are `let`, `:=`, `if`, `for`, `switch` on numbers, `leave`, and functions with at most one result
//! that do not recurse. Every variable has a word of the memory of its own, from 0 on; what is at
//! [`SCRATCH`] and above is the contract's. `selector("f(uint256)")` and `topic("E(uint256)")` are numbers.

mod emit;
mod parse;

use super::asm::Asm;

/// Where the memory begins that the compiler does not use.
pub(super) const SCRATCH: usize = 0x800;

/// A block of statements.
type Block = Vec<Statement>;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Expression {
    Number(alloy_primitives::U256),
    Variable(String),
    Call(String, Vec<Expression>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Statement {
    Let(String, Option<Expression>),
    Assign(String, Expression),
    Call(Expression),
    If(Expression, Block),
    For { first: Block, condition: Expression, next: Block, body: Block },
    Switch { value: Expression, cases: Vec<(Expression, Block)>, otherwise: Block },
    Leave,
    Function { name: String, takes: Vec<String>, gives: Option<String>, body: Block },
}

/// Why a text is no program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum YulError {
    /// Another token should stand here.
    #[error("line {line}: `{found}` where {expected} should be")]
    Unexpected {
        /// Counted from one.
        line: usize,
        /// What is there.
        found: String,
        /// What should be.
        expected: &'static str,
    },
    /// A number above 256 bits.
    #[error("line {line}: `{text}` is no number of 256 bits")]
    Number {
        /// Counted from one.
        line: usize,
        /// What is there.
        text: String,
    },
    /// A name that nothing has.
    #[error("`{0}` is unknown")]
    Unknown(String),
    /// A name that two things have.
    #[error("`{0}` is declared twice")]
    Twice(String),
    /// A wrong number of arguments.
    #[error("`{name}` takes {takes} values, not {given}")]
    Arguments {
        /// The function.
        name: String,
        /// How many it takes.
        takes: usize,
        /// How many it is given.
        given: usize,
    },
    /// A value is left, or none is there.
    #[error("`{0}` gives a value where none may be, or none where one must be")]
    Value(String),
    /// More variables than there is memory for.
    #[error("more than {} variables", SCRATCH / 32)]
    Variables,
}

/// Translates a program.
pub(super) fn compile(source: &str) -> Result<Asm, YulError> {
    emit::program(&parse::program(source)?)
}

#[cfg(test)]
mod tests;
