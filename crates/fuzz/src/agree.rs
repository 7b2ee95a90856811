//! The oracle of the targets that execute: every engine gives what `lean` gives.

use braid_core::Control;
use braid_evm::{BlockInput, EvmRules, EvmShared, ExecutedBlock, execute_block};
use braid_profiles::{Engine, ExecError, profile};
use braid_sched::{BlockStm, Pool, Waits};
use braid_work::PreState;
use std::{cell::RefCell, sync::Arc};

/// Profiles and threads that a block is run with.
const SEATS: [(&str, usize); 8] = [
    ("serial", 1),
    ("monad", 1),
    ("monad", 3),
    ("aptos", 1),
    ("aptos", 2),
    ("aptos", 4),
    ("bal", 1),
    ("bal", 3),
];

/// Most invalid transactions that are taken out of one block.
const MAX_INVALID: usize = 12;

struct Engines {
    lean: Box<dyn Engine>,
    seats: Vec<Box<dyn Engine>>,
    /// The schedule that no profile has: an execution waits inside its read.
    resuming: Option<BlockStm>,
    shared: EvmShared,
}

impl Engines {
    fn new() -> Self {
        let engine = |(name, threads): (&str, usize)| {
            let built = profile(name).and_then(|profile| (profile.build)(threads));
            built.unwrap_or_else(|error| panic!("{name}: {error}"))
        };
        Engines {
            lean: engine(("lean", 1)),
            seats: SEATS.into_iter().map(engine).collect(),
            resuming: Some(BlockStm::new(Arc::new(Pool::new(3))).waits(Waits::Resume)),
            shared: EvmShared::default(),
        }
    }

    fn round(&mut self, input: &BlockInput, pre: &PreState, seed: u64) -> Result<ExecutedBlock, ExecError> {
        let expected = run(&mut self.lean, input, pre);
        for ((name, threads), engine) in SEATS.iter().zip(&mut self.seats) {
            engine.shuffle(seed);
            let got = run(engine, input, pre);
            assert!(
                got == expected,
                "{name} with {threads} threads, {:?}, seed {seed}:\n     got {got:?}\nexpected {expected:?}",
                input.spec
            );
        }
        let resuming = self.resuming.take().map(|scheduler| scheduler.chaos(seed));
        if let (Some(scheduler), Ok(expected)) = (&resuming, &expected) {
            let done = execute_block(scheduler, &self.shared, input, pre, &(), &Control::default());
            let mut block = match done.map(|output| output.into_block(pre)) {
                Ok(Ok(block)) => block,
                other => panic!("block_stm, resuming, seed {seed}: {other:?}"),
            };
            block.stats = Default::default();
            assert!(block == *expected, "block_stm, resuming, seed {seed}: {block:?} is not {expected:?}");
        }
        self.resuming = resuming;
        expected
    }
}

fn run(engine: &mut Box<dyn Engine>, input: &BlockInput, pre: &PreState) -> Result<ExecutedBlock, ExecError> {
    match engine.execute(input, pre, &Control::default()) {
        Ok(done) => {
            let mut block = done.into_block(pre);
            block.stats = Default::default();
            Ok(block)
        }
        // Plain revm has words of its own for what a system contract did instead.
        Err(ExecError::SystemCall { name, .. }) => Err(ExecError::SystemCall { name, reason: String::new() }),
        Err(error) => Err(error),
    }
}

/// Runs the block on every engine, and again without each transaction that `lean` calls invalid. What comes
/// of it in the end.
///
/// # Panics
/// If an engine differs from `lean`.
pub(crate) fn agree(input: &mut BlockInput, pre: &PreState, seed: u64) -> Result<ExecutedBlock, ExecError> {
    thread_local! {
        static ENGINES: RefCell<Option<Engines>> = const { RefCell::new(None) };
    }
    // Plain revm does not know the rule; whether it is kept is tested where it is a choice.
    let eip1283 = input.rules.eip1283;
    input.rules = EvmRules { eip7610: false, eip1283, ..EvmRules::default() };
    ENGINES.with_borrow_mut(|engines| {
        // Taken out, so that a panic leaves none behind.
        let mut all = engines.take().unwrap_or_else(Engines::new);
        let mut done = all.round(input, pre, seed);
        for _ in 0..MAX_INVALID {
            let Err(ExecError::Invalid { tx, .. }) = &done else { break };
            if *tx >= input.txs.len() {
                break;
            }
            let gone = input.txs.remove(*tx);
            // What its sender does next moves up, so that the block does not end here.
            let next = input.txs[*tx..].iter_mut().filter(|next| next.caller == gone.caller);
            next.for_each(|next| next.nonce = next.nonce.saturating_sub(1));
            done = all.round(input, pre, seed);
        }
        *engines = Some(all);
        done
    })
}
