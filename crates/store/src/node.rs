//! What a parent says of a node of a trie, and how that is computed: Ethereum Yellow Paper, appendix D.

use alloy_primitives::{B256, keccak256};
use alloy_rlp::Encodable;

/// What a parent says of a node: its hash, or its RLP if that is shorter than a hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reference {
    /// The hash, or the RLP and zeros.
    bytes: [u8; 32],
    /// Length of the RLP, or that of a hash.
    len: u8,
}

impl Reference {
    /// Of a node of which nothing is known yet.
    pub(crate) const NONE: Reference = Reference { bytes: [0; 32], len: 32 };

    pub(crate) fn hash(hash: B256) -> Self {
        Reference { bytes: hash.0, len: 32 }
    }

    /// From RLP and the zeros after it.
    pub(crate) fn embedded(bytes: [u8; 32]) -> Self {
        // A list of less than 32 bytes says its length in its first one. If it lies, hashes will tell.
        let len = bytes[0].wrapping_sub(alloy_rlp::EMPTY_LIST_CODE).saturating_add(1).min(31);
        Reference { bytes, len }
    }

    /// Of a node by its RLP.
    pub(crate) fn of_rlp(rlp: &[u8]) -> Self {
        if rlp.len() >= 32 {
            return Reference::hash(keccak256(rlp));
        }
        let mut bytes = [0; 32];
        bytes[..rlp.len()].copy_from_slice(rlp);
        Reference { bytes, len: rlp.len() as u8 }
    }

    pub(crate) fn is_hash(&self) -> bool {
        self.len == 32
    }

    /// The hash, if it is one.
    pub(crate) fn as_hash(&self) -> Option<B256> {
        self.is_hash().then(|| B256::from(self.bytes))
    }

