//! Single tries, with any keys and values, against alloy-trie's hash builder.

use super::{
    append::Appender,
    kinds::{SlotChange, Slots},
    layout::{Geometry, PAGE, Ptr},
    ledger::{Commit, Event, Ledger, Version},
    nodes::Node,
    options::DiskOptions,
    pages::{Page, Pages},
    read::find,
    record::{self, Owner, Stored},
    share::Works,
    store::DiskStore,
    update::{Context, Touch},
};
use crate::{
    io::{FaultMedium, Faults},
    trie::{Crew, with_rayon},
};
use alloy_primitives::{B256, hex, keccak256};
use alloy_trie::{EMPTY_ROOT_HASH, HashBuilder, Nibbles};
use braid_testkit::{Rng, data};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    sync::Arc,
};

type Content = BTreeMap<B256, Vec<u8>>;

/// One trie on a medium in memory, and which records of it are of use.
struct Trie {
    pages: Pages,
    root: Ptr,
    hash: B256,
    owner: Owner,
    open: Option<(u64, u32, u32)>,
    next: u64,
    used: BTreeSet<Ptr>,
}

impl Trie {
    fn new(owner: Owner) -> Self {
        let geometry = Geometry { id: 5, segment: 1 << 16, journal: 1 << 16 };
        let pages = Pages::new(Arc::new(FaultMedium::new(0, Faults::default())), geometry, 1 << 16);
        let (root, hash) = (Ptr::NONE, EMPTY_ROOT_HASH);
        Trie { pages, root, hash, owner, open: None, next: 1, used: BTreeSet::new() }
    }

    fn change(&mut self, changes: &Content, removed: &BTreeSet<B256>, victims: &[u64], shared: bool) {
        let set =
            changes.iter().map(|(key, value)| SlotChange { key: *key, value: Some(value.as_slice().into()) });
        let gone = removed.iter().map(|key| SlotChange { key: *key, value: None });
        let mut sorted: Vec<SlotChange> = set.chain(gone).collect();
        sorted.sort_by_key(|change| change.key);
        let mut touches = Vec::new();
        for (ptr, node) in self.nodes().into_iter().filter(|(ptr, _)| victims.contains(&ptr.segment())) {
            assert!(self.used.contains(&ptr));
            touches.push(match node {
                Stored::Leaf(leaf) => Touch { key: leaf.key, depth: 64 },
                Stored::Branch(branch) => Touch { key: branch.key, depth: branch.end },
            });
        }
        touches.sort_unstable();
        let context = Context { above: None, pages: &self.pages, victims, cold: false };
        let (mut works, kind) = (Works::new(3, Works::default()), Slots(self.owner));
        let mut update = |crew: &mut Crew<'_>| {
            works.update(&context, crew, &kind, self.root, (&sorted, &touches)).unwrap()
        };
        let (node, said) = if shared { with_rayon(update) } else { update(&mut Crew::alone()) };
        self.hash = match (node, said) {
            (_, Some(said)) => said.root(),
            (Node::Empty, None) => EMPTY_ROOT_HASH,
            (_, None) => self.hash,
        };
        let mut appender =
            Appender::new(self.pages.geometry, self.open, self.next, self.next as u32.., Vec::new());
        self.root = appender.trie(&works, node);
        appender.finish();
        for run in &appender.runs {
            let at = self.pages.geometry.place_at(run.place) + u64::from(run.first) * 4096;
            self.pages.medium.write_at(at, &run.bytes).unwrap();
            self.open = Some((run.segment, run.place, run.first + run.pages()));
        }
        for (segment, place) in &appender.opened {
            self.pages.set_place(*segment, Some(*place));
            self.next = segment + 1;
        }
        for (ptr, _) in works.take_died() {
            assert!(self.used.remove(&ptr), "a record died twice, or never was");
        }
        let nodes: BTreeSet<Ptr> = self.nodes().keys().copied().collect();
        assert!(self.used.is_subset(&nodes), "a record died and nobody was told");
        self.used = nodes;
    }

    fn nodes(&self) -> BTreeMap<Ptr, Stored> {
        let context = Context { above: None, pages: &self.pages, victims: &[], cold: false };
        let (mut all, mut waiting) = (BTreeMap::new(), vec![self.root]);
        while let Some(ptr) = waiting.pop().filter(|ptr| !ptr.is_none()) {
            let (node, _) = context.load(ptr, self.owner, 0).unwrap();
            if let Stored::Branch(branch) = &node {
                waiting.extend(branch.nibbles().filter_map(|nibble| branch.child_ptr(nibble)));
            }
            all.insert(ptr, node);
        }
        all
    }

    fn get(&self, key: &B256) -> Option<Vec<u8>> {
        find(&self.pages, self.root, self.owner, key).unwrap().map(|leaf| leaf.value().to_vec())
    }
}

fn root(content: &Content) -> B256 {
    let mut builder = HashBuilder::default();
    for (key, value) in content {
        builder.add_leaf(Nibbles::unpack(key), value);
    }
    builder.root()
}

