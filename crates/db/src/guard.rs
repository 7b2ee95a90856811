//! Panics of redb on a damaged file.
//!
//! redb takes for granted that pages are as it wrote them: of some damage it makes a panic. Whoever has a damaged file
//! is to be told so, and the state beside it is whole. So all that redb does happens within [`kept`].

use crate::DbError;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

/// What `access` does with the archive at `path`; a panic is the error that it is damaged.
///
/// Unwind safety: what a panic leaves half done is redb's, which undoes the transaction (it refuses to commit one in
/// which something panicked) and poisons its locks, so that later accesses fail rather than see it. Nothing of ours is
/// written to within, but for what is thrown away with the error.
pub(crate) fn kept<T>(path: &Path, access: impl FnOnce() -> Result<T, DbError>) -> Result<T, DbError> {
    catch_unwind(AssertUnwindSafe(access)).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(DbError::ArchiveDamaged {
            path: path.into(),
            reason: format!("it cannot be made sense of: {text}"),
        })
    })
}
