//! Partial tries against alloy-trie's hash builder, which computes roots and proofs independently.

use alloy_primitives::{B256, Bytes, keccak256};
use alloy_trie::{EMPTY_ROOT_HASH, HashBuilder, Nibbles, proof::ProofRetainer};
use braid_store::trie::{Crew, PartialTrie, TrieError, TrieNodes};
use braid_testkit::Rng;
use std::collections::BTreeMap;

type Content = BTreeMap<B256, Vec<u8>>;

/// What a trie is made of, at random.
struct Random(Rng);

impl Random {
    fn new(seed: u64) -> Self {
        Random(Rng::new(seed))
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    /// A key: spread like a hash, or crowded so that paths are shared and nodes are short.
    fn key(&mut self, crowded: bool) -> B256 {
        let number = self.below(300);
        if !crowded {
            return keccak256(number.to_be_bytes());
        }
        let mut key = B256::ZERO;
        key[(number % 3) as usize] = 0x10;
        key[31] = (number % 7) as u8;
        key[30] = (number / 21) as u8;
        key
    }

    fn value(&mut self) -> Vec<u8> {
        let len = 1 + self.below(40) as usize;
        (0..len).map(|_| self.0.bits() as u8).collect()
    }
}

/// Root of `content`, and the nodes on the paths to `targets`.
fn reference(content: &Content, targets: impl IntoIterator<Item = B256>) -> (B256, Vec<Bytes>) {
    let targets: Vec<Nibbles> = targets.into_iter().map(Nibbles::unpack).collect();
    let mut builder = HashBuilder::default().with_proof_retainer(ProofRetainer::new(targets));
    for (key, value) in content {
        builder.add_leaf(Nibbles::unpack(key), value);
    }
    let root = builder.root();
    let nodes = builder.take_proof_nodes();
    (root, nodes.into_inner().into_values().filter(|rlp| rlp[..] != [0x80]).collect())
}

fn random_content(rng: &mut Random, crowded: bool) -> Content {
    let size = rng.below(80);
    (0..size).map(|_| (rng.key(crowded), rng.value())).collect()
}

#[test]
fn changes_give_the_roots_of_a_full_rebuild() {
    for seed in 0..600 {
        let mut rng = Random::new(seed);
        let crowded = seed % 2 == 1;
        let mut content = random_content(&mut rng, crowded);
        let all: Vec<B256> = content.keys().copied().collect();
        let (root, nodes) = reference(&content, all);
        let nodes: TrieNodes = nodes.into_iter().collect();
        let mut trie = PartialTrie::new(root, &nodes);
        assert_eq!(trie.root(), root, "seed {seed}");
        for step in 0..rng.below(120) {
            let key = rng.key(crowded);
            assert_eq!(trie.get(key), Ok(content.get(&key).cloned()), "seed {seed} step {step}");
            if rng.below(3) == 0 {
                let value = rng.value();
                trie.insert(key, value.clone()).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
                content.insert(key, value);
            } else {
                let removed = trie.remove(key).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
                assert_eq!(removed, content.remove(&key).is_some(), "seed {seed} step {step}");
            }
            assert_eq!(trie.root(), reference(&content, []).0, "seed {seed} step {step}");
        }
    }
}

#[test]
fn a_missing_node_is_an_error_and_changes_nothing() {
    let mut blinded = 0;
    for seed in 0..600 {
        let mut rng = Random::new(seed);
        let crowded = seed % 2 == 1;
        let mut content = random_content(&mut rng, crowded);
        let some: Vec<B256> = content.keys().copied().filter(|_| rng.below(4) == 0).collect();
        let (root, nodes) = reference(&content, some);
        let nodes: TrieNodes = nodes.into_iter().collect();
        let mut trie = PartialTrie::new(root, &nodes);
        for step in 0..60 {
            let (key, value) = (rng.key(crowded), rng.value());
            let insert = rng.below(2) == 0;
            let result = if insert { trie.insert(key, value.clone()) } else { trie.remove(key).map(drop) };
            match result {
                Ok(()) if insert => drop(content.insert(key, value)),
                Ok(()) => drop(content.remove(&key)),
                Err(TrieError::Blinded { .. }) => blinded += 1,
                Err(error) => panic!("seed {seed} step {step}: {error}"),
            }
            assert_eq!(trie.root(), reference(&content, []).0, "seed {seed} step {step}");
        }
    }
    assert!(blinded > 1000, "the test must meet missing nodes, met {blinded}");
}

#[test]
fn garbage_nodes_are_errors() {
    for seed in 0..4000 {
        let mut rng = Random::new(seed);
        let content = random_content(&mut rng, seed % 2 == 1);
        let all: Vec<B256> = content.keys().copied().collect();
        let (_, nodes) = reference(&content, all);
        let Some(node) = nodes.first() else { continue };
        let mut bytes = node.to_vec();
        for _ in 0..=rng.below(3) {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] = rng.0.bits() as u8;
        }
        bytes.truncate(bytes.len() - rng.below(2) as usize);
        let root = keccak256(&bytes);
        let nodes: TrieNodes = nodes.into_iter().chain([Bytes::from(bytes)]).collect();
        let mut trie = PartialTrie::new(root, &nodes);
        for _ in 0..20 {
            // Whatever it answers, it must answer.
            let key = rng.key(seed % 2 == 1);
            let _ = trie.get(key);
            let _ = trie.remove(key);
            let _ = trie.insert(key, rng.value());
            let _ = trie.root();
        }
    }
}

