//! Choices of unequal popularity.

use super::rng::Rng;

/// Chooses rank `k`, counted from one, with a probability proportional to `k^-s`.
#[derive(Clone, Debug)]
pub(super) struct Zipf {
    /// Sums of weights up to each rank; empty if all are alike.
    sums: Vec<f64>,
    count: u64,
}

impl Zipf {
    /// Over `count` ranks, which are not none; the exponent is in thousandths.
    pub(super) fn new(count: u64, thousandths: u64) -> Self {
        let exponent = thousandths as f64 / 1000.0;
        let mut sum = 0.0;
        let weigh = |rank: u64| {
            sum += exp(-exponent * ln(rank as f64));
            sum
        };
        let sums = if thousandths == 0 { Vec::new() } else { (1..=count).map(weigh).collect() };
        Zipf { sums, count }
    }

    /// A rank, counted from zero.
    pub(super) fn pick(&self, rng: &mut Rng) -> usize {
        let Some(total) = self.sums.last() else { return rng.below(self.count) as usize };
        let share = (rng.next() >> 11) as f64 / (1_u64 << 53) as f64;
        self.sums.partition_point(|sum| *sum <= share * total).min(self.sums.len() - 1)
    }
}

// Those of the standard library may differ in the last bit from platform to platform, and a workload may
// not. These use nothing but the operations that IEEE 754 defines to the bit.

/// Natural logarithm of a number of at least one.
fn ln(x: f64) -> f64 {
    let (mut mantissa, mut halvings) = (x, 0.0);
    while mantissa > 1.5 {
        mantissa /= 2.0;
        halvings += 1.0;
    }
    // ln m = 2 artanh((m - 1) / (m + 1)).
    let ratio = (mantissa - 1.0) / (mantissa + 1.0);
    let (mut power, mut sum) = (ratio, 0.0);
    for term in 0..20 {
        sum += power / f64::from(2 * term + 1);
        power *= ratio * ratio;
    }
    2.0 * sum + halvings * std::f64::consts::LN_2
}

/// e to the power of a number of at most zero.
fn exp(x: f64) -> f64 {
    let (mut small, mut doublings) = (x, 0);
    while small < -0.5 {
        small /= 2.0;
        doublings += 1;
    }
    let (mut term, mut sum) = (1.0, 1.0);
    for index in 1..20 {
        term *= small / f64::from(index);
        sum += term;
    }
    (0..doublings).fold(sum, |value, _| value * value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_functions_are_what_they_are_called() {
        for x in [1.0, 1.2, 2.0, 10.0, 12_345.0, 1e6] {
            assert!((ln(x) - x.ln()).abs() < 1e-12, "{x}");
            assert!((exp(-x / 1e5) - (-x / 1e5).exp()).abs() < 1e-12, "{x}");
        }
    }

    #[test]
    fn ranks_are_as_popular_as_they_should_be() {
        let (zipf, mut rng) = (Zipf::new(100, 1100), Rng::new(1));
        let mut counts = [0_u32; 100];
        (0..100_000).for_each(|_| counts[zipf.pick(&mut rng)] += 1);
        let ratio = f64::from(counts[0]) / f64::from(counts[9]);
        assert!((ratio / 10_f64.powf(1.1) - 1.0).abs() < 0.1, "{ratio}");
        let (even, mut seen) = (Zipf::new(7, 0), [0; 7]);
        (0..7000).for_each(|_| seen[even.pick(&mut rng)] += 1);
        assert!(seen.iter().all(|count| (800..1200).contains(count)), "{seen:?}");
    }
}
