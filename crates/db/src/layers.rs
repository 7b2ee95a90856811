//! A version of the state, and above it what later blocks did: what engines execute on. And the same over any state.

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
    task::Poll,
    time::Duration,
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

/// Layers, the latest first.
#[derive(Clone, Debug, Default)]
struct Layers(Vec<Arc<Layer>>);

impl Layers {
    /// These, with one more above them.
    fn with(&self, layer: Arc<Layer>) -> Self {
        Layers(std::iter::once(layer).chain(self.0.iter().cloned()).collect())
    }

    /// What stands at an account or a slot, if a layer tells.
    fn above(&self, key: &EvmKey) -> Option<Option<EvmValue>> {
        match key {
            EvmKey::Account(address) => {
                let account = self.0.iter().find_map(|layer| layer.accounts.get(address))?;
                Some(account.map(EvmValue::Account))
            }
            // Slots of later lives are the block's own, and zero before it.
            EvmKey::Slot { generation, .. } if *generation > 0 => Some(None),
            EvmKey::Slot { address, slot, .. } => self.0.iter().find_map(|layer| {
                let value = layer.slots.get(&(*address, *slot)).map(|value| slot_value(*value));
                value.or_else(|| layer.wiped.contains(address).then_some(None))
            }),
            EvmKey::Code(_) => None,
        }
    }

    /// Code that a layer has.
    fn code(&self, hash: &B256) -> Option<EvmValue> {
        let code = self.0.iter().find_map(|layer| layer.codes.get(hash))?;
        Some(EvmValue::Code(code.clone()))
    }
}

/// Any state with layers above it. Cheap to clone; all threads may read.
#[derive(Clone, Debug)]
pub struct OverState {
    below: Arc<dyn Below<EvmKey, EvmValue>>,
    layers: Layers,
}

impl OverState {
    /// A state, without layers yet.
    pub fn new(below: Arc<dyn Below<EvmKey, EvmValue>>) -> Self {
        OverState { below, layers: Layers::default() }
    }

    /// This state with one more layer.
    #[must_use]
    pub fn with(&self, layer: Arc<Layer>) -> Self {
        OverState { below: self.below.clone(), layers: self.layers.with(layer) }
    }
}

impl Below<EvmKey, EvmValue> for OverState {
    fn reader(&self) -> Result<Box<dyn Reader<EvmKey, EvmValue> + '_>, StoreError> {
        Ok(Box::new(OverReader { layers: &self.layers, below: self.below.reader()? }))
    }
}

struct OverReader<'a> {
    layers: &'a Layers,
    below: Box<dyn Reader<EvmKey, EvmValue> + 'a>,
}

impl Reader<EvmKey, EvmValue> for OverReader<'_> {
    fn get(&mut self, key: &EvmKey) -> Result<Option<EvmValue>, StoreError> {
        let above = match key {
            EvmKey::Code(hash) => self.layers.code(hash).map(Some),
            key => self.layers.above(key),
        };
        above.map_or_else(|| self.below.get(key), Ok)
    }
}

/// A version of the state with layers above it. Cheap to clone; all threads may read.
#[derive(Clone, Debug)]
pub struct LayeredState {
    base: View,
    archive: Option<Arc<Archive>>,
    layers: Layers,
    /// Reads that each reader may have under way.
    overlap: u16,
}

impl LayeredState {
    pub(crate) fn new(base: View, archive: Option<Arc<Archive>>) -> Self {
        LayeredState { base, archive, layers: Layers::default(), overlap: 1 }
    }

    /// The version below all layers.
    pub fn base(&self) -> &View {
        &self.base
    }

    /// This state with one more layer.
    #[must_use]
    pub fn with(&self, layer: Arc<Layer>) -> Self {
        LayeredState { layers: self.layers.with(layer), ..self.clone() }
    }

    /// This state over a later version, in which its `count` lowest layers are.
    #[must_use]
    pub fn rebased(&self, base: View, count: usize) -> Self {
        let kept = self.depth().saturating_sub(count);
        LayeredState { base, layers: Layers(self.layers.0[..kept].to_vec()), ..self.clone() }
    }

    /// The same state, of which each reader may have so many reads under way at a time: for a state whose pages are
    /// seldom in memory. Executions are then suspended over their reads. Code is waited for. Without effect on a medium
    /// that has no queue for reads, or none to give.
    #[must_use]
    pub fn overlapping(mut self, reads: u16) -> Self {
        self.overlap = if reads > 1 && self.base.can_overlap() { reads } else { 1 };
        self
    }

    /// How many layers it has.
    pub fn depth(&self) -> usize {
        self.layers.0.len()
    }

    fn code(&self, hash: &B256) -> Result<Option<EvmValue>, StoreError> {
        if let Some(code) = self.layers.code(hash) {
            return Ok(Some(code));
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
        let base = match self.overlap {
            0 | 1 => self.base.reader(),
            _ => self.base.overlapping_reader()?,
        };
        Ok(Box::new(LayeredReader { state: self, base }))
    }

    fn overlap(&self) -> u16 {
        self.overlap
    }
}

struct LayeredReader<'a> {
    state: &'a LayeredState,
    base: ViewReader<'a>,
}

/// What stands at an account or a slot of the version.
fn below(base: &mut ViewReader<'_>, key: &EvmKey) -> Result<Option<EvmValue>, StoreError> {
    match key {
        EvmKey::Account(address) => Ok(base.account(address)?.map(|account| {
            EvmValue::Account(AccountState {
                exists: true,
                balance: account.balance,
                nonce: account.nonce,
                code_hash: account.code_hash,
                generation: 0,
                has_storage: account.storage_root != EMPTY_ROOT_HASH,
            })
        })),
        EvmKey::Slot { address, slot, .. } => Ok(slot_value(base.slot(address, slot)?)),
        EvmKey::Code(_) => Ok(None),
    }
}

impl Reader<EvmKey, EvmValue> for LayeredReader<'_> {
    fn get(&mut self, key: &EvmKey) -> Result<Option<EvmValue>, StoreError> {
        match (self.state.layers.above(key), key) {
            (Some(value), _) => Ok(value),
            (None, EvmKey::Code(hash)) => self.state.code(hash),
            (None, key) => below(&mut self.base, key),
        }
    }

    fn prefetch(&mut self, keys: &[EvmKey]) {
        for key in keys {
            let stored = !matches!(key, EvmKey::Code(_)) && self.state.layers.above(key).is_none();
            if stored && !self.base.begin(|base| below(base, key)) {
                return;
            }
        }
    }

    fn poll(&mut self, key: &EvmKey, read: u32) -> Poll<Result<Option<EvmValue>, StoreError>> {
        match (self.state.layers.above(key), key) {
            (Some(value), _) => Poll::Ready(Ok(value)),
            (None, EvmKey::Code(hash)) => Poll::Ready(self.state.code(hash)),
            (None, key) => self.base.poll(read, |base| below(base, key)),
        }
    }

    fn wait(&mut self, timeout: Duration, ready: &mut Vec<u32>) {
        self.base.wait(timeout, ready);
    }
}

fn slot_value(value: U256) -> Option<EvmValue> {
    (!value.is_zero()).then_some(EvmValue::Slot(value))
}
