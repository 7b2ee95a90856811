//! Every rule of a header lets a valid one pass, and refuses one that breaks it.

mod common;

use alloy_consensus::Header;
use alloy_eips::eip7840::BlobParams;
use alloy_primitives::{B64, B256, U256};
use braid_rules::{ChainSpec, Fork, RuleError, header};
use common::{BLOB, chain, child, genesis};

fn check(chain: &ChainSpec, header: &Header, parent: &Header) -> Result<(), &'static str> {
    header::check(chain, header, parent, U256::ZERO).map_err(|error| error.kind())
}

/// Checks that a valid second block of `network` passes, and fails by the rule `kind` once broken.
fn refuses(network: &str, kind: &str, break_it: impl Fn(&mut Header)) {
    let chain = chain(network);
    let parent = genesis(&chain);
    let mut header = child(&chain, &parent, 12);
    assert_eq!(check(&chain, &header, &parent), Ok(()), "{network}, before {kind} is broken");
    break_it(&mut header);
    assert_eq!(check(&chain, &header, &parent), Err(kind), "{network}");
}

const NETWORKS: [&str; 20] = [
    "Frontier",
    "Homestead",
    "EIP150",
    "EIP158",
    "Byzantium",
    "Constantinople",
    "Istanbul",
    "Berlin",
    "London",
    "ArrowGlacier",
    "GrayGlacier",
    "Paris",
    "Shanghai",
    "Cancun",
    "Prague",
    "Osaka",
    "BPO2",
    "FrontierToHomesteadAt5",
    "BerlinToLondonAt5",
    "PragueToOsakaAtTime15k",
];

#[test]
fn empty_blocks_of_every_fork_follow_one_another() {
    for network in NETWORKS {
        let chain = chain(network);
        let mut parent = genesis(&chain);
        for elapsed in [12, 1, 5000, 9999, 13, 20, 20_000] {
            let header = child(&chain, &parent, elapsed);
            assert_eq!(check(&chain, &header, &parent), Ok(()), "{network} {}", header.number);
            parent = header;
        }
    }
}

#[test]
fn number_and_time() {
    refuses("Prague", "number", |header| header.number += 1);
    refuses("Prague", "timestamp", |header| header.timestamp = 0);
    let (last, chain) = (Header { number: u64::MAX, ..Header::default() }, chain("Frontier"));
    assert_eq!(check(&chain, &Header::default(), &last), Err("number"));
}

#[test]
fn gas() {
    let step = 30_000_000 / 1024;
    refuses("Prague", "gas_limit_change", |header| header.gas_limit += step);
    refuses("Prague", "gas_limit_change", |header| header.gas_limit -= step);
    refuses("Prague", "gas_limit_too_big", |header| header.gas_limit = 1 << 63);
    refuses("Prague", "gas_used_over_limit", |header| header.gas_used = header.gas_limit + 1);
    let chain = chain("Berlin");
    let mut parent = genesis(&chain);
    for (limit, change, expected) in [
        (5001, -1i64, Ok(())),
        (5001, -2, Err("gas_limit_too_small")),
        (30_000_000, step as i64 - 1, Ok(())),
        (30_000_000, 1 - step as i64, Ok(())),
        (header::MAX_GAS_LIMIT - 1, 1, Ok(())),
    ] {
        parent.gas_limit = limit;
        let mut header = child(&chain, &parent, 12);
        header.gas_limit = header.gas_limit.saturating_add_signed(change);
        assert_eq!(check(&chain, &header, &parent), expected, "{limit} {change}");
    }
}

#[test]
fn extra_data() {
    refuses("Frontier", "extra_data_too_long", |header| header.extra_data = vec![0; 33].into());
    let chain = chain("HomesteadToDaoAt5");
    let mut parent = genesis(&chain);
    for number in 1..20 {
        let mut header = child(&chain, &parent, 12);
        let marked = (5..15).contains(&number);
        let plain = check(&chain, &header, &parent);
        assert_eq!(plain, if marked { Err("dao_extra_data") } else { Ok(()) }, "block {number}");
        header.extra_data = b"dao-hard-fork".into();
        assert_eq!(check(&chain, &header, &parent), Ok(()), "block {number}");
        parent = header;
    }
}

#[test]
fn seal() {
    refuses("Berlin", "difficulty", |header| header.difficulty += U256::ONE);
    refuses("Prague", "difficulty_after_merge", |header| header.difficulty = U256::ONE);
    refuses("Prague", "nonce_after_merge", |header| header.nonce = B64::with_last_byte(1));
    refuses("Prague", "ommers_after_merge", |header| header.ommers_hash = B256::ZERO);
    // Before the Merge the nonce is a seal, which is not checked.
    let chain = chain("Berlin");
    let header = Header { nonce: B64::with_last_byte(1), ..child(&chain, &genesis(&chain), 12) };
    assert_eq!(check(&chain, &header, &genesis(&chain)), Ok(()));
}

#[test]
fn the_merge_is_where_total_difficulty_says() {
    let chain = chain("ArrowGlacierToParisAtDiffC0000");
    let parent = genesis(&chain);
    let work = child(&chain, &parent, 12);
    let stake = Header { difficulty: U256::ZERO, ..work.clone() };
    let check = |header, total: u64| {
        header::check(&chain, header, &parent, U256::from(total)).map_err(|error| error.kind())
    };
    assert_eq!(check(&work, 0xbffff), Ok(()));
    assert_eq!(check(&stake, 0xbffff), Err("difficulty"));
    assert_eq!(check(&work, 0xc0000), Err("difficulty_after_merge"));
    assert_eq!(check(&stake, 0xc0000), Ok(()));
}

