//! Proofs of accounts, slots, and that there are none (`eth_getProof`, EIP-1186).

use super::{
    error::DiskError,
    layout::Ptr,
    read::View,
    record::{self, Owner, Stored},
};
use crate::node::{self, Reference, common, nibble};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_rlp::Decodable;
use alloy_trie::{
    EMPTY_ROOT_HASH, Nibbles, TrieAccount,
    proof::{ProofVerificationError, verify_proof},
};

/// What stands at a slot, and the nodes that prove it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotProof {
    /// The slot.
    pub slot: U256,
    /// Its value, zero if it is empty.
    pub value: U256,
    /// RLP of the nodes from the storage root to it, or to where it would be. None for an empty storage.
    pub proof: Vec<Bytes>,
}

/// What stands at an address, and the nodes that prove it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountProof {
    /// The address.
    pub address: Address,
    /// The account, if there is one.
    pub account: Option<TrieAccount>,
    /// RLP of the nodes from the state root to it, or to where it would be.
    pub proof: Vec<Bytes>,
    /// Slots that were asked for, in that order.
    pub slots: Vec<SlotProof>,
}

impl AccountProof {
    /// The root that the slots are proved against.
    pub fn storage_root(&self) -> B256 {
        self.account.map_or(EMPTY_ROOT_HASH, |account| account.storage_root)
    }

    /// Holds it against the root of a state, as who received it would: with nothing but its own nodes.
    ///
    /// # Errors
    /// [`ProofError`] with what is not proved.
    pub fn verify(&self, root: B256) -> Result<(), ProofError> {
        let account = self.account.map(alloy_rlp::encode);
        verify_proof(root, Nibbles::unpack(keccak256(self.address)), account, &self.proof)
            .map_err(|reason| ProofError::Account { address: self.address, reason: Box::new(reason) })?;
        for slot in &self.slots {
            let value = (!slot.value.is_zero()).then(|| alloy_rlp::encode(slot.value));
            let key = Nibbles::unpack(keccak256(slot.slot.to_be_bytes::<32>()));
            verify_proof(self.storage_root(), key, value, &slot.proof).map_err(|reason| {
                ProofError::Slot { address: self.address, slot: slot.slot, reason: Box::new(reason) }
            })?;
        }
        Ok(())
    }
}

/// Why a proof does not prove what it says.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The account, or that there is none.
    #[error("account {address}: {reason}")]
    Account {
        /// Its address.
        address: Address,
        /// What is wrong with the nodes.
        reason: Box<ProofVerificationError>,
    },
    /// A slot.
    #[error("slot {slot:#x} of {address}: {reason}")]
    Slot {
        /// Of this account.
        address: Address,
        /// The slot.
        slot: U256,
        /// What is wrong with the nodes.
        reason: Box<ProofVerificationError>,
    },
}

impl View {
    /// Proves what stands at an address and at slots of it.
    ///
    /// # Errors
    /// If a node on the way cannot be read or is damaged.
    pub fn proof(&self, address: Address, slots: &[U256]) -> Result<AccountProof, DiskError> {
        self.held(self.prove(address, slots))
    }

    fn prove(&self, address: Address, slots: &[U256]) -> Result<AccountProof, DiskError> {
        let key = keccak256(address);
        let (proof, _) = self.nodes(self.root_ptr(), None, &key)?;
        let found = self.find_account(&address)?;
        let storage = found.map_or(Ptr::NONE, |(_, storage)| storage);
        let mut proved = Vec::with_capacity(slots.len());
        for slot in slots {
            let slot_key = keccak256(slot.to_be_bytes::<32>());
            let (proof, value) = self.nodes(storage, record::owner_of(&key), &slot_key)?;
            let value = value.map_or(Ok(U256::ZERO), |value| U256::decode(&mut &value[..]));
            let value = value.map_err(|error| DiskError::damaged("slot", storage.0, error.to_string()))?;
            proved.push(SlotProof { slot: *slot, value, proof });
        }
        Ok(AccountProof { address, account: found.map(|(account, _)| account), proof, slots: proved })
    }

    /// The nodes on the way to a key, and the value there. A node that stands in its parent is not listed.
    fn nodes(&self, root: Ptr, owner: Owner, key: &B256) -> Result<(Vec<Bytes>, Option<Vec<u8>>), DiskError> {
        let (mut nodes, mut rlp) = (Vec::new(), Vec::new());
        let (mut ptr, mut depth) = (root, 0);
        let list = |nodes: &mut Vec<Bytes>, rlp: &[u8]| {
            if rlp.len() >= 32 || nodes.is_empty() {
                nodes.push(Bytes::copy_from_slice(rlp));
            }
        };
        while !ptr.is_none() {
            let (node, _, whose) = record::decode(self.pages().get(ptr)?, ptr)?;
            let above = matches!(&node, Stored::Branch(branch) if branch.end < depth);
            if whose != owner || above {
                return Err(DiskError::damaged("node", ptr.0, "it belongs elsewhere"));
            }
            let branch = match node {
                Stored::Leaf(leaf) => {
                    rlp.clear();
                    node::put_leaf(&mut rlp, &leaf.key, depth, leaf.value());
                    list(&mut nodes, &rlp);
                    return Ok((nodes, (leaf.key == *key).then(|| leaf.value().to_vec())));
                }
                Stored::Branch(branch) => branch,
            };
            let children: Vec<(usize, Reference)> =
                branch.nibbles().filter_map(|at| Some((at, branch.child(at)?.1))).collect();
            let children = || children.iter().copied();
            if branch.end > depth {
                let below = node::branch(&mut rlp, (&branch.key, branch.end), branch.end, children());
                rlp.clear();
                node::put_extension(&mut rlp, &branch.key, depth, branch.end, &below);
                list(&mut nodes, &rlp);
                if common(&branch.key, key) < branch.end {
                    return Ok((nodes, None));
                }
            }
            rlp.clear();
            node::put_branch(&mut rlp, children());
            list(&mut nodes, &rlp);
            ptr = branch.child_ptr(nibble(key, branch.end)).unwrap_or(Ptr::NONE);
            depth = branch.end + 1;
        }
        Ok((nodes, None))
    }
}
