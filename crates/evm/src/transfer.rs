//! Plain transfers: value to an account without code, and nothing else.
//!
//! Such a transaction needs no frame, no journal and no interpreter: it reads two records and changes three
//! accounts, or two where one of them gets the fee, as in blocks of a pool that pays its miners. What it observes, writes and returns is what it would on the long way ([`crate::journal`]), down to
//! the order. Whatever is not as plain as that goes the long way, and so does everything that fails; what was read
//! until then is handed over, so that nothing is read twice.

use crate::{
    AccountDelta, AccountSeen, AccountState, EvmError, EvmKey, EvmSeen, EvmValue, Status, StepAccount,
    StepFate, TxResult,
    access::Notes,
    handler::Fault,
    journal::{Writes, mismatch},
    precompiles::may_be_precompile,
};
use alloy_primitives::{Address, Bytes, KECCAK256_EMPTY, U256};
use braid_core::{ReadId, Stop, View, Write};
use revm::{
    context::{BlockEnv, CfgEnv, TxEnv},
    context_interface::{
        Cfg, Transaction,
        result::{ExecutionResult, Output, ResultGas, SuccessReason},
        transaction::TransactionType,
    },
    primitives::{TxKind, hardfork::SpecId},
};

/// An account's record as a view gave it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loaded {
    pub(crate) address: Address,
    pub(crate) read: ReadId,
    pub(crate) state: AccountState,
}

/// What was read before a transaction turned out to be none of these: nothing, the sender, or both accounts.
pub(crate) type Given = [Option<Loaded>; 2];

/// A transfer that may go the short way, as far as can be told without the state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    to: Address,
    /// What the sender must have: `gas_limit * max_fee + value`.
    most: U256,
    /// What the sender has less afterwards: gas and value, without the fee if that is its own.
    debit: U256,
    /// What the recipient gets: the value, and the fee if it is the beneficiary.
    credit: U256,
    /// What the beneficiary gets if it is neither; else zero.
    fee: U256,
}

/// Makes plain transfers of one block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transfers {
    /// Gas of a transaction without calldata.
    gas: u64,
    floor_gas: u64,
    gas_cap: u64,
    spec: SpecId,
    chain_id: u64,
    basefee: u64,
    beneficiary: Address,
}

impl Transfers {
    /// For the blocks whose rules make a plain transfer what it is here.
    pub(crate) fn new(cfg: &CfgEnv, env: &BlockEnv) -> Option<Self> {
        let spec = cfg.spec;
        let complete = (!spec.is_enabled_in(SpecId::MERGE) || env.prevrandao.is_some())
            && (!spec.is_enabled_in(SpecId::CANCUN) || env.blob_excess_gas_and_price.is_some());
        let gas = cfg.gas_params().initial_tx_gas(&[], false, 0, 0, 0, None);
        let plain = gas.floor_gas() <= gas.initial_total_gas() && !spec.is_enabled_in(SpecId::AMSTERDAM);
        (complete && plain).then(|| Transfers {
            gas: gas.initial_total_gas(),
            floor_gas: gas.floor_gas(),
            gas_cap: cfg.tx_gas_limit_cap(),
            spec,
            chain_id: cfg.chain_id,
            basefee: env.basefee,
            beneficiary: env.beneficiary,
        })
    }

    /// Whether `tx` may be one. What is invalid is none.
    pub(crate) fn candidate(&self, tx: &TxEnv) -> Option<Candidate> {
        let TxKind::Call(to) = tx.kind else { return None };
        if !tx.data.is_empty() || tx.value.is_zero() || to == tx.caller || may_be_precompile(&to) {
            return None;
        }
        let basefee = u128::from(self.basefee);
        let legacy = tx.tx_type == TransactionType::Legacy as u8;
        let typed = if legacy {
            true
        } else if tx.tx_type == TransactionType::Eip2930 as u8 {
            self.spec.is_enabled_in(SpecId::BERLIN) && tx.access_list.is_empty()
        } else if tx.tx_type == TransactionType::Eip1559 as u8 {
            self.spec.is_enabled_in(SpecId::LONDON)
                && tx.access_list.is_empty()
                && tx.gas_priority_fee.is_some_and(|priority| priority <= tx.gas_price)
        } else {
            false
        };
        let on_chain = tx.chain_id.map_or(legacy, |id| id == self.chain_id);
        let bare = tx.blob_hashes.is_empty() && tx.authorization_list.is_empty();
        let gas = (self.gas..=self.gas_cap).contains(&tx.gas_limit);
        if !(typed && on_chain && bare && gas) || tx.gas_price < basefee || tx.nonce == u64::MAX {
            return None;
        }
        let most = tx.max_balance_spending().ok()?;
        // Neither overflows: `most` did not.
        let price = tx.effective_gas_price(basefee);
        let debit = U256::from(price * u128::from(self.gas)) + tx.value;
        let burnt = if self.spec.is_enabled_in(SpecId::LONDON) { basefee } else { 0 };
        let fee = U256::from((price - burnt) * u128::from(self.gas));
        // A fee of nothing touches the beneficiary.
        if fee.is_zero() {
            return None;
        }
        let (debit, credit, fee) = if self.beneficiary == tx.caller {
            (debit - fee, tx.value, U256::ZERO)
        } else if self.beneficiary == to {
            (debit, tx.value.checked_add(fee)?, U256::ZERO)
        } else {
            (debit, tx.value, fee)
        };
        Some(Candidate { to, most, debit, credit, fee })
    }

