//! The tracer draws the edges it says it draws.

use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, TxKind, U256, hex, keccak256};
use braid_evm::{AccountState, After, BlockInput, EvmKey, EvmValue, Rites};
use braid_profiles::limit::{Dependencies, Nonces, Place, trace, weigh};
use braid_work::PreState;
use revm::{
    bytecode::Bytecode,
    context::{BlockEnv, TxEnv},
    primitives::hardfork::SpecId,
};
use std::collections::BTreeMap;

const COUNTER: Address = Address::repeat_byte(0xc0);
const RICH: Address = Address::repeat_byte(0xb1);
const LOOK: Address = Address::repeat_byte(0xb2);
const FACTORY: Address = Address::repeat_byte(0xfa);

fn user(index: u8) -> Address {
    Address::repeat_byte(index + 1)
}

/// Ten users with ten ether each, and four contracts.
fn pre() -> PreState {
    let mut pre = PreState::default();
    let ether = U256::from(10).pow(U256::from(19));
    let mut put = |address, code: &[u8]| {
        let code_hash = if code.is_empty() { KECCAK256_EMPTY } else { keccak256(code) };
        let account = AccountState { exists: true, balance: ether, code_hash, ..AccountState::default() };
        pre.store.set(EvmKey::Account(address), Some(EvmValue::Account(account)));
        if !code.is_empty() {
            let code = Bytecode::new_raw(Bytes::copy_from_slice(code));
            pre.store.set(EvmKey::Code(code_hash), Some(EvmValue::Code(code)));
        }
    };
    (0..10).for_each(|index| put(user(index), &[]));
    // Adds one to slot 0.
    put(COUNTER, &hex!("600054600101600055"));
    // SELFBALANCE, POP.
    put(RICH, &hex!("4750"));
    // BALANCE of RICH, POP.
    put(LOOK, &[&hex!("73")[..], RICH.as_slice(), &hex!("3150")].concat());
    // CREATE of nothing, POP.
    put(FACTORY, &hex!("600060006000f050"));
    pre
}

/// A block of Osaka of (sender, nonce, target, wei).
fn block(txs: &[(Address, u64, Address, u64)]) -> BlockInput {
    let tx = |&(caller, nonce, to, value): &(Address, u64, Address, u64)| TxEnv {
        caller,
        nonce,
        kind: TxKind::Call(to),
        value: U256::from(value),
        gas_limit: 200_000,
        gas_price: 1,
        ..TxEnv::default()
    };
    BlockInput {
        chain_id: 1,
        spec: SpecId::OSAKA,
        env: BlockEnv {
            beneficiary: Address::repeat_byte(0xbe),
            gas_limit: 30_000_000,
            prevrandao: Some(B256::ZERO),
            ..BlockEnv::default()
        },
        txs: txs.iter().map(tx).collect(),
        block_hashes: BTreeMap::new(),
        max_blob_gas: None,
        rites: Rites::default(),
        rules: braid_evm::EvmRules::default(),
        gas_used: None,
    }
}

fn edges(input: &BlockInput, nonces: Nonces) -> Vec<Vec<u32>> {
    Dependencies::new(&trace(input, &pre()).unwrap(), nonces).on
}

#[test]
fn payments_commute() {
    let input = block(&[(user(0), 0, user(9), 5), (user(1), 0, user(9), 5), (user(9), 0, user(8), 1)]);
    assert_eq!(edges(&input, Nonces::Chained), [[0u32; 0]; 3]);
    let all = Dependencies::new(&trace(&input, &pre()).unwrap(), Nonces::Chained);
    assert_eq!(all.limit(2, &[1, 1, 1]), 2.0);
    assert_eq!(all.limit(8, &[1, 1, 1]), 3.0);
}

#[test]
fn senders_chain_unless_nonces_are_predicted() {
    let input = block(&[(user(0), 0, user(9), 5), (user(1), 0, user(9), 5), (user(0), 1, user(8), 1)]);
    assert_eq!(edges(&input, Nonces::Chained), [vec![], vec![], vec![0]]);
    assert_eq!(edges(&input, Nonces::Predicted), [[0u32; 0]; 3]);
}

