//! `artela`: groups by predicted conflicts, optimistic within limits (Artela's white paper).

use crate::{Fidelity, HintSource, Profile, hinted::Grain, ours::hinted};
use braid_report::{
    Model,
    model::{First, Waits},
};
use braid_sched::{Graph, Policy};

/// The registry entry.
pub(crate) const PROFILE: Profile = Profile {
    name: "artela",
    article: "Predictive optimistic execution: groups from a table of past accesses, preloaded state; \
            extensions in WASM.",
    real: "The parallel stack is a white paper of 2024; aspects are public code \
            (artela-network/aspect-core).",
    about: "The part that schedules: Ethereum with locks that know who holds them, so that transactions \
            that are predicted to conflict queue on one worker; predictions are what calls of \
            the same code and selector touched in other blocks. Wrong ones are noticed at the \
            commit.",
    limits: "Not modelled: aspects, preloading, elastic block space.",
    fidelity: Fidelity::Model,
    scheduler: "graph",
    parallel: true,
    build: |threads| {
        hinted(
            threads,
            |pool| Graph::new(pool, Policy::PrioGraph),
            Graph::chaos,
            HintSource::Learned,
            Grain::Location,
            Model::Hinted(Waits::Locks, First::InBlock),
        )
    },
};
