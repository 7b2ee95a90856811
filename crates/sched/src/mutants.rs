//! Switches that break one safety measure each. Tests turn one on and expect the suite to notice.

#[cfg(feature = "mutants")]
use std::sync::atomic::{AtomicU8, Ordering};

/// A safety measure that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[cfg_attr(not(feature = "mutants"), allow(dead_code, unreachable_pub))]
pub enum Mutant {
    /// `occ` believes every execution.
    Validation = 1,
    /// `block_stm` does not tell readers about a write.
    Push,
    /// `block_stm` does not wake transactions that wait for one that is done.
    Wake,
    /// `block_stm` leaves the writes of an invalidated execution readable as if they stood.
    Estimate,
    /// Assumptions are believed.
    Assume,
    /// Ranges are not validated.
    Range,
    /// `block_stm` believes reads of locations that are added to.
    Watch,
    /// `block_stm` does not tell readers that a location has come to be added to.
    Recheck,
    /// `block_stm` believes reads of locations that were quiet.
    Quiet,
    /// Writes that an execution no longer makes are left in place.
    Retract,
    /// `graph` believes every execution under a binding hint.
    Exact,
    /// `graph` forgets dependencies between transactions that declare them.
    Edge,
    /// `graph` tells that a transaction is executed before anybody can read what it wrote.
    Publish,
    /// `graph` lets others start while a worker is alone.
    Alone,
    /// What one worker has changed of a block is lost to those who go on with it.
    Join,
}

#[cfg(feature = "mutants")]
static ACTIVE: AtomicU8 = AtomicU8::new(0);

/// Switches one mutant on, or all off, for the whole process.
#[cfg(feature = "mutants")]
pub fn set(mutant: Option<Mutant>) {
    // Relaxed: set between blocks.
    ACTIVE.store(mutant.map_or(0, |mutant| mutant as u8), Ordering::Relaxed);
}

/// Whether `mutant` is switched on.
#[cfg(feature = "mutants")]
pub(crate) fn on(mutant: Mutant) -> bool {
    // Relaxed: set between blocks.
    ACTIVE.load(Ordering::Relaxed) == mutant as u8
}

/// Whether `mutant` is switched on: never, in this build.
#[cfg(not(feature = "mutants"))]
pub(crate) const fn on(_mutant: Mutant) -> bool {
    false
}