/// A key: spread like a hash, or crowded so that paths are shared and nodes are short.
fn key(rng: &mut Rng, crowded: bool) -> B256 {
    let number = rng.below(400);
    if !crowded {
        return keccak256(number.to_be_bytes());
    }
    let mut key = B256::ZERO;
    key[(number % 3) as usize * 9] = 0x10;
    key[31] = (number % 7) as u8;
    key[30] = (number / 21) as u8;
    key
}

fn value(rng: &mut Rng) -> Vec<u8> {
    let len = 1 + if rng.chance(3) { rng.below(1000) } else { rng.below(40) };
    (0..len).map(|_| rng.bits() as u8).collect()
}

fn seeds(count: u64) -> std::ops::Range<u64> {
    let repeat = std::env::var("BRAID_SEED").ok().map(|seed| seed.parse().expect("BRAID_SEED is a number"));
    repeat.map_or(0..count, |seed| seed..seed + 1)
}

#[test]
fn batches_give_the_roots_of_full_rebuilds() {
    for seed in seeds(300) {
        let mut rng = Rng::new(seed);
        let (crowded, owner) = (seed % 2 == 1, (seed % 4 < 2).then_some(seed));
        let (mut trie, mut content) = (Trie::new(owner), Content::new());
        for step in 0..1 + rng.below(12) {
            let told = format!("step {step}; repeat with BRAID_SEED={seed}");
            let (mut set, mut gone) = (Content::new(), BTreeSet::new());
            let most = if rng.chance(30) { 300 } else { 20 };
            for _ in 0..rng.below(most) {
                set.insert(key(&mut rng, crowded), value(&mut rng));
            }
            let removing = rng.below(100);
            for key in content.keys().filter(|key| !set.contains_key(*key)) {
                if rng.chance(removing) {
                    gone.insert(*key);
                }
            }
            let absent = key(&mut rng, crowded);
            if !set.contains_key(&absent) {
                gone.insert(absent);
            }
            let open = trie.open.map(|open| open.0);
            let sealed = (1..trie.next).filter(|segment| Some(*segment) != open);
            let victims: Vec<u64> = sealed.filter(|_| rng.chance(30)).collect();
            trie.change(&set, &gone, &victims, seed % 3 == 0);
            content.retain(|key, _| !gone.contains(key));
            content.extend(set);
            assert_eq!(trie.hash, root(&content), "{told}");
            assert!(trie.used.iter().all(|ptr| !victims.contains(&ptr.segment())), "moved; {told}");
            for _ in 0..20 {
                let key = key(&mut rng, crowded);
                assert_eq!(trie.get(&key), content.get(&key).cloned(), "{told}");
            }
        }
        let all = content.keys().copied().collect();
        trie.change(&Content::new(), &all, &[], false);
        assert_eq!((trie.hash, trie.root), (EMPTY_ROOT_HASH, Ptr::NONE), "repeat with BRAID_SEED={seed}");
    }
}

/// Values of any length next to keys that part at any nibble, so that nodes of all sizes around that of a
/// hash stand in their parents.
#[test]
fn short_nodes_stand_in_their_parents() {
    for seed in seeds(64) {
        let mut rng = Rng::new(seed);
        let mut content = Content::new();
        let base = keccak256(seed.to_be_bytes());
        for _ in 0..3 + rng.below(20) {
            let (mut key, at) = (base, rng.below(32) as usize);
            key[at] ^= 1 << rng.below(8);
            content.insert(key, vec![seed as u8 | 1; 1 + rng.below(40) as usize]);
        }
        let mut trie = Trie::new(None);
        for (key, value) in &content {
            trie.change(&BTreeMap::from([(*key, value.clone())]), &BTreeSet::new(), &[], false);
        }
        assert_eq!(trie.hash, root(&content), "repeat with BRAID_SEED={seed}");
    }
}

fn bytes(text: &str) -> Vec<u8> {
    match text.strip_prefix("0x") {
        Some(digits) => hex::decode(digits).unwrap(),
        None => text.as_bytes().to_vec(),
    }
}

