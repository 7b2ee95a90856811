//! Which workloads there are, and what can be said about them.

use super::{Hostile, MAX_ACCOUNTS, MAX_TXS};
use std::fmt;

/// What the transactions of a workload do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Ether from account to account.
    Transfers,
    /// Calls of the contract in `contracts/src/Token.sol`: 90 % `transfer`, 5 % `approve`, 5 % `transferFrom`.
    Erc20,
    /// Swaps in constant product pools, through a router.
    Swaps,
    /// Mints of tokens with an owner each, of collections that count them.
    Mint,
    /// Orders placed, matched and cancelled in order books.
    Orderbook,
    /// Calls that compute.
    Compute,
    /// What blocks of mainnet consist of.
    Mainnet,
    /// What breaks parallel engines.
    Hostile,
}

/// What a parameter may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A whole number within limits, both included.
    Number {
        /// The least.
        min: u64,
        /// The greatest.
        max: u64,
    },
    /// A number from zero on with up to three decimals; counted in thousandths.
    Decimal {
        /// The greatest, in thousandths.
        max: u64,
    },
    /// One of these words; counted by its place in them.
    Word(&'static [&'static str]),
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Form::Number { min: 0, max: u64::MAX } => f.write_str("a whole number"),
            Form::Number { min, max } => write!(f, "{min} to {max}"),
            Form::Decimal { max } => write!(f, "0 to {}", decimal(*max)),
            Form::Word(words) => f.write_str(&words.join(", ")),
        }
    }
}

/// A parameter of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What it may be.
    pub form: Form,
    /// What it is if it is left out; without this, that depends on the others, or it must be given.
    pub default: Option<u64>,
    /// What it means.
    pub about: &'static str,
}

impl Parameter {
    /// A value as it is written.
    pub fn show(&self, value: u64) -> String {
        match self.form {
            Form::Number { .. } => value.to_string(),
            Form::Decimal { .. } => decimal(value),
            Form::Word(words) => words.get(value as usize).copied().unwrap_or_default().to_owned(),
        }
    }

    const fn number(name: &'static str, range: [u64; 2], default: u64, about: &'static str) -> Self {
        let [min, max] = range;
        Parameter { name, form: Form::Number { min, max }, default: Some(default), about }
    }

    const fn txs(default: u64) -> Self {
        Self::number("txs", [1, MAX_TXS], default, "transactions")
    }
}

