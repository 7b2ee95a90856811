//! Pages and their records.

use crate::{
    disk::layout::{u16_at, u64_at},
    node::{Reference, common},
};
use alloy_primitives::B256;

/// A record or a value in the file: where it begins (48 bits) and its length (16 bits).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place(u64);

/// Longest record or value.
pub(super) const LEN_MAX: usize = u16::MAX as usize;

impl Place {
    pub(super) fn new(at: u64, len: usize) -> Option<Place> {
        (at >> 48 == 0 && len <= LEN_MAX).then_some(Place(at << 16 | len as u64))
    }

    pub(super) fn at(self) -> u64 {
        self.0 >> 16
    }

    pub(super) fn len(self) -> usize {
        (self.0 & 0xffff) as usize
    }
}

/// What is below some nibbles of a trie.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Child {
    Leaf(Leaf),
    Sub(Sub),
}

/// One key.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Leaf {
    pub(super) key: B256,
    pub(super) value: Place,
    /// What a parent at `depth` says of it.
    pub(super) depth: u8,
    pub(super) reference: Reference,
}

/// Two keys at least.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sub {
    /// The nibbles that all keys share, the rest zero, and how many they are.
    pub(super) key: B256,
    pub(super) end: u8,
    /// What a parent at `end` says: the branch, without the extension above it.
    pub(super) reference: Reference,
    /// The record of the page in which the keys part.
    pub(super) page: Place,
}

impl Sub {
    /// The depth of its page.
    pub(super) fn depth(&self) -> usize {
        usize::from(self.end & !1)
    }
}

impl Child {
    pub(super) fn key(&self) -> &B256 {
        match self {
            Child::Leaf(leaf) => &leaf.key,
            Child::Sub(sub) => &sub.key,
        }
    }
}

/// A version of a page.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Page {
    /// Nibbles above it: even.
    pub(super) depth: u8,
    /// By the two nibbles at its depth, ascending.
    pub(super) entries: Vec<(u8, Child)>,
    /// Deltas since the base, and the bytes of all of them.
    pub(super) deltas: u16,
    pub(super) delta_bytes: u32,
    /// Bytes of the base.
    pub(super) base_bytes: u32,
}

impl Page {
    /// The entry at two nibbles.
    pub(super) fn get(&self, at: u8) -> Option<&Child> {
        self.entries.binary_search_by_key(&at, |(at, _)| *at).ok().map(|index| &self.entries[index].1)
    }

    /// Sets or removes an entry.
    pub(super) fn set(&mut self, at: u8, child: Option<Child>) {
        match (self.entries.binary_search_by_key(&at, |(at, _)| *at), child) {
            (Ok(index), Some(child)) => self.entries[index].1 = child,
            (Ok(index), None) => drop(self.entries.remove(index)),
            (Err(index), Some(child)) => self.entries.insert(index, (at, child)),
            (Err(_), None) => {}
        }
    }
}

/// Checksum, tag, depth, entries, place of the record before.
pub(super) const RECORD_HEAD: usize = 4 + 1 + 1 + 2 + 8;
const BASE: u8 = 0;
const DELTA: u8 = 1;

const GONE: u8 = 0;
const LEAF: u8 = 1;
const SUB: u8 = 2;
const EMBEDDED: u8 = 4;

fn put_reference(out: &mut Vec<u8>, reference: &Reference) {
    out.extend_from_slice(reference.padded());
}

fn embedded(reference: &Reference) -> u8 {
    if reference.is_hash() { 0 } else { EMBEDDED }
}

/// Appends a child of a page whose entries begin at `skip` bytes of the key.
pub(super) fn put_child(out: &mut Vec<u8>, child: Option<&Child>, skip: usize) {
    match child {
        None => out.push(GONE),
        Some(Child::Leaf(leaf)) => {
            out.push(LEAF | embedded(&leaf.reference));
            out.push(leaf.depth);
            out.extend_from_slice(&leaf.key[skip..]);
            put_reference(out, &leaf.reference);
            out.extend_from_slice(&leaf.value.0.to_le_bytes());
        }
        Some(Child::Sub(sub)) => {
            out.push(SUB | embedded(&sub.reference));
            out.push(sub.end);
            out.extend_from_slice(&sub.key[skip..usize::from(sub.end).div_ceil(2).max(skip)]);
            put_reference(out, &sub.reference);
            out.extend_from_slice(&sub.page.0.to_le_bytes());
        }
    }
}

