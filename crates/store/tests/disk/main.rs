//! The store on disk: what it holds, against an oracle that computes roots anew; what it survives.

mod begun;
mod crash;
mod damage;
mod hashed;
mod layered;
mod official;
mod oracle;
mod processes;
mod race;
mod scan;
mod states;
mod storm;

use braid_store::disk::DiskOptions;

/// Small segments and caches, so that little data meets everything.
fn small() -> DiskOptions {
    DiskOptions {
        keep: 4,
        segment_bytes: 1 << 16,
        journal_bytes: 1 << 18,
        page_cache_bytes: 1 << 20,
        flat_entries: 1 << 10,
        workers: 1,
        compact: true,
    }
}

/// The seeds to run: 0 to `count`, or the one that is asked for.
fn seeds(count: u64) -> std::ops::Range<u64> {
    let repeat = std::env::var("BRAID_SEED").ok().map(|seed| seed.parse().expect("BRAID_SEED is a number"));
    repeat.map_or(0..count, |seed| seed..seed + 1)
}

/// Whether the long form of tests is asked for.
fn long() -> bool {
    std::env::var_os("BRAID_LONG").is_some_and(|long| long == "1")
}
