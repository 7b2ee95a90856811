//! KECCAK256, whose hashes are remembered within a block, against stock revm: inputs of all lengths, again and
//! again, with memory that grows, gas that ends anywhere, and operands that are absurd.

mod common;

use alloy_primitives::{Address, TxKind, U256};
use braid_core::Vm;
use braid_evm::{EvmShared, EvmTx, EvmVm};
use common::{Rng, World, block, execute, reference::Reference, user_result};
use revm::{bytecode::opcode as op, context::TxEnv, primitives::hardfork::SpecId};

const SENDER: Address = Address::repeat_byte(0xaa);
const HASHER: Address = Address::repeat_byte(0xbb);

fn push(code: &mut Vec<u8>, value: U256) {
    code.push(op::PUSH32);
    code.extend(value.to_be_bytes::<32>());
}

/// Puts few different words into memory, hashes pieces of it, and keeps the hashes.
fn hasher(rng: &mut Rng) -> Vec<u8> {
    let mut code = Vec::new();
    let absurd = [U256::from(u64::MAX), U256::from(1) << 64, U256::MAX, U256::from(u64::MAX - 31)];
    for slot in 0..rng.below(12) {
        for _ in 0..rng.below(3) {
            push(&mut code, U256::from(rng.below(3)));
            push(&mut code, U256::from(32 * rng.below(4)));
            code.push(op::MSTORE);
        }
        let len = match rng.below(40) {
            0 => *rng.pick(&absurd),
            1..=20 => U256::from(64),
            _ => U256::from(
                *rng.pick(&[0, 1, 7, 8, 31, 32, 33, 63, 65, 85, 87, 88, 89, 96, 135, 136, 137, 3000]),
            ),
        };
        let from = match rng.below(40) {
            0 => *rng.pick(&absurd),
            1..=30 => U256::from(32 * rng.below(3)),
            _ => U256::from(rng.below(5000)),
        };
        if !rng.chance(60) {
            push(&mut code, len);
        }
        push(&mut code, from);
        code.push(op::KECCAK256);
        push(&mut code, U256::from(slot));
        code.push(op::SSTORE);
    }
    code
}

#[test]
fn equals_stock_revm() {
    let first = std::env::var("BRAID_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(0_u64);
    let shared = EvmShared::default();
    let (mut ended, mut halted) = (0, 0);
    for seed in first..first + 400 {
        let mut rng = Rng(seed);
        let spec = *rng.pick(&[SpecId::FRONTIER, SpecId::BYZANTIUM, SpecId::BERLIN, SpecId::OSAKA]);
        let mut world = World::default();
        world.add(SENDER, u64::MAX, 0, &[]);
        let codes: Vec<_> = (0..4).map(|_| hasher(&mut rng)).collect();
        let tx = |nonce: u64, rng: &mut Rng| TxEnv {
            caller: SENDER,
            kind: TxKind::Call(HASHER.create(nonce % 4)),
            gas_limit: if rng.chance(2) { 1_000_000 } else { 21_000 + rng.below(60_000) },
            gas_price: 1000,
            nonce,
            ..TxEnv::default()
        };
        let txs: Vec<_> = (0..12).map(|nonce| tx(nonce, &mut rng)).collect();
        for (nonce, code) in codes.iter().enumerate() {
            world.add(HASHER.create(nonce as u64), 0, 1, code);
        }
        let input = block(spec, txs);
        let mut reference = Reference::new(&world, &input);
        let vm = EvmVm::new(&shared, &input);
        let mut worker = vm.worker();
        for (index, tx) in input.txs.iter().enumerate() {
            let at = format!("seed {seed} {spec:?} transaction {index}");
            let (ours, _) = execute(&vm, &mut worker, &EvmTx::User(index as u32), &world, true);
            let effects = ours.unwrap_or_else(|stop| panic!("{at}: {stop:?}"));
            let theirs = reference.transact(&input, tx).unwrap_or_else(|error| panic!("{at}: {error}"));
            assert_eq!(user_result(&effects), theirs, "{at}");
            world.apply(&effects.writes);
            *if theirs.status == braid_evm::Status::Success { &mut ended } else { &mut halted } += 1;
        }
        assert_eq!(world.state(), reference.accounts, "seed {seed}");
    }
    assert!(ended > 1000 && halted > 300, "{ended} ended, {halted} halted");
}
