//! Accounts as actors: the EVM's contracts run unchanged, but a call is a message and its result an answer.
#![forbid(unsafe_code)]

mod block;
mod effects;
mod frame;
mod host;
mod key;
mod message;
mod rules;
mod run;
mod turn;
mod tx;
mod vm;
mod warm;

pub use block::{ActorBlock, ActorBlockError, deliver};
pub use effects::{EvmOutcome, TxEffects, differing, evm_outcomes};
pub use frame::Parked;
pub use key::{ActorKey, ActorSeen, ActorValue};
pub use message::{FrameId, Message};
pub use rules::Limits;
pub use vm::{ActorError, ActorVm, Change, Delivered, End};
