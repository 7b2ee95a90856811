//! Chooses a schedule for each block: serial where threads cannot pay, Block-STM elsewhere.
//!
//! Sharing a block costs some tens of microseconds before the first transaction and one or two for each; on
//! a block that is done in a few hundred microseconds, or that is one long transaction, or of very small ones
//! with few threads, that is more than there is to gain. What the machine guesses of its transactions
//! ([`Vm::weigh`]) decides; without a guess the block is shared. A guess is easily wrong by a factor of ten, so
//! where it leaves room for doubt the block is begun by one thread alone (`lead.rs`), until what it takes of the
//! guess tells what the rest will take. On a slow state ([`State::overlap`]) there is always something to gain: the
//! reads of several transactions at a time. Within a shared block it is the crowd (`crowd.rs`) that sends workers to
//! rest where they do not pay.

use crate::{BlockStm, Pool, Serial, Waits};
use braid_core::{Block, BlockError, Control, Outcome, Probe, Scheduler, Sink, State, TxIndex, Vm};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Guessed time of a block, less its longest transaction, below which it is not shared, and above which it is shared
/// at once.
const LEAST_TRIED: Duration = Duration::from_micros(75);
const SURELY_SHARED: Duration = Duration::from_micros(250);
/// How long one thread goes on alone before it looks first at what the rest will take. Twice as long each time after
/// that.
const FIRST_LOOK: Duration = Duration::from_micros(20);
/// A transaction that may take longer by the guess is not begun without a look: the next one comes after it.
const LONG: Duration = Duration::from_micros(100);
/// What there must be left to share then, without its longest transaction: to wake a thread takes about a third of it.
const LEAST_LEFT: Duration = Duration::from_micros(120);

/// What a transaction takes more if the block is shared: locks, records of reads, lines of the other cores. Those
/// take 40 to 220 ns each on the machines of `docs/PERFORMANCE.md`.
const SHARING: Duration = Duration::from_nanos(1500);
/// Of one hundred, what a shared block must take of the time of a serial one.
const MOST_PERCENT: u32 = 95;
/// By how much a guess is believed to be too low at most.
const MOST_WRONG: f64 = 1000.0;

/// Serial or Block-STM, by what the block looks like.
#[derive(Debug)]
pub struct Adaptive {
    threads: u16,
    serial: Serial,
    parallel: BlockStm,
    chaos: Option<u64>,
}

impl Adaptive {
    /// On the threads of `pool`.
    pub fn new(pool: Arc<Pool>) -> Self {
        Adaptive {
            threads: pool.threads(),
            serial: Serial::new(),
            parallel: BlockStm::new(pool).waits(Waits::Resume),
            chaos: None,
        }
    }

    /// Perturbs the schedule by `seed`; some of the blocks are shared from any transaction on. For tests: does nothing
    /// without debug assertions.
    #[must_use]
    pub fn chaos(mut self, seed: u64) -> Self {
        self.parallel = self.parallel.chaos(seed);
        self.chaos = cfg!(debug_assertions).then_some(seed);
        self
    }

    /// Whether `block` is shared between threads, or may be.
    pub fn shares<M: Vm, S>(&self, block: &Block<'_, M, S>) -> bool {
        self.choose(block.txs.iter().map(|tx| block.vm.weigh(tx))) != Choice::Alone
    }

