//! TrieTests, and the encoding of paths (`hexencodetest` of BasicTests).

use super::PlainCase;
use crate::{Case, CaseKind, VectorError, json};
use alloy_primitives::{B256, Bytes, keccak256};
use alloy_trie::{EMPTY_ROOT_HASH, HashBuilder, Nibbles, nodes::encode_path_leaf};
use braid_store::trie::{PartialTrie, TrieNodes};
use serde::Deserialize;
use std::{collections::BTreeMap, sync::Arc};

/// Most nibbles in a path: those of a hash.
const MAX_NIBBLES: usize = 64;

/// A sequence of changes to an empty trie, and the root after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrieCase {
    /// Keys are hashed, as in the state trie.
    pub secure: bool,
    /// Keys and values; a key without a value is removed.
    pub changes: Vec<(Bytes, Option<Bytes>)>,
    /// Root after all of them.
    pub root: B256,
}

impl TrieCase {
    pub(super) fn check(&self) -> Result<(), String> {
        let mut content: BTreeMap<Vec<u8>, &Bytes> = BTreeMap::new();
        for (key, value) in &self.changes {
            let key = if self.secure { keccak256(key).to_vec() } else { key.to_vec() };
            match value {
                Some(value) => drop(content.insert(key, value)),
                None => drop(content.remove(&key)),
            }
        }
        let equal = |what: &str, root: B256| match root == self.root {
            true => Ok(()),
            false => Err(format!("root of the {what}: computed {root}, expected {}", self.root)),
        };
        let mut builder = HashBuilder::default();
        let mut before: Option<&Vec<u8>> = None;
        for (key, value) in &content {
            if before.is_some_and(|before| key.starts_with(before)) {
                return Err("a key is the beginning of another, which no trie of the chain has".to_owned());
            }
            builder.add_leaf(Nibbles::unpack(key), value);
            before = Some(key);
        }
        equal("content", builder.root())?;
        if self.secure { equal("changes", self.changed()?) } else { Ok(()) }
    }

    /// The root by way of all changes in their order.
    fn changed(&self) -> Result<B256, String> {
        let nodes = TrieNodes::default();
        let mut trie = PartialTrie::new(EMPTY_ROOT_HASH, &nodes);
        for (key, value) in &self.changes {
            let key = keccak256(key);
            let done = match value {
                Some(value) => trie.insert(key, value.to_vec()),
                None => trie.remove(key).map(drop),
            };
            done.map_err(|error| error.to_string())?;
        }
        Ok(trie.root())
    }
}

#[derive(Deserialize)]
struct JsonTrie {
    #[serde(rename = "in")]
    changes: JsonChanges,
    root: B256,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum JsonChanges {
    InOrder(Vec<(String, Option<String>)>),
    AnyOrder(BTreeMap<String, Option<String>>),
}

/// The cases of a file of TrieTests, whose name says whether keys are hashed.
pub(crate) fn cases(label: &Arc<str>, bytes: &[u8]) -> Result<Vec<Case>, VectorError> {
    let units: BTreeMap<String, JsonTrie> = json::parse(label, bytes)?;
    let secure = label.rsplit('/').next().unwrap_or_default().to_lowercase().contains("secure");
    let case = |(name, unit): (String, JsonTrie)| {
        let raw = |text: String| match text.strip_prefix("0x") {
            Some(digits) => digits.parse::<Bytes>().map_err(|error| error.to_string()),
            None => Ok(Bytes::from(text.into_bytes())),
        };
        let change = |(key, value): (String, Option<String>)| Ok((raw(key)?, value.map(raw).transpose()?));
        let changes: Result<Vec<_>, String> = match unit.changes {
            JsonChanges::InOrder(changes) => changes.into_iter().map(change).collect(),
            JsonChanges::AnyOrder(changes) => changes.into_iter().map(change).collect(),
        };
        let changes = changes.map_err(|reason| VectorError::invalid(label, &name, reason))?;
        let case = PlainCase::Trie(TrieCase { secure, changes, root: unit.root });
        Ok(Case { file: label.clone(), name, kind: CaseKind::Plain(Box::new(case)) })
    };
    units.into_iter().map(case).collect()
}

/// A path as nodes of a trie have it (Yellow Paper, appendix C).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathCase {
    /// Its nibbles.
    pub nibbles: Vec<u8>,
    /// Whether it is that of a leaf.
    pub leaf: bool,
    /// The encoding.
    pub encoded: Bytes,
}

impl PathCase {
    pub(super) fn check(&self) -> Result<(), String> {
        let encoded = encode_path_leaf(&Nibbles::from_nibbles(&self.nibbles), self.leaf);
        if encoded[..] == self.encoded[..] {
            return Ok(());
        }
        Err(format!("path: computed {}, expected {}", Bytes::copy_from_slice(&encoded), self.encoded))
    }
}

#[derive(Deserialize)]
struct JsonPath {
    seq: Vec<u8>,
    term: bool,
    out: Bytes,
}

/// The cases of a file of paths.
pub(crate) fn path_cases(label: &Arc<str>, bytes: &[u8]) -> Result<Vec<Case>, VectorError> {
    let units: BTreeMap<String, JsonPath> = json::parse(label, bytes)?;
    let case = |(name, unit): (String, JsonPath)| {
        let JsonPath { seq, term, out } = unit;
        if seq.len() > MAX_NIBBLES || seq.iter().any(|nibble| *nibble > 15) {
            return Err(VectorError::invalid(label, &name, "no sequence of at most 64 nibbles"));
        }
        let case = PlainCase::Path(PathCase { nibbles: seq, leaf: term, encoded: out });
        Ok(Case { file: label.clone(), name, kind: CaseKind::Plain(Box::new(case)) })
    };
    units.into_iter().map(case).collect()
}
