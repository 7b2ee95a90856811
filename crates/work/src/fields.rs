//! Transactions field by field, as JSON lists them: from fields of which any may be there, to a transaction of one
//! type.

use alloy_consensus::{EthereumTypedTransaction, TxEip1559, TxEip2930, TxEip4844, TxEip7702, TxLegacy};
use alloy_eips::{
    eip2930::{AccessList, AccessListItem},
    eip7702::SignedAuthorization,
};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use serde::Deserialize;

/// A transaction without its signature.
pub type UnsignedTx = EthereumTypedTransaction<TxEip4844>;

/// What a transaction may have. Numbers are in the units of the protocol (gas, wei, wei per gas).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxFields {
    /// EIP-2718 type; 0 is a legacy transaction.
    pub ty: u64,
    /// Of a legacy transaction: that which EIP-155 protects it for, if it does.
    pub chain_id: Option<u64>,
    /// Sender's count of transactions.
    pub nonce: u64,
    /// Most gas.
    pub gas_limit: u64,
    /// Types 0 and 1.
    pub gas_price: Option<u128>,
    /// From type 2 on (EIP-1559).
    pub max_fee_per_gas: Option<u128>,
    /// From type 2 on (EIP-1559).
    pub max_priority_fee_per_gas: Option<u128>,
    /// Type 3 (EIP-4844).
    pub max_fee_per_blob_gas: Option<u128>,
    /// Whom it calls; `None` creates a contract.
    pub to: Option<Address>,
    /// Wei sent.
    pub value: U256,
    /// Call data or init code.
    pub input: Bytes,
    /// From type 1 on (EIP-2930).
    pub access_list: AccessList,
    /// Type 3 (EIP-4844).
    pub blob_versioned_hashes: Option<Vec<B256>>,
    /// Type 4 (EIP-7702).
    pub authorization_list: Option<Vec<SignedAuthorization>>,
}

/// Why fields are no transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// The type needs a field that is not there; its name in JSON.
    #[error("no {0}")]
    Missing(&'static str),
    /// The type must call somebody.
    #[error("its type cannot create a contract")]
    Creates,
    /// There is no such type here.
    #[error("unknown type {0}")]
    UnknownType(u64),
}

