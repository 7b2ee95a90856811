//! A batch of changes makes a new version of a trie.
//!
//! 1. Changes come sorted by key; each node on the way to any of them is visited once, from the root down, and
//!    what is below it is settled before it.
//! 2. A node that nothing below changed keeps its record, also if a node above it came or went: then only what
//!    its parent says of it is computed anew.
//! 3. Every record that the new version has no use for is reported exactly once (`Work::died`).
//! 4. Nodes of segments that are to be emptied are written again when they are visited; `Touch`es lead to
//!    them.
//! 5. What is said of new nodes is found out later, for many of them at once (`nodes.rs`). Nothing here depends on it.

use super::{
    error::DiskError,
    layered::Above,
    layout::{PAGE, Ptr},
    nodes::{NewId, NewNodes, Node, Slot},
    pages::{Page, Pages},
    record::{self, Owner, Stored, StoredBranch, StoredLeaf},
    ways::Way,
};
use crate::node::{self, Reference, common, nibble};
use alloy_primitives::{Address, B256};
use alloy_trie::TrieAccount;
use std::sync::Arc;

/// The way to a node that is to be written again: its key, and no further than `depth` nibbles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Touch {
    pub(super) key: B256,
    pub(super) depth: usize,
}

/// What an update needs and does not change.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub(super) pages: &'a Pages,
    /// Pages that are not committed yet, which come before others.
    pub(super) above: Option<&'a Above>,
    /// Segments to be emptied, ascending.
    pub(super) victims: &'a [u64],
    /// Whether many pages are expected not to be in memory.
    pub(super) cold: bool,
}

/// What one worker makes of an update. In lines of memory of its own, as it is written to all the time.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Work {
    pub(super) nodes: NewNodes,
    /// Records without use in the new version, with their lengths.
    pub(super) died: Vec<(Ptr, u32)>,
    /// Accounts as they are in the new version.
    pub(super) accounts: Vec<(Address, Option<TrieAccount>)>,
    /// Accounts of which all slots went.
    pub(super) wiped: Vec<Address>,
    pub(super) scratch: Vec<u8>,
    /// Pages looked at last.
    pages: Recent,
}

/// Entries of a kind for which memory is kept from block to block.
const SPARE: usize = 1 << 15;
/// So many of the pages that were looked at last are found again without asking the cache that all share.
const RECENT: usize = 256;

/// Pages by their places, each instead of others that would be at the same index.
#[derive(Debug, Default)]
struct Recent(Vec<Option<(Ptr, Arc<Page>)>>);

impl Recent {
    fn get(&mut self, pages: &Pages, ptr: Ptr) -> Result<Arc<Page>, DiskError> {
        let at = ptr.page();
        if self.0.is_empty() {
            self.0.resize(RECENT, None);
        }
        // Fibonacci hashing (Knuth, volume 3).
        let index = (at.0 / PAGE as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
        let recent = &mut self.0[index as usize % RECENT];
        if let Some((_, page)) = recent.as_ref().filter(|(place, _)| *place == at) {
            return Ok(page.clone());
        }
        let page = pages.get(ptr)?;
        *recent = Some((at, page.clone()));
        Ok(page)
    }
}

impl Work {
    /// Of the worker with this number.
    pub(super) fn new(number: u16) -> Self {
        Work { nodes: NewNodes::new(number), ..Work::default() }
    }

    /// Gives back what only those need who go on.
    pub(super) fn rest(&mut self) {
        self.nodes.rest();
        (self.scratch, self.pages) = (Vec::new(), Recent::default());
    }

    /// As if nothing had been done, with memory for what is to be done.
    pub(super) fn clear(&mut self) {
        self.nodes.clear();
        self.died.clear();
        self.died.shrink_to(SPARE);
        self.accounts.clear();
        self.accounts.shrink_to(SPARE);
        self.wiped.clear();
        self.wiped.shrink_to(SPARE);
    }

    /// Hashes all new nodes, whose places are final.
    pub(super) fn hash(&mut self) {
        self.nodes.hash(&mut self.accounts);
    }
}

/// What becomes of a leaf.
pub(super) enum Fate {
    /// It stays as it is; or there still is none.
    Keep,
    Gone,
    Put(NewId),
}

/// A kind of trie: what its changes are, and what they do to a leaf.
pub(super) trait Kind: Sync {
    type Change: Sync;

    fn owner(&self) -> Owner;

    fn key(change: &Self::Change) -> &B256;

    /// About how much there is to do for `change`.
    fn weight(change: &Self::Change) -> usize;

    /// The way to what `change` changes, from a node at a depth.
    fn way<'a>(&self, from: (Ptr, usize), change: &'a Self::Change) -> Way<'a>;

