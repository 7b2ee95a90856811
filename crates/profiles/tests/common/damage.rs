//! Access lists with one thing wrong.

use alloy_eips::eip7928::{
    BalanceChange, BlockAccessIndex, CodeChange, NonceChange, SlotChanges, StorageChange,
};
use alloy_primitives::{Address, Bytes, U256};
use braid_evm::{AccessEntry, AccessPart, AccountChanges, BlockAccessList, access_list_rlp};
use braid_testkit::Rng;

/// A damaged list.
pub struct Damaged {
    pub bytes: Bytes,
    /// What was done to it.
    pub what: String,
    /// The entry that must be named, where the damage says so.
    pub entry: Option<AccessEntry>,
}

/// How many kinds of damage there are.
pub const KINDS: u64 = 22;

fn pick<T>(rng: &mut Rng, from: &[T]) -> Option<usize> {
    (!from.is_empty()).then(|| rng.below(from.len() as u64) as usize)
}

/// Something that stands at an index.
trait Change: Clone {
    fn at(&self) -> u64;
    fn set(&mut self, index: u64);
    fn spoil(&mut self);
}

macro_rules! change {
    ($($type:ident: |$change:ident| $spoil:expr;)*) => {$(
        impl Change for $type {
            fn at(&self) -> u64 {
                self.block_access_index.get()
            }
            fn set(&mut self, index: u64) {
                self.block_access_index = BlockAccessIndex::new(index);
            }
            fn spoil(&mut self) {
                let $change = self;
                $spoil
            }
        }
    )*};
}

change! {
    StorageChange: |change| change.new_value = change.new_value.wrapping_add(U256::ONE);
    BalanceChange: |change| change.post_balance = change.post_balance.wrapping_add(U256::ONE);
    NonceChange: |change| change.new_nonce = change.new_nonce.wrapping_add(1);
    CodeChange: |change| change.new_code = [change.new_code.as_ref(), &[0]].concat().into();
}

/// What is done to a row of changes.
#[derive(Clone, Copy, Debug)]
enum Blow {
    Remove,
    Add,
    Spoil,
    Move,
    Swap,
    Repeat,
}

/// Damages a row; the index at which it shows, if its order stays right.
fn strike<T: Change>(rng: &mut Rng, row: &mut Vec<T>, last: u64, blow: Blow) -> Option<Option<u64>> {
    let at = pick(rng, row)?;
    let (index, free): (u64, Vec<u64>) =
        (row[at].at(), (0..=last).filter(|index| row.iter().all(|change| change.at() != *index)).collect());
    Some(match blow {
        Blow::Remove => {
            row.remove(at);
            Some(index)
        }
        Blow::Spoil => {
            row[at].spoil();
            Some(index)
        }
        Blow::Add | Blow::Move => {
            let to = free[pick(rng, &free)?];
            let mut change = row[at].clone();
            change.set(to);
            change.spoil();
            if matches!(blow, Blow::Move) {
                row.remove(at);
            }
            row.push(change);
            row.sort_by_key(Change::at);
            Some(if matches!(blow, Blow::Move) { index.min(to) } else { to })
        }
        Blow::Swap => {
            let other = pick(rng, row).filter(|other| *other != at)?;
            row.swap(at, other);
            None
        }
        Blow::Repeat => {
            let change = row[at].clone();
            row.insert(at, change);
            None
        }
    })
}

fn in_row(rng: &mut Rng, entry: &mut AccountChanges, last: u64, blow: Blow) -> Option<Option<AccessPart>> {
    match rng.below(4) {
        0 => {
            let at = pick(rng, &entry.storage_changes)?;
            let slot = &mut entry.storage_changes[at];
            let shown = strike(rng, &mut slot.changes, last, blow)?;
            // A slot without a change is refused as such, and one without any is read.
            if slot.changes.is_empty() {
                let key = entry.storage_changes.remove(at).slot;
                entry.storage_reads.push(key);
                entry.storage_reads.sort();
                return Some(shown.map(|index| AccessPart::Storage(key, index)));
            }
            let key = slot.slot;
            Some(shown.map(|index| AccessPart::Storage(key, index)))
        }
        1 => Some(strike(rng, &mut entry.balance_changes, last, blow)?.map(AccessPart::Balance)),
        2 => Some(strike(rng, &mut entry.nonce_changes, last, blow)?.map(AccessPart::Nonce)),
        _ => Some(strike(rng, &mut entry.code_changes, last, blow)?.map(AccessPart::Code)),
    }
}

