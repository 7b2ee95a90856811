//! What messages do, one rule at a time: calls, answers, failures, limits.

mod support;

use alloy_eips::{eip2935::HISTORY_STORAGE_ADDRESS, eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS};
use alloy_primitives::{B256, TxKind, U256};
use braid_actors::{ActorBlockError, End, Limits, deliver};
use braid_core::{Cause, Control};
use braid_evm::{After, EvmKey, Status};
use braid_sched::{DeliveryError, Graph, Policy, Pool, Serial};
use revm::{
    context_interface::{
        either::Either,
        transaction::{Authorization, RecoveredAuthority, RecoveredAuthorization},
    },
    primitives::hardfork::SpecId,
};
use std::{sync::Arc, time::Instant};
use support::{ETHER, World, account, asm, beneficiary, op, result, status};

const A: u8 = 0xa0;
const B: u8 = 0xb0;
const C: u8 = 0xc0;

fn world() -> World {
    World::new(SpecId::OSAKA)
}

#[test]
fn a_transfer_is_a_message_an_answer_and_a_fee() {
    let mut world = world();
    world.call(1, account(20), 5);
    world.call(2, account(1), 3);
    let block = world.agreed();
    assert_eq!(world.balance(&block, account(20)), U256::from(5));
    assert_eq!(world.balance(&block, beneficiary()), U256::from(2 * 21_000 * 3));
    assert_eq!(block.burnt, U256::from(2 * 21_000 * 7));
    assert_eq!((block.messages, block.rounds), (8, 4), "start, call, answer, fee");
    assert_eq!(world.differing(&block), [0_usize; 0]);
}

#[test]
fn alone_in_its_block_a_call_does_what_ethereum_does() {
    let mut world = world();
    let b = world.contract(account(B), asm().op(&[op::CALLVALUE]).sstore(1).bump(2), 7);
    let a = asm().set(9, 1).call(b, 3).sstore(0).op(&[op::SELFBALANCE]).sstore(1).bump(9);
    let a = world.contract(account(A), a, 100);
    world.call(1, a, 50);
    let block = world.agreed();
    assert_eq!(status(&block, 0), Status::Success);
    let slots = [0, 1, 9].map(|slot| world.slot(&block, a, slot));
    assert_eq!(slots, [1, 147, 2].map(U256::from));
    assert_eq!([1, 2].map(|slot| world.slot(&block, b, slot)), [3, 1].map(U256::from));
    assert_eq!(world.differing(&block), [0_usize; 0], "gas and all");
}

#[test]
fn a_callee_that_fails_at_once_leaves_nothing_and_gives_the_value_back() {
    for ending in [asm().set(5, 5).revert(), asm().set(5, 5).op(&[op::INVALID])] {
        let mut world = world();
        let b = world.contract(account(B), ending, 0);
        let a = world.contract(account(A), asm().call(b, 30).op(&[op::ISZERO]).sstore(0), 100);
        world.call(1, a, 0);
        let block = world.agreed();
        assert_eq!(world.slot(&block, a, 0), U256::ONE, "the call failed");
        assert_eq!(world.balance(&block, a), U256::from(100));
        assert_eq!(world.slot(&block, b, 5), U256::ZERO);
        assert_eq!(world.differing(&block), [0_usize; 0]);
    }
}

/// Only the step since the last answer is undone.
#[test]
fn a_callee_that_fails_late_leaves_its_earlier_steps_and_gives_back_what_it_has() {
    for (spends, back) in [(0, 30), (10, 20), (30, 0)] {
        let mut world = world();
        let c = world.contract(account(C), asm(), 0);
        let b = asm()
            .set(1, 1)
            .op(&[])
            .push(0)
            .push(0)
            .op(&[op::LOG0])
            .call(c, spends)
            .sstore(2)
            .set(3, 1)
            .revert();
        let b = world.contract(account(B), b, 0);
        let a = world.contract(account(A), asm().call(b, 30).op(&[op::ISZERO]).sstore(0), 100);
        world.call(1, a, 0);
        let block = world.agreed();
        assert_eq!(world.slot(&block, a, 0), U256::ONE, "the call failed");
        let b_slots = [1, 2, 3].map(|slot| world.slot(&block, b, slot));
        assert_eq!(b_slots, [1, 0, 0].map(U256::from), "the first step stays, the second does not");
        assert_eq!(result(&block, 0).logs.len(), 1, "so does its log");
        assert_eq!(world.balance(&block, a), U256::from(70 + back));
        assert_eq!(world.balance(&block, b), U256::ZERO);
        assert_eq!(world.balance(&block, c), U256::from(spends));
        assert_eq!(world.differing(&block), [0]);
    }
}