    /// The RLP of a node that is shorter than a hash.
    pub(crate) fn as_rlp(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Hash or RLP, filled up with zeros.
    pub(crate) fn padded(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// The hash of a trie whose root this is.
    pub(crate) fn root(&self) -> B256 {
        match self.is_hash() {
            true => B256::from(self.bytes),
            false => keccak256(&self.bytes[..usize::from(self.len)]),
        }
    }

    /// Appends it as an item of its parent's RLP.
    fn put(&self, out: &mut Vec<u8>) {
        if self.is_hash() {
            out.push(alloy_rlp::EMPTY_STRING_CODE + 32);
        }
        out.extend_from_slice(&self.bytes[..usize::from(self.len)]);
    }
}

/// The nibble of a key at a depth.
pub(crate) fn nibble(key: &B256, depth: usize) -> usize {
    let byte = key[depth / 2];
    usize::from(if depth.is_multiple_of(2) { byte >> 4 } else { byte & 15 })
}

/// Sets the nibble of a key at a depth.
pub(crate) fn set_nibble(key: &mut B256, depth: usize, nibble: u8) {
    let shift = if depth.is_multiple_of(2) { 4 } else { 0 };
    key[depth / 2] = key[depth / 2] & !(15 << shift) | nibble << shift;
}

/// How many nibbles two keys have in common.
pub(crate) fn common(a: &B256, b: &B256) -> usize {
    match a.iter().zip(b.iter()).position(|(a, b)| a != b) {
        Some(at) => 2 * at + usize::from((a[at] ^ b[at]) < 16),
        None => 64,
    }
}

/// Bytes of a hex-prefix encoded path of so many nibbles.
fn path_bytes(nibbles: usize) -> usize {
    1 + nibbles / 2
}

/// Appends a hex-prefix encoded path, the nibbles of `key` from `from` to `to`, as an RLP string.
fn put_path(out: &mut Vec<u8>, key: &B256, from: usize, to: usize, leaf: bool) {
    let (len, flag) = (to - from, if leaf { 0x20 } else { 0 });
    let bytes = path_bytes(len);
    if bytes > 1 {
        out.push(alloy_rlp::EMPTY_STRING_CODE + bytes as u8);
    }
    let mut at = from;
    match len.is_multiple_of(2) {
        true => out.push(flag),
        false => {
            out.push(flag | 0x10 | nibble(key, at) as u8);
            at += 1;
        }
    }
    if at.is_multiple_of(2) {
        return out.extend_from_slice(&key[at / 2..to / 2]);
    }
    out.extend((at..to).step_by(2).map(|i| (nibble(key, i) << 4 | nibble(key, i + 1)) as u8));
}

/// Appends the header of a list that begins with a path of so many nibbles and goes on with `rest` bytes.
fn open_list(out: &mut Vec<u8>, nibbles: usize, rest: usize) {
    let path = path_bytes(nibbles);
    let payload_length = path + usize::from(path > 1) + rest;
    alloy_rlp::Header { list: true, payload_length }.encode(out);
}

/// Appends the RLP of a leaf that stands at `depth`.
pub(crate) fn put_leaf(out: &mut Vec<u8>, key: &B256, depth: usize, value: &[u8]) {
    open_list(out, 64 - depth, value.length());
    put_path(out, key, depth, 64, true);
    value.encode(out);
}

/// Appends the RLP of an extension: the nibbles of `key` from `depth` to `end`.
pub(crate) fn put_extension(out: &mut Vec<u8>, key: &B256, depth: usize, end: usize, child: &Reference) {
    open_list(out, end - depth, usize::from(child.len) + usize::from(child.is_hash()));
    put_path(out, key, depth, end, false);
    child.put(out);
}

/// Appends the RLP of a branch. `children` by nibble, ascending.
pub(crate) fn put_branch(out: &mut Vec<u8>, children: impl Iterator<Item = (usize, Reference)>) {
    // The longest header, 16 children, no value: all empty until they are set.
    const HEAD: usize = 3;
    const LONGEST: usize = HEAD + 16 * 33 + 1;
    let start = out.len();
    out.resize(start + LONGEST, alloy_rlp::EMPTY_STRING_CODE);
    let rlp = &mut out[start..];
    let (mut at, mut next) = (HEAD, 0);
    for (nibble, child) in children {
        at += nibble - next;
        next = nibble + 1;
        if child.is_hash() {
            rlp[at] = alloy_rlp::EMPTY_STRING_CODE + 32;
            rlp[at + 1..at + 33].copy_from_slice(&child.bytes);
            at += 33;
        } else {
            rlp[at..at + usize::from(child.len)].copy_from_slice(child.as_rlp());
            at += usize::from(child.len);
        }
    }
    at += 17 - next;
    let mut head = &mut rlp[..HEAD];
    alloy_rlp::Header { list: true, payload_length: at - HEAD }.encode(&mut head);
    // Those of most branches that are long have the longest header.
    let unused = head.len();
    if unused > 0 {
        rlp.copy_within(HEAD..at, HEAD - unused);
    }
    out.truncate(start + at - unused);
}

/// What a parent at `depth` says of a leaf.
pub(crate) fn leaf(scratch: &mut Vec<u8>, key: &B256, depth: usize, value: &[u8]) -> Reference {
    scratch.clear();
    put_leaf(scratch, key, depth, value);
    Reference::of_rlp(scratch)
}

/// What a parent at `depth` says of a branch whose children part at `end`, with the extension above it.
pub(crate) fn branch(
    scratch: &mut Vec<u8>,
    (key, end): (&B256, usize),
    depth: usize,
    children: impl Iterator<Item = (usize, Reference)>,
) -> Reference {
    scratch.clear();
    put_branch(scratch, children);
    let branch = Reference::of_rlp(scratch);
    extended(scratch, key, depth, end, branch)
}

/// What a parent at `depth` says of a branch whose children part at `end`, and of which a parent at `end` would say
/// `branch`.
pub(crate) fn extended(
    scratch: &mut Vec<u8>,
    key: &B256,
    depth: usize,
    end: usize,
    branch: Reference,
) -> Reference {
    if end == depth {
        return branch;
    }
    scratch.clear();
    put_extension(scratch, key, depth, end, &branch);
    Reference::of_rlp(scratch)
}
