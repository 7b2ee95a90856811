//! The journal: events, each in pages of its own, in one of two halves that begin with a checkpoint.
//!
//! 1. A half holds a checkpoint (all of a ledger) and, page-aligned after it, the events that follow, each
//!    with the number of the last one plus one. All carry the epoch of the half; epoch e is in half e % 2.
//! 2. When a half has no room, or events take much more of it than the checkpoint, the next event goes into
//!    the other half, after a checkpoint of what was before it. One sync covers both. Until it has
//!    returned, the half before says everything that was acknowledged. If there is no room for that, an event that
//!    only lets go of versions is within the checkpoint: else nothing could ever make room.
//! 3. What counts is the half that leads to the highest event. An event that is not known to be durable (by a
//!    superblock) counts only if all pages that it says it wrote are there.
//! 4. A journal that ends before what a superblock knows to be durable is damaged.
//! 5. What no superblock proves may be in memory only, also if a sync after it returned: a system may hold pages for
//!    clean that it failed to write. Who goes on from there writes it again before the next sync.
//! 6. An event of which writing failed may be whole all the same. Then it is taken back, durably, before anything else
//!    is written: two events of one number would be told apart by nothing.

use super::{
    error::DiskError,
    layout::{Geometry, PAGE, Ptr, Superblock, crc, u32_at, u64_at},
    ledger::{Event, Ledger, Mark},
};
use crate::io::Medium;
use std::io::ErrorKind;

const MAGIC: [u8; 4] = *b"BJRN";
/// Mark, checksum, length, kind, epoch, number.
const HEAD: usize = 32;
const CHECKPOINT: u8 = 0;
const EVENT: u8 = 1;
/// A half is left for the other when its events take more than this, and several times what the checkpoint
/// takes.
const TURN_BYTES: u64 = 1 << 20;
const TURN_TIMES: u64 = 4;

/// Where the next event goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Journal {
    epoch: u64,
    /// Offset in the half.
    next: u64,
    /// Bytes of the checkpoint.
    checkpoint: u64,
}

struct Entry {
    kind: u8,
    epoch: u64,
    seq: u64,
    payload: Vec<u8>,
    len: u64,
}

/// An entry as it stands at `at` in the file.
fn frame(geometry: &Geometry, at: u64, kind: u8, epoch: u64, seq: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; (HEAD + payload.len()).next_multiple_of(PAGE)];
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    bytes[12] = kind;
    bytes[16..24].copy_from_slice(&epoch.to_le_bytes());
    bytes[24..HEAD].copy_from_slice(&seq.to_le_bytes());
    bytes[HEAD..HEAD + payload.len()].copy_from_slice(payload);
    let checksum = crc(geometry.id, at, &bytes[8..HEAD + payload.len()]);
    bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Bytes from a medium that may end before.
fn bytes_at(medium: &dyn Medium, at: u64, len: usize) -> Result<Option<Vec<u8>>, DiskError> {
    let mut bytes = vec![0; len];
    match medium.read_at(at, &mut bytes) {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(DiskError::io("reading the journal")(error)),
    }
}

/// The entry at an offset of a half, if there is one.
fn entry(medium: &dyn Medium, geometry: &Geometry, half: u64, next: u64) -> Result<Option<Entry>, DiskError> {
    if next + PAGE as u64 > geometry.journal {
        return Ok(None);
    }
    let at = geometry.journal_at(half) + next;
    let Some(first) = bytes_at(medium, at, PAGE)? else { return Ok(None) };
    let payload = u32_at(&first, 8) as usize;
    let len = (HEAD + payload).next_multiple_of(PAGE) as u64;
    let there = medium.len().map_err(DiskError::io("reading the journal"))?;
    if first[..4] != MAGIC || next + len > geometry.journal || at + len > there {
        return Ok(None);
    }
    let bytes = match len as usize {
        PAGE => first,
        len => match bytes_at(medium, at, len)? {
            Some(bytes) => bytes,
            None => return Ok(None),
        },
    };
    if u32_at(&bytes, 4) != crc(geometry.id, at, &bytes[8..HEAD + payload]) {
        return Ok(None);
    }
    let (kind, epoch, seq) = (bytes[12], u64_at(&bytes, 16), u64_at(&bytes, 24));
    Ok(Some(Entry { kind, epoch, seq, payload: bytes[HEAD..HEAD + payload].to_vec(), len }))
}

