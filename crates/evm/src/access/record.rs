//! Recording the access list of a block from what its transactions touched and wrote.

use super::Touches;
use crate::{AccountState, EvmKey, EvmValue};
use alloy_eips::eip7928::{
    AccountChanges, BalanceChange, BlockAccessIndex, BlockAccessList, CodeChange, NonceChange, SlotChanges,
    StorageChange,
};
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256};
use braid_core::{Reader, State, StoreError, Write};
use foldhash::fast::RandomState;
use hashbrown::HashMap;

/// The end of a chain of entries.
const NONE: u32 = u32::MAX;

/// Entries of one location, in the order in which they came.
#[derive(Clone, Copy, Debug)]
struct Chain {
    first: u32,
    last: u32,
}

impl Chain {
    const EMPTY: Chain = Chain { first: NONE, last: NONE };

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
    /// Accounts and slots by key, of generation 0.
    table: HashMap<EvmKey, u32, RandomState>,
    accounts: Vec<Account>,
    slots: Vec<Slot>,
    records: Vec<Link<Write<EvmValue>>>,
    words: Vec<Link<U256>>,
    /// Deployed codes. Only looked up.
    codes: HashMap<B256, Bytes, RandomState>,
}

impl Recorder {
    fn account(&mut self, address: Address) -> u32 {
        let accounts = &mut self.accounts;
        *self.table.entry(EvmKey::Account(address)).or_insert_with(|| {
            accounts.push(Account { address, changes: Chain::EMPTY });
            accounts.len() as u32 - 1
        })
    }

    fn slot(&mut self, address: Address, slot: U256) -> u32 {
        let key = EvmKey::Slot { address, generation: 0, slot };
        if let Some(at) = self.table.get(&key) {
            return *at;
        }
        let account = self.account(address);
        let at = self.slots.len() as u32;
        self.slots.push(Slot { account, key: slot, changes: Chain::EMPTY });
        self.table.insert(key, at);
        at
    }

    /// Enters what the next transaction, at `index`, touched and wrote.
    pub(crate) fn enter(&mut self, index: u32, writes: &[(EvmKey, Write<EvmValue>)], touches: &Touches) {
        for address in &touches.accounts {
            self.account(*address);
        }
        for (address, slot) in &touches.slots {
            self.slot(*address, *slot);
        }
        for (key, write) in writes {
            match (key, write) {
                (EvmKey::Account(address), _) => {
                    let at = self.account(*address) as usize;
                    self.accounts[at].changes.push(&mut self.records, index, write.clone());
                }
                (EvmKey::Slot { address, slot, .. }, _) => {
                    let at = self.slot(*address, *slot) as usize;
                    let value = match write {
                        Write::Put(EvmValue::Slot(value)) => *value,
                        _ => U256::ZERO,
                    };
                    self.slots[at].changes.push(&mut self.words, index, value);
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
        let mut order: Vec<u32> = (0..self.accounts.len() as u32).collect();
        order.sort_unstable_by_key(|at| self.accounts[*at as usize].address);
        let mut rank = vec![0u32; order.len()];
        order.iter().zip(0..).for_each(|(at, place)| rank[*at as usize] = place);
        let mut list = Vec::with_capacity(order.len());
        for at in &order {
            list.push(self.account_changes(&self.accounts[*at as usize], &mut reader)?);
        }
        let mut slots: Vec<(u32, U256, u32)> = self
            .slots
            .iter()
            .zip(0..)
            .map(|(slot, at)| (rank[slot.account as usize], slot.key, at))
            .collect();
        slots.sort_unstable();
        for (account, key, at) in slots {
            let entry: &mut AccountChanges = &mut list[account as usize];
            let changes = self.slot_changes(entry.address, &self.slots[at as usize], &mut reader)?;
            if changes.is_empty() {
                entry.storage_reads.push(key);
            } else {
                entry.storage_changes.push(SlotChanges::new(key, changes));
            }
        }
        Ok(list)
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
        let mut now = reader.get(&EvmKey::Account(account.address))?;
        let mut links = account.changes.iter(&self.records).peekable();
        while let Some(link) = links.next() {
            let before = record(now.as_ref());
            now = link.entry.onto(now);
            while let Some(same) = links.next_if(|next| next.index == link.index) {
                now = same.entry.onto(now);
            }
            let (after, at) = (record(now.as_ref()), BlockAccessIndex::new(link.index.into()));
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
        let mut changes: Vec<StorageChange> = Vec::new();
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
