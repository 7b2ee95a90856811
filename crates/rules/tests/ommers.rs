//! Ommers: who may be one, and what is paid for it.

mod common;

use alloy_consensus::Header;
use alloy_primitives::{Address, B256, U256};
use braid_rules::{ChainSpec, Fork, ommers, ommers::Ancestor};
use common::{MINER, chain, child, genesis};

/// A chain of ten blocks, newest first, with its hashes.
fn ancestors(chain: &ChainSpec) -> Vec<Header> {
    let mut blocks = vec![genesis(chain)];
    for _ in 1..10 {
        blocks.push(child(chain, &blocks[blocks.len() - 1], 12));
    }
    blocks.reverse();
    blocks
}

fn check(blocks: &[Header], included: &[(usize, B256)], ommers: &[Header]) -> Result<(), &'static str> {
    let listed: Vec<Vec<B256>> = (0..blocks.len())
        .map(|at| included.iter().filter(|(block, _)| *block == at).map(|(_, hash)| *hash).collect())
        .collect();
    let ancestors: Vec<Ancestor<'_>> = blocks
        .iter()
        .zip(&listed)
        .map(|(header, ommers)| Ancestor {
            hash: header.hash_slow(),
            header,
            ommers,
            total_difficulty: U256::ZERO,
        })
        .collect();
    ommers::check(&chain("Berlin"), ommers, &ancestors).map_err(|error| error.kind())
}

/// A sibling of the block at `at`, which is `at + 1` generations above the next block.
fn sibling(blocks: &[Header], at: usize, time: u64) -> Header {
    child(&chain("Berlin"), &blocks[at + 1], time)
}

#[test]
fn siblings_of_near_ancestors_are_ommers() {
    let blocks = ancestors(&chain("Berlin"));
    for at in 0..6 {
        assert_eq!(check(&blocks, &[], &[sibling(&blocks, at, 13)]), Ok(()), "{at}");
    }
    assert_eq!(check(&blocks, &[], &[sibling(&blocks, 6, 13)]), Err("ommer_parent"));
    let own_sibling = child(&chain("Berlin"), &blocks[0], 13);
    assert_eq!(check(&blocks, &[], &[own_sibling]), Err("ommer_parent"));
    let stranger = Header { parent_hash: B256::ZERO, ..sibling(&blocks, 0, 13) };
    assert_eq!(check(&blocks, &[], &[stranger]), Err("ommer_parent"));
    assert_eq!(check(&[], &[], &[sibling(&blocks, 0, 13)]), Err("ommer_parent"));
}

#[test]
fn an_ommer_is_new_valid_and_one_of_two() {
    let blocks = ancestors(&chain("Berlin"));
    let one = sibling(&blocks, 0, 13);
    let other = sibling(&blocks, 1, 13);
    let third = sibling(&blocks, 2, 13);
    assert_eq!(check(&blocks, &[], &[one.clone(), other.clone()]), Ok(()));
    assert_eq!(check(&blocks, &[], &[one.clone(), other.clone(), third]), Err("too_many_ommers"));
    assert_eq!(check(&blocks, &[], &[one.clone(), one.clone()]), Err("ommer_included"));
    assert_eq!(check(&blocks, &[(1, other.hash_slow())], std::slice::from_ref(&one)), Ok(()));
    assert_eq!(check(&blocks, &[(1, other.hash_slow())], &[other]), Err("ommer_included"));
    assert_eq!(check(&blocks, &[], &[blocks[2].clone()]), Err("ommer_is_ancestor"));
    // A header that breaks a rule: the rule is named.
    let invalid = Header { gas_limit: 1, ..one };
    assert_eq!(check(&blocks, &[], &[invalid]), Err("gas_limit_change"));
}

#[test]
fn rewards_of_nephew_and_ommer() {
    const ETHER: u128 = 1_000_000_000_000_000_000;
    let (aunt, uncle) = (Address::with_last_byte(1), Address::with_last_byte(2));
    let ommers = [
        Header { number: 9, beneficiary: aunt, ..Header::default() },
        Header { number: 4, beneficiary: uncle, ..Header::default() },
    ];
    for (fork, reward) in [
        (Fork::Frontier, 5 * ETHER),
        (Fork::SpuriousDragon, 5 * ETHER),
        (Fork::Byzantium, 3 * ETHER),
        (Fork::Constantinople, 2 * ETHER),
        (Fork::GrayGlacier, 2 * ETHER),
    ] {
        let expected = [(MINER, reward + reward / 16), (aunt, reward * 7 / 8), (uncle, reward * 2 / 8)];
        assert_eq!(ommers::rewards(fork, 10, MINER, &ommers), expected, "{fork:?}");
        assert_eq!(ommers::rewards(fork, 10, MINER, &[]), [(MINER, reward)], "{fork:?}");
    }
    assert_eq!(ommers::rewards(Fork::Paris, 10, MINER, &ommers), []);
}
