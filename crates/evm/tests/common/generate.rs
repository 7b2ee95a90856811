//! Random worlds, contracts and transactions that use what the EVM has, close together.

use super::{BENEFICIARY, Rng, World};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use revm::{
    bytecode::opcode as op,
    context::TxEnv,
    context_interface::{
        either::Either,
        transaction::{
            AccessList, AccessListItem, Authorization, RecoveredAuthority, RecoveredAuthorization,
        },
    },
    primitives::hardfork::SpecId,
};

pub const SPECS: [SpecId; 15] = [
    SpecId::FRONTIER,
    SpecId::HOMESTEAD,
    SpecId::TANGERINE,
    SpecId::SPURIOUS_DRAGON,
    SpecId::BYZANTIUM,
    SpecId::PETERSBURG,
    SpecId::ISTANBUL,
    SpecId::BERLIN,
    SpecId::LONDON,
    SpecId::MERGE,
    SpecId::SHANGHAI,
    SpecId::CANCUN,
    SpecId::PRAGUE,
    SpecId::OSAKA,
    SpecId::AMSTERDAM,
];

const SENDERS: u64 = 5;
const CONTRACTS: u64 = 6;

pub fn sender(index: u64) -> Address {
    Address::with_last_byte(0xa0 + index as u8).create(index)
}

pub fn contract(index: u64) -> Address {
    Address::with_last_byte(0xc0 + index as u8).create(index)
}

/// An address that means something.
fn address(rng: &mut Rng) -> Address {
    match rng.below(12) {
        0..=4 => contract(rng.below(CONTRACTS)),
        5..=6 => sender(rng.below(SENDERS)),
        7 => BENEFICIARY,
        8 => Address::with_last_byte(1 + rng.below(5) as u8),
        // Created by a contract or a sender before long.
        9 => contract(rng.below(CONTRACTS)).create(1 + rng.below(2)),
        10 => sender(rng.below(SENDERS)).create(rng.below(3)),
        _ => Address::repeat_byte(0xe0 + rng.below(3) as u8),
    }
}

/// Assembles one contract.
struct Assembler<'r> {
    rng: &'r mut Rng,
    spec: SpecId,
    code: Vec<u8>,
}

