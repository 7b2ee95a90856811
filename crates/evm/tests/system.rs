//! System transactions: calls against stock revm, credits and drains against what they should do.

mod common;

use alloy_primitives::{Address, Bytes, U256};
use braid_core::{Stop, Vm, Write};
use braid_evm::{
    AccountDelta, EvmError, EvmKey, EvmOutput, EvmSeen, EvmShared, EvmTx, EvmVm, SystemStep, SystemTx,
};
use common::{BENEFICIARY, Rng, World, block, execute, generate, reference::Reference};
use revm::{bytecode::opcode as op, primitives::hardfork::SpecId};
use std::sync::Arc;

const CONTRACT: Address = Address::repeat_byte(0xc0);
const ALICE: Address = Address::repeat_byte(0xa1);
const BOB: Address = Address::repeat_byte(0xb0);

fn call(to: Address, optional: bool) -> SystemStep {
    SystemStep::Call { to, data: Bytes::from_static(&[7; 32]), optional }
}

fn credit(to: Address, amount: u64) -> SystemStep {
    SystemStep::Credit { to, amount: U256::from(amount) }
}

fn system(steps: Vec<SystemStep>) -> EvmTx {
    EvmTx::System(Arc::new(SystemTx { steps }))
}

/// Runs the steps on `world`, and leaves their writes there.
fn run(spec: SpecId, steps: Vec<SystemStep>, world: &mut World) -> Result<Vec<Bytes>, EvmError> {
    let (shared, input) = (EvmShared::default(), block(spec, Vec::new()));
    let vm = EvmVm::new(&shared, &input).expect("a supported fork");
    let tx = system(steps);
    let (result, view) = execute(&vm, &mut vm.worker(), &tx, world, false);
    assert!(view.assumed.is_empty(), "there is no nonce to predict");
    match result {
        Ok(effects) => {
            world.apply(&effects.writes);
            match effects.output {
                Some(EvmOutput::System(outputs)) => Ok(outputs),
                other => panic!("{other:?}"),
            }
        }
        Err(Stop::Invalid(error)) => Err(error),
        Err(Stop::Halt(halt)) => panic!("{halt:?}"),
    }
}

#[test]
fn a_call_equals_stock_revm() {
    for seed in 0..2000 {
        let mut rng = Rng(seed);
        let spec = *rng.pick(&generate::SPECS);
        let mut world = generate::world(&mut rng, spec);
        let input = block(spec, Vec::new());
        let mut reference = Reference::new(&world, &input);
        for number in 0..3 {
            let to = generate::contract(rng.below(6));
            if !reference.accounts.contains_key(&to) {
                continue;
            }
            let theirs = reference.system_call(&input, to, Bytes::from_static(&[7; 32]));
            let ours = run(spec, vec![call(to, true)], &mut world).expect("an optional call");
            let success = theirs.status == braid_evm::Status::Success;
            let expected = if success { theirs.output } else { Bytes::new() };
            let at = format!("seed {seed} {spec:?} call {number}");
            assert_eq!(ours, [expected], "{at}");
            let state = world.state();
            for address in state.keys().chain(reference.accounts.keys()) {
                assert_eq!(state.get(address), reference.accounts.get(address), "{at}: {address}");
            }
        }
    }
}

/// Adds the first word of call data to slot 0 and to a transient slot; returns the transient sum.
const ADDS: &[u8] = &[
    op::PUSH0,
    op::CALLDATALOAD,
    op::PUSH0,
    op::SLOAD,
    op::ADD,
    op::PUSH0,
    op::SSTORE, // slot
    op::PUSH0,
    op::CALLDATALOAD,
    op::PUSH0,
    op::TLOAD,
    op::ADD,
    op::DUP1,
    op::PUSH0,
    op::TSTORE, //
    op::PUSH0,
    op::MSTORE,
    op::PUSH1,
    32,
    op::PUSH0,
    op::RETURN,
];

#[test]
fn calls_of_one_transaction_see_each_other_and_share_nothing_transient() {
    let mut world = World::default();
    world.add(CONTRACT, 0, 1, ADDS);
    let input = block(SpecId::OSAKA, Vec::new());
    let mut reference = Reference::new(&world, &input);
    let outputs = run(SpecId::OSAKA, vec![call(CONTRACT, false); 3], &mut world).unwrap();
    let expected: Vec<_> = (0..3)
        .map(|_| reference.system_call(&input, CONTRACT, Bytes::from_static(&[7; 32])).output)
        .collect();
    assert_eq!(outputs, expected);
    assert_eq!(world.state(), reference.accounts);
}

