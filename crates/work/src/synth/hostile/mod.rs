//! Blocks built to break a parallel engine: every kind aims at one weakness that the literature or the
//! practice of parallel execution knows.

mod codes;
mod long;
mod people;

use super::{generate::Generated, yard::Yard};
use revm::primitives::hardfork::SpecId;
use std::fmt;

/// Most transactions in a hostile block.
pub const MAX_HOSTILE_TXS: u64 = 100_000;

/// What a hostile block aims at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hostile {
    /// Abort cascades: each transaction reads, late in a long execution, what the one before it wrote, at a
    /// location that nobody else reads. In every other seed it reads early, and writes late.
    Cascade,
    /// Hot keys: a few locations that all read and write with much work before, between and after.
    Hot,
    /// Bait for quadratic revalidation: reads of hundreds of slots, into which small writers and long chains
    /// of slow ones write, often what is there already. In every other seed all slow writers come first.
    Revalidate,
    /// Nested calls that write much and revert.
    Revert,
    /// Contracts created and destroyed at the same address over and over, after Cancun (EIP-6780).
    Destruct,
    /// The same before Cancun: what is destroyed is gone, and comes back with other code.
    Rebirth,
    /// Many transfers, each so short that what a scheduler does for one shows.
    Tiny,
    /// A beneficiary that sends, is called, is a contract, is created and destroyed, and whose balance is read.
    /// Which of them it is depends on the seed.
    Beneficiary,
    /// EIP-7702: delegations set, reset and used in the same block, by authorities that send as well.
    Delegate,
    /// Code that is deployed, looked at and called in the same block.
    Deploy,
    /// Something of all kinds that Osaka's rules allow.
    Mixed,
}

impl Hostile {
    /// All kinds.
    pub const ALL: [Hostile; 11] = [
        Hostile::Cascade,
        Hostile::Hot,
        Hostile::Revalidate,
        Hostile::Revert,
        Hostile::Destruct,
        Hostile::Rebirth,
        Hostile::Tiny,
        Hostile::Beneficiary,
        Hostile::Delegate,
        Hostile::Deploy,
        Hostile::Mixed,
    ];

    /// Names of all kinds, in the same order.
    pub(super) const NAMES: [&'static str; 11] = {
        let mut names = [""; 11];
        let mut at = 0;
        while at < names.len() {
            names[at] = Hostile::ALL[at].name();
            at += 1;
        }
        names
    };

    /// Its name in the text of a workload.
    pub const fn name(self) -> &'static str {
        match self {
            Hostile::Cascade => "cascade",
            Hostile::Hot => "hot",
            Hostile::Revalidate => "revalidate",
            Hostile::Revert => "revert",
            Hostile::Destruct => "destruct",
            Hostile::Rebirth => "rebirth",
            Hostile::Tiny => "tiny",
            Hostile::Beneficiary => "beneficiary",
            Hostile::Delegate => "delegate",
            Hostile::Deploy => "deploy",
            Hostile::Mixed => "mixed",
        }
    }

    /// Transactions of a block whose description does not say: enough for the weakness to show.
    pub fn usual_txs(self) -> u64 {
        match self {
            Hostile::Tiny => 10_000,
            Hostile::Beneficiary | Hostile::Delegate => 1000,
            Hostile::Destruct | Hostile::Rebirth | Hostile::Revalidate => 500,
            Hostile::Deploy | Hostile::Mixed => 400,
            Hostile::Cascade | Hostile::Hot | Hostile::Revert => 200,
        }
    }
}

impl fmt::Display for Hostile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One weakness, as a source of transactions.
trait Scene {
    /// Appends a transaction to the block. `index` counts from zero within this scene.
    fn step(&mut self, yard: &mut Yard, index: u64);
}

/// Generates a block of `count` transactions.
pub(super) fn block(kind: Hostile, count: u64, seed: u64) -> Generated {
    let mut yard = Yard::new(seed, count);
    // Destruction is what Cancun changed (EIP-6780).
    let mortal = kind == Hostile::Beneficiary && seed % 3 == 2;
    let spec = if mortal || kind == Hostile::Rebirth { SpecId::SHANGHAI } else { SpecId::OSAKA };
    let mut scenes: Vec<Box<dyn Scene>> = match kind {
        Hostile::Beneficiary if mortal => vec![Box::new(people::Beneficiary::mortal(&mut yard))],
        Hostile::Mixed => MIXED.iter().map(|kind| scene(*kind, &mut yard, seed)).collect(),
        one => vec![scene(one, &mut yard, seed)],
    };
    let mut steps = vec![0; scenes.len()];
    for _ in 0..count {
        let at = yard.rng.below(scenes.len() as u64) as usize;
        scenes[at].step(&mut yard, steps[at]);
        steps[at] += 1;
    }
    Generated { spec, beneficiary: yard.beneficiary, pre: yard.pre, txs: yard.txs }
}

/// Kinds that get along in one block.
const MIXED: [Hostile; 9] = [
    Hostile::Cascade,
    Hostile::Hot,
    Hostile::Revalidate,
    Hostile::Revert,
    Hostile::Destruct,
    Hostile::Tiny,
    Hostile::Beneficiary,
    Hostile::Delegate,
    Hostile::Deploy,
];

fn scene(kind: Hostile, yard: &mut Yard, seed: u64) -> Box<dyn Scene> {
    match kind {
        Hostile::Cascade => Box::new(long::Cascade::new(yard, seed)),
        Hostile::Hot => Box::new(long::Hot::new(yard)),
        Hostile::Revalidate => Box::new(long::Revalidate::new(yard, seed)),
        Hostile::Revert => Box::new(long::Revert::new(yard)),
        Hostile::Destruct | Hostile::Rebirth => Box::new(codes::Phoenix::new(yard)),
        Hostile::Tiny => Box::new(people::Tiny::new(yard)),
        Hostile::Beneficiary if seed % 3 == 1 => Box::new(people::Beneficiary::contract(yard)),
        Hostile::Beneficiary => Box::new(people::Beneficiary::person(yard)),
        Hostile::Delegate => Box::new(people::Delegate::new(yard)),
        Hostile::Deploy | Hostile::Mixed => Box::new(codes::Deploy::new(yard)),
    }
}
