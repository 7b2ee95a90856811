//! What a block does besides its transactions, entangled with them: every profile must agree with `lean`.

mod common;

use alloy_eips::{
    eip2935::HISTORY_STORAGE_ADDRESS, eip4788::BEACON_ROOTS_ADDRESS,
    eip6110::MAINNET_DEPOSIT_CONTRACT_ADDRESS, eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS,
    eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS,
};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use braid_evm::{After, Rites};
use braid_profiles::{ExecError, PROFILES};
use common::{
    Asm, DEPOSIT_EVENT, ETHER, THREADS, World, account, balance_after, deposit, fee, op, queue_code,
    slot_after, store_input_code,
};
use revm::primitives::hardfork::SpecId;

/// A world with stand-ins for all system contracts.
fn world(spec: SpecId) -> World {
    let mut world = World::new(spec);
    for address in [HISTORY_STORAGE_ADDRESS, BEACON_ROOTS_ADDRESS] {
        world.contract(address, store_input_code(), 0);
    }
    for address in [WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS] {
        world.contract(address, queue_code(), 0);
    }
    world.input.rites.after = Some(After { requests: true, ..After::default() });
    for n in 1..30 {
        world.fund(account(n), ETHER);
    }
    world
}

/// The count that a queue gives as a request of this type.
fn count(kind: u8, calls: u64) -> Bytes {
    [&[kind][..], &U256::from(calls).to_be_bytes::<32>()].concat().into()
}

#[test]
fn transactions_see_what_the_system_wrote_before_them() {
    for spec in [SpecId::PRAGUE, SpecId::OSAKA] {
        let mut world = world(spec);
        world.input.rites.parent_hash = Some(B256::repeat_byte(3));
        world.input.rites.parent_beacon_root = Some(B256::repeat_byte(4));
        // A user's call overwrites what the system wrote.
        world.tx(account(1), 0, TxKind::Call(BEACON_ROOTS_ADDRESS), 0, Bytes::from(vec![9; 32]));
        for n in 2..10 {
            world.call(account(n), 0, account(100), 1);
        }
        let block = world.agreed();
        let word = |byte| Some(U256::from_be_bytes([byte; 32]));
        assert_eq!(slot_after(&block, HISTORY_STORAGE_ADDRESS, 0), word(3));
        assert_eq!(slot_after(&block, BEACON_ROOTS_ADDRESS, 0), word(9));
    }
}

#[test]
fn queues_hold_the_requests_of_the_transactions() {
    for spec in [SpecId::PRAGUE, SpecId::OSAKA] {
        let mut world = world(spec);
        world.slot(CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS, 0, 100);
        for n in 1..25 {
            let to = if n % 3 == 0 {
                CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS
            } else {
                WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS
            };
            world.call(account(n), 0, to, 0);
        }
        let block = world.agreed();
        assert_eq!(block.requests, [count(1, 16), count(2, 108)]);
        // Both end empty: the one as it began, the other not.
        assert_eq!(slot_after(&block, WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, 0), None);
        assert_eq!(slot_after(&block, CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS, 0), Some(U256::ZERO));
    }
}

#[test]
fn deposits_come_in_the_order_of_their_logs() {
    let mut world = world(SpecId::PRAGUE);
    // Logs its whole input under the event's topic: CALLDATACOPY(0, 0, size), LOG1(0, size, topic).
    let code = Asm::default().op(&[op::CALLDATASIZE]).push(0).push(0).op(&[op::CALLDATACOPY]);
    let code =
        code.push(U256::from_be_bytes(DEPOSIT_EVENT.0)).op(&[op::CALLDATASIZE]).push(0).op(&[op::LOG1]);
    world.contract(MAINNET_DEPOSIT_CONTRACT_ADDRESS, code.stop(), 0);
    let mut expected = vec![0];
    for n in 1..20 {
        let (data, request) = deposit([n as u8; 5]);
        expected.extend(request);
        world.tx(account(n), 0, TxKind::Call(MAINNET_DEPOSIT_CONTRACT_ADDRESS), 0, Bytes::from(data));
        world.call(account(n), 1, WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, 0);
    }
    let block = world.agreed();
    assert_eq!(block.requests, [Bytes::from(expected), count(1, 19), count(2, 0)]);

    // A deposit that is none makes the block invalid, whoever runs it.
    let none = Bytes::from(vec![1; 40]);
    let last = world.tx(account(20), 0, TxKind::Call(MAINNET_DEPOSIT_CONTRACT_ADDRESS), 0, none);
    assert_eq!(refused(&world), "eip6110");

    // So does one that an ABI decoder would take, but that has not the layout of EIP-6110.
    let (mut longer, _) = deposit([1; 5]);
    longer.extend([0; 32]);
    world.input.txs[last].data = Bytes::from(longer);
    assert_eq!(refused(&world), "eip6110");
}

