//! New nodes of a version: the records that they will be, and what is said of them.
//!
//! 1. Each worker adds to nodes of its own, and all that is new below a node before it. Whatever is added stays.
//! 2. A record has the number of a new child where the child's pointer will stand.
//! 3. A node is hashed once its depth is final ([`NewNodes::place`]): all that were added since the last time, by
//!    height, those of one height together, whatever tries they are of. What is said of a child is then put into the
//!    record above it.
//! 4. What is said of a node at another depth than its own is computed anew, by itself. That is rare.

use super::{
    layout::Ptr,
    record::{self, LEAF_POINTER, LEAF_VALUE, Owner},
};
use crate::{
    node::{self, Reference, put_branch, put_extension, put_leaf},
    together::{Level, Together},
};
use alloy_primitives::B256;
use alloy_trie::TrieAccount;

/// A trie after changes: its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Empty,
    /// A record that is there already.
    Same(Ptr),
    /// A node without a record.
    New(NewId),
}

/// Names a new node: whose it is, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NewId(u64);

impl NewId {
    const BITS: u32 = 48;

    /// Number of the [`NewNodes`].
    pub(super) fn of(self) -> usize {
        (self.0 >> Self::BITS) as usize
    }

    fn at(self) -> usize {
        (self.0 & ((1 << Self::BITS) - 1)) as usize
    }
}

/// Memory for records is taken in such pieces, the first of them smaller: of what is prepared there may be much that
/// changes little.
const PIECE: usize = 256 << 10;
const PIECE_FIRST: usize = 8 << 10;
/// Pieces that each worker keeps from block to block.
const SPARE: usize = 32;

#[derive(Clone, Copy, Debug)]
struct Head {
    /// Where its record is.
    piece: u32,
    from: u32,
    len: u16,
    /// Children that are new, by nibble; of a leaf 1 if its storage is.
    new: u16,
    /// Those of them of which the record does not say yet what they are.
    stale: u16,
    depth: u8,
    /// Above the lowest node that was not hashed when it was added.
    height: u8,
    leaf: bool,
    said: Reference,
    /// The account of a leaf, among those of the block, if its storage is stale.
    account: u32,
}

/// What a new branch has at a nibble.
#[derive(Clone, Copy, Debug)]
pub(super) enum Slot<'a> {
    /// The child of a branch that is there already, as it stands in its record, and whether it stands there whole.
    Raw(&'a [u8], bool),
    /// A record that is there already.
    Same(Ptr, Reference),
    /// A new node, and what is said of it, if that is known.
    New(NewId, Option<Reference>),
}

/// New nodes of one worker.
#[derive(Debug, Default)]
pub(super) struct NewNodes {
    number: u16,
    pieces: Vec<Vec<u8>>,
    /// Pieces in use, which come first.
    used: usize,
    heads: Vec<Head>,
    /// Those before are hashed.
    hashed: usize,
    /// Nodes by height.
    levels: Vec<Vec<u32>>,
    together: Together,
}

impl NewNodes {
    pub(super) fn new(number: u16) -> Self {
        NewNodes { number, ..NewNodes::default() }
    }

    /// Whether a node is one of these.
    pub(super) fn has(&self, id: NewId) -> bool {
        id.of() == usize::from(self.number)
    }

    /// Gives back what only those need who add nodes.
    pub(super) fn rest(&mut self) {
        (self.levels, self.together) = (Vec::new(), Together::default());
    }

    /// Forgets all nodes, and keeps some memory for others.
    pub(super) fn clear(&mut self) {
        self.pieces.truncate(SPARE);
        self.heads.clear();
        self.heads.shrink_to(SPARE * PIECE / size_of::<Head>());
        (self.used, self.hashed) = (0, 0);
    }

    /// Nodes that were added.
    pub(super) fn len(&self) -> usize {
        self.heads.len()
    }

    /// Nodes that are not hashed yet.
    pub(super) fn waiting(&self) -> usize {
        self.heads.len() - self.hashed
    }

