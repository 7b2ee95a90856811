//! `bal-hints`: the graph of `megaeth` from the block's access list, whose values it does not use.

use crate::{
    Fidelity, Profile,
    hinted::{Grain, Source},
    ours::hinted,
};
use braid_report::{
    Model,
    model::{First, Waits},
};
use braid_sched::{Graph, Policy};

/// The registry entry.
pub(crate) const PROFILE: Profile = Profile {
    name: "bal-hints",
    article: "",
    real: "Nobody known: clients take the values of a list as well (`bal`).",
    about: "Ethereum by a graph of dependencies, from what the block's access list (EIP-7928) says that each \
            transaction changes; the list is decoded inside the timed region. Nothing of it is believed: what \
            is wrong is noticed at the commit, where the transaction runs again. A block that comes without a \
            list is first recorded serially, off the clock.",
    limits: "A list does not say who reads what others change, so such readers may run twice.",
    fidelity: Fidelity::Model,
    scheduler: "graph",
    parallel: true,
    build: |threads| {
        hinted(
            threads,
            |pool| Graph::new(pool, Policy::Critical),
            Graph::chaos,
            Source::List,
            Grain::Location,
            Model::Hinted(Waits::Versions, First::OnCriticalPath),
        )
    },
};
