//! Why vectors cannot be read.

use std::path::Path;

/// Why vectors cannot be read. Every variant names the file, with the member if it is of an archive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VectorError {
    /// A file or folder could not be read.
    #[error("{file}: {reason}")]
    Io {
        /// The file.
        file: String,
        /// The system's reason.
        reason: String,
    },
    /// An archive does not decompress, or is no tar.
    #[error("{file}: truncated or corrupt archive: {reason}")]
    Archive {
        /// The archive, and the member if one has begun.
        file: String,
        /// The decoder's reason.
        reason: String,
    },
    /// More than a limit allows.
    #[error("{file}: {what} is {size}, limit {limit}")]
    TooLarge {
        /// The file.
        file: String,
        /// What is counted.
        what: &'static str,
        /// How much there is, at least.
        size: u64,
        /// How much there may be.
        limit: u64,
    },
    /// Not the JSON that a vector of its form is.
    #[error("{file}: at `{at}`: {reason}")]
    Json {
        /// The file.
        file: String,
        /// JSON path of the value.
        at: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A vector of a form that is not known here.
    #[error("{file}: vectors of no known form, the first is `{name}`")]
    Form {
        /// The file.
        file: String,
        /// The first one in the file.
        name: String,
    },
    /// A vector that parses but cannot be.
    #[error("{file}: `{name}`: {reason}")]
    Invalid {
        /// The file.
        file: String,
        /// The vector.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl VectorError {
    pub(crate) fn io(path: &Path, error: &std::io::Error) -> Self {
        VectorError::Io { file: path.display().to_string(), reason: error.to_string() }
    }

    pub(crate) fn invalid(file: &str, name: &str, reason: impl Into<String>) -> Self {
        VectorError::Invalid { file: file.to_owned(), name: name.to_owned(), reason: reason.into() }
    }
}
