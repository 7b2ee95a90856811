//! Exceptions of transactions: those of EEST (`TransactionException.X`, the same in ethereum/tests of
//! 2024) and of the fillers before (`TR_X` and others without a system).

use super::{Reason, UnknownException};
use crate::{
    Field::{self, *},
    Flaw::{self, *},
    TxFault,
};

/// What one name allows: kinds of errors of the machine, and flaws of the encoding.
type Allowed = (&'static [&'static str], &'static [(Field, Flaw)]);

/// Whether `reason` is of one of `classes`, which are separated by `|`.
///
/// # Errors
/// If one of the classes is not known.
pub fn allows(classes: &str, reason: Reason<'_>) -> Result<bool, UnknownException> {
    let mut found = false;
    for class in classes.split('|').map(str::trim) {
        let (kinds, flaws) =
            allowed(class).ok_or_else(|| UnknownException(class.chars().take(80).collect()))?;
        found |= match reason {
            Reason::Kind(kind) => kinds.contains(&kind),
            Reason::Fault(TxFault { field, flaw }) => flaws.contains(&(field, flaw)),
        };
    }
    Ok(found)
}

/// Whether `class` is one of these.
pub fn known(class: &str) -> bool {
    allowed(class).is_some()
}

/// A type that a fork before its introduction does not have.
const PRE_FORK: [&str; 4] =
    ["eip2930_not_supported", "eip1559_not_supported", "eip4844_not_supported", "eip7702_not_supported"];

/// More blobs than the block may hold, or than a transaction may: which of them is noticed first is free.
const TOO_MANY_BLOBS: &[&str] = &["too_many_blobs", "block_blob_gas_limit"];

const INTRINSIC: &[&str] = &["intrinsic_gas_more_than_gas_limit", "gas_floor_more_than_gas_limit"];

/// No account holds 2^128 wei.
const UNPAYABLE: &[(Field, Flaw)] = &[(GasPrice, Unpayable), (MaxFee, Unpayable)];

const INSUFFICIENT: &[&str] = &["insufficient_funds", "payment_overflow"];

fn allowed(class: &str) -> Option<Allowed> {
    match class.strip_prefix("TransactionException.") {
        Some(name) => of_state(name).or_else(|| of_encoding(name)),
        None => of_fillers(class),
    }
}

/// Rules that look at a decoded transaction, its block, its state.
fn of_state(name: &str) -> Option<Allowed> {
    Some(match name {
        "INSUFFICIENT_ACCOUNT_FUNDS" => (INSUFFICIENT, UNPAYABLE),
        "GASLIMIT_PRICE_PRODUCT_OVERFLOW" => (INSUFFICIENT, UNPAYABLE),
        "INTRINSIC_GAS_TOO_LOW" => (INTRINSIC, &[]),
        "INTRINSIC_GAS_BELOW_FLOOR_GAS_COST" => (&["gas_floor_more_than_gas_limit"], &[]),
        "SENDER_NOT_EOA" => (&["sender_has_code"], &[]),
        "INSUFFICIENT_MAX_FEE_PER_GAS" => (&["gas_price_less_than_basefee"], &[]),
        "INSUFFICIENT_MAX_FEE_PER_BLOB_GAS" => (&["blob_gas_price_greater_than_max"], &[]),
        "PRIORITY_GREATER_THAN_MAX_FEE_PER_GAS" => (&["priority_fee_greater_than_max_fee"], &[]),
        "PRIORITY_GREATER_THAN_MAX_FEE_PER_GAS_2" => {
            (&["priority_fee_greater_than_max_fee"], &[(PriorityFee, Unpayable)])
        }
        "INITCODE_SIZE_EXCEEDED" => (&["init_code_size_limit"], &[]),
        "NONCE_IS_MAX" | "NONCE_TOO_BIG" => (&["nonce_overflow"], &[]),
        "NONCE_MISMATCH_TOO_LOW" => (&["nonce_too_low"], &[]),
        "NONCE_MISMATCH_TOO_HIGH" => (&["nonce_too_high"], &[]),
        "GAS_ALLOWANCE_EXCEEDED" => (&["caller_gas_limit_more_than_block", "block_gas_limit"], &[]),
        "GAS_LIMIT_EXCEEDS_MAXIMUM" => (&["gas_limit_greater_than_cap"], &[]),
        "INVALID_CHAINID" => {
            (&["invalid_chain_id", "missing_chain_id"], &[(ChainId, OtherChain), (V, Signature)])
        }
        "TYPE_NOT_SUPPORTED" => (&PRE_FORK, &[(Envelope, Type)]),
        "TYPE_1_TX_PRE_FORK" => (&["eip2930_not_supported"], &[]),
        "TYPE_2_TX_PRE_FORK" => (&["eip1559_not_supported"], &[]),
        "TYPE_3_TX_PRE_FORK" => (&["eip4844_not_supported"], &[]),
        "TYPE_4_TX_PRE_FORK" => (&["eip7702_not_supported"], &[]),
        "TYPE_3_TX_ZERO_BLOBS" => (&["empty_blobs"], &[]),
        "TYPE_3_TX_BLOB_COUNT_EXCEEDED" | "TYPE_3_TX_MAX_BLOB_GAS_ALLOWANCE_EXCEEDED" => {
            (TOO_MANY_BLOBS, &[])
        }
        "TYPE_3_TX_INVALID_BLOB_VERSIONED_HASH" => (&["blob_version_not_supported"], &[]),
        "TYPE_3_TX_CONTRACT_CREATION" => (&["blob_create_transaction"], &[(To, Creates)]),
        "TYPE_3_TX_WITH_FULL_BLOBS" => (&[], &[(Envelope, WithBlobs)]),
        "TYPE_4_TX_CONTRACT_CREATION" => (&["authorization_list_invalid_fields"], &[(To, Creates)]),
        "TYPE_4_EMPTY_AUTHORIZATION_LIST" => (&["empty_authorization_list"], &[]),
        _ => return None,
    })
}

