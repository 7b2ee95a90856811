//! One block for each way in which transactions of a block can depend on one another through Ethereum's
//! account rules. Every profile must agree with `lean` on each, and each asserts an outcome that a
//! scheduler which missed the dependency would not produce.

mod common;

use alloy_primitives::{Address, Bytes, TxKind, U256, keccak256};
use braid_evm::{AccountState, Status};
use braid_profiles::ExecError;
use common::{Asm, ETHER, GAS_PRICE, World, account, balance_after, fee, op, slot_after};
use revm::{
    context::{TxEnv, either::Either},
    context_interface::transaction::{Authorization, RecoveredAuthority, RecoveredAuthorization},
    primitives::hardfork::SpecId,
};

/// Fillers in front, so that the transactions under test start long before their predecessors end.
fn padded(spec: SpecId) -> World {
    let mut world = World::new(spec);
    for n in 0..8 {
        world.fund(account(500 + n), ETHER);
        world.call(account(500 + n), 0, account(600 + n), 1);
    }
    world
}

fn kind(error: ExecError) -> (usize, &'static str) {
    match error {
        ExecError::Invalid { tx, kind, .. } => (tx, kind),
        other => panic!("expected an invalid transaction, got {other}"),
    }
}

#[test]
fn a_credit_makes_a_sender_solvent() {
    let mut world = padded(SpecId::OSAKA);
    let (rich, poor, last) = (account(1), account(2), account(3));
    world.fund(rich, 10 * ETHER);
    world.call(rich, 0, poor, ETHER);
    let spend = world.call(poor, 0, last, ETHER / 2);
    let block = world.agreed();
    assert_eq!(block.results[spend].status, Status::Success);
    assert_eq!(balance_after(&block, last), Some(U256::from(ETHER / 2)));

    // Without the credit the block is invalid, at that transaction.
    world.input.txs[spend - 1].value = U256::ZERO;
    assert_eq!(kind(world.agree().unwrap_err()), (spend, "insufficient_funds"));
}

#[test]
fn earlier_spending_makes_a_sender_insolvent() {
    let mut world = padded(SpecId::OSAKA);
    let sender = account(1);
    world.fund(sender, 3 * ETHER);
    world.call(sender, 0, account(2), 2 * ETHER);
    let second = world.call(sender, 1, account(3), 2 * ETHER);
    assert_eq!(kind(world.agree().unwrap_err()), (second, "insufficient_funds"));
}

#[test]
fn many_transactions_of_one_sender() {
    let mut world = padded(SpecId::OSAKA);
    world.fund(account(1), 1000 * ETHER);
    for nonce in 0..64 {
        world.call(account(1), nonce, account(2 + nonce % 3), ETHER);
    }
    let block = world.agreed();
    assert_eq!(block.diff[&account(1)].account.unwrap().nonce, 64);
}

#[test]
fn the_amount_of_a_balance_is_observed() {
    let mut world = padded(SpecId::OSAKA);
    let (reader, watched) = (account(10), account(11));
    world.contract(reader, Asm::default().push(watched).op(&[op::BALANCE]).sstore(0).stop(), 0);
    for n in 0..4u64 {
        world.fund(account(1 + n), ETHER);
        world.call(account(1 + n), 0, watched, 1000 + u128::from(n));
    }
    world.fund(account(5), ETHER);
    world.call(account(5), 0, reader, 0);
    world.call(account(1), 1, watched, 1);
    let block = world.agreed();
    assert_eq!(slot_after(&block, reader, 0), Some(U256::from(4006)));
}

#[test]
fn the_own_balance_is_observed() {
    let mut world = padded(SpecId::OSAKA);
    let contract = account(10);
    world.contract(contract, Asm::default().op(&[op::SELFBALANCE]).sstore(0).stop(), 5);
    for n in 0..6u64 {
        world.fund(account(1 + n), ETHER);
        world.call(account(1 + n), 0, contract, 10);
    }
    let block = world.agreed();
    assert_eq!(slot_after(&block, contract, 0), Some(U256::from(65)));
}

