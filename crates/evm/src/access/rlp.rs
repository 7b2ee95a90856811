//! The items of an access list in RLP. What is canonical and short, which nearly all of a list is, is read
//! here; all else, damage included, by `alloy_rlp`, so that errors are its own. Written they are from the
//! end to the start: so the length of a list is known when its header comes.

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

/// RLP that is written from its end to its start.
#[derive(Debug, Default)]
pub(super) struct Backwards {
    /// What is written is at its end, from `at` on.
    buf: Vec<u8>,
    at: usize,
}

impl Backwards {
    /// Forgets what is written.
    pub(super) fn clear(&mut self) {
        self.at = self.buf.len();
    }

    /// Bytes that are allocated.
    pub(super) fn bytes_allocated(&self) -> usize {
        self.buf.capacity()
    }

    /// Bytes that are written.
    pub(super) fn len(&self) -> usize {
        self.buf.len() - self.at
    }

    /// Puts `bytes` in front.
    #[inline(always)]
    fn put(&mut self, bytes: &[u8]) {
        if self.at < bytes.len() {
            self.grow(bytes.len());
        }
        self.at -= bytes.len();
        self.buf[self.at..][..bytes.len()].copy_from_slice(bytes);
    }

    #[cold]
    fn grow(&mut self, more: usize) {
        let len = self.len();
        let mut buf = vec![0; (self.buf.len() * 2).max(len + more).max(64)];
        let at = buf.len() - len;
        buf[at..].copy_from_slice(&self.buf[self.at..]);
        (self.buf, self.at) = (buf, at);
    }

    /// Puts the last `len` of `bytes` in front: all of them are copied, as that is quicker.
    #[inline]
    fn put_end<const N: usize>(&mut self, bytes: &[u8; N], len: usize) {
        if self.at < N {
            self.grow(N);
        }
        self.buf[self.at - N..self.at].copy_from_slice(bytes);
        self.at -= len;
    }

    /// The header of a string or list of `len` bytes, whose short form is `short`.
    #[inline]
    fn header(&mut self, len: usize, short: u8) {
        if len < 56 {
            return self.put(&[short + len as u8]);
        }
        let bytes = len.to_be_bytes();
        let zeros = len.leading_zeros() as usize / 8;
        self.put(&bytes[zeros..]);
        self.put(&[short + 55 + (bytes.len() - zeros) as u8]);
    }

    /// Makes a list of all since there were `since` bytes.
    pub(super) fn list(&mut self, since: usize) {
        self.header(self.len() - since, 0xc0);
    }

    /// A string of bytes.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.put(bytes);
        if bytes.len() != 1 || bytes[0] >= 0x80 {
            self.header(bytes.len(), 0x80);
        }
    }

    /// A number without its leading zeros.
    #[inline]
    pub(super) fn number(&mut self, number: u64) {
        if matches!(number, 1..=0x7f) {
            return self.put(&[number as u8]);
        }
        let len = 8 - number.leading_zeros() as usize / 8;
        self.put_end(&number.to_be_bytes(), len);
        self.put(&[0x80 + len as u8]);
    }

    /// A word without its leading zeros.
    #[inline]
    pub(super) fn word(&mut self, word: &U256) {
        let zeros = word.leading_zeros();
        if matches!(zeros, 249..=255) {
            return self.put(&[word.as_limbs()[0] as u8]);
        }
        let len = 32 - zeros / 8;
        self.put_end(&word.to_be_bytes::<32>(), len);
        self.put(&[0x80 + len as u8]);
    }

    /// An address.
    pub(super) fn address(&mut self, address: &Address) {
        self.put_end(&address.0.0, Address::len_bytes());
        self.put(&[0x80 + Address::len_bytes() as u8]);
    }

    /// A list of changes, each a list of an index and a value that `put` puts there.
    pub(super) fn row<T>(&mut self, row: &[(u32, T)], put: impl Fn(&mut Self, &T)) {
        let end = self.len();
        for (index, value) in row.iter().rev() {
            let change = self.len();
            put(self, value);
            self.number((*index).into());
            self.list(change);
        }
        self.list(end);
    }

    /// What is written.
    pub(super) fn written(&self) -> &[u8] {
        &self.buf[self.at..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_rlp::{Encodable, encode};

    /// What is written is what `alloy_rlp` writes.
    #[test]
    fn writes_what_alloy_rlp_writes() {
        fn same(value: &impl Encodable, write: impl Fn(&mut Backwards)) {
            let mut out = Backwards::default();
            write(&mut out);
            assert_eq!(out.written(), encode(value));
            out.clear();
            write(&mut out);
            assert_eq!(out.written(), encode(value), "in used memory");
        }
        for bits in 0..=256 {
            for less in [0, 1] {
                let word = if bits == 256 { U256::MAX } else { U256::from(1) << bits } - U256::from(less);
                same(&word, |out| out.word(&word));
                if let Ok(number) = u64::try_from(word) {
                    same(&number, |out| out.number(number));
                }
                let row = vec![(0u32, word), (0x7f, word), (0x80, U256::ZERO), (u32::MAX, word)];
                let plain: Vec<Vec<U256>> =
                    row.iter().map(|(index, word)| vec![U256::from(*index), *word]).collect();
                same(&plain, |out| out.row(&row, Backwards::word));
            }
        }
        for byte in [0, 1, 0x7f, 0x80, 0xff] {
            let address = Address::repeat_byte(byte);
            same(&address, |out| out.address(&address));
        }
        for len in [0, 1, 2, 54, 55, 56, 57, 255, 256, 257, 65_535, 65_536, 70_000] {
            for first in [0, 0x7f, 0x80, 0xff] {
                let bytes = alloy_primitives::Bytes::from(vec![first; len]);
                same(&bytes, |out| out.bytes(&bytes));
                let words = vec![U256::from(first); len];
                same(&words, |out| {
                    words.iter().for_each(|word| out.word(word));
                    out.list(0);
                });
            }
        }
    }

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
