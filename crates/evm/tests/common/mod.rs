//! A state in a map, views on it, and stock revm over the same state as the reference.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test binary uses its part")]

pub mod generate;
pub mod reference;

use alloy_primitives::{Address, B256, Bytes, U256};
use braid_core::{Effects, Halt, Read, ReadId, Stop, Value, View, Vm, Write};
use braid_evm::{
    AccountState, BlockInput, EvmError, EvmKey, EvmOutput, EvmSeen, EvmTx, EvmValue, EvmVm, Rites, TxResult,
};
use revm::{
    bytecode::Bytecode,
    context::{BlockEnv, TxEnv},
    context_interface::block::BlobExcessGasAndPrice,
    primitives::hardfork::SpecId,
};
use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
};

/// A small deterministic generator (splitmix64).
#[derive(Clone, Debug)]
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

/// State in a map.
#[derive(Clone, Debug, Default)]
pub struct World(pub HashMap<EvmKey, EvmValue>);

impl World {
    pub fn account(&self, address: Address) -> AccountState {
        match self.0.get(&EvmKey::Account(address)) {
            Some(EvmValue::Account(account)) => *account,
            _ => AccountState::default(),
        }
    }

    pub fn set(&mut self, address: Address, account: AccountState) {
        self.0.insert(EvmKey::Account(address), EvmValue::Account(account));
    }

    /// Adds an account with this balance, nonce and code.
    pub fn add(&mut self, address: Address, balance: u64, nonce: u64, code: &[u8]) {
        let code = Bytecode::new_legacy(Bytes::copy_from_slice(code));
        let code_hash = code.hash_slow();
        if !code.is_empty() {
            self.0.insert(EvmKey::Code(code_hash), EvmValue::Code(code));
        }
        let balance = U256::from(balance);
        let account = AccountState { exists: true, balance, nonce, code_hash, ..AccountState::default() };
        self.set(address, account);
    }

    pub fn slot(&self, address: Address, slot: U256) -> U256 {
        let generation = self.account(address).generation;
        match self.0.get(&EvmKey::Slot { address, generation, slot }) {
            Some(EvmValue::Slot(value)) => *value,
            _ => U256::ZERO,
        }
    }

    pub fn set_slot(&mut self, address: Address, slot: u64, value: u64) {
        let mut account = self.account(address);
        account.has_storage = true;
        self.set(address, account);
        let key = EvmKey::Slot { address, generation: account.generation, slot: U256::from(slot) };
        self.0.insert(key, EvmValue::Slot(U256::from(value)));
    }

    pub fn apply(&mut self, writes: &[(EvmKey, Write<EvmValue>)]) {
        for (at, (key, write)) in writes.iter().enumerate() {
            assert!(writes[..at].iter().all(|(other, _)| other != key), "{key:?} written twice");
            match write.onto(self.0.remove(key)) {
                Some(value) => self.0.insert(*key, value),
                None => None,
            };
        }
    }

    /// Accounts that exist, with their non-zero slots: what the state root is made of.
    pub fn state(&self) -> BTreeMap<Address, Account> {
        let mut state = BTreeMap::new();
        for (key, value) in &self.0 {
            if let (EvmKey::Account(address), EvmValue::Account(account)) = (key, value)
                && account.exists
            {
                state.insert(
                    *address,
                    Account {
                        balance: account.balance,
                        nonce: account.nonce,
                        code_hash: account.code_hash,
                        storage: BTreeMap::new(),
                    },
                );
            }
        }
        for (key, value) in &self.0 {
            if let (EvmKey::Slot { address, generation, slot }, EvmValue::Slot(value)) = (key, value)
                && !value.is_zero()
                && self.account(*address).generation == *generation
                && let Some(account) = state.get_mut(address)
            {
                account.storage.insert(*slot, *value);
            }
        }
        state
    }
}

/// An account as a state root sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    pub balance: U256,
    pub nonce: u64,
    pub code_hash: B256,
    pub storage: BTreeMap<U256, U256>,
}

/// A view on a [`World`] that records.
pub struct Recorder<'w> {
    world: &'w World,
    is_final: bool,
    pub reads: Vec<(EvmKey, EvmSeen)>,
    pub assumed: Vec<(EvmKey, EvmSeen)>,
    narrowed: Vec<bool>,
    /// Reads after which to stop with this.
    pub stop_after: Option<(usize, Halt)>,
}

