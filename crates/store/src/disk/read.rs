//! Reading one version.

use super::{
    error::DiskError,
    flat::Flat,
    hash::{common, nibble},
    kinds,
    layout::Ptr,
    lease::{Lease, WriterLock},
    pages::Pages,
    record::{self, Owner, Stored, StoredLeaf},
};
use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_rlp::Decodable;
use alloy_trie::TrieAccount;
use braid_core::{Reader, State, StoreError};
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc};

/// A version as readers know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Root {
    pub(super) version: u64,
    pub(super) seq: u64,
    pub(super) ptr: Ptr,
    pub(super) hash: B256,
}

/// Versions that may be read, and who reads them.
#[derive(Debug, Default)]
pub(super) struct Readers {
    /// By version.
    pub(super) roots: BTreeMap<u64, Root>,
    /// Commits that are read, and by how many.
    pub(super) pins: BTreeMap<u64, usize>,
    /// Lower commits are about to go.
    pub(super) floor: u64,
}

/// What all who read a store share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) pages: Pages,
    pub(super) flat: Flat,
    pub(super) readers: Mutex<Readers>,
    /// The writer's, if there is one: it ends with the last who looks.
    pub(super) lock: Mutex<Option<WriterLock>>,
}

/// What keeps a version from going while it is read.
#[derive(Debug)]
enum Hold {
    Pin(Arc<Shared>, u64),
    Lease(Lease),
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Hold::Pin(shared, seq) = self {
            let mut readers = shared.readers.lock();
            if let Some(count) = readers.pins.get_mut(seq) {
                *count -= 1;
                if *count == 0 {
                    readers.pins.remove(seq);
                }
            }
        }
    }
}

/// One version of the state, which stays while there is a view of it. Cheap to clone; all threads may read.
#[derive(Clone, Debug)]
pub struct View {
    shared: Arc<Shared>,
    root: Root,
    hold: Arc<Hold>,
}

impl Shared {
    pub(super) fn view(self: &Arc<Self>, version: u64) -> Result<View, DiskError> {
        let mut readers = self.readers.lock();
        let root = readers.roots.get(&version).copied().filter(|root| root.seq >= readers.floor);
        let root = root.ok_or(DiskError::NoVersion(version))?;
        *readers.pins.entry(root.seq).or_default() += 1;
        drop(readers);
        Ok(View { shared: self.clone(), root, hold: Arc::new(Hold::Pin(self.clone(), root.seq)) })
    }
}

/// The leaf at `key` of the trie whose root is at `root`.
pub(super) fn find(
    pages: &Pages,
    root: Ptr,
    owner: Owner,
    key: &B256,
) -> Result<Option<StoredLeaf>, DiskError> {
    let (mut ptr, mut depth) = (root, 0);
    while !ptr.is_none() {
        let (node, _, whose) = record::decode(&pages.get(ptr)?, ptr)?;
        let (at, end) = match &node {
            Stored::Leaf(leaf) => (&leaf.key, 64),
            Stored::Branch(branch) => (&branch.key, branch.end),
        };
        let shared = common(key, at);
        if whose != owner || shared < depth || end < depth {
            return Err(DiskError::damaged("node", ptr.0, "it belongs elsewhere"));
        }
        match node {
            Stored::Leaf(leaf) => return Ok((shared == 64).then_some(leaf)),
            Stored::Branch(_) if shared < end => return Ok(None),
            Stored::Branch(branch) => {
                ptr = branch.child_ptr(nibble(key, end)).unwrap_or(Ptr::NONE);
                depth = end + 1;
            }
        }
    }
    Ok(None)
}

impl View {
    pub(super) fn leased(shared: Arc<Shared>, root: Root, lease: Lease) -> View {
        View { shared, root, hold: Arc::new(Hold::Lease(lease)) }
    }

    /// The version.
    pub fn version(&self) -> u64 {
        self.root.version
    }

    /// Its state root.
    pub fn root(&self) -> B256 {
        self.root.hash
    }

    /// Makes a lease last for its time from now on. A view within the writer's process needs none.
    ///
    /// # Errors
    /// [`DiskError::LeaseExpired`] if it was over, or the lease cannot be written.
    pub fn renew(&self) -> Result<(), DiskError> {
        match &*self.hold {
            Hold::Pin(..) => Ok(()),
            Hold::Lease(lease) => lease.renew(),
        }
    }

    /// Passes on what was read, if the version was held until now.
    pub(super) fn held<T>(&self, read: Result<T, DiskError>) -> Result<T, DiskError> {
        if let Hold::Lease(lease) = &*self.hold {
            lease.check()?;
        }
        read
    }

    pub(super) fn pages(&self) -> &Pages {
        &self.shared.pages
    }

    pub(super) fn root_ptr(&self) -> Ptr {
        self.root.ptr
    }

