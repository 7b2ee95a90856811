//! Blocks of an encoded chain, their senders recovered ahead by several threads.
//!
//! 1. All threads are alike: each takes a piece of the earliest block of which one is left; or else decodes the
//!    next block, if nobody is at that and few enough are on the way; or else waits.
//! 2. The caller's thread is one of them. Besides, it hands out the earliest block once it is complete.
//! 3. Blocks are decoded and held against their parents by one thread at a time, in order, and stand in a row
//!    in which errors stand like blocks. So what is handed out, up to the first error, is what one thread
//!    would have found, and of several bad signatures the first counts.
//! 4. No lock is held while something is decoded, recovered or handed out.

use super::follow::{ChainBlock, ChainError, Follower, Unrecovered};
use alloy_primitives::{Address, Bytes};
use braid_rules::{Block, Fork, RuleError, body};
use std::{
    collections::VecDeque,
    ops::{ControlFlow, Range},
    slice::Iter,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Most threads that recover the senders of a chain.
pub const MAX_RECOVERERS: usize = 16;

/// Transactions that a thread takes at a time.
const PIECE: usize = 16;

/// Where blocks come from.
struct Source<'a> {
    blocks: Iter<'a, Bytes>,
    follower: Follower,
}

/// A block on its way.
struct Pending {
    block: Unrecovered,
    senders: Vec<Address>,
    /// The lowest transaction without a sender, and why.
    broken: Option<(usize, RuleError)>,
    /// The first transaction that no thread has taken.
    next: usize,
    /// Transactions that are taken or not, but not done.
    left: usize,
}

/// What is on the way, in order.
struct Row<'a> {
    /// `None` while a thread decodes, and after the last block.
    source: Option<Source<'a>>,
    /// No further block comes.
    ended: bool,
    pending: VecDeque<Result<Pending, ChainError>>,
    /// Place of the first pending block in the chain.
    first: usize,
    /// Nothing more is wanted.
    stopped: bool,
    /// Threads at work.
    working: usize,
    /// Since when any is.
    since: Option<Instant>,
    /// For how long any was, before.
    busy: Duration,
}

/// Transactions of one block.
struct Piece {
    /// Place of the block in the chain.
    place: usize,
    fork: Fork,
    block: Arc<Block>,
    txs: Range<usize>,
}

enum Task<'a> {
    Recover(Piece),
    Decode(Source<'a>),
}

struct Shared<'a> {
    row: Mutex<Row<'a>>,
    changed: Condvar,
    /// Most blocks on the way.
    most: usize,
}

/// Ends all threads if the one that holds it panics.
struct Guard<'b, 'a>(&'b Shared<'a>);

impl Drop for Guard<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
    }
}

/// See [`super::Chain::for_each_block`].
pub(super) fn for_each(
    blocks: &[Bytes],
    follower: Follower,
    threads: usize,
    each: &mut dyn FnMut(Result<ChainBlock, ChainError>) -> ControlFlow<()>,
) -> Duration {
    let threads = threads.clamp(1, MAX_RECOVERERS);
    let row = Row {
        source: Some(Source { blocks: blocks.iter(), follower }),
        ended: false,
        pending: VecDeque::new(),
        first: 0,
        stopped: false,
        working: 0,
        since: None,
        busy: Duration::ZERO,
    };
    // Two for each thread, so that blocks of one piece keep all of them at work.
    let shared = Shared { row: Mutex::new(row), changed: Condvar::new(), most: 2 * threads };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|| shared.help());
        }
        let _guard = Guard(&shared);
        shared.hand_out(each);
        shared.stop();
    });
    shared.lock().busy
}

impl<'a> Shared<'a> {
    /// Nothing panics while the row is locked, but if something did, the threads still end by [`Guard`].
    fn lock(&self) -> MutexGuard<'_, Row<'a>> {
        self.row.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    fn wait<'b>(&self, row: MutexGuard<'b, Row<'a>>) -> MutexGuard<'b, Row<'a>> {
        self.changed.wait(row).unwrap_or_else(PoisonError::into_inner)
    }

    /// What all threads do but the caller's.
    fn help(&self) {
        let _guard = Guard(self);
        let mut row = self.lock();
        while !row.stopped {
            row = match row.task(self.most) {
                Some(task) => self.work(row, task),
                None if row.ended && row.all_taken() => return,
                None => self.wait(row),
            };
        }
    }

