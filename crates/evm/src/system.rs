//! What a block does besides its transactions, as transactions of its own.

use crate::{
    AccountDelta, AccountSeen, EvmError, EvmKey, EvmSeen, EvmValue,
    access::{Told, Wanted},
    handler::{Course, Fault, Machine},
    journal::Writes,
    transfer::load,
};
use alloy_primitives::{Address, Bytes, U256};
use braid_core::{Stop, View, Write};
use revm::{context_interface::result::ExecutionResult, handler::Handler, primitives::hardfork::SpecId};
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
    /// Does it without a machine, if it is as plain as nearly always: to credit something to each account, or to
    /// drain different accounts before EIP-161, listed in ascending order. Returns whether it did. What it
    /// observes, writes and tells, and the order of it all, are those of [`Self::run`].
    pub(crate) fn run_plainly(
        &self,
        spec: SpecId,
        wanted: Wanted,
        view: &mut dyn View<EvmKey, EvmValue>,
        writes: &mut Writes,
        told: &mut Told<'_>,
    ) -> Result<bool, Stop<EvmError>> {
        match self {
            SystemTx::Credits(credits) => {
                let sums = sums(credits);
                let plain = sums.values().all(|sum| !sum.is_zero());
                if plain {
                    sums.iter().for_each(|(to, sum)| change(to, Some(credited(*sum)), writes, told));
                }
                Ok(plain)
            }
            SystemTx::Drain { from, to }
                if !spec.is_enabled_in(SpecId::SPURIOUS_DRAGON)
                    && from.is_sorted_by(|one, next| one < next)
                    && from.binary_search(to).is_err() =>
            {
                drain_plainly(from, *to, wanted, view, writes, told)?;
                Ok(true)
            }
            SystemTx::Call { .. } | SystemTx::Drain { .. } => Ok(false),
        }
    }

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

/// What each account gets.
fn sums(credits: &[(Address, U256)]) -> BTreeMap<Address, U256> {
    let mut sums: BTreeMap<Address, U256> = BTreeMap::new();
    for (to, amount) in credits {
        let sum = sums.entry(*to).or_default();
        *sum = sum.saturating_add(*amount);
    }
    sums
}

fn credit(evm: &mut Machine<'_>, credits: &[(Address, U256)]) -> Result<(), Fault> {
    let journal = &mut evm.ctx.journal;
    for (to, sum) in sums(credits) {
        if sum.is_zero() {
            let (at, _) = journal.load_any(to)?;
            journal.touch(at);
        } else {
            journal.credit_blindly(to, sum);
        }
    }
    Ok(())
}

/// Writes a change of an account, if there is one, and notes that the account was touched.
fn change(address: &Address, delta: Option<AccountDelta>, writes: &mut Writes, told: &mut Told<'_>) {
    let write = delta.map(Write::Add);
    if let Some(notes) = &mut told.notes {
        notes.account(address, write.as_ref());
    }
    writes.extend(write.map(|write| (EvmKey::Account(*address), write)));
}

fn credited(credit: U256) -> AccountDelta {
    AccountDelta { credit, ..AccountDelta::default() }
}

fn drain_plainly(
    from: &[Address],
    to: Address,
    wanted: Wanted,
    view: &mut dyn View<EvmKey, EvmValue>,
    writes: &mut Writes,
    told: &mut Told<'_>,
) -> Result<(), Stop<EvmError>> {
    let mut sum = U256::ZERO;
    let mut found = Vec::with_capacity(from.len() + 1);
    for address in from {
        let loaded = load(view, *address)?;
        sum = sum.saturating_add(loaded.state.balance);
        found.push(loaded);
    }
    // Of a credit of nothing a touch is left.
    if sum.is_zero() {
        found.push(load(view, to)?);
    }
    if wanted == Wanted::All {
        told.touches.accounts.extend(found.iter().map(|loaded| loaded.address));
    }
    for loaded in &found {
        let (mut seen, mut delta) = (AccountSeen::NOTHING, AccountDelta::default());
        if loaded.address != to {
            delta.debit = loaded.state.balance;
            seen.balance_exactly(delta.debit);
        }
        let mut changes = !delta.debit.is_zero();
        if !changes {
            // A touch brings an account into existence.
            seen.exists = Some(loaded.state.exists);
            changes = !loaded.state.exists;
        }
        view.narrow(loaded.read, EvmSeen::Account(seen));
        change(&loaded.address, changes.then_some(delta), writes, told);
    }
    if !sum.is_zero() {
        change(&to, Some(credited(sum)), writes, told);
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
