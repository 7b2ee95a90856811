//! The official test vectors of Ethereum, run on every engine: ethereum/tests, ethereum/legacytests,
//! ethereum/execution-spec-tests (EEST).
//!
//! An [`archive`] is streamed member by member, [`load`] makes [`Case`]s of a member, and a [`Runner`] runs
//! a case on all of its engines and holds what comes out against what the vector demands.
#![forbid(unsafe_code)]

pub mod archive;
mod case;
pub mod chain;
pub mod compare;
mod error;
pub mod exception;
mod fault;
mod json;
mod load;
mod network;
pub mod packed;
pub mod plain;
mod root;
mod run;
mod seats;
pub mod skips;
pub mod state;
mod suite;
mod transaction;
mod tx;

pub use case::{Case, CaseKind, Class, Failure, Outcome, StateCase, StateExpect, Verdict};
pub use error::VectorError;
pub use fault::{Field, Flaw, TxFault};
pub use load::load;
pub use plain::PlainCase;
pub use root::{Base, logs_hash};
pub use run::{Options, Runner, YARDSTICK, judge};
pub use seats::{Ran, Seat, Seats};
pub use suite::{Done, Event, Plan, Take, Totals, run_archive};
pub use transaction::{TransactionCase, TransactionExpect};
pub use tx::decode_tx;
