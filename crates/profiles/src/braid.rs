//! `braid`: our best, whichever schedule that is for a block.

use crate::{Fidelity, Profile, ours::over_pool};
use braid_report::Model;
use braid_sched::Adaptive;

/// What [`Adaptive`] asks of a block that it shares.
const MODEL: Model = Model::Adaptive { least_ns: 140_000, each_ns: 1_500, percent: 95 };

/// The registry entry.
pub(crate) const PROFILE: Profile = Profile {
    name: "braid",
    article: "",
    real: "Nobody else: no system is named so but ours.",
    about: "Ethereum under the schedule that suits the block: Block-STM with waits inside of reads, or serial \
            where the block is too short, or too much one transaction, for threads to pay (counted as a \
            fallback). No system is named so but ours.",
    limits: "None.",
    fidelity: Fidelity::Faithful,
    scheduler: "adaptive",
    parallel: true,
    build: |threads| over_pool(threads, Adaptive::new, Adaptive::chaos, MODEL),
};
