//! Numbers for people.

/// A time, to three digits.
pub(crate) fn time(ns: u64) -> String {
    let (value, unit) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..1_000_000 => (ns as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => (ns as f64 / 1e6, "ms"),
        _ => (ns as f64 / 1e9, "s"),
    };
    let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.digits$} {unit}")
}

/// A point in time, to a tenth of a microsecond.
pub(crate) fn moment(ns: u64) -> String {
    format!("{}.{} µs", thousands(ns / 1_000), ns % 1_000 / 100)
}

/// `count` of things whose name takes an `s`.
pub(crate) fn count(count: u64, thing: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", thousands(count))
}

/// With commas between thousands.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share in percent.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    let share = if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 };
    if share > 0.0 && share < 9.95 { format!("{share:.1}%") } else { format!("{share:.0}%") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        let times = [0, 999, 1_000, 9_994, 12_345, 999_949, 1_000_000, 123_456_789, 2_500_000_000].map(time);
        let expected =
            ["0 ns", "999 ns", "1.00 µs", "9.99 µs", "12.3 µs", "1000 µs", "1.00 ms", "123 ms", "2.50 s"];
        assert_eq!(times, expected);
        assert_eq!([0, 990, 1_234_567].map(moment), ["0.0 µs", "0.9 µs", "1,234.5 µs"]);
        assert_eq!([0, 999, 1000, 1234567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!((count(1, "block"), count(2, "block")), ("1 block".into(), "2 blocks".into()));
        assert_eq!(
            (percent(1, 3), percent(1, 1000), percent(0, 0)),
            ("33%".into(), "0.1%".into(), "0%".into())
        );
    }
}