    /// What `change` does to the leaf at its key.
    fn apply(
        &self,
        context: &Context<'_>,
        work: &mut Work,
        change: &Self::Change,
        old: Option<&StoredLeaf>,
    ) -> Result<Fate, DiskError>;

    /// Adds the leaf in `old` once more.
    fn again(&self, work: &mut Work, old: &StoredLeaf) -> NewId {
        let storage = if old.storage.is_none() { Node::Empty } else { Node::Same(old.storage) };
        work.nodes.leaf(self.owner(), &old.key, (storage, None), old.value())
    }
}

/// A node and the key it stands at, to be put into a trie.
#[derive(Clone, Copy)]
struct Item {
    key: B256,
    node: Node,
}

/// What becomes of a child of a branch.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    /// It is what it was, or there still is none.
    Same,
    /// Another node, or none, and what is said of it, if that is known.
    Changed(Node, Option<Reference>),
}

impl Context<'_> {
    /// The page at `at`, if it is in memory.
    pub(super) fn in_memory(&self, at: Ptr) -> Option<Arc<Page>> {
        self.above.and_then(|above| above.get(at)).or_else(|| self.pages.cached(at))
    }

    /// The node at `ptr` of a trie, where it stands at `depth`, and the length of its record.
    pub(super) fn load(&self, ptr: Ptr, owner: Owner, depth: usize) -> Result<(Stored, u32), DiskError> {
        self.load_from(|| self.pages.get(ptr), ptr, owner, depth)
    }

    fn load_from(
        &self,
        pages: impl FnOnce() -> Result<Arc<Page>, DiskError>,
        ptr: Ptr,
        owner: Owner,
        depth: usize,
    ) -> Result<(Stored, u32), DiskError> {
        // What is not committed may have the place of something else that is not.
        let page = self.above.and_then(|above| above.get(ptr.page()));
        let page = page.map_or_else(pages, Ok)?;
        let (node, len, whose) = record::decode(page, ptr)?;
        let above = matches!(&node, Stored::Branch(branch) if branch.end < depth);
        match whose == owner && !above {
            true => Ok((node, len as u32)),
            false => Err(DiskError::damaged("node", ptr.0, "it belongs elsewhere")),
        }
    }

    fn is_victim(&self, ptr: Ptr) -> bool {
        !self.victims.is_empty() && self.victims.binary_search(&ptr.segment()).is_ok()
    }

    /// What a parent at `depth` says of a record.
    pub(super) fn reference(
        &self,
        scratch: &mut Vec<u8>,
        ptr: Ptr,
        owner: Owner,
        depth: usize,
    ) -> Result<Reference, DiskError> {
        let (stored, _) = self.load(ptr, owner, depth)?;
        Ok(stored_reference(scratch, &stored, depth))
    }

    /// Puts a node below a branch, at `depth`.
    pub(super) fn attach(
        &self,
        work: &mut Work,
        node: Node,
        owner: Owner,
        depth: usize,
    ) -> Result<Outcome, DiskError> {
        let said = match node {
            Node::Empty => None,
            Node::Same(ptr) => Some(self.reference(&mut work.scratch, ptr, owner, depth)?),
            Node::New(id) => {
                work.nodes.place(id, depth);
                None
            }
        };
        Ok(Outcome::Changed(node, said))
    }

    /// Reports all records of a trie as died.
    pub(super) fn bury(&self, work: &mut Work, ptr: Ptr, owner: Owner) -> Result<(), DiskError> {
        let mut waiting = vec![(ptr, 0)];
        while let Some((ptr, depth)) = waiting.pop() {
            let (node, len) = self.load(ptr, owner, depth)?;
            work.died.push((ptr, len));
            if let Stored::Branch(branch) = node {
                let below = branch.end + 1;
                waiting
                    .extend(branch.nibbles().filter_map(|nibble| Some((branch.child_ptr(nibble)?, below))));
            }
        }
        Ok(())
    }
}

/// What a parent says of a node that stands at `depth`, which is not below where its children part.
pub(super) fn stored_reference(scratch: &mut Vec<u8>, node: &Stored, depth: usize) -> Reference {
    match node {
        Stored::Leaf(leaf) => node::leaf(scratch, &leaf.key, depth, leaf.value()),
        Stored::Branch(branch) => {
            let children: Vec<(usize, Reference)> =
                branch.nibbles().filter_map(|nibble| Some((nibble, branch.child(nibble)?.1))).collect();
            node::branch(scratch, (&branch.key, branch.end), depth, children.into_iter())
        }
    }
}

/// The part of sorted things whose keys have `nib` at `depth`, and the rest after it.
pub(super) fn part<T>(sorted: &[T], key: impl Fn(&T) -> &B256, depth: usize, nib: usize) -> (&[T], &[T]) {
    sorted.split_at(sorted.partition_point(|one| nibble(key(one), depth) <= nib))
}

