//! Generated workloads, described by a short text: `erc20?txs=1000&holders=500&seed=7`.
//!
//! The same text gives the same case everywhere. Blocks are under Osaka rules (some hostile ones, which say
//! so, under Shanghai's), without signatures.

mod generate;
mod hostile;
mod rng;
mod token;

pub use hostile::{Hostile, MAX_HOSTILE_TXS};
pub use rng::Rng;

use crate::{Case, Source, SourceKind, WorkError};
use std::{fmt, ops::RangeInclusive, str::FromStr};

/// Most transactions in a workload.
pub const MAX_TXS: u64 = 1_000_000;
/// Most accounts, or holders of tokens.
pub const MAX_ACCOUNTS: u64 = 1_000_000;
/// Most token contracts.
pub const MAX_TOKENS: u64 = 10_000;
/// Most balances of tokens: holders times tokens.
pub const MAX_TOKEN_BALANCES: u64 = 4_000_000;

/// What the transactions do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ether from account to account.
    Transfers,
    /// Calls of the contract in `contracts/src/Token.sol`: 90 % `transfer`, 5 % `approve`, 5 % `transferFrom`.
    Erc20 {
        /// Number of token contracts.
        tokens: u64,
    },
    /// What breaks parallel engines. It brings its own accounts.
    Hostile(Hostile),
}

/// A description of a generated block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// What its transactions do.
    pub kind: Kind,
    /// Number of transactions.
    pub txs: u64,
    /// Number of accounts (holders, for tokens) that send and receive. The fewer, the more conflicts. Not
    /// used by hostile ones.
    pub accounts: u64,
    /// How many transactions in a hundred pay one and the same account. Not used by hostile ones.
    pub hot: u64,
    /// Seed of all choices.
    pub seed: u64,
}

impl Workload {
    /// Generates the case.
    ///
    /// # Errors
    /// [`WorkError::Workload`], if it is out of limits.
    pub fn generate(&self) -> Result<Case, WorkError> {
        self.check().map_err(|reason| WorkError::Workload { workload: self.to_string(), reason })?;
        generate::case(self)
    }

    /// The workload as an input.
    pub fn source(self) -> Source {
        Source { name: self.to_string(), kind: SourceKind::Synthetic(self), path: None }
    }

    fn check(&self) -> Result<(), String> {
        let within = |name: &str, value: u64, range: RangeInclusive<u64>| {
            let (low, high) = (range.start(), range.end());
            let error = || format!("`{name}` is {value}, must be between {low} and {high}");
            if range.contains(&value) { Ok(()) } else { Err(error()) }
        };
        let (accounts, tokens) = match self.kind {
            Kind::Transfers => ("accounts", 1),
            Kind::Erc20 { tokens } => ("holders", tokens),
            Kind::Hostile(_) => return within("txs", self.txs, 1..=MAX_HOSTILE_TXS),
        };
        within("txs", self.txs, 1..=MAX_TXS)?;
        within(accounts, self.accounts, 2..=MAX_ACCOUNTS)?;
        within("hot", self.hot, 0..=100)?;
        within("tokens", tokens, 1..=MAX_TOKENS)?;
        within("holders times tokens", self.accounts * tokens, 1..=MAX_TOKEN_BALANCES)
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Workload { kind, txs, accounts, hot, seed } = self;
        match kind {
            Kind::Transfers => write!(f, "transfers?txs={txs}&accounts={accounts}&hot={hot}&seed={seed}"),
            Kind::Erc20 { tokens } => {
                write!(f, "erc20?txs={txs}&holders={accounts}&tokens={tokens}&hot={hot}&seed={seed}")
            }
            Kind::Hostile(kind) => write!(f, "hostile?kind={kind}&txs={txs}&seed={seed}"),
        }
    }
}

impl FromStr for Workload {
    type Err = WorkError;

    /// Parses `name?key=value&key=value`; what is left out has a default.
    fn from_str(text: &str) -> Result<Self, WorkError> {
        parse(text)
            .map_err(|reason| WorkError::Workload { workload: text.chars().take(200).collect(), reason })
    }
}

