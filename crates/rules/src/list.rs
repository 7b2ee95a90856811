//! Roots of lists (transactions, receipts, withdrawals): Merkle Patricia tries from the RLP of each position to the
//! item there (Yellow Paper, section 4.3.2), hashed many nodes at a time.
//!
//! 1. Keys are sorted, and none is the beginning of another: branches hold no values.
//! 2. A node's *height* is the longest way down from it. Nodes of one height do not contain each other, so they are
//!    encoded and hashed together, from the leaves up.

use alloy_consensus::EMPTY_ROOT_HASH;
use alloy_primitives::B256;
use alloy_rlp::{BufMut, EMPTY_STRING_CODE, Encodable, Header};
use braid_keccak::keccak256_many;

/// Nibbles of a key: those of the RLP of a position, a leading byte and at most eight of the number.
const MOST_NIBBLES: usize = 18;

/// The RLP of a position, in nibbles.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    nibbles: [u8; MOST_NIBBLES],
    len: u8,
}

impl Key {
    fn of(position: usize) -> Self {
        let mut key = Key { nibbles: [0; MOST_NIBBLES], len: 0 };
        let mut bytes = [0; MOST_NIBBLES / 2];
        let rest = {
            let mut out = &mut bytes[..];
            position.encode(&mut out);
            out.len()
        };
        for byte in &bytes[..bytes.len() - rest] {
            key.nibbles[usize::from(key.len)] = byte >> 4;
            key.nibbles[usize::from(key.len) + 1] = byte & 15;
            key.len += 2;
        }
        key
    }

    fn from(&self, depth: usize) -> &[u8] {
        &self.nibbles[depth..usize::from(self.len)]
    }
}

/// A node, with the children by number.
enum Node {
    /// The item at this position, and the rest of its key.
    Leaf(Key, usize, u32),
    /// A path from this depth to that one, of this key.
    Extension(Key, usize, usize, u32),
    Branch([Option<u32>; 16]),
}

/// How a parent names a node: by its encoding if that is short, else by its hash.
#[derive(Clone, Copy)]
struct Name {
    bytes: [u8; 32],
    len: u8,
}

impl Name {
    fn encode(&self, out: &mut Vec<u8>) {
        if self.len == 32 {
            out.push(EMPTY_STRING_CODE + 32);
        }
        out.extend_from_slice(&self.bytes[..usize::from(self.len)]);
    }

    fn length(&self) -> usize {
        usize::from(self.len) + usize::from(self.len == 32)
    }
}

/// The nodes, and which of them are how high.
#[derive(Default)]
struct Nodes {
    nodes: Vec<Node>,
    heights: Vec<Vec<u32>>,
}

impl Nodes {
    fn push(&mut self, node: Node, height: usize) -> (u32, usize) {
        let number = self.nodes.len() as u32;
        self.nodes.push(node);
        if self.heights.len() <= height {
            self.heights.resize_with(height + 1, Vec::new);
        }
        self.heights[height].push(number);
        (number, height)
    }

    /// Makes the nodes of `keys`, sorted and equal up to `depth`. The number and the height of the topmost. As deep as
    /// keys are long.
    fn build(&mut self, keys: &[(Key, u32)], depth: usize) -> (u32, usize) {
        let ((first, item), (last, _)) = (keys[0], keys[keys.len() - 1]);
        if keys.len() == 1 {
            return self.push(Node::Leaf(first, depth, item), 0);
        }
        let equal =
            first.from(depth).iter().zip(last.from(depth)).take_while(|(one, other)| one == other).count();
        let fork = depth + equal;
        let (mut children, mut height) = ([None; 16], 0);
        for group in keys.chunk_by(|(one, _), (other, _)| one.nibbles[fork] == other.nibbles[fork]) {
            let (child, under) = self.build(group, fork + 1);
            children[usize::from(group[0].0.nibbles[fork])] = Some(child);
            height = height.max(under + 1);
        }
        let (branch, height) = self.push(Node::Branch(children), height);
        if equal == 0 {
            (branch, height)
        } else {
            self.push(Node::Extension(first, depth, fork, branch), height + 1)
        }
    }
}

