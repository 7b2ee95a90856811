//! From the state that revm leaves to writes.

use super::source::StockSource;
use crate::{AccountDelta, AccountState, EvmKey, EvmValue, Touches};
use alloy_primitives::{Address, U256};
use braid_core::Write;
use revm::{
    primitives::hardfork::SpecId,
    state::{Account, EvmState},
};

/// Writes what changed: accounts by address, each with its code and its slots; then the blind credit.
pub(super) fn write(
    state: EvmState,
    source: &StockSource<'_>,
    spec: SpecId,
    writes: &mut Vec<(EvmKey, Write<EvmValue>)>,
) {
    let state_clear = spec.is_enabled_in(SpecId::SPURIOUS_DRAGON);
    // revm's map has no order that could be relied upon.
    let mut accounts: Vec<(Address, Account)> =
        state.into_iter().filter(|(_, account)| account.is_touched()).collect();
    accounts.sort_unstable_by_key(|(address, _)| *address);
    for (address, account) in &accounts {
        let before = source.records.get(address).copied().unwrap_or_default();
        if account.is_selfdestructed() || (state_clear && account.is_empty()) {
            remove(*address, account, &before, writes);
        } else {
            change(*address, account, &before, source, writes);
        }
    }
    if let Some((address, credit)) = source.blind {
        let delta = AccountDelta { credit, ..AccountDelta::default() };
        writes.push((EvmKey::Account(address), Write::Add(delta)));
    }
}

/// Tells which accounts were read, and which slots were loaded.
pub(super) fn touch(state: &EvmState, source: &StockSource<'_>, touches: &mut Touches) {
    for address in source.records.keys() {
        touches.accounts.push(*address);
        // revm's maps have no order that could be relied upon.
        let first = touches.slots.len();
        let slots = state.get(address).into_iter().flat_map(|account| account.storage.keys());
        touches.slots.extend(slots.map(|slot| (*address, *slot)));
        touches.slots[first..].sort_unstable();
    }
}

/// An account that is gone takes its storage with it.
fn remove(
    address: Address,
    account: &Account,
    before: &AccountState,
    writes: &mut Vec<(EvmKey, Write<EvmValue>)>,
) {
    if before.exists {
        // An empty account has storage only from before EIP-161.
        let ends = account.is_selfdestructed() || before.has_storage;
        let generation = before.generation + u32::from(ends);
        let gone = AccountState { generation, ..AccountState::default() };
        writes.push((EvmKey::Account(address), Write::Put(EvmValue::Account(gone))));
    }
}

fn change(
    address: Address,
    account: &Account,
    before: &AccountState,
    source: &StockSource<'_>,
    writes: &mut Vec<(EvmKey, Write<EvmValue>)>,
) {
    let created = account.is_created();
    let generation = before.generation + u32::from(created);
    let info = &account.info;
    let after = AccountState {
        exists: true,
        balance: info.balance,
        nonce: info.nonce,
        code_hash: info.code_hash,
        generation,
        has_storage: before.has_storage && !created,
    };
    if after != *before {
        writes.push((EvmKey::Account(address), Write::Put(EvmValue::Account(after))));
    }
    if info.code_hash != before.code_hash
        && let Some(code) = info.code.as_ref().filter(|code| !code.is_empty())
    {
        source.source.codes.insert(info.code_hash, code);
        let key = EvmKey::Code(info.code_hash);
        if !writes.iter().any(|(written, _)| *written == key) {
            writes.push((key, Write::Put(EvmValue::Code(code.clone()))));
        }
    }
    let mut slots: Vec<(U256, U256)> = account
        .storage
        .iter()
        .map(|(slot, value)| (*slot, if created { U256::ZERO } else { value.original_value() }, value))
        .filter(|(_, was, value)| *was != value.present_value())
        .map(|(slot, _, value)| (slot, value.present_value()))
        .collect();
    slots.sort_unstable_by_key(|(slot, _)| *slot);
    for (slot, value) in slots {
        let key = EvmKey::Slot { address, generation, slot };
        writes.push((key, Write::Put(EvmValue::Slot(value))));
    }
}
