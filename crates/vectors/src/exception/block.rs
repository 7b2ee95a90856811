//! Exceptions of blocks: those of EEST (`BlockException.X`, the same in ethereum/tests of 2024) and of the
//! fillers before. Exceptions of transactions are those of [`super::tx`].

use super::{Reason, UnknownException, tx};

/// Whether `reason` is of one of `classes`, which are separated by `|`.
///
/// # Errors
/// If one of the classes is not known.
pub fn allows(classes: &str, reason: Reason<'_>) -> Result<bool, UnknownException> {
    let mut found = false;
    for class in classes.split('|').map(str::trim) {
        found |= match kinds(class) {
            Some(kinds) => matches!(reason, Reason::Kind(kind) if kinds.contains(&kind)),
            None => tx::allows(class, reason)?,
        };
    }
    Ok(found)
}

/// Kinds of [`braid_rules::RuleError`] and of what engines report that are of a class.
fn kinds(class: &str) -> Option<&'static [&'static str]> {
    match class.strip_prefix("BlockException.") {
        Some(name) => of_header(name).or_else(|| of_outcome(name)).or_else(|| of_encoding(name)),
        None => of_fillers(class),
    }
}

fn of_header(name: &str) -> Option<&'static [&'static str]> {
    Some(match name {
        "UNKNOWN_PARENT" | "UNKNOWN_PARENT_ZERO" => &["unknown_parent"],
        "INVALID_BLOCK_NUMBER" => &["number"],
        "INVALID_BLOCK_TIMESTAMP_OLDER_THAN_PARENT" => &["timestamp"],
        "INVALID_GASLIMIT" => &["gas_limit_change", "gas_limit_too_small", "gas_limit_too_big"],
        "GASLIMIT_TOO_BIG" => &["gas_limit_too_big"],
        "EXTRA_DATA_TOO_BIG" => &["extra_data_too_long"],
        "EXTRA_DATA_INVALID_DAO" => &["dao_extra_data"],
        "INVALID_BASEFEE_PER_GAS" => &["base_fee"],
        "INCORRECT_EXCESS_BLOB_GAS" => &["excess_blob_gas"],
        "INCORRECT_BLOB_GAS_USED" => &["blob_gas_used"],
        "BLOB_GAS_USED_ABOVE_LIMIT" => &["blob_gas_over_limit"],
        "IMPORT_IMPOSSIBLE_UNCLES_OVER_PARIS" => &["ommers_after_merge"],
        "IMPORT_IMPOSSIBLE_DIFFICULTY_OVER_PARIS" => &["difficulty_after_merge"],
        "UNCLE_PARENT_INCORRECT" => &["ommer_parent"],
        _ => return None,
    })
}

fn of_outcome(name: &str) -> Option<&'static [&'static str]> {
    Some(match name {
        "GAS_USED_OVERFLOW" => &["block_gas_limit", "gas_used_over_limit"],
        "INVALID_GAS_USED" => &["gas_used"],
        "INVALID_STATE_ROOT" => &["state_root"],
        "INVALID_RECEIPTS_ROOT" => &["receipts_root"],
        "INVALID_LOG_BLOOM" => &["logs_bloom"],
        "INVALID_REQUESTS" => &["requests_hash"],
        "INVALID_TRANSACTIONS_ROOT" => &["transactions_root"],
        "INVALID_WITHDRAWALS_ROOT" => &["withdrawals_root"],
        "INVALID_DEPOSIT_EVENT_LAYOUT" => &["deposit_layout"],
        "SYSTEM_CONTRACT_EMPTY" => &["system_contract_empty"],
        "SYSTEM_CONTRACT_CALL_FAILED" => &["system_contract_failed"],
        "INVALID_BLOCK_ACCESS_LIST" | "INVALID_BAL_HASH" | "BLOCK_ACCESS_LIST_GAS_LIMIT_EXCEEDED" => {
            &["block_access_list"]
        }
        // Of the Engine API, where a payload comes with its hash; a block of its own has the hash it has.
        "INVALID_BLOCK_HASH" | "INVALID_VERSIONED_HASHES" => &[],
        _ => return None,
    })
}

fn of_encoding(name: &str) -> Option<&'static [&'static str]> {
    Some(match name {
        "RLP_STRUCTURES_ENCODING"
        | "RLP_INVALID_ADDRESS"
        | "RLP_INVALID_FIELD_OVERFLOW_64"
        | "RLP_WITHDRAWALS_NOT_READ" => &["rlp"],
        "INCORRECT_BLOCK_FORMAT" => &["rlp"],
        _ => return None,
    })
}

/// Names that fillers of ethereum/legacytests used.
fn of_fillers(name: &str) -> Option<&'static [&'static str]> {
    let new = match name {
        "ExtraDataIncorrectDAO" => "EXTRA_DATA_INVALID_DAO",
        "InvalidGasLimit2" => "INVALID_GASLIMIT",
        "InvalidGasUsed" => "INVALID_GAS_USED",
        "UnknownParent" => "UNKNOWN_PARENT",
        "UncleParentIsNotAncestor" => "UNCLE_PARENT_INCORRECT",
        _ => return None,
    };
    of_header(new).or_else(|| of_outcome(new))
}