    fn add(&mut self, len: usize, head: Head) -> (NewId, &mut [u8]) {
        let has_room = |piece: &Vec<u8>| piece.len() + len <= piece.capacity();
        if self.used == 0 || !has_room(&self.pieces[self.used - 1]) {
            match self.pieces.get_mut(self.used) {
                Some(piece) => piece.clear(),
                None => self.pieces.push(Vec::with_capacity(PIECE.min(PIECE_FIRST << self.used.min(8)))),
            }
            self.used += 1;
        }
        let (at, piece) = (self.heads.len(), self.used - 1);
        let bytes = &mut self.pieces[piece];
        let from = bytes.len();
        bytes.resize(from + len, 0);
        self.heads.push(Head { piece: piece as u32, from: from as u32, len: len as u16, ..head });
        (NewId(u64::from(self.number) << NewId::BITS | at as u64), &mut bytes[from..])
    }

    /// Adds a leaf, with its storage. If its root is not known yet, it is put into the value once it is, and into the
    /// account with the number that is given.
    pub(super) fn leaf(
        &mut self,
        owner: Owner,
        key: &B256,
        (storage, stale): (Node, Option<u32>),
        value: &[u8],
    ) -> NewId {
        let (mut new, mut height) = (0, 0);
        let pointer = match storage {
            Node::Empty => Ptr::NONE,
            Node::Same(ptr) => ptr,
            Node::New(id) => {
                new = 1;
                if stale.is_some() {
                    height = self.heads[id.at()].height + 1;
                }
                Ptr(id.0)
            }
        };
        let (stale, account) = (u16::from(stale.is_some()), stale.unwrap_or_default());
        let head = Head { new, stale, height, leaf: true, account, ..Head::NONE };
        let (id, record) = self.add(record::leaf_len(value.len()), head);
        record::encode_leaf(record, owner, key, pointer, value);
        id
    }

    /// Adds a branch with children at the nibbles in `mask`.
    pub(super) fn branch<'a>(
        &mut self,
        owner: Owner,
        (key, end): (&B256, usize),
        mask: u16,
        slot: impl Fn(usize) -> Slot<'a>,
    ) -> NewId {
        let (mut new, mut stale, mut height) = (0u16, 0u16, 0);
        for nibble in nibbles(mask) {
            let Slot::New(id, said) = slot(nibble) else { continue };
            new |= 1 << nibble;
            if said.is_none() {
                stale |= 1 << nibble;
                height = height.max(self.heads[id.at()].height + 1);
            }
        }
        let head = Head { new, stale, height, ..Head::NONE };
        let (id, record) = self.add(record::branch_len(owner, end, mask.count_ones() as usize), head);
        let (mut at, mut embedded) = (record::begin_branch(record, owner, (key, end), mask), 0);
        for nibble in nibbles(mask) {
            let room = &mut record[at..at + record::CHILD];
            at += record::CHILD;
            let short = match slot(nibble) {
                Slot::Raw(child, short) => {
                    room.copy_from_slice(child);
                    short
                }
                Slot::Same(ptr, said) => record::put_child(room, ptr, &said),
                Slot::New(id, said) => record::put_child(room, Ptr(id.0), &said.unwrap_or(Reference::NONE)),
            };
            embedded |= u16::from(short) << nibble;
        }
        record::set_embedded(record, embedded);
        id
    }

    /// Says at which depth a node stands. Final, once it is hashed.
    pub(super) fn place(&mut self, id: NewId, depth: usize) {
        self.heads[id.at()].depth = depth as u8;
    }

    fn record(&self, at: usize) -> &[u8] {
        let Head { piece, from, len, .. } = self.heads[at];
        &self.pieces[piece as usize][from as usize..][..usize::from(len)]
    }

    fn record_mut(&mut self, at: usize) -> &mut [u8] {
        let Head { piece, from, len, .. } = self.heads[at];
        &mut self.pieces[piece as usize][from as usize..][..usize::from(len)]
    }

    /// Hashes all nodes that are not hashed yet. `accounts` are those of the block, which get the roots of their
    /// storage.
    pub(super) fn hash<K>(&mut self, accounts: &mut [(K, Option<TrieAccount>)]) {
        let mut levels = std::mem::take(&mut self.levels);
        for (head, at) in self.heads[self.hashed..].iter().zip(self.hashed as u32..) {
            let height = usize::from(head.height);
            if levels.len() <= height {
                levels.resize_with(height + 1, Vec::new);
            }
            levels[height].push(at);
        }
        let mut together = std::mem::take(&mut self.together);
        for level in &mut levels {
            let mut nodes = Hashing { nodes: self, accounts, extensions: false };
            together.settle(level, &mut nodes);
            level.retain(|at| nodes.nodes.is_extended(*at as usize));
            nodes.extensions = true;
            together.settle(level, &mut nodes);
            level.clear();
        }
        (self.levels, self.together, self.hashed) = (levels, together, self.heads.len());
    }

    fn is_extended(&self, at: usize) -> bool {
        let head = &self.heads[at];
        !head.leaf && record::branch_end(self.record(at)) > usize::from(head.depth)
    }

    /// What a parent at `depth` says of a node that is hashed.
    pub(super) fn reference(&self, scratch: &mut Vec<u8>, id: NewId, depth: usize) -> Reference {
        let (head, record) = (&self.heads[id.at()], self.record(id.at()));
        if usize::from(head.depth) == depth {
            return head.said;
        }
        match head.leaf {
            true => node::leaf(scratch, &record::leaf_key(record), depth, &record[LEAF_VALUE..]),
            false => {
                let (key, end) = (record::branch_key(record), record::branch_end(record));
                node::branch(scratch, (&key, end), depth, record::children(record))
            }
        }
    }
}

