//! Compose the systems of the landscape: one small file a profile.
#![forbid(unsafe_code)]

mod aptos;
mod bal;
pub mod bench;
mod braid;
mod engine;
pub mod lean;
mod lean_engine;
pub mod limit;
mod monad;
mod ours;
mod registry;
mod serial;
pub mod stats;

pub use engine::{
    Engine, ExecError, Executed, Fidelity, Profile, ProfileError, Recorded, Traced, WithRecord,
};
pub use lean_engine::LeanEngine;
pub use ours::THREADS_MAX;
pub use registry::{PROFILES, find, profile};

/// Compiles and runs the examples of the embedding guide.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/EMBEDDING.md")]
pub struct EmbeddingGuide;
