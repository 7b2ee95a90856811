//! Generated workloads.
use crate::{Case, WorkError};

/// Placeholder.
#[derive(Clone, Debug)]
pub struct Workload;
impl Workload {
    /// Placeholder.
    pub fn generate(&self) -> Result<Case, WorkError> {
        Err(WorkError::Workload { workload: String::new(), reason: String::new() })
    }
}
