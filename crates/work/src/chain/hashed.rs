//! A state that follows a chain only to be hashed.

use crate::PreState;
use alloy_primitives::B256;
use alloy_trie::TrieAccount;
use braid_evm::ExecutedBlock;
use braid_store::trie::StateTrie;

/// A state as its tries, which are kept from block to block: following a block, and the root after it, cost in
/// proportion to what the block changed.
#[derive(Clone, Debug, Default)]
pub struct HashedState(StateTrie);

impl HashedState {
    /// The same state. Hashes all of it.
    pub fn new(state: &PreState) -> Self {
        let mut trie = StateTrie::default();
        for (address, account, slots) in state.accounts() {
            trie.change(address, Some(account), false, slots);
        }
        trie.root();
        HashedState(trie)
    }

    /// Changes this state as `block`, executed on it, did.
    pub fn apply(&mut self, block: &ExecutedBlock) {
        for (address, diff) in &block.diff {
            let account = diff.account.map(|info| TrieAccount {
                nonce: info.nonce,
                balance: info.balance,
                code_hash: info.code_hash,
                ..TrieAccount::default()
            });
            let slots = diff.storage.iter().map(|(slot, value)| (*slot, *value));
            self.0.change(*address, account, diff.wiped, slots);
        }
    }

    /// The state root.
    pub fn root(&self) -> B256 {
        self.0.root()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{Address, U256, keccak256};
    use braid_evm::{AccountDiff, AccountInfoDiff};
    use braid_testkit::Rng;

    /// Changes of a block, executed on anything: accounts come and go, are wiped and come again.
    fn block(rng: &mut Rng, accounts: u64) -> ExecutedBlock {
        let mut block = ExecutedBlock::default();
        for _ in 0..rng.below(24) {
            let address = Address::from_word(keccak256(rng.below(accounts).to_be_bytes()));
            let info = AccountInfoDiff {
                balance: U256::from(rng.below(1000)),
                nonce: rng.below(4),
                code_hash: keccak256(rng.below(3).to_be_bytes()),
            };
            let there = rng.below(5) > 0;
            let wiped = !there || rng.below(4) == 0;
            let slots = (0..rng.below(10)).map(|_| (U256::from(rng.below(32)), U256::from(rng.below(3))));
            let diff = AccountDiff { account: there.then_some(info), wiped, storage: slots.collect() };
            block.diff.insert(address, diff);
        }
        block
    }

    #[test]
    fn follows_the_whole_state() {
        let repeat =
            std::env::var("BRAID_SEED").ok().map(|seed| seed.parse().expect("BRAID_SEED is a number"));
        for seed in repeat.map_or(0..100u64, |seed| seed..seed + 1) {
            let mut rng = Rng::new(seed);
            let accounts = 1 + rng.below(50);
            let mut whole = PreState::default();
            for _ in 0..rng.below(4) {
                whole.apply(&block(&mut rng, accounts)).unwrap();
            }
            let mut hashed = HashedState::new(&whole);
            for at in 0..12 {
                let told = format!("before block {at}; repeat with BRAID_SEED={seed}");
                assert_eq!(hashed.root(), whole.state_root(), "{told}");
                let block = block(&mut rng, accounts);
                whole.apply(&block).unwrap();
                hashed.apply(&block);
            }
            assert_eq!(hashed.root(), whole.state_root(), "at the end; repeat with BRAID_SEED={seed}");
        }
    }
}
