//! Which nodes are written again so that the segments they are in can go.
//!
//! Segments decay: later versions have no use for some of their nodes, and the rest keeps them from going.
//! Each commit takes the emptiest ones and writes what the latest version needs of them again, along with
//! what it changes; they go as soon as no retained version needs the old records.
//!
//! 1. A segment of which the latest version needs next to nothing is emptied in any case: that costs next to
//!    nothing, and done while retained versions need the segment anyway it lets it go with the last of them.
//! 2. One that is fuller is emptied only if too much is wasted in all that are not emptied yet, and only once
//!    retained versions do not need most of it either.
//! 3. How much is written again in a commit is bounded by how much the last one wrote, so the stall is bounded.
//!
//! Which records of a segment are of no use is remembered, from the commit that began the segment, as long as
//! memory for it lasts. Of a segment of which it is not known, all records are looked for in the trie; those
//! of no use are not found there, and cost time but nothing else.

use super::{
    error::DiskError,
    kinds::AccountChange,
    layout::{PAGE, PAGE_HEAD, Ptr},
    ledger::Ledger,
    pages::Pages,
    record::{self, Owner, Stored},
    update::Touch,
};
use alloy_primitives::B256;
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use std::collections::BTreeMap;

/// Segments may waste this part (in percent) of what is of use.
const WASTE_PERCENT: u64 = 50;
/// Segments of which more than this part (in percent) is of use are left alone.
const FULL_PERCENT: u64 = 60;
/// A segment of which the latest version needs no more than one part in so many is emptied in any case.
const NOTHING: u64 = 32;
/// A commit writes again at least so many bytes, so that small ones make progress.
const MOVE_MIN: u64 = 64 << 10;
/// Records of no use that are remembered.
const DEAD_MAX: usize = 16 << 20;

/// What is known of one segment.
#[derive(Debug, Default)]
struct Known {
    /// Bytes of records of use in the latest version, by page.
    current: Vec<u16>,
    /// Offsets of records without use in it.
    dead: Vec<u32>,
}

/// What is known of the decay of segments.
#[derive(Debug, Default)]
pub(super) struct Decay {
    /// Segments of which all is known.
    known: HashMap<u64, Known, RandomState>,
    remembered: usize,
    /// Pages that were looked at, of the others.
    looked: HashMap<u64, u32, RandomState>,
}

/// Nodes to be written again.
#[derive(Debug, Default)]
pub(super) struct Moves {
    /// Segments to be emptied, ascending.
    pub(super) victims: Vec<u64>,
    /// Ways to nodes of the trie of accounts, sorted.
    pub(super) accounts: Vec<Touch>,
    /// Ways to nodes of storage, by owner, sorted.
    pub(super) storage: BTreeMap<u64, Vec<Touch>>,
    /// Bytes of the records.
    pub(super) bytes: u64,
    looked: Vec<(u64, u32)>,
}

impl Decay {
    /// Takes note of a commit.
    pub(super) fn commit(
        &mut self,
        moves: &Moves,
        opened: &[(u64, u32)],
        gone: &[(u64, u32)],
        written: impl Iterator<Item = (Ptr, usize)>,
        died: &[(Ptr, u32)],
    ) {
        for (segment, _) in opened {
            self.known.insert(*segment, Known::default());
        }
        for (page, bytes) in written {
            if let Some(known) = self.known.get_mut(&page.segment()) {
                known.current.push(bytes as u16);
            }
        }
        for (ptr, len) in died {
            let Some(known) = self.known.get_mut(&ptr.segment()) else { continue };
            if let Some(page) = known.current.get_mut(ptr.offset() / PAGE) {
                *page = page.saturating_sub(*len as u16);
            }
            known.dead.push(ptr.offset() as u32);
            self.remembered += 1;
        }
        self.looked.extend(moves.looked.iter().copied());
        for (segment, _) in gone {
            self.looked.remove(segment);
            self.remembered -= self.known.remove(segment).map_or(0, |known| known.dead.len());
        }
        // The newest are the last to be looked at.
        while self.remembered > DEAD_MAX {
            let Some(newest) = self.known.keys().max().copied() else { break };
            self.remembered -= self.known.remove(&newest).map_or(0, |known| known.dead.len());
        }
    }

    /// Nothing is known any more: what was of no use may be again.
    pub(super) fn forget(&mut self) {
        *self = Decay::default();
    }

