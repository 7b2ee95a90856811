//! Random blocks, one by one, against stock revm; and every execution against its own record.

mod common;

use braid_core::{Stop, Vm};
use braid_evm::{EvmOutput, EvmShared, EvmTx, EvmVm};
use common::{Rng, World, block, execute, generate, reference::Reference, summary};

/// Runs one random block. Every failure names `seed`.
fn run(seed: u64, shared: &EvmShared) -> (u64, u64) {
    let mut rng = Rng(seed);
    let spec = generate::SPECS[(seed % generate::SPECS.len() as u64) as usize];
    let mut world = generate::world(&mut rng, spec);
    let mut reference = Reference::new(&world, &block(spec, Vec::new()));
    let (mut valid, mut invalid) = (0, 0);
    for number in 0..12 {
        let at = format!("seed {seed} {spec:?} transaction {number}");
        let tx = generate::transaction(&mut rng, spec, &world);
        let input = block(spec, vec![tx]);
        let vm = EvmVm::new(shared, &input).expect("a supported fork");
        let mut worker = vm.worker();
        let (ours, view) = execute(&vm, &mut worker, &EvmTx::User(0), &world, true);
        assert!(view.assumed.is_empty(), "{at}");
        let theirs = reference.transact(&input, &input.txs[0]);
        match (&ours, &theirs) {
            (Ok(effects), Ok(result)) => {
                assert_eq!(effects.output, Some(EvmOutput::User(result.clone())), "{at}");
                world.apply(&effects.writes);
                valid += 1;
            }
            (Err(Stop::Invalid(ours)), Err(theirs)) => {
                assert_eq!(ours, theirs, "{at}");
                invalid += 1;
            }
            (ours, theirs) => panic!("{at}: {ours:?} but {theirs:?}"),
        }
        assert_states(&world, &reference, &at);
    }
    (valid, invalid)
}

fn assert_states(world: &World, reference: &Reference, at: &str) {
    let state = world.state();
    for address in state.keys().chain(reference.accounts.keys()) {
        assert_eq!(state.get(address), reference.accounts.get(address), "{at}: {address}");
    }
}

#[test]
fn equals_stock_revm() {
    let shared = EvmShared::default();
    let blocks = std::env::var("BRAID_BLOCKS").ok().and_then(|n| n.parse().ok()).unwrap_or(3000);
    let first = std::env::var("BRAID_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    let (mut valid, mut invalid) = (0, 0);
    for seed in first..first + blocks {
        let (some, others) = run(seed, &shared);
        valid += some;
        invalid += others;
    }
    assert!(valid > invalid, "{valid} valid, {invalid} invalid: the generator is off");
    let _ = summary;
}
