//! Numbers as genesis files have them, which people write by hand: geth takes more forms there than over RPC.

use alloy_primitives::U256;
use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor},
};
use std::{fmt, marker::PhantomData};

/// A number: of JSON, or a string of hexadecimal digits after `0x`, or of decimal ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Amount<T>(pub(crate) T);

/// A slot or what is in it: hexadecimal digits, perhaps after `0x`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Word(pub(crate) U256);

/// The number that these digits are.
fn digits(digits: &str, radix: u32) -> Result<U256, String> {
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return Err(format!("`{digits:.80}` is not a number"));
    }
    U256::from_str_radix(digits, u64::from(radix)).map_err(|_| format!("{digits:.80} is out of range"))
}

fn after_0x(text: &str) -> Option<&str> {
    text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))
}

/// The number that a text stands for.
pub(crate) fn number(text: &str) -> Result<U256, String> {
    after_0x(text).map_or_else(|| digits(text, 10), |hex| digits(hex, 16))
}

struct Numbers<T>(fn(&str) -> Result<U256, String>, PhantomData<T>);

impl<T: TryFrom<U256>> Visitor<'_> for Numbers<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, or a string of one in hexadecimal, after 0x, or decimal")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        T::try_from(U256::from(number)).map_err(|_| E::custom(format!("{number} is out of range")))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        let number = self.0(text).map_err(E::custom)?;
        T::try_from(number).map_err(|_| E::custom(format!("{text:.80} is out of range")))
    }
}

impl<'de, T: TryFrom<U256>> Deserialize<'de> for Amount<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Numbers(number, PhantomData)).map(Amount)
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let hex = |text: &str| digits(after_0x(text).unwrap_or(text), 16);
        deserializer.deserialize_any(Numbers(hex, PhantomData)).map(Word)
    }
}
