//! Files of vectors: a folder, a tar (`.tar`, `.tar.zst`), or one JSON file.
//!
//! Archives are streamed: one member at a time is in memory, nothing is written to disk.

use crate::VectorError;
use std::{
    cell::Cell,
    fs::{self, File},
    io::{self, Read},
    ops::ControlFlow,
    path::{Path, PathBuf},
    rc::Rc,
};

/// Most bytes of one file of vectors.
pub const MAX_MEMBER_BYTES: u64 = 64 << 20;

/// Most files of vectors in one archive or folder.
pub const MAX_MEMBERS: u64 = 1 << 20;

/// Most folders in one another.
const MAX_DEPTH: usize = 32;

/// Most bytes between two members: headers, long names.
const MAX_BETWEEN_BYTES: u64 = 1 << 20;

/// Largest window of the decoder, as a power of two.
const WINDOW_LOG_MAX: u32 = 27;

/// One file of vectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Path in the archive or folder; empty for a JSON file named itself.
    pub path: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// Name of a member in messages and results: that of the archive, and the path in it.
pub fn label(archive: &Path, member: &str) -> String {
    match member {
        "" => archive.display().to_string(),
        member => format!("{}/{member}", archive.display()),
    }
}

/// Calls `each` with every member of `archive` that `wanted` wants, in the order of the archive (folders:
/// sorted by path), until it breaks. Only files called `*.json` are members.
///
/// # Errors
/// What cannot be read, cannot be decompressed, is no tar, or is too large.
pub fn visit(
    archive: &Path,
    wanted: &mut dyn FnMut(&str) -> bool,
    each: &mut dyn FnMut(Member) -> ControlFlow<()>,
) -> Result<(), VectorError> {
    let meta = fs::metadata(archive).map_err(|error| VectorError::io(archive, &error))?;
    if meta.is_dir() {
        return folder(archive, wanted, each);
    }
    let open = || File::open(archive).map_err(|error| VectorError::io(archive, &error));
    let corrupt = |error: io::Error| VectorError::Archive {
        file: archive.display().to_string(),
        reason: error.to_string(),
    };
    match archive.to_string_lossy() {
        name if name.ends_with(".tar.zst") => {
            let mut decoder = zstd::Decoder::new(open()?).map_err(corrupt)?;
            decoder.window_log_max(WINDOW_LOG_MAX).map_err(corrupt)?;
            tar(archive, decoder, wanted, each)
        }
        name if name.ends_with(".tar") => tar(archive, io::BufReader::new(open()?), wanted, each),
        name if name.ends_with(".json") => {
            if wanted("") {
                let bytes = limited(&label(archive, ""), meta.len(), open()?)?;
                let _ = each(Member { path: String::new(), bytes });
            }
            Ok(())
        }
        _ => Err(VectorError::Io {
            file: archive.display().to_string(),
            reason: "is no folder, and its name does not end in .json, .tar or .tar.zst".to_owned(),
        }),
    }
}

/// Paths of all members of `archive`, in its order.
///
/// # Errors
/// As [`visit`].
pub fn list(archive: &Path) -> Result<Vec<String>, VectorError> {
    let mut paths = Vec::new();
    let mut note = |path: &str| {
        paths.push(path.to_owned());
        false
    };
    visit(archive, &mut note, &mut |_| ControlFlow::Continue(()))?;
    Ok(paths)
}

/// Reads no more than its budget, so that a tar cannot fill memory with what stands between members.
struct Budgeted<R> {
    inner: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Budgeted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.get();
        if left == 0 {
            return Err(io::Error::other("a member, or what stands before it, is too large"));
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.inner.read(&mut buffer[..most])?;
        self.left.set(left - read as u64);
        Ok(read)
    }
}

