//! What a second worker saves: two stores of the same state get the same blocks, as in the example `updates`, by turns,
//! one with one worker and one with several.
//!
//! ```text
//! cargo run --release -p braid-store --example turns -- [WORKERS] [BLOCKS] [ACCOUNTS] [UPDATES]
//! ```
//! Says the time of the hashing part of blocks: from the batch to the root, which is all of `prepare`.

mod drawn;

use braid_store::disk::{DiskOptions, DiskStore};
use drawn::{Drawn, Random};
use std::{error::Error, fs, time::Instant};

/// The allocator that `braid` is built with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let mut next = |otherwise: u64| arguments.next().unwrap_or(Ok(otherwise));
    let (workers, blocks, accounts, updates) = (next(2)?, next(60)?, next(100_000)?, next(5000)?);
    let state = Drawn { accounts, contracts: accounts / drawn::SLOTS_EACH };
    let folder = std::env::temp_dir().join(format!("turns-{}", std::process::id()));
    let mut stores = Vec::new();
    for workers in [1, workers as usize] {
        let options = DiskOptions { workers, ..DiskOptions::default() };
        let mut store = DiskStore::create(&folder.join(workers.to_string()), options)?;
        store.apply(0, &state.genesis(&mut Random(1)))?;
        stores.push((store, Vec::new()));
    }
    let mut random = Random(2);
    for version in 1..=blocks {
        let batch = state.block(&mut random, updates);
        let mut roots = Vec::new();
        for turn in 0..2 {
            let (store, times) = &mut stores[(turn + version as usize) % 2];
            let started = Instant::now();
            let prepared = store.prepare(version, &batch)?;
            times.push(started.elapsed().as_secs_f64() * 1e3);
            roots.push(store.commit(prepared)?.root);
        }
        if roots[0] != roots[1] {
            return Err(format!("block {version}: {roots:?}").into());
        }
    }
    let mut told = Vec::new();
    for (_, times) in &mut stores {
        times.sort_unstable_by(f64::total_cmp);
        told.push((times[0], times[times.len() / 2], times.iter().sum::<f64>() / times.len() as f64));
    }
    let [one, many] = told[..] else { return Err("two stores".into()) };
    println!("hashing part, ms a block: best, median, mean");
    println!("1 worker:  {:.1}, {:.1}, {:.1}", one.0, one.1, one.2);
    println!("{workers} workers: {:.1}, {:.1}, {:.1}", many.0, many.1, many.2);
    println!("ratio:     {:.2}, {:.2}, {:.2}", one.0 / many.0, one.1 / many.1, one.2 / many.2);
    drop(stores);
    fs::remove_dir_all(folder)?;
    Ok(())
}
