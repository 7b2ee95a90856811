//! Code that comes and goes: contracts destroyed and created again, code deployed and used at once.

use super::Scene;
use crate::synth::{
    asm::{Asm, numbers, words},
    generate::put_slot,
    yard::{CALL_GAS, LONG_GAS, Yard},
};
use alloy_primitives::{Address, Bytes, TxKind, U256};
use revm::bytecode::opcode as op;

/// A factory whose contracts get their code from it at their creation (CREATE2 with one init code), so that
/// one address can have one code after the other.
pub(super) struct Factory {
    pub(super) at: Address,
}

impl Factory {
    /// Asks the caller for 32 bytes of code, and deploys them.
    fn init() -> Asm {
        let ask = Asm::default().push(32).push(0).push(0).push(0);
        let ask = ask.op(&[op::CALLER, op::GAS, op::STATICCALL, op::POP]);
        ask.push(32).push(0).op(&[op::RETURN])
    }

    /// Without input: returns the present code. Else its words are: an operation; 0 sets the code to the
    /// second, 1 creates with the second as salt and calls the creation without input if the third says so.
    fn code() -> Asm {
        let init = Self::init().code();
        let length = init.len() as u64;
        let give = |asm: Asm| asm.sload(0).mstore(0).push(32).push(0).op(&[op::RETURN]);
        let set = |asm: Asm| asm.arg(1).sstore(0).op(&[op::STOP]);
        let asm = Asm::default().op(&[op::CALLDATASIZE]).if_zero(give).arg(0).if_zero(set);
        let asm = asm.push_word(U256::from_be_slice(&init)).mstore(0);
        let create = asm.arg(1).push(length).push(32 - length).op(&[op::CALLVALUE, op::CREATE2]);
        let kill = |asm: Asm| asm.op(&[op::DUP1]).call(0).op(&[op::POP]);
        create.arg(2).if_set(kill).sload(1).op(&[op::ADD]).sstore(1).op(&[op::STOP])
    }

    /// Code that destroys itself without input, and else adds `add` to its slot 0.
    fn mortal(add: u64) -> U256 {
        let die = |asm: Asm| asm.op(&[op::CALLER, op::SELFDESTRUCT]);
        let code = Asm::default().op(&[op::CALLDATASIZE]).if_zero(die);
        let code = code.sload(0).push(add).op(&[op::ADD]).sstore(0).op(&[op::STOP]).code();
        let mut word = [0; 32];
        word[..code.len()].copy_from_slice(&code);
        U256::from_be_bytes(word)
    }

    pub(super) fn new(yard: &mut Yard, role: &str) -> Self {
        let at = yard.contract(role, Self::code().code(), &[(1, 1)]);
        put_slot(&mut yard.pre, at, U256::ZERO, Self::mortal(1));
        Factory { at }
    }

    /// The address of what is created with this salt.
    pub(super) fn child(&self, salt: u64) -> Address {
        self.at.create2_from_code(U256::from(salt).to_be_bytes::<32>(), Self::init().code())
    }

    /// Gives the code of creations to come another addend.
    pub(super) fn change(&self, yard: &mut Yard, add: u64) {
        yard.call(self.at, words(&[U256::ZERO, Self::mortal(add)]), CALL_GAS);
    }

    /// Creates with this salt and sends along some wei; then destroys at once, if so.
    pub(super) fn create(&self, yard: &mut Yard, salt: u64, destroy: bool) {
        let (from, value) = (yard.sender(), yard.rng.below(3));
        let data = numbers(&[1, salt, u64::from(destroy)]);
        yard.send(from, TxKind::Call(self.at), value, data, CALL_GAS);
    }

    /// Has it add, or without input destroy itself.
    pub(super) fn poke(&self, yard: &mut Yard, salt: u64, destroy: bool) {
        let (from, value) = (yard.sender(), yard.rng.below(3));
        let data = if destroy { Bytes::new() } else { numbers(&[1]) };
        yard.send(from, TxKind::Call(self.child(salt)), value, data, CALL_GAS);
    }
}