/// A calls B, which calls A again, which sees what the first A has left, and so on until the counter says so.
#[test]
fn a_calls_b_calls_a_ends() {
    let mut world = world();
    // Whoever is called counts, and calls the other while the count is below 6.
    let code = |other| {
        let head = asm().bump(0).push(6).push(0).op(&[op::SLOAD, 0x10]);
        let end = head.0.len() as u128 + 4;
        let head = head.push(end).op(&[op::JUMPI, op::STOP, op::JUMPDEST]);
        head.call(other, 1).sstore(1).bump(2)
    };
    let (a, b) = (account(A), account(B));
    world.contract(a, code(b), 1000);
    world.contract(b, code(a), 1000);
    world.call(1, a, 0);
    world.call(2, b, 0);
    let block = world.agreed();
    assert_eq!(status(&block, 0), Status::Success);
    let counts = [a, b].map(|actor| world.slot(&block, actor, 0));
    assert!(counts.iter().all(|count| *count >= U256::from(6)), "{counts:?}");
    assert_eq!(world.balance(&block, a) + world.balance(&block, b), U256::from(2000));
}

#[test]
fn a_frame_sees_on_its_answer_what_others_left_meanwhile() {
    let mut world = world();
    // B calls A back, which adds to slot 0 while the first frame waits.
    let a = account(A);
    let b = world.contract(account(B), asm().call(a, 0), 0);
    // With a caller that is not B: call B, then slot 1 = slot 0.
    let inner = asm().bump(0);
    let head = asm().op(&[op::CALLER]).address(b).op(&[0x14]);
    let at = head.0.len() as u128 + 3;
    let outer = asm().call(b, 0).op(&[op::POP]).push(0).op(&[op::SLOAD]).sstore(1).op(&[op::STOP]);
    let to = at + outer.0.len() as u128;
    let code = head.push(to).op(&[op::JUMPI]).op(&outer.0).op(&[op::JUMPDEST]).op(&inner.0);
    world.contract(a, code, 0);
    world.call(1, a, 0);
    let block = world.agreed();
    assert_eq!(world.slot(&block, a, 1), U256::ONE);
    assert_eq!(world.differing(&block), [0_usize; 0]);
}

#[test]
fn delegated_code_runs_on_the_caller_and_waits_there() {
    for late in [false, true] {
        let mut world = world();
        let c = world.contract(account(C), asm().bump(0), 0);
        // The library writes, waits for C, writes again, and fails or not.
        let library = asm().set(1, 1).call(c, 2).sstore(2).bump(3);
        let library = if late { library.revert() } else { library };
        let library = world.contract(account(B), library, 0);
        let proxy = asm().set(7, 1).other_call(op::DELEGATECALL, library).sstore(0).bump(8);
        let proxy = world.contract(account(A), proxy, 10);
        world.call(1, proxy, 5);
        let block = world.agreed();
        assert_eq!(status(&block, 0), Status::Success);
        let slots = [0, 1, 2, 3, 7, 8].map(|slot| world.slot(&block, proxy, slot));
        // What the library did before it waited stays.
        let expected = if late { [0, 1, 0, 0, 1, 1] } else { [1, 1, 1, 1, 1, 1] };
        assert_eq!(slots, expected.map(U256::from));
        assert_eq!(world.balance(&block, c), U256::from(2));
        assert_eq!(world.differing(&block).is_empty(), !late);
        assert_eq!([1, 2].map(|slot| world.slot(&block, library, slot)), [U256::ZERO; 2]);
    }
}

#[test]
fn delegated_code_that_fails_at_once_leaves_nothing() {
    let mut world = world();
    let library = world.contract(account(B), asm().set(1, 1).revert(), 0);
    let a = asm().set(1, 7).other_call(op::DELEGATECALL, library).op(&[op::ISZERO]).sstore(0);
    let a = world.contract(account(A), a, 0);
    world.call(1, a, 0);
    let block = world.agreed();
    assert_eq!([0, 1].map(|slot| world.slot(&block, a, slot)), [1, 7].map(U256::from));
    assert_eq!(world.differing(&block), [0_usize; 0]);
}

