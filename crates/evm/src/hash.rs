//! Keccak-256 of short inputs, remembered within a block.
//!
//! The slot of a mapping's entry is the hash of its key and of the mapping's own slot, 64 bytes, and a block asks
//! for the same few hundred again and again: on mainnet blocks more than half of what KECCAK256 is asked for was
//! asked before in the same block. A permutation takes as long as some hundred of the simplest instructions.
//!
//! A thread has one table, whatever executions it has begun and not ended: schedulers suspend some, and a table
//! for each would take more memory than all else that they hold, and know less. So it is no part of a worker.
//! None lends it across a suspension: a hash reads no state.

use crate::ctx::Ctx;
use alloy_primitives::{B256, KECCAK256_EMPTY, keccak256};
use foldhash::fast::RandomState;
use revm::{
    context_interface::Cfg,
    interpreter::{
        InstructionContext, InstructionExecResult, InstructionResult,
        interpreter::{EthInterpreter, resize_memory},
    },
};
use std::{
    cell::RefCell,
    hash::{BuildHasher, Hasher},
    sync::atomic::{AtomicU64, Ordering},
};

/// Words of the longest input that is remembered, 88 bytes: keys and slots of mappings are 64, what CREATE2
/// derives an address from is 85 (EIP-1014).
const WORDS: usize = 11;

/// A remembered hash: the input in words, zeros behind it; the hash; the length of the input. Two cache lines.
type Cell = [u64; 16];

/// Sets of two cells, at first and at most; powers of two. The most take 256 KiB: blocks of 30 million gas have
/// some 700 different inputs, and a block that has few pays for few.
const FIRST_SETS: usize = 32;
const SETS: usize = 1024;
/// Of so many sets one is full, and is asked to take more, when the table grows: as many times larger.
const CROWDED: usize = 4;
const GROWTH: usize = 4;

thread_local! {
    static REMEMBERED: RefCell<Hashes> = RefCell::default();
}

/// One run of one block, among all of this process: what is remembered ends with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BlockRun(u64);

