//! Keep state and compute its root: in memory ([`MemStore`], [`trie`]) and on disk ([`disk`]).
#![forbid(unsafe_code)]

pub mod disk;
pub mod io;
mod memory;
pub mod trie;

pub use memory::{Below, MemReader, MemStore};
