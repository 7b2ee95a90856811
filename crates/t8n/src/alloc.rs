//! The state before, in the form of a genesis file.

use crate::{
    T8nError,
    number::{Num, Word},
};
use alloy_primitives::{Address, Bytes, U256};
use braid_work::{Alloc, AllocAccount};
use serde::Deserialize;
use std::collections::BTreeMap;

/// A state as go-ethereum reads it: numbers in decimal too, words of storage shorter than 32 bytes.
#[derive(Deserialize)]
pub(crate) struct JsonAlloc(BTreeMap<Address, JsonAccount>);

#[derive(Deserialize)]
struct JsonAccount {
    balance: Option<Num<U256>>,
    nonce: Option<Num<u64>>,
    code: Option<Bytes>,
    storage: Option<BTreeMap<Word, Word>>,
}

impl From<JsonAlloc> for Alloc {
    fn from(json: JsonAlloc) -> Alloc {
        let account = |(address, json): (Address, JsonAccount)| {
            let storage = json.storage.unwrap_or_default();
            let account = AllocAccount {
                balance: json.balance.unwrap_or_default().0,
                nonce: json.nonce.unwrap_or_default().0,
                code: json.code.unwrap_or_default(),
                storage: storage.into_iter().map(|(slot, value)| (slot.0, value.0)).collect(),
            };
            (address, account)
        };
        Alloc(json.0.into_iter().map(account).collect())
    }
}

/// Parses the state before; `what` names the input in errors.
///
/// # Errors
/// [`T8nError::Json`].
pub fn parse_alloc(what: &str, json: &[u8]) -> Result<Alloc, T8nError> {
    crate::inputs::parse::<JsonAlloc>(what, json).map(Into::into)
}
