//! Execute blocks in parallel behind alloy-evm's traits, which is how reth executes them.
//!
//! [`ParallelExecutorFactory`] is a [`BlockExecutorFactory`](alloy_evm::block::BlockExecutorFactory) in the
//! place of [`EthBlockExecutorFactory`](alloy_evm::eth::EthBlockExecutorFactory). Told of a block up front
//! ([`ParallelExecutorFactory::speculate`]), it executes the whole block on threads of its own from that
//! moment on; the executor that is then made for the block hands out what is ready, call by call, and
//! commits it as revm's own executor would. Told of nothing, or the wrong thing, it is that executor.
//!
//! What makes it right:
//! 1. A speculated result is handed out only if it is *final*: the engine has executed the same pre-execution
//!    calls and the same transactions in the same order, on the same state and in the same environment.
//! 2. That the caller did the same is checked at every call: the environment and the context when the
//!    executor is made, the transaction as the EVM takes it, that each result handed out was committed, once,
//!    before the next was asked for, and that nobody had the EVM or its database in hand meanwhile. At the
//!    first difference the rest of the block is executed serially, by alloy-evm's own executor.
//! 3. A result is a change of what the caller's database holds, not a copy of what the engine saw: balances,
//!    nonces and codes are read from that database when the result is handed out.
//! 4. Everything that is not a transaction (system calls, withdrawals, rewards, requests, receipts, gas) is
//!    alloy-evm's own code, run on the caller's database. So are all errors: a transaction that speculation
//!    finds invalid is executed again, serially.
//! 5. Changes are kept back from the caller's database only if the caller has said that nobody looks
//!    ([`BlockAhead::with_deferred_commits`]), and never beyond a call that hands the database out, executes
//!    on it, or ends the executor.
//!
//! The one thing that is the caller's word: that the [`Snapshot`] it gave holds the state that the executor's
//! database starts from.
#![forbid(unsafe_code)]

mod ahead;
mod changes;
mod executor;
mod factory;
mod pending;
mod snapshot;
mod speculation;

pub use ahead::{BlockAhead, Refused};
pub use executor::{ParallelExecutor, ParallelTxResult};
pub use factory::{Counts, ParallelExecutorFactory};
pub use snapshot::Snapshot;
