//! The shape of the workspace, kept by a test: who may depend on whom, how small the waist is, where
//! `unsafe` may stand, how long files and functions may be.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Crate, and the workspace crates it may use. Dev-dependencies may add `braid-testkit` and
/// `braid-sched` (a VM is tested under real schedulers), nothing else.
const LAYERS: &[(&str, &[&str])] = &[
    ("braid-core", &[]),
    ("braid-keccak", &[]),
    ("braid-testkit", &["braid-core"]),
    ("braid-sched", &["braid-core"]),
    ("braid-store", &["braid-core", "braid-keccak"]),
    ("braid-report", &["braid-core"]),
    ("braid-evm", &["braid-core"]),
    ("braid-actors", &["braid-core", "braid-evm", "braid-sched"]),
    ("braid-rules", &["braid-core", "braid-evm", "braid-keccak"]),
    ("braid-work", &["braid-core", "braid-store", "braid-evm", "braid-rules"]),
    ("braid-db", &["braid-core", "braid-keccak", "braid-store", "braid-evm", "braid-rules", "braid-work"]),
    (
        "braid-profiles",
        &[
            "braid-core",
            "braid-actors",
            "braid-sched",
            "braid-store",
            "braid-report",
            "braid-evm",
            "braid-rules",
            "braid-work",
        ],
    ),
    (
        "braid-vectors",
        &["braid-core", "braid-store", "braid-evm", "braid-rules", "braid-work", "braid-profiles"],
    ),
    (
        "braid-t8n",
        &[
            "braid-core",
            "braid-sched",
            "braid-store",
            "braid-evm",
            "braid-rules",
            "braid-work",
            "braid-profiles",
        ],
    ),
    (
        "braid-fetch",
        &[
            "braid-core",
            "braid-sched",
            "braid-store",
            "braid-evm",
            "braid-rules",
            "braid-work",
            "braid-profiles",
        ],
    ),
    (
        "braid-alloy",
        &[
            "braid-core",
            "braid-sched",
            "braid-store",
            "braid-evm",
            "braid-rules",
            "braid-work",
            "braid-profiles",
        ],
    ),
    (
        "braid-fuzz",
        &[
            "braid-core",
            "braid-db",
            "braid-testkit",
            "braid-sched",
            "braid-store",
            "braid-evm",
            "braid-rules",
            "braid-work",
            "braid-profiles",
            "braid-vectors",
            "braid-t8n",
            "braid-fetch",
        ],
    ),
    (
        "braid",
        &[
            "braid-core",
            "braid-keccak",
            "braid-sched",
            "braid-store",
            "braid-report",
            "braid-evm",
            "braid-rules",
            "braid-work",
            "braid-db",
            "braid-profiles",
            "braid-vectors",
            "braid-t8n",
            "braid-fetch",
        ],
    ),
];

/// Trait, where it is declared, its methods, its associated types. More of either needs a reason.
const WAIST: &[(&str, &str, usize, usize)] = &[
    ("Value", "state.rs", 3, 2),
    // Of these, `overlap`, `poll` and `wait` are for states that answer later, all with defaults.
    ("State", "state.rs", 2, 1),
    ("Reader", "state.rs", 5, 0),
    ("View", "view.rs", 5, 0),
    ("Vm", "vm.rs", 4, 6),
    // An extension that only `Bound` asks for.
    ("Binding", "bind.rs", 2, 0),
    ("Sink", "schedule.rs", 2, 0),
    ("Scheduler", "schedule.rs", 2, 0),
    ("Probe", "probe.rs", 1, 0),
    // What a list of versions has to answer, and who runs a block by it. Two of the twelve check a write where
    // it is found, so that the value after it need not be made: two percent of a block of short transactions.
    ("Versions", "replay.rs", 12, 0),
    ("Replay", "replay.rs", 1, 0),
];

/// Files that may contain `unsafe`. Each use argues its case where it stands (clippy sees to that).
const UNSAFE: &[&str] = &[
    "crates/sched/src/lanes.rs",
    "crates/evm/src/interp/cursor.rs",
    "crates/keccak/src/x86.rs",
    "crates/sched/src/pool.rs",
    "crates/sched/src/sync.rs",
    "crates/store/src/io/uring.rs",
    "bins/braid/src/memory.rs",
];

const FILE_LINES_MAX: usize = 700;
const FUNCTION_LINES_MAX: usize = 90;
const LEAN_LINES_MAX: usize = 150;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn sources() -> BTreeMap<String, String> {
    fn walk(dir: &Path, root: &Path, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() && !entry.ends_with("target") && !entry.ends_with("node_modules") {
                walk(&entry, root, found);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                let name = entry.strip_prefix(root).unwrap().to_string_lossy().into_owned();
                found.insert(name, fs::read_to_string(&entry).unwrap());
            }
        }
    }
    let (root, mut found) = (root(), BTreeMap::new());
    for top in ["crates", "bins"] {
        walk(&root.join(top), &root, &mut found);
    }
    assert!(found.len() > 20, "only {} sources found under {}", found.len(), root.display());
    found
}

