//! A machine with all that a real one does to a view: reads, conditional and blind writes, commutative
//! adds, bounds, predictions, objects consumed once, ranges, spawned transactions, invalidity, panics.

use braid_core::{Effects, Read, ReadId, Stop, Value, View, Vm, Write};

/// A number at a location. Absent counts as zero where a number is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Num(pub i64);

/// What was learned from a location.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The value itself, or that there is none.
    Exactly(Option<Num>),
    /// A number of `low..=high`, absent counting as zero.
    Between {
        /// Lowest.
        low: i64,
        /// Highest.
        high: i64,
    },
}

impl Value for Num {
    type Delta = i64;
    type Seen = Seen;

    fn apply(base: Option<Self>, delta: &i64) -> Option<Self> {
        Some(Num(base.map_or(0, |base| base.0).wrapping_add(*delta)))
    }

    fn exactly(value: Option<&Self>) -> Seen {
        Seen::Exactly(value.copied())
    }

    fn holds(seen: &Seen, now: Option<&Self>) -> bool {
        match seen {
            Seen::Exactly(value) => value.as_ref() == now,
            Seen::Between { low, high } => (*low..=*high).contains(&now.map_or(0, |now| now.0)),
        }
    }
}

/// One step of a transaction. Keys marked *relative* move with what was seen so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Mixes the value into what was seen.
    Read(u64),
    /// Reads `key + seen % span`: the location depends on values.
    ReadNear(u64, u64),
    /// Writes a small number made of what was seen.
    Put(u64),
    /// Writes a small number to `key + seen % span`.
    PutNear(u64, u64),
    /// Makes the location absent.
    Delete(u64),
    /// Adds without reading.
    Add(u64, i64),
    /// Takes the amount if that much is there; learns only whether it is.
    Take(u64, i64),
    /// Predicts that at least this is there. If not, it is another transaction that runs.
    Expect(u64, i64),
    /// Uses up an object: invalid if it is not there.
    Consume(u64),
    /// Mixes all present keys and values of `start..end` into what was seen.
    Scan(u64, u64),
    /// Skips that many steps if the value is odd.
    SkipIfOdd(u64, u8),
    /// Invalid if the value, as a number, is a multiple of this.
    InvalidIf(u64, i64),
    /// Panics if the value, as a number, is a multiple of this.
    PanicIf(u64, i64),
    /// Spawns a transaction that adds what was seen to the key.
    Spawn(u64),
    /// Wastes time.
    Work(u16),
}

/// A transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ToyTx {
    /// Its steps.
    pub ops: Vec<Op>,
}

/// What a transaction returns: a digest of everything that it saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToyOutput(pub u64);

/// Why a transaction is invalid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToyError {
    /// The object is not there.
    Consumed(u64),
    /// It asked to be.
    Invalid(u64),
    /// The sink's budget does not admit it.
    Budget,
}

/// The machine. `RANGES` decides whether schedulers have to keep keys in order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Toy<const RANGES: bool>;

/// What one transaction knows of a location.
struct Local {
    key: u64,
    /// The read and its value, if it was read.
    read: Option<(ReadId, Option<Num>)>,
    /// Bounds on the value that was read; `None` once it was used exactly.
    bounds: Option<(i64, i64)>,
    write: Option<Write<Num>>,
}

/// Scratch of one thread.
#[derive(Default)]
pub struct ToyWorker {
    locals: Vec<Local>,
}

struct Machine<'a, 'v> {
    locals: &'a mut Vec<Local>,
    view: &'v mut dyn View<u64, Num>,
    order: Vec<u64>,
    seen: u64,
}

pub(crate) fn mix(seen: u64, value: u64) -> u64 {
    // splitmix64, Steele et al. 2014.
    let mut z = (seen ^ value).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^ (z >> 31)
}

fn number(value: Option<Num>) -> i64 {
    value.map_or(0, |value| value.0)
}

impl Machine<'_, '_> {
    /// Small numbers, so that different histories often leave equal values.
    fn small(&self) -> Num {
        Num((self.seen % 5) as i64)
    }

    fn near(&self, key: u64, span: u64) -> u64 {
        key + self.seen % span.max(1)
    }

    fn local(&mut self, key: u64) -> &mut Local {
        let at = self.locals.iter().position(|local| local.key == key).unwrap_or_else(|| {
            self.locals.push(Local { key, read: None, bounds: Some((i64::MIN, i64::MAX)), write: None });
            self.locals.len() - 1
        });
        &mut self.locals[at]
    }

    /// The value before this transaction.
    fn before(&mut self, key: u64) -> Result<Option<Num>, Stop<ToyError>> {
        if let Some((_, value)) = self.local(key).read {
            return Ok(value);
        }
        let Read { id, value } = self.view.read(&key)?;
        self.local(key).read = Some((id, value));
        Ok(value)
    }

    /// The value now, own writes included; observed exactly.
    fn get(&mut self, key: u64) -> Result<Option<Num>, Stop<ToyError>> {
        match self.local(key).write.clone() {
            Some(Write::Put(value)) => return Ok(Some(value)),
            Some(Write::Delete) => return Ok(None),
            Some(Write::Add(_)) | None => {}
        }
        let before = self.before(key)?;
        let local = self.local(key);
        local.bounds = None;
        Ok(match &local.write {
            Some(Write::Add(delta)) => Num::apply(before, delta),
            _ => before,
        })
    }

