//! Nodes that a commit writes again, found by a crew.
//!
//! 1. Which pages of which segments are looked through is known before (`compact.rs`). Workers draw them in groups, and
//!    note the way to each record that is of use.
//! 2. Each sorts the ways that it found; merged, they are the same whoever found them.
//! 3. Ways through storage go to the changes of their accounts, which are looked for by all workers, too.

use super::{
    compact::Known,
    error::DiskError,
    kinds::AccountChange,
    layout::{PAGE, PAGE_HEAD, Ptr},
    pages::Pages,
    record::{self, Stored},
    update::Touch,
};
use crate::trie::Crew;
use alloy_primitives::B256;
use parking_lot::Mutex;
use std::{
    ops::Range,
    sync::atomic::{AtomicUsize, Ordering},
};

/// Pages that a worker looks through at a time.
const PAGES: usize = 32;
/// Accounts that a worker looks for at a time.
const OWNERS: usize = 64;

/// A segment that is to be emptied.
#[derive(Debug)]
pub(super) struct Victim<'a> {
    pub(super) number: u64,
    pub(super) known: Option<&'a Known>,
    /// Those that are looked through.
    pub(super) pages: Range<u32>,
    /// Whether these are the last ones.
    pub(super) whole: bool,
    /// About how many bytes of use are in them.
    pub(super) bytes: u64,
}

/// Nodes to be written again.
#[derive(Debug, Default)]
pub(super) struct Moves {
    /// Segments to be emptied, ascending.
    pub(super) victims: Vec<u64>,
    /// Ways to nodes of the trie of accounts, sorted.
    pub(super) accounts: Vec<Touch>,
    /// Ways to nodes of storage, sorted, and which of them are whose, by owner.
    storage: Vec<Touch>,
    owners: Vec<(u64, Range<usize>)>,
    /// Bytes of the records.
    pub(super) bytes: u64,
    /// Segments, and the page from which on each is to be looked through next.
    pub(super) looked: Vec<(u64, u32)>,
}

/// What one worker found.
#[derive(Debug, Default)]
struct Found {
    accounts: Vec<Touch>,
    storage: Vec<(u64, Touch)>,
    bytes: u64,
}

/// Calls `work` with each of so many numbers below `count`, by workers that draw them, and gives back what each worker
/// made.
fn drawn<T: Default + Send>(
    crew: &mut Crew<'_>,
    count: usize,
    work: impl Fn(&mut T, usize) -> Result<(), DiskError> + Sync,
    end: impl Fn(&mut T) + Sync,
) -> Result<Vec<T>, DiskError> {
    let workers = crew.workers().min(count).max(1);
    let made: Vec<Mutex<Result<T, DiskError>>> = (0..workers).map(|_| Mutex::new(Ok(T::default()))).collect();
    let next = AtomicUsize::new(0);
    crew.split(workers, &|at| {
        // Relaxed: nothing else is told by the number.
        let draw = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < count);
        let mut mine = T::default();
        let done = std::iter::from_fn(draw).try_for_each(|number| work(&mut mine, number));
        end(&mut mine);
        *made[at].lock() = done.map(|()| mine);
    });
    made.into_iter().map(Mutex::into_inner).collect()
}

impl Moves {
    /// What is of use in segments.
    ///
    /// # Errors
    /// A page that is not what its checksum says it is.
    pub(super) fn of(
        crew: &mut Crew<'_>,
        pages: &Pages,
        victims: Vec<Victim<'_>>,
    ) -> Result<Moves, DiskError> {
        if victims.is_empty() {
            return Ok(Moves::default());
        }
        let dead = drawn(
            crew,
            victims.len(),
            |dead: &mut Vec<(usize, Vec<u32>)>, at| {
                let mut offsets = victims[at].known.map_or_else(Vec::new, |known| known.dead.clone());
                offsets.sort_unstable();
                dead.push((at, offsets));
                Ok(())
            },
            |_| {},
        )?;
        let mut dead: Vec<(usize, Vec<u32>)> = dead.into_iter().flatten().collect();
        dead.sort_unstable_by_key(|(at, _)| *at);
        let groups = |(at, victim): (usize, &Victim<'_>)| {
            let Range { start, end } = victim.pages.clone();
            (start..end).step_by(PAGES).map(move |from| (at, from..end.min(from + PAGES as u32)))
        };
        let groups: Vec<(usize, Range<u32>)> = victims.iter().enumerate().flat_map(groups).collect();
        let found = drawn(
            crew,
            groups.len(),
            |found: &mut Found, at| {
                let (victim, ref numbers) = groups[at];
                numbers
                    .clone()
                    .try_for_each(|page| found.look(pages, &victims[victim], &dead[victim].1, page))
            },
            Found::sort,
        )?;
        let mut moves = Moves { bytes: found.iter().map(|found| found.bytes).sum(), ..Moves::default() };
        let (mut accounts, mut storage) = (Vec::new(), Vec::new());
        for mut found in found {
            accounts.append(&mut found.accounts);
            storage.append(&mut found.storage);
        }
        // Stable sorting merges what is sorted in parts.
        accounts.sort();
        storage.sort();
        moves.accounts = accounts;
        for group in storage.chunk_by(|(a, _), (b, _)| a == b) {
            let from = moves.storage.len();
            moves.storage.extend(group.iter().map(|(_, touch)| *touch));
            moves.owners.push((group[0].0, from..moves.storage.len()));
        }
        let next = |victim: &Victim<'_>| if victim.whole { 0 } else { victim.pages.end };
        moves.looked = victims.iter().map(|victim| (victim.number, next(victim))).collect();
        moves.victims = victims.iter().map(|victim| victim.number).collect();
        moves.victims.sort_unstable();
        Ok(moves)
    }

