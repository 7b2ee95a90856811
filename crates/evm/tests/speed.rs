//! How long a transaction takes, beside stock revm on its in-memory database. For information: run with
//! `--ignored --nocapture`.

mod common;

use alloy_primitives::{Address, Bytes, TxKind, U256};
use braid_core::{Effects, Halt, Read, ReadId, View, Vm, Write};
use braid_evm::{EvmKey, EvmSeen, EvmShared, EvmTx, EvmValue, EvmVm};
use common::{World, block};
use revm::{
    Context, ExecuteCommitEvm, MainBuilder, MainContext,
    bytecode::{Bytecode, opcode as op},
    context::{CfgEnv, TxEnv},
    database::{CacheDB, EmptyDB},
    primitives::hardfork::SpecId,
    state::AccountInfo,
};
use std::{collections::HashMap, ops::Range, time::Instant};

const TOKEN: Address = Address::repeat_byte(0xcc);
const USERS: u64 = 1000;

fn user(index: u64) -> Address {
    Address::left_padding_from(&(0x1_0000 + index).to_be_bytes())
}

/// transfer(to, amount) of an ERC-20: two balances in a mapping, checked, and a log.
fn token() -> Vec<u8> {
    let mut code = vec![
        op::PUSH1,
        36,
        op::CALLDATALOAD, // amount
        op::CALLER,
        op::PUSH0,
        op::MSTORE,
        op::PUSH1,
        64,
        op::PUSH0,
        op::KECCAK256, // amount from
        op::DUP1,
        op::SLOAD,
        op::DUP3,
        op::DUP2,
        op::LT,
        op::PUSH1,
        0,
        op::JUMPI, // amount from balance
        op::DUP3,
        op::SWAP1,
        op::SUB,
        op::SWAP1,
        op::SSTORE, // amount
        op::PUSH1,
        4,
        op::CALLDATALOAD,
        op::PUSH0,
        op::MSTORE,
        op::PUSH1,
        64,
        op::PUSH0,
        op::KECCAK256,
        op::DUP1,
        op::SLOAD,
        op::DUP3,
        op::ADD,
        op::SWAP1,
        op::SSTORE, // amount
        op::PUSH0,
        op::MSTORE,
        op::PUSH1,
        4,
        op::CALLDATALOAD,
        op::CALLER,
        op::PUSH2,
        0xdd,
        0xf2,
        op::PUSH1,
        32,
        op::PUSH0,
        op::LOG3, //
        op::PUSH1,
        1,
        op::PUSH0,
        op::MSTORE,
        op::PUSH1,
        32,
        op::PUSH0,
        op::RETURN, //
        op::JUMPDEST,
        op::PUSH0,
        op::PUSH0,
        op::REVERT,
    ];
    let fail = code.len() as u8 - 4;
    let at = code.iter().position(|&byte| byte == op::JUMPI).expect("there is one") - 1;
    code[at] = fail;
    code
}

fn balance_slot(of: Address) -> U256 {
    let mut word = [0; 64];
    word[12..32].copy_from_slice(of.as_slice());
    alloy_primitives::keccak256(word).into()
}

fn tx(from: u64, nonce: u64) -> TxEnv {
    TxEnv {
        caller: user(from % USERS),
        nonce,
        gas_limit: 21_000,
        gas_price: 9,
        kind: TxKind::Call(user((from * 7 + 1) % USERS)),
        value: U256::from(1),
        chain_id: Some(1),
        ..TxEnv::default()
    }
}

fn token_tx(from: u64, nonce: u64) -> TxEnv {
    let mut data = vec![0xa9, 0x05, 0x9c, 0xbb];
    data.extend(user((from * 7 + 1) % USERS).into_word());
    data.extend(U256::from(3).to_be_bytes::<32>());
    TxEnv {
        gas_limit: 100_000,
        kind: TxKind::Call(TOKEN),
        value: U256::ZERO,
        data: data.into(),
        ..tx(from, nonce)
    }
}

/// A state that answers fast.
struct Fast {
    state: HashMap<EvmKey, EvmValue, foldhash::fast::RandomState>,
    reads: u32,
}

impl View<EvmKey, EvmValue> for Fast {
    fn read(&mut self, key: &EvmKey) -> Result<Read<EvmValue>, Halt> {
        self.reads += 1;
        Ok(Read { id: ReadId(self.reads), value: self.state.get(key).cloned() })
    }