    /// What the caller's thread does.
    fn hand_out(&self, each: &mut dyn FnMut(Result<ChainBlock, ChainError>) -> ControlFlow<()>) {
        let mut row = self.lock();
        while !row.stopped {
            if let Some(next) = row.complete() {
                row.begin();
                drop(row);
                // There is room for another block.
                self.changed.notify_all();
                let next = next.and_then(Pending::finish);
                let last = next.is_err();
                self.lock().end();
                if each(next).is_break() || last {
                    return;
                }
                row = self.lock();
                continue;
            }
            row = match row.task(self.most) {
                Some(task) => self.work(row, task),
                None if row.ended && row.pending.is_empty() => return,
                None => self.wait(row),
            };
        }
    }

    /// Does a task without the lock.
    fn work<'b>(&'b self, mut row: MutexGuard<'b, Row<'a>>, task: Task<'a>) -> MutexGuard<'b, Row<'a>> {
        row.begin();
        drop(row);
        let mut row = match task {
            Task::Recover(piece) => {
                let senders: Vec<_> =
                    piece.txs.clone().map(|tx| body::sender(piece.fork, tx, &piece.block.txs[tx])).collect();
                let mut row = self.lock();
                row.recovered(&piece, senders);
                row
            }
            Task::Decode(mut source) => {
                let next = source.blocks.next().map(|rlp| source.follower.next_unrecovered(rlp));
                let mut row = self.lock();
                row.decoded(source, next);
                row
            }
        };
        row.end();
        self.changed.notify_all();
        row
    }
}

impl<'a> Row<'a> {
    /// A thread begins to work.
    fn begin(&mut self) {
        self.working += 1;
        self.since.get_or_insert_with(Instant::now);
    }

    /// A thread has ended its work.
    fn end(&mut self) {
        self.working -= 1;
        if self.working == 0 {
            self.busy += self.since.take().map_or(Duration::ZERO, |since| since.elapsed());
        }
    }

    /// What to do next, if there is anything to do.
    fn task(&mut self, most: usize) -> Option<Task<'a>> {
        for (at, pending) in self.pending.iter_mut().enumerate() {
            let Ok(pending) = pending else { continue };
            let (from, all) = (pending.next, pending.senders.len());
            if from < all {
                pending.next = all.min(from + PIECE);
                return Some(Task::Recover(Piece {
                    place: self.first + at,
                    fork: pending.block.fork,
                    block: pending.block.block.clone(),
                    txs: from..pending.next,
                }));
            }
        }
        if self.pending.len() >= most {
            return None;
        }
        self.source.take().map(Task::Decode)
    }

    /// Whether every piece of every block has its thread.
    fn all_taken(&self) -> bool {
        self.pending.iter().flatten().all(|pending| pending.next == pending.senders.len())
    }

    /// The first block, taken out, if nothing of it is left to do.
    fn complete(&mut self) -> Option<Result<Pending, ChainError>> {
        let complete = self.pending.front()?.as_ref().map_or(true, |pending| pending.left == 0);
        if !complete {
            return None;
        }
        self.first += 1;
        self.pending.pop_front()
    }

    fn recovered(&mut self, piece: &Piece, senders: Vec<Result<Address, RuleError>>) {
        let Some(Ok(pending)) = self.pending.get_mut(piece.place - self.first) else { return };
        pending.left -= piece.txs.len();
        for (tx, sender) in piece.txs.clone().zip(senders) {
            match sender {
                Ok(sender) => pending.senders[tx] = sender,
                Err(_) if pending.broken.as_ref().is_some_and(|(lowest, _)| *lowest < tx) => {}
                Err(error) => pending.broken = Some((tx, error)),
            }
        }
    }

    fn decoded(&mut self, source: Source<'a>, next: Option<Result<Unrecovered, ChainError>>) {
        let next = match next {
            None => {
                self.ended = true;
                return;
            }
            Some(next) => next.map(|block| {
                let txs = block.block.txs.len();
                Pending { block, senders: vec![Address::ZERO; txs], broken: None, next: 0, left: txs }
            }),
        };
        self.ended = next.is_err();
        if !self.ended {
            self.source = Some(source);
        }
        self.pending.push_back(next);
    }
}

impl Pending {
    fn finish(self) -> Result<ChainBlock, ChainError> {
        match self.broken {
            Some((_, rule)) => Err(self.block.broken(rule)),
            None => self.block.with_senders(&self.senders),
        }
    }
}
