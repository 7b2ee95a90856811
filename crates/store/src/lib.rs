//! Keep state and compute its root. For now: in memory.
#![forbid(unsafe_code)]

mod memory;

pub use memory::MemStore;
