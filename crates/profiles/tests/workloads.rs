//! Generated workloads: every profile equals `lean` on them under shuffled schedules, their transactions
//! succeed, and their contracts keep what they promise. `BRAID_SEED` repeats one seed.

#[path = "workloads/books.rs"]
mod books;
#[path = "workloads/chain.rs"]
mod chain;
mod common;
#[path = "workloads/pools.rs"]
mod pools;

use alloy_primitives::U256;
use braid_evm::Status;
use braid_profiles::PROFILES;
use braid_work::synth::{Kind, Workload};
use chain::{Chain, address, entry, word};
use common::{engine, schedule_seeds};

/// One or more of each kind, small, with many conflicts and with few.
const SMALL: [&str; 14] = [
    "transfers?txs=150&accounts=40&zipf=1.2",
    "erc20?txs=150&holders=60&tokens=2&hot=10&cold=20",
    "erc20?txs=150&holders=60&tokens=3&families=6&zipf=1",
    "swaps?txs=80&traders=30",
    "swaps?txs=80&pools=8&traders=40&zipf=1.1",
    "mint?txs=120&minters=40",
    "mint?txs=120&collections=4&minters=40&zipf=1",
    "orderbook?txs=150&traders=20",
    "orderbook?txs=150&traders=20&markets=4&zipf=0.8&cancels=50&ticks=2",
    "compute?txs=30&work=60000&share=50&accounts=10",
    "compute?txs=20&work=300000",
    "mainnet?txs=150",
    "mainnet?txs=150&era=2022",
    "hostile?kind=mixed&txs=100",
];

