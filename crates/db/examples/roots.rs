//! Times the roots of blocks with a witness, without their execution:
//! `cargo run --release -p braid-db --example roots -- THREADS SECONDS CASE...`

use braid_db::WitnessTries;
use braid_sched::Pool;
use braid_store::trie::{Crew, TrieNodes};
use revm::primitives::hardfork::SpecId;
use std::{
    error::Error,
    path::Path,
    time::{Duration, Instant},
};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, threads, seconds, paths @ ..] = &args[..] else {
        return Err("usage: roots THREADS SECONDS CASE...".into());
    };
    let time = Duration::from_secs_f64(seconds.parse()?);
    let threads: u16 = threads.parse()?;
    let (pool, threads) = (Pool::new(threads), usize::from(threads));
    for path in paths {
        for source in braid_work::load(Path::new(path))? {
            let case = source.load()?;
            let (Some(witness), Some(diff)) = (&case.expect.witness, &case.expect.post_state) else {
                continue;
            };
            let clears_empty = case.input.spec.is_enabled_in(SpecId::SPURIOUS_DRAGON);
            let (start, mut least, mut verified) =
                (Instant::now(), Duration::MAX, (Duration::MAX, Duration::MAX));
            while start.elapsed() < time {
                let begin = Instant::now();
                let nodes: TrieNodes = witness.nodes.iter().cloned().collect();
                let named = begin.elapsed();
                let tries = WitnessTries::new(witness, &nodes);
                let revealed = begin.elapsed();
                verified = verified.min((revealed, named));
                let mut tries = tries;
                let begin = Instant::now();
                let mut split = |count: usize, work: &(dyn Fn(usize) + Sync)| pool.split(count, work);
                let root = tries.root_after(diff, clears_empty, &mut Crew::new(threads, &mut split))?;
                least = least.min(begin.elapsed());
                let header = case.header.as_ref().map(|header| header.state_root);
                if header.is_some_and(|header| header != root) {
                    return Err(format!("{}: root {root}", case.name).into());
                }
            }
            let slots: usize = diff.values().map(|change| change.storage.len()).sum();
            println!(
                "{}: {} accounts, {slots} slots: root {least:?}; {} nodes revealed in {:?}, of which {:?} to name them",
                case.name,
                diff.len(),
                witness.nodes.len(),
                verified.0,
                verified.1,
            );
        }
    }
    Ok(())
}
