//! Accounts of people: tiny transfers, the beneficiary, delegations.

use super::{
    Scene,
    codes::{Factory, watch, watcher_code},
};
use crate::synth::{
    asm::{Asm, numbers},
    yard::{CALL_GAS, TRANSFER_GAS, Yard},
};
use alloy_primitives::{Address, Bytes, TxKind};
use revm::bytecode::opcode as op;

/// See [`super::Hostile::Tiny`].
pub(super) struct Tiny {
    people: Vec<Address>,
}

impl Tiny {
    const PEOPLE: u64 = 3000;

    pub(super) fn new(yard: &mut Yard) -> Self {
        Tiny { people: yard.people("tiny", Self::PEOPLE) }
    }
}

impl Scene for Tiny {
    fn step(&mut self, yard: &mut Yard, _: u64) {
        let (from, to) = (yard.pick(&self.people), yard.pick(&self.people));
        yard.send(from, TxKind::Call(to), 1, Bytes::new(), TRANSFER_GAS);
    }
}

/// Counts in slot 0, and returns a wei to the caller if there was one.
fn counter() -> Asm {
    let count = Asm::default().sload(0).push(1).op(&[op::ADD]).sstore(0);
    let back = |asm: Asm| {
        let asm = asm.push(0).push(0).push(0).push(0).push(1);
        asm.op(&[op::CALLER, op::GAS, op::CALL, op::POP])
    };
    count.op(&[op::CALLVALUE]).if_set(back).op(&[op::STOP])
}

/// See [`super::Hostile::Beneficiary`].
pub(super) struct Beneficiary {
    who: Address,
    watcher: Address,
    spender: Address,
    life: Life,
}

/// What a beneficiary is.
enum Life {
    /// It sends, and its account has this contract's code for a while.
    Person(Address),
    /// It has code.
    Contract,
    /// It is created and destroyed, with this salt.
    Mortal(Factory),
}

impl Beneficiary {
    const SALT: u64 = 7;

    /// Stores the beneficiary's balance, and pays it a wei of what it was sent, after some work. Input: slot,
    /// work.
    fn spender() -> Asm {
        let read = Asm::default().op(&[op::COINBASE, op::BALANCE]).arg(0).op(&[op::SSTORE]).arg(1).burn();
        let pay = |asm: Asm| {
            let asm = asm.push(0).push(0).push(0).push(0).push(1);
            asm.op(&[op::COINBASE, op::GAS, op::CALL, op::POP])
        };
        read.op(&[op::CALLVALUE]).if_set(pay).op(&[op::STOP])
    }

    fn new(yard: &mut Yard, who: Address, life: Life) -> Self {
        yard.beneficiary = who;
        let watcher = yard.contract("beneficiary watcher", watcher_code().code(), &[]);
        let spender = yard.contract("beneficiary spender", Self::spender().code(), &[]);
        Beneficiary { who, watcher, spender, life }
    }

    /// It is an account of someone.
    pub(super) fn person(yard: &mut Yard) -> Self {
        let who = yard.people("paid", 1)[0];
        let code = yard.contract("beneficiary code", counter().code(), &[]);
        Self::new(yard, who, Life::Person(code))
    }

    /// It is a contract.
    pub(super) fn contract(yard: &mut Yard) -> Self {
        let who = yard.contract("paid contract", counter().code(), &[(0, 1)]);
        Self::new(yard, who, Life::Contract)
    }

    /// It is created and destroyed. Before Cancun, or it cannot be destroyed.
    pub(super) fn mortal(yard: &mut Yard) -> Self {
        let factory = Factory::new(yard, "beneficiary factory");
        Self::new(yard, factory.child(Self::SALT), Life::Mortal(factory))
    }

    fn live(&self, yard: &mut Yard) {
        let (even, value) = (yard.rng.percent(50), yard.rng.below(2));
        let from = yard.sender();
        match &self.life {
            Life::Person(_) if even => yard.send(self.who, TxKind::Call(from), 1, Bytes::new(), TRANSFER_GAS),
            Life::Person(code) => {
                yard.send(from, TxKind::Call(self.who), value, Bytes::new(), CALL_GAS);
                let to = if yard.rng.percent(60) { *code } else { Address::ZERO };
                yard.authorize(&[(self.who, to, 0)]);
            }
            Life::Contract => yard.send(from, TxKind::Call(self.who), value, Bytes::new(), CALL_GAS),
            Life::Mortal(factory) if even => {
                let destroy = yard.rng.percent(50);
                factory.create(yard, Self::SALT, destroy);
            }
            Life::Mortal(factory) => factory.poke(yard, Self::SALT, value == 0),
        }
    }
}

impl Scene for Beneficiary {
    fn step(&mut self, yard: &mut Yard, index: u64) {
        match yard.rng.below(4) {
            0 => watch(yard, self.watcher, self.who, index),
            1 => {
                let (from, value) = (yard.sender(), yard.rng.below(3));
                let data = numbers(&[index % 8, 1 + yard.rng.below(60)]);
                yard.send(from, TxKind::Call(self.spender), value, data, CALL_GAS);
            }
            _ => self.live(yard),
        }
    }
}

/// See [`super::Hostile::Delegate`].
pub(super) struct Delegate {
    people: Vec<Address>,
    /// What they delegate to: code, each other, nothing.
    targets: Vec<Address>,
    watcher: Address,
}

impl Delegate {
    const PEOPLE: u64 = 8;

    pub(super) fn new(yard: &mut Yard) -> Self {
        let people = yard.people("signer", Self::PEOPLE);
        let double = Asm::default().sload(0).op(&[op::DUP1, op::ADD]).push(3).op(&[op::ADD]).sstore(0);
        let seen = double.op(&[op::ORIGIN, op::EXTCODESIZE]).sstore(1).op(&[op::STOP]);
        let mut targets = vec![Address::ZERO];
        targets.push(yard.contract("delegate counter", counter().code(), &[]));
        targets.push(yard.contract("delegate doubler", seen.code(), &[]));
        targets.extend(&people[..2]);
        let watcher = yard.contract("delegate watcher", watcher_code().code(), &[]);
        Delegate { people, targets, watcher }
    }
}

impl Scene for Delegate {
    fn step(&mut self, yard: &mut Yard, index: u64) {
        let (from, to) = (yard.pick(&self.people), yard.pick(&self.people));
        match yard.rng.below(6) {
            0 => watch(yard, self.watcher, to, index),
            1 | 2 => yard.send(from, TxKind::Call(to), index % 3, Bytes::new(), CALL_GAS),
            _ => {
                yard.send(from, TxKind::Call(to), 0, Bytes::new(), CALL_GAS);
                let count = 1 + yard.rng.below(3);
                let sign = |_| {
                    let off = u64::from(yard.rng.percent(10));
                    (yard.pick(&self.people), yard.pick(&self.targets), off)
                };
                let list: Vec<_> = (0..count).map(sign).collect();
                yard.authorize(&list);
            }
        }
    }
}
