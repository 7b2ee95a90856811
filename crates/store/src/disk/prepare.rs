//! What a version becomes by a batch: its root, and new nodes in memory. Nothing is written.

use super::{
    batch::Batch,
    begun::Begun,
    error::DiskError,
    kinds::{AccountChange, Accounts},
    layered::{self, Above, Layout},
    layout::Ptr,
    moves::Moves,
    nodes::Node,
    record::Stored,
    share::Works,
    sorted::{PlainSlots, Sorted},
    store::DiskStore,
    update::Context,
};
use crate::{node::nibble, trie::Crew};
use alloy_primitives::B256;
use alloy_trie::EMPTY_ROOT_HASH;
use std::sync::{Arc, OnceLock, atomic::Ordering};

/// Pages are read many at a time when the last version took more than one for so many changes.
const COLD: u64 = 8;
/// Fewer changes are worked on by the caller alone, unless the last version wrote much, of which as much may be written
/// again: waking others and waiting until they have slept takes longer, and where all processors are busy it takes
/// as long as these let nobody else run, which is a hundred times as long as the root of a small block.
const CREW_CHANGES: usize = 96;
const CREW_BYTES: u64 = 1 << 18;

/// There is a number for what comes after any version.
const VERSION_MAX: u64 = u64::MAX - 1;

/// A version that is not durable: its root is known, its nodes are in memory.
#[derive(Debug)]
pub struct Prepared {
    /// Its own number.
    pub(super) id: u64,
    /// Numbers of what it is on, the nearest last, if that was not committed when it was prepared.
    pub(super) lineage: Vec<u64>,
    /// The commit that the first of them, or it itself, was prepared on.
    pub(super) root_base: u64,
    pub(super) version: u64,
    pub(super) hash: B256,
    pub(super) node: Node,
    pub(super) works: Works,
    pub(super) moves: Moves,
    pub(super) slots: Vec<PlainSlots>,
    /// Pages of what it is on.
    pub(super) above: Option<Arc<Above>>,
    /// Its layout, once somebody builds on it.
    pub(super) laid: OnceLock<Layout>,
}

impl Prepared {
    /// The version that it will be.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Its state root.
    pub fn root(&self) -> B256 {
        self.hash
    }
}

/// Accounts whose hashed addresses begin with these bytes: one, but for collisions of 64 bits.
fn owners(context: &Context<'_>, root: Ptr, owner: u64) -> Result<Vec<B256>, DiskError> {
    let mut way = B256::ZERO;
    way[..8].copy_from_slice(&owner.to_be_bytes());
    let (mut found, mut waiting) = (Vec::new(), vec![(root, 0)]);
    while let Some((ptr, depth)) = waiting.pop() {
        if ptr.is_none() {
            continue;
        }
        match context.load(ptr, None, depth)?.0 {
            Stored::Leaf(leaf) if leaf.key[..8] == way[..8] => found.push(leaf.key),
            Stored::Leaf(_) => {}
            Stored::Branch(branch) => {
                let below = branch.end + 1;
                let only = (branch.end < 16).then(|| nibble(&way, branch.end));
                let ways = branch.nibbles().filter(|nibble| only.is_none_or(|only| only == *nibble));
                waiting.extend(ways.filter_map(|nibble| Some((branch.child_ptr(nibble)?, below))));
            }
        }
    }
    Ok(found)
}

impl DiskStore {
    /// Works out what the latest version becomes by `batch`: its root is known then, nothing is written.
    ///
    /// # Errors
    /// [`DiskError::Order`], [`DiskError::Limit`] for the highest of all numbers, [`DiskError::NoAccount`], or a node
    /// that cannot be read.
    pub fn prepare(&self, version: u64, batch: &Batch) -> Result<Prepared, DiskError> {
        self.prepare_with(version, batch, None, None)
    }

    /// As [`prepare`](Self::prepare), perhaps on something else than the latest version, and with what was begun on the
    /// same.
    pub(super) fn prepare_with(
        &self,
        version: u64,
        batch: &Batch,
        on: Option<&Prepared>,
        begun: Option<Begun>,
    ) -> Result<Prepared, DiskError> {
        if let Some(on) = on.filter(|on| version <= on.version) {
            return Err(DiskError::Order { version, latest: on.version });
        }
        let on = on.map(|on| Ok((on, self.layout_of(on)?))).transpose()?;
        self.with_crew(batch.changes(), |crew| {
            let spare = std::mem::take(&mut self.spare.lock().sorted);
            let sorted = batch.sorted_by(crew, spare);
            self.prepare_sorted(crew, version, sorted, on, begun)
        })
    }

