//! The course of a transaction. revm's, except where it would observe or allocate more than it must.

use crate::{
    EvmError,
    ctx::{Ctx, Instructions},
    interp,
    intrinsic::intrinsic_gas,
    journal::Stopped,
    precompiles::ShortPrecompiles,
};
use alloy_primitives::U256;
use braid_core::{Halt, Stop};
use revm::{
    context::Evm,
    context_interface::{
        Cfg, ContextTr, Transaction,
        context::{ContextError, take_error},
        result::{FromStringError, HaltReason, InvalidHeader, InvalidTransaction},
        transaction::{AuthorizationTr, TransactionType},
    },
    handler::{EthFrame, EvmTr, FrameResult, Handler, ItemOrResult, instructions::InstructionProvider},
    interpreter::{
        GasTracker, InitialAndFloorGas, interpreter::EthInterpreter, interpreter_action::FrameInit,
    },
    primitives::hardfork::SpecId,
};
use std::marker::PhantomData;

/// revm, put together for one execution.
pub(crate) type Machine<'a> = Evm<Ctx<'a>, (), Instructions<'a>, ShortPrecompiles, EthFrame<EthInterpreter>>;

/// Why revm gave up.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The view stopped it.
    Stopped(Halt),
    /// The transaction is invalid.
    Invalid(EvmError),
}

impl From<Fault> for Stop<EvmError> {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Stopped(halt) => Stop::Halt(halt),
            Fault::Invalid(error) => Stop::Invalid(error),
        }
    }
}

impl From<Stopped> for Fault {
    fn from(Stopped(halt): Stopped) -> Self {
        Fault::Stopped(halt)
    }
}

impl From<InvalidTransaction> for Fault {
    fn from(invalid: InvalidTransaction) -> Self {
        Fault::Invalid(EvmError::Transaction(invalid))
    }
}

impl From<InvalidHeader> for Fault {
    fn from(invalid: InvalidHeader) -> Self {
        Fault::Invalid(EvmError::Header(invalid))
    }
}

impl From<ContextError<Stopped>> for Fault {
    fn from(error: ContextError<Stopped>) -> Self {
        match error {
            ContextError::Db(stopped) => stopped.into(),
            ContextError::Custom(message) => Fault::from_string(message),
        }
    }
}

impl FromStringError for Fault {
    fn from_string(message: String) -> Self {
        Fault::Invalid(EvmError::Other(message))
    }
}

/// The handler; it has no state.
pub(crate) struct Course<'a>(PhantomData<fn(&'a ())>);

impl Course<'_> {
    pub(crate) const fn new() -> Self {
        Course(PhantomData)
    }
}

/// Runs the topmost frame until it ends or asks for another one: as [`EvmTr::frame_run`].
fn run_frame(evm: &mut Machine<'_>) -> Result<ItemOrResult<FrameInit, FrameResult>, ContextError<Stopped>> {
    let frame = evm.frame_stack.get();
    let (table, gas) = (evm.instruction.instruction_table(), evm.instruction.gas_table());
    let action = interp::run(&mut frame.interpreter, table, gas, &mut evm.ctx);
    let next: ItemOrResult<_, FrameResult> =
        frame.process_next_action::<_, ContextError<Stopped>>(&mut evm.ctx, action)?;
    if next.is_result() {
        frame.set_finished(true);
    }
    Ok(next)
}

impl<'a> Handler for Course<'a> {
    type Evm = Machine<'a>;
    type Error = Fault;
    type HaltReason = HaltReason;

    fn validate_initial_tx_gas(&self, evm: &mut Machine<'a>) -> Result<InitialAndFloorGas, Fault> {
        Ok(intrinsic_gas(evm.ctx.tx, evm.ctx.cfg)?)
    }

    /// As revm's, with our own loop in the frames.
    fn run_exec_loop(&mut self, evm: &mut Machine<'a>, first: FrameInit) -> Result<FrameResult, Fault> {
        if let ItemOrResult::Result(result) = evm.frame_init(first)? {
            return Ok(result);
        }
        loop {
            let result = match run_frame(evm)? {
                ItemOrResult::Item(init) => match evm.frame_init(init)? {
                    ItemOrResult::Item(_) => continue,
                    ItemOrResult::Result(result) => result,
                },
                ItemOrResult::Result(result) => result,
            };
            if let Some(result) = evm.frame_return_result(result)? {
                return Ok(result);
            }
        }
    }

