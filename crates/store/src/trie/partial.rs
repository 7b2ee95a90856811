//! Tries of which a witness reveals some nodes.

use super::node::{self, KEY_NIBBLES, Node, Place, Source};
use alloy_primitives::{B256, Bytes, hex, keccak256};
use alloy_trie::{EMPTY_ROOT_HASH, Nibbles, nodes::RlpNode};
use hashbrown::HashMap;

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
    by_hash: HashMap<B256, Bytes, foldhash::fast::RandomState>,
}

impl FromIterator<Bytes> for TrieNodes {
    /// Takes the RLP of nodes, in any order.
    fn from_iter<I: IntoIterator<Item = Bytes>>(nodes: I) -> Self {
        TrieNodes { by_hash: nodes.into_iter().map(|rlp| (keccak256(&rlp), rlp)).collect() }
    }
}

/// A trie of which only some nodes are known.
#[derive(Clone, Debug)]
pub struct PartialTrie<'a> {
    nodes: &'a TrieNodes,
    root: Place,
}

impl<'a> PartialTrie<'a> {
    /// The trie with this root, over `nodes`.
    pub fn new(root: B256, nodes: &'a TrieNodes) -> Self {
        let root = if root == EMPTY_ROOT_HASH { Node::Empty } else { Node::Ref(RlpNode::word_rlp(&root)) };
        PartialTrie { nodes, root: root.into() }
    }

    /// The value at `key`.
    ///
    /// # Errors
    /// If a node on the way is missing or malformed.
    pub fn get(&self, key: B256) -> Result<Option<Vec<u8>>, TrieError> {
        let key = Nibbles::unpack(key);
        get(self.nodes, &self.root.node, &key, 0)
    }

    /// As [`Self::get`]; nodes on the way need not be decoded a second time.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn find(&mut self, key: B256) -> Result<Option<Vec<u8>>, TrieError> {
        let key = Nibbles::unpack(key);
        Ok(node::find(self.nodes, &mut self.root, &key, 0)?.map(<[u8]>::to_vec))
    }

    /// Sets the value at `key`.
    ///
    /// # Errors
    /// If a node on the way is missing or malformed.
    pub fn insert(&mut self, key: B256, value: Vec<u8>) -> Result<(), TrieError> {
        let key = Nibbles::unpack(key);
        node::insert(self.nodes, &mut self.root, &key, 0, value).map(drop)
    }

    /// Removes `key`; whether it was there.
    ///
    /// # Errors
    /// If a node on the way is missing or malformed, or the only sibling of a removed leaf, which has
    /// to be merged with its parent.
    pub fn remove(&mut self, key: B256) -> Result<bool, TrieError> {
        let key = Nibbles::unpack(key);
        node::remove(self.nodes, &mut self.root, &key, 0)
    }

    /// The root hash.
    pub fn root(&self) -> B256 {
        self.root.root()
    }

    /// The root hash, for which the workers of the rayon pool that this is called in hash.
    pub fn root_shared(&self) -> B256 {
        self.root.hash_shared(2);
        self.root.root()
    }
}

/// Path of a node for an error: the nibbles of `key` before `depth`.
fn path_to(key: &Nibbles, depth: usize) -> String {
    key.slice(..depth).iter().map(|nibble| char::from(hex::encode([nibble]).as_bytes()[1])).collect()
}

impl Source for TrieNodes {
    type Error = TrieError;

    fn fetch(&self, rlp: &RlpNode, key: &Nibbles, depth: usize) -> Result<Node, TrieError> {
        let malformed = |reason: String| TrieError::Malformed { path: path_to(key, depth), reason };
        let node = match rlp.as_hash() {
            None => node::decode(rlp, KEY_NIBBLES - depth),
            Some(hash) => match self.by_hash.get(&hash) {
                Some(rlp) => node::decode(rlp, KEY_NIBBLES - depth),
                None => return Err(TrieError::Blinded { path: path_to(key, depth), hash }),
            },
        };
        node.map_err(malformed)
    }
}

fn get(nodes: &TrieNodes, node: &Node, key: &Nibbles, depth: usize) -> Result<Option<Vec<u8>>, TrieError> {
    let rest = key.slice(depth..);
    match node {
        Node::Empty => Ok(None),
        Node::Ref(rlp) => get(nodes, &nodes.fetch(rlp, key, depth)?, key, depth),
        Node::Leaf { path, value } => Ok((*path == rest).then(|| value.clone())),
        Node::Extension { path, child } if rest.starts_with(path) => {
            get(nodes, &child.node, key, depth + path.len())
        }
        Node::Extension { .. } => Ok(None),
        Node::Branch(children) => get(nodes, &children[node::nibble_at(key, depth)].node, key, depth + 1),
    }
}