#[test]
fn fields_come_with_their_forks() {
    refuses("London", "base_fee_missing", |header| header.base_fee_per_gas = None);
    refuses("Berlin", "base_fee_too_early", |header| header.base_fee_per_gas = Some(7));
    refuses("Shanghai", "withdrawals_root_missing", |header| header.withdrawals_root = None);
    refuses("Paris", "withdrawals_root_too_early", |header| header.withdrawals_root = Some(B256::ZERO));
    refuses("Cancun", "blob_gas_used_missing", |header| header.blob_gas_used = None);
    refuses("Shanghai", "blob_gas_used_too_early", |header| header.blob_gas_used = Some(0));
    refuses("Cancun", "excess_blob_gas_missing", |header| header.excess_blob_gas = None);
    refuses("Shanghai", "excess_blob_gas_too_early", |header| header.excess_blob_gas = Some(0));
    refuses("Cancun", "parent_beacon_root_missing", |header| header.parent_beacon_block_root = None);
    refuses("Shanghai", "parent_beacon_root_too_early", |header| {
        header.parent_beacon_block_root = Some(B256::ZERO);
    });
    refuses("Prague", "requests_hash_missing", |header| header.requests_hash = None);
    refuses("Cancun", "requests_hash_too_early", |header| header.requests_hash = Some(B256::ZERO));
    refuses("Osaka", "block_access_list_hash_too_early", |header| {
        header.block_access_list_hash = Some(B256::ZERO);
    });
    refuses("Osaka", "slot_number_too_early", |header| header.slot_number = Some(0));
    let (chain, osaka) = (chain("Amsterdam"), chain("Osaka"));
    let parent = genesis(&osaka);
    let mut header = child(&chain, &parent, 12);
    assert_eq!(check(&chain, &header, &parent), Err("block_access_list_hash_missing"));
    header.block_access_list_hash = Some(B256::ZERO);
    assert_eq!(check(&chain, &header, &parent), Err("slot_number_missing"));
    header.slot_number = Some(1);
    assert_eq!(check(&chain, &header, &parent), Ok(()));
}

#[test]
fn base_fee() {
    refuses("London", "base_fee", |header| header.base_fee_per_gas = Some(1));
    let parent = |gas_used, base_fee| Header {
        gas_limit: 20_000_000,
        gas_used,
        base_fee_per_gas: base_fee,
        ..Header::default()
    };
    // EIP-1559: an eighth up for a full block, an eighth down for an empty one, by one wei at least up.
    for (used, fee, expected) in [
        (10_000_000, 800, 800),
        (20_000_000, 800, 900),
        (0, 800, 700),
        (10_000_001, 800, 801),
        (9_999_999, 800, 800),
        (0, 7, 7),
        (20_000_000, u64::MAX, u64::MAX),
    ] {
        assert_eq!(header::next_base_fee(&parent(used, Some(fee))), expected, "{used} {fee}");
    }
    assert_eq!(header::next_base_fee(&parent(0, None)), 1_000_000_000);
    // London begins with the initial fee, and twice the gas.
    let chain = chain("BerlinToLondonAt5");
    let mut last = genesis(&chain);
    for _ in 0..4 {
        last = child(&chain, &last, 12);
    }
    let first = child(&chain, &last, 12);
    assert_eq!((first.base_fee_per_gas, first.gas_limit), (Some(1_000_000_000), 60_000_000));
    assert_eq!(check(&chain, &first, &last), Ok(()));
    let unchanged = Header { gas_limit: last.gas_limit, ..first };
    assert_eq!(check(&chain, &unchanged, &last), Err("gas_limit_change"));
}

#[test]
fn blobs() {
    refuses("Cancun", "excess_blob_gas", |header| header.excess_blob_gas = Some(BLOB));
    refuses("Cancun", "blob_gas_over_limit", |header| header.blob_gas_used = Some(7 * BLOB));
    refuses("Prague", "blob_gas_over_limit", |header| header.blob_gas_used = Some(10 * BLOB));
    refuses("BPO2", "blob_gas_over_limit", |header| header.blob_gas_used = Some(22 * BLOB));
    let six = BlobParams { max_blob_count: 22, ..BlobParams::bpo2() };
    let chain = chain("BPO2").with_blobs(Fork::Bpo2, six);
    let header = Header { blob_gas_used: Some(22 * BLOB), ..child(&chain, &genesis(&chain), 12) };
    assert_eq!(check(&chain, &header, &genesis(&chain)), Ok(()));
}

#[test]
fn all_violations_are_found() {
    let chain = chain("Prague");
    let parent = genesis(&chain);
    let header = Header {
        timestamp: 0,
        gas_used: u64::MAX,
        extra_data: vec![0; 40].into(),
        ..child(&chain, &parent, 9)
    };
    let kinds: Vec<_> =
        header::violations(&chain, &header, &parent, U256::ZERO).iter().map(RuleError::kind).collect();
    assert_eq!(kinds, ["timestamp", "extra_data_too_long", "gas_used_over_limit"]);
}