#[test]
fn a_static_call_writes_nothing_however_deep() {
    let mut world = world();
    let c = world.contract(account(C), asm().set(0, 1), 0);
    let b = world.contract(
        account(B),
        asm().call(c, 0).op(&[op::ISZERO]).push(0).op(&[op::MSTORE]).push(32).push(0).op(&[op::RETURN]),
        0,
    );
    let a = asm().push(32).push(0).push(0).push(0).address(b).op(&[op::GAS, op::STATICCALL]).sstore(0);
    let a = a.push(0).op(&[op::MLOAD]).sstore(1).op(&[op::RETURNDATASIZE]).sstore(2);
    let a = world.contract(account(A), a, 0);
    world.call(1, a, 0);
    let block = world.agreed();
    let slots = [0, 1, 2].map(|slot| world.slot(&block, a, slot));
    assert_eq!(slots, [1, 1, 32].map(U256::from));
    assert_eq!(world.slot(&block, c, 0), U256::ZERO);
    assert_eq!(world.differing(&block), [0_usize; 0]);
}

#[test]
fn contracts_are_created_by_transactions_and_by_contracts() {
    let mut world = world();
    let child = asm().bump(0).op(&[op::STOP]);
    let tx = world.tx(1, TxKind::Create, 9, child.clone().deployer());
    let made = tx.caller.create(0);
    let factory = asm().create(&child.clone().deployer(), 4, false).sstore(0);
    let factory = factory.create(&child.clone().deployer(), 5, true).sstore(1);
    // Again at the same address: taken.
    let factory = factory.create(&child.deployer(), 6, true).sstore(2);
    let factory = world.contract(account(A), factory.op(&[op::STOP]), 100);
    world.call(2, factory, 0);
    let block = world.agreed();
    assert_eq!(result(&block, 0).created, Some(made));
    let record = world.after(&block, made);
    assert_eq!((record.nonce, record.balance), (1, U256::from(9)));
    assert!(!record.code_hash.is_zero() && record.exists);
    let addresses = [0, 1, 2].map(|slot| world.slot(&block, factory, slot));
    assert!(!addresses[0].is_zero() && !addresses[1].is_zero() && addresses[2].is_zero());
    assert_eq!(world.balance(&block, factory), U256::from(91));
    assert_eq!(world.differing(&block), [0_usize; 0]);
}

#[test]
fn a_creation_that_fails_gives_the_endowment_back() {
    let inits = [
        asm().set(1, 1).revert().0,
        vec![0x60, 0xef, 0x60, 0, 0x53, 0x60, 1, 0x60, 0, op::RETURN],
        vec![op::INVALID],
    ];
    for init in inits {
        let mut world = world();
        let factory = asm().create(&init, 40, false).op(&[op::ISZERO]).sstore(0);
        let factory = world.contract(account(A), factory, 100);
        world.call(1, factory, 0);
        let block = world.agreed();
        assert_eq!(world.slot(&block, factory, 0), U256::ONE);
        let record = world.after(&block, factory);
        assert_eq!((record.balance, record.nonce), (U256::from(100), 2));
        assert!(!world.after(&block, factory.create(1)).exists);
        assert_eq!(world.differing(&block), [0_usize; 0]);
    }
}

#[test]
fn self_destruction_is_a_message_with_all_ether() {
    for (spec, gone) in [(SpecId::SHANGHAI, true), (SpecId::OSAKA, false)] {
        let mut world = World::new(spec);
        let b = world.contract(account(B), asm().address(account(30)).op(&[op::SELFDESTRUCT]), 50);
        let a = world.contract(account(A), asm().call(b, 2).sstore(0), 10);
        world.call(1, a, 0);
        let block = world.agreed();
        assert_eq!(world.balance(&block, account(30)), U256::from(52));
        assert_eq!(world.after(&block, b).exists, !gone);
        assert_eq!(world.balance(&block, b), U256::ZERO);
        assert_eq!(world.differing(&block), [0_usize; 0], "{spec:?}");
    }
}

#[test]
fn what_is_created_and_destroyed_in_a_transaction_is_gone() {
    let mut world = world();
    let init = asm().set(1, 1).address(account(30)).op(&[op::SELFDESTRUCT]);
    let factory = world.contract(account(A), asm().create(&init.0, 40, false).sstore(0), 100);
    world.call(1, factory, 0);
    let block = world.agreed();
    assert!(!world.after(&block, factory.create(1)).exists);
    assert_eq!(world.balance(&block, account(30)), U256::from(40));
    assert_eq!(world.differing(&block), [0_usize; 0]);
}

