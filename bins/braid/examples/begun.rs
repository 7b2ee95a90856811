//! Times blocks on a data folder, to the root of the version after them: with the root after execution, and begun while
//! the block is executed.
//!
//! ```text
//! cargo run --release -p braid --example begun -- PROFILE THREADS HASHERS ROUNDS OVERLAP WORKLOAD...
//! ```
//! Each workload twice: with its state as it lies on the device (the folder is opened anew for each run, and the system
//! told to forget the file), and in memory. Both ways by turns, in each round in another order.

use alloy_primitives::B256;
use braid_core::Control;
use braid_db::{DataFolder, Finished, version_ahead};
use braid_profiles::Engine;
use braid_store::disk::DiskOptions;
use braid_work::{Case, PreState};
use std::{
    error::Error,
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

/// The allocator that `braid` is built with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Of one run: execution, from its end to the root, at work ahead.
#[derive(Clone, Copy, Default)]
struct Times {
    executed: Duration,
    after: Duration,
    ahead: Duration,
    locations: usize,
    root: B256,
}

fn run(
    engine: &mut dyn Engine,
    folder: &DataFolder,
    (case, overlap): (&Case, u16),
    fed: bool,
) -> Result<Times, Box<dyn Error>> {
    let number = u64::try_from(case.input.env.number)?;
    let state = folder.state(number - 1)?.overlapping(overlap);
    let mut pre = PreState::over(Arc::new(state));
    pre.block_hashes.clone_from(&case.state()?.block_hashes);
    let (control, mut times) = (Control::default(), Times::default());
    let start = Instant::now();
    let (done, begun) = match fed {
        true => {
            let begun = folder.begin_version()?;
            let run = |told: &mut braid_db::Told| {
                engine.execute_fed(&case.input, &pre, &mut |writes| told.feed(writes), &control)
            };
            let (done, begun) = version_ahead(begun, run)?;
            (done, Some(begun))
        }
        false => (engine.execute(&case.input, &pre, &control)?, None),
    };
    let finished = Finished { number, block: None, done: done.try_into_block(&pre)? };
    times.executed = start.elapsed();
    let prepared = match begun {
        Some(begun) => {
            let (prepared, stats) = folder.prepare_begun(&finished, begun)?;
            (times.ahead, times.locations) = (stats.ahead, stats.locations);
            prepared
        }
        None => folder.prepare(&finished)?,
    };
    times.after = start.elapsed() - times.executed;
    times.root = prepared.root();
    Ok(times)
}

/// Tells the system to forget what it has of the files of a folder.
fn forget(folder: &Path) -> Result<(), Box<dyn Error>> {
    let file = format!("if={}", folder.join("state").display());
    Command::new("dd").args([file.as_str(), "iflag=nocache", "count=0", "status=none"]).status()?;
    Ok(())
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e3
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, profile, threads, hashers, rounds, overlap, workloads @ ..] = &args[..] else {
        return Err("usage: begun PROFILE THREADS HASHERS ROUNDS OVERLAP WORKLOAD...".into());
    };
    let options = DiskOptions { workers: hashers.parse()?, ..DiskOptions::default() };
    let (rounds, overlap): (usize, u16) = (rounds.parse()?, overlap.parse()?);
    let mut engine = (braid_profiles::profile(profile)?.build)(threads.parse()?)?;
    println!("ms, medians: execution, from its end to the root, both");
    for text in workloads {
        let case = text.parse::<braid_work::Workload>()?.source().load()?;
        let path = std::env::temp_dir().join(format!("begun-{}", std::process::id()));
        let mut folder = DataFolder::open_or_create(&path, options)?;
        folder.begin_bare(u64::try_from(case.input.env.number)? - 1, case.state()?)?;
        for cold in [true, false] {
            let mut runs: [Vec<Times>; 2] = Default::default();
            for round in 0..rounds + 1 {
                for turn in 0..2 {
                    let fed = (turn + round) % 2 == 1;
                    if cold {
                        drop(folder);
                        forget(&path)?;
                        folder = DataFolder::open(&path, options)?;
                    }
                    let times = run(engine.as_mut(), &folder, (&case, overlap), fed)?;
                    // The first round is to warm up.
                    if round > 0 {
                        runs[usize::from(fed)].push(times);
                    }
                }
            }
            let root = runs[0][0].root;
            if runs.iter().flatten().any(|times| times.root != root) {
                return Err(format!("{text}: roots differ").into());
            }
            for (name, runs) in ["after", "begun"].iter().zip(&runs) {
                let of =
                    |part: fn(&Times) -> Duration| median(&mut runs.iter().map(part).collect::<Vec<_>>());
                println!(
                    "{text} {} {name}: {:.2}, {:.2}, {:.2}; ahead {:.2} ms for {} locations",
                    if cold { "cold" } else { "warm" },
                    of(|times| times.executed),
                    of(|times| times.after),
                    of(|times| times.executed + times.after),
                    of(|times| times.ahead),
                    runs[0].locations,
                );
            }
        }
        drop(folder);
        std::fs::remove_dir_all(&path)?;
    }
    Ok(())
}
