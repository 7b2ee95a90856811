//! From the changes of a schedule to the difference of a block, and that to what really changed.

use crate::{AccountDiff, AccountInfoDiff, AccountState, EvmChanges, EvmKey, EvmValue, ExecutedBlock};
use alloy_primitives::{Address, U256};
use braid_core::{Reader, State, StoreError};
use std::collections::{BTreeMap, HashMap, HashSet};

impl ExecutedBlock {
    /// Enters the `changes` of a schedule. Slots of an account's earlier lives are left out.
    ///
    /// # Errors
    /// If `pre` cannot be read: accounts of which only slots changed are completed from it.
    pub fn enter<S: State<EvmKey, EvmValue>>(
        &mut self,
        changes: &EvmChanges,
        pre: &S,
    ) -> Result<(), StoreError> {
        let mut reader = pre.reader()?;
        let mut records: HashMap<Address, AccountState> = HashMap::new();
        for (key, value) in changes {
            match (key, value) {
                (EvmKey::Account(address), Some(EvmValue::Account(account))) => {
                    records.insert(*address, *account);
                }
                (EvmKey::Account(address), _) => drop(records.insert(*address, AccountState::default())),
                (EvmKey::Code(hash), Some(EvmValue::Code(code))) => {
                    self.codes.insert(*hash, code.original_bytes());
                }
                _ => {}
            }
        }
        for (key, value) in changes {
            let EvmKey::Slot { address, generation, slot } = key else { continue };
            let record = match records.get(address) {
                Some(record) => *record,
                None => *records.entry(*address).or_insert(read_account(&mut reader, *address)?),
            };
            if *generation == record.generation {
                let entry = self.diff.entry(*address).or_insert_with(|| account_diff(&record));
                entry.storage.insert(*slot, slot_value(value.as_ref()));
            }
        }
        for (address, record) in &records {
            self.diff.entry(*address).or_insert_with(|| account_diff(record));
        }
        Ok(())
    }

    /// Leaves out accounts and slots that end as they were in `pre`, so that two engines that changed
    /// the same list the same.
    ///
    /// # Errors
    /// If `pre` cannot be read.
    pub fn minimize<S: State<EvmKey, EvmValue>>(&mut self, pre: &S) -> Result<(), StoreError> {
        let mut reader = pre.reader()?;
        let (mut minimal, mut deployed) = (BTreeMap::new(), HashSet::new());
        for (address, mut entry) in std::mem::take(&mut self.diff) {
            let before = read_account(&mut reader, address)?;
            // An account that is gone took its storage with it, whatever the engine says of either.
            let listed = std::mem::take(&mut entry.storage);
            let listed = if entry.account.is_some() { listed } else { BTreeMap::new() };
            entry.wiped |= entry.account.is_none();
            let mut kept = BTreeMap::new();
            for (slot, value) in listed {
                let key = EvmKey::Slot { address, generation: 0, slot };
                let was = if entry.wiped { U256::ZERO } else { slot_value(reader.get(&key)?.as_ref()) };
                if was != value {
                    kept.insert(slot, value);
                }
            }
            entry.storage = kept;
            entry.wiped &= before.has_storage;
            let was = before.exists.then(|| AccountInfoDiff::from(&before));
            if let Some(now) = entry.account.filter(|now| now.code_hash != before.code_hash) {
                deployed.insert(now.code_hash);
            }
            if entry.account != was || entry.wiped || !entry.storage.is_empty() {
                minimal.insert(address, entry);
            }
        }
        self.diff = minimal;
        // Engines also keep code that was only loaded, or deployed and destroyed again.
        self.codes.retain(|hash, _| deployed.contains(hash));
        Ok(())
    }
}

fn read_account<R: Reader<EvmKey, EvmValue>>(
    reader: &mut R,
    address: Address,
) -> Result<AccountState, StoreError> {
    Ok(match reader.get(&EvmKey::Account(address))? {
        Some(EvmValue::Account(account)) => account,
        _ => AccountState::default(),
    })
}

fn slot_value(value: Option<&EvmValue>) -> U256 {
    match value {
        Some(EvmValue::Slot(value)) => *value,
        _ => U256::ZERO,
    }
}

fn account_diff(record: &AccountState) -> AccountDiff {
    AccountDiff {
        account: record.exists.then(|| AccountInfoDiff::from(record)),
        wiped: record.generation > 0,
        storage: BTreeMap::new(),
    }
}
