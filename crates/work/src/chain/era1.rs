//! Archives of blocks before the Merge (era1): the e2store format of github.com/eth-clients/e2store-format-specs.
//!
//! Entries follow one another: type (two bytes), length (four), zero (two), data; numbers are little-endian. After
//! an entry of the version come four of each block (header, body, receipts, total difficulty, the first three
//! framed Snappy of RLP), an accumulator, and an index: number of the first block, an offset for each, their
//! count. The index is at the end, so that what a file has is known without reading it.

use crate::{WorkError, load::file};
use alloy_primitives::Bytes;
use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::Path,
};

const VERSION: u16 = 0x3265;
const HEADER: u16 = 0x03;
const BODY: u16 = 0x04;
const RECEIPTS: u16 = 0x05;
const TOTAL: u16 = 0x06;
const ACCUMULATOR: u16 = 0x07;
const INDEX: u16 = 0x3266;

/// Bytes of type, length and zero.
const HEAD: usize = 8;
/// Most blocks of a file: an epoch.
const MAX_BLOCKS: u64 = 8192;
/// Most bytes of a header or a body, decompressed.
const MAX_ITEM: u64 = 32 << 20;

fn invalid(path: &Path, item: impl Into<String>, reason: impl Into<String>) -> WorkError {
    WorkError::invalid(path, item, reason)
}

/// Number of the first block of a file, and how many it has, as its index says.
pub(super) fn range(path: &Path) -> Result<(u64, u64), WorkError> {
    let io = |error: std::io::Error| invalid(path, "index", error.to_string());
    let mut file =
        File::open(path).map_err(|error| WorkError::Io { file: path.into(), reason: error.to_string() })?;
    let size = file.metadata().map_err(io)?.len();
    if size < 32 {
        return Err(invalid(path, "index", format!("the file has {size} bytes")));
    }
    let mut number = |from: SeekFrom| -> Result<u64, WorkError> {
        let mut bytes = [0; 8];
        file.seek(from).and_then(|_| file.read_exact(&mut bytes)).map_err(io)?;
        Ok(u64::from_le_bytes(bytes))
    };
    let count = number(SeekFrom::End(-8))?;
    if !(1..=MAX_BLOCKS).contains(&count) {
        return Err(invalid(path, "index", format!("{count} blocks: the file was cut, or is no era1")));
    }
    let first = number(SeekFrom::End(-16 - 8 * count as i64))?;
    first.checked_add(count).ok_or_else(|| invalid(path, "index", format!("first block {first}")))?;
    Ok((first, count))
}

/// Number of the first block of a file, and its blocks in their consensus encoding.
pub(super) fn read(path: &Path) -> Result<(u64, Vec<Bytes>), WorkError> {
    let (first, count) = range(path)?;
    let bytes = file::read(path)?;
    let mut entries = Entries { path, rest: &bytes, at: 0 };
    entries.take("version", VERSION)?;
    let mut blocks = Vec::with_capacity(count as usize);
    for number in first..first + count {
        let item = |what: &str| format!("{what} of block {number}");
        let header = unpack(path, &item("header"), entries.take(&item("header"), HEADER)?)?;
        let body = unpack(path, &item("body"), entries.take(&item("body"), BODY)?)?;
        entries.take(&item("receipts"), RECEIPTS)?;
        entries.take(&item("total difficulty"), TOTAL)?;
        blocks.push(join(&header, &body).map_err(|reason| invalid(path, item("body"), reason))?);
    }
    if entries.rest.starts_with(&ACCUMULATOR.to_le_bytes()) {
        entries.take("accumulator", ACCUMULATOR)?;
    }
    // What was taken for the index is one only if it stands where one has to.
    let index = entries.take("index", INDEX)?;
    match index.len() == 16 + 8 * blocks.len() && entries.rest.is_empty() {
        true => Ok((first, blocks)),
        false => Err(invalid(path, "index", "it is not of these blocks")),
    }
}

struct Entries<'a> {
    path: &'a Path,
    rest: &'a [u8],
    at: usize,
}

impl<'a> Entries<'a> {
    /// The data of the next entry, which is to be of this type.
    fn take(&mut self, item: &str, kind: u16) -> Result<&'a [u8], WorkError> {
        let wrong = |at: usize, reason: &str| invalid(self.path, item, format!("at byte {at}: {reason}"));
        let (head, rest) =
            self.rest.split_first_chunk::<HEAD>().ok_or_else(|| wrong(self.at, "the file ends"))?;
        let [low, high, length @ .., _, _] = *head;
        let (is, length) = (u16::from_le_bytes([low, high]), u32::from_le_bytes(length) as usize);
        if is != kind {
            return Err(wrong(self.at, &format!("an entry of type {is:#x}, not {kind:#x}")));
        }
        let (data, rest) =
            rest.split_at_checked(length).ok_or_else(|| wrong(self.at, "the file ends within"))?;
        (self.rest, self.at) = (rest, self.at + HEAD + length);
        Ok(data)
    }
}

