//! From the hash of a key to the number of its cell: a table that only grows, without locks.
//!
//! 1. The table is a row of levels, each four times as large as the one before and made when it is needed.
//!    A hash has one *window* of entries in each level: a cache line.
//! 2. An entry is free, or holds a tag of the hash and a number. It is claimed once, by compare-and-swap, and
//!    then stays as it is until the block ends.
//! 3. Who looks for a key passes the entries of its windows in order, level by level, and compares the key of
//!    each whose tag fits. At the first free entry it knows that the key is nowhere: it claims that entry, or
//!    looks at it again if somebody else did.
//! 4. So no key is there twice: of two entries with one key, the later was claimed by someone who had passed
//!    the earlier, had seen it claimed (rule 3) and unchanged since (rule 2), and had compared its key.
//! 5. Entries carry the number of the block's *epoch*; those of other epochs are free. So nothing is wiped
//!    between blocks, until the numbers start over.
//!
//! A tag is no identity: the caller compares keys.

use crate::sync::{
    MODEL,
    atomic::{AtomicU64, Ordering},
};
use crossbeam_utils::CachePadded;
use std::sync::OnceLock;

/// Entries of a window: one cache line of 64 bytes.
const WINDOW: usize = 8;
/// Windows of the first level.
const FIRST: usize = if MODEL { 1 } else { 1 << 10 };
/// Levels: the last has 2^24 windows, more than there are locations in a block.
const LEVELS: usize = 8;
/// Levels kept for later blocks: 700,000 entries in 5.6 MB, if there were so many.
const KEPT: usize = 4;
/// Bits of an entry above the number: 16 of the epoch, then 16 of the tag.
const EPOCH_SHIFT: u32 = 48;
const TAG_SHIFT: u32 = 32;
const LAST_EPOCH: u64 = (1 << 16) - 1;

/// A window, on a line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Window([AtomicU64; WINDOW]);

/// The table.
#[derive(Debug)]
pub(crate) struct Index {
    levels: CachePadded<[OnceLock<Box<[Window]>>; LEVELS]>,
    /// From 1.
    epoch: u64,
}

/// What a probe meets.
pub(crate) enum Found {
    /// An entry whose tag fits, with this number.
    Cell(u32),
    /// A free entry: what is looked for is nowhere in the table.
    Free,
}

/// A walk through the windows of one hash.
pub(crate) struct Probe<'a> {
    index: &'a Index,
    hash: u64,
    level: usize,
    at: usize,
    window: &'a Window,
    /// What was in the free entry that was met last.
    free: u64,
}

impl Index {
    pub(crate) fn new() -> Self {
        let index = Index { levels: CachePadded::new([const { OnceLock::new() }; LEVELS]), epoch: 1 };
        // The first level is needed in any case; and a model cannot see what a `OnceLock` orders.
        index.window(0, 0);
        index
    }

    /// Frees all entries.
    pub(crate) fn clear(&mut self) {
        for level in &mut self.levels[KEPT..] {
            level.take();
        }
        self.epoch += 1;
        if self.epoch > LAST_EPOCH {
            *self = Index::new();
        }
    }

    fn window(&self, level: usize, hash: u64) -> &Window {
        let count = FIRST << (2 * level);
        let windows = self.levels[level].get_or_init(|| (0..count).map(|_| Window::default()).collect());
        &windows[hash as usize & (count - 1)]
    }

    /// Begins to look for `hash`.
    pub(crate) fn probe(&self, hash: u64) -> Probe<'_> {
        Probe { index: self, hash, level: 0, at: 0, window: self.window(0, hash), free: 0 }
    }
}