/// Appends a path in the compact encoding of the Yellow Paper, appendix C.
fn put_path(nibbles: &[u8], is_leaf: bool, out: &mut Vec<u8>) {
    let (odd, flag) = (nibbles.len() % 2 == 1, if is_leaf { 0x20 } else { 0 });
    let mut path = [0_u8; 1 + MOST_NIBBLES / 2];
    path[0] = if odd { flag | 0x10 | nibbles[0] } else { flag };
    let pairs = nibbles[usize::from(odd)..].chunks_exact(2);
    let len = 1 + pairs.len();
    for (byte, pair) in path[1..].iter_mut().zip(pairs) {
        *byte = pair[0] << 4 | pair[1];
    }
    path[..len].encode(out);
}

/// Appends the encoding of a node whose children have `names`.
fn put_node<T: AsRef<[u8]>>(
    node: &Node,
    items: &[T],
    names: &[Name],
    scratch: &mut Vec<u8>,
    out: &mut Vec<u8>,
) {
    scratch.clear();
    match node {
        Node::Leaf(key, depth, item) => {
            put_path(key.from(*depth), true, scratch);
            let item = items[*item as usize].as_ref();
            Header { list: true, payload_length: scratch.len() + item.length() }.encode(out);
            out.extend_from_slice(scratch);
            item.encode(out);
        }
        Node::Extension(key, from, to, child) => {
            put_path(&key.nibbles[*from..*to], false, scratch);
            names[*child as usize].encode(scratch);
            Header { list: true, payload_length: scratch.len() }.encode(out);
            out.extend_from_slice(scratch);
        }
        Node::Branch(children) => {
            let length = |child: &Option<u32>| child.map_or(1, |child| names[child as usize].length());
            let payload_length = children.iter().map(length).sum::<usize>() + 1;
            Header { list: true, payload_length }.encode(out);
            for child in children {
                match child {
                    Some(child) => names[*child as usize].encode(out),
                    None => out.put_u8(EMPTY_STRING_CODE),
                }
            }
            out.put_u8(EMPTY_STRING_CODE);
        }
    }
}

/// Root of the list of these items, each as it is encoded.
///
/// ```
/// use alloy_consensus::EMPTY_ROOT_HASH;
/// use braid_rules::list_root;
///
/// assert_eq!(list_root::<&[u8]>(&[]), EMPTY_ROOT_HASH);
/// ```
pub fn list_root<T: AsRef<[u8]>>(items: &[T]) -> B256 {
    if items.is_empty() {
        return EMPTY_ROOT_HASH;
    }
    let mut keys: Vec<_> = (0..items.len()).map(|at| (Key::of(at), at as u32)).collect();
    keys.sort_unstable();
    let mut trie = Nodes::default();
    let (root, _) = trie.build(&keys, 0);
    let mut names = vec![Name { bytes: [0; 32], len: 0 }; trie.nodes.len()];
    let (mut encoded, mut ends, mut scratch) = (Vec::new(), Vec::new(), Vec::new());
    for level in &trie.heights {
        encoded.clear();
        ends.clear();
        for number in level {
            put_node(&trie.nodes[*number as usize], items, &names, &mut scratch, &mut encoded);
            ends.push(encoded.len());
        }
        let mut begin = 0;
        let nodes: Vec<&[u8]> =
            ends.iter().map(|end| &encoded[std::mem::replace(&mut begin, *end)..*end]).collect();
        let mut hashes = vec![B256::ZERO; nodes.len()];
        keccak256_many(&nodes, &mut hashes);
        for ((number, node), hash) in level.iter().zip(nodes).zip(&hashes) {
            let name = &mut names[*number as usize];
            // The root goes by its hash however short it is.
            let bytes = if node.len() < 32 && *number != root { node } else { &hash[..] };
            name.bytes[..bytes.len()].copy_from_slice(bytes);
            name.len = bytes.len() as u8;
        }
    }
    names[root as usize].bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_trie::root::ordered_trie_root_with_encoder;

    /// Lengths around where a position takes a byte more, items around where a node is named by its hash.
    #[test]
    fn roots_are_those_of_a_trie() {
        let lengths = (0..=40).chain([126, 127, 128, 129, 130, 255, 256, 257, 300, 1000]);
        for length in lengths {
            for size in [0, 1, 2, 20, 27, 28, 29, 30, 31, 32, 33, 54, 55, 56, 57, 300] {
                let item = |at: usize| vec![(at % 251) as u8; size + at % 3];
                let items: Vec<Vec<u8>> = (0..length).map(item).collect();
                let expected = ordered_trie_root_with_encoder(&items, |item, out| out.put_slice(item));
                assert_eq!(list_root(&items), expected, "{length} items of {size} bytes");
            }
        }
    }
}
