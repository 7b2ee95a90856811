//! The caller's state, as the engine reads it.

use alloy_primitives::B256;
use braid_core::{Reader, State, StoreError};
use braid_evm::{AccountState, EvmKey, EvmValue};
use revm::DatabaseRef;
use std::sync::Arc;

/// The state before a block, to be read by several threads at a time: each has a reader of its own, which
/// stays on its thread, so that a cursor or a transaction of a database belongs there and needs no lock.
///
/// It must not change as long as anybody holds it. It is held for as long as the block it was given for is
/// executed ahead, which ends soon after its executor is dropped.
///
/// An [`Arc`] of any [`DatabaseRef`] is one.
pub trait Snapshot: Send + Sync + 'static {
    /// A handle for one thread.
    type Reader<'a>: DatabaseRef
    where
        Self: 'a;

    /// Opens a handle.
    ///
    /// # Errors
    /// If the database cannot be read. Then the block is executed serially.
    fn reader(&self) -> Result<Self::Reader<'_>, StoreError>;
}

impl<D: DatabaseRef + Send + Sync + 'static> Snapshot for Arc<D> {
    type Reader<'a> = &'a D;

    fn reader(&self) -> Result<&D, StoreError> {
        Ok(self)
    }
}

/// A snapshot as the state of a schedule.
pub(crate) struct SnapshotState<S>(pub(crate) S);

/// A reader of one.
pub(crate) struct SnapshotReader<R>(pub(crate) R);

impl<S: Snapshot> State<EvmKey, EvmValue> for SnapshotState<S> {
    type Reader<'a> = SnapshotReader<S::Reader<'a>>;

    fn reader(&self) -> Result<Self::Reader<'_>, StoreError> {
        Ok(SnapshotReader(self.0.reader()?))
    }
}

fn failed(error: impl std::fmt::Display) -> StoreError {
    StoreError::Failed(error.to_string())
}

impl<R: DatabaseRef> SnapshotReader<R> {
    pub(crate) fn block_hash(&self, number: u64) -> Result<B256, StoreError> {
        self.0.block_hash_ref(number).map_err(failed)
    }
}

impl<R: DatabaseRef> Reader<EvmKey, EvmValue> for SnapshotReader<R> {
    fn get(&mut self, key: &EvmKey) -> Result<Option<EvmValue>, StoreError> {
        match key {
            EvmKey::Account(address) => {
                let info = self.0.basic_ref(*address).map_err(failed)?;
                Ok(info.map(|info| {
                    EvmValue::Account(AccountState {
                        exists: true,
                        balance: info.balance,
                        nonce: info.nonce,
                        code_hash: info.code_hash,
                        // EIP-7610 is not checked: alloy-evm does not, and could not ask its database.
                        ..AccountState::default()
                    })
                }))
            }
            EvmKey::Slot { generation: 0, address, slot } => {
                Ok(Some(EvmValue::Slot(self.0.storage_ref(*address, *slot).map_err(failed)?)))
            }
            EvmKey::Slot { .. } => Ok(None),
            EvmKey::Code(hash) => Ok(Some(EvmValue::Code(self.0.code_by_hash_ref(*hash).map_err(failed)?))),
        }
    }
}