impl TxFields {
    /// The transaction of its type. What only other types have is not looked at.
    ///
    /// # Errors
    /// [`FieldError`], if there is no such type, or it lacks a field.
    pub fn unsigned(self) -> Result<UnsignedTx, FieldError> {
        let TxFields { ty, nonce, gas_limit, value, input, access_list, .. } = self;
        let need = |field: Option<u128>, name| field.ok_or(FieldError::Missing(name));
        let gas_price = || need(self.gas_price, "gasPrice");
        let max_fee = || need(self.max_fee_per_gas, "maxFeePerGas");
        let max_tip = || need(self.max_priority_fee_per_gas, "maxPriorityFeePerGas");
        let chain_id = || self.chain_id.ok_or(FieldError::Missing("chainId"));
        let target = || self.to.ok_or(FieldError::Creates);
        let to = self.to.map_or(TxKind::Create, TxKind::Call);
        Ok(match ty {
            0 => {
                let (chain_id, gas_price) = (self.chain_id, gas_price()?);
                TxLegacy { chain_id, nonce, gas_price, gas_limit, to, value, input }.into()
            }
            1 => {
                let (chain_id, gas_price) = (chain_id()?, gas_price()?);
                TxEip2930 { chain_id, nonce, gas_price, gas_limit, to, value, access_list, input }.into()
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
            .into(),
            3 => TxEip4844 {
                chain_id: chain_id()?,
                nonce,
                gas_limit,
                max_fee_per_gas: max_fee()?,
                max_priority_fee_per_gas: max_tip()?,
                to: target()?,
                value,
                access_list,
                max_fee_per_blob_gas: need(self.max_fee_per_blob_gas, "maxFeePerBlobGas")?,
                blob_versioned_hashes: self
                    .blob_versioned_hashes
                    .ok_or(FieldError::Missing("blobVersionedHashes"))?,
                input,
            }
            .into(),
            4 => TxEip7702 {
                chain_id: chain_id()?,
                nonce,
                gas_limit,
                max_fee_per_gas: max_fee()?,
                max_priority_fee_per_gas: max_tip()?,
                to: target()?,
                value,
                access_list,
                authorization_list: self
                    .authorization_list
                    .ok_or(FieldError::Missing("authorizationList"))?,
                input,
            }
            .into(),
            other => return Err(FieldError::UnknownType(other)),
        })
    }
}

/// Parity of the curve point (whether y is odd) and chain id in the `v` of a legacy transaction: 27 or 28, or 35
/// and more with a chain id (EIP-155). `None`: no such `v`.
pub fn legacy_v(v: U256) -> Option<(bool, Option<u64>)> {
    let v = u128::try_from(v).ok()?;
    match v {
        27 | 28 => Some((v == 28, None)),
        35.. => Some(((v - 35) % 2 == 1, Some(u64::try_from((v - 35) / 2).ok()?))),
        _ => None,
    }
}

/// One item of an access list in JSON. Keys that are left out, or null, are none.
#[derive(Clone, Debug, Deserialize)]
pub struct JsonAccess {
    /// The account.
    pub address: Address,
    /// Its slots.
    #[serde(default, alias = "storageKeys")]
    pub storage_keys: Option<Vec<B256>>,
}

impl From<JsonAccess> for AccessListItem {
    fn from(json: JsonAccess) -> Self {
        AccessListItem { address: json.address, storage_keys: json.storage_keys.unwrap_or_default() }
    }
}

/// The access list that JSON lists, which may have left it out.
pub fn access_list(json: Option<&[JsonAccess]>) -> AccessList {
    AccessList(json.unwrap_or_default().iter().cloned().map(AccessListItem::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(ty: u64) -> TxFields {
        TxFields {
            ty,
            chain_id: Some(1),
            nonce: 2,
            gas_limit: 3,
            gas_price: Some(4),
            max_fee_per_gas: Some(5),
            max_priority_fee_per_gas: Some(6),
            max_fee_per_blob_gas: Some(7),
            to: Some(Address::with_last_byte(8)),
            value: U256::from(9),
            input: Bytes::from_static(&[10]),
            access_list: AccessList::default(),
            blob_versioned_hashes: Some(Vec::new()),
            authorization_list: Some(Vec::new()),
        }
    }

    /// Takes each field away in turn.
    #[test]
    fn each_type_needs_its_own_fields_and_no_other() {
        type Taken = (&'static str, fn(&mut TxFields));
        let taken: [Taken; 8] = [
            ("chainId", |tx| tx.chain_id = None),
            ("gasPrice", |tx| tx.gas_price = None),
            ("maxFeePerGas", |tx| tx.max_fee_per_gas = None),
            ("maxPriorityFeePerGas", |tx| tx.max_priority_fee_per_gas = None),
            ("maxFeePerBlobGas", |tx| tx.max_fee_per_blob_gas = None),
            ("blobVersionedHashes", |tx| tx.blob_versioned_hashes = None),
            ("authorizationList", |tx| tx.authorization_list = None),
            ("to", |tx| tx.to = None),
        ];
        let needed = ["gasPrice", "chainId gasPrice", "chainId maxFeePerGas maxPriorityFeePerGas"];
        let blobs = format!("{} maxFeePerBlobGas blobVersionedHashes to", needed[2]);
        let delegates = format!("{} authorizationList to", needed[2]);
        for (ty, needed) in (0..).zip([needed[0], needed[1], needed[2], &blobs, &delegates]) {
            assert_eq!(u64::from(u8::from(all(ty).unsigned().unwrap().tx_type())), ty);
            for (name, take) in taken {
                let mut tx = all(ty);
                take(&mut tx);
                let error = if name == "to" { FieldError::Creates } else { FieldError::Missing(name) };
                let needs = needed.split(' ').any(|needed| needed == name);
                assert_eq!(tx.unsigned().err(), needs.then_some(error), "{name} of type {ty}");
            }
        }
        assert_eq!(all(5).unsigned(), Err(FieldError::UnknownType(5)));
    }

    #[test]
    fn v_of_legacy_transactions() {
        let v = |v: u128| legacy_v(U256::from(v));
        assert_eq!((v(27), v(28)), (Some((false, None)), Some((true, None))));
        assert_eq!((v(35), v(38)), (Some((false, Some(0))), Some((true, Some(1)))));
        let most = 35 + 2 * u128::from(u64::MAX);
        assert_eq!((v(most + 1), v(most + 2)), (Some((true, Some(u64::MAX))), None));
        assert_eq!([0, 1, 26, 29, 34].map(v), [None; 5]);
        assert_eq!(legacy_v(U256::MAX), None);
    }

    #[test]
    fn access_lists_in_both_spellings() {
        let list = |json: &str| serde_json::from_str::<Vec<JsonAccess>>(json).unwrap();
        let address = Address::with_last_byte(1);
        for (keys, count) in [
            (String::new(), 0),
            (",\"storageKeys\":null".to_owned(), 0),
            (format!(",\"storageKeys\":[\"{}\"]", B256::ZERO), 1),
            (format!(",\"storage_keys\":[\"{}\"]", B256::ZERO), 1),
        ] {
            let read = access_list(Some(&list(&format!("[{{\"address\":\"{address}\"{keys}}}]"))));
            assert_eq!((read.len(), read[0].storage_keys.len()), (1, count), "{keys}");
        }
        assert!(access_list(None).is_empty());
    }
}
