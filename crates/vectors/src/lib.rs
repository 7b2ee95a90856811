//! The official test vectors of Ethereum, run on every engine: ethereum/tests, ethereum/legacytests,
//! ethereum/execution-spec-tests (EEST).
//!
//! An [`archive`] is streamed member by member, [`load`] makes [`Case`]s of a member, and a [`Runner`] runs
//! a case on all of its engines and holds what comes out against what the vector demands.
#![forbid(unsafe_code)]

pub mod archive;
mod case;
pub mod compare;
mod error;
pub mod exception;
mod fault;
mod json;
mod load;
pub mod packed;
mod root;
mod run;
mod seats;
pub mod skips;
pub mod state;
mod tx;

pub use case::{Case, CaseKind, Class, Failure, Outcome, StateCase, StateExpect, Verdict};
pub use error::VectorError;
pub use fault::{Field, Flaw, TxFault};
pub use load::load;
pub use root::{Base, logs_hash};
pub use run::{Options, Runner, YARDSTICK, judge};
pub use seats::{Ran, Seat, Seats};
pub use tx::{SignedTx, decode_tx};
