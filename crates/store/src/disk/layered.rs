//! Versions prepared on versions that are prepared themselves: forks of blocks that are not final.
//!
//! 1. What is prepared is laid out, once somebody builds on it, as its commit would: its nodes get the pointers that
//!    they will have, in pages that stay in memory. A version on top reads those pages before any others.
//! 2. A commit writes what was laid out as it is. That is right as long as nothing else was committed between: each
//!    knows what it was prepared on, by a number that is never used again, and is refused on anything else.
//! 3. Two versions prepared on one have the same pointers for different nodes. So pages that are laid out are never
//!    put among those of the store before their version is committed.
//! 4. Only what is prepared on a commit empties segments: which ones need it depends on what was committed.

use super::{
    append::{Appender, Run},
    batch::Batch,
    error::DiskError,
    layout::{Geometry, Ptr},
    nodes::Node,
    pages::Page,
    prepare::Prepared,
    share::Works,
    store::DiskStore,
};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Most versions prepared on one another.
pub(super) const DEPTH_MAX: usize = 1024;

/// A number for what is prepared, never used again in this process.
pub(super) fn identity() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Nodes with their places, as a commit writes them.
#[derive(Debug)]
pub(super) struct Laid {
    pub(super) root: Ptr,
    pub(super) runs: Vec<Run>,
    /// Segments that begin, and where they are.
    pub(super) opened: Vec<(u64, u32)>,
    /// The segment that is open then, and its first page without use.
    pub(super) open: Option<(u64, u32)>,
}

/// Pages of what is prepared, and of what that was prepared on.
#[derive(Debug)]
pub(super) struct Above {
    pages: HashMap<Ptr, Arc<Page>, RandomState>,
    below: Option<Arc<Above>>,
    /// Where the next page goes: segment, place, page.
    open: Option<(u64, u32, u32)>,
    next_segment: u64,
    /// Places that segments take which are not committed.
    taken: BTreeSet<u32>,
    depth: usize,
}

impl Above {
    /// The page at `at`, if it is one of these.
    pub(super) fn get(&self, at: Ptr) -> Option<Arc<Page>> {
        let mut above = Some(self);
        while let Some(one) = above {
            if let Some(page) = one.pages.get(&at) {
                return Some(page.clone());
            }
            above = one.below.as_deref();
        }
        None
    }
}

impl Drop for Above {
    /// One after the other, however many there are.
    fn drop(&mut self) {
        let mut below = self.below.take();
        while let Some(one) = below {
            below = Arc::try_unwrap(one).ok().and_then(|mut one| one.below.take());
        }
    }
}

/// The layout of a version, and its pages for those who build on it.
pub(super) type Layout = (Arc<Laid>, Arc<Above>);

/// Where records of a version go.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) open: Option<(u64, u32, u32)>,
    pub(super) next_segment: u64,
}

/// Lays out the nodes of a version.
pub(super) fn lay(
    geometry: Geometry,
    room: &Room,
    places: impl Iterator<Item = u32>,
    spare: Vec<Vec<u8>>,
    (works, root): (&Works, Node),
) -> Laid {
    let mut appender = Appender::new(geometry, room.open, room.next_segment, places, spare);
    let root = appender.trie(works, root);
    let open = appender.finish();
    Laid { root, runs: appender.runs, opened: appender.opened, open }
}

impl DiskStore {
    /// Works out what the version that `on` will be becomes by `batch`. It can be committed after `on`, and after
    /// nothing else.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare); [`DiskError::Stale`] if something was committed since `on` was prepared;
    /// [`DiskError::Limit`] for more than 1024 versions on one another.
    pub fn prepare_on(&self, on: &Prepared, version: u64, batch: &Batch) -> Result<Prepared, DiskError> {
        self.prepare_with(version, batch, Some(on), None)
    }

    /// The layout of what is prepared, for those who build on it.
    pub(super) fn layout_of<'a>(&self, on: &'a Prepared) -> Result<&'a Layout, DiskError> {
        let depth = on.above.as_ref().map_or(0, |above| above.depth);
        if depth >= DEPTH_MAX {
            let (is, limit) = (depth as u64 + 1, DEPTH_MAX as u64);
            return Err(DiskError::Limit { what: "versions prepared on one another", is, limit });
        }
        self.fresh(on)?;
        Ok(on.laid.get_or_init(|| self.lay_out(on)))
    }

    /// Whether nothing was committed since `prepared` that it does not know of.
    pub(super) fn fresh(&self, prepared: &Prepared) -> Result<(), DiskError> {
        let mut bottom = prepared.root_base;
        // What it is on may have been committed meanwhile.
        if prepared.lineage.contains(&self.last) {
            bottom = self.ledger.seq;
        }
        match bottom == self.ledger.seq {
            true => Ok(()),
            false => Err(DiskError::Stale { base: bottom, latest: self.ledger.seq }),
        }
    }

    /// The layout of what is prepared, and its pages for those who build on it.
    fn lay_out(&self, on: &Prepared) -> Layout {
        let geometry = self.shared.pages.geometry;
        let room = match &on.above {
            Some(above) => Room { open: above.open, next_segment: above.next_segment },
            None => Room { open: self.ledger.open_place(), next_segment: self.ledger.next_segment },
        };
        let mut taken = on.above.as_ref().map(|above| above.taken.clone()).unwrap_or_default();
        let places = self.free.iter().copied().chain(self.places..);
        let places = places.filter(|place| !taken.contains(place));
        let laid = lay(geometry, &room, places, Vec::new(), (&on.works, on.node));
        taken.extend(laid.opened.iter().map(|(_, place)| *place));
        let last = laid.runs.last();
        let open = laid.open.and_then(|(segment, page)| {
            let begun = last.filter(|run| run.segment == segment).map(|run| run.place);
            let place = begun.or(room.open.filter(|open| open.0 == segment).map(|open| open.1))?;
            Some((segment, place, page))
        });
        let opened = laid.opened.iter().map(|(segment, _)| segment + 1);
        let above = Above {
            pages: laid.runs.iter().flat_map(Run::split).map(|(at, page)| (at, Arc::new(page))).collect(),
            below: on.above.clone(),
            open: open.or(room.open),
            next_segment: opened.max().unwrap_or(room.next_segment),
            taken,
            depth: on.above.as_ref().map_or(0, |above| above.depth) + 1,
        };
        (Arc::new(laid), Arc::new(above))
    }
}
