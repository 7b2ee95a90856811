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
    context_interface::result::{EVMError, ExecutionResult, InvalidTransaction, Output},
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
    fn into_block(self: Box<Self>, _pre: &PreState) -> ExecutedBlock {
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
        LeanError::NotAdmitted(tx, what, ..) => {
            let kind = if what == "gas" { "block_gas_limit" } else { "block_blob_gas_limit" };
            ExecError::Invalid { tx, kind, reason: error.to_string() }
        }
        LeanError::SystemCall(name, reason) => ExecError::SystemCall { name, reason },
        LeanError::Store(error) => ExecError::Store { tx: None, error: error.0 },
        LeanError::Tx(tx, error) => match *error {
            EVMError::Database(error) => ExecError::Store { tx: Some(tx), error: error.0 },
            EVMError::Transaction(error) => {
                ExecError::Invalid { tx, kind: invalid_kind(&error), reason: error.to_string() }
            }
            other => ExecError::Invalid { tx, kind: "machine", reason: other.to_string() },
        },
    }
}

/// A stable word for each way in which a transaction can be invalid.
pub(crate) fn invalid_kind(error: &InvalidTransaction) -> &'static str {
    match error {
        InvalidTransaction::PriorityFeeGreaterThanMaxFee => "tip_above_fee_cap",
        InvalidTransaction::GasPriceLessThanBasefee => "fee_cap_below_base_fee",
        InvalidTransaction::CallerGasLimitMoreThanBlock => "block_gas_limit",
        InvalidTransaction::CallGasCostMoreThanGasLimit { .. }
        | InvalidTransaction::GasFloorMoreThanGasLimit { .. } => "intrinsic_gas",
        InvalidTransaction::RejectCallerWithCode => "sender_has_code",
        InvalidTransaction::LackOfFundForMaxFee { .. } | InvalidTransaction::OverflowPaymentInTransaction => {
            "insufficient_funds"
        }
        InvalidTransaction::NonceOverflowInTransaction => "nonce_overflow",
        InvalidTransaction::NonceTooHigh { .. } => "nonce_too_high",
        InvalidTransaction::NonceTooLow { .. } => "nonce_too_low",
        InvalidTransaction::CreateInitCodeSizeLimit => "init_code_size",
        InvalidTransaction::InvalidChainId | InvalidTransaction::MissingChainId => "chain_id",
        InvalidTransaction::TxGasLimitGreaterThanCap { .. } => "tx_gas_limit",
        InvalidTransaction::BlobGasPriceGreaterThanMax { .. } => "blob_fee_cap",
        InvalidTransaction::EmptyBlobs
        | InvalidTransaction::BlobCreateTransaction
        | InvalidTransaction::TooManyBlobs { .. }
        | InvalidTransaction::BlobVersionNotSupported => "blobs",
        InvalidTransaction::AuthorizationListInvalidFields | InvalidTransaction::EmptyAuthorizationList => {
            "authorization_list"
        }
        InvalidTransaction::AccessListNotSupported
        | InvalidTransaction::MaxFeePerBlobGasNotSupported
        | InvalidTransaction::BlobVersionedHashesNotSupported
        | InvalidTransaction::AuthorizationListNotSupported
        | InvalidTransaction::Eip2930NotSupported
        | InvalidTransaction::Eip1559NotSupported
        | InvalidTransaction::Eip4844NotSupported
        | InvalidTransaction::Eip7702NotSupported
        | InvalidTransaction::Eip7873NotSupported
        | InvalidTransaction::Eip7873MissingTarget => "tx_type",
        InvalidTransaction::Str(_) => "other",
    }
}
