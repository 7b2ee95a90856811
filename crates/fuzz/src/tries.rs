//! Partial tries, over nodes that may be anything and against a sorted map.

use crate::Choices;
use alloy_primitives::{B256, Bytes, U256, keccak256};
use alloy_trie::EMPTY_ROOT_HASH;
use braid_store::trie::{PartialTrie, TrieNodes, storage_root};
use std::collections::BTreeMap;

/// Most operations of an input.
const MAX_OPS: usize = 200;

/// Keys that share long prefixes: a few nibbles come from the input, the rest is the same.
fn key(choices: &mut Choices<'_>) -> B256 {
    let mut key = B256::repeat_byte(0x11);
    let (at, byte) = (choices.pick(&[0, 0, 1, 15, 30, 31]), choices.byte());
    key[at] = byte;
    key
}

/// The root, and the nodes as they refer to one another: no chance meets a hash, so what stands where a
/// hash may (after the byte that announces one) becomes that of a later node, chosen by its first byte.
fn linked(mut list: Vec<Vec<u8>>) -> (B256, TrieNodes) {
    const HASH_CODE: u8 = alloy_rlp::EMPTY_STRING_CODE + 32;
    let mut hashes: Vec<B256> = Vec::new();
    for node in list.iter_mut().rev() {
        let mut at = 0;
        while let Some(found) =
            node.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == HASH_CODE))
        {
            at += found + 1;
            let Some(place) = node.get_mut(at..at + 32) else { break };
            if !hashes.is_empty() {
                place.copy_from_slice(hashes[usize::from(place[0]) % hashes.len()].as_slice());
                at += 32;
            }
        }
        hashes.push(keccak256(&node));
    }
    (hashes.last().copied().unwrap_or(EMPTY_ROOT_HASH), list.into_iter().map(Bytes::from).collect())
}

/// Nodes, each after its length; the first is the root. Then operations.
pub(crate) fn nodes(data: &[u8]) {
    let mut choices = Choices::new(data);
    let mut list = Vec::new();
    for _ in 0..1 + choices.below(8) {
        let length = usize::from(choices.byte()) * 3;
        list.push(choices.take(length).to_vec());
    }
    let (root, nodes) = linked(list);
    let mut trie = PartialTrie::new(root, &nodes);
    let mut ops = 0;
    while !choices.is_empty() && ops < MAX_OPS {
        ops += 1;
        let key = key(&mut choices);
        let before = trie.root();
        let read = trie.get(key);
        match choices.below(3) {
            0 => {
                let value = vec![choices.byte(); 1 + choices.below(40) as usize];
                let inserted = trie.insert(key, value.clone());
                // Inserting reveals what reading does, so it fails where reading does.
                assert_eq!(inserted.is_ok(), read.is_ok(), "{inserted:?}, but {read:?}");
                match inserted {
                    Ok(()) => assert_eq!(trie.get(key), Ok(Some(value))),
                    Err(_) => assert_eq!(trie.root(), before, "a failed operation changes nothing"),
                }
            }
            1 => match trie.remove(key) {
                Ok(there) => {
                    assert_eq!(Ok(there), read.map(|value| value.is_some()));
                    assert_eq!(trie.get(key), Ok(None));
                }
                Err(_) => assert_eq!(trie.root(), before, "a failed operation changes nothing"),
            },
            _ => {}
        }
    }
}

/// A trie that starts empty, and a map: the same values, the same root.
pub(crate) fn ops(data: &[u8]) {
    let mut choices = Choices::new(data);
    let nodes = TrieNodes::default();
    let mut trie = PartialTrie::new(EMPTY_ROOT_HASH, &nodes);
    let mut map = BTreeMap::<U256, U256>::new();
    for op in 0..MAX_OPS {
        if choices.is_empty() {
            break;
        }
        let slot = U256::from(choices.byte());
        let key = keccak256(slot.to_be_bytes::<32>());
        if choices.below(3) == 0 {
            let there = trie.remove(key).unwrap_or_else(|error| panic!("nothing is blinded: {error}"));
            assert_eq!(there, map.remove(&slot).is_some(), "operation {op}");
        } else {
            let value = U256::from(1 + u64::from(choices.byte())) << (usize::from(choices.byte()) % 240);
            let done = trie.insert(key, alloy_rlp::encode(value));
            done.unwrap_or_else(|error| panic!("nothing is blinded: {error}"));
            map.insert(slot, value);
        }
        let stored = trie.get(key).map(|value| value.is_some());
        assert_eq!(stored, Ok(map.contains_key(&slot)), "operation {op}");
        if op % 8 == 0 {
            assert_eq!(trie.root(), storage_root(map.clone()), "operation {op}");
        }
    }
    assert_eq!(trie.root(), storage_root(map));
}
