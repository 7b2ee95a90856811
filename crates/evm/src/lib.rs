//! Run Ethereum transactions and blocks on a [`View`](braid_core::View): revm behind one crate.
#![deny(unsafe_code)]

mod access;
mod account;
mod block;
mod block_vm;
mod code;
mod ctx;
mod deposit;
mod diff;
mod eip1283;
mod error;
mod executor;
mod handler;
mod hash;
pub mod hints;
mod interp;
mod intrinsic;
mod journal;
mod key;
mod precompiles;
mod stacks;
mod step;
mod stock;
mod system;
mod transfer;
mod vm;

pub use access::{
    AccessDifference, AccessEntry, AccessListError, AccessPart, AccessRecord, AccountChanges,
    BlockAccessList, Listing, PrescribedBlock, Split, Touched, Touches, access_list_hash, access_list_rlp,
    compare_access_lists,
};
pub use account::{AccountDelta, AccountSeen, AccountState, EvmSeen, EvmValue};
pub use block::{
    AccountDiff, AccountInfoDiff, After, BlockInput, EvmChanges, ExecutedBlock, Rites, Status, TxResult,
};
pub use code::CodeCache;
pub use error::EvmError;
pub use executor::{
    BlockFailure, BlockOutput, Deliver, ExecOptions, Feed, Place, execute_block, execute_block_fed,
    execute_block_with, first_position, record_block, record_replay, replay_block,
};
pub use key::EvmKey;
pub use step::{StepAccount, StepFate, StepOutput, StepVm};
pub use stock::{StockOutput, TraceOptions};
pub use system::{SYSTEM_CALL_GAS, SystemTx};
pub use vm::{EvmOutput, EvmRules, EvmShared, EvmTx, EvmVm, EvmWorker};
