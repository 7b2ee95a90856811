//! Random blocks, one by one, against stock revm; and every execution against its own record.

mod common;

use braid_core::{Stop, Vm};
use braid_evm::{BlockInput, EvmOutput, EvmShared, EvmTx, EvmVm, TraceOptions, TxResult};
use common::{Rng, World, block, execute, generate, reference::Reference};

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
        let vm = EvmVm::new(shared, &input);
        let mut worker = vm.worker();
        let (ours, view) = execute(&vm, &mut worker, &EvmTx::User(0), &world, true);
        assert!(view.assumed.is_empty(), "{at}");
        let theirs = reference.transact(&input, &input.txs[0]);
        match (&ours, &theirs) {
            (Ok(effects), Ok(result)) => {
                assert_eq!(common::user_result(effects), *result, "{at}");
                let before = world.clone();
                world.apply(&effects.writes);
                traced(shared, &input, &before, &world, result, &at);
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

/// On the second machine, with a tracer, the same comes out.
fn traced(
    shared: &EvmShared,
    input: &BlockInput,
    before: &World,
    after: &World,
    result: &TxResult,
    at: &str,
) {
    // Now and then with an empty cache of codes, so that they are read.
    let fresh = EvmShared::default();
    let shared = if result.gas_used.is_multiple_of(4) { &fresh } else { shared };
    let vm = EvmVm::new(shared, input).with_trace(TraceOptions::default());
    let (effects, _) = execute(&vm, &mut vm.worker(), &EvmTx::User(0), before, true);
    let effects = effects.unwrap_or_else(|stop| panic!("{at} traced: {stop:?}"));
    let Some(EvmOutput::Stock(output)) = &effects.output else { panic!("{at}: {:?}", effects.output) };
    assert_eq!(output.result, *result, "{at} traced");
    let trace = std::str::from_utf8(&output.trace).expect("text");
    assert!(trace.lines().count() > 0 && trace.lines().all(|line| line.starts_with('{')), "{at}: {trace}");
    let mut world = before.clone();
    world.apply(&effects.writes);
    assert_eq!(world.state(), after.state(), "{at} traced");
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
}
