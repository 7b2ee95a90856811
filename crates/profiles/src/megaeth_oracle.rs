//! `megaeth-oracle`: the graph of `megaeth` from true sets.

use crate::{Fidelity, HintSource, Profile, hinted::Grain, ours::hinted};
use braid_report::{
    Model,
    model::{First, Waits},
};
use braid_sched::{Graph, Policy};

/// The registry entry.
pub(crate) const PROFILE: Profile = Profile {
    name: "megaeth-oracle",
    article: "",
    real: "Nobody: nobody has these sets in time.",
    about: "The graph of `megaeth` from what a serial run of the same block touched, found off the clock: \
            how good it would be with perfect hints. A row of its own, never a headline.",
    limits: "As `megaeth`.",
    fidelity: Fidelity::Model,
    scheduler: "graph",
    parallel: true,
    build: |threads| {
        hinted(
            threads,
            |pool| Graph::new(pool, Policy::Critical),
            Graph::chaos,
            HintSource::Oracle,
            Grain::Location,
            Model::Hinted(Waits::Versions, First::OnCriticalPath),
        )
    },
};
