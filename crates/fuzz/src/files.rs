//! Files of cases: the fuzzed one among others that are right. What loads is executed on every engine, if
//! it is small, and held against what the case expects.

use crate::agree::agree;
use braid_work::{Case, PreState, WorkError, load, verify, verify_input};
use std::{
    cell::OnceCell,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Name and content of a file of the tiny cases that the loaders' own tests use.
type File = (&'static str, &'static [u8]);

const CASE: [File; 4] = [
    ("block.json", include_bytes!("../../work/tests/fixtures/50000/block.json")),
    ("pre_state.json", include_bytes!("../../work/tests/fixtures/50000/pre_state.json")),
    ("post_state.json", include_bytes!("../../work/tests/fixtures/50000/post_state.json")),
    ("meta.json", include_bytes!("../../work/tests/fixtures/50000/meta.json")),
];

const ENVIRONMENT: [File; 3] = [
    ("block.json", include_bytes!("../../work/tests/fixtures/environment/block.json")),
    ("txs.json", include_bytes!("../../work/tests/fixtures/environment/txs.json")),
    ("pre_state.json", include_bytes!("../../work/tests/fixtures/environment/pre_state.json")),
];

/// Files of a case that are not compressed.
const PLAIN: [&str; 2] = ["meta.json", "block_hashes.json"];

/// Most gas of a transaction, and most transactions, of a case that is executed.
const MAX_GAS: u64 = 2_000_000;
const MAX_TXS: usize = 20;

/// A folder of this thread, removed when the thread ends.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A fresh folder, for as long as `body` runs.
pub(crate) fn in_folder(body: impl FnOnce(&Path)) {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static FOLDER: OnceCell<Folder> = const { OnceCell::new() };
    }
    FOLDER.with(|folder| {
        let folder = folder.get_or_init(|| {
            // Relaxed: only uniqueness within the process matters.
            let n = NEXT.fetch_add(1, Ordering::Relaxed);
            Folder(std::env::temp_dir().join(format!("braid-fuzz-{}-{n}", std::process::id())))
        });
        let _ = fs::remove_dir_all(&folder.0);
        fs::create_dir_all(&folder.0).unwrap_or_else(|error| panic!("{}: {error}", folder.0.display()));
        body(&folder.0);
    });
}

pub(crate) fn write(path: &Path, data: &[u8]) {
    fs::write(path, data).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Loads all that is at `path`; errors are fine.
fn load_all(path: &Path) {
    let Ok(sources) = load(path) else { return };
    for source in sources {
        match source.load() {
            Ok(case) => use_case(case),
            // Whoever reads it has to find what is wrong.
            Err(error) => assert!(told(&error), "no file in {error:?}"),
        }
    }
}

fn told(error: &WorkError) -> bool {
    !matches!(error, WorkError::Workload { .. }) && !error.to_string().is_empty()
}

fn use_case(mut case: Case) {
    let _ = verify_input(&case).to_string();
    let pre = case.pre.clone().unwrap_or_else(|| Arc::new(PreState::default()));
    // Plain revm runs rules that are newer than this machine.
    let known = !case.input.spec.is_enabled_in(revm::primitives::hardfork::SpecId::AMSTERDAM);
    let small = case.input.txs.len() <= MAX_TXS && case.input.txs.iter().all(|tx| tx.gas_limit <= MAX_GAS);
    if known && small {
        let count = case.input.txs.len();
        let done = agree(&mut case.input, &pre, 1);
        // A block of which transactions were taken out is not the one that was expected.
        if let Some(done) = done.ok().filter(|_| case.input.txs.len() == count) {
            let _ = verify(&case, &done).to_string();
        }
    }
}

/// The files of `rest`, and `data` as `name`.
fn folder(rest: &[File], name: &str, data: &[u8]) {
    in_folder(|folder| {
        let others = rest.iter().filter(|(other, _)| *other != name).copied();
        for (name, data) in others.chain([(name, data)]) {
            if PLAIN.contains(&name) {
                write(&folder.join(name), data);
            } else {
                let packed = zstd::encode_all(data, 1).unwrap_or_else(|error| panic!("compression: {error}"));
                write(&folder.join(format!("{name}.zst")), &packed);
            }
        }
        load_all(folder);
    });
}

/// One block, or a chain of them.
pub(crate) fn block_file(data: &[u8]) {
    in_folder(|folder| {
        let path = folder.join("1.json");
        write(&path, data);
        load_all(&path);
    });
}

/// The same, compressed.
pub(crate) fn zst_file(data: &[u8]) {
    in_folder(|folder| {
        let path = folder.join("1.json.zst");
        write(&path, data);
        load_all(&path);
    });
}

pub(crate) fn case_block(data: &[u8]) {
    folder(&CASE, "block.json", data);
}

pub(crate) fn case_meta(data: &[u8]) {
    folder(&CASE, "meta.json", data);
}

pub(crate) fn case_hashes(data: &[u8]) {
    folder(&CASE, "block_hashes.json", data);
}

pub(crate) fn case_pre_state(data: &[u8]) {
    folder(&CASE, "pre_state.json", data);
}

pub(crate) fn case_post_state(data: &[u8]) {
    folder(&CASE, "post_state.json", data);
}

pub(crate) fn case_new_codes(data: &[u8]) {
    folder(&CASE, "new_codes.json", data);
}

pub(crate) fn case_witness(data: &[u8]) {
    folder(&CASE, "witness.json", data);
}

pub(crate) fn env_block(data: &[u8]) {
    folder(&ENVIRONMENT, "block.json", data);
}

pub(crate) fn env_txs(data: &[u8]) {
    folder(&ENVIRONMENT, "txs.json", data);
}

pub(crate) fn env_pre_state(data: &[u8]) {
    folder(&ENVIRONMENT, "pre_state.json", data);
}
