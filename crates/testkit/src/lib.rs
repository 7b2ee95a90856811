//! Prove schedulers: a toy machine, blocks that provoke conflicts, an oracle, and a suite that compares.
//! Beside that, what the tests of all crates need: a source of random numbers, the place of real blocks.
//!
//! Everything is a function of a seed. Whatever fails prints the [`Case`] that repeats it.
#![forbid(unsafe_code)]

mod actors;
mod compare;
mod data;
mod generate;
mod oracle;
mod record;
mod slow;
mod state;
pub mod suite;
mod told;
mod toy;

pub use actors::{Actors, Mail, MailOutput};
pub use compare::{
    STALL, check, check_block, check_block_told, check_events, check_hinted, check_slow, check_told,
    check_within,
};
pub use data::data;
pub use generate::{Case, Family, Rng};
pub use oracle::Oracle;
pub use record::{Delivered, OwnedEvent, Recorder, RecordingSink};
pub use slow::{Delay, Slow, SlowReader};
pub use state::ToyState;
pub use told::{Telling, Told};
pub use toy::{Num, Op, Seen, Toy, ToyError, ToyOutput, ToyTx};