#[test]
fn the_beneficiary_takes_part() {
    let mut world = padded(SpecId::OSAKA);
    let (beneficiary, reader) = (world.input.env.beneficiary, account(10));
    world.contract(reader, Asm::default().push(beneficiary).op(&[op::BALANCE]).sstore(0).stop(), 0);
    world.fund(account(1), 100 * ETHER);
    world.fund(beneficiary, 0);
    // It lives on the fees collected so far: 9 transfers of 21000 gas at 10 wei.
    world.input.txs.truncate(8);
    world.call(account(1), 0, beneficiary, 20_000_000);
    world.call(beneficiary, 0, account(3), 1_000_000);
    let read = world.call(account(1), 1, reader, 0);
    let block = world.agreed();
    let fees: u128 = block.results[..read].iter().map(fee).sum();
    let spent = fee(&block.results[read - 1]) + 1_000_000;
    assert_eq!(slot_after(&block, reader, 0), Some(U256::from(20_000_000 + fees - spent)));
}

#[test]
fn emptiness_is_observed() {
    let mut world = padded(SpecId::OSAKA);
    let (reader, watched) = (account(10), account(11));
    world.contract(reader, Asm::default().push(watched).op(&[op::EXTCODEHASH]).sstore(0).stop(), 0);
    for n in 1..4 {
        world.fund(account(n), ETHER);
    }
    world.call(account(1), 0, watched, 1);
    world.call(account(2), 0, reader, 0);
    let block = world.agreed();
    // An account that exists without code has the hash of nothing; one that does not exist has zero.
    assert_eq!(slot_after(&block, reader, 0), Some(keccak256([]).into()));
}

#[test]
fn a_new_account_costs_once() {
    let mut world = padded(SpecId::OSAKA);
    let (payer, target) = (account(10), account(11));
    world.contract(payer, Asm::default().call(target, 1).stop(), 100);
    world.fund(account(1), ETHER);
    world.fund(account(2), ETHER);
    let first = world.call(account(1), 0, payer, 0);
    let second = world.call(account(2), 0, payer, 0);
    let block = world.agreed();
    assert_eq!(block.results[first].gas_used - block.results[second].gas_used, 25_000);
}

#[test]
fn a_touched_empty_account_disappears() {
    let mut world = padded(SpecId::SPURIOUS_DRAGON);
    let (empty, funded) = (account(10), account(11));
    world.fund(empty, 0);
    world.fund(funded, 0);
    world.fund(account(1), ETHER);
    world.fund(account(2), ETHER);
    world.call(account(1), 0, funded, 7);
    world.call(account(2), 0, funded, 0);
    world.call(account(2), 1, empty, 0);
    let block = world.agreed();
    assert_eq!(block.diff[&empty].account, None);
    assert_eq!(balance_after(&block, funded), Some(U256::from(7)));
}

#[test]
fn before_eip161_a_touch_creates_an_account() {
    let mut world = padded(SpecId::HOMESTEAD);
    let (payer, target) = (account(10), account(11));
    // A call without value to an account that does not exist pays for a new account, once.
    // Before EIP-150 a call for all the gas there is fails, so this one passes none on.
    let call = Asm::default().push(0).push(0).push(0).push(0).push(0).push(target).push(0).op(&[op::CALL]);
    world.contract(payer, call.stop(), 100);
    world.fund(account(1), ETHER);
    world.fund(account(2), ETHER);
    let first = world.call(account(1), 0, payer, 0);
    let second = world.call(account(2), 0, payer, 0);
    let block = world.agreed();
    assert_eq!(block.results[first].gas_used - block.results[second].gas_used, 25_000);
    assert!(block.diff[&target].account.is_some());
}

