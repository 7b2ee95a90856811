//! Pools: held against the arithmetic of Uniswap v2, done here.

use super::{
    chain::{Chain, address, argument, entry, word},
    common::engine,
    seeded,
};
use alloy_primitives::{Address, U256};

/// The reserves that a pool's slot holds, and when it was written.
fn reserves(packed: U256) -> ([U256; 2], U256) {
    let mask = (U256::from(1) << 112) - U256::from(1);
    ([packed & mask, packed >> 112 & mask], packed >> 224)
}

fn check(text: &str, pools: u64, seed: u64) {
    let chain = Chain::run(&seeded(text, seed), &mut engine("serial", 1));
    let time = chain.case.input.env.timestamp;
    let mut swaps = 0;
    for pool in (0..pools).map(|index| address("pool", index)) {
        let tokens: [Address; 2] = [0_u64, 1].map(|slot| {
            let slot = chain.before(pool, U256::from(slot));
            Address::from_word(slot.into())
        });
        let (first, last) = reserves(chain.before(pool, U256::from(2)));
        let (mut held, mut here) = (first, 0);
        for tx in &chain.case.input.txs {
            let path = [6, 7].map(|index| Address::from_word(argument(&tx.data, index).into()));
            let Some(paid) = tokens.iter().position(|token| *token == path[0]) else { continue };
            here += 1;
            let with_fee = argument(&tx.data, 0) * U256::from(997);
            let out = with_fee * held[1 - paid] / (held[paid] * U256::from(1000) + with_fee);
            held[paid] += argument(&tx.data, 0);
            held[1 - paid] -= out;
        }
        swaps += here;
        let (after, written) = reserves(chain.after(pool, U256::from(2)));
        assert_eq!(after, held, "{text}: {here} swaps");
        assert!(after[0] * after[1] >= first[0] * first[1], "{text}: the product decreased");
        assert_eq!(written, if here > 0 { time } else { last });
        for (token, reserve) in tokens.into_iter().zip(after) {
            assert_eq!(
                chain.after(token, entry(1, word(pool))),
                reserve,
                "{text}: balance and reserve differ"
            );
        }
        // The price before the block held until now, in both directions.
        if here > 0 {
            for (slot, [one, other]) in [(3, [1, 0]), (4, [0, 1])] {
                let grown = chain.after(pool, U256::from(slot)) - chain.before(pool, U256::from(slot));
                assert_eq!(grown, (first[one] << 112) / first[other] * (time - last));
            }
        }
        assert_eq!(chain.after(pool, U256::from(5)), U256::from(1), "{text}: locked");
    }
    assert_eq!(swaps, chain.case.input.txs.len());
}

#[test]
fn pools_do_what_their_formula_says() {
    check("swaps?txs=300&traders=20", 1, 1);
    check("swaps?txs=300&pools=7&traders=50&zipf=1.1", 7, 2);
}

#[test]
fn independent_pools_share_nothing() {
    let chain = Chain::run(&seeded("swaps?txs=200&pools=10&traders=100", 3), &mut engine("serial", 1));
    let mut seen = std::collections::BTreeMap::new();
    for tx in &chain.case.input.txs {
        let mut path = [6, 7].map(|index| argument(&tx.data, index));
        path.sort();
        assert_eq!(*seen.entry(tx.caller).or_insert(path), path, "a trader of two pools");
    }
    assert!(seen.len() > 50);
}
