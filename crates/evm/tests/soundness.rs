//! What an execution recorded is enough: whenever all of it holds in another state, running there gives
//! the same effects. States are made by changing one location of a real one, at the edges of what was
//! recorded; so every clause of what the journal observes is tried, whichever instruction it is for.

mod common;

use alloy_primitives::{KECCAK256_EMPTY, U256};
use braid_core::{Stop, Vm};
use braid_evm::{AccountState, EvmKey, EvmSeen, EvmShared, EvmTx, EvmValue, EvmVm};
use common::{BENEFICIARY, Recorder, Rng, World, block, execute, generate, summary};
use revm::primitives::hardfork::SpecId;

/// Changes one location of `world` that an execution read (or one that it might have). Returns which.
fn mutate(world: &mut World, view: &Recorder<'_>, rng: &mut Rng) -> EvmKey {
    let (key, seen) = match rng.below(12) {
        0 => (EvmKey::Account(BENEFICIARY), None),
        1 => (EvmKey::Account(generate::contract(rng.below(6))), None),
        _ => {
            let (key, seen) = *rng.pick(&view.reads);
            (key, Some(seen))
        }
    };
    match key {
        EvmKey::Account(address) => {
            let account = mutate_account(world.account(address), seen, world, rng);
            world.set(address, account);
        }
        EvmKey::Slot { .. } => {
            world.0.insert(key, EvmValue::Slot(U256::from(rng.below(3))));
        }
        EvmKey::Code(_) => {}
    }
    key
}

fn mutate_account(
    mut account: AccountState,
    seen: Option<EvmSeen>,
    world: &World,
    rng: &mut Rng,
) -> AccountState {
    let mut edges = vec![U256::ZERO, U256::ONE, account.balance + U256::from(rng.below(100))];
    edges.push(account.balance.saturating_sub(U256::from(rng.below(100))));
    if let Some(EvmSeen::Account(seen)) = seen {
        edges.extend([seen.at_least, seen.at_least.saturating_sub(U256::ONE)]);
        edges.extend(seen.below);
        edges.extend(seen.below.map(|below| below.saturating_sub(U256::ONE)));
    }
    match rng.below(9) {
        0..=3 => account.balance = *rng.pick(&edges),
        4 => account.nonce = rng.below(3),
        5 => {
            account.code_hash = if rng.chance(3) {
                KECCAK256_EMPTY
            } else {
                world.account(generate::contract(rng.below(6))).code_hash
            }
        }
        6 => account.generation += 1,
        7 => account.has_storage = !account.has_storage,
        _ => account = AccountState { exists: !account.exists, ..AccountState::default() },
    }
    // A record of what does not exist says nothing else.
    account.exists |= !account.is_empty();
    account
}

#[derive(Default, Debug)]
struct Tally {
    held: u64,
    broken: u64,
    unseen: u64,
}

fn run(seed: u64, shared: &EvmShared, tally: &mut Tally) {
    let mut rng = Rng(seed);
    let spec = generate::SPECS[(seed % generate::SPECS.len() as u64) as usize];
    let mut world = generate::world(&mut rng, spec);
    for number in 0..6 {
        let at = format!("seed {seed} {spec:?} transaction {number}");
        let tx = generate::transaction(&mut rng, spec, &world);
        let input = block(spec, vec![tx]);
        let vm = EvmVm::new(shared, &input);
        let mut worker = vm.worker();
        let tx = EvmTx::User(0);
        let (last, _) = execute(&vm, &mut worker, &tx, &world, true);
        let (first, view) = execute(&vm, &mut worker, &tx, &world, false);
        if view.holds(&world) {
            assert_eq!(summary(&first), summary(&last), "{at}");
        } else {
            assert!(last.is_err(), "{at}: only a wrong nonce may fail a prediction");
        }
        let (again, _) = execute(&vm, &mut vm.worker(), &tx, &world, false);
        assert_eq!(summary(&first), summary(&again), "{at}: a used worker and a fresh one");
        for round in 0..if view.reads.is_empty() { 0 } else { 24 } {
            let mut other = world.clone();
            let mut key = mutate(&mut other, &view, &mut rng);
            while rng.chance(3) {
                key = mutate(&mut other, &view, &mut rng);
            }
            let at = format!("{at} round {round} {key:?}");
            if !view.holds(&other) {
                tally.broken += 1;
                continue;
            }
            tally.held += 1;
            tally.unseen += u64::from(other.0.get(&key) != world.0.get(&key));
            for is_final in [false, true] {
                let (theirs, _) = execute(&vm, &mut worker, &tx, &other, is_final);
                assert_eq!(
                    summary(&first),
                    summary(&theirs),
                    "{at} final {is_final}\n{:#?}\nwas {:?}\nnow {:?}",
                    view.reads,
                    world.0.get(&key),
                    other.0.get(&key)
                );
            }
        }
        if let Ok(effects) = last {
            world.apply(&effects.writes);
        }
    }
}

#[test]
fn what_was_seen_determines_the_effects() {
    let shared = EvmShared::default();
    let blocks = std::env::var("BRAID_BLOCKS").ok().and_then(|n| n.parse().ok()).unwrap_or(1500);
    let first = std::env::var("BRAID_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    let mut tally = Tally::default();
    for seed in first..first + blocks {
        run(seed, &shared, &mut tally);
    }
    // Both outcomes are common, or the test would show little.
    let tried = tally.held + tally.broken;
    assert!(tally.unseen * 8 > tried && tally.broken * 8 > tried, "{tally:?}");
}

#[test]
fn a_view_may_stop_an_execution_anywhere() {
    let shared = EvmShared::default();
    for seed in 0..400 {
        let mut rng = Rng(seed);
        let spec = *rng.pick(&[SpecId::HOMESTEAD, SpecId::BERLIN, SpecId::OSAKA, SpecId::AMSTERDAM]);
        let world = generate::world(&mut rng, spec);
        let input = block(spec, vec![generate::transaction(&mut rng, spec, &world)]);
        let vm = EvmVm::new(&shared, &input);
        let mut worker = vm.worker();
        let tx = EvmTx::User(0);
        // Once to fill the caches: code is read only if it is in none.
        let _ = execute(&vm, &mut worker, &tx, &world, false);
        let (whole, view) = execute(&vm, &mut worker, &tx, &world, false);
        for after in 0..view.reads.len() {
            let mut stopping = Recorder::new(&world, false);
            let halt = braid_core::Halt::Blocked(after as u32);
            stopping.stop_after = Some((after, halt.clone()));
            let mut effects = braid_core::Effects::default();
            let stopped = vm.execute(&mut worker, &tx, &mut stopping, &mut effects);
            assert_eq!(stopped, Err(Stop::Halt(halt)), "seed {seed} after {after} reads");
        }
        let (again, _) = execute(&vm, &mut worker, &tx, &world, false);
        assert_eq!(summary(&whole), summary(&again), "seed {seed}: after having been stopped");
    }
}
