//! What is said of a rejected transaction.

/// Said of a signature from which no sender can be recovered.
pub(crate) const INVALID_SIGNATURE: &str = "invalid transaction v, r, s values";

/// Said of a transaction for which the block has no gas left.
pub(crate) const GAS_LIMIT_REACHED: &str = "gas limit reached";

/// Said of a transaction with blobs, if the environment does not say what blob gas costs.
pub(crate) const NO_BLOB_PRICE: &str = "blob tx used but field env.ExcessBlobGas missing";

/// A rejection in the words of go-ethereum, by which callers know its class (EEST maps them), with our
/// own words behind. `kind` is that of [`braid_evm::EvmError::kind`].
pub(crate) fn say(kind: &str, reason: &str) -> String {
    let class = match kind {
        "nonce_too_low" => "nonce too low",
        "nonce_too_high" => "nonce too high",
        "nonce_overflow" => "nonce has max value",
        "insufficient_funds" | "payment_overflow" => "insufficient funds for gas * price + value",
        "block_gas_limit" | "caller_gas_limit_more_than_block" => GAS_LIMIT_REACHED,
        "block_blob_gas_limit" => "blob gas would exceed maximum allowance",
        "intrinsic_gas_more_than_gas_limit" => "intrinsic gas too low",
        "gas_floor_more_than_gas_limit" => "insufficient gas for floor data gas cost",
        "gas_limit_greater_than_cap" => "transaction gas limit too high",
        "sender_has_code" => "sender not an eoa",
        "init_code_size_limit" => "max initcode size exceeded",
        "invalid_chain_id" => "invalid chain id for signer",
        "priority_fee_greater_than_max_fee" => "max priority fee per gas higher than max fee per gas",
        "gas_price_less_than_basefee" => "max fee per gas less than block base fee",
        "blob_gas_price_greater_than_max" => "max fee per blob gas less than block blob gas fee",
        "empty_blobs" => "blob transaction missing blob hashes",
        "too_many_blobs" => "blob transaction has too many blobs",
        "blob_create_transaction" => "blob transaction of type create",
        "blob_version_not_supported" => "blob has invalid hash version",
        "empty_authorization_list" => "EIP-7702 transaction with empty auth list",
        "eip2930_not_supported"
        | "eip1559_not_supported"
        | "eip4844_not_supported"
        | "eip7702_not_supported" => "transaction type not supported",
        _ => return reason.to_owned(),
    };
    format!("{class}: {reason}")
}
