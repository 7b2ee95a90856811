//! `Prescribed` on the toy machine: by the versions that the oracle leaves it gives what the oracle gives,
//! whatever the order and the units; and wrong versions are refused where they are wrong. A failure prints
//! the seed that repeats it.

use braid_core::{
    Block, BlockError, Cause, Control, Effects, Located, Outcome, Replay, Scheduler, Sink, TxIndex, Versions,
    Written,
};
use braid_sched::{Pool, Prescribed};
use braid_testkit::{Num, Op, Oracle, RecordingSink, Rng, Toy, ToyError, ToyState, ToyTx};
use std::{collections::BTreeMap, sync::Arc};

type Vm = Toy<false>;

/// Errors about versions, apart from those of the machine.
const WRONG: u64 = 1_000_000;

/// The values of keys `0..rows.len()` after the units that change them.
#[derive(Clone, Debug)]
struct Given {
    rows: Vec<BTreeMap<u32, Option<Num>>>,
    /// Transactions of a unit.
    size: u32,
}

impl Versions<Vm> for Given {
    fn locations(&self) -> usize {
        self.rows.len()
    }

    fn unit(&self, tx: TxIndex) -> u32 {
        tx / self.size
    }

    fn weight(&self, unit: u32) -> u64 {
        // Any order will do.
        u64::from(unit * 7 % 5)
    }

    fn locate(&self, key: &u64, _unit: u32) -> Result<Located<Num>, ToyError> {
        if (*key as usize) < self.rows.len() {
            return Ok(Located::At(*key as u32));
        }
        Err(ToyError::Consumed(WRONG + *key))
    }

    fn base_key(&self, location: u32) -> u64 {
        location.into()
    }

    fn final_key(&self, location: u32) -> u64 {
        location.into()
    }

    fn before<E>(
        &self,
        location: u32,
        unit: u32,
        base: impl FnOnce() -> Result<Option<Num>, E>,
    ) -> Result<Option<Num>, E> {
        match self.rows[location as usize].range(..unit).next_back() {
            Some((_, value)) => Ok(*value),
            None => base(),
        }
    }

    fn check(&self, unit: u32, written: &[Written<Num>]) -> Result<(), ToyError> {
        let changed = written.iter().filter(|(_, before, after)| before != after);
        let found: BTreeMap<u32, Option<Num>> = changed.map(|(at, _, after)| (*at, *after)).collect();
        let given = self.rows.iter().zip(0..).filter_map(|(row, at)| Some((at, *row.get(&unit)?)));
        if given.collect::<BTreeMap<_, _>>() == found { Ok(()) } else { Err(ToyError::Invalid(WRONG)) }
    }

    fn touched(&self, _: u32, _: &Effects<Vm>, _: &mut dyn FnMut(u32)) -> Result<(), ToyError> {
        Ok(())
    }

    fn complete(&self, _: &dyn Fn(u32) -> bool) -> Result<(), ToyError> {
        Ok(())
    }
}

/// Takes the state along, and tells the versions at the end of each unit.
struct Follow<'a> {
    now: Vec<Option<Num>>,
    /// At the end of the last unit.
    last: Vec<Option<Num>>,
    given: &'a mut Given,
    txs: u32,
}

impl Sink<Vm> for Follow<'_> {
    fn commit(&mut self, index: TxIndex, effects: &mut Effects<Vm>) {
        for (key, write) in &effects.writes {
            let value = &mut self.now[*key as usize];
            *value = write.onto(value.take());
        }
        if (index + 1).is_multiple_of(self.given.size) || index + 1 == self.txs {
            for (at, now) in self.now.iter().enumerate().filter(|(at, now)| self.last[*at] != **now) {
                self.given.rows[at].insert(index / self.given.size, *now);
            }
            self.last.clone_from(&self.now);
        }
    }
}

fn block(rng: &mut Rng) -> (Vec<ToyTx>, ToyState) {
    let keys = 1 + rng.below(10);
    let mut state = ToyState::default();
    for key in 0..keys {
        if rng.chance(60) {
            state.values.insert(key, Num(rng.below(6) as i64));
        }
    }
    let fails = rng.chance(30);
    let step = |rng: &mut Rng| {
        let (key, amount) = (rng.below(keys), rng.below(4) as i64);
        match rng.below(if fails { 14 } else { 12 }) {
            0 | 1 => Op::Read(key),
            2 => Op::ReadNear(0, keys),
            3 | 4 => Op::Put(key),
            5 => Op::PutNear(0, keys),
            6 => Op::Delete(key),
            7 => Op::Add(key, amount),
            8 => Op::Take(key, amount),
            9 => Op::Expect(key, amount),
            10 => Op::SkipIfOdd(key, 1),
            11 => Op::Spawn(key),
            12 => Op::InvalidIf(key, 5),
            _ => Op::Consume(key),
        }
    };
    let txs = (0..1 + rng.below(40)).map(|_| {
        let steps = rng.below(7);
        ToyTx { ops: (0..steps).map(|_| step(rng)).collect() }
    });
    (txs.collect(), state)
}