#[test]
fn a_counter_is_a_chain() {
    let input = block(&[(user(0), 0, COUNTER, 0), (user(1), 0, COUNTER, 0), (user(2), 0, COUNTER, 0)]);
    let traced = trace(&input, &pre()).unwrap();
    assert!(traced[0].writes.contains(&Place::Slot(COUNTER, U256::ZERO)));
    let all = Dependencies::new(&traced, Nonces::Predicted);
    assert_eq!(all.on, [vec![], vec![0], vec![1]]);
    assert_eq!(all.span(&[5, 7, 1]), 13);
    assert_eq!(all.limit(4, &[5, 7, 1]), 1.0);
}

#[test]
fn an_observed_balance_needs_all_who_paid() {
    let input = block(&[
        (user(0), 0, RICH, 5),
        (user(1), 0, RICH, 0),
        (user(2), 0, LOOK, 0),
        (user(3), 0, COUNTER, 0),
    ]);
    // 0 and 1 run SELFBALANCE; 1 sees what 0 paid; 2 looks at the same balance from outside.
    assert_eq!(edges(&input, Nonces::Chained), [vec![], vec![0], vec![0], vec![]]);
    let paid = block(&[(user(0), 0, RICH, 5), (user(1), 0, RICH, 5), (user(2), 0, LOOK, 0)]);
    assert_eq!(edges(&paid, Nonces::Chained), [vec![], vec![0], vec![1]]);
}

#[test]
fn creations_of_one_factory_chain() {
    let input = block(&[(user(0), 0, FACTORY, 0), (user(1), 0, FACTORY, 0)]);
    assert_eq!(edges(&input, Nonces::Predicted), [vec![], vec![0]]);
}

#[test]
fn weights_are_positive_and_bad_blocks_are_errors() {
    let input = block(&[(user(0), 0, COUNTER, 0), (user(1), 0, COUNTER, 0)]);
    let weights = weigh(&input, &pre(), 3).unwrap();
    assert_eq!(weights.len(), 2);
    assert!(weights.iter().all(|weight| *weight > 0));
    let bad = block(&[(user(0), 7, COUNTER, 0)]);
    assert!(trace(&bad, &pre()).unwrap_err().to_string().starts_with("transaction 0 cannot be traced"));
    assert!(weigh(&bad, &pre(), 1).is_err());
}

#[test]
fn weights_are_those_of_the_transactions_whatever_surrounds_them() {
    let mut pre = pre();
    // JUMPDEST, PUSH1 0, JUMP: until the gas is gone.
    let spin = Address::repeat_byte(0x5b);
    let code = Bytecode::new_raw(Bytes::from_static(&hex!("5b600056")));
    let code_hash = code.hash_slow();
    let account = AccountState { exists: true, nonce: 1, code_hash, ..AccountState::default() };
    pre.store.set(EvmKey::Account(spin), Some(EvmValue::Account(account)));
    pre.store.set(EvmKey::Code(code_hash), Some(EvmValue::Code(code)));
    let mut input = block(&[(user(0), 0, user(9), 1), (user(1), 0, spin, 0), (user(2), 0, user(9), 1)]);
    input.txs[1].gas_limit = 10_000_000;
    let after = After { withdrawals: vec![(user(5), 1)], ..After::default() };
    for (parent_beacon_root, after) in
        [(None, None), (None, Some(after.clone())), (Some(B256::ZERO), None), (Some(B256::ZERO), Some(after))]
    {
        input.rites = Rites { parent_beacon_root, after, ..Rites::default() };
        let weights = weigh(&input, &pre, 5).unwrap();
        assert_eq!(weights.len(), 3);
        assert!(weights[1] > 10 * weights[0].max(weights[2]), "{:?}: {weights:?}", input.rites);
    }
}

#[test]
fn no_work_has_limit_one() {
    assert_eq!(Dependencies::default().limit(8, &[]), 1.0);
}
