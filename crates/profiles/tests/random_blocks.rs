//! Random blocks over a few accounts and contracts, so that everything conflicts with everything: every
//! profile must agree with `lean`, valid block or not. The seed of a block is that of its schedules too:
//! `BRAID_SEED` repeats both; `BRAID_BLOCKS` says how many blocks, `BRAID_LONG=1` that it be many.

mod common;

use braid_evm::ExecutedBlock;
use braid_profiles::{Engine, ExecError};
use common::{THREADS, engine, random::block, seed_to_repeat};

/// A profile with a number of threads, and its engine.
type Seat = (&'static str, usize, Box<dyn Engine>);

fn engines() -> Vec<Seat> {
    let parallel = THREADS.iter().flat_map(|n| [("monad", *n), ("aptos", *n), ("bal", *n)]);
    let all = [("serial", 1)].into_iter().chain(parallel);
    all.map(|(name, threads)| (name, threads, engine(name, threads))).collect()
}

/// A failed system call is described in words that are each engine's own.
fn comparable(ran: Result<ExecutedBlock, ExecError>) -> Result<ExecutedBlock, ExecError> {
    ran.map_err(|error| match error {
        ExecError::SystemCall { name, .. } => ExecError::SystemCall { name, reason: String::new() },
        other => other,
    })
}

/// Cuts the block before each transaction that `lean` calls invalid, so that most blocks run long.
fn agree(seed: u64, engines: &mut [Seat]) -> (usize, usize) {
    let mut world = block(seed);
    let mut invalid = 0;
    loop {
        let expected = comparable(world.run("lean", 1));
        for (name, threads, engine) in engines.iter_mut() {
            engine.shuffle(seed);
            let got = comparable(world.run_on(engine));
            assert_eq!(
                got, expected,
                "{name} with {threads} threads, {:?}; repeat with BRAID_SEED={seed}",
                world.input.spec
            );
        }
        match expected {
            Ok(block) => return (block.results.len(), invalid),
            Err(ExecError::SystemCall { .. }) => return (world.input.txs.len(), invalid),
            Err(ExecError::Invalid { tx, .. }) => {
                invalid += 1;
                world.input.txs.remove(tx);
            }
            Err(error) => panic!("{error}; repeat with BRAID_SEED={seed}"),
        }
    }
}

#[test]
fn random_blocks_agree() {
    let mut engines = engines();
    if let Some(seed) = seed_to_repeat() {
        agree(seed, &mut engines);
        return;
    }
    let asked =
        std::env::var("BRAID_BLOCKS").ok().map(|count| count.parse().expect("BRAID_BLOCKS is a number"));
    let count = asked.unwrap_or(if std::env::var_os("BRAID_LONG").is_some() { 20_000 } else { 1_000 });
    let (mut transactions, mut invalid) = (0, 0);
    for seed in 0..count {
        let (ran, rejected) = agree(seed, &mut engines);
        transactions += ran;
        invalid += rejected;
    }
    assert!(count < 100 || transactions > count as usize * 10, "only {transactions} transactions ran");
    assert!(count < 100 || invalid > 0, "no invalid transaction was met");
}
