//! Name the things every engine shares: key, value, view, effects, sink, probe, scheduler.
//!
//! Vocabulary only: no threads, no I/O, no `unsafe`. A *virtual machine* ([`Vm`]) turns a transaction
//! and a recorded [`View`] of the state into [`Effects`]; a [`Scheduler`] decides when each transaction
//! runs, on which version of the state, and when its effects are final; a [`State`] answers what stood
//! before the block. The three meet only here, so any of one kind works with any of the others.
//!
//! The one law: for every scheduler, outputs, changes, spawned transactions and errors equal those of
//! running the transactions one by one.
#![forbid(unsafe_code)]

mod bind;
mod probe;
mod replay;
mod schedule;
mod state;
mod view;
mod vm;

pub use bind::{Binding, Bound, BoundWorker};
pub use probe::{Event, Probe};
pub use replay::{Located, Replay, Versions, Written};
pub use schedule::{Block, BlockError, Cause, Control, Outcome, Scheduler, Sink, Stats};
pub use state::{Key, Reader, State, StoreError, Value};
pub use view::{Halt, Read, ReadId, View};
pub use vm::{Changes, Effects, Hint, Mode, Stop, Trust, Vm, Write};

/// Position of a transaction in its block, counted from zero.
pub type TxIndex = u32;
