//! A small world to put blocks into, and the check that every profile equals `lean` on them.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "shared by test files, each of which uses its part"
)]

pub mod damage;
pub mod random;

use alloy_primitives::{Address, B256, Bytes, TxKind, U256, address, b256, keccak256};
use braid_core::{Control, Reader, State, StoreError};
use braid_evm::{AccountState, BlockInput, EvmKey, EvmValue, ExecutedBlock, Rites, TxResult};
use braid_profiles::{Engine, ExecError, PROFILES, profile};
use braid_work::PreState;
use revm::{
    bytecode::Bytecode,
    context::{BlockEnv, TxEnv},
    primitives::hardfork::SpecId,
};

/// Thread counts that every parallel profile is run with.
pub const THREADS: [usize; 4] = [1, 2, 4, 8];
/// One ether.
pub const ETHER: u128 = 1_000_000_000_000_000_000;
/// Gas price of every transaction; the base fee is zero, so all of it goes to the beneficiary.
pub const GAS_PRICE: u128 = 10;

/// State before a block, and the block.
#[derive(Clone)]
pub struct World {
    pub pre: PreState,
    pub input: BlockInput,
}

/// The `n`th plain account.
pub fn account(n: u64) -> Address {
    Address::from_word(keccak256(n.to_be_bytes()))
}

impl World {
    pub fn new(spec: SpecId) -> World {
        let env = BlockEnv {
            number: U256::from(1000),
            timestamp: U256::from(1_000_000),
            beneficiary: account(9999),
            gas_limit: 100_000_000,
            basefee: 0,
            prevrandao: Some(B256::repeat_byte(7)),
            ..BlockEnv::default()
        };
        let mut env = env;
        env.set_blob_excess_gas_and_price(0, 5_007_716);
        let input = BlockInput {
            chain_id: 1,
            spec,
            env,
            txs: Vec::new(),
            block_hashes: Default::default(),
            max_blob_gas: Some(9 * 131_072),
            rites: Rites::default(),
            rules: braid_evm::EvmRules::default(),
            gas_used: None,
        };
        World { pre: PreState::default(), input }
    }

    pub fn set(&mut self, address: Address, account: AccountState) {
        let account = AccountState { exists: true, ..account };
        self.pre.store.set(EvmKey::Account(address), Some(EvmValue::Account(account)));
    }

    pub fn fund(&mut self, address: Address, wei: u128) {
        self.set(address, AccountState { balance: U256::from(wei), ..AccountState::default() });
    }

    /// An account with code and a balance; its nonce is 1, as a contract's is.
    pub fn contract(&mut self, address: Address, code: Vec<u8>, wei: u128) {
        let code_hash = self.code(code);
        let balance = U256::from(wei);
        self.set(address, AccountState { balance, nonce: 1, code_hash, ..AccountState::default() });
    }

    pub fn code(&mut self, code: Vec<u8>) -> B256 {
        let hash = keccak256(&code);
        let code = Bytecode::new_raw(code.into());
        self.pre.store.set(EvmKey::Code(hash), Some(EvmValue::Code(code)));
        hash
    }

    pub fn slot(&mut self, address: Address, slot: u64, value: u64) {
        let key = EvmKey::Slot { address, generation: 0, slot: U256::from(slot) };
        self.pre.store.set(key, Some(EvmValue::Slot(U256::from(value))));
        if let Some(EvmValue::Account(account)) = self.pre.store.get(&EvmKey::Account(address)).cloned() {
            self.set(address, AccountState { has_storage: true, ..account });
        }
    }

    /// Appends a transaction and returns its index.
    pub fn tx(&mut self, from: Address, nonce: u64, to: TxKind, wei: u128, data: impl Into<Bytes>) -> usize {
        self.input.txs.push(TxEnv {
            caller: from,
            nonce,
            kind: to,
            value: U256::from(wei),
            data: data.into(),
            gas_limit: 1_000_000,
            gas_price: GAS_PRICE,
            chain_id: Some(1),
            ..TxEnv::default()
        });
        self.input.txs.len() - 1
    }

    pub fn call(&mut self, from: Address, nonce: u64, to: Address, wei: u128) -> usize {
        self.tx(from, nonce, TxKind::Call(to), wei, Bytes::new())
    }

    /// Runs the block under `name`.
    pub fn run(&self, name: &str, threads: usize) -> Result<ExecutedBlock, ExecError> {
        self.run_on(&mut engine(name, threads))
    }

    /// Runs the block on `engine`.
    pub fn run_on(&self, engine: &mut Box<dyn Engine>) -> Result<ExecutedBlock, ExecError> {
        let done = engine.execute(&self.input, &self.pre, &Control::default())?;
        let mut block = done.into_block(&self.pre);
        block.stats = Default::default();
        Ok(block)
    }

