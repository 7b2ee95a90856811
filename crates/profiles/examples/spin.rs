//! Runs blocks over and over under one profile, for a profiler to look at:
//! `cargo run --release -p braid-profiles --example spin -- PROFILE THREADS SECONDS PATH...`

use braid_core::Control;
use std::{
    path::Path,
    time::{Duration, Instant},
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, name, threads, seconds, paths @ ..] = &args[..] else {
        return Err("usage: spin PROFILE THREADS SECONDS PATH...".into());
    };
    let mut engine = (braid_profiles::profile(name)?.build)(threads.parse()?)?;
    let time = Duration::from_secs_f64(seconds.parse()?);
    for path in paths {
        for source in braid_work::load(Path::new(path))? {
            let case = source.load()?;
            let pre = case.state()?;
            let (start, mut times) = (Instant::now(), Vec::new());
            while start.elapsed() < time {
                let run = Instant::now();
                drop(engine.execute(&case.input, pre, &Control::default())?);
                times.push(run.elapsed());
            }
            times.sort();
            let stats = engine.execute(&case.input, pre, &Control::default())?.into_block(pre).stats;
            println!("{}: median {:?}, least {:?}, {stats:?}", case.name, times[times.len() / 2], times[0]);
        }
    }
    Ok(())
}