    /// Runs it, if the state agrees; otherwise, what was read.
    ///
    /// # Errors
    /// Only what the view says.
    pub(crate) fn run(
        &self,
        tx: &TxEnv,
        candidate: &Candidate,
        view: &mut dyn View<EvmKey, EvmValue>,
    ) -> Result<Result<Transfer, Given>, Stop<EvmError>> {
        let Candidate { to, most, debit, credit, fee } = *candidate;
        let is_final = view.is_final();
        let sender = load(view, tx.caller)?;
        let from = &sender.state;
        // Not final, the nonce is a prediction.
        let fails = is_final && from.nonce != tx.nonce;
        if fails || from.code_hash != KECCAK256_EMPTY || from.balance < most {
            return Ok(Err([Some(sender), None]));
        }
        let target = load(view, to)?;
        let onto = &target.state;
        if onto.code_hash != KECCAK256_EMPTY || onto.balance.checked_add(credit).is_none() {
            return Ok(Err([Some(sender), Some(target)]));
        }
        let mut seen = AccountSeen { code_hash: Some(KECCAK256_EMPTY), ..AccountSeen::NOTHING };
        // The credit must not overflow.
        let below = Some(credit.wrapping_neg());
        view.narrow(target.read, EvmSeen::Account(AccountSeen { below, ..seen }));
        if is_final {
            seen.nonce = Some(tx.nonce);
        } else {
            let assumed = AccountSeen { nonce: Some(tx.nonce), ..AccountSeen::NOTHING };
            view.assume(&EvmKey::Account(tx.caller), EvmSeen::Account(assumed));
        }
        seen.at_least = most;
        view.narrow(sender.read, EvmSeen::Account(seen));
        Ok(Ok(Transfer {
            from: tx.caller,
            to,
            debit,
            credit,
            nonce: tx.nonce,
            beneficiary: self.beneficiary,
            fee,
            gas: self.gas,
            floor_gas: self.floor_gas,
        }))
    }
}

/// A transfer that went through.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transfer {
    /// Payer.
    pub(crate) from: Address,
    /// Payee.
    pub(crate) to: Address,
    /// As in [`Candidate`].
    debit: U256,
    credit: U256,
    /// Nonce of the transaction.
    nonce: u64,
    beneficiary: Address,
    /// As in [`Candidate`].
    fee: U256,
    /// Gas charged.
    gas: u64,
    /// Least gas that could be (EIP-7623).
    floor_gas: u64,
}

impl Transfer {
    /// The accounts that it changes, and how, in the order in which a journal would list them.
    pub(crate) fn changes(&self) -> impl Iterator<Item = (Address, AccountDelta)> {
        let credit = |credit| AccountDelta { credit, ..AccountDelta::default() };
        let paid = AccountDelta { debit: self.debit, nonce: Some(self.nonce + 1), ..AccountDelta::default() };
        let fee = (!self.fee.is_zero()).then(|| (self.beneficiary, credit(self.fee)));
        [(self.from, paid), (self.to, credit(self.credit))].into_iter().chain(fee)
    }

    /// Adds what it writes.
    pub(crate) fn write(&self, writes: &mut Writes) {
        let write = |(address, delta)| (EvmKey::Account(address), Write::Add(delta));
        writes.extend(self.changes().map(write));
    }

    /// As [`crate::journal::Journal::note`].
    pub(crate) fn note(&self, notes: &mut Notes) {
        for (address, delta) in self.changes() {
            notes.account(&address, Some(&Write::Add(delta)));
        }
    }

    /// As [`crate::journal::Journal::steps`].
    pub(crate) fn steps(&self) -> Vec<StepAccount> {
        let step = |(address, delta)| StepAccount {
            address,
            fate: StepFate::Kept,
            delta,
            code: None,
            slots: Vec::new(),
        };
        self.changes().map(step).collect()
    }

    /// revm's result.
    pub(crate) fn execution_result(&self) -> ExecutionResult {
        let gas = ResultGas::default().with_total_gas_spent(self.gas).with_floor_gas(self.floor_gas);
        let output = Output::Call(Bytes::new());
        ExecutionResult::Success { reason: SuccessReason::Stop, gas, logs: Vec::new(), output }
    }

    /// Its result.
    pub(crate) fn result(&self) -> TxResult {
        let (logs, output) = (Vec::new(), Bytes::new());
        TxResult { status: Status::Success, gas_used: self.gas, logs, output, created: None }
    }
}

/// Reads an account's record.
pub(crate) fn load(
    view: &mut dyn View<EvmKey, EvmValue>,
    address: Address,
) -> Result<Loaded, Stop<EvmError>> {
    let read = view.read(&EvmKey::Account(address))?;
    let state = match read.value {
        Some(EvmValue::Account(state)) => state,
        None => AccountState::default(),
        Some(_) => return Err(Fault::from(mismatch("account", &address)).into()),
    };
    Ok(Loaded { address, read: read.id, state })
}

#[cfg(test)]
mod tests;