#[test]
fn out_of_gas_in_the_middle() {
    let mut world = world();
    // Burns all gas, after an answer.
    let loop_ = asm().op(&[op::JUMPDEST]).push(0).op(&[op::JUMP]);
    let c = world.contract(account(C), loop_, 0);
    let b = world.contract(account(B), asm().set(1, 1).call(c, 1).sstore(2), 10);
    let a = world.contract(account(A), asm().set(1, 1).call(b, 5).sstore(2), 10);
    for (from, gas) in [(1, 60_000), (2, 100_000), (3, 200_000)] {
        world.call(from, a, 0).gas_limit = gas;
    }
    let block = world.agreed();
    for tx in 0..3 {
        assert!(result(&block, tx).gas_used <= world.input.txs[tx].gas_limit);
    }
    assert_eq!(status(&block, 0), Status::Halt);
}

#[test]
fn a_transaction_that_cannot_pay_or_comes_at_the_wrong_time_fails_alone() {
    let mut world = world();
    world.call(1, account(20), 1);
    world.call(1, account(20), 1).nonce = 7;
    world.call(2, account(20), 2000 * ETHER);
    // Its ether is on the way when it begins: in Ethereum it would be there.
    world.call(3, account(40), 5 * ETHER);
    world.call(40, account(20), 1);
    world.call(1, account(20), 1).nonce = 1;
    let block = world.agreed();
    let executed: Vec<bool> = block.ends.iter().map(|end| matches!(end, End::Executed(_))).collect();
    assert_eq!(executed, [true, false, false, true, false, true]);
    assert_eq!(world.balance(&block, account(20)), U256::from(2));
    assert_eq!(world.balance(&block, account(2)), U256::from(1000 * ETHER), "nothing was charged");
}

#[test]
fn a_depth_bomb_ends_at_the_limit() {
    let mut world = world();
    let a = account(A);
    world.contract(a, asm().bump(0).call(a, 0).op(&[op::POP]), 0);
    world.call(1, a, 0).gas_limit = 16_000_000;
    world.limits = Limits { depth: 20, ..Limits::default() };
    let block = world.agreed();
    assert_eq!(status(&block, 0), Status::Success);
    assert_eq!(world.slot(&block, a, 0), U256::from(21));
    world.limits = Limits::default();
    let block = world.by(&braid_sched::Serial::new());
    world.conserves(&block);
    assert!(world.slot(&block, a, 0) > U256::from(100), "{}", world.slot(&block, a, 0));
}

#[test]
fn a_message_bomb_ends_at_the_limit() {
    let mut world = world();
    // Calls an empty account for ever, counting what succeeds.
    let code = asm()
        .op(&[op::JUMPDEST])
        .call(account(50), 0)
        .push(0)
        .op(&[op::SLOAD, op::ADD])
        .sstore(0)
        .push(0)
        .op(&[op::JUMP]);
    let a = world.contract(account(A), code, 0);
    world.call(1, a, 0).gas_limit = 300_000;
    world.call(2, account(21), 1);
    world.limits = Limits { messages: 10, ..Limits::default() };
    let block = world.agreed();
    assert_eq!(status(&block, 0), Status::Halt, "it runs out of gas in the end");
    assert_eq!(world.slot(&block, a, 0), U256::from(9), "the last step is undone");
    assert_eq!(block.rounds, 2 * 10 + 4);
    // The default limit holds a transaction of all gas that there is.
    world.limits = Limits::default();
    world.input.txs[0].gas_limit = 16_000_000;
    let block = world.by(&braid_sched::Serial::new());
    world.conserves(&block);
    assert!(block.rounds <= 2 * Limits::default().messages + 8);
}

#[test]
fn frames_that_are_too_large_to_be_suspended_so_often_wait_for_nothing() {
    let mut world = world();
    // 64 KiB of memory, then three calls.
    let code = asm().push(1).push(65_504).op(&[op::MSTORE]);
    let code = (0..3).fold(code, |code, slot| code.call(account(50), 1).sstore(slot));
    let a = world.contract(account(A), code, 10);
    world.call(1, a, 0);
    world.limits = Limits { copied: 2 * 65_536 + 64, ..Limits::default() };
    let block = world.agreed();
    let slots = [0, 1, 2].map(|slot| world.slot(&block, a, slot));
    assert_eq!(slots, [1, 1, 0].map(U256::from));
    assert_eq!(world.balance(&block, account(50)), U256::from(2));
}