#[test]
fn an_internal_transfer_needs_an_earlier_credit() {
    let mut world = padded(SpecId::OSAKA);
    let (forwarder, target) = (account(10), account(11));
    world.contract(forwarder, Asm::default().call(target, 500).sstore(0).stop(), 0);
    for n in 1..4 {
        world.fund(account(n), ETHER);
    }
    world.call(account(1), 0, forwarder, 499); // its own call fails: 499 < 500
    world.call(account(2), 0, forwarder, 1); // 500: succeeds and empties it
    world.call(account(3), 0, forwarder, 0); // fails again
    let block = world.agreed();
    assert_eq!(balance_after(&block, target), Some(U256::from(500)));
    assert_eq!(slot_after(&block, forwarder, 0), None);
}

/// A type 4 transaction that delegates `authority` (at `nonce`) to `code`.
fn delegation(
    world: &mut World,
    from: Address,
    from_nonce: u64,
    authority: Address,
    nonce: u64,
    code: Address,
) {
    let inner = Authorization { chain_id: U256::from(1), address: code, nonce };
    let signed = RecoveredAuthorization::new_unchecked(inner, RecoveredAuthority::Valid(authority));
    let index = world.call(from, from_nonce, account(700), 0);
    let tx = &mut world.input.txs[index];
    tx.tx_type = 4;
    tx.gas_priority_fee = Some(GAS_PRICE);
    tx.authorization_list = vec![Either::Right(signed)];
}

#[test]
fn an_authorization_changes_the_nonce_of_a_later_sender() {
    let mut world = padded(SpecId::OSAKA);
    let (other, sender) = (account(1), account(2));
    world.fund(other, ETHER);
    world.fund(sender, ETHER);
    world.contract(account(10), Asm::default().push(1).sstore(0).stop(), 0);
    delegation(&mut world, other, 0, sender, 0, account(10));
    let sent = world.call(sender, 1, account(3), 5);
    let block = world.agreed();
    assert_eq!(block.diff[&sender].account.unwrap().nonce, 2);

    // With the nonce from before the authorization the block is invalid.
    world.input.txs[sent].nonce = 0;
    assert_eq!(kind(world.agree().unwrap_err()), (sent, "nonce_too_low"));
}

#[test]
fn a_delegated_account_that_creates_changes_its_nonce() {
    let mut world = padded(SpecId::OSAKA);
    let (other, sender, factory) = (account(1), account(2), account(10));
    world.fund(other, ETHER);
    world.fund(sender, ETHER);
    // CREATE(value 0, no code): deploys nothing but uses up a nonce.
    let create = Asm::default().push(0).push(0).push(0).op(&[op::CREATE, op::POP]).stop();
    world.contract(factory, create, 0);
    delegation(&mut world, other, 0, sender, 0, factory);
    world.call(other, 1, sender, 0);
    world.call(other, 2, sender, 0);
    let sent = world.call(sender, 3, account(3), 5);
    let block = world.agreed();
    assert_eq!(block.results[sent].status, Status::Success);
    assert_eq!(block.diff[&sender].account.unwrap().nonce, 4);
    world.input.txs[sent].nonce = 1;
    assert_eq!(kind(world.agree().unwrap_err()), (sent, "nonce_too_low"));
}

#[test]
fn a_sender_that_was_given_code_is_rejected() {
    let mut world = padded(SpecId::OSAKA);
    let deployer = account(1);
    world.fund(deployer, ETHER);
    let contract = deployer.create(0);
    world.fund(contract, ETHER);
    world.tx(deployer, 0, TxKind::Create, 0, Asm::default().push(1).sstore(0).op(&[op::STOP]).deployer());
    let sent = world.call(contract, 1, account(3), 1);
    assert_eq!(kind(world.agree().unwrap_err()), (sent, "sender_has_code"));
}

