//! Hints about Ethereum transactions: what they may touch, known before they run. All are guesses; whoever uses
//! them finds out where they are wrong.
//!
//! A hint names the locations of a transaction among [`EvmKey`]s of generation 0, which is all that can be told
//! before an account is created or destroyed.

mod learned;

pub use learned::{BlockId, Learned};

use crate::{
    BlockAccessList, BlockInput, EvmKey, EvmShared, EvmTx, EvmValue, EvmVm,
    executor::{Plan, first_position, machine},
};
use alloy_eips::eip7928::BlockAccessIndex;
use alloy_primitives::{Address, U256};
use braid_core::{Block, Hint, Mode, State, Trust};
use revm::context::TxEnv;
use std::collections::BTreeMap;

/// Hints that `source` makes of the block as schedulers see it: rites of the block are transactions there, too.
pub fn foresee<S: State<EvmKey, EvmValue>>(
    shared: &EvmShared,
    input: &BlockInput,
    state: &S,
    source: impl FnOnce(&Block<'_, EvmVm<'_>, S>) -> Vec<Hint<EvmKey>>,
) -> Vec<Hint<EvmKey>> {
    let plan = Plan::of(input);
    let vm = machine(shared, input);
    source(&Block::new(&vm, &plan.txs, state))
}

/// A hint for each scheduled transaction: that of `about` for the block's own, and none for its rites.
pub fn about_users(
    input: &BlockInput,
    mut about: impl FnMut(usize, &TxEnv) -> Hint<EvmKey>,
) -> Vec<Hint<EvmKey>> {
    let hint = |tx: &EvmTx| match tx {
        EvmTx::User(index) => about(*index as usize, &input.txs[*index as usize]),
        EvmTx::System(_) => Hint::none(),
    };
    Plan::of(input).txs.iter().map(hint).collect()
}

/// The hints about the block's own transactions, of hints about all scheduled ones.
pub fn of_users<'a>(input: &BlockInput, hints: &'a [Hint<EvmKey>]) -> &'a [Hint<EvmKey>] {
    let first = (first_position(input) as usize).min(hints.len());
    &hints[first..(first + input.txs.len()).min(hints.len())]
}

/// What a transaction says itself: who sends, whom it calls or pays, and its access list (EIP-2930), whose slots it
/// may write.
pub fn declared(tx: &TxEnv) -> Hint<EvmKey> {
    let mut access = vec![(EvmKey::Account(tx.caller), Mode::Add)];
    if let Some(to) = tx.kind.to() {
        let mode = if tx.value.is_zero() { Mode::Read } else { Mode::Add };
        access.push((EvmKey::Account(*to), mode));
    }
    for item in tx.access_list.iter() {
        access.push((EvmKey::Account(item.address), Mode::Read));
        access.extend(item.storage_keys.iter().map(|key| (slot(item.address, (*key).into()), Mode::Write)));
    }
    Hint { trust: Trust::Guess, access }
}

/// Sender and target of a transaction, as accounts that it writes: all that Reddio's batches look at
/// (reddio-com/reddio, `parallel/parallel_evm.go`).
pub fn endpoints(tx: &TxEnv) -> Hint<EvmKey> {
    let ends = [Some(tx.caller), tx.kind.to().copied()];
    let access = ends.into_iter().flatten().map(|address| (EvmKey::Account(address), Mode::Write));
    Hint { trust: Trust::Guess, access: access.collect() }
}

/// What the access list of the block (EIP-7928) says that each scheduled transaction changes. Of reads it says only
/// that somebody reads.
pub fn listed(list: &BlockAccessList, input: &BlockInput) -> Vec<Hint<EvmKey>> {
    let mut by_index: BTreeMap<u64, Vec<(EvmKey, Mode)>> = BTreeMap::new();
    let mut note = |index: BlockAccessIndex, key: EvmKey, mode: Mode| {
        by_index.entry(index.get()).or_default().push((key, mode));
    };
    for account in list {
        let record = EvmKey::Account(account.address);
        for changes in &account.storage_changes {
            let key = slot(account.address, changes.slot);
            changes.changes.iter().for_each(|change| note(change.block_access_index, key, Mode::Write));
        }
        account.balance_changes.iter().for_each(|change| note(change.block_access_index, record, Mode::Add));
        account.nonce_changes.iter().for_each(|change| note(change.block_access_index, record, Mode::Add));
        account.code_changes.iter().for_each(|change| note(change.block_access_index, record, Mode::Write));
    }
    about_users(input, |index, _| Hint {
        trust: Trust::Guess,
        access: by_index.remove(&(index as u64 + 1)).unwrap_or_default(),
    })
}

/// The hint in whole accounts, with their storage, as chains lock them that know no slots: who changes anything of
/// an account excludes everyone else from it. Fees to `beneficiary` are left out, as such chains collect them
/// apart.
pub fn by_account(hint: &Hint<EvmKey>, beneficiary: Address) -> Hint<EvmKey> {
    let mut modes: BTreeMap<Address, Mode> = BTreeMap::new();
    for (key, mode) in &hint.access {
        let (address, mode) = match (key, mode) {
            (EvmKey::Account(address), Mode::Add) if *address == beneficiary => continue,
            (EvmKey::Account(address) | EvmKey::Slot { address, .. }, Mode::Read) => (*address, Mode::Read),
            (EvmKey::Account(address) | EvmKey::Slot { address, .. }, _) => (*address, Mode::Write),
            (EvmKey::Code(_), _) => continue,
        };
        modes.entry(address).and_modify(|has| *has = has.with(mode)).or_insert(mode);
    }
    let access = modes.into_iter().map(|(address, mode)| (EvmKey::Account(address), mode)).collect();
    Hint { trust: hint.trust, access }
}

fn slot(address: Address, slot: U256) -> EvmKey {
    EvmKey::Slot { address, generation: 0, slot }
}
