//! Time of blocks of updates, synced per block: 5,000 accounts and 5,000 slots, drawn at random, in a state of
//! 100,000 accounts and 1,000 contracts of 100 slots each.
//!
//! ```text
//! cargo run --release -p braid-store --example updates -- [--blocks N] [--accounts N] [--slots N]
//!     [--workers N] [--folder PATH] [--cache-mib N] [--flat N] [--no-compaction] [--keep]
//! ```
//! Says wall and processor time for each block (user and system, of all threads), and what the store takes. With
//! `--keep` the store stays in its folder; where there is one already it is opened, not loaded: so a large one can be
//! loaded once, and then updated with less memory (`scripts/store.sh`).

mod drawn;

use braid_store::disk::{DiskOptions, DiskStore};
use drawn::{Drawn, Random, SLOTS_EACH, address};
use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    path::{Path, PathBuf},
    str::FromStr,
    time::Instant,
};

/// The allocator that `braid` is built with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Arguments(BTreeMap<String, String>);

impl Arguments {
    fn parse() -> Result<Self, Box<dyn Error>> {
        let (mut found, mut arguments) = (BTreeMap::new(), std::env::args().skip(1));
        while let Some(name) = arguments.next() {
            let value = match name.as_str() {
                "--no-compaction" | "--keep" => String::from("1"),
                _ => arguments.next().ok_or_else(|| format!("{name} needs a value"))?,
            };
            found.insert(name, value);
        }
        Ok(Arguments(found))
    }

    fn get<T: FromStr<Err: Error + 'static>>(&self, name: &str, otherwise: T) -> Result<T, Box<dyn Error>> {
        Ok(self.0.get(name).map(|text| text.parse()).transpose()?.unwrap_or(otherwise))
    }
}

/// Accounts, and slots, that a block changes.
const UPDATES: u64 = 5000;

/// Milliseconds of processor time of all threads of this process so far (Linux).
fn processor_millis() -> f64 {
    let schedule = |path: PathBuf| -> Option<f64> {
        let text = fs::read_to_string(path.join("schedstat")).ok()?;
        text.split(' ').next()?.parse().ok()
    };
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    threads.filter_map(|thread| schedule(thread.path())).sum::<f64>() / 1e6
}

/// Pages read for a look-up in a store that was just opened, once the upper nodes are in memory.
fn cold_reads(
    folder: &Path,
    options: DiskOptions,
    state: Drawn,
    random: &mut Random,
) -> Result<(), Box<dyn Error>> {
    const LOOKUPS: u64 = 5000;
    let store = DiskStore::open(folder, options)?;
    let view = store.view(store.latest().ok_or("no version")?.0)?;
    let mut told = Vec::new();
    // The first round brings the upper nodes into memory.
    for round in ["first accounts", "accounts", "first slots", "slots"] {
        let (before, started) = (store.stat()?.page_reads, Instant::now());
        for _ in 0..LOOKUPS {
            if round.ends_with("accounts") {
                view.account(&address(random.below(state.accounts)))?.ok_or("an account is missing")?;
            } else {
                let (contract, slot) = state.slot(random);
                view.slot(&contract, &slot)?;
            }
        }
        let reads = (store.stat()?.page_reads - before) as f64 / LOOKUPS as f64;
        told.push(format!(
            "{round} {reads:.2} ({:.1} us)",
            started.elapsed().as_secs_f64() * 1e6 / LOOKUPS as f64
        ));
    }
    println!("pages read a look-up (and time, warm for the system): {}", told.join(", "));
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse()?;
    let (accounts, slots) = (arguments.get("--accounts", 100_000)?, arguments.get("--slots", 100_000)?);
    let state = Drawn { accounts, contracts: slots / SLOTS_EACH };
    let blocks: u64 = arguments.get("--blocks", 20)?;
    let standard = DiskOptions::default();
    let options = DiskOptions {
        workers: arguments.get("--workers", standard.workers)?,
        page_cache_bytes: arguments.get("--cache-mib", standard.page_cache_bytes >> 20)? << 20,
        flat_entries: arguments.get("--flat", standard.flat_entries)?,
        compact: !arguments.0.contains_key("--no-compaction"),
        ..standard
    };
    let given: Option<PathBuf> = arguments.0.get("--folder").map(PathBuf::from);
    let folder =
        given.unwrap_or_else(|| std::env::temp_dir().join(format!("updates-{}", std::process::id())));
    let (mut store, first) = if folder.join("state").exists() {
        let store = DiskStore::open(&folder, options)?;
        let (version, root) = store.latest().ok_or("no version")?;
        println!("opened version {version}: {root}");
        (store, version + 1)
    } else {
        let mut store = DiskStore::create(&folder, options)?;
        let started = Instant::now();
        let loaded = store.apply(0, &state.genesis(&mut Random(1)))?;
        println!("loaded {accounts} accounts and {slots} slots in {:?}: {}", started.elapsed(), loaded.root);
        (store, 1)
    };

    let mut random = Random(1 + first);
    let (mut walls, mut works, mut prepares) = (Vec::new(), Vec::new(), Vec::new());
    let (mut bytes, mut moved) = (0, 0);
    for version in first..first + blocks {
        let batch = state.block(&mut random, UPDATES);
        let (started, before) = (Instant::now(), processor_millis());
        let prepared = store.prepare(version, &batch)?;
        prepares.push(started.elapsed().as_secs_f64() * 1e3);
        let done = store.commit(prepared)?;
        walls.push(started.elapsed().as_secs_f64() * 1e3);
        works.push(processor_millis() - before);
        (bytes, moved) = (bytes + done.bytes, moved + done.moved);
    }
    let told = |name: &str, times: &mut Vec<f64>| {
        times.sort_unstable_by(f64::total_cmp);
        let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        println!(
            "{name}: best {:.1}, mean {mean:.1}, p50 {:.1}, p99 {:.1}, worst {:.1}",
            at(0.0),
            at(0.5),
            at(0.99),
            at(1.0)
        );
    };
    if blocks > 0 {
        told("wall ms a block     ", &mut walls);
        told("  of it, up to root ", &mut prepares);
        told("processor ms a block", &mut works);
    }
    println!(
        "{} bytes written a block, {} bytes moved a block",
        bytes / blocks.max(1),
        moved / blocks.max(1)
    );
    println!("root {}; {:?}", store.latest().map(|(_, root)| root).unwrap_or_default(), store.stat()?);
    drop(store);
    cold_reads(&folder, options, state, &mut random)?;
    if !arguments.0.contains_key("--keep") {
        fs::remove_dir_all(folder)?;
    }
    Ok(())
}
