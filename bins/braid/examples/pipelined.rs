//! Times blocks with a witness: execution alone, the root after it, and the root begun while it runs:
//! `cargo run --release -p braid --example pipelined -- PROFILE THREADS SECONDS CASE...`

use braid_core::Control;
use braid_db::{AheadStats, WitnessTries, root_ahead};
use braid_profiles::Engine;
use braid_store::trie::{Crew, TrieNodes};
use braid_work::{Case, PreState};
use revm::primitives::hardfork::SpecId;
use std::{
    error::Error,
    path::Path,
    time::{Duration, Instant},
};

/// Executes a block, and finds its root after that or from the prefix on; the time, and the part after execution.
fn rooted(
    engine: &mut dyn Engine,
    threads: usize,
    (case, pre): (&Case, &PreState),
    tries: WitnessTries<'_>,
    fed: bool,
) -> Result<(Duration, Duration, AheadStats), Box<dyn Error>> {
    let witness = case.expect.witness.as_ref().ok_or("no witness")?;
    let start = Instant::now();
    let control = Control::default();
    let (done, begun) = match fed {
        true => root_ahead(tries, |told| {
            engine.execute_fed(&case.input, pre, &mut |writes| told.feed(writes), &control)
        })?,
        false => (engine.execute(&case.input, pre, &control)?, tries.into()),
    };
    let done = done.into_block(pre);
    let clears_empty = case.input.spec.is_enabled_in(SpecId::SPURIOUS_DRAGON);
    let mut split = |count: usize, work: &(dyn Fn(usize) + Sync)| engine.split(count, work);
    let rooted = begun.finish(witness, &done.diff, clears_empty, &mut Crew::new(threads, &mut split))?;
    drop(done);
    let elapsed = start.elapsed();
    let stats = rooted.stats;
    let (root, header) = (rooted.root, case.header.as_ref().map(|header| header.state_root));
    if header.is_some_and(|header| header != root) {
        return Err(format!("{}: root {root}", case.name).into());
    }
    Ok((elapsed, stats.after, stats))
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, name, threads, seconds, paths @ ..] = &args[..] else {
        return Err("usage: pipelined PROFILE THREADS SECONDS CASE...".into());
    };
    let threads = threads.parse()?;
    let mut engine = (braid_profiles::profile(name)?.build)(threads)?;
    let time = Duration::from_secs_f64(seconds.parse()?);
    for path in paths {
        for source in braid_work::load(Path::new(path))? {
            let case = source.load()?;
            let pre = case.state()?;
            let Some(witness) = &case.expect.witness else { continue };
            let begin = Instant::now();
            let nodes: TrieNodes = witness.nodes.iter().cloned().collect();
            let tries = WitnessTries::new(witness, &nodes);
            let revealed = begin.elapsed();
            let (mut alone, mut after, mut ahead) = (Vec::new(), Vec::new(), Vec::new());
            let (start, mut stats) = (Instant::now(), AheadStats::default());
            while start.elapsed() < time {
                let run = Instant::now();
                drop(engine.execute(&case.input, pre, &Control::default())?.into_block(pre));
                alone.push(run.elapsed());
                after.push(rooted(engine.as_mut(), threads, (&case, pre), tries.clone(), false)?.0);
                let (elapsed, _, told) = rooted(engine.as_mut(), threads, (&case, pre), tries.clone(), true)?;
                ahead.push(elapsed);
                stats = told;
            }
            for times in [&mut alone, &mut after, &mut ahead] {
                times.sort();
            }
            let median = |times: &[Duration]| times[times.len() / 2];
            let more = |times: &[Duration], of: fn(&[Duration]) -> Duration| {
                100.0 * (of(times).as_secs_f64() / of(&alone).as_secs_f64() - 1.0)
            };
            let least = |times: &[Duration]| times[0];
            println!(
                "{}: alone {:?} (least {:?}); root after it +{:.1}% (+{:.1}%); root ahead +{:.1}% (+{:.1}%); {stats:?}; \
                 {} nodes revealed in {revealed:?}",
                case.name,
                median(&alone),
                alone[0],
                more(&after, median),
                more(&after, least),
                more(&ahead, median),
                more(&ahead, least),
                witness.nodes.len(),
            );
        }
    }
    Ok(())
}