    /// Runs the block under every profile and thread count, several times each, and returns what all
    /// of them agree on.
    pub fn agree(&self) -> Result<ExecutedBlock, ExecError> {
        let expected = self.run("lean", 1);
        for profile in PROFILES {
            for threads in THREADS.iter().take(if profile.parallel { THREADS.len() } else { 1 }) {
                let mut engine = engine(profile.name, *threads);
                for seed in schedule_seeds(if profile.parallel { 5 } else { 1 }) {
                    engine.shuffle(seed);
                    let got = self.run_on(&mut engine);
                    let who = profile.name;
                    assert_eq!(got, expected, "{who} with {threads} threads; repeat with BRAID_SEED={seed}");
                }
            }
        }
        expected
    }

    /// As [`Self::agree`], for a block that is valid.
    pub fn agreed(&self) -> ExecutedBlock {
        self.agree().unwrap_or_else(|error| panic!("the block should be valid: {error}"))
    }
}

/// The profile called `name`, with warm threads.
pub fn engine(name: &str, threads: usize) -> Box<dyn Engine> {
    (profile(name).unwrap().build)(threads).unwrap()
}

/// The number that `BRAID_SEED` names, if it is set: it repeats what failed.
pub fn seed_to_repeat() -> Option<u64> {
    let seed = std::env::var("BRAID_SEED").ok()?;
    Some(seed.parse().expect("BRAID_SEED is a number"))
}

/// Seeds of schedules for so many rounds; the one to repeat comes first.
pub fn schedule_seeds(rounds: u64) -> impl Iterator<Item = u64> {
    let first = seed_to_repeat().unwrap_or(1);
    (0..rounds).map(move |round| first.wrapping_add(round))
}

/// A stand-in for the queues of EIP-7002 and EIP-7251: counts its calls in slot 0, and gives the count
/// (32 bytes) to the system, which resets it.
pub fn queue_code() -> Vec<u8> {
    let give = Asm::default().push(0).op(&[op::SLOAD]).push(0).op(&[op::MSTORE]).push(0).sstore(0);
    let give = give.push(32).push(0).op(&[op::RETURN]).0;
    let count = Asm::default().push(0).op(&[op::SLOAD]).push(1).op(&[op::ADD]).sstore(0).stop();
    // CALLER, PUSH20 system, EQ, PUSH1 give, JUMPI, count, JUMPDEST, give
    let mut code = Asm::default().op(&[op::CALLER]).push(SYSTEM).op(&[op::EQ]).0;
    let target = code.len() + 3 + count.len();
    code.extend([0x60, target as u8, op::JUMPI]);
    code.extend(count);
    code.push(op::JUMPDEST);
    code.extend(give);
    code
}

/// Code that stores its input in slot 0: a stand-in for the contracts of EIP-2935 and EIP-4788.
pub fn store_input_code() -> Vec<u8> {
    Asm::default().push(0).op(&[op::CALLDATALOAD]).sstore(0).stop()
}

/// Who calls system contracts.
pub const SYSTEM: Address = address!("0xfffffffffffffffffffffffffffffffffffffffe");

/// A state with something in front of every read: it may count, refuse or panic.
pub struct Tapped<'a, F> {
    pub pre: &'a PreState,
    pub tap: F,
}

impl<F: Fn(&EvmKey) -> Result<(), StoreError> + Sync> State<EvmKey, EvmValue> for Tapped<'_, F> {
    type Reader<'b>
        = &'b Self
    where
        Self: 'b;

    fn reader(&self) -> Result<&Self, StoreError> {
        Ok(self)
    }
}

impl<F: Fn(&EvmKey) -> Result<(), StoreError>> Reader<EvmKey, EvmValue> for &Tapped<'_, F> {
    fn get(&mut self, key: &EvmKey) -> Result<Option<EvmValue>, StoreError> {
        (self.tap)(key)?;
        Ok(self.pre.store.get(key).cloned())
    }
}

/// The data of a deposit event (EIP-6110), whose five dynamic fields of 48, 32, 8, 96 and 8 bytes consist
/// of these bytes; and the request that it makes.
pub fn deposit(bytes: [u8; 5]) -> (Vec<u8>, Vec<u8>) {
    let lengths = [48, 32, 8, 96, 8];
    let (mut head, mut tail, mut request) = (Vec::new(), Vec::new(), Vec::new());
    for (byte, length) in bytes.into_iter().zip(lengths) {
        head.extend(B256::from(U256::from(5 * 32 + tail.len())));
        tail.extend(B256::from(U256::from(length)));
        tail.resize(tail.len() + length, byte);
        tail.resize(tail.len().next_multiple_of(32), 0);
        request.resize(request.len() + length, byte);
    }
    ([head, tail].concat(), request)
}

