//! The instructions that need nothing but stack, code, gas, and memory that is there.

use super::cursor::Cursor;
use alloy_primitives::U256;
use revm::{
    bytecode::opcode as op,
    interpreter::{
        InputsImpl, Interpreter,
        gas::{BASE, HIGH, JUMPDEST, LOW, MID, VERYLOW},
        interpreter::{EthInterpreter, RuntimeFlags},
        interpreter_types::Jumps,
    },
    primitives::hardfork::SpecId,
};

/// Runs as far as it goes, and stops before an instruction that is not of these, or that would fail.
///
/// Each arm says whether it did its instruction. One that did not has changed nothing.
pub(super) fn run(interpreter: &mut Interpreter<EthInterpreter>) {
    let Interpreter { bytecode, stack, gas, memory, input, runtime_flag, return_data, .. } = interpreter;
    let mut memory = memory.context_memory_mut();
    let Some(cursor) = Cursor::new(bytecode, stack.data_mut()) else { return };
    let start = cursor.pc();
    let mut at = Plain { cursor, gas: gas.remaining(), memory: &mut memory, input, flags: runtime_flag };
    loop {
        let code = at.cursor.op();
        // A branch is predicted better than a jump through a table, which is left to the rarer half.
        let done = if code >= op::PUSH1 { at.moves(code) } else { at.computes(code, return_data.0.len()) };
        if !done {
            break;
        }
    }
    gas.set_remaining(at.gas);
    let end = at.cursor.end();
    bytecode.relative_jump(end as isize - start as isize);
}

/// An execution within a run of these instructions.
struct Plain<'i> {
    cursor: Cursor<'i>,
    /// What is left of the gas.
    gas: u64,
    /// The memory that the frame has paid for.
    memory: &'i mut [u8],
    input: &'i InputsImpl,
    flags: &'i RuntimeFlags,
}

