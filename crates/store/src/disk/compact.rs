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
    layout::{PAGE, Ptr},
    ledger::Ledger,
    moves::{Moves, Victim},
    pages::Pages,
};
use crate::trie::Crew;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

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
pub(super) struct Known {
    /// Bytes of records of use in the latest version, by page.
    pub(super) current: Vec<u16>,
    /// Offsets of records without use in it.
    pub(super) dead: Vec<u32>,
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

impl Decay {
    /// Takes note of a commit; the pages of which nothing is of use any more.
    pub(super) fn commit(
        &mut self,
        moves: &Moves,
        opened: &[(u64, u32)],
        gone: &[(u64, u32)],
        written: impl Iterator<Item = (Ptr, usize)>,
        died: &[(Ptr, u32)],
    ) -> Vec<Ptr> {
        let mut empty = Vec::new();
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
                if *page == 0 {
                    empty.push(ptr.page());
                }
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
        empty
    }

    /// Nothing is known any more: what was of no use may be again.
    pub(super) fn forget(&mut self) {
        *self = Decay::default();
    }

    /// What the next commit should write again, if the last one wrote `wrote` bytes; looked for by a crew.
    ///
    /// # Errors
    /// A page that is not what its checksum says it is.
    pub(super) fn moves(
        &self,
        crew: &mut Crew<'_>,
        pages: &Pages,
        ledger: &Ledger,
        wrote: u64,
    ) -> Result<Moves, DiskError> {
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
                first.push((segment.current, *number, segment.current));
            } else if segment.live * 100 < size * FULL_PERCENT {
                then.push((segment.live, *number, segment.current));
            }
        }
        let bound = (live * WASTE_PERCENT / 100).max(4 * size);
        // Twice as fast where it falls behind.
        let budget = if waste > 2 * bound { wrote } else { wrote / 2 }.max(MOVE_MIN);
        first.sort_unstable();
        then.sort_unstable();
        let cheap = first.len();
        let (mut victims, mut planned) = (Vec::new(), 0);
        for (i, (_, number, current)) in first.into_iter().chain(then).enumerate() {
            if planned >= budget || (i >= cheap && waste <= bound) {
                break;
            }
            let victim = self.victim(pages, number, current, budget - planned);
            planned += victim.bytes;
            victims.push(victim);
            waste = waste.saturating_sub(size);
        }
        Moves::of(crew, pages, victims)
    }

    /// A segment to be emptied, as far as that takes about so many bytes.
    fn victim(&self, pages: &Pages, number: u64, current: u64, most: u64) -> Victim<'_> {
        let known = self.known.get(&number);
        let all = (pages.geometry.segment / PAGE as u64) as u32;
        let count = known.map_or(all, |known| known.current.len() as u32);
        let from =
            if known.is_some() { 0 } else { self.looked.get(&number).copied().unwrap_or(0).min(count) };
        // Of what is not known it is as if it were all over.
        let unknown = current / u64::from(count.max(1)) + 1;
        let (mut to, mut bytes) = (from, 0);
        while to < count && bytes < most {
            let of_page = |known: &Known| known.current.get(to as usize).map_or(0, |bytes| u64::from(*bytes));
            bytes += known.map_or(unknown, of_page);
            to += 1;
        }
        Victim { number, known, pages: from..to, whole: to == count, bytes }
    }
}
