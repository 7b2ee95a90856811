//! Calls that compute.

use super::{
    Workload,
    contracts::{COMPUTE, call_data},
    generate::{Generated, address},
    yard::Yard,
};
use alloy_primitives::{TxKind, U256};

/// Gas of a call without rounds: 21,000, calldata, precompiled contracts, the slot, the event.
const BASE: u64 = 52_000;
/// Gas of a round.
const ROUND: u64 = 227;

/// The block.
pub(super) fn block(workload: &Workload) -> Generated {
    let mut yard = Yard::bare(workload);
    let accounts = yard.people("account", workload.at("accounts"));
    let (at, code) = (address("compute", 0), yard.code(&COMPUTE));
    yard.deploy(at, code, &[(U256::ZERO, U256::ONE)]);
    let work = workload.at("work");
    for _ in 0..yard.count {
        let shared = u64::from(yard.rng.percent(workload.at("share")));
        // No two alike: a tenth more or less.
        let rounds = (work - BASE) * (900 + yard.rng.below(201)) / 1000 / ROUND;
        let data = call_data("run(uint256,uint256,bool)", &[rounds, yard.rng.next(), shared].map(U256::from));
        let from = yard.pick(&accounts);
        yard.send(from, TxKind::Call(at), 0, data, (work + work / 5).min(MAX_TX_GAS));
    }
    yard.finish()
}

/// Most gas of a transaction (EIP-7825).
const MAX_TX_GAS: u64 = 1 << 24;
