//! A state in ordered maps, whose root is computed anew by alloy-trie.

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_trie::{Nibbles, TrieAccount, proof::verify_proof};
use braid_store::{
    disk::{AccountProof, Batch, ProofError, View},
    trie::{state_root, storage_root},
};
use braid_testkit::Rng;
use std::collections::BTreeMap;

/// Accounts without storage roots, and their slots.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct World {
    pub(crate) accounts: BTreeMap<Address, (TrieAccount, BTreeMap<U256, U256>)>,
}

pub(crate) fn address(number: u64) -> Address {
    Address::from_word(keccak256(number.to_be_bytes()))
}

fn account(rng: &mut Rng) -> TrieAccount {
    let code_hash = keccak256(rng.below(3).to_be_bytes());
    // What stands as the storage root must not matter.
    let storage_root = B256::from(U256::from(rng.bits()));
    TrieAccount { nonce: rng.below(3), balance: U256::from(rng.below(1000)), storage_root, code_hash }
}

impl World {
    pub(crate) fn account(&self, address: &Address) -> Option<TrieAccount> {
        let (account, slots) = self.accounts.get(address)?;
        let storage_root = storage_root(slots.iter().map(|(slot, value)| (*slot, *value)));
        Some(TrieAccount { storage_root, ..*account })
    }

    pub(crate) fn slot(&self, address: &Address, slot: &U256) -> U256 {
        let slots = self.accounts.get(address).map(|(_, slots)| slots);
        slots.and_then(|slots| slots.get(slot)).copied().unwrap_or_default()
    }

    pub(crate) fn root(&self) -> B256 {
        state_root(self.accounts.keys().filter_map(|address| Some((*address, self.account(address)?))))
    }

    /// A batch of random changes among so many accounts, made in the world as well.
    pub(crate) fn change(&mut self, rng: &mut Rng, accounts: u64, changes: u64) -> Batch {
        let mut batch = Batch::default();
        for _ in 0..changes {
            self.change_one(rng, address(rng.clone().below(accounts)), &mut batch);
        }
        batch
    }

    fn change_one(&mut self, rng: &mut Rng, address: Address, batch: &mut Batch) {
        // So that the next address differs.
        rng.bits();
        let wide = if rng.chance(5) { 200 } else { 8 };
        let slots: Vec<(U256, U256)> = (0..rng.below(wide))
            .map(|_| (U256::from(rng.below(300)), U256::from(rng.below(3)) << (rng.below(250) as usize)))
            .collect();
        match rng.below(10) {
            0 | 1 => {
                // Slots of an account that is removed go nowhere.
                batch.change(address, None, rng.chance(50), slots);
                self.accounts.remove(&address);
            }
            2..5 if self.accounts.contains_key(&address) => {
                batch.slots(address, slots.iter().copied());
                self.set(address, slots);
            }
            _ => {
                let (after, wiped) = (account(rng), rng.chance(15));
                batch.change(address, Some(after), wiped, slots.iter().copied());
                let (before, there) = self.accounts.entry(address).or_default();
                *before = after;
                if wiped {
                    there.clear();
                }
                self.set(address, slots);
            }
        }
    }

    fn set(&mut self, address: Address, slots: Vec<(U256, U256)>) {
        let (_, there) = self.accounts.entry(address).or_default();
        there.extend(slots);
        there.retain(|_, value| !value.is_zero());
    }

    /// Compares all of a version, and some of what is not there.
    pub(crate) fn compare(&self, view: &View, told: &str) {
        assert_eq!(view.root(), self.root(), "{told}");
        let mut reader = view.reader();
        for number in 0..60 {
            let address = address(number);
            assert_eq!(reader.account(&address).unwrap(), self.account(&address), "{address} {told}");
            for slot in (0..20).map(U256::from) {
                let value = self.slot(&address, &slot);
                assert_eq!(reader.slot(&address, &slot).unwrap(), value, "{address} {slot} {told}");
            }
        }
        for (address, (_, slots)) in &self.accounts {
            for (slot, value) in slots {
                assert_eq!(view.slot(address, slot).unwrap(), *value, "{address} {slot} {told}");
            }
        }
    }

    /// Proves an account, whether it is there or not, and slots of it.
    pub(crate) fn prove(&self, view: &View, address: Address, slots: &[U256], told: &str) {
        let proof = view.proof(address, slots).unwrap();
        assert_eq!(proof.account, self.account(&address), "{told}");
        let expected = proof.account.map(alloy_rlp::encode);
        let key = Nibbles::unpack(keccak256(address));
        verify_proof(view.root(), key, expected, &proof.proof).unwrap_or_else(|e| panic!("{e} {told}"));
        for slot in &proof.slots {
            assert_eq!(slot.value, self.slot(&address, &slot.slot), "{told}");
            let expected = (!slot.value.is_zero()).then(|| alloy_rlp::encode(slot.value));
            let key = Nibbles::unpack(keccak256(slot.slot.to_be_bytes::<32>()));
            let verified = verify_proof(proof.storage_root(), key, expected, &slot.proof);
            verified.unwrap_or_else(|e| panic!("slot {}: {e} {told}", slot.slot));
        }
        refute(view.root(), &proof, told);
    }
}

/// A proof is one of what it says, and of nothing else.
fn refute(root: B256, proof: &AccountProof, told: &str) {
    assert_eq!(proof.verify(root), Ok(()), "{told}");
    let none = || AccountProof { account: None, slots: Vec::new(), ..proof.clone() };
    let rich = TrieAccount { balance: U256::MAX, ..proof.account.unwrap_or_default() };
    let others = [
        proof.account.map(|_| none()),
        Some(AccountProof { account: Some(rich), slots: Vec::new(), ..proof.clone() }),
    ];
    for other in others.into_iter().flatten() {
        assert!(matches!(other.verify(root), Err(ProofError::Account { .. })), "{told}");
    }
    for at in 0..proof.slots.len() {
        let mut other = proof.clone();
        other.slots[at].value += U256::ONE;
        let (address, slot) = (proof.address, proof.slots[at].slot);
        let refused = other.verify(root);
        let named = |refused: &ProofError| matches!(refused, ProofError::Slot { address: a, slot: s, .. } if (*a, *s) == (address, slot));
        assert!(refused.as_ref().is_err_and(named), "{refused:?} {told}");
    }
    assert!(proof.verify(keccak256(root)).is_err(), "{told}");
}
