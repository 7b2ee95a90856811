//! State on disk: versions of accounts and their storage, each with its root, its proofs, and no way to lose
//! one that was acknowledged. `docs/STORE.md` is the format and the protocol.
//!
//! [`DiskStore`] writes; there is one for a folder. [`DiskReader`] reads in another process, under a lease.
//! Both give [`View`]s of retained versions, which any number of threads may read while the store goes on.

mod ahead;
mod append;
mod batch;
mod begun;
mod codec;
mod compact;
mod error;
mod flat;
mod journal;
pub(crate) mod kinds;
mod layered;
pub(crate) mod layout;
pub(crate) mod lease;
mod ledger;
mod moves;
mod nodes;
mod options;
mod pages;
mod prepare;
mod proof;
mod prune;
mod read;
mod reader;
mod record;
mod scan;
mod share;
mod sorted;
mod store;
mod update;
mod verify;
mod ways;
mod workers;

#[cfg(test)]
mod tests;

pub use batch::Batch;
pub use begun::Begun;
pub use error::DiskError;
pub use options::{CommitTimes, Committed, DiskOptions, DiskStat};
pub use prepare::Prepared;
pub use proof::{AccountProof, ProofError, SlotProof};
pub use read::{View, ViewReader, ViewState, ViewStateReader};
pub use reader::DiskReader;
pub use scan::{Entries, Entry, HashedBatch};
pub use store::DiskStore;
pub use verify::Verified;
