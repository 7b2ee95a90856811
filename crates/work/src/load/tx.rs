//! Transactions: from JSON to signed envelopes, to senders, to what the EVM takes.

use super::json::{JsonAuthorization, JsonEnvTx, JsonTx};
use crate::{
    WorkError,
    fields::{FieldError, TxFields, access_list, legacy_v},
};
use alloy_consensus::transaction::SignerRecoverable;
use alloy_eips::eip7702::{Authorization, SignedAuthorization};
use alloy_primitives::{Address, Signature, TxKind, U256};
pub use braid_rules::SignedTx;
use braid_rules::input;
use revm::context::{TransactionType, TxEnv};
use std::path::{Path, PathBuf};

/// The signed transactions of a block.
#[derive(Clone, Debug)]
pub struct RawTxs {
    /// In block order.
    pub txs: Vec<SignedTx>,
    /// Whether signatures must have a low `s` (EIP-2, from Homestead on).
    pub low_s: bool,
    /// Where they come from, for errors.
    pub file: PathBuf,
}

/// Senders of `raw`, recovered from the signatures by up to `threads` threads.
///
/// # Errors
/// [`WorkError::BadSignature`] for the lowest transaction that has no sender.
pub fn recover_senders(raw: &RawTxs, threads: usize) -> Result<Vec<Address>, WorkError> {
    let one = |tx: &SignedTx| if raw.low_s { tx.recover_signer() } else { tx.recover_signer_unchecked() };
    let chunk = raw.txs.len().div_ceil(threads.max(1)).max(1);
    let results = std::thread::scope(|scope| {
        let recover = |txs: &[SignedTx]| txs.iter().map(one).collect::<Vec<_>>();
        let mut chunks = raw.txs.chunks(chunk);
        let first = chunks.next().unwrap_or_default();
        let others: Vec<_> = chunks.map(|txs| scope.spawn(move || recover(txs))).collect();
        let mut results = recover(first);
        for other in others {
            match other.join() {
                Ok(more) => results.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        results
    });
    let sender = |(tx, result): (usize, Result<Address, _>)| {
        result.map_err(|error: alloy_consensus::crypto::RecoveryError| WorkError::BadSignature {
            file: raw.file.clone(),
            tx,
            reason: error.to_string(),
        })
    };
    results.into_iter().enumerate().map(sender).collect()
}

/// The envelope of the transaction at `index`.
pub(super) fn signed(file: &Path, index: usize, tx: &JsonTx) -> Result<SignedTx, WorkError> {
    let bad = |reason: String| WorkError::BadTx { file: file.into(), tx: index, reason };
    let fields = fields(tx);
    let ty = fields.ty;
    let unsigned = fields.unsigned().map_err(|error| match error {
        FieldError::UnknownType(ty) => WorkError::UnknownTxType { file: file.into(), tx: index, ty },
        other => bad(other.to_string()),
    })?;
    let parity = parity(tx, ty == 0).ok_or_else(|| bad("no or an impossible v or yParity".to_owned()))?;
    Ok(unsigned.into_envelope(Signature::new(tx.r.0, tx.s.0, parity)))
}

fn fields(tx: &JsonTx) -> TxFields {
    let ty = tx.ty.map_or(0, |ty| ty.0);
    // That of a legacy transaction is what its signature says.
    let signed_for = || tx.v.and_then(|v| legacy_v(U256::from(v.0))?.1);
    TxFields {
        ty,
        chain_id: if ty == 0 { signed_for() } else { tx.chain_id.map(|id| id.0) },
        nonce: tx.nonce.0,
        gas_limit: tx.gas.0,
        gas_price: tx.gas_price.map(|price| price.0),
        max_fee_per_gas: tx.max_fee_per_gas.map(|fee| fee.0),
        max_priority_fee_per_gas: tx.max_priority_fee_per_gas.map(|fee| fee.0),
        max_fee_per_blob_gas: tx.max_fee_per_blob_gas.map(|fee| fee.0),
        to: tx.to,
        value: tx.value.0,
        input: tx.input.clone(),
        access_list: access_list(tx.access_list.as_deref()),
        blob_versioned_hashes: tx.blob_versioned_hashes.clone(),
        authorization_list: tx
            .authorization_list
            .as_ref()
            .map(|list| list.iter().map(authorization).collect()),
    }
}

/// Parity of the curve point, from `yParity` or `v`; `None` if neither says it.
fn parity(tx: &JsonTx, legacy: bool) -> Option<bool> {
    let v = match (tx.y_parity, tx.v) {
        (_, Some(v)) if legacy => return legacy_v(U256::from(v.0)).map(|(parity, _)| parity),
        (Some(parity), _) => parity.0,
        (None, Some(v)) => v.0,
        (None, None) => return None,
    };
    (v <= 1).then_some(v == 1)
}

fn authorization(json: &JsonAuthorization) -> SignedAuthorization {
    let inner = Authorization { chain_id: json.chain_id.0, address: json.address, nonce: json.nonce.0 };
    SignedAuthorization::new_unchecked(inner, json.y_parity.0, json.r.0, json.s.0)
}

/// What the EVM takes, from a transaction of an environment.
pub(super) fn env_of_bare(file: &Path, index: usize, tx: JsonEnvTx) -> Result<TxEnv, WorkError> {
    let ty = tx.tx_type.0;
    let recovered = tx.authorization_list.iter().map(|one| input::authorization(&authorization(one)));
    let tx_type = u8::try_from(ty).ok().filter(|ty| *ty <= TransactionType::Eip7702 as u8);
    Ok(TxEnv {
        tx_type: tx_type.ok_or_else(|| WorkError::UnknownTxType { file: file.into(), tx: index, ty })?,
        caller: tx.caller,
        gas_limit: tx.gas_limit.0,
        gas_price: tx.gas_price.0,
        kind: tx.to.map_or(TxKind::Create, TxKind::Call),
        value: tx.value.0,
        data: tx.data,
        nonce: tx.nonce.0,
        chain_id: tx.chain_id.map(|id| id.0),
        access_list: access_list(Some(&tx.access_list)),
        gas_priority_fee: tx.gas_priority_fee.map(|fee| fee.0),
        blob_hashes: tx.blob_hashes,
        max_fee_per_blob_gas: tx.max_fee_per_blob_gas.map_or(0, |fee| fee.0),
        authorization_list: recovered.collect(),
    })
}
