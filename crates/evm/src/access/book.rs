//! The notes of all workers of a block, and their memory.

use super::{gather::Gatherer, notes::Notes};
use parking_lot::Mutex;
use std::{
    mem::take,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

/// Most idle ones kept: more than there are threads in a common machine.
const IDLE: usize = 256;

/// Largest kept, in bytes: for a worker's share of a billion gas of transfers.
const KEPT_BYTES: usize = 16 << 20;

/// Memory for notes and for the lists that are made of them, from block to block.
#[derive(Clone, Debug, Default)]
pub(crate) struct NotePool(Arc<Idle>);

#[derive(Debug, Default)]
struct Idle {
    notes: Mutex<Vec<Notes>>,
    gatherers: Mutex<Vec<Gatherer>>,
}

fn put<T>(idle: &Mutex<Vec<T>>, one: T) {
    let mut idle = idle.lock();
    if idle.len() < IDLE {
        idle.push(one);
    }
}

impl NotePool {
    fn notes(&self) -> Notes {
        self.0.notes.lock().pop().unwrap_or_default()
    }

    /// Takes the memory of `notes` back.
    pub(super) fn put(&self, mut notes: Notes) {
        if notes.bytes() <= KEPT_BYTES {
            notes.clear();
            put(&self.0.notes, notes);
        }
    }

    /// Memory to make a list in, or a part of one.
    pub(super) fn gatherer(&self) -> Gatherer {
        self.0.gatherers.lock().pop().unwrap_or_default()
    }

    /// Takes it back.
    pub(super) fn put_gatherer(&self, mut gatherer: Gatherer) {
        if gatherer.bytes() <= KEPT_BYTES {
            gatherer.clear();
            put(&self.0.gatherers, gatherer);
        }
    }
}

/// Where a note is: whose, and where in theirs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NoteAt {
    pub(super) writer: u32,
    pub(super) at: usize,
}

/// Collects the notes of the workers of one block.
#[derive(Debug)]
pub(crate) struct Book {
    pool: NotePool,
    writers: AtomicU32,
    done: Mutex<Vec<(u32, Notes)>>,
}

impl Book {
    /// An empty one, with memory from `pool`.
    pub(crate) fn new(pool: NotePool) -> Arc<Book> {
        Arc::new(Book { pool, writers: AtomicU32::new(0), done: Mutex::default() })
    }

    /// For one more worker.
    pub(crate) fn writer(self: &Arc<Self>) -> NoteWriter {
        // Relaxed: a number is only a name.
        let number = self.writers.fetch_add(1, Ordering::Relaxed);
        NoteWriter { number, notes: self.pool.notes(), book: self.clone() }
    }

    /// All notes by the numbers of their writers, once these are gone; and where their memory belongs.
    pub(super) fn close(&self) -> (Vec<Notes>, NotePool) {
        let done = take(&mut *self.done.lock());
        // Relaxed: writers were made by threads that have been joined since.
        let writers = self.writers.load(Ordering::Relaxed) as usize;
        let mut all: Vec<Notes> = std::iter::repeat_with(Notes::default).take(writers).collect();
        for (number, notes) in done {
            all[number as usize] = notes;
        }
        (all, self.pool.clone())
    }
}

/// A worker's notes, which come to the book when it is dropped.
#[derive(Debug)]
pub(crate) struct NoteWriter {
    number: u32,
    pub(crate) notes: Notes,
    book: Arc<Book>,
}

impl NoteWriter {
    /// Ends the open note, and says where it is.
    pub(crate) fn seal(&mut self) -> NoteAt {
        NoteAt { writer: self.number, at: self.notes.seal() }
    }
}

impl Drop for NoteWriter {
    fn drop(&mut self) {
        self.book.done.lock().push((self.number, take(&mut self.notes)));
    }
}
