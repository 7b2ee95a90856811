//! Keccak-256 of many messages at once.
//!
//! One permutation keccak-f\[1600\] (FIPS 202) is a chain of 24 rounds that a core cannot shorten, but a vector
//! register holds the same word of eight (AVX-512) or four (AVX2) states, and a permutation of them all takes hardly
//! longer than one of one. So whoever has many messages, as the nodes of one level of a trie, hands them over
//! together. On other processors they are hashed one after another.
//!
//! A crate of its own because it is below all that hash and has the `unsafe` that instructions of some processors
//! need.
//!
//! ```
//! use alloy_primitives::{B256, keccak256};
//! use braid_keccak::keccak256_many;
//!
//! let messages = ["one", "two", "three"];
//! let mut hashes = [B256::ZERO; 3];
//! keccak256_many(&messages, &mut hashes);
//! assert_eq!(hashes, messages.map(keccak256));
//! ```

use alloy_primitives::{B256, keccak256};
use std::{cmp::Reverse, sync::OnceLock};

#[cfg(target_arch = "x86_64")]
mod x86;

/// Bytes of a message that one permutation takes in: 1600 bits less twice those of the hash.
const RATE: usize = 136;
/// Words of the state, and of them those that a block of a message reaches.
const WORDS: usize = 25;
const RATE_WORDS: usize = RATE / 8;
/// Up to so many messages, the longest go first, so that none of them is left alone at the end.
const SORT_MAX: usize = 64;

/// How messages are hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Path {
    /// One after another, by `alloy_primitives`.
    Single,
    /// Four at a time.
    Avx2,
    /// Eight at a time.
    Avx512,
}

impl Path {
    /// All that this processor has.
    pub fn available() -> impl Iterator<Item = Path> {
        #[cfg(target_arch = "x86_64")]
        let wide = [(Path::Avx2, x86::has_avx2()), (Path::Avx512, x86::has_avx512())];
        #[cfg(not(target_arch = "x86_64"))]
        let wide = [];
        let wide = wide.into_iter().filter(|(_, has)| *has).map(|(path, _)| path);
        std::iter::once(Path::Single).chain(wide)
    }

    /// The widest that this processor has.
    pub fn best() -> Path {
        static BEST: OnceLock<Path> = OnceLock::new();
        *BEST.get_or_init(|| Path::available().last().unwrap_or(Path::Single))
    }
}

/// Puts the Keccak-256 of each message at its place in `hashes`.
///
/// # Panics
/// If there are not as many places as messages.
pub fn keccak256_many<T: AsRef<[u8]>>(messages: &[T], hashes: &mut [B256]) {
    keccak256_by(Path::best(), messages, hashes);
}

/// As [`keccak256_many`], by a path of choice, so that all that a processor has can be compared; one that it does not
/// have is [`Path::Single`].
///
/// # Panics
/// If there are not as many places as messages.
pub fn keccak256_by<T: AsRef<[u8]>>(path: Path, messages: &[T], hashes: &mut [B256]) {
    assert_eq!(messages.len(), hashes.len(), "a place for each hash");
    #[cfg(target_arch = "x86_64")]
    match path {
        Path::Avx512 if messages.len() > 1 && x86::has_avx512() => {
            return schedule(x86::step_avx512, messages, hashes);
        }
        Path::Avx2 if messages.len() > 1 && x86::has_avx2() => {
            return schedule(x86::step_avx2, messages, hashes);
        }
        _ => {}
    }
    let _ = path;
    for (message, hash) in messages.iter().zip(hashes) {
        *hash = keccak256(message);
    }
}

/// What a step takes in.
type Block = [u8; RATE];

/// States of `N` messages by words, so that a register takes one word of all.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
#[repr(align(64))]
struct Lanes<const N: usize> {
    state: [[u64; N]; WORDS],
    /// All ones where the next step goes on, zero where it begins a message.
    keep: [u64; N],
}

#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
impl<const N: usize> Lanes<N> {
    fn hash(&self, lane: usize) -> B256 {
        let mut hash = B256::ZERO;
        for (into, word) in hash.0.as_chunks_mut::<8>().0.iter_mut().zip(&self.state) {
            *into = word[lane].to_le_bytes();
        }
        hash
    }
}

/// A message on its way through a lane.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
#[derive(Clone, Copy)]
struct Under<'a> {
    /// Its number.
    at: usize,
    /// What is not taken in yet; none if all was, with the padding.
    rest: Option<&'a [u8]>,
}

#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
impl<'a> Under<'a> {
    /// The next block, if it is not the last one, which is put into `last`.
    fn next(&mut self, last: &mut Block) -> Option<&'a Block> {
        let rest = self.rest.unwrap_or_default();
        if let Some((block, rest)) = rest.split_first_chunk::<RATE>() {
            self.rest = Some(rest);
            return Some(block);
        }
        // Keccak's own padding, of before FIPS 202: a one, zeros, a one.
        self.rest = None;
        last.fill(0);
        last[..rest.len()].copy_from_slice(rest);
        last[rest.len()] = 1;
        last[RATE - 1] |= 0x80;
        None
    }
}

/// Hashes messages in lanes: each takes up the next message when it is done with one, so that messages of different
/// lengths do not wait for one another. `step` is one permutation of all lanes, after each took in a block.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
fn schedule<const N: usize, T: AsRef<[u8]>>(
    step: impl Fn(&mut Lanes<N>, [&Block; N]),
    messages: &[T],
    hashes: &mut [B256],
) {
    let mut order = [0u8; SORT_MAX];
    let sorted = messages.len() <= SORT_MAX;
    if sorted {
        (0u8..).zip(&mut order).for_each(|(at, place)| *place = at);
        let blocks = |at: &u8| Reverse(messages[usize::from(*at)].as_ref().len() / RATE);
        order[..messages.len()].sort_unstable_by_key(blocks);
    }
    let mut waiting = (0..messages.len()).map(|at| if sorted { usize::from(order[at]) } else { at });
    let mut lanes = Lanes { state: [[0; N]; WORDS], keep: [0; N] };
    let mut under: [Option<Under<'_>>; N] = [None; N];
    let mut last = [[0; RATE]; N];
    loop {
        let mut blocks: [Option<&Block>; N] = [None; N];
        let mut busy = false;
        for (lane, under) in under.iter_mut().enumerate() {
            lanes.keep[lane] = if under.is_some() { u64::MAX } else { 0 };
            if under.is_none() {
                *under = waiting.next().map(|at| Under { at, rest: Some(messages[at].as_ref()) });
            }
            let Some(under) = under else { continue };
            busy = true;
            blocks[lane] = under.next(&mut last[lane]);
        }
        if !busy {
            return;
        }
        step(&mut lanes, std::array::from_fn(|lane| blocks[lane].unwrap_or(&last[lane])));
        for (lane, under) in under.iter_mut().enumerate() {
            if let Some(Under { at, rest: None }) = under {
                hashes[*at] = lanes.hash(lane);
                *under = None;
            }
        }
    }
}
