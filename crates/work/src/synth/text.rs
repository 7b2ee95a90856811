//! The text of a workload.

use super::{Form, Kind, MAX_PARAMETERS, Parameter, Workload};
use crate::WorkError;
use std::{fmt, str::FromStr};

/// Why a text describes no workload. What is quoted of it is cut short.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkloadError {
    /// No workload has this name.
    #[error("unknown workload `{name}` (there are: {possible})")]
    UnknownName {
        /// The name.
        name: String,
        /// The names there are.
        possible: String,
    },
    /// The workload has no such parameter.
    #[error("`{workload}` has no parameter `{key}` (there are: {possible})")]
    UnknownParameter {
        /// The workload's name.
        workload: &'static str,
        /// The parameter.
        key: String,
        /// The parameters there are.
        possible: String,
    },
    /// A part of the text has no `=`.
    #[error("`{part}` is not `key=value`")]
    NotKeyValue {
        /// The part.
        part: String,
    },
    /// A parameter is given more than once.
    #[error("`{key}` is given twice")]
    Twice {
        /// The parameter.
        key: String,
    },
    /// `gas` and `txs` are two ways to say the same.
    #[error("`gas` and `txs` cannot both be given")]
    GasAndTxs,
    /// A parameter that has no default is not there.
    #[error("`{key}` must be given (there are: {possible})")]
    Required {
        /// The parameter.
        key: &'static str,
        /// What it may be.
        possible: String,
    },
    /// A value of the wrong form.
    #[error("`{key}` is `{value}`, must be {possible}")]
    BadValue {
        /// The parameter.
        key: &'static str,
        /// The value.
        value: String,
        /// What it may be.
        possible: String,
    },
    /// Parameters that together ask for too much.
    #[error("{what} is {value}, must be at most {max}")]
    TooMuch {
        /// What there would be too much of.
        what: &'static str,
        /// How much.
        value: u64,
        /// How much there may be.
        max: u64,
    },
    /// Something of the program itself does not fit together.
    #[error("{0}")]
    Internal(String),
}

/// As much of a text as an error quotes.
fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

/// Parameters in order, as text.
impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        let mut sign = '?';
        for (parameter, value) in self.kind.parameters().iter().zip(self.values) {
            write!(f, "{sign}{}={}", parameter.name, parameter.show(value))?;
            sign = '&';
        }
        Ok(())
    }
}

impl FromStr for Workload {
    type Err = WorkError;

    /// Parses `name?key=value&key=value`; what is left out has a default. `gas=N` stands for as many
    /// transactions (`txs`) as use that gas, about.
    fn from_str(text: &str) -> Result<Self, WorkError> {
        parse(text)
            .map_err(|reason| WorkError::Workload { workload: text.chars().take(200).collect(), reason })
    }
}

fn parse(text: &str) -> Result<Workload, WorkloadError> {
    let (name, given) = text.split_once('?').unwrap_or((text, ""));
    let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.name() == name) else {
        let possible = Kind::ALL.map(Kind::name).join(", ");
        return Err(WorkloadError::UnknownName { name: short(name), possible });
    };
    let mut values: [Option<u64>; MAX_PARAMETERS] = [None; MAX_PARAMETERS];
    let (mut gas, mut seen) = (None, Vec::new());
    for part in given.split('&').filter(|part| !part.is_empty()) {
        let Some((key, value)) = part.split_once('=') else {
            return Err(WorkloadError::NotKeyValue { part: short(part) });
        };
        if seen.contains(&key) {
            return Err(WorkloadError::Twice { key: short(key) });
        }
        seen.push(key);
        let at = kind.parameters().iter().position(|parameter| parameter.name == key);
        match at {
            Some(at) => values[at] = Some(read(&kind.parameters()[at], value)?),
            None if kind.block_gas().is_some_and(|parameter| parameter.name == key) => {
                gas = Some(read(&GAS, value)?)
            }
            None => return Err(unknown(kind, key)),
        }
    }
    complete(kind, values, gas)
}