/// Rules of the encoding.
fn of_encoding(name: &str) -> Option<Allowed> {
    let flaws: &'static [(Field, Flaw)] = match name {
        "INVALID_SIGNATURE_VRS" => {
            &[(Envelope, Empty), (V, Signature), (S, Signature), (V, Overflow), (R, Overflow), (S, Overflow)]
        }
        "EC_RECOVERY_FAIL" => &[(S, Signature)],
        "ADDRESS_TOO_LONG" => &[(To, TooLong)],
        "ADDRESS_TOO_SHORT" => &[(To, TooShort)],
        "NONCE_OVERFLOW" => &[(Nonce, Overflow)],
        // A number may be too long only for its zeros.
        "GASLIMIT_OVERFLOW" => &[(GasLimit, Overflow), (GasLimit, LeadingZeros)],
        "GASPRICE_OVERFLOW" => &[(GasPrice, Overflow), (MaxFee, Overflow)],
        "PRIORITY_OVERFLOW" => &[(PriorityFee, Overflow)],
        "VALUE_OVERFLOW" | "RLP_INVALID_VALUE" => &[(Value, Overflow)],
        "RLP_ERROR_SIZE" => &[(Envelope, Size), (Envelope, Eof)],
        "RLP_ERROR_EOF" => &[(Envelope, Eof), (Envelope, Size)],
        "RLP_ERROR_SIZE_LEADING_ZEROS" => &[(Envelope, SizeEncoding)],
        "RLP_INVALID_HEADER" => &[(Envelope, String)],
        "RLP_TOO_FEW_ELEMENTS" => &[(Envelope, TooFew)],
        "RLP_TOO_MANY_ELEMENTS" => &[(Envelope, TooMany)],
        "RLP_INVALID_ACCESS_LIST_ADDRESS_TOO_LONG" => &[(AccessListAddress, TooLong)],
        "RLP_INVALID_ACCESS_LIST_ADDRESS_TOO_SHORT" => &[(AccessListAddress, TooShort)],
        "RLP_INVALID_ACCESS_LIST_STORAGE_TOO_LONG" => &[(AccessListSlot, TooLong)],
        "RLP_INVALID_ACCESS_LIST_STORAGE_TOO_SHORT" => &[(AccessListSlot, TooShort)],
        "RLP_INVALID_NONCE" => &[(Nonce, List)],
        "RLP_INVALID_GASLIMIT" => &[(GasLimit, List)],
        "RLP_INVALID_TO" => &[(To, List)],
        "RLP_INVALID_DATA" => &[(Data, List)],
        "RLP_INVALID_SIGNATURE_R" => &[(R, List)],
        "RLP_INVALID_SIGNATURE_S" => &[(S, List)],
        "RLP_LEADING_ZEROS_DATA_SIZE" => &[(Data, SizeEncoding)],
        "RLP_LEADING_ZEROS_NONCE" => &[(Nonce, LeadingZeros)],
        "RLP_LEADING_ZEROS_NONCE_SIZE" => &[(Nonce, SizeEncoding)],
        "RLP_LEADING_ZEROS_GASPRICE" => &[(GasPrice, LeadingZeros)],
        "RLP_LEADING_ZEROS_BASEFEE" => &[(MaxFee, LeadingZeros)],
        "RLP_LEADING_ZEROS_PRIORITY_FEE" => &[(PriorityFee, LeadingZeros)],
        "RLP_LEADING_ZEROS_GASLIMIT" => &[(GasLimit, LeadingZeros)],
        "RLP_LEADING_ZEROS_VALUE" => &[(Value, LeadingZeros)],
        "RLP_LEADING_ZEROS_V" => &[(V, LeadingZeros)],
        "RLP_LEADING_ZEROS_R" => &[(R, LeadingZeros)],
        "RLP_LEADING_ZEROS_S" => &[(S, LeadingZeros)],
        _ => return None,
    };
    Some((&[], flaws))
}

