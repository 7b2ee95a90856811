//! `pharos`: inferred access lists, the rest optimistic (Pharos' SALI).

use crate::{Fidelity, HintSource, Profile, hinted::Grain, ours::hinted};
use braid_report::{
    Model,
    model::{First, Waits},
};
use braid_sched::{Graph, Policy};

/// The registry entry.
pub(crate) const PROFILE: Profile = Profile {
    name: "pharos",
    article: "Two virtual machines in one pipeline; inference of access lists, parallel execution of what \
            does not conflict, optimism for the rest; a store of its own.",
    real: "The node is closed. Documents describe inference from bytecode and history (SALI), DTVM, and \
            Pharos Store (LETUS, SIGMOD 2024).",
    about: "The part that schedules: Ethereum by a graph of dependencies from what calls of the same code \
            and selector touched in other blocks; what is not known runs at once. Wrong sets are \
            noticed at the commit.",
    limits: "Not modelled: static analysis of bytecode, the second machine, the pipeline, the store.",
    fidelity: Fidelity::Model,
    scheduler: "graph",
    parallel: true,
    build: |threads| {
        hinted(
            threads,
            |pool| Graph::new(pool, Policy::Critical),
            Graph::chaos,
            HintSource::Learned,
            Grain::Location,
            Model::Hinted(Waits::Versions, First::OnCriticalPath),
        )
    },
};
