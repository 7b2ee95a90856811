//! The items of an access list in RLP. What is canonical and short, which nearly all of a list is, is read
//! here; all else, damage included, by `alloy_rlp`, so that errors are its own.

use alloy_primitives::{Address, U256};
use alloy_rlp::{Decodable, Error, Header};

/// The content of the list at the front of `buf`, which is moved behind it.
pub(super) fn list<'a>(buf: &mut &'a [u8]) -> Result<&'a [u8], Error> {
    let short = match **buf {
        [first @ 0xc0..=0xf7, ..] => Some((1, usize::from(first - 0xc0))),
        [0xf8, len @ 56..=255, ..] => Some((2, usize::from(len))),
        [0xf9, high @ 1..=255, low, ..] => Some((3, usize::from(u16::from_be_bytes([high, low])))),
        _ => None,
    };
    if let Some((header, len)) = short
        && let Some((content, rest)) = buf[header..].split_at_checked(len)
    {
        *buf = rest;
        return Ok(content);
    }
    Header::decode_bytes(buf, true)
}

/// The word at the front of `buf`, which is moved behind it.
pub(super) fn word(buf: &mut &[u8]) -> Result<U256, Error> {
    if let Some((first, rest)) = buf.split_first() {
        let len = usize::from(*first).wrapping_sub(0x80);
        if matches!(first, 1..=0x80) {
            *buf = rest;
            return Ok(U256::from(first & 0x7f));
        }
        if let 1..=32 = len
            && let Some((bytes, rest)) = rest.split_at_checked(len)
            && bytes[0] > if len == 1 { 0x7f } else { 0 }
        {
            let mut word = [0; 32];
            word[32 - len..].copy_from_slice(bytes);
            *buf = rest;
            return Ok(U256::from_be_bytes(word));
        }
    }
    U256::decode(buf)
}

/// The number at the front of `buf`, which is moved behind it.
pub(super) fn number(buf: &mut &[u8]) -> Result<u64, Error> {
    let (value, rest) = match *buf {
        [value @ 1..=0x80, rest @ ..] => (u64::from(value & 0x7f), rest),
        [0x81, value @ 0x80..=0xff, rest @ ..] => (u64::from(*value), rest),
        [0x82, high @ 1..=255, low, rest @ ..] => (u64::from(u16::from_be_bytes([*high, *low])), rest),
        _ => return u64::decode(buf),
    };
    *buf = rest;
    Ok(value)
}

/// The address at the front of `buf`, which is moved behind it.
pub(super) fn address(buf: &mut &[u8]) -> Result<Address, Error> {
    if let Some((0x94, rest)) = buf.split_first()
        && let Some((bytes, rest)) = rest.split_first_chunk::<20>()
    {
        *buf = rest;
        return Ok(Address::from(*bytes));
    }
    Address::decode(buf)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever stands there, the same comes of it as from `alloy_rlp`, which is moved as far.
    #[test]
    fn reads_what_alloy_rlp_reads() {
        fn same<T: PartialEq + std::fmt::Debug>(
            ours: impl Fn(&mut &[u8]) -> Result<T, Error>,
            theirs: impl Fn(&mut &[u8]) -> Result<T, Error>,
            bytes: &[u8],
        ) {
            let (mut left, mut right) = (bytes, bytes);
            let (ours, theirs) = (ours(&mut left), theirs(&mut right));
            assert_eq!(ours, theirs, "{bytes:x?}");
            if ours.is_ok() {
                assert_eq!(left, right, "{bytes:x?}");
            }
        }
        let all = |bytes: &[u8]| {
            same(word, U256::decode, bytes);
            same(number, u64::decode, bytes);
            same(address, Address::decode, bytes);
            same(
                |buf| list(buf).map(<[u8]>::to_vec),
                |buf| Header::decode_bytes(buf, true).map(<[u8]>::to_vec),
                bytes,
            );
        };
        all(&[]);
        for first in 0..=255u8 {
            for second in [0, 1, 0x37, 0x38, 0x7f, 0x80, 0xff] {
                for third in [0, 1, 0x80] {
                    for len in [0, 1, 2, 3, 9, 20, 21, 31, 32, 33, 56, 57, 300, 70_000] {
                        let mut bytes = vec![0x11; len];
                        for (byte, value) in bytes.iter_mut().zip([first, second, third]) {
                            *byte = value;
                        }
                        all(&bytes);
                    }
                }
            }
        }
    }
}
