//! What stands in an access list (EIP-7928), rule by rule, as the serial engine records it; and what no list
//! can tell.

mod common;

use alloy_primitives::{Address, Bytes, TxKind, U256};
use braid_core::Control;
use braid_evm::{AccountChanges, AccountState, After, BlockAccessList, Rites, access_list_rlp};
use common::{Asm, ETHER, World, account, engine, op, store_input_code};
use revm::primitives::hardfork::SpecId;

const BENEFICIARY: u64 = 9999;

/// The list, which `bal` accepts without falling back, and which gives what `lean` gives.
fn list(world: &World) -> BlockAccessList {
    world.agreed();
    let mut serial = engine("serial", 1);
    let done = serial.execute_recorded(&world.input, &world.pre, &Control::default());
    let (_, list) = done.expect("records").unwrap();
    let bytes = access_list_rlp(&list);
    for threads in [1, 2] {
        let mut bal = engine("bal", threads);
        bal.prepare(&world.input, &world.pre, Some(&bytes));
        let done = bal.execute(&world.input, &world.pre, &Control::default()).unwrap();
        assert_eq!(done.into_block(&world.pre).stats.fallbacks, 0);
    }
    list
}

fn entry(list: &BlockAccessList, address: Address) -> &AccountChanges {
    list.iter().find(|entry| entry.address == address).unwrap_or_else(|| panic!("{address} is not listed"))
}

fn slots(entry: &AccountChanges) -> (Vec<u64>, Vec<u64>) {
    let changed = entry.storage_changes.iter().map(|slot| slot.slot.to());
    (changed.collect(), entry.storage_reads.iter().map(|slot| slot.to()).collect())
}

fn balances(entry: &AccountChanges) -> Vec<(u64, u128)> {
    let row = entry.balance_changes.iter();
    row.map(|change| (change.block_access_index.get(), change.post_balance.to())).collect()
}

fn world(spec: SpecId) -> World {
    let mut world = World::new(spec);
    for n in 0..4 {
        world.fund(account(n), ETHER);
    }
    world
}

#[test]
fn transfers_list_balances_after_and_those_that_get_nothing() {
    let mut world = world(SpecId::OSAKA);
    world.call(account(0), 0, account(10), 5);
    world.call(account(1), 0, account(10), 7);
    world.call(account(0), 1, account(11), 0);
    let list = list(&world);
    let fee = 21_000 * 10;
    assert_eq!(balances(entry(&list, account(10))), [(1, 5), (2, 12)]);
    assert_eq!(balances(entry(&list, account(0))), [(1, ETHER - 5 - fee), (3, ETHER - 5 - 2 * fee)]);
    assert_eq!(balances(entry(&list, account(BENEFICIARY))), [(1, fee), (2, 2 * fee), (3, 3 * fee)]);
    assert_eq!(entry(&list, account(11)), &AccountChanges::new(account(11)));
    let nonces: Vec<u64> = entry(&list, account(0)).nonce_changes.iter().map(|one| one.new_nonce).collect();
    assert_eq!(nonces, [1, 2]);
    assert_eq!(list.len(), 5);
}

#[test]
fn a_write_that_changes_nothing_is_a_read_and_so_is_what_reverts() {
    let mut world = world(SpecId::CANCUN);
    let (same, back, fails, real) = (account(20), account(21), account(22), account(23));
    world.contract(same, Asm::default().push(5).sstore(3).stop(), 0);
    world.slot(same, 3, 5);
    world.contract(back, Asm::default().push(1).sstore(0).push(0).sstore(0).stop(), 0);
    let revert = Asm::default().push(9).sstore(1).push(0).push(0).op(&[0xfd]).0;
    world.contract(fails, revert, 0);
    world.contract(real, Asm::default().push(4).op(&[op::SLOAD]).push(1).op(&[op::ADD]).sstore(4).stop(), 0);
    for (n, to) in [same, back, fails, real].into_iter().enumerate() {
        world.call(account(n as u64), 0, to, 0);
    }
    world.call(account(0), 1, real, 0);
    let list = list(&world);
    assert_eq!(slots(entry(&list, same)), (vec![], vec![3]));
    assert_eq!(slots(entry(&list, back)), (vec![], vec![0]));
    assert_eq!(slots(entry(&list, fails)), (vec![], vec![1]));
    assert_eq!(slots(entry(&list, real)), (vec![4], vec![]));
    let changes = &entry(&list, real).storage_changes[0].changes;
    let changes: Vec<(u64, u64)> =
        changes.iter().map(|one| (one.block_access_index.get(), one.new_value.to())).collect();
    assert_eq!(changes, [(4, 1), (5, 2)]);
}

