//! Credits that take a balance to the end of 256 bits and beyond. No chain has that much wei, but test
//! vectors do: whatever comes of it, every profile must agree with `lean`, and blind credits, of which
//! nobody looks at the sum, must come to the same as those that are looked at.

mod common;

use alloy_primitives::{Address, U256};
use braid_evm::{AccountState, After};
use common::{Asm, ETHER, World, account, balance_after, fee, op, slot_after};
use revm::primitives::hardfork::SpecId;

const SPECS: [SpecId; 5] =
    [SpecId::HOMESTEAD, SpecId::LONDON, SpecId::SHANGHAI, SpecId::OSAKA, SpecId::AMSTERDAM];

/// Twelve senders with a transfer each.
fn transfers(spec: SpecId) -> World {
    let mut world = World::new(spec);
    for n in 0..12 {
        world.fund(account(n), ETHER);
        world.call(account(n), 0, account(600 + n), 1);
    }
    world
}

/// Gives an account all wei there can be but `room`.
fn fill(world: &mut World, address: Address, room: u128) {
    let balance = U256::MAX - U256::from(room);
    world.set(address, AccountState { balance, ..AccountState::default() });
}

#[test]
fn fees_that_do_not_fit_are_not_paid() {
    for spec in SPECS {
        // Room for none, for some, and for all of them.
        for fees in [0u128, 1, 5, 12] {
            let mut world = transfers(spec);
            let beneficiary = world.input.env.beneficiary;
            fill(&mut world, beneficiary, 0);
            let one = fee(&world.agreed().results[0]);
            fill(&mut world, beneficiary, one * fees + one / 2);
            let block = world.agreed();
            let paid = U256::MAX - U256::from(one * fees + one / 2) + U256::from(one * fees);
            let expected = (fees > 0).then_some(paid);
            assert_eq!(balance_after(&block, beneficiary), expected, "{spec:?} {fees}");
        }
    }
}

#[test]
fn a_beneficiary_at_the_end_is_read_in_between() {
    for spec in SPECS {
        let mut world = transfers(spec);
        let (beneficiary, reader) = (world.input.env.beneficiary, account(50));
        world.contract(reader, Asm::default().push(beneficiary).op(&[op::BALANCE]).sstore(0).stop(), 0);
        fill(&mut world, beneficiary, 1_000_000);
        world.call(account(0), 1, reader, 0);
        // It spends, and so makes room again.
        world.call(beneficiary, 0, account(700), 10_000_000);
        for n in 1..6 {
            world.call(account(n), 1, account(600), 1);
        }
        world.call(account(0), 2, reader, 0);
        world.agreed();
    }
}

#[test]
fn transfers_that_do_not_fit_fail() {
    for spec in SPECS {
        let mut world = World::new(spec);
        let full = account(40);
        fill(&mut world, full, 25);
        for n in 0..8 {
            world.fund(account(n), ETHER);
            world.call(account(n), 0, full, 10);
        }
        // The full one pays, and what it could not take fits then.
        world.call(full, 0, account(41), 10_000);
        for n in 0..8 {
            world.call(account(n), 1, full, 10);
        }
        let block = world.agreed();
        let statuses: Vec<_> = block.results.iter().map(|result| result.status).collect();
        assert_ne!(statuses[0], statuses[7], "{spec:?}: {statuses:?}");
    }
}

#[test]
fn a_heir_at_the_end_wraps_around_in_all_alike() {
    for spec in [SpecId::LONDON, SpecId::OSAKA] {
        let mut world = transfers(spec);
        let (full, dies) = (account(40), account(41));
        fill(&mut world, full, 5);
        world.contract(dies, Asm::default().push(full).op(&[op::SELFDESTRUCT]).0, 3);
        for n in 0..4 {
            world.call(account(n), 1, dies, 1);
        }
        world.agreed();
    }
}

#[test]
fn what_the_block_pays_fits_or_is_not_paid() {
    for spec in SPECS {
        for room in [0u128, 6, 7, 8, 20] {
            let mut world = transfers(spec);
            let (full, other) = (account(40), account(41));
            fill(&mut world, full, room);
            world.call(account(0), 1, full, 3);
            // Together they are 7, paid or not as one.
            let withdrawals = vec![(full, 3), (other, 5), (full, 0), (full, 4)];
            let after = if spec.is_enabled_in(SpecId::SHANGHAI) {
                After { withdrawals, ..After::default() }
            } else {
                After { rewards: withdrawals, ..After::default() }
            };
            world.input.rites.after = Some(after);
            let block = world.agreed();
            assert_eq!(balance_after(&block, other), Some(U256::from(5)));
            let transfer = if room >= 3 { 3 } else { 0 };
            let credit = if room - transfer >= 7 { 7 } else { 0 };
            let expected = U256::MAX - U256::from(room) + U256::from(transfer + credit);
            let changed = transfer + credit > 0;
            assert_eq!(balance_after(&block, full), changed.then_some(expected), "{spec:?} {room}");
        }
    }
}

#[test]
fn a_drain_that_does_not_fit() {
    for (rooms, refunded) in [([100u128, 100], 1u128), ([100, 100], ETHER)] {
        let mut world = transfers(SpecId::HOMESTEAD);
        let (first, second, refund) = (account(40), account(41), account(42));
        fill(&mut world, first, rooms[0]);
        fill(&mut world, second, rooms[1]);
        world.fund(refund, refunded);
        let reader = account(50);
        world.contract(reader, Asm::default().push(refund).op(&[op::BALANCE]).sstore(0).stop(), 0);
        world.call(account(0), 1, reader, 0);
        world.input.rites.dao_drain = Some((vec![first, second, refund, first], refund));
        let block = world.agreed();
        assert_eq!(balance_after(&block, first), Some(U256::ZERO));
        assert_eq!(slot_after(&block, reader, 0), balance_after(&block, refund));
    }
}