/// The trie whose root is at `root` (none if empty), which stands at `depth`, after changes of keys that share the
/// nibbles above it.
///
/// # Errors
/// If a node on the way cannot be read, or a change cannot be made.
pub(super) fn update<K: Kind>(
    context: &Context<'_>,
    work: &mut Work,
    kind: &K,
    (root, depth): (Ptr, usize),
    changes: &[K::Change],
    touches: &[Touch],
) -> Result<Node, DiskError> {
    match root.is_none() {
        true => {
            let items = fresh(context, work, kind, changes)?;
            build(context, work, kind.owner(), &items)
        }
        false => change_node(context, work, kind, (root, depth), changes, touches),
    }
}

/// Leaves that changes make where there is nothing.
fn fresh<K: Kind>(
    context: &Context<'_>,
    work: &mut Work,
    kind: &K,
    changes: &[K::Change],
) -> Result<Vec<Item>, DiskError> {
    let mut items = Vec::with_capacity(changes.len());
    for change in changes {
        if let Fate::Put(leaf) = kind.apply(context, work, change, None)? {
            items.push(Item { key: *K::key(change), node: Node::New(leaf) });
        }
    }
    Ok(items)
}

/// One trie of nodes that are sorted and none of which is above another.
fn build(context: &Context<'_>, work: &mut Work, owner: Owner, items: &[Item]) -> Result<Node, DiskError> {
    let [first, .., last] = items else {
        return Ok(items.first().map_or(Node::Empty, |item| item.node));
    };
    let (key, end) = (first.key, common(&first.key, &last.key));
    let (mut outcomes, mut rest) = ([Outcome::Same; 16], items);
    while let Some(item) = rest.first() {
        let at = nibble(&item.key, end);
        let (group, others) = part(rest, |item| &item.key, end, at);
        rest = others;
        let node = build(context, work, owner, group)?;
        outcomes[at] = context.attach(work, node, owner, end + 1)?;
    }
    Ok(branch(work, owner, None, (&key, end), &outcomes))
}

/// What is left of a branch, which may be none or only one of its children.
pub(super) fn branch(
    work: &mut Work,
    owner: Owner,
    old: Option<&StoredBranch>,
    key: (&B256, usize),
    outcomes: &[Outcome; 16],
) -> Node {
    let was = old.map_or(0, StoredBranch::mask);
    let (mut mask, mut only) = (0u16, Node::Empty);
    for (nibble, outcome) in outcomes.iter().enumerate() {
        let child = match outcome {
            Outcome::Same if was >> nibble & 1 == 0 => continue,
            Outcome::Changed(Node::Empty, _) => continue,
            Outcome::Same => old.and_then(|old| old.child_ptr(nibble)).map_or(Node::Empty, Node::Same),
            Outcome::Changed(node, _) => *node,
        };
        (mask, only) = (mask | 1 << nibble, child);
    }
    if mask.count_ones() < 2 {
        return only;
    }
    let slot = |nibble: usize| match (outcomes[nibble], old) {
        (Outcome::Changed(Node::Same(ptr), said), _) => Slot::Same(ptr, said.unwrap_or(Reference::NONE)),
        (Outcome::Changed(Node::New(id), said), _) => Slot::New(id, said),
        (_, Some(old)) => {
            let (child, short) = old.raw(nibble);
            Slot::Raw(child, short)
        }
        (_, None) => Slot::Same(Ptr::NONE, Reference::NONE),
    };
    Node::New(work.nodes.branch(owner, key, mask, slot))
}

/// The node at `ptr`, which stands at `depth`, after changes of keys that share the nibbles above it.
fn change_node<K: Kind>(
    context: &Context<'_>,
    work: &mut Work,
    kind: &K,
    (ptr, depth): (Ptr, usize),
    changes: &[K::Change],
    touches: &[Touch],
) -> Result<Node, DiskError> {
    let page = || work.pages.get(context.pages, ptr);
    let (node, len) = context.load_from(page, ptr, kind.owner(), depth)?;
    let (key, inside, item) = match &node {
        Stored::Leaf(leaf) => {
            let inside = same_prefix(changes, K::key, &leaf.key, 64);
            let node = change_leaf(context, work, kind, (ptr, len), leaf, &changes[inside.clone()])?;
            (leaf.key, inside, node)
        }
        Stored::Branch(branch) => {
            let inside = same_prefix(changes, K::key, &branch.key, branch.end);
            let touches = &touches[same_prefix(touches, |touch| &touch.key, &branch.key, branch.end)];
            let node =
                change_branch(context, work, kind, (ptr, len), branch, &changes[inside.clone()], touches)?;
            (branch.key, inside, node)
        }
    };
    if inside.len() == changes.len() {
        return Ok(item);
    }
    let mut items = fresh(context, work, kind, &changes[..inside.start])?;
    if !matches!(item, Node::Empty) {
        items.push(Item { key, node: item });
    }
    items.extend(fresh(context, work, kind, &changes[inside.end..])?);
    build(context, work, kind.owner(), &items)
}