#[test]
fn transient_storage_lasts_through_answers_and_no_longer() {
    let mut world = world();
    let b = world.contract(account(B), asm(), 0);
    let code = asm()
        .push(0)
        .op(&[op::TLOAD])
        .push(1)
        .op(&[op::ADD])
        .push(0)
        .op(&[op::TSTORE])
        .call(b, 0)
        .op(&[op::POP]);
    let code = code.push(0).op(&[op::TLOAD]).push(0).op(&[op::SLOAD, op::ADD]).sstore(0);
    let a = world.contract(account(A), code, 0);
    for from in 1..4 {
        world.call(from, a, 0);
    }
    let block = world.agreed();
    assert_eq!(world.slot(&block, a, 0), U256::from(3), "one each");
}

/// A lock over a call keeps others out, whose transactions are between its steps: by design not what Ethereum does.
#[test]
fn a_lock_is_seen_by_others_between_steps() {
    let mut world = world();
    let token = world.contract(account(B), asm().bump(0), 0);
    // Reverts if slot 0 is set; sets it; calls; clears it.
    let head = asm().push(0).op(&[op::SLOAD, op::ISZERO]);
    let at = head.0.len() as u128 + 3 + 5;
    let code = head
        .push(at)
        .op(&[op::JUMPI])
        .revert()
        .op(&[op::JUMPDEST])
        .set(0, 1)
        .call(token, 0)
        .op(&[op::POP])
        .set(0, 0)
        .bump(1);
    let pool = world.contract(account(A), code, 0);
    for from in 1..5 {
        world.call(from, pool, 0);
    }
    let block = world.agreed();
    let statuses: Vec<Status> = (0..4).map(|tx| status(&block, tx)).collect();
    assert_eq!(statuses, [Status::Success, Status::Revert, Status::Revert, Status::Revert]);
    assert_eq!(world.differing(&block), [1, 2, 3]);
}

/// Gas may cost nothing where there is no base fee; then a sender need not have been there.
#[test]
fn a_sender_without_ether_is_there_after_its_transaction() {
    let mut world = World::new(SpecId::BYZANTIUM);
    world.call(90, account(20), 0).gas_price = 0;
    let block = world.agreed();
    assert_eq!(status(&block, 0), Status::Success);
    let sender = world.after(&block, account(90));
    assert!(sender.exists && sender.nonce == 1);
    assert!(!world.after(&block, account(20)).exists);
    assert_eq!(world.differing(&block), [0_usize; 0]);
}

/// EIP-7702: an authority is an actor, and its code a message; code that runs is that of who it names.
#[test]
fn an_authorization_is_a_message_to_its_authority() {
    let mut world = world();
    let library = world.contract(account(B), asm().bump(0), 0);
    let authority = account(7);
    let tx = world.call(1, authority, 3);
    let inner = Authorization { chain_id: U256::ONE, address: library, nonce: 0 };
    let valid = RecoveredAuthority::Valid(authority);
    tx.authorization_list = vec![Either::Right(RecoveredAuthorization::new_unchecked(inner, valid))];
    (tx.tx_type, tx.gas_priority_fee) = (4, Some(1));
    let block = world.agreed();
    assert_eq!(status(&block, 0), Status::Success);
    assert_eq!((world.slot(&block, authority, 0), world.after(&block, authority).nonce), (U256::ONE, 1));
    assert_eq!(world.balance(&block, authority), U256::from(1000 * ETHER + 3));
    assert_eq!(world.differing(&block), [0_usize; 0], "the refund as well");
}

#[test]
fn what_surrounds_a_block_is_messages_too() {
    let mut world = world();
    let store = asm().push(0).op(&[0x35]).sstore(0);
    world.contract(HISTORY_STORAGE_ADDRESS, store.clone(), 0);
    // The queue sees what the transaction left.
    let counter = world.contract(account(A), asm().set(0, 77), 0);
    let queue =
        asm().push(32).push(0).push(0).push(0).address(counter).op(&[op::GAS, op::STATICCALL]).sstore(1);
    world.contract(
        WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS,
        queue.address(counter).op(&[op::BALANCE]).sstore(2),
        0,
    );
    world.call(1, counter, 5);
    world.input.rites.parent_hash = Some(B256::repeat_byte(9));
    let withdrawals = vec![(account(30), 4), (account(31), 0), (account(30), 6)];
    world.input.rites.after = Some(After { withdrawals, requests: true, ..After::default() });
    let block = world.agreed();
    assert_eq!(world.slot(&block, HISTORY_STORAGE_ADDRESS, 0), U256::from_be_bytes([9; 32]));
    assert_eq!(world.slot(&block, WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, 2), U256::from(5));
    assert_eq!(world.balance(&block, account(30)), U256::from(10));
    assert_eq!(block.issued, U256::from(10));
    assert!(!world.after(&block, account(31)).exists);
}

