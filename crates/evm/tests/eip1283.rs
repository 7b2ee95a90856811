//! Net gas metering of Constantinople: the table of test cases of EIP-1283, on both machines.

mod common;

use alloy_primitives::{Address, TxKind, hex};
use braid_core::Vm;
use braid_evm::{EvmRules, EvmShared, EvmTx, EvmVm, Status, TraceOptions, TxResult};
use common::{World, block, execute};
use revm::{context::TxEnv, primitives::hardfork::SpecId};

const SENDER: Address = Address::repeat_byte(0x5e);
const CONTRACT: Address = Address::repeat_byte(0xc0);

/// Code, gas used by it, refund, and what slot 0 held before the transaction.
const CASES: [(&str, u64, u64, u64); 17] = [
    ("60006000556000600055", 412, 0, 0),
    ("60006000556001600055", 20_212, 0, 0),
    ("60016000556000600055", 20_212, 19_800, 0),
    ("60016000556002600055", 20_212, 0, 0),
    ("60016000556001600055", 20_212, 0, 0),
    ("60006000556000600055", 5_212, 15_000, 1),
    ("60006000556001600055", 5_212, 4_800, 1),
    ("60006000556002600055", 5_212, 0, 1),
    ("60026000556000600055", 5_212, 15_000, 1),
    ("60026000556003600055", 5_212, 0, 1),
    ("60026000556001600055", 5_212, 4_800, 1),
    ("60026000556002600055", 5_212, 0, 1),
    ("60016000556000600055", 5_212, 15_000, 1),
    ("60016000556002600055", 5_212, 0, 1),
    ("60016000556001600055", 412, 0, 1),
    ("600160005560006000556001600055", 40_218, 19_800, 0),
    ("600060005560016000556000600055", 10_218, 19_800, 1),
];

fn results(code: &[u8], slot: u64, gas_limit: u64, rules: EvmRules, spec: SpecId) -> [TxResult; 2] {
    let mut world = World::default();
    world.add(SENDER, u64::MAX, 0, &[]);
    world.add(CONTRACT, 0, 1, code);
    world.set_slot(CONTRACT, 0, slot);
    let kind = TxKind::Call(CONTRACT);
    let tx = TxEnv { caller: SENDER, kind, gas_limit, gas_price: 10, ..TxEnv::default() };
    let input = braid_evm::BlockInput { rules, ..block(spec, vec![tx]) };
    let shared = EvmShared::default();
    [false, true].map(|traced| {
        let mut vm = EvmVm::new(&shared, &input);
        if traced {
            vm = vm.with_trace(TraceOptions::default());
        }
        let (effects, _) = execute(&vm, &mut vm.worker(), &EvmTx::User(0), &world, true);
        common::user_result(&effects.expect("a valid transaction"))
    })
}

const ON: EvmRules = EvmRules { eip7610: true, eip1283: true, listed_hashes_only: false };

#[test]
fn the_table_of_the_eip() {
    for (code, used, refund, slot) in CASES {
        for result in results(&hex::decode(code).unwrap(), slot, 100_000, ON, SpecId::PETERSBURG) {
            let spent = 21_000 + used;
            assert_eq!(result.gas_used, spent - refund.min(spent / 2), "{code} from {slot}");
        }
    }
}

#[test]
fn a_store_needs_no_more_than_its_price() {
    // EIP-2200 brought the check against the stipend; here 200 gas are enough.
    let stores = hex!("6000600055");
    for (gas, status) in [(206, Status::Success), (205, Status::Halt)] {
        for result in results(&stores, 0, 21_000 + gas, ON, SpecId::PETERSBURG) {
            assert_eq!(result.status, status, "{gas}");
        }
    }
}

#[test]
fn neither_petersburg_nor_istanbul_meters_so() {
    let stores = hex!("60016000556000600055");
    for result in results(&stores, 0, 100_000, EvmRules::default(), SpecId::PETERSBURG) {
        let spent: u64 = 21_000 + 12 + 25_000;
        assert_eq!(result.gas_used, spent - 15_000);
    }
    let [istanbul, _] = results(&stores, 0, 100_000, ON, SpecId::ISTANBUL);
    let spent: u64 = 21_000 + 12 + 20_800;
    assert_eq!(istanbul.gas_used, spent - (spent / 2).min(19_200));
}