impl Assembler<'_> {
    fn op(&mut self, op: u8) -> &mut Self {
        self.code.push(op);
        self
    }

    fn push(&mut self, value: u64) -> &mut Self {
        self.code.push(op::PUSH8);
        self.code.extend(value.to_be_bytes());
        self
    }

    fn push_address(&mut self, address: Address) -> &mut Self {
        self.code.push(op::PUSH20);
        self.code.extend(address.as_slice());
        self
    }

    fn slot(&mut self) -> u64 {
        self.rng.below(4)
    }

    /// Keeps the top of the stack, in a slot or not at all.
    fn keep(&mut self) {
        match self.rng.below(4) {
            0 => {
                self.op(op::POP);
            }
            1 => {
                self.push(0).op(op::MSTORE);
            }
            _ => {
                let slot = self.slot();
                self.push(slot).op(op::SSTORE);
            }
        }
    }

    /// Puts `bytes` at the start of memory.
    fn store_bytes(&mut self, bytes: &[u8]) {
        for (at, chunk) in bytes.chunks(32).enumerate() {
            let mut word = [0; 32];
            word[..chunk.len()].copy_from_slice(chunk);
            self.code.push(op::PUSH32);
            self.code.extend(word);
            self.push(at as u64 * 32).op(op::MSTORE);
        }
    }

    fn since(&self, spec: SpecId) -> bool {
        self.spec.is_enabled_in(spec)
    }

    fn statement(&mut self) {
        match self.rng.below(15) {
            0 => {
                let (value, slot) = (self.rng.below(3), self.slot());
                self.push(value).push(slot).op(op::SSTORE);
            }
            1 => {
                let slot = self.slot();
                self.push(slot).op(op::SLOAD);
                self.keep();
            }
            2 if self.since(SpecId::CANCUN) => {
                let (value, slot) = (self.rng.below(3), self.slot());
                self.push(value).push(slot).op(op::TSTORE);
                let slot = self.slot();
                self.push(slot).op(op::TLOAD);
                self.keep();
            }
            3 => {
                let who = address(self.rng);
                self.push_address(who).op(op::BALANCE);
                self.keep();
            }
            4 if self.since(SpecId::ISTANBUL) => {
                self.op(op::SELFBALANCE);
                self.keep();
            }
            5 => {
                let who = address(self.rng);
                self.push_address(who).op(op::EXTCODESIZE);
                self.keep();
            }
            6 if self.since(SpecId::PETERSBURG) => {
                let who = address(self.rng);
                self.push_address(who).op(op::EXTCODEHASH);
                self.keep();
            }
            7 => {
                let who = address(self.rng);
                self.push(8).push(0).push(64).push_address(who).op(op::EXTCODECOPY);
            }
            8..=10 => self.call(),
            11 => self.create(),
            12 => {
                let topic = self.rng.below(9);
                self.push(topic).push(16).push(0).op(op::LOG1);
            }
            13 => {
                self.op(op::GAS);
                self.keep();
            }
            _ => {
                let number = 990 + self.rng.below(15);
                self.push(number).op(op::BLOCKHASH);
                self.keep();
            }
        }
    }

    fn call(&mut self) {
        let who = address(self.rng);
        self.call_to(|asm| {
            asm.push_address(who);
        });
    }

    fn call_to(&mut self, to: impl FnOnce(&mut Self)) {
        let kind = match self.rng.below(6) {
            0 if self.since(SpecId::HOMESTEAD) => op::DELEGATECALL,
            1 if self.since(SpecId::BYZANTIUM) => op::STATICCALL,
            2 => op::CALLCODE,
            _ => op::CALL,
        };
        self.push(32).push(32).push(8).push(0);
        if matches!(kind, op::CALL | op::CALLCODE) {
            let value = match self.rng.below(4) {
                0 => 1 + self.rng.below(40),
                1 => self.rng.below(5000),
                _ => 0,
            };
            self.push(value);
        }
        to(self);
        let gas = *self.rng.pick(&[0, 2500, 30_000, 200_000]);
        self.push(gas).op(kind);
        self.keep();
    }

    fn create(&mut self) {
        let init = init_code(self.rng, self.spec);
        self.store_bytes(&init);
        let value = if self.rng.chance(3) { self.rng.below(60) } else { 0 };
        if self.since(SpecId::PETERSBURG) && self.rng.chance(2) {
            let salt = self.rng.below(2);
            self.push(salt).push(init.len() as u64).push(0).push(value).op(op::CREATE2);
        } else {
            self.push(init.len() as u64).push(0).push(value).op(op::CREATE);
        }
        if self.rng.chance(2) {
            // Call what was created, under the copy of its address.
            let slot = self.slot();
            self.op(op::DUP1).push(slot).op(op::SSTORE);
            self.push(0).op(op::MSTORE);
            self.call_to(|asm| {
                asm.push(0).op(op::MLOAD);
            });
        } else {
            self.keep();
        }
    }

    fn end(&mut self) {
        match self.rng.below(10) {
            0..=1 => {
                let who = address(self.rng);
                self.push_address(who).op(op::SELFDESTRUCT);
            }
            2 => {
                self.op(op::ADDRESS).op(op::SELFDESTRUCT);
            }
            3 if self.since(SpecId::BYZANTIUM) => {
                self.push(40).push(0).op(op::REVERT);
            }
            4 => {
                self.op(op::INVALID);
            }
            5..=6 => {
                self.push(64).push(0).op(op::RETURN);
            }
            _ => {
                self.op(op::STOP);
            }
        }
    }

    fn body(mut self, most: u64) -> Vec<u8> {
        for _ in 0..self.rng.below(most + 1) {
            let guarded = self.rng.chance(4);
            let patch = guarded.then(|| {
                // Skip the statement if a slot is zero.
                let slot = self.slot();
                self.push(slot).op(op::SLOAD).op(op::ISZERO);
                self.code.push(op::PUSH2);
                self.code.extend([0, 0]);
                self.op(op::JUMPI);
                self.code.len() - 3
            });
            self.statement();
            if let Some(at) = patch {
                let to = self.code.len() as u16;
                self.code[at..at + 2].copy_from_slice(&to.to_be_bytes());
                self.op(op::JUMPDEST);
            }
        }
        self.end();
        self.code
    }
}

/// A random contract.
pub fn runtime_code(rng: &mut Rng, spec: SpecId) -> Vec<u8> {
    let most = 1 + rng.below(7);
    Assembler { rng, spec, code: Vec::new() }.body(most)
}

/// Random init code: runs a little, then ends anyhow, or deploys a copy of some contract.
pub fn init_code(rng: &mut Rng, spec: SpecId) -> Vec<u8> {
    let mut asm = Assembler { rng, spec, code: Vec::new() };
    match asm.rng.below(6) {
        0 => asm.body(2),
        1 => Vec::new(),
        kind => {
            if kind > 3 {
                let (value, slot) = (asm.rng.below(3), asm.slot());
                asm.push(value).push(slot).op(op::SSTORE);
            }
            let template = contract(asm.rng.below(CONTRACTS));
            asm.push(200).push(0).push(0).push_address(template).op(op::EXTCODECOPY);
            asm.push_address(template).op(op::EXTCODESIZE).push(0).op(op::RETURN);
            asm.code
        }
    }
}

