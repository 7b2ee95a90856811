//! From the change of a transaction to the state that revm would return.

use braid_evm::{AccountDelta, StepAccount, StepFate};
use revm::{
    Database,
    bytecode::Bytecode,
    primitives::KECCAK_EMPTY,
    state::{Account, AccountInfo, AccountStatus, EvmState, EvmStorageSlot, TransactionId},
};

/// What a transaction that does `steps` leaves on `db`: accounts and slots that it changes, with what they
/// hold afterwards. Those that it only loads or touches, which commit to nothing, are not listed.
///
/// # Errors
/// Those of `db`.
pub(crate) fn state<DB: Database>(db: &mut DB, steps: Vec<StepAccount>) -> Result<EvmState, DB::Error> {
    let mut state = EvmState::with_capacity_and_hasher(steps.len(), Default::default());
    for step in steps {
        let (address, mut account) = (step.address, loaded(db.basic(step.address)?));
        enter(&mut account, step);
        state.insert(address, account);
    }
    Ok(state)
}

/// An account as a database has it.
pub(crate) fn loaded(info: Option<AccountInfo>) -> Account {
    match info {
        Some(info) => Account::from(info),
        None => Account::new_not_existing(TransactionId::ZERO),
    }
}

/// Enters what a transaction does to `account`.
pub(crate) fn enter(account: &mut Account, step: StepAccount) {
    account.status |= AccountStatus::Touched;
    match step.fate {
        StepFate::Kept => change(&mut account.info, &step.delta, step.code),
        StepFate::Created => {
            account.status |= AccountStatus::Created;
            change(&mut account.info, &step.delta, step.code);
        }
        StepFate::Destroyed => {
            account.status |= AccountStatus::SelfDestructed;
            account.info = AccountInfo::default();
        }
        StepFate::Emptied => account.info = AccountInfo::default(),
    }
    account.storage.reserve(step.slots.len());
    for (slot, original_value, present_value) in step.slots {
        let (transaction_id, is_cold) = (TransactionId::ZERO, false);
        let value = EvmStorageSlot { original_value, present_value, transaction_id, is_cold };
        account.storage.entry(slot).or_insert(value).present_value = present_value;
    }
}

fn change(info: &mut AccountInfo, delta: &AccountDelta, code: Option<Bytecode>) {
    // As revm has it for fees: what overflows is not paid.
    info.balance = info.balance.checked_add(delta.credit).unwrap_or(info.balance);
    info.balance = info.balance.saturating_sub(delta.debit);
    info.nonce = delta.nonce.unwrap_or(info.nonce);
    if let Some(code_hash) = delta.code_hash {
        info.code_hash = code_hash;
        info.code = if code_hash == KECCAK_EMPTY { Some(Bytecode::default()) } else { code };
    }
}
