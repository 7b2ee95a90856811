//! Transactions: from JSON to signed envelopes, to senders, to what the EVM takes.

use super::json::{JsonAccess, JsonAuthorization, JsonEnvTx, JsonTx};
use crate::WorkError;
use alloy_consensus::{
    EthereumTxEnvelope, SignableTransaction, TxEip1559, TxEip2930, TxEip4844, TxEip7702, TxLegacy,
    transaction::SignerRecoverable,
};
use alloy_eips::{
    eip2930::{AccessList, AccessListItem},
    eip7702::{Authorization, SignedAuthorization},
};
use alloy_primitives::{Address, Signature, TxKind};
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
    let bad = |reason: &str| WorkError::BadTx { file: file.into(), tx: index, reason: reason.into() };
    let need = |field: Option<u128>, name: &str| field.ok_or_else(|| bad(&format!("no {name}")));
    let ty = tx.ty.map_or(0, |ty| ty.0);
    if ty > u64::from(TransactionType::Eip7702 as u8) {
        return Err(WorkError::UnknownTxType { file: file.into(), tx: index, ty });
    }
    let gas_price = || need(tx.gas_price.map(|price| price.0), "gasPrice");
    let max_fee = || need(tx.max_fee_per_gas.map(|fee| fee.0), "maxFeePerGas");
    let max_tip = || need(tx.max_priority_fee_per_gas.map(|fee| fee.0), "maxPriorityFeePerGas");
    let chain_id = || tx.chain_id.map(|id| id.0).ok_or_else(|| bad("no chainId"));
    let target = || tx.to.ok_or_else(|| bad("its type cannot create a contract"));
    let (nonce, gas_limit, value, input) = (tx.nonce.0, tx.gas.0, tx.value.0, tx.input.clone());
    let to = tx.to.map_or(TxKind::Create, TxKind::Call);
    let access_list = access_list(tx.access_list.as_deref().unwrap_or_default());
    let parity = parity(tx, ty == 0).ok_or_else(|| bad("no or an impossible v or yParity"))?;
    let signature = Signature::new(tx.r.0, tx.s.0, parity);
    Ok(match ty {
        0 => legacy(tx, gas_price()?).into_signed(signature).into(),
        1 => {
            let (chain_id, gas_price) = (chain_id()?, gas_price()?);
            TxEip2930 { chain_id, nonce, gas_price, gas_limit, to, value, access_list, input }
                .into_signed(signature)
                .into()
        }
        2 => TxEip1559 {
            chain_id: chain_id()?,
            nonce,
            gas_limit,
            max_fee_per_gas: max_fee()?,
            max_priority_fee_per_gas: max_tip()?,
            to,
            value,
            access_list,
            input,
        }
        .into_signed(signature)
        .into(),
        3 => EthereumTxEnvelope::Eip4844(
            TxEip4844 {
                chain_id: chain_id()?,
                nonce,
                gas_limit,
                max_fee_per_gas: max_fee()?,
                max_priority_fee_per_gas: max_tip()?,
                to: target()?,
                value,
                access_list,
                blob_versioned_hashes: tx.blob_versioned_hashes.clone().unwrap_or_default(),
                max_fee_per_blob_gas: need(tx.max_fee_per_blob_gas.map(|fee| fee.0), "maxFeePerBlobGas")?,
                input,
            }
            .into_signed(signature),
        ),
        _ => TxEip7702 {
            chain_id: chain_id()?,
            nonce,
            gas_limit,
            max_fee_per_gas: max_fee()?,
            max_priority_fee_per_gas: max_tip()?,
            to: target()?,
            value,
            access_list,
            authorization_list: tx.authorization_list.iter().flatten().map(authorization).collect(),
            input,
        }
        .into_signed(signature)
        .into(),
    })
}

fn legacy(tx: &JsonTx, gas_price: u128) -> TxLegacy {
    TxLegacy {
        // EIP-155: v is 35 + 2 * chain id + parity; 27 or 28 without a chain id.
        chain_id: tx.v.and_then(|v| v.0.checked_sub(35)).map(|v| v / 2),
        nonce: tx.nonce.0,
        gas_price,
        gas_limit: tx.gas.0,
        to: tx.to.map_or(TxKind::Create, TxKind::Call),
        value: tx.value.0,
        input: tx.input.clone(),
    }
}

/// Parity of the curve point, from `yParity` or `v`; `None` if neither says it.
fn parity(tx: &JsonTx, legacy: bool) -> Option<bool> {
    let v = match (tx.y_parity, tx.v) {
        // EIP-155: 35 + 2 * chain id + parity; before, 27 + parity.
        (_, Some(v)) if legacy && v.0 >= 35 => (v.0 - 35) % 2,
        (_, Some(v)) if legacy => v.0.checked_sub(27)?,
        (Some(parity), _) => parity.0,
        (None, Some(v)) => v.0,
        (None, None) => return None,
    };
    (v <= 1).then_some(v == 1)
}

fn access_list(list: &[JsonAccess]) -> AccessList {
    let item = |access: &JsonAccess| AccessListItem {
        address: access.address,
        storage_keys: access.storage_keys.clone(),
    };
    AccessList(list.iter().map(item).collect())
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
        access_list: access_list(&tx.access_list),
        gas_priority_fee: tx.gas_priority_fee.map(|fee| fee.0),
        blob_hashes: tx.blob_hashes,
        max_fee_per_blob_gas: tx.max_fee_per_blob_gas.map_or(0, |fee| fee.0),
        authorization_list: recovered.collect(),
    })
}
