//! The genesis file: rules, first header, first state.

use crate::{
    Alloc, PreState, WorkError,
    load::{file, json::Q},
};
use alloy_consensus::{EMPTY_OMMER_ROOT_HASH, Header, constants::EMPTY_WITHDRAWALS};
use alloy_eips::{eip4844::DATA_GAS_PER_BLOB, eip7685::EMPTY_REQUESTS_HASH, eip7840::BlobParams};
use alloy_primitives::{Address, B64, B256, Bytes, U256, b256};
use alloy_trie::EMPTY_ROOT_HASH;
use braid_rules::{ChainSpec, Fork, ForkCondition, id};
use serde::Deserialize;
use std::{collections::BTreeMap, path::Path};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonGenesis {
    config: JsonConfig,
    #[serde(default)]
    nonce: Option<Q<u64>>,
    timestamp: Q<u64>,
    #[serde(default)]
    extra_data: Bytes,
    gas_limit: Q<u64>,
    difficulty: Q<U256>,
    #[serde(default)]
    mix_hash: B256,
    #[serde(default)]
    coinbase: Address,
    base_fee_per_gas: Option<Q<u64>>,
    excess_blob_gas: Option<Q<u64>>,
    blob_gas_used: Option<Q<u64>>,
    alloc: Alloc,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonConfig {
    chain_id: u64,
    #[serde(default)]
    terminal_total_difficulty: Option<serde_json::Number>,
    #[serde(default)]
    blob_schedule: BTreeMap<String, JsonBlobs>,
    /// Blocks and times of forks, and what else there is.
    #[serde(flatten)]
    others: BTreeMap<String, serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonBlobs {
    target: u64,
    max: u64,
    base_fee_update_fraction: u64,
}

/// Forks with the names under which a genesis file says when they begin, in their order.
const FORKS: &[(&str, Fork)] = &[
    ("homesteadBlock", Fork::Homestead),
    ("eip150Block", Fork::Tangerine),
    ("eip158Block", Fork::SpuriousDragon),
    ("byzantiumBlock", Fork::Byzantium),
    ("constantinopleBlock", Fork::Constantinople),
    ("petersburgBlock", Fork::Petersburg),
    ("istanbulBlock", Fork::Istanbul),
    ("muirGlacierBlock", Fork::MuirGlacier),
    ("berlinBlock", Fork::Berlin),
    ("londonBlock", Fork::London),
    ("arrowGlacierBlock", Fork::ArrowGlacier),
    ("grayGlacierBlock", Fork::GrayGlacier),
    ("shanghaiTime", Fork::Shanghai),
    ("cancunTime", Fork::Cancun),
    ("pragueTime", Fork::Prague),
    ("osakaTime", Fork::Osaka),
    ("bpo1Time", Fork::Bpo1),
    ("bpo2Time", Fork::Bpo2),
    ("bpo3Time", Fork::Bpo3),
    ("bpo4Time", Fork::Bpo4),
    ("bpo5Time", Fork::Bpo5),
];

/// Hash of mainnet's first block.
const MAINNET: B256 = b256!("d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3");

/// Where a chain begins.
#[derive(Clone, Debug)]
pub struct Genesis {
    /// The rules.
    pub chain: ChainSpec,
    /// Header of the first block.
    pub header: Header,
    /// State after it.
    pub pre: PreState,
}

impl Genesis {
    /// Reads a genesis file, as geth takes it, perhaps compressed (`.zst`). The rules of mainnet are those that
    /// are known, whatever an old file says of them.
    ///
    /// # Errors
    /// [`WorkError`], which names the item.
    pub fn read(path: &Path) -> Result<Genesis, WorkError> {
        read(path)
    }
}

/// Reads a genesis file.
pub(super) fn read(path: &Path) -> Result<Genesis, WorkError> {
    let json: JsonGenesis = file::read_json(path)?;
    let mainnet = ChainSpec::of_chain(id::MAINNET).filter(|_| json.config.is_mainnet());
    let known = mainnet.is_some();
    let chain = mainnet.map_or_else(|| chain(path, &json.config), Ok)?;
    let pre = json.alloc.pre_state(path)?;
    let fork = chain.fork_at(0, json.timestamp.0, U256::ZERO);
    let from = |first: Fork| fork >= first;
    let or_zero = |number: Option<Q<u64>>| number.map_or(0, |number| number.0);
    let header = Header {
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        beneficiary: json.coinbase,
        state_root: pre.state_root(),
        transactions_root: EMPTY_ROOT_HASH,
        receipts_root: EMPTY_ROOT_HASH,
        difficulty: json.difficulty.0,
        gas_limit: json.gas_limit.0,
        timestamp: json.timestamp.0,
        extra_data: json.extra_data,
        mix_hash: json.mix_hash,
        nonce: B64::from(or_zero(json.nonce)),
        // EIP-1559: the first base fee.
        base_fee_per_gas: from(Fork::London)
            .then(|| json.base_fee_per_gas.map_or(1_000_000_000, |fee| fee.0)),
        withdrawals_root: from(Fork::Shanghai).then_some(EMPTY_WITHDRAWALS),
        blob_gas_used: from(Fork::Cancun).then(|| or_zero(json.blob_gas_used)),
        excess_blob_gas: from(Fork::Cancun).then(|| or_zero(json.excess_blob_gas)),
        parent_beacon_block_root: from(Fork::Cancun).then_some(B256::ZERO),
        requests_hash: from(Fork::Prague).then_some(EMPTY_REQUESTS_HASH),
        ..Header::default()
    };
    if known && header.hash_slow() != MAINNET {
        return Err(WorkError::UnknownFork { file: path.into(), fork: DAO_FORK.to_owned() });
    }
    Ok(Genesis { chain, header, pre })
}

const DAO_FORK: &str = "daoForkBlock";

impl JsonConfig {
    /// Whether it says of itself to be that of mainnet: no other chain has its fork of 2016.
    fn is_mainnet(&self) -> bool {
        let dao = self.others.get(DAO_FORK).and_then(serde_json::Value::as_u64);
        self.chain_id == id::MAINNET && dao == Some(1_920_000)
    }
}

fn chain(path: &Path, config: &JsonConfig) -> Result<ChainSpec, WorkError> {
    for unknown in ["amsterdamTime", DAO_FORK] {
        if config.others.get(unknown).is_some_and(|value| !value.is_null()) {
            return Err(WorkError::UnknownFork { file: path.into(), fork: unknown.to_owned() });
        }
    }
    let mut forks = Vec::new();
    for (name, fork) in FORKS {
        if *fork == Fork::Shanghai
            && let Some(total) = &config.terminal_total_difficulty
        {
            let total_difficulty = total.to_string().parse().map_err(|_| {
                WorkError::invalid(path, "config.terminalTotalDifficulty", format!("{total} is out of range"))
            })?;
            let merge = ForkCondition::TTD { activation_block_number: 0, fork_block: None, total_difficulty };
            forks.push((Fork::Paris, merge));
        }
        let Some(value) = config.others.get(*name).filter(|value| !value.is_null()) else { continue };
        let when = value
            .as_u64()
            .ok_or_else(|| WorkError::invalid(path, format!("config.{name}"), "not a number"))?;
        let condition =
            if *fork >= Fork::Shanghai { ForkCondition::Timestamp(when) } else { ForkCondition::Block(when) };
        forks.push((*fork, condition));
    }
    let mut chain = ChainSpec::new(config.chain_id, forks);
    for (name, blobs) in &config.blob_schedule {
        let key = format!("{name}Time");
        let Some((_, fork)) = FORKS.iter().find(|(one, _)| *one == key) else {
            return Err(WorkError::UnknownFork { file: path.into(), fork: name.chars().take(80).collect() });
        };
        let (target, max) = (blobs.target, blobs.max);
        if target.max(max) > u64::MAX / DATA_GAS_PER_BLOB || blobs.base_fee_update_fraction == 0 {
            return Err(WorkError::invalid(path, format!("config.blobSchedule.{name}"), "cannot be"));
        }
        // EIP-7840 says three numbers; the others follow from the fork.
        let of_fork = if *fork >= Fork::Osaka { BlobParams::osaka() } else { BlobParams::prague() };
        let update_fraction = blobs.base_fee_update_fraction.into();
        let params =
            BlobParams { target_blob_count: target, max_blob_count: max, update_fraction, ..of_fork };
        chain = chain.with_blobs(*fork, params);
    }
    Ok(chain)
}
