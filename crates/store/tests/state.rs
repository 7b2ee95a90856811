//! The trie that is kept from block to block against roots of the whole state, computed anew by alloy-trie.

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_trie::{EMPTY_ROOT_HASH, TrieAccount};
use braid_store::trie::{StateTrie, state_root, storage_root};
use braid_testkit::Rng;
use std::collections::BTreeMap;

/// Accounts without storage roots, and their slots.
type World = BTreeMap<Address, (TrieAccount, BTreeMap<U256, U256>)>;

fn whole(world: &World) -> B256 {
    state_root(world.iter().map(|(address, (account, slots))| {
        let storage_root = storage_root(slots.iter().map(|(slot, value)| (*slot, *value)));
        (*address, TrieAccount { storage_root, ..*account })
    }))
}

fn account(rng: &mut Rng) -> TrieAccount {
    let code_hash = keccak256(rng.below(3).to_be_bytes());
    // What stands as the storage root must not matter.
    let storage_root = B256::from(U256::from(rng.bits()));
    TrieAccount { nonce: rng.below(3), balance: U256::from(rng.below(1000)), storage_root, code_hash }
}

/// One account, changed as a block may change it, in the trie and in the world.
fn change(rng: &mut Rng, accounts: u64, trie: &mut StateTrie, world: &mut World) {
    let address = Address::from_word(keccak256(rng.below(accounts).to_be_bytes()));
    let slots: Vec<(U256, U256)> = (0..rng.below(8))
        .map(|_| (U256::from(rng.below(24)), U256::from(rng.below(3)) << (rng.below(250) as usize)))
        .collect();
    if rng.below(4) == 0 {
        // Slots of an account that is removed go nowhere.
        trie.change(address, None, rng.below(2) == 0, slots);
        world.remove(&address);
        return;
    }
    let (after, wiped) = (account(rng), rng.below(5) == 0);
    trie.change(address, Some(after), wiped, slots.iter().copied());
    let (before, there) = world.entry(address).or_default();
    *before = after;
    if wiped {
        there.clear();
    }
    there.extend(slots);
    there.retain(|_, value| !value.is_zero());
}

#[test]
fn roots_after_each_block_are_those_of_the_whole_state() {
    let repeat = std::env::var("BRAID_SEED").ok().map(|seed| seed.parse().expect("BRAID_SEED is a number"));
    for seed in repeat.map_or(0..300u64, |seed| seed..seed + 1) {
        let mut rng = Rng::new(seed);
        let accounts = 1 + rng.below(60);
        let (mut trie, mut world) = (StateTrie::default(), World::new());
        assert_eq!(trie.root(), EMPTY_ROOT_HASH);
        for block in 0..12 {
            for _ in 0..rng.below(20) {
                change(&mut rng, accounts, &mut trie, &mut world);
            }
            let told = format!("block {block}; repeat with BRAID_SEED={seed}");
            assert_eq!(trie.root(), whole(&world), "{told}");
            assert_eq!(trie.clone().root(), trie.root(), "{told}");
        }
        for address in world.keys() {
            trie.change(*address, None, false, []);
        }
        assert_eq!(trie.root(), EMPTY_ROOT_HASH, "all removed; repeat with BRAID_SEED={seed}");
    }
}

/// A root is asked for in the midst of changes, so that hashes are remembered and must be forgotten at every
/// depth; crowded slots make short nodes, which stand in their parents as they are.
#[test]
fn no_hash_outlives_a_change_below_it() {
    let address = Address::repeat_byte(7);
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let (mut trie, mut slots) = (StateTrie::default(), BTreeMap::new());
        for step in 0..120 {
            let change = (U256::from(rng.below(40)), U256::from(rng.below(2) * rng.below(300)));
            trie.change(address, Some(TrieAccount::default()), false, [change]);
            slots.insert(change.0, change.1);
            let storage_root = storage_root(slots.iter().map(|(slot, value)| (*slot, *value)));
            let expected = state_root([(address, TrieAccount { storage_root, ..TrieAccount::default() })]);
            assert_eq!(trie.root(), expected, "seed {seed} step {step}");
        }
    }
}