/// The pages of a commit, if they are all there.
fn written(
    medium: &dyn Medium,
    geometry: &Geometry,
    ledger: &Ledger,
    opened: &[(u64, u32)],
    (marks, digest): (&[Mark], u32),
) -> Result<Option<Vec<Extent>>, DiskError> {
    let (mut hasher, mut extents) = (crc32fast::Hasher::new(), Vec::new());
    for (segment, first, count) in marks {
        let known = ledger.segments.get(segment).map(|segment| segment.place);
        let place = known.or_else(|| opened.iter().find(|one| one.0 == *segment).map(|one| one.1));
        let Some(place) = place else { return Ok(None) };
        for page in *first..first.saturating_add(*count) {
            let offset = page as usize * PAGE;
            if offset as u64 >= geometry.segment {
                return Ok(None);
            }
            let at = geometry.place_at(place) + offset as u64;
            let Some(bytes) = bytes_at(medium, at, PAGE)? else { return Ok(None) };
            let checksum = u32_at(&bytes, 0);
            if checksum != geometry.page_crc(Ptr::new(*segment, offset), &bytes) {
                return Ok(None);
            }
            hasher.update(&checksum.to_le_bytes());
            extents.push((at, PAGE as u64));
        }
    }
    Ok((hasher.finalize() == digest).then_some(extents))
}

/// Bytes of the file: from where on, and how many.
pub(super) type Extent = (u64, u64);

/// The ledger after the last event that happened, where the journal goes on, and what of it no superblock proves.
pub(super) type Recovered = (Ledger, Journal, Vec<Extent>);

/// What a half leads to.
fn follow(
    medium: &dyn Medium,
    geometry: &Geometry,
    half: u64,
    durable: u64,
) -> Result<Option<Recovered>, DiskError> {
    let Some(first) = entry(medium, geometry, half, 0)? else { return Ok(None) };
    if first.kind != CHECKPOINT || first.epoch % 2 != half {
        return Ok(None);
    }
    let mut ledger = Ledger::decode(first.seq, &first.payload)?;
    let mut journal = Journal { epoch: first.epoch, next: first.len, checkpoint: first.len };
    let (start, mut unproved) = (geometry.journal_at(half), Vec::new());
    // One sync covers a checkpoint and the event after it.
    if first.seq >= durable {
        unproved.push((start, first.len));
    }
    while let Some(next) = entry(medium, geometry, half, journal.next)? {
        if (next.kind, next.epoch, next.seq) != (EVENT, journal.epoch, ledger.seq + 1) {
            break;
        }
        let event = Event::decode(&next.payload)?;
        if next.seq > durable {
            if let Event::Commit(commit) = &event {
                let pages = (&commit.written[..], commit.digest);
                match written(medium, geometry, &ledger, &commit.opened, pages)? {
                    Some(pages) => unproved.extend(pages),
                    None => break,
                }
            }
            unproved.push((start + journal.next, next.len));
        }
        ledger.apply(next.seq, &event)?;
        journal.next += next.len;
    }
    Ok(Some((ledger, journal, unproved)))
}

impl Journal {
    /// Begins the journal of a new store.
    pub(super) fn create(medium: &dyn Medium, geometry: &Geometry) -> Result<(Ledger, Journal), DiskError> {
        let ledger = Ledger::new();
        let bytes = frame(geometry, geometry.journal_at(0), CHECKPOINT, 0, 0, &ledger.encode());
        let doing = "creating the journal";
        medium.write_at(geometry.journal_at(0), &bytes).map_err(DiskError::io(doing))?;
        let len = bytes.len() as u64;
        Ok((ledger, Journal { epoch: 0, next: len, checkpoint: len }))
    }

