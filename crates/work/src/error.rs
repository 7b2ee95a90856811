//! Why an input cannot be used.

use alloy_primitives::{Address, B256};
use std::path::{Path, PathBuf};

/// Most characters of a parser's text that are shown, from its beginning and from its end.
const SHOWN: usize = 200;

/// What a parser says, which may quote all of a value.
pub fn shortened(text: &str) -> String {
    let letters = text.chars().count();
    if letters <= 2 * SHOWN {
        return text.to_owned();
    }
    let begin = text.chars().take(SHOWN);
    begin.chain(" ... ".chars()).chain(text.chars().skip(letters - SHOWN)).collect()
}

/// Why an input cannot be used. Every variant names the file (or the workload) and the item in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkError {
    /// A file could not be read.
    #[error("{}: {reason}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// A file does not decompress.
    #[error("{}: truncated or corrupt zstd: {reason}", file.display())]
    Zstd {
        /// The file.
        file: PathBuf,
        /// The decoder's reason.
        reason: String,
    },
    /// More than a limit allows.
    #[error("{}: {what} is {size}, limit {limit}", file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// What is counted.
        what: &'static str,
        /// How many there are (at least).
        size: u64,
        /// How many there may be.
        limit: u64,
    },
    /// A file is not the JSON that its place promises: syntax, types, hex, ranges.
    #[error("{}: at `{at}`: {reason}", file.display())]
    Json {
        /// The file.
        file: PathBuf,
        /// JSON path of the value.
        at: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A value that parses but cannot be.
    #[error("{}: {item}: {reason}", file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// The item.
        item: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Code that no file has.
    #[error("{}: no code for hash {hash} of account {account}", file.display())]
    MissingCode {
        /// The file that refers to it.
        file: PathBuf,
        /// The account.
        account: Address,
        /// The code's hash.
        hash: B256,
    },
    /// Code that does not have the hash under which it is listed.
    #[error("{}: code listed as {hash} hashes to {actual}", file.display())]
    WrongCode {
        /// The file.
        file: PathBuf,
        /// Listed hash.
        hash: B256,
        /// Hash of the listed code.
        actual: B256,
    },
    /// Rules that are not known here.
    #[error("{}: unknown fork: {fork}", file.display())]
    UnknownFork {
        /// The file.
        file: PathBuf,
        /// Name of the fork, or what it would have been found by.
        fork: String,
    },
    /// A transaction type that is not known here.
    #[error("{}: transaction {tx}: unknown type {ty}", file.display())]
    UnknownTxType {
        /// The file.
        file: PathBuf,
        /// Index of the transaction.
        tx: usize,
        /// Its type.
        ty: u64,
    },
    /// A transaction that lacks a field of its type, or has one of the wrong kind.
    #[error("{}: transaction {tx}: {reason}", file.display())]
    BadTx {
        /// The file.
        file: PathBuf,
        /// Index of the transaction.
        tx: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A signature from which no sender can be recovered.
    #[error("{}: transaction {tx}: no sender: {reason}", file.display())]
    BadSignature {
        /// The file.
        file: PathBuf,
        /// Index of the transaction.
        tx: usize,
        /// Why.
        reason: String,
    },
    /// A recovered sender other than the listed one.
    #[error("{}: transaction {tx}: signed by {recovered}, listed from {listed}", file.display())]
    SenderMismatch {
        /// The file.
        file: PathBuf,
        /// Index of the transaction.
        tx: usize,
        /// Sender by signature.
        recovered: Address,
        /// Sender by the file.
        listed: Address,
    },
    /// The input has no state to run on.
    #[error("{}: no state before the block, so it cannot be run", file.display())]
    NoState {
        /// The file.
        file: PathBuf,
    },
    /// Nothing that could be loaded is there.
    #[error("{}: neither a block nor a folder of blocks", file.display())]
    NotAnInput {
        /// The file or folder.
        file: PathBuf,
    },
    /// A synthetic workload that is not described right.
    #[error("workload `{workload}`: {reason}")]
    Workload {
        /// Its text.
        workload: String,
        /// What is wrong with it.
        reason: crate::synth::WorkloadError,
    },
}

impl WorkError {
    pub(crate) fn invalid(file: &Path, item: impl Into<String>, reason: impl Into<String>) -> Self {
        WorkError::Invalid { file: file.into(), item: item.into(), reason: reason.into() }
    }
}
