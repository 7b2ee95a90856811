//! Which fork is in force where.

use crate::{Fork, ForkCondition};
use alloy_eips::eip7840::BlobParams;
use alloy_primitives::U256;
use braid_evm::EvmRules;
use revm::primitives::hardfork::SpecId;
use std::collections::BTreeMap;

/// The forks of a chain and when each begins.
#[derive(Clone, Debug, PartialEq)]
pub struct ChainSpec {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Forks in their order of activation, with what activates them.
    forks: Vec<(Fork, ForkCondition)>,
    /// Blob parameters from the fork on that is named (EIP-7840, EIP-7892).
    blobs: BTreeMap<Fork, BlobParams>,
}

/// A network name that stands for no known rules.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown network `{0}`")]
pub struct UnknownNetwork(pub String);

/// Names of forks as test vectors and `evm t8n` write them. The first name of a fork is its own.
const NAMES: &[(&str, Fork)] = &[
    ("Frontier", Fork::Frontier),
    ("Homestead", Fork::Homestead),
    ("Dao", Fork::Dao),
    ("EIP150", Fork::Tangerine),
    ("TangerineWhistle", Fork::Tangerine),
    ("EIP158", Fork::SpuriousDragon),
    ("SpuriousDragon", Fork::SpuriousDragon),
    ("Byzantium", Fork::Byzantium),
    ("Constantinople", Fork::Constantinople),
    ("ConstantinopleFix", Fork::Petersburg),
    ("Petersburg", Fork::Petersburg),
    ("Istanbul", Fork::Istanbul),
    ("MuirGlacier", Fork::MuirGlacier),
    ("Berlin", Fork::Berlin),
    ("London", Fork::London),
    ("ArrowGlacier", Fork::ArrowGlacier),
    ("GrayGlacier", Fork::GrayGlacier),
    ("Paris", Fork::Paris),
    ("Merge", Fork::Paris),
    ("Shanghai", Fork::Shanghai),
    ("Cancun", Fork::Cancun),
    ("Prague", Fork::Prague),
    ("Osaka", Fork::Osaka),
    ("BPO1", Fork::Bpo1),
    ("BPO2", Fork::Bpo2),
    ("BPO3", Fork::Bpo3),
    ("BPO4", Fork::Bpo4),
    ("BPO5", Fork::Bpo5),
    ("Amsterdam", Fork::Amsterdam),
];

/// Chain ids of Ethereum mainnet and of its test networks.
pub mod id {
    /// Ethereum mainnet.
    pub const MAINNET: u64 = 1;
    /// Sepolia.
    pub const SEPOLIA: u64 = 11_155_111;
    /// Holesky.
    pub const HOLESKY: u64 = 17_000;
    /// Hoodi.
    pub const HOODI: u64 = 560_048;
}

impl ChainSpec {
    /// Ethereum mainnet, or one of its test networks, by chain id; `None` for any other. The Merge is at
    /// the block at which it was, so that total difficulties do not matter.
    pub fn of_chain(chain_id: u64) -> Option<Self> {
        let listed: Vec<(Fork, ForkCondition)> = match chain_id {
            id::MAINNET => Fork::mainnet().into(),
            id::SEPOLIA => Fork::sepolia().into(),
            id::HOLESKY => Fork::holesky().into(),
            id::HOODI => Fork::hoodi().into(),
            _ => return None,
        };
        let forks = listed.into_iter().filter_map(|(fork, condition)| match (fork, condition) {
            // The list has it for test networks, too, on which nothing was drained.
            (Fork::Dao, _) if chain_id != id::MAINNET => None,
            (Fork::Paris, ForkCondition::TTD { activation_block_number, .. }) => {
                Some((fork, ForkCondition::Block(activation_block_number)))
            }
            as_listed => Some(as_listed),
        });
        Some(Self::new(chain_id, forks.collect()))
    }

    /// A chain on which `forks` begin as said, in this order. Blob parameters are those of Ethereum
    /// mainnet until [`Self::with_blobs`] changes them.
    pub fn new(chain_id: u64, forks: Vec<(Fork, ForkCondition)>) -> Self {
        let blobs = [
            (Fork::Cancun, BlobParams::cancun()),
            (Fork::Prague, BlobParams::prague()),
            (Fork::Osaka, BlobParams::osaka()),
            (Fork::Bpo1, BlobParams::bpo1()),
            (Fork::Bpo2, BlobParams::bpo2()),
        ];
        ChainSpec { chain_id, forks, blobs: blobs.into() }
    }