    fn set(&mut self, key: u64, write: Write<Num>) {
        let local = self.local(key);
        let merged = match (local.write.take(), write) {
            (Some(Write::Put(value)), Write::Add(delta)) => {
                Num::apply(Some(value), &delta).map_or(Write::Delete, Write::Put)
            }
            (Some(Write::Delete), Write::Add(delta)) => {
                Num::apply(None, &delta).map_or(Write::Delete, Write::Put)
            }
            (Some(Write::Add(first)), Write::Add(delta)) => Write::Add(first.wrapping_add(delta)),
            (_, write) => write,
        };
        local.write = Some(merged);
        if !self.order.contains(&key) {
            self.order.push(key);
        }
    }

    fn look(&mut self, key: u64) -> Result<(), Stop<ToyError>> {
        let value = self.get(key)?;
        self.seen = mix(self.seen, value.map_or(u64::MAX, |value| value.0 as u64));
        Ok(())
    }

    /// Whether at least `bound` was there before this transaction; learns no more than that.
    fn at_least(&mut self, key: u64, bound: i64) -> Result<bool, Stop<ToyError>> {
        let enough = number(self.before(key)?) >= bound;
        if let Some((low, high)) = &mut self.local(key).bounds {
            if enough {
                *low = (*low).max(bound);
            } else {
                *high = (*high).min(bound - 1);
            }
        }
        Ok(enough)
    }

    fn expect(&mut self, key: u64, bound: i64) -> Result<(), Stop<ToyError>> {
        let met = if self.view.is_final() {
            self.at_least(key, bound)?
        } else {
            self.view.assume(&key, Seen::Between { low: bound, high: i64::MAX });
            true
        };
        self.seen = mix(self.seen, u64::from(met));
        if !met {
            self.set(key, Write::Put(Num(bound)));
        }
        Ok(())
    }

    fn step(&mut self, op: Op, spawn: &mut Vec<ToyTx>) -> Result<usize, Stop<ToyError>> {
        match op {
            Op::Read(key) => self.look(key)?,
            Op::ReadNear(key, span) => self.look(self.near(key, span))?,
            Op::Put(key) => self.set(key, Write::Put(self.small())),
            Op::PutNear(key, span) => self.set(self.near(key, span), Write::Put(self.small())),
            Op::Delete(key) => self.set(key, Write::Delete),
            Op::Add(key, delta) => self.set(key, Write::Add(delta)),
            Op::Take(key, amount) => {
                // Own writes would make the bound a matter of both; look at the state before instead.
                let enough = self.at_least(key, amount)?;
                self.seen = mix(self.seen, u64::from(enough));
                if enough {
                    self.set(key, Write::Add(-amount));
                }
            }
            Op::Expect(key, bound) => self.expect(key, bound)?,
            Op::Consume(key) => {
                if self.get(key)?.is_none() {
                    return Err(Stop::Invalid(ToyError::Consumed(key)));
                }
                self.set(key, Write::Delete);
            }
            Op::Scan(start, end) => {
                for (key, value) in self.view.scan(start..end)? {
                    self.seen = mix(mix(self.seen, key), value.0 as u64);
                }
            }
            Op::SkipIfOdd(key, skip) => {
                if number(self.get(key)?) % 2 != 0 {
                    return Ok(usize::from(skip));
                }
            }
            Op::InvalidIf(key, divisor) => {
                if number(self.get(key)?) % divisor == 0 {
                    return Err(Stop::Invalid(ToyError::Invalid(key)));
                }
            }
            Op::PanicIf(key, divisor) => {
                let value = number(self.get(key)?);
                assert!(value % divisor != 0, "toy panic at {key}: {value}");
            }
            Op::Spawn(key) => spawn.push(ToyTx { ops: vec![Op::Add(key, self.small().0)] }),
            Op::Work(rounds) => {
                for _ in 0..rounds {
                    std::hint::black_box(mix(self.seen, 1));
                }
            }
        }
        Ok(0)
    }
}

impl<const RANGES: bool> Vm for Toy<RANGES> {
    type Tx = ToyTx;
    type Key = u64;
    type Value = Num;
    type Output = ToyOutput;
    type Error = ToyError;
    type Worker = ToyWorker;

    const RANGES: bool = RANGES;

    fn worker(&self) -> ToyWorker {
        ToyWorker::default()
    }

    fn execute(
        &self,
        worker: &mut ToyWorker,
        tx: &ToyTx,
        view: &mut dyn View<u64, Num>,
        effects: &mut Effects<Self>,
    ) -> Result<(), Stop<ToyError>> {
        run(worker, tx, view, effects)
    }
}

/// Runs a transaction of any of the toy machines.
pub(crate) fn run<M>(
    worker: &mut ToyWorker,
    tx: &ToyTx,
    view: &mut dyn View<u64, Num>,
    effects: &mut Effects<M>,
) -> Result<(), Stop<ToyError>>
where
    M: Vm<Tx = ToyTx, Key = u64, Value = Num, Output = ToyOutput>,
{
    worker.locals.clear();
    let mut machine = Machine { locals: &mut worker.locals, view, order: Vec::new(), seen: 0 };
    let mut at = 0;
    while let Some(op) = tx.ops.get(at) {
        at += 1 + machine.step(*op, &mut effects.spawn)?;
        effects.work += 1;
    }
    for local in machine.locals.iter() {
        if let (Some((id, _)), Some((low, high))) = (local.read, local.bounds) {
            machine.view.narrow(id, Seen::Between { low, high });
        }
    }
    for key in std::mem::take(&mut machine.order) {
        if let Some(write) = machine.local(key).write.take() {
            effects.writes.push((key, write));
        }
    }
    effects.output = Some(ToyOutput(machine.seen));
    Ok(())
}
