//! Chooses a schedule for each block: serial where threads cannot pay, Block-STM elsewhere.
//!
//! Sharing a block costs some tens of microseconds before the first transaction and one or two for each; on
//! a block that is done in a few hundred microseconds, or that is one long transaction, or of very small ones
//! with few threads, that is more than there is to gain. On a slow state ([`State::overlap`]) there is always
//! something to gain: the reads of several transactions at a time. Elsewhere what the machine guesses of its transactions
//! ([`Vm::weigh`]) decides; without a guess the block is shared. Within a shared block it is the crowd
//! (`crowd.rs`) that sends workers to rest where they do not pay.

use crate::{BlockStm, Pool, Serial, Waits};
use braid_core::{Block, BlockError, Control, Outcome, Probe, Scheduler, Sink, State, Vm};
use std::{sync::Arc, time::Duration};

/// Guessed time of a block, less its longest transaction, below which it is not shared.
const LEAST_SHARED: Duration = Duration::from_micros(250);

/// What a transaction takes more if the block is shared: locks, records of reads, lines of the other cores. Those
/// take 40 to 220 ns each on the machines of `docs/PERFORMANCE.md`.
const SHARING: Duration = Duration::from_nanos(1500);
/// Of one hundred, what a shared block must take of the time of a serial one.
const MOST_PERCENT: u32 = 95;

/// Serial or Block-STM, by what the block looks like.
#[derive(Debug)]
pub struct Adaptive {
    threads: u16,
    serial: Serial,
    parallel: BlockStm,
}

impl Adaptive {
    /// On the threads of `pool`.
    pub fn new(pool: Arc<Pool>) -> Self {
        Adaptive {
            threads: pool.threads(),
            serial: Serial::new(),
            parallel: BlockStm::new(pool).waits(Waits::Resume),
        }
    }

    /// Perturbs the schedule by `seed`. For tests: does nothing without debug assertions.
    #[must_use]
    pub fn chaos(mut self, seed: u64) -> Self {
        self.parallel = self.parallel.chaos(seed);
        self
    }

    /// Whether `block` is shared between threads.
    pub fn shares<M: Vm, S>(&self, block: &Block<'_, M, S>) -> bool {
        self.pays(block.txs.iter().map(|tx| block.vm.weigh(tx)))
    }

    /// Whether threads may pay for transactions of these guessed times.
    fn pays(&self, weights: impl Iterator<Item = Option<Duration>>) -> bool {
        if self.threads == 1 {
            return false;
        }
        let (mut total, mut longest, mut count) = (Duration::ZERO, Duration::ZERO, 0);
        for weight in weights {
            let Some(weight) = weight else { return true };
            total += weight;
            longest = longest.max(weight);
            count += 1;
        }
        let shared = (total + SHARING * count) / u32::from(self.threads);
        total - longest >= LEAST_SHARED && shared * 100 < total * MOST_PERCENT
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
        // What a slow state takes is not in any guess, and overlaps on one thread as well.
        if (block.state.overlap() > 1 && block.txs.len() > 1) || self.shares(block) {
            return self.parallel.run(block, sink, probe, control);
        }
        let mut outcome = self.serial.run(block, sink, probe, control)?;
        // With one thread nothing else was asked for.
        outcome.stats.fallbacks += u64::from(self.threads > 1);
        Ok(outcome)
    }
}

#[cfg(all(test, not(any(feature = "shuttle", feature = "loom"))))]
mod tests {
    use super::*;

    fn pays(threads: u16, micros: &[u64]) -> bool {
        let adaptive = Adaptive::new(Arc::new(Pool::new(threads)));
        adaptive.pays(micros.iter().map(|micros| Some(Duration::from_micros(*micros))))
    }

    #[test]
    fn shares_what_is_long_and_has_parts() {
        assert!(pays(2, &[2; 126]));
        assert!(!pays(2, &[2; 125]));
        assert!(!pays(2, &[100_000]));
        assert!(!pays(2, &[100_000, 249]));
        assert!(pays(2, &[100_000, 250]));
        assert!(!pays(1, &[100_000; 9]));
    }

    #[test]
    fn shares_small_transactions_among_many() {
        let plain = vec![Some(Duration::from_nanos(700)); 50_000];
        let of = |threads| Adaptive::new(Arc::new(Pool::new(threads)));
        assert!(!of(2).pays(plain.iter().copied()));
        assert!(of(4).pays(plain.iter().copied()));
    }

    #[test]
    fn shares_what_nobody_can_guess() {
        let adaptive = Adaptive::new(Arc::new(Pool::new(2)));
        assert!(adaptive.pays([None].into_iter()));
        assert!(!adaptive.pays([].into_iter()));
    }
}
