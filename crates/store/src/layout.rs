//! What the layouts of a versioned state have in common, so that they can be held against each other.

use crate::{
    delta::DeltaStore,
    disk::{Batch, DiskError, DiskStore},
};
use alloy_primitives::{Address, B256, U256};
use alloy_trie::TrieAccount;

/// A store of versions of accounts and their storage, each with its state root.
pub trait Layout {
    /// Makes a version of the latest one by `batch`. When this returns it is durable; its state root.
    ///
    /// # Errors
    /// As the store's own commit.
    fn apply(&mut self, version: u64, batch: &Batch) -> Result<B256, DiskError>;

    /// Retained versions and their roots, ascending.
    fn roots(&self) -> Vec<(u64, B256)>;

    /// An account in a version.
    ///
    /// # Errors
    /// [`DiskError::NoVersion`], or what cannot be read.
    fn account(&self, version: u64, address: &Address) -> Result<Option<TrieAccount>, DiskError>;

    /// A slot in a version; zero if it is empty.
    ///
    /// # Errors
    /// [`DiskError::NoVersion`], or what cannot be read.
    fn slot(&self, version: u64, address: &Address, slot: &U256) -> Result<U256, DiskError>;

    /// Bytes that versions take on the device, what is only set aside for growth left out.
    ///
    /// # Errors
    /// What the device says.
    fn bytes(&self) -> Result<u64, DiskError>;

    /// Reads of the device since the store was opened.
    ///
    /// # Errors
    /// What the device says.
    fn reads(&self) -> Result<u64, DiskError>;
}

impl Layout for DiskStore {
    fn apply(&mut self, version: u64, batch: &Batch) -> Result<B256, DiskError> {
        DiskStore::apply(self, version, batch).map(|committed| committed.root)
    }

    fn roots(&self) -> Vec<(u64, B256)> {
        self.versions().collect()
    }

    fn account(&self, version: u64, address: &Address) -> Result<Option<TrieAccount>, DiskError> {
        self.view(version)?.account(address)
    }

    fn slot(&self, version: u64, address: &Address, slot: &U256) -> Result<U256, DiskError> {
        self.view(version)?.slot(address, slot)
    }

    /// Of nodes; neither pages that are not full nor the journal count.
    fn bytes(&self) -> Result<u64, DiskError> {
        Ok(self.stat()?.live_bytes)
    }

    fn reads(&self) -> Result<u64, DiskError> {
        Ok(self.stat()?.page_reads)
    }
}

impl Layout for DeltaStore {
    fn apply(&mut self, version: u64, batch: &Batch) -> Result<B256, DiskError> {
        self.commit(version, batch).map(|(root, _)| root)
    }

    fn roots(&self) -> Vec<(u64, B256)> {
        self.versions().collect()
    }

    fn account(&self, version: u64, address: &Address) -> Result<Option<TrieAccount>, DiskError> {
        self.view(version)?.account(address)
    }

    fn slot(&self, version: u64, address: &Address, slot: &U256) -> Result<U256, DiskError> {
        self.view(version)?.slot(address, slot)
    }

    /// All of the file.
    fn bytes(&self) -> Result<u64, DiskError> {
        Ok(self.file_bytes())
    }

    fn reads(&self) -> Result<u64, DiskError> {
        Ok(DeltaStore::reads(self).0)
    }
}