/// The system call for which every profile refuses the block.
fn refused(world: &World) -> &'static str {
    let name = |result: Result<_, ExecError>| match result {
        Err(ExecError::SystemCall { name, .. }) => name,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("the block should be refused"),
    };
    let expected = name(world.run("lean", 1));
    for profile in PROFILES {
        for threads in THREADS.iter().take(if profile.parallel { THREADS.len() } else { 1 }) {
            let got = name(world.run(profile.name, *threads));
            assert_eq!(got, expected, "{} with {threads} threads", profile.name);
        }
    }
    expected
}

#[test]
fn a_queue_that_is_missing_or_fails_refuses_the_block() {
    let mut missing = world(SpecId::PRAGUE);
    missing.fund(WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, 1);
    assert_eq!(refused(&missing), "eip7002");
    let mut failing = world(SpecId::PRAGUE);
    failing.contract(CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS, vec![0xfe], 0);
    assert_eq!(refused(&failing), "eip7251");
    // It breaks only by what a transaction did: sets its slot, on which it then fails.
    let mut broken = world(SpecId::PRAGUE);
    // PUSH0, CALLDATASIZE, PUSH1 set, JUMPI, SLOAD, PUSH1 fail, JUMPI, STOP, fail: INVALID, set: ...
    let code =
        [0x5f, 0x36, 0x60, 0x0b, 0x57, 0x54, 0x60, 0x0a, 0x57, 0x00, 0x5b, 0x5b, 0x60, 0x01, 0x90, 0x55];
    broken.contract(CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS, code.to_vec(), 0);
    for n in 1..10 {
        broken.call(account(n), 0, account(100), 1);
    }
    broken.agreed();
    broken.tx(account(11), 0, TxKind::Call(CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS), 0, Bytes::from(vec![1]));
    assert_eq!(refused(&broken), "eip7251");
}

#[test]
fn withdrawals_are_paid_after_the_transactions() {
    let mut world = world(SpecId::SHANGHAI);
    let (poor, new, empty, contract) = (account(200), account(201), account(202), account(203));
    world.fund(poor, 0);
    world.fund(empty, 0);
    world.contract(contract, Asm::default().op(&[op::SELFBALANCE]).sstore(0).stop(), 5);
    let withdrawals = vec![(poor, ETHER), (new, 7), (empty, 0), (account(204), 0), (contract, 3), (poor, 1)];
    world.input.rites.after = Some(After { withdrawals, ..After::default() });
    world.call(account(1), 0, contract, 2);
    let early = world.call(account(2), 0, poor, 10);
    let block = world.agreed();
    assert_eq!(balance_after(&block, poor), Some(U256::from(ETHER + 11)));
    assert_eq!(balance_after(&block, new), Some(U256::from(7)));
    assert_eq!(balance_after(&block, contract), Some(U256::from(10)));
    assert_eq!(slot_after(&block, contract, 0), Some(U256::from(7)), "seen before the withdrawal");
    assert!(!block.diff.contains_key(&account(204)), "nothing paid to nobody makes nobody");

    // Money that comes after the transactions cannot be spent by them.
    world.input.txs[early].value = U256::ZERO;
    let spend = world.call(poor, 0, account(1), 1);
    let Err(ExecError::Invalid { tx, kind, .. }) = world.agree() else { panic!("the block is invalid") };
    assert_eq!((tx, kind), (spend, "insufficient_funds"));
}

