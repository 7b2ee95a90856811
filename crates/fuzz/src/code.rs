//! Small contracts, statement by statement, from choices.

use crate::Choices;
use alloy_primitives::{Address, U256};
use revm::bytecode::opcode as op;

/// Bytecode under construction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asm(pub(crate) Vec<u8>);

impl Asm {
    fn op(mut self, opcodes: &[u8]) -> Asm {
        self.0.extend_from_slice(opcodes);
        self
    }

    fn push(mut self, value: impl Into<U256>) -> Asm {
        let bytes: Vec<u8> = value.into().to_be_bytes_trimmed_vec();
        let bytes = if bytes.is_empty() { vec![0] } else { bytes };
        self.0.push(op::PUSH1 + bytes.len() as u8 - 1);
        self.0.extend(bytes);
        self
    }

    fn address(self, address: Address) -> Asm {
        self.push(U256::from_be_slice(address.as_slice()))
    }

    /// Stores the top of the stack.
    fn sstore(self, slot: u64) -> Asm {
        self.push(U256::from(slot)).op(&[op::SSTORE])
    }

    fn pushes(self, values: &[u64]) -> Asm {
        values.iter().fold(self, |asm, value| asm.push(U256::from(*value)))
    }

    /// Init code that deploys this code.
    pub(crate) fn deployer(self) -> Vec<u8> {
        let code = self.0;
        let mut init = vec![op::PUSH2, (code.len() >> 8) as u8, code.len() as u8, op::DUP1];
        init.extend([op::PUSH1, 12, op::PUSH1, 0, op::CODECOPY, op::PUSH1, 0, op::RETURN]);
        init.extend(code);
        init
    }
}

/// Slots that contracts use.
const SLOTS: u64 = 3;

/// Most statements of a contract.
const STATEMENTS: u64 = 6;

/// A contract that reads, writes, pays, calls, creates and destroys. `anyone` names an account.
pub(crate) fn contract(
    choices: &mut Choices<'_>,
    anyone: &mut impl FnMut(&mut Choices<'_>) -> Address,
) -> Asm {
    let mut asm = Asm::default();
    for _ in 0..choices.below(STATEMENTS) {
        let body = statement(choices, anyone);
        if choices.one_in(5) {
            // Only if a slot is zero: PUSH1 slot, SLOAD, PUSH2 end, JUMPI, body, JUMPDEST.
            let end = asm.0.len() + 7 + body.0.len();
            asm = asm.push(U256::from(choices.below(SLOTS))).op(&[op::SLOAD]);
            asm =
                asm.op(&[op::PUSH2, (end >> 8) as u8, end as u8, op::JUMPI]).op(&body.0).op(&[op::JUMPDEST]);
        } else {
            asm = asm.op(&body.0);
        }
    }
    asm
}

fn statement(choices: &mut Choices<'_>, anyone: &mut impl FnMut(&mut Choices<'_>) -> Address) -> Asm {
    let asm = Asm::default();
    let (slot, other) = (choices.below(SLOTS), choices.below(SLOTS));
    match choices.below(20) {
        0 | 1 => asm.pushes(&[slot]).op(&[op::SLOAD, op::PUSH1, 1, op::ADD]).sstore(other),
        2 => asm.pushes(&[0]).op(&[op::CALLDATALOAD]).sstore(slot),
        3 => asm.pushes(&[choices.below(3)]).sstore(slot),
        4..=6 => call(asm, choices, anyone, slot),
        7 => asm.address(anyone(choices)).op(&[op::BALANCE]).sstore(slot),
        8 => asm.op(&[choices.pick(&[op::SELFBALANCE, op::ADDRESS, op::CALLER, op::ORIGIN])]).sstore(slot),
        9 => {
            let look = choices.pick(&[op::EXTCODEHASH, op::EXTCODESIZE, op::BALANCE]);
            asm.address(anyone(choices)).op(&[look]).sstore(slot)
        }
        10 => asm.address(anyone(choices)).op(&[op::SELFDESTRUCT]),
        11 | 12 => create(asm, choices, slot),
        13 => asm.pushes(&[slot, 32, 0]).op(&[op::LOG1]),
        14 => asm.pushes(&[0, 0]).op(&[choices.pick(&[op::REVERT, op::RETURN, op::STOP, op::INVALID])]),
        15 => asm.pushes(&[slot]).op(&[op::TLOAD]).sstore(other).pushes(&[1, slot]).op(&[op::TSTORE]),
        16 => asm.op(&[choices.pick(&[op::GAS, op::COINBASE, op::NUMBER, op::MSIZE, op::PC])]).sstore(slot),
        17 => asm.pushes(&[choices.below(4), 998]).op(&[op::ADD, op::BLOCKHASH]).sstore(slot),
        18 => asm.pushes(&[32, 0]).op(&[op::KECCAK256, op::PUSH1, 3, op::AND]).op(&[op::SLOAD]).sstore(slot),
        _ => asm.address(anyone(choices)).op(&[op::EXTCODESIZE, op::DUP1]).pushes(&[0, 0]).op(&[
            op::DUP4,
            op::POP,
            op::POP,
            op::POP,
            op::POP,
            op::POP,
        ]),
    }
}

/// A call of some kind, with a slot's value as its input, whose success is stored.
fn call(
    asm: Asm,
    choices: &mut Choices<'_>,
    anyone: &mut impl FnMut(&mut Choices<'_>) -> Address,
    slot: u64,
) -> Asm {
    let kind = choices.pick(&[op::CALL, op::CALL, op::CALLCODE, op::DELEGATECALL, op::STATICCALL]);
    let asm = asm.pushes(&[slot]).op(&[op::SLOAD, op::PUSH1, 0, op::MSTORE]).pushes(&[32, 0, 32, 0]);
    let asm = match kind {
        op::CALL | op::CALLCODE => asm.pushes(&[choices.pick(&[0, 0, 1, 50])]),
        _ => asm,
    };
    let asm = asm.address(anyone(choices));
    let asm = match choices.below(4) {
        0 => asm.pushes(&[30_000]),
        1 => asm.pushes(&[choices.pick(&[0, 2_300, 700])]),
        _ => asm.op(&[op::GAS]),
    };
    match choices.one_in(2) {
        true => asm.op(&[kind]).sstore(slot),
        false => asm.op(&[kind, op::POP]),
    }
}

/// Creates from the call's input, and stores or calls what came of it.
fn create(asm: Asm, choices: &mut Choices<'_>, slot: u64) -> Asm {
    let asm = asm.op(&[op::CALLDATASIZE]).pushes(&[0, 0]).op(&[op::CALLDATACOPY]);
    let value = choices.pick(&[0, 0, 1, 7]);
    let asm = match choices.one_in(2) {
        true => {
            asm.pushes(&[choices.below(2)]).op(&[op::CALLDATASIZE]).pushes(&[0, value]).op(&[op::CREATE2])
        }
        false => asm.op(&[op::CALLDATASIZE]).pushes(&[0, value]).op(&[op::CREATE]),
    };
    match choices.below(3) {
        0 => asm.sstore(slot),
        1 => asm.op(&[op::POP]),
        _ => asm.pushes(&[0, 0, 0, 0, 0]).op(&[op::DUP6, op::GAS, op::CALL, op::POP, op::POP]),
    }
}
