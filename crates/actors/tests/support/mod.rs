//! A small world, its contracts, and the check that every schedule delivers the same.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test binary uses its part")]

use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use braid_actors::{ActorBlock, End, Limits, deliver, differing, evm_outcomes};
use braid_core::{Control, Reader, Scheduler, State, StoreError};
use braid_evm::{AccountState, BlockInput, EvmKey, EvmShared, EvmValue, Status, TxResult};
use braid_sched::{Batch, BlockStm, Graph, Occ, OccRounds, Policy, Pool, Serial};
use revm::{
    bytecode::Bytecode,
    context::{BlockEnv, TxEnv},
    primitives::hardfork::SpecId,
};
use std::{collections::BTreeMap, sync::Arc};

pub const ETHER: u128 = 1_000_000_000_000_000_000;
pub const BASE_FEE: u64 = 7;
pub const GAS_PRICE: u128 = 10;

/// The `n`th account.
pub fn account(n: u8) -> Address {
    Address::repeat_byte(n)
}

/// Who gets the fees.
pub fn beneficiary() -> Address {
    account(0xbe)
}

#[derive(Clone)]
pub struct World {
    pub state: BTreeMap<EvmKey, EvmValue>,
    pub input: BlockInput,
    pub limits: Limits,
}

impl State<EvmKey, EvmValue> for World {
    type Reader<'a> = &'a World;

    fn reader(&self) -> Result<&World, StoreError> {
        Ok(self)
    }
}

impl Reader<EvmKey, EvmValue> for &World {
    fn get(&mut self, key: &EvmKey) -> Result<Option<EvmValue>, StoreError> {
        Ok(self.state.get(key).cloned())
    }
}

impl World {
    pub fn new(spec: SpecId) -> World {
        let mut env = BlockEnv {
            number: U256::from(1000),
            timestamp: U256::from(1_000_000),
            beneficiary: beneficiary(),
            gas_limit: 100_000_000,
            basefee: if spec.is_enabled_in(SpecId::LONDON) { BASE_FEE } else { 0 },
            prevrandao: Some(B256::repeat_byte(7)),
            ..BlockEnv::default()
        };
        env.set_blob_excess_gas_and_price(0, 5_007_716);
        let mut world = World {
            state: BTreeMap::new(),
            input: BlockInput::new(1, spec, env, Vec::new()),
            limits: Limits::default(),
        };
        for sender in 1..10 {
            world.fund(account(sender), 1000 * ETHER);
        }
        world
    }

    pub fn set(&mut self, address: Address, account: AccountState) {
        let account = AccountState { exists: true, ..account };
        self.state.insert(EvmKey::Account(address), EvmValue::Account(account));
    }

    pub fn fund(&mut self, address: Address, wei: u128) {
        self.set(address, AccountState { balance: U256::from(wei), ..AccountState::default() });
    }

    pub fn contract(&mut self, address: Address, code: impl Into<Vec<u8>>, wei: u128) -> Address {
        let code = Bytecode::new_legacy(Bytes::from(code.into()));
        let code_hash = code.hash_slow();
        self.state.insert(EvmKey::Code(code_hash), EvmValue::Code(code));
        let balance = U256::from(wei);
        self.set(address, AccountState { balance, nonce: 1, code_hash, ..AccountState::default() });
        address
    }

    pub fn account(&self, address: Address) -> AccountState {
        match self.state.get(&EvmKey::Account(address)) {
            Some(EvmValue::Account(account)) => *account,
            _ => AccountState::default(),
        }
    }

    /// Appends a transaction of the `from`th account, with its next nonce.
    pub fn tx(&mut self, from: u8, kind: TxKind, wei: u128, data: impl Into<Bytes>) -> &mut TxEnv {
        let caller = account(from);
        let nonce = self.input.txs.iter().filter(|tx| tx.caller == caller).count() as u64;
        self.input.txs.push(TxEnv {
            caller,
            nonce: nonce + self.account(caller).nonce,
            kind,
            value: U256::from(wei),
            data: data.into(),
            gas_limit: 8_000_000,
            gas_price: GAS_PRICE,
            chain_id: Some(1),
            ..TxEnv::default()
        });
        self.input.txs.last_mut().unwrap()
    }

    pub fn call(&mut self, from: u8, to: Address, wei: u128) -> &mut TxEnv {
        self.tx(from, TxKind::Call(to), wei, Bytes::new())
    }

