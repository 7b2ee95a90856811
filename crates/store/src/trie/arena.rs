//! A trie in memory: its nodes side by side, and how they change.
//!
//! 1. A node has the nibbles from the root on: a leaf its whole key, a branch those to where its children part, of
//!    which the lower ones are the extension above it. So no node is changed when one above it comes or goes.
//! 2. A branch has what it says of each child, as its RLP has it. That is stale when something below the child
//!    changed since it was computed, and then so it is on all the way up (`levels.rs` makes it right again).
//! 3. A child that was not revealed is known by what is said of it alone, which is never stale.
//! 4. An extension of which the branch below is not revealed is a stub.

use super::{TrieError, TrieNodes, decode, partial::path_to};
use crate::node::{Reference, common, nibble, set_nibble};
use alloy_primitives::B256;
use alloy_trie::EMPTY_ROOT_HASH;
use smallvec::SmallVec;

/// Nibbles in a key.
pub(super) const KEY_NIBBLES: usize = 64;

/// A value as it stands in its leaf; accounts of most kinds need no memory of their own.
pub(super) type Value = SmallVec<[u8; 88]>;

/// Which node, by its kind and its number among those.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Link {
    #[default]
    Empty,
    /// Not revealed.
    Hidden,
    Leaf(u32),
    Branch(u32),
    Stub(u32),
}

#[derive(Clone, Debug)]
pub(super) struct Leaf {
    pub(super) key: B256,
    pub(super) value: Value,
}

/// An extension above a branch that is not revealed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stub {
    pub(super) key: B256,
    /// Nibbles from the root to the branch.
    pub(super) end: u8,
    /// What the extension says of the branch.
    pub(super) child: Reference,
}

#[derive(Clone, Debug)]
pub(super) struct Branch {
    pub(super) key: B256,
    /// Nibbles from the root to where the children part.
    pub(super) end: u8,
    /// Children that are not empty: two at least.
    pub(super) present: u16,
    /// Children of which what is said is not right any more.
    pub(super) stale: u16,
    /// Children that stand in the branch as they are.
    pub(super) embedded: u16,
    pub(super) links: [Link; 16],
    /// What is said of children: their hash, or their RLP and zeros. In memory of its own, so that those who follow a
    /// way need not pass it.
    pub(super) says: Box<[[u8; 32]; 16]>,
}

impl Branch {
    /// One whose children part after `end` nibbles of `key`, without children.
    pub(super) fn new(key: B256, end: usize) -> Self {
        Branch {
            key,
            end: end as u8,
            present: 0,
            stale: 0,
            embedded: 0,
            links: [Link::Empty; 16],
            says: Box::new([[0; 32]; 16]),
        }
    }

    pub(super) fn end(&self) -> usize {
        usize::from(self.end)
    }

    /// What is said of a child, which is not stale.
    pub(super) fn reference(&self, nibble: usize) -> Reference {
        match self.embedded >> nibble & 1 == 1 {
            true => Reference::embedded(self.says[nibble]),
            false => Reference::hash(B256::from(self.says[nibble])),
        }
    }

    /// Puts a child that is known by what is said of it.
    pub(super) fn say(&mut self, nibble: usize, reference: &Reference) {
        let bit = 1 << nibble;
        self.present |= bit;
        self.stale &= !bit;
        self.embedded = if reference.is_hash() { self.embedded & !bit } else { self.embedded | bit };
        self.says[nibble] = *reference.padded();
    }

    /// Puts a child of which nothing is known yet.
    fn put(&mut self, nibble: usize, link: Link) {
        self.present |= 1 << nibble;
        self.stale |= 1 << nibble;
        self.links[nibble] = link;
    }

    /// Makes a child empty.
    fn clear(&mut self, nibble: usize) {
        let rest = !(1 << nibble);
        self.present &= rest;
        self.stale &= rest;
        self.embedded &= rest;
        self.links[nibble] = Link::Empty;
    }
}

