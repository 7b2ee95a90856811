//! Run Ethereum transactions and blocks on a [`View`](braid_core::View): revm behind one crate.
#![forbid(unsafe_code)]

mod account;
mod block;
mod code;
mod ctx;
mod deposit;
mod diff;
mod eip1283;
mod error;
mod executor;
mod handler;
mod journal;
mod key;
mod step;
mod stock;
mod system;
mod vm;

pub use account::{AccountDelta, AccountSeen, AccountState, EvmSeen, EvmValue};
pub use block::{
    AccountDiff, AccountInfoDiff, After, BlockInput, EvmChanges, ExecutedBlock, Rites, Status, TxResult,
};
pub use code::CodeCache;
pub use error::EvmError;
pub use executor::{
    BlockFailure, BlockOutput, Deliver, ExecOptions, Place, execute_block, execute_block_with,
};
pub use key::EvmKey;
pub use step::{StepAccount, StepFate, StepOutput, StepVm};
pub use stock::{StockOutput, TraceOptions};
pub use system::{SYSTEM_CALL_GAS, SystemTx};
pub use vm::{EvmOutput, EvmRules, EvmShared, EvmTx, EvmVm, EvmWorker};
