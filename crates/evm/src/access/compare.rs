//! Two access lists side by side.

use super::error::{AccessListError, AccessPart, Listing};
use alloy_eips::eip7928::{AccountChanges, StorageChange};
use alloy_primitives::{Address, KECCAK256_EMPTY, U256, keccak256};
use std::cmp::Ordering;

/// The first entry in which `listed` differs from what execution `found`; both are in canonical order.
///
/// # Errors
/// [`AccessListError::Differs`] with that entry.
pub fn compare_access_lists(
    listed: &[AccountChanges],
    found: &[AccountChanges],
) -> Result<(), AccessListError> {
    let (mut listed, mut found) = (listed.iter().peekable(), found.iter().peekable());
    loop {
        let order = match (listed.peek(), found.peek()) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(left), Some(right)) => left.address.cmp(&right.address),
        };
        let only = |account: Option<&AccountChanges>, listed, found| match account {
            Some(account) => {
                Err(AccessListError::differs(account.address, AccessPart::Account, listed, found))
            }
            None => Ok(()),
        };
        match order {
            Ordering::Less => only(listed.next(), Listing::Access, Listing::Absent)?,
            Ordering::Greater => only(found.next(), Listing::Absent, Listing::Access)?,
            Ordering::Equal => {
                if let (Some(left), Some(right)) = (listed.next(), found.next()) {
                    account(left, right)?;
                }
            }
        }
    }
}

fn account(listed: &AccountChanges, found: &AccountChanges) -> Result<(), AccessListError> {
    let address = listed.address;
    slots(address, listed, found)?;
    let balances = |account: &AccountChanges| {
        let row = account.balance_changes.iter();
        row.map(|change| (change.block_access_index.get(), Listing::Word(change.post_balance))).collect()
    };
    let nonces = |account: &AccountChanges| {
        let row = account.nonce_changes.iter();
        row.map(|change| (change.block_access_index.get(), Listing::Nonce(change.new_nonce))).collect()
    };
    let codes = |account: &AccountChanges| {
        let hash = |code: &[u8]| if code.is_empty() { KECCAK256_EMPTY } else { keccak256(code) };
        let row = account.code_changes.iter();
        row.map(|change| (change.block_access_index.get(), Listing::Code(hash(&change.new_code)))).collect()
    };
    rows(address, AccessPart::Balance, balances(listed), balances(found))?;
    rows(address, AccessPart::Nonce, nonces(listed), nonces(found))?;
    rows(address, AccessPart::Code, codes(listed), codes(found))
}

fn slots(address: Address, listed: &AccountChanges, found: &AccountChanges) -> Result<(), AccessListError> {
    let all = |account: &AccountChanges| {
        let written = account.storage_changes.iter().map(|slot| (slot.slot, slot.changes.clone()));
        let read = account.storage_reads.iter().map(|slot| (*slot, Vec::new()));
        let mut all: Vec<(U256, Vec<StorageChange>)> = written.chain(read).collect();
        all.sort_by_key(|(slot, _)| *slot);
        all
    };
    let (listed, found) = (all(listed), all(found));
    let keys = |slots: &[(U256, Vec<StorageChange>)]| slots.iter().map(|(slot, _)| *slot).collect::<Vec<_>>();
    let (left, right) = (keys(&listed), keys(&found));
    let differ = left.iter().zip(&right).position(|(left, right)| left != right);
    let common = differ.unwrap_or(left.len().min(right.len()));
    for ((slot, left), (_, right)) in listed.iter().zip(&found).take(common) {
        let row = |changes: &[StorageChange]| {
            let row = changes.iter();
            row.map(|change| (change.block_access_index.get(), Listing::Word(change.new_value))).collect()
        };
        rows(address, |index| AccessPart::Storage(*slot, index), row(left), row(right))?;
    }
    let (left, right) = (left.get(common), right.get(common));
    let differs = |slot: &U256, listed, found| {
        Err(AccessListError::differs(address, AccessPart::Slot(*slot), listed, found))
    };
    match (left, right) {
        (None, None) => Ok(()),
        (Some(left), right) if right.is_none_or(|right| left < right) => {
            differs(left, Listing::Access, Listing::Absent)
        }
        (_, Some(right)) => differs(right, Listing::Absent, Listing::Access),
        (Some(left), None) => differs(left, Listing::Access, Listing::Absent),
    }
}

fn rows(
    address: Address,
    part: impl Fn(u64) -> AccessPart,
    listed: Vec<(u64, Listing)>,
    found: Vec<(u64, Listing)>,
) -> Result<(), AccessListError> {
    let longest = listed.len().max(found.len());
    for at in 0..longest {
        let (left, right) = (listed.get(at).copied(), found.get(at).copied());
        if left == right {
            continue;
        }
        let index = left.into_iter().chain(right).map(|(index, _)| index).min().unwrap_or_default();
        let show = |change: Option<(u64, Listing)>| {
            change.filter(|(at, _)| *at == index).map_or(Listing::Absent, |(_, value)| value)
        };
        return Err(AccessListError::differs(address, part(index), show(left), show(right)));
    }
    Ok(())
}