fn tar(
    archive: &Path,
    reader: impl Read,
    wanted: &mut dyn FnMut(&str) -> bool,
    each: &mut dyn FnMut(Member) -> ControlFlow<()>,
) -> Result<(), VectorError> {
    let corrupt = |member: &str, error: io::Error| VectorError::Archive {
        file: label(archive, member),
        reason: error.to_string(),
    };
    let left = Rc::new(Cell::new(0));
    let refill = || left.set(MAX_MEMBER_BYTES + MAX_BETWEEN_BYTES);
    refill();
    let mut tar = tar::Archive::new(Budgeted { inner: reader, left: left.clone() });
    let mut count = 0;
    for entry in tar.entries().map_err(|error| corrupt("", error))? {
        let mut entry = entry.map_err(|error| corrupt("", error))?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let path = path.strip_prefix("./").unwrap_or(&path).to_owned();
        let size = entry.size();
        let name = label(archive, &path);
        if size > MAX_MEMBER_BYTES {
            return Err(VectorError::TooLarge { file: name, what: "file", size, limit: MAX_MEMBER_BYTES });
        }
        if entry.header().entry_type().is_file() && path.ends_with(".json") {
            count = counted(archive, count)?;
            if wanted(&path) {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).map_err(|error| corrupt(&path, error))?;
                if bytes.len() as u64 != size {
                    let error = io::Error::other(format!("{} bytes of {size}", bytes.len()));
                    return Err(corrupt(&path, error));
                }
                if each(Member { path, bytes }).is_break() {
                    return Ok(());
                }
            }
        }
        refill();
    }
    Ok(())
}

/// One member more, if so many may be.
fn counted(archive: &Path, count: u64) -> Result<u64, VectorError> {
    let (size, limit) = (count + 1, MAX_MEMBERS);
    if size > limit {
        let file = archive.display().to_string();
        return Err(VectorError::TooLarge { file, what: "number of files", size, limit });
    }
    Ok(size)
}

fn folder(
    root: &Path,
    wanted: &mut dyn FnMut(&str) -> bool,
    each: &mut dyn FnMut(Member) -> ControlFlow<()>,
) -> Result<(), VectorError> {
    let mut files = Vec::new();
    walk(root, 0, &mut files)?;
    files.sort();
    for file in files {
        let path = file.strip_prefix(root).unwrap_or(&file).to_string_lossy().into_owned();
        if !wanted(&path) {
            continue;
        }
        let open = File::open(&file).map_err(|error| VectorError::io(&file, &error))?;
        let size = open.metadata().map_err(|error| VectorError::io(&file, &error))?.len();
        let bytes = limited(&label(root, &path), size, open)?;
        if each(Member { path, bytes }).is_break() {
            break;
        }
    }
    Ok(())
}

fn walk(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), VectorError> {
    let (size, limit) = (depth as u64, MAX_DEPTH as u64);
    if size > limit {
        let file = folder.display().to_string();
        return Err(VectorError::TooLarge { file, what: "depth of folders", size, limit });
    }
    for entry in fs::read_dir(folder).map_err(|error| VectorError::io(folder, &error))? {
        let path = entry.map_err(|error| VectorError::io(folder, &error))?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if hidden {
            continue;
        }
        if path.is_dir() {
            walk(&path, depth + 1, files)?;
        } else if path.extension().is_some_and(|extension| extension == "json") {
            counted(folder, files.len() as u64)?;
            files.push(path);
        }
    }
    Ok(())
}

