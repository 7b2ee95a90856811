//! Looks at every bit that a retained version reaches.

use super::{
    error::DiskError,
    kinds,
    layout::Ptr,
    ledger::Ledger,
    pages::Pages,
    record::{self, Owner, Stored},
    update::stored_reference,
};
use crate::node::{Reference, common};
use alloy_primitives::B256;
use alloy_trie::{EMPTY_ROOT_HASH, TrieAccount};
use foldhash::fast::RandomState;
use hashbrown::{HashMap, hash_map};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
};

/// What was found, all of it in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Verified {
    /// Retained versions.
    pub versions: u64,
    /// Nodes, each counted once.
    pub nodes: u64,
    /// Accounts of the latest version.
    pub accounts: u64,
    /// Slots of the latest version.
    pub slots: u64,
    /// Bytes of the nodes.
    pub bytes: u64,
}

/// What a node must be.
#[derive(Clone, Copy)]
enum Expected {
    /// What its parent says of it.
    Reference(Reference),
    /// The root of a trie.
    Root(B256),
}

/// A node to look at.
struct Waiting {
    ptr: Ptr,
    owner: Owner,
    depth: usize,
    /// A key that shares the nibbles above it.
    way: B256,
    expected: Expected,
}

struct Walk<'a> {
    pages: &'a Pages,
    /// Is told every account, once for each node that has it.
    account: &'a mut dyn FnMut(&TrieAccount),
    seen: HashMap<Ptr, (usize, Reference), RandomState>,
    waiting: Vec<Waiting>,
    /// Bytes by segment.
    bytes: BTreeMap<u64, u64>,
    found: Verified,
    latest: bool,
    scratch: Vec<u8>,
}

/// Looks at all versions of a ledger, whose pages are read anew: that each node is what its parent says, down
/// to the values, and that of each segment as much is of use as the ledger says. `None` if told to stop.
pub(super) fn verify(
    pages: &Pages,
    ledger: &Ledger,
    stop: &AtomicBool,
    account: &mut dyn FnMut(&TrieAccount),
) -> Result<Option<Verified>, DiskError> {
    let mut walk = Walk {
        pages,
        account,
        seen: HashMap::default(),
        waiting: Vec::new(),
        bytes: BTreeMap::new(),
        found: Verified::default(),
        latest: true,
        scratch: Vec::new(),
    };
    for version in ledger.versions.iter().rev() {
        walk.root(version.root, None, B256::ZERO, version.hash)?;
        while let Some(waiting) = walk.waiting.pop() {
            // Relaxed: the flag carries no data; a late look only delays the stop.
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            walk.node(&waiting)?;
        }
        if walk.latest {
            walk.compare(ledger, |segment| segment.current)?;
        }
        walk.latest = false;
        walk.found.versions += 1;
    }
    walk.compare(ledger, |segment| segment.live)?;
    Ok(Some(walk.found))
}

impl Walk<'_> {
    fn root(&mut self, ptr: Ptr, owner: Owner, way: B256, hash: B256) -> Result<(), DiskError> {
        match ptr.is_none() {
            true if hash == EMPTY_ROOT_HASH => Ok(()),
            true => Err(DiskError::damaged("root", 0, format!("{hash} without a trie"))),
            false => {
                self.waiting.push(Waiting { ptr, owner, depth: 0, way, expected: Expected::Root(hash) });
                Ok(())
            }
        }
    }

    fn node(&mut self, waiting: &Waiting) -> Result<(), DiskError> {
        let Waiting { ptr, owner, depth, way, expected } = *waiting;
        let damaged = |reason: &str| DiskError::damaged("node", ptr.0, reason);
        let known = self.seen.get(&ptr).filter(|(at, _)| *at == depth).map(|(_, reference)| *reference);
        let (reference, node) = match known {
            Some(reference) => (reference, None),
            None => {
                let (node, len, whose) = record::decode(self.pages.get(ptr)?, ptr)?;
                let key = match &node {
                    Stored::Leaf(leaf) => &leaf.key,
                    Stored::Branch(branch) => &branch.key,
                };
                let above = matches!(&node, Stored::Branch(branch) if branch.end < depth);
                if whose != owner || above || common(key, &way) < depth {
                    return Err(damaged("it belongs elsewhere"));
                }
                let reference = stored_reference(&mut self.scratch, &node, depth);
                (reference, Some((node, len)))
            }
        };
        let right = match expected {
            Expected::Reference(expected) => reference == expected,
            Expected::Root(hash) => reference.root() == hash,
        };
        if !right {
            return Err(damaged("it is not what its parent says"));
        }
        let Some((node, len)) = node else { return Ok(()) };
        match self.seen.entry(ptr) {
            // Seen at another depth: all below it is known.
            hash_map::Entry::Occupied(_) => return Ok(()),
            hash_map::Entry::Vacant(entry) => drop(entry.insert((depth, reference))),
        }
        *self.bytes.entry(ptr.segment()).or_default() += len as u64;
        self.found.nodes += 1;
        self.found.bytes += len as u64;
        match node {
            Stored::Branch(branch) => {
                for nibble in branch.nibbles() {
                    let Some((ptr, reference)) = branch.child(nibble) else { continue };
                    let (mut way, depth) = (branch.key, branch.end + 1);
                    let shift = if branch.end.is_multiple_of(2) { 4 } else { 0 };
                    way[branch.end / 2] |= (nibble as u8) << shift;
                    let expected = Expected::Reference(reference);
                    self.waiting.push(Waiting { ptr, owner, depth, way, expected });
                }
                Ok(())
            }
            Stored::Leaf(leaf) if owner.is_none() => {
                self.found.accounts += u64::from(self.latest);
                let account = kinds::decode(&leaf)?;
                (self.account)(&account);
                self.root(leaf.storage, record::owner_of(&leaf.key), B256::ZERO, account.storage_root)
            }
            Stored::Leaf(_) => {
                self.found.slots += u64::from(self.latest);
                Ok(())
            }
        }
    }

    fn compare(&self, ledger: &Ledger, of: impl Fn(&super::ledger::Segment) -> u64) -> Result<(), DiskError> {
        for (number, segment) in &ledger.segments {
            let (is, said) = (self.bytes.get(number).copied().unwrap_or(0), of(segment));
            if is != said {
                let reason = format!("{is} bytes of segment {number} are of use, not {said}");
                return Err(DiskError::damaged("ledger", *number, reason));
            }
        }
        Ok(())
    }
}
