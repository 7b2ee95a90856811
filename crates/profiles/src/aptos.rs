//! `aptos`: Block-STM (arXiv 2203.06871), with the push invalidation of its successor in Aptos.

use crate::{Fidelity, Profile, ours::over_pool};
use braid_report::Model;
use braid_sched::BlockStm;

/// The registry entry.
pub(crate) const PROFILE: Profile = Profile {
    name: "aptos",
    article: "Block-STM: speculation with recorded reads and writes, detection of conflicts, re-execution to \
            a deterministic order.",
    real: "Block-STM, and its successor with push invalidation (aptos-labs/aptos-core, block-executor), \
            over Move.",
    about: "Ethereum under Block-STM: multi-version memory, estimates, collaborative scheduling, and push \
            invalidation of exactly the readers that a write changed; commits roll in order. The scheduler \
            is real; the virtual machine is Ethereum's, not Move.",
    limits: "Not modelled: Move, resource groups, delayed fields other than additions, validation waves, \
            stalls.",
    fidelity: Fidelity::Model,
    scheduler: "block_stm",
    parallel: true,
    build: |threads| over_pool(threads, BlockStm::new, BlockStm::chaos, Model::MultiVersion),
};
