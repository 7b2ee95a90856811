//! One transaction after the other: the oracle, and the time to beat.

use crate::{
    arena::Arenas,
    attempt::{Verdict, execute, guarded},
    brake::Brake,
    sync::atomic::AtomicBool,
};
use braid_core::{
    Block, BlockError, Cause, Control, Effects, Event, Halt, Key, Outcome, Probe, Read, ReadId, Reader,
    Scheduler, Sink, State, Stats, StoreError, TxIndex, Value, View, Vm, Write,
};
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::{collections::BTreeMap, hash::BuildHasher, ops::Range};

/// Entries kept for later blocks.
const MAX_KEPT: usize = 1 << 20;

/// Runs transactions one by one on the calling thread, without locks and without recording.
#[derive(Debug, Default)]
pub struct Serial {
    arenas: Arenas,
}

impl Serial {
    /// The oracle.
    pub fn new() -> Self {
        Serial::default()
    }
}

#[derive(Debug)]
struct Entry<K, V> {
    key: K,
    value: Option<V>,
    /// The last transaction that changed it, plus one; zero if none has.
    stamp: u32,
}

/// What became of a location.
pub(crate) struct Change<K, V> {
    /// How many locations were touched before it.
    pub(crate) at: u32,
    pub(crate) key: K,
    pub(crate) value: Option<V>,
    /// The last transaction that changed it.
    pub(crate) by: TxIndex,
}

/// What is known of the state so far: each key once, in order of first touch.
#[derive(Debug)]
pub(crate) struct Overlay<K, V> {
    table: HashTable<u32>,
    entries: Vec<Entry<K, V>>,
    changed: Vec<u32>,
    ordered: Option<BTreeMap<K, u32>>,
    hasher: RandomState,
}

impl<K: Key, V: Value> Overlay<K, V> {
    pub(crate) fn new(ranges: bool) -> Self {
        Overlay {
            table: HashTable::new(),
            entries: Vec::new(),
            changed: Vec::new(),
            ordered: ranges.then(BTreeMap::new),
            hasher: RandomState::default(),
        }
    }

    fn find(&self, hash: u64, key: &K) -> Option<u32> {
        self.table.find(hash, |at| self.entries[*at as usize].key == *key).copied()
    }

    fn insert(&mut self, hash: u64, key: &K, value: Option<V>) -> u32 {
        let at = u32::try_from(self.entries.len()).expect("fewer than 2^32 locations fit into memory");
        self.entries.push(Entry { key: *key, value, stamp: 0 });
        let (entries, hasher) = (&self.entries, &self.hasher);
        self.table.insert_unique(hash, at, |at| hasher.hash_one(entries[*at as usize].key));
        if let Some(ordered) = &mut self.ordered {
            ordered.insert(*key, at);
        }
        at
    }

    /// The entry of `key`, asked from the state on first touch.
    fn load<R: Reader<K, V>>(&mut self, key: &K, reader: &mut R) -> Result<u32, StoreError> {
        let hash = self.hasher.hash_one(key);
        match self.find(hash, key) {
            Some(at) => Ok(at),
            None => {
                let value = reader.get(key)?;
                Ok(self.insert(hash, key, value))
            }
        }
    }

    fn apply<R: Reader<K, V>>(
        &mut self,
        key: &K,
        write: &Write<V>,
        tx: TxIndex,
        reader: &mut R,
    ) -> Result<(), StoreError> {
        let at = if let Write::Add(_) = write {
            self.load(key, reader)?
        } else {
            let hash = self.hasher.hash_one(key);
            self.find(hash, key).unwrap_or_else(|| self.insert(hash, key, None))
        };
        let entry = &mut self.entries[at as usize];
        entry.value = match write {
            Write::Put(value) => Some(value.clone()),
            Write::Add(delta) => V::apply(entry.value.take(), delta),
            Write::Delete => None,
        };
        if std::mem::replace(&mut entry.stamp, tx + 1) == 0 {
            self.changed.push(at);
        }
        Ok(())
    }

