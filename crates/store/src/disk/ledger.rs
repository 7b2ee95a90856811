//! Which versions there are, which segments, and how much of each is of use. A function of the journal: it
//! changes by events only, and by the same ones when the store is opened again.
//!
//! 1. A record is born in a commit and dies in a later one that has no use for it; it is of use to all versions
//!    from the one to before the other.
//! 2. `current` of a segment is the bytes that are of use to the latest version; `live`, to any retained one.
//!    What died in a commit leaves `live` when that commit is the oldest retained.
//! 3. A roll-back undoes commits: what was born in them is gone, what died in them has not died.
//! 4. A segment with nothing live goes, unless it is the one that is written to. Its place may be written to
//!    only after the event that let it go is durable.

use super::{
    codec::{Decoder, Writer},
    error::DiskError,
    layout::Ptr,
};
use alloy_primitives::B256;
use std::collections::{BTreeMap, VecDeque};

/// A retained version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) version: u64,
    /// Number of its commit. Numbers are never used again; versions are, after a roll-back.
    pub(super) seq: u64,
    pub(super) root: Ptr,
    pub(super) hash: B256,
    /// Bytes of records, by segment.
    born: Vec<(u64, u32)>,
    died: Vec<(u64, u32)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) place: u32,
    pub(super) live: u64,
    pub(super) current: u64,
}

/// Pages that a commit wrote side by side: segment, first page, how many.
pub(super) type Mark = (u64, u32, u32);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Commit {
    pub(super) version: Version,
    /// Segments that began, and where they are.
    pub(super) opened: Vec<(u64, u32)>,
    /// The segment to write to next, and its first page without use.
    pub(super) open: Option<(u64, u32)>,
    /// The lowest commit that is retained after this.
    pub(super) oldest: u64,
    pub(super) written: Vec<Mark>,
    /// Checksum of the checksums of the pages written.
    pub(super) digest: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Commit(Commit),
    /// All versions after this one are undone.
    Rollback(u64),
    /// All versions of commits before this one go.
    Prune(u64),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    /// Number of the last event.
    pub(super) seq: u64,
    pub(super) next_segment: u64,
    pub(super) open: Option<(u64, u32)>,
    pub(super) segments: BTreeMap<u64, Segment>,
    pub(super) versions: VecDeque<Version>,
}

fn wrong(what: &str) -> DiskError {
    DiskError::damaged("journal", 0, what)
}

/// Adds up lengths by segment.
pub(super) fn by_segment(records: &mut [(Ptr, u32)]) -> Vec<(u64, u32)> {
    records.sort_unstable();
    let mut sums: Vec<(u64, u32)> = Vec::new();
    for (ptr, len) in records {
        match sums.last_mut() {
            Some((segment, sum)) if *segment == ptr.segment() => *sum += *len,
            _ => sums.push((ptr.segment(), *len)),
        }
    }
    sums
}

impl Version {
    pub(super) fn new(
        (version, seq): (u64, u64),
        (root, hash): (Ptr, B256),
        born: Vec<(u64, u32)>,
        died: Vec<(u64, u32)>,
    ) -> Version {
        Version { version, seq, root, hash, born, died }
    }

    /// Bytes of records that it wrote.
    pub(super) fn born_bytes(&self) -> u64 {
        self.born.iter().map(|(_, bytes)| u64::from(*bytes)).sum()
    }
}

impl Ledger {
    pub(super) fn new() -> Self {
        Ledger { next_segment: 1, ..Ledger::default() }
    }

    pub(super) fn latest(&self) -> Option<&Version> {
        self.versions.back()
    }

    pub(super) fn find(&self, version: u64) -> Option<&Version> {
        let at = self.versions.binary_search_by_key(&version, |one| one.version).ok()?;
        self.versions.get(at)
    }

    /// The segment that is written to, its place, and its first page without use.
    pub(super) fn open_place(&self) -> Option<(u64, u32, u32)> {
        let (segment, page) = self.open?;
        Some((segment, self.segments.get(&segment)?.place, page))
    }

    /// Makes an event happen; the segments that went.
    ///
    /// # Errors
    /// If it cannot follow. The ledger is of no use then.
    pub(super) fn apply(&mut self, seq: u64, event: &Event) -> Result<Vec<(u64, u32)>, DiskError> {
        if seq.checked_sub(1) != Some(self.seq) {
            return Err(wrong("an event is missing"));
        }
        self.seq = seq;
        match event {
            Event::Commit(commit) => self.commit(commit)?,
            Event::Rollback(to) => self.rollback(*to)?,
            Event::Prune(oldest) => self.retain(*oldest)?,
        }
        let open = self.open.map(|(segment, _)| segment);
        let gone = self.segments.iter().filter(|(number, one)| one.live == 0 && Some(**number) != open);
        let gone: Vec<(u64, u32)> = gone.map(|(number, segment)| (*number, segment.place)).collect();
        for (number, _) in &gone {
            self.segments.remove(number);
        }
        Ok(gone)
    }

    fn commit(&mut self, commit: &Commit) -> Result<(), DiskError> {
        let version = &commit.version;
        if version.seq != self.seq || self.latest().is_some_and(|latest| latest.version >= version.version) {
            return Err(wrong("versions out of order"));
        }
        for (number, place) in &commit.opened {
            let new = Segment { place: *place, live: 0, current: 0 };
            if *number < self.next_segment || self.segments.insert(*number, new).is_some() {
                return Err(wrong("a segment begins twice"));
            }
            self.next_segment = number.saturating_add(1);
        }
        self.open = commit.open;
        self.change(&version.born, |segment, bytes| {
            segment.live = segment.live.checked_add(bytes)?;
            segment.current = segment.current.checked_add(bytes)?;
            Some(())
        })?;
        self.change(&version.died, |segment, bytes| {
            segment.current = segment.current.checked_sub(bytes)?;
            Some(())
        })?;
        self.versions.push_back(version.clone());
        self.retain(commit.oldest)
    }

