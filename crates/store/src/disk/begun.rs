//! A version that is begun before all of its changes are known.
//!
//! 1. Somebody tells which accounts and slots change, and to what, as it becomes known ([`Begun::tell`]).
//! 2. For each account the way to it is gone, which brings its pages into memory, and its storage is updated by what
//!    was told: a small step ([`Begun::step`]). Storages are hashed together. One that is told more of later is updated
//!    anew, as long as that does not take much more than it could save.
//! 3. In the end the changes are taken as they are. An update of a storage is used if it was by just these changes;
//!    all else is done as if nothing had been told. So what was told decides how long it takes, not what comes out.
//! 4. What is on something else than the version is thrown away.

use super::{
    batch::{hashed, set_slots},
    error::DiskError,
    kinds::{AccountChange, Record, SlotChange, Slots},
    layered::{Above, Layout},
    layout::Ptr,
    moves::Moves,
    nodes::Node,
    prepare::Prepared,
    read::{Shared, View},
    record,
    share::leaf_at,
    store::DiskStore,
    update::{Context, Touch, Work, update},
};
use crate::trie::Crew;
use alloy_primitives::{Address, B256, U256};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::{collections::VecDeque, mem::take, sync::Arc};

/// Accounts and slots that are listened to.
const TOLD_MAX: usize = 1 << 20;
/// Nodes that are made ahead.
const NODES_MAX: usize = 1 << 18;
/// Storages of more slots are left for the end, where they are shared.
const SLOTS_MAX: usize = 512;
/// How often storages may be updated anew, in the mean.
const AGAIN: usize = 4;
/// New nodes that are hashed together.
const TOGETHER: usize = 256;

/// A storage that was updated by some changes.
#[derive(Debug)]
struct Updated {
    slots: Vec<SlotChange>,
    touches: Vec<Touch>,
    node: Node,
    /// Records without use then.
    died: Vec<(Ptr, u32)>,
}

/// What was told of an account.
#[derive(Debug)]
struct Told {
    key: B256,
    slots: HashMap<U256, U256, RandomState>,
    /// Whether it waits to be updated.
    waits: bool,
    updated: Option<Updated>,
}

/// What a version is on: the latest commit, and the number of what is prepared above it.
pub(super) type On = (u64, Option<u64>);

/// A version that is begun before all of its changes are known. The version that it is on stays while there is one.
/// It may be told and worked on by another thread than the store's, while the store goes on.
#[derive(Debug)]
pub struct Begun {
    shared: Arc<Shared>,
    pin: Option<View>,
    pub(super) on: On,
    root: Ptr,
    above: Option<Arc<Above>>,
    pub(super) moves: Moves,
    accounts: HashMap<Address, Told, RandomState>,
    waiting: VecDeque<Address>,
    /// Slots that were told, and slots by which storages were updated.
    told: usize,
    updated: usize,
    work: Work,
}

impl DiskStore {
    /// Begins a version on the latest one.
    ///
    /// # Errors
    /// A node that cannot be read.
    pub fn begin(&self) -> Result<Begun, DiskError> {
        self.begin_over(None)
    }

    /// Begins a version on one that is only prepared.
    ///
    /// # Errors
    /// As [`prepare_on`](Self::prepare_on).
    pub fn begin_on(&self, on: &Prepared) -> Result<Begun, DiskError> {
        let layout = self.layout_of(on)?;
        self.begin_over(Some((on, layout)))
    }

    fn begin_over(&self, on: Option<(&Prepared, &Layout)>) -> Result<Begun, DiskError> {
        let latest = self.ledger.latest();
        let pin = latest.map(|latest| self.view(latest.version)).transpose()?;
        let root = latest.map_or(Ptr::NONE, |latest| latest.root);
        let moves = if on.is_none() { self.moves(&mut Crew::alone())? } else { Moves::default() };
        Ok(Begun {
            shared: self.shared.clone(),
            pin,
            on: (self.ledger.seq, on.map(|(on, _)| on.id)),
            root: on.map_or(root, |(_, (laid, _))| laid.root),
            above: on.map(|(_, (_, above))| above.clone()),
            moves,
            accounts: HashMap::default(),
            waiting: VecDeque::new(),
            told: 0,
            updated: 0,
            work: Work::new(self.workers() as u16 + 1),
        })
    }

    /// As [`prepare`](Self::prepare), or [`prepare_on`](Self::prepare_on) if there is something that it is on, with
    /// what was done ahead.
    ///
    /// # Errors
    /// As these.
    pub fn prepare_begun(
        &self,
        begun: Begun,
        on: Option<&Prepared>,
        version: u64,
        batch: &super::Batch,
    ) -> Result<Prepared, DiskError> {
        let is_on = begun.on == (self.ledger.seq, on.map(|on| on.id));
        self.prepare_with(version, batch, on, is_on.then_some(begun))
    }
}

