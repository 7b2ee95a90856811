//! A batch of changes makes new versions of pages.
//!
//! 1. Changes come sorted by key; each page on the way to any of them is visited once, from the root down.
//! 2. A page that has one entry left goes, and so does one that has none: the entry moves to the page above. So a
//!    page has two entries at least, and the pages of a trie follow from its keys alone.
//! 3. What a parent says of a leaf depends on the depth of the parent. An entry remembers one depth; where another is
//!    needed, the value is read and hashed again.

use super::{
    log::Log,
    page::{self, Child, LEN_MAX, Leaf, Page, Place, RECORD_HEAD, Sub},
};
use crate::{
    disk::{
        DiskError,
        kinds::{AccountChange, Record, SlotChange},
        layout::u16_at,
    },
    node::{self, Reference, common, nibble},
};
use alloy_primitives::B256;
use alloy_rlp::{Decodable, Encodable};
use alloy_trie::{EMPTY_ROOT_HASH, TrieAccount};
use std::sync::Arc;

/// What a leaf holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Value {
    pub(super) bytes: Vec<u8>,
    /// The storage of an account.
    pub(super) storage: Option<Child>,
}

/// Before a value: checksum, length of the root of the storage.
const VALUE_HEAD: usize = 4 + 2;

impl Value {
    fn decode(record: &[u8]) -> Option<Value> {
        let storage = usize::from(u16_at(record.get(..VALUE_HEAD)?, 4));
        let (mut root, bytes) = record[VALUE_HEAD..].split_at_checked(storage)?;
        let storage = if storage == 0 { None } else { page::take_child(&mut root, &[])? };
        Some(Value { bytes: bytes.to_vec(), storage })
    }

    /// The account that it is.
    pub(super) fn account(&self) -> Result<TrieAccount, DiskError> {
        TrieAccount::decode(&mut &self.bytes[..])
            .map_err(|error| DiskError::damaged("account", 0, error.to_string()))
    }
}

/// The value at a place.
pub(super) fn read_value(log: &Log, place: Place) -> Result<Value, DiskError> {
    let value = Value::decode(&log.read(place)?);
    value.ok_or_else(|| DiskError::damaged("value", place.at(), "no such value"))
}

/// The leaf at `key` below `root`.
pub(super) fn find(log: &Log, root: Option<&Child>, key: &B256) -> Result<Option<Leaf>, DiskError> {
    let mut next = root.cloned();
    loop {
        match next {
            None => return Ok(None),
            Some(Child::Leaf(leaf)) => return Ok((leaf.key == *key).then_some(leaf)),
            Some(Child::Sub(sub)) if common(&sub.key, key) < usize::from(sub.end) => return Ok(None),
            Some(Child::Sub(sub)) => next = log.page(&sub)?.get(key[sub.depth() / 2]).cloned(),
        }
    }
}

/// What becomes of a leaf.
pub(super) enum Fate {
    Keep,
    Gone,
    Put(Value),
}

/// A kind of trie: what its changes are, and what they do to a leaf.
pub(super) trait Kind {
    type Change;

    fn key(change: &Self::Change) -> &B256;

    fn apply(writer: &mut Writer<'_>, change: &Self::Change, old: Option<&Leaf>) -> Result<Fate, DiskError>;
}

/// The storage of an account.
pub(super) struct Slots;

impl Kind for Slots {
    type Change = SlotChange;

    fn key(change: &SlotChange) -> &B256 {
        &change.key
    }

    fn apply(writer: &mut Writer<'_>, change: &SlotChange, old: Option<&Leaf>) -> Result<Fate, DiskError> {
        Ok(match (&change.value, old) {
            (None, None) => Fate::Keep,
            (None, Some(_)) => Fate::Gone,
            (Some(value), Some(old)) if writer.says(&old.key, old.depth, value) == old.reference => {
                Fate::Keep
            }
            (Some(value), _) => Fate::Put(Value { bytes: value.to_vec(), storage: None }),
        })
    }
}

/// The trie of accounts.
pub(super) struct Accounts;

impl Kind for Accounts {
    type Change = AccountChange;

