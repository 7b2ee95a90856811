//! Merkle Patricia tries: roots of full states, and changes of partial tries that a witness reveals.
//!
//! A [`PartialTrie`] starts as a root hash and fetches nodes by hash as operations reach them. Keys are
//! 32 bytes (hashes of addresses or slots), so that no key is a prefix of another and no branch holds a
//! value. Node forms and hashing: Ethereum Yellow Paper, appendix D.

use alloy_primitives::{Address, B256, Bytes, U256, hex, keccak256};
use alloy_rlp::{Header, PayloadView};
use alloy_trie::{
    EMPTY_ROOT_HASH, Nibbles, TrieAccount, TrieMask,
    nodes::{BranchNodeRef, ExtensionNodeRef, LeafNodeRef, RlpNode},
    root,
};
use hashbrown::HashMap;

/// Nibbles in a key.
const KEY_NIBBLES: usize = 64;

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

#[derive(Clone, Debug, Default)]
enum Node {
    #[default]
    Empty,
    /// Not revealed: a hash, or the RLP itself of a node shorter than a hash.
    Ref(RlpNode),
    Leaf {
        path: Nibbles,
        value: Vec<u8>,
    },
    /// Its path is not empty, its child is a branch or a reference to one.
    Extension {
        path: Nibbles,
        child: Box<Node>,
    },
    /// At least two children.
    Branch(Box<[Node; 16]>),
}

/// A trie of which only some nodes are known.
#[derive(Clone, Debug)]
pub struct PartialTrie<'a> {
    nodes: &'a TrieNodes,
    root: Node,
}

impl<'a> PartialTrie<'a> {
    /// The trie with this root, over `nodes`.
    pub fn new(root: B256, nodes: &'a TrieNodes) -> Self {
        let root = if root == EMPTY_ROOT_HASH { Node::Empty } else { Node::Ref(RlpNode::word_rlp(&root)) };
        PartialTrie { nodes, root }
    }

    /// The value at `key`.
    ///
    /// # Errors
    /// If a node on the way is missing or malformed.
    pub fn get(&self, key: B256) -> Result<Option<Vec<u8>>, TrieError> {
        let key = Nibbles::unpack(key);
        get(self.nodes, &self.root, &key, 0)
    }

    /// Sets the value at `key`.
    ///
    /// # Errors
    /// If a node on the way is missing or malformed.
    pub fn insert(&mut self, key: B256, value: Vec<u8>) -> Result<(), TrieError> {
        let key = Nibbles::unpack(key);
        insert(self.nodes, &mut self.root, &key, 0, value)
    }

    /// Removes `key`; whether it was there.
    ///
    /// # Errors
    /// If a node on the way is missing or malformed, or the only sibling of a removed leaf, which has
    /// to be merged with its parent.
    pub fn remove(&mut self, key: B256) -> Result<bool, TrieError> {
        let key = Nibbles::unpack(key);
        remove(self.nodes, &mut self.root, &key, 0)
    }

    /// The root hash.
    pub fn root(&self) -> B256 {
        if matches!(self.root, Node::Empty) {
            return EMPTY_ROOT_HASH;
        }
        let rlp = encode(&self.root);
        rlp.as_hash().unwrap_or_else(|| keccak256(&rlp))
    }
}

/// Path of a node for an error: the nibbles of `key` before `depth`.
fn path_to(key: &Nibbles, depth: usize) -> String {
    key.slice(..depth).iter().map(|nibble| char::from(hex::encode([nibble]).as_bytes()[1])).collect()
}

/// The node behind a reference at `depth`.
fn fetch(nodes: &TrieNodes, rlp: &RlpNode, key: &Nibbles, depth: usize) -> Result<Node, TrieError> {
    let malformed = |reason: String| TrieError::Malformed { path: path_to(key, depth), reason };
    let node = match rlp.as_hash() {
        None => decode(rlp, KEY_NIBBLES - depth),
        Some(hash) => match nodes.by_hash.get(&hash) {
            Some(rlp) => decode(rlp, KEY_NIBBLES - depth),
            None => return Err(TrieError::Blinded { path: path_to(key, depth), hash }),
        },
    };
    node.map_err(malformed)
}

/// Replaces a reference by the node behind it.
fn reveal(nodes: &TrieNodes, node: &mut Node, key: &Nibbles, depth: usize) -> Result<(), TrieError> {
    if let Node::Ref(rlp) = node {
        *node = fetch(nodes, rlp, key, depth)?;
    }
    Ok(())
}

fn get(nodes: &TrieNodes, node: &Node, key: &Nibbles, depth: usize) -> Result<Option<Vec<u8>>, TrieError> {
    let rest = key.slice(depth..);
    match node {
        Node::Empty => Ok(None),
        Node::Ref(rlp) => get(nodes, &fetch(nodes, rlp, key, depth)?, key, depth),
        Node::Leaf { path, value } => Ok((*path == rest).then(|| value.clone())),
        Node::Extension { path, child } if rest.starts_with(path) => {
            get(nodes, child, key, depth + path.len())
        }
        Node::Extension { .. } => Ok(None),
        Node::Branch(children) => get(nodes, &children[nibble_at(key, depth)], key, depth + 1),
    }
}

