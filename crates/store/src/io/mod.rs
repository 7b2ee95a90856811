//! Where bytes are kept: the few things that a store needs of a file, so that a real one and one that fails on
//! purpose are the same to it.

mod delayed;
mod fault;
mod file;
mod queue;
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
mod uring;

pub use delayed::DelayedMedium;
pub use fault::{FaultMedium, Faults, SECTOR};
pub use file::{FileMedium, ReadWay};
pub use queue::{Done, ReadQueue};

use std::{fmt::Debug, io};

/// A row of bytes that outlives the process. Offsets and lengths are in bytes.
///
/// What was written is seen by later reads at once, but survives a crash only once a later [`sync`](Self::sync)
/// has returned. Until then any part of it may or may not survive, in units of sectors, in any order.
pub trait Medium: Debug + Send + Sync + 'static {
    /// Fills `into` with the bytes from `offset` on.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if the medium ends before, or whatever the device says.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` from `offset` on; the medium grows if it ends before. After an error any part of
    /// them may have been written.
    ///
    /// # Errors
    /// Whatever the device says; [`io::ErrorKind::StorageFull`] if it is full.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Returns when all that was written survives a crash. After an error nothing is known of what was written
    /// since the last success, and trying again proves nothing.
    ///
    /// # Errors
    /// Whatever the device says.
    fn sync(&self) -> io::Result<()>;

    /// Its length.
    ///
    /// # Errors
    /// Whatever the device says.
    fn len(&self) -> io::Result<u64>;

    /// Whether it has no bytes.
    ///
    /// # Errors
    /// Whatever the device says.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts it, or extends it by zeros.
    ///
    /// # Errors
    /// Whatever the device says.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// A queue for reads that are answered later; `None` if all reads of this medium are waited for.
    ///
    /// # Errors
    /// If there should be one and it cannot be had.
    fn queue(&self) -> io::Result<Option<Box<dyn ReadQueue>>> {
        Ok(None)
    }
}
