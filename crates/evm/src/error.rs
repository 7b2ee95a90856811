//! Why a transaction cannot be in a block.

use crate::AccessListError;
use alloy_primitives::Address;
use revm::context::result::{InvalidHeader, InvalidTransaction};

/// Why a transaction is invalid, or a block cannot be run.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EvmError {
    /// The transaction breaks a rule of its own, or the state does not allow it.
    #[error("{0}")]
    Transaction(InvalidTransaction),
    /// The block environment lacks what its rules need.
    #[error("{0}")]
    Header(InvalidHeader),
    /// The gas limit of the transaction exceeds what the block has left.
    #[error("gas limit {gas_limit} exceeds the {left} left in the block")]
    BlockGasLimit {
        /// Gas limit of the transaction.
        gas_limit: u64,
        /// Gas left in the block.
        left: u64,
    },
    /// The blobs of the transaction exceed what the block has left.
    #[error("blob gas {blob_gas} exceeds the {left} left in the block")]
    BlobGasLimit {
        /// Blob gas of the transaction.
        blob_gas: u64,
        /// Blob gas left in the block.
        left: u64,
    },
    /// A system call that the protocol requires failed, or there is nothing to call.
    #[error("system call to {to} failed: {reason}")]
    SystemCall {
        /// The system contract.
        to: Address,
        /// What happened.
        reason: String,
    },
    /// An index does not name a transaction of the block.
    #[error("the block has no transaction {0}")]
    NoSuchTransaction(u32),
    /// The block is not what its access list says (EIP-7928).
    #[error("{0}")]
    AccessList(Box<AccessListError>),
    /// The EVM reported an error outside its own rules.
    #[error("{0}")]
    Other(String),
}

impl From<AccessListError> for EvmError {
    fn from(error: AccessListError) -> Self {
        EvmError::AccessList(Box::new(error))
    }
}

impl EvmError {
    /// A stable name for the kind of error, in snake case.
    pub fn kind(&self) -> &'static str {
        match self {
            EvmError::Transaction(invalid) => transaction_kind(invalid),
            EvmError::Header(InvalidHeader::PrevrandaoNotSet) => "prevrandao_not_set",
            EvmError::Header(InvalidHeader::ExcessBlobGasNotSet) => "excess_blob_gas_not_set",
            EvmError::BlockGasLimit { .. } => "block_gas_limit",
            EvmError::BlobGasLimit { .. } => "block_blob_gas_limit",
            EvmError::SystemCall { .. } => "system_call",
            EvmError::NoSuchTransaction(_) => "no_such_transaction",
            EvmError::AccessList(_) => "block_access_list",
            EvmError::Other(_) => "other",
        }
    }
}

fn transaction_kind(invalid: &InvalidTransaction) -> &'static str {
    use InvalidTransaction as I;
    match invalid {
        I::PriorityFeeGreaterThanMaxFee => "priority_fee_greater_than_max_fee",
        I::GasPriceLessThanBasefee => "gas_price_less_than_basefee",
        I::CallerGasLimitMoreThanBlock => "caller_gas_limit_more_than_block",
        I::CallGasCostMoreThanGasLimit { .. } => "intrinsic_gas_more_than_gas_limit",
        I::GasFloorMoreThanGasLimit { .. } => "gas_floor_more_than_gas_limit",
        I::RejectCallerWithCode => "sender_has_code",
        I::LackOfFundForMaxFee { .. } => "insufficient_funds",
        I::OverflowPaymentInTransaction => "payment_overflow",
        I::NonceOverflowInTransaction => "nonce_overflow",
        I::NonceTooHigh { .. } => "nonce_too_high",
        I::NonceTooLow { .. } => "nonce_too_low",
        I::CreateInitCodeSizeLimit => "init_code_size_limit",
        I::InvalidChainId => "invalid_chain_id",
        I::MissingChainId => "missing_chain_id",
        I::TxGasLimitGreaterThanCap { .. } => "gas_limit_greater_than_cap",
        I::AccessListNotSupported => "access_list_not_supported",
        I::MaxFeePerBlobGasNotSupported => "max_fee_per_blob_gas_not_supported",
        I::BlobVersionedHashesNotSupported => "blob_versioned_hashes_not_supported",
        I::BlobGasPriceGreaterThanMax { .. } => "blob_gas_price_greater_than_max",
        I::EmptyBlobs => "empty_blobs",
        I::BlobCreateTransaction => "blob_create_transaction",
        I::TooManyBlobs { .. } => "too_many_blobs",
        I::BlobVersionNotSupported => "blob_version_not_supported",
        I::AuthorizationListNotSupported => "authorization_list_not_supported",
        I::AuthorizationListInvalidFields => "authorization_list_invalid_fields",
        I::EmptyAuthorizationList => "empty_authorization_list",
        I::Eip2930NotSupported => "eip2930_not_supported",
        I::Eip1559NotSupported => "eip1559_not_supported",
        I::Eip4844NotSupported => "eip4844_not_supported",
        I::Eip7702NotSupported => "eip7702_not_supported",
        I::Eip7873NotSupported => "eip7873_not_supported",
        I::Eip7873MissingTarget => "eip7873_missing_target",
        I::Str(_) => "other_transaction_error",
    }
}
