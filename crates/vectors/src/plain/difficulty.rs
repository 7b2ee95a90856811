//! DifficultyTests and the difficulty files of BasicTests.

use super::PlainCase;
use crate::{
    Case, CaseKind, VectorError,
    json::{self, Num},
};
use alloy_primitives::{U256, b256};
use braid_rules::{ChainSpec, Fork, ForkCondition, difficulty};
use serde::Deserialize;
use std::{collections::BTreeMap, sync::Arc};

/// Hash of no ommers; some files say with it whether the parent had any, others with 0 and 1.
const NO_OMMERS: U256 =
    U256::from_be_bytes(b256!("0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347").0);

/// The difficulty that a block must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DifficultyCase {
    /// Rules.
    pub fork: Fork,
    /// Difficulty of the parent.
    pub parent_difficulty: U256,
    /// Time of the parent in seconds.
    pub parent_timestamp: u64,
    /// Whether the parent has ommers.
    pub parent_has_ommers: bool,
    /// Time of the block in seconds.
    pub timestamp: u64,
    /// Number of the block.
    pub number: u64,
    /// Its difficulty.
    pub expected: U256,
}

impl DifficultyCase {
    pub(super) fn check(&self) -> Result<(), String> {
        let computed = difficulty::next(
            self.fork,
            self.parent_difficulty,
            self.parent_timestamp,
            self.parent_has_ommers,
            self.timestamp,
            self.number,
        );
        if computed == self.expected {
            return Ok(());
        }
        Err(format!("difficulty: computed {computed:#x}, expected {:#x}", self.expected))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonDifficulty {
    parent_timestamp: Num<u64>,
    parent_difficulty: Num<U256>,
    parent_uncles: Option<Num<U256>>,
    current_timestamp: Num<u64>,
    current_block_number: Num<u64>,
    current_difficulty: Num<U256>,
}

impl JsonDifficulty {
    fn case(&self, file: &Arc<str>, name: String, fork: Fork) -> Case {
        let case = DifficultyCase {
            fork,
            parent_difficulty: self.parent_difficulty.0,
            parent_timestamp: self.parent_timestamp.0,
            parent_has_ommers: self
                .parent_uncles
                .is_some_and(|ommers| !ommers.0.is_zero() && ommers.0 != NO_OMMERS),
            timestamp: self.current_timestamp.0,
            number: self.current_block_number.0,
            expected: self.current_difficulty.0,
        };
        Case { file: file.clone(), name, kind: CaseKind::Plain(Box::new(PlainCase::Difficulty(case))) }
    }
}

/// A unit: by network, but for what is said about the file.
#[derive(Deserialize)]
struct JsonUnit {
    #[serde(rename = "_info")]
    _info: serde::de::IgnoredAny,
    #[serde(flatten)]
    networks: BTreeMap<String, BTreeMap<String, JsonDifficulty>>,
}

/// The cases of a file of DifficultyTests: unit, network, case.
pub(crate) fn networks(label: &Arc<str>, bytes: &[u8]) -> Result<Vec<Case>, VectorError> {
    let units: BTreeMap<String, JsonUnit> = json::parse(label, bytes)?;
    let mut cases = Vec::new();
    for (unit, JsonUnit { networks, .. }) in units {
        for (network, difficulties) in networks {
            let chain = ChainSpec::of_network(&network, 1)
                .map_err(|error| VectorError::invalid(label, &unit, error.to_string()))?;
            for (name, one) in difficulties {
                let fork = chain.fork_at(one.current_block_number.0, 0, U256::ZERO);
                cases.push(one.case(label, format!("{unit}/{network}/{name}"), fork));
            }
        }
    }
    Ok(cases)
}

/// The cases of a difficulty file of BasicTests, whose name says the chain.
pub(crate) fn cases(label: &Arc<str>, bytes: &[u8]) -> Result<Vec<Case>, VectorError> {
    let units: BTreeMap<String, JsonDifficulty> = json::parse(label, bytes)?;
    let block = |fork, number| (fork, ForkCondition::Block(number));
    let chain = match label.rsplit('/').next().unwrap_or_default() {
        name if name.contains("Homestead") => ChainSpec::new(1, vec![block(Fork::Homestead, 0)]),
        // The forks that the Ropsten test network had when the file was made, and below those of Ethereum.
        name if name.contains("Ropsten") => ChainSpec::new(
            3,
            vec![
                block(Fork::Homestead, 0),
                block(Fork::Byzantium, 1_700_000),
                block(Fork::Constantinople, 4_230_000),
            ],
        ),
        _ => ChainSpec::new(
            1,
            vec![
                block(Fork::Frontier, 0),
                block(Fork::Homestead, 1_150_000),
                block(Fork::Byzantium, 4_370_000),
            ],
        ),
    };
    let case = |(name, one): (String, JsonDifficulty)| {
        one.case(label, name, chain.fork_at(one.current_block_number.0, 0, U256::ZERO))
    };
    Ok(units.into_iter().map(case).collect())
}
