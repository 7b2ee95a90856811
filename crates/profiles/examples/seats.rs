//! Times engines side by side by their best runs, one line a block, for looking at one change at a time.
//! A seat is `PROFILE@THREADS`, with `+record` behind it if it shall record the block's access list, `+rlp` if
//! it shall also encode it, and `+list` if it shall make alloy's list.
//!
//! ```sh
//! cargo run --release -p braid-profiles --example seats -- 20 lean@1 bal@2 serial@1+rlp -- CASE...
//! ```

use braid_core::Control;
use braid_profiles::{Engine, profile};
use braid_work::{Case, PreState, Workload, load};
use std::{path::Path, time::Instant};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Clone, Copy)]
enum Work {
    Execute,
    Record,
    Encode,
    List,
}

struct Seat {
    name: String,
    engine: Box<dyn Engine>,
    work: Work,
    /// Logarithms of ratios to the first seat, summed.
    sum: f64,
}

fn seat(text: &str) -> Seat {
    let (rest, work) = match text.split_once('+') {
        None => (text, Work::Execute),
        Some((rest, "record")) => (rest, Work::Record),
        Some((rest, "rlp")) => (rest, Work::Encode),
        Some((rest, "list")) => (rest, Work::List),
        Some((_, other)) => panic!("+{other} is none of record, rlp, list"),
    };
    let (name, threads) = rest.split_once('@').expect("PROFILE@THREADS");
    let threads = threads.parse().expect("a number of threads");
    let engine = (profile(name).expect("a profile").build)(threads).expect("an engine");
    Seat { name: text.to_owned(), engine, work, sum: 0.0 }
}

fn once(seat: &mut Seat, case: &Case, pre: &PreState) -> f64 {
    let (input, control) = (&case.input, Control::default());
    seat.engine.reset();
    let start = Instant::now();
    let engine = &mut seat.engine;
    match seat.work {
        Work::Execute => drop(engine.execute(input, pre, &control).expect("a valid block")),
        Work::Record => drop(engine.record(input, pre, &control).expect("records").expect("a valid block")),
        Work::Encode => {
            let done = engine.record(input, pre, &control).expect("records").expect("a valid block");
            drop(engine.encode(&done.1, pre).expect("a state in memory"));
        }
        Work::List => {
            drop(engine.execute_recorded(input, pre, &control).expect("records").expect("a valid block"));
        }
    }
    start.elapsed().as_secs_f64()
}

fn main() {
    let mut args = std::env::args().skip(1);
    let rounds: usize = args.next().and_then(|rounds| rounds.parse().ok()).expect("a number of rounds");
    let args: Vec<String> = args.collect();
    let (seats, inputs) =
        args.split_at(args.iter().position(|arg| arg == "--").expect("-- before the inputs"));
    let mut seats: Vec<Seat> = seats.iter().map(|text| seat(text)).collect();
    let mut blocks = 0;
    for input in &inputs[1..] {
        let sources = if input.contains('?') { Vec::new() } else { load(Path::new(input)).expect("cases") };
        let cases = sources.into_iter().map(|source| source.load().expect("a case"));
        let synthetic = input.contains('?').then(|| {
            let workload: Workload = input.parse().expect("a workload");
            workload.generate().expect("a block")
        });
        for case in cases.chain(synthetic) {
            let pre = case.state().expect("a state");
            let mut best = vec![f64::MAX; seats.len()];
            for seat in &mut seats {
                seat.engine.prepare(&case.input, pre, None);
                once(seat, &case, pre);
            }
            for _ in 0..rounds {
                for (seat, best) in seats.iter_mut().zip(&mut best) {
                    // Twice: the first finds the caches as its neighbour left them.
                    *best = best.min(once(seat, &case, pre)).min(once(seat, &case, pre));
                }
            }
            print!("{}: {:.0} us", case.name, best[0] * 1e6);
            for (seat, time) in seats.iter_mut().zip(&best) {
                seat.sum += (best[0] / time).ln();
                print!("  {} {:.3}", seat.name, best[0] / time);
            }
            println!();
            blocks += 1;
        }
    }
    for seat in &seats {
        println!("{}: {:.3} over {blocks} blocks", seat.name, (seat.sum / f64::from(blocks.max(1))).exp());
    }
}