/// Those of sorted things that share `end` nibbles with `key`.
pub(super) fn same_prefix<T>(
    sorted: &[T],
    of: impl Fn(&T) -> &B256,
    key: &B256,
    end: usize,
) -> std::ops::Range<usize> {
    // Nearly always all of them do.
    if let [first, .., last] | [first @ last] = sorted
        && common(of(first), key) >= end
        && common(of(last), key) >= end
    {
        return 0..sorted.len();
    }
    let from = sorted.partition_point(|one| of(one) < key && common(of(one), key) < end);
    let len = sorted[from..].partition_point(|one| common(of(one), key) >= end);
    from..from + len
}

fn change_leaf<K: Kind>(
    context: &Context<'_>,
    work: &mut Work,
    kind: &K,
    (ptr, len): (Ptr, u32),
    leaf: &StoredLeaf,
    own: &[K::Change],
) -> Result<Node, DiskError> {
    let fate = match own.first() {
        Some(change) => kind.apply(context, work, change, Some(leaf))?,
        None => Fate::Keep,
    };
    let new = match fate {
        Fate::Keep if !context.is_victim(ptr) => return Ok(Node::Same(ptr)),
        Fate::Keep => Node::New(kind.again(work, leaf)),
        Fate::Gone => Node::Empty,
        Fate::Put(new) => Node::New(new),
    };
    work.died.push((ptr, len));
    Ok(new)
}

/// One child of a branch that is changed: its nibble, its changes, the ways through it.
pub(super) type Group<'a, C> = (usize, &'a [C], &'a [Touch]);

fn change_branch<K: Kind>(
    context: &Context<'_>,
    work: &mut Work,
    kind: &K,
    ptr: (Ptr, u32),
    old: &StoredBranch,
    changes: &[K::Change],
    touches: &[Touch],
) -> Result<Node, DiskError> {
    let (depth, mut outcomes) = (old.end + 1, [Outcome::Same; 16]);
    for (at, changes, touches) in groups::<K>(old, changes, touches) {
        let child = old.child_ptr(at);
        let node = update(context, work, kind, (child.unwrap_or(Ptr::NONE), depth), changes, touches)?;
        if !is_child(node, child) {
            outcomes[at] = context.attach(work, node, kind.owner(), depth)?;
        }
    }
    Ok(after(context, work, kind.owner(), ptr, old, &outcomes))
}

/// Whether a node is what stands there already.
pub(super) fn is_child(node: Node, child: Option<Ptr>) -> bool {
    match (node, child) {
        (Node::Same(same), Some(child)) => same == child,
        (Node::Empty, None) => true,
        _ => false,
    }
}

/// A branch, whose record is at `ptr` and so long, with new children; what is left of it.
pub(super) fn after(
    context: &Context<'_>,
    work: &mut Work,
    owner: Owner,
    (ptr, len): (Ptr, u32),
    old: &StoredBranch,
    outcomes: &[Outcome; 16],
) -> Node {
    let same = outcomes.iter().all(|outcome| matches!(outcome, Outcome::Same));
    if same && !context.is_victim(ptr) {
        return Node::Same(ptr);
    }
    work.died.push((ptr, len));
    branch(work, owner, Some(old), (&old.key, old.end), outcomes)
}

/// Changes and ways by the children of a branch they go to. Ways that end here go no further.
pub(super) fn groups<'a, K: Kind>(
    branch: &StoredBranch,
    mut changes: &'a [K::Change],
    mut touches: &'a [Touch],
) -> impl Iterator<Item = Group<'a, K::Change>> {
    let depth = branch.end;
    std::iter::from_fn(move || {
        loop {
            let next = changes.first().map(|change| nibble(K::key(change), depth));
            let way = touches.first().map(|touch| nibble(&touch.key, depth));
            let at = next.into_iter().chain(way).min()?;
            let (mine, others) = part(changes, K::key, depth, at);
            let (ways, other_ways) = part(touches, |touch| &touch.key, depth, at);
            (changes, touches) = (others, other_ways);
            let go_on = ways.iter().any(|touch| touch.depth > depth) && branch.child_ptr(at).is_some();
            if !mine.is_empty() || go_on {
                return Some((at, mine, ways));
            }
        }
    })
}
