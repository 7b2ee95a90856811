//! Which form a file of vectors has, and its cases.

use crate::{Case, CaseKind, PlainCase, VectorError, chain, json, plain, state, transaction};
use serde::{Deserialize, Deserializer, de::IgnoredAny};
use std::{collections::BTreeMap, sync::Arc};

/// The names of the fields of a vector; none if it is no object.
#[derive(Debug, Default)]
struct Keys(BTreeMap<String, IgnoredAny>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Fields(BTreeMap<String, IgnoredAny>),
            Other(IgnoredAny),
        }
        Ok(match Form::deserialize(deserializer)? {
            Form::Fields(fields) => Keys(fields),
            Form::Other(_) => Keys::default(),
        })
    }
}

impl Keys {
    fn has(&self, names: &[&str]) -> bool {
        names.iter().all(|name| self.0.contains_key(*name))
    }
}

/// A file of vectors: by name, or (some of BasicTests) without names.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Units {
    Named(BTreeMap<String, Keys>),
    Listed(Vec<IgnoredAny>),
}

/// The cases of the file that `label` names, in order of their names.
///
/// # Errors
/// If it is no file of vectors of a form that is known here, or a vector in it cannot be.
pub fn load(label: &Arc<str>, bytes: &[u8]) -> Result<Vec<Case>, VectorError> {
    let units = match json::parse(label, bytes)? {
        Units::Named(units) => units,
        Units::Listed(units) => return Ok(foreign(label, (0..units.len()).map(|index| index.to_string()))),
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
