//! `reddio`: batches whose members share no sender or target (reddio-com/reddio, `parallel/parallel_evm.go`).

use crate::{Fidelity, HintSource, Profile, hinted::Grain, ours::hinted};
use braid_report::Model;
use braid_sched::Batch;

/// The registry entry.
pub(crate) const PROFILE: Profile = Profile {
    name: "reddio",
    article: "Batches without conflicts on a GPU, storage with asynchronous reads, a ZK rollup.",
    real: "Batches on threads in Go: closed at the first transaction whose sender or target a member has, \
            discarded and done again serially on a conflict in the state. The kernel for GPUs \
            (CuEVM) is a work of its own.",
    about: "Ethereum in batches: closed by sender and target, at most 64 members, executed at the \
            same time on the state before the batch, discarded as a whole.",
    limits: "Not modelled: the GPU, asynchronous storage, proofs; a root after each batch.",
    fidelity: Fidelity::Faithful,
    scheduler: "batch",
    parallel: true,
    build: |threads| {
        let model = Model::Batches { most: 64 };
        hinted(threads, Batch::new, Batch::chaos, HintSource::Endpoints, Grain::Location, model)
    },
};
