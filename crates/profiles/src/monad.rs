//! `monad`: in-order optimistic execution, as Monad runs it (category-labs/monad, `execute_block.cpp`,
//! `block_state.cpp`).

use crate::{Fidelity, Profile, ours::over_pool};
use braid_report::Model;
use braid_sched::Occ;

/// The registry entry.
pub(crate) const PROFILE: Profile = Profile {
    name: "monad",
    article: "Builds a dependency graph after ordering and executes optimistically by it.",
    real: "In-order optimistic execution with one retry, at the merge point; no graph \
            (category-labs/monad, execute_block.cpp, block_state.cpp).",
    about: "Ethereum under Monad's concurrency control: every transaction speculates on the state merged so \
            far with its sender's nonce predicted, transactions merge in block order with \
            validation by value, and one that fails runs again, once, at the merge point. \
            Balances are validated by bounds (the relaxed merge that Monad's source has switched \
            off).",
    limits: "Not modelled: fibres that overlap state reads, TrieDB, deferred execution, the reserve balance, \
            Monad's gas rules.",
    fidelity: Fidelity::Model,
    scheduler: "occ",
    parallel: true,
    build: |threads| over_pool(threads, Occ::new, Occ::chaos, Model::InOrder),
};