    /// The chain that a test vector's `network` names: one fork from the genesis on (`Prague`), or one
    /// that another follows (`PragueToOsakaAtTime15k`, `BerlinToLondonAt5`,
    /// `ArrowGlacierToParisAtDiffC0000`).
    ///
    /// # Errors
    /// [`UnknownNetwork`].
    pub fn of_network(name: &str, chain_id: u64) -> Result<Self, UnknownNetwork> {
        let unknown = || UnknownNetwork(name.chars().take(80).collect());
        let Some((first, rest)) = name.split_once("To") else {
            let fork = Self::fork_named(name).ok_or_else(unknown)?;
            return Ok(Self::new(chain_id, up_to(fork)));
        };
        let (second, when) = rest.split_once("At").ok_or_else(unknown)?;
        let (first, second) =
            (Self::fork_named(first).ok_or_else(unknown)?, Self::fork_named(second).ok_or_else(unknown)?);
        let when = activation(second, when).ok_or_else(unknown)?;
        let mut forks = up_to(first);
        forks.extend(
            NAMES.iter().map(|(_, fork)| *fork).filter(|fork| *fork > first && *fork <= second).fold(
                Vec::new(),
                |mut later: Vec<(Fork, ForkCondition)>, fork| {
                    // The DAO fork is a choice, not a step of the order; names repeat.
                    let chosen = fork != Fork::Dao || second == Fork::Dao;
                    if chosen && later.last().is_none_or(|(last, _)| *last != fork) {
                        later.push((fork, when));
                    }
                    later
                },
            ),
        );
        Ok(Self::new(chain_id, forks))
    }

    /// The fork that test vectors call by this name.
    pub fn fork_named(name: &str) -> Option<Fork> {
        NAMES.iter().find(|(one, _)| *one == name).map(|(_, fork)| *fork)
    }

    /// With other blob parameters from `fork` on.
    #[must_use]
    pub fn with_blobs(mut self, fork: Fork, params: BlobParams) -> Self {
        self.blobs.insert(fork, params);
        self
    }

    /// The newest fork in force in a block with this number and time, in a chain whose total difficulty
    /// before the block is `total_difficulty` (which matters for the Merge only).
    pub fn fork_at(&self, number: u64, timestamp: u64, total_difficulty: U256) -> Fork {
        let active = |condition: &ForkCondition| match condition {
            ForkCondition::Block(block) => number >= *block,
            ForkCondition::TTD { total_difficulty: terminal, .. } => total_difficulty >= *terminal,
            ForkCondition::Timestamp(time) => timestamp >= *time,
            ForkCondition::Never => false,
        };
        let newest = self.forks.iter().rev().find(|(_, condition)| active(condition));
        newest.map_or(Fork::Frontier, |(fork, _)| *fork)
    }

    /// What activates `fork`.
    pub fn condition(&self, fork: Fork) -> ForkCondition {
        self.forks.iter().find(|(one, _)| *one == fork).map_or(ForkCondition::Never, |(_, when)| *when)
    }

    /// Blob parameters while `fork` is the newest in force; `None` before Cancun.
    pub fn blob_params(&self, fork: Fork) -> Option<BlobParams> {
        self.blobs.range(..=fork).next_back().map(|(_, params)| *params)
    }

    /// Rules of the EVM while `fork` is the newest in force.
    pub fn evm(fork: Fork) -> (SpecId, EvmRules) {
        let spec = match fork {
            Fork::Frontier => SpecId::FRONTIER,
            Fork::Homestead | Fork::Dao => SpecId::HOMESTEAD,
            Fork::Tangerine => SpecId::TANGERINE,
            Fork::SpuriousDragon => SpecId::SPURIOUS_DRAGON,
            Fork::Byzantium => SpecId::BYZANTIUM,
            Fork::Constantinople | Fork::Petersburg => SpecId::PETERSBURG,
            Fork::Istanbul | Fork::MuirGlacier => SpecId::ISTANBUL,
            Fork::Berlin => SpecId::BERLIN,
            Fork::London | Fork::ArrowGlacier | Fork::GrayGlacier => SpecId::LONDON,
            Fork::Paris => SpecId::MERGE,
            Fork::Shanghai => SpecId::SHANGHAI,
            Fork::Cancun => SpecId::CANCUN,
            Fork::Prague => SpecId::PRAGUE,
            Fork::Osaka | Fork::Bpo1 | Fork::Bpo2 | Fork::Bpo3 | Fork::Bpo4 | Fork::Bpo5 => SpecId::OSAKA,
            _ => SpecId::AMSTERDAM,
        };
        (spec, EvmRules { eip1283: fork == Fork::Constantinople, ..EvmRules::default() })
    }
}

/// All forks up to `last`, from the genesis on.
fn up_to(last: Fork) -> Vec<(Fork, ForkCondition)> {
    let mut forks: Vec<Fork> = NAMES.iter().map(|(_, fork)| *fork).filter(|fork| *fork <= last).collect();
    forks.dedup();
    forks.retain(|fork| *fork != Fork::Dao || last == Fork::Dao);
    forks.into_iter().map(|fork| (fork, ForkCondition::Block(0))).collect()
}

