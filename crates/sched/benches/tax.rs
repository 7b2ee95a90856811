//! What a schedule costs per location, beside running the same transactions serially.
//!
//! Each transaction reads `READS` locations, a quarter of them exactly once in the block, and writes
//! some of what it read; values have the size of an account record. Prints nanoseconds per access, best
//! of several runs, with and without simulated work. `graph` and `batch` are told the truth, as a guess, and
//! once more as a declaration that is enforced.

use braid_core::{
    Binding, Block, Bound, Control, Effects, Hint, Mode, Reader, Scheduler, Sink, State, Stop, StoreError,
    Trust, TxIndex, Value, View, Vm, Write,
};
use braid_sched::{Batch, BlockStm, Graph, Occ, OccRounds, Policy, Pool, Serial};
use std::{collections::HashMap, hint::black_box, sync::Arc, time::Instant};

const TXS: u64 = 400;
const READS: u64 = 12;
const WRITES: usize = 3;
const RUNS: usize = 60;

#[derive(Clone, Copy, Debug, PartialEq)]
struct Wide([u64; 12]);

impl Value for Wide {
    type Delta = u64;
    type Seen = Wide;
    fn apply(base: Option<Self>, delta: &u64) -> Option<Self> {
        let mut value = base.unwrap_or(Wide([0; 12]));
        value.0[0] = value.0[0].wrapping_add(*delta);
        Some(value)
    }
    fn exactly(value: Option<&Self>) -> Wide {
        value.copied().unwrap_or(Wide([0; 12]))
    }
    fn holds(seen: &Wide, now: Option<&Self>) -> bool {
        *seen == now.copied().unwrap_or(Wide([0; 12]))
    }
}

type WideKey = [u64; 7];

struct Machine {
    work: u32,
}

struct Accesses(Vec<WideKey>);

impl Clone for Accesses {
    fn clone(&self) -> Self {
        Accesses(self.0.clone())
    }
}

impl Vm for Machine {
    type Tx = Accesses;
    type Key = WideKey;
    type Value = Wide;
    type Output = u64;
    type Error = ();
    type Worker = ();
    fn worker(&self) {}
    fn hint(&self, tx: &Accesses) -> Hint<WideKey> {
        let mode = |at| if at < WRITES { Mode::Write } else { Mode::Read };
        Hint {
            trust: Trust::Binding,
            access: tx.0.iter().enumerate().map(|(at, key)| (*key, mode(at))).collect(),
        }
    }
    fn execute(
        &self,
        _worker: &mut (),
        tx: &Accesses,
        view: &mut dyn View<WideKey, Wide>,
        effects: &mut Effects<Self>,
    ) -> Result<(), Stop<()>> {
        let mut sum = 0u64;
        for (at, key) in tx.0.iter().enumerate() {
            let value = view.read(key)?.value.unwrap_or(Wide([0; 12]));
            sum = sum.wrapping_add(value.0[0]);
            for _ in 0..self.work {
                sum = black_box(sum.rotate_left(7) ^ 0x9e37_79b9);
            }
            if at < WRITES {
                effects.writes.push((*key, Write::Put(Wide([sum; 12]))));
            }
        }
        effects.output = Some(sum);
        Ok(())
    }
}

impl Binding for Machine {
    fn absent(&self, _tx: &Accesses, _key: &WideKey) {}
}

struct Base(HashMap<WideKey, Wide>);

impl State<WideKey, Wide> for Base {
    type Reader<'a> = &'a Base;
    fn reader(&self) -> Result<&Base, StoreError> {
        Ok(self)
    }
}

impl Reader<WideKey, Wide> for &Base {
    fn get(&mut self, key: &WideKey) -> Result<Option<Wide>, StoreError> {
        Ok(self.0.get(key).copied())
    }
}

struct Drain(u64);

impl<M: Vm<Output = u64>> Sink<M> for Drain {
    fn commit(&mut self, _index: TxIndex, effects: &mut Effects<M>) {
        self.0 = self.0.wrapping_add(effects.output.unwrap_or(0));
    }
}

fn key(name: u64) -> WideKey {
    [name, 1, 2, 3, 4, 5, name.wrapping_mul(0x9e37_79b9_7f4a_7c15)]
}

/// `hot` transactions in 100 also write what others read.
fn block(hot: u64) -> (Vec<Accesses>, Base) {
    let mut random = 1u64;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random >> 33
    };
    let mut base = HashMap::new();
    let txs = (0..TXS)
        .map(|tx| {
            let keys = (0..READS).map(|at| match at {
                0..3 if next() % 100 < hot => key(next() % 20),
                0..3 => key(10_000 + tx * 3 + at),
                3..6 => key(20_000 + tx * 3 + at),
                _ => key(1_000 + next() % 400),
            });
            let keys: Vec<_> = keys.collect();
            base.extend(keys.iter().map(|key| (*key, Wide([key[0]; 12]))));
            Accesses(keys)
        })
        .collect();
    (txs, Base(base))
}

fn time<S: Scheduler>(scheduler: &S, work: u32, hot: u64) -> (f64, u64) {
    time_on(&Machine { work }, scheduler, hot)
}

fn time_on<M, S>(vm: &M, scheduler: &S, hot: u64) -> (f64, u64)
where
    M: Vm<Tx = Accesses, Key = WideKey, Value = Wide, Output = u64, Error = ()>,
    S: Scheduler,
{
    let (txs, base) = block(hot);
    let mut best = f64::INFINITY;
    let mut retries = 0;
    for _ in 0..RUNS {
        let mut sink = Drain(0);
        let start = Instant::now();
        let outcome = scheduler
            .run(&Block::new(vm, &txs, &base), &mut sink, &(), &Control::default())
            .expect("valid transactions");
        best = best.min(start.elapsed().as_nanos() as f64);
        retries = outcome.stats.retries;
        black_box(outcome.changes.len());
    }
    (best / (TXS * READS) as f64, retries)
}

fn main() {
    println!(
        "{:<22} {:>7} {:>8} {:>8} {:>10} {:>8}",
        "schedule", "threads", "work", "hot %", "ns/access", "retries"
    );
    for (work, hot) in [(0, 0), (0, 10), (1000, 0), (1000, 10), (1000, 50)] {
        let line = |name: &str, threads: u16, (ns, retries): (f64, u64)| {
            println!("{name:<22} {threads:>7} {work:>8} {hot:>8} {ns:>10.1} {retries:>8}");
        };
        line("serial", 1, time(&Serial::new(), work, hot));
        for threads in [1, 2, 4] {
            let pool = Arc::new(Pool::new(threads));
            line("occ", threads, time(&Occ::new(pool.clone()), work, hot));
            line("block_stm", threads, time(&BlockStm::new(pool.clone()), work, hot));
            for policy in Policy::ALL {
                let graph = Graph::new(pool.clone(), policy);
                let name = format!("graph {policy:?}");
                line(&name, threads, time(&graph, work, hot));
                line(&format!("{name}, bound"), threads, time_on(&Bound(Machine { work }), &graph, hot));
            }
            line("batch", threads, time(&Batch::new(pool.clone()), work, hot));
            line("occ_rounds", threads, time(&OccRounds::new(pool), work, hot));
        }
    }
}
