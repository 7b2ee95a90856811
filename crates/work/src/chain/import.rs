//! Chains that are too long to be had at once: where they begin, and their blocks in parts.

use super::{Genesis, era1, rlp_blocks};
use crate::WorkError;
use alloy_consensus::Header;
use alloy_primitives::Bytes;
use alloy_rlp::Decodable;
use std::path::{Path, PathBuf};

/// Names of genesis files, as they stand beside blocks.
const GENESIS: [&str; 4] =
    ["genesis.json", "genesis.json.zst", "mainnet_genesis_alloc.json", "mainnet_genesis_alloc.json.zst"];

/// Most archives of one chain.
const MAX_FILES: usize = 100_000;

/// A chain to be imported: its genesis, and its blocks in their consensus encoding, which are read part by part.
#[derive(Clone, Debug)]
pub struct Import {
    /// Text that names it.
    pub name: String,
    /// Where it begins.
    pub genesis: Genesis,
    /// By number of the first block, without gaps.
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
struct Part {
    first: u64,
    count: u64,
    blocks: Blocks,
}

#[derive(Clone, Debug)]
enum Blocks {
    Era1(PathBuf),
    Here(Vec<Bytes>),
}

impl Import {
    /// Blocks that are in memory, the first of which follows the genesis block.
    pub fn of_blocks(name: String, genesis: Genesis, blocks: Vec<Bytes>) -> Self {
        let part = Part { first: 1, count: blocks.len() as u64, blocks: Blocks::Here(blocks) };
        Import { name, genesis, parts: vec![part] }
    }

    /// The chain at `path`: an era1 file, a folder of them, a file of blocks in their consensus encoding, or a
    /// folder with such a `chain.rlp`. The genesis file is `genesis`, or else one that stands beside the blocks
    /// (`genesis.json`, `mainnet_genesis_alloc.json`, perhaps `.zst`). Archives are not read yet.
    ///
    /// # Errors
    /// [`WorkError`], which names the file and the item; blocks that are missing between two archives are one.
    pub fn open(path: &Path, genesis: Option<&Path>) -> Result<Self, WorkError> {
        let metadata = std::fs::metadata(path);
        let metadata = metadata.map_err(|error| io(path, &error))?;
        let folder = if metadata.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
        let beside = || GENESIS.iter().map(|name| folder.join(name)).find(|file| file.exists());
        let no_genesis = || WorkError::Io {
            file: folder.join(GENESIS[0]),
            reason: "no genesis file beside the blocks, and none was named".into(),
        };
        let genesis = genesis.map(Path::to_owned).or_else(beside).ok_or_else(no_genesis)?;
        let parts = match metadata.is_dir() {
            false if is_era1(path) => archives(vec![path.to_owned()])?,
            false => blocks(path)?,
            true if folder.join("chain.rlp").exists() => blocks(&folder.join("chain.rlp"))?,
            true => archives(era1_files(folder)?)?,
        };
        Ok(Import { name: path.display().to_string(), genesis: Genesis::read(&genesis)?, parts })
    }

    /// Looks whether the first block follows the genesis block, or is it. What is no block at all is said by who
    /// decodes it.
    ///
    /// # Errors
    /// [`WorkError::Invalid`] if it follows another one; what reading it says.
    pub fn follows_genesis(&self) -> Result<(), WorkError> {
        let Some(first) = self.first() else { return Ok(()) };
        let Some(header) = self.header(first)? else { return Ok(()) };
        let genesis = self.genesis.header.hash_slow();
        let reason = match header.number {
            0 if header.hash_slow() == genesis => return Ok(()),
            0 => format!("is {}, the genesis file makes {genesis}", header.hash_slow()),
            1 if header.parent_hash == genesis => return Ok(()),
            1 => format!("follows {}, the genesis file makes {genesis}", header.parent_hash),
            // Whether there is what it follows says the folder.
            _ => return Ok(()),
        };
        Err(WorkError::invalid(Path::new(&self.name), format!("block {}", header.number), reason))
    }