    fn key(change: &AccountChange) -> &B256 {
        &change.key
    }

    fn apply(writer: &mut Writer<'_>, change: &AccountChange, old: Option<&Leaf>) -> Result<Fate, DiskError> {
        if change.record == Record::Remove {
            return Ok(if old.is_some() { Fate::Gone } else { Fate::Keep });
        }
        let before = old.map(|old| read_value(writer.log, old.value)).transpose()?;
        let account = match (change.record, &before) {
            (Record::Set(account), _) => account,
            (_, Some(before)) => before.account()?,
            (_, None) => {
                let set = change.slots.iter().any(|slot| slot.value.is_some());
                return match change.address {
                    Some(address) if set => Err(DiskError::NoAccount(address)),
                    _ => Ok(Fate::Keep),
                };
            }
        };
        let storage = before.as_ref().filter(|_| !change.wiped).and_then(|before| before.storage.clone());
        let storage = writer.change::<Slots>(storage, &change.slots)?;
        let account = TrieAccount { storage_root: writer.root(storage.as_ref())?, ..account };
        let mut bytes = Vec::with_capacity(account.length());
        account.encode(&mut bytes);
        let value = Value { bytes, storage };
        Ok(if before.as_ref() == Some(&value) { Fate::Keep } else { Fate::Put(value) })
    }
}

/// A commit on its way.
pub(super) struct Writer<'a> {
    pub(super) log: &'a Log,
    /// Deltas after a base.
    chain: u16,
    /// Where the body will stand.
    start: u64,
    pub(super) body: Vec<u8>,
    scratch: Vec<u8>,
    /// Pages that the body has.
    pub(super) made: Vec<(Place, Arc<Page>)>,
}

/// The part of sorted changes that share the nibbles above a page with it.
fn inside<T>(sorted: &[T], key: impl Fn(&T) -> &B256, sub: &Sub) -> std::ops::Range<usize> {
    let from = sorted.partition_point(|one| key(one) < &sub.key && !page::is_inside(sub, key(one)));
    let len = sorted[from..].partition_point(|one| page::is_inside(sub, key(one)));
    from..from + len
}

impl<'a> Writer<'a> {
    pub(super) fn new(log: &'a Log, chain: u16, start: u64) -> Self {
        Writer { log, chain, start, body: Vec::new(), scratch: Vec::new(), made: Vec::new() }
    }

    /// The hash of a trie.
    pub(super) fn root(&mut self, root: Option<&Child>) -> Result<B256, DiskError> {
        let Some(root) = root else { return Ok(EMPTY_ROOT_HASH) };
        Ok(self.reference(&mut root.clone(), 0)?.0.root())
    }

    /// What a parent at `depth` says of a leaf with this value.
    fn says(&mut self, key: &B256, depth: u8, value: &[u8]) -> Reference {
        node::leaf(&mut self.scratch, key, usize::from(depth), value)
    }

    /// What a parent at `depth` says of a child, and whether the child had to be changed for that.
    fn reference(&mut self, child: &mut Child, depth: usize) -> Result<(Reference, bool), DiskError> {
        match child {
            Child::Leaf(leaf) if usize::from(leaf.depth) == depth => Ok((leaf.reference, false)),
            Child::Leaf(leaf) => {
                let value = self.value(leaf.value)?;
                leaf.depth = depth as u8;
                leaf.reference = self.says(&leaf.key, leaf.depth, &value.bytes);
                Ok((leaf.reference, true))
            }
            Child::Sub(sub) => {
                let end = usize::from(sub.end);
                Ok((node::extended(&mut self.scratch, &sub.key, depth, end, sub.reference), false))
            }
        }
    }

    /// A value of the body or of before.
    fn value(&self, place: Place) -> Result<Value, DiskError> {
        let Some(from) = place.at().checked_sub(self.start) else { return read_value(self.log, place) };
        let value = self.body.get(from as usize..from as usize + place.len()).and_then(Value::decode);
        value.ok_or_else(|| DiskError::damaged("value", place.at(), "it was never written"))
    }

