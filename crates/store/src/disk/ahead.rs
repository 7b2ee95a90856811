//! Walks down the tries that go on when their pages come in.
//!
//! 1. Whoever polls has a *task*: a number of theirs, or one of ours for a read that was begun early. A task knows
//!    the address that it is about, how far its walk has come, and the page that it waited for. So it goes on where
//!    it was, whatever the cache has forgotten meanwhile, and each page that comes in is a step further.
//! 2. A page is read once for all tasks that wait for it. What came in is checked and remembered as any other page.
//! 3. What is asked of a task is said again at each poll. If it is something else, the walk begins anew; a page
//!    that comes in for a walk that is no more is only remembered.
//! 4. A failure belongs to the task that waited, and is told by its next poll.
//! 5. A read that asks for several addresses in turn remembers only the last. It goes on because what it found is
//!    in memory; where memory is too short for that, after [`PATIENCE`] pages it is done by waiting.

use super::{
    error::DiskError,
    layout::{PAGE, Ptr},
    pages::{Page, Pages},
    read::{Walk, leaf_of_account},
    record,
};
use crate::io::{Done, ReadQueue};
use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_trie::TrieAccount;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Pages that one poll may wait for before it reads by waiting: two walks of the deepest trie.
const PATIENCE: u32 = 128;

/// Reads begun early that one reader has under way.
const EARLY_MOST: usize = 1024;

/// How far a read came.
pub(super) enum Step<T> {
    /// The answer.
    Done(T),
    /// A page is being read.
    Pending,
}

/// What a read that was begun early is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Want {
    /// An account.
    Account(Address),
    /// A slot of one.
    Slot(Address, U256),
}

/// A number of a caller, or of a read begun early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TaskId {
    Caller(u32),
    Early(u64),
}

#[derive(Debug, Default)]
struct Task {
    /// What it is about, and the hash of it.
    about: Option<(Address, B256)>,
    /// The way to the account, and what is there.
    account: Option<Walk>,
    found: Option<Option<(TrieAccount, Ptr)>>,
    slot: Option<(U256, Walk)>,
    /// The page that it waits for, and the one that came in last.
    waits: Option<Ptr>,
    page: Option<(Ptr, Arc<Page>)>,
    failed: Option<DiskError>,
    /// Pages waited for.
    waited: u32,
    want: Option<Want>,
}

/// Reads of one reader that are under way.
#[derive(Debug)]
pub(super) struct Ahead {
    queue: Box<dyn ReadQueue>,
    tasks: BTreeMap<TaskId, Task>,
    /// Who waits for which page.
    waiting: HashMap<Ptr, Vec<TaskId>, RandomState>,
    early: HashMap<Want, TaskId, RandomState>,
    /// What the read at the moment asked for first that is not in memory.
    pub(super) asks: Option<Want>,
    next: u64,
    /// Who can go on.
    ready: Vec<TaskId>,
    done: Vec<Done>,
}

impl Ahead {
    pub(super) fn new(queue: Box<dyn ReadQueue>) -> Self {
        Ahead {
            queue,
            tasks: BTreeMap::new(),
            waiting: HashMap::default(),
            early: HashMap::default(),
            asks: None,
            next: 0,
            ready: Vec::new(),
            done: Vec::new(),
        }
    }

    /// The queue, if nothing is under way in it.
    pub(super) fn into_queue(self) -> Option<Box<dyn ReadQueue>> {
        (self.queue.under_way() == 0).then_some(self.queue)
    }

    /// A task for a read that somebody may want soon, unless there are too many.
    pub(super) fn begin_early(&mut self) -> Option<TaskId> {
        if self.early.len() >= EARLY_MOST {
            return None;
        }
        self.next += 1;
        Some(TaskId::Early(self.next))
    }

    /// Keeps an early task that has to wait, unless there is one for the same already.
    pub(super) fn keep_early(&mut self, id: TaskId) {
        let task = self.tasks.get_mut(&id);
        match self.asks.filter(|want| !self.early.contains_key(want)).zip(task) {
            Some((want, task)) => {
                task.want = Some(want);
                self.early.insert(want, id);
            }
            None => self.end(id),
        }
    }

    /// Forgets a task that is over.
    pub(super) fn end(&mut self, id: TaskId) {
        let task = self.tasks.remove(&id);
        if let Some(want) = task.and_then(|task| task.want) {
            self.early.remove(&want);
        }
    }

    /// Whether a task has waited for so long that its read is to be done by waiting (rule 5).
    pub(super) fn is_impatient(&self, id: TaskId) -> bool {
        self.tasks.get(&id).is_some_and(|task| task.waited > PATIENCE)
    }