#[test]
fn code_is_deployed_and_called_in_one_block() {
    let mut world = padded(SpecId::OSAKA);
    let deployer = account(1);
    world.fund(deployer, ETHER);
    world.fund(account(2), ETHER);
    let contract = deployer.create(0);
    world.tx(deployer, 0, TxKind::Create, 0, Asm::default().push(42).sstore(3).op(&[op::STOP]).deployer());
    world.call(account(2), 0, contract, 0);
    let block = world.agreed();
    assert_eq!(slot_after(&block, contract, 3), Some(U256::from(42)));
}

#[test]
fn a_contract_is_destroyed_recreated_and_empty() {
    // A factory deploys by CREATE2 the code that it gets as calldata.
    let factory_code = Asm::default()
        .op(&[op::CALLDATASIZE])
        .push(0)
        .push(0)
        .op(&[op::CALLDATACOPY])
        .push(0)
        .op(&[op::CALLDATASIZE])
        .push(0)
        .push(0)
        .op(&[op::CREATE2, op::POP])
        .stop();
    // Called with value: slot 0 += 1. Without: destroys itself.
    let count = Asm::default().push(0).op(&[op::SLOAD]).push(1).op(&[op::ADD]).sstore(0).stop();
    // CALLVALUE, PUSH1 counting, JUMPI, CALLER, SELFDESTRUCT, JUMPDEST ...
    let mut child = vec![0x34, 0x60, 6, 0x57, 0x33, op::SELFDESTRUCT, 0x5b];
    child.extend(count);
    let init = Asm(child).deployer();
    let mut world = padded(SpecId::SHANGHAI);
    let factory = account(10);
    world.contract(factory, factory_code, 0);
    let contract = factory.create2_from_code([0; 32], &init);
    for n in 1..12 {
        world.fund(account(n + 20), ETHER);
    }
    let mut from = (21..).map(account);
    let mut next = || from.next().unwrap();
    world.tx(next(), 0, TxKind::Call(factory), 0, Bytes::from(init.clone()));
    world.call(next(), 0, contract, 1); // slot 0 = 1
    world.call(next(), 0, contract, 1); // slot 0 = 2
    world.call(next(), 0, contract, 0); // destroyed
    world.call(next(), 0, contract, 1); // plain transfer to an account without code
    world.tx(next(), 0, TxKind::Call(factory), 0, Bytes::from(init.clone()));
    world.call(next(), 0, contract, 1); // slot 0 = 1 again
    let block = world.agreed();
    assert_eq!(slot_after(&block, contract, 0), Some(U256::from(1)));
    assert_eq!(balance_after(&block, contract), Some(U256::from(2)));
    // Destroyed once more, it is gone.
    world.call(next(), 0, contract, 0);
    let block = world.agreed();
    assert!(!block.diff.contains_key(&contract));
}

#[test]
fn storage_from_before_the_block_dies_with_its_contract() {
    let mut world = padded(SpecId::LONDON);
    let (contract, reader) = (account(10), account(11));
    world.contract(contract, Asm::default().op(&[op::CALLER, op::SELFDESTRUCT]).0, 50);
    world.slot(contract, 0, 77);
    world.contract(reader, Asm::default().push(contract).op(&[op::EXTCODESIZE]).sstore(0).stop(), 0);
    world.slot(reader, 0, 5);
    for n in 1..4 {
        world.fund(account(n), ETHER);
    }
    world.call(account(1), 0, contract, 0);
    world.call(account(2), 0, reader, 0);
    world.call(account(3), 0, contract, 9);
    let block = world.agreed();
    assert!(block.diff[&contract].wiped);
    assert_eq!(balance_after(&block, contract), Some(U256::from(9)));
    assert_eq!(slot_after(&block, reader, 0), Some(U256::ZERO));
}

