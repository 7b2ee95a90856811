//! The toy machine with hints: exact ones, ones that lie, ones that bind.

use crate::{
    Case, Num, Op, Rng, ToyError, ToyOutput, ToyTx,
    toy::{ToyWorker, mix, run},
};
use braid_core::{Binding, Effects, Hint, Mode, Stop, Trust, View, Vm, Write};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Locations of a range that a hint names.
const RANGE_NAMED: u64 = 64;

/// What a [`Told`] machine says about its transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Telling {
    /// Transactions whose hints bind, in percent.
    pub binding_percent: u64,
    /// Others about which nothing is said, in percent of all; what is left is guessed.
    pub silent_percent: u64,
    /// Accesses left out or named in another mode, in 1,000.
    pub lies_permille: u64,
    /// Whether a transaction that breaks its declaration fails and stays in the block.
    pub lenient: bool,
    /// Where choices come from, beside the transaction.
    pub seed: u64,
}

impl Telling {
    /// The truth about all transactions, binding.
    pub const BINDING: Telling =
        Telling { binding_percent: 100, silent_percent: 0, lies_permille: 0, lenient: false, seed: 0 };

    /// The truth about all transactions, as a guess.
    pub const GUESS: Telling = Telling { binding_percent: 0, ..Telling::BINDING };

    /// How much is said and how much of it is true follows from the seed.
    pub fn random(binding_percent: u64, seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x7e11_1196);
        Telling {
            binding_percent,
            silent_percent: rng.below(3) * (100 - binding_percent) / 4,
            lies_permille: rng.below(4) * 40,
            lenient: rng.chance(80),
            seed,
        }
    }

    /// Hints for the block of `case` that are not about it: too many, too few, of all modes, with keys twice,
    /// and of any trust.
    pub fn nonsense(case: Case, seed: u64) -> Vec<Hint<u64>> {
        let mut rng = Rng::new(seed ^ 0x0bad_c0de);
        let count = rng.below(u64::from(case.txs) * 2);
        let hint = |rng: &mut Rng| {
            let long = if rng.chance(5) { 10_000 } else { 8 };
            let keys = if rng.chance(20) { u64::MAX } else { case.keys };
            let mode =
                |rng: &mut Rng| [Mode::Read, Mode::Add, Mode::Write, Mode::Consume][rng.below(4) as usize];
            let access = (0..rng.below(long)).map(|_| (rng.below(keys), mode(rng))).collect();
            Hint { trust: [Trust::None, Trust::Guess, Trust::Binding][rng.below(3) as usize], access }
        };
        (0..count).map(|_| hint(&mut rng)).collect()
    }

    /// What is said about `tx`.
    fn hint(&self, tx: &ToyTx) -> Hint<u64> {
        let mut hasher = DefaultHasher::new();
        tx.hash(&mut hasher);
        let mut rng = Rng::new(hasher.finish() ^ self.seed);
        let trust = match rng.below(100) {
            choice if choice < self.binding_percent => Trust::Binding,
            choice if choice < self.binding_percent + self.silent_percent => return Hint::none(),
            _ => Trust::Guess,
        };
        let mut access = touched(tx);
        if self.lies_permille > 0 {
            access.retain(|_| rng.below(1000) >= self.lies_permille);
            for (_, mode) in &mut access {
                if rng.below(1000) < self.lies_permille {
                    *mode = if rng.chance(50) { Mode::Read } else { Mode::Write };
                }
            }
            if rng.chance(20) {
                access.push((rng.below(8), Mode::Write));
            }
        }
        Hint { trust, access }
    }
}

/// What `tx` touches at most, and how.
fn touched(tx: &ToyTx) -> Vec<(u64, Mode)> {
    let mut access: Vec<(u64, Mode)> = Vec::new();
    for op in &tx.ops {
        match *op {
            Op::Read(key) | Op::SkipIfOdd(key, _) | Op::InvalidIf(key, _) | Op::PanicIf(key, _) => {
                access.push((key, Mode::Read));
            }
            Op::ReadNear(key, span) => access.extend((key..key + span.max(1)).map(|key| (key, Mode::Read))),
            Op::Put(key) | Op::Delete(key) | Op::Take(key, _) | Op::Expect(key, _) => {
                access.push((key, Mode::Write))
            }
            Op::PutNear(key, span) => access.extend((key..key + span.max(1)).map(|key| (key, Mode::Write))),
            Op::Add(key, _) => access.push((key, Mode::Add)),
            Op::Consume(key) => {
                let own = access.iter().any(|(other, mode)| *other == key && *mode != Mode::Read);
                access.push((key, if own { Mode::Write } else { Mode::Consume }));
            }
            Op::Scan(start, end) => {
                access.extend((start..end.min(start + RANGE_NAMED)).map(|key| (key, Mode::Read)));
            }
            Op::Spawn(_) | Op::Work(_) => {}
        }
    }
    access
}

/// The toy machine with hints. To have those enforced that bind, wrap it into a [`Bound`](braid_core::Bound).
#[derive(Clone, Copy, Debug)]
pub struct Told<const RANGES: bool>(
    /// What it says.
    pub Telling,
);

impl<const RANGES: bool> Vm for Told<RANGES> {
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

    fn hint(&self, tx: &ToyTx) -> Hint<u64> {
        self.0.hint(tx)
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

impl<const RANGES: bool> Binding for Told<RANGES> {
    fn absent(&self, _tx: &ToyTx, key: &u64) -> ToyError {
        ToyError::Consumed(*key)
    }

    /// A lenient machine pays with what was declared: it looks at the first location, and adds to the first that
    /// it may add to.
    fn undeclared(
        &self,
        _worker: &mut ToyWorker,
        tx: &ToyTx,
        key: &u64,
        view: &mut dyn View<u64, Num>,
        effects: &mut Effects<Self>,
    ) -> Result<(), Stop<ToyError>> {
        if !self.0.lenient {
            return Err(Stop::Halt(braid_core::Halt::Undeclared));
        }
        let access = self.0.hint(tx).access;
        let first =
            |modes: &[Mode]| access.iter().find(|(_, mode)| modes.contains(mode)).map(|(key, _)| *key);
        let mut seen = mix(u64::MAX, *key);
        if let Some(key) = first(&[Mode::Read]) {
            let value = view.read(&key)?.value;
            seen = mix(seen, value.map_or(u64::MAX, |value| value.0 as u64));
        }
        // A key that is also consumed may not be written.
        let consumed = |key: &u64| access.contains(&(*key, Mode::Consume));
        if let Some(key) = first(&[Mode::Add, Mode::Write]).filter(|key| !consumed(key)) {
            effects.writes.push((key, Write::Add(1)));
        }
        effects.work = 1;
        effects.output = Some(ToyOutput(seen));
        Ok(())
    }
}