fn seeded(text: &str, seed: u64) -> Workload {
    format!("{text}&seed={seed}").parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn every_profile_equals_lean() {
    let mut seats: Vec<_> = PROFILES
        .iter()
        .filter(|profile| profile.name != "lean")
        .flat_map(|profile| {
            let threads = if profile.parallel { &[1, 2, 4][..] } else { &[1][..] };
            threads.iter().map(|threads| (profile.name, *threads, engine(profile.name, *threads)))
        })
        .collect();
    for seed in schedule_seeds(2) {
        for text in SMALL {
            let chain = Chain::run(&seeded(text, seed), &mut engine("lean", 1));
            for (name, threads, engine) in &mut seats {
                engine.shuffle(seed);
                let got = Chain::run(&seeded(text, seed), engine);
                let who = format!("{text} under {name} with {threads} threads; BRAID_SEED={seed}");
                assert!(got.block == chain.block, "{who}: not as under lean");
            }
        }
    }
}

#[test]
fn all_transactions_succeed_and_use_about_the_gas_that_is_said() {
    for kind in Kind::ALL.into_iter().filter(|kind| !matches!(kind, Kind::Mainnet | Kind::Hostile)) {
        // At the size that the text stands for, a workload uses that gas within a tenth.
        let text = format!("{}?gas=20000000", kind.name());
        let chain = Chain::run(&seeded(&text, 1), &mut engine("serial", 1));
        for (index, result) in chain.block.results.iter().enumerate() {
            assert_eq!(result.status, Status::Success, "{text} transaction {index}");
        }
        let gas: u64 = chain.block.results.iter().map(|result| result.gas_used).sum();
        assert!((18_000_000..=22_000_000).contains(&gas), "{text}: {gas}");
    }
}

#[test]
fn events_are_as_many_as_the_contracts_emit() {
    let logs = |text: &str| -> Vec<usize> {
        let chain = Chain::run(&seeded(text, 3), &mut engine("serial", 1));
        chain.block.results.iter().map(|result| result.logs.len()).collect()
    };
    assert!(logs("transfers?txs=20").iter().all(|count| *count == 0));
    assert!(logs("erc20?txs=200&holders=10&tokens=2&hot=50").iter().all(|count| *count == 1));
    // Two transfers, Sync, Swap.
    assert!(logs("swaps?txs=50&traders=9").iter().all(|count| *count == 4));
    assert!(logs("compute?txs=5&work=60000").iter().all(|count| *count == 1));
    assert!(logs("mint?txs=50&most=3&minters=9").iter().all(|count| (1..=3).contains(count)));
}

/// Tokens are moved, never made: among all who may hold them the sum is the supply.
#[test]
fn supplies_stay() {
    let (holders, tokens, txs) = (30, 3, 400);
    for families in [1, 5] {
        let text = format!("erc20?txs={txs}&holders={holders}&tokens={tokens}&families={families}&cold=30");
        let chain = Chain::run(&seeded(&text, 4), &mut engine("serial", 1));
        let mut moved = 0;
        for token in (0..tokens).map(|index| address("token", index)) {
            let holder = |index| address("account", index);
            let all = (0..holders).map(holder).chain((0..txs).map(|index| address("new holder", index)));
            let slots = all.map(|who| entry(1, word(who)));
            let (mut before, mut after) = (U256::ZERO, U256::ZERO);
            for slot in slots {
                let [was, is] = [chain.before(token, slot), chain.after(token, slot)];
                (before, after) = (before + was, after + is);
                moved += usize::from(was != is);
            }
            assert_eq!(before, chain.after(token, U256::ZERO), "{text}");
            assert_eq!(after, before, "{text}");
        }
        assert!(moved > 100, "{text}: few balances changed");
    }
}

#[test]
fn families_keep_to_themselves() {
    let chain = Chain::run(&seeded("erc20?txs=300&holders=40&families=4", 5), &mut engine("serial", 1));
    let family = |who| (0..40).find(|index| address("account", *index) == who).map(|index| index / 10);
    for tx in &chain.case.input.txs {
        // transfer, approve and transferFrom name others in their first words.
        let others = tx.data[4..].chunks(32).map(|word| alloy_primitives::Address::from_slice(&word[12..]));
        let known: Vec<_> = others.filter_map(family).collect();
        assert!(!known.is_empty());
        assert!(known.iter().all(|one| Some(*one) == family(tx.caller)), "{:?}", tx.data);
    }
}

/// Identifiers are handed out one by one, and balances are the numbers of owned tokens.
#[test]
fn mints_count() {
    let workload = seeded("mint?txs=200&collections=3&minters=15&most=4&zipf=1", 6);
    let chain = Chain::run(&workload, &mut engine("serial", 1));
    for at in (0..3).map(|index| address("collection", index)) {
        let first: u64 = chain.before(at, U256::ZERO).to();
        let mut owners = Vec::new();
        for tx in chain.case.input.txs.iter().filter(|tx| tx.kind.to() == Some(&at)) {
            let count: u64 = U256::from_be_slice(&tx.data[36..68]).to();
            owners.extend((0..count).map(|_| tx.caller));
        }
        assert_eq!(chain.after(at, U256::ZERO), U256::from(first + owners.len() as u64));
        for (id, owner) in (first..).zip(&owners) {
            assert_eq!(chain.after(at, entry(1, U256::from(id))), word(*owner), "token {id}");
        }
        for who in (0..15).map(|index| address("account", index)) {
            let count = owners.iter().filter(|owner| **owner == who).count();
            assert_eq!(chain.after(at, entry(2, word(who))), U256::from(count));
        }
    }
}

#[test]
fn computation_is_shared_as_far_as_it_is_said() {
    let changed = |share: u64| {
        let text = format!("compute?txs=40&work=60000&share={share}&accounts=1000");
        let chain = Chain::run(&seeded(&text, 7), &mut engine("serial", 1));
        let at = address("compute", 0);
        (chain.before(at, U256::ZERO) != chain.after(at, U256::ZERO), chain.block.diff[&at].storage.len())
    };
    assert!(!changed(0).0 && changed(0).1 > 30);
    assert_eq!(changed(100), (true, 1));
    assert!(changed(50).0 && (10..32).contains(&changed(50).1));
}