    /// Threads that hash, the caller included.
    pub(super) fn workers(&self) -> usize {
        self.options.workers
    }

    /// What a version on the latest one is to write again.
    pub(super) fn moves(&self, crew: &mut Crew<'_>) -> Result<Moves, DiskError> {
        match self.options.compact {
            true => self.decay.moves(crew, &self.shared.pages, &self.ledger, self.wrote),
            false => Ok(Moves::default()),
        }
    }

    /// Calls `run` with those who hash so many changes: the caller, and threads that wait for it between blocks.
    pub(super) fn with_crew<T>(&self, changes: usize, run: impl FnOnce(&mut Crew<'_>) -> T) -> T {
        let shared = changes >= CREW_CHANGES || self.wrote >= CREW_BYTES;
        match self.pool.as_ref().filter(|_| shared) {
            Some(pool) => pool.with_crew(run),
            None => run(&mut Crew::alone()),
        }
    }

    /// As [`prepare`](Self::prepare), of changes by hashed keys, sorted.
    pub(super) fn prepare_hashed(
        &self,
        version: u64,
        changes: Vec<AccountChange>,
    ) -> Result<Prepared, DiskError> {
        let sorted = Sorted::from(changes);
        let changes = sorted.changes.iter().map(|account| 1 + account.slots.len()).sum();
        self.with_crew(changes, |crew| self.prepare_sorted(crew, version, sorted, None, None))
    }

    fn prepare_sorted(
        &self,
        crew: &mut Crew<'_>,
        version: u64,
        mut sorted: Sorted,
        on: Option<(&Prepared, &Layout)>,
        mut begun: Option<Begun>,
    ) -> Result<Prepared, DiskError> {
        let latest = self.ledger.latest();
        if let Some(latest) = latest.map(|latest| latest.version).filter(|latest| *latest >= version) {
            return Err(DiskError::Order { version, latest });
        }
        if version > VERSION_MAX {
            return Err(DiskError::Limit { what: "version", is: version, limit: VERSION_MAX });
        }
        let committed = latest.map_or((Ptr::NONE, EMPTY_ROOT_HASH), |one| (one.root, one.hash));
        let (root, before) = on.map_or(committed, |(on, (laid, _))| (laid.root, on.hash));
        let pages = &self.shared.pages;
        let moves = match (&mut begun, on) {
            (Some(begun), _) => std::mem::take(&mut begun.moves),
            (None, None) => self.moves(crew)?,
            (None, Some(_)) => Moves::default(),
        };
        let above = on.map(|(_, (_, above))| above.clone());
        let (cold, reads) = (self.cold.load(Ordering::Relaxed), pages.reads());
        let context = Context { pages, above: above.as_deref(), victims: &moves.victims, cold };
        let changes = &mut sorted.changes;
        moves.join(crew, changes, |owner| owners(&context, root, owner))?;
        let spare = std::mem::take(&mut self.spare.lock().works);
        let mut works = Works::new(self.options.workers, spare);
        if let Some(begun) = begun {
            works.add_ahead(begun.give(changes));
        }
        works.update_large(&context, crew, root, changes)?;
        let (node, said) = works.update(&context, crew, &Accounts, root, (changes, &moves.accounts))?;
        works.rest();
        // Relaxed: a hint for the next one, no more.
        let is_cold = (pages.reads() - reads) * COLD > (changes.len() + sorted.set()) as u64;
        self.cold.store(is_cold, Ordering::Relaxed);
        let (spare, slots) = sorted.into_spare();
        self.spare.lock().sorted = spare;
        let hash = match (node, said) {
            (_, Some(said)) => said.root(),
            (Node::Empty, None) => EMPTY_ROOT_HASH,
            (_, None) => before,
        };
        let lineage = on.map_or(Vec::new(), |(on, _)| on.lineage.iter().copied().chain([on.id]).collect());
        let root_base = on.map_or(self.ledger.seq, |(on, _)| on.root_base);
        let (id, laid) = (layered::identity(), OnceLock::new());
        Ok(Prepared { id, lineage, root_base, version, hash, node, works, moves, slots, above, laid })
    }
}