/// The official trie tests whose keys are hashed: in the order given, each in a batch of its own, and all at
/// once where the order does not matter.
#[test]
fn trie_tests() {
    let Some(folder) = data() else { return };
    let archive = std::fs::File::open(folder.join("ethereum/tests/tests_basic.tar.zst")).unwrap();
    let mut decoder = zstd::Decoder::new(archive).unwrap();
    decoder.window_log_max(27).unwrap();
    let (mut archive, mut cases) = (tar::Archive::new(decoder), 0);
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_string_lossy().into_owned();
        let secure = name.to_lowercase().contains("secure");
        if !name.contains("TrieTests") || !name.ends_with(".json") || !secure {
            continue;
        }
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        let file: BTreeMap<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
        for (case, test) in file {
            let pair = |key: &str, value: &serde_json::Value| {
                (keccak256(bytes(key)), value.as_str().map(bytes).filter(|value| !value.is_empty()))
            };
            let steps: Vec<(B256, Option<Vec<u8>>)> = match &test["in"] {
                serde_json::Value::Object(map) => map.iter().map(|(key, value)| pair(key, value)).collect(),
                list => {
                    let list = list.as_array().unwrap();
                    list.iter().map(|one| pair(one[0].as_str().unwrap(), &one[1])).collect()
                }
            };
            let expected: B256 = test["root"].as_str().unwrap().parse().unwrap();
            let (mut trie, mut last) = (Trie::new(None), BTreeMap::new());
            for (key, value) in &steps {
                let set = value.iter().map(|value| (*key, value.clone())).collect();
                let gone = if value.is_none() { BTreeSet::from([*key]) } else { BTreeSet::new() };
                trie.change(&set, &gone, &[], false);
                last.insert(*key, value.clone());
            }
            assert_eq!(trie.hash, expected, "{name} {case}");
            let mut whole = Trie::new(None);
            let set = last.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
            whole.change(&set, &BTreeSet::new(), &[], true);
            assert_eq!(whole.hash, expected, "{name} {case}, all at once");
            cases += 1;
        }
    }
    assert!(cases >= 3, "only {cases} trie tests found");
}

/// A ledger with a few versions, and the events that made it.
fn story(rng: &mut Rng) -> (Ledger, Vec<Event>) {
    let (mut ledger, mut events) = (Ledger::new(), Vec::new());
    for _ in 0..1 + rng.below(8) {
        let (seq, segment) = (ledger.seq + 1, ledger.next_segment);
        let died = ledger.open.map(|(segment, _)| (segment, rng.below(100) as u32));
        let event = match ledger.latest() {
            Some(latest) if rng.chance(20) => Event::Rollback(latest.version),
            _ => Event::Commit(Commit {
                version: Version::new(
                    (seq, seq),
                    (Ptr(rng.bits()), keccak256(seq.to_be_bytes())),
                    vec![(segment, 1000)],
                    died.into_iter().collect(),
                ),
                opened: vec![(segment, rng.below(50) as u32)],
                open: Some((segment, rng.below(9) as u32)),
                oldest: seq.saturating_sub(rng.below(4)),
                written: vec![(segment, 0, 1)],
                digest: rng.bits() as u32,
            }),
        };
        ledger.apply(seq, &event).unwrap();
        events.push(event);
    }
    (ledger, events)
}

#[test]
fn a_ledger_is_read_as_it_was_written() {
    for seed in seeds(300) {
        let (ledger, events) = story(&mut Rng::new(seed));
        assert_eq!(Ledger::decode(ledger.seq, &ledger.encode()), Ok(ledger), "repeat with BRAID_SEED={seed}");
        for event in events {
            assert_eq!(Event::decode(&event.encode()), Ok(event), "repeat with BRAID_SEED={seed}");
        }
    }
}

/// Checksums keep noise from decoders. If it came through, it would be an error, or harmless.
#[test]
fn noise_is_no_panic() {
    for seed in seeds(3000) {
        let mut rng = Rng::new(seed);
        let (ledger, events) = story(&mut rng);
        let turn = |rng: &mut Rng, mut bytes: Vec<u8>| {
            for _ in 0..1 + rng.below(4) {
                let at = rng.below(bytes.len() as u64) as usize;
                bytes[at] = rng.bits() as u8;
            }
            bytes.truncate(bytes.len() - rng.chance(10) as usize);
            bytes
        };
        let mut base = match Ledger::decode(ledger.seq, &turn(&mut rng, ledger.encode())) {
            Ok(other) => other,
            Err(_) => ledger,
        };
        for event in &events {
            if let Ok(event) = Event::decode(&turn(&mut rng, event.encode())) {
                drop(base.apply(base.seq + 1, &event));
            }
        }
        let mut bytes: Vec<u8> = (0..PAGE).map(|_| rng.bits() as u8 & 7).collect();
        bytes[4..6].copy_from_slice(&(rng.below(1 + PAGE as u64) as u16).to_le_bytes());
        let page = Arc::new(Page::new(bytes.into()));
        for at in 0..PAGE {
            if let Ok((node, len, _)) = record::decode(page.clone(), Ptr::new(1, at)) {
                assert!(at + len <= page.used, "repeat with BRAID_SEED={seed}");
                super::update::stored_reference(&mut Vec::new(), &node, 0);
            }
        }
    }
}

/// Waking workers and waiting until they sleep again takes longer than the root of a small block.
#[test]
fn few_changes_are_worked_on_alone() {
    let options = DiskOptions { workers: 3, ..DiskOptions::default() };
    let store = DiskStore::create_on(Arc::new(FaultMedium::new(0, Faults::default())), options).unwrap();
    let workers = |changes| store.with_crew(changes, |crew| crew.workers());
    assert_eq!([1, 20, 1_000].map(workers), [1, 1, 3]);
}