/// Content of a file of `size` bytes, if so many may be. One that grows meanwhile is cut by the limit.
fn limited(name: &str, size: u64, source: impl Read) -> Result<Vec<u8>, VectorError> {
    let mut bytes = Vec::new();
    let read = source.take(MAX_MEMBER_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| VectorError::Io { file: name.to_owned(), reason: error.to_string() })?;
    let size = size.max(bytes.len() as u64);
    if size > MAX_MEMBER_BYTES {
        let file = name.to_owned();
        return Err(VectorError::TooLarge { file, what: "file", size, limit: MAX_MEMBER_BYTES });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("braid-vectors-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn tarball(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, bytes) in members {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, path, *bytes).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn all(path: &Path) -> Result<Vec<Member>, VectorError> {
        let mut members = Vec::new();
        visit(path, &mut |_| true, &mut |member| {
            members.push(member);
            ControlFlow::Continue(())
        })?;
        Ok(members)
    }

    #[test]
    fn folder_tar_and_zstd_hold_the_same() {
        let folder = scratch("same");
        let long = format!("deep/{}.json", "x".repeat(150));
        let members: [(&str, &[u8]); 3] = [("a.json", b"{}"), (&long, b"{\"a\":1}"), ("note.txt", b"no")];
        let tar = tarball(&members);
        fs::write(folder.join("one.tar"), &tar).unwrap();
        fs::write(folder.join("one.tar.zst"), zstd::encode_all(&tar[..], 3).unwrap()).unwrap();
        for (path, bytes) in members {
            let path = folder.join("plain").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let expected: Vec<Member> = members[..2]
            .iter()
            .map(|(path, bytes)| Member { path: (*path).to_owned(), bytes: bytes.to_vec() })
            .collect();
        for form in ["one.tar", "one.tar.zst", "plain"] {
            assert_eq!(all(&folder.join(form)).unwrap(), expected, "{form}");
            assert_eq!(list(&folder.join(form)).unwrap(), ["a.json", long.as_str()], "{form}");
        }
        let single = all(&folder.join("plain/a.json")).unwrap();
        assert_eq!((single[0].path.as_str(), single.len()), ("", 1));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_is_broken_is_named() {
        let folder = scratch("broken");
        let body = vec![b' '; 4000];
        let tar = tarball(&[("a.json", &body), ("b.json", &body)]);
        let zstd = zstd::encode_all(&tar[..], 3).unwrap();
        let mut damaged = tar.clone();
        damaged[512 + 4096 + 3] ^= 1; // In the second header, whose checksum no longer holds.
        for (name, bytes, expected) in [
            ("cut.tar", &tar[..5000], "cut.tar"),
            ("cut.tar.zst", &zstd[..zstd.len() / 2], "cut.tar.zst"),
            ("bad.tar", &damaged[..], "bad.tar"),
            ("no.tar.zst", b"no zstd at all".as_slice(), "no.tar.zst"),
        ] {
            let path = folder.join(name);
            fs::write(&path, bytes).unwrap();
            let error = all(&path).unwrap_err();
            assert!(
                matches!(&error, VectorError::Archive { file, .. } if file.contains(expected)),
                "{error}"
            );
        }
        assert!(matches!(all(&folder.join("absent")), Err(VectorError::Io { .. })));
        fs::write(folder.join("what.bin"), b"").unwrap();
        assert!(matches!(all(&folder.join("what.bin")), Err(VectorError::Io { .. })));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_member_that_claims_too_much_is_refused() {
        let folder = scratch("large");
        let mut header = tar::Header::new_gnu();
        header.set_path("huge.json").unwrap();
        header.set_size(MAX_MEMBER_BYTES + 1);
        header.set_cksum();
        let path = folder.join("huge.tar");
        fs::write(&path, header.as_bytes()).unwrap();
        assert!(matches!(all(&path), Err(VectorError::TooLarge { size, .. }) if size > MAX_MEMBER_BYTES));
        // A name that never ends.
        header.set_entry_type(tar::EntryType::GNULongName);
        header.set_size(u64::from(u32::MAX));
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.resize(bytes.len() + (MAX_MEMBER_BYTES + 2 * MAX_BETWEEN_BYTES) as usize, b'x');
        fs::write(&path, zstd::encode_all(&bytes[..], 1).unwrap()).unwrap();
        let zst = folder.join("name.tar.zst");
        fs::rename(&path, &zst).unwrap();
        assert!(matches!(all(&zst), Err(VectorError::Archive { .. })));
        fs::remove_dir_all(folder).unwrap();
    }
}
