//! Blocks: messages before the transactions, the transactions, and messages after all is quiet.

use crate::{
    effects::TxEffects,
    key::{ActorKey, ActorValue},
    message::{Body, Message},
    rules::Limits,
    vm::{ActorError, ActorVm, Delivered, End},
};
use alloy_eips::{
    eip2935::HISTORY_STORAGE_ADDRESS, eip4788::BEACON_ROOTS_ADDRESS,
    eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS,
};
use alloy_primitives::{Address, Bytes, Log, U256};
use braid_core::{
    Block, Control, Effects, Probe, Reader, Scheduler, Sink, State, Stats, StoreError, TxIndex,
};
use braid_evm::{BlockInput, EvmChanges, EvmKey, EvmValue, ExecutedBlock, SYSTEM_CALL_GAS, Status, TxResult};
use braid_sched::{DeliveryError, Rounds, Serial};
use revm::primitives::hardfork::SpecId;
use std::collections::BTreeMap;

/// A block, delivered.
#[derive(Debug)]
pub struct ActorBlock {
    /// How the transactions ended, in block order.
    pub ends: Vec<End>,
    /// Whether a frame of the transaction failed that had waited for an answer, so that its earlier steps stay.
    pub partial: Vec<bool>,
    /// What each transaction changed, if that was asked for.
    pub effects: Vec<TxEffects>,
    /// Merged changes of Ethereum's state.
    pub changes: EvmChanges,
    /// Gas that the transactions were charged.
    pub gas_used: u64,
    /// Ether that is nobody's any more: base fees, and the blobs'.
    pub burnt: U256,
    /// Ether that came from outside: withdrawals and rewards.
    pub issued: U256,
    /// Rounds that it took.
    pub rounds: u32,
    /// Messages that were delivered, the transactions included.
    pub messages: u32,
    /// Frames that wait for an answer: none.
    pub waiting: usize,
    /// What it cost.
    pub stats: Stats,
}

/// Why a block is not delivered.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ActorBlockError {
    /// Rules of a fork that actors do not know.
    #[error("{0:?} is not a fork of actors")]
    Fork(SpecId),
    /// The delivery was given up.
    #[error(transparent)]
    Delivery(#[from] DeliveryError<ActorError>),
}

impl ActorBlock {
    /// The common form, reduced to what really changed from `pre`. A transaction that was not executed is one that
    /// halted and used no gas; there are no requests.
    ///
    /// # Errors
    /// If `pre` cannot be read.
    pub fn into_block<S: State<EvmKey, EvmValue>>(self, pre: &S) -> Result<ExecutedBlock, StoreError> {
        let results = self.ends.into_iter().map(|end| match end {
            End::Executed(result) => result,
            End::NotExecuted(_) => nothing(),
        });
        let mut block = ExecutedBlock {
            results: results.collect(),
            gas_used: self.gas_used,
            stats: self.stats,
            ..ExecutedBlock::default()
        };
        block.enter(&self.changes, pre)?;
        block.minimize(pre)?;
        Ok(block)
    }
}

fn nothing() -> TxResult {
    TxResult { status: Status::Halt, gas_used: 0, logs: Vec::new(), output: Bytes::new(), created: None }
}

/// Calls of the protocol before the first transaction, in order.
pub(crate) fn calls_before(input: &BlockInput) -> impl Iterator<Item = (Address, Bytes)> {
    let hash = input.rites.parent_hash.map(|hash| (HISTORY_STORAGE_ADDRESS, hash.0.into()));
    let root = input.rites.parent_beacon_root.map(|root| (BEACON_ROOTS_ADDRESS, root.0.into()));
    hash.into_iter().chain(root)
}

/// Delivers a block's messages on the state before it, under any schedule of each round. The probe is told of messages
/// by their numbers over all rounds, as in [`mail`].
///
/// # Errors
/// If the state cannot answer, or the delivery is given up. Never because of what a transaction does.
pub fn deliver<C, S, P>(
    scheduler: &C,
    input: &BlockInput,
    limits: Limits,
    with_effects: bool,
    state: &S,
    probe: &P,
    control: &Control<'_>,
) -> Result<ActorBlock, ActorBlockError>
where
    C: Scheduler,
    S: State<EvmKey, EvmValue>,
    P: Probe<ActorKey>,
{
    deliver_into(scheduler, input, limits, &mut Collect::new(input, with_effects), (state, probe), control)
}

/// A message that was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mail {
    /// Its receiver.
    pub to: Address,
    /// The number of the message that it was sent in answer to, or by; `None` for those that a block begins with, and
    /// for the first of those that follow when all else is quiet.
    pub from: Option<TxIndex>,
    /// Its round, counted over the whole block.
    pub round: u32,
}

