//! Every file of the committed corpus through its target, and seeded mutations of each. `BRAID_FUZZ=N` makes
//! N of each file; a failure says how it is repeated, and leaves the input behind.

use braid_fuzz::{TARGETS, Target, mutate, target_named};
use std::{
    collections::BTreeSet,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Longest input that a mutation makes.
const MAX_INPUT: usize = 16 << 10;

/// Largest file of the corpus, and all of them together.
const MAX_FILE: u64 = 16 << 10;
const MAX_CORPUS: u64 = 1 << 20;

/// An input takes milliseconds; one that takes this long counts as one without end.
const STALL: Duration = Duration::from_secs(60);

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// Name and content of a target's files, in order.
fn files(target: &Target) -> Vec<(String, Vec<u8>)> {
    let folder = corpus().join(target.name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries
        .map(|entry| {
            let entry = entry.expect("an entry of the corpus");
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, fs::read(entry.path()).expect("a file of the corpus"))
        })
        .collect();
    files.sort();
    files
}

/// What is being tried, and since when; for the thread that looks whether it ends.
#[derive(Clone, Default)]
struct Watch(Arc<Mutex<Option<(Instant, String)>>>);

impl Watch {
    fn start() -> Self {
        let watch = Watch::default();
        let seen = watch.clone();
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(Duration::from_secs(1));
                let now = seen.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if let Some((since, what)) = now
                    && since.elapsed() > STALL
                {
                    eprintln!("no end after {STALL:?}: {what}");
                    std::process::abort();
                }
            }
        });
        watch
    }

    fn set(&self, what: Option<String>) {
        let now = what.map(|what| (Instant::now(), what));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }
}

/// Where the input of a failure is left.
fn keep(target: &Target, data: &[u8]) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    data.hash(&mut hasher);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz").join(target.name);
    let path = folder.join(format!("{:016x}", hasher.finish()));
    fs::create_dir_all(&folder).and_then(|()| fs::write(&path, data)).expect("a kept input");
    path
}

/// Runs one input; the failure in words.
fn attempt(target: &Target, data: &[u8], what: &str, watch: &Watch) -> Result<(), String> {
    watch.set(Some(what.to_owned()));
    let done = catch_unwind(AssertUnwindSafe(|| (target.run)(data)));
    watch.set(None);
    done.map_err(|_| format!("{what}: panicked on {}", keep(target, data).display()))
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not `{text}`")))
}

/// Replays some targets.
fn replay(targets: impl Iterator<Item = &'static Target>) {
    let watch = Watch::start();
    let (only, count) = (number("BRAID_SEED"), number("BRAID_FUZZ"));
    let mut failures = Vec::new();
    for target in targets {
        let files = files(target);
        assert!(!files.is_empty(), "{} has no corpus", target.name);
        for (at, (name, data)) in files.iter().enumerate() {
            let what = format!("{}/{name}", target.name);
            failures.extend(attempt(target, data, &what, &watch).err());
            let other = &files[(at + 1) % files.len()].1;
            let seeds = only.map_or(0..count.unwrap_or(target.mutations), |seed| seed..seed + 1);
            for seed in seeds {
                let what = format!("{}/{name} mutated; repeat with BRAID_SEED={seed}", target.name);
                let data = mutate(data, other, seed, MAX_INPUT);
                failures.extend(attempt(target, &data, &what, &watch).err());
                assert!(failures.len() < 20, "enough:\n{}", failures.join("\n"));
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// Targets that execute blocks take most of the time; they have a test, and a processor, of their own.
fn executes(target: &Target) -> bool {
    target.name.starts_with("random_")
}

#[test]
fn decoders_hold() {
    replay(TARGETS.iter().filter(|target| !executes(target)));
}

#[test]
fn random_blocks_and_schedules_hold() {
    replay(TARGETS.iter().filter(|target| executes(target)));
}

#[test]
fn the_corpus_is_that_of_the_targets_and_small() {
    let folders: BTreeSet<String> = fs::read_dir(corpus())
        .expect("the corpus")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    let names: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(folders, names);
    assert_eq!(names.len(), TARGETS.len(), "names are unique");
    let mut total = 0;
    for target in TARGETS {
        assert!(target_named(target.name).is_some_and(|found| std::ptr::eq(found, target)));
        for (name, data) in files(target) {
            let size = data.len() as u64;
            assert!(size <= MAX_FILE, "{}/{name} has {size} bytes", target.name);
            total += size;
        }
    }
    assert!(total <= MAX_CORPUS, "the corpus has {total} bytes");
}

#[test]
fn every_target_has_a_binary_for_libfuzzer() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/Cargo.toml");
    let manifest = fs::read_to_string(manifest).expect("the manifest");
    let binaries = manifest.split("[[bin]]").skip(1);
    let names: Vec<&str> = binaries.filter_map(|binary| binary.split('"').nth(1)).collect();
    assert_eq!(names, TARGETS.iter().map(|target| target.name).collect::<Vec<_>>());
}

#[test]
fn a_panic_is_a_failure_that_names_its_input() {
    let broken = Target {
        name: "broken",
        about: "fails if there is a seven",
        run: |data| assert!(!data.contains(&7), "seven"),
        mutations: 1,
    };
    let watch = Watch::start();
    assert_eq!(attempt(&broken, &[1, 2], "fine", &watch), Ok(()));
    let failure = attempt(&broken, &[1, 7], "it", &watch).expect_err("a failure");
    let path = failure.strip_prefix("it: panicked on ").expect("where the input is");
    assert_eq!(fs::read(path).expect("the kept input"), [1, 7]);
}

#[test]
fn mutations_repeat_and_differ() {
    let (data, other) = (b"{\"a\": 123, \"b\": \"0x55\"}".as_slice(), b"other".as_slice());
    let all: BTreeSet<Vec<u8>> = (0..200).map(|seed| mutate(data, other, seed, 64)).collect();
    assert!(all.len() > 150, "{} of 200 differ", all.len());
    assert!(all.iter().all(|bytes| bytes.len() <= 64));
    for seed in 0..50 {
        assert_eq!(mutate(data, other, seed, 64), mutate(data, other, seed, 64));
        // Nothing to change is no reason to fail.
        mutate(b"", b"", seed, 64);
    }
}
