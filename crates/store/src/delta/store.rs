//! The store and its views.

use super::{
    log::{Commit, FIRST, HEAD, Log},
    page::Child,
    tree::{Accounts, Writer, find, read_value},
};
use crate::{
    disk::{Batch, DiskError, lease::unique},
    io::Medium,
};
use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_rlp::Decodable;
use alloy_trie::{EMPTY_ROOT_HASH, TrieAccount};
use std::sync::Arc;

/// How a [`DeltaStore`] works. Each may be chosen anew whenever it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeltaOptions {
    /// Deltas of a page after which it is written whole: more take less room and more reads. At most 1024.
    pub chain: u16,
    /// Pages kept in memory.
    pub pages: usize,
}

impl Default for DeltaOptions {
    fn default() -> Self {
        DeltaOptions { chain: 16, pages: 1 << 14 }
    }
}

impl DeltaOptions {
    /// The default with another `chain`.
    pub fn chained(chain: u16) -> Self {
        DeltaOptions { chain, ..DeltaOptions::default() }
    }

    fn check(&self) -> Result<(), DiskError> {
        match self.chain {
            0..=1024 => Ok(()),
            chain => Err(DiskError::Limit { what: "deltas of a page", is: chain.into(), limit: 1024 }),
        }
    }
}

/// A store of versions whose pages are written as what changed in them: see the [module](crate::delta).
#[derive(Debug)]
pub struct DeltaStore {
    log: Arc<Log>,
    options: DeltaOptions,
    commits: Vec<Commit>,
    poisoned: bool,
}

impl DeltaStore {
    /// Creates a store on a medium of its own.
    ///
    /// # Errors
    /// An option out of range, or what the device says.
    pub fn create_on(medium: Arc<dyn Medium>, options: DeltaOptions) -> Result<Self, DiskError> {
        options.check()?;
        let log = Log::new(medium, unique(), options.pages);
        for durable in [0, 1] {
            // Both places; then that of 1 is taken back.
            log.write_superblock(durable)?;
        }
        log.medium.write_at(FIRST / 2, &[0; 4096]).map_err(DiskError::io("creating the store"))?;
        log.medium.sync().map_err(DiskError::io("creating the store"))?;
        Ok(DeltaStore { log: Arc::new(log), options, commits: Vec::new(), poisoned: false })
    }

    /// Opens the store on a medium, at the last version that was acknowledged, or the next one if it was written as a
    /// whole.
    ///
    /// # Errors
    /// [`DiskError::Damaged`] if an acknowledged version is not there, or what the device says.
    pub fn open_on(medium: Arc<dyn Medium>, options: DeltaOptions) -> Result<Self, DiskError> {
        options.check()?;
        let (id, durable) = Log::superblock(&*medium)?;
        let log = Log::new(medium, id, options.pages);
        let commits = log.commits(durable)?;
        // What was found may be in memory only.
        commits.iter().skip(durable as usize).try_for_each(|commit| log.write_again(commit))?;
        log.medium.sync().map_err(DiskError::io("opening the store"))?;
        Ok(DeltaStore { log: Arc::new(log), options, commits, poisoned: false })
    }

