//! The rules of a chain that surround execution: which fork is in force where, what a header may say
//! after its parent, what a body may hold, and what an executed block must have come to.
//!
//! Seals (proof of work, signatures of validators) are not checked.
#![forbid(unsafe_code)]

pub mod blob;
pub mod body;
mod chain;
pub mod decode;
pub mod difficulty;
mod error;
pub mod header;
pub mod input;
mod list;
pub mod ommers;
pub mod outcome;

pub use alloy_hardforks::{EthereumHardfork as Fork, ForkCondition};
pub use chain::{ChainSpec, UnknownNetwork, id};
pub use decode::Block;
pub use error::{Field, Item, RuleError};
pub use input::{Parts, block_input};
pub use list::list_root;

/// A signed transaction, as blocks carry it (blobs by hash only).
pub type SignedTx = alloy_consensus::EthereumTxEnvelope<alloy_consensus::TxEip4844>;
