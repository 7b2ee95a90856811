//! How fast plain revm runs the blocks of a folder: gas per second by block, and over all.
//!
//! `cargo run --release -p braid-profiles --example lean_speed -- <folder or file> [runs]`

use braid_profiles::lean;
use std::{path::PathBuf, process::ExitCode, time::Instant};

const DEFAULT_RUNS: usize = 20;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let Some(path) = args.next().map(PathBuf::from) else {
        eprintln!("usage: lean_speed <folder or file> [runs]");
        return ExitCode::from(2);
    };
    let runs = args.next().and_then(|runs| runs.parse().ok()).unwrap_or(DEFAULT_RUNS).max(1);
    match measure(&path, runs) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(path: &std::path::Path, runs: usize) -> Result<(), Box<dyn std::error::Error>> {
    let (mut all_gas, mut all_seconds) = (0.0, 0.0);
    for source in braid_work::load(path)? {
        let case = source.load()?;
        let pre = case.state()?;
        let mut seconds: Vec<f64> = Vec::with_capacity(runs);
        let mut gas = 0;
        for _ in 0..runs {
            let start = Instant::now();
            let block = lean::run(&case.input, pre)?;
            seconds.push(start.elapsed().as_secs_f64());
            gas = block.results.iter().map(|result| result.tx_gas_used()).sum();
        }
        seconds.sort_by(f64::total_cmp);
        let median = seconds[runs / 2];
        println!("{:>9} {gas:>9} gas {:>8.0} Mgas/s", case.name, gas as f64 / median / 1e6);
        all_gas += gas as f64;
        all_seconds += median;
    }
    println!("{:>9} {all_gas:>9} gas {:>8.0} Mgas/s", "all", all_gas / all_seconds / 1e6);
    Ok(())
}