    fn scan<R: Reader<K, V>>(&mut self, range: Range<K>, reader: &mut R) -> Result<Vec<(K, V)>, StoreError> {
        if range.start >= range.end {
            return Ok(Vec::new());
        }
        for (key, value) in reader.scan(range.clone())? {
            let hash = self.hasher.hash_one(key);
            if self.find(hash, &key).is_none() {
                self.insert(hash, &key, Some(value));
            }
        }
        let entries = &self.entries;
        let present = |(key, at): (&K, &u32)| entries[*at as usize].value.clone().map(|value| (*key, value));
        Ok(self.ordered.iter().flat_map(|ordered| ordered.range(range.clone())).filter_map(present).collect())
    }

    /// Applies the writes of `tx`. A state that fails or panics does so for that transaction.
    pub(crate) fn fold<M, R>(
        &mut self,
        tx: TxIndex,
        effects: &Effects<M>,
        reader: &mut R,
    ) -> Result<(), Cause<M::Error>>
    where
        M: Vm<Key = K, Value = V>,
        R: Reader<K, V>,
    {
        let mut writes = effects.writes.iter();
        let applied = guarded(|| writes.try_for_each(|(key, write)| self.apply(key, write, tx, reader)));
        applied.map_err(Cause::Panicked)?.map_err(Cause::Store)
    }

    /// What was changed, by first change.
    pub(crate) fn drain_changes(&mut self) -> impl Iterator<Item = Change<K, V>> + '_ {
        let entries = &mut self.entries;
        self.changed.drain(..).map(|at| {
            let entry = &mut entries[at as usize];
            Change { at, key: entry.key, value: entry.value.take(), by: entry.stamp - 1 }
        })
    }

    /// Takes in what a location holds that has not been touched yet.
    pub(crate) fn adopt(&mut self, key: &K, value: Option<V>) {
        self.insert(self.hasher.hash_one(key), key, value);
    }

    /// How many locations were changed.
    pub(crate) fn changes(&self) -> usize {
        self.changed.len()
    }

    /// Forgets everything. Memory of more than so many entries is given back.
    pub(crate) fn clear(&mut self, kept: usize) {
        self.changed.clear();
        if self.entries.len() > kept {
            *self = Overlay::new(self.ordered.is_some());
        }
        self.table.clear();
        self.entries.clear();
        if let Some(ordered) = &mut self.ordered {
            ordered.clear();
        }
    }
}

/// What a transaction sees whose predecessors are all on the overlay, or below it. Records nothing.
pub(crate) struct SerialView<'a, K, V, R> {
    overlay: &'a mut Overlay<K, V>,
    reader: &'a mut R,
    brake: Brake<'a>,
    pub(crate) halted: Option<Halt>,
    /// Entries read, to check what the VM says about them.
    #[cfg(debug_assertions)]
    reads: Vec<u32>,
}

impl<'a, K: Key, V: Value, R: Reader<K, V>> SerialView<'a, K, V, R> {
    pub(crate) fn new(overlay: &'a mut Overlay<K, V>, reader: &'a mut R, brake: Brake<'a>) -> Self {
        SerialView {
            overlay,
            reader,
            brake,
            halted: None,
            #[cfg(debug_assertions)]
            reads: Vec::new(),
        }
    }

    fn locate(&mut self, key: &K) -> Result<u32, Halt> {
        self.brake.check()?;
        Ok(self.overlay.load(key, self.reader)?)
    }
}

