//! Nodes as they stand in pages.
//!
//! A record does not say how deep its node stands: a leaf has its whole key, a branch all nibbles from the
//! root of its trie to where its children part, of which the lower ones are the extension above it. So a node
//! keeps its record when nodes above it come or go, and a record found in a page tells the way to it. A record
//! of a storage trie also has the first eight bytes of the hash of its account's address.

use super::{
    error::DiskError,
    layout::{PAGE, PAGE_HEAD, Ptr, RECORD_MAX, array_at, u16_at, u64_at},
    pages::Page,
};
use crate::node::Reference;
use alloy_primitives::B256;
use std::sync::Arc;

const BRANCH: u8 = 0;
const LEAF: u8 = 1;
const STORAGE: u8 = 2;

/// Tag, nibbles, children, children that stand in their parent.
const BRANCH_HEAD: usize = 6;
/// Tag, bytes of the value, key.
const LEAF_HEAD: usize = 3 + 32;
const OWNER: usize = 8;
/// Pointer and reference of a child.
pub(super) const CHILD: usize = 8 + 32;
/// Where the pointer to the storage of an account stands, and the value after it.
pub(super) const LEAF_POINTER: usize = LEAF_HEAD;
pub(super) const LEAF_VALUE: usize = LEAF_POINTER + 8;

/// The longest value of a leaf, in bytes.
pub(super) const VALUE_MAX: usize = 1024;
const _: () = assert!(LEAF_HEAD + OWNER + 8 + VALUE_MAX <= RECORD_MAX);

/// Which trie: the accounts', or the storage of the account whose hashed address begins with these bytes.
pub(super) type Owner = Option<u64>;

/// First bytes of a hashed address.
pub(super) fn owner_of(account: &B256) -> Owner {
    Some(u64::from_be_bytes(array_at(account.as_slice(), 0)))
}

/// A node in its page.
#[derive(Clone, Debug)]
pub(super) enum Stored {
    Branch(StoredBranch),
    Leaf(StoredLeaf),
}

#[derive(Clone, Debug)]
pub(super) struct StoredBranch {
    page: Arc<Page>,
    /// Where the children begin.
    children: usize,
    /// Nibbles from the root to where the children part, the rest zero.
    pub(super) key: B256,
    pub(super) end: usize,
    mask: u16,
    embedded: u16,
}

#[derive(Clone, Debug)]
pub(super) struct StoredLeaf {
    page: Arc<Page>,
    value: (usize, usize),
    pub(super) key: B256,
    /// The root of the storage of an account.
    pub(super) storage: Ptr,
}

impl StoredLeaf {
    pub(super) fn value(&self) -> &[u8] {
        &self.page.bytes[self.value.0..][..self.value.1]
    }
}

impl StoredBranch {
    /// Where the child at a nibble is, and what the branch says of it.
    pub(super) fn child(&self, nibble: usize) -> Option<(Ptr, Reference)> {
        let ptr = self.child_ptr(nibble)?;
        Some((ptr, self.reference(nibble)))
    }

    pub(super) fn child_ptr(&self, nibble: usize) -> Option<Ptr> {
        (self.mask >> nibble & 1 == 1).then(|| Ptr(u64_at(&self.page.bytes, self.child_at(nibble))))
    }

    /// A child as it stands in the record, and whether it stands there whole.
    pub(super) fn raw(&self, nibble: usize) -> (&[u8], bool) {
        (&self.page.bytes[self.child_at(nibble)..][..CHILD], self.embedded >> nibble & 1 == 1)
    }

    /// The nibbles at which there are children, as bits.
    pub(super) fn mask(&self) -> u16 {
        self.mask
    }

    fn child_at(&self, nibble: usize) -> usize {
        self.children + CHILD * (self.mask & ((1 << nibble) - 1)).count_ones() as usize
    }

    fn reference(&self, nibble: usize) -> Reference {
        let bytes = array_at(&self.page.bytes, self.child_at(nibble) + 8);
        match self.embedded >> nibble & 1 == 1 {
            true => Reference::embedded(bytes),
            false => Reference::hash(B256::from(bytes)),
        }
    }

