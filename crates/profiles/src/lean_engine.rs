//! [`lean`](crate::lean) behind the interface of engines.

use crate::{
    Engine, ExecError, Executed,
    lean::{self, LeanBlock, LeanError},
};
use alloy_primitives::{Address, KECCAK256_EMPTY};
use braid_core::{Control, Stats};
use braid_evm::{AccountDiff, AccountInfoDiff, BlockInput, ExecutedBlock, Status, TxResult};
use braid_work::PreState;
use revm::{
    context_interface::result::{EVMError, ExecutionResult, InvalidHeader, InvalidTransaction, Output},
    database::{AccountState, DbAccount},
    primitives::hardfork::SpecId,
};
use std::collections::BTreeSet;

/// Plain serial revm. Ignores cancellation and deadlines: the yardstick checks nothing it need not.
#[derive(Debug, Default)]
pub struct LeanEngine;

struct LeanExecuted {
    block: LeanBlock,
    /// EIP-161: an account that is touched and empty is gone.
    clears_empty: bool,
}

impl Engine for LeanEngine {
    fn execute(
        &mut self,
        input: &BlockInput,
        pre: &PreState,
        _control: &Control<'_>,
    ) -> Result<Box<dyn Executed>, ExecError> {
        let block = lean::run(input, pre).map_err(exec_error)?;
        Ok(Box::new(LeanExecuted { block, clears_empty: input.spec.is_enabled_in(SpecId::SPURIOUS_DRAGON) }))
    }
}

impl Executed for LeanExecuted {
    fn into_block(self: Box<Self>) -> ExecutedBlock {
        let LeanExecuted { block, clears_empty } = *self;
        let destroyed: BTreeSet<Address> = block.destroyed.into_iter().collect();
        let mut done = ExecutedBlock {
            stats: Stats { executions: block.results.len() as u64, ..Stats::default() },
            results: block.results.into_iter().map(tx_result).collect(),
            requests: block.requests,
            ..ExecutedBlock::default()
        };
        for (address, account) in block.cache.accounts {
            let created = account.account_state == AccountState::StorageCleared;
            let was_destroyed = destroyed.contains(&address);
            let touched = created || account.account_state == AccountState::Touched;
            if !touched && !was_destroyed {
                continue;
            }
            let hash = account.info.code_hash;
            if let Some(code) = block.cache.contracts.get(&hash).filter(|_| hash != KECCAK256_EMPTY)
                && (created || code.is_eip7702())
            {
                done.codes.insert(hash, code.original_bytes());
            }
            let diff = account_diff(account, created || was_destroyed, touched, clears_empty);
            done.diff.insert(address, diff);
        }
        done
    }
}

fn account_diff(account: DbAccount, wiped: bool, touched: bool, clears_empty: bool) -> AccountDiff {
    let info = account.info;
    let there = touched && !(clears_empty && info.is_empty());
    let fields = AccountInfoDiff { balance: info.balance, nonce: info.nonce, code_hash: info.code_hash };
    AccountDiff { account: there.then_some(fields), wiped, storage: account.storage.into_iter().collect() }
}

fn tx_result(result: ExecutionResult) -> TxResult {
    let gas_used = result.tx_gas_used();
    let (status, logs, output, created) = match result {
        ExecutionResult::Success { logs, output: Output::Call(data), .. } => {
            (Status::Success, logs, data, None)
        }
        ExecutionResult::Success { logs, output: Output::Create(data, created), .. } => {
            (Status::Success, logs, data, created)
        }
        ExecutionResult::Revert { logs, output, .. } => (Status::Revert, logs, output, None),
        ExecutionResult::Halt { logs, .. } => (Status::Halt, logs, Default::default(), None),
    };
    TxResult { status, gas_used, logs, output, created }
}

fn exec_error(error: LeanError) -> ExecError {
    match error {
        LeanError::NotAdmitted(tx, what, needs, left) => {
            let (kind, limit) = match what {
                "gas" => ("block_gas_limit", "gas limit"),
                _ => ("blob_gas_limit", "blob gas"),
            };
            ExecError::Invalid {
                tx,
                kind,
                reason: format!("{limit} {needs} exceeds the {left} left in the block"),
            }
        }
        LeanError::SystemCall(name, reason) => ExecError::SystemCall { name, reason },
        LeanError::Store(error) => ExecError::Store { tx: None, error: error.0 },
        LeanError::Tx(tx, error) => match *error {
            EVMError::Database(error) => ExecError::Store { tx: Some(tx), error: error.0 },
            EVMError::Transaction(error) => invalid(tx, invalid_kind(&error), &error),
            EVMError::Header(InvalidHeader::PrevrandaoNotSet) => {
                invalid(tx, "prevrandao_not_set", &InvalidHeader::PrevrandaoNotSet)
            }
            EVMError::Header(error) => invalid(tx, "excess_blob_gas_not_set", &error),
            other => invalid(tx, "other", &other),
        },
    }
}

fn invalid(tx: usize, kind: &'static str, reason: &dyn std::fmt::Display) -> ExecError {
    ExecError::Invalid { tx, kind, reason: reason.to_string() }
}

/// A stable word for each way in which a transaction can be invalid.
fn invalid_kind(error: &InvalidTransaction) -> &'static str {
    use InvalidTransaction as I;
    match error {
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
