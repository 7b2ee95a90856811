//! A version of the state, and above it what later blocks did: what engines execute on.

use crate::{DbError, archive::Archive};
use alloy_primitives::{Address, B256, U256};
use alloy_trie::{EMPTY_ROOT_HASH, TrieAccount};
use braid_core::{Reader, StoreError};
use braid_evm::{AccountState, EvmKey, EvmValue, ExecutedBlock};
use braid_store::{
    Below,
    disk::{Batch, View, ViewReader},
};
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use revm::bytecode::Bytecode;
use std::{
    panic::{RefUnwindSafe, UnwindSafe},
    sync::Arc,
};

/// What one block did to the state.
#[derive(Debug, Default)]
pub struct Layer {
    accounts: HashMap<Address, Option<AccountState>, RandomState>,
    slots: HashMap<(Address, U256), U256, RandomState>,
    /// Accounts whose slots of before the block are gone.
    wiped: HashSet<Address, RandomState>,
    codes: HashMap<B256, Bytecode, RandomState>,
}

pub(crate) fn analyse(hash: &B256, code: alloy_primitives::Bytes) -> Result<Bytecode, StoreError> {
    Bytecode::new_raw_checked(code).map_err(|error| StoreError::Failed(format!("code {hash}: {error}")))
}

impl Layer {
    /// What `done` did on the state that `before` reads.
    ///
    /// # Errors
    /// [`StoreError`] if `before` cannot be read, or a code is none that can be deployed.
    pub fn new(done: &ExecutedBlock, before: &mut dyn Reader<EvmKey, EvmValue>) -> Result<Layer, StoreError> {
        let mut layer = Layer::default();
        for (hash, code) in &done.codes {
            layer.codes.insert(*hash, analyse(hash, code.clone())?);
        }
        for (address, diff) in &done.diff {
            let had_storage = match before.get(&EvmKey::Account(*address))? {
                Some(EvmValue::Account(account)) => account.has_storage,
                _ => false,
            };
            if diff.wiped || diff.account.is_none() {
                layer.wiped.insert(*address);
            }
            let slots = diff.storage.iter().map(|(slot, value)| ((*address, *slot), *value));
            layer.slots.extend(slots);
            // May say so of an account whose last slot went: it is asked of accounts that are to be created,
            // and one that ever wrote a slot has a nonce, or code, and is refused for that.
            let has_storage =
                (had_storage && !diff.wiped) || diff.storage.values().any(|value| !value.is_zero());
            let account = diff.account.map(|info| AccountState {
                exists: true,
                balance: info.balance,
                nonce: info.nonce,
                code_hash: info.code_hash,
                generation: 0,
                has_storage,
            });
            layer.accounts.insert(*address, account);
        }
        Ok(layer)
    }

    /// Accounts and slots that it changes.
    pub fn len(&self) -> usize {
        self.accounts.len() + self.slots.len()
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }
}

/// The changes of a block as the store takes them.
pub(crate) fn batch(done: &ExecutedBlock) -> Batch {
    let mut batch = Batch::default();
    for (address, diff) in &done.diff {
        let account = diff.account.map(|info| TrieAccount {
            nonce: info.nonce,
            balance: info.balance,
            code_hash: info.code_hash,
            ..TrieAccount::default()
        });
        let slots = diff.storage.iter().map(|(slot, value)| (*slot, *value));
        batch.change(*address, account, diff.wiped, slots);
    }
    batch
}

/// A version of the state with layers above it. Cheap to clone; all threads may read.
#[derive(Clone, Debug)]
pub struct LayeredState {
    base: View,
    archive: Option<Arc<Archive>>,
    /// The latest first.
    layers: Vec<Arc<Layer>>,
}

impl LayeredState {
    pub(crate) fn new(base: View, archive: Option<Arc<Archive>>) -> Self {
        LayeredState { base, archive, layers: Vec::new() }
    }

    /// The version below all layers.
    pub fn base(&self) -> &View {
        &self.base
    }

    /// This state with one more layer.
    #[must_use]
    pub fn with(&self, layer: Arc<Layer>) -> Self {
        let layers = std::iter::once(layer).chain(self.layers.iter().cloned()).collect();
        LayeredState { layers, ..self.clone() }
    }

    /// This state over a later version, in which its `count` lowest layers are.
    #[must_use]
    pub fn rebased(&self, base: View, count: usize) -> Self {
        let kept = self.layers.len().saturating_sub(count);
        LayeredState { base, layers: self.layers[..kept].to_vec(), archive: self.archive.clone() }
    }

    /// How many layers it has.
    pub fn depth(&self) -> usize {
        self.layers.len()
    }

    fn code(&self, hash: &B256) -> Result<Option<EvmValue>, StoreError> {
        if let Some(code) = self.layers.iter().find_map(|layer| layer.codes.get(hash)) {
            return Ok(Some(EvmValue::Code(code.clone())));
        }
        let Some(archive) = &self.archive else {
            return Err(DbError::Archive {
                doing: "reading code",
                reason: "another process has it open to write".into(),
            }
            .into());
        };
        let code = archive.code(hash)?;
        code.map(|code| Ok(EvmValue::Code(analyse(hash, code)?))).transpose()
    }
}

// What a panic could leave half done inside are caches behind locks, each of which is filled by whole entries.
impl UnwindSafe for LayeredState {}
impl RefUnwindSafe for LayeredState {}

impl Below<EvmKey, EvmValue> for LayeredState {
    fn reader(&self) -> Result<Box<dyn Reader<EvmKey, EvmValue> + '_>, StoreError> {
        Ok(Box::new(LayeredReader { state: self, base: self.base.reader() }))
    }
}

struct LayeredReader<'a> {
    state: &'a LayeredState,
    base: ViewReader<'a>,
}

impl Reader<EvmKey, EvmValue> for LayeredReader<'_> {
    fn get(&mut self, key: &EvmKey) -> Result<Option<EvmValue>, StoreError> {
        let layers = &self.state.layers;
        match key {
            EvmKey::Account(address) => {
                if let Some(account) = layers.iter().find_map(|layer| layer.accounts.get(address)) {
                    return Ok(account.map(EvmValue::Account));
                }
                let account = self.base.account(address)?;
                Ok(account.map(|account| {
                    EvmValue::Account(AccountState {
                        exists: true,
                        balance: account.balance,
                        nonce: account.nonce,
                        code_hash: account.code_hash,
                        generation: 0,
                        has_storage: account.storage_root != EMPTY_ROOT_HASH,
                    })
                }))
            }
            // Slots of later lives are the block's own, and zero before it.
            EvmKey::Slot { generation, .. } if *generation > 0 => Ok(None),
            EvmKey::Slot { address, slot, .. } => {
                for layer in layers {
                    if let Some(value) = layer.slots.get(&(*address, *slot)) {
                        return Ok(slot_value(*value));
                    }
                    if layer.wiped.contains(address) {
                        return Ok(None);
                    }
                }
                Ok(slot_value(self.base.slot(address, slot)?))
            }
            EvmKey::Code(hash) => self.state.code(hash),
        }
    }
}

fn slot_value(value: U256) -> Option<EvmValue> {
    (!value.is_zero()).then_some(EvmValue::Slot(value))
}