    /// Makes a version of the latest one by `batch`. When this returns it is durable. Its number, state root, and the
    /// bytes written.
    ///
    /// # Errors
    /// [`DiskError::Order`], [`DiskError::NoAccount`], or what the device says; after a failed sync
    /// [`DiskError::Poisoned`] from then on.
    pub fn commit(&mut self, version: u64, batch: &Batch) -> Result<(B256, u64), DiskError> {
        if self.poisoned {
            return Err(DiskError::Poisoned);
        }
        let latest = self.commits.last();
        if let Some(latest) = latest.filter(|latest| latest.version >= version) {
            return Err(DiskError::Order { version, latest: latest.version });
        }
        let (at, root) = latest.map_or((FIRST, None), |latest| (latest.end(), latest.root.clone()));
        let mut writer = Writer::new(&self.log, self.options.chain, at + HEAD as u64);
        let root = writer.change::<Accounts>(root, &batch.sorted())?;
        let hash = writer.root(root.as_ref())?;
        let Writer { body, made, .. } = writer;
        let body_crc = crc32fast::hash(&body);
        let commit = Commit { version, hash, root, at, body: body.len() as u64, body_crc };
        let (number, log) = (self.commits.len() as u64, &self.log);
        let mut bytes = commit.encode(log.id, number);
        bytes.extend_from_slice(&body);
        log.medium.write_at(at, &bytes).map_err(DiskError::io("writing a commit"))?;
        self.poisoned = true;
        log.medium.sync().map_err(DiskError::io("syncing a commit"))?;
        log.write_superblock(number + 1)?;
        self.poisoned = false;
        made.into_iter().for_each(|(place, page)| log.keep(place, page));
        self.commits.push(commit);
        Ok((hash, bytes.len() as u64 + FIRST / 2))
    }

    /// The versions and their roots, ascending.
    pub fn versions(&self) -> impl Iterator<Item = (u64, B256)> {
        self.commits.iter().map(|commit| (commit.version, commit.hash))
    }

    /// A version.
    ///
    /// # Errors
    /// [`DiskError::NoVersion`].
    pub fn view(&self, version: u64) -> Result<DeltaView, DiskError> {
        let at = self.commits.binary_search_by_key(&version, |commit| commit.version);
        let commit = &self.commits[at.map_err(|_| DiskError::NoVersion(version))?];
        Ok(DeltaView { log: self.log.clone(), root: commit.root.clone(), hash: commit.hash })
    }

    /// Bytes of the file.
    pub fn file_bytes(&self) -> u64 {
        self.commits.last().map_or(FIRST, Commit::end)
    }

    /// Reads of the device since the store was opened, and their bytes.
    pub fn reads(&self) -> (u64, u64) {
        self.log.reads()
    }

    /// Looks at every byte of every version.
    ///
    /// # Errors
    /// [`DiskError::Damaged`] with the first thing that is not as it was written, or what the device says.
    pub fn verify(&self) -> Result<(), DiskError> {
        let anew = self.log.commits(self.commits.len() as u64)?;
        for commit in &anew {
            if !self.log.is_whole(commit)? {
                return Err(DiskError::damaged("commit", commit.at, "checksum"));
            }
        }
        Ok(())
    }
}

/// One version of the state.
#[derive(Clone, Debug)]
pub struct DeltaView {
    log: Arc<Log>,
    root: Option<Child>,
    hash: B256,
}

impl DeltaView {
    /// Its state root.
    pub fn root(&self) -> B256 {
        self.hash
    }

    /// The account at `address`.
    ///
    /// # Errors
    /// If a record on the way cannot be read or is damaged.
    pub fn account(&self, address: &Address) -> Result<Option<TrieAccount>, DiskError> {
        let Some(leaf) = find(&self.log, self.root.as_ref(), &keccak256(address))? else { return Ok(None) };
        read_value(&self.log, leaf.value)?.account().map(Some)
    }

    /// The value of a slot, zero if it is empty or there is no such account.
    ///
    /// # Errors
    /// If a record on the way cannot be read or is damaged.
    pub fn slot(&self, address: &Address, slot: &U256) -> Result<U256, DiskError> {
        let Some(leaf) = find(&self.log, self.root.as_ref(), &keccak256(address))? else {
            return Ok(U256::ZERO);
        };
        let account = read_value(&self.log, leaf.value)?;
        let key = keccak256(slot.to_be_bytes::<32>());
        let Some(leaf) = find(&self.log, account.storage.as_ref(), &key)? else { return Ok(U256::ZERO) };
        let value = read_value(&self.log, leaf.value)?;
        U256::decode(&mut &value.bytes[..])
            .map_err(|error| DiskError::damaged("slot", leaf.value.at(), error.to_string()))
    }

    /// Whether the version has no account.
    pub fn is_empty(&self) -> bool {
        self.hash == EMPTY_ROOT_HASH
    }
}
