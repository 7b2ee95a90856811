//! Nodes of tries from their RLP.

use super::arena::{Branch, KEY_NIBBLES, Leaf, Link, Stub, Trie, Value};
use crate::node::{Reference, set_nibble};
use alloy_primitives::B256;
use alloy_rlp::{EMPTY_LIST_CODE, EMPTY_STRING_CODE, Header};

/// The RLP of an item that is a hash begins so.
const HASH_CODE: u8 = EMPTY_STRING_CODE + 32;

/// Decodes a node that stands at `depth` on the way to `key`, and puts it among the nodes of `trie`.
pub(super) fn node(trie: &mut Trie, rlp: &[u8], key: &B256, depth: usize) -> Result<Link, String> {
    let mut bytes = rlp;
    let items = Header::decode_bytes(&mut bytes, true).map_err(|error| error.to_string())?;
    if !bytes.is_empty() {
        return Err("bytes after its end".into());
    }
    let (path, rest) = item(items)?;
    let (second, rest) = item(rest)?;
    if !rest.is_empty() {
        return branch(trie, items, key, depth);
    }
    let (is_leaf, whole, end) = path_below(path, key, depth)?;
    let left = KEY_NIBBLES - depth;
    match (is_leaf, end - depth) {
        (true, len) if len == left => {
            let mut second = second;
            let value = Header::decode_bytes(&mut second, false).map_err(|error| error.to_string())?;
            Ok(Link::Leaf(trie.leaves.add(Leaf { key: whole, value: Value::from_slice(value) })))
        }
        (false, len) if (1..left).contains(&len) => match child(second)? {
            (None, _) => Err("an extension of nothing".into()),
            (Some(_), rest) if !rest.is_empty() => Err("bytes after its end".into()),
            (Some(child), _) => Ok(Link::Stub(trie.stubs.add(Stub { key: whole, end: end as u8, child }))),
        },
        (_, len) => Err(format!("a path of {len} nibbles with {left} left")),
    }
}

/// Splits the first item off.
fn item(bytes: &[u8]) -> Result<(&[u8], &[u8]), String> {
    let mut rest = bytes;
    let header = Header::decode(&mut rest).map_err(|error| error.to_string())?;
    let len = bytes.len() - rest.len() + header.payload_length;
    bytes.split_at_checked(len).ok_or_else(|| "an item that does not end".into())
}

/// Decodes the items of a branch.
fn branch(trie: &mut Trie, items: &[u8], key: &B256, depth: usize) -> Result<Link, String> {
    if depth >= KEY_NIBBLES {
        return Err("a branch where a key ends".into());
    }
    let (mut branch, mut rest) = (Branch::new(*key, depth), items);
    for nibble in 0..16 {
        let (said, others) = child(rest)?;
        rest = others;
        if let Some(said) = said {
            branch.say(nibble, &said);
            branch.links[nibble] = Link::Hidden;
        }
    }
    if *rest != [EMPTY_STRING_CODE] {
        return Err("a branch with a value, or with other than 17 items".into());
    }
    match branch.present.count_ones() {
        0 | 1 => Err("a branch with less than two children".into()),
        _ => Ok(Link::Branch(trie.branches.add(branch))),
    }
}

/// What a branch or an extension says of a child, none if that is empty; and what comes after it.
fn child(bytes: &[u8]) -> Result<(Option<Reference>, &[u8]), String> {
    let Some((first, rest)) = bytes.split_first() else { return Err("it has too few items".into()) };
    match *first {
        EMPTY_STRING_CODE => Ok((None, rest)),
        HASH_CODE if rest.len() >= 32 => {
            let (hash, rest) = rest.split_at(32);
            Ok((Some(Reference::hash(B256::from_slice(hash))), rest))
        }
        EMPTY_LIST_CODE..0xdf => {
            let len = 1 + usize::from(*first - EMPTY_LIST_CODE);
            let (rlp, rest) = bytes.split_at_checked(len).ok_or("a child that does not end")?;
            Ok((Some(Reference::of_rlp(rlp)), rest))
        }
        _ => Err("a child that is neither a hash nor a short node".into()),
    }
}

/// Decodes a compact path at `depth` on the way to `key`: whether it is a leaf's, the nibbles from the root to its
/// end, and how many those are.
fn path_below(mut item: &[u8], key: &B256, depth: usize) -> Result<(bool, B256, usize), String> {
    let bytes = Header::decode_bytes(&mut item, false).map_err(|error| error.to_string())?;
    let Some((first, others)) = bytes.split_first() else { return Err("an empty path".into()) };
    let odd = first & 0x10 != 0;
    if *first >= 0x40 || (!odd && first & 0x0f != 0) {
        return Err("an impossible path".into());
    }
    let end = depth + 2 * others.len() + usize::from(odd);
    if end > KEY_NIBBLES {
        return Err("a path longer than a key".into());
    }
    let (mut whole, mut at) = (*key, depth);
    let mut put = |nibble: u8| {
        set_nibble(&mut whole, at, nibble);
        at += 1;
    };
    if odd {
        put(first & 0x0f);
    }
    for byte in others {
        put(byte >> 4);
        put(byte & 0x0f);
    }
    Ok((first & 0x20 != 0, whole, end))
}