fn parse(text: &str) -> Result<Workload, String> {
    let (name, parameters) = text.split_once('?').unwrap_or((text, ""));
    let mut workload = Workload { kind: Kind::Transfers, txs: 1000, accounts: 1000, hot: 0, seed: 0 };
    let accounts_key = match name {
        "transfers" => Some("accounts"),
        "erc20" => {
            workload.kind = Kind::Erc20 { tokens: 1 };
            Some("holders")
        }
        "hostile" => {
            let kind = parameters.split('&').find_map(|parameter| parameter.strip_prefix("kind="));
            let kind: Hostile = kind.unwrap_or_default().parse()?;
            (workload.kind, workload.txs) = (Kind::Hostile(kind), kind.usual_txs());
            None
        }
        other => {
            return Err(format!("unknown workload `{other:.40}` (there are: transfers, erc20, hostile)"));
        }
    };
    let mut seen: Vec<&str> = Vec::new();
    for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
        let Some((key, value)) = parameter.split_once('=') else {
            return Err(format!("`{parameter:.40}` is not `key=value`"));
        };
        if seen.contains(&key) {
            return Err(format!("`{key:.40}` is given twice"));
        }
        seen.push(key);
        if key == "kind" && accounts_key.is_none() {
            continue;
        }
        let number: u64 = value.parse().map_err(|error| format!("`{key:.40}` is `{value:.40}`: {error}"))?;
        match (key, &mut workload.kind) {
            ("txs", _) => workload.txs = number,
            ("seed", _) => workload.seed = number,
            ("tokens", Kind::Erc20 { tokens }) => *tokens = number,
            ("hot", Kind::Transfers | Kind::Erc20 { .. }) => workload.hot = number,
            (key, _) if accounts_key == Some(key) => workload.accounts = number,
            (key, _) => return Err(format!("`{name}` has no parameter `{key:.40}`")),
        }
    }
    workload.check()?;
    Ok(workload)
}

/// The built-in sample: blocks from no conflict to nothing but conflicts.
pub fn sample() -> Vec<Source> {
    let workload = |kind, txs, accounts, hot| Workload { kind, txs, accounts, hot, seed: 1 }.source();
    vec![
        workload(Kind::Transfers, 1000, 20_000, 0),
        workload(Kind::Transfers, 1000, 200, 30),
        workload(Kind::Erc20 { tokens: 1 }, 1000, 20_000, 0),
        workload(Kind::Erc20 { tokens: 10 }, 1000, 500, 10),
        workload(Kind::Erc20 { tokens: 1 }, 1000, 20, 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_workload_are_the_same_thing() {
        for text in ["transfers", "transfers?txs=5&seed=9", "erc20?holders=7&tokens=3&hot=50", "erc20?"] {
            let workload: Workload = text.parse().expect(text);
            assert_eq!(workload.to_string().parse(), Ok(workload), "{text}");
        }
        for kind in Hostile::ALL {
            let text = format!("hostile?seed=3&kind={kind}");
            let workload: Workload = text.parse().expect(&text);
            assert_eq!(workload.txs, kind.usual_txs());
            assert_eq!(workload.to_string().parse(), Ok(workload), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let cases = [
            ("uniswap", "unknown workload `uniswap`"),
            ("transfers?txs", "`txs` is not `key=value`"),
            ("transfers?txs=a", "`txs` is `a`"),
            ("transfers?txs=-1", "`txs` is `-1`"),
            ("transfers?txs=0", "`txs` is 0"),
            ("transfers?txs=1000001", "`txs` is 1000001"),
            ("transfers?tokens=1", "no parameter `tokens`"),
            ("transfers?accounts=1", "`accounts` is 1"),
            ("erc20?accounts=5", "no parameter `accounts`"),
            ("erc20?seed=1&seed=2", "`seed` is given twice"),
            ("erc20?hot=101", "`hot` is 101"),
            ("erc20?holders=1000000&tokens=10", "`holders times tokens` is 10000000"),
            ("hostile?txs=5", "unknown kind ``"),
            ("hostile?kind=kind", "unknown kind `kind`"),
            ("hostile?kind=hot&kind=tiny", "`kind` is given twice"),
            ("hostile?kind=hot&hot=5", "no parameter `hot`"),
            ("hostile?kind=hot&txs=100001", "`txs` is 100001"),
            ("erc20?kind=hot", "`kind` is `hot`"),
        ];
        for (text, reason) in cases {
            let error = text.parse::<Workload>().expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn workloads_are_reproducible_and_the_seed_matters() {
        let generate = |text: &str| text.parse::<Workload>().and_then(|w| w.generate()).expect(text);
        for name in ["transfers?txs=50", "erc20?txs=50&holders=20&tokens=2"] {
            let (one, two) = (generate(&format!("{name}&seed=1")), generate(&format!("{name}&seed=1")));
            assert_eq!(one.input.txs, two.input.txs);
            assert_ne!(one.input.txs, generate(&format!("{name}&seed=2")).input.txs);
        }
        for kind in Hostile::ALL {
            let [one, two, other] =
                [1, 1, 2].map(|seed| generate(&format!("hostile?kind={kind}&txs=40&seed={seed}")));
            assert_eq!(one.input.txs.len(), 40);
            assert_eq!(one.input.txs, two.input.txs);
            assert_ne!(one.input.txs, other.input.txs, "{kind}");
        }
    }
}
