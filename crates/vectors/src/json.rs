//! Values as vectors write them, and parsing with the path of what is wrong.

use crate::VectorError;
use alloy_primitives::U256;
use braid_work::shortened;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error},
};

/// Parses the content of the file that `label` names. Nesting is limited by the parser (128 levels).
pub(crate) fn parse<T: DeserializeOwned>(label: &str, bytes: &[u8]) -> Result<T, VectorError> {
    let error = |at: String, reason: String| VectorError::Json {
        file: label.to_owned(),
        at: shortened(&at),
        reason: shortened(&reason),
    };
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json)
        .map_err(|wrong| error(wrong.path().to_string(), wrong.inner().to_string()))?;
    json.end().map_err(|wrong| error(".".to_owned(), wrong.to_string()))?;
    Ok(value)
}

/// Why a text is no quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadNumber {
    /// Not hexadecimal after `0x`, nor decimal.
    #[error("`{0}` is not a number")]
    Text(String),
    /// More than 256 bits.
    #[error("`{0}` is more than 256 bits")]
    TooLarge(String),
}

/// A quantity: hexadecimal after `0x` (nothing after it is zero) or decimal, any number of leading zeros.
/// `0x:bigint 0x...` is how fillers write what does not fit.
pub(crate) fn number(text: &str) -> Result<U256, BadNumber> {
    let shown = || text.chars().take(80).collect::<String>();
    let plain = text.strip_prefix("0x:bigint ").unwrap_or(text);
    let (digits, radix) = plain.strip_prefix("0x").map_or((plain, 10), |digits| (digits, 16));
    if !digits.bytes().all(|digit| char::from(digit).is_digit(radix)) || plain.is_empty() {
        return Err(BadNumber::Text(shown()));
    }
    match digits.trim_start_matches('0') {
        "" => Ok(U256::ZERO),
        digits => {
            let radix = u64::from(radix);
            U256::from_str_radix(digits, radix).map_err(|_| BadNumber::TooLarge(shown()))
        }
    }
}

/// A quantity that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Num<T>(pub(crate) T);

impl<'de, T: TryFrom<U256>> Deserialize<'de> for Num<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(u64),
            Text(String),
        }
        let wide = match Form::deserialize(deserializer)? {
            Form::Number(number) => U256::from(number),
            Form::Text(text) => number(&text).map_err(D::Error::custom)?,
        };
        T::try_from(wide).map(Num).map_err(|_| D::Error::custom(format!("{wide} is out of range")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_of_fillers() {
        for (text, value) in
            [("0x", 0), ("0x00", 0), ("0x0a", 10), ("10", 10), ("0x:bigint 0x010", 16), ("0", 0)]
        {
            assert_eq!(number(text), Ok(U256::from(value)), "{text}");
        }
        assert_eq!(number(&format!("0x{}", "f".repeat(64))), Ok(U256::MAX));
        for bad in ["", "x", "0xg", "0x-1", "-1", " 1", "0x:bigint ", "1a"] {
            assert!(matches!(number(bad), Err(BadNumber::Text(_))), "{bad}");
        }
        let large = format!("0x:bigint 0x1{}", "0".repeat(64));
        assert!(matches!(number(&large), Err(BadNumber::TooLarge(_))));
        assert!(serde_json::from_str::<Num<u8>>("\"0x100\"").is_err());
        assert_eq!(serde_json::from_str::<Num<u8>>("7").unwrap(), Num(7));
    }
}