/// Things that keep their numbers, of which those of the ones that went are given again.
#[derive(Clone, Debug)]
pub(super) struct Slab<T> {
    items: Vec<T>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab { items: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// All, also those that went.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter()
    }

    pub(super) fn add(&mut self, item: T) -> u32 {
        if let Some(at) = self.free.pop() {
            self[at] = item;
            return at;
        }
        self.items.push(item);
        (self.items.len() - 1) as u32
    }
}

impl<T> std::ops::Index<u32> for Slab<T> {
    type Output = T;

    fn index(&self, at: u32) -> &T {
        &self.items[at as usize]
    }
}

impl<T> std::ops::IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, at: u32) -> &mut T {
        &mut self.items[at as usize]
    }
}

/// Where a node stands: at the root, or at a nibble of a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Root,
    Child(u32, u8),
}

/// A trie, of which nodes may be hidden.
#[derive(Clone, Debug)]
pub(super) struct Trie {
    pub(super) leaves: Slab<Leaf>,
    pub(super) branches: Slab<Branch>,
    pub(super) stubs: Slab<Stub>,
    pub(super) root: Link,
    /// What a parent of the root would say of it.
    pub(super) said: Reference,
    pub(super) stale: bool,
    /// About how many nodes there are of which what is said is stale.
    pub(super) changed: usize,
    /// Branches on the way to the last key, and where the way goes on.
    path: Vec<(u32, u8)>,
}

impl Default for Trie {
    fn default() -> Self {
        Trie::new(EMPTY_ROOT_HASH)
    }
}

impl Trie {
    /// The trie with this root, of which nothing else is known.
    pub(super) fn new(root: B256) -> Self {
        Trie {
            leaves: Slab::default(),
            branches: Slab::default(),
            stubs: Slab::default(),
            root: if root == EMPTY_ROOT_HASH { Link::Empty } else { Link::Hidden },
            said: Reference::hash(root),
            stale: false,
            changed: 0,
            path: Vec::new(),
        }
    }

    fn link(&self, place: Place) -> Link {
        match place {
            Place::Root => self.root,
            Place::Child(branch, nibble) => self.branches[branch].links[usize::from(nibble)],
        }
    }

    fn set_link(&mut self, place: Place, link: Link) {
        match place {
            Place::Root => self.root = link,
            Place::Child(branch, nibble) => self.branches[branch].links[usize::from(nibble)] = link,
        }
    }

    fn reference(&self, place: Place) -> Reference {
        match place {
            Place::Root => self.said,
            Place::Child(branch, nibble) => self.branches[branch].reference(usize::from(nibble)),
        }
    }

    /// The end of the path that was gone last.
    fn place(&self) -> Place {
        self.path.last().map_or(Place::Root, |(branch, nibble)| Place::Child(*branch, *nibble))
    }

    /// The node behind a reference at `depth` on the way to `key`.
    fn fetch(
        &mut self,
        nodes: &TrieNodes,
        reference: &Reference,
        key: &B256,
        depth: usize,
    ) -> Result<Link, TrieError> {
        let rlp = match reference.as_hash() {
            None => reference.as_rlp(),
            Some(hash) => match nodes.get(&hash) {
                Some(rlp) => rlp,
                None => return Err(TrieError::Blinded { path: path_to(key, depth), hash }),
            },
        };
        decode::node(self, rlp, key, depth)
            .map_err(|reason| TrieError::Malformed { path: path_to(key, depth), reason })
    }

    /// Reveals the node at `place`, if it is hidden.
    fn reveal(
        &mut self,
        nodes: &TrieNodes,
        place: Place,
        key: &B256,
        depth: usize,
    ) -> Result<Link, TrieError> {
        match self.link(place) {
            Link::Hidden => {
                let reference = self.reference(place);
                let link = self.fetch(nodes, &reference, key, depth)?;
                self.set_link(place, link);
                Ok(link)
            }
            link => Ok(link),
        }
    }

