//! Tries of which a witness reveals some nodes.

use super::{Crew, arena::Trie, crew::with_rayon, levels};
use crate::node::nibble;
use alloy_primitives::{B256, Bytes};
use braid_keccak::keccak256_many;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;

/// Why an operation on a partial trie cannot be done. The trie then is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrieError {
    /// A node on the way is not revealed.
    #[error("trie node {hash} at path 0x{path} is not revealed")]
    Blinded {
        /// Nibbles from the root to the node.
        path: String,
        /// Its hash.
        hash: B256,
    },
    /// A revealed node is none that such a trie can have there.
    #[error("trie node at path 0x{path} is malformed: {reason}")]
    Malformed {
        /// Nibbles from the root to the node.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Nodes of tries, by hash.
#[derive(Clone, Debug, Default)]
pub struct TrieNodes {
    by_hash: HashMap<B256, Bytes, RandomState>,
}

impl TrieNodes {
    /// The RLP of the node with this hash.
    pub(super) fn get(&self, hash: &B256) -> Option<&[u8]> {
        self.by_hash.get(hash).map(|rlp| &rlp[..])
    }
}

impl FromIterator<Bytes> for TrieNodes {
    /// Takes the RLP of nodes, in any order.
    fn from_iter<I: IntoIterator<Item = Bytes>>(nodes: I) -> Self {
        let nodes: Vec<Bytes> = nodes.into_iter().collect();
        let mut hashes = vec![B256::ZERO; nodes.len()];
        keccak256_many(&nodes, &mut hashes);
        TrieNodes { by_hash: hashes.into_iter().zip(nodes).collect() }
    }
}

/// A trie of which only some nodes are known.
#[derive(Debug)]
pub struct PartialTrie<'a> {
    nodes: &'a TrieNodes,
    /// Reading reveals nodes, and asking for the root remembers hashes.
    trie: Mutex<Trie>,
}

impl Clone for PartialTrie<'_> {
    fn clone(&self) -> Self {
        PartialTrie { nodes: self.nodes, trie: Mutex::new(self.trie.lock().clone()) }
    }
}

impl<'a> PartialTrie<'a> {
    /// The trie with this root, over `nodes`.
    pub fn new(root: B256, nodes: &'a TrieNodes) -> Self {
        PartialTrie { nodes, trie: Mutex::new(Trie::new(root)) }
    }

    /// The value at `key`.
    ///
    /// # Errors
    /// If a node on the way is missing or malformed.
    pub fn get(&self, key: B256) -> Result<Option<Vec<u8>>, TrieError> {
        Ok(self.trie.lock().find(self.nodes, &key)?.map(<[u8]>::to_vec))
    }

    /// As [`Self::get`], without a copy of the value.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn value(&mut self, key: B256) -> Result<Option<&[u8]>, TrieError> {
        self.trie.get_mut().find(self.nodes, &key)
    }

    /// As [`Self::get`].
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn find(&mut self, key: B256) -> Result<Option<Vec<u8>>, TrieError> {
        Ok(self.value(key)?.map(<[u8]>::to_vec))
    }

    /// Sets the value at `key`.
    ///
    /// # Errors
    /// If a node on the way is missing or malformed.
    pub fn insert(&mut self, key: B256, value: Vec<u8>) -> Result<(), TrieError> {
        self.set(key, &value)
    }

    /// As [`Self::insert`], of a value that is copied.
    ///
    /// # Errors
    /// As [`Self::insert`].
    pub fn set(&mut self, key: B256, value: &[u8]) -> Result<(), TrieError> {
        self.trie.get_mut().insert(self.nodes, &key, value)
    }

    /// Removes `key`; whether it was there.
    ///
    /// # Errors
    /// If a node on the way is missing or malformed, or the only sibling of a removed leaf, which has
    /// to be merged with its parent.
    pub fn remove(&mut self, key: B256) -> Result<bool, TrieError> {
        self.trie.get_mut().remove(self.nodes, &key)
    }

    /// Reveals all nodes that are known, but for about `limit`; how many it revealed. A malformed one stays as it is,
    /// and is told of when an operation meets it. Few nodes can stand for any number of places, hence the limit.
    pub fn reveal(&mut self, limit: usize) -> usize {
        self.trie.get_mut().reveal_all(self.nodes, limit)
    }

    /// All keys to which the way is revealed, and their values, in no particular order; to be asked before anything
    /// is removed.
    pub fn revealed(&mut self) -> impl Iterator<Item = (&B256, &[u8])> {
        self.trie.get_mut().leaves.iter().map(|leaf| (&leaf.key, &leaf.value[..]))
    }

    /// The root hash.
    pub fn root(&self) -> B256 {
        self.trie.lock().hash()
    }

    /// The root hash, for which the workers of the rayon pool that this is called in hash.
    pub fn root_shared(&self) -> B256 {
        with_rayon(|crew| self.root_by(crew))
    }

    /// The root hash, for which a crew hashes.
    pub fn root_by(&self, crew: &mut Crew<'_>) -> B256 {
        let mut trie = self.trie.lock();
        levels::hash(&mut [&mut *trie], crew);
        trie.said.root()
    }

    /// Hashes many tries together, after which [`Self::root`] of each only tells. Their nodes are hashed level by
    /// level, several at a time.
    pub fn hash_all<'t>(tries: impl IntoIterator<Item = &'t mut PartialTrie<'a>>, crew: &mut Crew<'_>)
    where
        'a: 't,
    {
        let mut tries: Vec<&mut Trie> = tries.into_iter().map(|trie| trie.trie.get_mut()).collect();
        levels::hash(&mut tries, crew);
    }
}

impl Trie {
    /// The root hash.
    pub(super) fn hash(&mut self) -> B256 {
        if self.stale {
            levels::hash(&mut [&mut *self], &mut Crew::alone());
        }
        self.said.root()
    }
}

/// Path of a node for an error: the nibbles of `key` before `depth`.
pub(super) fn path_to(key: &B256, depth: usize) -> String {
    (0..depth).filter_map(|at| char::from_digit(nibble(key, at) as u32, 16)).collect()
}
