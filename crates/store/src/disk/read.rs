//! Reading one version.

use super::{
    ahead::{Ahead, Step, TaskId, Want},
    error::DiskError,
    flat::Flat,
    kinds,
    layout::Ptr,
    lease::{Held, WriterLock},
    pages::{Page, Pages},
    record::{self, Owner, Stored, StoredLeaf},
};
use crate::node::{common, nibble};
use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_rlp::Decodable;
use alloy_trie::TrieAccount;
use braid_core::{Reader, State, StoreError};
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc, task::Poll, time::Duration};

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
    Other(Held),
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

/// A way down a trie, as far as it has been gone.
#[derive(Debug)]
pub(super) struct Walk {
    ptr: Ptr,
    depth: usize,
    owner: Owner,
    key: B256,
    leaf: Option<StoredLeaf>,
}

impl Walk {
    /// The way to `key` in the trie whose root is at `root`.
    pub(super) fn new(root: Ptr, owner: Owner, key: B256) -> Self {
        Walk::below(root, 0, owner, key)
    }

    /// The way to `key` from the node at `ptr`, which stands at `depth`.
    pub(super) fn below(ptr: Ptr, depth: usize, owner: Owner, key: B256) -> Self {
        Walk { ptr, depth, owner, key, leaf: None }
    }

    /// The node that comes next; `None` at the end.
    pub(super) fn next(&self) -> Option<Ptr> {
        (!self.ptr.is_none()).then_some(self.ptr)
    }

    /// What was found at the end.
    pub(super) fn found(&self) -> Option<StoredLeaf> {
        self.leaf.clone()
    }

    /// Goes past the node that comes next, which is in `page`.
    pub(super) fn step(&mut self, page: &Arc<Page>) -> Result<(), DiskError> {
        let ptr = std::mem::replace(&mut self.ptr, Ptr::NONE);
        let (node, _, whose) = record::decode(page.clone(), ptr)?;
        let (at, end) = match &node {
            Stored::Leaf(leaf) => (&leaf.key, 64),
            Stored::Branch(branch) => (&branch.key, branch.end),
        };
        let shared = common(&self.key, at);
        if whose != self.owner || shared < self.depth || end < self.depth {
            return Err(DiskError::damaged("node", ptr.0, "it belongs elsewhere"));
        }
        match node {
            Stored::Leaf(leaf) => self.leaf = (shared == 64).then_some(leaf),
            Stored::Branch(_) if shared < end => {}
            Stored::Branch(branch) => {
                self.ptr = branch.child_ptr(nibble(&self.key, end)).unwrap_or(Ptr::NONE);
                self.depth = end + 1;
            }
        }
        Ok(())
    }
}

/// The leaf at `key` of the trie whose root is at `root`.
pub(super) fn find(
    pages: &Pages,
    root: Ptr,
    owner: Owner,
    key: &B256,
) -> Result<Option<StoredLeaf>, DiskError> {
    let mut walk = Walk::new(root, owner, *key);
    while let Some(ptr) = walk.next() {
        walk.step(&pages.get(ptr)?)?;
    }
    Ok(walk.leaf)
}

/// An account and where its storage is.
pub(super) fn leaf_of_account(leaf: &StoredLeaf) -> Result<(TrieAccount, Ptr), DiskError> {
    Ok((kinds::decode(leaf)?, leaf.storage))
}

/// The value of a slot.
fn leaf_of_slot(leaf: Option<StoredLeaf>, storage: Ptr) -> Result<U256, DiskError> {
    let Some(leaf) = leaf else { return Ok(U256::ZERO) };
    let value = U256::decode(&mut leaf.value());
    value.map_err(|error| DiskError::damaged("slot", storage.0, format!("{}: {error}", leaf.key)))
}

impl View {
    /// In another process than the writer's.
    pub(super) fn held_by(shared: Arc<Shared>, root: Root, held: Held) -> View {
        View { shared, root, hold: Arc::new(Hold::Other(held)) }
    }

    /// The version.
    pub fn version(&self) -> u64 {
        self.root.version
    }

    /// Its state root.
    pub fn root(&self) -> B256 {
        self.root.hash
    }

    /// Makes a lease last for its time from now on. A view within the writer's process needs none, nor does one that
    /// keeps writers away.
    ///
    /// # Errors
    /// [`DiskError::LeaseExpired`] if it was over, or the lease cannot be written.
    pub fn renew(&self) -> Result<(), DiskError> {
        match &*self.hold {
            Hold::Pin(..) | Hold::Other(Held::Lock { .. }) => Ok(()),
            Hold::Other(Held::Lease(lease)) => lease.renew(),
        }
    }

