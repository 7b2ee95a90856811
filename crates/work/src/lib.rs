//! Load or generate the same work for every engine.
#![forbid(unsafe_code)]

mod alloc;
mod amount;
mod case;
pub mod chain;
mod error;
pub mod fields;
pub mod load;
mod prestate;
pub mod synth;
pub mod verify;
pub mod witness;

pub use alloc::{Alloc, AllocAccount};
pub use case::{Case, Expect, ExpectedReceipt, Scope, Witness};
pub use chain::{Chain, ChainBlock, ChainError, HashedState, MAX_RECOVERERS, chain};
pub use error::{WorkError, shortened};
pub use load::{RawTxs, SignedTx, Source, SourceKind, load, recover_senders, sources};
pub use prestate::{DbError, PreState, WithSlots};
pub use synth::{Workload, sample};
pub use verify::{Checks, verify, verify_input};
