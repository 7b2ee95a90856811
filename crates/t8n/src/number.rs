//! Numbers as go-ethereum's tools write them.

use alloy_primitives::U256;
use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor},
};
use std::{fmt, marker::PhantomData};

/// A number: of JSON, or text in decimal, or text in hexadecimal after `0x`. Empty text is zero
/// (go-ethereum's `HexOrDecimal256`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Num<T>(pub(crate) T);

/// Longest text of a number: 78 decimal digits hold 256 bits, leading zeros allowed.
const MAX_DIGITS: usize = 100;

struct NumVisitor<T>(PhantomData<T>);

impl<T: TryFrom<U256>> Visitor<'_> for NumVisitor<T> {
    type Value = Num<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, in decimal or in hexadecimal after 0x")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Num<T>, E> {
        T::try_from(U256::from(number)).map(Num).map_err(|_| E::custom(format!("{number} is out of range")))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Num<T>, E> {
        let number = parse(text).ok_or_else(|| E::custom(format!("`{text:.80}` is not a number")))?;
        T::try_from(number).map(Num).map_err(|_| E::custom(format!("{text:.80} is out of range")))
    }
}

impl<'de, T: TryFrom<U256>> Deserialize<'de> for Num<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumVisitor(PhantomData))
    }
}

fn parse(text: &str) -> Option<U256> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    if digits.is_empty() {
        return (radix == 10).then_some(U256::ZERO);
    }
    let known = digits.len() <= MAX_DIGITS && digits.chars().all(|digit| digit.is_digit(radix));
    known.then(|| U256::from_str_radix(digits, u64::from(radix)).ok()).flatten()
}

/// A storage word: up to 64 hexadecimal digits, `0x` or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Word(pub(crate) U256);

struct WordVisitor;

impl Visitor<'_> for WordVisitor {
    type Value = Word;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("up to 32 bytes in hexadecimal")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Word, E> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let known = digits.len() <= 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        if !known {
            return Err(E::custom(format!("`{text:.80}` is not up to 32 bytes in hexadecimal")));
        }
        if digits.is_empty() {
            return Ok(Word(U256::ZERO));
        }
        U256::from_str_radix(digits, 16).map(Word).map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(WordVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number<T: TryFrom<U256>>(json: &str) -> Option<T> {
        serde_json::from_str::<Num<T>>(json).ok().map(|number| number.0)
    }

    #[test]
    fn numbers_in_every_form() {
        for (json, value) in
            [("7", 7), ("\"7\"", 7), ("\"0x07\"", 7), ("\"0XfF\"", 255), ("\"\"", 0), ("\"010\"", 10)]
        {
            assert_eq!(number::<u64>(json), Some(value), "{json}");
        }
        let most = format!("\"{}\"", U256::MAX);
        assert_eq!(number::<U256>(&most), Some(U256::MAX));
        assert_eq!(number::<u64>(&most), None);
        let long = format!("\"0x{}\"", "0".repeat(10_000));
        for bad in
            ["\"0x\"", "\"0xg\"", "\"1f\"", "-1", "\"-1\"", "1.5", "null", "\"1_000\"", "\"+1\"", &long]
        {
            assert_eq!(number::<U256>(bad), None, "{bad}");
        }
    }

    #[test]
    fn words_are_short_hexadecimal() {
        let word = |json: &str| serde_json::from_str::<Word>(json).ok().map(|word| word.0);
        assert_eq!(word("\"0x01\""), Some(U256::ONE));
        assert_eq!(word("\"ff\""), Some(U256::from(255)));
        assert_eq!(word("\"0x\""), Some(U256::ZERO));
        assert_eq!(word(&format!("\"0x{}\"", "f".repeat(64))), Some(U256::MAX));
        assert_eq!(word(&format!("\"0x{}\"", "f".repeat(65))), None);
        assert_eq!(word("\"0xzz\""), None);
        assert_eq!(word("1"), None);
    }
}
