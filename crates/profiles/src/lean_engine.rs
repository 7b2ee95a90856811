//! [`lean`](crate::lean) behind the interface of engines.

use crate::{
    Engine, ExecError, Executed, Fidelity, Profile,
    lean::{self, LeanBlock, LeanError},
    ours::in_range,
};
use alloy_primitives::{Address, KECCAK256_EMPTY};
use braid_core::{Control, Stats, StoreError};
use braid_evm::{AccountDiff, AccountInfoDiff, BlockInput, EvmError, ExecutedBlock, Status, TxResult};
use braid_work::PreState;
use revm::{
    context_interface::result::{EVMError, ExecutionResult, Output},
    database::{AccountState, DbAccount},
    primitives::hardfork::SpecId,
};
use std::collections::BTreeSet;

/// Plain serial revm. Ignores cancellation and deadlines: the yardstick checks nothing it need not.
#[derive(Debug, Default)]
pub struct LeanEngine;

/// The registry entry.
pub(crate) const PROFILE: Profile = Profile {
    name: "lean",
    article: "",
    real: "revm (bluealloy/revm), which reth executes Ethereum with.",
    about: "Plain serial revm, and nothing else of Braid but the decoded inputs: the yardstick of every \
            measurement and the oracle of every test.",
    limits: "It ignores cancellation and deadlines.",
    fidelity: Fidelity::Faithful,
    scheduler: "serial",
    parallel: false,
    build: |threads| {
        in_range(threads)?;
        Ok(Box::new(LeanEngine))
    },
};

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
    fn into_block(self: Box<Self>, pre: &PreState) -> ExecutedBlock {
        match self.try_into_block(pre) {
            Ok(block) => block,
            Err(error) => unreachable!("state in memory cannot fail: {error}"),
        }
    }

    fn try_into_block(self: Box<Self>, pre: &PreState) -> Result<ExecutedBlock, StoreError> {
        let LeanExecuted { block, clears_empty } = *self;
        let destroyed: BTreeSet<Address> = block.destroyed.into_iter().collect();
        let mut done = ExecutedBlock {
            stats: Stats { executions: block.results.len() as u64, ..Stats::default() },
            results: block.results.into_iter().map(tx_result).collect(),
            requests: block.requests,
            gas_used: block.gas_used,
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
        done.minimize(pre)?;
        Ok(done)
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
            let error = match what {
                "gas" => EvmError::BlockGasLimit { gas_limit: needs, left },
                _ => EvmError::BlobGasLimit { blob_gas: needs, left },
            };
            invalid(tx, error)
        }
        LeanError::SystemCall(name, reason) => ExecError::SystemCall { name, reason },
        LeanError::Store(error) => ExecError::Store { tx: None, error: error.0 },
        LeanError::Tx(tx, error) => match *error {
            EVMError::Database(error) => ExecError::Store { tx: Some(tx), error: error.0 },
            EVMError::Transaction(error) => invalid(tx, EvmError::Transaction(error)),
            EVMError::Header(error) => invalid(tx, EvmError::Header(error)),
            other => invalid(tx, EvmError::Other(other.to_string())),
        },
    }
}

/// In the words that all engines use.
fn invalid(tx: usize, error: EvmError) -> ExecError {
    ExecError::Invalid { tx, kind: error.kind(), reason: error.to_string() }
}
