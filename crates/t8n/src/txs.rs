//! Transactions: signed, to be signed, or as RLP.

use crate::{T8nError, number::Num};
use alloy_consensus::{SignableTransaction, crypto::secp256k1::sign_message};
use alloy_eips::{
    eip2718::Decodable2718,
    eip7702::{Authorization, SignedAuthorization},
};
use alloy_primitives::{Address, B256, Bytes, Signature, U256, hex};
use alloy_rlp::Header;
use braid_work::{
    SignedTx,
    fields::{FieldError, JsonAccess, TxFields, UnsignedTx, access_list, legacy_v},
};
use serde::{Deserialize, Deserializer};

/// Most transactions of one input.
const MAX_TXS: usize = 1_000_000;

/// One transaction of the input.
#[derive(Clone, Debug)]
pub enum InputTx {
    /// A signed one, or one with a signature that nobody made.
    Signed(Box<SignedTx>),
    /// One to sign.
    Unsigned(Box<Unsigned>),
    /// One that cannot be in a block, and why.
    Rejected(String),
}

/// A transaction with the key that is to sign it.
#[derive(Clone, Debug)]
pub struct Unsigned {
    tx: UnsignedTx,
    key: B256,
    /// Whether a legacy one is signed for a chain (EIP-155).
    protected: bool,
}

