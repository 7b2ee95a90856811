//! The EVM with outputs by which a caller can commit transactions one by one, as revm's own callers do.

use crate::{
    AccountDelta, BlockInput, EvmError, EvmKey, EvmRules, EvmShared, EvmTx, EvmValue, EvmVm, EvmWorker,
    access::Told, handler::Course,
};
use alloy_primitives::{Address, U256};
use braid_core::{Effects, Hint, Stop, View, Vm};
use revm::{
    bytecode::Bytecode,
    context::{CfgEnv, result::ExecutionResult},
    handler::Handler,
    primitives::hardfork::SpecId,
};
use std::time::Duration;

/// What becomes of an account in a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepFate {
    /// It is there afterwards, changed.
    Kept,
    /// A contract was created at its address; its storage began empty.
    Created,
    /// It destroyed itself, possibly after having been created in the same transaction.
    Destroyed,
    /// It was touched and is empty, so it is gone (EIP-161).
    Emptied,
}

/// What a transaction does to one account, as a change of what stood before the transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct StepAccount {
    /// The account.
    pub address: Address,
    /// What becomes of it.
    pub fate: StepFate,
    /// Change of its record; nothing, if it is gone. Its generation is never set.
    pub delta: AccountDelta,
    /// Its code, if that is new.
    pub code: Option<Bytecode>,
    /// Changed slots: key, value before the transaction, value after it.
    pub slots: Vec<(U256, U256, U256)>,
}

/// What a transaction gives to a caller who commits transactions one by one.
#[derive(Clone, Debug, PartialEq)]
pub enum StepOutput {
    /// Of a user's transaction.
    User {
        /// revm's result.
        result: ExecutionResult,
        /// Changed accounts, each once.
        accounts: Vec<StepAccount>,
    },
    /// Of a system transaction.
    System,
}

/// [`EvmVm`], with [`StepOutput`]s. Up to Osaka.
#[derive(Debug)]
pub struct StepVm<'b>(EvmVm<'b>);

impl<'b> StepVm<'b> {
    /// As [`EvmVm::with_cfg`]; `None` from Amsterdam on, whose rules are a draft.
    pub fn new(shared: &'b EvmShared, input: &'b BlockInput, cfg: CfgEnv, rules: EvmRules) -> Option<Self> {
        let amsterdam = cfg.spec.is_enabled_in(SpecId::AMSTERDAM);
        (!amsterdam).then(|| StepVm(EvmVm::with_cfg(shared, input, cfg, rules)))
    }

    #[cfg(test)]
    pub(crate) fn without_transfers(&mut self) {
        self.0.transfers = None;
    }
}

impl<'b> Vm for StepVm<'b> {
    type Tx = EvmTx;
    type Key = EvmKey;
    type Value = EvmValue;
    type Output = StepOutput;
    type Error = EvmError;
    type Worker = EvmWorker<'b>;

    fn worker(&self) -> EvmWorker<'b> {
        self.0.worker()
    }

    fn hint(&self, tx: &EvmTx) -> Hint<EvmKey> {
        self.0.hint(tx)
    }

    fn weigh(&self, tx: &EvmTx) -> Option<Duration> {
        self.0.weigh(tx)
    }

    fn execute(
        &self,
        worker: &mut EvmWorker<'b>,
        tx: &EvmTx,
        view: &mut dyn View<EvmKey, EvmValue>,
        effects: &mut Effects<Self>,
    ) -> Result<(), Stop<EvmError>> {
        match tx {
            EvmTx::User(index) => {
                let Some(env) = self.0.user(tx) else {
                    return Err(Stop::Invalid(EvmError::NoSuchTransaction(*index)));
                };
                // Nobody wants to know of touches.
                let mut told = Told::default();
                let writes = &mut effects.writes;
                let (result, accounts) = match self.0.transfer(env, view, writes, &mut told)? {
                    Ok(transfer) => (transfer.execution_result(), transfer.steps()),
                    Err(given) => self.0.run(worker, env, view, writes, &mut told, |evm| {
                        evm.ctx.journal.adopt(given);
                        let result = Course::new().run(evm)?;
                        Ok((result, evm.ctx.journal.steps()))
                    })?,
                };
                effects.work = result.tx_gas_used();
                effects.output = Some(StepOutput::User { result, accounts });
            }
            EvmTx::System(system) => {
                let (_, gas) =
                    self.0.run_system(worker, system, view, &mut effects.writes, &mut Told::default())?;
                effects.work = gas;
                effects.output = Some(StepOutput::System);
            }
        }
        Ok(())
    }
}