#[test]
fn what_cannot_be_called_is_skipped_or_fails_the_block() {
    let mut world = World::default();
    world.add(CONTRACT, 0, 1, &[op::PUSH0, op::PUSH0, op::REVERT]);
    let before = world.state();
    let steps = vec![call(ALICE, true), call(CONTRACT, true)];
    assert_eq!(run(SpecId::PRAGUE, steps, &mut world), Ok(vec![Bytes::new(); 2]));
    assert_eq!(world.state(), before);
    for (to, what) in [(ALICE, "no code"), (CONTRACT, "reverted: 0x"), (BENEFICIARY, "no code")] {
        let error = run(SpecId::PRAGUE, vec![call(to, false)], &mut world).unwrap_err();
        assert_eq!(error, EvmError::SystemCall { to, reason: what.into() });
        assert_eq!(error.kind(), "system_call");
    }
}

#[test]
fn credits_are_blind_and_merged() {
    let (shared, input) = (EvmShared::default(), block(SpecId::OSAKA, Vec::new()));
    let vm = EvmVm::new(&shared, &input).unwrap();
    let world = World::default();
    let tx = system(vec![credit(ALICE, 3), credit(BOB, 1), credit(ALICE, 4)]);
    let (result, view) = execute(&vm, &mut vm.worker(), &tx, &world, false);
    assert!(view.reads.is_empty(), "{:?}", view.reads);
    let writes = result.unwrap().writes;
    let add = |amount: u64| AccountDelta { credit: U256::from(amount), ..AccountDelta::default() };
    match &writes[..] {
        [(EvmKey::Account(ALICE), Write::Add(alice)), (EvmKey::Account(BOB), Write::Add(bob))] => {
            assert_eq!((*alice, *bob), (add(7), add(1)));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_credit_reaches_an_account_that_is_loaded_later() {
    let mut world = World::default();
    world.add(
        CONTRACT,
        10,
        1,
        &[op::SELFBALANCE, op::PUSH0, op::MSTORE, op::PUSH1, 32, op::PUSH0, op::RETURN],
    );
    let steps = vec![credit(CONTRACT, 5), call(CONTRACT, false), credit(CONTRACT, 1)];
    let outputs = run(SpecId::OSAKA, steps, &mut world).unwrap();
    assert_eq!(U256::from_be_slice(&outputs[0]), U256::from(15));
    assert_eq!(world.account(CONTRACT).balance, U256::from(16));
}

#[test]
fn a_credit_of_nothing_touches() {
    let mut world = World::default();
    world.add(ALICE, 0, 0, &[]);
    world.add(BOB, 1, 0, &[]);
    run(SpecId::OSAKA, vec![credit(ALICE, 0), credit(BOB, 0), credit(CONTRACT, 0)], &mut world).unwrap();
    assert_eq!(world.state().into_keys().collect::<Vec<_>>(), [BOB], "EIP-161");
    let mut world = World::default();
    run(SpecId::HOMESTEAD, vec![credit(ALICE, 0)], &mut world).unwrap();
    assert!(world.account(ALICE).exists);
}

#[test]
fn a_drain_moves_everything_and_sees_how_much() {
    let (shared, input) = (EvmShared::default(), block(SpecId::HOMESTEAD, Vec::new()));
    let vm = EvmVm::new(&shared, &input).unwrap();
    let mut world = World::default();
    world.add(ALICE, 70, 0, &[]);
    world.add(BOB, 5, 0, &[]);
    let drain = |from| SystemStep::Drain { from, to: CONTRACT };
    let tx = system(vec![drain(ALICE), drain(BOB), drain(BENEFICIARY)]);
    let (result, view) = execute(&vm, &mut vm.worker(), &tx, &world, false);
    let exactly = |balance: u64| {
        let seen = |seen: EvmSeen| match seen {
            EvmSeen::Account(seen) => (seen.at_least, seen.below),
            other => panic!("{other:?}"),
        };
        (seen, (U256::from(balance), Some(U256::from(balance + 1))))
    };
    let (seen, alice) = exactly(70);
    assert_eq!(view.seen(ALICE).map(seen), Some(alice));
    assert_eq!(view.seen(CONTRACT), None);
    let writes = result.unwrap().writes;
    world.apply(&writes);
    assert_eq!(world.account(CONTRACT).balance, U256::from(75));
    assert_eq!(world.account(ALICE).balance, U256::ZERO);
    assert!(world.account(BENEFICIARY).exists, "before EIP-161 a touch makes it exist");
}