#[test]
fn rewards_of_the_miner_and_of_uncles() {
    for spec in [SpecId::FRONTIER, SpecId::SPURIOUS_DRAGON, SpecId::BYZANTIUM, SpecId::LONDON] {
        let mut world = world(spec);
        let (miner, uncle, sender) = (world.input.env.beneficiary, account(300), account(3));
        // The sender is an uncle's miner, too, and the miner of the block pays itself.
        let rewards = vec![(miner, 5 * ETHER), (uncle, 4 * ETHER), (sender, ETHER), (uncle, ETHER)];
        world.input.rites.after = Some(After { rewards, ..After::default() });
        world.fund(miner, ETHER);
        for n in 1..10 {
            world.call(account(n), 0, account(100), 1);
        }
        world.call(miner, 0, miner, 5);
        let block = world.agreed();
        let fees: u128 = block.results[..9].iter().map(fee).sum();
        assert_eq!(balance_after(&block, miner), Some(U256::from(6 * ETHER + fees)), "{spec:?}");
        assert_eq!(balance_after(&block, uncle), Some(U256::from(5 * ETHER)), "{spec:?}");
        let paid = fee(&block.results[2]) + 1;
        assert_eq!(balance_after(&block, sender), Some(U256::from(2 * ETHER - paid)), "{spec:?}");
    }
}

#[test]
fn the_dao_is_drained_before_the_first_transaction() {
    let mut world = world(SpecId::HOMESTEAD);
    let (refund, reader) = (account(400), account(401));
    let drained: Vec<Address> = (410..420).map(account).collect();
    for address in &drained[..8] {
        world.fund(*address, 3 * ETHER);
    }
    // Before EIP-150 a call for all the gas there is fails, so this one passes none on.
    let pay = Asm::default().push(0).push(0).push(0).push(0).push(20 * ETHER).push(account(402)).push(0);
    world.contract(refund, pay.op(&[op::CALL]).sstore(1).stop(), 1);
    world.contract(reader, Asm::default().push(drained[0]).op(&[op::BALANCE]).sstore(0).stop(), 0);
    world.slot(reader, 0, 1);
    world.input.rites.dao_drain = Some((drained.clone(), refund));
    world.call(account(1), 0, reader, 0);
    world.call(account(2), 0, drained[1], 5);
    world.call(account(3), 0, refund, 0);
    let block = world.agreed();
    assert_eq!(balance_after(&block, drained[0]), Some(U256::ZERO));
    assert_eq!(balance_after(&block, drained[1]), Some(U256::from(5)));
    assert_eq!(slot_after(&block, reader, 0), Some(U256::ZERO));
    assert_eq!(balance_after(&block, account(402)), Some(U256::from(20 * ETHER)));
    assert_eq!(balance_after(&block, refund), Some(U256::from(4 * ETHER + 1)));

    // A drained account has nothing left to send.
    let spend = world.call(drained[2], 0, account(1), 1);
    let Err(ExecError::Invalid { tx, kind, .. }) = world.agree() else { panic!("the block is invalid") };
    assert_eq!((tx, kind), (spend, "insufficient_funds"));
}

#[test]
fn a_block_of_nothing_but_rites() {
    let mut world = world(SpecId::OSAKA);
    world.input.rites = Rites {
        parent_hash: Some(B256::repeat_byte(1)),
        parent_beacon_root: Some(B256::repeat_byte(2)),
        dao_drain: None,
        after: Some(After { withdrawals: vec![(account(1), 9)], requests: true, ..After::default() }),
    };
    let block = world.agreed();
    assert!(block.results.is_empty());
    assert_eq!(balance_after(&block, account(1)), Some(U256::from(ETHER + 9)));
    assert_eq!(block.requests, [count(1, 0), count(2, 0)]);
}
