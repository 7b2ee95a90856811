//! Long executions that conflict: cascades, hot keys, bait for revalidation, deep reverts.

use super::Scene;
use crate::synth::{
    asm::{Asm, numbers},
    yard::{LONG_GAS, Yard},
};
use alloy_primitives::Address;
use revm::bytecode::opcode as op;

/// Hashes of a long execution: some hundred microseconds.
const LONG: u64 = 600;
/// Hashes of a short one.
const SHORT: u64 = 4;

/// `slot[to] = slot[from] + 1`, with work before the read, between it and the write, and after that.
/// Input: work before, `from`, work between, `to`, work after.
fn step_code() -> Asm {
    let read = Asm::default().arg(0).burn().arg(1).op(&[op::SLOAD]).push(1).op(&[op::ADD]);
    read.arg(2).burn().arg(3).op(&[op::SSTORE]).arg(4).burn().op(&[op::STOP])
}

/// See [`super::Hostile::Cascade`].
pub(super) struct Cascade {
    contract: Address,
    /// How many reads in a hundred come early: they have the longest time to go wrong.
    early: u64,
}

impl Cascade {
    pub(super) fn new(yard: &mut Yard, seed: u64) -> Self {
        let contract = yard.contract("cascade", step_code().code(), &[]);
        Cascade { contract, early: if seed.is_multiple_of(2) { 20 } else { 100 } }
    }
}

impl Scene for Cascade {
    fn step(&mut self, yard: &mut Yard, index: u64) {
        let (before, between) = if yard.rng.percent(self.early) { (SHORT, LONG) } else { (LONG, SHORT) };
        let back = 1 + yard.rng.below(2).min(index);
        let data = numbers(&[before, index + 2 - back, between, index + 2, SHORT]);
        yard.call(self.contract, data, LONG_GAS);
    }
}

/// See [`super::Hostile::Hot`].
pub(super) struct Hot {
    contract: Address,
}

impl Hot {
    pub(super) fn new(yard: &mut Yard) -> Self {
        Hot { contract: yard.contract("hot", step_code().code(), &[(0, 1), (1, 1), (2, 1)]) }
    }
}

impl Scene for Hot {
    fn step(&mut self, yard: &mut Yard, _: u64) {
        let work = match yard.rng.below(4) {
            0 => [LONG, SHORT, SHORT],
            1 => [SHORT, SHORT, LONG],
            _ => [SHORT, LONG, SHORT],
        };
        let (from, to) = (yard.rng.below(3), yard.rng.below(3));
        yard.call(self.contract, numbers(&[work[0], from, work[1], to, work[2]]), LONG_GAS);
    }
}

/// See [`super::Hostile::Revalidate`].
pub(super) struct Revalidate {
    reader: Address,
    chain: Address,
    /// How many slow writers come before everything else; without any, they come in between.
    slow: u64,
}

impl Revalidate {
    /// Slots that are read, and written into.
    const REGION: u64 = 600;

    /// Input: how many slots to read, from where; where to write their sum (0: nowhere); else a slot to write,
    /// and what. Reading none is writing.
    fn code() -> Asm {
        let write = |asm: Asm| asm.arg(4).arg(3).op(&[op::SSTORE, op::STOP]);
        let add = |asm: Asm| {
            asm.op(&[op::DUP1]).arg(1).op(&[op::ADD, op::SLOAD]).push(0).op(&[op::MLOAD, op::ADD]).mstore(0)
        };
        let sum = Asm::default().arg(0).if_zero(write).arg(0).repeat(add);
        sum.push(0).op(&[op::MLOAD]).arg(2).op(&[op::SSTORE, op::STOP])
    }

    /// Adds to slot 0, with work between read and write, then calls the region's contract. Input: the work,
    /// then what is for that contract.
    fn chain_code(reader: Address) -> Asm {
        let work = Asm::default().sload(0).push(1).op(&[op::ADD]).arg(0).burn().sstore(0);
        let copy = work.push(160).push(32).push(0).op(&[op::CALLDATACOPY]);
        copy.push_address(reader).call(160).op(&[op::STOP])
    }

    pub(super) fn new(yard: &mut Yard, seed: u64) -> Self {
        let slots: Vec<(u64, u64)> = (0..=Self::REGION).map(|slot| (slot, 1 + slot % 2)).collect();
        let reader = yard.contract("region", Self::code().code(), &slots);
        let chain = yard.contract("region chain", Self::chain_code(reader).code(), &[(0, 1)]);
        Revalidate { reader, chain, slow: (seed % 2) * yard.count / 8 }
    }
}

impl Scene for Revalidate {
    fn step(&mut self, yard: &mut Yard, index: u64) {
        let (slot, value) = (yard.rng.below(Self::REGION), 1 + yard.rng.below(2));
        let turn = match self.slow {
            0 => yard.rng.below(8),
            slow if index < slow => 0,
            _ => 1 + yard.rng.below(7),
        };
        match turn {
            // One of them after the other, however many threads there are.
            0 => {
                let data = numbers(&[4 * LONG, 0, 0, 0, slot, value]);
                yard.call(self.chain, data, LONG_GAS);
            }
            1 | 2 => yard.call(self.reader, numbers(&[0, 0, 0, slot, value]), LONG_GAS),
            _ => {
                let count = 100 + yard.rng.below(400);
                let start = yard.rng.below(Self::REGION - count);
                let out = Self::REGION + 1 + index;
                yard.call(self.reader, numbers(&[count, start, out]), LONG_GAS);
            }
        }
    }
}

/// See [`super::Hostile::Revert`].
pub(super) struct Revert {
    contract: Address,
}

impl Revert {
    /// Input: depth, slots to write at each, whether to revert at the end, where the slots begin. Odd depths
    /// revert in any case.
    fn code() -> Asm {
        let stop = |asm: Asm| asm.op(&[op::STOP]);
        let bump = |asm: Asm| {
            let slot = asm.op(&[op::DUP1]).arg(0).push(16).op(&[op::MUL, op::ADD]).arg(3).op(&[op::ADD]);
            slot.op(&[op::DUP1, op::SLOAD]).push(1).op(&[op::ADD, op::SWAP1, op::SSTORE])
        };
        let write = Asm::default().arg(0).if_zero(stop).arg(1).repeat(bump);
        let input = write.push(1).arg(0).op(&[op::SUB]).mstore(0).arg(1).mstore(32).push(0).mstore(64);
        let down = input.arg(3).mstore(96).op(&[op::ADDRESS]).call(128).op(&[op::POP]);
        let revert = |asm: Asm| asm.push(0).push(0).op(&[op::REVERT]);
        down.arg(0).push(1).op(&[op::AND]).arg(2).op(&[op::OR]).if_set(revert).op(&[op::STOP])
    }

    pub(super) fn new(yard: &mut Yard) -> Self {
        Revert { contract: yard.contract("revert", Self::code().code(), &[]) }
    }
}

impl Scene for Revert {
    fn step(&mut self, yard: &mut Yard, _: u64) {
        let depth = 2 + yard.rng.below(50);
        let reverts = u64::from(yard.rng.percent(30));
        let (base, slots) = (1000 * yard.rng.below(4), 1 + yard.rng.below(6));
        yard.call(self.contract, numbers(&[depth, slots, reverts, base]), LONG_GAS);
    }
}