type Done = Result<(Vec<(u64, Option<Num>)>, Vec<ToyTx>), BlockError<ToyError>>;

/// Changes are listed by location.
fn plain(outcome: Result<Outcome<Vm>, BlockError<ToyError>>) -> Done {
    outcome.map(|mut outcome| {
        outcome.changes.sort_by_key(|(key, _)| *key);
        (outcome.changes, outcome.spawned)
    })
}

/// The versions that the oracle leaves.
fn given(txs: &[ToyTx], state: &ToyState, size: u32) -> Given {
    let keys = 16;
    let mut given = Given { rows: vec![BTreeMap::new(); keys], size };
    let now: Vec<Option<Num>> = (0..keys as u64).map(|key| state.values.get(&key).copied()).collect();
    let mut follow = Follow { last: now.clone(), now, given: &mut given, txs: txs.len() as u32 };
    let block = Block::new(&Toy::<false>, txs, state);
    // An invalid block leaves the versions before it.
    let _ = Oracle.run(&block, &mut follow, &(), &Control::default());
    given
}

fn seeds() -> std::ops::Range<u64> {
    match std::env::var("BRAID_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("BRAID_SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..400,
    }
}

#[test]
fn gives_what_the_oracle_gives() {
    let replays: Vec<Prescribed> =
        [1, 2, 4].map(|threads| Prescribed::new(Arc::new(Pool::new(threads)))).into();
    for seed in seeds() {
        let (txs, state) = block(&mut Rng::new(seed));
        let block = Block::new(&Toy::<false>, &txs, &state);
        let mut expected_sink = RecordingSink::default();
        let expected = plain(Oracle.run(&block, &mut expected_sink, &(), &Control::default()));
        for size in [1, 3] {
            let given = given(&txs, &state, size);
            for replay in &replays {
                let mut sink = RecordingSink::default();
                let done = plain(replay.replay(&block, &given, &mut sink, &(), &Control::default()));
                let what = format!("units of {size}, BRAID_SEED={seed}");
                assert_eq!(sink.delivered, expected_sink.delivered, "{what}");
                assert_eq!(done, expected, "{what}");
            }
        }
    }
}

#[test]
fn wrong_versions_are_refused_where_they_are_wrong() {
    let replays: Vec<Prescribed> =
        [1, 2, 4].map(|threads| Prescribed::new(Arc::new(Pool::new(threads)))).into();
    let mut refused = 0;
    for seed in seeds() {
        let mut rng = Rng::new(seed);
        let (txs, state) = block(&mut rng);
        let block = Block::new(&Toy::<false>, &txs, &state);
        let expected = Oracle.run(&block, &mut RecordingSink::default(), &(), &Control::default());
        let ends = expected.as_ref().map_or_else(|error| error.tx, |_| txs.len() as u32);
        let mut given = given(&txs, &state, 1);
        let (at, unit) = (rng.below(16) as usize, rng.below(txs.len() as u64) as u32);
        match given.rows[at].get_mut(&unit) {
            Some(_) if rng.chance(30) => drop(given.rows[at].remove(&unit)),
            Some(value) => *value = Some(Num(77)),
            None => drop(given.rows[at].insert(unit, Some(Num(77)))),
        }
        for replay in &replays {
            let mut sink = RecordingSink::default();
            let done = plain(replay.replay(&block, &given, &mut sink, &(), &Control::default()));
            let error = done.expect_err("wrong versions");
            if unit >= ends {
                // The block fails before it comes to that.
                assert_eq!(Some(&error), expected.as_ref().err(), "BRAID_SEED={seed}");
                continue;
            }
            let wrong = BlockError { tx: unit, cause: Cause::Invalid(ToyError::Invalid(WRONG)) };
            assert_eq!(error, wrong, "BRAID_SEED={seed}");
            assert_eq!(sink.delivered.len() as u32, unit, "BRAID_SEED={seed}");
            refused += 1;
        }
    }
    assert!(refused > 300 || seeds().end - seeds().start == 1, "only {refused}");
}

#[test]
fn what_is_not_listed_cannot_be_seen() {
    let pool = Arc::new(Pool::new(2));
    let txs = [Op::Read(1), Op::Put(20), Op::Read(1)].map(|op| ToyTx { ops: vec![op] });
    let state = ToyState::default();
    let block = Block::new(&Toy::<false>, &txs, &state);
    let given = Given { rows: vec![BTreeMap::new(); 4], size: 1 };
    let mut sink = RecordingSink::default();
    let done = Prescribed::new(pool).replay(&block, &given, &mut sink, &(), &Control::default());
    let error = BlockError { tx: 1, cause: Cause::Invalid(ToyError::Consumed(WRONG + 20)) };
    assert_eq!(done.err(), Some(error));
    assert_eq!(sink.delivered.len(), 1);
}