    fn narrow(&mut self, _read: ReadId, _seen: EvmSeen) {}

    fn assume(&mut self, _key: &EvmKey, _seen: EvmSeen) {}

    fn is_final(&self) -> bool {
        false
    }

    fn scan(&mut self, _range: Range<EvmKey>) -> Result<Vec<(EvmKey, EvmValue)>, Halt> {
        unreachable!("the EVM scans nothing")
    }
}

impl Fast {
    fn apply(&mut self, writes: &[(EvmKey, Write<EvmValue>)]) {
        for (key, write) in writes {
            let base = self.state.remove(key);
            if let Some(value) = write.onto(base) {
                self.state.insert(*key, value);
            }
        }
    }
}

fn worlds() -> (Fast, CacheDB<EmptyDB>) {
    let mut world = World::default();
    let mut db = CacheDB::new(EmptyDB::default());
    let balance = 1u64 << 60;
    world.add(TOKEN, 0, 1, &token());
    let code = Bytecode::new_legacy(Bytes::from(token()));
    let info =
        AccountInfo { nonce: 1, code_hash: code.hash_slow(), code: Some(code), ..AccountInfo::default() };
    db.insert_account_info(TOKEN, info);
    for index in 0..USERS {
        world.add(user(index), balance, 0, &[]);
        db.insert_account_info(user(index), AccountInfo::from_balance(U256::from(balance)));
        let (slot, amount) = (balance_slot(user(index)), U256::from(1u64 << 40));
        let key = EvmKey::Slot { address: TOKEN, generation: 0, slot };
        world.0.insert(key, EvmValue::Slot(amount));
        db.insert_account_storage(TOKEN, slot, amount).expect("an in-memory database");
    }
    world.add(common::BENEFICIARY, 1, 0, &[]);
    db.insert_account_info(common::BENEFICIARY, AccountInfo::from_balance(U256::ONE));
    (Fast { state: world.0.into_iter().collect(), reads: 0 }, db)
}

/// Microseconds a transaction, ours and stock revm's;.
fn measure(make: fn(u64, u64) -> TxEnv, rounds: u64, apply: bool) -> [f64; 2] {
    let txs: Vec<_> = (0..USERS * rounds).map(|n| make(n, n / USERS)).collect();
    let count = txs.len() as f64;
    let input = block(SpecId::CANCUN, txs);
    let (mut fast, db) = worlds();
    let shared = EvmShared::default();
    let vm = EvmVm::new(&shared, &input);
    let mut worker = vm.worker();
    let mut effects = Effects::default();
    // Nonces are predicted, so every transaction is valid on the state before the first one, too.
    let mut run = |from: usize, to: usize| {
        for index in from..to {
            effects.clear();
            vm.execute(&mut worker, &EvmTx::User(index as u32), &mut fast, &mut effects).expect("valid");
            if apply {
                fast.apply(&effects.writes);
            }
        }
    };
    run(0, USERS as usize);
    let start = Instant::now();
    run(USERS as usize, input.txs.len());
    let ours = start.elapsed().as_secs_f64() * 1e6 / (count - USERS as f64);

    let cfg = CfgEnv::new_with_spec(SpecId::CANCUN).with_chain_id(1);
    let context = Context::mainnet().with_db(db).with_cfg(cfg).with_block(input.env.clone());
    let mut evm = context.build_mainnet();
    let start = Instant::now();
    for tx in &input.txs {
        let result = evm.transact_commit(tx.clone()).expect("valid");
        assert!(result.is_success(), "{result:?}");
    }
    let theirs = start.elapsed().as_secs_f64() * 1e6 / count;
    [ours, theirs]
}

#[test]
#[ignore = "takes a while, tells a time"]
fn against_stock_revm() {
    for (name, make) in [("transfer", tx as fn(u64, u64) -> TxEnv), ("token", token_tx)] {
        let [bare, _] = measure(make, 100, false);
        let [ours, theirs] = measure(make, 100, true);
        println!(
            "{name}: {bare:.2} us, {ours:.2} with writes applied; stock revm {theirs:.2}; ratio {:.2}",
            theirs / ours
        );
    }
}
