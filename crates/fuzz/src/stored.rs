//! Files that data folders are made of: archives of blocks, snapshots.

use crate::{
    files::{in_folder, write},
    rlp,
};
use alloy_primitives::B256;
use braid_db::{SnapshotDecoder, SnapshotError, SnapshotHeader, SnapshotItem, encode_snapshot};
use braid_work::chain::Import;

const GENESIS: &[u8] =
    br#"{"config":{"chainId":7},"alloc":{},"difficulty":"0x1","gasLimit":"0x1","timestamp":"0x0"}"#;

/// An archive of blocks (era1): what it says that it has is there, and every block is handled as one that stands
/// alone.
pub(crate) fn era1(data: &[u8]) {
    in_folder(|folder| {
        let path = folder.join("some.era1");
        write(&path, data);
        write(&folder.join("genesis.json"), GENESIS);
        let import = match Import::open(&path, None) {
            Ok(import) => import,
            Err(error) => return assert!(error.to_string().contains("some.era1"), "{error}"),
        };
        let first = import.first().unwrap_or_else(|| panic!("an archive without blocks is none"));
        assert!(first <= import.last(), "{first} to {}", import.last());
        for part in import.parts_from(0) {
            match part {
                Ok((number, blocks)) => {
                    assert_eq!((number, number + blocks.len() as u64), (first, import.last() + 1));
                    blocks.iter().for_each(|block| rlp::block(block));
                    // Those after the first few are the same, later.
                    let later = import.parts_from(first + 1).next();
                    let later = later.map(|part| part.unwrap_or_else(|error| panic!("{error}")));
                    let expected = (blocks.len() > 1).then(|| (first + 1, blocks[1..].to_vec()));
                    assert_eq!(later, expected);
                }
                Err(error) => assert!(error.to_string().contains("some.era1"), "{error}"),
            }
        }
    });
}

const MARK: &[u8] = b"BRAIDSNP";

/// A snapshot. Bytes that do not begin as one does are the records of a part that is otherwise right, since no change
/// of a packed one would get past its checksum.
pub(crate) fn snapshot(data: &[u8]) {
    let whole = if data.starts_with(MARK) { data.to_vec() } else { around(data) };
    let (header, items, ended) = decoded(&whole);
    let Some(header) = header else { return assert!(items.is_empty() && ended.is_err()) };
    // Blocks that end too early are no chain; nothing was read after them.
    let items = match items.last() {
        Some(SnapshotItem::Block(last)) if last.header.number != header.version => Vec::new(),
        _ => items,
    };
    // What was read is written and read again as it was, whatever came after it.
    let mut again = Vec::new();
    encode_snapshot(&mut again, header, items.iter().cloned()).unwrap_or_else(|error| panic!("{error}"));
    let (second, same, end) = decoded(&again);
    assert_eq!((second, &same), (Some(header), &items));
    assert!(end.is_ok(), "{end:?}");
}

/// What can be read, and how it ends.
fn decoded(bytes: &[u8]) -> (Option<SnapshotHeader>, Vec<SnapshotItem>, Result<(), SnapshotError>) {
    let mut decoder = match SnapshotDecoder::new(bytes) {
        Ok(decoder) => decoder,
        Err(error) => return (None, Vec::new(), Err(error)),
    };
    let mut items = Vec::new();
    loop {
        match decoder.next_item() {
            Ok(Some(item)) => items.push(item),
            Ok(None) => return (Some(decoder.header()), items, Ok(())),
            Err(error) => {
                assert!(!error.to_string().is_empty() && !error.kind().is_empty());
                return (Some(decoder.header()), items, Err(error));
            }
        }
    }
}

/// A snapshot whose only part has these records. It has no end.
fn around(records: &[u8]) -> Vec<u8> {
    let mut empty = Vec::new();
    let header = SnapshotHeader { version: 1, root: B256::ZERO };
    encode_snapshot(&mut empty, header, []).unwrap_or_else(|error| panic!("{error}"));
    let mut bytes = empty[..60].to_vec();
    let packed = zstd::bulk::compress(records, 1).unwrap_or_else(|error| panic!("{error}"));
    let lengths = [records.len() as u32, packed.len() as u32].map(u32::to_le_bytes).concat();
    let mut checksum = crc32fast::Hasher::new();
    for part in [&empty[56..60], &0u64.to_le_bytes(), &lengths, &packed] {
        checksum.update(part);
    }
    bytes.extend_from_slice(&lengths);
    bytes.extend_from_slice(&checksum.finalize().to_le_bytes());
    bytes.extend_from_slice(&packed);
    bytes
}
