//! Load or generate the same work for every engine.
#![forbid(unsafe_code)]

mod prestate;

pub use prestate::PreState;
