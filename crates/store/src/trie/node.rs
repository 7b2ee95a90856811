//! Nodes of tries: their changes, their forms, their hashes.
//!
//! 1. A node stands in a place, which remembers what its parent says of it (its hash, or its RLP if that is
//!    short) once that was asked for.
//! 2. Whatever changes a node makes all places from the root down to it forget; no other place does.
//! 3. A node that is moved to another place without a change keeps what its old place remembered.

use alloy_primitives::{B256, keccak256};
use alloy_rlp::{Header, PayloadView};
use alloy_trie::{
    EMPTY_ROOT_HASH, Nibbles, TrieMask,
    nodes::{BranchNodeRef, ExtensionNodeRef, LeafNodeRef, RlpNode},
};
use rayon::prelude::*;
use std::sync::OnceLock;

/// Nibbles in a key.
pub(super) const KEY_NIBBLES: usize = 64;

/// Where nodes come from that are not there.
pub(super) trait Source {
    type Error;

    /// The node behind a reference at `depth` on the way to `key`.
    fn fetch(&self, rlp: &RlpNode, key: &Nibbles, depth: usize) -> Result<Node, Self::Error>;
}

#[derive(Clone, Debug, Default)]
pub(super) enum Node {
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
        child: Box<Place>,
    },
    /// At least two children.
    Branch(Box<[Place; 16]>),
}

/// Where a node stands: at the root, or in its parent.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    pub(super) node: Node,
    /// What the parent says of the node, if that was asked for since it last changed.
    known: OnceLock<RlpNode>,
}

impl From<Node> for Place {
    fn from(node: Node) -> Self {
        Place { node, known: OnceLock::new() }
    }
}

impl Place {
    fn is_empty(&self) -> bool {
        matches!(self.node, Node::Empty)
    }

    /// The hash of the trie whose root stands here.
    pub(super) fn root(&self) -> B256 {
        if self.is_empty() {
            return EMPTY_ROOT_HASH;
        }
        let rlp = self.known.get_or_init(|| encode(&self.node));
        rlp.as_hash().unwrap_or_else(|| keccak256(rlp))
    }

    /// What a parent says of the node.
    fn reference(&self) -> RlpNode {
        self.known.get_or_init(|| encode(&self.node)).clone()
    }

    /// Asks what parents say of the nodes below, so many branches deep shared among the workers of the pool that
    /// this is called in.
    pub(super) fn hash_shared(&self, branches: usize) {
        if self.known.get().is_some() {
            return;
        }
        match &self.node {
            Node::Branch(children) if branches > 0 => {
                children.par_iter().for_each(|child| child.hash_shared(branches - 1));
            }
            Node::Extension { child, .. } => child.hash_shared(branches),
            Node::Empty => return,
            _ => {}
        }
        self.known.get_or_init(|| encode(&self.node));
    }
}

/// The value at `key`; the nodes on the way to it are revealed.
pub(super) fn find<'p, S: Source>(
    nodes: &S,
    place: &'p mut Place,
    key: &Nibbles,
    depth: usize,
) -> Result<Option<&'p [u8]>, S::Error> {
    reveal(nodes, place, key, depth)?;
    match &mut place.node {
        Node::Empty => Ok(None),
        Node::Leaf { path, value } => Ok((*path == key.slice(depth..)).then_some(value)),
        Node::Extension { path, child } if key.slice(depth..).starts_with(path) => {
            find(nodes, child, key, depth + path.len())
        }
        Node::Extension { .. } => Ok(None),
        Node::Branch(children) => find(nodes, &mut children[nibble_at(key, depth)], key, depth + 1),
        Node::Ref(_) => unreachable!("a revealed node"),
    }
}

/// Replaces a reference by the node behind it.
fn reveal<S: Source>(nodes: &S, place: &mut Place, key: &Nibbles, depth: usize) -> Result<(), S::Error> {
    if let Node::Ref(rlp) = &place.node {
        let node = nodes.fetch(rlp, key, depth)?;
        *place = Place { node, known: OnceLock::from(rlp.clone()) };
    }
    Ok(())
}

pub(super) fn nibble_at(key: &Nibbles, depth: usize) -> usize {
    usize::from(key.get_unchecked(depth))
}

/// Sets the value at `key`; whether that changes anything.
pub(super) fn insert<S: Source>(
    nodes: &S,
    place: &mut Place,
    key: &Nibbles,
    depth: usize,
    value: Vec<u8>,
) -> Result<bool, S::Error> {
    reveal(nodes, place, key, depth)?;
    let rest = key.slice(depth..);
    let changed = match &mut place.node {
        Node::Empty => {
            *place = Node::Leaf { path: rest, value }.into();
            true
        }
        Node::Leaf { path, value: old } if *path == rest => {
            let changed = *old != value;
            *old = value;
            changed
        }
        Node::Leaf { path, value: old } => {
            let (path, old) = (*path, std::mem::take(old));
            let at = |common: usize| Node::Leaf { path: path.slice(common + 1..), value: old }.into();
            *place = split(&path, at, &rest, value);
            true
        }
        Node::Extension { path, child } if rest.starts_with(path) => {
            insert(nodes, child, key, depth + path.len(), value)?
        }
        Node::Extension { path, child } => {
            let (path, child) = (*path, std::mem::take(child));
            let at = |common: usize| match path.len() - common {
                1 => *child,
                _ => Node::Extension { path: path.slice(common + 1..), child }.into(),
            };
            *place = split(&path, at, &rest, value);
            true
        }
        Node::Branch(children) => insert(nodes, &mut children[nibble_at(key, depth)], key, depth + 1, value)?,
        Node::Ref(_) => unreachable!("a revealed node"),
    };
    if changed {
        place.known.take();
    }
    Ok(changed)
}