fn nibble_at(key: &Nibbles, depth: usize) -> usize {
    usize::from(key.get_unchecked(depth))
}

fn insert(
    nodes: &TrieNodes,
    node: &mut Node,
    key: &Nibbles,
    depth: usize,
    value: Vec<u8>,
) -> Result<(), TrieError> {
    reveal(nodes, node, key, depth)?;
    let rest = key.slice(depth..);
    match node {
        Node::Empty => *node = Node::Leaf { path: rest, value },
        Node::Leaf { path, value: old } if *path == rest => *old = value,
        Node::Leaf { path, value: old } => {
            let (path, old) = (*path, std::mem::take(old));
            let at = |common: usize| Node::Leaf { path: path.slice(common + 1..), value: old };
            *node = split(&path, at, &rest, value);
        }
        Node::Extension { path, child } if rest.starts_with(path) => {
            return insert(nodes, child, key, depth + path.len(), value);
        }
        Node::Extension { path, child } => {
            let (path, child) = (*path, std::mem::take(child));
            let at = |common: usize| match path.len() - common {
                1 => *child,
                _ => Node::Extension { path: path.slice(common + 1..), child },
            };
            *node = split(&path, at, &rest, value);
        }
        Node::Branch(children) => {
            return insert(nodes, &mut children[nibble_at(key, depth)], key, depth + 1, value);
        }
        Node::Ref(_) => unreachable!("a revealed node"),
    }
    Ok(())
}

/// A branch where `path` and `rest` part, below an extension for what they share: on one side
/// what was at `path` (given by the length of the shared part), on the other a new leaf.
fn split(path: &Nibbles, old: impl FnOnce(usize) -> Node, rest: &Nibbles, value: Vec<u8>) -> Node {
    let common = path.common_prefix_length(rest);
    let mut children: Box<[Node; 16]> = Box::default();
    children[nibble_at(path, common)] = old(common);
    children[nibble_at(rest, common)] = Node::Leaf { path: rest.slice(common + 1..), value };
    under(&path.slice(..common), Node::Branch(children))
}

/// `node` with `prefix` before it, merged into one node where a trie has only one.
fn under(prefix: &Nibbles, node: Node) -> Node {
    match node {
        Node::Empty => Node::Empty,
        node if prefix.is_empty() => node,
        Node::Leaf { path, value } => Node::Leaf { path: prefix.join(&path), value },
        Node::Extension { path, child } => Node::Extension { path: prefix.join(&path), child },
        node => Node::Extension { path: *prefix, child: Box::new(node) },
    }
}

fn remove(nodes: &TrieNodes, node: &mut Node, key: &Nibbles, depth: usize) -> Result<bool, TrieError> {
    reveal(nodes, node, key, depth)?;
    let rest = key.slice(depth..);
    match node {
        Node::Empty => Ok(false),
        Node::Leaf { path, .. } => {
            let found = *path == rest;
            if found {
                *node = Node::Empty;
            }
            Ok(found)
        }
        Node::Extension { path, child } => {
            if !rest.starts_with(path) || !remove(nodes, child, key, depth + path.len())? {
                return Ok(false);
            }
            let (path, child) = (*path, std::mem::take(child));
            *node = under(&path, *child);
            Ok(true)
        }
        Node::Branch(children) => {
            let nibble = nibble_at(key, depth);
            reveal_merged(nodes, children, key, depth)?;
            if !remove(nodes, &mut children[nibble], key, depth + 1)? {
                return Ok(false);
            }
            let mut present = (0..16u8).filter(|i| !matches!(children[usize::from(*i)], Node::Empty));
            if let (Some(last), None) = (present.next(), present.next()) {
                let child = std::mem::take(&mut children[usize::from(last)]);
                *node = under(&Nibbles::from_nibbles([last]), child);
            }
            Ok(true)
        }
        Node::Ref(_) => unreachable!("a revealed node"),
    }
}

/// Before a removal: if it would leave a single child, reveals that child, whose form decides how it is
/// merged. Done first, so that a missing node leaves the trie as it was.
fn reveal_merged(
    nodes: &TrieNodes,
    children: &mut [Node; 16],
    key: &Nibbles,
    depth: usize,
) -> Result<(), TrieError> {
    let nibble = nibble_at(key, depth);
    reveal(nodes, &mut children[nibble], key, depth + 1)?;
    let vanishes = matches!(&children[nibble], Node::Leaf { path, .. } if *path == key.slice(depth + 1..));
    let mut others = (0..16).filter(|i| *i != nibble && !matches!(children[*i], Node::Empty));
    if let (true, Some(other), None) = (vanishes, others.next(), others.next()) {
        let mut path = *key;
        path.set_at(depth, other as u8);
        reveal(nodes, &mut children[other], &path, depth + 1)?;
    }
    Ok(())
}