    /// Passes on what was read, if the version was held until now.
    pub(super) fn held<T>(&self, read: Result<T, DiskError>) -> Result<T, DiskError> {
        if let Hold::Other(Held::Lease(lease)) = &*self.hold {
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
        leaf.as_ref().map(leaf_of_account).transpose()
    }

    fn find_slot(&self, address: &Address, storage: Ptr, slot: &U256) -> Result<U256, DiskError> {
        let owner = record::owner_of(&keccak256(address));
        leaf_of_slot(find(self.pages(), storage, owner, &keccak256(slot.to_be_bytes::<32>()))?, storage)
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
        ViewReader { view: self, last: None, ahead: None, task: None, pending: false }
    }

    /// As [`Self::reader`], a handle that [polls](ViewReader::poll) without waiting, if the medium has a
    /// [queue](crate::io::Medium::queue) for it.
    ///
    /// # Errors
    /// If a queue cannot be set up.
    pub fn overlapping_reader(&self) -> Result<ViewReader<'_>, DiskError> {
        let queue = self.pages().queue().map_err(DiskError::io("setting up reads"))?;
        let mut reader = self.reader();
        reader.ahead = queue.map(|queue| Box::new(Ahead::new(queue)));
        Ok(reader)
    }

    /// Whether the medium has a queue for [`Self::overlapping_reader`], and one to give.
    pub fn can_overlap(&self) -> bool {
        let queue = self.pages().queue().unwrap_or(None);
        let can = queue.is_some();
        queue.into_iter().for_each(|queue| self.pages().keep_queue(queue));
        can
    }

    /// The version as a [`State`] of some machine's keys and values: `read` says what stands at a key.
    pub fn state<K, V, F>(&self, read: F) -> ViewState<F>
    where
        F: Fn(&mut ViewReader<'_>, &K) -> Result<Option<V>, StoreError> + Sync,
    {
        ViewState { view: self.clone(), read, overlap: 1 }
    }
}

/// One thread's handle on a view.
#[derive(Debug)]
pub struct ViewReader<'a> {
    view: &'a View,
    last: Option<(Address, Ptr)>,
    /// Reads under way, if there may be any.
    ahead: Option<Box<Ahead>>,
    /// Who reads without waiting, if that is so at the moment.
    task: Option<TaskId>,
    /// Whether a read at the moment had to be left for later: then what it returned does not count.
    pending: bool,
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
        let found = self.find_account(address)?;
        let account = found.map(|(account, _)| account);
        self.view.shared.flat.found_account(seq, *address, account);
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
        if let Some(ahead) = &mut self.ahead {
            ahead.asks.get_or_insert(Want::Slot(*address, *slot));
        }
        let storage = match self.last {
            Some((last, storage)) if last == *address && self.task.is_none() => storage,
            _ => self.find_account(address)?.map_or(Ptr::NONE, |(_, storage)| storage),
        };
        let value = match (&mut self.ahead, self.task) {
            (Some(ahead), Some(task)) => {
                let step = ahead.slot(self.view.pages(), storage, task, slot);
                let leaf = self.left(step)?;
                self.view.held(leaf_of_slot(leaf, storage))?
            }
            _ => self.view.held(self.view.find_slot(address, storage, slot))?,
        };
        self.view.shared.flat.found_slot(seq, *address, *slot, value);
        Ok(value)
    }

    fn find_account(&mut self, address: &Address) -> Result<Option<(TrieAccount, Ptr)>, DiskError> {
        let found = match (&mut self.ahead, self.task) {
            (Some(ahead), Some(task)) => {
                ahead.asks.get_or_insert(Want::Account(*address));
                let step = ahead.account(self.view.pages(), self.view.root.ptr, task, address);
                let found = self.left(step);
                self.view.held(found)?
            }
            _ => self.view.held(self.view.find_account(address))?,
        };
        self.last = Some((*address, found.map_or(Ptr::NONE, |(_, storage)| storage)));
        Ok(found)
    }

    /// Notes that a read is left for later. The error is seen by nobody.
    fn left<T>(&mut self, step: Result<Step<T>, DiskError>) -> Result<T, DiskError> {
        match step? {
            Step::Done(value) => Ok(value),
            Step::Pending => {
                self.pending = true;
                Err(DiskError::Io { doing: "waiting for a page", reason: String::new() })
            }
        }
    }

    /// Reads by `read` without waiting, as `task`; `None` if it has to be polled again.
    fn attempt<T>(&mut self, task: TaskId, read: impl FnOnce(&mut Self) -> T) -> Option<T> {
        let impatient = self.ahead.as_ref().is_none_or(|ahead| ahead.is_impatient(task));
        (self.task, self.pending) = ((!impatient).then_some(task), false);
        self.ahead.iter_mut().for_each(|ahead| ahead.asks = None);
        let result = read(self);
        self.task = None;
        if self.pending {
            return None;
        }
        if let Some(ahead) = &mut self.ahead {
            ahead.end(task);
        }
        Some(result)
    }

    /// Reads by `read` without waiting, under a number of the caller's: [`Poll::Pending`] begins to read what is not
    /// in memory, and [`Self::wait`] tells when it is worth asking the same again. Waits on a reader that is not
    /// [overlapping](View::overlapping_reader).
    pub fn poll<T>(&mut self, number: u32, read: impl FnOnce(&mut Self) -> T) -> Poll<T> {
        if self.ahead.is_none() {
            return Poll::Ready(read(self));
        }
        self.attempt(TaskId::Caller(number), read).map_or(Poll::Pending, Poll::Ready)
    }

    /// Waits until a read under way can go on, at most for `timeout`, and appends the numbers of all that can.
    pub fn wait(&mut self, timeout: Duration, ready: &mut Vec<u32>) {
        self.collect(timeout, ready);
    }

    /// Begins to read what `read` asks for, because somebody may want it soon; says whether more may be begun.
    pub fn begin<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> bool {
        let Some(task) = self.ahead.as_mut().and_then(|ahead| ahead.begin_early()) else { return false };
        if self.attempt(task, read).is_none()
            && let Some(ahead) = &mut self.ahead
        {
            ahead.keep_early(task);
        }
        true
    }

    /// Begins, or goes on with, a read that somebody may want soon.
    fn go_early(&mut self, task: TaskId, want: Want) {
        // What fails fails again for who wants it.
        let _ = self.attempt(task, |reader| match want {
            Want::Account(address) => drop(reader.account(&address)),
            Want::Slot(address, slot) => drop(reader.slot(&address, &slot)),
        });
    }

    /// Waits for pages, at most for `timeout`, and appends the numbers of the polls that can go on.
    fn collect(&mut self, timeout: Duration, ready: &mut Vec<u32>) {
        let Some(ahead) = &mut self.ahead else { return };
        for task in ahead.collect(self.view.pages(), timeout) {
            match task {
                TaskId::Caller(number) => ready.push(number),
                TaskId::Early(_) => {
                    let want = self.ahead.as_ref().and_then(|ahead| ahead.want(task));
                    if let Some(want) = want {
                        self.go_early(task, want);
                    }
                }
            }
        }
    }
}

