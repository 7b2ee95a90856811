//! `megaeth`: a graph of dependencies, executed along its critical path (megaeth-labs; the article's DAG).

use crate::{Fidelity, HintSource, Profile, hinted::Grain, ours::hinted};
use braid_report::{
    Model,
    model::{First, Waits},
};
use braid_sched::{Graph, Policy};

/// The registry entry.
pub(crate) const PROFILE: Profile = Profile {
    name: "megaeth",
    article: "A global graph of state dependencies, executed in topological order; each account a micro-VM \
            that exchanges messages with others (`megaeth-actors`).",
    real: "One sequencer executes; its schedule is not public. Replicas apply state differences, and \
            validators execute statelessly from witnesses (megaeth-labs/stateless-validator).",
    about: "Ethereum by a graph of dependencies: sets come from executing every transaction on the state \
            before the block, inside the timed region; a reader waits for the nearest earlier \
            writer, and the longest chain goes first. Wrong sets are noticed at the commit, \
            where the transaction runs again.",
    limits: "Not modelled: mini-blocks, SALT, the four meters and gas detention of MegaEVM, ahead-of-time \
            compilation.",
    fidelity: Fidelity::Model,
    scheduler: "graph",
    parallel: true,
    build: |threads| {
        hinted(
            threads,
            |pool| Graph::new(pool, Policy::Critical),
            Graph::chaos,
            HintSource::Emulated,
            Grain::Location,
            Model::Hinted(Waits::Versions, First::OnCriticalPath),
        )
    },
};
