//! What suspended executions gain on a state whose reads are slow:
//! `cargo run --release -p braid-sched --example slow_reads [transactions] [microseconds] [reads at a time]`.
//!
//! A block without conflicts, whose transactions read three locations each, on a state below which every read
//! takes so long, by deadlines on a monotonic clock. Serial waits for the same reads one by one. There are no
//! hints. Of each engine the best of five runs counts.

use braid_core::{Block, Control, Scheduler};
use braid_sched::{BlockStm, Occ, Pool, Serial, Waits};
use braid_testkit::{Delay, Num, Op, RecordingSink, Slow, Toy, ToyState, ToyTx};
use std::{
    env,
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

/// The best time of a block, and the most executions that were suspended at one time.
fn best<S: Scheduler>(
    scheduler: &S,
    txs: &[ToyTx],
    slow: &Slow<'_, ToyState>,
) -> Result<(Duration, u64), Box<dyn Error>> {
    let mut best = (Duration::MAX, 0);
    for _ in 0..5 {
        let block = Block::new(&Toy::<false>, txs, slow);
        let (mut sink, started) = (RecordingSink::default(), Instant::now());
        let outcome = scheduler.run(&block, &mut sink, &(), &Control::default());
        let time = started.elapsed();
        let outcome = outcome.map_err(|error| format!("{error:?}"));
        best = best.min((time, outcome?.stats.most_in_flight));
    }
    Ok(best)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut numbers = env::args().skip(1).map(|number| number.parse::<u64>());
    let count = numbers.next().transpose()?.unwrap_or(2000);
    let delay = Duration::from_micros(numbers.next().transpose()?.unwrap_or(50));
    let overlap = u16::try_from(numbers.next().transpose()?.unwrap_or(127))?;
    let values = (0..3 * count).map(|key| (key, Num(1000 + key as i64))).collect();
    let state = ToyState { values, ..ToyState::default() };
    let transfer = |at: u64| vec![Op::Take(3 * at, 5), Op::Read(3 * at + 1), Op::Add(3 * at + 2, 5)];
    let txs: Vec<ToyTx> = (0..count).map(|at| ToyTx { ops: transfer(at) }).collect();
    let slow = Slow::new(&state, Delay::Fixed(delay), overlap);
    let (serial, _) = best(&Serial::new(), &txs, &slow)?;
    println!("{count} transactions of three reads, {delay:?} each; {overlap} reads of a worker at a time");
    println!("serial                 {serial:>12.2?}");
    for threads in [1, 2] {
        let pool = Arc::new(Pool::new(threads));
        let (occ, _) = best(&Occ::new(pool.clone()), &txs, &slow)?;
        let times = |time: Duration| serial.as_secs_f64() / time.as_secs_f64();
        println!("occ, {threads} workers         {occ:>12.2?} {:6.2}x", times(occ));
        let stm = BlockStm::new(pool).waits(Waits::Resume);
        let (time, most) = best(&stm, &txs, &slow)?;
        println!("block_stm, {threads} workers   {time:>12.2?} {:6.2}x, most in flight {most}", times(time));
    }
    Ok(())
}
