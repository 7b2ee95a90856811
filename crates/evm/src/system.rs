//! What a block does besides its transactions, as transactions of its own.

use crate::{
    EvmError,
    handler::{Course, Fault, Machine},
};
use alloy_primitives::{Address, Bytes, U256};
use revm::{context_interface::result::ExecutionResult, handler::Handler};
use std::collections::BTreeMap;

/// Gas of a system call, which counts towards nothing (EIP-4788 and its followers), up to Osaka. Forks
/// with state gas (EIP-8037) give as much as revm does.
pub const SYSTEM_CALL_GAS: u64 = 30_000_000;

/// A system transaction. What it leaves empty or destroyed is gone at its end, as after any other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SystemTx {
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
    /// Credits accounts, in wei: rewards, withdrawals. What one account gets is summed up first, and
    /// comes to nothing if the balance would overflow. Nothing is read unless the sum is zero, which
    /// only touches the account (EIP-161).
    Credits(Vec<(Address, U256)>),
    /// Moves the whole balances of accounts to another: the DAO fork.
    Drain {
        /// From these.
        from: Vec<Address>,
        /// To that.
        to: Address,
    },
}

impl SystemTx {
    /// Runs it. Returns the output of a call, empty if it was skipped or failed, and its gas.
    pub(crate) fn run(&self, evm: &mut Machine<'_>) -> Result<(Bytes, u64), Fault> {
        match self {
            SystemTx::Call { to, optional, .. } => return call(evm, *to, *optional),
            SystemTx::Credits(credits) => credit(evm, credits)?,
            SystemTx::Drain { from, to } => drain(evm, from, *to)?,
        }
        Ok((Bytes::new(), 0))
    }
}

fn call(evm: &mut Machine<'_>, to: Address, optional: bool) -> Result<(Bytes, u64), Fault> {
    let (at, _) = evm.ctx.journal.load_any(to)?;
    evm.ctx.journal.load_code(at)?;
    if !evm.ctx.journal.arenas.entry(at).has_code() {
        return ended(to, optional, None);
    }
    let result = Course::new().run_system_call(evm)?;
    ended(to, optional, Some(result))
}

/// Output and gas of a call that ended so; `None` if there was nothing to call.
pub(crate) fn ended(
    to: Address,
    optional: bool,
    result: Option<ExecutionResult>,
) -> Result<(Bytes, u64), Fault> {
    let gas = result.as_ref().map_or(0, ExecutionResult::tx_gas_used);
    let reason = match result {
        Some(ExecutionResult::Success { output, .. }) => return Ok((output.into_data(), gas)),
        Some(ExecutionResult::Revert { output, .. }) => format!("reverted: {output}"),
        Some(ExecutionResult::Halt { reason, .. }) => format!("halted: {reason:?}"),
        None => "no code".to_owned(),
    };
    if optional { Ok((Bytes::new(), gas)) } else { Err(Fault::Invalid(EvmError::SystemCall { to, reason })) }
}

fn credit(evm: &mut Machine<'_>, credits: &[(Address, U256)]) -> Result<(), Fault> {
    let mut sums: BTreeMap<Address, U256> = BTreeMap::new();
    for (to, amount) in credits {
        let sum = sums.entry(*to).or_default();
        *sum = sum.saturating_add(*amount);
    }
    let journal = &mut evm.ctx.journal;
    for (to, sum) in sums {
        if sum.is_zero() {
            let (at, _) = journal.load_any(to)?;
            journal.touch(at);
        } else {
            journal.credit_blindly(to, sum);
        }
    }
    Ok(())
}

fn drain(evm: &mut Machine<'_>, from: &[Address], to: Address) -> Result<(), Fault> {
    let journal = &mut evm.ctx.journal;
    let mut sum = U256::ZERO;
    for address in from {
        let (at, _) = journal.load_any(*address)?;
        journal.touch(at);
        sum = sum.saturating_add(journal.arenas.entry_mut(at).balance());
        journal.set_balance(at, U256::ZERO);
    }
    if sum.is_zero() {
        let (at, _) = journal.load_any(to)?;
        journal.touch(at);
    } else {
        journal.credit_blindly(to, sum);
    }
    Ok(())
}