/// Names that fillers of ethereum/legacytests used.
fn of_fillers(name: &str) -> Option<Allowed> {
    let new = match name {
        "TR_TypeNotSupported" => "TYPE_NOT_SUPPORTED",
        "TR_NoFunds" | "TR_NoFundsX" => "INSUFFICIENT_ACCOUNT_FUNDS",
        "SenderNotEOA" => "SENDER_NOT_EOA",
        "IntrinsicGas" | "TR_IntrinsicGas" => "INTRINSIC_GAS_TOO_LOW",
        "TR_FeeCapLessThanBlocks" => "INSUFFICIENT_MAX_FEE_PER_GAS",
        "TR_NonceHasMaxValue" => "NONCE_IS_MAX",
        "TR_GasLimitReached" => "GAS_ALLOWANCE_EXCEEDED",
        "TR_TipGtFeeCap" => "PRIORITY_GREATER_THAN_MAX_FEE_PER_GAS",
        "TR_InitCodeLimitExceeded" => "INITCODE_SIZE_EXCEEDED",
        "TR_BLOBCREATE" => "TYPE_3_TX_CONTRACT_CREATION",
        "TR_EMPTYBLOB" => "TYPE_3_TX_ZERO_BLOBS",
        "TR_BLOBLIST_OVERSIZE" => "TYPE_3_TX_BLOB_COUNT_EXCEEDED",
        "TR_RLP_WRONGVALUE" => "VALUE_OVERFLOW",
        "TR_NoFundsOrGas" => {
            const EITHER: &[&str] = &[
                "insufficient_funds",
                "payment_overflow",
                "intrinsic_gas_more_than_gas_limit",
                "gas_floor_more_than_gas_limit",
            ];
            return Some((EITHER, UNPAYABLE));
        }
        _ => return None,
    };
    of_state(new).or_else(|| of_encoding(new))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_satisfies_its_class_only() {
        let funds = Reason::Kind("insufficient_funds");
        assert_eq!(allows("TransactionException.INSUFFICIENT_ACCOUNT_FUNDS", funds), Ok(true));
        assert_eq!(allows("TR_NoFundsOrGas", funds), Ok(true));
        assert_eq!(allows("IntrinsicGas", funds), Ok(false));
        let either =
            "TransactionException.INTRINSIC_GAS_TOO_LOW|TransactionException.INSUFFICIENT_ACCOUNT_FUNDS";
        assert_eq!(allows(either, funds), Ok(true));
        assert_eq!(allows(either, Reason::Kind("nonce_too_low")), Ok(false));
        let value = Reason::Fault(TxFault::new(Value, Overflow));
        assert_eq!(allows("TR_RLP_WRONGVALUE", value), Ok(true));
        assert_eq!(allows("TransactionException.RLP_INVALID_NONCE", value), Ok(false));
    }

    #[test]
    fn unknown_classes_are_errors_even_beside_known_ones() {
        let funds = Reason::Kind("insufficient_funds");
        for class in
            ["", "NoFunds", "TransactionException.NO", "TransactionException.INSUFFICIENT_ACCOUNT_FUNDS|x"]
        {
            assert!(allows(class, funds).is_err(), "{class}");
        }
    }
}