/// Topic of the deposit contract's event (EIP-6110).
pub const DEPOSIT_EVENT: B256 = b256!("0x649bbc62d0e31342afea4e5cd82d4049e7e1ee912fc0889aa790803be39038c5");

/// The value of a slot after the block, if it changed.
pub fn slot_after(block: &ExecutedBlock, address: Address, slot: u64) -> Option<U256> {
    block.diff.get(&address)?.storage.get(&U256::from(slot)).copied()
}

/// The balance of an account after the block, if it changed.
pub fn balance_after(block: &ExecutedBlock, address: Address) -> Option<U256> {
    Some(block.diff.get(&address)?.account?.balance)
}

pub fn fee(result: &TxResult) -> u128 {
    u128::from(result.gas_used) * GAS_PRICE
}

/// Bytecode by hand.
#[derive(Clone, Default)]
pub struct Asm(pub Vec<u8>);

impl Asm {
    pub fn op(mut self, opcodes: &[u8]) -> Asm {
        self.0.extend_from_slice(opcodes);
        self
    }

    /// PUSH of the shortest form.
    pub fn push(mut self, value: impl Into<U256Like>) -> Asm {
        let bytes = value.into().0.to_be_bytes_trimmed_vec();
        let bytes = if bytes.is_empty() { vec![0] } else { bytes };
        self.0.push(0x5f + bytes.len() as u8);
        self.0.extend(bytes);
        self
    }

    /// `slot = top of the stack`.
    pub fn sstore(self, slot: u64) -> Asm {
        self.push(slot).op(&[op::SSTORE])
    }

    /// `CALL(gas: all, to, value, no data)`, leaving success on the stack.
    pub fn call(self, to: Address, value: u128) -> Asm {
        self.push(0).push(0).push(0).push(0).push(value).push(to).op(&[op::GAS, op::CALL])
    }

    pub fn stop(self) -> Vec<u8> {
        self.op(&[op::STOP]).0
    }

    /// Init code that deploys this code.
    pub fn deployer(self) -> Vec<u8> {
        let code = self.0;
        // PUSH2 len, DUP1, PUSH1 offset, PUSH1 0, CODECOPY, PUSH1 0, RETURN
        let mut init = vec![0x61, (code.len() >> 8) as u8, code.len() as u8, 0x80, 0x60, 12, 0x60, 0, 0x39];
        init.extend([0x60, 0, 0xf3]);
        init.extend(code);
        init
    }
}

/// What can be pushed.
pub struct U256Like(U256);
impl From<u64> for U256Like {
    fn from(value: u64) -> Self {
        U256Like(U256::from(value))
    }
}
impl From<i32> for U256Like {
    fn from(value: i32) -> Self {
        U256Like(U256::from(value))
    }
}
impl From<u128> for U256Like {
    fn from(value: u128) -> Self {
        U256Like(U256::from(value))
    }
}
impl From<U256> for U256Like {
    fn from(value: U256) -> Self {
        U256Like(value)
    }
}
impl From<Address> for U256Like {
    fn from(value: Address) -> Self {
        U256Like(value.into_word().into())
    }
}

pub mod op {
    pub const STOP: u8 = 0x00;
    pub const ADD: u8 = 0x01;
    pub const EQ: u8 = 0x14;
    pub const KECCAK: u8 = 0x20;
    pub const ADDRESS: u8 = 0x30;
    pub const BALANCE: u8 = 0x31;
    pub const CALLER: u8 = 0x33;
    pub const CALLDATALOAD: u8 = 0x35;
    pub const CALLDATASIZE: u8 = 0x36;
    pub const CALLDATACOPY: u8 = 0x37;
    pub const EXTCODESIZE: u8 = 0x3b;
    pub const EXTCODEHASH: u8 = 0x3f;
    pub const SELFBALANCE: u8 = 0x47;
    pub const POP: u8 = 0x50;
    pub const MSTORE: u8 = 0x52;
    pub const SLOAD: u8 = 0x54;
    pub const SSTORE: u8 = 0x55;
    pub const JUMPI: u8 = 0x57;
    pub const JUMPDEST: u8 = 0x5b;
    pub const LOG1: u8 = 0xa1;
    pub const RETURN: u8 = 0xf3;
    pub const GAS: u8 = 0x5a;
    pub const CREATE: u8 = 0xf0;
    pub const CALL: u8 = 0xf1;
    pub const CREATE2: u8 = 0xf5;
    pub const SELFDESTRUCT: u8 = 0xff;
}
