//! Numbers in the journal: little-endian base 128, lists with their lengths.

use super::{error::DiskError, layout::Ptr};
use alloy_primitives::B256;

#[derive(Debug, Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    pub(super) fn hash(&mut self, hash: &B256) {
        self.0.extend_from_slice(hash.as_slice());
    }

    /// Pairs, ascending by the first, which is written as the distance from the one before.
    pub(super) fn pairs(&mut self, pairs: &[(u64, u32)]) {
        self.number(pairs.len() as u64);
        let mut last = 0;
        for (key, value) in pairs {
            self.number(key - last);
            self.number(u64::from(*value));
            last = *key;
        }
    }
}

/// Reads what a [`Writer`] wrote; whatever else it is given is an error.
#[derive(Debug)]
pub(super) struct Decoder<'a>(pub(super) &'a [u8]);

fn malformed() -> DiskError {
    DiskError::damaged("journal", 0, "a record that nobody can have written")
}

impl Decoder<'_> {
    pub(super) fn number(&mut self) -> Result<u64, DiskError> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let (first, rest) = self.0.split_first().ok_or_else(malformed)?;
            self.0 = rest;
            let bits = u64::from(first & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if first & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(malformed())
    }

    pub(super) fn small(&mut self) -> Result<u32, DiskError> {
        u32::try_from(self.number()?).map_err(|_| malformed())
    }

    pub(super) fn ptr(&mut self) -> Result<Ptr, DiskError> {
        self.number().map(Ptr)
    }

    pub(super) fn hash(&mut self) -> Result<B256, DiskError> {
        let (hash, rest) = self.0.split_at_checked(32).ok_or_else(malformed)?;
        self.0 = rest;
        Ok(B256::from_slice(hash))
    }

    /// A length of a list whose items take at least a byte each.
    pub(super) fn len(&mut self) -> Result<usize, DiskError> {
        let len = self.number()?;
        if len > self.0.len() as u64 {
            return Err(malformed());
        }
        Ok(len as usize)
    }

    pub(super) fn pairs(&mut self) -> Result<Vec<(u64, u32)>, DiskError> {
        let (len, mut last) = (self.len()?, 0u64);
        let mut pairs = Vec::with_capacity(len);
        for _ in 0..len {
            last = last.checked_add(self.number()?).ok_or_else(malformed)?;
            pairs.push((last, self.small()?));
        }
        Ok(pairs)
    }

    pub(super) fn end(&self) -> Result<(), DiskError> {
        if self.0.is_empty() { Ok(()) } else { Err(malformed()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else_is() {
        let numbers = [0, 1, 127, 128, 1 << 35, u64::MAX];
        let pairs = [(3, 0), (3, 9), (1 << 40, u32::MAX)];
        let mut writer = Writer::default();
        numbers.iter().for_each(|number| writer.number(*number));
        writer.pairs(&pairs);
        let mut decoder = Decoder(&writer.0);
        for number in numbers {
            assert_eq!(decoder.number(), Ok(number));
        }
        assert_eq!(decoder.pairs().unwrap(), pairs);
        decoder.end().unwrap();
        assert!(Decoder(&[0xff; 10]).number().is_err(), "a number that does not fit");
        assert!(Decoder(&[0x80]).number().is_err(), "half a number");
        assert!(Decoder(&[200, 1]).pairs().is_err(), "a list longer than what is there");
    }
}
