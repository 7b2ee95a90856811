//! Statistics of timings: medians, bootstrap intervals of paired ratios, geometric means.
//!
//! Everything is a function of its arguments alone: the bootstrap's seed is one of them, so a report
//! can be computed again from the samples it records.

/// An estimate with its 95% confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The estimate itself.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Estimate {
    /// Half the width of the interval.
    pub fn half_width(&self) -> f64 {
        (self.high - self.low) / 2.0
    }
}

/// Resamples of one bootstrap. The 2.5% and 97.5% points then rest on 50 resamples each.
const RESAMPLES: usize = 2_000;

/// The median; of an even number of values the mean of the middle two. `None` without values.
///
/// Ordered by [`f64::total_cmp`], so no value makes it panic.
pub fn median(values: &[f64]) -> Option<f64> {
    median_in_place(&mut values.to_vec())
}

fn median_in_place(values: &mut [f64]) -> Option<f64> {
    let middle = values.len() / 2;
    if values.is_empty() {
        return None;
    }
    let even = values.len().is_multiple_of(2);
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let upper = *upper;
    if !even {
        return Some(upper);
    }
    let lower = below.iter().copied().max_by(f64::total_cmp)?;
    Some(lower + (upper - lower) / 2.0)
}

/// Geometric mean of positive values; `None` without values or if one is not positive.
pub fn geometric_mean(values: &[f64]) -> Option<f64> {
    if values.is_empty() || values.iter().any(|value| value.is_nan() || *value <= 0.0) {
        return None;
    }
    let logs: f64 = values.iter().map(|value| value.ln()).sum();
    Some((logs / values.len() as f64).exp())
}

/// How many times as fast as `reference` the measured one is: the median of `reference[i] / measured[i]`
/// over pairs taken side by side, with the percentile-bootstrap 95% interval of that median (Efron and
/// Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13).
///
/// Pairs are resampled, not single values, so that what disturbs both halves of a pair cancels. With
/// fewer than about eight pairs the interval is too narrow; with one it is a point. `None` without
/// pairs, or if a time is not positive. Excess values of the longer slice are ignored.
pub fn paired_speedup(reference: &[f64], measured: &[f64], seed: u64) -> Option<Estimate> {
    let positive = |time: f64| time.is_finite() && time > 0.0;
    let mut ratios = Vec::with_capacity(reference.len().min(measured.len()));
    for (&reference, &measured) in reference.iter().zip(measured) {
        if !positive(reference) || !positive(measured) {
            return None;
        }
        ratios.push(reference / measured);
    }
    let value = median(&ratios)?;
    let mut random = SplitMix(seed);
    let mut resample = vec![0.0; ratios.len()];
    let mut medians = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        for slot in &mut resample {
            *slot = ratios[random.below(ratios.len())];
        }
        medians.extend(median_in_place(&mut resample));
    }
    medians.sort_unstable_by(f64::total_cmp);
    Some(Estimate { value, low: quantile(&medians, 0.025), high: quantile(&medians, 0.975) })
}

/// The `q`-quantile of ascending values, linear between neighbours. `sorted` is not empty.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = q * (sorted.len() - 1) as f64;
    let (below, above) = (at.floor() as usize, at.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * (at - at.floor())
}

/// SplitMix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Uniform below `bound` up to a bias of `bound / 2^64`, by multiplication instead of division.
    fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
        assert_eq!(median(&[9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median(&[4.0, 3.0, 2.0, 1.0]), Some(2.5));
        assert!(median(&[f64::NAN, 1.0, 2.0]).is_some());
    }

    #[test]
    fn geometric_means() {
        assert_eq!(geometric_mean(&[]), None);
        assert_eq!(geometric_mean(&[1.0, 0.0]), None);
        assert_eq!(geometric_mean(&[1.0, f64::NAN]), None);
        let mean = geometric_mean(&[0.5, 2.0, 4.0, 0.25]).unwrap();
        assert!((mean - 1.0).abs() < 1e-12, "{mean}");
    }

    #[test]
    fn quantiles_are_linear_between_values() {
        let sorted = [0.0, 10.0, 20.0];
        assert_eq!(quantile(&sorted, 0.0), 0.0);
        assert_eq!(quantile(&sorted, 0.25), 5.0);
        assert_eq!(quantile(&sorted, 1.0), 20.0);
        assert_eq!(quantile(&[7.0], 0.975), 7.0);
    }

    #[test]
    fn speedup_of_exact_pairs_has_no_width() {
        let reference = [10.0, 20.0, 40.0];
        let measured = [5.0, 10.0, 20.0];
        let estimate = paired_speedup(&reference, &measured, 1).unwrap();
        assert_eq!(estimate, Estimate { value: 2.0, low: 2.0, high: 2.0 });
        assert_eq!(estimate.half_width(), 0.0);
    }

    #[test]
    fn speedup_needs_positive_pairs() {
        assert_eq!(paired_speedup(&[], &[], 1), None);
        assert_eq!(paired_speedup(&[1.0], &[0.0], 1), None);
        assert_eq!(paired_speedup(&[f64::INFINITY], &[1.0], 1), None);
        assert_eq!(paired_speedup(&[2.0, 9.0], &[1.0], 1).unwrap().value, 2.0);
    }

    #[test]
    fn intervals_are_repeatable_and_hold_the_truth() {
        let mut random = SplitMix(7);
        let mut noise = || 1.0 + (random.below(1000) as f64 - 500.0) / 10_000.0;
        let mut covered = 0;
        for seed in 0..100 {
            let reference: Vec<f64> = (0..41).map(|_| 300.0 * noise()).collect();
            let measured: Vec<f64> = (0..41).map(|_| 100.0 * noise()).collect();
            let estimate = paired_speedup(&reference, &measured, seed).unwrap();
            assert_eq!(Some(estimate), paired_speedup(&reference, &measured, seed));
            assert!(estimate.low <= estimate.value && estimate.value <= estimate.high);
            covered += usize::from(estimate.low <= 3.0 && 3.0 <= estimate.high);
        }
        assert!((85..=100).contains(&covered), "{covered} of 100 intervals hold the true ratio");
    }
}
