//! Forks of blocks that are not final: a tree of layers above the latest version of a data folder.
//!
//! 1. A fork is a block on the base or on another fork. Its state can be read, and its root is known, as soon as it is
//!    there; nothing of it is on the device.
//! 2. Choosing a fork commits it and the forks it is on, in order, drops all that is not on it, and makes it the base.
//! 3. Every sixteenth commit is prepared anew on the committed version, because only such commits empty segments; what
//!    is on it keeps its layers and roots, and is prepared anew when it is built on or chosen.

use crate::{DataFolder, DbError, Finished, Layer, LayeredState, folder::checked, layers};
use alloy_primitives::B256;
use braid_store::{
    Below,
    disk::{Batch, DiskError, Prepared},
};
use std::{collections::BTreeMap, sync::Arc};

/// Commits of which one is prepared on what is committed.
const COMPACTED: u64 = 16;

/// Names a fork. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ForkId(pub u64);

/// How much may be in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForkLimits {
    /// Forks.
    pub forks: usize,
    /// Blocks on one another.
    pub depth: usize,
    /// Accounts and slots changed, of all forks together.
    pub changes: usize,
}

impl Default for ForkLimits {
    fn default() -> Self {
        ForkLimits { forks: 1024, depth: 128, changes: 4 << 20 }
    }
}

struct Fork {
    parent: Option<ForkId>,
    depth: usize,
    finished: Finished,
    state: LayeredState,
    root: B256,
    changes: usize,
    /// Gone once the store has moved on to something that it does not know of.
    prepared: Option<Prepared>,
}

/// Forks above the latest version of one data folder.
pub struct Forks {
    base: LayeredState,
    forks: BTreeMap<ForkId, Fork>,
    next: u64,
    limits: ForkLimits,
    changes: usize,
}

impl std::fmt::Debug for Forks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let base = self.base.base().version();
        f.debug_struct("Forks").field("base", &base).field("forks", &self.forks.len()).finish_non_exhaustive()
    }
}

fn stale(error: &DiskError) -> bool {
    matches!(error, DiskError::Stale { .. })
}

impl Forks {
    /// No forks above the latest version of `folder`.
    ///
    /// # Errors
    /// [`DbError::Empty`].
    pub fn new(folder: &DataFolder, limits: ForkLimits) -> Result<Self, DbError> {
        let base = folder.state(folder.latest().ok_or(DbError::Empty)?.0)?;
        Ok(Forks { base, forks: BTreeMap::new(), next: 1, limits, changes: 0 })
    }

    /// The version that all forks are on.
    pub fn base(&self) -> u64 {
        self.base.base().version()
    }

