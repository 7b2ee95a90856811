//! `megaeth-actors`: accounts as actors that send each other messages (the article's micro-VMs).

use crate::{Fidelity, Profile, delivering::delivering};
use braid_sched::{Graph, Policy};

/// The registry entry.
pub(crate) const PROFILE: Profile = Profile {
    name: "megaeth-actors",
    article: "Each account is a micro-VM with a thread of its own; calls between contracts are asynchronous \
            messages, whose results come back as callbacks.",
    real: "Nothing of that is in the public documents or sources (megaeth-labs): the design is the article's. What \
            MegaETH documents is compatible with the EVM.",
    about: "Ethereum's contracts, unchanged, as actors: a call suspends its frame and is a message with the value in \
            it; the answer resumes the frame. Messages are delivered in rounds, in order for each receiver, each \
            round by a queue for each actor. By design not Ethereum's result: it is held against one delivery after \
            the other of the same messages, and the share of transactions that end differently under Ethereum's \
            rules is told.",
    limits: "Not modelled: everything else of MegaETH. Up to Osaka; no requests (EIP-7685); a transaction sends at most \
            10,000 messages. The rules are in docs/ACTORS.md.",
    fidelity: Fidelity::Model,
    scheduler: "graph",
    parallel: true,
    build: |threads| delivering(threads, |pool| Graph::new(pool, Policy::Fifo), Graph::chaos),
};
