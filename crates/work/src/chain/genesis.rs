//! The genesis file: rules, first header, first state.

use crate::{
    Alloc, PreState, WorkError,
    amount::{self, Amount},
    load::file,
};
use alloy_consensus::{EMPTY_OMMER_ROOT_HASH, Header, constants::EMPTY_WITHDRAWALS};
use alloy_eips::{eip4844::DATA_GAS_PER_BLOB, eip7685::EMPTY_REQUESTS_HASH, eip7840::BlobParams};
use alloy_primitives::{Address, B64, B256, Bytes, U256, b256};
use alloy_trie::EMPTY_ROOT_HASH;
use braid_rules::{ChainSpec, Fork, ForkCondition, id};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::{collections::BTreeMap, path::Path};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonGenesis {
    config: JsonConfig,
    nonce: Option<Amount<u64>>,
    timestamp: Option<Amount<u64>>,
    extra_data: Option<Bytes>,
    gas_limit: Amount<u64>,
    difficulty: Amount<U256>,
    mix_hash: Option<B256>,
    coinbase: Option<Address>,
    base_fee_per_gas: Option<Amount<u64>>,
    excess_blob_gas: Option<Amount<u64>>,
    blob_gas_used: Option<Amount<u64>>,
    alloc: Alloc,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonConfig {
    chain_id: Amount<u64>,
    /// As it is written: that of mainnet is a number beyond what a reader of JSON keeps exactly.
    #[serde(default)]
    terminal_total_difficulty: Option<Box<RawValue>>,
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
    genesis(path, file::read_json(path)?)
}

fn genesis(path: &Path, json: JsonGenesis) -> Result<Genesis, WorkError> {
    let mainnet = ChainSpec::of_chain(id::MAINNET).filter(|_| json.config.is_mainnet());
    let known = mainnet.is_some();
    let chain = mainnet.map_or_else(|| chain(path, &json.config), Ok)?;
    let pre = json.alloc.pre_state(path)?;
    let timestamp = json.timestamp.unwrap_or_default().0;
    let fork = chain.fork_at(0, timestamp, U256::ZERO);
    let from = |first: Fork| fork >= first;
    let or_zero = |number: Option<Amount<u64>>| number.unwrap_or_default().0;
    let header = Header {
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        beneficiary: json.coinbase.unwrap_or_default(),
        state_root: pre.state_root(),
        transactions_root: EMPTY_ROOT_HASH,
        receipts_root: EMPTY_ROOT_HASH,
        difficulty: json.difficulty.0,
        gas_limit: json.gas_limit.0,
        timestamp,
        extra_data: json.extra_data.unwrap_or_default(),
        mix_hash: json.mix_hash.unwrap_or_default(),
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
        self.chain_id.0 == id::MAINNET && dao == Some(1_920_000)
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
            let total_difficulty = amount::number(total.get().trim_matches('"'))
                .map_err(|reason| WorkError::invalid(path, "config.terminalTotalDifficulty", reason))?;
            let merge = ForkCondition::TTD { activation_block_number: 0, fork_block: None, total_difficulty };
            forks.push((Fork::Paris, merge));
        }
        let Some(value) = config.others.get(*name).filter(|value| !value.is_null()) else { continue };
        let when = serde_json::from_value(value.clone());
        let Amount(when): Amount<u64> =
            when.map_err(|error| WorkError::invalid(path, format!("config.{name}"), error.to_string()))?;
        let condition =
            if *fork >= Fork::Shanghai { ForkCondition::Timestamp(when) } else { ForkCondition::Block(when) };
        forks.push((*fork, condition));
    }
    let mut chain = ChainSpec::new(config.chain_id.0, forks);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Genesis, WorkError> {
        let path = Path::new("genesis.json");
        genesis(path, file::parse(path, text.as_bytes())?)
    }

    const PLAIN: &str = r#"{
        "config": {"chainId": 15, "homesteadBlock": 0, "londonBlock": 0, "terminalTotalDifficulty": 5000, "shanghaiTime": 12},
        "timestamp": "0x0", "extraData": "0x", "gasLimit": "0x7a1200", "difficulty": "0x1",
        "alloc": {"0x7df9a875a174b3bc565e6424a0050ebc1b2d1d82": {
            "balance": "0x493e0", "nonce": "0x2", "storage": {"0x1": "0xff", "0xa": "0x10"}}}}"#;

    #[test]
    fn all_forms_that_geth_takes_are_the_same_genesis() {
        let plain = of(PLAIN).unwrap();
        let by_hand = of(r#"{
            "config": {"chainId": "0xf", "homesteadBlock": "0", "londonBlock": "0x0", "terminalTotalDifficulty": "0x1388",
                "shanghaiTime": "12"},
            "extraData": null, "mixHash": null, "coinbase": null, "gasLimit": "8000000", "difficulty": "1",
            "alloc": {"7DF9a875a174b3bc565e6424a0050ebc1b2d1d82": {
                "balance": "300000", "nonce": 2, "code": null, "storage": {
                    "0000000000000000000000000000000000000000000000000000000000000001": "FF", "0A": "0x0010"}}}}"#)
        .unwrap();
        assert_eq!(by_hand.header, plain.header);
        assert_eq!(by_hand.chain.chain_id, plain.chain.chain_id);
        for difficulty in [4_999, 5_000] {
            let at = |genesis: &Genesis| genesis.chain.fork_at(1, 11, U256::from(difficulty));
            assert_eq!(at(&by_hand), at(&plain));
        }
        assert_eq!(by_hand.chain.fork_at(1, 12, U256::from(5_000)), Fork::Shanghai);
    }

    #[test]
    fn a_total_difficulty_is_kept_exactly() {
        let genesis = of(&PLAIN.replace("5000", "58750000000000000000001")).unwrap();
        let at = |total: &str| genesis.chain.fork_at(1, 0, total.parse().unwrap());
        assert_eq!(at("58750000000000000000000"), Fork::London);
        assert_eq!(at("58750000000000000000001"), Fork::Paris);
    }

    #[test]
    fn an_error_does_not_quote_all_of_a_value() {
        let code = format!(r#""nonce": "0x2", "code": "0x{}z""#, "60".repeat(24_576));
        let error = of(&PLAIN.replace(r#""nonce": "0x2""#, &code)).unwrap_err().to_string();
        assert!(error.len() < 800 && error.contains("code") && error.contains("at line"), "{error}");
    }

    #[test]
    fn what_is_no_number_is_told_with_its_place() {
        for (number, bad, place) in [
            (r#""0x493e0""#, r#""0x""#, "balance"),
            (r#""0x493e0""#, r#""12a""#, "balance"),
            (r#""0x493e0""#, r#""+1""#, "balance"),
            (r#""0x2""#, r#""18446744073709551616""#, "nonce"),
            (r#""0xff""#, r#""0xg""#, "storage"),
            ("5000", r#""""#, "terminalTotalDifficulty"),
            ("5000", "-1", "terminalTotalDifficulty"),
            (r#""londonBlock": 0"#, r#""londonBlock": -1"#, "londonBlock"),
            (r#""londonBlock": 0"#, r#""londonBlock": {}"#, "londonBlock"),
        ] {
            let error = of(&PLAIN.replace(number, bad)).unwrap_err().to_string();
            assert!(error.contains("genesis.json") && error.contains(place), "{bad}: {error}");
        }
    }
}