    /// All forks, oldest first.
    pub fn ids(&self) -> impl Iterator<Item = ForkId> + '_ {
        self.forks.keys().copied()
    }

    fn get(&self, id: ForkId) -> Result<&Fork, DbError> {
        self.forks.get(&id).ok_or(DbError::NoFork(id.0))
    }

    /// The state after a fork; that of the base for none.
    ///
    /// # Errors
    /// [`DbError::NoFork`].
    pub fn state(&self, id: Option<ForkId>) -> Result<&LayeredState, DbError> {
        id.map_or(Ok(&self.base), |id| Ok(&self.get(id)?.state))
    }

    /// The state root after a fork.
    ///
    /// # Errors
    /// [`DbError::NoFork`].
    pub fn root(&self, id: ForkId) -> Result<B256, DbError> {
        Ok(self.get(id)?.root)
    }

    /// The fork that a fork is on; none if it is the base.
    ///
    /// # Errors
    /// [`DbError::NoFork`].
    pub fn parent(&self, id: ForkId) -> Result<Option<ForkId>, DbError> {
        Ok(self.get(id)?.parent)
    }

    /// Adds a block that was executed on the state after `parent`.
    ///
    /// # Errors
    /// [`DbError::StateRoot`], [`DbError::Order`] by the number of the block, [`DbError::Limit`],
    /// [`DbError::NoFork`], or what the device says; there is no such fork then.
    pub fn add(
        &mut self,
        folder: &DataFolder,
        parent: Option<ForkId>,
        finished: Finished,
    ) -> Result<ForkId, DbError> {
        let depth = parent.map_or(Ok(0), |parent| Ok::<_, DbError>(self.get(parent)?.depth))? + 1;
        let latest = self.base() + depth as u64 - 1;
        if finished.number != latest + 1 {
            return Err(DbError::Order { number: finished.number, latest });
        }
        let before = self.state(parent)?;
        let layer = Layer::new(&finished.done, &mut *before.reader()?)?;
        let changes = layer.len();
        for (what, is, limit) in [
            ("number of forks", self.forks.len() + 1, self.limits.forks),
            ("blocks on one another", depth, self.limits.depth),
            ("changes of forks", self.changes + changes, self.limits.changes),
        ] {
            if is > limit {
                return Err(DbError::Limit { what, is: is as u64, limit: limit as u64 });
            }
        }
        let state = before.with(Arc::new(layer));
        let prepared = checked(self.prepare(folder, parent, &finished)?, &finished)?;
        let (root, prepared) = (prepared.root(), Some(prepared));
        let id = ForkId(self.next);
        self.next += 1;
        self.changes += changes;
        self.forks.insert(id, Fork { parent, depth, finished, state, root, changes, prepared });
        Ok(id)
    }

    /// Prepares a block on its parent, which is prepared anew if it has to be.
    fn prepare(
        &mut self,
        folder: &DataFolder,
        parent: Option<ForkId>,
        finished: &Finished,
    ) -> Result<Prepared, DbError> {
        let (store, batch) = (folder.store(), layers::batch(&finished.done));
        let Some(parent) = parent else { return Ok(store.prepare(finished.number, &batch)?) };
        let on = |parent: &Fork, batch: &Batch| {
            parent.prepared.as_ref().map(|on| store.prepare_on(on, finished.number, batch))
        };
        match on(self.get(parent)?, &batch) {
            Some(Err(error)) if !stale(&error) => return Err(error.into()),
            Some(Ok(prepared)) => return Ok(prepared),
            _ => {}
        }
        // From the base up, all that is not prepared on what is committed.
        let mut way = vec![parent];
        while let Some(next) = self.get(way[way.len() - 1])?.parent {
            way.push(next);
        }
        for id in way.into_iter().rev() {
            self.prepare_again(folder, id)?;
        }
        let again = on(self.get(parent)?, &batch);
        again.unwrap_or(Err(DiskError::Poisoned)).map_err(DbError::from)
    }

    /// Prepares a fork whose parent is prepared, or is the base.
    fn prepare_again(&mut self, folder: &DataFolder, id: ForkId) -> Result<(), DbError> {
        let fork = self.get(id)?;
        let (store, batch, number) =
            (folder.store(), layers::batch(&fork.finished.done), fork.finished.number);
        let on = fork.parent.and_then(|parent| self.forks.get(&parent)?.prepared.as_ref());
        let prepared = match on {
            Some(on) => store.prepare_on(on, number, &batch)?,
            None => store.prepare(number, &batch)?,
        };
        if prepared.root() != fork.root {
            return Err(DbError::StateRoot { number, got: prepared.root(), header: fork.root });
        }
        if let Some(fork) = self.forks.get_mut(&id) {
            fork.prepared = Some(prepared);
        }
        Ok(())
    }

    /// Commits a fork and all that it is on, makes it the base, and drops all forks that are not on it.
    ///
    /// # Errors
    /// [`DbError::NoFork`], or what the device says: then the base is the last that was committed, and forks on it
    /// are still there.
    pub fn choose(&mut self, folder: &mut DataFolder, id: ForkId) -> Result<(), DbError> {
        let mut way = vec![id];
        while let Some(next) = self.get(way[way.len() - 1])?.parent {
            way.push(next);
        }
        way.reverse();
        let blocks: Vec<Finished> =
            way.iter().map(|id| Ok(self.get(*id)?.finished.clone())).collect::<Result<_, DbError>>()?;
        folder.record(&blocks)?;
        for id in way {
            self.commit(folder, id)?;
        }
        Ok(())
    }

    /// Commits a fork that is on the base.
    fn commit(&mut self, folder: &mut DataFolder, id: ForkId) -> Result<(), DbError> {
        let number = self.get(id)?.finished.number;
        let taken = self.forks.get_mut(&id).and_then(|fork| fork.prepared.take());
        let taken = taken.filter(|_| number % COMPACTED != 0);
        let committed = taken.map(|prepared| folder.commit_prepared(prepared));
        match committed {
            Some(Ok(_)) => {}
            Some(Err(DbError::Disk(error))) if !stale(&error) => return Err(error.into()),
            _ => {
                let fork = self.get(id)?;
                let prepared = folder.store().prepare(number, &layers::batch(&fork.finished.done))?;
                if prepared.root() != fork.root {
                    return Err(DbError::StateRoot { number, got: prepared.root(), header: fork.root });
                }
                folder.commit_prepared(prepared)?;
                // Its nodes have other places than those on it were told.
                self.forks.values_mut().for_each(|fork| fork.prepared = None);
            }
        }
        let others: Vec<ForkId> = self
            .forks
            .iter()
            .filter(|(other, fork)| fork.parent.is_none() && **other != id)
            .map(|(id, _)| *id)
            .collect();
        for other in others {
            self.drop_fork(other)?;
        }
        self.base = folder.state(number)?;
        if let Some(gone) = self.forks.remove(&id) {
            self.changes -= gone.changes;
        }
        let view = self.base.base().clone();
        for fork in self.forks.values_mut() {
            fork.depth -= 1;
            fork.state = fork.state.rebased(view.clone(), 1);
            fork.parent = fork.parent.filter(|parent| *parent != id);
        }
        Ok(())
    }

    /// Drops a fork and all that is on it; how many.
    ///
    /// # Errors
    /// [`DbError::NoFork`].
    pub fn drop_fork(&mut self, id: ForkId) -> Result<usize, DbError> {
        self.get(id)?;
        let mut going = vec![id];
        let mut at = 0;
        while let Some(parent) = going.get(at).copied() {
            let on = self.forks.iter().filter(|(_, fork)| fork.parent == Some(parent));
            going.extend(on.map(|(id, _)| *id).collect::<Vec<_>>());
            at += 1;
        }
        for id in &going {
            if let Some(gone) = self.forks.remove(id) {
                self.changes -= gone.changes;
            }
        }
        Ok(going.len())
    }
}