    /// Reveals the branch below a stub at `place`, to which the way to `key` leads.
    fn reveal_stub(
        &mut self,
        nodes: &TrieNodes,
        place: Place,
        stub: u32,
        key: &B256,
    ) -> Result<Link, TrieError> {
        let Stub { end, child, .. } = self.stubs[stub];
        let link = self.fetch(nodes, &child, key, usize::from(end))?;
        if !matches!(link, Link::Branch(branch) if self.branches[branch].end == end) {
            let reason = "below an extension, and no branch".to_owned();
            return Err(TrieError::Malformed { path: path_to(key, usize::from(end)), reason });
        }
        self.stubs.free.push(stub);
        self.set_link(place, link);
        Ok(link)
    }

    /// Reveals all nodes that are known, up to a limit; how many.
    pub(super) fn reveal_all(&mut self, nodes: &TrieNodes, limit: usize) -> usize {
        let (mut waiting, mut count) = (vec![(Place::Root, B256::ZERO, 0)], 0);
        while let Some((place, key, depth)) = waiting.pop() {
            if count >= limit {
                break;
            }
            let mut link = self.link(place);
            if link == Link::Hidden {
                // Most nodes are not there; an error for each would take longer than all else.
                if self.reference(place).as_hash().is_some_and(|hash| nodes.get(&hash).is_none()) {
                    continue;
                }
                let Ok(revealed) = self.reveal(nodes, place, &key, depth) else { continue };
                (link, count) = (revealed, count + 1);
            }
            if let Link::Stub(stub) = link {
                let Stub { key: way, child, .. } = self.stubs[stub];
                if child.as_hash().is_some_and(|hash| nodes.get(&hash).is_none()) {
                    continue;
                }
                let Ok(revealed) = self.reveal_stub(nodes, place, stub, &way) else { continue };
                (link, count) = (revealed, count + 1);
            }
            let Link::Branch(at) = link else { continue };
            let branch = &self.branches[at];
            let end = branch.end();
            for nibble in (0..16).filter(|nibble| branch.present >> nibble & 1 == 1) {
                let mut way = branch.key;
                set_nibble(&mut way, end, nibble);
                waiting.push((Place::Child(at, nibble), way, end + 1));
            }
        }
        count
    }

    /// Follows the way to `key` as far as there are nodes, remembers it in `path`, and reveals what is on it. What
    /// stands at its end: the leaf of `key`, or where the leaf would be, nothing or what is in its way; and how deep.
    fn descend(&mut self, nodes: &TrieNodes, key: &B256) -> Result<(Link, usize), TrieError> {
        self.path.clear();
        let (mut place, mut depth) = (Place::Root, 0);
        loop {
            let link = match self.reveal(nodes, place, key, depth)? {
                Link::Stub(stub)
                    if common(&self.stubs[stub].key, key) >= usize::from(self.stubs[stub].end) =>
                {
                    self.reveal_stub(nodes, place, stub, key)?
                }
                link => link,
            };
            let Link::Branch(at) = link else { return Ok((link, depth)) };
            let branch = &self.branches[at];
            let end = branch.end();
            if end > depth && common(&branch.key, key) < end {
                return Ok((link, depth));
            }
            let nibble = nibble(key, end) as u8;
            self.path.push((at, nibble));
            (place, depth) = (Place::Child(at, nibble), end + 1);
            if branch.links[usize::from(nibble)] == Link::Empty {
                return Ok((Link::Empty, depth));
            }
        }
    }

    /// Notes that what is said of the nodes on the path is stale.
    fn spoil(&mut self) {
        self.stale = true;
        for (branch, nibble) in self.path.iter().rev() {
            let (stale, bit) = (&mut self.branches[*branch].stale, 1 << nibble);
            if *stale & bit != 0 {
                return;
            }
            *stale |= bit;
            self.changed += 1;
        }
    }

