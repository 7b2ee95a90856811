//! A workload that was executed, and what is in the storage before and after it.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "shared by test files, each of which uses its part"
)]

use alloy_primitives::{Address, U256, keccak256};
use braid_core::Control;
use braid_evm::{EvmKey, EvmValue, ExecutedBlock};
use braid_profiles::Engine;
use braid_work::{Case, Workload};

pub struct Chain {
    pub case: Case,
    pub block: ExecutedBlock,
}

impl Chain {
    pub fn run(workload: &Workload, engine: &mut Box<dyn Engine>) -> Chain {
        let case = workload.generate().unwrap_or_else(|error| panic!("{workload}: {error}"));
        let pre = case.state().expect("a state");
        let done = engine.execute(&case.input, pre, &Control::default());
        let mut block = done.unwrap_or_else(|error| panic!("{workload}: {error}")).into_block(pre);
        block.stats = Default::default();
        Chain { block, case }
    }

    /// A slot before the block.
    pub fn before(&self, address: Address, slot: U256) -> U256 {
        let pre = self.case.state().expect("a state");
        match pre.store.get(&EvmKey::Slot { address, generation: 0, slot }) {
            Some(EvmValue::Slot(value)) => *value,
            _ => U256::ZERO,
        }
    }

    /// A slot after the block.
    pub fn after(&self, address: Address, slot: U256) -> U256 {
        let changed = self.block.diff.get(&address).and_then(|diff| diff.storage.get(&slot));
        changed.copied().unwrap_or_else(|| self.before(address, slot))
    }
}

/// The addresses that workloads use.
pub fn address(role: &str, index: u64) -> Address {
    Address::from_word(keccak256([role.as_bytes(), &index.to_be_bytes()].concat()))
}

pub fn word(address: Address) -> U256 {
    U256::from_be_bytes(address.into_word().0)
}

/// Slot of a mapping's entry.
pub fn entry(mapping: u64, key: U256) -> U256 {
    let words = [key, U256::from(mapping)].map(|word| word.to_be_bytes::<32>());
    U256::from_be_bytes(keccak256(words.concat()).0)
}

/// An argument of a call.
pub fn argument(data: &[u8], index: usize) -> U256 {
    U256::from_be_slice(&data[4 + 32 * index..36 + 32 * index])
}
