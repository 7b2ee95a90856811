//! The rules of a chain that surround execution: which fork is in force where, what a header may say
//! after its parent, what a body may hold, and what an executed block must have come to.
//!
//! Seals (proof of work, signatures of validators) are not checked.
#![forbid(unsafe_code)]

mod chain;

pub use alloy_hardforks::{EthereumHardfork as Fork, ForkCondition};
pub use chain::{ChainSpec, UnknownNetwork};
