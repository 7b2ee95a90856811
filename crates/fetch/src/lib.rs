//! Blocks from a node, as cases that Braid runs offline.
//!
//! A node is asked for a block, for the state that the block touches, and for its receipts. What it
//! answers is believed only as far as it can be checked: header hash, transactions root and senders;
//! then the block is executed by the oracle on the state that was given, and gas, receipts root, bloom
//! and (with a witness) the state root must be those of the header. Only then is the case moved into
//! place, in one step.
#![forbid(unsafe_code)]

mod answer;
mod block;
mod case;
mod discover;
mod error;
mod http;
mod origin;
mod prestate;
mod range;
mod rate;
mod rpc;
mod session;
mod witness;

pub use error::FetchError;
pub use http::Endpoint;
pub use range::{MAX_BLOCKS, Range};
pub use session::{BlockReport, Method, Observer, Options, Outcome, Summary, fetch};