fn encode(node: &Node) -> RlpNode {
    let mut rlp = Vec::new();
    match node {
        Node::Empty => RlpNode::from_rlp(&[alloy_rlp::EMPTY_STRING_CODE]),
        Node::Ref(rlp) => rlp.clone(),
        Node::Leaf { path, value } => LeafNodeRef { key: path, value }.rlp(&mut rlp),
        Node::Extension { path, child } => ExtensionNodeRef::new(path, &encode(child)).rlp(&mut rlp),
        Node::Branch(children) => {
            let present = |child: &Node| !matches!(child, Node::Empty);
            let mask = (0..16).filter(|i| present(&children[*i])).fold(0u16, |mask, i| mask | 1 << i);
            let stack: Vec<RlpNode> = children.iter().filter(|child| present(child)).map(encode).collect();
            BranchNodeRef::new(&stack, TrieMask::new(mask)).rlp(&mut rlp)
        }
    }
}

/// Decodes a node below which keys have `rest` nibbles left.
fn decode(rlp: &[u8], rest: usize) -> Result<Node, String> {
    let mut bytes = rlp;
    let view = Header::decode_raw(&mut bytes).map_err(|error| error.to_string())?;
    let PayloadView::List(items) = view else { return Err("not a list".into()) };
    if !bytes.is_empty() {
        return Err("bytes after its end".into());
    }
    match items.as_slice() {
        [children @ .., value] if children.len() == 16 => {
            if rest == 0 || *value != [alloy_rlp::EMPTY_STRING_CODE] {
                return Err("a branch where a key ends".into());
            }
            let mut branch: Box<[Node; 16]> = Box::default();
            for (child, item) in branch.iter_mut().zip(children) {
                *child = child_ref(item)?;
            }
            match branch.iter().filter(|child| !matches!(child, Node::Empty)).count() {
                0 | 1 => Err("a branch with less than two children".into()),
                _ => Ok(Node::Branch(branch)),
            }
        }
        [path, item] => {
            let (leaf, path) = decode_path(path)?;
            match (leaf, path.len()) {
                (true, len) if len == rest => {
                    let mut item = *item;
                    let value = Header::decode_bytes(&mut item, false).map_err(|error| error.to_string())?;
                    Ok(Node::Leaf { path, value: value.to_vec() })
                }
                (false, len) if (1..rest).contains(&len) => match child_ref(item)? {
                    Node::Empty => Err("an extension of nothing".into()),
                    child => Ok(Node::Extension { path, child: Box::new(child) }),
                },
                (_, len) => Err(format!("a path of {len} nibbles with {rest} left")),
            }
        }
        items => Err(format!("{} items", items.len())),
    }
}

/// Decodes a compact path: whether it is a leaf's, and its nibbles.
fn decode_path(mut item: &[u8]) -> Result<(bool, Nibbles), String> {
    let bytes = Header::decode_bytes(&mut item, false).map_err(|error| error.to_string())?;
    let Some((first, others)) = bytes.split_first() else { return Err("an empty path".into()) };
    if others.len() > KEY_NIBBLES / 2 || *first >= 0x40 || (first & 0x10 == 0 && first & 0x0f != 0) {
        return Err("an impossible path".into());
    }
    let odd = (first & 0x10 != 0).then_some(first & 0x0f);
    let nibbles: Vec<u8> =
        odd.into_iter().chain(others.iter().flat_map(|byte| [byte >> 4, byte & 0x0f])).collect();
    if nibbles.len() > KEY_NIBBLES {
        return Err("a path longer than a key".into());
    }
    Ok((first & 0x20 != 0, Nibbles::from_nibbles(nibbles)))
}

fn child_ref(item: &[u8]) -> Result<Node, String> {
    const HASH_CODE: u8 = alloy_rlp::EMPTY_STRING_CODE + 32;
    match item {
        [alloy_rlp::EMPTY_STRING_CODE] => return Ok(Node::Empty),
        [HASH_CODE, hash @ ..] if hash.len() == 32 => {}
        [first, ..] if *first >= alloy_rlp::EMPTY_LIST_CODE && item.len() < 32 => {}
        _ => return Err("a child that is neither a hash nor a short node".into()),
    }
    RlpNode::from_raw_rlp(item).map(Node::Ref).map_err(|error| error.to_string())
}

/// Root of the storage that consists of these slots; zero values are left out.
pub fn storage_root(slots: impl IntoIterator<Item = (U256, U256)>) -> B256 {
    let present = slots.into_iter().filter(|(_, value)| !value.is_zero());
    root::storage_root_unhashed(present.map(|(slot, value)| (B256::from(slot), value)))
}

/// Root of the state that consists of these accounts.
pub fn state_root(accounts: impl IntoIterator<Item = (Address, TrieAccount)>) -> B256 {
    root::state_root_unhashed(accounts)
}