    /// The account at `address` below `root`, and where its storage is.
    pub(super) fn account(
        &mut self,
        pages: &Pages,
        root: Ptr,
        id: TaskId,
        address: &Address,
    ) -> Result<Step<Option<(TrieAccount, Ptr)>>, DiskError> {
        let mut task = self.tasks.remove(&id).unwrap_or_default();
        if task.about.is_none_or(|(about, _)| about != *address) {
            task = Task {
                about: Some((*address, keccak256(address))),
                page: task.page,
                waited: task.waited,
                want: task.want,
                ..Task::default()
            };
        }
        let hash = task.about.map_or_else(|| keccak256(address), |(_, hash)| hash);
        let result = match task.found {
            Some(found) => Ok(Step::Done(found)),
            None => {
                let mut walk = task.account.take().unwrap_or_else(|| Walk::new(root, None, hash));
                let step = self.walk(pages, id, &mut task, &mut walk);
                task.account = Some(walk);
                step.and_then(|step| match step {
                    Step::Done(leaf) => Ok(Step::Done(leaf.as_ref().map(leaf_of_account).transpose()?)),
                    Step::Pending => Ok(Step::Pending),
                })
            }
        };
        if let Ok(Step::Done(found)) = result {
            task.found = Some(found);
        }
        self.tasks.insert(id, task);
        result
    }

    /// The leaf of a slot of the account that the task is about, whose storage is at `storage`.
    pub(super) fn slot(
        &mut self,
        pages: &Pages,
        storage: Ptr,
        id: TaskId,
        slot: &U256,
    ) -> Result<Step<Option<record::StoredLeaf>>, DiskError> {
        let mut task = self.tasks.remove(&id).unwrap_or_default();
        let owner = task.about.and_then(|(_, hash)| record::owner_of(&hash));
        let mut walk = match task.slot.take() {
            Some((of, walk)) if of == *slot => walk,
            _ => Walk::new(storage, owner, keccak256(slot.to_be_bytes::<32>())),
        };
        let step = self.walk(pages, id, &mut task, &mut walk);
        task.slot = Some((*slot, walk));
        self.tasks.insert(id, task);
        step
    }

    /// Goes on with a walk as far as there are pages.
    fn walk(
        &mut self,
        pages: &Pages,
        id: TaskId,
        task: &mut Task,
        walk: &mut Walk,
    ) -> Result<Step<Option<record::StoredLeaf>>, DiskError> {
        if let Some(error) = task.failed.take() {
            return Err(error);
        }
        while let Some(ptr) = walk.next() {
            let at = ptr.page();
            let page = match &task.page {
                Some((came, page)) if *came == at => page.clone(),
                _ => match pages.cached(at) {
                    Some(page) => page,
                    None => {
                        self.wait_for(pages, id, task, at)?;
                        return Ok(Step::Pending);
                    }
                },
            };
            walk.step(&page)?;
        }
        Ok(Step::Done(walk.found()))
    }

    fn wait_for(&mut self, pages: &Pages, id: TaskId, task: &mut Task, at: Ptr) -> Result<(), DiskError> {
        match self.waiting.get_mut(&at) {
            Some(tasks) if tasks.contains(&id) => {}
            Some(tasks) => tasks.push(id),
            None => {
                let offset = pages.locate(at)?;
                self.queue.begin(at.0, offset, PAGE).map_err(DiskError::io("beginning to read a page"))?;
                self.waiting.insert(at, vec![id]);
            }
        }
        if task.waits != Some(at) {
            task.waited += 1;
            task.waits = Some(at);
        }
        Ok(())
    }

    /// Waits for pages, at most for `timeout`; the tasks that can go on.
    pub(super) fn collect(&mut self, pages: &Pages, timeout: Duration) -> Vec<TaskId> {
        let timeout = if self.ready.is_empty() { timeout } else { Duration::ZERO };
        let mut done = std::mem::take(&mut self.done);
        let lost = self.queue.collect(timeout, &mut done).map_err(DiskError::io("reading pages"));
        for Done { tag, result } in done.drain(..) {
            let at = Ptr(tag);
            self.came(at, pages.admit(at, result));
        }
        if let Err(error) = lost {
            // What is under way never comes in.
            let all: Vec<Ptr> = self.waiting.keys().copied().collect();
            all.into_iter().for_each(|at| self.came(at, Err(error.clone())));
        }
        self.done = done;
        std::mem::take(&mut self.ready)
    }

    fn came(&mut self, at: Ptr, page: Result<Arc<Page>, DiskError>) {
        for id in self.waiting.remove(&at).unwrap_or_default() {
            let Some(task) = self.tasks.get_mut(&id).filter(|task| task.waits == Some(at)) else { continue };
            task.waits = None;
            match &page {
                Ok(page) => task.page = Some((at, page.clone())),
                Err(error) => task.failed = Some(error.clone()),
            }
            self.ready.push(id);
        }
    }

    /// What an early task is for.
    pub(super) fn want(&self, id: TaskId) -> Option<Want> {
        self.tasks.get(&id).and_then(|task| task.want)
    }
}