/// Names of the workspace crates that one section of a manifest uses.
fn uses(manifest: &str, section: &str) -> Vec<String> {
    let body = manifest.split(&format!("[{section}]")).nth(1).unwrap_or("");
    let lines = body.lines().take_while(|line| !line.starts_with('['));
    let names = lines.filter_map(|line| line.split(['.', ' ', '=']).next());
    names.filter(|name| name.starts_with("braid")).map(str::to_owned).collect()
}

#[test]
fn layers_hold() {
    let mut seen = 0;
    for top in ["crates", "bins"] {
        for entry in fs::read_dir(root().join(top)).unwrap().map(|entry| entry.unwrap().path()) {
            let Ok(manifest) = fs::read_to_string(entry.join("Cargo.toml")) else { continue };
            let name = manifest.split("name = \"").nth(1).unwrap().split('"').next().unwrap();
            let layer = LAYERS.iter().find(|(layer, _)| *layer == name);
            let (_, allowed) = layer.unwrap_or_else(|| panic!("{name} has no place in LAYERS"));
            for used in uses(&manifest, "dependencies") {
                assert!(allowed.contains(&used.as_str()), "{name} may not depend on {used}");
            }
            for used in uses(&manifest, "dev-dependencies") {
                let test_only = ["braid-testkit", "braid-sched"].contains(&used.as_str());
                assert!(test_only || allowed.contains(&used.as_str()), "{name} may not test with {used}");
            }
            seen += 1;
        }
    }
    assert_eq!(seen, LAYERS.len(), "every crate in LAYERS exists");
}

#[test]
fn the_waist_is_narrow() {
    for (name, file, methods, types) in WAIST {
        let source = fs::read_to_string(root().join("crates/core/src").join(file)).unwrap();
        let start = source.find(&format!("pub trait {name}")).unwrap_or_else(|| panic!("no trait {name}"));
        let body = source[start..].split("\n}").next().unwrap();
        let count = |what: &str| body.lines().filter(|line| line.starts_with(what)).count();
        assert_eq!(count("    fn "), *methods, "methods of {name}: a wider waist needs a written reason");
        assert_eq!(count("    type "), *types, "types of {name}: a wider waist needs a written reason");
    }
}

/// The yardstick is short enough to be read in one go, and has nothing of Braid in it but decoded inputs.
#[test]
fn lean_stands_alone() {
    let source = |file| fs::read_to_string(root().join("crates/profiles/src").join(file)).unwrap();
    let lines = source("lean.rs").lines().count();
    assert!(lines <= LEAN_LINES_MAX, "lean has {lines} lines");
    let inputs =
        ["use braid_evm::BlockInput;", "use braid_work::{DbError, PreState};", "use braid_work::DbError;"];
    for file in ["lean.rs", "lean/error.rs", "lean/forks.rs"] {
        let source = source(file);
        let mut ours = source.lines().filter(|line| line.contains("braid_") || line.contains("crate::"));
        assert!(ours.all(|line| inputs.contains(&line)), "{file} uses more of Braid than decoded inputs");
    }
}

#[test]
fn unsafe_stays_where_it_may() {
    for (name, source) in sources() {
        let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
        let uses = code.filter(|line| line.contains("unsafe ") && !line.contains("forbid(unsafe")).count();
        assert!(
            uses == 0 || UNSAFE.contains(&name.as_str()) || name.ends_with("tidy.rs"),
            "{name} uses unsafe {uses} times"
        );
    }
}

#[test]
fn files_and_functions_fit_a_reader() {
    let mut long = Vec::new();
    for (name, source) in sources() {
        let lines = source.lines().count();
        if lines > FILE_LINES_MAX {
            long.push(format!("{name}: {lines} lines"));
        }
        long.extend(long_functions(&name, &source));
    }
    assert!(long.is_empty(), "split where a reader would look for the seam:\n{}", long.join("\n"));
}

fn is_end_of_declaration(line: &str) -> bool {
    line.starts_with(')') && line.ends_with(';')
}

/// Functions longer than the limit, found by indentation (the sources are formatted).
fn long_functions(name: &str, source: &str) -> Vec<String> {
    let (mut long, mut open): (_, Option<(usize, usize, String)>) = (Vec::new(), None);
    for (number, line) in source.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        match &open {
            Some((start, depth, head)) if indent == *depth && line.trim_start() == "}" => {
                if number - start + 1 > FUNCTION_LINES_MAX {
                    long.push(format!("{name}:{}: {} lines: {head}", start + 1, number - start + 1));
                }
                open = None;
            }
            // A declaration in a trait, over several lines.
            Some((_, depth, _)) if indent == *depth && is_end_of_declaration(line.trim()) => open = None,
            None if line.trim_start().starts_with("fn ") || line.contains(" fn ") => {
                let ends = line.trim_end().ends_with('}') || line.trim_end().ends_with(';');
                if !ends && !line.trim_start().starts_with("//") {
                    open = Some((number, indent, line.trim().to_owned()));
                }
            }
            _ => {}
        }
    }
    long
}