    /// Appends bytes to the body, whose first four are left for the checksum.
    fn append(&mut self, mut bytes: Vec<u8>) -> Result<Place, DiskError> {
        let at = self.start + self.body.len() as u64;
        let too_long =
            || DiskError::Limit { what: "bytes of a record", is: bytes.len() as u64, limit: LEN_MAX as u64 };
        let place = Place::new(at, bytes.len()).ok_or_else(too_long)?;
        self.log.seal(at, &mut bytes);
        self.body.extend_from_slice(&bytes);
        Ok(place)
    }

    fn put_leaf(&mut self, key: B256, value: &Value) -> Result<Child, DiskError> {
        let mut bytes = vec![0; VALUE_HEAD];
        if value.storage.is_some() {
            page::put_child(&mut bytes, value.storage.as_ref(), 0);
        }
        let storage = (bytes.len() - VALUE_HEAD) as u16;
        bytes[4..VALUE_HEAD].copy_from_slice(&storage.to_le_bytes());
        bytes.extend_from_slice(&value.bytes);
        let place = self.append(bytes)?;
        // Most leaves of a large trie stand where they are put; others are hashed once more.
        let reference = self.says(&key, 0, &value.bytes);
        Ok(Child::Leaf(Leaf { key, value: place, depth: 0, reference }))
    }

    /// A trie after sorted changes.
    pub(super) fn change<K: Kind>(
        &mut self,
        old: Option<Child>,
        changes: &[K::Change],
    ) -> Result<Option<Child>, DiskError> {
        if changes.is_empty() {
            return Ok(old);
        }
        let Some(old) = old else {
            let items = self.fresh::<K>(changes)?;
            return self.build(items);
        };
        let (range, kept) = match &old {
            Child::Leaf(leaf) => {
                let from = changes.partition_point(|change| K::key(change) < &leaf.key);
                let own = changes.get(from).filter(|change| *K::key(change) == leaf.key);
                let fate = own.map_or(Ok(Fate::Keep), |change| K::apply(self, change, Some(leaf)))?;
                let kept = match fate {
                    Fate::Keep => Some(old.clone()),
                    Fate::Gone => None,
                    Fate::Put(value) => Some(self.put_leaf(leaf.key, &value)?),
                };
                (from..from + usize::from(own.is_some()), kept)
            }
            Child::Sub(sub) => {
                let range = inside(changes, K::key, sub);
                let kept = match range.is_empty() {
                    true => Some(old.clone()),
                    false => self.change_page::<K>(sub, &changes[range.clone()])?,
                };
                (range, kept)
            }
        };
        if range.len() == changes.len() {
            return Ok(kept);
        }
        let mut items = self.fresh::<K>(&changes[..range.start])?;
        items.extend(kept);
        items.extend(self.fresh::<K>(&changes[range.end..])?);
        self.build(items)
    }

    /// Leaves that changes make where there is nothing.
    fn fresh<K: Kind>(&mut self, changes: &[K::Change]) -> Result<Vec<Child>, DiskError> {
        let mut items = Vec::with_capacity(changes.len());
        for change in changes {
            if let Fate::Put(value) = K::apply(self, change, None)? {
                items.push(self.put_leaf(*K::key(change), &value)?);
            }
        }
        Ok(items)
    }

    /// One trie of children that are sorted and none of which is above another.
    fn build(&mut self, mut items: Vec<Child>) -> Result<Option<Child>, DiskError> {
        let [first, .., last] = &items[..] else { return Ok(items.pop()) };
        let depth = common(first.key(), last.key()) & !1;
        let key = *first.key();
        let mut page = Page { depth: depth as u8, ..Page::default() };
        let mut items = items.into_iter().peekable();
        while let Some(item) = items.next() {
            let at = item.key()[depth / 2];
            let mut group = vec![item];
            while let Some(item) = items.next_if(|item| item.key()[depth / 2] == at) {
                group.push(item);
            }
            page.entries.extend(self.build(group)?.map(|child| (at, child)));
        }
        self.finish(key, page, None).map(Some)
    }