    /// What the guessed times of a block's transactions say.
    fn choose(&self, weights: impl Iterator<Item = Option<Duration>>) -> Choice {
        if self.threads == 1 {
            return Choice::Alone;
        }
        let mut guess = Guess::default();
        for weight in weights {
            let Some(weight) = weight else { return Choice::Shared };
            guess.add(weight);
        }
        if guess.others() < LEAST_TRIED || !guess.is_coarse(self.threads) {
            Choice::Alone
        } else if guess.others() < SURELY_SHARED {
            Choice::Tried
        } else {
            Choice::Shared
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    Alone,
    Tried,
    Shared,
}

/// How long transactions may take.
#[derive(Clone, Copy, Debug, Default)]
struct Guess {
    total: Duration,
    longest: Duration,
    count: u32,
}

impl Guess {
    fn add(&mut self, weight: Duration) {
        self.total += weight;
        self.longest = self.longest.max(weight);
        self.count += 1;
    }

    /// All but the longest.
    fn others(&self) -> Duration {
        self.total - self.longest
    }

    /// Whether the transactions are large enough for what sharing takes of each.
    fn is_coarse(&self, threads: u16) -> bool {
        let shared = (self.total + SHARING * self.count) / u32::from(threads);
        shared * 100 < self.total * MOST_PERCENT
    }

    /// If these take so many times as long.
    fn times(self, factor: f64) -> Guess {
        Guess { total: self.total.mul_f64(factor), longest: self.longest.mul_f64(factor), ..self }
    }
}

/// A block that one thread has begun.
struct Trial<'a, M: Vm, S> {
    block: &'a Block<'a, M, S>,
    threads: u16,
    begun: Instant,
    /// When to look.
    look: Duration,
}

impl<M: Vm, S> Trial<'_, M, S> {
    /// Whether to go on alone with `tx`.
    fn alone(&mut self, tx: TxIndex) -> bool {
        let elapsed = self.begun.elapsed();
        let (done, rest) = self.block.txs.split_at(tx as usize);
        let may_take_long = self.block.vm.weigh(&rest[0]).is_some_and(|weight| weight > LONG);
        if elapsed < self.look && !may_take_long {
            return true;
        }
        self.look = self.look.max(elapsed * 2);
        let weigh = |txs: &[M::Tx]| {
            let mut guess = Guess::default();
            txs.iter().filter_map(|tx| self.block.vm.weigh(tx)).for_each(|weight| guess.add(weight));
            guess
        };
        // Too little is done to know more than the guess.
        let known = elapsed >= FIRST_LOOK && tx > 0;
        let guessed = weigh(done).total.as_secs_f64().max(1e-9);
        let factor = if known { (elapsed.as_secs_f64() / guessed).min(MOST_WRONG) } else { 1.0 };
        let rest = weigh(rest).times(factor);
        rest.others() < LEAST_LEFT || !rest.is_coarse(self.threads)
    }
}

impl Scheduler for Adaptive {
    fn name(&self) -> &'static str {
        "adaptive"
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
        if let Some(seed) = self.chaos.filter(|seed| seed % 4 != 0 && self.threads > 1) {
            let shared_from = (seed / 4) % (block.txs.len() as u64 + 1);
            let alone = &mut |tx| u64::from(tx) < shared_from;
            return self.parallel.run_led(block, sink, probe, control, Some(alone));
        }
        // What a slow state takes is not in any guess, and overlaps on one thread as well.
        let slow = block.state.overlap() > 1 && block.txs.len() > 1;
        let weights = || block.txs.iter().map(|tx| block.vm.weigh(tx));
        match if slow { Choice::Shared } else { self.choose(weights()) } {
            Choice::Alone => {
                let mut outcome = self.serial.run(block, sink, probe, control)?;
                // With one thread nothing else was asked for.
                outcome.stats.fallbacks += u64::from(self.threads > 1);
                Ok(outcome)
            }
            Choice::Tried => {
                let mut trial =
                    Trial { block, threads: self.threads, begun: Instant::now(), look: FIRST_LOOK };
                self.parallel.run_led(block, sink, probe, control, Some(&mut |tx| trial.alone(tx)))
            }
            Choice::Shared => self.parallel.run(block, sink, probe, control),
        }
    }
}

#[cfg(all(test, not(any(feature = "shuttle", feature = "loom"))))]
mod tests {
    use super::*;

    fn choose(threads: u16, micros: &[u64]) -> Choice {
        let adaptive = Adaptive::new(Arc::new(Pool::new(threads)));
        adaptive.choose(micros.iter().map(|micros| Some(Duration::from_micros(*micros))))
    }

    #[test]
    fn shares_what_is_long_and_has_parts() {
        assert_eq!(choose(2, &[5; 15]), Choice::Alone);
        assert_eq!(choose(2, &[5; 16]), Choice::Tried);
        assert_eq!(choose(2, &[5; 51]), Choice::Shared);
        assert_eq!(choose(2, &[100_000]), Choice::Alone);
        assert_eq!(choose(2, &[100_000, 74]), Choice::Alone);
        assert_eq!(choose(2, &[100_000, 75]), Choice::Tried);
        assert_eq!(choose(1, &[100_000; 9]), Choice::Alone);
    }

    #[test]
    fn shares_small_transactions_among_many() {
        let plain = vec![Some(Duration::from_nanos(700)); 50_000];
        let of = |threads| Adaptive::new(Arc::new(Pool::new(threads)));
        assert_eq!(of(2).choose(plain.iter().copied()), Choice::Alone);
        assert_eq!(of(4).choose(plain.iter().copied()), Choice::Shared);
    }

    #[test]
    fn shares_what_nobody_can_guess() {
        let adaptive = Adaptive::new(Arc::new(Pool::new(2)));
        assert_eq!(adaptive.choose([None].into_iter()), Choice::Shared);
        assert_eq!(adaptive.choose([].into_iter()), Choice::Alone);
    }
}
