//! A batch of changes makes a new version of a trie.
//!
//! 1. Changes come sorted by key; each node on the way to any of them is visited once, from the root down, and
//!    what is below it is settled before it.
//! 2. A node that nothing below changed keeps its record, also if a node above it came or went: then only what
//!    its parent says of it is computed anew.
//! 3. Every record that the new version has no use for is reported exactly once (`Work::died`).
//! 4. Where many changes part, the parts are shared among the workers. What comes out does not depend on that.
//! 5. Nodes of segments that are to be emptied are written again when they are visited; `Touch`es lead to
//!    them.

use super::{
    error::DiskError,
    layered::Above,
    layout::Ptr,
    pages::Pages,
    record::{self, Owner, Stored, StoredBranch, StoredLeaf},
};
use crate::node::{self, Reference, common, nibble};
use alloy_primitives::{Address, B256};
use alloy_trie::TrieAccount;
use rayon::prelude::*;

/// Fewer changes than this are not shared.
const SHARE_MIN: usize = 24;

/// A trie after changes.
#[derive(Debug)]
pub(super) enum Node {
    Empty,
    /// A record that is there already.
    Same(Ptr),
    New(Box<NewNode>),
}

/// A node without a record.
#[derive(Debug)]
pub(super) enum NewNode {
    Leaf(NewLeaf),
    Branch(NewBranch),
}

#[derive(Debug)]
pub(super) struct NewLeaf {
    pub(super) key: B256,
    pub(super) value: Vec<u8>,
    /// The storage of an account.
    pub(super) storage: Node,
    pub(super) storage_owner: Owner,
}

#[derive(Debug)]
pub(super) struct NewBranch {
    pub(super) key: B256,
    pub(super) end: usize,
    /// By nibble, ascending; two at least.
    pub(super) children: Vec<(u8, Child)>,
}

/// A child of a new branch, and what the branch says of it.
#[derive(Debug)]
pub(super) enum Child {
    Same(Ptr, Reference),
    New(Box<NewNode>, Reference),
}

impl Child {
    pub(super) fn reference(&self) -> &Reference {
        match self {
            Child::Same(_, reference) | Child::New(_, reference) => reference,
        }
    }
}

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
    /// Whether there are workers to share with.
    pub(super) shared: bool,
}

/// What an update leaves besides the trie.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// Records without use in the new version, with their lengths.
    pub(super) died: Vec<(Ptr, u32)>,
    /// Accounts as they are in the new version.
    pub(super) accounts: Vec<(Address, Option<TrieAccount>)>,
    /// Accounts of which all slots went.
    pub(super) wiped: Vec<Address>,
    pub(super) scratch: Vec<u8>,
}

impl Work {
    fn take(&mut self, other: Work) {
        self.died.extend(other.died);
        self.accounts.extend(other.accounts);
        self.wiped.extend(other.wiped);
    }
}

/// What becomes of a leaf.
pub(super) enum Fate {
    /// It stays as it is; or there still is none.
    Keep,
    Gone,
    Put(NewLeaf),
}

/// A kind of trie: what its changes are, and what they do to a leaf.
pub(super) trait Kind: Sync {
    type Change: Sync;

    fn owner(&self) -> Owner;

    fn key(change: &Self::Change) -> &B256;

    /// What `change` does to the leaf at its key.
    fn apply(
        &self,
        context: &Context<'_>,
        work: &mut Work,
        change: &Self::Change,
        old: Option<&StoredLeaf>,
    ) -> Result<Fate, DiskError>;
}

/// A node and the key it stands at, to be put into a trie.
struct Item {
    key: B256,
    node: Node,
}

impl Item {
    fn new(node: NewNode) -> Item {
        let key = match &node {
            NewNode::Leaf(leaf) => leaf.key,
            NewNode::Branch(branch) => branch.key,
        };
        Item { key, node: Node::New(Box::new(node)) }
    }
}

