//! `sealevel-oracle`: the account locks of `sealevel`, declared truly.

use crate::{Fidelity, HintSource, Profile, hinted::Grain, ours::hinted};
use braid_report::{
    Model,
    model::{First, Waits},
};
use braid_sched::{Graph, Policy};

/// The registry entry.
pub(crate) const PROFILE: Profile = Profile {
    name: "sealevel-oracle",
    article: "",
    real: "Solana, whose transactions declare their accounts; here a serial run of the same block does.",
    about: "The queues of `sealevel` with the accounts that the transactions really touch, found off the \
            clock: what the locks allow if declaring costs nothing. A row of its own, never a \
            headline.",
    limits: "As `sealevel`.",
    fidelity: Fidelity::Model,
    scheduler: "graph",
    parallel: true,
    build: |threads| {
        hinted(
            threads,
            |pool| Graph::new(pool, Policy::Fifo),
            Graph::chaos,
            HintSource::Oracle,
            Grain::Account,
            Model::Hinted(Waits::Locks, First::InBlock),
        )
    },
};