#[test]
fn the_dao_drain_is_a_message_to_each() {
    let mut world = World::new(SpecId::HOMESTEAD);
    world.fund(account(50), 5);
    world.fund(account(51), 6);
    world.input.rites.dao_drain = Some((vec![account(50), account(51)], account(52)));
    let block = world.agreed();
    assert_eq!(world.balance(&block, account(52)), U256::from(11));
    assert_eq!(world.balance(&block, account(50)), U256::ZERO);
}

#[test]
fn precompiled_contracts_answer_at_once() {
    let mut world = world();
    // Identity, with ether in it, and CALLCODE of a contract.
    let identity = alloy_primitives::Address::with_last_byte(4);
    // It is there: ether on its way would not make it so, and the next call would pay for a new account.
    world.fund(identity, 1);
    let library = world.contract(account(B), asm().op(&[op::CALLVALUE]).sstore(3), 0);
    let code = asm().call(identity, 3).sstore(0);
    let code =
        code.push(0).push(0).push(0).push(0).push(2).address(library).op(&[op::GAS, op::CALLCODE]).sstore(1);
    // Too little ether, and a precompiled contract that runs out of gas.
    let code = code.call(identity, 1000).op(&[op::ISZERO]).sstore(4);
    let code =
        code.push(0).push(0).push(0).push(0).push(1).address(identity).push(1).op(&[op::CALL]).sstore(5);
    let a = world.contract(account(A), code, 100);
    world.call(1, a, 0);
    world.call(2, identity, 7);
    let block = world.agreed();
    assert_eq!([0, 1, 3, 4, 5].map(|slot| world.slot(&block, a, slot)), [1, 1, 2, 1, 1].map(U256::from));
    assert_eq!(world.balance(&block, identity), U256::from(1 + 3 + 7 + 1));
    assert_eq!(world.balance(&block, a), U256::from(96));
    assert_eq!(world.differing(&block), [0_usize; 0]);
}

#[test]
fn a_fork_that_actors_do_not_know_is_refused() {
    let world = World::new(SpecId::AMSTERDAM);
    let done = deliver(&Serial::new(), &world.input, world.limits, false, &world, &(), &Control::default());
    assert_eq!(done.unwrap_err(), ActorBlockError::Fork(SpecId::AMSTERDAM));
}

/// The state may lack something: then the delivery ends with that, the same under every schedule.
#[test]
fn a_state_that_lacks_code_ends_the_delivery() {
    let mut world = world();
    let b = world.contract(account(B), asm().bump(0), 0);
    let a = world.contract(account(A), asm().call(b, 0), 0);
    let hash = world.account(b).code_hash;
    world.state.remove(&EvmKey::Code(hash));
    world.call(1, account(20), 0);
    world.call(2, a, 0);
    let run = |scheduler: &Graph| {
        deliver(scheduler, &world.input, world.limits, false, &world, &(), &Control::default())
    };
    let serial = deliver(&Serial::new(), &world.input, world.limits, false, &world, &(), &Control::default());
    let expected = serial.unwrap_err();
    assert!(expected.to_string().contains(&hash.to_string()), "{expected}");
    let pool = Arc::new(Pool::new(4));
    assert_eq!(run(&Graph::new(pool, Policy::Fifo)).unwrap_err(), expected);
}

#[test]
fn a_delivery_can_be_called_off() {
    let mut world = world();
    let code = asm().op(&[op::JUMPDEST]).call(account(50), 0).op(&[op::POP]).push(0).op(&[op::JUMP]);
    let a = world.contract(account(A), code, 0);
    world.call(1, a, 0).gas_limit = 16_000_000;
    let control = Control { deadline: Some(Instant::now()), ..Control::default() };
    let done = deliver(&Serial::new(), &world.input, world.limits, false, &world, &(), &control);
    let Err(ActorBlockError::Delivery(DeliveryError::Message(error))) = done else { panic!("{done:?}") };
    assert_eq!(error.cause, Cause::Deadline);
}
