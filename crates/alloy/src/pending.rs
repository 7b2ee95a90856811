//! What confirmed transactions change, merged and kept back from the caller's database.
//!
//! A block writes few accounts many times: committed transaction by transaction, each of these writes is looked
//! up, copied and noted by the database; merged, each account is committed once, with its last record and with
//! the first and last value of each slot. The database is left in the same state, and notes the same change:
//! - Accounts do not influence each other in a commit, so their order does not matter.
//! - Merging is for changes that leave an account where it was, present and not empty. What creates, destroys
//!   or empties an account is a commit of its own, as is what comes before and after it: a database notes
//!   more of these than where an account began and where it ended.

use crate::changes::{enter, loaded};
use alloy_evm::block::StateDB;
use alloy_primitives::{
    Address,
    map::{AddressMap, Entry},
};
use braid_evm::{StepAccount, StepFate};
use revm::{
    primitives::KECCAK_EMPTY,
    state::{Account, AccountInfo, EvmState},
};
use std::{iter::once, mem::replace};

/// Accounts that are kept back at most, give or take those of one transaction: what is merged stays in a
/// cache near the processor, and is never much work at a time.
const MOST: usize = 256;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// As the database has it, with what is merged so far; untouched: nothing is.
    accounts: Vec<(Address, Account)>,
    /// Where each account is in `accounts`.
    place: AddressMap<usize>,
    /// Scratch: where the accounts of one transaction are.
    of_one: Vec<usize>,
}

impl Pending {
    /// Looks up what stands before `steps`, so that [`Self::add`] can take them next.
    ///
    /// # Errors
    /// Those of `db`. Nothing is added.
    pub(crate) fn prepare<DB: StateDB>(
        &mut self,
        db: &mut DB,
        steps: &[StepAccount],
    ) -> Result<(), DB::Error> {
        if self.accounts.len() >= MOST {
            self.settle(db);
        }
        self.of_one.clear();
        for step in steps {
            let at = match self.place.entry(step.address) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(unknown) => {
                    self.accounts.push((step.address, loaded(db.basic(step.address)?)));
                    *unknown.insert(self.accounts.len() - 1)
                }
            };
            self.of_one.push(at);
        }
        Ok(())
    }

    /// The state that revm would return for a transaction that does `steps`, which are prepared.
    pub(crate) fn state(&self, steps: &[StepAccount]) -> EvmState {
        let one = |(step, at): (&StepAccount, &usize)| {
            let mut account = next(&self.accounts[*at].1);
            enter(&mut account, step.clone());
            (step.address, account)
        };
        steps.iter().zip(&self.of_one).map(one).collect()
    }

    /// Takes what a transaction does, which was prepared.
    pub(crate) fn add<DB: StateDB>(&mut self, db: &mut DB, steps: Vec<StepAccount>) {
        for (step, at) in steps.into_iter().zip(&self.of_one) {
            let (address, account) = &mut self.accounts[*at];
            if account.is_touched() && !merges(account, &step) {
                let next = next(account);
                db.commit_iter(&mut once((*address, replace(account, next))));
            }
            enter(account, step);
        }
    }

    /// Commits what is kept back.
    pub(crate) fn settle<DB: StateDB>(&mut self, db: &mut DB) {
        if self.accounts.is_empty() {
            return;
        }
        self.place.clear();
        db.commit_iter(&mut self.accounts.drain(..).filter(|(_, account)| account.is_touched()));
    }
}

/// Whether `step` can be entered into what is merged so far.
fn merges(account: &Account, step: &StepAccount) -> bool {
    let special = account.is_created() || account.is_selfdestructed() || account.is_empty();
    !special && step.fate == StepFate::Kept && !empties(&account.info, step)
}

fn empties(info: &AccountInfo, StepAccount { delta, .. }: &StepAccount) -> bool {
    delta.nonce.unwrap_or(info.nonce) == 0
        && delta.code_hash.unwrap_or(info.code_hash) == KECCAK_EMPTY
        && info.balance.saturating_add(delta.credit) == delta.debit
}

/// The account as the transaction after `account` was committed loads it.
fn next(account: &Account) -> Account {
    let gone = account.is_selfdestructed() || (account.is_empty() && !account.is_created());
    let there = if account.is_touched() { !gone } else { !account.is_loaded_as_not_existing() };
    loaded(there.then(|| account.info.clone()))
}
