//! Random worlds, contracts and transactions, close together, on every fork that actors know: whatever the schedule,
//! the same; no ether lost; nobody left waiting.

#[path = "../../evm/tests/common/mod.rs"]
mod common;

use braid_actors::{ActorBlock, Limits, deliver};
use braid_core::{Control, Reader, Scheduler, State, StoreError};
use braid_evm::{BlockInput, EvmKey, EvmValue};
use braid_sched::{BlockStm, Graph, Occ, Policy, Pool, Serial};
use common::{Rng, World, block, generate};
use revm::primitives::hardfork::SpecId;
use std::sync::Arc;

struct Pre(World);

impl State<EvmKey, EvmValue> for Pre {
    type Reader<'a> = &'a Pre;

    fn reader(&self) -> Result<&Pre, StoreError> {
        Ok(self)
    }
}

impl Reader<EvmKey, EvmValue> for &Pre {
    fn get(&mut self, key: &EvmKey) -> Result<Option<EvmValue>, StoreError> {
        Ok(self.0.0.get(key).cloned())
    }
}

fn by<S: Scheduler>(scheduler: &S, input: &BlockInput, limits: Limits, pre: &Pre) -> ActorBlock {
    deliver(scheduler, input, limits, true, pre, &(), &Control::default()).unwrap()
}

fn summary(block: &ActorBlock) -> String {
    let ActorBlock { ends, effects, partial, changes, burnt, rounds, messages, waiting, gas_used, .. } =
        block;
    format!("{ends:?}{effects:?}{partial:?}{changes:?}{:?}", (burnt, rounds, messages, waiting, gas_used))
}

fn check(seed: u64, pools: &[Arc<Pool>]) -> (usize, bool) {
    let mut rng = Rng(seed);
    let specs = generate::SPECS.iter().filter(|spec| !spec.is_enabled_in(SpecId::AMSTERDAM)).count();
    let spec = generate::SPECS[rng.below(specs as u64) as usize];
    let world = generate::world(&mut rng, spec);
    let txs = (0..1 + rng.below(12)).map(|_| generate::transaction(&mut rng, spec, &world)).collect();
    let input = block(spec, txs);
    let limits = match rng.below(4) {
        0 => Limits { depth: rng.below(4) as usize, messages: rng.below(6) as u32, ..Limits::default() },
        1 => Limits { copied: rng.below(2000), ..Limits::default() },
        _ => Limits::default(),
    };
    let pre = Pre(world);
    let serial = by(&Serial::new(), &input, limits, &pre);
    assert_eq!(serial.waiting, 0, "frames are left; repeat with BRAID_SEED={seed}");
    let (mut before, mut after) = (serial.issued, serial.burnt);
    for (key, value) in &serial.changes {
        if let EvmKey::Account(address) = key {
            before += pre.0.account(*address).balance;
            if let Some(EvmValue::Account(account)) = value {
                after += account.balance;
            }
        }
    }
    assert_eq!(before, after, "ether; repeat with BRAID_SEED={seed}");
    let expected = summary(&serial);
    for pool in pools {
        for done in [
            by(&BlockStm::new(pool.clone()).chaos(seed), &input, limits, &pre),
            by(&Occ::new(pool.clone()).chaos(seed), &input, limits, &pre),
            by(&Graph::new(pool.clone(), Policy::Fifo).chaos(seed), &input, limits, &pre),
        ] {
            let threads = pool.threads();
            assert_eq!(summary(&done), expected, "{threads} threads; repeat with BRAID_SEED={seed}");
        }
    }
    (serial.messages as usize, serial.partial.contains(&true))
}

#[test]
fn random_blocks() {
    let pools = [1, 2, 8].map(|threads| Arc::new(Pool::new(threads)));
    let first = std::env::var("BRAID_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    let rounds = if std::env::var_os("BRAID_LONG").is_some() { 5000 } else { 400 };
    let (mut messages, mut partial) = (0, 0);
    for seed in (first..).take(rounds) {
        let (sent, failed) = check(seed, &pools);
        messages += sent;
        partial += usize::from(failed);
    }
    eprintln!("{rounds} blocks, {messages} messages, {partial} blocks with partial failures");
    assert!(rounds < 10 || (messages > 4 * rounds && partial > 0), "the blocks do too little");
}
