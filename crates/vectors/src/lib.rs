//! The official test vectors of Ethereum, run on every engine: ethereum/tests, ethereum/legacytests,
//! ethereum/execution-spec-tests (EEST).
#![forbid(unsafe_code)]

mod case;
mod seats;

pub use case::{Case, CaseKind, Failure, Outcome, StateCase, StateExpect, Verdict};
pub use seats::{Ran, Seat, Seats};
