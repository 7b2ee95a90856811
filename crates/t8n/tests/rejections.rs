//! Transactions that are invalid where they stand are left out, wherever they stand, and the rest is the
//! block: as if each transaction had been tried in turn.
//!
//! `BRAID_SEED` repeats what a failure names.

use alloy_primitives::{Address, U256};
use braid_core::Control;
use braid_evm::BlockInput;
use braid_profiles::{Engine, ExecError, Executed, profile};
use braid_t8n::{Inputs, Rules, Tracing, Transition, parse_alloc, parse_env, parse_txs, transition};
use braid_testkit::Rng;
use braid_work::PreState;
use serde_json::{Value, json};

const SENDERS: u64 = 6;

fn engine(name: &str, threads: usize) -> Box<dyn Engine> {
    (profile(name).unwrap().build)(threads).unwrap()
}

fn key(sender: u64) -> String {
    format!("0x{:064x}", sender + 1)
}

/// Address of a sender, by what the tool itself recovers: whom a transfer of nothing is charged to.
fn address(sender: u64) -> Address {
    let tx = json!([{
        "nonce": 0, "gas": 21000, "gasPrice": 0, "value": 0, "to": Address::ZERO, "input": "0x",
        "secretKey": key(sender),
    }]);
    let done = run(engine("serial", 1).as_mut(), json!({}), tx, u64::MAX >> 1);
    let charged: Vec<_> = done.alloc.0.iter().filter(|(_, account)| account.nonce == 1).collect();
    assert_eq!(charged.len(), 1);
    *charged[0].0
}

fn run(engine: &mut dyn Engine, alloc: Value, txs: Value, gas_limit: u64) -> Transition {
    let env = json!({
        "currentCoinbase": Address::with_last_byte(0xcb), "currentDifficulty": 1,
        "currentGasLimit": gas_limit, "currentNumber": 1, "currentTimestamp": 1,
    });
    let inputs = Inputs {
        alloc: parse_alloc("alloc", alloc.to_string().as_bytes()).unwrap(),
        env: parse_env("env", env.to_string().as_bytes()).unwrap(),
        txs: parse_txs("txs", txs.to_string().as_bytes()).unwrap(),
    };
    let rules = Rules { fork: "Berlin".into(), chain_id: 1, reward: None };
    transition(inputs, &rules, Tracing::default(), engine, 1, &Control::default()).unwrap()
}

/// Counts on a slot and logs: `SLOAD(0) + 1 -> SSTORE(0); LOG0`.
const COUNTER: &str = "0x6001600054018060005560005260206000a000";

fn alloc(rng: &mut Rng, senders: &[Address]) -> Value {
    let mut alloc = json!({ Address::with_last_byte(0xcc).to_string(): { "code": COUNTER, "balance": 0 } });
    for sender in senders {
        // Some run out of money on the way.
        let balance = if rng.chance(30) { 300_000 + rng.below(500_000) } else { 1 << 40 };
        alloc[sender.to_string()] = json!({ "balance": balance });
    }
    alloc
}

/// Mostly valid transactions with `faults` of a hundred that are not, most of them for what stands before.
fn txs(rng: &mut Rng, count: usize, faults: u64) -> Vec<Value> {
    let mut nonces = [0u64; SENDERS as usize];
    let one = |_| {
        let sender = rng.below(SENDERS);
        let nonce = &mut nonces[sender as usize];
        let mut listed = *nonce;
        let (mut gas, mut value) = (60_000, rng.below(1000));
        if rng.chance(faults) {
            match rng.below(4) {
                0 => listed += 1 + rng.below(3),
                1 => listed = listed.saturating_sub(1),
                2 => gas = 20_000,
                _ => value = u64::MAX,
            }
        } else {
            // May be wrong all the same: earlier ones may have been left out.
            *nonce += 1;
        }
        let to = if rng.chance(50) { 0xcc } else { 0xaa };
        json!({
            "nonce": listed, "gas": gas, "gasPrice": 1, "value": value, "input": "0x",
            "to": Address::with_last_byte(to), "secretKey": key(sender),
        })
    };
    (0..count).map(one).collect()
}

