//! System transactions: calls against stock revm, credits and drains against what they should do.

mod common;

use alloy_primitives::{Address, Bytes, U256};
use braid_core::{Stop, Vm, Write};
use braid_evm::{AccountDelta, EvmError, EvmKey, EvmOutput, EvmSeen, EvmShared, EvmTx, EvmVm, SystemTx};
use common::{BENEFICIARY, Rng, World, block, execute, generate, reference::Reference};
use revm::{bytecode::opcode as op, primitives::hardfork::SpecId};
use std::sync::Arc;

const CONTRACT: Address = Address::repeat_byte(0xc0);
const ALICE: Address = Address::repeat_byte(0xa1);
const BOB: Address = Address::repeat_byte(0xb0);

fn call(to: Address, optional: bool) -> SystemTx {
    SystemTx::Call { to, data: Bytes::from_static(&[7; 32]), optional }
}

fn credits(credits: &[(Address, u64)]) -> SystemTx {
    SystemTx::Credits(credits.iter().map(|(to, wei)| (*to, U256::from(*wei))).collect())
}

/// Runs it on `world`, and leaves its writes there.
fn run(spec: SpecId, tx: SystemTx, world: &mut World) -> Result<Bytes, EvmError> {
    let (shared, input) = (EvmShared::default(), block(spec, Vec::new()));
    let vm = EvmVm::new(&shared, &input);
    let (result, view) = execute(&vm, &mut vm.worker(), &EvmTx::System(Arc::new(tx)), world, false);
    assert!(view.assumed.is_empty(), "there is no nonce to predict");
    match result {
        Ok(effects) => {
            world.apply(&effects.writes);
            match effects.output {
                Some(EvmOutput::System(output)) => Ok(output),
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
            let ours = run(spec, call(to, true), &mut world).expect("an optional call");
            let success = theirs.status == braid_evm::Status::Success;
            let expected = if success { theirs.output } else { Bytes::new() };
            let at = format!("seed {seed} {spec:?} call {number}");
            assert_eq!(ours, expected, "{at}");
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
fn calls_see_each_other_and_share_nothing_transient() {
    for spec in [SpecId::OSAKA, SpecId::AMSTERDAM] {
        let mut world = World::default();
        world.add(CONTRACT, 0, 1, ADDS);
        let input = block(spec, Vec::new());
        let mut reference = Reference::new(&world, &input);
        for _ in 0..3 {
            let output = run(spec, call(CONTRACT, false), &mut world).unwrap();
            assert_eq!(output, reference.system_call(&input, CONTRACT, Bytes::from_static(&[7; 32])).output);
        }
        assert_eq!(world.state(), reference.accounts);
    }
}

#[test]
fn what_cannot_be_called_is_skipped_or_fails_the_block() {
    for spec in [SpecId::PRAGUE, SpecId::AMSTERDAM] {
        let mut world = World::default();
        world.add(CONTRACT, 0, 1, &[op::PUSH0, op::PUSH0, op::REVERT]);
        let before = world.state();
        for to in [ALICE, CONTRACT] {
            assert_eq!(run(spec, call(to, true), &mut world), Ok(Bytes::new()));
        }
        assert_eq!(world.state(), before);
        for (to, what) in [(ALICE, "no code"), (CONTRACT, "reverted: 0x"), (BENEFICIARY, "no code")] {
            let error = run(spec, call(to, false), &mut world).unwrap_err();
            assert_eq!(error, EvmError::SystemCall { to, reason: what.into() });
            assert_eq!(error.kind(), "system_call");
        }
    }
}

#[test]
fn credits_are_blind_and_summed() {
    let (shared, input) = (EvmShared::default(), block(SpecId::OSAKA, Vec::new()));
    let vm = EvmVm::new(&shared, &input);
    let world = World::default();
    let tx = EvmTx::System(Arc::new(credits(&[(BOB, 1), (ALICE, 3), (ALICE, 0), (ALICE, 4)])));
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
fn a_credit_of_nothing_touches() {
    let mut world = World::default();
    world.add(ALICE, 0, 0, &[]);
    world.add(BOB, 1, 0, &[]);
    run(SpecId::OSAKA, credits(&[(ALICE, 0), (BOB, 0), (CONTRACT, 0)]), &mut world).unwrap();
    assert_eq!(world.state().into_keys().collect::<Vec<_>>(), [BOB], "EIP-161");
    let mut world = World::default();
    run(SpecId::HOMESTEAD, credits(&[(ALICE, 0)]), &mut world).unwrap();
    assert!(world.account(ALICE).exists);
}

#[test]
fn a_drain_moves_everything_and_sees_how_much() {
    let (shared, input) = (EvmShared::default(), block(SpecId::HOMESTEAD, Vec::new()));
    let vm = EvmVm::new(&shared, &input);
    let mut world = World::default();
    world.add(ALICE, 70, 0, &[]);
    world.add(BOB, 5, 0, &[]);
    let drain = SystemTx::Drain { from: vec![ALICE, BOB, BENEFICIARY], to: CONTRACT };
    let (result, view) = execute(&vm, &mut vm.worker(), &EvmTx::System(Arc::new(drain)), &world, false);
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