/// A random world for `spec`.
pub fn world(rng: &mut Rng, spec: SpecId) -> World {
    let mut world = World::default();
    for index in 0..SENDERS {
        world.add(sender(index), *rng.pick(&[0, 3_000_000, 1 << 40, 1 << 50]), rng.below(2), &[]);
    }
    for index in 0..CONTRACTS {
        let code = runtime_code(rng, spec);
        let balance = *rng.pick(&[0, 10, 100, 10_000]);
        world.add(contract(index), balance, 1, &code);
        for slot in 0..4 {
            if rng.chance(2) {
                world.set_slot(contract(index), slot, 1 + rng.below(2));
            }
        }
    }
    if rng.chance(2) {
        world.add(BENEFICIARY, rng.below(100), 0, &[]);
    }
    if rng.chance(3) {
        // Exists and is empty, as before EIP-161.
        world.add(Address::repeat_byte(0xe0), 0, 0, &[]);
    }
    world
}

fn access_list(rng: &mut Rng) -> AccessList {
    let items = (0..rng.below(3)).map(|_| AccessListItem {
        address: address(rng),
        storage_keys: (0..rng.below(3)).map(|_| B256::from(U256::from(rng.below(4)))).collect(),
    });
    AccessList(items.collect())
}

fn authorizations(
    rng: &mut Rng,
    world: &World,
) -> Vec<Either<revm::context_interface::transaction::SignedAuthorization, RecoveredAuthorization>> {
    let list = (0..1 + rng.below(3)).map(|_| {
        let authority = if rng.chance(4) { address(rng) } else { sender(rng.below(SENDERS)) };
        let inner = Authorization {
            chain_id: U256::from(rng.below(3)),
            address: if rng.chance(5) { Address::ZERO } else { address(rng) },
            nonce: world.account(authority).nonce + rng.below(2),
        };
        Either::Right(RecoveredAuthorization::new_unchecked(inner, RecoveredAuthority::Valid(authority)))
    });
    list.collect()
}

/// A random transaction, mostly valid in `world`.
pub fn transaction(rng: &mut Rng, spec: SpecId, world: &World) -> TxEnv {
    let caller = if rng.chance(40) { contract(0) } else { sender(rng.below(SENDERS)) };
    let nonce = world.account(caller).nonce;
    let nonce = match rng.below(24) {
        0 => nonce + 1,
        1 => nonce.saturating_sub(1),
        _ => nonce,
    };
    let create = rng.chance(6);
    let basefee = if spec.is_enabled_in(SpecId::LONDON) { 7 } else { 0 };
    let mut tx = TxEnv {
        caller,
        nonce,
        gas_limit: *rng.pick(&[21_000, 53_500, 90_000, 300_000, 1_500_000]),
        gas_price: basefee + *rng.pick(&[0, 0, 1, 13]),
        kind: if create { TxKind::Create } else { TxKind::Call(address(rng)) },
        value: U256::from(*rng.pick(&[0, 0, 1, 77, 5_000_000])),
        chain_id: Some(1),
        ..TxEnv::default()
    };
    if create {
        tx.data = init_code(rng, spec).into();
    } else if rng.chance(2) {
        tx.data = Bytes::from(vec![rng.below(2) as u8; rng.below(40) as usize]);
    }
    let mut types = vec![0];
    for (since, number) in [(SpecId::BERLIN, 1), (SpecId::LONDON, 2), (SpecId::CANCUN, 3)] {
        if spec.is_enabled_in(since) {
            types.push(number);
        }
    }
    if spec.is_enabled_in(SpecId::PRAGUE) {
        types.extend([4, 4]);
    }
    tx.tx_type = *rng.pick(&types);
    if create && tx.tx_type >= 3 {
        tx.tx_type = 0;
    }
    if tx.tx_type >= 1 {
        tx.access_list = access_list(rng);
    }
    if tx.tx_type >= 2 {
        tx.gas_priority_fee = Some(rng.below(3).into());
    }
    if tx.tx_type == 3 {
        tx.blob_hashes = vec![B256::with_last_byte(1); 1 + rng.below(2) as usize];
        tx.blob_hashes.iter_mut().for_each(|hash| hash[0] = 1);
        tx.max_fee_per_blob_gas = 3;
    }
    if tx.tx_type == 4 {
        tx.authorization_list = authorizations(rng, world);
    }
    tx
}
