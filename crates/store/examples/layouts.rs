//! Bytes on disk and reads of the two layouts, over many versions that are all retained.
//!
//! ```text
//! cargo run --release -p braid-store --example layouts -- [versions] [updates] [accounts]
//! ```
//! Each version changes so many accounts and as many slots, drawn at random, of a state of so many accounts and as
//! many slots, a hundred to a contract (1,000 versions of 200 and 200 of 20,000 by default). The stores are files, get
//! the same batches, and have the same roots. Then each is opened anew and asked for accounts and slots
//! of random versions, with next to nothing remembered between two questions.

use alloy_primitives::{Address, U256, keccak256};
use alloy_trie::TrieAccount;
use braid_store::{
    Layout,
    delta::{DeltaOptions, DeltaStore},
    disk::{Batch, DiskOptions, DiskStore},
    io::{FileMedium, Medium},
};
use std::{env, error::Error, path::Path, sync::Arc, time::Instant};

/// The allocator that `braid` is built with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SLOTS_EACH: u64 = 100;
const QUESTIONS: u64 = 2000;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

fn address(number: u64) -> Address {
    Address::from_word(keccak256(number.to_be_bytes()))
}

fn account(random: &mut Random) -> TrieAccount {
    let balance = U256::from(random.below(u64::MAX));
    TrieAccount { nonce: random.below(1000), balance, ..TrieAccount::default() }
}

/// What is stored, and how much of it a version changes.
#[derive(Clone, Copy)]
struct Load {
    versions: u64,
    updates: u64,
    accounts: u64,
}

impl Load {
    fn contracts(self) -> u64 {
        self.accounts.div_ceil(SLOTS_EACH)
    }

    fn genesis(self) -> Batch {
        let (mut random, mut batch) = (Random(1), Batch::default());
        for number in 0..self.accounts {
            let held = if number < self.contracts() { SLOTS_EACH } else { 0 };
            let slots = (0..held).map(|slot| (U256::from(slot), U256::from(1 + slot)));
            batch.change(address(number), Some(account(&mut random)), false, slots);
        }
        batch
    }

    fn block(self, random: &mut Random) -> Batch {
        let mut batch = Batch::default();
        for _ in 0..self.updates {
            batch.change(address(random.below(self.accounts)), Some(account(random)), false, []);
        }
        for _ in 0..self.updates {
            let (of, slot) = (random.below(self.contracts()), random.below(SLOTS_EACH));
            batch.slots(address(of), [(U256::from(slot), U256::from(1 + random.below(u64::MAX - 1)))]);
        }
        batch
    }

    /// Writes all versions; the seconds that took.
    fn write(self, store: &mut impl Layout) -> Result<f64, Box<dyn Error>> {
        store.apply(0, &self.genesis())?;
        let (mut random, started) = (Random(2), Instant::now());
        for version in 1..=self.versions {
            store.apply(version, &self.block(&mut random))?;
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
                    false => drop(store.account(version, &address(random.below(self.accounts)))?),
                    true => {
                        let (of, slot) = (random.below(self.contracts()), random.below(SLOTS_EACH));
                        store.slot(version, &address(of), &U256::from(slot))?;
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
    let load = Load { versions, updates, accounts };
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