    /// Lets go of versions of commits before `oldest`.
    fn retain(&mut self, oldest: u64) -> Result<(), DiskError> {
        while self.versions.front().is_some_and(|version| version.seq < oldest) {
            self.versions.pop_front();
            self.expire()?;
        }
        if self.versions.len() == 1 {
            self.expire()?;
        }
        match self.versions.is_empty() {
            true => Err(wrong("no version is retained")),
            false => Ok(()),
        }
    }

    /// What died in the oldest retained commit is of no use to anyone.
    fn expire(&mut self) -> Result<(), DiskError> {
        let Some(oldest) = self.versions.front_mut() else { return Ok(()) };
        let died = std::mem::take(&mut oldest.died);
        self.change(&died, |segment, bytes| {
            segment.live = segment.live.checked_sub(bytes)?;
            Some(())
        })
    }

    fn rollback(&mut self, to: u64) -> Result<(), DiskError> {
        if self.find(to).is_none() {
            return Err(wrong("a roll-back to no version"));
        }
        while self.latest().is_some_and(|latest| latest.version > to) {
            let Some(undone) = self.versions.pop_back() else { break };
            self.change(&undone.died, |segment, bytes| {
                segment.current = segment.current.checked_add(bytes)?;
                Some(())
            })?;
            self.change(&undone.born, |segment, bytes| {
                segment.live = segment.live.checked_sub(bytes)?;
                segment.current = segment.current.checked_sub(bytes)?;
                Some(())
            })?;
        }
        Ok(())
    }

    fn change(
        &mut self,
        bytes: &[(u64, u32)],
        how: impl Fn(&mut Segment, u64) -> Option<()>,
    ) -> Result<(), DiskError> {
        for (number, bytes) in bytes {
            let segment = self.segments.get_mut(number);
            let done = segment.and_then(|segment| how(segment, u64::from(*bytes)));
            done.ok_or_else(|| wrong("more is gone from a segment than was there"))?;
        }
        Ok(())
    }

    /// All of it, for a checkpoint.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.number(self.next_segment);
        put_open(&mut out, self.open);
        out.number(self.segments.len() as u64);
        for (number, segment) in &self.segments {
            out.number(*number);
            out.number(u64::from(segment.place));
            out.number(segment.live);
            out.number(segment.current);
        }
        out.number(self.versions.len() as u64);
        self.versions.iter().for_each(|version| put_version(&mut out, version));
        out.0
    }

    pub(super) fn decode(seq: u64, bytes: &[u8]) -> Result<Ledger, DiskError> {
        let mut from = Decoder(bytes);
        let mut ledger = Ledger { seq, next_segment: from.number()?, ..Ledger::default() };
        ledger.open = get_open(&mut from)?;
        for _ in 0..from.len()? {
            let number = from.number()?;
            let segment = Segment { place: from.small()?, live: from.number()?, current: from.number()? };
            ledger.segments.insert(number, segment);
        }
        for _ in 0..from.len()? {
            ledger.versions.push_back(get_version(&mut from)?);
        }
        from.end()?;
        Ok(ledger)
    }
}

fn put_open(out: &mut Writer, open: Option<(u64, u32)>) {
    // No segment has the number 0.
    let (segment, page) = open.unwrap_or_default();
    out.number(segment);
    out.number(u64::from(page));
}

fn get_open(from: &mut Decoder<'_>) -> Result<Option<(u64, u32)>, DiskError> {
    let open = (from.number()?, from.small()?);
    Ok((open.0 > 0).then_some(open))
}

fn put_version(out: &mut Writer, version: &Version) {
    out.number(version.version);
    out.number(version.seq);
    out.number(version.root.0);
    out.hash(&version.hash);
    out.pairs(&version.born);
    out.pairs(&version.died);
}

fn get_version(from: &mut Decoder<'_>) -> Result<Version, DiskError> {
    Ok(Version {
        version: from.number()?,
        seq: from.number()?,
        root: from.ptr()?,
        hash: from.hash()?,
        born: from.pairs()?,
        died: from.pairs()?,
    })
}

impl Event {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        match self {
            Event::Commit(commit) => {
                out.number(0);
                put_version(&mut out, &commit.version);
                out.pairs(&commit.opened);
                put_open(&mut out, commit.open);
                out.number(commit.oldest);
                out.number(commit.written.len() as u64);
                for (segment, first, count) in &commit.written {
                    out.number(*segment);
                    out.number(u64::from(*first));
                    out.number(u64::from(*count));
                }
                out.number(u64::from(commit.digest));
            }
            Event::Rollback(to) => {
                out.number(1);
                out.number(*to);
            }
            Event::Prune(oldest) => {
                out.number(2);
                out.number(*oldest);
            }
        }
        out.0
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Event, DiskError> {
        let mut from = Decoder(bytes);
        let event = match from.number()? {
            0 => {
                let (version, opened) = (get_version(&mut from)?, from.pairs()?);
                let (open, oldest) = (get_open(&mut from)?, from.number()?);
                let mut written = Vec::new();
                for _ in 0..from.len()? {
                    written.push((from.number()?, from.small()?, from.small()?));
                }
                Event::Commit(Commit { version, opened, open, oldest, written, digest: from.small()? })
            }
            1 => Event::Rollback(from.number()?),
            2 => Event::Prune(from.number()?),
            _ => return Err(wrong("an event of no kind")),
        };
        from.end()?;
        Ok(event)
    }
}
