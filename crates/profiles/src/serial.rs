//! `serial`: Braid's own serial engine. What every parallel profile has to equal, and to beat.

use crate::{
    Fidelity, Profile,
    ours::{in_range, over},
};
use braid_report::Model;
use braid_sched::Serial;

/// The registry entry.
pub(crate) const PROFILE: Profile = Profile {
    name: "serial",
    article: "",
    real: "Nobody else: no system is named so but ours.",
    about: "Ethereum, one transaction after the other, on one thread: Braid's journal and state overlay \
            without any recording. All of it is real.",
    limits: "None.",
    fidelity: Fidelity::Faithful,
    scheduler: "serial",
    parallel: false,
    build: |threads| {
        in_range(threads)?;
        Ok(over(Serial::new(), |serial, _| serial, Model::Serial))
    },
};