#[test]
fn creation_at_an_address_with_storage_collides() {
    // EIP-7610. Plain revm, and so `lean`, does not check this; our engines must agree with each other.
    let mut world = padded(SpecId::OSAKA);
    let deployer = account(1);
    world.fund(deployer, ETHER);
    let contract = deployer.create(0);
    world.fund(contract, 1);
    world.slot(contract, 0, 1);
    let index =
        world.tx(deployer, 0, TxKind::Create, 0, Asm::default().push(1).sstore(0).op(&[0]).deployer());
    let expected = world.run("serial", 1).unwrap();
    assert_eq!(expected.results[index].status, Status::Halt);
    for (name, threads) in [("monad", 2), ("monad", 8), ("aptos", 1), ("aptos", 2), ("aptos", 8)] {
        assert_eq!(world.run(name, threads).unwrap(), expected, "{name} with {threads} threads");
    }
}

#[test]
fn block_gas_is_admitted_in_order() {
    let mut world = padded(SpecId::OSAKA);
    world.fund(account(1), ETHER);
    world.fund(account(2), ETHER);
    let first = world.call(account(1), 0, account(3), 1);
    let second = world.call(account(2), 0, account(3), 1);
    // Room for what the earlier ones use (not for what they may), and for one more.
    world.input.env.gas_limit = 1_000_000 + 21_000 * (first as u64) + 20_999;
    assert_eq!(kind(world.agree().unwrap_err()), (second, "block_gas_limit"));
    world.input.env.gas_limit += 1;
    world.agreed();
    // Admission comes before the transaction's own validity, as in serial.
    world.input.env.gas_limit -= 1;
    world.input.txs[second].nonce = 99;
    assert_eq!(kind(world.agree().unwrap_err()), (second, "block_gas_limit"));
}

#[test]
fn blob_gas_is_admitted_in_order() {
    let mut world = padded(SpecId::OSAKA);
    let mut last = 0;
    for n in 0..4 {
        world.fund(account(n), ETHER);
        last = world.call(account(n), 0, account(20), 0);
        let tx: &mut TxEnv = &mut world.input.txs[last];
        tx.tx_type = 3;
        tx.gas_priority_fee = Some(GAS_PRICE);
        tx.max_fee_per_blob_gas = 1_000_000;
        let mut hash = keccak256([n as u8]);
        hash.0[0] = 1;
        tx.blob_hashes = vec![hash; 3];
    }
    assert_eq!(kind(world.agree().unwrap_err()), (last, "block_blob_gas_limit"));
    world.input.txs.truncate(last);
    world.agreed();
}

#[test]
fn the_lowest_invalid_transaction_is_the_error() {
    let mut world = padded(SpecId::OSAKA);
    world.fund(account(1), ETHER);
    let valid = world.call(account(1), 0, account(3), 1);
    for n in [2, 5, 9] {
        world.fund(account(n), ETHER);
        world.call(account(n), n, account(3), 1);
    }
    world.call(account(77), 0, account(3), 1);
    assert_eq!(kind(world.agree().unwrap_err()), (valid + 1, "nonce_too_high"));
}

#[test]
fn a_hot_counter_counts() {
    let mut world = padded(SpecId::OSAKA);
    let counter = account(10);
    let code = Asm::default().push(0).op(&[op::SLOAD]).push(1).op(&[op::ADD]).sstore(0).stop();
    world.contract(counter, code, 0);
    for n in 0..60 {
        world.fund(account(100 + n), ETHER);
        world.call(account(100 + n), 0, counter, 0);
    }
    assert_eq!(slot_after(&world.agreed(), counter, 0), Some(U256::from(60)));
}

#[test]
fn balances_close_to_the_end_of_the_range() {
    let mut world = padded(SpecId::OSAKA);
    let (full, forwarder) = (account(10), account(11));
    world.set(full, AccountState { balance: U256::MAX - U256::from(10), ..AccountState::default() });
    world.contract(forwarder, Asm::default().call(full, 6).sstore(0).stop(), 100);
    for n in 1..4 {
        world.fund(account(n), ETHER);
        world.call(account(n), 0, forwarder, 0);
    }
    world.agreed();
}
