//! Run Ethereum transactions and blocks on a [`View`](braid_core::View): revm behind one crate.
#![forbid(unsafe_code)]

mod account;
mod block;
mod diff;
mod key;

pub use account::{AccountDelta, AccountSeen, AccountState, EvmSeen, EvmValue};
pub use block::{
    AccountDiff, AccountInfoDiff, After, BlockInput, EvmChanges, ExecutedBlock, Rites, Status, TxResult,
};
pub use key::EvmKey;
