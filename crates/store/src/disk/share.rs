//! An update of a trie, shared among workers.
//!
//! 1. The changes are followed down from the root until they part into pieces of about the same weight, several for
//!    each worker. The branches above the pieces are the *top*.
//! 2. Workers draw pieces one after another, of a range of their own as long as there are any. Each has nodes of its
//!    own, and hashes them whenever there are enough to be hashed together. They share nothing but the numbers of the
//!    next pieces and the cache of pages.
//! 3. Then the top is made of what came out of the pieces. What comes out does not depend on who did what.
//! 4. The storage of an account that changes more than a piece may weigh is a trie that is shared before the accounts.

use super::{
    error::DiskError,
    kinds::{AccountChange, Accounts, Record, Slots},
    layout::Ptr,
    nodes::{Draft, NewId, Node},
    record::{self, Owner, Stored, StoredBranch, StoredLeaf},
    update::{self, Context, Kind, Outcome, Touch, Work, groups, is_child, part, same_prefix, update},
    ways::{self, Way},
};
use crate::{
    node::{Reference, common, nibble},
    trie::Crew,
};
use alloy_primitives::B256;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Pieces for each worker: so many that the last one to end keeps others waiting for little.
const PIECES: usize = 32;
/// Less than this is not worth a piece of its own.
const PIECE_MIN: usize = 24;
/// Less than this for each worker is not shared.
const SHARE_MIN: usize = 48;
/// A storage that weighs more than one of so many parts for each worker, and this much, is shared.
const LARGE: usize = 8;
const LARGE_MIN: usize = 256;
/// New nodes that are hashed together at least: enough that most lanes are filled at each height, and few enough to
/// still be in the second cache.
const TOGETHER: usize = 1024;

/// What all workers make of an update.
#[derive(Debug, Default)]
pub(super) struct Works {
    top: Work,
    /// By worker.
    hands: Vec<Work>,
    /// What was made before all changes were known.
    ahead: Option<Work>,
}

/// A part of a trie and its changes.
#[derive(Debug)]
struct Piece<'a, C> {
    at: (Ptr, usize),
    changes: &'a [C],
    touches: &'a [Touch],
    weight: usize,
}

/// A trie in pieces.
enum Plan {
    /// The piece with this number.
    Piece(usize),
    Top(Box<Top>),
}

/// A branch above pieces.
struct Top {
    /// Where it is, and its length, if there is one already.
    old: Option<((Ptr, u32), StoredBranch)>,
    key: B256,
    end: usize,
    children: Vec<(usize, Plan)>,
}

/// Cuts a trie into pieces.
struct Cutter<'a, 'c, K: Kind> {
    context: &'a Context<'c>,
    kind: &'a K,
    /// What a piece weighs at most, if it can be cut.
    most: usize,
    pieces: Vec<Piece<'a, K::Change>>,
}

impl<'a, K: Kind> Cutter<'a, '_, K> {
    fn cut(&mut self, piece: Piece<'a, K::Change>) -> Result<Plan, DiskError> {
        let Piece { at: (ptr, depth), changes, touches, weight } = piece;
        let whole = |cutter: &mut Self, piece| {
            cutter.pieces.push(piece);
            Ok(Plan::Piece(cutter.pieces.len() - 1))
        };
        let ([first, .., last], true) = (changes, weight > self.most) else { return whole(self, piece) };
        let mut top = Top { old: None, key: *K::key(first), end: 0, children: Vec::new() };
        let mut parts = Vec::with_capacity(16);
        if ptr.is_none() {
            top.end = common(K::key(first), K::key(last));
            let mut rest = changes;
            while let Some(next) = rest.first() {
                let at = nibble(K::key(next), top.end);
                let (mine, others) = part(rest, K::key, top.end, at);
                rest = others;
                parts.push((at, Ptr::NONE, mine, &touches[..0]));
            }
        } else {
            let (Stored::Branch(branch), len) = self.context.load(ptr, self.kind.owner(), depth)? else {
                return whole(self, piece);
            };
            if same_prefix(changes, K::key, &branch.key, branch.end).len() < changes.len() {
                return whole(self, piece);
            }
            let touches = &touches[same_prefix(touches, |touch| &touch.key, &branch.key, branch.end)];
            parts.extend(groups::<K>(&branch, changes, touches).map(|(at, changes, touches)| {
                (at, branch.child_ptr(at).unwrap_or(Ptr::NONE), changes, touches)
            }));
            (top.key, top.end, top.old) = (branch.key, branch.end, Some(((ptr, len), branch)));
        }
        for (at, ptr, changes, touches) in parts {
            let weight = weight_of::<K>(changes, touches);
            let plan = self.cut(Piece { at: (ptr, top.end + 1), changes, touches, weight })?;
            top.children.push((at, plan));
        }
        Ok(Plan::Top(Box::new(top)))
    }
}

fn weight_of<K: Kind>(changes: &[K::Change], touches: &[Touch]) -> usize {
    changes.iter().map(K::weight).sum::<usize>() + touches.len()
}

