//! Times what is made of a block's receipts, beside its execution: bloom and root as `alloy` makes them one by one, and
//! as Braid makes them, many hashes at a time: `cargo run --release -p braid --example receipts -- SECONDS CASE...`

use alloy_consensus::{ReceiptEnvelope, proofs};
use alloy_primitives::{Bloom, logs_bloom};
use braid_core::Control;
use braid_rules::outcome::{self, Landed};
use std::{
    error::Error,
    hint::black_box,
    path::Path,
    time::{Duration, Instant},
};

/// The shortest of the times that `work` takes within `time`.
fn least(time: Duration, mut work: impl FnMut()) -> Duration {
    let (start, mut least) = (Instant::now(), Duration::MAX);
    while start.elapsed() < time {
        let begun = Instant::now();
        work();
        least = least.min(begun.elapsed());
    }
    least
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, seconds, paths @ ..] = &args[..] else {
        return Err("usage: receipts SECONDS CASE...".into());
    };
    let time = Duration::from_secs_f64(seconds.parse()?);
    let mut engine = (braid_profiles::profile("serial")?.build)(1)?;
    println!(
        "{:>10} {:>5} {:>6} {:>12} {:>12} {:>12}",
        "block", "txs", "logs", "execution", "alloy", "braid"
    );
    for path in paths {
        for source in braid_work::load(Path::new(path))? {
            let case = source.load()?;
            let pre = case.state()?;
            let run = || engine.execute(&case.input, pre, &Control::default());
            let done = timed(run, time)?;
            let (execution, done) = (done.0, done.1.into_block(pre));
            let types = || case.input.txs.iter().map(|tx| tx.tx_type);
            let landed: Vec<Landed> = outcome::landed(types(), &done);
            let envelopes: Vec<ReceiptEnvelope> = outcome::receipts(landed);
            let alloy = least(time, || {
                let bloom = envelopes.iter().fold(Bloom::ZERO, |all, one| all | logs_bloom(one.logs()));
                black_box((bloom, proofs::calculate_receipt_root(&envelopes)));
            });
            let braid = least(time, || {
                let bloom = outcome::blooms(envelopes.iter().map(|one| one.logs()));
                black_box((bloom, outcome::receipts_root(&envelopes)));
            });
            let logs: usize = envelopes.iter().map(|one| one.logs().len()).sum();
            let (number, txs) = (&case.input.env.number, case.input.txs.len());
            let micros = |time: Duration| time.as_nanos() as f64 / 1000.0;
            println!(
                "{number:>10} {txs:>5} {logs:>6} {:>9.1} us {:>9.1} us {:>9.1} us",
                micros(execution),
                micros(alloy),
                micros(braid)
            );
        }
    }
    Ok(())
}

/// The shortest of the times that `run` takes within `time`, and what it came to.
fn timed<T, E>(mut run: impl FnMut() -> Result<T, E>, time: Duration) -> Result<(Duration, T), E> {
    let start = Instant::now();
    let mut best = (Duration::MAX, run()?);
    while start.elapsed() < time {
        let begun = Instant::now();
        let done = run()?;
        best = (best.0.min(begun.elapsed()), done);
    }
    Ok(best)
}
