//! Generated workloads, described by a short text: `erc20?txs=1000&holders=500&seed=7`.
//!
//! The same text gives the same case everywhere. Blocks are under Osaka rules (some hostile ones, which say
//! so, under Shanghai's), without signatures.

mod asm;
mod compute;
mod contracts;
mod erc20;
mod generate;
mod hostile;
mod mainnet;
mod mint;
mod orderbook;
mod rng;
mod spec;
mod swaps;
mod text;
mod token;
mod transfers;
mod yard;
mod yul;
mod zipf;

pub use hostile::{Hostile, MAX_HOSTILE_TXS};
pub use rng::Rng;
pub use spec::{Form, Kind, Parameter};
pub use text::WorkloadError;

use crate::{Case, Source, SourceKind, WorkError};
use yard::TRANSFER_GAS;

/// Most transactions in a workload.
pub const MAX_TXS: u64 = 1_000_000;
/// Most accounts of one role in a workload.
pub const MAX_ACCOUNTS: u64 = 1_000_000;
/// Most accounts and slots in the state before a workload.
pub const MAX_LOCATIONS: u64 = 5_000_000;
/// Most gas that the transactions of a workload may use together.
pub const MAX_GAS: u64 = 200_000_000_000;

/// Most parameters that a workload has.
const MAX_PARAMETERS: usize = 8;

/// A description of a generated block; it is had by parsing its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    kind: Kind,
    /// In the order of the kind's parameters; zero beyond them.
    values: [u64; MAX_PARAMETERS],
}

impl Workload {
    /// Generates the case.
    ///
    /// # Errors
    /// [`WorkError::Workload`], if the contracts that are built in are broken.
    pub fn generate(&self) -> Result<Case, WorkError> {
        generate::case(self)
    }

    /// The workload as an input.
    pub fn source(self) -> Source {
        Source { name: self.to_string(), kind: SourceKind::Synthetic(self), path: None }
    }

    /// What its transactions do.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The value of a parameter, if the workload has it; see [`Form`] for how it is counted.
    pub fn get(&self, key: &str) -> Option<u64> {
        let at = self.kind.parameters().iter().position(|parameter| parameter.name == key)?;
        Some(self.values[at])
    }

    /// As [`Self::get`], for a parameter that the workload has.
    fn at(&self, key: &str) -> u64 {
        self.get(key).unwrap_or_default()
    }

    /// At most so many accounts and slots are in the state before it.
    pub fn locations(&self) -> u64 {
        let (txs, each) = (self.at("txs"), |count: &str, slots: u64| self.at(count).saturating_mul(slots));
        match self.kind {
            Kind::Transfers => self.at("accounts"),
            // The account, its balances, what it allows.
            Kind::Erc20 if self.at("families") > 1 => each("holders", 2) + txs,
            Kind::Erc20 => each("holders", 1 + self.at("tokens")) + txs,
            Kind::Swaps => 5 * txs.min(self.at("traders").max(self.at("pools"))) + each("pools", 16),
            Kind::Mint => self.at("minters") + each("collections", 3),
            Kind::Orderbook => self.at("traders") + self.at("markets") + 2 * txs,
            Kind::Compute => self.at("accounts") + 2,
            Kind::Mainnet => txs.saturating_mul(16) + 10_000,
            Kind::Hostile => txs + 10_000,
        }
    }

    /// Gas of one of its transactions, about.
    fn gas_of_tx(&self) -> u64 {
        match self.kind {
            Kind::Transfers => TRANSFER_GAS,
            Kind::Erc20 => erc20::GAS,
            Kind::Swaps => swaps::GAS,
            Kind::Mint => mint::GAS,
            Kind::Orderbook => orderbook::GAS,
            Kind::Compute => self.at("work"),
            Kind::Mainnet => mainnet::GAS[(self.at("era") as usize).min(1)],
            Kind::Hostile => TRANSFER_GAS,
        }
    }

    /// Transactions of one whose text does not say.
    fn usual_txs(&self) -> u64 {
        match self.kind {
            Kind::Mainnet if self.at("era") == mainnet::ERA_2022 => 206,
            Kind::Mainnet => 296,
            Kind::Hostile => self.hostile().usual_txs(),
            _ => 1000,
        }
    }

    /// The kind of hostile block.
    fn hostile(&self) -> Hostile {
        Hostile::ALL[(self.at("kind") as usize).min(Hostile::ALL.len() - 1)]
    }

    /// Limits that concern more than one parameter.
    fn check(&self) -> Result<(), WorkloadError> {
        let within = |what, value: u64, max: u64| match value <= max {
            true => Ok(()),
            false => Err(WorkloadError::TooMuch { what, value, max }),
        };
        if self.kind == Kind::Erc20 {
            within("number of families", self.at("families"), self.at("holders") / 2)?;
        }
        if self.kind == Kind::Compute {
            within("gas of the block", self.at("txs").saturating_mul(self.at("work")), MAX_GAS)?;
        }
        within("number of accounts and slots", self.locations(), MAX_LOCATIONS)
    }
}

/// The built-in sample: blocks from no conflict to nothing but conflicts.
pub fn sample() -> Vec<Source> {
    let texts = [
        "transfers?accounts=20000&seed=1",
        "transfers?accounts=200&hot=30&seed=1",
        "erc20?holders=20000&seed=1",
        "erc20?holders=500&tokens=10&hot=10&seed=1",
        "erc20?holders=20&seed=1",
        "swaps?pools=100&txs=300&seed=1",
        "mainnet?seed=1",
    ];
    texts.iter().filter_map(|text| text.parse().ok()).map(Workload::source).collect()
}

#[cfg(test)]
mod tests;