    /// The value at `key`; the nodes on the way to it are revealed.
    pub(super) fn find(&mut self, nodes: &TrieNodes, key: &B256) -> Result<Option<&[u8]>, TrieError> {
        Ok(match self.descend(nodes, key)? {
            (Link::Leaf(at), _) if self.leaves[at].key == *key => Some(&self.leaves[at].value),
            _ => None,
        })
    }

    /// Sets the value at `key`.
    pub(super) fn insert(&mut self, nodes: &TrieNodes, key: &B256, value: &[u8]) -> Result<(), TrieError> {
        let (link, _) = self.descend(nodes, key)?;
        let other = match link {
            Link::Leaf(at) if self.leaves[at].key == *key => {
                let leaf = &mut self.leaves[at];
                if leaf.value[..] != *value {
                    leaf.value.clear();
                    leaf.value.extend_from_slice(value);
                    self.spoil();
                }
                return Ok(());
            }
            Link::Empty | Link::Hidden => None,
            Link::Leaf(at) => Some(self.leaves[at].key),
            Link::Branch(at) => Some(self.branches[at].key),
            Link::Stub(at) => Some(self.stubs[at].key),
        };
        let leaf = Link::Leaf(self.leaves.add(Leaf { key: *key, value: Value::from_slice(value) }));
        let here = match other {
            None => leaf,
            Some(other) => self.part(link, &other, key, leaf),
        };
        let place = self.place();
        self.set_link(place, here);
        if let Place::Child(branch, nibble) = place {
            self.branches[branch].present |= 1 << nibble;
        }
        self.spoil();
        Ok(())
    }

    /// A branch where the key of a new leaf and that of what is in its way part.
    fn part(&mut self, old: Link, other: &B256, key: &B256, leaf: Link) -> Link {
        let end = common(other, key);
        let mut branch = Branch::new(*key, end);
        branch.put(nibble(key, end), leaf);
        let at = nibble(other, end);
        self.changed += 2;
        match old {
            // Nothing is left of the extension.
            Link::Stub(stub) if usize::from(self.stubs[stub].end) == end + 1 => {
                branch.say(at, &self.stubs[stub].child);
                branch.links[at] = Link::Hidden;
                self.stubs.free.push(stub);
            }
            old => branch.put(at, old),
        }
        Link::Branch(self.branches.add(branch))
    }

    /// Removes `key`; whether it was there.
    pub(super) fn remove(&mut self, nodes: &TrieNodes, key: &B256) -> Result<bool, TrieError> {
        let leaf = match self.descend(nodes, key)? {
            (Link::Leaf(at), _) if self.leaves[at].key == *key => at,
            _ => return Ok(false),
        };
        let Some((at, gone)) = self.path.last().copied() else {
            self.root = Link::Empty;
            self.said = Reference::hash(EMPTY_ROOT_HASH);
            (self.stale, self.changed) = (false, 0);
            self.leaves.free.push(leaf);
            return Ok(true);
        };
        let branch = &self.branches[at];
        let others = branch.present & !(1 << gone);
        if others.count_ones() == 1 {
            // The branch goes, and the only other child takes its place. Its form decides what stands there, so it
            // is revealed, and before anything is changed: if that fails, the trie is as it was.
            let (other, end) = (others.trailing_zeros() as u8, branch.end());
            let mut way = *key;
            set_nibble(&mut way, end, other);
            let link = self.reveal(nodes, Place::Child(at, other), &way, end + 1)?;
            self.path.pop();
            let place = self.place();
            self.set_link(place, link);
            self.branches.free.push(at);
            self.changed += 1;
        } else {
            self.path.pop();
            self.branches[at].clear(usize::from(gone));
        }
        self.leaves.free.push(leaf);
        self.spoil();
        Ok(true)
    }
}
