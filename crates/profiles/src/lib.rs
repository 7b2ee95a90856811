//! Compose the systems of the landscape: one small file a profile.
#![forbid(unsafe_code)]

mod aptos;
mod artela;
mod bal;
pub mod bench;
mod braid;
mod delivering;
mod engine;
mod hinted;
pub mod lean;
mod lean_engine;
pub mod limit;
mod megaeth;
mod megaeth_actors;
mod megaeth_oracle;
mod monad;
mod monad_article;
mod names;
mod ours;
mod pharos;
mod reddio;
mod registry;
pub mod schedule;
mod sealevel;
mod sealevel_oracle;
mod sei;
mod serial;
pub mod stats;

pub use engine::{
    Engine, ExecError, Executed, Fidelity, Profile, ProfileError, Recorded, Traced, WithRecord,
};
pub use hinted::{HintSource, learn, touched};
pub use lean_engine::LeanEngine;
pub use names::Names;
pub use ours::THREADS_MAX;
pub use registry::{OWN_RULES, PROFILES, find, find_any, profile};

/// Compiles and runs the examples of the embedding guide.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/EMBEDDING.md")]
pub struct EmbeddingGuide;
