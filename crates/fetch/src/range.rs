//! Which blocks: `5`, `5..8`, `5..=7`, `1,4,9..=12`, `latest`, `-10..latest`.

use crate::FetchError;
use std::str::FromStr;

/// Most blocks that one range may name: as many as one folder of cases may hold.
pub const MAX_BLOCKS: u64 = 100_000;

/// Most parts between commas.
const MAX_PARTS: usize = 10_000;

/// One end of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// This block.
    Number(u64),
    /// So many before the newest.
    BeforeLatest(u64),
}

impl End {
    fn resolve(self, latest: u64) -> Option<u64> {
        match self {
            End::Number(number) => Some(number),
            End::BeforeLatest(back) => latest.checked_sub(back),
        }
    }
}

/// Blocks by number, some perhaps counted from the newest one. Parts are taken in order; a block that
/// several parts name is fetched once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    text: String,
    /// First block, last block.
    parts: Vec<(End, Last)>,
}

/// Where a part ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    /// Before this block, as `..` says.
    Before(End),
    /// With this block, as `..=` says.
    At(End),
}

impl FromStr for Range {
    type Err = FetchError;

    fn from_str(text: &str) -> Result<Self, FetchError> {
        let bad = |reason: String| FetchError::Range { text: text.chars().take(80).collect(), reason };
        let parts: Vec<&str> = text.split(',').take(MAX_PARTS + 1).collect();
        if parts.len() > MAX_PARTS {
            return Err(bad(format!("more than {MAX_PARTS} parts")));
        }
        let parts = parts.into_iter().map(part).collect::<Result<_, _>>().map_err(bad)?;
        Ok(Range { text: text.to_owned(), parts })
    }
}

fn part(text: &str) -> Result<(End, Last), String> {
    let text = text.trim();
    Ok(match (text.split_once("..="), text.split_once("..")) {
        (Some((first, last)), _) => (end(first)?, Last::At(end(last)?)),
        (None, Some((first, last))) => (end(first)?, Last::Before(end(last)?)),
        (None, None) => {
            let one = end(text)?;
            (one, Last::At(one))
        }
    })
}

fn end(text: &str) -> Result<End, String> {
    let number = |digits: &str| {
        let plain = digits.replace('_', "");
        let digits_only = !plain.is_empty() && plain.bytes().all(|digit| digit.is_ascii_digit());
        let parsed = plain.parse::<u64>().ok().filter(|_| digits_only);
        parsed.ok_or_else(|| format!("`{text:.40}` is neither a block number nor `latest`"))
    };
    match text.strip_prefix("latest") {
        Some("") => Ok(End::BeforeLatest(0)),
        Some(rest) => number(rest.strip_prefix('-').unwrap_or("")).map(End::BeforeLatest),
        None => match text.strip_prefix('-') {
            Some(back) => number(back).map(End::BeforeLatest),
            None => number(text).map(End::Number),
        },
    }
}

impl Range {
    /// Whether the newest block's number is needed to know which blocks these are.
    pub fn needs_latest(&self) -> bool {
        let open = |end: &End| matches!(end, End::BeforeLatest(_));
        self.parts.iter().any(|(first, last)| {
            open(first)
                || match last {
                    Last::Before(end) | Last::At(end) => open(end),
                }
        })
    }

    /// The blocks in order, each once, given the newest block's number.
    ///
    /// # Errors
    /// [`FetchError::Range`], if there are none or more than [`MAX_BLOCKS`], or the genesis is one of
    /// them: nothing is executed there.
    pub fn numbers(&self, latest: u64) -> Result<Vec<u64>, FetchError> {
        let bad = |reason: String| FetchError::Range { text: self.text.chars().take(80).collect(), reason };
        let (mut numbers, mut seen) = (Vec::new(), std::collections::BTreeSet::new());
        // A block named twice counts twice, or a short text could ask for much work.
        let mut named = 0_u64;
        for (first, last) in &self.parts {
            let early = || bad(format!("begins before the chain, whose newest block is {latest}"));
            let first = first.resolve(latest).ok_or_else(early)?;
            let after = match last {
                Last::Before(end) => end.resolve(latest),
                Last::At(end) => end.resolve(latest).and_then(|last| last.checked_add(1)),
            };
            let after = after.ok_or_else(|| bad("ends where no block can be".into()))?;
            named = named.saturating_add(after.saturating_sub(first));
            if named > MAX_BLOCKS {
                return Err(bad(format!("names {named} blocks, at most {MAX_BLOCKS} are fetched at a time")));
            }
            numbers.extend((first..after).filter(|number| seen.insert(*number)));
        }
        match seen.first() {
            None => Err(bad("names no block".into())),
            Some(0) => Err(bad("block 0 is the genesis, which executes nothing".into())),
            Some(_) => Ok(numbers),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(text: &str) -> Result<Vec<u64>, String> {
        text.parse::<Range>().and_then(|range| range.numbers(100)).map_err(|error| error.to_string())
    }

    #[test]
    fn ranges_are_what_they_say() {
        assert_eq!(numbers("5"), Ok(vec![5]));
        assert_eq!(numbers("5..8"), Ok(vec![5, 6, 7]));
        assert_eq!(numbers("5..=7"), Ok(vec![5, 6, 7]));
        assert_eq!(numbers("9,1_0, 3..5,4"), Ok(vec![9, 10, 3, 4]));
        assert_eq!(numbers("latest"), Ok(vec![100]));
        assert_eq!(numbers("latest-2"), Ok(vec![98]));
        assert_eq!(numbers("-3..latest"), Ok(vec![97, 98, 99]));
        assert_eq!(numbers("-1..=latest"), Ok(vec![99, 100]));
        assert!("7".parse::<Range>().is_ok_and(|range| !range.needs_latest()));
        assert!("7..latest".parse::<Range>().is_ok_and(|range| range.needs_latest()));
    }

    #[test]
    fn what_is_no_range_is_said() {
        for (text, reason) in [
            ("", "neither a block number"),
            ("five", "neither a block number"),
            ("5..", "neither a block number"),
            ("+5", "neither a block number"),
            ("0x10", "neither a block number"),
            ("latest+1", "neither a block number"),
            ("1..2..3", "neither a block number"),
            ("18446744073709551616", "neither a block number"),
            ("8..5", "names no block"),
            ("0..3", "the genesis"),
            ("-200..latest", "before the chain"),
            ("1..=18446744073709551615", "ends where no block can be"),
            ("1..200000", "names 199999 blocks"),
            ("1..50001,1..50001,1", "names 100001 blocks"),
        ] {
            let error = numbers(text).expect_err(text);
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
