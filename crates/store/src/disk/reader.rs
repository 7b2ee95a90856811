//! Reading from another process.

use super::{
    error::DiskError,
    journal::Journal,
    lease::{Held, SharedLock},
    ledger::Ledger,
    options::DiskOptions,
    read::View,
    store::{FILE, best, root_of, share, superblocks},
    verify::{self, Verified},
};
use crate::io::{FileMedium, Medium};
use alloy_primitives::B256;
use alloy_trie::TrieAccount;
use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

/// How often the journal is read again if the writer changes it meanwhile.
const ATTEMPTS: usize = 8;

/// A store on disk, open to read while another process may write.
#[derive(Debug)]
pub struct DiskReader {
    medium: Arc<dyn Medium>,
    folder: PathBuf,
    options: DiskOptions,
}

impl DiskReader {
    /// Opens the store in a folder. Of the options, only the sizes of memory count.
    ///
    /// # Errors
    /// [`DiskError::Damaged`], or what the device says.
    pub fn open(folder: &Path, options: DiskOptions) -> Result<Self, DiskError> {
        let medium = FileMedium::open(&folder.join(FILE), false);
        let medium = Arc::new(medium.map_err(DiskError::io("opening the store"))?);
        let reader = DiskReader { medium, folder: folder.to_owned(), options };
        reader.ledger()?;
        Ok(reader)
    }

    fn ledger(&self) -> Result<(super::layout::Geometry, Ledger), DiskError> {
        let mut last = None;
        for attempt in 0..ATTEMPTS {
            std::thread::sleep(Duration::from_millis(attempt as u64));
            let found = superblocks(&*self.medium)
                .and_then(|blocks| best(&blocks))
                .and_then(|block| Ok((block.geometry, Journal::recover(&*self.medium, &block)?.0)));
            match found {
                Ok(found) => return Ok(found),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or(DiskError::Poisoned))
    }

    /// Retained versions and their roots at this moment, ascending.
    ///
    /// # Errors
    /// [`DiskError::Damaged`], or what the device says.
    pub fn versions(&self) -> Result<Vec<(u64, B256)>, DiskError> {
        let (_, ledger) = self.ledger()?;
        Ok(ledger.versions.iter().map(|version| (version.version, version.hash)).collect())
    }

    /// A retained version under a lease: it stays for `time`, and as long again whenever the lease is
    /// [renewed](View::renew), unless this process ends. After that its reads fail. Where no lease can be written (a
    /// read-only or full medium, no permission), nobody can open the store to write while there is the view.
    ///
    /// # Errors
    /// [`DiskError::NoVersion`]; if no lease can be written and somebody writes, why; or what the device says.
    pub fn view(&self, version: u64, time: Duration) -> Result<View, DiskError> {
        let missing = || DiskError::NoVersion(version);
        let seq = self.ledger()?.1.find(version).ok_or_else(missing)?.seq;
        let held = Held::take(&self.folder, (version, seq), time)?;
        // Only what is retained after the lease is known is sure to stay.
        let (geometry, ledger) = self.ledger()?;
        let found = ledger.find(version).filter(|found| found.seq == seq).ok_or_else(missing)?;
        let root = root_of(found);
        let shared = share(self.medium.clone(), geometry, &ledger, &self.options);
        Ok(View::held_by(Arc::new(shared), root, held))
    }

    /// As [`DiskStore::verify_with`](super::DiskStore::verify_with). Nobody can open the store to write meanwhile.
    ///
    /// # Errors
    /// [`DiskError::Locked`] if somebody writes; [`DiskError::Damaged`] with the first thing that is not as it was
    /// written, or what the device says.
    pub fn verify_with(
        &self,
        stop: &AtomicBool,
        mut account: impl FnMut(&TrieAccount),
    ) -> Result<Option<Verified>, DiskError> {
        let _lock = SharedLock::take(&self.folder)?;
        if let Some(error) = superblocks(&*self.medium)?.into_iter().find_map(Result::err) {
            return Err(error);
        }
        let (geometry, ledger) = self.ledger()?;
        let options = DiskOptions { flat_entries: 0, ..self.options };
        let shared = share(self.medium.clone(), geometry, &ledger, &options);
        verify::verify(&shared.pages, &ledger, stop, &mut account)
    }
}
