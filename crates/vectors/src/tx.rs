//! Transactions: from their encoding, or from the fields of a state test.

use crate::{
    Field, Flaw, TxFault,
    json::{BadNumber, number},
};
use alloy_consensus::transaction::{Recovered, SignerRecoverable};
use alloy_eips::eip7702::{Authorization, SignedAuthorization};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use braid_rules::{Fork, SignedTx, decode, input::authorization};
use braid_work::fields::{JsonAccess, access_list};
use revm::context::TxEnv;
use serde::Deserialize;

/// The transaction that `raw` encodes, with its sender, by the rules of `fork` on signatures. That the fork
/// has such transactions at all is not checked.
///
/// # Errors
/// What is wrong with which field.
pub fn decode_tx(raw: &[u8], fork: Fork) -> Result<Recovered<SignedTx>, TxFault> {
    let signed = decode::tx(raw).map_err(|_| TxFault::of(raw))?;
    let sender = sender(&signed, fork)?;
    Ok(Recovered::new_unchecked(signed, sender))
}

/// The sender, by the rules of `fork` (EIP-2: low `s` from Homestead on).
pub(crate) fn sender(signed: &SignedTx, fork: Fork) -> Result<Address, TxFault> {
    let sender =
        if fork >= Fork::Homestead { signed.recover_signer() } else { signed.recover_signer_unchecked() };
    sender.map_err(|_| TxFault::new(Field::S, Flaw::Signature))
}

/// The transactions of a state test: a choice of data (with its access list), gas limits, values.
/// Numbers stay texts until they are wanted, because some are such that no transaction can hold them.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JsonTransaction {
    data: Vec<String>,
    gas_limit: Vec<String>,
    value: Vec<String>,
    nonce: String,
    gas_price: Option<String>,
    max_fee_per_gas: Option<String>,
    max_priority_fee_per_gas: Option<String>,
    max_fee_per_blob_gas: Option<String>,
    /// Empty: creates a contract.
    #[serde(default)]
    to: String,
    pub(crate) sender: Option<Address>,
    access_lists: Option<Vec<Option<Vec<JsonAccess>>>>,
    blob_versioned_hashes: Option<Vec<B256>>,
    authorization_list: Option<Vec<JsonAuthorization>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonAuthorization {
    chain_id: String,
    address: Address,
    nonce: String,
    /// The same as `v`; vectors have one or both.
    y_parity: Option<String>,
    v: Option<String>,
    r: String,
    s: String,
}

/// One choice among the transactions of a state test.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Indexes {
    pub(crate) data: usize,
    pub(crate) gas: usize,
    pub(crate) value: usize,
}

/// Why fields are no transaction.
pub(crate) enum NoTx {
    /// No transaction can hold them.
    Fault(TxFault),
    /// They are not what fields of a state test look like.
    Invalid(String),
}

impl From<TxFault> for NoTx {
    fn from(fault: TxFault) -> Self {
        NoTx::Fault(fault)
    }
}

impl JsonTransaction {
    /// The chosen transaction. It has the chain's id only where its type must have one.
    pub(crate) fn env(&self, at: Indexes, chain_id: u64) -> Result<TxEnv, NoTx> {
        let access = self.access_lists.as_ref().and_then(|lists| lists.get(at.data)?.as_deref());
        let tx_type = match self {
            Self { authorization_list: Some(_), .. } => 4,
            Self { blob_versioned_hashes: Some(_), .. } | Self { max_fee_per_blob_gas: Some(_), .. } => 3,
            Self { max_fee_per_gas: Some(_), .. } => 2,
            _ if access.is_some() => 1,
            _ => 0,
        };
        let fee = |field, text: &Option<String>| fit::<u128>(field, text.as_deref().unwrap_or("0x"));
        let max_fee = if tx_type > 1 { &self.max_fee_per_gas } else { &self.gas_price };
        let priority = (tx_type > 1).then(|| fee(Field::PriorityFee, &self.max_priority_fee_per_gas));
        let sender = self.sender.ok_or_else(|| NoTx::Invalid("no sender".to_owned()))?;
        Ok(TxEnv {
            tx_type,
            caller: sender,
            gas_limit: fit(Field::GasLimit, chosen("gasLimit", &self.gas_limit, at.gas)?)?,
            gas_price: fee(Field::MaxFee, max_fee)?,
            kind: match self.to.as_str() {
                "" | "0x" => TxKind::Create,
                to => TxKind::Call(to.parse().map_err(|_| NoTx::Invalid(format!("to `{to:.80}`")))?),
            },
            value: fit(Field::Value, chosen("value", &self.value, at.value)?)?,
            data: bytes(chosen("data", &self.data, at.data)?)?,
            nonce: fit(Field::Nonce, &self.nonce)?,
            chain_id: (tx_type > 0).then_some(chain_id),
            access_list: access_list(access),
            gas_priority_fee: priority.transpose()?,
            blob_hashes: self.blob_versioned_hashes.clone().unwrap_or_default(),
            max_fee_per_blob_gas: fee(Field::BlobFee, &self.max_fee_per_blob_gas)?,
            authorization_list: self.authorizations()?.iter().map(authorization).collect(),
        })
    }

    fn authorizations(&self) -> Result<Vec<SignedAuthorization>, NoTx> {
        let one = |json: &JsonAuthorization| {
            let part = |text: &str| fit::<U256>(Field::Authorizations, text);
            let inner = Authorization {
                chain_id: part(&json.chain_id)?,
                address: json.address,
                nonce: fit(Field::Authorizations, &json.nonce)?,
            };
            let parity = json.y_parity.as_deref().or(json.v.as_deref()).unwrap_or("0x");
            let parity = fit(Field::Authorizations, parity)?;
            Ok(SignedAuthorization::new_unchecked(inner, parity, part(&json.r)?, part(&json.s)?))
        };
        self.authorization_list.iter().flatten().map(one).collect()
    }
}

fn chosen<'a>(name: &str, choices: &'a [String], index: usize) -> Result<&'a str, NoTx> {
    let choice = choices.get(index).map(String::as_str);
    choice.ok_or_else(|| NoTx::Invalid(format!("{name} has no choice {index}, only {}", choices.len())))
}

fn bytes(text: &str) -> Result<Bytes, NoTx> {
    text.parse().map_err(|error| NoTx::Invalid(format!("data: {error}")))
}

/// A number that its field can hold.
fn fit<T: TryFrom<U256>>(field: Field, text: &str) -> Result<T, NoTx> {
    let wide = number(text).map_err(|error| match error {
        BadNumber::Text(_) => NoTx::Invalid(format!("{field:?}: {error}")),
        BadNumber::TooLarge(_) => NoTx::Fault(TxFault::new(field, Flaw::Overflow)),
    })?;
    let fee = matches!(field, Field::GasPrice | Field::MaxFee | Field::PriorityFee | Field::BlobFee);
    let flaw = if fee { Flaw::Unpayable } else { Flaw::Overflow };
    T::try_from(wide).map_err(|_| NoTx::Fault(TxFault::new(field, flaw)))
}
