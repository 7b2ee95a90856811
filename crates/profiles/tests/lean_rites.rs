//! lean on what a block does besides its transactions, and on blocks that must fail.

mod common;

use alloy_eips::{eip2935, eip4788, eip7002, eip7251};
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, TxKind, U256, address, hex, keccak256};
use braid_core::{Control, StoreError};
use braid_evm::{AccountState, After, BlockInput, EvmKey, EvmValue, ExecutedBlock, Rites};
use braid_profiles::{Engine, ExecError, LeanEngine};
use braid_work::PreState;
use common::{DEPOSIT_EVENT, deposit};
use revm::{
    context::{BlockEnv, TxEnv},
    primitives::hardfork::SpecId,
    state::Bytecode,
};

const SENDER: Address = address!("0x1000000000000000000000000000000000000001");
const PAYEE: Address = address!("0x2000000000000000000000000000000000000002");
const DEPOSIT_CONTRACT: Address = address!("0x00000000219ab540356cbb839cbe05303d7705fa");

/// Stores the first word of its input in slot 0.
const STORE_INPUT: [u8; 5] = hex!("5f355f5500");
/// Returns the byte 0x42.
const RETURN_42: [u8; 8] = hex!("60425f5360015ff3");
/// Stops.
const STOP: [u8; 1] = hex!("00");
/// Reverts.
const REVERT: [u8; 3] = hex!("5f5ffd");

fn put(pre: &mut PreState, address: Address, balance: u64, code: &[u8]) {
    let code_hash = if code.is_empty() { KECCAK256_EMPTY } else { keccak256(code) };
    if !code.is_empty() {
        let code = Bytecode::new_raw(Bytes::copy_from_slice(code));
        pre.store.set(EvmKey::Code(code_hash), Some(EvmValue::Code(code)));
    }
    let account = AccountState {
        exists: true,
        balance: U256::from(balance),
        nonce: u64::from(!code.is_empty()),
        code_hash,
        generation: 0,
        has_storage: false,
    };
    pre.store.set(EvmKey::Account(address), Some(EvmValue::Account(account)));
}

fn block(rites: Rites, txs: Vec<TxEnv>) -> BlockInput {
    let env =
        BlockEnv { gas_limit: 1_000_000, beneficiary: Address::with_last_byte(0xbb), ..BlockEnv::default() };
    let (block_hashes, max_blob_gas) = (Default::default(), Some(9 << 17));
    BlockInput {
        chain_id: 1,
        spec: SpecId::PRAGUE,
        env,
        txs,
        block_hashes,
        max_blob_gas,
        rites,
        rules: Default::default(),
        gas_used: None,
    }
}

fn transfer(nonce: u64) -> TxEnv {
    let kind = TxKind::Call(PAYEE);
    TxEnv { caller: SENDER, gas_limit: 21_000, kind, value: U256::ONE, nonce, ..TxEnv::default() }
}

fn run(input: &BlockInput, pre: &PreState) -> Result<ExecutedBlock, ExecError> {
    LeanEngine.execute(input, pre, &Control::default()).map(|done| done.into_block(pre))
}

fn funded() -> PreState {
    let mut pre = PreState::default();
    put(&mut pre, SENDER, 1_000_000, &[]);
    pre
}

fn after() -> After {
    After { rewards: vec![(SENDER, 5)], withdrawals: vec![(PAYEE, 7), (PAYEE, 8)], requests: true }
}

#[test]
fn system_calls_payments_and_requests_are_all_there() {
    let mut pre = funded();
    put(&mut pre, eip2935::HISTORY_STORAGE_ADDRESS, 0, &STORE_INPUT);
    put(&mut pre, eip4788::BEACON_ROOTS_ADDRESS, 0, &STORE_INPUT);
    put(&mut pre, eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, 0, &RETURN_42);
    put(&mut pre, eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS, 0, &STOP);
    let (parent, root) = (B256::repeat_byte(3), B256::repeat_byte(4));
    let rites = Rites {
        parent_hash: Some(parent),
        parent_beacon_root: Some(root),
        dao_drain: None,
        after: Some(after()),
    };
    let done = run(&block(rites, vec![transfer(0)]), &pre).expect("a valid block");
    let stored = |contract: Address| done.diff[&contract].storage[&U256::ZERO];
    assert_eq!(stored(eip2935::HISTORY_STORAGE_ADDRESS), U256::from_be_bytes(parent.0));
    assert_eq!(stored(eip4788::BEACON_ROOTS_ADDRESS), U256::from_be_bytes(root.0));
    let balance = |account: Address| done.diff[&account].account.expect("it exists").balance;
    assert_eq!(balance(PAYEE), U256::from(1 + 7 + 8));
    assert_eq!(balance(SENDER), U256::from(1_000_000 - 1 + 5));
    assert_eq!(done.requests, [Bytes::from_static(&[1, 0x42])]);
}

