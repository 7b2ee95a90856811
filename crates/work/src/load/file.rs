//! Files: size limits, decompression, JSON with the path of what is wrong.

use crate::{WorkError, shortened};
use serde::de::DeserializeOwned;
use std::{fs::File, io::Read, path::Path};

/// Most bytes that one file may hold after decompression.
pub(crate) const MAX_FILE_BYTES: u64 = 1 << 30;

/// Largest window the decoder allocates, as a power of two: what the data's encoder used.
const WINDOW_LOG_MAX: u32 = 27;

/// Content of `path`, decompressed if its name ends in `.zst`.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, WorkError> {
    let io = |error: std::io::Error| WorkError::Io { file: path.into(), reason: error.to_string() };
    let file = File::open(path).map_err(io)?;
    if path.extension().is_none_or(|extension| extension != "zst") {
        return read_limited(path, file, io);
    }
    let zstd = |error: std::io::Error| WorkError::Zstd { file: path.into(), reason: error.to_string() };
    let mut decoder = zstd::Decoder::new(file).map_err(zstd)?;
    decoder.window_log_max(WINDOW_LOG_MAX).map_err(zstd)?;
    read_limited(path, decoder, zstd)
}

fn read_limited(
    path: &Path,
    source: impl Read,
    error: impl FnOnce(std::io::Error) -> WorkError,
) -> Result<Vec<u8>, WorkError> {
    let mut bytes = Vec::new();
    source.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(error)?;
    let size = bytes.len() as u64;
    if size > MAX_FILE_BYTES {
        return Err(WorkError::TooLarge { file: path.into(), what: "file", size, limit: MAX_FILE_BYTES });
    }
    Ok(bytes)
}

/// Parses `bytes`, the content of `path`. Nesting is limited by the parser (128 levels).
pub(crate) fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, WorkError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| WorkError::Json {
        file: path.into(),
        at: shortened(&error.path().to_string()),
        reason: shortened(&error.inner().to_string()),
    })?;
    json.end().map_err(|error| WorkError::Json {
        file: path.into(),
        at: ".".into(),
        reason: error.to_string(),
    })?;
    Ok(value)
}

/// Reads and parses `path`.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, WorkError> {
    parse(path, &read(path)?)
}

/// Reads and parses `path`, if it is there.
pub(crate) fn read_json_if_there<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, WorkError> {
    if path.exists() { read_json(path).map(Some) } else { Ok(None) }
}