/// See [`super::Hostile::Destruct`] and [`super::Hostile::Rebirth`].
pub(super) struct Phoenix {
    factory: Factory,
    watcher: Address,
}

impl Phoenix {
    /// Addresses that they fight for.
    const SALTS: u64 = 3;

    pub(super) fn new(yard: &mut Yard) -> Self {
        let factory = Factory::new(yard, "phoenix");
        let watcher = yard.contract("phoenix watcher", watcher_code().code(), &[]);
        Phoenix { factory, watcher }
    }
}

impl Scene for Phoenix {
    fn step(&mut self, yard: &mut Yard, index: u64) {
        let salt = yard.rng.below(Self::SALTS);
        match yard.rng.below(10) {
            0 => self.factory.change(yard, 1 + index % 200),
            1 | 2 => self.factory.create(yard, salt, true),
            3 | 4 => self.factory.create(yard, salt, false),
            5 => watch(yard, self.watcher, self.factory.child(salt), index),
            6 | 7 => self.factory.poke(yard, salt, true),
            _ => self.factory.poke(yard, salt, false),
        }
    }
}

/// Stores what an account's code and balance are. Input: the account, a slot.
pub(super) fn watcher_code() -> Asm {
    let seen = Asm::default().arg(0).op(&[op::EXTCODEHASH]).arg(0).op(&[op::EXTCODESIZE, op::ADD]);
    seen.arg(0).op(&[op::BALANCE, op::ADD]).arg(1).op(&[op::SSTORE, op::STOP])
}

/// Has `watcher` look at `account`.
pub(super) fn watch(yard: &mut Yard, watcher: Address, account: Address, slot: u64) {
    let account = U256::from_be_bytes(account.into_word().0);
    yard.call(watcher, words(&[account, U256::from(slot)]), CALL_GAS);
}

/// See [`super::Hostile::Deploy`].
pub(super) struct Deploy {
    /// Where code is, or comes in time.
    places: Vec<Address>,
    watcher: Address,
}

impl Deploy {
    /// Latest deployments that are used.
    const RECENT: u64 = 6;

    pub(super) fn new(yard: &mut Yard) -> Self {
        Deploy { places: Vec::new(), watcher: yard.contract("deploy watcher", watcher_code().code(), &[]) }
    }

    /// One of the latest.
    fn recent(&self, yard: &mut Yard) -> Option<Address> {
        let recent = Self::RECENT.min(self.places.len() as u64);
        let at = (recent > 0).then(|| self.places.len() as u64 - 1 - yard.rng.below(recent))?;
        self.places.get(at as usize).copied()
    }

    /// Counts in slot 0, then calls `next`, if there is one; filled up with code that never runs.
    fn runtime(yard: &mut Yard, next: Option<Address>) -> Asm {
        let count = Asm::default().sload(0).push(1 + yard.rng.below(9)).op(&[op::ADD]).sstore(0);
        let call = match next.filter(|_| yard.rng.percent(40)) {
            Some(next) => count.push_address(next).call(0).op(&[op::POP]),
            None => count,
        };
        call.op(&[op::STOP]).op(&vec![op::JUMPDEST; 20 + yard.rng.below(3000) as usize])
    }
}

impl Scene for Deploy {
    fn step(&mut self, yard: &mut Yard, index: u64) {
        let used = self.recent(yard);
        match (yard.rng.below(4), used) {
            (1, Some(used)) => watch(yard, self.watcher, used, index),
            (2 | 3, Some(used)) => yard.call(used, Bytes::new(), CALL_GAS),
            _ => {
                let from = yard.sender();
                // What is called next may be this very contract's address, before it has code.
                let init = Self::runtime(yard, used).deployer();
                let init = if yard.rng.percent(10) { Asm::default().op(&[op::INVALID]).code() } else { init };
                self.places.push(from.create(yard.nonce(from)));
                yard.send(from, TxKind::Create, 0, init, LONG_GAS);
            }
        }
    }
}
