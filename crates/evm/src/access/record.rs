//! Recording the access list of a block from what its transactions touched and wrote.

use super::Touches;
use crate::{AccountState, EvmKey, EvmValue, key::hash_address};
use alloy_eips::eip7928::{
    AccountChanges, BalanceChange, BlockAccessIndex, BlockAccessList, CodeChange, NonceChange, SlotChanges,
    StorageChange,
};
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256};
use braid_core::{Reader, State, StoreError, Write};
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashTable};
use std::hash::{BuildHasher, Hasher};

/// The end of a chain of entries.
const NONE: u32 = u32::MAX;

/// Entries of one location, in the order in which they came.
#[derive(Clone, Copy, Debug)]
struct Chain {
    first: u32,
    last: u32,
    len: u32,
}

impl Chain {
    const EMPTY: Chain = Chain { first: NONE, last: NONE, len: 0 };

    /// Appends `entry` to the chain; it goes to the end of `all`.
    fn push<T>(&mut self, all: &mut Vec<Link<T>>, index: u32, entry: T) {
        let at = all.len() as u32;
        all.push(Link { next: NONE, index, entry });
        if self.first == NONE {
            self.first = at;
        } else {
            all[self.last as usize].next = at;
        }
        self.last = at;
        self.len += 1;
    }

    fn iter<T>(self, all: &[Link<T>]) -> impl Iterator<Item = &Link<T>> {
        let get = |at: u32| all.get(at as usize);
        std::iter::successors(get(self.first), move |link| get(link.next))
    }
}

#[derive(Debug)]
struct Link<T> {
    next: u32,
    index: u32,
    entry: T,
}

#[derive(Debug)]
struct Account {
    address: Address,
    changes: Chain,
}

#[derive(Debug)]
struct Slot {
    account: u32,
    key: U256,
    changes: Chain,
}

/// Gathers final transactions in block order. Values that need the state before the block, which the
/// deltas of accounts do, are worked out at the end, once for each account.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    hasher: RandomState,
    /// Places of accounts and slots, of generation 0.
    account_table: HashTable<u32>,
    slot_table: HashTable<u32>,
    accounts: Vec<Account>,
    slots: Vec<Slot>,
    records: Vec<Link<Write<EvmValue>>>,
    words: Vec<Link<U256>>,
    /// Deployed codes. Only looked up.
    codes: HashMap<B256, Bytes, RandomState>,
    /// Places of what the transaction at hand touched.
    touched_accounts: Vec<u32>,
    touched_slots: Vec<u32>,
}

fn hash_of_account(hasher: &RandomState, address: &Address) -> u64 {
    let mut state = hasher.build_hasher();
    hash_address(address, 0, &mut state);
    state.finish()
}

fn hash_of_slot(hasher: &RandomState, account: u32, key: &U256) -> u64 {
    let mut state = hasher.build_hasher();
    state.write_u32(account);
    key.as_limbs().iter().for_each(|limb| state.write_u64(*limb));
    state.finish()
}

/// The position of what `is` in `all`, looked for from `from` on and then from the start; and moves `from`
/// behind it. What is written was mostly touched in the same order.
fn next_where<T>(all: &[T], from: &mut usize, is: impl Fn(&T) -> bool) -> Option<usize> {
    let (before, after) = all.split_at((*from).min(all.len()));
    let found = after.iter().position(&is).map(|at| before.len() + at);
    let found = found.or_else(|| before.iter().position(is))?;
    *from = found + 1;
    Some(found)
}

/// A transaction that touched more than this has its writes hashed instead of looked for.
const LOOKED_FOR: usize = 256;

impl Recorder {
    /// For a block of so many transactions.
    pub(crate) fn new(txs: usize) -> Self {
        Recorder {
            accounts: Vec::with_capacity(txs * 2),
            slots: Vec::with_capacity(txs * 4),
            records: Vec::with_capacity(txs * 4),
            words: Vec::with_capacity(txs * 2),
            ..Recorder::default()
        }
    }

    fn account(&mut self, address: Address) -> u32 {
        let Recorder { hasher, account_table, accounts, .. } = self;
        let hash = hash_of_account(hasher, &address);
        if let Some(at) = account_table.find(hash, |at| accounts[*at as usize].address == address) {
            return *at;
        }
        let at = accounts.len() as u32;
        accounts.push(Account { address, changes: Chain::EMPTY });
        account_table.insert_unique(hash, at, |at| hash_of_account(hasher, &accounts[*at as usize].address));
        at
    }

