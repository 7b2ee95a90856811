//! When an execution has to stop because nobody wants it any more.

use crate::sync::atomic::{AtomicBool, Ordering};
use braid_core::{Cause, Control, Halt};
use std::time::Instant;

/// Looks at the flags on every call, at the clock on every sixteenth: a clock read costs as much as a
/// read of the state.
#[derive(Debug)]
pub(crate) struct Brake<'a> {
    control: &'a Control<'a>,
    stop: &'a AtomicBool,
    ticks: u32,
}

impl<'a> Brake<'a> {
    const CLOCK_EVERY: u32 = 16;

    /// A brake on `control` and on the block's own end.
    pub(crate) fn new(control: &'a Control<'a>, stop: &'a AtomicBool) -> Self {
        Brake { control, stop, ticks: 0 }
    }

    /// Between reads.
    #[inline]
    pub(crate) fn check(&mut self) -> Result<(), Halt> {
        self.ticks = self.ticks.wrapping_add(1);
        // Relaxed, both: they carry no data; a late look only delays the stop.
        let stopped = self.stop.load(Ordering::Relaxed)
            || self.control.cancel.is_some_and(|flag| flag.load(std::sync::atomic::Ordering::Relaxed))
            || (self.ticks.is_multiple_of(Self::CLOCK_EVERY)
                && self.control.deadline.is_some_and(|at| Instant::now() >= at));
        if stopped { Err(Halt::Interrupted) } else { Ok(()) }
    }

    /// Between transactions: why the caller of the block wants it to stop.
    pub(crate) fn interrupted<E>(&self) -> Option<Cause<E>> {
        self.control.interrupted()
    }

    /// Whether nobody wants the block any more, looking at the clock.
    pub(crate) fn given_up(&self) -> bool {
        self.stopped() || self.control.interrupted::<()>().is_some()
    }

    /// Whether the block has ended.
    pub(crate) fn stopped(&self) -> bool {
        // Relaxed: as in `check`.
        self.stop.load(Ordering::Relaxed)
    }
}
