//! What a second worker saves: two stores of the same state get the same blocks, as in the example `updates`, by turns,
//! one with one worker and one with several.
//!
//! ```text
//! cargo run --release -p braid-store --example turns -- [WORKERS] [BLOCKS] [ACCOUNTS] [UPDATES]
//! ```
//! Says the time of the hashing part of blocks: from the batch to the root, which is all of `prepare`; and the processor
//! time of the thread that was busiest in it, of which a machine that is shared with others takes nothing away (Linux).

mod drawn;

use braid_store::disk::{DiskOptions, DiskStore};
use drawn::{Drawn, Random};
use std::{collections::BTreeMap, error::Error, fs, path::PathBuf, time::Instant};

/// The allocator that `braid` is built with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Nanoseconds of processor time of each thread of this process so far (Linux).
fn processor_nanos() -> BTreeMap<PathBuf, u64> {
    let of = |path: &PathBuf| -> Option<u64> {
        fs::read_to_string(path.join("schedstat")).ok()?.split(' ').next()?.parse().ok()
    };
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten().map(|thread| thread.path());
    threads.filter_map(|thread| Some((thread.clone(), of(&thread)?))).collect()
}

/// Of one store: milliseconds of each block, and of the busiest thread in all of them.
#[derive(Default)]
struct Times {
    walls: Vec<f64>,
    busiest: f64,
}

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
        stores.push((store, Times::default()));
    }
    let mut random = Random(2);
    for version in 1..=blocks {
        let batch = state.block(&mut random, updates);
        let mut roots = Vec::new();
        for turn in 0..2 {
            let (store, times) = &mut stores[(turn + version as usize) % 2];
            let (before, started) = (processor_nanos(), Instant::now());
            let prepared = store.prepare(version, &batch)?;
            times.walls.push(started.elapsed().as_secs_f64() * 1e3);
            let spent = processor_nanos()
                .into_iter()
                .map(|(thread, nanos)| nanos - before.get(&thread).unwrap_or(&0));
            times.busiest += spent.max().unwrap_or(0) as f64 / 1e6;
            roots.push(store.commit(prepared)?.root);
        }
        if roots[0] != roots[1] {
            return Err(format!("block {version}: {roots:?}").into());
        }
    }
    let mut told = Vec::new();
    for (_, Times { walls, busiest }) in &mut stores {
        walls.sort_unstable_by(f64::total_cmp);
        let count = walls.len() as f64;
        told.push([walls[0], walls[walls.len() / 2], walls.iter().sum::<f64>() / count, *busiest / count]);
    }
    let [one, many] = told[..] else { return Err("two stores".into()) };
    println!("hashing part, ms a block: best, median, mean; processor time of the busiest thread, mean");
    let print =
        |name: &str, of: [f64; 4]| println!("{name}: {}", of.map(|one| format!("{one:.2}")).join(", "));
    print("1 worker", one);
    print(&format!("{workers} workers"), many);
    print("ratio", std::array::from_fn(|at| one[at] / many[at]));
    drop(stores);
    fs::remove_dir_all(folder)?;
    Ok(())
}
