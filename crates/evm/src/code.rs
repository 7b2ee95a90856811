//! Analysed contract code, shared by hash.
//!
//! Code never changes under its hash, so a cache of it needs no invalidation, serves every block and
//! state, and may keep what a discarded execution deployed.

use alloy_primitives::{B256, Bytes};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;
use revm::bytecode::Bytecode;
use std::collections::VecDeque;

/// Shards of the shared cache: more than there are cores in a common machine.
const SHARDS: usize = 64;

/// What an entry takes besides its bytes, roughly.
const OVERHEAD: usize = 256;

#[derive(Debug, Default)]
struct Shard {
    codes: HashMap<B256, Bytecode, RandomState>,
    /// Hashes in the order in which they came, for eviction.
    order: VecDeque<B256>,
    bytes: usize,
}

/// Analysed code by hash, shared by all workers, bounded in bytes; the oldest entries go first.
#[derive(Debug)]
pub struct CodeCache {
    shards: Box<[Mutex<Shard>]>,
    shard_bytes: usize,
}

impl CodeCache {
    /// A cache of at most about `bytes` bytes of code.
    pub fn new(bytes: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        CodeCache { shards, shard_bytes: bytes / SHARDS }
    }

    fn shard(&self, hash: &B256) -> &Mutex<Shard> {
        // Any byte will do: the key is a hash. Not the first, which a miner of addresses might grind.
        &self.shards[hash[17] as usize % SHARDS]
    }

    /// The code with this hash, if it is here.
    pub fn get(&self, hash: &B256) -> Option<Bytecode> {
        self.shard(hash).lock().codes.get(hash).cloned()
    }

    /// Keeps `code`, whose hash is `hash`, unless it alone exceeds the bound.
    pub fn insert(&self, hash: B256, code: &Bytecode) {
        let size = code.len() + OVERHEAD;
        if size > self.shard_bytes {
            return;
        }
        let mut shard = self.shard(&hash).lock();
        if shard.codes.insert(hash, code.clone()).is_some() {
            return;
        }
        shard.order.push_back(hash);
        shard.bytes += size;
        while shard.bytes > self.shard_bytes {
            let Some(oldest) = shard.order.pop_front() else { break };
            if let Some(code) = shard.codes.remove(&oldest) {
                shard.bytes -= code.len() + OVERHEAD;
            }
        }
    }
}

/// Uses after which a worker makes its own copy of a code.
const OWN_COPY_AFTER: u32 = 32;

#[derive(Debug)]
struct LocalCode {
    code: Bytecode,
    uses: u32,
}

/// A worker's codes: no locks, and no reference count that other workers write to.
///
/// A [`Bytecode`] is reference-counted and cloned several times a call. Were one hot contract shared by
/// all workers, that counter would be the cache line they all fight for; so a code that is used often
/// is copied.
#[derive(Debug)]
pub(crate) struct LocalCodes {
    codes: HashMap<B256, LocalCode, RandomState>,
    bytes: usize,
    /// Bound of `bytes`.
    most: usize,
    /// No code at all; its own allocation for the same reason.
    empty: Bytecode,
}

impl Default for LocalCodes {
    fn default() -> Self {
        LocalCodes::new(0)
    }
}

impl LocalCodes {
    /// A cache of at most about `bytes` bytes of code, or of one code.
    pub(crate) fn new(bytes: usize) -> Self {
        let empty = Bytecode::new_legacy(Bytes::new());
        LocalCodes { codes: HashMap::default(), bytes: 0, most: bytes, empty }
    }

    /// The code of an account that has none.
    pub(crate) fn empty(&self) -> Bytecode {
        self.empty.clone()
    }

    /// The code with this hash, if this worker used it lately.
    pub(crate) fn get(&mut self, hash: &B256) -> Option<Bytecode> {
        let local = self.codes.get_mut(hash)?;
        local.uses = local.uses.saturating_add(1);
        if local.uses == OWN_COPY_AFTER {
            local.code = own_copy(&local.code);
        }
        Some(local.code.clone())
    }

    /// Remembers a code.
    pub(crate) fn insert(&mut self, hash: B256, code: Bytecode) {
        // Emptied rather than evicted one by one: it refills from the shared cache.
        let size = code.len() + OVERHEAD;
        if self.bytes + size > self.most {
            self.codes.clear();
            self.bytes = 0;
        }
        self.bytes += size;
        self.codes.insert(hash, LocalCode { code, uses: 0 });
    }
}

fn own_copy(code: &Bytecode) -> Bytecode {
    if code.is_eip7702() {
        return code.clone();
    }
    Bytecode::new_legacy(Bytes::copy_from_slice(code.original_byte_slice()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(byte: u8, len: usize) -> (B256, Bytecode) {
        let code = Bytecode::new_legacy(Bytes::from(vec![byte; len]));
        (code.hash_slow(), code)
    }

    #[test]
    fn stays_within_its_bound() {
        let cache = CodeCache::new(SHARDS * 4096);
        for byte in 0..=255 {
            for len in [1, 100, 1000, 3000, 5000] {
                let (hash, code) = code(byte, len);
                cache.insert(hash, &code);
                assert_eq!(cache.get(&hash).is_some(), len < 5000 - OVERHEAD);
            }
        }
        for shard in &cache.shards {
            let shard = shard.lock();
            let bytes: usize = shard.codes.values().map(|code| code.len() + OVERHEAD).sum();
            assert_eq!(bytes, shard.bytes);
            assert!(bytes <= 4096);
            assert_eq!(shard.order.len(), shard.codes.len());
        }
    }

    #[test]
    fn a_copy_is_the_same_code() {
        let mut local = LocalCodes::default();
        let (hash, code) = code(0x5b, 77);
        local.insert(hash, code.clone());
        for _ in 0..OWN_COPY_AFTER + 2 {
            assert_eq!(local.get(&hash).as_ref(), Some(&code));
        }
    }
}
