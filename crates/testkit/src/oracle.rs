//! The obvious implementation, independent of every scheduler under test.

use braid_core::{
    Block, BlockError, Cause, Control, Effects, Halt, Outcome, Probe, Read, ReadId, Reader, Scheduler, Sink,
    State, Stats, Stop, StoreError, TxIndex, Value, View, Vm, Write,
};
use std::{
    any::Any,
    collections::BTreeMap,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Runs transactions one by one on an ordered map. Slow, and meant to be read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Oracle;

struct OracleView<'a, K, V, R> {
    over: &'a BTreeMap<K, Option<V>>,
    reader: &'a mut R,
    reads: u32,
}

fn now<K: Ord, V: Clone, R: Reader<K, V>>(
    over: &BTreeMap<K, Option<V>>,
    reader: &mut R,
    key: &K,
) -> Result<Option<V>, StoreError> {
    over.get(key).map_or_else(|| reader.get(key), |value| Ok(value.clone()))
}

impl<K: Ord + Copy, V: Value, R: Reader<K, V>> View<K, V> for OracleView<'_, K, V, R> {
    fn read(&mut self, key: &K) -> Result<Read<V>, Halt> {
        self.reads += 1;
        Ok(Read { id: ReadId(self.reads - 1), value: now(self.over, self.reader, key)? })
    }

    fn narrow(&mut self, _read: ReadId, _seen: V::Seen) {}

    fn assume(&mut self, _key: &K, _seen: V::Seen) {
        panic!("assumed with a final view");
    }

    fn is_final(&self) -> bool {
        true
    }

    fn scan(&mut self, range: Range<K>) -> Result<Vec<(K, V)>, Halt> {
        if range.start >= range.end {
            return Ok(Vec::new());
        }
        let mut all: BTreeMap<K, Option<V>> =
            self.reader.scan(range.clone())?.into_iter().map(|(key, value)| (key, Some(value))).collect();
        all.extend(self.over.range(range).map(|(key, value)| (*key, value.clone())));
        Ok(all.into_iter().filter_map(|(key, value)| Some((key, value?))).collect())
    }
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "unknown panic".to_owned())
}

impl Scheduler for Oracle {
    fn name(&self) -> &'static str {
        "oracle"
    }

    fn run<M, S, K, P>(
        &self,
        block: &Block<'_, M, S>,
        sink: &mut K,
        _probe: &P,
        _control: &Control<'_>,
    ) -> Result<Outcome<M>, BlockError<M::Error>>
    where
        M: Vm,
        S: State<M::Key, M::Value>,
        K: Sink<M>,
        P: Probe<M::Key>,
    {
        let mut over = BTreeMap::new();
        let mut order = Vec::new();
        let mut spawned = Vec::new();
        for (tx, at) in block.txs.iter().zip(0..) {
            let effects = step(block, sink, &over, tx, at).map_err(|cause| BlockError { tx: at, cause })?;
            let (mut effects, mut reader) = effects;
            for (key, write) in &effects.writes {
                let base = match write {
                    Write::Add(_) => now(&over, &mut reader, key)
                        .map_err(|error| BlockError { tx: at, cause: Cause::Store(error) })?,
                    _ => None,
                };
                if over.insert(*key, write.onto(base)).is_none() {
                    order.push(*key);
                }
            }
            spawned.extend(effects.spawn.iter().cloned());
            sink.commit(at, &mut effects);
        }
        let changes = order.into_iter().map(|key| (key, over.remove(&key).flatten())).collect();
        Ok(Outcome { changes, spawned, stats: Stats::default() })
    }
}

type Step<'a, M, S> = (Effects<M>, <S as State<<M as Vm>::Key, <M as Vm>::Value>>::Reader<'a>);

fn step<'a, M, S, K>(
    block: &Block<'a, M, S>,
    sink: &mut K,
    over: &BTreeMap<M::Key, Option<M::Value>>,
    tx: &M::Tx,
    at: TxIndex,
) -> Result<Step<'a, M, S>, Cause<M::Error>>
where
    M: Vm,
    S: State<M::Key, M::Value>,
    K: Sink<M>,
{
    let mut reader = block.state.reader().map_err(Cause::Store)?;
    sink.admit(at).map_err(Cause::Invalid)?;
    let mut effects = Effects::default();
    let mut view = OracleView { over, reader: &mut reader, reads: 0 };
    let run = || block.vm.execute(&mut block.vm.worker(), tx, &mut view, &mut effects);
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => Ok((effects, reader)),
        Ok(Err(Stop::Invalid(error))) => Err(Cause::Invalid(error)),
        Ok(Err(Stop::Halt(Halt::Store(error)))) => Err(Cause::Store(error)),
        Ok(Err(Stop::Halt(Halt::Undeclared))) => Err(Cause::Undeclared),
        Ok(Err(Stop::Halt(halt))) => Err(Cause::Panicked(format!("unexpected {halt:?}"))),
        Err(payload) => Err(Cause::Panicked(message(payload.as_ref()))),
    }
}