    /// Ways through the storage of accounts whose hashed addresses begin so.
    pub(super) fn through(&self, owner: u64) -> &[Touch] {
        match self.owners.binary_search_by_key(&owner, |(owner, _)| *owner) {
            Ok(at) => &self.storage[self.owners[at].1.clone()],
            Err(_) => &[],
        }
    }

    /// Puts the ways through storage among the changes of accounts, which stay sorted. `owners` are the accounts
    /// whose hashed addresses begin so.
    ///
    /// # Errors
    /// Those of `owners`.
    pub(super) fn join(
        &self,
        crew: &mut Crew<'_>,
        changes: &mut Vec<AccountChange>,
        owners: impl Fn(u64) -> Result<Vec<B256>, DiskError> + Sync,
    ) -> Result<(), DiskError> {
        if self.owners.is_empty() {
            return Ok(());
        }
        let before = changes.as_slice();
        let found = drawn(
            crew,
            self.owners.len().div_ceil(OWNERS),
            |found: &mut Vec<(Result<usize, B256>, Vec<Touch>)>, at| {
                let from = at * OWNERS;
                for (owner, range) in &self.owners[from..self.owners.len().min(from + OWNERS)] {
                    for key in owners(*owner)? {
                        let place = before.binary_search_by(|change| change.key.cmp(&key)).map_err(|_| key);
                        found.push((place, self.storage[range.clone()].to_vec()));
                    }
                }
                Ok(())
            },
            |_| {},
        )?;
        let mut more = Vec::new();
        for (place, touches) in found.into_iter().flatten() {
            match place {
                Ok(at) => changes[at].touches = touches,
                Err(key) => more.push(AccountChange { touches, ..AccountChange::none(key) }),
            }
        }
        if !more.is_empty() {
            more.sort_unstable_by_key(|change| change.key);
            changes.extend(more);
            changes.sort_by_key(|change| change.key);
        }
        Ok(())
    }
}

impl Found {
    /// Notes what is of use in a page.
    fn look(
        &mut self,
        pages: &Pages,
        victim: &Victim<'_>,
        dead: &[u32],
        number: u32,
    ) -> Result<(), DiskError> {
        if victim.known.is_some_and(|known| known.current.get(number as usize) == Some(&0)) {
            return Ok(());
        }
        let at = Ptr::new(victim.number, number as usize * PAGE);
        // What cannot be read is not moved; whoever needs it will be told.
        let Ok(page) = pages.get(at) else { return Ok(()) };
        let from = dead.partition_point(|offset| (*offset as usize) < at.offset());
        let (mut dead, mut offset) = (dead[from..].iter().peekable(), PAGE_HEAD);
        while offset < page.used {
            let ptr = Ptr(at.0 + offset as u64);
            let (node, len, owner) = record::decode(page.clone(), ptr)?;
            offset += len;
            while dead.next_if(|dead| (**dead as usize) < ptr.offset()).is_some() {}
            if dead.peek().is_some_and(|dead| **dead as usize == ptr.offset()) {
                continue;
            }
            self.bytes += len as u64;
            let touch = match &node {
                Stored::Leaf(leaf) => Touch { key: leaf.key, depth: 64 },
                Stored::Branch(branch) => Touch { key: branch.key, depth: branch.end },
            };
            match owner {
                None => self.accounts.push(touch),
                Some(owner) => self.storage.push((owner, touch)),
            }
        }
        Ok(())
    }

    fn sort(&mut self) {
        self.accounts.sort_unstable();
        self.storage.sort_unstable();
    }
}
