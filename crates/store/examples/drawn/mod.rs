//! What the examples of this crate draw at random: the same accounts and slots from the same seed.

use alloy_primitives::{Address, U256, keccak256};
use alloy_trie::TrieAccount;
use braid_store::disk::Batch;

/// Slots of each contract.
pub(crate) const SLOTS_EACH: u64 = 100;

/// SplitMix64 (Steele et al. 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

/// The address of an account by its number.
pub(crate) fn address(number: u64) -> Address {
    Address::from_word(keccak256(number.to_be_bytes()))
}

fn account(random: &mut Random) -> TrieAccount {
    let balance = U256::from(random.below(u64::MAX));
    TrieAccount { nonce: random.below(1000), balance, ..TrieAccount::default() }
}

/// A state of so many accounts; the first are contracts with slots.
#[derive(Clone, Copy)]
pub(crate) struct Drawn {
    pub(crate) accounts: u64,
    pub(crate) contracts: u64,
}

impl Drawn {
    /// All of it.
    pub(crate) fn genesis(self, random: &mut Random) -> Batch {
        let mut batch = Batch::default();
        for number in 0..self.accounts {
            let held = if number < self.contracts { SLOTS_EACH } else { 0 };
            let slots = (0..held).map(|slot| (U256::from(slot), U256::from(1 + slot)));
            batch.change(address(number), Some(account(random)), false, slots);
        }
        batch
    }

    /// Changes of so many accounts and as many slots.
    pub(crate) fn block(self, random: &mut Random, updates: u64) -> Batch {
        let mut batch = Batch::default();
        for _ in 0..updates {
            let (number, account) = (random.below(self.accounts), account(random));
            batch.change(address(number), Some(account), false, []);
        }
        for _ in 0..updates {
            let (contract, slot) = self.slot(random);
            batch.slots(contract, [(slot, U256::from(1 + random.below(u64::MAX - 1)))]);
        }
        batch
    }

    /// One of its slots.
    pub(crate) fn slot(self, random: &mut Random) -> (Address, U256) {
        let contract = address(random.below(self.contracts.max(1)));
        (contract, U256::from(random.below(SLOTS_EACH)))
    }
}
