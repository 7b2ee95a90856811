//! Which form a file of vectors has, and its cases.

use crate::{Case, VectorError, json, state};
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

/// The cases of the file that `label` names, in order of their names.
///
/// # Errors
/// If it is no file of vectors of a form that is known here, or a vector in it cannot be.
pub fn load(label: &Arc<str>, bytes: &[u8]) -> Result<Vec<Case>, VectorError> {
    let units: BTreeMap<String, Keys> = json::parse(label, bytes)?;
    let Some((name, first)) = units.first_key_value() else { return Ok(Vec::new()) };
    match first {
        keys if keys.has(&["post", "transaction"]) => state::cases(label, bytes),
        _ => Err(VectorError::Form { file: label.to_string(), name: name.clone() }),
    }
}
