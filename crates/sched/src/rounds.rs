//! Messages: transactions that spawn transactions, delivered until none is left.
//!
//! 1. A round is a block of messages, run by any scheduler, on the state that the rounds before have left. The first
//!    are the transactions of the block.
//! 2. What the messages of a round spawn is the next round, in the order of their parents, and of one parent in the
//!    order in which it spawned them. So messages are numbered once, over all rounds, in the order of (parent,
//!    sequence), and that is the order of delivery.
//! 3. Of two messages to one receiver the one that was sent first is delivered first: between receivers there
//!    is the order of numbers too, so it holds whatever the receivers are. It is the order of one queue
//!    from which messages are taken one by one, whose children go to its end.
//! 4. A scheduler gives the result of running a round one by one, so the result does not depend on threads.
//! 5. Rounds and messages are limited. What is delivered when a limit is met has been delivered.

use braid_core::{
    Block, BlockError, Changes, Control, Effects, Event, Hint, Key, Outcome, Probe, Reader, Scheduler, Sink,
    State, Stats, StoreError, TxIndex, Value, Vm,
};
use std::{collections::BTreeMap, ops::Range, task::Poll, time::Duration};

/// Rounds, unless said otherwise.
const ROUNDS: u32 = 10_000;
/// Messages of all rounds, unless said otherwise.
const MESSAGES: u32 = 10_000_000;

/// Delivers messages in rounds, each run by `S`.
#[derive(Clone, Debug)]
pub struct Rounds<S> {
    inner: S,
    rounds: u32,
    messages: u32,
    first: TxIndex,
}

/// What a delivery leaves behind, besides what its sink received.
#[derive(Debug)]
pub struct Delivery<M: Vm> {
    /// Each changed key once with its final value, ordered by the first message that wrote it.
    pub changes: Changes<M>,
    /// Rounds that it took.
    pub rounds: u32,
    /// Messages that were delivered, the first ones included.
    pub messages: u32,
    /// What all rounds cost.
    pub stats: Stats,
}

/// Why messages are left.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DeliveryError<E> {
    /// A message failed, or the delivery was given up there. Messages are numbered over all rounds.
    #[error(transparent)]
    Message(#[from] BlockError<E>),
    /// Messages are left after as many rounds as are allowed.
    #[error("{left} messages are left after {limit} rounds")]
    Rounds {
        /// How many are left.
        left: usize,
        /// How many rounds are allowed.
        limit: u32,
    },
    /// The next round would make them more than are allowed.
    #[error("{sent} messages, {limit} are allowed")]
    Messages {
        /// How many were sent, those included that were not delivered.
        sent: u64,
        /// How many are allowed.
        limit: u32,
    },
}

impl<S: Scheduler> Rounds<S> {
    /// Each round is run by `inner`. At most 10,000 rounds and 10,000,000 messages, unless set.
    pub fn new(inner: S) -> Self {
        Rounds { inner, rounds: ROUNDS, messages: MESSAGES, first: 0 }
    }

    /// Allows at most so many rounds.
    #[must_use]
    pub fn rounds(mut self, most: u32) -> Self {
        self.rounds = most;
        self
    }

    /// Allows at most so many messages.
    #[must_use]
    pub fn messages(mut self, most: u32) -> Self {
        self.messages = most;
        self
    }

    /// The number of the first message, as sink, probe and errors are told it: for a delivery that follows another one.
    /// No number may go beyond `u32::MAX`.
    #[must_use]
    pub fn numbered_from(mut self, first: TxIndex) -> Self {
        self.first = first;
        self
    }

    /// Delivers the transactions of `block`, and what they spawn, until nothing is left. The hints of the block are
    /// about the first ones. Sink and probe get numbers over all rounds.
    ///
    /// # Errors
    /// If a message fails or a limit is met.
    pub fn run<M, St, K, P>(
        &self,
        block: &Block<'_, M, St>,
        sink: &mut K,
        probe: &P,
        control: &Control<'_>,
    ) -> Result<Delivery<M>, DeliveryError<M::Error>>
    where
        M: Vm,
        St: State<M::Key, M::Value>,
        K: Sink<M>,
        P: Probe<M::Key>,
    {
        let mut all = Delivery { changes: Vec::new(), rounds: 0, messages: 0, stats: Stats::default() };
        let (mut over, mut order) = (BTreeMap::new(), Vec::new());
        let mut inbox: Option<Vec<M::Tx>> = None;
        loop {
            let (messages, hints) =
                inbox.as_ref().map_or((block.txs, block.hints), |inbox| (&inbox[..], &[]));
            if messages.is_empty() {
                break;
            }
            let left = messages.len();
            if all.rounds == self.rounds {
                return Err(DeliveryError::Rounds { left, limit: self.rounds });
            }
            let sent = u64::from(all.messages) + left as u64;
            let limit = self.messages;
            let total = u32::try_from(sent).ok().filter(|sent| *sent <= limit);
            let Some(total) = total else { return Err(DeliveryError::Messages { sent, limit }) };
            let first = self.first.saturating_add(all.messages);
            let round = self.round(block, messages, hints, &over, (&mut *sink, probe, control, first))?;
            for (key, value) in round.changes {
                if over.insert(key, value).is_none() {
                    order.push(key);
                }
            }
            add(&mut all.stats, &round.stats);
            (all.rounds, all.messages, inbox) = (all.rounds + 1, total, Some(round.spawned));
        }
        all.changes = order.into_iter().map(|key| (key, over.remove(&key).flatten())).collect();
        Ok(all)
    }