impl Context<'_> {
    /// The node at `ptr` of a trie, where it stands at `depth`, and the length of its record.
    pub(super) fn load(&self, ptr: Ptr, owner: Owner, depth: usize) -> Result<(Stored, u32), DiskError> {
        let page = self.above.and_then(|above| above.get(ptr.page()));
        let page = page.map_or_else(|| self.pages.get(ptr), Ok)?;
        let (node, len, whose) = record::decode(&page, ptr)?;
        let above = matches!(&node, Stored::Branch(branch) if branch.end < depth);
        match whose == owner && !above {
            true => Ok((node, len as u32)),
            false => Err(DiskError::damaged("node", ptr.0, "it belongs elsewhere")),
        }
    }

    fn is_victim(&self, ptr: Ptr) -> bool {
        !self.victims.is_empty() && self.victims.binary_search(&ptr.segment()).is_ok()
    }

    /// What a parent says of a node at `depth`.
    pub(super) fn reference(
        &self,
        scratch: &mut Vec<u8>,
        node: &Node,
        owner: Owner,
        depth: usize,
    ) -> Result<Option<Reference>, DiskError> {
        match node {
            Node::Empty => Ok(None),
            Node::Same(ptr) => {
                let (stored, _) = self.load(*ptr, owner, depth)?;
                Ok(Some(stored_reference(scratch, &stored, depth)))
            }
            Node::New(node) => Ok(Some(new_reference(scratch, node, depth))),
        }
    }

    fn child(
        &self,
        work: &mut Work,
        node: Node,
        owner: Owner,
        depth: usize,
    ) -> Result<Option<Child>, DiskError> {
        let reference = self.reference(&mut work.scratch, &node, owner, depth)?;
        Ok(match (node, reference) {
            (Node::Same(ptr), Some(reference)) => Some(Child::Same(ptr, reference)),
            (Node::New(node), Some(reference)) => Some(Child::New(node, reference)),
            _ => None,
        })
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

fn new_reference(scratch: &mut Vec<u8>, node: &NewNode, depth: usize) -> Reference {
    match node {
        NewNode::Leaf(leaf) => node::leaf(scratch, &leaf.key, depth, &leaf.value),
        NewNode::Branch(branch) => {
            let children = branch.children.iter();
            let children = children.map(|(nibble, child)| (usize::from(*nibble), *child.reference()));
            node::branch(scratch, (&branch.key, branch.end), depth, children)
        }
    }
}

/// The part of sorted things whose keys have `nib` at `depth`, and the rest after it.
fn part<T>(sorted: &[T], key: impl Fn(&T) -> &B256, depth: usize, nib: usize) -> (&[T], &[T]) {
    sorted.split_at(sorted.partition_point(|one| nibble(key(one), depth) <= nib))
}

/// The trie whose root is at `root` (none if empty) after `changes`.
///
/// # Errors
/// If a node on the way cannot be read, or a change cannot be made.
pub(super) fn update<K: Kind>(
    context: &Context<'_>,
    work: &mut Work,
    kind: &K,
    root: Ptr,
    changes: &[K::Change],
    touches: &[Touch],
) -> Result<Node, DiskError> {
    match root.is_none() {
        true => {
            let mut items = fresh(context, work, kind, changes)?;
            build(context, work, kind.owner(), &mut items, 0)
        }
        false => change_node(context, work, kind, (root, 0), changes, touches),
    }
}

/// Leaves that changes make where there is nothing.
fn fresh<K: Kind>(
    context: &Context<'_>,
    work: &mut Work,
    kind: &K,
    changes: &[K::Change],
) -> Result<Vec<Item>, DiskError> {
    if context.shared && changes.len() >= 2 * SHARE_MIN {
        let (low, high) = changes.split_at(changes.len() / 2);
        let mut aside = Work::default();
        let (first, second) =
            rayon::join(|| fresh(context, work, kind, low), || fresh(context, &mut aside, kind, high));
        let mut items = first?;
        items.extend(second?);
        work.take(aside);
        return Ok(items);
    }
    let mut items = Vec::with_capacity(changes.len());
    for change in changes {
        if let Fate::Put(leaf) = kind.apply(context, work, change, None)? {
            items.push(Item::new(NewNode::Leaf(leaf)));
        }
    }
    Ok(items)
}

/// One trie of nodes that are sorted and none of which is above another, below `depth` nibbles that all share.
fn build(
    context: &Context<'_>,
    work: &mut Work,
    owner: Owner,
    items: &mut [Item],
    depth: usize,
) -> Result<Node, DiskError> {
    let [first, .., last] = &items[..] else {
        return Ok(items
            .first_mut()
            .map_or(Node::Empty, |item| std::mem::replace(&mut item.node, Node::Empty)));
    };
    let (key, end) = (first.key, common(&first.key, &last.key));
    let mut groups: Vec<(u8, &mut [Item])> = Vec::with_capacity(16);
    let (count, mut rest) = (items.len(), items);
    while let Some(item) = rest.first() {
        let at = nibble(&item.key, end);
        let (group, others) = rest.split_at_mut(rest.partition_point(|item| nibble(&item.key, end) <= at));
        groups.push((at as u8, group));
        rest = others;
    }
    let one = |work: &mut Work, (at, group): (u8, &mut [Item])| {
        let node = build(context, work, owner, group, end + 1)?;
        Ok(context.child(work, node, owner, end + 1)?.map(|child| (at, child)))
    };
    let children: Result<Vec<Option<(u8, Child)>>, DiskError> = if context.shared && count >= 8 * SHARE_MIN {
        groups.into_par_iter().map(|group| one(&mut Work::default(), group)).collect()
    } else {
        groups.into_iter().map(|group| one(work, group)).collect()
    };
    let children = children?.into_iter().flatten().collect();
    debug_assert!(depth <= end);
    Ok(Node::New(Box::new(NewNode::Branch(NewBranch { key, end, children }))))
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
    let (node, len) = context.load(ptr, kind.owner(), depth)?;
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
    build(context, work, kind.owner(), &mut items, depth)
}

/// Those of sorted things that share `end` nibbles with `key`.
fn same_prefix<T>(sorted: &[T], of: impl Fn(&T) -> &B256, key: &B256, end: usize) -> std::ops::Range<usize> {
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
        Fate::Keep => Some(NewLeaf {
            key: leaf.key,
            value: leaf.value().to_vec(),
            storage: if leaf.storage.is_none() { Node::Empty } else { Node::Same(leaf.storage) },
            storage_owner: record::owner_of(&leaf.key),
        }),
        Fate::Gone => None,
        Fate::Put(new) => Some(new),
    };
    work.died.push((ptr, len));
    Ok(new.map_or(Node::Empty, |new| Node::New(Box::new(NewNode::Leaf(new)))))
}

