//! Damaged inputs: an error with its code, or a transition, never a panic.
//!
//! `BRAID_SEED` repeats what a failure names.

use braid_core::Control;
use braid_profiles::profile;
use braid_t8n::{Rules, Source, Sources, T8nError, Tracing, transition};
use braid_testkit::Rng;
use serde_json::{Value, json};
use std::panic::{AssertUnwindSafe, catch_unwind};

const KEY: &str = "0x45a915e4d060149eb4365960e6a7a45f334393093061116b197e3240065ff2d8";

fn inputs() -> Value {
    let address = |last: u8| format!("0x{last:040x}");
    let hash = |last: u8| format!("0x{last:064x}");
    let tx = |extra: Value| {
        let mut tx = json!({
            "nonce": "0x0", "gas": "0x186a0", "value": "0x1", "to": address(0xcc), "input": "0x00",
            "chainId": "0x1", "secretKey": KEY,
        });
        tx.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        tx
    };
    let fees = json!({ "maxFeePerGas": "0x10", "maxPriorityFeePerGas": "0x1" });
    let with_fees = |extra: Value| {
        let mut all = fees.clone();
        all.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        tx(all)
    };
    json!({
        "alloc": {
            "0xa94f5374fce5edbc8e2a8697c15331677e6ebf0b": { "balance": "0xffffffffffff", "nonce": "0x0" },
            address(0xcc): { "balance": "1", "code": "0x6001600054018060005500", "storage": { "0x0": "0x1" } },
        },
        "env": {
            "currentCoinbase": address(0xcb), "currentGasLimit": "0x1000000", "currentNumber": "9",
            "currentTimestamp": 1000, "currentRandom": "0x1", "parentBaseFee": "0x7", "parentGasUsed": "0x100",
            "parentGasLimit": "0x1000000", "parentExcessBlobGas": "0x60000", "parentBlobGasUsed": "0x80000",
            "parentBeaconBlockRoot": hash(1), "parentTimestamp": 900, "blockHashes": { "8": hash(8) },
            "withdrawals": [{ "index": "0x0", "validatorIndex": "0x0", "address": address(5), "amount": "0x5" }],
            "ommers": [{ "delta": 1, "address": address(6) }],
        },
        "txs": [
            tx(json!({ "gasPrice": "0x10" })),
            tx(json!({ "gasPrice": "0x10", "v": "0x26", "r": hash(7), "s": hash(9), "nonce": "0x1" })),
            tx(json!({ "type": "0x1", "gasPrice": "0x10", "accessList": [{ "address": address(1), "storageKeys": [hash(2)] }] })),
            with_fees(json!({ "type": "0x2" })),
            with_fees(json!({ "type": "0x3", "maxFeePerBlobGas": "0x10", "blobVersionedHashes": [format!("0x01{:062x}", 1)] })),
            with_fees(json!({ "type": "0x4", "authorizationList": [{
                "chainId": "0x1", "address": address(0xcc), "nonce": "0x0", "yParity": "0x0", "r": "0x1", "s": "0x1",
            }] })),
        ],
    })
}

/// Text for text: another number, another length, another kind.
fn other(rng: &mut Rng, value: &Value) -> Value {
    let words = [
        json!("0xffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"),
        json!("0xffffffffffffffff"),
        json!("0x"),
        json!(""),
        json!("0x0"),
        json!(u64::MAX),
        json!(-1),
        json!(null),
        json!([]),
        json!({}),
        json!("0xzz"),
        json!("\u{e9}0x1"),
        json!("115792089237316195423570985008687907853269984665640564039457584007913129639936"),
    ];
    match (value, rng.below(3)) {
        (Value::String(text), 0) => json!(format!("{text}{}", rng.below(10))),
        (Value::String(text), 1) => json!(text.chars().take(rng.below(40) as usize).collect::<String>()),
        _ => words[rng.below(words.len() as u64) as usize].clone(),
    }
}

/// Changes one value somewhere inside.
fn damage(rng: &mut Rng, value: &mut Value) {
    let stop = rng.chance(15);
    match value {
        Value::Object(members) if !members.is_empty() && !stop => {
            let at = rng.below(members.len() as u64) as usize;
            let key = members.keys().nth(at).unwrap().clone();
            if rng.chance(10) {
                members.remove(&key);
            } else {
                damage(rng, &mut members[&key]);
            }
        }
        Value::Array(items) if !items.is_empty() && !stop => {
            let at = rng.below(items.len() as u64) as usize;
            damage(rng, &mut items[at]);
        }
        other_value => *other_value = other(rng, other_value),
    }
}

#[test]
fn no_damage_is_more_than_an_error() {
    const FORKS: [&str; 6] = ["Frontier", "London", "Shanghai", "Cancun", "Osaka", "HomesteadToDaoAt5"];
    let first = std::env::var("BRAID_SEED").ok().and_then(|seed| seed.parse().ok());
    let sources = Sources { alloc: Source::Stdin, env: Source::Stdin, txs: Source::Stdin };
    let mut engine = (profile("serial").unwrap().build)(1).unwrap();
    let (mut done, mut refused) = (0, [0; 256]);
    for seed in first.map_or(0..3000u64, |seed| seed..seed + 1) {
        let mut rng = Rng::new(seed);
        let mut inputs = inputs();
        for _ in 0..rng.below(3) {
            damage(&mut rng, &mut inputs);
        }
        let mut bytes = inputs.to_string().into_bytes();
        if rng.chance(10) {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] = rng.bits() as u8;
        }
        let fork = FORKS[rng.below(FORKS.len() as u64) as usize];
        let rules = Rules { fork: fork.into(), chain_id: 1, reward: rng.chance(50).then(|| rng.bits() >> 1) };
        let run = catch_unwind(AssertUnwindSafe(|| -> Result<(), T8nError> {
            let inputs = sources.read(&mut bytes.as_slice())?;
            transition(inputs, &rules, Tracing::default(), engine.as_mut(), 1, &Control::default())?;
            Ok(())
        }));
        match run {
            Ok(Ok(())) => done += 1,
            Ok(Err(error)) => {
                assert!(!error.to_string().contains("panicked"), "{error}; repeat with BRAID_SEED={seed}");
                refused[usize::from(error.code())] += 1;
            }
            Err(_) => panic!("panicked; repeat with BRAID_SEED={seed}"),
        }
    }
    if first.is_none() {
        assert!(done > 200 && refused[3] > 50 && refused[10] > 200, "{done} done, {refused:?} refused");
    }
}