impl Drop for ViewReader<'_> {
    fn drop(&mut self) {
        if let Some(queue) = self.ahead.take().and_then(|ahead| ahead.into_queue()) {
            self.view.pages().keep_queue(queue);
        }
    }
}

/// A version as the state before a block.
#[derive(Clone, Debug)]
pub struct ViewState<F> {
    view: View,
    read: F,
    overlap: u16,
}

impl<F> ViewState<F> {
    /// The same state, of which each reader may have so many reads under way at a time: for a state whose pages are
    /// seldom in memory. Without effect on a medium that has no [queue](crate::io::Medium::queue), or none to give.
    #[must_use]
    pub fn overlapping(mut self, reads: u16) -> Self {
        self.overlap = if reads > 1 && self.view.can_overlap() { reads } else { 1 };
        self
    }
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
        let reader = match self.overlap {
            0 | 1 => self.view.reader(),
            _ => self.view.overlapping_reader()?,
        };
        Ok(ViewStateReader { reader, read: &self.read })
    }

    fn overlap(&self) -> u16 {
        self.overlap
    }
}

impl<K, V, F> Reader<K, V> for ViewStateReader<'_, F>
where
    F: Fn(&mut ViewReader<'_>, &K) -> Result<Option<V>, StoreError>,
{
    fn get(&mut self, key: &K) -> Result<Option<V>, StoreError> {
        (self.read)(&mut self.reader, key)
    }

    fn poll(&mut self, key: &K, read: u32) -> Poll<Result<Option<V>, StoreError>> {
        self.reader.poll(read, |reader| (self.read)(reader, key))
    }

    fn wait(&mut self, timeout: Duration, ready: &mut Vec<u32>) {
        self.reader.wait(timeout, ready);
    }

    fn prefetch(&mut self, keys: &[K]) {
        for key in keys {
            if !self.reader.begin(|reader| (self.read)(reader, key)) {
                return;
            }
        }
    }
}