/// Takes a child from the front of `bytes`; `above` has the bytes of its key that its page shares. `None`: no such
/// child can have been written.
pub(super) fn take_child(bytes: &mut &[u8], above: &[u8]) -> Option<Option<Child>> {
    let mut take = |len: usize| {
        let (taken, rest) = bytes.split_at_checked(len)?;
        *bytes = rest;
        Some(taken)
    };
    let tag = take(1)?[0];
    if tag == GONE {
        return Some(None);
    }
    let number = take(1)?[0];
    let reference = |padded: &[u8]| {
        let padded: [u8; 32] = padded.try_into().ok()?;
        Some(match tag & EMBEDDED != 0 {
            true => Reference::embedded(padded),
            false => Reference::hash(B256::from(padded)),
        })
    };
    let mut key = B256::ZERO;
    key[..above.len()].copy_from_slice(above);
    match tag & !EMBEDDED {
        LEAF if number <= 64 => {
            key[above.len()..].copy_from_slice(take(32 - above.len())?);
            let reference = reference(take(32)?)?;
            let value = Place(u64_at(take(8)?, 0));
            Some(Some(Child::Leaf(Leaf { key, value, depth: number, reference })))
        }
        SUB if number < 64 => {
            let to = usize::from(number).div_ceil(2).max(above.len());
            key[above.len()..to].copy_from_slice(take(to - above.len())?);
            let reference = reference(take(32)?)?;
            let page = Place(u64_at(take(8)?, 0));
            Some(Some(Child::Sub(Sub { key, end: number, reference, page })))
        }
        _ => None,
    }
}

/// A record without its checksum: all entries of `page`, or those of `changed` after the record at `prev`.
pub(super) fn encode(page: &Page, delta: Option<(Place, &[u8])>) -> Vec<u8> {
    let count = delta.map_or(page.entries.len(), |(_, changed)| changed.len());
    let mut out = Vec::with_capacity(RECORD_HEAD + count * 64);
    out.extend_from_slice(&[0; 4]);
    out.push(if delta.is_some() { DELTA } else { BASE });
    out.push(page.depth);
    out.extend_from_slice(&(count as u16).to_le_bytes());
    out.extend_from_slice(&delta.map_or(0, |(prev, _)| prev.0).to_le_bytes());
    let skip = usize::from(page.depth) / 2 + 1;
    match delta {
        None => {
            for (at, child) in &page.entries {
                out.push(*at);
                put_child(&mut out, Some(child), skip);
            }
        }
        Some((_, changed)) => {
            for at in changed {
                out.push(*at);
                put_child(&mut out, page.get(*at), skip);
            }
        }
    }
    out
}

/// What a record says.
pub(super) struct Record {
    /// The record before, of a delta.
    pub(super) prev: Option<Place>,
    pub(super) depth: u8,
    pub(super) entries: Vec<(u8, Option<Child>)>,
}

/// Reads a record, whose page is that of `sub`. `None`: no such record can have been written.
pub(super) fn decode(bytes: &[u8], sub: &Sub) -> Option<Record> {
    let mut rest = bytes.get(RECORD_HEAD..)?;
    let (tag, depth, count) = (bytes[4], bytes[5], usize::from(u16_at(bytes, 6)));
    if usize::from(depth) != sub.depth() || tag > DELTA || count > 256 {
        return None;
    }
    let prev = (tag == DELTA).then(|| Place(u64_at(bytes, 8)));
    let mut above = [0; 32];
    let len = usize::from(depth) / 2;
    above[..len].copy_from_slice(&sub.key[..len]);
    let mut entries: Vec<(u8, Option<Child>)> = Vec::with_capacity(count);
    for _ in 0..count {
        let (at, after) = rest.split_first()?;
        rest = after;
        above[len] = *at;
        let child = take_child(&mut rest, &above[..=len])?;
        let follows = entries.last().is_none_or(|(last, _)| last < at);
        let deep = child.as_ref().is_none_or(|child| match child {
            Child::Leaf(leaf) => usize::from(leaf.depth) > usize::from(depth),
            Child::Sub(sub) => sub.end >= depth + 2,
        });
        if !follows || !deep || (prev.is_none() && child.is_none()) {
            return None;
        }
        entries.push((*at, child));
    }
    rest.is_empty().then_some(Record { prev, depth, entries })
}

/// Whether a key is below a child's page.
pub(super) fn is_inside(sub: &Sub, key: &B256) -> bool {
    common(&sub.key, key) >= sub.depth()
}
