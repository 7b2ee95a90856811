//! `aptos`: Block-STM (arXiv 2203.06871), with the push invalidation of its successor in Aptos.

use crate::{Fidelity, Profile, ours::over_pool};
use braid_sched::BlockStm;

/// The registry entry.
pub(crate) const PROFILE: Profile = Profile {
    name: "aptos",
    about: "Ethereum under Block-STM: multi-version memory, estimates, collaborative scheduling, and push \
            invalidation of exactly the readers that a write changed; commits roll in order. The scheduler \
            is real; the virtual machine is Ethereum's, not Move.",
    fidelity: Fidelity::Model,
    scheduler: "block_stm",
    parallel: true,
    build: |threads| over_pool(threads, BlockStm::new, BlockStm::chaos),
};