/// The messages of a block by their numbers: found by delivering them one by one. The same whatever the schedule.
///
/// # Errors
/// As [`deliver`].
pub fn mail<S: State<EvmKey, EvmValue>>(
    input: &BlockInput,
    limits: Limits,
    state: &S,
    control: &Control<'_>,
) -> Result<Vec<Mail>, ActorBlockError> {
    let mut sink = Collect { mail: Some(Vec::new()), ..Collect::new(input, false) };
    deliver_into(&Serial::new(), input, limits, &mut sink, (state, &()), control)?;
    Ok(sink.mail.unwrap_or_default())
}

/// How many messages of a block come before its transactions.
pub fn messages_before(input: &BlockInput) -> u32 {
    let drained = input.rites.dao_drain.as_ref().map_or(0, |(from, _)| from.len());
    (calls_before(input).count() + drained) as u32
}

fn deliver_into<C, S, P>(
    scheduler: &C,
    input: &BlockInput,
    limits: Limits,
    sink: &mut Collect,
    (state, probe): (&S, &P),
    control: &Control<'_>,
) -> Result<ActorBlock, ActorBlockError>
where
    C: Scheduler,
    S: State<EvmKey, EvmValue>,
    P: Probe<ActorKey>,
{
    if input.spec.is_enabled_in(SpecId::AMSTERDAM) {
        return Err(ActorBlockError::Fork(input.spec));
    }
    let mut vm = ActorVm::new(input, limits);
    if !sink.effects.is_empty() {
        vm = vm.with_changes();
    }
    // An answer for each message, a transaction's first and last, and what its last sends.
    let rounds = Rounds::new(scheduler).rounds(limits.messages.saturating_mul(2).saturating_add(8));
    let mut layers = Layered { base: state, over: BTreeMap::new() };
    let (mut order, mut stats) = (Vec::new(), Stats::default());
    let (mut taken, mut messages) = (0, 0);
    let (after, issued) = after(&vm, input);
    for first in [before(&vm, input), after] {
        let block = Block::new(&vm, &first, &layers);
        sink.begin(&first);
        let done = rounds.clone().messages(u32::MAX - 1 - messages).numbered_from(messages);
        let done = done.run(&block, sink, probe, control)?;
        for (key, value) in done.changes {
            if layers.over.insert(key, value).is_none() {
                order.push(key);
            }
        }
        taken += done.rounds;
        messages += done.messages;
        for (sum, part) in [
            (&mut stats.executions, done.stats.executions),
            (&mut stats.retries, done.stats.retries),
            (&mut stats.waits, done.stats.waits),
            (&mut stats.validations, done.stats.validations),
            (&mut stats.fallbacks, done.stats.fallbacks),
        ] {
            *sum += part;
        }
    }
    let (changes, waiting) = ethereum(order, layers.over);
    let ends = std::mem::take(&mut sink.ends);
    let gas_used =
        ends.iter().map(|end| if let End::Executed(result) = end { result.gas_used } else { 0 }).sum();
    Ok(ActorBlock {
        ends,
        partial: std::mem::take(&mut sink.partial),
        effects: std::mem::take(&mut sink.effects),
        changes,
        gas_used,
        burnt: sink.burnt,
        issued,
        rounds: taken,
        messages,
        waiting,
        stats,
    })
}

/// The messages of the first round: what the protocol does first, and the transactions.
fn before(vm: &ActorVm<'_>, input: &BlockInput) -> Vec<Message> {
    let txs = input.txs.len() as u32;
    let calls = calls_before(input).zip(txs..);
    let mut first: Vec<Message> =
        calls.map(|((to, data), origin)| vm.system_call(origin, to, data, SYSTEM_CALL_GAS)).collect();
    if let Some((from, to)) = &input.rites.dao_drain {
        first.extend(from.iter().map(|from| Message::new(PROTOCOL, *from, Body::Drain(*to))));
    }
    first.extend((0..txs).map(|tx| vm.transaction(tx)));
    first
}

/// The messages after all else is quiet, and the ether in them.
fn after(vm: &ActorVm<'_>, input: &BlockInput) -> (Vec<Message>, U256) {
    let Some(after) = &input.rites.after else { return (Vec::new(), U256::ZERO) };
    let queues = [WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS];
    let queues = queues.into_iter().filter(|_| after.requests);
    let calls = queues.zip(input.txs.len() as u32 + 2..);
    let mut last: Vec<Message> =
        calls.map(|(to, origin)| vm.system_call(origin, to, Bytes::new(), SYSTEM_CALL_GAS)).collect();
    let credits = after.withdrawals.iter().chain(&after.rewards).filter(|(_, wei)| *wei > 0);
    last.extend(credits.map(|(to, wei)| Message::new(PROTOCOL, *to, Body::Credit(U256::from(*wei)))));
    let issued = last.iter().map(Message::value).sum();
    (last, issued)
}

