//! Perturbation of schedules, for tests: delays at the points where the protocols are delicate.
//!
//! Exists in builds with debug assertions; elsewhere every call is empty.

/// A seeded source of delays for one worker. The seed fixes which points delay and for how long; what
/// the operating system makes of it is its own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chaos {
    #[cfg(debug_assertions)]
    state: u64,
}

impl Chaos {
    /// Delays of `worker` under `seed`; `None` for none.
    #[cfg_attr(not(debug_assertions), allow(unused_variables))]
    pub(crate) fn new(seed: Option<u64>, worker: u16) -> Self {
        Chaos {
            #[cfg(debug_assertions)]
            state: seed
                .map_or(0, |seed| (seed ^ (u64::from(worker) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1),
        }
    }

    /// A point where another thread may have been faster.
    #[inline]
    pub(crate) fn point(&mut self) {
        #[cfg(debug_assertions)]
        if self.state != 0 {
            // xorshift64*, Vigna 2016.
            self.state ^= self.state >> 12;
            self.state ^= self.state << 25;
            self.state ^= self.state >> 27;
            match self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 58 {
                0..8 => crate::sync::thread::yield_now(),
                8..12 => (0..200).for_each(|_| std::hint::spin_loop()),
                12 if !crate::sync::MODEL => {
                    std::thread::sleep(std::time::Duration::from_micros(20));
                }
                _ => {}
            }
        }
    }
}