    /// The header of the block with a number, if it has one and that can be decoded.
    ///
    /// # Errors
    /// What reading the blocks says.
    pub fn header(&self, number: u64) -> Result<Option<Header>, WorkError> {
        let has = |part: &&Part| (part.first..part.first + part.count).contains(&number);
        match self.parts.iter().find(has) {
            Some(Part { first, blocks, .. }) => {
                let at = (number - first) as usize;
                Ok(match blocks {
                    Blocks::Here(blocks) => blocks.get(at).and_then(|block| header_of(block)),
                    Blocks::Era1(path) => era1::read(path)?.1.get(at).and_then(|block| header_of(block)),
                })
            }
            None => Ok(None),
        }
    }

    /// Number of the first block that it has, if it has any.
    pub fn first(&self) -> Option<u64> {
        self.parts.first().filter(|part| part.count > 0).map(|part| part.first)
    }

    /// Number of the last block that it has, that of the genesis block if there is no other.
    pub fn last(&self) -> u64 {
        self.parts.last().map_or(0, |part| (part.first + part.count).saturating_sub(1))
    }

    /// Blocks from number `from` on, part by part: number of the part's first block, and its blocks.
    pub fn parts_from(&self, from: u64) -> impl Iterator<Item = Result<(u64, Vec<Bytes>), WorkError>> + '_ {
        let parts = self.parts.iter().filter(move |part| part.first + part.count > from);
        parts.map(move |part| {
            let (first, mut blocks) = match &part.blocks {
                Blocks::Here(blocks) => (part.first, blocks.clone()),
                Blocks::Era1(path) => era1::read(path)?,
            };
            let known = from.saturating_sub(first).min(blocks.len() as u64);
            blocks.drain(..known as usize);
            Ok((first + known, blocks))
        })
    }
}

fn io(path: &Path, error: &std::io::Error) -> WorkError {
    WorkError::Io { file: path.into(), reason: error.to_string() }
}

fn is_era1(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "era1")
}

/// The header of a block in its consensus encoding.
fn header_of(block: &[u8]) -> Option<Header> {
    let mut fields = alloy_rlp::Header::decode_bytes(&mut &*block, true).ok()?;
    Header::decode(&mut fields).ok()
}

fn blocks(file: &Path) -> Result<Vec<Part>, WorkError> {
    let blocks = rlp_blocks(file)?;
    let Some(block) = blocks.first() else {
        return Err(WorkError::invalid(file, "first block", "there is none"));
    };
    // One without a number is met again, and told, when it is decoded.
    let first = header_of(block).map_or(1, |header| header.number);
    let count = blocks.len() as u64;
    first
        .checked_add(count)
        .ok_or_else(|| WorkError::invalid(file, "first block", format!("number {first}")))?;
    Ok(vec![Part { first, count, blocks: Blocks::Here(blocks) }])
}

fn era1_files(folder: &Path) -> Result<Vec<PathBuf>, WorkError> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| io(folder, &error))? {
        let path = entry.map_err(|error| io(folder, &error))?.path();
        if is_era1(&path) {
            files.push(path);
        }
        if files.len() > MAX_FILES {
            let (size, limit) = (files.len() as u64, MAX_FILES as u64);
            return Err(WorkError::TooLarge { file: folder.into(), what: "number of archives", size, limit });
        }
    }
    match files.is_empty() {
        true => Err(WorkError::NotAnInput { file: folder.into() }),
        false => Ok(files),
    }
}

fn archives(files: Vec<PathBuf>) -> Result<Vec<Part>, WorkError> {
    let part = |file: PathBuf| {
        let (first, count) = era1::range(&file)?;
        Ok(Part { first, count, blocks: Blocks::Era1(file) })
    };
    let mut parts = files.into_iter().map(part).collect::<Result<Vec<Part>, WorkError>>()?;
    parts.sort_unstable_by_key(|part| part.first);
    for pair in parts.windows(2) {
        let (next, first) = (pair[0].first + pair[0].count, pair[1].first);
        if let (true, Blocks::Era1(file)) = (next != first, &pair[1].blocks) {
            let reason = format!("begins with block {first}; the archive before it ends with {}", next - 1);
            return Err(WorkError::invalid(file, "first block", reason));
        }
    }
    Ok(parts)
}
