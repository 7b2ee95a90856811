//! Where things are in the file: superblocks, the two halves of the journal, segments, pages. `docs/STORE.md`
//! describes the format; the numbers are here.

use super::error::DiskError;
use std::fmt;

/// Bytes of a page: the unit of checksums, of caching, and of writing. Never holds bytes of two commits.
pub(super) const PAGE: usize = 4096;
/// Checksum and number of bytes used.
pub(super) const PAGE_HEAD: usize = 8;
/// The longest record.
pub(super) const RECORD_MAX: usize = PAGE - PAGE_HEAD;

/// Bits of a pointer that are an offset in a segment.
const OFFSET_BITS: u32 = 24;

/// Where a node is: number of its segment and offset in it. Numbers of segments are never used again, so what a
/// pointer points at never changes. The number 0 is no segment, so 0 is no pointer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) struct Ptr(pub(super) u64);

impl Ptr {
    pub(super) const NONE: Ptr = Ptr(0);

    pub(super) fn new(segment: u64, offset: usize) -> Ptr {
        Ptr(segment << OFFSET_BITS | offset as u64)
    }

    pub(super) fn segment(self) -> u64 {
        self.0 >> OFFSET_BITS
    }

    pub(super) fn offset(self) -> usize {
        (self.0 & ((1 << OFFSET_BITS) - 1)) as usize
    }

    pub(super) fn is_none(self) -> bool {
        self == Ptr::NONE
    }

    /// The page it points into, as a pointer to its first byte.
    pub(super) fn page(self) -> Ptr {
        Ptr(self.0 - self.in_page() as u64)
    }

    pub(super) fn in_page(self) -> usize {
        self.offset() % PAGE
    }
}

impl fmt::Debug for Ptr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{:#x}", self.segment(), self.offset())
    }
}

/// Sizes that are fixed when a store is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    /// Drawn when the store is created; part of all checksums.
    pub(super) id: u64,
    /// Bytes of a segment: a power of two from 64 KiB to 16 MiB.
    pub(super) segment: u64,
    /// Bytes of one half of the journal: a multiple of a page.
    pub(super) journal: u64,
}

pub(super) const SEGMENT_MIN: u64 = 1 << 16;
pub(super) const SEGMENT_MAX: u64 = 1 << OFFSET_BITS;
pub(super) const JOURNAL_MIN: u64 = 1 << 16;
pub(super) const JOURNAL_MAX: u64 = 1 << 32;

const MAGIC: [u8; 8] = *b"BRAIDSTO";
const FORMAT: u32 = 1;
/// Superblocks are the first two pages.
pub(super) const SUPERBLOCKS: u64 = 2;
const SUPERBLOCK_LEN: usize = 48;

/// What a superblock says: the sizes, and a commit that is known to be durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Superblock {
    pub(super) geometry: Geometry,
    pub(super) durable: u64,
}

impl Superblock {
    /// Which of the two the next commit overwrites.
    pub(super) fn place(&self) -> u64 {
        self.durable % SUPERBLOCKS
    }

    /// As it stands in one of the two places.
    pub(super) fn encode(&self, place: u64) -> [u8; PAGE] {
        let mut page = [0; PAGE];
        page[..8].copy_from_slice(&MAGIC);
        page[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        let Geometry { id, segment, journal } = self.geometry;
        for (i, number) in [id, segment, journal, self.durable].into_iter().enumerate() {
            page[16 + 8 * i..][..8].copy_from_slice(&number.to_le_bytes());
        }
        let checksum = crc(place, 0, &page[..SUPERBLOCK_LEN]);
        page[SUPERBLOCK_LEN..][..4].copy_from_slice(&checksum.to_le_bytes());
        page
    }

    pub(super) fn decode(page: &[u8], place: u64) -> Result<Superblock, DiskError> {
        let damaged = |reason| DiskError::damaged("superblock", place * PAGE as u64, reason);
        if page[..8] != MAGIC {
            return Err(damaged("no mark of a store"));
        }
        if u32_at(page, SUPERBLOCK_LEN) != crc(place, 0, &page[..SUPERBLOCK_LEN]) {
            return Err(damaged("checksum"));
        }
        if u32_at(page, 8) != FORMAT {
            return Err(DiskError::Format(format!("format {}, not {FORMAT}", u32_at(page, 8))));
        }
        let [id, segment, journal, durable] = std::array::from_fn(|i| u64_at(page, 16 + 8 * i));
        let geometry = Geometry { id, segment, journal };
        geometry.check()?;
        Ok(Superblock { geometry, durable })
    }
}

impl Geometry {
    pub(super) fn check(&self) -> Result<(), DiskError> {
        let within = |what, is: u64, min: u64, max: u64| match is {
            _ if is < min => Err(DiskError::Limit { what, is, limit: min }),
            _ if is > max => Err(DiskError::Limit { what, is, limit: max }),
            _ => Ok(()),
        };
        within("bytes of a segment", self.segment, SEGMENT_MIN, SEGMENT_MAX)?;
        within("bytes of the journal", self.journal, JOURNAL_MIN, JOURNAL_MAX)?;
        match self.segment.is_power_of_two() && self.journal.is_multiple_of(PAGE as u64) {
            true => Ok(()),
            false => Err(DiskError::Format("sizes that are not whole pages".into())),
        }
    }

    /// Where a half of the journal begins.
    pub(super) fn journal_at(&self, half: u64) -> u64 {
        SUPERBLOCKS * PAGE as u64 + half * self.journal
    }

    /// Where the place of a segment begins.
    pub(super) fn place_at(&self, place: u32) -> u64 {
        self.journal_at(2) + u64::from(place) * self.segment
    }

    /// Checksum of the page at `ptr`, of which `page` is all, and in which the checksum itself does not count.
    pub(super) fn page_crc(&self, ptr: Ptr, page: &[u8]) -> u32 {
        crc(self.id, ptr.0, &page[4..])
    }
}

/// Checksum of bytes that stand in one place: bytes of another place do not pass for them.
pub(crate) fn crc(id: u64, place: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&id.to_le_bytes());
    hasher.update(&place.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

/// `N` bytes at `at`, of which the caller knows that they are there.
pub(super) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_of_a_superblock_counts() {
        let geometry = Geometry { id: 77, segment: 1 << 21, journal: 1 << 20 };
        let block = Superblock { geometry, durable: 9 };
        let page = block.encode(1);
        assert_eq!(Superblock::decode(&page, 1), Ok(block));
        assert!(Superblock::decode(&page, 0).is_err(), "the other place");
        for bit in 0..(SUPERBLOCK_LEN + 4) * 8 {
            let mut page = page;
            page[bit / 8] ^= 1 << (bit % 8);
            assert!(Superblock::decode(&page, 1).is_err(), "bit {bit}");
        }
    }
}