fn unpack(path: &Path, item: &str, data: &[u8]) -> Result<Vec<u8>, WorkError> {
    let mut bytes = Vec::new();
    let snappy = snap::read::FrameDecoder::new(data).take(MAX_ITEM + 1).read_to_end(&mut bytes);
    snappy.map_err(|error| invalid(path, item, format!("truncated or corrupt snappy: {error}")))?;
    match bytes.len() as u64 > MAX_ITEM {
        true => Err(invalid(path, item, format!("more than {MAX_ITEM} bytes"))),
        false => Ok(bytes),
    }
}

/// A block of a header and a list of the rest.
fn join(header: &[u8], body: &[u8]) -> Result<Bytes, String> {
    let mut rest = body;
    let payload = alloy_rlp::Header::decode_bytes(&mut rest, true).map_err(|error| error.to_string())?;
    if !rest.is_empty() {
        return Err("bytes after its end".into());
    }
    let mut block = Vec::with_capacity(header.len() + body.len() + 9);
    alloy_rlp::Header { list: true, payload_length: header.len() + payload.len() }.encode(&mut block);
    block.extend_from_slice(header);
    block.extend_from_slice(payload);
    Ok(block.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use braid_testkit::Rng;
    use std::{fs, io::Write, path::PathBuf};

    fn entry(kind: u16, data: &[u8]) -> Vec<u8> {
        [&kind.to_le_bytes()[..], &(data.len() as u32).to_le_bytes(), &[0, 0], data].concat()
    }

    fn packed(data: &[u8]) -> Vec<u8> {
        let mut encoder = snap::write::FrameEncoder::new(Vec::new());
        encoder.write_all(data).unwrap();
        encoder.into_inner().unwrap()
    }

    /// A file of `count` blocks from `first` on, each with a header of its own.
    fn archive(first: u64, count: u64) -> Vec<u8> {
        let mut bytes = entry(VERSION, &[]);
        for number in first..first + count {
            bytes.extend(entry(HEADER, &packed(&alloy_rlp::encode(vec![number]))));
            bytes.extend(entry(BODY, &packed(&[0xc2, 0xc0, 0xc0])));
            bytes.extend(entry(RECEIPTS, &packed(&[0xc0])));
            bytes.extend(entry(TOTAL, &[0; 32]));
        }
        let offsets = vec![0; 8 * count as usize];
        let index = [&first.to_le_bytes()[..], &offsets, &count.to_le_bytes()].concat();
        bytes.extend(entry(INDEX, &index));
        bytes
    }

    struct File(PathBuf);

    impl File {
        fn new(name: &str, bytes: &[u8]) -> Self {
            let path = std::env::temp_dir().join(format!("braid-{}-{name}.era1", std::process::id()));
            fs::write(&path, bytes).unwrap();
            File(path)
        }
    }

    impl Drop for File {
        fn drop(&mut self) {
            drop(fs::remove_file(&self.0));
        }
    }

    #[test]
    fn blocks_are_header_and_rest() {
        let file = File::new("whole", &archive(7, 3));
        let (first, blocks) = read(&file.0).unwrap();
        assert_eq!((range(&file.0).unwrap(), first, blocks.len()), ((7, 3), 7, 3));
        // [[8], [], []]
        assert_eq!(blocks[1][..], [0xc4, 0xc1, 0x08, 0xc0, 0xc0]);
    }

    #[test]
    fn damage_is_told_with_its_place() {
        let whole = archive(1, 2);
        for len in 0..whole.len() {
            let file = File::new("cut", &whole[..len]);
            assert!(read(&file.0).is_err(), "cut after {len} bytes");
        }
        let mut rng = Rng::new(1);
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << rng.below(8);
            let file = File::new("bit", &bytes);
            if let Err(error) = read(&file.0) {
                assert!(error.to_string().contains(file.0.to_str().unwrap()), "byte {at}: {error}");
            }
        }
        let bomb = packed(&vec![0; MAX_ITEM as usize + 1]);
        let error = unpack(Path::new("x"), "header", &bomb).unwrap_err();
        assert!(error.to_string().contains("more than"), "{error}");
    }
}
