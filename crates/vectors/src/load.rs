//! Which form a file of vectors has, and its cases.

use crate::{Case, CaseKind, PlainCase, VectorError, chain, json, plain, state, transaction};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

/// The names of the fields of a vector; none if it is no object. Nothing else of it is kept.
#[derive(Debug, Default)]
struct Keys(BTreeSet<String>);

impl Keys {
    fn has(&self, names: &[&str]) -> bool {
        names.iter().all(|name| self.0.contains(*name))
    }
}

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfObject;

        impl<'de> Visitor<'de> for OfObject {
            type Value = Keys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a vector")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let mut keys = BTreeSet::new();
                while let Some((key, IgnoredAny)) = map.next_entry()? {
                    keys.insert(key);
                }
                Ok(Keys(keys))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Keys, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Keys::default())
            }

            fn visit_str<E>(self, _: &str) -> Result<Keys, E> {
                Ok(Keys::default())
            }

            fn visit_bool<E>(self, _: bool) -> Result<Keys, E> {
                Ok(Keys::default())
            }

            fn visit_u64<E>(self, _: u64) -> Result<Keys, E> {
                Ok(Keys::default())
            }

            fn visit_i64<E>(self, _: i64) -> Result<Keys, E> {
                Ok(Keys::default())
            }

            fn visit_f64<E>(self, _: f64) -> Result<Keys, E> {
                Ok(Keys::default())
            }

            fn visit_unit<E>(self) -> Result<Keys, E> {
                Ok(Keys::default())
            }
        }

        deserializer.deserialize_any(OfObject)
    }
}

/// A file of vectors: by name, or (some of BasicTests) without names, of which only the number is kept.
#[derive(Debug)]
enum Units {
    Named(BTreeMap<String, Keys>),
    Listed(usize),
}

impl<'de> Deserialize<'de> for Units {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfFile;

        impl<'de> Visitor<'de> for OfFile {
            type Value = Units;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("vectors by name, or a list of them")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Units, A::Error> {
                let mut units = BTreeMap::new();
                while let Some((name, keys)) = map.next_entry()? {
                    units.insert(name, keys);
                }
                Ok(Units::Named(units))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Units, A::Error> {
                let mut count = 0;
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Units::Listed(count))
            }
        }

        deserializer.deserialize_any(OfFile)
    }
}

/// The cases of the file that `label` names, in order of their names.
///
/// # Errors
/// If it is no file of vectors of a form that is known here, or a vector in it cannot be.
pub fn load(label: &Arc<str>, bytes: &[u8]) -> Result<Vec<Case>, VectorError> {
    let units = match json::parse(label, bytes)? {
        Units::Named(units) => units,
        Units::Listed(count) => return Ok(foreign(label, (0..count).map(|index| index.to_string()))),
    };
    let Some((name, first)) = units.first_key_value() else { return Ok(Vec::new()) };
    let names = || units.keys().cloned();
    match first {
        keys if keys.has(&["post", "transaction"]) => state::cases(label, bytes),
        keys if keys.has(&["genesisBlockHeader", "blocks"]) => chain::cases(label, bytes),
        keys if keys.has(&["txbytes", "result"]) => transaction::cases(label, bytes),
        keys if keys.has(&["parentDifficulty"]) => plain::difficulty_cases(label, bytes),
        keys if keys.has(&["in", "out"]) => plain::rlp_cases(label, bytes),
        keys if keys.has(&["in", "root"]) => plain::trie_cases(label, bytes),
        keys if keys.has(&["seq", "term", "out"]) => plain::path_cases(label, bytes),
        keys if keys.has(&["in", "tests"]) || keys.has(&["cipher", "payload"]) => Ok(foreign(label, names())),
        keys if keys.has(&["_info"]) && keys.0.len() == 2 => plain::difficulty_networks(label, bytes),
        _ if units.contains_key("genesis_rlp_hex") => Ok(foreign(label, ["genesis".to_owned()])),
        _ => Err(VectorError::Form { file: label.to_string(), name: name.clone() }),
    }
}

/// Cases of a form that is none of Braid's business.
fn foreign(label: &Arc<str>, names: impl IntoIterator<Item = String>) -> Vec<Case> {
    let case = |name| Case { file: label.clone(), name, kind: CaseKind::Plain(Box::new(PlainCase::Foreign)) };
    names.into_iter().map(case).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_vector_is_an_error_that_says_where() {
        let file: Arc<str> = "some/file.json".into();
        for (text, expected) in [
            ("", "some/file.json"),
            ("{", "some/file.json"),
            ("7", "vectors by name"),
            ("{\"a\": 7}", "no known form"),
            ("{\"a\": {\"x\": 1}}", "no known form"),
            ("{\"a\": {\"in\": [], \"out\": \"0xzz\"}}", "a.out"),
            ("{\"a\": {\"post\": {}, \"transaction\": 7}}", "a.transaction"),
            ("{} {}", "trailing"),
        ] {
            let error = load(&file, text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert_eq!(load(&file, b"{}").unwrap().len(), 0);
        assert_eq!(load(&file, b"[1, {}]").unwrap().len(), 2);
    }
}
