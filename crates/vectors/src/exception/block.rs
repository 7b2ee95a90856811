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

/// Encodings, and headers of another fork than the one in force.
fn of_encoding(name: &str) -> Option<&'static [&'static str]> {
    Some(match name {
        "RLP_STRUCTURES_ENCODING" | "RLP_INVALID_ADDRESS" | "RLP_INVALID_FIELD_OVERFLOW_64" => &["rlp"],
        "RLP_WITHDRAWALS_NOT_READ" => &["rlp", "withdrawals_missing"],
        "INCORRECT_BLOCK_FORMAT" => &[
            "rlp",
            "withdrawals_root_missing",
            "withdrawals_root_too_early",
            "blob_gas_used_missing",
            "blob_gas_used_too_early",
            "excess_blob_gas_missing",
            "excess_blob_gas_too_early",
            "parent_beacon_root_missing",
            "parent_beacon_root_too_early",
            "requests_hash_missing",
            "requests_hash_too_early",
            "block_access_list_hash_missing",
            "block_access_list_hash_too_early",
            "slot_number_missing",
            "slot_number_too_early",
        ],
        "IMPORT_IMPOSSIBLE_LEGACY" | "IMPORT_IMPOSSIBLE_LEGACY_WRONG_PARENT" => &["base_fee_missing"],
        "IMPORT_IMPOSSIBLE_LONDON_WRONG_PARENT" => &["base_fee_too_early"],
        "IMPORT_IMPOSSIBLE_PARIS_WRONG_POS" => &["difficulty"],
        "IMPORT_IMPOSSIBLE_PARIS_WRONG_POW" => &["difficulty_after_merge"],
        "IMPORT_IMPOSSIBLE_SHANGHAI" => &["withdrawals_root_too_early"],
        "IMPORT_IMPOSSIBLE_PARIS_OVER_SHANGHAI" => &["withdrawals_root_missing"],
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
        "LegacyBlockImportImpossible" => "IMPORT_IMPOSSIBLE_LEGACY",
        "LegacyBlockImportImpossible2" => "IMPORT_IMPOSSIBLE_LEGACY_WRONG_PARENT",
        "1559BlockImportImpossible_HeaderIsLegacy" => "IMPORT_IMPOSSIBLE_LONDON_WRONG_PARENT",
        "3675PoSBlockRejected" => "IMPORT_IMPOSSIBLE_PARIS_WRONG_POS",
        "3675PoWBlockRejected" => "IMPORT_IMPOSSIBLE_PARIS_WRONG_POW",
        "ShanghaiBlockImportImpossible" => "IMPORT_IMPOSSIBLE_SHANGHAI",
        "ParisBlockImportImpossible" => "IMPORT_IMPOSSIBLE_PARIS_OVER_SHANGHAI",
        _ => return None,
    };
    of_header(new).or_else(|| of_outcome(new)).or_else(|| of_encoding(new))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_satisfies_its_class_only() {
        let allows = |classes, kind| allows(classes, Reason::Kind(kind)).unwrap();
        assert!(allows("BlockException.INVALID_REQUESTS", "requests_hash"));
        assert!(!allows("BlockException.INVALID_REQUESTS", "receipts_root"));
        assert!(allows(
            "BlockException.INVALID_WITHDRAWALS_ROOT|BlockException.INVALID_BLOCK_HASH",
            "withdrawals_root"
        ));
        assert!(!allows("BlockException.INVALID_BLOCK_HASH", "withdrawals_root"));
        assert!(allows(
            "BlockException.GAS_USED_OVERFLOW|TransactionException.NONCE_MISMATCH_TOO_LOW",
            "nonce_too_low"
        ));
        assert!(!allows("TransactionException.NONCE_MISMATCH_TOO_LOW", "block_gas_limit"));
        assert!(allows("InvalidGasLimit2", "gas_limit_change"));
        assert!(allows("3675PoWBlockRejected", "difficulty_after_merge"));
    }

    #[test]
    fn unknown_classes_are_errors_even_beside_known_ones() {
        for classes in ["", "BlockException.NO", "BlockException.INVALID_REQUESTS|no", "InvalidGasLimit3"] {
            assert!(allows(classes, Reason::Kind("requests_hash")).is_err(), "{classes}");
        }
    }
}
