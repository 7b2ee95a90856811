//! Every scheduler against the oracle.
#![cfg(not(any(feature = "shuttle", feature = "loom")))]

use braid_sched::{Adaptive, Batch, BlockStm, Graph, Occ, OccRounds, Policy, Pool, Serial, Waits};
use braid_testkit::suite;
use std::sync::Arc;

suite!(serial, |_threads, _seed| Serial::new());
suite!(occ, |threads, seed| Occ::new(Arc::new(Pool::new(threads))).chaos(seed));
suite!(block_stm, |threads, seed| BlockStm::new(Arc::new(Pool::new(threads))).chaos(seed));
suite!(adaptive, |threads, seed| Adaptive::new(Arc::new(Pool::new(threads))).chaos(seed));
suite!(block_stm_resume, |threads, seed| {
    BlockStm::new(Arc::new(Pool::new(threads))).waits(Waits::Resume).chaos(seed)
});
suite!(graph_critical, |threads, seed| {
    Graph::new(Arc::new(Pool::new(threads)), Policy::Critical).chaos(seed)
});
suite!(graph_prio, |threads, seed| {
    Graph::new(Arc::new(Pool::new(threads)), Policy::PrioGraph).chaos(seed)
});
suite!(graph_greedy, |threads, seed| {
    Graph::new(Arc::new(Pool::new(threads)), Policy::Greedy).chaos(seed)
});
suite!(graph_fifo, |threads, seed| { Graph::new(Arc::new(Pool::new(threads)), Policy::Fifo).chaos(seed) });
suite!(batch, |threads, seed| Batch::new(Arc::new(Pool::new(threads))).chaos(seed));
suite!(occ_rounds, |threads, seed| OccRounds::new(Arc::new(Pool::new(threads))).chaos(seed));