    fn round<M, St, K, P>(
        &self,
        block: &Block<'_, M, St>,
        messages: &[M::Tx],
        hints: &[Hint<M::Key>],
        delta: &BTreeMap<M::Key, Option<M::Value>>,
        (sink, probe, control, first): (&mut K, &P, &Control<'_>, TxIndex),
    ) -> Result<Outcome<M>, BlockError<M::Error>>
    where
        M: Vm,
        St: State<M::Key, M::Value>,
        K: Sink<M>,
        P: Probe<M::Key>,
    {
        let state = Over { base: block.state, delta };
        let round = Block::new(block.vm, messages, &state).with_hints(hints);
        let (mut sink, probe) = (From { inner: sink, first }, From { inner: probe, first });
        let ended = self.inner.run(&round, &mut sink, &probe, control);
        ended.map_err(|error| BlockError { tx: error.tx + first, ..error })
    }
}

fn add(total: &mut Stats, round: &Stats) {
    total.executions += round.executions;
    total.retries += round.retries;
    total.waits += round.waits;
    total.validations += round.validations;
    total.fallbacks += round.fallbacks;
}

/// A sink or a probe to which the messages of a round are numbered from `first`.
struct From<T> {
    inner: T,
    first: TxIndex,
}

impl<M: Vm, K: Sink<M>> Sink<M> for From<&mut K> {
    fn admit(&mut self, index: TxIndex) -> Result<(), M::Error> {
        self.inner.admit(self.first + index)
    }

    fn commit(&mut self, index: TxIndex, effects: &mut Effects<M>) {
        self.inner.commit(self.first + index, effects);
    }
}

impl<K, P: Probe<K>> Probe<K> for From<&P> {
    const ON: bool = P::ON;

    fn event(&self, worker: u16, event: Event<'_, K>) {
        let at = |tx: TxIndex| self.first + tx;
        self.inner.event(
            worker,
            match event {
                Event::Start { tx, incarnation } => Event::Start { tx: at(tx), incarnation },
                Event::Wait { tx, key, on } => Event::Wait { tx: at(tx), key, on: at(on) },
                Event::Abort { tx, key, by } => Event::Abort { tx: at(tx), key, by: by.map(at) },
                Event::Finish { tx, incarnation } => Event::Finish { tx: at(tx), incarnation },
                Event::Commit { tx } => Event::Commit { tx: at(tx) },
            },
        );
    }
}

/// A state with what earlier rounds changed.
struct Over<'a, K, V, S> {
    base: &'a S,
    delta: &'a BTreeMap<K, Option<V>>,
}

struct OverReader<'a, K, V, R> {
    base: R,
    delta: &'a BTreeMap<K, Option<V>>,
}

impl<K: Key, V: Value, S: State<K, V>> State<K, V> for Over<'_, K, V, S> {
    type Reader<'b>
        = OverReader<'b, K, V, S::Reader<'b>>
    where
        Self: 'b;

    fn reader(&self) -> Result<Self::Reader<'_>, StoreError> {
        Ok(OverReader { base: self.base.reader()?, delta: self.delta })
    }

    fn overlap(&self) -> u16 {
        self.base.overlap()
    }
}

impl<K: Key, V: Value, R: Reader<K, V>> Reader<K, V> for OverReader<'_, K, V, R> {
    fn get(&mut self, key: &K) -> Result<Option<V>, StoreError> {
        self.delta.get(key).map_or_else(|| self.base.get(key), |value| Ok(value.clone()))
    }

    fn scan(&mut self, range: Range<K>) -> Result<Vec<(K, V)>, StoreError> {
        if range.start >= range.end {
            return Ok(Vec::new());
        }
        let below = self.base.scan(range.clone())?;
        let mut found: BTreeMap<K, V> = below.into_iter().collect();
        for (key, value) in self.delta.range(range) {
            match value {
                Some(value) => _ = found.insert(*key, value.clone()),
                None => _ = found.remove(key),
            }
        }
        Ok(found.into_iter().collect())
    }

    fn prefetch(&mut self, keys: &[K]) {
        self.base.prefetch(keys);
    }

    fn poll(&mut self, key: &K, read: u32) -> Poll<Result<Option<V>, StoreError>> {
        match self.delta.get(key) {
            Some(value) => Poll::Ready(Ok(value.clone())),
            None => self.base.poll(key, read),
        }
    }

    fn wait(&mut self, timeout: Duration, ready: &mut Vec<u32>) {
        self.base.wait(timeout, ready);
    }
}
