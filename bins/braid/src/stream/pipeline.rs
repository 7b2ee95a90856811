//! The stages of a stream: recover and execute as in [`pipeline`](crate::pipeline), then hash.
//!
//! 1. The second stage has the state that blocks are executed on; the third has its tries, one or more blocks
//!    behind, of which it hashes what a block changed.
//! 2. An engine that runs from what calls touched in other blocks is taught each block that it has executed, before
//!    it executes the next: a serial run of it, which is part of the time of the second stage.
//! 3. Before Byzantium, receipts have the roots of the states between transactions ([`receipts`]). The second stage
//!    executes the transactions of such a block once more, one by one, and the third hashes each state.

use crate::{
    pipeline::{Failure, Passing, pass, timed},
    receipts,
};
use alloy_primitives::{B256, Keccak256};
use braid_core::{Control, Reader, State, StoreError};
use braid_evm::{EvmKey, EvmShared, EvmValue, ExecutedBlock, Status, hints::Learned};
use braid_profiles::{Engine, HintSource, bench::execute_once};
use braid_store::Below;
use braid_work::{Chain, ChainBlock, HashedState, PreState};
use std::{
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

/// Most blocks that wait between two stages.
pub(crate) const DEPTH: usize = 4;

/// What came of a chain.
#[derive(Debug, Default)]
pub(crate) struct Run {
    /// Blocks that passed all stages.
    pub(crate) blocks: usize,
    /// Their transactions.
    pub(crate) txs: usize,
    /// Their gas.
    pub(crate) gas_used: u64,
    /// From the first block to the end of the last.
    pub(crate) elapsed: Duration,
    /// Of that, the time for which each stage was at work.
    pub(crate) recover: Duration,
    /// See above.
    pub(crate) execute: Duration,
    /// See above.
    pub(crate) hash: Duration,
    /// Number of the last block that passed.
    pub(crate) last: Option<u64>,
    /// If asked for, number and digest of each block's result.
    pub(crate) prints: Vec<(u64, B256)>,
    /// The block that did not pass.
    pub(crate) failed: Option<Failure>,
}

/// A block that passed all stages.
struct Passed {
    number: u64,
    txs: usize,
    gas_used: u64,
    print: Option<B256>,
}

/// The second stage: executes blocks on the state that the last one left.
struct Execution<'a> {
    engine: &'a mut dyn Engine,
    /// Shared only while the transactions of a block are executed one by one.
    pre: Arc<PreState>,
    /// Shuffles schedules, in builds with debug assertions.
    seed: Option<u64>,
    /// Whether the engine keeps what it learns from block to block.
    learning: bool,
    /// What the engine is taught of calls, if it can make use of that.
    lessons: Option<Lessons>,
}

/// What calls touched in the blocks so far.
#[derive(Default)]
struct Lessons {
    learned: Arc<Learned>,
    shared: EvmShared,
}

impl Lessons {
    /// None for an engine that runs from anything else, or that is to forget.
    fn of(engine: &dyn Engine, learning: bool) -> Option<Self> {
        (learning && engine.hint_source() == Some(HintSource::Learned)).then(Lessons::default)
    }

    /// A block that was executed teaches those after it.
    fn teach(&mut self, engine: &mut dyn Engine, block: &ChainBlock, pre: &PreState) {
        // The engine gives back what it has, so that nothing is copied.
        engine.teach(&Arc::default());
        braid_profiles::learn(Arc::make_mut(&mut self.learned), &self.shared, &block.input, pre);
        engine.teach(&self.learned);
    }
}

/// A state in memory, to be stood on.
#[derive(Debug)]
struct Whole(Arc<PreState>);

impl Below<EvmKey, EvmValue> for Whole {
    fn reader(&self) -> Result<Box<dyn Reader<EvmKey, EvmValue> + '_>, StoreError> {
        Ok(Box::new(State::reader(&*self.0)?))
    }
}

/// What the second stage hands on of a block: what it did, and before Byzantium what each of its transactions did.
struct Done {
    block: ExecutedBlock,
    alone: Vec<ExecutedBlock>,
}

impl<'a> Execution<'a> {
    fn new(engine: &'a mut dyn Engine, pre: Arc<PreState>, seed: Option<u64>, learning: bool) -> Self {
        let lessons = Lessons::of(engine, learning);
        Execution { engine, pre, seed, learning, lessons }
    }

    fn next(&mut self, block: &ChainBlock, control: &Control<'_>) -> Passing<Done> {
        let number = block.number();
        if let Some(seed) = self.seed {
            self.engine.shuffle(seed.wrapping_add(number));
        }
        if !self.learning {
            self.engine.reset();
        }
        Arc::make_mut(&mut self.pre).block_hashes.clone_from(&block.input.block_hashes);
        let done = execute_once(self.engine, &block.input, &self.pre, control);
        let (done, _) = done.map_err(|error| Failure::of_execution(number, &error))?;
        if let Some(lessons) = &mut self.lessons {
            lessons.teach(self.engine, block, &self.pre);
        }
        let before = || Ok(Arc::new(Whole(self.pre.clone())) as Arc<_>);
        let alone = receipts::one_by_one(block, before, control)?;
        let applied = Arc::make_mut(&mut self.pre).apply(&done);
        applied.map_err(|error| Failure::of(number, "state", error.to_string()))?;
        Ok(Done { block: done, alone })
    }
}