impl Plain<'_> {
    /// PUSH, DUP and SWAP.
    #[inline(always)]
    fn moves(&mut self, code: u8) -> bool {
        if code >= op::SWAP1 {
            return code <= op::SWAP16 && self.swap(usize::from(code - op::SWAP1) + 1);
        }
        if code >= op::DUP1 {
            return self.duplicate(usize::from(code - op::DUP1));
        }
        if code < op::PUSH3 {
            return if code == op::PUSH1 { self.push1() } else { self.push2() };
        }
        match code {
            op::PUSH3 => self.immediate::<3>(),
            op::PUSH4 => self.push4(),
            op::PUSH5 => self.immediate::<5>(),
            op::PUSH6 => self.immediate::<6>(),
            op::PUSH8 => self.immediate::<8>(),
            op::PUSH14 => self.immediate::<14>(),
            op::PUSH16 => self.immediate::<16>(),
            op::PUSH20 => self.immediate::<20>(),
            op::PUSH29 => self.immediate::<29>(),
            op::PUSH32 => self.immediate::<32>(),
            _ => false,
        }
    }

    /// The instructions below PUSH1; `returned` bytes came back from the last call.
    #[inline(always)]
    fn computes(&mut self, code: u8, returned: usize) -> bool {
        match code {
            op::ADD => self.binary(VERYLOW, sum),
            op::MUL => self.binary(LOW, |a, b| a.wrapping_mul(b)),
            op::SUB => self.binary(VERYLOW, difference),
            op::DIV => self.binary(LOW, divided),
            op::LT => self.compare(is_less),
            op::GT => self.compare(|a, b| is_less(b, a)),
            op::SLT => self.compare(|a, b| is_less(biased(a), biased(b))),
            op::SGT => self.compare(|a, b| is_less(biased(b), biased(a))),
            op::EQ => self.compare(is_equal),
            op::ISZERO => self.is_zero(),
            op::AND => self.binary(VERYLOW, |a, b| a & b),
            op::OR => self.binary(VERYLOW, |a, b| a | b),
            op::XOR => self.binary(VERYLOW, |a, b| a ^ b),
            op::NOT => self.unary(VERYLOW, |a| !a),
            op::BYTE => self.binary(VERYLOW, byte),
            op::SHL if self.since(SpecId::PETERSBURG) => {
                self.binary(VERYLOW, |by, a| shifted(by, |by| a << by))
            }
            op::SHR if self.since(SpecId::PETERSBURG) => {
                self.binary(VERYLOW, |by, a| shifted(by, |by| a >> by))
            }
            op::ADDRESS => self.push(BASE, self.input.target_address.into_word().into()),
            op::CALLER => self.push(BASE, self.input.caller_address.into_word().into()),
            op::CALLVALUE => self.push(BASE, self.input.call_value),
            op::CALLDATASIZE => self.push(BASE, number(self.input.input.len() as u64)),
            op::RETURNDATASIZE if self.since(SpecId::BYZANTIUM) => self.push(BASE, number(returned as u64)),
            op::POP => self.pop(),
            op::MLOAD => self.load(),
            op::MSTORE => self.store(),
            op::JUMP => self.jump(),
            op::JUMPI => self.jump_if(),
            op::PC => self.push(BASE, number(self.cursor.pc() as u64)),
            op::GAS => self.push(BASE, number(self.gas.wrapping_sub(BASE))),
            op::JUMPDEST => self.pay(JUMPDEST) && self.step(),
            op::PUSH0 if self.since(SpecId::SHANGHAI) => self.push(BASE, U256::ZERO),
            _ => false,
        }
    }

    #[inline(always)]
    fn since(&self, fork: SpecId) -> bool {
        self.flags.spec_id.is_enabled_in(fork)
    }

    /// Whether there is as much gas, which is taken then.
    #[inline(always)]
    fn pay(&mut self, gas: u64) -> bool {
        let enough = self.gas >= gas;
        if enough {
            self.gas -= gas;
        }
        enough
    }

    #[inline(always)]
    fn step(&mut self) -> bool {
        self.cursor.step::<0>();
        true
    }

    #[inline(always)]
    fn unary(&mut self, gas: u64, of: impl FnOnce(U256) -> U256) -> bool {
        let Some(a) = self.cursor.peek(0).filter(|_| self.gas >= gas) else { return false };
        self.gas -= gas;
        self.cursor.put(0, of(a));
        self.step()
    }

    #[inline(always)]
    fn binary(&mut self, gas: u64, of: impl FnOnce(U256, U256) -> U256) -> bool {
        let Some([a, b]) = self.cursor.two() else { return false };
        if !self.pay(gas) {
            return false;
        }
        self.cursor.put(1, of(a, b));
        self.cursor.drop(1) && self.step()
    }

    /// A comparison, and the branch that mostly follows it.
    #[inline(always)]
    fn compare(&mut self, of: impl FnOnce(U256, U256) -> bool) -> bool {
        let Some([a, b]) = self.cursor.two() else { return false };
        let holds = of(a, b);
        if let Some(to) = self.cursor.branch::<0, 0>() {
            return self.branch::<0, 0>(to, holds, 2 * VERYLOW + HIGH) && self.cursor.drop(2);
        }
        if !self.pay(VERYLOW) {
            return false;
        }
        self.cursor.put(1, number(holds.into()));
        self.cursor.drop(1) && self.step()
    }

    #[inline(always)]
    fn is_zero(&mut self) -> bool {
        let Some(a) = self.cursor.peek(0) else { return false };
        let holds = is_zero(a);
        if let Some(to) = self.cursor.branch::<0, 0>() {
            return self.cursor.fits()
                && self.branch::<0, 0>(to, holds, 2 * VERYLOW + HIGH)
                && self.cursor.drop(1);
        }
        self.unary(VERYLOW, |_| number(holds.into()))
    }

    /// Takes the branch that follows, as [`Cursor::branch`] has it, if `holds`, or goes past it, for `gas` in
    /// all. Returns whether it could.
    #[inline(always)]
    fn branch<const N: usize, const BETWEEN: usize>(&mut self, to: usize, holds: bool, gas: u64) -> bool {
        if self.gas < gas || holds && !self.cursor.jump(to) {
            return false;
        }
        self.gas -= gas;
        if holds {
            self.arrive()
        } else {
            self.cursor.pass::<N, BETWEEN>()
        }
        true
    }

    /// Does the JUMPDEST that a jump has led to, if there is gas for it.
    #[inline(always)]
    fn arrive(&mut self) {
        if self.cursor.op() == op::JUMPDEST && self.pay(JUMPDEST) {
            self.cursor.step::<0>();
        }
    }

    #[inline(always)]
    fn push(&mut self, gas: u64, word: U256) -> bool {
        self.push_past::<0>(gas, word)
    }

    /// Pushes `word`, which comes from `N` bytes of immediate.
    #[inline(always)]
    fn push_past<const N: usize>(&mut self, gas: u64, word: U256) -> bool {
        let done = self.gas >= gas && self.cursor.push(word);
        if done {
            self.gas -= gas;
            self.cursor.step::<N>();
        }
        done
    }

    #[inline(always)]
    fn immediate<const N: usize>(&mut self) -> bool {
        let Some(bytes) = self.cursor.immediate::<N>() else { return false };
        self.push_past::<N>(VERYLOW, word(bytes))
    }

    /// PUSH1, and what is often done with such a number.
    #[inline(always)]
    fn push1(&mut self) -> bool {
        let Some([byte]) = self.cursor.immediate() else { return false };
        let number = number(byte.into());
        if self.gas < 2 * VERYLOW || !self.cursor.fits() {
            return self.push_past::<1>(VERYLOW, number);
        }
        match self.cursor.following::<1>() {
            op::ADD => {
                let Some(a) = self.cursor.peek(0) else { return false };
                self.cursor.step::<1>();
                self.step();
                self.cursor.put(0, sum(a, number));
            }
            op::MLOAD => match place(self.memory, byte.into()) {
                Some(place) => {
                    let word = word(*place);
                    self.cursor.step::<1>();
                    self.step();
                    self.cursor.push(word);
                }
                _ => return self.push_past::<1>(VERYLOW, number),
            },
            op::MSTORE => match (place(self.memory, byte.into()), self.cursor.peek(0)) {
                (Some(place), Some(word)) if self.cursor.drop(1) => {
                    self.cursor.step::<1>();
                    self.cursor.step::<0>();
                    bytes(word, place)
                }
                _ => return self.push_past::<1>(VERYLOW, number),
            },
            _ => return self.push_past::<1>(VERYLOW, number),
        }
        self.gas -= 2 * VERYLOW;
        true
    }

    /// PUSH2, which mostly says where a JUMP or JUMPI behind it goes.
    #[inline(always)]
    fn push2(&mut self) -> bool {
        let Some(bytes) = self.cursor.immediate::<2>() else { return false };
        let to = usize::from(u16::from_be_bytes(bytes));
        match self.cursor.following::<2>() {
            op::JUMPI if self.cursor.fits() && self.gas >= VERYLOW + HIGH => {
                let Some(condition) = self.cursor.peek(0) else { return false };
                let holds = !is_zero(condition);
                if holds && !self.cursor.jump(to) {
                    return false;
                }
                self.gas -= VERYLOW + HIGH;
                if holds {
                    self.arrive();
                } else {
                    self.cursor.step::<2>();
                    self.cursor.step::<0>();
                }
                self.cursor.drop(1)
            }
            op::JUMP if self.cursor.fits() && self.gas >= VERYLOW + MID => {
                if !self.cursor.jump(to) {
                    return false;
                }
                self.gas -= VERYLOW + MID;
                self.arrive();
                true
            }
            _ => self.push_past::<2>(VERYLOW, number(to as u64)),
        }
    }

    /// PUSH4: a selector, mostly, which is compared, for a branch.
    #[inline(always)]
    fn push4(&mut self) -> bool {
        let Some(bytes) = self.cursor.immediate::<4>() else { return false };
        if let Some(to) = self.cursor.branch::<4, 1>().filter(|_| self.cursor.following::<4>() == op::EQ) {
            let Some(a) = self.cursor.peek(0) else { return false };
            return self.cursor.fits()
                && self.branch::<4, 1>(to, is_equal(a, word(bytes)), 3 * VERYLOW + HIGH)
                && self.cursor.drop(1);
        }
        self.push_past::<4>(VERYLOW, word(bytes))
    }

    /// POP, or two of them.
    #[inline(always)]
    fn pop(&mut self) -> bool {
        if self.cursor.following::<0>() == op::POP && self.gas >= 2 * BASE && self.cursor.drop(2) {
            self.gas -= 2 * BASE;
            return self.step() && self.step();
        }
        self.gas >= BASE && self.cursor.drop(1) && self.pay(BASE) && self.step()
    }

    #[inline(always)]
    fn duplicate(&mut self, below: usize) -> bool {
        self.gas >= VERYLOW && self.cursor.duplicate(below) && self.pay(VERYLOW) && self.step()
    }

    /// SWAP; with POP behind it, the top word replaces the other.
    #[inline(always)]
    fn swap(&mut self, below: usize) -> bool {
        let pops = self.cursor.following::<0>() == op::POP && self.gas >= VERYLOW + BASE;
        if pops && self.cursor.has(below + 1) {
            self.gas -= VERYLOW + BASE;
            return self.step() && self.step() && self.cursor.sink(below);
        }
        self.gas >= VERYLOW && self.cursor.swap(below) && self.pay(VERYLOW) && self.step()
    }

    #[inline(always)]
    fn jump(&mut self) -> bool {
        let Some(to) = self.cursor.peek(0).and_then(small) else { return false };
        if self.gas < MID || !self.cursor.jump(to) {
            return false;
        }
        self.gas -= MID;
        self.arrive();
        self.cursor.drop(1)
    }

    #[inline(always)]
    fn jump_if(&mut self) -> bool {
        let Some([to, condition]) = self.cursor.two() else { return false };
        let holds = !is_zero(condition);
        if self.gas < HIGH || holds && !small(to).is_some_and(|to| self.cursor.jump(to)) {
            return false;
        }
        self.gas -= HIGH;
        if holds {
            self.arrive()
        } else {
            self.cursor.step::<0>()
        }
        self.cursor.drop(2)
    }

    /// MLOAD of memory that is there.
    #[inline(always)]
    fn load(&mut self) -> bool {
        let Some(from) = self.cursor.peek(0).and_then(small) else { return false };
        let Some(place) = place(self.memory, from) else { return false };
        if self.gas < VERYLOW {
            return false;
        }
        self.gas -= VERYLOW;
        self.cursor.put(0, word(*place));
        self.step()
    }

    /// MSTORE to memory that is there.
    #[inline(always)]
    fn store(&mut self) -> bool {
        let Some([to, word]) = self.cursor.two() else { return false };
        let Some(to) = small(to) else { return false };
        let Some(place) = place(self.memory, to) else { return false };
        if self.gas < VERYLOW {
            return false;
        }
        bytes(word, place);
        self.gas -= VERYLOW;
        self.cursor.drop(2) && self.step()
    }
}