/// Who draws which pieces: each worker those of a range, the same at each block, so that what is in its caches stays
/// there; and when there are none left, those of others.
#[derive(Debug)]
struct Draws {
    /// By worker: the next piece of its range, and where the range ends.
    ranges: Vec<Range>,
}

/// In lines of memory of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Range {
    next: AtomicUsize,
    end: usize,
}

impl Draws {
    fn new(pieces: usize, workers: usize) -> Self {
        let from = |worker: usize| pieces * worker / workers;
        let range = |worker| Range { next: AtomicUsize::new(from(worker)), end: from(worker + 1) };
        Draws { ranges: (0..workers).map(range).collect() }
    }

    /// The next pieces for a worker, at most so many.
    fn next(&self, worker: usize, most: usize) -> Option<std::ops::Range<usize>> {
        let (mine, others) = (&self.ranges[worker..], &self.ranges[..worker]);
        mine.iter().chain(others).find_map(|Range { next, end }| {
            // Relaxed: what pieces are was seen before the threads were set to work.
            let from = next.fetch_add(most, Ordering::Relaxed);
            (from < *end).then(|| from..(from + most).min(*end))
        })
    }
}

/// Updates pieces, and puts what comes out into `done`.
fn draw<K: Kind>(
    context: &Context<'_>,
    work: &mut Work,
    kind: &K,
    pieces: &[Piece<'_, K::Change>],
    done: &[Mutex<Result<Node, DiskError>>],
) {
    if context.cold {
        let mut ways: Vec<Way<'_>> = Vec::new();
        for Piece { at, changes, .. } in pieces {
            ways.extend(changes.iter().map(|change| kind.way(*at, change)));
        }
        ways::go(context, ways);
    }
    for (Piece { at, changes, touches, .. }, done) in pieces.iter().zip(done) {
        let node = update(context, work, kind, *at, changes, touches);
        if let Ok(Node::New(id)) = node {
            work.nodes.place(id, at.1);
        }
        *done.lock() = node;
        if work.nodes.waiting() >= TOGETHER {
            work.hash();
        }
    }
}

/// What came out of pieces, to be put together.
struct Joiner<'a, 'c> {
    context: &'a Context<'c>,
    owner: Owner,
    done: Vec<Node>,
    hands: &'a [Work],
}

impl Joiner<'_, '_> {
    /// Whether a worker made a node, and what is said of it at `depth`.
    fn said(&self, top: &mut Work, node: Node, depth: usize) -> Option<Reference> {
        let Node::New(id) = node else { return None };
        let hand = self.hands.get(id.of())?;
        Some(hand.nodes.reference(&mut top.scratch, id, depth))
    }

    fn join(&self, top: &mut Work, plan: Plan) -> Result<Node, DiskError> {
        let Top { old, key, end, children } = match plan {
            Plan::Piece(number) => return Ok(self.done[number]),
            Plan::Top(top) => *top,
        };
        let mut outcomes = [Outcome::Same; 16];
        for (at, plan) in children {
            let node = self.join(top, plan)?;
            if is_child(node, old.as_ref().and_then(|(_, branch)| branch.child_ptr(at))) {
                continue;
            }
            outcomes[at] = match self.said(top, node, end + 1) {
                Some(said) => Outcome::Changed(node, Some(said)),
                None => self.context.attach(top, node, self.owner, end + 1)?,
            };
        }
        Ok(match &old {
            Some((ptr, branch)) => update::after(self.context, top, self.owner, *ptr, branch, &outcomes),
            None => update::branch(top, self.owner, None, (&key, end), &outcomes),
        })
    }
}

impl Works {
    /// For so many workers; `spare` are some that were cleared, of which the memory is used.
    pub(super) fn new(workers: usize, spare: Works) -> Self {
        match spare.hands.len() == workers {
            true => spare,
            false => {
                let hands = (0..workers as u16).map(Work::new).collect();
                Works { top: Work::new(workers as u16), hands, ahead: None }
            }
        }
    }

    /// As if nothing had been done, with memory for what is to be done.
    pub(super) fn clear(&mut self) {
        self.ahead = None;
        self.hands.iter_mut().chain([&mut self.top]).for_each(Work::clear);
    }

    /// Gives back what only those need who go on.
    pub(super) fn rest(&mut self) {
        self.hands.iter_mut().chain([&mut self.top]).chain(&mut self.ahead).for_each(Work::rest);
    }

    /// All that was made.
    pub(super) fn all(&self) -> impl Iterator<Item = &Work> {
        self.hands.iter().chain([&self.top])
    }

    /// Records without use in the new version, with their lengths, taken out.
    pub(super) fn take_died(&mut self) -> Vec<(Ptr, u32)> {
        let mut died = std::mem::take(&mut self.top.died);
        let others = self.hands.iter_mut().chain(&mut self.ahead);
        others.for_each(|work| died.append(&mut work.died));
        died
    }

    /// Adds what was made before all changes were known.
    pub(super) fn add_ahead(&mut self, work: Work) {
        self.ahead = Some(work);
    }

    /// A new node as it is laid out.
    pub(super) fn draft(&self, id: NewId) -> Draft<'_> {
        let work = match self.hands.get(id.of()) {
            Some(work) => work,
            None => self.ahead.as_ref().filter(|ahead| ahead.nodes.has(id)).unwrap_or(&self.top),
        };
        work.nodes.draft(id)
    }

    /// The trie whose root is at `root` (none if empty) after `changes`, which are sorted, and what is said of its root.
    ///
    /// # Errors
    /// If a node on the way cannot be read, or a change cannot be made.
    pub(super) fn update<K: Kind>(
        &mut self,
        context: &Context<'_>,
        crew: &mut Crew<'_>,
        kind: &K,
        root: Ptr,
        (changes, touches): (&[K::Change], &[Touch]),
    ) -> Result<(Node, Option<Reference>), DiskError> {
        let weight = weight_of::<K>(changes, touches);
        let workers = crew.workers().min(self.hands.len()).min(weight / SHARE_MIN).max(1);
        let most = (weight / (workers * PIECES)).max(PIECE_MIN);
        let mut cutter = Cutter { context, kind, most, pieces: Vec::new() };
        let plan = cutter.cut(Piece { at: (root, 0), changes, touches, weight })?;
        let pieces = cutter.pieces;
        let done: Vec<Mutex<Result<Node, DiskError>>> =
            pieces.iter().map(|_| Mutex::new(Ok(Node::Empty))).collect();
        // Where pages have to be read, several pieces are looked at together.
        let group = if context.cold { (TOGETHER * pieces.len()).div_ceil(weight.max(1)).max(1) } else { 1 };
        let draws = Draws::new(pieces.len(), workers);
        let hands: Vec<Mutex<&mut Work>> = self.hands[..workers].iter_mut().map(Mutex::new).collect();
        crew.split(workers, &|hand| {
            let work = &mut **hands[hand].lock();
            while let Some(mine) = draws.next(hand, group) {
                draw(context, work, kind, &pieces[mine.clone()], &done[mine]);
            }
            work.hash();
        });
        drop(hands);
        let done = done.into_iter().map(Mutex::into_inner).collect::<Result<Vec<Node>, DiskError>>()?;
        let joiner = Joiner { context, owner: kind.owner(), done, hands: &self.hands };
        let top = &mut self.top;
        let node = joiner.join(top, plan)?;
        let said = match (joiner.said(top, node, 0), node) {
            (Some(said), _) => Some(said),
            (None, Node::Empty) => None,
            (None, Node::Same(ptr)) if ptr == root => None,
            (None, Node::Same(ptr)) => Some(context.reference(&mut top.scratch, ptr, kind.owner(), 0)?),
            (None, Node::New(id)) => {
                top.nodes.place(id, 0);
                top.hash();
                Some(top.nodes.reference(&mut top.scratch, id, 0))
            }
        };
        top.hash();
        Ok((node, said))
    }

    /// Storages that change so much that they are shared, before the accounts that they are of.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub(super) fn update_large(
        &mut self,
        context: &Context<'_>,
        crew: &mut Crew<'_>,
        root: Ptr,
        changes: &mut [AccountChange],
    ) -> Result<(), DiskError> {
        let weight = weight_of::<Accounts>(changes, &[]);
        let workers = crew.workers().min(self.hands.len());
        let most = (weight / (workers * LARGE)).max(LARGE_MIN);
        if workers == 1 || weight <= most {
            return Ok(());
        }
        let is_large = |change: &&mut AccountChange| Accounts::weight(change) > most;
        for change in changes.iter_mut().filter(is_large).filter(|change| change.record != Record::Remove) {
            let leaf = leaf_at(context, root, &change.key)?;
            let base = match leaf {
                // It has no account: that is told later.
                None if change.record == Record::Keep => continue,
                Some(leaf) if !change.wiped => leaf.storage,
                _ => Ptr::NONE,
            };
            let kind = Slots(record::owner_of(&change.key));
            let storage = self.update(context, crew, &kind, base, (&change.slots, &change.touches))?;
            change.storage = Some(Box::new(storage));
        }
        Ok(())
    }
}

/// The leaf of an account.
pub(super) fn leaf_at(context: &Context<'_>, root: Ptr, key: &B256) -> Result<Option<StoredLeaf>, DiskError> {
    let (mut ptr, mut depth) = (root, 0);
    while !ptr.is_none() {
        match context.load(ptr, None, depth)?.0 {
            Stored::Leaf(leaf) => return Ok((leaf.key == *key).then_some(leaf)),
            Stored::Branch(branch) if common(&branch.key, key) < branch.end => break,
            Stored::Branch(branch) => {
                ptr = branch.child_ptr(nibble(key, branch.end)).unwrap_or(Ptr::NONE);
                depth = branch.end + 1;
            }
        }
    }
    Ok(None)
}