    /// An account and where its storage is.
    pub(super) fn find_account(&self, address: &Address) -> Result<Option<(TrieAccount, Ptr)>, DiskError> {
        let leaf = find(self.pages(), self.root.ptr, None, &keccak256(address))?;
        leaf.map(|leaf| Ok((kinds::decode(&leaf)?, leaf.storage))).transpose()
    }

    fn find_slot(&self, address: &Address, storage: Ptr, slot: &U256) -> Result<U256, DiskError> {
        let owner = record::owner_of(&keccak256(address));
        let leaf = find(self.pages(), storage, owner, &keccak256(slot.to_be_bytes::<32>()))?;
        let Some(leaf) = leaf else { return Ok(U256::ZERO) };
        let value = U256::decode(&mut leaf.value());
        value.map_err(|error| DiskError::damaged("slot", storage.0, format!("{}: {error}", leaf.key)))
    }

    /// The account at `address`.
    ///
    /// # Errors
    /// If a node on the way cannot be read or is damaged.
    pub fn account(&self, address: &Address) -> Result<Option<TrieAccount>, DiskError> {
        self.reader().account(address)
    }

    /// The value of a slot, zero if it is empty or there is no such account.
    ///
    /// # Errors
    /// If a node on the way cannot be read or is damaged.
    pub fn slot(&self, address: &Address, slot: &U256) -> Result<U256, DiskError> {
        self.reader().slot(address, slot)
    }

    /// A handle for one thread, which remembers where the storage of the last account is.
    pub fn reader(&self) -> ViewReader<'_> {
        ViewReader { view: self, last: None }
    }

    /// The version as a [`State`] of some machine's keys and values: `read` says what stands at a key.
    pub fn state<K, V, F>(&self, read: F) -> ViewState<F>
    where
        F: Fn(&mut ViewReader<'_>, &K) -> Result<Option<V>, StoreError> + Sync,
    {
        ViewState { view: self.clone(), read }
    }
}

/// One thread's handle on a view.
#[derive(Debug)]
pub struct ViewReader<'a> {
    view: &'a View,
    last: Option<(Address, Ptr)>,
}

impl ViewReader<'_> {
    /// The account at `address`.
    ///
    /// # Errors
    /// If a node on the way cannot be read or is damaged.
    pub fn account(&mut self, address: &Address) -> Result<Option<TrieAccount>, DiskError> {
        let (flat, seq) = (&self.view.shared.flat, self.view.root.seq);
        if let Some(account) = flat.account(seq, address) {
            return Ok(account);
        }
        let found = self.view.held(self.view.find_account(address))?;
        self.last = Some((*address, found.map_or(Ptr::NONE, |(_, storage)| storage)));
        let account = found.map(|(account, _)| account);
        flat.found_account(seq, *address, account);
        Ok(account)
    }

    /// The value of a slot, zero if it is empty or there is no such account.
    ///
    /// # Errors
    /// If a node on the way cannot be read or is damaged.
    pub fn slot(&mut self, address: &Address, slot: &U256) -> Result<U256, DiskError> {
        let (flat, seq) = (&self.view.shared.flat, self.view.root.seq);
        if let Some(value) = flat.slot(seq, address, slot) {
            return Ok(value);
        }
        let storage = match self.last {
            Some((last, storage)) if last == *address => storage,
            _ => {
                let found = self.view.held(self.view.find_account(address))?;
                let storage = found.map_or(Ptr::NONE, |(_, storage)| storage);
                self.last = Some((*address, storage));
                storage
            }
        };
        let value = self.view.held(self.view.find_slot(address, storage, slot))?;
        flat.found_slot(seq, *address, *slot, value);
        Ok(value)
    }
}

/// A version as the state before a block.
#[derive(Clone, Debug)]
pub struct ViewState<F> {
    view: View,
    read: F,
}

/// One worker's handle on a [`ViewState`].
#[derive(Debug)]
pub struct ViewStateReader<'a, F> {
    reader: ViewReader<'a>,
    read: &'a F,
}

impl<K, V, F> State<K, V> for ViewState<F>
where
    F: Fn(&mut ViewReader<'_>, &K) -> Result<Option<V>, StoreError> + Sync,
{
    type Reader<'a>
        = ViewStateReader<'a, F>
    where
        Self: 'a;

    fn reader(&self) -> Result<Self::Reader<'_>, StoreError> {
        Ok(ViewStateReader { reader: self.view.reader(), read: &self.read })
    }
}

impl<K, V, F> Reader<K, V> for ViewStateReader<'_, F>
where
    F: Fn(&mut ViewReader<'_>, &K) -> Result<Option<V>, StoreError>,
{
    fn get(&mut self, key: &K) -> Result<Option<V>, StoreError> {
        (self.read)(&mut self.reader, key)
    }
}