#[test]
fn an_empty_trie_grows_and_shrinks_to_empty() {
    let nodes = TrieNodes::default();
    let mut trie = PartialTrie::new(EMPTY_ROOT_HASH, &nodes);
    let keys: Vec<B256> = (0..50u8).map(keccak_of).collect();
    for key in &keys {
        trie.insert(*key, vec![1]).expect("nothing is hidden");
    }
    for key in &keys {
        assert_eq!(trie.remove(*key), Ok(true));
    }
    assert_eq!(trie.root(), EMPTY_ROOT_HASH);
}

fn keccak_of(byte: u8) -> B256 {
    keccak256([byte])
}

/// Tries of one block, hashed together and alone, by few and by many, revealed before and on the way.
#[test]
fn tries_that_are_hashed_together_have_their_own_roots() {
    let repeat = std::env::var("BRAID_SEED").ok().map(|seed| seed.parse().expect("BRAID_SEED is a number"));
    for seed in repeat.map_or(0..120u64, |seed| seed..seed + 1) {
        let mut rng = Random::new(seed);
        let (mut contents, mut roots, mut all) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..1 + rng.below(12) {
            let content = random_content(&mut rng, number % 3 == 2);
            let (root, nodes) = reference(&content, content.keys().copied());
            contents.push(content);
            roots.push(root);
            all.extend(nodes);
        }
        let nodes: TrieNodes = all.into_iter().collect();
        let mut tries: Vec<PartialTrie<'_>> =
            roots.iter().map(|root| PartialTrie::new(*root, &nodes)).collect();
        for (trie, content) in tries.iter_mut().zip(&contents) {
            if rng.below(2) == 0 {
                trie.reveal(rng.below(200) as usize);
                assert!(trie.revealed().all(|(key, value)| content[key] == value), "seed {seed}");
            }
        }
        for round in 0..4 {
            for (trie, content) in tries.iter_mut().zip(&mut contents) {
                // One trie with much, so that it is taken apart; some with nothing.
                let many = if rng.below(4) == 0 { 300 } else { rng.below(6) };
                for _ in 0..many {
                    let (key, value) = (rng.key(false), rng.value());
                    if rng.below(4) == 0 {
                        trie.remove(key).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
                        content.remove(&key);
                    } else {
                        trie.set(key, &value).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
                        content.insert(key, value);
                    }
                }
            }
            let mut split = |count: usize, work: &(dyn Fn(usize) + Sync)| {
                std::thread::scope(|scope| {
                    for at in 0..count {
                        scope.spawn(move || work(at));
                    }
                });
            };
            let mut crew = match rng.below(3) {
                0 => Crew::alone(),
                _ => Crew::new(1 + rng.below(5) as usize, &mut split),
            };
            PartialTrie::hash_all(&mut tries, &mut crew);
            for (trie, content) in tries.iter().zip(&contents) {
                let told = format!("round {round}, {crew:?}; repeat with BRAID_SEED={seed}");
                assert_eq!(trie.root(), reference(content, []).0, "{told}");
                assert_eq!(trie.clone().root_shared(), trie.root(), "{told}");
            }
        }
    }
}