    /// Nibbles at which there are children, ascending.
    pub(super) fn nibbles(&self) -> impl Iterator<Item = usize> + use<> {
        let mask = self.mask;
        (0..16).filter(move |nibble| mask >> nibble & 1 == 1)
    }
}

/// A node whose record begins at `ptr`, its length, and whose it is.
///
/// # Errors
/// If no such node can have been written.
pub(super) fn decode(page: Arc<Page>, ptr: Ptr) -> Result<(Stored, usize, Owner), DiskError> {
    decode_at(page, ptr.in_page()).ok_or_else(|| DiskError::damaged("node", ptr.0, "no such record"))
}

fn decode_at(page: Arc<Page>, at: usize) -> Option<(Stored, usize, Owner)> {
    let bytes = page.bytes.get(..page.used)?;
    let tag = *bytes.get(at)?;
    if at < PAGE_HEAD || tag > LEAF | STORAGE {
        return None;
    }
    let owned = tag & STORAGE != 0;
    let head = if tag & LEAF != 0 { LEAF_HEAD } else { BRANCH_HEAD };
    let (mut next, mut owner) = (at + head, None);
    if bytes.len() < next + 8 {
        return None;
    }
    if owned {
        owner = Some(u64_at(bytes, next));
        next += OWNER;
    }
    if tag & LEAF != 0 {
        let (len, key) = (usize::from(u16_at(bytes, at + 1)), B256::from(array_at(bytes, at + 3)));
        let mut storage = Ptr::NONE;
        if !owned {
            storage = Ptr(u64_at(bytes, next));
            next += 8;
        }
        let whole = bytes.len() >= next + len;
        let leaf = StoredLeaf { page, value: (next, len), key, storage };
        return whole.then_some((Stored::Leaf(leaf), next + len - at, owner));
    }
    let (end, mask, embedded) = (usize::from(bytes[at + 1]), u16_at(bytes, at + 2), u16_at(bytes, at + 4));
    let (path, count) = (end.div_ceil(2), mask.count_ones() as usize);
    let children = next + path;
    if end >= 64 || count < 2 || embedded & !mask != 0 || bytes.len() < children + CHILD * count {
        return None;
    }
    let mut key = B256::ZERO;
    key[..path].copy_from_slice(&bytes[next..children]);
    let branch = StoredBranch { page, children, key, end, mask, embedded };
    Some((Stored::Branch(branch), children + CHILD * count - at, owner))
}

/// Bytes of the record of a leaf.
pub(super) fn leaf_len(value: usize) -> usize {
    LEAF_VALUE + value
}

/// Bytes of the record of a branch.
pub(super) fn branch_len(owner: Owner, end: usize, children: usize) -> usize {
    BRANCH_HEAD + if owner.is_some() { OWNER } else { 0 } + end.div_ceil(2) + CHILD * children
}

/// Writes the record of a leaf; `into` has its length.
pub(super) fn encode_leaf(into: &mut [u8], owner: Owner, key: &B256, storage: Ptr, value: &[u8]) {
    into[0] = if owner.is_some() { LEAF | STORAGE } else { LEAF };
    into[1..3].copy_from_slice(&(value.len() as u16).to_le_bytes());
    into[3..35].copy_from_slice(key.as_slice());
    into[LEAF_POINTER..LEAF_VALUE].copy_from_slice(&owner.unwrap_or(storage.0).to_le_bytes());
    into[LEAF_VALUE..].copy_from_slice(value);
}

/// Begins the record of a branch with children at the nibbles in `mask`; `into` has its length. Where the children
/// begin, which are put there in order.
pub(super) fn begin_branch(into: &mut [u8], owner: Owner, (key, end): (&B256, usize), mask: u16) -> usize {
    into[0] = if owner.is_some() { BRANCH | STORAGE } else { BRANCH };
    into[1] = end as u8;
    into[2..4].copy_from_slice(&mask.to_le_bytes());
    let mut at = BRANCH_HEAD;
    if let Some(owner) = owner {
        into[at..at + OWNER].copy_from_slice(&owner.to_le_bytes());
        at += OWNER;
    }
    let path = end.div_ceil(2);
    into[at..at + path].copy_from_slice(&key[..path]);
    if end % 2 == 1 {
        into[at + path - 1] &= 0xf0;
    }
    at + path
}

