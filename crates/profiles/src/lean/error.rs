use braid_work::DbError;
use revm::context::result::EVMError;

/// Why a block did not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum LeanError {
    /// This transaction needs more of something (gas, blob gas) than the block has left.
    #[error("transaction {0} needs {2} {1}, the block has {3} left")]
    NotAdmitted(usize, &'static str, u64, u64),
    /// revm refused this transaction.
    #[error("transaction {0}: {1}")]
    Tx(usize, Box<EVMError<DbError>>),
    /// A call of the block to this system contract failed.
    #[error("system call {0}: {1}")]
    SystemCall(&'static str, String),
    /// The state failed outside of transactions.
    #[error(transparent)]
    Store(#[from] DbError),
}