fn decimal(thousandths: u64) -> String {
    let text = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

const SEED: Parameter = Parameter::number("seed", [0, u64::MAX], 0, "seed of all choices");
const HOT: Parameter =
    Parameter::number("hot", [0, 100], 0, "transactions in a hundred that pay the first account");
const RECIPIENTS: Parameter = Parameter {
    name: "zipf",
    form: Form::Decimal { max: 5000 },
    default: Some(0),
    about: "exponent of the popularity of who is paid",
};
const PLACES: Parameter = Parameter { about: "exponent of the popularity of what is called", ..RECIPIENTS };

const TRANSFERS: &[Parameter] = &[
    Parameter::txs(1000),
    Parameter::number("accounts", [2, MAX_ACCOUNTS], 1000, "accounts that send and receive"),
    HOT,
    RECIPIENTS,
    SEED,
];
const ERC20: &[Parameter] = &[
    Parameter::txs(1000),
    Parameter::number("holders", [2, MAX_ACCOUNTS], 1000, "holders of tokens"),
    Parameter::number("tokens", [1, 10_000], 1, "token contracts"),
    Parameter::number("families", [1, 100_000], 1, "groups of holders that only pay one another"),
    HOT,
    Parameter::number("cold", [0, 100], 0, "transfers in a hundred to who holds nothing yet"),
    RECIPIENTS,
    SEED,
];
const SWAPS: &[Parameter] = &[
    Parameter::txs(1000),
    Parameter::number("pools", [1, 100_000], 1, "pools, each with tokens and traders of its own"),
    Parameter::number("traders", [1, MAX_ACCOUNTS], 10_000, "traders of all pools, at least one each"),
    PLACES,
    SEED,
];
const MINT: &[Parameter] = &[
    Parameter::txs(1000),
    Parameter::number("collections", [1, 10_000], 1, "contracts"),
    Parameter::number("minters", [1, MAX_ACCOUNTS], 10_000, "accounts that mint"),
    Parameter::number("most", [1, 100], 3, "most tokens of one transaction"),
    PLACES,
    SEED,
];
const ORDERBOOK: &[Parameter] = &[
    Parameter::txs(1000),
    Parameter::number("markets", [1, 10_000], 1, "order books"),
    Parameter::number("traders", [1, MAX_ACCOUNTS], 1000, "traders, all in all markets"),
    Parameter::number("cancels", [0, 90], 20, "transactions in a hundred that cancel"),
    Parameter::number("ticks", [1, 100], 10, "how far from the middle orders are"),
    PLACES,
    SEED,
];
const COMPUTE: &[Parameter] = &[
    Parameter::txs(100),
    Parameter::number("work", [60_000, 16_000_000], 1_000_000, "gas of a transaction, about"),
    Parameter::number("share", [0, 100], 0, "transactions in a hundred that need one shared slot"),
    Parameter::number("accounts", [1, MAX_ACCOUNTS], 1000, "accounts that send"),
    SEED,
];
const MAINNET: &[Parameter] = &[
    Parameter {
        name: "txs",
        form: Form::Number { min: 1, max: MAX_TXS },
        default: None,
        about: "transactions; by default the mean of a block of the era",
    },
    Parameter {
        name: "era",
        form: Form::Word(&["2022", "2026"]),
        default: Some(1),
        about: "June of which year it is like",
    },
    SEED,
];
const HOSTILE: &[Parameter] = &[
    Parameter {
        name: "kind",
        form: Form::Word(&Hostile::NAMES),
        default: None,
        about: "what it aims at; must be given",
    },
    Parameter {
        name: "txs",
        form: Form::Number { min: 1, max: super::MAX_HOSTILE_TXS },
        default: None,
        about: "transactions; by default enough for the weakness to show",
    },
    SEED,
];

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 8] = [
        Kind::Transfers,
        Kind::Erc20,
        Kind::Swaps,
        Kind::Mint,
        Kind::Orderbook,
        Kind::Compute,
        Kind::Mainnet,
        Kind::Hostile,
    ];

    /// Its name in the text of a workload.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Transfers => "transfers",
            Kind::Erc20 => "erc20",
            Kind::Swaps => "swaps",
            Kind::Mint => "mint",
            Kind::Orderbook => "orderbook",
            Kind::Compute => "compute",
            Kind::Mainnet => "mainnet",
            Kind::Hostile => "hostile",
        }
    }

    /// What its transactions do, in a sentence.
    pub fn about(self) -> &'static str {
        match self {
            Kind::Transfers => "Ether from account to account.",
            Kind::Erc20 => "Token calls: 90 % transfer, 5 % approve, 5 % transferFrom.",
            Kind::Swaps => "Swaps in constant product pools like Uniswap v2's, through a router.",
            Kind::Mint => "Mints of EIP-721 tokens; each collection counts them in one slot.",
            Kind::Orderbook => "Limit orders placed, matched and cancelled.",
            Kind::Compute => "Multiplications, hashes, memory, a few precompiled contracts.",
            Kind::Mainnet => "A mixture with the classes, gas, hot spots and senders of mainnet.",
            Kind::Hostile => "Blocks built to break parallel engines (docs/TRUST.md).",
        }
    }

    /// What can be said about it, in the order in which it is written.
    pub fn parameters(self) -> &'static [Parameter] {
        match self {
            Kind::Transfers => TRANSFERS,
            Kind::Erc20 => ERC20,
            Kind::Swaps => SWAPS,
            Kind::Mint => MINT,
            Kind::Orderbook => ORDERBOOK,
            Kind::Compute => COMPUTE,
            Kind::Mainnet => MAINNET,
            Kind::Hostile => HOSTILE,
        }
    }

    /// `gas`, by which `txs` can be said, if it can. It is not among the parameters, since what is generated
    /// is named by its `txs`.
    pub fn block_gas(self) -> Option<&'static Parameter> {
        (self != Kind::Hostile).then_some(&super::text::GAS)
    }
}