    pub fn by<S: Scheduler>(&self, scheduler: &S) -> ActorBlock {
        let control = Control::default();
        deliver(scheduler, &self.input, self.limits, true, self, &(), &control)
            .unwrap_or_else(|error| panic!("{}: {error}", scheduler.name()))
    }

    /// Delivers the block one by one, and under every schedule; all must give the same, and lose no ether.
    pub fn agreed(&self) -> ActorBlock {
        let serial = self.by(&Serial::new());
        self.conserves(&serial);
        for threads in [1, 2, 8] {
            let pool = Arc::new(Pool::new(threads));
            for seed in 1..4 {
                let what = |name: &str| format!("{name} with {threads} threads, seed {seed}");
                same(&serial, &self.by(&BlockStm::new(pool.clone()).chaos(seed)), &what("block_stm"));
                same(&serial, &self.by(&Occ::new(pool.clone()).chaos(seed)), &what("occ"));
                let policies = [Policy::Fifo, Policy::Greedy, Policy::PrioGraph, Policy::Critical];
                for policy in policies {
                    same(&serial, &self.by(&Graph::new(pool.clone(), policy).chaos(seed)), &what("graph"));
                }
                same(&serial, &self.by(&Batch::new(pool.clone()).chaos(seed)), &what("batch"));
                same(&serial, &self.by(&OccRounds::new(pool.clone()).chaos(seed)), &what("occ_rounds"));
            }
        }
        serial
    }

    /// No ether is lost or made, and nobody waits.
    pub fn conserves(&self, block: &ActorBlock) {
        assert_eq!(block.waiting, 0, "frames are left");
        let (mut before, mut after) = (block.issued, block.burnt);
        for (key, value) in &block.changes {
            if let EvmKey::Account(address) = key {
                before += self.account(*address).balance;
                if let Some(EvmValue::Account(account)) = value {
                    after += account.balance;
                }
            }
        }
        assert_eq!(before, after, "ether");
        assert_eq!(block.ends.len(), self.input.txs.len());
    }

    /// Positions of the transactions that do something else under Ethereum's rules.
    pub fn differing(&self, block: &ActorBlock) -> Vec<usize> {
        let evm = evm_outcomes(&EvmShared::default(), &self.input, self).expect("a valid block");
        differing(block, &evm)
    }

    /// The value of a slot after the block.
    pub fn slot(&self, block: &ActorBlock, address: Address, slot: u64) -> U256 {
        let of = |key: &EvmKey| matches!(key, EvmKey::Slot { address: at, slot: n, .. } if (*at, *n) == (address, U256::from(slot)));
        block.changes.iter().rev().find(|(key, _)| of(key)).map_or(U256::ZERO, |(_, value)| match value {
            Some(EvmValue::Slot(value)) => *value,
            _ => U256::ZERO,
        })
    }

    /// The record of an account after the block.
    pub fn after(&self, block: &ActorBlock, address: Address) -> AccountState {
        let found = block.changes.iter().find(|(key, _)| *key == EvmKey::Account(address));
        match found {
            Some((_, Some(EvmValue::Account(account)))) => *account,
            Some(_) => AccountState::default(),
            None => self.account(address),
        }
    }

    pub fn balance(&self, block: &ActorBlock, address: Address) -> U256 {
        self.after(block, address).balance
    }
}

/// Everything that a schedule must not change.
pub fn same(serial: &ActorBlock, other: &ActorBlock, what: &str) {
    assert_eq!(serial.ends, other.ends, "{what}: ends");
    assert_eq!(serial.changes, other.changes, "{what}: changes");
    assert_eq!(serial.effects, other.effects, "{what}: effects");
    assert_eq!(serial.partial, other.partial, "{what}: partial failures");
    let numbers =
        |block: &ActorBlock| (block.rounds, block.messages, block.burnt, block.gas_used, block.waiting);
    assert_eq!(numbers(serial), numbers(other), "{what}: numbers");
}

/// The result of an executed transaction.
pub fn result(block: &ActorBlock, tx: usize) -> &TxResult {
    match &block.ends[tx] {
        End::Executed(result) => result,
        End::NotExecuted(error) => panic!("transaction {tx} was not executed: {error}"),
    }
}

pub fn status(block: &ActorBlock, tx: usize) -> Status {
    result(block, tx).status
}

/// Bytecode by hand.
#[derive(Clone, Default)]
pub struct Asm(pub Vec<u8>);

impl From<Asm> for Vec<u8> {
    fn from(asm: Asm) -> Self {
        asm.0
    }
}

