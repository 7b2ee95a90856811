//! The names under which vectors demand that something be rejected, and the reasons that satisfy them.
//!
//! A name that is not listed is an error, and a rejection for another reason is a failure.

pub mod block;
pub mod tx;

use crate::TxFault;
use std::fmt;

/// Why something was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason<'a> {
    /// By the machine or the rules; the kind of their error.
    Kind(&'a str),
    /// It is no transaction.
    Fault(TxFault),
}

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Kind(kind) => f.write_str(kind),
            Reason::Fault(fault) => fault.fmt(f),
        }
    }
}

/// A name of an exception that is not known here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown exception `{0}`")]
pub struct UnknownException(pub String);
