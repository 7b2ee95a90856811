//! Blocks made from seeds.

use crate::{Num, Op, ToyState, ToyTx};

/// A small reproducible random source (splitmix64, Steele et al. 2014).
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The source named by `seed`.
    pub fn new(seed: u64) -> Self {
        Rng(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 if `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.bits() % end.max(1)
    }

    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// What a block is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Reads, puts, deletes, branches on values, locations that depend on values.
    Programs,
    /// Commutative adds, bounded subtraction, predictions.
    Counters,
    /// Objects consumed once, and made.
    Objects,
    /// Ranges and phantoms.
    Ranges,
    /// Transactions that spawn transactions.
    Actors,
    /// Every transaction reads what the one before wrote.
    Chain,
    /// All of the above.
    Mixed,
    /// Coins spent once, each for a new one; where errors are wanted, some are spent twice.
    Coins,
}

impl Family {
    /// All of them.
    pub const ALL: [Family; 8] = [
        Family::Programs,
        Family::Counters,
        Family::Objects,
        Family::Ranges,
        Family::Actors,
        Family::Chain,
        Family::Mixed,
        Family::Coins,
    ];
}

/// Names a block. Printed when a check fails; [`Case::block`] makes the same block again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// What it is made of.
    pub family: Family,
    /// The seed.
    pub seed: u64,
    /// Transactions.
    pub txs: u32,
    /// Locations.
    pub keys: u64,
    /// Accesses that go to the few hottest locations, in percent.
    pub hot_percent: u64,
    /// Transactions that may be invalid, panic, or meet a broken location, in 1,000.
    pub error_permille: u64,
}

impl Case {
    /// A block whose size, heat and faults follow from the seed.
    pub fn random(family: Family, seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0xb1a1_d000);
        let txs = 1 + rng.below(60) as u32;
        Case {
            family,
            seed,
            txs,
            keys: 1 + rng.below(40),
            hot_percent: rng.below(4) * 25,
            error_permille: if rng.chance(40) { 20 } else { 0 },
        }
    }

    /// The transactions, the state before them, and the sink's budget.
    pub fn block(&self) -> (Vec<ToyTx>, ToyState, Option<u64>) {
        let mut rng = Rng::new(self.seed);
        let mut state = ToyState::default();
        for key in 0..self.keys {
            if rng.chance(60) {
                state.values.insert(key, Num(rng.below(8) as i64));
            }
            if rng.below(1000) < self.error_permille {
                state.broken.insert(key);
            }
        }
        let txs = (0..self.txs).map(|index| self.tx(&mut rng, index)).collect();
        let budget = (self.error_permille > 0 && rng.chance(20)).then(|| rng.below(u64::from(self.txs) * 4));
        (txs, state, budget)
    }

    fn key(&self, rng: &mut Rng) -> u64 {
        if rng.chance(self.hot_percent) { rng.below(self.keys.min(2)) } else { rng.below(self.keys) }
    }

    fn tx(&self, rng: &mut Rng, index: u32) -> ToyTx {
        let family = match self.family {
            Family::Mixed => Family::ALL[rng.below(6) as usize],
            family => family,
        };
        if family == Family::Coins {
            return self.spend(rng, index);
        }
        let mut ops = Vec::new();
        if rng.below(1000) < self.error_permille {
            let (key, divisor) = (self.key(rng), 1 + rng.below(4) as i64);
            ops.push(if rng.chance(50) { Op::InvalidIf(key, divisor) } else { Op::PanicIf(key, divisor) });
        }
        if rng.chance(30) {
            ops.push(Op::Work(rng.below(400) as u16));
        }
        for _ in 0..=rng.below(6) {
            self.ops(rng, family, index, &mut ops);
        }
        ToyTx { ops }
    }

    /// Spends the coin of an earlier transaction, if it was not spent yet, and makes another. Coins lie above
    /// the other locations; who spends which follows from the indices alone.
    fn spend(&self, rng: &mut Rng, index: u32) -> ToyTx {
        let coin = |of: u32| self.keys + u64::from(of);
        let mut ops = vec![Op::Put(coin(index))];
        // Odd ones spend the coin of one of the even ones before, each another: `index / 2` is new every time.
        if index % 2 == 1 {
            ops.insert(0, Op::Consume(coin(index / 2 * 2)));
        }
        if index > 4 && rng.below(1000) < self.error_permille {
            ops.insert(0, Op::Consume(coin(rng.below(u64::from(index)) as u32)));
        }
        if rng.chance(40) {
            ops.extend([Op::Read(self.key(rng)), Op::Put(self.key(rng))]);
        }
        if rng.chance(30) {
            ops.push(Op::Work(rng.below(400) as u16));
        }
        ToyTx { ops }
    }

    fn ops(&self, rng: &mut Rng, family: Family, index: u32, ops: &mut Vec<Op>) {
        let (key, other) = (self.key(rng), self.key(rng));
        let amount = rng.below(4) as i64;
        match family {
            Family::Programs | Family::Mixed => ops.push(match rng.below(8) {
                0 | 1 => Op::Read(key),
                2 => Op::ReadNear(key, 3),
                3 => Op::Put(key),
                4 => Op::PutNear(key, 3),
                5 => Op::Delete(key),
                6 => Op::SkipIfOdd(key, 1),
                _ => Op::Add(key, amount),
            }),
            Family::Counters => ops.push(match rng.below(8) {
                0..3 => Op::Add(key, amount),
                3 | 4 => Op::Take(key, amount),
                5 | 6 => Op::Expect(key, amount),
                _ => Op::Read(key),
            }),
            Family::Objects => {
                // Taking what is there and making what the next ones take; a second consumer only
                // where errors are wanted, or every block would end early.
                if self.error_permille > 0 && rng.chance(10) {
                    ops.push(Op::Consume(key));
                } else {
                    let own = self.keys + u64::from(index);
                    ops.extend([Op::Put(own), Op::Consume(own), Op::Read(key), Op::Put(other)]);
                }
            }
            Family::Ranges => ops.push(match rng.below(6) {
                0 | 1 => Op::Scan(key.min(other), key.max(other) + 1),
                2 => Op::Put(key),
                3 => Op::Delete(key),
                4 => Op::PutNear(key, 4),
                _ => Op::Add(key, amount),
            }),
            Family::Actors => {
                ops.extend([Op::Read(key), Op::Put(key)]);
                if rng.chance(50) {
                    ops.push(Op::Spawn(other));
                }
            }
            Family::Coins => unreachable!("made by `spend`"),
            Family::Chain => ops.extend([Op::Read(0), Op::Put(0), Op::Work(50), Op::Read(key)]),
        }
    }
}
