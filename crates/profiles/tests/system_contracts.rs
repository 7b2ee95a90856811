//! Stand-ins for system contracts that do what no real one does: destroy, create, touch, fail. Each
//! system call is a transaction of its own, also in when destroyed and empty accounts are gone.

mod common;

use alloy_eips::{
    eip2935::HISTORY_STORAGE_ADDRESS, eip4788::BEACON_ROOTS_ADDRESS,
    eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS,
};
use alloy_primitives::{Address, B256, U256};
use braid_evm::After;
use common::{Asm, ETHER, World, account, op, slot_after};
use revm::primitives::hardfork::SpecId;

/// In the order of their calls.
const CONTRACTS: [Address; 4] = [
    HISTORY_STORAGE_ADDRESS,
    BEACON_ROOTS_ADDRESS,
    WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS,
    CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS,
];

/// A block of some transfers whose system contracts have these codes.
fn world(spec: SpecId, codes: [Vec<u8>; 4]) -> World {
    let mut world = World::new(spec);
    for (address, code) in CONTRACTS.into_iter().zip(codes) {
        world.contract(address, code, 100);
    }
    world.input.rites.parent_hash = Some(B256::repeat_byte(1));
    world.input.rites.parent_beacon_root = Some(B256::repeat_byte(2));
    world.input.rites.after = Some(After { requests: true, ..After::default() });
    for n in 0..8 {
        world.fund(account(n), ETHER);
        world.call(account(n), 0, account(100 + n % 3), 1);
    }
    world
}

fn stop() -> Vec<u8> {
    Asm::default().stop()
}

/// `slot = EXTCODEHASH(of)`: zero if the account is gone or empty.
fn notes_hash(of: Address) -> Vec<u8> {
    Asm::default().push(of).op(&[op::EXTCODEHASH]).sstore(0).stop()
}

/// Forks in which there are both kinds of system calls; before Cancun contracts still die.
const SPECS: [SpecId; 4] = [SpecId::SHANGHAI, SpecId::PRAGUE, SpecId::OSAKA, SpecId::AMSTERDAM];

#[test]
fn a_contract_that_destroys_itself_is_gone_for_the_next_call() {
    let dies = Asm::default().push(account(70)).op(&[op::SELFDESTRUCT]).0;
    for spec in SPECS {
        let notes = [notes_hash(HISTORY_STORAGE_ADDRESS), notes_hash(WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS)];
        let [first, second] = notes;
        let mut world = world(spec, [dies.clone(), first, dies.clone(), second]);
        world.slot(BEACON_ROOTS_ADDRESS, 0, 5);
        world.slot(CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS, 0, 5);
        let block = world.agreed();
        for (notes, died) in [(BEACON_ROOTS_ADDRESS, 0), (CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS, 2)] {
            let noted = slot_after(&block, notes, 0).expect("it was something else");
            let gone = !spec.is_enabled_in(SpecId::CANCUN);
            assert_eq!(noted.is_zero(), gone, "{spec:?}");
            let entry = block.diff.get(&CONTRACTS[died]);
            assert_eq!(entry.is_some_and(|entry| entry.account.is_none()), gone, "{spec:?}");
        }
    }
}

#[test]
fn what_is_created_and_destroyed_in_one_call_is_gone_for_the_next() {
    // Creates an account that destroys itself at once, to its creator: PUSH1 33ff, CREATE of two bytes.
    let creates = Asm::default()
        .push(U256::from(0x33ff))
        .push(0)
        .op(&[op::MSTORE])
        .push(2)
        .push(30)
        .push(7)
        .op(&[op::CREATE])
        .sstore(1)
        .stop();
    for spec in SPECS {
        let child = HISTORY_STORAGE_ADDRESS.create(1);
        let mut world = world(spec, [creates.clone(), notes_hash(child), creates.clone(), stop()]);
        world.slot(BEACON_ROOTS_ADDRESS, 0, 5);
        let block = world.agreed();
        assert_eq!(slot_after(&block, BEACON_ROOTS_ADDRESS, 0), Some(U256::ZERO), "{spec:?}");
        assert!(!block.diff.contains_key(&child), "{spec:?}");
    }
}

#[test]
fn empty_accounts_that_are_touched_are_gone_for_the_next() {
    let empty = account(60);
    let touches = Asm::default().call(empty, 0).sstore(1).stop();
    for spec in SPECS {
        for order in [[0, 1], [1, 0]] {
            let codes = [touches.clone(), notes_hash(empty)];
            let [first, second] = order.map(|n| codes[n].clone());
            let mut world = world(spec, [first, second, touches.clone(), stop()]);
            world.fund(empty, 0);
            let block = world.agreed();
            assert_eq!(block.diff[&empty].account, None, "{spec:?}");
        }
    }
}

#[test]
fn calls_pay_each_other_and_fail_alone() {
    let pays = Asm::default().call(BEACON_ROOTS_ADDRESS, 60).sstore(2).stop();
    let notes = Asm::default().op(&[op::SELFBALANCE]).sstore(3).stop();
    for spec in SPECS {
        let block = world(spec, [pays.clone(), notes.clone(), stop(), stop()]).agreed();
        // The first call pays after the code there has run in its own frame: 160, then again 160.
        assert_eq!(slot_after(&block, BEACON_ROOTS_ADDRESS, 3), Some(U256::from(160)), "{spec:?}");
        let fails = Asm(vec![0xfe]);
        let block = world(spec, [fails.0.clone(), notes.clone(), stop(), stop()]).agreed();
        assert_eq!(slot_after(&block, BEACON_ROOTS_ADDRESS, 3), Some(U256::from(100)), "{spec:?}");
    }
}

#[test]
fn the_gas_of_a_call_is_what_its_fork_gives() {
    let notes = Asm::default().op(&[op::GAS]).sstore(0).stop();
    for spec in SPECS {
        let block = world(spec, [notes.clone(), notes.clone(), stop(), stop()]).agreed();
        let gas = slot_after(&block, BEACON_ROOTS_ADDRESS, 0).expect("it was zero");
        // Less what came before; the draft after Osaka adds gas for new state.
        let given: u64 = if spec.is_enabled_in(SpecId::AMSTERDAM) { 31_570_000 } else { 30_000_000 };
        assert!(gas < U256::from(given) && gas > U256::from(given - 10_000), "{spec:?}: {gas}");
    }
}
