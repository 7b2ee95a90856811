//! What the order-preserving queues of `graph` (`Policy::Fifo`) cost by themselves: nanoseconds of one thread for
//! inserting and completing a task, by the number of locks and by how hot they are.
//!
//! `cargo run --release -p braid-sched --example locks`

use braid_sched::UsageQueues;
use std::{
    collections::{BTreeMap, VecDeque},
    hint::black_box,
    time::Instant,
};

const TASKS: u32 = 20_000;
const ROUNDS: u32 = 15;

/// For each task its locks, ascending, each once, and whether it writes.
type Tasks = Vec<Vec<(u32, bool)>>;

/// Tasks with `each` of `locks` locks, every fourth access a write.
fn tasks(each: usize, locks: u32) -> Tasks {
    // splitmix64, Steele et al. 2014.
    let mut state = 7u64;
    let mut bits = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let mut task = || {
        let mut task = BTreeMap::new();
        while task.len() < each {
            task.insert((bits() % u64::from(locks)) as u32, bits().is_multiple_of(4));
        }
        task.into_iter().collect()
    };
    (0..TASKS).map(|_| task()).collect()
}

/// Inserts up to `window` tasks ahead of those completed, and completes them in the order in which they may run.
fn run(queues: &mut UsageQueues, tasks: &Tasks, window: usize) -> usize {
    queues.clear();
    let mut ready = VecDeque::new();
    let (mut inserted, mut completed) = (0, 0);
    while completed < tasks.len() {
        while inserted < tasks.len() && inserted - completed < window {
            if queues.insert(tasks[inserted].iter().copied()) {
                ready.push_back(inserted as u32);
            }
            inserted += 1;
        }
        let task = ready.pop_front().expect("the first task that is not completed can run");
        queues.complete(task, |task, _| ready.push_back(task));
        completed += 1;
    }
    completed
}

fn main() {
    println!("locks/task    locks  ns/task (best of {ROUNDS}, {TASKS} tasks, 1024 in flight)");
    for (each, locks) in [(1, 100_000), (10, 100_000), (10, 1000), (10, 20), (100, 100_000), (100, 1000)] {
        let tasks = tasks(each, locks);
        let mut queues = UsageQueues::new(locks);
        let mut best = f64::INFINITY;
        for _ in 0..ROUNDS {
            let start = Instant::now();
            black_box(run(&mut queues, black_box(&tasks), 1024));
            best = best.min(start.elapsed().as_secs_f64());
        }
        println!("{each:>10}  {locks:>7}  {:.0}", best * 1e9 / f64::from(TASKS));
    }
}