    /// What the next commit should write again, if the last one wrote `wrote` bytes.
    pub(super) fn moves(&self, pages: &Pages, ledger: &Ledger, wrote: u64) -> Result<Moves, DiskError> {
        let size = pages.geometry.segment;
        let (mut waste, mut live) = (0, 0);
        let open = ledger.open.map(|(segment, _)| segment);
        let (mut first, mut then) = (Vec::new(), Vec::new());
        for (number, segment) in ledger.segments.iter().filter(|(number, _)| Some(**number) != open) {
            live += segment.live;
            if segment.current == 0 {
                continue;
            }
            waste += size.saturating_sub(segment.live);
            if segment.current * NOTHING <= size {
                first.push((segment.current, *number));
            } else if segment.live * 100 < size * FULL_PERCENT {
                then.push((segment.live, *number));
            }
        }
        let mut moves = Moves::default();
        let bound = (live * WASTE_PERCENT / 100).max(4 * size);
        // Twice as fast where it falls behind.
        let budget = if waste > 2 * bound { wrote } else { wrote / 2 }.max(MOVE_MIN);
        first.sort_unstable();
        then.sort_unstable();
        let cheap = first.len();
        for (i, (_, victim)) in first.into_iter().chain(then).enumerate() {
            if moves.bytes >= budget || (i >= cheap && waste <= bound) {
                break;
            }
            self.empty(pages, victim, budget, &mut moves)?;
            waste = waste.saturating_sub(size);
        }
        moves.victims.sort_unstable();
        moves.accounts.sort_unstable();
        moves.storage.values_mut().for_each(|touches| touches.sort_unstable());
        Ok(moves)
    }

    /// Adds nodes of one segment.
    fn empty(&self, pages: &Pages, victim: u64, budget: u64, moves: &mut Moves) -> Result<(), DiskError> {
        moves.victims.push(victim);
        let known = self.known.get(&victim);
        let dead: HashSet<u32, RandomState> =
            known.map_or_else(HashSet::default, |known| known.dead.iter().copied().collect());
        let from = if known.is_some() { 0 } else { self.looked.get(&victim).copied().unwrap_or(0) };
        let count = (pages.geometry.segment / PAGE as u64) as u32;
        for number in from..count {
            if moves.bytes >= budget {
                moves.looked.push((victim, number));
                return Ok(());
            }
            if known.is_some_and(|known| known.current.get(number as usize) == Some(&0)) {
                continue;
            }
            let at = Ptr::new(victim, number as usize * PAGE);
            // What cannot be read is not moved; whoever needs it will be told.
            let Ok(page) = pages.get(at) else { break };
            let mut offset = PAGE_HEAD;
            while offset < page.used {
                let ptr = Ptr(at.0 + offset as u64);
                let (node, len, owner) = record::decode(page.clone(), ptr)?;
                offset += len;
                if !dead.contains(&(ptr.offset() as u32)) {
                    moves.bytes += len as u64;
                    moves.add(&node, owner);
                }
            }
        }
        moves.looked.push((victim, 0));
        Ok(())
    }
}

impl Moves {
    fn add(&mut self, node: &Stored, owner: Owner) {
        let touch = match node {
            Stored::Leaf(leaf) => Touch { key: leaf.key, depth: 64 },
            Stored::Branch(branch) => Touch { key: branch.key, depth: branch.end },
        };
        match owner {
            None => self.accounts.push(touch),
            Some(owner) => self.storage.entry(owner).or_default().push(touch),
        }
    }

    /// Puts the ways through storage among the changes of accounts, which stay sorted. `owners` are the accounts
    /// whose hashed addresses begin so.
    pub(super) fn join(
        &self,
        changes: &mut Vec<AccountChange>,
        owners: impl Fn(u64) -> Result<Vec<B256>, DiskError>,
    ) -> Result<(), DiskError> {
        let mut more = Vec::new();
        for (owner, touches) in &self.storage {
            for key in owners(*owner)? {
                match changes.binary_search_by(|change| change.key.cmp(&key)) {
                    Ok(at) => changes[at].touches.clone_from(touches),
                    Err(_) => {
                        more.push(AccountChange { touches: touches.clone(), ..AccountChange::none(key) });
                    }
                }
            }
        }
        if !more.is_empty() {
            changes.extend(more);
            changes.sort_unstable_by_key(|change| change.key);
        }
        Ok(())
    }
}