/// The word of memory at `at`, if the frame has paid for it.
#[inline(always)]
fn place(memory: &mut [u8], at: usize) -> Option<&mut [u8; 32]> {
    memory.get_mut(at..)?.first_chunk_mut()
}

#[inline(always)]
fn number(number: u64) -> U256 {
    U256::from_limbs([number, 0, 0, 0])
}

/// A number below 2^64.
#[inline(always)]
fn small(word: U256) -> Option<usize> {
    let [low, rest @ ..] = word.into_limbs();
    (rest[0] | rest[1] | rest[2] == 0).then_some(low as usize)
}

#[inline(always)]
fn is_zero(word: U256) -> bool {
    let [a, b, c, d] = word.into_limbs();
    a | b | c | d == 0
}

#[inline(always)]
fn is_equal(a: U256, b: U256) -> bool {
    let (a, b) = (a.into_limbs(), b.into_limbs());
    (a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]) == 0
}

/// `a + b`, and the carry.
#[inline(always)]
fn add(a: U256, b: U256) -> (U256, bool) {
    let (a, b) = (a.into_limbs(), b.into_limbs());
    let (first, carry) = a[0].overflowing_add(b[0]);
    let (second, carry) = a[1].carrying_add(b[1], carry);
    let (third, carry) = a[2].carrying_add(b[2], carry);
    let (fourth, carry) = a[3].carrying_add(b[3], carry);
    (U256::from_limbs([first, second, third, fourth]), carry)
}