#[test]
fn missing_system_contracts_are_skipped_before_and_fatal_after() {
    let calls = Rites { parent_hash: Some(B256::ZERO), ..Rites::default() };
    assert!(run(&block(calls, vec![transfer(0)]), &funded()).is_ok());
    let requests = Rites { after: Some(after()), ..Rites::default() };
    let error = run(&block(requests.clone(), vec![]), &funded());
    assert!(matches!(error, Err(ExecError::SystemCall { name: "eip7002", .. })), "{error:?}");
    let mut pre = funded();
    put(&mut pre, eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, 0, &STOP);
    put(&mut pre, eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS, 0, &REVERT);
    let error = run(&block(requests, vec![]), &pre);
    assert!(matches!(error, Err(ExecError::SystemCall { name: "eip7251", .. })), "{error:?}");
}

#[test]
fn deposits_are_read_from_logs() {
    let (data, request) = deposit([0xa1, 0xa2, 0xa3, 0xa4, 0xa5]);
    // Logs its whole input under the event's topic: CALLDATASIZE PUSH0 PUSH0 CALLDATACOPY, PUSH32 topic,
    // CALLDATASIZE PUSH0 LOG1.
    let code = [&hex!("365f5f377f")[..], DEPOSIT_EVENT.as_slice(), &hex!("365fa100")].concat();
    let mut pre = funded();
    put(&mut pre, DEPOSIT_CONTRACT, 0, &code);
    put(&mut pre, eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, 0, &STOP);
    put(&mut pre, eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS, 0, &STOP);
    let deposit = TxEnv {
        kind: TxKind::Call(DEPOSIT_CONTRACT),
        data: data.into(),
        gas_limit: 200_000,
        value: U256::ZERO,
        ..transfer(0)
    };
    let rites = Rites { after: Some(After { requests: true, ..After::default() }), ..Rites::default() };
    let done = run(&block(rites, vec![deposit]), &pre).expect("a valid block");
    let expected = [vec![0], request].concat();
    assert_eq!(done.requests, [Bytes::from(expected)]);
}

#[test]
fn the_dao_drain_comes_before_the_transactions() {
    let mut pre = funded();
    let (rich, other) = (Address::with_last_byte(0xd1), Address::with_last_byte(0xd2));
    put(&mut pre, rich, 100, &[]);
    put(&mut pre, other, 11, &[]);
    // The sender has nothing but what the drain gives it.
    put(&mut pre, SENDER, 0, &[]);
    let rites = Rites { dao_drain: Some((vec![rich, other], SENDER)), ..Rites::default() };
    let input = BlockInput { spec: SpecId::HOMESTEAD, ..block(rites, vec![transfer(0)]) };
    let done = run(&input, &pre).expect("a valid block");
    let balance = |account: Address| done.diff[&account].account.expect("it exists").balance;
    assert_eq!(balance(SENDER), U256::from(110));
    assert_eq!((balance(rich), balance(other)), (U256::ZERO, U256::ZERO));
}

#[test]
fn blocks_that_must_fail_name_the_transaction_and_the_reason() {
    let invalid = |input: &BlockInput, pre: &PreState| match run(input, pre) {
        Err(ExecError::Invalid { tx, kind, .. }) => (tx, kind),
        other => panic!("{other:?}"),
    };
    let (rites, pre) = (Rites::default(), funded());
    let two = |second: TxEnv| block(rites.clone(), vec![transfer(0), second]);
    assert_eq!(invalid(&two(transfer(0)), &pre), (1, "nonce_too_low"));
    assert_eq!(invalid(&two(transfer(2)), &pre), (1, "nonce_too_high"));
    assert_eq!(invalid(&two(TxEnv { chain_id: Some(5), ..transfer(1) }), &pre), (1, "invalid_chain_id"));
    let poor = TxEnv { value: U256::from(2_000_000), ..transfer(1) };
    assert_eq!(invalid(&two(poor), &pre), (1, "insufficient_funds"));
    // The block's gas is checked first, and against what is left, not against the whole.
    let big = TxEnv { gas_limit: 1_000_000 - 20_999, ..transfer(7) };
    assert_eq!(invalid(&two(big), &pre), (1, "block_gas_limit"));
    let exact = TxEnv { gas_limit: 1_000_000 - 21_000, ..transfer(1) };
    assert!(run(&two(exact), &pre).is_ok());
    let blobs = TxEnv { blob_hashes: vec![B256::with_last_byte(1); 10], ..transfer(1) };
    assert_eq!(invalid(&two(blobs), &pre), (1, "block_blob_gas_limit"));
}

#[test]
fn missing_code_is_a_store_error() {
    let mut pre = funded();
    put(&mut pre, PAYEE, 0, &STOP);
    pre.store.set(EvmKey::Code(keccak256(STOP)), None);
    let error = run(&block(Rites::default(), vec![transfer(0)]), &pre).expect_err("an incomplete state");
    let item = keccak256(STOP).to_string();
    let expected = StoreError::Missing { what: "code", item };
    assert_eq!(error, ExecError::Store { tx: Some(0), error: expected });
}
