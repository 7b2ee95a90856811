//! `monad-article`: what the article says of Monad: dependency graphs built after ordering.

use crate::{Fidelity, HintSource, Profile, hinted::Grain, ours::hinted};
use braid_report::{
    Model,
    model::{First, Waits},
};
use braid_sched::{Graph, Policy};

/// The registry entry.
pub(crate) const PROFILE: Profile = Profile {
    name: "monad-article",
    article: "Orders first, then builds a graph of dependencies and executes by it, optimistically.",
    real: "Something else: see `monad`.",
    about: "Ethereum by locks with queues in block order, on locations that an execution of every \
            transaction on the state before the block touched, which is part of the time. Wrong \
            sets are noticed at the commit.",
    limits: "The article does not say how the graph comes to be; here it is by emulation.",
    fidelity: Fidelity::Model,
    scheduler: "graph",
    parallel: true,
    build: |threads| {
        hinted(
            threads,
            |pool| Graph::new(pool, Policy::Fifo),
            Graph::chaos,
            HintSource::Emulated,
            Grain::Location,
            Model::Hinted(Waits::Locks, First::InBlock),
        )
    },
};