impl<K: Key, V: Value, R: Reader<K, V>> View<K, V> for SerialView<'_, K, V, R> {
    fn read(&mut self, key: &K) -> Result<Read<V>, Halt> {
        let at = self.locate(key).inspect_err(|halt| self.halted = Some(halt.clone()))?;
        #[cfg(debug_assertions)]
        let id = {
            self.reads.push(at);
            ReadId(self.reads.len() as u32 - 1)
        };
        #[cfg(not(debug_assertions))]
        let id = ReadId(0);
        Ok(Read { id, value: self.overlay.entries[at as usize].value.clone() })
    }

    fn narrow(&mut self, read: ReadId, seen: V::Seen) {
        #[cfg(debug_assertions)]
        {
            let value = &self.overlay.entries[self.reads[read.0 as usize] as usize].value;
            assert!(V::holds(&seen, value.as_ref()), "narrowed to {seen:?}, but read {value:?}");
        }
        let _ = (read, seen);
    }

    fn assume(&mut self, key: &K, _seen: V::Seen) {
        debug_assert!(false, "a final execution checks {key:?} instead of assuming");
    }

    fn is_final(&self) -> bool {
        true
    }

    fn scan(&mut self, range: Range<K>) -> Result<Vec<(K, V)>, Halt> {
        let checked = self.brake.check();
        let scanned = checked.and_then(|()| self.overlay.scan(range, self.reader).map_err(Halt::from));
        scanned.inspect_err(|halt| self.halted = Some(halt.clone()))
    }
}

impl Scheduler for Serial {
    fn name(&self) -> &'static str {
        "serial"
    }

    fn run<M, S, K, P>(
        &self,
        block: &Block<'_, M, S>,
        sink: &mut K,
        probe: &P,
        control: &Control<'_>,
    ) -> Result<Outcome<M>, BlockError<M::Error>>
    where
        M: Vm,
        S: State<M::Key, M::Value>,
        K: Sink<M>,
        P: Probe<M::Key>,
    {
        let mut overlay = self.arenas.take(|| Overlay::<M::Key, M::Value>::new(M::RANGES));
        // The other type parameter of an arena's shape: two VMs may share keys but not ranges.
        if overlay.ordered.is_some() != M::RANGES {
            *overlay = Overlay::new(M::RANGES);
        }
        let result = run_on(block, sink, probe, control, &mut overlay);
        overlay.clear(MAX_KEPT);
        self.arenas.put(overlay);
        result
    }
}

fn run_on<M, S, K, P>(
    block: &Block<'_, M, S>,
    sink: &mut K,
    probe: &P,
    control: &Control<'_>,
    overlay: &mut Overlay<M::Key, M::Value>,
) -> Result<Outcome<M>, BlockError<M::Error>>
where
    M: Vm,
    S: State<M::Key, M::Value>,
    K: Sink<M>,
    P: Probe<M::Key>,
{
    let fail = |tx: TxIndex, cause| BlockError { tx, cause };
    let mut stats = Stats::default();
    let mut spawned = Vec::new();
    if block.txs.is_empty() {
        return Ok(Outcome { changes: Vec::new(), spawned, stats });
    }
    let mut reader = block.state.reader().map_err(|error| fail(0, Cause::Store(error)))?;
    let mut worker = block.vm.worker();
    let mut effects = Effects::<M>::default();
    let stop = AtomicBool::new(false);
    for (tx, at) in block.txs.iter().zip(0..) {
        if let Some(cause) = control.interrupted() {
            return Err(fail(at, cause));
        }
        sink.admit(at).map_err(|error| fail(at, Cause::Invalid(error)))?;
        if P::ON {
            probe.event(0, Event::Start { tx: at, incarnation: 0 });
        }
        effects.clear();
        stats.executions += 1;
        let mut view = SerialView::new(overlay, &mut reader, Brake::new(control, &stop));
        let halted = |view: &mut SerialView<'_, _, _, _>| view.halted.take();
        match execute(block.vm, &mut worker, tx, &mut view, halted, &mut effects) {
            Verdict::Done => {}
            Verdict::Failed(cause) => return Err(fail(at, cause)),
            Verdict::Blocked(_) => unreachable!("a serial view never waits"),
            Verdict::Interrupted => {
                return Err(fail(at, control.interrupted().unwrap_or(Cause::Cancelled)));
            }
        }
        overlay.fold(at, &effects, &mut reader).map_err(|cause| fail(at, cause))?;
        if P::ON {
            probe.event(0, Event::Finish { tx: at, incarnation: 0 });
            probe.event(0, Event::Commit { tx: at });
        }
        spawned.extend(effects.spawn.iter().cloned());
        sink.commit(at, &mut effects);
    }
    let changes = overlay.drain_changes().map(|change| (change.key, change.value)).collect();
    Ok(Outcome { changes, spawned, stats })
}
