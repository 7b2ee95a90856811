//! Nanoseconds a hash on every path: `cargo run --release -p braid-keccak --example throughput [ROUNDS]`

use alloy_primitives::B256;
use braid_keccak::{Path, keccak256_by};
use std::{hint::black_box, time::Instant};

fn main() {
    let rounds: u32 = std::env::args().nth(1).and_then(|rounds| rounds.parse().ok()).unwrap_or(200);
    for (what, len, count) in [
        ("keys", 32, 1000),
        ("leaves", 110, 1000),
        ("branches", 532, 1000),
        ("branches", 532, 12),
        ("branches", 532, 3),
        ("branches", 532, 1),
    ] {
        let messages: Vec<Vec<u8>> = (0..count).map(|at| vec![at as u8; len]).collect();
        let mut hashes = vec![B256::ZERO; count];
        let paths: Vec<Path> = Path::available().collect();
        let mut least = vec![f64::MAX; paths.len()];
        for _ in 0..rounds {
            for (path, least) in paths.iter().zip(&mut least) {
                let start = Instant::now();
                for _ in 0..1000 / count {
                    keccak256_by(*path, black_box(&messages), &mut hashes);
                }
                let nanos = start.elapsed().as_nanos() as f64 / (1000 / count * count) as f64;
                *least = least.min(nanos);
                black_box(&hashes);
            }
        }
        println!("{count} {what} of {len} bytes: {:?}", paths.iter().zip(&least).collect::<Vec<_>>());
    }
}
