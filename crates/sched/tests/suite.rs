//! Every scheduler against the oracle.
#![cfg(not(any(feature = "shuttle", feature = "loom")))]

use braid_sched::{Adaptive, BlockStm, Occ, Pool, Serial, Waits};
use braid_testkit::suite;
use std::sync::Arc;

suite!(serial, |_threads, _seed| Serial::new());
suite!(occ, |threads, seed| Occ::new(Arc::new(Pool::new(threads))).chaos(seed));
suite!(block_stm, |threads, seed| BlockStm::new(Arc::new(Pool::new(threads))).chaos(seed));
suite!(adaptive, |threads, seed| Adaptive::new(Arc::new(Pool::new(threads))).chaos(seed));
suite!(block_stm_resume, |threads, seed| {
    BlockStm::new(Arc::new(Pool::new(threads))).waits(Waits::Resume).chaos(seed)
});