/// Tries each transaction in turn, as a block of its own with the gas that is left.
fn one_by_one(alloc: Value, txs: &[Value], gas_limit: u64) -> (Vec<usize>, Value, u64) {
    let mut engine = engine("serial", 1);
    let (mut alloc, mut left, mut rejected) = (alloc, gas_limit, Vec::new());
    for (at, tx) in txs.iter().enumerate() {
        let done = run(engine.as_mut(), alloc.clone(), json!([tx]), left);
        if done.result.rejected.is_empty() {
            left -= done.result.gas_used.to::<u64>();
            alloc = json!(done.alloc);
        } else {
            rejected.push(at);
        }
    }
    (rejected, alloc, gas_limit - left)
}

#[test]
fn what_is_left_out_is_what_trying_each_in_turn_leaves_out() {
    let senders: Vec<Address> = (0..SENDERS).map(address).collect();
    let first = std::env::var("BRAID_SEED").ok().and_then(|seed| seed.parse().ok());
    let (mut left_out, mut over_gas) = (0, 0);
    for seed in first.map_or(0..12, |seed| seed..seed + 1) {
        let mut rng = Rng::new(seed);
        let (count, faults) = (20 + rng.below(120) as usize, [0, 3, 20, 90][rng.below(4) as usize]);
        let (alloc, txs) = (alloc(&mut rng, &senders), txs(&mut rng, count, faults));
        let gas_limit = if rng.chance(50) { 1_500_000 } else { 30_000_000 };
        let (rejected, post, gas_used) = one_by_one(alloc.clone(), &txs, gas_limit);
        for (name, threads) in [("lean", 1), ("serial", 1), ("monad", 2), ("aptos", 3)] {
            let who = format!("{name} with {threads} threads; repeat with BRAID_SEED={seed}");
            let mut engine = engine(name, threads);
            engine.shuffle(seed);
            let done = run(engine.as_mut(), alloc.clone(), json!(txs), gas_limit);
            let places: Vec<usize> = done.result.rejected.iter().map(|one| one.index).collect();
            assert_eq!(places, rejected, "{who}");
            assert_eq!(json!(done.alloc), post, "{who}");
            assert_eq!(done.result.gas_used.to::<u64>(), gas_used, "{who}");
            assert_eq!(done.result.receipts.len() + rejected.len(), txs.len(), "{who}");
            over_gas += done.result.rejected.iter().filter(|one| one.error.starts_with("gas limit")).count();
        }
        left_out += rejected.len();
    }
    if first.is_none() {
        assert!(left_out > 100, "only {left_out} transactions were left out");
        assert!(over_gas > 20, "only {over_gas} transactions were over the gas of the block");
    }
}

/// Counts blocks and transactions that are executed.
struct Counting {
    engine: Box<dyn Engine>,
    blocks: usize,
    txs: usize,
}

impl Engine for Counting {
    fn execute(
        &mut self,
        input: &BlockInput,
        pre: &PreState,
        control: &Control<'_>,
    ) -> Result<Box<dyn Executed>, ExecError> {
        self.blocks += 1;
        self.txs += input.txs.len();
        self.engine.execute(input, pre, control)
    }
}

#[test]
fn many_rejections_cost_few_executions() {
    let senders: Vec<Address> = (0..SENDERS).map(address).collect();
    for faults in [0, 2, 50, 100] {
        let mut rng = Rng::new(faults);
        let mut alloc = alloc(&mut rng, &senders);
        for sender in &senders {
            alloc[sender.to_string()] = json!({ "balance": U256::from(1u64 << 50) });
        }
        let txs = txs(&mut rng, 1500, faults);
        let mut engine = Counting { engine: engine("serial", 1), blocks: 0, txs: 0 };
        let done = run(&mut engine, alloc, json!(txs), 1 << 40);
        let rejected = done.result.rejected.len();
        assert_eq!(rejected > 0, faults > 0, "{faults}% faults: {rejected} rejected");
        let (blocks, listed) = (engine.blocks, engine.txs);
        // The block itself, two windows for each rejection, and those of 16 and more between.
        assert!(
            blocks <= 2 * rejected + txs.len() / 16 + 4,
            "{faults}% faults: {blocks} blocks for {rejected} rejected"
        );
        // The block itself twice, and for each rejection what a window holds.
        let most = 4 * txs.len() + 40 * rejected;
        assert!(listed <= most, "{faults}% faults: {listed} transactions listed, {rejected} rejected");
    }
}