/// Puts a child where it stands in a branch; whether it stands there whole.
pub(super) fn put_child(into: &mut [u8], ptr: Ptr, said: &Reference) -> bool {
    into[..8].copy_from_slice(&ptr.0.to_le_bytes());
    into[8..].copy_from_slice(said.padded());
    !said.is_hash()
}

/// Says which children of a branch stand there whole.
pub(super) fn set_embedded(branch: &mut [u8], embedded: u16) {
    branch[4..6].copy_from_slice(&embedded.to_le_bytes());
}

/// Puts into the record of a branch what is said of the child at a nibble.
pub(super) fn say_child(branch: &mut [u8], nibble: usize, said: &Reference) {
    let at = branch_child_at(branch, nibble) + 8;
    branch[at..at + 32].copy_from_slice(said.padded());
    let (bit, embedded) = (1 << nibble, u16_at(branch, 4));
    set_embedded(branch, if said.is_hash() { embedded & !bit } else { embedded | bit });
}

/// The number of nibbles to where the children of a branch part, from its record.
pub(super) fn branch_end(branch: &[u8]) -> usize {
    usize::from(branch[1])
}

/// Where the nibbles of a branch stand in its record.
fn branch_path(branch: &[u8]) -> std::ops::Range<usize> {
    let from = BRANCH_HEAD + if branch[0] & STORAGE != 0 { OWNER } else { 0 };
    from..from + branch_end(branch).div_ceil(2)
}

/// The nibbles from the root to where the children of a branch part, the rest zero, from its record.
pub(super) fn branch_key(branch: &[u8]) -> B256 {
    let path = &branch[branch_path(branch)];
    let mut key = B256::ZERO;
    key[..path.len()].copy_from_slice(path);
    key
}

/// Where the child at a nibble stands in the record of a branch.
pub(super) fn branch_child_at(branch: &[u8], nibble: usize) -> usize {
    let before = u16_at(branch, 2) & ((1 << nibble) - 1);
    branch_path(branch).end + CHILD * before.count_ones() as usize
}

/// The pointer of the child at a nibble, from the record of a branch.
pub(super) fn branch_child(branch: &[u8], nibble: usize) -> Ptr {
    Ptr(u64_at(branch, branch_child_at(branch, nibble)))
}

/// Children of a branch by nibble, ascending, and what is said of them, from its record.
pub(super) fn children(branch: &[u8]) -> impl Iterator<Item = (usize, Reference)> + '_ {
    let (mut mask, embedded) = (u16_at(branch, 2), u16_at(branch, 4));
    let children = branch[branch_path(branch).end..].chunks_exact(CHILD);
    children.map(move |child| {
        let nibble = mask.trailing_zeros() as usize;
        mask &= mask.wrapping_sub(1);
        let bytes = array_at(child, 8);
        match embedded >> nibble & 1 == 1 {
            true => (nibble, Reference::embedded(bytes)),
            false => (nibble, Reference::hash(B256::from(bytes))),
        }
    })
}

/// The key of a leaf, from its record.
pub(super) fn leaf_key(leaf: &[u8]) -> B256 {
    B256::from(array_at(leaf, 3))
}

/// The pointer of a leaf to the storage of its account, from its record.
pub(super) fn leaf_pointer(leaf: &[u8]) -> Ptr {
    Ptr(u64_at(leaf, LEAF_POINTER))
}

/// Puts the root of the storage into the record of a leaf, whose value is the RLP of an account: it stands before the
/// hash of the code, which ends it.
pub(super) fn set_storage_root(leaf: &mut [u8], root: &B256) {
    let end = leaf.len() - 33;
    leaf[end - 32..end].copy_from_slice(root.as_slice());
}

const _: () = assert!(BRANCH_HEAD + OWNER + 32 + 16 * CHILD <= PAGE - PAGE_HEAD);