pub fn asm() -> Asm {
    Asm::default()
}

impl Asm {
    pub fn op(mut self, opcodes: &[u8]) -> Asm {
        self.0.extend_from_slice(opcodes);
        self
    }

    pub fn push(mut self, value: u128) -> Asm {
        let bytes = value.to_be_bytes();
        let skip = bytes.iter().take_while(|byte| **byte == 0).count().min(15);
        self.0.push(0x60 + (15 - skip) as u8);
        self.0.extend(&bytes[skip..]);
        self
    }

    pub fn address(mut self, address: Address) -> Asm {
        self.0.push(0x73);
        self.0.extend(address.as_slice());
        self
    }

    /// `slot = top of the stack`.
    pub fn sstore(self, slot: u128) -> Asm {
        self.push(slot).op(&[op::SSTORE])
    }

    /// `slot = value`.
    pub fn set(self, slot: u128, value: u128) -> Asm {
        self.push(value).sstore(slot)
    }

    /// `slot = slot + 1`.
    pub fn bump(self, slot: u128) -> Asm {
        self.push(slot).op(&[op::SLOAD]).push(1).op(&[op::ADD]).sstore(slot)
    }

    /// `CALL(gas: all, to, value, no data)`, leaving success on the stack.
    pub fn call(self, to: Address, value: u128) -> Asm {
        self.push(0).push(0).push(0).push(0).push(value).address(to).op(&[op::GAS, op::CALL])
    }

    /// The same without value: DELEGATECALL or STATICCALL.
    pub fn other_call(self, opcode: u8, to: Address) -> Asm {
        self.push(0).push(0).push(0).push(0).address(to).op(&[op::GAS, opcode])
    }

    pub fn revert(self) -> Asm {
        self.push(0).push(0).op(&[op::REVERT])
    }

    /// Init code that deploys this code.
    pub fn deployer(self) -> Vec<u8> {
        let code = self.0;
        let mut init = vec![0x61, (code.len() >> 8) as u8, code.len() as u8, 0x80, 0x60, 12, 0x60, 0, 0x39];
        init.extend([0x60, 0, op::RETURN]);
        init.extend(code);
        init
    }

    /// `CREATE(value, these bytes)`, or CREATE2 with salt 5, leaving the address on the stack.
    pub fn create(mut self, init: &[u8], value: u128, two: bool) -> Asm {
        for (at, chunk) in init.chunks(32).enumerate() {
            let mut word = [0; 32];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0.push(0x7f);
            self.0.extend(word);
            self = self.push(at as u128 * 32).op(&[op::MSTORE]);
        }
        if two {
            self = self.push(5);
        }
        let opcode = if two { op::CREATE2 } else { op::CREATE };
        self.push(init.len() as u128).push(0).push(value).op(&[opcode])
    }
}

pub mod op {
    pub const STOP: u8 = 0x00;
    pub const ADD: u8 = 0x01;
    pub const ISZERO: u8 = 0x15;
    pub const BALANCE: u8 = 0x31;
    pub const CALLER: u8 = 0x33;
    pub const CALLVALUE: u8 = 0x34;
    pub const RETURNDATASIZE: u8 = 0x3d;
    pub const SELFBALANCE: u8 = 0x47;
    pub const POP: u8 = 0x50;
    pub const MLOAD: u8 = 0x51;
    pub const MSTORE: u8 = 0x52;
    pub const SLOAD: u8 = 0x54;
    pub const SSTORE: u8 = 0x55;
    pub const JUMP: u8 = 0x56;
    pub const JUMPI: u8 = 0x57;
    pub const GAS: u8 = 0x5a;
    pub const JUMPDEST: u8 = 0x5b;
    pub const TLOAD: u8 = 0x5c;
    pub const TSTORE: u8 = 0x5d;
    pub const DUP1: u8 = 0x80;
    pub const LOG0: u8 = 0xa0;
    pub const CREATE: u8 = 0xf0;
    pub const CALL: u8 = 0xf1;
    pub const CALLCODE: u8 = 0xf2;
    pub const RETURN: u8 = 0xf3;
    pub const DELEGATECALL: u8 = 0xf4;
    pub const CREATE2: u8 = 0xf5;
    pub const STATICCALL: u8 = 0xfa;
    pub const REVERT: u8 = 0xfd;
    pub const INVALID: u8 = 0xfe;
    pub const SELFDESTRUCT: u8 = 0xff;
}
