//! Bytes on disk and reads of the two layouts, over many versions that are all retained.
//!
//! ```text
//! cargo run --release -p braid-store --example layouts -- [versions] [updates] [accounts]
//! ```
//! Each version changes so many accounts and as many slots, drawn at random, of a state of so many accounts and as
//! many slots, a hundred to a contract (1,000 versions of 200 and 200 of 20,000 by default). The stores are files, get
//! the same batches, and have the same roots. Then each is opened anew and asked for accounts and slots
//! of random versions, with next to nothing remembered between two questions.

mod drawn;

use braid_store::{
    Layout,
    delta::{DeltaOptions, DeltaStore},
    disk::{Batch, DiskOptions, DiskStore},
    io::{FileMedium, Medium},
};
use drawn::{Drawn, Random, SLOTS_EACH, address};
use std::{env, error::Error, path::Path, sync::Arc, time::Instant};

/// The allocator that `braid` is built with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const QUESTIONS: u64 = 2000;

/// What is stored, and how much of it a version changes.
#[derive(Clone, Copy)]
struct Load {
    versions: u64,
    updates: u64,
    state: Drawn,
}

impl Load {
    fn genesis(self) -> Batch {
        self.state.genesis(&mut Random(1))
    }

    /// Writes all versions; the seconds that took.
    fn write(self, store: &mut impl Layout) -> Result<f64, Box<dyn Error>> {
        store.apply(0, &self.genesis())?;
        let (mut random, started) = (Random(2), Instant::now());
        for version in 1..=self.versions {
            store.apply(version, &self.state.block(&mut random, self.updates))?;
        }
        Ok(started.elapsed().as_secs_f64())
    }

    /// Device reads for a cold account, and for a cold slot.
    fn ask(self, store: &impl Layout) -> Result<[f64; 2], Box<dyn Error>> {
        let mut random = Random(3);
        let mut count = |slots: bool| -> Result<f64, Box<dyn Error>> {
            let before = store.reads()?;
            for _ in 0..QUESTIONS {
                let version = random.below(self.versions + 1);
                match slots {
                    false => drop(store.account(version, &address(random.below(self.state.accounts)))?),
                    true => {
                        let (contract, slot) = self.state.slot(&mut random);
                        store.slot(version, &contract, &slot)?;
                    }
                }
            }
            Ok((store.reads()? - before) as f64 / QUESTIONS as f64)
        };
        Ok([count(false)?, count(true)?])
    }
}

fn file(path: &Path) -> Result<Arc<dyn Medium>, std::io::Error> {
    Ok(Arc::new(FileMedium::open(path, true).or_else(|_| FileMedium::create(path))?))
}

fn show(name: &str, [first, all]: [u64; 2], load: Load, seconds: f64, [account, slot]: [f64; 2], than: f64) {
    println!(
        "{name:<14} {:>9.1} MB {:>9.1} MB {:>8.1} kB {:>7.3} {account:>9.2} {slot:>9.2} {seconds:>8.1} s",
        first as f64 / 1e6,
        all as f64 / 1e6,
        (all - first) as f64 / 1e3 / load.versions as f64,
        (all - first) as f64 / than,
    );
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut numbers = env::args().skip(1).map(|number| number.parse::<u64>());
    let versions = numbers.next().transpose()?.unwrap_or(1000).max(1);
    let updates = numbers.next().transpose()?.unwrap_or(200);
    let accounts = numbers.next().transpose()?.unwrap_or(20_000).max(1);
    let state = Drawn { accounts, contracts: accounts.div_ceil(SLOTS_EACH) };
    let load = Load { versions, updates, state };
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("nodes");
    let options = DiskOptions {
        keep: versions as usize + 1,
        compact: false,
        workers: 1,
        flat_entries: 0,
        ..DiskOptions::default()
    };
    let mut nodes = DiskStore::create_on(file(&path)?, options)?;
    nodes.apply(0, &load.genesis())?;
    let first = nodes.bytes()?;
    drop(nodes);
    std::fs::remove_file(&path)?;
    let mut nodes = DiskStore::create_on(file(&path)?, options)?;
    let seconds = load.write(&mut nodes)?;
    let (all, roots) = (nodes.bytes()?, nodes.roots());
    drop(nodes);
    let cold = DiskStore::open_on(file(&path)?, DiskOptions { page_cache_bytes: 0, ..options })?;
    println!("{versions} versions of {updates} accounts and {updates} slots, of {accounts} each");
    println!(
        "{:14} {:>12} {:>12} {:>11} {:>7} {:>19}",
        "", "at first", "at last", "a version", "", "reads: account, slot"
    );
    let than = (all - first) as f64;
    show("nodes", [first, all], load, seconds, load.ask(&cold)?, than);
    drop(cold);
    std::fs::remove_file(&path)?;
    for chain in [2, 4, 8, 16, 32] {
        let path = folder.path().join(format!("deltas-{chain}"));
        let mut deltas = DeltaStore::create_on(file(&path)?, DeltaOptions::chained(chain))?;
        deltas.apply(0, &load.genesis())?;
        let first = deltas.bytes()?;
        drop(deltas);
        std::fs::remove_file(&path)?;
        let mut deltas = DeltaStore::create_on(file(&path)?, DeltaOptions::chained(chain))?;
        let seconds = load.write(&mut deltas)?;
        if deltas.roots() != roots {
            return Err("the layouts have different roots".into());
        }
        let all = deltas.bytes()?;
        drop(deltas);
        let cold =
            DeltaStore::open_on(file(&path)?, DeltaOptions { pages: 0, ..DeltaOptions::chained(chain) })?;
        show(&format!("deltas, {chain:>2}"), [first, all], load, seconds, load.ask(&cold)?, than);
        drop(cold);
        std::fs::remove_file(&path)?;
    }
    Ok(())
}
