//! Why a block, or anything at all, could not be fetched.

use braid_work::WorkError;
use std::path::PathBuf;

/// Why a block, or anything at all, could not be fetched. The endpoint's address is in none of them: it
/// often contains a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// A range that names no blocks.
    #[error("range `{text}`: {reason}")]
    Range {
        /// Its text.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An endpoint that cannot be asked: its URL, or a header for it, is wrong.
    #[error("{what}: {reason}")]
    Endpoint {
        /// `--rpc-url` or `--header`.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Told to stop.
    #[error("interrupted")]
    Cancelled,
    /// The endpoint could not be reached, or broke off, as often as it was tried.
    #[error("{method}: {reason} (tried {tries} times)")]
    Transport {
        /// What was asked.
        method: &'static str,
        /// What happened last.
        reason: String,
        /// How often.
        tries: u32,
    },
    /// The endpoint refused by an HTTP status that trying again does not change.
    #[error("{method}: HTTP status {status}")]
    Refused {
        /// What was asked.
        method: &'static str,
        /// The status.
        status: u16,
    },
    /// The node reported an error.
    #[error("{method}: node error {code}: {message}")]
    Rpc {
        /// What was asked.
        method: &'static str,
        /// JSON-RPC error code.
        code: i64,
        /// The node's message, shortened.
        message: String,
    },
    /// The node does not offer a method.
    #[error("the node does not offer {method}: {message}")]
    NoMethod {
        /// The method.
        method: &'static str,
        /// The node's message, shortened.
        message: String,
    },
    /// An answer larger than it may be.
    #[error("{method}: the answer has more than {limit} bytes")]
    TooLarge {
        /// What was asked.
        method: &'static str,
        /// Most bytes.
        limit: u64,
    },
    /// An answer that is not of the form that the method has.
    #[error("{method}: at `{at}`: {reason}")]
    Answer {
        /// What was asked.
        method: &'static str,
        /// JSON path of the value.
        at: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The node does not have the block.
    #[error("the node has no block {number}")]
    NoBlock {
        /// Its number.
        number: u64,
    },
    /// What the node said of a block is wrong.
    #[error("block {number}: check `{check}` failed: {reason}")]
    Check {
        /// Its number.
        number: u64,
        /// The check.
        check: &'static str,
        /// The difference.
        reason: String,
    },
    /// What the node said of a block cannot be used.
    #[error("block {number}: {error}")]
    Unusable {
        /// Its number.
        number: u64,
        /// Why not.
        error: WorkError,
    },
    /// A witness that lacks what the block needs.
    #[error("block {number}: the witness is incomplete: {reason}")]
    Incomplete {
        /// The block's number.
        number: u64,
        /// What is missing.
        reason: String,
    },
    /// Neither way to the state of a block worked.
    #[error("block {number}: by witness: {witness}; by prestate: {prestate}")]
    Neither {
        /// The block's number.
        number: u64,
        /// Why the witness did not do.
        witness: Box<FetchError>,
        /// Why the prestate did not.
        prestate: Box<FetchError>,
    },
    /// A file or folder could not be read or written.
    #[error("{}: {reason}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// The folder is in use by another fetch.
    #[error("{}: another fetch is writing there", path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// A case in the folder is of another chain.
    #[error("{}: is of chain {found}, the endpoint is of chain {wanted}", path.display())]
    OtherChain {
        /// The case.
        path: PathBuf,
        /// Its chain id.
        found: u64,
        /// The endpoint's.
        wanted: u64,
    },
    /// Something else stands where a case belongs.
    #[error("{}: is there, but was not written by fetch; left as it is", path.display())]
    Foreign {
        /// Where.
        path: PathBuf,
    },
}

impl FetchError {
    /// A stable word for the kind of error.
    pub fn kind(&self) -> &'static str {
        match self {
            FetchError::Range { .. } => "range",
            FetchError::Endpoint { .. } => "endpoint",
            FetchError::Cancelled => "cancelled",
            FetchError::Transport { .. } => "transport",
            FetchError::Refused { .. } => "refused",
            FetchError::Rpc { .. } => "rpc",
            FetchError::NoMethod { .. } => "no_method",
            FetchError::TooLarge { .. } => "too_large",
            FetchError::Answer { .. } => "answer",
            FetchError::NoBlock { .. } => "no_block",
            FetchError::Check { .. } => "check",
            FetchError::Unusable { .. } => "unusable",
            FetchError::Incomplete { .. } => "incomplete",
            FetchError::Neither { .. } => "neither",
            FetchError::Io { .. } => "io",
            FetchError::Busy { .. } => "busy",
            FetchError::OtherChain { .. } => "other_chain",
            FetchError::Foreign { .. } => "foreign",
        }
    }

    /// The check that failed, if one did.
    pub fn check(&self) -> Option<&'static str> {
        match self {
            FetchError::Check { check, .. } => Some(check),
            _ => None,
        }
    }

    /// Whether the command line is at fault.
    pub fn is_usage(&self) -> bool {
        matches!(self, FetchError::Range { .. } | FetchError::Endpoint { .. })
    }

    /// Whether further blocks would fail alike.
    pub(crate) fn is_fatal(&self) -> bool {
        match self {
            FetchError::Transport { .. }
            | FetchError::Refused { .. }
            | FetchError::Io { .. }
            | FetchError::Busy { .. }
            | FetchError::OtherChain { .. }
            | FetchError::Cancelled
            | FetchError::NoMethod { .. }
            | FetchError::Unusable { error: WorkError::UnknownFork { .. }, .. } => true,
            FetchError::Neither { prestate, .. } => prestate.is_fatal(),
            _ => self.is_usage(),
        }
    }

    pub(crate) fn io(path: &std::path::Path, error: &std::io::Error) -> Self {
        FetchError::Io { path: path.into(), reason: error.to_string() }
    }
}