/// `a - b`, and the borrow.
#[inline(always)]
fn subtract(a: U256, b: U256) -> (U256, bool) {
    let (a, b) = (a.into_limbs(), b.into_limbs());
    let (first, borrow) = a[0].overflowing_sub(b[0]);
    let (second, borrow) = a[1].borrowing_sub(b[1], borrow);
    let (third, borrow) = a[2].borrowing_sub(b[2], borrow);
    let (fourth, borrow) = a[3].borrowing_sub(b[3], borrow);
    (U256::from_limbs([first, second, third, fourth]), borrow)
}

#[inline(always)]
fn sum(a: U256, b: U256) -> U256 {
    add(a, b).0
}

#[inline(always)]
fn difference(a: U256, b: U256) -> U256 {
    subtract(a, b).0
}

#[inline(always)]
fn is_less(a: U256, b: U256) -> bool {
    subtract(a, b).1
}

/// A signed number moved up by 2^255, so that it compares as an unsigned one.
#[inline(always)]
fn biased(word: U256) -> U256 {
    let [a, b, c, d] = word.into_limbs();
    U256::from_limbs([a, b, c, d ^ (1 << 63)])
}

fn divided(a: U256, b: U256) -> U256 {
    if is_zero(b) { U256::ZERO } else { a.wrapping_div(b) }
}