/// One child of a branch that is changed: its nibble, its changes, the ways through it.
type Group<'a, C> = (usize, &'a [C], &'a [Touch]);

fn change_branch<K: Kind>(
    context: &Context<'_>,
    work: &mut Work,
    kind: &K,
    (ptr, len): (Ptr, u32),
    branch: &StoredBranch,
    changes: &[K::Change],
    touches: &[Touch],
) -> Result<Node, DiskError> {
    let depth = branch.end + 1;
    let groups = group::<K>(branch, changes, touches);
    let one = |work: &mut Work, (at, changes, touches): &Group<'_, K::Change>| {
        let Some(child) = branch.child_ptr(*at) else {
            let mut items = fresh(context, work, kind, changes)?;
            let node = build(context, work, kind.owner(), &mut items, depth)?;
            return Ok(context
                .child(work, node, kind.owner(), depth)?
                .map_or(Outcome::Gone, Outcome::Changed));
        };
        Ok(match change_node(context, work, kind, (child, depth), changes, touches)? {
            Node::Same(same) if same == child => Outcome::Same,
            node => context.child(work, node, kind.owner(), depth)?.map_or(Outcome::Gone, Outcome::Changed),
        })
    };
    let changed: Vec<(usize, Outcome)> = if context.shared && changes.len() >= SHARE_MIN {
        let shared = groups.par_iter().map(|group| {
            let mut aside = Work::default();
            (group.0, one(&mut aside, group), aside)
        });
        let mut all = Vec::with_capacity(groups.len());
        for (at, child, aside) in shared.collect::<Vec<_>>() {
            work.take(aside);
            all.push((at, child?));
        }
        all
    } else {
        groups.iter().map(|group| Ok((group.0, one(work, group)?))).collect::<Result<_, DiskError>>()?
    };
    let same = changed.iter().all(|(at, outcome)| match outcome {
        Outcome::Same => true,
        Outcome::Gone => branch.child_ptr(*at).is_none(),
        Outcome::Changed(_) => false,
    });
    if same && !context.is_victim(ptr) {
        return Ok(Node::Same(ptr));
    }
    work.died.push((ptr, len));
    let (mut children, mut changed) =
        (Vec::with_capacity(branch.nibbles().count() + changed.len()), changed.into_iter().peekable());
    for nibble in 0..16 {
        let outcome = changed.next_if(|(at, _)| *at == nibble).map_or(Outcome::Same, |(_, outcome)| outcome);
        let child = match outcome {
            Outcome::Same => branch.child(nibble).map(|(ptr, reference)| Child::Same(ptr, reference)),
            Outcome::Gone => None,
            Outcome::Changed(child) => Some(child),
        };
        children.extend(child.map(|child| (nibble as u8, child)));
    }
    if children.len() > 1 {
        let branch = NewBranch { key: branch.key, end: branch.end, children };
        return Ok(Node::New(Box::new(NewNode::Branch(branch))));
    }
    Ok(match children.pop() {
        None => Node::Empty,
        Some((_, Child::Same(ptr, _))) => Node::Same(ptr),
        Some((_, Child::New(node, _))) => Node::New(node),
    })
}

/// What becomes of a child of a branch.
enum Outcome {
    Same,
    Gone,
    Changed(Child),
}

/// Changes and ways by the children of a branch they go to. Ways that end here go no further.
fn group<'a, K: Kind>(
    branch: &StoredBranch,
    changes: &'a [K::Change],
    touches: &'a [Touch],
) -> Vec<Group<'a, K::Change>> {
    let (mut groups, mut changes, mut touches) = (Vec::with_capacity(16), changes, touches);
    let depth = branch.end;
    while !changes.is_empty() || !touches.is_empty() {
        let next = changes.first().map(|change| nibble(K::key(change), depth));
        let way = touches.first().map(|touch| nibble(&touch.key, depth));
        let at = next.into_iter().chain(way).min().unwrap_or_default();
        let (mine, others) = part(changes, K::key, depth, at);
        let (ways, other_ways) = part(touches, |touch| &touch.key, depth, at);
        (changes, touches) = (others, other_ways);
        let go_on = ways.iter().any(|touch| touch.depth > depth) && branch.child_ptr(at).is_some();
        if !mine.is_empty() || go_on {
            groups.push((at, mine, ways));
        }
    }
    groups
}
