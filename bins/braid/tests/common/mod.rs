//! What the tests of the program share: a folder to run it in, and its output.
#![allow(dead_code, unreachable_pub, reason = "shared by test files, each of which uses its part")]

use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// A folder of a test's own, in which the program runs.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("braid-cli-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn braid(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_braid"));
        command.current_dir(&self.0).env("XDG_CACHE_HOME", self.0.join("cache")).args(arguments);
        command.output().unwrap()
    }

    pub fn write(&self, name: &str, content: &[u8]) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

pub fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{output:?}"))
}

pub fn out(output: &Output) -> &str {
    str::from_utf8(&output.stdout).unwrap()
}

pub fn err(output: &Output) -> &str {
    str::from_utf8(&output.stderr).unwrap()
}

pub fn json(output: &Output) -> Value {
    serde_json::from_str(out(output)).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// Whether what takes long is run as well.
pub fn long() -> bool {
    std::env::var_os("BRAID_LONG").is_some_and(|long| long == "1")
}

/// Unpacks members of an archive whose names end so.
pub fn unpack(archive: &Path, into: &Path, wanted: &[&str]) -> Vec<PathBuf> {
    let mut decoder = zstd::Decoder::new(fs::File::open(archive).unwrap()).unwrap();
    decoder.window_log_max(27).unwrap();
    let mut found = Vec::new();
    for entry in tar::Archive::new(decoder).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_string_lossy().into_owned();
        if wanted.iter().any(|end| name.ends_with(end)) {
            let to = into.join(Path::new(&name).file_name().unwrap());
            entry.unpack(&to).unwrap();
            found.push(to);
        }
    }
    found
}
