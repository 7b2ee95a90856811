//! How often to ask.

use std::time::{Duration, Instant};

/// Requests that may be sent at once after a pause, as a span of time.
const BURST: Duration = Duration::from_secs(1);

/// A token bucket that holds a second's worth: over any time, at most `rate` requests a second and one
/// second's worth on top. A batch costs as many as it has calls.
#[derive(Debug)]
pub(crate) struct Rate {
    /// Time that one request pays for; `None` without a limit.
    each: Option<Duration>,
    /// When all that was sent so far is paid for.
    paid_until: Option<Instant>,
}

impl Rate {
    /// At most `per_second` requests a second.
    pub(crate) fn new(per_second: Option<f64>) -> Self {
        let each = per_second.filter(|rate| rate.is_finite() && *rate > 0.0);
        // A rate too small for the clock is the slowest that it can tell.
        let each = each.map(|rate| Duration::try_from_secs_f64(1.0 / rate).unwrap_or(Duration::MAX));
        Rate { each, paid_until: None }
    }

    /// Takes `cost` requests at `now`; how long to wait before sending them.
    pub(crate) fn take(&mut self, cost: u32, now: Instant) -> Duration {
        let Some(each) = self.each else { return Duration::ZERO };
        let price = each.saturating_mul(cost);
        // Unused time is kept up to the burst. One who has never asked has a full bucket.
        let floor = now.checked_sub(BURST).unwrap_or(now);
        let begin = self.paid_until.map_or(floor, |paid| paid.max(floor));
        let Some(end) = begin.checked_add(price) else { return Duration::MAX };
        self.paid_until = Some(end);
        end.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_free_and_the_rest_is_paid_for() {
        let mut rate = Rate::new(Some(10.0));
        let start = Instant::now();
        for _ in 0..10 {
            assert_eq!(rate.take(1, start), Duration::ZERO);
        }
        assert_eq!(rate.take(1, start), Duration::from_millis(100));
        assert_eq!(rate.take(5, start), Duration::from_millis(600));
        let later = start + Duration::from_secs(60);
        assert_eq!(rate.take(10, later), Duration::ZERO, "no more than a second is saved up");
        assert_eq!(rate.take(1, later), Duration::from_millis(100));
    }

    #[test]
    fn no_limit_never_waits_and_a_tiny_one_does_not_overflow() {
        assert_eq!(Rate::new(None).take(u32::MAX, Instant::now()), Duration::ZERO);
        let mut slow = Rate::new(Some(f64::MIN_POSITIVE));
        assert!(slow.take(2, Instant::now()) > Duration::from_secs(1));
    }
}
