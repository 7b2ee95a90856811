//! What a block does besides its transactions, as transactions of its own.

use crate::{
    EvmError,
    handler::{Course, Fault, Machine},
};
use alloy_primitives::{Address, Bytes, U256};
use revm::{
    context::TxEnv,
    context_interface::result::ExecutionResult,
    handler::{Handler, SystemCallTx},
};

/// One step of a system transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SystemStep {
    /// Calls a system contract as `SYSTEM_ADDRESS`, with 30 million gas, no fee and no nonce
    /// (EIP-4788, EIP-2935, EIP-7002, EIP-7251).
    Call {
        /// The contract.
        to: Address,
        /// Call data.
        data: Bytes,
        /// Whether it does not matter if there is no such contract or the call fails. If it does
        /// matter, the block is invalid then.
        optional: bool,
    },
    /// Credits an account: rewards, withdrawals. Nothing is read unless the amount is zero, which only
    /// touches the account (EIP-161).
    Credit {
        /// The account.
        to: Address,
        /// Wei.
        amount: U256,
    },
    /// Moves the whole balance of an account to another: the DAO fork.
    Drain {
        /// From here.
        from: Address,
        /// To there.
        to: Address,
    },
}

/// A system transaction: steps in order, all of one transaction index. Each call is a transaction as
/// far as warmth, transient storage and refunds go; what calls and credits leave empty or destroyed is
/// removed at the end of all steps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SystemTx {
    /// The steps.
    pub steps: Vec<SystemStep>,
}

impl SystemTx {
    /// The environments of its calls, in order.
    pub(crate) fn environments(&self) -> Vec<TxEnv> {
        let calls = self.steps.iter().filter_map(|step| match step {
            SystemStep::Call { to, data, .. } => {
                Some(TxEnv::new_system_tx_with_caller(revm::handler::SYSTEM_ADDRESS, *to, data.clone()))
            }
            _ => None,
        });
        calls.collect()
    }

    /// Runs the steps; one output a call, empty if it was skipped or failed.
    pub(crate) fn run<'a>(
        &self,
        evm: &mut Machine<'a>,
        environments: &'a [TxEnv],
    ) -> Result<(Vec<Bytes>, u64), Fault> {
        let mut outputs = Vec::with_capacity(environments.len());
        let mut gas = 0;
        let mut environments = environments.iter();
        for step in &self.steps {
            match step {
                SystemStep::Call { to, optional, .. } => {
                    let Some(tx) = environments.next() else { break };
                    evm.ctx.tx = tx;
                    outputs.push(call(evm, *to, *optional, &mut gas)?);
                }
                SystemStep::Credit { to, amount } if amount.is_zero() => {
                    let (at, _) = evm.ctx.journal.load_any(*to)?;
                    evm.ctx.journal.touch(at);
                }
                SystemStep::Credit { to, amount } => evm.ctx.journal.credit_blindly(*to, *amount),
                SystemStep::Drain { from, to } => drain(evm, *from, *to)?,
            }
        }
        Ok((outputs, gas))
    }
}

fn call(evm: &mut Machine<'_>, to: Address, optional: bool, gas: &mut u64) -> Result<Bytes, Fault> {
    let (at, _) = evm.ctx.journal.load_any(to)?;
    evm.ctx.journal.load_code(at)?;
    let failed = |reason: &str| {
        let reason = reason.to_owned();
        if optional { Ok(Bytes::new()) } else { Err(Fault::Invalid(EvmError::SystemCall { to, reason })) }
    };
    if !evm.ctx.journal.arenas.entry(at).has_code() {
        return failed("no code");
    }
    let result = Course::new().run_system_call(evm)?;
    *gas += result.tx_gas_used();
    match result {
        ExecutionResult::Success { output, .. } => Ok(output.into_data()),
        ExecutionResult::Revert { output, .. } => failed(&format!("reverted: {output}")),
        ExecutionResult::Halt { reason, .. } => failed(&format!("halted: {reason:?}")),
    }
}

fn drain(evm: &mut Machine<'_>, from: Address, to: Address) -> Result<(), Fault> {
    let journal = &mut evm.ctx.journal;
    let (at, _) = journal.load_any(from)?;
    journal.touch(at);
    let amount = journal.arenas.entry_mut(at).balance();
    journal.set_balance(at, U256::ZERO);
    journal.credit_blindly(to, amount);
    Ok(())
}