/// A branch where `path` and `rest` part, below an extension for what they share: on one side
/// what was at `path` (given by the length of the shared part), on the other a new leaf.
fn split(path: &Nibbles, old: impl FnOnce(usize) -> Place, rest: &Nibbles, value: Vec<u8>) -> Place {
    let common = path.common_prefix_length(rest);
    let mut children: Box<[Place; 16]> = Box::default();
    children[nibble_at(path, common)] = old(common);
    children[nibble_at(rest, common)] = Node::Leaf { path: rest.slice(common + 1..), value }.into();
    under(&path.slice(..common), Node::Branch(children).into())
}

/// What stands in `place` with `prefix` before it, merged into one node where a trie has only one.
fn under(prefix: &Nibbles, place: Place) -> Place {
    if prefix.is_empty() {
        return place;
    }
    match place.node {
        Node::Empty => Place::default(),
        Node::Leaf { path, value } => Node::Leaf { path: prefix.join(&path), value }.into(),
        Node::Extension { path, child } => Node::Extension { path: prefix.join(&path), child }.into(),
        Node::Branch(_) | Node::Ref(_) => Node::Extension { path: *prefix, child: Box::new(place) }.into(),
    }
}

/// Removes `key`; whether it was there.
pub(super) fn remove<S: Source>(
    nodes: &S,
    place: &mut Place,
    key: &Nibbles,
    depth: usize,
) -> Result<bool, S::Error> {
    reveal(nodes, place, key, depth)?;
    let rest = key.slice(depth..);
    match &mut place.node {
        Node::Empty => return Ok(false),
        Node::Leaf { path, .. } => {
            if *path != rest {
                return Ok(false);
            }
            *place = Place::default();
        }
        Node::Extension { path, child } => {
            if !rest.starts_with(path) || !remove(nodes, child, key, depth + path.len())? {
                return Ok(false);
            }
            let (path, child) = (*path, std::mem::take(child));
            *place = under(&path, *child);
        }
        Node::Branch(children) => {
            let nibble = nibble_at(key, depth);
            reveal_merged(nodes, children, key, depth)?;
            if !remove(nodes, &mut children[nibble], key, depth + 1)? {
                return Ok(false);
            }
            let mut present = (0..16u8).filter(|i| !children[usize::from(*i)].is_empty());
            if let (Some(last), None) = (present.next(), present.next()) {
                let child = std::mem::take(&mut children[usize::from(last)]);
                *place = under(&Nibbles::from_nibbles([last]), child);
            }
        }
        Node::Ref(_) => unreachable!("a revealed node"),
    }
    place.known.take();
    Ok(true)
}

/// Before a removal: if it would leave a single child, reveals that child, whose form decides how it is
/// merged. Done first, so that a missing node leaves the trie as it was.
fn reveal_merged<S: Source>(
    nodes: &S,
    children: &mut [Place; 16],
    key: &Nibbles,
    depth: usize,
) -> Result<(), S::Error> {
    let nibble = nibble_at(key, depth);
    reveal(nodes, &mut children[nibble], key, depth + 1)?;
    let vanishes =
        matches!(&children[nibble].node, Node::Leaf { path, .. } if *path == key.slice(depth + 1..));
    let mut others = (0..16).filter(|i| *i != nibble && !children[*i].is_empty());
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
        Node::Extension { path, child } => ExtensionNodeRef::new(path, &child.reference()).rlp(&mut rlp),
        Node::Branch(children) => {
            let mask = (0..16).filter(|i| !children[*i].is_empty()).fold(0u16, |mask, i| mask | 1 << i);
            let present = children.iter().filter(|child| !child.is_empty());
            let stack: Vec<RlpNode> = present.map(Place::reference).collect();
            BranchNodeRef::new(&stack, TrieMask::new(mask)).rlp(&mut rlp)
        }
    }
}

/// Decodes a node below which keys have `rest` nibbles left.
pub(super) fn decode(rlp: &[u8], rest: usize) -> Result<Node, String> {
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
            let mut branch: Box<[Place; 16]> = Box::default();
            for (child, item) in branch.iter_mut().zip(children) {
                *child = child_ref(item)?.into();
            }
            match branch.iter().filter(|child| !child.is_empty()).count() {
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
                    child => Ok(Node::Extension { path, child: Box::new(child.into()) }),
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
