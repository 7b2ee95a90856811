//! Runs the blockchain tests under a folder: `chains DIR PROFILES THREADS [FILTER]`.
use braid_profiles::profile;
use braid_vectors::{Outcome, Seats, chain};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, out)
        } else if path.extension().is_some_and(|e| e == "json") {
            out.push(path)
        }
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let mut files = Vec::new();
    walk(Path::new(&args[1]), &mut files);
    files.sort();
    let profiles: Vec<_> = args[2].split(',').map(|name| profile(name).unwrap()).collect();
    let threads: Vec<usize> = args[3].split(',').map(|n| n.parse().unwrap()).collect();
    let filter = args.get(4).cloned().unwrap_or_default();
    let next = AtomicUsize::new(0);
    let stat = Mutex::new((0usize, 0usize, 0usize, 0usize));
    let failures = Mutex::new(BTreeMap::new());
    let start = Instant::now();
    let workers: usize = std::env::var("WORKERS").map_or(2, |w| w.parse().unwrap());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let mut seats = Seats::new(&profiles, &threads).unwrap();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(file) = files.get(at) else { break };
                    let text = std::fs::read_to_string(file).unwrap();
                    let members: BTreeMap<String, Box<serde_json::value::RawValue>> =
                        serde_json::from_str(&text).unwrap();
                    for (name, json) in members {
                        let id = format!("{}::{name}", file.display());
                        if !id.contains(&filter) {
                            continue;
                        }
                        let (outcome, reasons) = match chain::ChainCase::from_json(json.get()) {
                            Err(error) => (Outcome::Failed, vec![error.to_string()]),
                            Ok(case) => {
                                let begin = Instant::now();
                                let report = chain::run(&case, &mut seats, Duration::from_secs(60));
                                if begin.elapsed() > Duration::from_secs(5) {
                                    eprintln!("slow {:?} {id}", begin.elapsed());
                                }
                                let mut stat = stat.lock().unwrap();
                                stat.2 += report.blocks;
                                stat.3 += report.txs;
                                let verdict = if case.is_draft() {
                                    report.draft_verdict(&seats)
                                } else {
                                    report.verdict(&seats)
                                };
                                (
                                    verdict.outcome,
                                    verdict
                                        .failures
                                        .into_iter()
                                        .map(|f| format!("{}@{} {}", f.profile, f.threads, f.reason))
                                        .collect(),
                                )
                            }
                        };
                        let mut stat = stat.lock().unwrap();
                        if outcome == Outcome::Passed {
                            stat.0 += 1
                        } else {
                            stat.1 += 1
                        }
                        if !reasons.is_empty() {
                            failures.lock().unwrap().insert(id, (outcome, reasons));
                        }
                    }
                }
            });
        }
    });
    for (id, (outcome, reasons)) in failures.into_inner().unwrap() {
        let first: Vec<String> = reasons.iter().take(3).map(|r| r.chars().take(400).collect()).collect();
        println!("{outcome:?} {id}\n    {}", first.join("\n    "));
    }
    let stat = stat.into_inner().unwrap();
    println!(
        "{}: passed {} failed {} blocks {} txs {} in {:?}",
        args[1],
        stat.0,
        stat.1,
        stat.2,
        stat.3,
        start.elapsed()
    );
}
