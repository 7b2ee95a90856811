//! Where an execution stands: the instruction it is at, and its stack, as pointers that stay in registers.
//!
//! revm keeps both in the interpreter, behind a reference, so that every instruction reads and writes them
//! in memory, two or three times each. Here they are locals for as long as a run of plain instructions lasts.

use alloy_primitives::U256;
use revm::{
    bytecode::{
        JumpTable,
        opcode::{JUMPDEST, JUMPI, PUSH1, PUSH2, PUSH32, STOP},
    },
    interpreter::{
        interpreter::{ExtBytecode, STACK_LIMIT},
        interpreter_types::Jumps,
    },
};
use std::ptr;

/// An instruction of some legacy code, and a stack. What is unchecked in it rests on three facts:
///
/// 1. `ip` is in the code of `jumps`, at an instruction, and `op` is the byte there. Analysed code ends with
///    STOP, and before it all immediates of PUSH are whole (`Bytecode::new_legacy` appends what they lack), so
///    what follows any other instruction is in the code, too.
/// 2. `bottom` begins the allocation of `stack`, which has [`STACK_LIMIT`] words, and is not used otherwise
///    until the end.
/// 3. `top` is in it or at its end, at a multiple of a word from `bottom`, and all words below it are
///    initialised.
pub(super) struct Cursor<'i> {
    ip: *const u8,
    op: u8,
    top: *mut U256,
    bottom: *mut U256,
    jumps: &'i JumpTable,
    code: *const u8,
    stack: &'i mut Vec<U256>,
}

impl<'i> Cursor<'i> {
    /// At the instruction that `code` is at; `None` if that is no legacy code, or if the stack has not the
    /// capacity of one.
    #[inline(always)]
    pub(super) fn new(code: &'i ExtBytecode, stack: &'i mut Vec<U256>) -> Option<Self> {
        let jumps = code.legacy_jump_table()?;
        let depth = stack.len();
        if stack.capacity() < STACK_LIMIT || depth > STACK_LIMIT {
            return None;
        }
        let (bottom, start, pc) = (stack.as_mut_ptr(), code.bytecode_ptr(), code.pc());
        // SAFETY: the program counter is an offset into the code, and `depth` is within the stack.
        let (ip, top) = unsafe { (start.add(pc), bottom.add(depth)) };
        // SAFETY: `ip` is at an instruction of the code.
        let op = unsafe { *ip };
        Some(Cursor { ip, op, top, bottom, jumps, code: start, stack })
    }

    /// Leaves the stack as it is here. Returns the program counter.
    #[inline(always)]
    pub(super) fn end(self) -> usize {
        let depth = self.depth();
        let pc = self.pc();
        // SAFETY: the third fact.
        unsafe { self.stack.set_len(depth) }
        pc
    }

    /// The opcode here.
    #[inline(always)]
    pub(super) fn op(&self) -> u8 {
        self.op
    }

    /// The program counter.
    #[inline(always)]
    pub(super) fn pc(&self) -> usize {
        self.ip as usize - self.code as usize
    }

    /// Whether something is known to follow `N` bytes of immediate: whether this is the PUSH of so many bytes,
    /// or, without any, neither a PUSH nor STOP. Where the opcode is known, so is this, to the compiler.
    #[inline(always)]
    fn has_bytes<const N: usize>(&self) -> bool {
        match N {
            0 => !matches!(self.op, STOP | PUSH1..=PUSH32),
            1..=32 => self.op == PUSH1 - 1 + N as u8,
            _ => false,
        }
    }

    /// The opcode after this one; STOP if this has not `N` bytes of immediate.
    #[inline(always)]
    pub(super) fn following<const N: usize>(&self) -> u8 {
        if !self.has_bytes::<N>() {
            return STOP;
        }
        // SAFETY: the first fact.
        unsafe { *self.ip.add(1 + N) }
    }

    /// Where the branch goes that follows: a PUSH2 and a JUMPI, `BETWEEN` bytes of other instructions
    /// (at most one, of one byte) after this one, which has `N` bytes of immediate.
    #[inline(always)]
    pub(super) fn branch<const N: usize, const BETWEEN: usize>(&self) -> Option<usize> {
        let next = self.following::<N>();
        if BETWEEN > 1 || BETWEEN == 1 && matches!(next, STOP | PUSH1..=PUSH32) || next == STOP {
            return None;
        }
        // SAFETY: the first fact, for each instruction in turn: the next is no STOP, and if it is not the PUSH2,
        // it has no immediate. A PUSH2 has two bytes, and something follows it.
        unsafe {
            let at = self.ip.add(1 + N + BETWEEN);
            if *at != PUSH2 || *at.add(3) != JUMPI {
                return None;
            }
            Some(usize::from(u16::from_be_bytes([*at.add(1), *at.add(2)])))
        }
    }

    /// Goes past the branch that [`Self::branch`] sees; stays where it sees none.
    #[inline(always)]
    pub(super) fn pass<const N: usize, const BETWEEN: usize>(&mut self) {
        if self.branch::<N, BETWEEN>().is_some() {
            // SAFETY: the first fact: JUMPI is not the last instruction.
            unsafe {
                self.ip = self.ip.add(1 + N + BETWEEN + 4);
                self.op = *self.ip;
            }
        }
    }

    /// The immediate of the PUSH here; `None` if this is none of `N` bytes.
    #[inline(always)]
    pub(super) fn immediate<const N: usize>(&self) -> Option<[u8; N]> {
        // SAFETY: the first fact; bytes have no alignment.
        (N > 0 && self.has_bytes::<N>()).then(|| unsafe { ptr::read(self.ip.add(1).cast::<[u8; N]>()) })
    }

