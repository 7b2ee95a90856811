//! Where the outputs go: all of them, or none.

use crate::{T8nError, Transition};
use alloy_primitives::hex;
use serde::Serialize;
use serde_json::{Serializer, ser::PrettyFormatter};
use std::{
    fs,
    path::{Path, PathBuf},
    str::FromStr,
};

/// Where one output goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Nowhere.
    Nowhere,
    /// Into the object on the standard output.
    Stdout,
    /// Into the object on the standard error output.
    Stderr,
    /// Into a file, relative to the base folder.
    File(PathBuf),
}

impl FromStr for Destination {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "" => Destination::Nowhere,
            "stdout" => Destination::Stdout,
            "stderr" => Destination::Stderr,
            file => Destination::File(file.into()),
        })
    }
}

/// Where the outputs go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outputs {
    /// Folder of the files; made if it is not there. Empty: the present one.
    pub basedir: PathBuf,
    /// The state after.
    pub alloc: Destination,
    /// The result document.
    pub result: Destination,
    /// The transactions.
    pub body: Destination,
    /// How often each instruction ran: the name of a file; empty for none.
    pub opcodes: String,
}

/// What goes to the standard streams; empty if nothing does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Streams {
    /// For the standard output.
    pub stdout: String,
    /// For the standard error output.
    pub stderr: String,
}

impl Outputs {
    /// Makes the base folder.
    ///
    /// # Errors
    /// [`T8nError::Io`].
    pub fn prepare(&self) -> Result<(), T8nError> {
        if self.basedir.as_os_str().is_empty() {
            return Ok(());
        }
        fs::create_dir_all(&self.basedir).map_err(|error| T8nError::io(&self.basedir, &error))
    }

    /// Writes the files, and gives back what goes to the standard streams, together with the names of
    /// the files. Files get their names when all of them are written, so none is ever there in part.
    ///
    /// # Errors
    /// [`T8nError::Io`].
    pub fn write(&self, mut done: Transition) -> Result<(Streams, Vec<PathBuf>), T8nError> {
        let body = hex::encode_prefixed(&done.body);
        let (mut files, mut stdout, mut stderr) = (Vec::new(), Vec::new(), Vec::new());
        // In the order of their names, as go-ethereum lists them in the objects.
        for (name, destination, document) in [
            ("alloc", &self.alloc, Document::Alloc(&done.alloc)),
            ("body", &self.body, Document::Body(&body)),
            ("result", &self.result, Document::Result(&done.result)),
        ] {
            match destination {
                Destination::Nowhere => {}
                Destination::Stdout => stdout.push((name, document)),
                Destination::Stderr => stderr.push((name, document)),
                Destination::File(file) => {
                    files.push((self.basedir.join(file), pretty(&document, b" ").into_bytes()));
                }
            }
        }
        if let Some(counts) = done.opcodes.as_ref().filter(|_| !self.opcodes.is_empty()) {
            files.push((self.basedir.join(&self.opcodes), pretty(counts, b" ").into_bytes()));
        }
        let traces = std::mem::take(&mut done.traces).into_iter();
        files.extend(traces.map(|(name, trace)| (self.basedir.join(name), trace)));
        write_all(&files)?;
        let streams = Streams { stdout: object(&stdout), stderr: object(&stderr) };
        Ok((streams, files.into_iter().map(|(path, _)| path).collect()))
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Document<'a> {
    Alloc(&'a braid_work::Alloc),
    Body(&'a str),
    Result(&'a crate::ResultDocument),
}

fn object(members: &[(&str, Document<'_>)]) -> String {
    if members.is_empty() {
        return String::new();
    }
    let object: std::collections::BTreeMap<_, _> = members.iter().map(|(name, one)| (*name, one)).collect();
    pretty(&object, b"  ") + "\n"
}

fn pretty(document: &impl Serialize, indent: &[u8]) -> String {
    let mut text = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(indent));
    match document.serialize(&mut serializer) {
        Ok(()) => String::from_utf8_lossy(&text).into_owned(),
        // The documents have string keys and no failing serializers.
        Err(error) => unreachable!("a document that cannot be written: {error}"),
    }
}

/// Writes all files under names of their own first, so that none is there half, and none alone.
pub(crate) fn write_all(files: &[(PathBuf, Vec<u8>)]) -> Result<(), T8nError> {
    let drafts: Vec<PathBuf> = files.iter().map(|(path, _)| draft_of(path)).collect();
    let written = drafts.iter().zip(files).try_for_each(|(draft, (path, bytes))| {
        fs::write(draft, bytes).map_err(|error| T8nError::io(path, &error))
    });
    let placed = written.and_then(|()| {
        drafts.iter().zip(files).try_for_each(|(draft, (path, _))| {
            fs::rename(draft, path).map_err(|error| T8nError::io(path, &error))
        })
    });
    if placed.is_err() {
        for draft in &drafts {
            // One that was not written cannot be removed, and needs not.
            let _ = fs::remove_file(draft);
        }
    }
    placed
}

fn draft_of(path: &Path) -> PathBuf {
    let name = path.file_name().map_or_else(Default::default, |name| name.to_string_lossy().into_owned());
    path.with_file_name(format!(".{name}.{}.part", std::process::id()))
}
