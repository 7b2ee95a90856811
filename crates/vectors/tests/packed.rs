//! Packed blocks out of a sample of the state tests: every engine does with them what plain revm does, and
//! enough of their transactions need one another. `BRAID_SEED` repeats a seed, `BRAID_LONG=1` takes every
//! file.

use braid_core::Control;
use braid_profiles::{PROFILES, Profile};
use braid_vectors::{
    Case, Outcome, Seats, archive, load,
    packed::{Packed, PackedBlock, blocks, run},
};
use revm::primitives::hardfork::SpecId;
use std::{collections::BTreeSet, ops::ControlFlow};

/// The archives of state tests, and of how many files one is taken.
const ARCHIVES: [(&str, usize); 4] = [
    ("eest_state", 60),
    ("tests_state", 60),
    ("legacy_state_cancun", 80),
    ("legacy_state_constantinople", 80),
];

fn seed() -> u64 {
    std::env::var("BRAID_SEED").map_or(1, |seed| seed.parse().expect("BRAID_SEED is a number"))
}

/// Cases of one in `every` files, which ones by `seed`.
fn cases(name: &str, every: usize, seed: u64) -> Option<Vec<Case>> {
    let path = braid_testkit::data()?.join(format!("ethereum/tests/{name}.tar.zst"));
    let every = if std::env::var_os("BRAID_LONG").is_some() { 1 } else { every };
    let (mut number, mut cases) = (seed as usize, Vec::new());
    let mut wanted = |_: &str| {
        number += 1;
        number % every == 0
    };
    archive::visit(&path, &mut wanted, &mut |member| {
        let label = archive::label(&path, &member.path).into();
        cases.extend(load(&label, &member.bytes).unwrap());
        ControlFlow::Continue(())
    })
    .unwrap();
    Some(cases)
}

fn seats() -> Seats {
    let profiles: Vec<&'static Profile> = PROFILES.iter().filter(|profile| profile.name != "lean").collect();
    Seats::new(&profiles, &[1, 2, 8]).unwrap()
}

#[test]
fn every_engine_does_what_plain_revm_does() {
    let (mut seats, mut all, seed) = (seats(), Packed::default(), seed());
    let mut specs = BTreeSet::new();
    for (name, every) in ARCHIVES {
        let Some(cases) = cases(name, every, seed) else { return };
        let mut counts = Packed::default();
        for block in blocks(cases.into_iter(), seed).unwrap() {
            let (verdict, dependent) = run(&block, &mut seats, &Control::default());
            counts.count(&block, dependent, &verdict);
            specs.insert((block.input.spec as u8, block.input.rules.eip1283));
            assert_eq!(
                verdict.outcome,
                Outcome::Passed,
                "{name}: {:?} of {:?}",
                verdict.failures,
                block.files
            );
        }
        println!("{name}: {counts:?}, {:.1} % dependent", counts.dependent_percent());
        all.add(&counts);
    }
    assert!(all.blocks >= 100 && all.transactions > 6 * all.blocks, "{all:?}");
    assert!(all.refused > 0, "{all:?}");
    assert!(all.dependent_percent() >= 30.0, "{all:?}");
    for special in [(SpecId::PETERSBURG as u8, true), (SpecId::AMSTERDAM as u8, false)] {
        assert!(specs.contains(&special), "{specs:?}");
    }
}

#[test]
fn the_same_cases_give_the_same_blocks() {
    let Some(cases) = cases("legacy_state_cancun", 300, 0) else { return };
    let made = |seed| -> Vec<PackedBlock> { blocks(cases.clone().into_iter(), seed).unwrap().collect() };
    let (one, two, other) = (made(1), made(1), made(2));
    let txs = |blocks: &[PackedBlock]| blocks.iter().map(|block| block.input.txs.clone()).collect::<Vec<_>>();
    assert!(one.len() > 1);
    assert_eq!(txs(&one), txs(&two));
    assert!(one.iter().zip(&two).all(|(one, two)| one.number == two.number));
    assert_ne!(txs(&one), txs(&other));
}
