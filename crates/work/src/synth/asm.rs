//! Bytecode by hand: as much of an assembler as the contracts here need. Longer ones are written in Yul
//! ([`super::yul`]), which is translated by way of this.

use alloy_primitives::{Address, Bytes, U256};
use revm::bytecode::opcode as op;

/// Code under construction.
#[derive(Clone, Debug, Default)]
pub(super) struct Asm {
    code: Vec<u8>,
    /// Where each label is, once it is placed.
    labels: Vec<Option<usize>>,
    /// Where which label's place is yet to be written.
    holes: Vec<(usize, Label)>,
}

/// A place to jump to, which may come after the jump.
#[derive(Clone, Copy, Debug)]
pub(super) struct Label(usize);

impl Asm {
    /// The code.
    ///
    /// # Panics
    /// If a label is used and not placed, or the code is longer than PUSH2 reaches: mistakes of contracts
    /// written here, which all are assembled by tests.
    pub(super) fn code(self) -> Bytes {
        self.bytes().into()
    }

    fn bytes(mut self) -> Vec<u8> {
        for (at, Label(label)) in self.holes {
            let place = self.labels[label].expect("every label is placed");
            self.code[at..at + 2].copy_from_slice(&target(place));
        }
        self.code
    }

    /// A new label, which is nowhere yet.
    pub(super) fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// The label is here.
    pub(super) fn place(mut self, label: Label) -> Self {
        self.labels[label.0] = Some(self.code.len());
        self.op(&[op::JUMPDEST])
    }

    /// PUSH of the place of a label.
    pub(super) fn push_label(mut self, label: Label) -> Self {
        self.holes.push((self.code.len() + 1, label));
        self.op(&[op::PUSH2, 0, 0])
    }

    /// Opcodes as they are.
    pub(super) fn op(mut self, opcodes: &[u8]) -> Self {
        self.code.extend_from_slice(opcodes);
        self
    }

    /// PUSH of the shortest form that every fork knows.
    pub(super) fn push(self, value: u64) -> Self {
        self.push_word(U256::from(value))
    }

    /// PUSH of a whole word, of the shortest form.
    pub(super) fn push_word(mut self, value: U256) -> Self {
        let bytes = value.to_be_bytes_trimmed_vec();
        let bytes = if bytes.is_empty() { vec![0] } else { bytes };
        self.code.push(op::PUSH1 + (bytes.len() - 1) as u8);
        self.code.extend(bytes);
        self
    }

    /// PUSH of an address.
    pub(super) fn push_address(self, address: Address) -> Self {
        self.push_word(U256::from_be_bytes(address.into_word().0))
    }

    /// Word `index` of the input.
    pub(super) fn arg(self, index: u64) -> Self {
        self.push(32 * index).op(&[op::CALLDATALOAD])
    }

    /// Slot `slot` of the storage.
    pub(super) fn sload(self, slot: u64) -> Self {
        self.push(slot).op(&[op::SLOAD])
    }

    /// Slot `slot` becomes the top of the stack.
    pub(super) fn sstore(self, slot: u64) -> Self {
        self.push(slot).op(&[op::SSTORE])
    }

    /// Word `at` of the memory becomes the top of the stack.
    pub(super) fn mstore(self, at: u64) -> Self {
        self.push(at).op(&[op::MSTORE])
    }

    /// Runs `body` as often as the top of the stack says, which must not be zero. `body` finds what is left of
    /// that number on top, and leaves it there.
    pub(super) fn repeat(mut self, body: impl FnOnce(Asm) -> Asm) -> Self {
        let start = self.label();
        let turn = body(self.place(start)).push(1).op(&[op::SWAP1, op::SUB, op::DUP1]);
        turn.push_label(start).op(&[op::JUMPI, op::POP])
    }

    /// Runs `body` if the top of the stack, which is taken off, is zero.
    pub(super) fn if_zero(mut self, body: impl FnOnce(Asm) -> Asm) -> Self {
        let end = self.label();
        body(self.push_label(end).op(&[op::JUMPI])).place(end)
    }

    /// Runs `body` if the top of the stack, which is taken off, is not zero.
    pub(super) fn if_set(self, body: impl FnOnce(Asm) -> Asm) -> Self {
        self.op(&[op::ISZERO]).if_zero(body)
    }

    /// Takes time: hashes as many times as the top of the stack says, which must not be zero. Uses the first
    /// word of the memory.
    pub(super) fn burn(self) -> Self {
        self.repeat(|body| body.push(32).push(0).op(&[op::KECCAK256]).mstore(0))
    }

    /// `CALL(gas: all, to, value: 0, input: the first bytes of the memory)`; `to` is on the stack, and whether
    /// it succeeded takes its place.
    pub(super) fn call(self, input: u64) -> Self {
        let rest = self.push(0).push(0).push(input).push(0).push(0);
        rest.op(&[op::DUP6, op::GAS, op::CALL, op::SWAP1, op::POP])
    }

    /// The code that deploys this one.
    pub(super) fn deployer(self) -> Bytes {
        let runtime = self.bytes();
        // The head's length does not depend on what it copies: two bytes name any length.
        let head = |offset: usize| {
            let [high, low] = target(runtime.len());
            let head = Asm::default().op(&[op::PUSH2, high, low, op::DUP1]).push(offset as u64);
            head.push(0).op(&[op::CODECOPY]).push(0).op(&[op::RETURN]).bytes()
        };
        let offset = head(0).len();
        [head(offset), runtime].concat().into()
    }
}

fn target(at: usize) -> [u8; 2] {
    u16::try_from(at).expect("code here is short").to_be_bytes()
}

/// Words as the input of a call.
pub(super) fn words(words: &[U256]) -> Bytes {
    words.iter().flat_map(|word| word.to_be_bytes::<32>()).collect::<Vec<u8>>().into()
}

/// Numbers as the input of a call.
pub(super) fn numbers(numbers: &[u64]) -> Bytes {
    words(&numbers.iter().map(|number| U256::from(*number)).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_what_it_says() {
        let code = Asm::default().push(0).push(0x1234).if_zero(|asm| asm.op(&[op::STOP])).code();
        assert_eq!(
            code.as_ref(),
            [0x60, 0, 0x61, 0x12, 0x34, 0x61, 0, 10, op::JUMPI, op::STOP, op::JUMPDEST]
        );
    }

    #[test]
    fn a_deployer_returns_what_follows_it() {
        let code = Asm::default().op(&[op::STOP, op::STOP]).deployer();
        assert_eq!(code[..3], [op::PUSH2, 0, 2]);
        let offset = usize::from(code[5]);
        assert_eq!(code[offset..], [op::STOP, op::STOP]);
    }
}
