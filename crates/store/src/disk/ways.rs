//! Pages on the ways to leaves are brought into memory, many at a time: where they are not there already, an update
//! that waited for one after the other would mostly wait.
//!
//! 1. Each way is gone as far as there are pages. Then its next page begins to be read, once for all ways that need it,
//!    and another way is taken up.
//! 2. At the leaf of an account begin the ways to those of its slots that change.
//! 3. What fails fails again for who needs it, and is told there. So this decides how long an update takes, and not
//!    what comes out.

use super::{
    kinds::SlotChange,
    layout::{PAGE, Ptr},
    pages::Page,
    read::Walk,
    record,
    update::Context,
};
use crate::io::{Done, ReadQueue};
use alloy_primitives::B256;
use foldhash::fast::RandomState;
use hashbrown::{HashMap, hash_map::Entry};
use std::{sync::Arc, time::Duration};

/// Most pages that are being read at a time.
const UNDER_WAY: usize = 128;
/// When nothing came in for so long, ways are given up.
const PATIENCE: Duration = Duration::from_secs(1);

/// The way to a leaf, and what changes in the storage of the account there.
#[derive(Debug)]
pub(super) struct Way<'a> {
    walk: Walk,
    slots: &'a [SlotChange],
}

impl<'a> Way<'a> {
    /// The way to the account with this key from the node at `ptr`, which stands at `depth`, and on to slots.
    pub(super) fn to_account((ptr, depth): (Ptr, usize), key: B256, slots: &'a [SlotChange]) -> Self {
        Way { walk: Walk::below(ptr, depth, None, key), slots }
    }

    /// The way to a leaf of a storage from the node at `ptr`, which stands at `depth`.
    pub(super) fn to_slot((ptr, depth): (Ptr, usize), owner: record::Owner, key: B256) -> Self {
        Way { walk: Walk::below(ptr, depth, owner, key), slots: &[] }
    }
}

/// Ways that are being gone.
struct Ways<'a, 'c> {
    context: &'a Context<'c>,
    queue: &'a mut dyn ReadQueue,
    ready: Vec<Way<'a>>,
    /// By the page that they wait for.
    waiting: HashMap<Ptr, Vec<Way<'a>>, RandomState>,
}

impl<'a> Ways<'a, '_> {
    /// Goes on with a way as far as there are pages; `None` if nothing can be read any more.
    fn go(&mut self, mut way: Way<'a>, came: Option<(Ptr, &Arc<Page>)>) -> Option<()> {
        while let Some(ptr) = way.walk.next() {
            let at = ptr.page();
            let page = match came {
                Some((place, page)) if place == at => Some(page.clone()),
                _ => self.context.in_memory(at),
            };
            let Some(page) = page else { return self.wait(at, way) };
            if way.walk.step(&page).is_err() {
                return Some(());
            }
        }
        if let Some(leaf) = way.walk.found().filter(|leaf| !leaf.storage.is_none()) {
            let owner = record::owner_of(&leaf.key);
            let slots = way.slots.iter().map(|slot| Way::to_slot((leaf.storage, 0), owner, slot.key));
            self.ready.extend(slots);
        }
        Some(())
    }

    fn wait(&mut self, at: Ptr, way: Way<'a>) -> Option<()> {
        match self.waiting.entry(at) {
            Entry::Occupied(mut ways) => ways.get_mut().push(way),
            Entry::Vacant(none) => {
                // Where it is in no segment, who needs it is told.
                let Ok(offset) = self.context.pages.locate(at) else { return Some(()) };
                self.queue.begin(at.0, offset, PAGE).ok()?;
                none.insert(vec![way]);
            }
        }
        Some(())
    }

    fn all(mut self) -> Option<()> {
        let mut done: Vec<Done> = Vec::new();
        loop {
            while self.waiting.len() < UNDER_WAY
                && let Some(way) = self.ready.pop()
            {
                self.go(way, None)?;
            }
            if self.waiting.is_empty() {
                return Some(());
            }
            self.queue.collect(PATIENCE, &mut done).ok()?;
            if done.is_empty() {
                return None;
            }
            for Done { tag, result } in done.drain(..) {
                let at = Ptr(tag);
                let ways = self.waiting.remove(&at).unwrap_or_default();
                let page = self.context.pages.admit(at, result).ok();
                let Some(page) = page else { continue };
                for way in ways {
                    self.go(way, Some((at, &page)))?;
                }
            }
        }
    }
}

/// Brings the pages on these ways into memory, if they can be read many at a time.
pub(super) fn go<'a>(context: &'a Context<'_>, ways: Vec<Way<'a>>) {
    let Ok(Some(mut queue)) = context.pages.queue() else { return };
    // What comes to an end early has reads under way, with which the queue goes.
    let _ = Ways { context, queue: &mut *queue, ready: ways, waiting: HashMap::default() }.all();
    if queue.under_way() == 0 {
        context.pages.keep_queue(queue);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        disk::{Batch, DiskOptions, DiskStore, kinds::Accounts, share::leaf_at, update::Kind},
        io::{DelayedMedium, FaultMedium, Faults},
    };
    use alloy_primitives::{Address, U256, keccak256};
    use alloy_trie::TrieAccount;

    fn batch(accounts: u64, slots: u64) -> Batch {
        let mut batch = Batch::default();
        for number in 0..accounts {
            let address = Address::from_word(keccak256(number.to_be_bytes()));
            let slots = (0..slots).map(|slot| (U256::from(slot), U256::from(slot + number + 1)));
            batch.change(address, Some(TrieAccount::default()), false, slots);
        }
        batch
    }

    /// Whatever comes in in whatever order, all that an update needs is there afterwards, and was read once.
    #[test]
    fn all_pages_on_the_ways_are_there_then() {
        for seed in 0..8 {
            let below = Arc::new(FaultMedium::new(seed, Faults::default()));
            let options = DiskOptions { segment_bytes: 1 << 16, workers: 1, ..DiskOptions::default() };
            DiskStore::create_on(below.clone(), options).unwrap().apply(1, &batch(300, 20)).unwrap();
            let medium = DelayedMedium::random(below, Duration::from_micros(20), seed);
            let store = DiskStore::open_on(Arc::new(medium), options).unwrap();
            let (pages, root) = (&store.shared.pages, store.ledger.latest().unwrap().root);
            let context = Context { pages, above: None, victims: &[], cold: true };
            let changes = batch(400, 25).sorted();
            go(&context, changes.iter().map(|change| Accounts.way((root, 0), change)).collect());
            let reads = pages.reads();
            assert!(reads > 100, "{reads} pages were read");
            for change in &changes {
                let Some(leaf) = leaf_at(&context, root, &change.key).unwrap() else { continue };
                for slot in &change.slots {
                    let owner = record::owner_of(&change.key);
                    crate::disk::read::find(pages, leaf.storage, owner, &slot.key).unwrap();
                }
            }
            assert_eq!(pages.reads(), reads, "seed {seed}");
        }
    }
}