    /// Finds the last event that happened.
    pub(super) fn recover(medium: &dyn Medium, superblock: &Superblock) -> Result<Recovered, DiskError> {
        let (geometry, durable) = (&superblock.geometry, superblock.durable);
        let mut found: Option<Recovered> = None;
        for half in 0..2 {
            let Some(one) = follow(medium, geometry, half, durable)? else { continue };
            let rank = |(ledger, journal, _): &Recovered| (ledger.seq, journal.epoch);
            if found.as_ref().is_none_or(|best| rank(best) < rank(&one)) {
                found = Some(one);
            }
        }
        let at = geometry.journal_at(0);
        match found {
            Some((ledger, ..)) if ledger.seq < durable => {
                let reason = format!("it ends with commit {}, but {durable} is durable", ledger.seq);
                Err(DiskError::damaged("journal", at, reason))
            }
            Some(found) => Ok(found),
            None => Err(DiskError::damaged("journal", at, "neither half begins with a checkpoint")),
        }
    }

    /// Takes event `seq` back, durably, if it is whole where this journal would have it next.
    ///
    /// # Errors
    /// If it is not known to be gone.
    pub(super) fn take_back(
        &self,
        medium: &dyn Medium,
        geometry: &Geometry,
        seq: u64,
    ) -> Result<(), DiskError> {
        let (half, other) = (self.epoch % 2, (self.epoch + 1) % 2);
        let first = entry(medium, geometry, other, 0)?;
        let first = first.filter(|first| (first.kind, first.epoch) == (CHECKPOINT, self.epoch + 1));
        let turned = first.map(|first| [(other, 0, CHECKPOINT), (other, first.len, EVENT)]);
        let places = [(half, self.next, EVENT)].into_iter().chain(turned.into_iter().flatten());
        for (half, next, kind) in places {
            let epoch = if half == other { self.epoch + 1 } else { self.epoch };
            let there = entry(medium, geometry, half, next)?;
            if there.is_some_and(|there| (there.kind, there.epoch, there.seq) == (kind, epoch, seq)) {
                let failed = DiskError::io("taking an event back");
                medium.write_at(geometry.journal_at(half) + next, &[0; PAGE]).map_err(&failed)?;
                medium.sync().map_err(&failed)?;
            }
        }
        Ok(())
    }

    /// Bytes that were written since the journal stood at `before`.
    pub(super) fn bytes_since(&self, before: &Journal) -> u64 {
        if self.epoch == before.epoch { self.next - before.next } else { self.next }
    }

    /// Writes an event that follows `ledger`; where the journal goes on once that is durable.
    pub(super) fn append(
        &self,
        medium: &dyn Medium,
        geometry: &Geometry,
        ledger: &Ledger,
        event: &Event,
    ) -> Result<Journal, DiskError> {
        let (payload, seq) = (event.encode(), ledger.seq + 1);
        let len = (HEAD + payload.len()).next_multiple_of(PAGE) as u64;
        let turn = self.next - self.checkpoint > TURN_BYTES.max(TURN_TIMES * self.checkpoint);
        let doing = "writing the journal";
        if !turn && self.next + len <= geometry.journal {
            let at = geometry.journal_at(self.epoch % 2) + self.next;
            let bytes = frame(geometry, at, EVENT, self.epoch, seq, &payload);
            medium.write_at(at, &bytes).map_err(DiskError::io(doing))?;
            return Ok(Journal { next: self.next + len, ..*self });
        }
        let epoch = self.epoch + 1;
        let at = geometry.journal_at(epoch % 2);
        let mut bytes = frame(geometry, at, CHECKPOINT, epoch, ledger.seq, &ledger.encode());
        let mut checkpoint = bytes.len() as u64;
        let lets_go = matches!(event, Event::Prune(_) | Event::Rollback(_));
        if checkpoint + len > geometry.journal && lets_go {
            let mut after = ledger.clone();
            after.apply(seq, event)?;
            bytes = frame(geometry, at, CHECKPOINT, epoch, seq, &after.encode());
            checkpoint = bytes.len() as u64;
        } else {
            bytes.extend(frame(geometry, at + checkpoint, EVENT, epoch, seq, &payload));
        }
        let next = bytes.len() as u64;
        if next > geometry.journal {
            let what = "bytes of a checkpoint and an event";
            return Err(DiskError::Limit { what, is: next, limit: geometry.journal });
        }
        medium.write_at(at, &bytes).map_err(DiskError::io(doing))?;
        Ok(Journal { epoch, next, checkpoint })
    }
}