impl<'w> Recorder<'w> {
    pub fn new(world: &'w World, is_final: bool) -> Self {
        let (reads, assumed, narrowed) = (Vec::new(), Vec::new(), Vec::new());
        Recorder { world, is_final, reads, assumed, narrowed, stop_after: None }
    }

    /// Whether all that was seen and assumed holds in `world`.
    pub fn holds(&self, world: &World) -> bool {
        self.reads.iter().chain(&self.assumed).all(|(key, seen)| EvmValue::holds(seen, world.0.get(key)))
    }

    /// What was learned about an account.
    pub fn seen(&self, address: Address) -> Option<EvmSeen> {
        let key = EvmKey::Account(address);
        self.reads.iter().find(|(read, _)| *read == key).map(|(_, seen)| *seen)
    }
}

impl View<EvmKey, EvmValue> for Recorder<'_> {
    fn read(&mut self, key: &EvmKey) -> Result<Read<EvmValue>, Halt> {
        if let Some((after, halt)) = &self.stop_after
            && self.reads.len() >= *after
        {
            return Err(halt.clone());
        }
        assert!(self.reads.iter().all(|(read, _)| read != key), "{key:?} read twice");
        let value = self.world.0.get(key).cloned();
        let id = ReadId(self.reads.len() as u32);
        self.reads.push((*key, EvmValue::exactly(value.as_ref())));
        self.narrowed.push(false);
        Ok(Read { id, value })
    }

    fn narrow(&mut self, read: ReadId, seen: EvmSeen) {
        let at = read.0 as usize;
        assert!(!std::mem::replace(&mut self.narrowed[at], true), "narrowed twice");
        let (key, recorded) = &mut self.reads[at];
        let value = self.world.0.get(key);
        assert!(EvmValue::holds(&seen, value), "{seen:?} does not hold for {key:?} = {value:?}");
        *recorded = seen;
    }

    fn assume(&mut self, key: &EvmKey, seen: EvmSeen) {
        assert!(!self.is_final, "nothing to assume on a final view");
        self.assumed.push((*key, seen));
    }

    fn is_final(&self) -> bool {
        self.is_final
    }

    fn scan(&mut self, _range: Range<EvmKey>) -> Result<Vec<(EvmKey, EvmValue)>, Halt> {
        unreachable!("the EVM scans nothing")
    }
}

pub type Executed<'b> = Result<Effects<EvmVm<'b>>, Stop<EvmError>>;

/// Runs one transaction on a recorded view of `world`.
pub fn execute<'b, 'w>(
    vm: &EvmVm<'b>,
    worker: &mut <EvmVm<'b> as Vm>::Worker,
    tx: &EvmTx,
    world: &'w World,
    is_final: bool,
) -> (Executed<'b>, Recorder<'w>) {
    let mut view = Recorder::new(world, is_final);
    let mut effects = Effects::default();
    let result = vm.execute(worker, tx, &mut view, &mut effects);
    (result.map(|()| effects), view)
}

/// The result of a user's transaction, whichever machine ran it.
pub fn user_result(effects: &Effects<EvmVm<'_>>) -> TxResult {
    match &effects.output {
        Some(EvmOutput::User(result)) => result.clone(),
        Some(EvmOutput::Stock(output)) => output.result.clone(),
        other => panic!("not a user's transaction: {other:?}"),
    }
}

/// Everything about an execution, to be compared.
pub fn summary(executed: &Executed<'_>) -> String {
    format!("{executed:?}")
}

pub const BENEFICIARY: Address = Address::repeat_byte(0xbe);

/// A block with sensible numbers for `spec`.
pub fn block(spec: SpecId, txs: Vec<TxEnv>) -> BlockInput {
    let london = spec.is_enabled_in(SpecId::LONDON);
    let mut env = BlockEnv {
        number: U256::from(1000),
        beneficiary: BENEFICIARY,
        timestamp: U256::from(1_700_000_000),
        gas_limit: 30_000_000,
        basefee: if london { 7 } else { 0 },
        difficulty: U256::from(99),
        prevrandao: Some(B256::repeat_byte(0x77)),
        ..BlockEnv::default()
    };
    env.blob_excess_gas_and_price = Some(BlobExcessGasAndPrice { excess_blob_gas: 0, blob_gasprice: 3 });
    let block_hashes = (900..1000).map(|number| (number, B256::from(U256::from(number * 77)))).collect();
    BlockInput {
        chain_id: 1,
        spec,
        env,
        txs,
        block_hashes,
        max_blob_gas: None,
        rites: Rites::default(),
        rules: braid_evm::EvmRules::default(),
        gas_used: None,
    }
}