impl Begun {
    /// Tells of accounts that change, and of slots with what they change to (zero: to nothing).
    pub fn tell(&mut self, changes: &[(Address, Option<(U256, U256)>)]) {
        if self.told + changes.len() > TOLD_MAX {
            return;
        }
        self.told += changes.len();
        let keys = hashed(changes, |(address, _)| address.0.0);
        for ((address, slot), key) in changes.iter().zip(keys) {
            let waiting = &mut self.waiting;
            let told = self.accounts.entry(*address).or_insert_with(|| {
                waiting.push_back(*address);
                Told { key, slots: HashMap::default(), waits: true, updated: None }
            });
            let Some((slot, value)) = slot else { continue };
            if told.slots.insert(*slot, *value) != Some(*value) && !told.waits {
                told.waits = true;
                waiting.push_back(*address);
            }
        }
    }

    /// Does a little of what can be done; whether there is more. What cannot be read is met again in the end, and told
    /// there.
    pub fn step(&mut self) -> bool {
        let Some(address) = self.waiting.pop_front() else {
            self.work.hash();
            return false;
        };
        let Some(told) = self.accounts.get_mut(&address) else { return true };
        told.waits = false;
        let spent = self.updated > AGAIN * self.told || self.work.nodes.len() > NODES_MAX;
        if spent || told.slots.len() > SLOTS_MAX {
            told.updated = None;
            return !self.waiting.is_empty();
        }
        let context = context(&self.shared, self.above.as_deref(), &self.moves);
        let leaf = leaf_at(&context, self.root, &told.key);
        if told.slots.is_empty() {
            return !self.waiting.is_empty();
        }
        self.updated += told.slots.len();
        let slots = set_slots(told.slots.iter());
        let owner = record::owner_of(&told.key);
        let touches = owner.map_or(Vec::new(), |owner| self.moves.through(owner).to_vec());
        let work = &mut self.work;
        let updated = leaf.and_then(|leaf| {
            let base = leaf.map_or(Ptr::NONE, |leaf| leaf.storage);
            update(&context, work, &Slots(owner), (base, 0), &slots, &touches)
        });
        let died = take(&mut work.died);
        if let Ok(Node::New(id)) = updated {
            work.nodes.place(id, 0);
        }
        told.updated = updated.ok().map(|node| Updated { slots, touches, node, died });
        if work.nodes.waiting() >= TOGETHER {
            work.hash();
        }
        !self.waiting.is_empty()
    }

    /// Accounts and slots that were told of.
    pub fn told(&self) -> usize {
        self.told
    }

    /// Gives changes the storages that were updated by just these; what was made for them.
    pub(super) fn give(mut self, changes: &mut [AccountChange]) -> Work {
        self.work.hash();
        for change in changes.iter_mut().filter(|change| !change.slots.is_empty()) {
            let told = change.address.and_then(|address| self.accounts.get_mut(&address));
            let Some(updated) = told.and_then(|told| told.updated.take()) else { continue };
            let same = updated.slots == change.slots && updated.touches == change.touches;
            if change.wiped || change.record == Record::Remove || !same {
                continue;
            }
            let said = match updated.node {
                Node::New(id) => Some(self.work.nodes.reference(&mut self.work.scratch, id, 0)),
                _ => None,
            };
            change.storage = Some(Box::new((updated.node, said)));
            self.work.died.extend(updated.died);
        }
        drop(self.pin);
        self.work
    }
}

fn context<'a>(shared: &'a Shared, above: Option<&'a Above>, moves: &'a Moves) -> Context<'a> {
    Context { pages: &shared.pages, above, victims: &moves.victims, cold: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        disk::{Batch, DiskOptions},
        io::{FaultMedium, Faults},
    };
    use alloy_trie::TrieAccount;

    #[test]
    fn storages_that_were_told_of_are_not_updated_again() {
        let medium = Arc::new(FaultMedium::new(0, Faults::default()));
        let mut store =
            DiskStore::create_on(medium, DiskOptions { workers: 1, ..DiskOptions::default() }).unwrap();
        let slots = |from: u64| (from..from + 40).map(|slot| (U256::from(slot), U256::from(slot * slot + 1)));
        let mut batch = Batch::default();
        for byte in 1..=20 {
            batch.change(Address::repeat_byte(byte), Some(TrieAccount::default()), false, slots(0));
        }
        store.apply(1, &batch).unwrap();
        let (mut batch, mut begun) = (Batch::default(), store.begin().unwrap());
        for byte in 1..=30 {
            let address = Address::repeat_byte(byte);
            batch.change(address, Some(TrieAccount::default()), byte == 20, slots(u64::from(byte)));
            let mut told: Vec<_> = slots(u64::from(byte)).map(|slot| (address, Some(slot))).collect();
            // Of one too little is told, of one too much, of one something else first, of one something else last.
            match byte {
                5 => drop(told.pop()),
                6 => told.push((address, Some((U256::from(999), U256::from(1))))),
                7 => told.insert(0, (told[0].0, Some((U256::from(7), U256::from(7))))),
                8 => told.push((address, Some((U256::from(8), U256::from(8))))),
                _ => {}
            }
            begun.tell(&told);
        }
        while begun.step() {}
        let mut changes = batch.sorted();
        assert!(begun.give(&mut changes).nodes.len() > 100);
        let left = changes.iter().filter(|change| change.storage.is_none());
        let mut left: Vec<u8> = left.filter_map(|change| change.address).map(|address| address[0]).collect();
        left.sort_unstable();
        assert_eq!(left, [5, 6, 8, 20]);
    }
}
