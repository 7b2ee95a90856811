//! The fork after Osaka, a draft that runs on revm's own machine: every profile must give what `lean`
//! gives, in blocks whose transactions depend on one another.

mod common;

use alloy_primitives::{Bytes, TxKind, U256};
use braid_evm::Status;
use braid_profiles::ExecError;
use common::{Asm, ETHER, World, account, balance_after, op, slot_after};
use revm::primitives::hardfork::SpecId;

fn world() -> World {
    let mut world = World::new(SpecId::AMSTERDAM);
    for n in 0..40 {
        world.fund(account(n), ETHER);
    }
    world
}

#[test]
fn independent_and_dependent_transactions() {
    let mut world = world();
    let counter = account(100);
    let code = Asm::default().push(0).op(&[op::SLOAD]).push(1).op(&[op::ADD]).sstore(0).stop();
    world.contract(counter, code, 0);
    for n in 0..20 {
        world.call(account(n), 0, account(200 + n), 5);
        world.call(account(20 + n), 0, counter, 0);
    }
    let block = world.agreed();
    assert_eq!(slot_after(&block, counter, 0), Some(U256::from(20)));
    // EIP-7708: a transfer of value leaves a log.
    assert_eq!(block.results[0].logs.len(), 1);
    assert_eq!(block.results[1].logs.len(), 0);
}

#[test]
fn contracts_are_created_used_and_destroyed() {
    let mut world = world();
    // Called with value: slot 0 += 1. Without: destroys itself, which only sends.
    let count = Asm::default().push(0).op(&[op::SLOAD]).push(1).op(&[op::ADD]).sstore(0).stop();
    let mut child = vec![0x34, 0x60, 6, 0x57, 0x33, op::SELFDESTRUCT, 0x5b];
    child.extend(count);
    let contract = account(0).create(0);
    world.tx(account(0), 0, TxKind::Create, 0, Asm(child).deployer());
    for n in 1..5 {
        world.call(account(n), 0, contract, 1);
    }
    world.call(account(5), 0, contract, 0);
    world.call(account(6), 0, contract, 1);
    // Created and destroyed at once, with money that stays (EIP-8246): ADDRESS SELFDESTRUCT as init code.
    let brief = account(7).create(0);
    world.tx(account(7), 0, TxKind::Create, 9, Bytes::from_static(&[0x30, 0xff]));
    let block = world.agreed();
    assert_eq!(slot_after(&block, contract, 0), Some(U256::from(5)));
    assert_eq!(balance_after(&block, contract), Some(U256::from(1)));
    assert_eq!(balance_after(&block, brief), Some(U256::from(9)));
}

#[test]
fn block_gas_is_counted_in_two_dimensions_and_without_refunds() {
    let mut world = world();
    let (clears, sets) = (account(100), account(101));
    world.contract(clears, Asm::default().push(0).sstore(0).push(0).sstore(1).stop(), 0);
    world.slot(clears, 0, 1);
    world.slot(clears, 1, 1);
    let fills = (0..8).fold(Asm::default(), |code, slot| code.push(1).sstore(slot));
    world.contract(sets, fills.stop(), 0);
    world.call(account(0), 0, clears, 0);
    let filling = world.call(account(1), 0, sets, 0);
    let block = world.agreed();
    assert!(block.results.iter().all(|result| result.status == Status::Success), "{:?}", block.results);
    // State gas is most of what the second one pays.
    let charged: u64 = block.results.iter().map(|result| result.gas_used).sum();
    assert!(block.gas_used < charged, "{} of {charged}", block.gas_used);

    // A limit that lets the second one in or not: all of its gas limit counts as state gas.
    world.input.env.gas_limit = world.input.txs[filling].gas_limit;
    let last = world.call(account(2), 0, account(300), 1);
    match world.agree() {
        Err(ExecError::Invalid { tx, kind, .. }) => assert_eq!((tx, kind), (filling, "block_gas_limit")),
        other => panic!("{other:?}"),
    }
    world.input.env.gas_limit = block.gas_used + world.input.txs[last].gas_limit;
    world.agreed();
    world.input.env.gas_limit -= 1;
    match world.agree() {
        Err(ExecError::Invalid { tx, kind, .. }) => assert_eq!((tx, kind), (last, "block_gas_limit")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_slot_number_is_there() {
    let mut world = world();
    world.input.env.slot_num = 77;
    // SLOTNUM (EIP-7843).
    world.contract(account(100), Asm::default().op(&[0x4b]).sstore(0).stop(), 0);
    world.call(account(0), 0, account(100), 0);
    assert_eq!(slot_after(&world.agreed(), account(100), 0), Some(U256::from(77)));
}