impl Probe<'_> {
    /// The next entry that fits or is free; a free one again and again, until it is claimed.
    pub(crate) fn next(&mut self) -> Found {
        let tag = self.hash >> EPOCH_SHIFT;
        loop {
            if self.at == WINDOW {
                self.level += 1;
                assert!(self.level < LEVELS, "a block has fewer locations");
                (self.at, self.window) = (0, self.index.window(self.level, self.hash));
            }
            // Acquire: pairs with `claim`. What the cell holds has its own lock, which was taken before.
            let entry = self.window.0[self.at].load(Ordering::Acquire);
            if entry >> EPOCH_SHIFT != self.index.epoch {
                self.free = entry;
                return Found::Free;
            }
            self.at += 1;
            if (entry >> TAG_SHIFT) & LAST_EPOCH == tag {
                return Found::Cell(entry as u32);
            }
        }
    }

    /// Claims the free entry that was met last for `number`; false if somebody else has.
    pub(crate) fn claim(&self, number: u32) -> bool {
        let tag = self.hash >> EPOCH_SHIFT;
        let entry = self.index.epoch << EPOCH_SHIFT | tag << TAG_SHIFT | u64::from(number);
        let place = &self.window.0[self.at];
        // Release: pairs with `next`. Relaxed on failure: the entry is loaded again.
        place.compare_exchange(self.free, entry, Ordering::Release, Ordering::Relaxed).is_ok()
    }
}

#[cfg(all(test, not(any(feature = "shuttle", feature = "loom"))))]
mod tests {
    use super::*;

    /// Interns `hash` as `number`, where numbers stand for keys; the number it has.
    fn intern(index: &Index, hash: u64, number: u32, same: impl Fn(u32) -> bool) -> u32 {
        let mut probe = index.probe(hash);
        loop {
            match probe.next() {
                Found::Cell(cell) if same(cell) => return cell,
                Found::Cell(_) => {}
                Found::Free if probe.claim(number) => return number,
                Found::Free => {}
            }
        }
    }

    #[test]
    fn finds_what_was_entered_even_if_all_hashes_are_one() {
        let mut index = Index::new();
        for epoch in 0..3 {
            for hash in [|_| 0, |number: u32| u64::from(number) << 48, |number: u32| u64::from(number)] {
                for number in 0..24 {
                    assert_eq!(
                        intern(&index, hash(number), number, |cell| cell == number),
                        number,
                        "{epoch}"
                    );
                }
                for number in 0..24 {
                    assert_eq!(intern(&index, hash(number), 1000, |cell| cell == number), number, "{epoch}");
                }
                index.clear();
            }
        }
    }

    #[test]
    fn epochs_start_over() {
        let mut index = Index::new();
        for _ in 0..=LAST_EPOCH {
            assert_eq!(intern(&index, 7, 1, |_| true), 1);
            index.clear();
            assert_eq!(intern(&index, 7, 2, |_| true), 2);
            index.clear();
        }
    }

    #[test]
    fn of_many_who_enter_a_key_one_does() {
        for round in 0..200_u64 {
            let index = Index::new();
            let key_of = |number: u32| number / 16;
            let seen: Vec<Vec<u32>> = std::thread::scope(|scope| {
                let enter = |thread: u32| {
                    let index = &index;
                    move || {
                        let of_key = |key: u32| {
                            let hash = u64::from(key % 3) << 40 | round;
                            intern(index, hash, key * 16 + thread, |cell| key_of(cell) == key)
                        };
                        (0..40).map(of_key).collect()
                    }
                };
                let threads: Vec<_> = (0..4).map(|thread| scope.spawn(enter(thread))).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert!(seen.iter().all(|numbers| *numbers == seen[0]), "round {round}");
        }
    }
}

#[cfg(all(test, feature = "loom"))]
mod model {
    use super::*;
    use crate::sync::thread;
    use std::sync::Arc;

    /// Enters a key, of which even and odd numbers are two that share a hash.
    fn enter(index: &Index, number: u32) -> u32 {
        let mut probe = index.probe(0);
        loop {
            match probe.next() {
                Found::Cell(cell) if cell % 2 == number % 2 => return cell,
                Found::Cell(_) => {}
                Found::Free if probe.claim(number) => return number,
                Found::Free => {}
            }
        }
    }

    #[test]
    fn no_key_is_there_twice() {
        loom::model(|| {
            let index = Arc::new(Index::new());
            let other = {
                let index = index.clone();
                thread::spawn(move || (enter(&index, 10), enter(&index, 11)))
            };
            let odd = enter(&index, 21);
            let even = enter(&index, 20);
            assert_eq!(other.join().expect("no panic"), (even, odd));
        });
    }
}