    /// Goes to the next instruction; stays if this has not `N` bytes of immediate.
    #[inline(always)]
    pub(super) fn step<const N: usize>(&mut self) {
        if self.has_bytes::<N>() {
            // SAFETY: the first fact.
            unsafe {
                self.ip = self.ip.add(1 + N);
                self.op = *self.ip;
            }
        }
    }

    /// Goes to the JUMPDEST at `to`. Returns whether there is one.
    #[inline(always)]
    pub(super) fn jump(&mut self, to: usize) -> bool {
        let valid = self.jumps.is_valid(to);
        if valid {
            // SAFETY: a destination is a JUMPDEST of the code.
            self.ip = unsafe { self.code.add(to) };
            self.op = JUMPDEST;
        }
        valid
    }

    /// Words on the stack.
    #[inline(always)]
    fn depth(&self) -> usize {
        (self.top as usize - self.bottom as usize) / size_of::<U256>()
    }

    /// Whether there are so many words on the stack.
    #[inline(always)]
    pub(super) fn has(&self, words: usize) -> bool {
        self.top as usize - self.bottom as usize >= words * size_of::<U256>()
    }

    /// The word `below` below the top one.
    #[inline(always)]
    pub(super) fn peek(&self, below: usize) -> Option<U256> {
        // SAFETY: there are as many words.
        self.has(below + 1).then(|| unsafe { load(self.top.sub(below + 1)) })
    }

    /// The top word, and the one below it.
    #[inline(always)]
    pub(super) fn two(&self) -> Option<[U256; 2]> {
        // SAFETY: there are as many words.
        self.has(2).then(|| unsafe { [load(self.top.sub(1)), load(self.top.sub(2))] })
    }

    /// Takes the top word off and puts it in the place of the one that was `below` below it. Returns whether
    /// there was one.
    #[inline(always)]
    pub(super) fn sink(&mut self, below: usize) -> bool {
        let has = self.has(below + 1);
        if has {
            // SAFETY: there are as many words.
            unsafe {
                let word = load(self.top.sub(1));
                store(self.top.sub(below + 1), word);
                self.top = self.top.sub(1);
            }
        }
        has
    }

    /// Puts `word` in the place of the one that is `below` below the top one, if there is one.
    #[inline(always)]
    pub(super) fn put(&mut self, below: usize, word: U256) {
        if self.has(below + 1) {
            // SAFETY: there are as many words.
            unsafe { store(self.top.sub(below + 1), word) }
        }
    }

    /// Takes `words` off the stack. Returns whether there were as many.
    #[inline(always)]
    pub(super) fn drop(&mut self, words: usize) -> bool {
        let has = self.has(words);
        if has {
            // SAFETY: there are as many words.
            self.top = unsafe { self.top.sub(words) };
        }
        has
    }

    /// Puts `word` on the stack. Returns whether it had a place for it.
    #[inline(always)]
    pub(super) fn push(&mut self, word: U256) -> bool {
        let fits = !self.has(STACK_LIMIT);
        if fits {
            // SAFETY: the stack is not full.
            unsafe {
                store(self.top, word);
                self.top = self.top.add(1);
            }
        }
        fits
    }

    /// Copies the word `below` below the top one onto the stack. Returns whether there is one, and a place.
    #[inline(always)]
    pub(super) fn duplicate(&mut self, below: usize) -> bool {
        // One comparison for both.
        let depth = (self.top as usize - self.bottom as usize).wrapping_sub((below + 1) * size_of::<U256>());
        let can = depth < (STACK_LIMIT - below - 1) * size_of::<U256>();
        if can {
            // SAFETY: there are as many words, and the stack is not full.
            unsafe {
                store(self.top, load(self.top.sub(below + 1)));
                self.top = self.top.add(1);
            }
        }
        can
    }

    /// Whether a push would find a place.
    #[inline(always)]
    pub(super) fn fits(&self) -> bool {
        !self.has(STACK_LIMIT)
    }

    /// Exchanges the top word and the one that is `below` below it. Returns whether there is one.
    #[inline(always)]
    pub(super) fn swap(&mut self, below: usize) -> bool {
        let has = self.has(below + 1);
        if has {
            // SAFETY: there are as many words.
            unsafe {
                let (one, other) = (self.top.sub(1), self.top.sub(below + 1));
                let (word, top) = (load(other), load(one));
                store(one, word);
                store(other, top);
            }
        }
        has
    }
}

/// Reads a word limb by limb.
///
/// A processor forwards a store to a load only if the one contains the other, and most words were written
/// by limbs a few instructions ago. So what reads them two limbs at a time, as a compiler would have it, waits
/// until they are in the cache.
///
/// # Safety
/// `at` is an initialised word.
#[inline(always)]
unsafe fn load(at: *const U256) -> U256 {
    let at = at.cast::<u64>();
    // SAFETY: a word is four limbs.
    let limb = |limb| unsafe { ptr::read_volatile(at.add(limb)) };
    U256::from_limbs([limb(0), limb(1), limb(2), limb(3)])
}

/// Writes a word.
///
/// # Safety
/// `at` is valid for writes of a word.
#[inline(always)]
unsafe fn store(at: *mut U256, word: U256) {
    // SAFETY: the caller's.
    unsafe { ptr::write(at, word) }
}
