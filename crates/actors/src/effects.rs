//! What a transaction did, in a form in which messages and Ethereum can be held against each other.

use crate::{
    block::ActorBlock,
    vm::{Change, End},
};
use alloy_primitives::{Address, B256, Log, U256};
use braid_core::{Block, BlockError, Control, Effects, Scheduler, Sink, State, TxIndex};
use braid_evm::{
    BlockInput, EvmError, EvmKey, EvmShared, EvmTx, EvmValue, StepFate, StepOutput, StepVm, SystemTx,
};
use braid_sched::Serial;
use std::{collections::BTreeMap, sync::Arc};

/// What a transaction changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TxEffects {
    accounts: BTreeMap<Address, AccountEffect>,
    /// Slots: value before, value after.
    slots: BTreeMap<(Address, U256), (U256, U256)>,
}

/// What a transaction changed in an account.
#[derive(Clone, Debug, Default, PartialEq)]
struct AccountEffect {
    /// Modulo 2^256.
    balance: U256,
    nonce: Option<u64>,
    code_hash: Option<B256>,
    /// It is not there afterwards.
    gone: bool,
}

impl TxEffects {
    /// Adds what a message changed in `address`.
    pub(crate) fn add(&mut self, address: Address, change: &Change) {
        let Change { before, after, slots } = change;
        if before != after {
            let effect = self.accounts.entry(address).or_default();
            effect.balance = effect.balance.wrapping_add(after.balance.wrapping_sub(before.balance));
            effect.nonce = (before.nonce != after.nonce).then_some(after.nonce).or(effect.nonce);
            effect.code_hash =
                (before.code_hash != after.code_hash).then_some(after.code_hash).or(effect.code_hash);
            effect.gone = !after.exists;
        }
        for (slot, was, is) in slots {
            self.slots.entry((address, *slot)).or_insert((*was, *is)).1 = *is;
        }
    }

    /// Adds ether.
    pub(crate) fn credit(&mut self, address: Address, value: U256) {
        let effect = self.accounts.entry(address).or_default();
        effect.balance = effect.balance.wrapping_add(value);
        effect.gone = false;
    }

    /// What is left if everything is left out that ends as it began, or is gone.
    fn reduced(&self) -> TxEffects {
        let mut reduced = self.clone();
        let gone = |address: &Address| self.accounts.get(address).is_some_and(|effect| effect.gone);
        reduced.slots.retain(|(address, _), (was, is)| was != is && !gone(address));
        reduced.accounts.retain(|_, effect| {
            let nothing = effect.balance.is_zero() && effect.nonce.is_none() && effect.code_hash.is_none();
            !effect.gone && !nothing
        });
        reduced
    }
}

/// What a transaction did under Ethereum's rules.
#[derive(Clone, Debug)]
pub struct EvmOutcome {
    success: bool,
    logs: Vec<Log>,
    effects: TxEffects,
}

/// Runs the transactions of a block one by one, as Ethereum does.
///
/// # Errors
/// As an execution of the block; [`EvmError::Other`] for forks after Osaka.
pub fn evm_outcomes<S: State<EvmKey, EvmValue>>(
    shared: &EvmShared,
    input: &BlockInput,
    state: &S,
) -> Result<Vec<EvmOutcome>, BlockError<EvmError>> {
    let cfg = crate::rules::config(input);
    let Some(vm) = StepVm::new(shared, input, cfg, input.rules) else {
        let error = EvmError::Other(format!("{:?} is not a fork of actors", input.spec));
        return Err(BlockError { tx: 0, cause: braid_core::Cause::Invalid(error) });
    };
    let mut txs: Vec<EvmTx> = crate::block::calls_before(input)
        .map(|(to, data)| system(SystemTx::Call { to, data, optional: true }))
        .collect();
    if let Some((from, to)) = input.rites.dao_drain.clone() {
        txs.push(system(SystemTx::Drain { from, to }));
    }
    txs.extend((0..input.txs.len() as u32).map(EvmTx::User));
    let mut sink = Collect(Vec::with_capacity(input.txs.len()));
    Serial::new().run(&Block::new(&vm, &txs, state), &mut sink, &(), &Control::default())?;
    Ok(sink.0)
}

fn system(tx: SystemTx) -> EvmTx {
    EvmTx::System(Arc::new(tx))
}

struct Collect(Vec<EvmOutcome>);

impl Sink<StepVm<'_>> for Collect {
    fn commit(&mut self, _index: TxIndex, effects: &mut Effects<StepVm<'_>>) {
        let Some(StepOutput::User { result, accounts }) = effects.output.take() else { return };
        let (success, mut did) = (result.is_success(), TxEffects::default());
        for account in accounts {
            let effect = did.accounts.entry(account.address).or_default();
            effect.balance = account.delta.credit.wrapping_sub(account.delta.debit);
            effect.nonce = account.delta.nonce;
            effect.code_hash = account.delta.code_hash;
            effect.gone = matches!(account.fate, StepFate::Destroyed | StepFate::Emptied);
            let slots = account.slots.into_iter().map(|(slot, was, is)| ((account.address, slot), (was, is)));
            did.slots.extend(slots);
        }
        self.0.push(EvmOutcome { success, logs: result.into_logs(), effects: did });
    }
}

/// The positions of the transactions that did something else than under Ethereum's rules: whether they succeeded,
/// their logs, or what they changed. One that was not executed did.
///
/// `block` must have been delivered with its effects.
pub fn differing(block: &ActorBlock, evm: &[EvmOutcome]) -> Vec<usize> {
    let differs = |tx: &usize| {
        let (evm, Some(End::Executed(result))) = (&evm[*tx], block.ends.get(*tx)) else { return true };
        let success = result.status == braid_evm::Status::Success;
        let effects = block.effects.get(*tx).map(TxEffects::reduced);
        (success, &result.logs, effects) != (evm.success, &evm.logs, Some(evm.effects.reduced()))
    };
    (0..evm.len()).filter(differs).collect()
}