    /// As revm's, but the nonce is predicted under speculation, and the balance is a bound.
    fn validate_against_state_and_deduct_caller(
        &self,
        evm: &mut Machine<'a>,
        _gas: &mut InitialAndFloorGas,
    ) -> Result<(), Fault> {
        let Ctx { block, tx, journal, .. } = &mut evm.ctx;
        let at = journal.load_sender(tx.caller, tx.nonce)?;
        journal.load_code(at)?;
        let entry = journal.arenas.entry_mut(at);
        let code = entry.account.info.code.as_ref();
        // EIP-3607; EIP-7702 lets delegated accounts send.
        if code.is_some_and(|code| !code.is_empty() && !code.is_eip7702()) {
            return Err(InvalidTransaction::RejectCallerWithCode.into());
        }
        let state = entry.nonce();
        if tx.nonce > state {
            return Err(InvalidTransaction::NonceTooHigh { tx: tx.nonce, state }.into());
        }
        if tx.nonce < state {
            return Err(InvalidTransaction::NonceTooLow { tx: tx.nonce, state }.into());
        }
        let most = tx.max_balance_spending()?;
        if !entry.covers(most) {
            // The balance is part of the error, so it is observed.
            let balance = entry.balance();
            return Err(InvalidTransaction::LackOfFundForMaxFee {
                fee: Box::new(most),
                balance: Box::new(balance),
            }
            .into());
        }
        let blob_price = block.blob_excess_gas_and_price.map_or(0, |blob| blob.blob_gasprice);
        let fee = tx.gas_balance_spending(u128::from(block.basefee), blob_price)?;
        journal.debit(at, fee);
        if tx.kind.is_call() {
            journal.bump_nonce(at);
        }
        Ok(())
    }

    /// Warms the beneficiary (EIP-3651) and the access list (EIP-2930) without loading or copying.
    fn load_accounts(&self, evm: &mut Machine<'a>) -> Result<(), Fault> {
        let Ctx { block, tx, cfg, journal, .. } = &mut evm.ctx;
        journal.warm_precompiles = true;
        if cfg.spec.is_enabled_in(SpecId::SHANGHAI) {
            journal.coinbase = Some(block.beneficiary);
        }
        if tx.tx_type != TransactionType::Legacy as u8 {
            for item in &tx.access_list.0 {
                journal.arenas.warm_addresses.insert(item.address);
                for key in &item.storage_keys {
                    journal.arenas.warm_slots.insert((item.address, U256::from_be_bytes(key.0)));
                }
            }
        }
        Ok(())
    }

    /// EIP-7702. As revm's, observing of each authority its code, its nonce, and whether it exists only
    /// if that decides the refund.
    fn apply_eip7702_auth_list(
        &self,
        evm: &mut Machine<'a>,
        _gas: &mut GasTracker,
    ) -> Result<Option<u64>, Fault> {
        let Ctx { tx, cfg, journal, .. } = &mut evm.ctx;
        if tx.tx_type != TransactionType::Eip7702 as u8 {
            return Ok(Some(0));
        }
        let mut refunded = 0;
        for authorization in &tx.authorization_list {
            let chain_id = authorization.chain_id();
            if !chain_id.is_zero() && chain_id != U256::from(cfg.chain_id) {
                continue;
            }
            let nonce = AuthorizationTr::nonce(authorization);
            if nonce == u64::MAX {
                continue;
            }
            let Some(authority) = AuthorizationTr::authority(authorization) else { continue };
            let (at, _) = journal.load_any(authority)?;
            journal.load_code(at)?;
            let entry = journal.arenas.entry_mut(at);
            let code = entry.account.info.code.as_ref();
            if code.is_some_and(|code| !code.is_empty() && !code.is_eip7702()) {
                continue;
            }
            if nonce != entry.nonce() {
                continue;
            }
            if nonce != 0 || entry.has_code() || entry.exists() {
                refunded += 1;
            }
            journal.set_delegation(at, AuthorizationTr::address(authorization));
        }
        Ok(Some(cfg.gas_params().tx_eip7702_auth_refund_regular().saturating_mul(refunded)))
    }

    fn reimburse_caller(&self, evm: &mut Machine<'a>, result: &mut FrameResult) -> Result<(), Fault> {
        // A view that stopped the execution is not asked for more.
        take_error::<Fault, _>(evm.ctx().error())?;
        let Ctx { block, tx, journal, .. } = &mut evm.ctx;
        let gas = result.gas();
        let unused = u128::from(gas.remaining() + gas.reservoir() + gas.refunded() as u64);
        let price = tx.effective_gas_price(u128::from(block.basefee));
        let (at, _) = journal.load_any(tx.caller)?;
        journal.credit(at, U256::from(price.saturating_mul(unused)));
        Ok(())
    }

    /// Pays the beneficiary, without reading its account unless the transaction did or there is nothing
    /// to pay: a touch asks whether the account is empty.
    fn reward_beneficiary(&self, evm: &mut Machine<'a>, result: &mut FrameResult) -> Result<(), Fault> {
        let Ctx { block, tx, cfg, journal, .. } = &mut evm.ctx;
        let basefee = u128::from(block.basefee);
        let mut price = tx.effective_gas_price(basefee);
        if cfg.spec.is_enabled_in(SpecId::LONDON) {
            price = price.saturating_sub(basefee);
        }
        let gas = result.gas();
        let used = u128::from(gas.used().saturating_sub(gas.reservoir()));
        // Does not overflow: validation checked `gas_limit * max_fee`.
        let fee = U256::from(price.saturating_mul(used));
        if fee.is_zero() {
            let (at, _) = journal.load_any(block.beneficiary)?;
            journal.touch(at);
        } else {
            journal.credit_blindly(block.beneficiary, fee);
        }
        Ok(())
    }
}