#[inline(always)]
fn byte(at: U256, word: U256) -> U256 {
    match small(at) {
        Some(at @ 0..=31) => number(word.byte(31 - at).into()),
        _ => U256::ZERO,
    }
}

/// `by` bits away, or nothing left.
#[inline(always)]
fn shifted(by: U256, shift: impl FnOnce(usize) -> U256) -> U256 {
    match small(by) {
        Some(by @ 0..=255) => shift(by),
        _ => U256::ZERO,
    }
}

/// A big-endian number of at most 32 bytes.
#[inline(always)]
fn word<const N: usize>(bytes: [u8; N]) -> U256 {
    U256::from_limbs([limb(&bytes, 0), limb(&bytes, 1), limb(&bytes, 2), limb(&bytes, 3)])
}

/// One limb of [`word`], the lowest being 0.
#[inline(always)]
fn limb<const N: usize>(bytes: &[u8; N], number: usize) -> u64 {
    let (mut limb, mut at) = (0, N.saturating_sub(8 * number + 8));
    while at < N.saturating_sub(8 * number) {
        limb = limb << 8 | u64::from(bytes[at]);
        at += 1;
    }
    limb
}

/// The bytes of a word, the highest first.
#[inline(always)]
fn bytes(word: U256, into: &mut [u8; 32]) {
    let limbs = word.into_limbs();
    let (halves, _) = into.as_chunks_mut::<8>();
    if let [a, b, c, d] = halves {
        *a = limbs[3].to_be_bytes();
        *b = limbs[2].to_be_bytes();
        *c = limbs[1].to_be_bytes();
        *d = limbs[0].to_be_bytes();
    }
}