impl BlockRun {
    /// Another than all before.
    pub(crate) fn begin() -> Self {
        static BEGUN: AtomicU64 = AtomicU64::new(0);
        // Relaxed: numbers need to differ, and nothing else. The first is 1, since a new table is of none.
        BlockRun(BEGUN.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Keccak-256 of `input`, by what the calling thread remembers of this run.
    pub(crate) fn keccak256(self, input: &[u8]) -> B256 {
        REMEMBERED.with_borrow_mut(|hashes| {
            if hashes.of != self {
                hashes.clear();
                hashes.of = self;
            }
            hashes.keccak256(input)
        })
    }
}

/// Hashes that one thread computed in this block. Inputs are compared whole, so that one is never taken for
/// another; and where they go depends on a secret of the process, so that nobody can aim at one place. At worst
/// a hash costs one look-up more than without.
#[derive(Debug, Default)]
struct Hashes {
    /// Whose they are.
    of: BlockRun,
    hasher: RandomState,
    /// A piece of the hash by which a cell was chosen, or zero if it is empty: what is not here is mostly told
    /// by these alone, which stay in the first cache. Empty until the first hash, as are the cells.
    tags: Vec<[u32; 2]>,
    cells: Vec<[Cell; 2]>,
    /// Which cell of a full set goes next.
    turn: usize,
    /// Hashes that found their set full since the table grew.
    crowded: usize,
}

impl Hashes {
    /// Forgets everything: another block begins.
    fn clear(&mut self) {
        self.tags.fill([0; 2]);
        self.crowded = 0;
    }

    /// Keccak-256 of `input`.
    fn keccak256(&mut self, input: &[u8]) -> B256 {
        if let Ok(input) = <&[u8; 64]>::try_from(input) {
            self.remembered(words(input), input)
        } else if input.len() <= WORDS * 8 {
            self.remembered(words(input), input)
        } else {
            keccak256(input)
        }
    }

    #[inline(always)]
    fn remembered(&mut self, words: [u64; WORDS], input: &[u8]) -> B256 {
        if self.tags.is_empty() {
            self.grow(FIRST_SETS);
        }
        let len = input.len() as u64;
        let (set, tag) = self.place(&words, len);
        let (tags, cells) = (&mut self.tags[set], &mut self.cells[set]);
        for (cell, _) in cells.iter().zip(&*tags).filter(|(_, of)| **of == tag) {
            // Without a branch for each word, and without a call.
            let differ = |or, (ours, theirs): (&u64, &u64)| or | (ours ^ theirs);
            if words.iter().zip(cell).fold(cell[15] ^ len, differ) == 0 {
                return hash_of(cell);
            }
        }
        let free = tags.iter().position(|of| *of == 0);
        let hash = keccak256(input);
        let at = free.unwrap_or_else(|| {
            self.turn ^= 1;
            self.crowded += 1;
            self.turn
        });
        let cell = &mut cells[at];
        cell[..WORDS].copy_from_slice(&words);
        for (word, bytes) in cell[WORDS..15].iter_mut().zip(hash.0.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        cell[15] = len;
        tags[at] = tag;
        if self.crowded * CROWDED > self.tags.len() && self.tags.len() < SETS {
            self.grow(self.tags.len() * GROWTH);
        }
        hash
    }

    /// Makes a table of `sets`, with all that is remembered.
    #[cold]
    fn grow(&mut self, sets: usize) {
        let sets = sets.min(SETS);
        let tags = std::mem::replace(&mut self.tags, vec![[0; 2]; sets]);
        let cells = std::mem::replace(&mut self.cells, vec![[[0; 16]; 2]; sets]);
        self.crowded = 0;
        let filled = cells.iter().flatten().zip(tags.iter().flatten()).filter(|(_, tag)| **tag != 0);
        for (cell, _) in filled {
            let (set, tag) = self.place(cell, cell[15]);
            if let Some(at) = self.tags[set].iter().position(|of| *of == 0) {
                self.cells[set][at] = *cell;
                self.tags[set][at] = tag;
            }
        }
    }

    /// The set for an input, and its tag.
    #[inline(always)]
    fn place(&self, words: &[u64], len: u64) -> (usize, u32) {
        let mut hasher = self.hasher.build_hasher();
        // What differs beyond these shares a set, at worst.
        for word in &words[..8] {
            hasher.write_u64(*word);
        }
        hasher.write_u64(len);
        let hash = hasher.finish();
        (hash as usize & (self.tags.len() - 1), (hash >> 32) as u32 | 1)
    }
}

/// The input in words, with zeros behind it.
#[inline(always)]
fn words(input: &[u8]) -> [u64; WORDS] {
    let mut words = [0; WORDS];
    let (whole, rest) = input.as_chunks();
    for (word, bytes) in words.iter_mut().zip(whole) {
        *word = u64::from_le_bytes(*bytes);
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        words[whole.len()] = u64::from_le_bytes(last);
    }
    words
}

fn hash_of(cell: &Cell) -> B256 {
    let mut hash = B256::ZERO;
    for (bytes, word) in hash.0.as_chunks_mut().0.iter_mut().zip(&cell[WORDS..15]) {
        *bytes = word.to_le_bytes();
    }
    hash
}

/// KECCAK256, by what the thread remembers. Gas, growth of memory and failures are those of revm's.
pub(crate) fn keccak(at: InstructionContext<'_, Ctx<'_>, EthInterpreter>) -> InstructionExecResult {
    let InstructionContext { interpreter, host } = at;
    let Some(([offset], top)) = interpreter.stack.popn_top() else {
        return Err(InstructionResult::StackUnderflow);
    };
    let gas_params = host.cfg.gas_params();
    let len = usize::try_from(*top).map_err(|_| InstructionResult::InvalidOperandOOG)?;
    if !interpreter.gas.record_regular_cost(gas_params.keccak256_cost(len)) {
        return Err(InstructionResult::OutOfGas);
    }
    let hash = if len == 0 {
        KECCAK256_EMPTY
    } else {
        let from = usize::try_from(offset).map_err(|_| InstructionResult::InvalidOperandOOG)?;
        resize_memory(&mut interpreter.gas, &mut interpreter.memory, gas_params, from, len)?;
        host.journal.run.keccak256(&interpreter.memory.slice_len(from, len))
    };
    *top = hash.into();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Inputs of all lengths around the bounds, few enough to come again and many enough to push each other
    /// out, in several blocks.
    #[test]
    fn remembered_or_not_a_hash_is_the_same() {
        let mut hashes = Hashes::default();
        for block in 0..3 {
            for round in 0..3 {
                for at in 0..6000_usize {
                    let len = if at % 3 == 0 { at % 140 } else { 64 };
                    // Also some that differ in length only.
                    let byte = if at % 7 == 0 { 0 } else { (at * 31 % 251) as u8 };
                    let mut input = vec![byte; len];
                    input.iter_mut().zip((at / 9).to_le_bytes()).for_each(|(to, byte)| *to = byte);
                    assert_eq!(hashes.keccak256(&input), keccak256(&input), "{block} {round} {at}");
                }
            }
            hashes.clear();
        }
    }

    #[test]
    fn another_block_finds_nothing() {
        let mut hashes = Hashes::default();
        let live = |hashes: &Hashes| hashes.tags.iter().flatten().filter(|tag| **tag != 0).count();
        hashes.keccak256(&[7; 64]);
        hashes.keccak256(&[7; 64]);
        assert_eq!(live(&hashes), 1, "the second one found the first");
        assert_eq!(hashes.tags.len(), FIRST_SETS, "one hash takes little memory");
        hashes.clear();
        assert_eq!(live(&hashes), 0);
        assert_eq!(hashes.keccak256(&[7; 64]), keccak256([7; 64]));
        assert_eq!(live(&hashes), 1);
    }

    /// Two blocks by turns on one thread, as engines beside each other run them: neither finds the other's.
    #[test]
    fn runs_by_turns_forget_each_other() {
        let live =
            || REMEMBERED.with_borrow(|hashes| hashes.tags.iter().flatten().filter(|tag| **tag != 0).count());
        let (one, other) = (BlockRun::begin(), BlockRun::begin());
        assert_ne!(one, other);
        for round in 0..3 {
            for run in [one, other] {
                for input in [[1; 64], [2; 64], [1; 64]] {
                    assert_eq!(run.keccak256(&input), keccak256(input), "{round}");
                }
                assert_eq!(live(), 2);
            }
        }
        let elsewhere = std::thread::spawn(move || {
            other.keccak256(&[3; 64]);
            REMEMBERED.with_borrow(|hashes| hashes.tags.iter().flatten().filter(|tag| **tag != 0).count())
        });
        assert_eq!(elsewhere.join().expect("no panic"), 1, "a table of its own");
    }

    #[test]
    fn grows_with_what_there_is_to_remember() {
        let mut hashes = Hashes::default();
        for at in 0..500_u64 {
            let mut input = [0; 64];
            input[..8].copy_from_slice(&at.to_le_bytes());
            hashes.keccak256(&input);
        }
        let live = hashes.tags.iter().flatten().filter(|tag| **tag != 0).count();
        assert!(live > 400 && hashes.tags.len() == 512, "{live} of 500 in {} sets", hashes.tags.len());
        for at in 500..9000_u64 {
            hashes.keccak256(&[at.to_le_bytes(); 8].concat());
        }
        assert_eq!(hashes.tags.len(), SETS);
    }

    /// What was remembered is what is answered: a wrong hash in a cell would come out.
    #[test]
    fn the_second_answer_comes_from_the_cell() {
        let mut hashes = Hashes::default();
        hashes.keccak256(&[1; 40]);
        let cell = hashes.cells.iter_mut().flatten().find(|cell| cell[15] != 0).expect("one cell is filled");
        cell[WORDS] ^= 1;
        assert_ne!(hashes.keccak256(&[1; 40]), keccak256([1; 40]));
    }

    /// The tag is no identity: an input whose tag is there, but which is not, is hashed.
    #[test]
    fn an_input_with_the_tag_of_another_is_hashed() {
        let mut hashes = Hashes::default();
        let (one, other) = ([1; 64], [2; 64]);
        hashes.keccak256(&one);
        let (set, tag) = hashes.place(&words(&other), 64);
        let from = hashes.cells.iter().flatten().copied().find(|cell| cell[15] != 0).expect("one is filled");
        hashes.tags[set] = [tag; 2];
        hashes.cells[set] = [from; 2];
        assert_eq!(hashes.keccak256(&other), keccak256(other));
        assert_eq!(hashes.keccak256(&one), keccak256(one));
    }
}
