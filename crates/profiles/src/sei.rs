//! `sei`: optimistic rounds with barriers (sei-protocol/sei-cosmos, `tasks/scheduler.go`).

use crate::{Fidelity, Profile, ours::over_pool};
use braid_report::Model;
use braid_sched::OccRounds;

/// The registry entry.
pub(crate) const PROFILE: Profile = Profile {
    name: "sei",
    article: "Parallel matching by market, concurrent CosmWasm by classes of transactions, consensus apart \
            from execution.",
    real: "Optimistic execution in rounds with barriers over a multi-version store, validated at the end \
            of each round, ranges included; serial after ten rounds. No classes any more.",
    about: "Ethereum in optimistic rounds with barriers.",
    limits: "Not modelled: CosmWasm, the matching engine, optimistic proposals; validation by all threads.",
    fidelity: Fidelity::Faithful,
    scheduler: "occ_rounds",
    parallel: true,
    build: |threads| {
        over_pool(threads, OccRounds::new, OccRounds::chaos, Model::Rounds { most: 10, part: 4096 })
    },
};
