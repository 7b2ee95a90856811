//! Access lists (EIP-7928) of random blocks: the same bytes from every engine; and damaged in every way, so
//! that each is rejected, at every thread count with the same first difference. `BRAID_SEED` repeats a
//! block, `BRAID_BLOCKS` says how many, `BRAID_LONG=1` that it be many.

mod common;

use alloy_primitives::Bytes;
use braid_core::Control;
use braid_evm::{BlockAccessList, ExecutedBlock, access_list_rlp};
use braid_profiles::{Engine, ExecError, profile};
use braid_testkit::{Rng, data};
use braid_work::load;
use common::{
    World,
    damage::{Damaged, KINDS, damage},
    engine,
    random::block,
    seed_to_repeat,
};
use revm::primitives::hardfork::SpecId;
use std::collections::BTreeMap;

const SEATS: [(&str, usize); 6] =
    [("serial", 1), ("monad", 3), ("aptos", 2), ("bal", 1), ("bal", 2), ("bal", 4)];

type Seats = Vec<(&'static str, usize, Box<dyn Engine>)>;

fn seats() -> Seats {
    SEATS.into_iter().map(|(name, threads)| (name, threads, engine(name, threads))).collect()
}

fn count(short: u64, long: u64) -> std::ops::Range<u64> {
    if let Some(seed) = seed_to_repeat() {
        return seed..seed + 1;
    }
    let asked = std::env::var("BRAID_BLOCKS").ok().map(|count| count.parse().expect("a number"));
    0..asked.unwrap_or(if std::env::var_os("BRAID_LONG").is_some() { long } else { short })
}

/// A random block without its invalid transactions, and what `lean` makes of it; `None` if there is no such.
fn valid(seed: u64) -> Option<(World, ExecutedBlock)> {
    let mut world = block(seed);
    loop {
        match world.run("lean", 1) {
            Ok(block) => return Some((world, block)),
            Err(ExecError::Invalid { tx, .. }) => drop(world.input.txs.remove(tx)),
            Err(_) => return None,
        }
    }
}

fn record(
    engine: &mut Box<dyn Engine>,
    world: &World,
) -> Result<(ExecutedBlock, BlockAccessList), ExecError> {
    let done = engine.execute_recorded(&world.input, &world.pre, &Control::default()).expect("records");
    done.map(|(done, list)| (done.into_block(&world.pre), list))
}

fn by(
    engine: &mut Box<dyn Engine>,
    world: &World,
    list: &Bytes,
    seed: u64,
) -> Result<ExecutedBlock, ExecError> {
    engine.shuffle(seed);
    engine.prepare(&world.input, &world.pre, Some(list));
    let done = engine.execute(&world.input, &world.pre, &Control::default())?;
    Ok(done.into_block(&world.pre))
}

#[test]
fn every_engine_records_the_same_list() {
    let mut seats = seats();
    let (mut fallbacks, mut ran) = (BTreeMap::new(), 0u64);
    for seed in count(300, 6_000) {
        let Some((world, expected)) = valid(seed) else { continue };
        let (_, list) = record(&mut seats[0].2, &world).unwrap();
        let bytes = access_list_rlp(&list);
        alloy_eips::eip7928::validate_block_access_list(&list, world.input.txs.len()).unwrap();
        for (name, threads, engine) in &mut seats {
            let what = format!(
                "{name} with {threads} threads, {:?}; repeat with BRAID_SEED={seed}",
                world.input.spec
            );
            engine.shuffle(seed);
            engine.prepare(&world.input, &world.pre, Some(&bytes));
            let (mut block, again) = record(engine, &world).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(again, list, "{what}");
            if let Some(done) = engine.record(&world.input, &world.pre, &Control::default()) {
                let (_, record) = done.unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!(engine.encode(&record, &world.pre).unwrap(), bytes, "{what}");
                let parts = (seed % 300) as usize;
                let mut split = |count: usize, work: &(dyn Fn(usize) + Sync)| (0..count).rev().for_each(work);
                let in_parts = record.rlp_in_parts(&world.pre, parts, &mut split).unwrap();
                assert_eq!(in_parts, bytes, "{what}, {parts} parts");
            }
            block.access_list = None;
            let stats = std::mem::take(&mut block.stats);
            assert_eq!(block, expected, "{what}");
            if (*name, *threads) == ("bal", 2) {
                *fallbacks.entry(world.input.spec).or_insert(0) += stats.fallbacks;
                ran += 1;
            }
        }
    }
    eprintln!("{ran} blocks, by fork run serially: {fallbacks:?}");
    let modern: u64 = fallbacks.range(SpecId::BERLIN..).map(|(_, count)| count).sum();
    assert!(ran < 100 || modern * 20 < ran, "{modern} of {ran} blocks fell back: {fallbacks:?}");
}

/// How engines reject a damaged list; `None` if the damage did nothing.
fn rejected(
    bals: &mut [Box<dyn Engine>],
    world: &World,
    whole: &Bytes,
    damaged: &Damaged,
    seed: u64,
) -> Option<ExecError> {
    if damaged.bytes == *whole {
        return None;
    }
    let mut first = None;
    for (at, engine) in bals.iter_mut().enumerate() {
        let what = format!("{}, engine {at}, {:?}; BRAID_SEED={seed}", damaged.what, world.input.spec);
        let error = by(engine, world, &damaged.bytes, seed).map(drop).expect_err(&what);
        let ExecError::Invalid { kind, reason, .. } = &error else { panic!("{what}: {error}") };
        assert_eq!(*kind, "block_access_list", "{what}: {error}");
        if let Some(entry) = damaged.entry {
            assert!(reason.contains(&entry.to_string()), "{what}: {reason}, instead of {entry}");
        }
        assert_eq!(first.get_or_insert_with(|| error.clone()), &error, "{what}");
    }
    first
}

#[test]
fn damaged_lists_are_rejected() {
    let mut serial = engine("serial", 1);
    let mut bals: Vec<_> = [1, 2, 4].map(|threads| engine("bal", threads)).into();
    let mut seen = BTreeMap::new();
    for seed in count(200, 4_000) {
        let Some((world, _)) = valid(seed) else { continue };
        if !world.input.spec.is_enabled_in(SpecId::BERLIN) {
            continue;
        }
        let (_, list) = record(&mut serial, &world).unwrap();
        let whole = access_list_rlp(&list);
        if by(&mut bals[0], &world, &whole, seed).unwrap().stats.fallbacks > 0 {
            continue;
        }
        let mut rng = Rng::new(seed);
        for kind in 0..KINDS {
            let Some(damaged) = damage(&mut rng, &list, world.input.txs.len(), kind) else { continue };
            if rejected(&mut bals, &world, &whole, &damaged, seed).is_some() {
                *seen.entry(kind).or_insert(0u64) += 1;
            }
        }
    }
    eprintln!("rejected by kind of damage: {seen:?}");
    assert!(seed_to_repeat().is_some() || seen.len() as u64 == KINDS, "{seen:?}");
}

#[test]
fn damaged_lists_of_real_blocks_are_rejected() {
    let Some(path) = data().map(|data| data.join("ethereum/mainnet")) else { return };
    let (every, rounds) = if std::env::var_os("BRAID_LONG").is_some() { (1, 4) } else { (6, 1) };
    let mut serial = engine("serial", 1);
    let mut bals: Vec<_> = [1, 2, 4].map(|threads| (profile("bal").unwrap().build)(threads).unwrap()).into();
    let mut seen = 0;
    let modern = load(&path).unwrap().into_iter().step_by(every);
    for (source, seed) in modern.zip(seed_to_repeat().unwrap_or(1)..) {
        let case = source.load().unwrap_or_else(|error| panic!("{error}"));
        let Some(pre) = case.pre.as_ref() else { continue };
        if !case.input.spec.is_enabled_in(SpecId::BYZANTIUM) {
            continue;
        }
        let world = World { pre: (**pre).clone(), input: case.input.clone() };
        let (_, list) = record(&mut serial, &world).unwrap();
        let (whole, mut rng) = (access_list_rlp(&list), Rng::new(seed));
        for kind in (0..rounds).flat_map(|_| 0..KINDS) {
            let Some(damaged) = damage(&mut rng, &list, world.input.txs.len(), kind) else { continue };
            seen += u64::from(rejected(&mut bals, &world, &whole, &damaged, seed).is_some());
        }
    }
    eprintln!("{seen} damaged lists rejected");
    assert!(seen >= 60, "only {seen} damaged lists");
}