/// The transactions of the input, in order.
#[derive(Clone, Debug, Default)]
pub struct TxsInput(pub Vec<InputTx>);

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonTx {
    #[serde(rename = "type")]
    ty: Option<Num<u64>>,
    chain_id: Option<Num<u64>>,
    nonce: Num<u64>,
    #[serde(default, deserialize_with = "target")]
    to: Option<Address>,
    gas: Option<Num<u64>>,
    gas_limit: Option<Num<u64>>,
    gas_price: Option<Num<u128>>,
    max_fee_per_gas: Option<Num<u128>>,
    max_priority_fee_per_gas: Option<Num<u128>>,
    max_fee_per_blob_gas: Option<Num<u128>>,
    value: Option<Num<U256>>,
    input: Option<Bytes>,
    data: Option<Bytes>,
    access_list: Option<Vec<JsonAccess>>,
    blob_versioned_hashes: Option<Vec<B256>>,
    authorization_list: Option<Vec<JsonAuthorization>>,
    v: Option<Num<U256>>,
    r: Option<Num<U256>>,
    s: Option<Num<U256>>,
    y_parity: Option<Num<U256>>,
    secret_key: Option<B256>,
    protected: Option<bool>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonAuthorization {
    chain_id: Num<U256>,
    address: Address,
    nonce: Num<u64>,
    v: Option<Num<u8>>,
    y_parity: Option<Num<u8>>,
    r: Num<U256>,
    s: Num<U256>,
}

/// Empty text is no target, as null is.
fn target<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Address>, D::Error> {
    match Option::<String>::deserialize(deserializer)? {
        Some(text) if !text.is_empty() => text.parse().map(Some).map_err(serde::de::Error::custom),
        _ => Ok(None),
    }
}

/// Parses a JSON list of transactions; `what` names the input in errors.
///
/// # Errors
/// [`T8nError::Json`], if it is no such list, or one lacks a field of its type.
pub fn parse_txs(what: &str, json: &[u8]) -> Result<TxsInput, T8nError> {
    let listed: Vec<JsonTx> = crate::inputs::parse::<Option<_>>(what, json)?.unwrap_or_default();
    limit(what, listed.len())?;
    let one = |(index, tx): (usize, JsonTx)| {
        let unsigned = [&tx.v, &tx.r, &tx.s, &tx.y_parity]
            .into_iter()
            .all(|part| part.is_none_or(|part| part.0.is_zero()));
        let bad = |error: FieldError| T8nError::json(what, format!("[{index}]"), error.to_string());
        match tx.secret_key {
            Some(key) if unsigned => {
                let protected = tx.protected.unwrap_or(true);
                let tx = tx.unsigned(None).map_err(bad)?;
                Ok(InputTx::Unsigned(Box::new(Unsigned { tx, key, protected })))
            }
            _ => tx.signed().map_err(bad),
        }
    };
    listed.into_iter().enumerate().map(one).collect::<Result<_, _>>().map(TxsInput)
}

/// Parses the RLP of a block's transactions, in hexadecimal in a JSON string (the form in which the body
/// is written); `what` names the input in errors. What is no transaction is one that is rejected.
///
/// # Errors
/// [`T8nError::Json`], if it is no such string; [`T8nError::Rlp`], if that is no list.
pub fn parse_body(what: &str, json: &[u8]) -> Result<TxsInput, T8nError> {
    parse_body_text(what, &crate::inputs::parse::<String>(what, json)?)
}

pub(crate) fn parse_body_text(what: &str, text: &str) -> Result<TxsInput, T8nError> {
    let rlp = hex::decode(text.trim()).map_err(|error| T8nError::json(what, ".", error.to_string()))?;
    let no_list = |reason: String| T8nError::Rlp { what: what.into(), reason };
    let mut items =
        Header::decode_bytes(&mut rlp.as_slice(), true).map_err(|error| no_list(error.to_string()))?;
    let mut txs = Vec::new();
    while !items.is_empty() {
        limit(what, txs.len() + 1)?;
        let (item, rest) = match split(items) {
            Ok(parts) => parts,
            Err(error) => {
                // Where this item ends is unknown, so it is the last.
                txs.push(InputTx::Rejected(format!("rlp: {error}")));
                break;
            }
        };
        items = rest;
        txs.push(match SignedTx::network_decode(&mut &*item) {
            Ok(tx) => InputTx::Signed(Box::new(tx)),
            Err(error) => InputTx::Rejected(format!("rlp: {error}")),
        });
    }
    Ok(TxsInput(txs))
}

/// The first item of a list's payload, with its header, and what follows.
fn split(items: &[u8]) -> Result<(&[u8], &[u8]), alloy_rlp::Error> {
    let mut after = items;
    let header = Header::decode(&mut after)?;
    let start = items.len() - after.len();
    let end = start.checked_add(header.payload_length).filter(|end| *end <= items.len());
    Ok(items.split_at(end.ok_or(alloy_rlp::Error::InputTooShort)?))
}

fn limit(what: &str, txs: usize) -> Result<(), T8nError> {
    if txs <= MAX_TXS {
        return Ok(());
    }
    let (size, limit) = (txs as u64, MAX_TXS as u64);
    Err(T8nError::TooLarge { what: format!("{what}: transactions"), size, limit })
}

impl Unsigned {
    /// Signs it: with EIP-155 for `chain_id`, if it is legacy and not said to be unprotected.
    ///
    /// # Errors
    /// If the key is none.
    pub fn sign(&self, chain_id: u64) -> Result<SignedTx, String> {
        let mut tx = self.tx.clone();
        if let UnsignedTx::Legacy(legacy) = &mut tx {
            legacy.chain_id = self.protected.then_some(chain_id);
        }
        let signature =
            sign_message(self.key, tx.signature_hash()).map_err(|_| "secretKey is not a key".to_owned())?;
        Ok(tx.into_envelope(signature))
    }
}

impl JsonTx {
    /// The transaction without its signature; `chain_id` is that of a legacy one.
    fn unsigned(&self, chain_id: Option<u64>) -> Result<UnsignedTx, FieldError> {
        let ty = self.ty.map_or(0, |ty| ty.0);
        let input = self.input.as_ref().or(self.data.as_ref());
        let fields = TxFields {
            ty,
            chain_id: if ty == 0 { chain_id } else { self.chain_id.map(|id| id.0) },
            nonce: self.nonce.0,
            gas_limit: self.gas.or(self.gas_limit).ok_or(FieldError::Missing("gas"))?.0,
            gas_price: self.gas_price.map(|price| price.0),
            max_fee_per_gas: self.max_fee_per_gas.map(|fee| fee.0),
            max_priority_fee_per_gas: self.max_priority_fee_per_gas.map(|fee| fee.0),
            max_fee_per_blob_gas: self.max_fee_per_blob_gas.map(|fee| fee.0),
            to: self.to,
            value: self.value.ok_or(FieldError::Missing("value"))?.0,
            input: input.ok_or(FieldError::Missing("input"))?.clone(),
            access_list: access_list(self.access_list.as_deref()),
            blob_versioned_hashes: self.blob_versioned_hashes.clone(),
            authorization_list: self.authorization_list()?,
        };
        fields.unsigned()
    }

    fn authorization_list(&self) -> Result<Option<Vec<SignedAuthorization>>, FieldError> {
        let one = |json: &JsonAuthorization| {
            let inner =
                Authorization { chain_id: json.chain_id.0, address: json.address, nonce: json.nonce.0 };
            let parity =
                json.y_parity.or(json.v).ok_or(FieldError::Missing("yParity of an authorization"))?.0;
            Ok(SignedAuthorization::new_unchecked(inner, parity, json.r.0, json.s.0))
        };
        self.authorization_list.as_ref().map(|list| list.iter().map(one).collect()).transpose()
    }

    /// The transaction with the signature that it lists; a signature that cannot be is a rejection.
    fn signed(&self) -> Result<InputTx, FieldError> {
        let word = |part: Option<Num<U256>>| part.unwrap_or_default().0;
        let invalid = || InputTx::Rejected(crate::reject::INVALID_SIGNATURE.to_owned());
        let known = match self.ty.is_none_or(|ty| ty.0 == 0) {
            true => legacy_v(word(self.v)),
            false => match self.y_parity.map_or_else(|| word(self.v), |parity| parity.0) {
                parity if parity <= U256::ONE => Some((parity == U256::ONE, None)),
                _ => None,
            },
        };
        let Some((parity, chain_id)) = known else {
            self.unsigned(None)?;
            return Ok(invalid());
        };
        let signature = Signature::new(word(self.r), word(self.s), parity);
        let signed = self.unsigned(chain_id)?.into_envelope(signature);
        Ok(InputTx::Signed(Box::new(signed)))
    }
}