/// The third stage: everything that is hashed.
struct Hashing {
    /// The state after the last block.
    after: HashedState,
    /// Whether digests are wanted.
    prints: bool,
}

impl Hashing {
    fn next(&mut self, block: &ChainBlock, done: &Done) -> Passing<Passed> {
        let (number, Done { block: done, alone }) = (block.number(), done);
        let root_after = |one: &ExecutedBlock| {
            self.after.apply(one);
            self.after.root()
        };
        let roots: Vec<B256> = alone.iter().map(root_after).collect();
        // Says what stands after the block of all that changed in it, and so after what was done above as well.
        self.after.apply(done);
        let state_root = self.after.root();
        let receipts_root = block.check(done, || state_root);
        let receipts_root =
            receipts_root.map_err(|error| Failure::of(number, error.kind(), error.to_string()))?;
        receipts::check(block, done, roots)?;
        Ok(Passed {
            number,
            txs: block.input.txs.len(),
            gas_used: done.results.iter().map(|result| result.gas_used).sum(),
            print: self.prints.then(|| print(done, state_root, receipts_root)),
        })
    }
}

/// A digest of all that is a result of a block; `receipts_root` stands for logs.
fn print(done: &ExecutedBlock, state_root: B256, receipts_root: B256) -> B256 {
    let mut hash = Keccak256::new();
    let mut word = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    word(state_root.as_slice());
    word(receipts_root.as_slice());
    word(&done.gas_used.to_be_bytes());
    for result in &done.results {
        let status = match result.status {
            Status::Success => 0,
            Status::Revert => 1,
            Status::Halt => 2,
        };
        word(&[status]);
        word(&result.gas_used.to_be_bytes());
        word(&result.output);
        word(result.created.as_ref().map_or(&[], |created| created.as_slice()));
    }
    for (address, diff) in &done.diff {
        word(address.as_slice());
        word(&[u8::from(diff.wiped)]);
        if let Some(info) = &diff.account {
            word(&info.balance.to_be_bytes::<32>());
            word(&info.nonce.to_be_bytes());
            word(info.code_hash.as_slice());
        }
        for (slot, value) in &diff.storage {
            word(&slot.to_be_bytes::<32>());
            word(&value.to_be_bytes::<32>());
        }
    }
    done.codes.iter().for_each(|(code_hash, _)| word(code_hash.as_slice()));
    done.requests.iter().for_each(|request| word(request));
    hash.finalize()
}

impl Run {
    /// Number of the block after the last that passed, as far as it is known.
    fn next(&self) -> u64 {
        self.last.map_or(0, |last| last.saturating_add(1))
    }

    fn add(&mut self, passed: Passed) {
        self.blocks += 1;
        self.last = Some(passed.number);
        self.txs += passed.txs;
        self.gas_used = self.gas_used.saturating_add(passed.gas_used);
        self.prints.extend(passed.print.map(|print| (passed.number, print)));
    }
}

/// How a chain is streamed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// Shuffles schedules, in builds with debug assertions.
    pub(crate) seed: u64,
    /// Whether the engine keeps what it learns from block to block.
    pub(crate) learning: bool,
    /// Threads that recover senders.
    pub(crate) recoverers: usize,
    /// Whether digests of results are wanted.
    pub(crate) prints: bool,
}

/// Executes a chain, its stages overlapped. `progress` is told how many blocks passed.
pub(crate) fn stream(
    chain: &Chain,
    engine: &mut dyn Engine,
    manner: Manner,
    interrupt: &AtomicBool,
    mut progress: impl FnMut(usize),
) -> Run {
    let Manner { seed, learning, recoverers, prints } = manner;
    let mut hashing = Hashing { after: HashedState::new(&chain.pre), prints };
    let mut execution = Execution::new(engine, chain.pre.clone(), Some(seed), learning);
    let execute = |block: &ChainBlock, control: &Control<'_>| execution.next(block, control);
    let (mut run, mut hash) = (Run::default(), Duration::ZERO);
    let start = Instant::now();
    let passed = pass(chain, (recoverers, DEPTH), execute, interrupt, |inbox| {
        while let Some(executed) = inbox.next(run.next()) {
            let passed = executed.and_then(|(block, done)| timed(&mut hash, || hashing.next(&block, &done)));
            match passed {
                Ok(one) => {
                    run.add(one);
                    progress(run.blocks);
                }
                Err(failure) => {
                    run.failed = Some(failure);
                    return;
                }
            }
        }
    });
    (run.recover, run.execute, run.hash) = (passed.recover, passed.execute, hash);
    if passed.panicked && run.failed.is_none() {
        run.failed = Some(Failure::panicked(run.next()));
    }
    run.elapsed = start.elapsed();
    run
}

/// Executes a chain one block after another, on one thread: what streaming must equal.
pub(crate) fn one_by_one(chain: &Chain, engine: &mut dyn Engine, control: &Control<'_>) -> Run {
    let mut hashing = Hashing { after: HashedState::new(&chain.pre), prints: true };
    let mut execution = Execution::new(engine, chain.pre.clone(), None, true);
    let mut run = Run::default();
    let start = Instant::now();
    for block in chain.blocks() {
        let passed = block.map_err(|error| Failure::of_chain(&error)).and_then(|block| {
            let done = execution.next(&block, control)?;
            hashing.next(&block, &done)
        });
        match passed {
            Ok(passed) => run.add(passed),
            Err(failure) => {
                run.failed = Some(failure);
                break;
            }
        }
    }
    run.elapsed = start.elapsed();
    run
}
