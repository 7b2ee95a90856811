//! Compose the systems of the landscape: one small file a profile.
#![forbid(unsafe_code)]

mod engine;
pub mod lean;
mod lean_engine;

pub use engine::{Engine, ExecError, Executed, Fidelity, Profile, ProfileError};
pub use lean_engine::LeanEngine;
