//! Keep state and compute its root.
#![forbid(unsafe_code)]

mod memory;
pub mod trie;

pub use memory::MemStore;
