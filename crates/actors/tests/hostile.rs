//! Blocks that ask for as many messages, and as much memory, as they can: both stay within what the limits and the gas
//! allow, counted in messages, executions and bytes.

mod support;

use alloy_primitives::{Address, Bytes};
use braid_actors::{ActorBlock, ActorKey, ActorValue, Limits};
use braid_core::{Block, BlockError, Control, Outcome, Probe, Scheduler, Sink, State, Vm};
use braid_sched::{Graph, Policy, Pool, Serial};
use revm::primitives::hardfork::SpecId;
use std::{
    any::Any,
    collections::BTreeMap,
    sync::{Arc, Mutex},
};
use support::{Asm, World, account, asm, op, same};

/// Transactions of a block, one for each sender, and gas of each: the gas of a large block of mainnet.
const TXS: u8 = 9;
const GAS: u64 = 4_000_000;

/// What is suspended after each round.
#[derive(Default)]
struct Held {
    frames: BTreeMap<ActorKey, u64>,
    most_bytes: u64,
    most_frames: usize,
}

/// Looks at what each round leaves suspended.
struct Watching<S> {
    inner: S,
    held: Mutex<Held>,
}

impl<S: Scheduler> Scheduler for Watching<S> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn run<M, St, K, P>(
        &self,
        block: &Block<'_, M, St>,
        sink: &mut K,
        probe: &P,
        control: &Control<'_>,
    ) -> Result<Outcome<M>, BlockError<M::Error>>
    where
        M: Vm,
        St: State<M::Key, M::Value>,
        K: Sink<M>,
        P: Probe<M::Key>,
    {
        let done = self.inner.run(block, sink, probe, control)?;
        let mut held = self.held.lock().unwrap();
        for (key, value) in &done.changes {
            let Some(key) = (key as &dyn Any).downcast_ref::<ActorKey>() else { continue };
            if !matches!(key, ActorKey::Frame(..)) {
                continue;
            }
            let value = value.as_ref().and_then(|value| (value as &dyn Any).downcast_ref::<ActorValue>());
            match value {
                Some(ActorValue::Frame(parked)) => held.frames.insert(*key, parked.bytes()),
                _ => held.frames.remove(key),
            };
        }
        let bytes = held.frames.values().sum();
        held.most_bytes = held.most_bytes.max(bytes);
        held.most_frames = held.most_frames.max(held.frames.len());
        Ok(done)
    }
}

/// A block in which each sender calls `target`, with this much data of zeros.
fn block_of(contracts: &[(Address, Asm)], target: Address, data: usize) -> World {
    let mut world = World::new(SpecId::OSAKA);
    for (address, code) in contracts {
        world.contract(*address, code.clone(), 1_000_000);
    }
    for sender in 1..=TXS {
        world.call(sender, target, 0).gas_limit = GAS;
        world.input.txs.last_mut().unwrap().data = Bytes::from(vec![0; data]);
    }
    world
}

/// Delivers it one by one and by queues, and holds what it took against the limits.
fn held(world: &World, what: &str) -> (ActorBlock, Held) {
    let watching = Watching { inner: Serial::new(), held: Mutex::default() };
    let block = world.by(&watching);
    let held = watching.held.into_inner().unwrap();
    world.conserves(&block);
    assert!(held.frames.is_empty(), "{what}: frames are left");
    let each = u64::from(Limits::default().messages);
    // Start, the first call, its answer, the fee; and for what is counted a message and its answer.
    let most = u64::from(TXS) * (2 * each + 4);
    assert!(u64::from(block.messages) <= most, "{what}: {} messages", block.messages);
    assert!(u64::from(block.rounds) <= 2 * each + 8, "{what}: {} rounds", block.rounds);
    assert_eq!(block.stats.executions, u64::from(block.messages), "{what}");
    // A call takes a hundred gas at least; a word of memory three, one of the stack two.
    let gas = u64::from(TXS) * GAS;
    assert!(u64::from(block.messages) <= 2 * gas / 100 + 8 * u64::from(TXS), "{what}: {}", block.messages);
    assert!(held.most_bytes <= 16 * gas, "{what}: {} bytes for {gas} gas", held.most_bytes);
    assert!(held.most_bytes <= u64::from(TXS) * Limits::default().copied, "{what}: {}", held.most_bytes);
    assert!(held.most_frames <= usize::from(TXS) * (Limits::default().depth + 2), "{what}");
    let queues = world.by(&Graph::new(Arc::new(Pool::new(2)), Policy::Fifo));
    same(&block, &queues, what);
    assert!(queues.stats.executions <= 2 * u64::from(block.messages), "{what}: executed twice at most");
    (block, held)
}

/// Calls `to` for ever.
fn for_ever(to: Address) -> Asm {
    asm().op(&[op::JUMPDEST]).call(to, 0).op(&[op::POP]).push(0).op(&[op::JUMP])
}

#[test]
fn messages_without_end() {
    let (a, b) = (account(0xa0), account(0xb0));
    // To an account without code: nothing is cheaper.
    let world = block_of(&[(a, for_ever(b))], a, 0);
    let (block, nobody) = held(&world, "to nobody");
    assert_eq!(block.rounds, 2 * Limits::default().messages + 4, "the limit is what ends it");
    assert!(nobody.most_bytes < 100 * 1024);
    // Two that call each other: a frame more with each message, until the depth ends it.
    let pair = [(a, for_ever(b)), (b, for_ever(a))];
    let (_, pair) = held(&block_of(&pair, a, 0), "to each other");
    assert!(pair.most_frames > 100, "{} frames at a time", pair.most_frames);
}

#[test]
fn memory_without_end() {
    let a = account(0xa0);
    let with = |last: u128| asm().push(1).push(last).op(&[op::MSTORE]);
    let mut most = 0;
    for size in [2 << 10, 32 << 10, 256 << 10] {
        // Frames of that size, each of which waits for the next.
        let world = block_of(&[(a, with(size - 32).call(a, 0).op(&[op::POP]))], a, 0);
        let (_, nested) = held(&world, &format!("{size} bytes nested"));
        // One frame of that size, suspended again and again.
        let again = with(size - 32).op(&[op::JUMPDEST]).call(account(0xb0), 0).op(&[op::POP]);
        let at = with(size - 32).0.len() as u128;
        let (block, one) =
            held(&block_of(&[(a, again.push(at).op(&[op::JUMP]))], a, 0), &format!("{size} bytes"));
        let copies = Limits::default().copied / size as u64 + 1;
        assert!(u64::from(block.rounds) <= 2 * copies.min(10_000) + 8, "{size}: {} rounds", block.rounds);
        most = most.max(nested.most_bytes).max(one.most_bytes);
    }
    assert!(most > 10 << 20, "{most} bytes: nothing was asked for");
}

#[test]
fn data_without_end() {
    let (a, b) = (account(0xa0), account(0xb0));
    // Passes all that it was sent on to itself, and to one that passes it back.
    let pass = |to: Address| {
        asm()
            .op(&[0x36]) // CALLDATASIZE
            .push(0)
            .push(0)
            .op(&[0x37]) // CALLDATACOPY
            .push(0)
            .push(0)
            .op(&[0x36])
            .push(0)
            .push(0)
            .address(to)
            .op(&[op::GAS, op::CALL, op::POP])
    };
    let world = block_of(&[(a, pass(b)), (b, pass(a))], a, 20_000);
    let (block, _) = held(&world, "data");
    assert!(block.messages > 100);
}
