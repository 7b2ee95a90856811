//! Execute a block under one of several schedules, always with the result of running it serially.
//!
//! [`Serial`] is the oracle. [`Occ`] speculates on the committed prefix and merges in order.
//! [`BlockStm`] keeps every version in flight and invalidates exactly the readers whose view a write
//! changed. [`Graph`] runs from hints of what transactions touch, and so does [`Batch`], in batches
//! without conflicts; [`OccRounds`] executes optimistically in rounds with barriers. [`Adaptive`] chooses between [`Serial`] and [`BlockStm`] for each block. [`Prescribed`] runs a block
//! that comes with the versions of its locations. [`Rounds`] delivers what transactions spawn, over any of them. All are generic over [`braid_core::Vm`], share a [`Pool`]
//! of threads, and recycle their
//! tables from block to block.
#![deny(unsafe_code)]

mod adaptive;
mod apart;
mod arena;
mod attempt;
mod batch;
mod block_stm;
mod brake;
mod cells;
mod chaos;
mod commit;
mod crowd;
mod foresee;
mod graph;
mod index;
#[allow(unsafe_code)]
mod lanes;
mod lead;
mod merge;
#[cfg(feature = "mutants")]
pub mod mutants;
#[cfg(not(feature = "mutants"))]
mod mutants;
mod occ;
mod occ_rounds;
mod phases;
#[allow(unsafe_code)]
mod pool;
mod prescribed;
mod quiet;
mod rounds;
mod serial;
mod solo;
mod sync;

pub use adaptive::Adaptive;
pub use batch::Batch;
pub use block_stm::{BlockStm, Waits};
pub use foresee::{Accuracy, emulate, oracle};
pub use graph::{Graph, Policy, UsageQueues};
pub use occ::Occ;
pub use occ_rounds::OccRounds;
pub use pool::{MAX_THREADS, Pool, WorkerPanic};
pub use prescribed::Prescribed;
pub use rounds::{Delivery, DeliveryError, Rounds};
pub use serial::Serial;
