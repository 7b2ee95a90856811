//! `sealevel`: account locks over the EVM, in queues (anza-xyz/agave, unified scheduler).

use crate::{Fidelity, HintSource, Profile, hinted::Grain, ours::hinted};
use braid_report::{
    Model,
    model::{First, Waits},
};
use braid_sched::{Graph, Policy};

/// The registry entry.
pub(crate) const PROFILE: Profile = Profile {
    name: "sealevel",
    article: "Transactions declare the accounts that they read and write; conflicts follow from the lists, \
            and what does not conflict runs on many threads.",
    real: "For replay a queue for each account in block order (unified scheduler), for blocks that are \
            made a prio-graph or greedy scheduler (anza-xyz/agave), over the SVM.",
    about: "Ethereum by the queues of account locks of Solana: whole accounts with their storage are \
            locked, fees apart. As no Ethereum transaction declares its accounts, they come from executing it on the state \
            before the block, as Neon does it, inside the timed region.",
    limits: "Not modelled: the SVM, cost limits, local fee markets. `solana` is kept for the real machine.",
    fidelity: Fidelity::Model,
    scheduler: "graph",
    parallel: true,
    build: |threads| {
        hinted(
            threads,
            |pool| Graph::new(pool, Policy::Fifo),
            Graph::chaos,
            HintSource::Emulated,
            Grain::Account,
            Model::Hinted(Waits::Locks, First::InBlock),
        )
    },
};