    fn slot(&mut self, account: u32, key: U256) -> u32 {
        let Recorder { hasher, slot_table, slots, .. } = self;
        let hash = hash_of_slot(hasher, account, &key);
        let is = |at: &u32| slots[*at as usize].key == key && slots[*at as usize].account == account;
        if let Some(at) = slot_table.find(hash, is) {
            return *at;
        }
        let at = slots.len() as u32;
        slots.push(Slot { account, key, changes: Chain::EMPTY });
        slot_table.insert_unique(hash, at, |at| {
            let slot = &slots[*at as usize];
            hash_of_slot(hasher, slot.account, &slot.key)
        });
        at
    }

    /// Enters what the next transaction, at `index`, touched and wrote.
    pub(crate) fn enter(&mut self, index: u32, writes: &[(EvmKey, Write<EvmValue>)], touches: &Touches) {
        self.touched_accounts.clear();
        for address in &touches.accounts {
            let at = self.account(*address);
            self.touched_accounts.push(at);
        }
        self.touched_slots.clear();
        let mut last = None;
        for (address, slot) in &touches.slots {
            let account = match last {
                Some((same, account)) if same == *address => account,
                _ => self.account(*address),
            };
            last = Some((*address, account));
            let at = self.slot(account, *slot);
            self.touched_slots.push(at);
        }
        let (mut next_account, mut next_slot) = (0, 0);
        let look = touches.accounts.len() + touches.slots.len() <= LOOKED_FOR;
        for (key, write) in writes {
            match (key, write) {
                (EvmKey::Account(address), _) => {
                    let touched = if look { touches.accounts.as_slice() } else { &[] };
                    let at = match next_where(touched, &mut next_account, |touched| touched == address) {
                        Some(at) => self.touched_accounts[at],
                        None => self.account(*address),
                    };
                    self.accounts[at as usize].changes.push(&mut self.records, index, write.clone());
                }
                (EvmKey::Slot { address, slot, .. }, _) => {
                    let touched = if look { touches.slots.as_slice() } else { &[] };
                    let is = |touched: &(Address, U256)| touched.1 == *slot && touched.0 == *address;
                    let at = match next_where(touched, &mut next_slot, is) {
                        Some(at) => self.touched_slots[at],
                        None => {
                            let account = self.account(*address);
                            self.slot(account, *slot)
                        }
                    };
                    let value = match write {
                        Write::Put(EvmValue::Slot(value)) => *value,
                        _ => U256::ZERO,
                    };
                    self.slots[at as usize].changes.push(&mut self.words, index, value);
                }
                (EvmKey::Code(hash), Write::Put(EvmValue::Code(code))) => {
                    self.codes.entry(*hash).or_insert_with(|| code.original_bytes());
                }
                (EvmKey::Code(_), _) => {}
            }
        }
    }

    /// The list, given the state before the block.
    ///
    /// # Errors
    /// If that cannot be read.
    pub(crate) fn finish<S: State<EvmKey, EvmValue>>(self, pre: &S) -> Result<BlockAccessList, StoreError> {
        let mut reader = pre.reader()?;
        let mut order: Vec<(u64, u32)> =
            self.accounts.iter().map(|one| leading(&one.address)).zip(0..).collect();
        order.sort_unstable_by(|left, right| {
            let address = |at: u32| self.accounts[at as usize].address;
            left.0.cmp(&right.0).then_with(|| address(left.1).cmp(&address(right.1)))
        });
        let (grouped, ends) = self.slots_by_account();
        let mut list = Vec::with_capacity(order.len());
        for (_, at) in order {
            let mut entry = self.account_changes(&self.accounts[at as usize], &mut reader)?;
            let start = if at == 0 { 0 } else { ends[at as usize - 1] };
            let own = &grouped[start as usize..ends[at as usize] as usize];
            for slot in own.iter().map(|slot| &self.slots[*slot as usize]) {
                let changes = match slot.changes.len {
                    0 => Vec::new(),
                    _ => self.slot_changes(entry.address, slot, &mut reader)?,
                };
                if changes.is_empty() {
                    entry.storage_reads.push(slot.key);
                } else {
                    entry.storage_changes.push(SlotChanges::new(slot.key, changes));
                }
            }
            list.push(entry);
        }
        Ok(list)
    }