/// Where ether comes from that no transaction sends.
const PROTOCOL: u32 = u32::MAX;

/// The changes of Ethereum's state, and how many frames are left.
fn ethereum(order: Vec<ActorKey>, mut over: BTreeMap<ActorKey, Option<ActorValue>>) -> (EvmChanges, usize) {
    let (mut changes, mut waiting) = (Vec::new(), 0);
    for key in order {
        let value = over.remove(&key).flatten();
        match (key, value) {
            (ActorKey::State(key), Some(ActorValue::State(value))) => changes.push((key, Some(value))),
            (ActorKey::State(key), _) => changes.push((key, None)),
            (ActorKey::Frame(..), Some(_)) => waiting += 1,
            _ => {}
        }
    }
    (changes, waiting)
}

/// Takes delivered messages in order.
struct Collect {
    ends: Vec<End>,
    effects: Vec<TxEffects>,
    logs: Vec<Vec<Log>>,
    partial: Vec<bool>,
    burnt: U256,
    /// The messages so far, if they are asked for.
    mail: Option<Vec<Mail>>,
}

impl Collect {
    fn new(input: &BlockInput, with_effects: bool) -> Self {
        let txs = input.txs.len();
        Collect {
            ends: vec![End::Executed(nothing()); txs],
            effects: vec![TxEffects::default(); if with_effects { txs } else { 0 }],
            logs: vec![Vec::new(); txs],
            partial: vec![false; txs],
            burnt: U256::ZERO,
            mail: None,
        }
    }

    /// A delivery begins with these.
    fn begin(&mut self, first: &[Message]) {
        if let Some(mail) = &mut self.mail {
            let round = mail.last().map_or(0, |last| last.round + 1);
            mail.extend(first.iter().map(|message| Mail { to: message.to, from: None, round }));
        }
    }
}

impl Sink<ActorVm<'_>> for Collect {
    fn commit(&mut self, index: TxIndex, effects: &mut Effects<ActorVm<'_>>) {
        if let Some(mail) = &mut self.mail {
            let round = mail[index as usize].round + 1;
            let sent = effects.spawn.iter();
            mail.extend(sent.map(|message| Mail { to: message.to, from: Some(index), round }));
        }
        let Some(Delivered { origin, receiver, logs, end, burnt, partial, credit, change }) =
            effects.output.take()
        else {
            unreachable!("a delivered message has an output")
        };
        self.burnt += burnt;
        let tx = origin as usize;
        let Some(all) = self.logs.get_mut(tx) else { return };
        all.extend(logs);
        self.partial[tx] |= partial;
        if let Some(effects) = self.effects.get_mut(tx) {
            match change {
                Some(change) => effects.add(receiver, &change),
                None if !credit.is_zero() => effects.credit(receiver, credit),
                None => {}
            }
        }
        if let Some(end) = end {
            self.ends[tx] = match *end {
                End::Executed(result) => End::Executed(TxResult { logs: std::mem::take(all), ..result }),
                refused => refused,
            };
        }
    }
}

/// Ethereum's state as that of actors, with what was delivered before.
struct Layered<'a, S> {
    base: &'a S,
    over: BTreeMap<ActorKey, Option<ActorValue>>,
}

struct LayeredReader<'a, R> {
    base: R,
    over: &'a BTreeMap<ActorKey, Option<ActorValue>>,
}

impl<S: State<EvmKey, EvmValue>> State<ActorKey, ActorValue> for Layered<'_, S> {
    type Reader<'b>
        = LayeredReader<'b, S::Reader<'b>>
    where
        Self: 'b;

    fn reader(&self) -> Result<Self::Reader<'_>, StoreError> {
        Ok(LayeredReader { base: self.base.reader()?, over: &self.over })
    }
}

impl<R: Reader<EvmKey, EvmValue>> Reader<ActorKey, ActorValue> for LayeredReader<'_, R> {
    fn get(&mut self, key: &ActorKey) -> Result<Option<ActorValue>, StoreError> {
        match (self.over.get(key), key) {
            (Some(value), _) => Ok(value.clone()),
            (None, ActorKey::State(key)) => Ok(self.base.get(key)?.map(ActorValue::State)),
            (None, _) => Ok(None),
        }
    }
}