    /// What becomes of the page of `sub`.
    fn change_page<K: Kind>(&mut self, sub: &Sub, changes: &[K::Change]) -> Result<Option<Child>, DiskError> {
        let depth = sub.depth();
        let mut page = (*self.log.page(sub)?).clone();
        let (mut rest, mut changed) = (changes, Vec::new());
        while let Some(first) = rest.first() {
            let at = K::key(first)[depth / 2];
            let (group, others) = rest.split_at(rest.partition_point(|one| K::key(one)[depth / 2] <= at));
            rest = others;
            let old = page.get(at).cloned();
            let new = self.change::<K>(old.clone(), group)?;
            if new != old {
                page.set(at, new);
                changed.push(at);
            }
        }
        match page.entries.len() {
            _ if changed.is_empty() => Ok(Some(Child::Sub(sub.clone()))),
            0 | 1 => Ok(page.entries.pop().map(|(_, child)| child)),
            _ => self.finish(sub.key, page, Some((sub.page, changed))).map(Some),
        }
    }

    /// Hashes a page whose entries are known, and writes it: as a base, or as what changed since a record.
    fn finish(
        &mut self,
        key: B256,
        mut page: Page,
        delta: Option<(Place, Vec<u8>)>,
    ) -> Result<Child, DiskError> {
        let depth = usize::from(page.depth);
        let (mut delta, mut groups) = (delta, Vec::with_capacity(16));
        let mut entries = std::mem::take(&mut page.entries);
        let mut from = 0;
        while from < entries.len() {
            let high = entries[from].0 >> 4;
            let len = entries[from..].partition_point(|(at, _)| at >> 4 == high);
            let group = &mut entries[from..from + len];
            from += len;
            let below = depth + if len == 1 { 1 } else { 2 };
            let mut references = Vec::with_capacity(len);
            for (at, child) in group {
                let (reference, moved) = self.reference(child, below)?;
                references.push((usize::from(*at & 15), reference));
                if moved && let Some((_, changed)) = &mut delta {
                    changed.push(*at);
                }
            }
            groups.push((usize::from(high), references));
        }
        page.entries = entries;
        let mut branch = |children: &[(usize, Reference)]| {
            node::branch(&mut self.scratch, (&key, depth), depth, children.iter().copied())
        };
        let (end, reference) = match &groups[..] {
            [(_, children)] => (depth + 1, branch(children)),
            _ => {
                let tops: Vec<(usize, Reference)> = groups
                    .iter()
                    .map(|(high, children)| match &children[..] {
                        [(_, only)] => (*high, *only),
                        _ => (*high, branch(children)),
                    })
                    .collect();
                (depth, branch(&tops))
            }
        };
        let mut prefix = B256::ZERO;
        prefix[..depth / 2].copy_from_slice(&key[..depth / 2]);
        if end > depth {
            prefix[depth / 2] = (groups[0].0 << 4) as u8;
            debug_assert_eq!(nibble(&prefix, depth), groups[0].0);
        }
        let place = self.put_page(&mut page, delta)?;
        self.made.push((place, Arc::new(page)));
        Ok(Child::Sub(Sub { key: prefix, end: end as u8, reference, page: place }))
    }

    fn put_page(&mut self, page: &mut Page, delta: Option<(Place, Vec<u8>)>) -> Result<Place, DiskError> {
        if let Some((prev, mut changed)) = delta.filter(|_| page.deltas < self.chain) {
            changed.sort_unstable();
            changed.dedup();
            let bytes = page::encode(page, Some((prev, &changed)));
            let sum = page.delta_bytes + bytes.len() as u32;
            // Half of a base is written for nothing at worst.
            if sum <= page.base_bytes.saturating_mul(2) && bytes.len() < LEN_MAX {
                (page.deltas, page.delta_bytes) = (page.deltas + 1, sum);
                return self.append(bytes);
            }
        }
        let bytes = page::encode(page, None);
        debug_assert!(bytes.len() > RECORD_HEAD);
        (page.deltas, page.delta_bytes, page.base_bytes) = (0, 0, bytes.len() as u32);
        self.append(bytes)
    }
}
