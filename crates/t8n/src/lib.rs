//! `evm t8n`, the state transition tool of go-ethereum, over Braid's engines: a state, an environment and
//! transactions in; the state after, the result and the body of the block out.
//!
//! The forms are those of go-ethereum's `cmd/evm` (its README, and `cmd/evm/internal/t8ntool`), so that
//! what drives that tool (EEST's filler, retesteth) can drive this one. `docs/T8N.md` lists what differs.
//!
//! [`Inputs`] are parsed from bytes, [`transition`] makes of them a [`Transition`], [`Outputs::write`]
//! puts that where it was asked for.
#![forbid(unsafe_code)]

mod alloc;
mod env;
mod error;
mod include;
mod inputs;
mod number;
mod output;
mod prepare;
mod reject;
mod result;
mod trace;
mod transition;
mod txs;
mod world;

pub use alloc::parse_alloc;
pub use env::{Env, Ommer, Withdrawal, parse_env};
pub use error::T8nError;
pub use inputs::{Inputs, Source, Sources};
pub use output::{Destination, Outputs, Streams};
pub use prepare::Rules;
pub use result::{LogEntry, ReceiptEntry, Rejected, ResultDocument};
pub use trace::Tracing;
pub use transition::{Transition, transition};
pub use txs::{InputTx, TxsInput, parse_body, parse_txs};