impl Head {
    const NONE: Head = Head {
        piece: 0,
        from: 0,
        len: 0,
        new: 0,
        stale: 0,
        depth: 0,
        height: 0,
        leaf: false,
        said: Reference::NONE,
        account: 0,
    };
}

/// Set bits, ascending.
fn nibbles(mut mask: u16) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let next = mask.trailing_zeros() as usize;
        mask &= mask.wrapping_sub(1);
        (next < 16).then_some(next)
    })
}

/// Nodes while they are hashed.
struct Hashing<'a, K> {
    nodes: &'a mut NewNodes,
    accounts: &'a mut [(K, Option<TrieAccount>)],
    /// Whether it is about extensions above branches that are hashed.
    extensions: bool,
}

impl<K> Hashing<'_, K> {
    /// Puts into a record what is said of new children, which are hashed.
    fn complete(&mut self, at: usize) {
        let head = self.nodes.heads[at];
        if head.leaf {
            let storage = record::leaf_pointer(self.nodes.record(at));
            let root = self.nodes.heads[NewId(storage.0).at()].said.root();
            record::set_storage_root(self.nodes.record_mut(at), &root);
            if let Some((_, Some(account))) = self.accounts.get_mut(head.account as usize) {
                account.storage_root = root;
            }
        } else {
            for nibble in nibbles(head.stale) {
                let child = record::branch_child(self.nodes.record(at), nibble);
                let said = self.nodes.heads[NewId(child.0).at()].said;
                record::say_child(self.nodes.record_mut(at), nibble, &said);
            }
        }
        self.nodes.heads[at].stale = 0;
    }
}

impl<K> Level for Hashing<'_, K> {
    fn encode(&mut self, node: u32, out: &mut Vec<u8>) {
        let at = node as usize;
        if self.nodes.heads[at].stale != 0 {
            self.complete(at);
        }
        let (head, record) = (&self.nodes.heads[at], self.nodes.record(at));
        let depth = usize::from(head.depth);
        match (head.leaf, self.extensions) {
            (true, _) => put_leaf(out, &record::leaf_key(record), depth, &record[LEAF_VALUE..]),
            (false, false) => put_branch(out, record::children(record)),
            (false, true) => {
                let (key, end) = (record::branch_key(record), record::branch_end(record));
                put_extension(out, &key, depth, end, &head.said);
            }
        }
    }

    fn say(&mut self, node: u32, said: Reference) {
        self.nodes.heads[node as usize].said = said;
    }
}

/// A new node as it is laid out.
pub(super) struct Draft<'a> {
    pub(super) record: &'a [u8],
    /// Where pointers of new nodes will stand, and which nodes they are, in the order of their keys.
    pub(super) new: [(usize, NewId); 16],
    pub(super) count: usize,
}

impl NewNodes {
    /// A node as it is laid out.
    pub(super) fn draft(&self, id: NewId) -> Draft<'_> {
        let (head, record) = (&self.heads[id.at()], self.record(id.at()));
        let mut draft = Draft { record, new: [(0, NewId(0)); 16], count: 0 };
        if head.new == 0 {
            return draft;
        }
        if head.leaf {
            draft.new[0] = (LEAF_POINTER, NewId(record::leaf_pointer(record).0));
            draft.count = 1;
            return draft;
        }
        for nibble in nibbles(head.new) {
            let at = record::branch_child_at(record, nibble);
            draft.new[draft.count] = (at, NewId(record::branch_child(record, nibble).0));
            draft.count += 1;
        }
        draft
    }
}