    /// The slots of each account, ascending, side by side, and where those of each account end.
    fn slots_by_account(&self) -> (Vec<u32>, Vec<u32>) {
        let mut ends = vec![0u32; self.accounts.len()];
        self.slots.iter().for_each(|slot| ends[slot.account as usize] += 1);
        let mut sum = 0;
        for end in &mut ends {
            (sum, *end) = (sum + *end, sum);
        }
        let mut grouped = vec![0; self.slots.len()];
        for (slot, at) in self.slots.iter().zip(0..) {
            let end = &mut ends[slot.account as usize];
            grouped[*end as usize] = at;
            *end += 1;
        }
        let mut start = 0;
        for end in &ends {
            grouped[start..*end as usize].sort_unstable_by_key(|at| self.slots[*at as usize].key);
            start = *end as usize;
        }
        (grouped, ends)
    }

    fn account_changes<R: Reader<EvmKey, EvmValue>>(
        &self,
        account: &Account,
        reader: &mut R,
    ) -> Result<AccountChanges, StoreError> {
        let mut changes = AccountChanges::new(account.address);
        if account.changes.first == NONE {
            return Ok(changes);
        }
        let mut after = record(reader.get(&EvmKey::Account(account.address))?.as_ref());
        changes.balance_changes.reserve_exact(account.changes.len as usize);
        let mut links = account.changes.iter(&self.records).peekable();
        while let Some(link) = links.next() {
            let before = after;
            after = after.written(&link.entry);
            while let Some(same) = links.next_if(|next| next.index == link.index) {
                after = after.written(&same.entry);
            }
            let at = BlockAccessIndex::new(link.index.into());
            if after.balance != before.balance {
                changes.balance_changes.push(BalanceChange::new(at, after.balance));
            }
            if after.nonce != before.nonce {
                changes.nonce_changes.push(NonceChange::new(at, after.nonce));
            }
            if after.code_hash != before.code_hash {
                changes.code_changes.push(CodeChange::new(at, self.code(after.code_hash, reader)?));
            }
        }
        Ok(changes)
    }

    fn code<R: Reader<EvmKey, EvmValue>>(&self, hash: B256, reader: &mut R) -> Result<Bytes, StoreError> {
        if hash == KECCAK256_EMPTY {
            return Ok(Bytes::new());
        }
        if let Some(code) = self.codes.get(&hash) {
            return Ok(code.clone());
        }
        match reader.get(&EvmKey::Code(hash))? {
            Some(EvmValue::Code(code)) => Ok(code.original_bytes()),
            _ => Err(StoreError::Missing { what: "code", item: hash.to_string() }),
        }
    }

    /// Every write is a change, as the machine leaves out those that are none; only where several
    /// transactions share an index, later ones may take back what earlier ones did.
    fn slot_changes<R: Reader<EvmKey, EvmValue>>(
        &self,
        address: Address,
        slot: &Slot,
        reader: &mut R,
    ) -> Result<Vec<StorageChange>, StoreError> {
        let mut changes: Vec<StorageChange> = Vec::with_capacity(slot.changes.len as usize);
        let mut links = slot.changes.iter(&self.words).peekable();
        while let Some(link) = links.next() {
            let mut value = link.entry;
            let mut several = false;
            while let Some(same) = links.next_if(|next| next.index == link.index) {
                (value, several) = (same.entry, true);
            }
            if several {
                let before = match changes.last() {
                    Some(change) => change.new_value,
                    None => {
                        let key = EvmKey::Slot { address, generation: 0, slot: slot.key };
                        word(reader.get(&key)?.as_ref())
                    }
                };
                if value == before {
                    continue;
                }
            }
            changes.push(StorageChange::new(BlockAccessIndex::new(link.index.into()), value));
        }
        Ok(changes)
    }
}

/// The first bytes of an address, in whose order addresses mostly are.
fn leading(address: &Address) -> u64 {
    let mut leading = [0; 8];
    leading.copy_from_slice(&address[..8]);
    u64::from_be_bytes(leading)
}

/// A record; that of nothing, if there is none.
pub(super) fn record(value: Option<&EvmValue>) -> AccountState {
    match value {
        Some(EvmValue::Account(account)) => *account,
        _ => AccountState::default(),
    }
}

/// A word; zero, if there is none.
pub(super) fn word(value: Option<&EvmValue>) -> U256 {
    match value {
        Some(EvmValue::Slot(value)) => *value,
        _ => U256::ZERO,
    }
}