fn of_slots(rng: &mut Rng, entry: &mut AccountChanges, kind: u64, last: u64) -> Option<Option<AccessPart>> {
    let (reads, writes) = (&mut entry.storage_reads, &mut entry.storage_changes);
    let listed = |reads: &[U256], writes: &[SlotChanges], key: &U256| {
        reads.contains(key) || writes.iter().any(|slot| slot.slot == *key)
    };
    match kind {
        0 => {
            let key = reads.remove(pick(rng, reads)?);
            Some(Some(AccessPart::Slot(key)))
        }
        1 => {
            let key = writes.remove(pick(rng, writes)?).slot;
            Some(Some(AccessPart::Slot(key)))
        }
        2 => {
            let key = U256::from(rng.below(1 << 40)) + U256::from(1u64 << 50);
            if listed(reads, writes, &key) {
                return None;
            }
            reads.push(key);
            reads.sort();
            Some(Some(AccessPart::Slot(key)))
        }
        3 => {
            // A read becomes a write.
            let key = reads.remove(pick(rng, reads)?);
            let index = rng.below(last + 1);
            let change = StorageChange::new(BlockAccessIndex::new(index), U256::from(rng.below(1 << 60)));
            writes.push(SlotChanges::new(key, vec![change]));
            writes.sort_by_key(|slot| slot.slot);
            Some(Some(AccessPart::Storage(key, index)))
        }
        4 => {
            // A write becomes a read.
            let slot = writes.remove(pick(rng, writes)?);
            reads.push(slot.slot);
            reads.sort();
            Some(Some(AccessPart::Storage(slot.slot, slot.changes[0].at())))
        }
        5 => {
            let key = writes[pick(rng, writes)?].slot;
            reads.push(key);
            reads.sort();
            Some(Some(AccessPart::Slot(key)))
        }
        6 => {
            let at = pick(rng, reads)?;
            reads.insert(at, reads[at]);
            Some(Some(AccessPart::Slot(reads[at])))
        }
        7 => {
            let (at, other) = (pick(rng, writes)?, pick(rng, writes)?);
            writes.swap(at, other);
            (at != other).then_some(None)
        }
        _ => {
            let at = pick(rng, writes)?;
            let key = writes[at].slot;
            writes[at].changes.clear();
            Some(Some(AccessPart::Slot(key)))
        }
    }
}

/// Damages `list`, of a block with so many transactions, in the way of `kind`; `None` if it has nothing
/// that could be damaged so.
pub fn damage(rng: &mut Rng, list: &BlockAccessList, txs: usize, kind: u64) -> Option<Damaged> {
    let mut list = list.clone();
    let last = txs as u64 + 1;
    let whole = access_list_rlp(&list);
    let done = |list: &BlockAccessList, entry| {
        Some(Damaged { bytes: access_list_rlp(list), what: format!("kind {kind}"), entry })
    };
    let raw =
        |bytes: Vec<u8>| Some(Damaged { bytes: bytes.into(), what: format!("kind {kind}"), entry: None });
    let at = pick(rng, &list)?;
    let address = list[at].address;
    let account = |address| Some(AccessEntry { address, part: AccessPart::Account });
    match kind {
        0..=5 => {
            let blow = [Blow::Remove, Blow::Add, Blow::Spoil, Blow::Move, Blow::Swap, Blow::Repeat];
            let part = in_row(rng, &mut list[at], last, blow[kind as usize])?;
            done(&list, part.map(|part| AccessEntry { address, part }))
        }
        6..=14 => {
            let part = of_slots(rng, &mut list[at], kind - 6, last)?;
            done(&list, part.map(|part| AccessEntry { address, part }))
        }
        15 => {
            list.remove(at);
            done(&list, account(address))
        }
        16 => {
            let address = Address::left_padding_from(&rng.below(1 << 60).to_be_bytes());
            let place = list.binary_search_by_key(&address, |entry| entry.address).err()?;
            list.insert(place, AccountChanges::new(address));
            done(&list, account(address))
        }
        17 => {
            let other = pick(rng, &list).filter(|other| *other != at)?;
            list.swap(at, other);
            done(&list, None)
        }
        18 => {
            let entry = list[at].clone();
            list.insert(at, entry);
            done(&list, account(address))
        }
        19 => raw(vec![0xc0]),
        20 => raw(whole[..rng.below(whole.len() as u64) as usize].to_vec()),
        _ => {
            let mut bytes = whole.to_vec();
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << rng.below(8);
            raw(bytes)
        }
    }
}