/// `gas`, which is not written but as `txs`.
pub(super) static GAS: Parameter = Parameter {
    name: "gas",
    form: Form::Number { min: 1, max: 1_000_000_000_000 },
    default: None,
    about: "gas of the block, about, instead of `txs`",
};

fn unknown(kind: Kind, key: &str) -> WorkloadError {
    let names: Vec<&str> =
        kind.parameters().iter().chain(kind.block_gas()).map(|parameter| parameter.name).collect();
    WorkloadError::UnknownParameter { workload: kind.name(), key: short(key), possible: names.join(", ") }
}

/// Puts in what was left out.
fn complete(
    kind: Kind,
    given: [Option<u64>; MAX_PARAMETERS],
    gas: Option<u64>,
) -> Result<Workload, WorkloadError> {
    let mut workload = Workload { kind, values: [0; MAX_PARAMETERS] };
    for (at, parameter) in kind.parameters().iter().enumerate() {
        let value = given[at].or(parameter.default);
        match value {
            Some(value) => workload.values[at] = value,
            None if parameter.name == "txs" => workload.values[at] = workload.usual_txs(),
            None => {
                let possible = parameter.form.to_string();
                return Err(WorkloadError::Required { key: parameter.name, possible });
            }
        }
    }
    if let Some(at) = kind.parameters().iter().position(|parameter| parameter.name == "txs") {
        // Defaults may depend on parameters that come later.
        if given[at].is_none() && kind.parameters()[at].default.is_none() {
            workload.values[at] = workload.usual_txs();
        }
        if let Some(gas) = gas {
            if given[at].is_some() {
                return Err(WorkloadError::GasAndTxs);
            }
            let txs = gas.div_ceil(workload.gas_of_tx());
            workload.values[at] = read(&kind.parameters()[at], &txs.to_string())?;
        }
    }
    workload.check()?;
    Ok(workload)
}

fn read(parameter: &Parameter, text: &str) -> Result<u64, WorkloadError> {
    let found = match parameter.form {
        Form::Number { min, max } => whole(text).filter(|number| (min..=max).contains(number)),
        Form::Decimal { max } => thousandths(text).filter(|number| *number <= max),
        Form::Word(words) => words.iter().position(|word| *word == text).map(|at| at as u64),
    };
    found.ok_or_else(|| WorkloadError::BadValue {
        key: parameter.name,
        value: short(text),
        possible: parameter.form.to_string(),
    })
}

fn whole(text: &str) -> Option<u64> {
    text.bytes().all(|letter| letter.is_ascii_digit()).then(|| text.parse().ok())?
}

