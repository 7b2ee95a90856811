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
const CHILD: usize = 8 + 32;

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
pub(super) fn decode(page: &Arc<Page>, ptr: Ptr) -> Result<(Stored, usize, Owner), DiskError> {
    decode_at(page, ptr.in_page()).ok_or_else(|| DiskError::damaged("node", ptr.0, "no such record"))
}

fn decode_at(page: &Arc<Page>, at: usize) -> Option<(Stored, usize, Owner)> {
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
        let leaf = StoredLeaf { page: page.clone(), value: (next, len), key, storage };
        return (bytes.len() >= next + len).then_some((Stored::Leaf(leaf), next + len - at, owner));
    }
    let (end, mask, embedded) = (usize::from(bytes[at + 1]), u16_at(bytes, at + 2), u16_at(bytes, at + 4));
    let (path, count) = (end.div_ceil(2), mask.count_ones() as usize);
    let children = next + path;
    if end >= 64 || count < 2 || embedded & !mask != 0 || bytes.len() < children + CHILD * count {
        return None;
    }
    let mut key = B256::ZERO;
    key[..path].copy_from_slice(&bytes[next..children]);
    let branch = StoredBranch { page: page.clone(), children, key, end, mask, embedded };
    Some((Stored::Branch(branch), children + CHILD * count - at, owner))
}

/// Bytes of the record of a leaf.
pub(super) fn leaf_len(value: usize) -> usize {
    LEAF_HEAD + 8 + value
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
    into[35..43].copy_from_slice(&owner.unwrap_or(storage.0).to_le_bytes());
    into[43..].copy_from_slice(value);
}

/// Writes the record of a branch; `into` has its length. `children` by nibble, ascending.
pub(super) fn encode_branch<'a>(
    into: &mut [u8],
    owner: Owner,
    (key, end): (&B256, usize),
    children: impl Iterator<Item = (usize, Ptr, &'a Reference)>,
) {
    into[0] = if owner.is_some() { BRANCH | STORAGE } else { BRANCH };
    into[1] = end as u8;
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
    at += path;
    let (mut mask, mut embedded) = (0u16, 0u16);
    for (nibble, ptr, reference) in children {
        mask |= 1 << nibble;
        embedded |= u16::from(!reference.is_hash()) << nibble;
        into[at..at + 8].copy_from_slice(&ptr.0.to_le_bytes());
        into[at + 8..at + CHILD].copy_from_slice(reference.padded());
        at += CHILD;
    }
    into[2..4].copy_from_slice(&mask.to_le_bytes());
    into[4..6].copy_from_slice(&embedded.to_le_bytes());
}

const _: () = assert!(BRANCH_HEAD + OWNER + 32 + 16 * CHILD <= PAGE - PAGE_HEAD);
