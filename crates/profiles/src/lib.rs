//! Compose the systems of the landscape: one small file a profile.
#![forbid(unsafe_code)]

pub mod bench;
mod engine;
pub mod lean;
mod lean_engine;
pub mod limit;
mod registry;
pub mod stats;

pub use engine::{Engine, ExecError, Executed, Fidelity, Profile, ProfileError};
pub use lean_engine::LeanEngine;
pub use registry::{PROFILES, find, profile};
