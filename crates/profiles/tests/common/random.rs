//! Random blocks over a few accounts and contracts, so that everything conflicts with everything.

use super::{Asm, ETHER, GAS_PRICE, World, account, op, queue_code, store_input_code};
use alloy_eips::{
    eip2935::HISTORY_STORAGE_ADDRESS, eip4788::BEACON_ROOTS_ADDRESS,
    eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS,
};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use braid_evm::{AccountState, After, EvmKey, EvmValue, Rites};
use braid_testkit::Rng;
use revm::{
    context::either::Either,
    context_interface::transaction::{Authorization, RecoveredAuthority, RecoveredAuthorization},
    primitives::hardfork::SpecId,
};

struct Random(Rng);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

const SPECS: [SpecId; 15] = [
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

const SENDERS: u64 = 6;
const CONTRACTS: u64 = 10;
const STRANGERS: u64 = 3;

const SYSTEM_CONTRACTS: [Address; 4] = [
    HISTORY_STORAGE_ADDRESS,
    BEACON_ROOTS_ADDRESS,
    WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS,
    CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS,
];

fn contract(n: u64) -> Address {
    account(100 + n)
}

/// Anyone: senders, contracts, accounts that may not exist, the beneficiary, a precompile.
fn anyone(random: &mut Random) -> Address {
    match random.below(10) {
        0..=3 => account(random.below(SENDERS)),
        4..=6 => contract(random.below(CONTRACTS)),
        7 => account(9999),
        8 if random.one_in(3) => random.pick(&SYSTEM_CONTRACTS),
        8 => account(200 + random.below(STRANGERS)),
        _ => Address::with_last_byte(1 + random.below(9) as u8),
    }
}

/// A few statements that read, write, pay, create and destroy.
fn code(random: &mut Random) -> Vec<u8> {
    let mut asm = Asm::default();
    for _ in 0..1 + random.below(4) {
        let slot = random.below(3);
        asm = match random.below(12) {
            0 | 1 => asm.push(slot).op(&[op::SLOAD]).push(1).op(&[op::ADD]).sstore(random.below(3)),
            2 => asm.push(anyone(random)).op(&[op::BALANCE]).sstore(slot),
            3 => asm.op(&[op::ADDRESS, op::BALANCE]).sstore(slot),
            4 => asm.push(anyone(random)).op(&[op::EXTCODESIZE]).sstore(slot),
            5 | 6 => {
                let value = random.pick(&[0u128, 0, 1, 50, 5000, ETHER]);
                asm.call(anyone(random), value).sstore(slot)
            }
            7 => asm.push(0).push(0).push(random.below(3)).op(&[op::CREATE]).sstore(slot),
            8 => asm.push(random.below(2)).sstore(slot), // often writes what is there
            9 => asm.op(&[op::CALLER, op::BALANCE]).sstore(slot),
            10 if random.one_in(2) => asm.push(anyone(random)).op(&[op::SELFDESTRUCT]),
            10 => asm.push(0).op(&[op::CALLDATALOAD]).sstore(slot),
            // Fails here, one way or another: an invalid opcode.
            _ if random.one_in(2) => asm.op(&[0xfe]),
            _ => asm.op(&[op::GAS, op::POP]),
        };
    }
    asm.stop()
}

/// The block of this seed; one in a while has an invalid transaction.
pub fn block(seed: u64) -> World {
    let mut random = Random(Rng::new(seed));
    let spec = random.pick(&SPECS);
    let mut world = World::new(spec);
    if random.one_in(4) {
        world.input.env.beneficiary = account(random.below(SENDERS));
    }
    for n in 0..SENDERS {
        world.fund(account(n), random.pick(&[ETHER, ETHER, ETHER, 40_000_000, 21_000_000]));
    }
    for n in 0..CONTRACTS {
        let body = code(&mut random);
        world.contract(contract(n), body, random.pick(&[0, 0, 60, 10_000]));
        if random.one_in(3) {
            world.slot(contract(n), random.below(3), random.below(3));
        }
    }
    // Constantinople is Petersburg with this.
    world.input.rules.eip1283 = random.one_in(2);
    if random.one_in(8) {
        // Somebody has nearly all wei there can be.
        let room = random.pick(&[0u128, 10, 5_000_000, ETHER]);
        let (address, balance) = (anyone(&mut random), U256::MAX - U256::from(room));
        let before = match world.pre.store.get(&EvmKey::Account(address)) {
            Some(EvmValue::Account(account)) => *account,
            _ => AccountState::default(),
        };
        world.set(address, AccountState { balance, ..before });
    }
    world.input.rites = rites(&mut random, &mut world);
    let mut nonces = [0; SENDERS as usize];
    for _ in 0..5 + random.below(40) {
        transaction(&mut random, &mut world, &mut nonces);
    }
    world
}

/// What surrounds the transactions under these rules, in two of three blocks.
fn rites(random: &mut Random, world: &mut World) -> Rites {
    let from = |spec| world.input.spec.is_enabled_in(spec);
    let (merge, shanghai) = (from(SpecId::MERGE), from(SpecId::SHANGHAI));
    let (cancun, prague) = (from(SpecId::CANCUN), from(SpecId::PRAGUE));
    let dao = world.input.spec == SpecId::HOMESTEAD;
    if random.one_in(3) {
        return Rites::default();
    }
    for (n, address) in SYSTEM_CONTRACTS.into_iter().enumerate().filter(|_| cancun) {
        let stand_in = if n < 2 { store_input_code() } else { queue_code() };
        // Some do what no real one does.
        let code = if random.one_in(6) { code(random) } else { stand_in };
        world.contract(address, code, random.pick(&[0, 100]));
    }
    let payments = |random: &mut Random, amounts: &[u128]| {
        (0..random.below(4)).map(|_| (anyone(random), random.pick(amounts))).collect::<Vec<_>>()
    };
    let uncles = payments(random, &[ETHER / 32, 2 * ETHER]);
    let rewards = [(world.input.env.beneficiary, 5 * ETHER)].into_iter().chain(uncles);
    let withdrawals = payments(random, &[0, 1, ETHER]);
    let drained = (0..random.below(3)).map(|_| anyone(random)).collect();
    Rites {
        parent_hash: prague.then_some(B256::repeat_byte(3)),
        parent_beacon_root: cancun.then_some(B256::repeat_byte(4)),
        dao_drain: dao.then(|| (drained, contract(0))),
        after: Some(After {
            rewards: if merge { Vec::new() } else { rewards.collect() },
            withdrawals: if shanghai { withdrawals } else { Vec::new() },
            requests: prague,
        }),
    }
}

fn transaction(random: &mut Random, world: &mut World, nonces: &mut [u64; SENDERS as usize]) {
    let sender = random.below(SENDERS);
    let nonce = nonces[sender as usize];
    nonces[sender as usize] += 1;
    let value = random.pick(&[0u128, 0, 1, 77, 30_000_000, ETHER / 16]);
    let (to, data) = match random.below(8) {
        0 => (TxKind::Create, Bytes::from(Asm(code(random)).deployer())),
        1..=5 => {
            (TxKind::Call(contract(random.below(CONTRACTS))), Bytes::from(vec![random.below(3) as u8; 32]))
        }
        _ => (TxKind::Call(anyone(random)), Bytes::new()),
    };
    let create = to == TxKind::Create;
    let index = world.tx(account(sender), nonce, to, value, data);
    let spec = world.input.spec;
    let tx = &mut world.input.txs[index];
    tx.gas_limit = random.pick(&[60_000, 150_000, 400_000]);
    if random.one_in(120) {
        tx.nonce = tx.nonce.wrapping_add(random.pick(&[1, u64::MAX]));
    }
    if spec.is_enabled_in(SpecId::PRAGUE) && !create && random.one_in(5) {
        let authority = random.below(SENDERS);
        let inner = Authorization {
            chain_id: U256::ZERO,
            address: contract(random.below(CONTRACTS)),
            nonce: nonces[authority as usize],
        };
        // Right more often than not; a wrong nonce makes an authorization void, not the block.
        nonces[authority as usize] += 1;
        tx.tx_type = 4;
        tx.gas_priority_fee = Some(GAS_PRICE);
        let signed =
            RecoveredAuthorization::new_unchecked(inner, RecoveredAuthority::Valid(account(authority)));
        tx.authorization_list = vec![Either::Right(signed)];
    }
}