/// `5` is a block, `Time15k` a time, `DiffC0000` a total difficulty in hexadecimal.
fn activation(fork: Fork, when: &str) -> Option<ForkCondition> {
    if let Some(time) = when.strip_prefix("Time") {
        let (digits, scale) = time.strip_suffix('k').map_or((time, 1), |digits| (digits, 1000));
        return Some(ForkCondition::Timestamp(digits.parse::<u64>().ok()?.checked_mul(scale)?));
    }
    if let Some(difficulty) = when.strip_prefix("Diff").filter(|_| fork == Fork::Paris) {
        let total_difficulty = U256::from_str_radix(difficulty, 16).ok()?;
        return Some(ForkCondition::TTD { activation_block_number: 0, fork_block: None, total_difficulty });
    }
    when.parse().ok().map(ForkCondition::Block)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fork(network: &str, number: u64, timestamp: u64, difficulty: u64) -> Fork {
        let chain = ChainSpec::of_network(network, 1).unwrap();
        chain.fork_at(number, timestamp, U256::from(difficulty))
    }

    #[test]
    fn networks_change_forks_where_they_say() {
        assert_eq!(fork("Prague", 0, 0, 0), Fork::Prague);
        assert_eq!(fork("EIP150", 9, 9, 0), Fork::Tangerine);
        assert_eq!(fork("BerlinToLondonAt5", 4, 0, 0), Fork::Berlin);
        assert_eq!(fork("BerlinToLondonAt5", 5, 0, 0), Fork::London);
        assert_eq!(fork("HomesteadToDaoAt5", 5, 0, 0), Fork::Dao);
        assert_eq!(fork("HomesteadToEIP150At5", 5, 0, 0), Fork::Tangerine);
        assert_eq!(fork("PragueToOsakaAtTime15k", 1, 14_999, 0), Fork::Prague);
        assert_eq!(fork("PragueToOsakaAtTime15k", 1, 15_000, 0), Fork::Osaka);
        assert_eq!(fork("OsakaToBPO1AtTime15k", 1, 15_000, 0), Fork::Bpo1);
        assert_eq!(fork("ArrowGlacierToParisAtDiffC0000", 1, 0, 0xbffff), Fork::ArrowGlacier);
        assert_eq!(fork("ArrowGlacierToParisAtDiffC0000", 1, 0, 0xc0000), Fork::Paris);
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for bad in ["", "prague", "PragueTo", "PragueToOsaka", "PragueToOsakaAtTime", "PragueToOsakaAtTimek"]
        {
            assert!(ChainSpec::of_network(bad, 1).is_err(), "{bad}");
        }
    }

    #[test]
    fn mainnet_changes_forks_where_it_did() {
        let chain = ChainSpec::of_chain(id::MAINNET).unwrap();
        let at = |number, timestamp| chain.fork_at(number, timestamp, U256::ZERO);
        for (number, fork) in [
            (0, Fork::Frontier),
            (1_150_000, Fork::Homestead),
            (1_920_000, Fork::Dao),
            (2_463_000, Fork::Tangerine),
            (2_675_000, Fork::SpuriousDragon),
            (4_370_000, Fork::Byzantium),
            (7_280_000, Fork::Petersburg),
            (9_069_000, Fork::Istanbul),
            (9_200_000, Fork::MuirGlacier),
            (12_244_000, Fork::Berlin),
            (12_965_000, Fork::London),
            (13_773_000, Fork::ArrowGlacier),
            (15_050_000, Fork::GrayGlacier),
            (15_537_394, Fork::Paris),
        ] {
            assert_eq!(at(number, 0), fork, "block {number}");
            assert!(number == 0 || at(number - 1, 0) < fork, "before block {number}");
        }
        for (time, fork) in [
            (1_681_338_455, Fork::Shanghai),
            (1_710_338_135, Fork::Cancun),
            (1_746_612_311, Fork::Prague),
            (1_764_798_551, Fork::Osaka),
            (1_765_290_071, Fork::Bpo1),
            (1_767_747_671, Fork::Bpo2),
        ] {
            assert_eq!(at(20_000_000, time), fork, "time {time}");
            assert!(at(20_000_000, time - 1) < fork, "before time {time}");
        }
        let test_network = ChainSpec::of_chain(id::HOLESKY).unwrap();
        assert_eq!(test_network.fork_at(0, 0, U256::ZERO), Fork::Paris);
        assert_eq!(test_network.condition(Fork::Dao), ForkCondition::Never);
        assert_eq!(ChainSpec::of_chain(5), None);
    }

    #[test]
    fn blob_parameters_stay_until_changed() {
        let chain = ChainSpec::of_network("Osaka", 1)
            .unwrap()
            .with_blobs(Fork::Prague, BlobParams { max_blob_count: 12, ..BlobParams::prague() });
        let max = |fork| chain.blob_params(fork).map(|params| params.max_blob_count);
        assert_eq!(max(Fork::Shanghai), None);
        assert_eq!((max(Fork::Cancun), max(Fork::Prague)), (Some(6), Some(12)));
        assert_eq!(max(Fork::Amsterdam), max(Fork::Bpo2));
    }
}
