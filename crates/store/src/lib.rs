//! Keep state and compute its root: in memory ([`MemStore`], [`trie`]) and on disk ([`disk`]).
#![deny(unsafe_code)]

pub mod delta;
pub mod disk;
pub mod io;
mod layout;
mod memory;
mod node;
mod together;
pub mod trie;

pub use layout::Layout;
pub use memory::{Below, MemReader, MemStore};