fn thousandths(text: &str) -> Option<u64> {
    let (whole_part, decimals) = text.split_once('.').unwrap_or((text, "0"));
    if decimals.is_empty() || decimals.len() > 3 {
        return None;
    }
    let decimals = whole(&format!("{decimals:0<3}"))?;
    whole(whole_part)?.checked_mul(1000)?.checked_add(decimals)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synth::Hostile;

    #[test]
    fn text_and_workload_are_the_same_thing() {
        let mut texts: Vec<String> = [
            "transfers?txs=5&seed=9&zipf=1.1",
            "erc20?holders=7&tokens=3&hot=50&cold=5&families=2",
            "erc20?",
            "swaps?txs=6000&pools=1&zipf=1.1&seed=7",
            "swaps?zipf=0.125",
            "orderbook?zipf=2",
            "compute?work=200000&share=50",
            "mainnet?era=2022",
        ]
        .map(str::to_owned)
        .into();
        texts.extend(Hostile::ALL.map(|kind| format!("hostile?seed=3&kind={kind}")));
        texts
            .extend(Kind::ALL.into_iter().filter(|kind| *kind != Kind::Hostile).map(|k| k.name().to_owned()));
        for text in texts {
            let workload: Workload = text.parse().expect(&text);
            assert_eq!(workload.to_string().parse(), Ok(workload), "{text}");
            for part in text.split(['?', '&']).filter(|part| part.contains('=')) {
                assert!(workload.to_string().split(['?', '&']).any(|other| other == part), "{workload}");
            }
        }
        for kind in Hostile::ALL {
            let workload: Workload = format!("hostile?kind={kind}").parse().expect("a kind");
            assert_eq!(workload.get("txs"), Some(kind.usual_txs()));
        }
    }

    #[test]
    fn gas_is_another_way_to_say_how_many() {
        let txs = |text: &str| text.parse::<Workload>().expect(text).get("txs");
        assert_eq!(txs("transfers?gas=1000000000"), Some(47_620));
        assert_eq!(txs("compute?work=500000&gas=1000000000"), Some(2000));
        assert_eq!(txs("compute?gas=1000000000&work=500000"), Some(2000));
        assert_eq!(txs("mainnet?era=2022"), Some(206));
        assert_eq!(txs("mainnet"), Some(296));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let cases = [
            ("uniswap", "unknown workload `uniswap` (there are: transfers, erc20, swaps, mint"),
            ("transfers?txs", "`txs` is not `key=value`"),
            ("transfers?txs=a", "`txs` is `a`"),
            ("transfers?txs=-1", "`txs` is `-1`"),
            ("transfers?txs=+1", "`txs` is `+1`"),
            ("transfers?txs=", "`txs` is ``"),
            ("transfers?txs=0", "`txs` is `0`, must be 1 to 1000000"),
            ("transfers?txs=1000001", "`txs` is `1000001`"),
            ("transfers?txs=99999999999999999999", "`txs` is `99999999999999999999`"),
            ("transfers?tokens=1", "no parameter `tokens` (there are: txs, accounts, hot, zipf, seed, gas)"),
            ("transfers?accounts=1", "`accounts` is `1`"),
            ("transfers?zipf=1.", "`zipf` is `1.`, must be 0 to 5"),
            ("transfers?zipf=.5", "`zipf` is `.5`"),
            ("transfers?zipf=1.0001", "`zipf` is `1.0001`"),
            ("transfers?zipf=5.001", "`zipf` is `5.001`"),
            ("transfers?zipf=1e3", "`zipf` is `1e3`"),
            ("transfers?gas=21000&txs=1", "`gas` and `txs` cannot both"),
            ("transfers?gas=0", "`gas` is `0`"),
            ("transfers?gas=1000000000000", "`txs` is `47619048`"),
            ("erc20?accounts=5", "no parameter `accounts`"),
            ("erc20?seed=1&seed=2", "`seed` is given twice"),
            ("erc20?hot=101", "`hot` is `101`"),
            ("erc20?holders=1000000&tokens=10", "number of accounts and slots is "),
            ("erc20?holders=10&families=6", "number of families is 6, must be at most 5"),
            ("swaps?txs=1000000&traders=1000000", "number of accounts and slots is "),
            ("compute?txs=1000000&work=1000000", "gas of the block is 1000000000000"),
            ("compute?work=16777216", "`work` is `16777216`"),
            ("mainnet?era=2021", "`era` is `2021`, must be 2022, 2026"),
            ("hostile?txs=5", "`kind` must be given (there are: cascade, hot,"),
            ("hostile?kind=kind", "`kind` is `kind`, must be cascade, hot,"),
            ("hostile?kind=hot&kind=tiny", "`kind` is given twice"),
            ("hostile?kind=hot&hot=5", "no parameter `hot` (there are: kind, txs, seed)"),
            ("hostile?kind=hot&gas=5", "no parameter `gas`"),
            ("hostile?kind=hot&txs=100001", "`txs` is `100001`"),
            ("erc20?kind=hot", "no parameter `kind`"),
        ];
        for (text, reason) in cases {
            let error = text.parse::<Workload>().expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
