//! Why there is no transition.

use braid_work::shortened;
use std::path::PathBuf;

/// Why there is no transition. Nothing is written then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum T8nError {
    /// The block cannot be executed: a system call failed, or an engine did.
    #[error("{0}")]
    Evm(String),
    /// The rules or the environment are not usable: an unknown fork, a field that the fork needs.
    #[error("{0}")]
    Config(String),
    /// BLOCKHASH of a block whose hash the environment does not list.
    #[error("hash of block {number} is needed, and the environment does not list it in blockHashes")]
    MissingBlockHash {
        /// Number of the block, in decimal.
        number: String,
    },
    /// Not the JSON that its place promises.
    #[error("{what}: at `{at}`: {reason}")]
    Json {
        /// Which input.
        what: String,
        /// JSON path of the value.
        at: String,
        /// What is wrong with it.
        reason: String,
    },
    /// More than a limit allows.
    #[error("{what}: {size}, limit {limit}")]
    TooLarge {
        /// What is counted.
        what: String,
        /// How many there are (at least).
        size: u64,
        /// How many there may be.
        limit: u64,
    },
    /// A file could not be read or written.
    #[error("{}: {reason}", file.display())]
    Io {
        /// The file; `stdin` and the like for streams.
        file: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// The transactions are not an RLP list.
    #[error("{what}: {reason}")]
    Rlp {
        /// Which input.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Told to stop.
    #[error("interrupted")]
    Interrupted,
}

impl T8nError {
    /// The exit code: that of go-ethereum's tool, and 130 for an interrupt.
    pub fn code(&self) -> u8 {
        match self {
            T8nError::Evm(_) => 2,
            T8nError::Config(_) => 3,
            T8nError::MissingBlockHash { .. } => 4,
            T8nError::Json { .. } | T8nError::TooLarge { .. } => 10,
            T8nError::Io { .. } => 11,
            T8nError::Rlp { .. } => 12,
            T8nError::Interrupted => 130,
        }
    }

    pub(crate) fn json(what: &str, at: impl Into<String>, reason: impl Into<String>) -> Self {
        T8nError::Json { what: what.into(), at: shortened(&at.into()), reason: shortened(&reason.into()) }
    }

    pub(crate) fn io(file: impl Into<PathBuf>, error: &std::io::Error) -> Self {
        T8nError::Io { file: file.into(), reason: error.to_string() }
    }

    pub(crate) fn config(reason: impl Into<String>) -> Self {
        T8nError::Config(reason.into())
    }
}