#[test]
fn what_surrounds_the_transactions_has_the_first_index_and_the_last() {
    let mut world = world(SpecId::PRAGUE);
    let history = alloy_eips::eip2935::HISTORY_STORAGE_ADDRESS;
    world.contract(history, store_input_code(), 0);
    let withdrawals = vec![(account(30), 3), (account(31), 0), (account(30), 4)];
    world.input.rites = Rites {
        parent_hash: Some(alloy_primitives::B256::with_last_byte(1)),
        after: Some(After { withdrawals, ..After::default() }),
        ..Rites::default()
    };
    world.call(account(0), 0, account(30), 1);
    let list = list(&world);
    assert_eq!(balances(entry(&list, account(30))), [(1, 1), (2, 8)]);
    assert_eq!(entry(&list, account(31)), &AccountChanges::new(account(31)));
    let changes = &entry(&list, history).storage_changes[0].changes;
    assert_eq!((changes.len(), changes[0].block_access_index.get()), (1, 0));
    assert!(list.iter().all(|entry| entry.address != common::SYSTEM), "who calls is not touched");
}

#[test]
fn an_account_that_is_destroyed_loses_slots_that_are_not_listed() {
    let mut world = world(SpecId::SHANGHAI);
    let (dies, reads) = (account(40), account(41));
    // Called with value: slot 1 = slot 2. Without: destroys itself.
    let code = [0x34, 0x60, 6, 0x57, 0x33, op::SELFDESTRUCT, 0x5b];
    let copy = Asm::default().push(2).op(&[op::SLOAD]).sstore(1).stop();
    world.contract(dies, [code.as_slice(), &copy].concat(), 50);
    world.slot(dies, 2, 7);
    world.slot(dies, 3, 8);
    world.call(account(0), 0, dies, 1);
    world.call(account(1), 0, dies, 0);
    world.call(account(2), 0, dies, 6);
    world.contract(reads, Asm::default().push(dies).op(&[op::BALANCE]).sstore(0).stop(), 0);
    world.call(account(3), 0, reads, 0);
    let list = list(&world);
    let entry = entry(&list, dies);
    assert_eq!(slots(entry), (vec![1], vec![2]));
    assert_eq!(balances(entry), [(1, 51), (2, 0), (3, 6)]);
    let last = (&entry.nonce_changes[0], &entry.code_changes[0]);
    assert_eq!((last.0.new_nonce, last.0.block_access_index.get()), (0, 2));
    assert_eq!((last.1.new_code.clone(), last.1.block_access_index.get()), (Bytes::new(), 2));
}

#[test]
fn slots_of_a_new_contract_are_listed_and_one_that_dies_at_once_leaves_reads() {
    let mut world = world(SpecId::CANCUN);
    let deployer = Asm::default().push(6).sstore(5).push(8).op(&[op::SLOAD, op::POP]).stop();
    world.tx(account(0), 0, TxKind::Create, 0, deployer);
    let brief = Asm::default().push(6).sstore(5).op(&[op::CALLER, op::SELFDESTRUCT]).0;
    world.tx(account(1), 0, TxKind::Create, 0, brief);
    let list = list(&world);
    let kept = entry(&list, account(0).create(0));
    assert_eq!(slots(kept), (vec![5], vec![8]));
    assert_eq!(kept.nonce_changes.len(), 1);
    let gone = entry(&list, account(1).create(0));
    assert_eq!(slots(gone), (vec![], vec![5]));
    assert!(gone.nonce_changes.is_empty() && gone.code_changes.is_empty());
}

#[test]
fn an_empty_account_that_is_touched_goes_unlisted() {
    let mut world = world(SpecId::OSAKA);
    world.set(account(50), AccountState::default());
    world.call(account(0), 0, account(50), 0);
    world.call(account(1), 0, account(50), 0);
    let list = list(&world);
    assert_eq!(entry(&list, account(50)), &AccountChanges::new(account(50)));
    assert_eq!(world.agreed().diff[&account(50)].account, None);
}

/// An empty account with storage, which only a test has: touched, both are gone, and no list says so.
#[test]
fn what_no_list_can_tell_is_run_serially() {
    let mut world = world(SpecId::OSAKA);
    world.set(account(50), AccountState { has_storage: true, ..AccountState::default() });
    world.call(account(0), 0, account(50), 0);
    let block = world.agreed();
    assert_eq!(block.diff[&account(50)].account, None);
    let mut serial = engine("serial", 1);
    let recorded = serial.execute_recorded(&world.input, &world.pre, &Control::default());
    let (_, mut list) = recorded.expect("records").unwrap();
    let mut bal = engine("bal", 2);
    let mut run = |list: &BlockAccessList| {
        bal.prepare(&world.input, &world.pre, Some(&access_list_rlp(list)));
        let done = bal.execute(&world.input, &world.pre, &Control::default());
        done.map(|done| done.into_block(&world.pre).stats.fallbacks)
    };
    assert_eq!(run(&list), Ok(1));
    let at = list.iter().position(|entry| entry.address == account(50)).unwrap();
    list[at].storage_reads.push(U256::ONE);
    let error = run(&list).unwrap_err().to_string();
    assert!(error.contains(&format!("slot 0x1 of {}", account(50))), "{error}");
}
