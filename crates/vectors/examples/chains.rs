//! Runs the vectors under a folder: `chains DIR PROFILES THREADS [FILTER]`.
use braid_profiles::profile;
use braid_vectors::{Options, Outcome, Runner, Seats, load};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
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
    let stat = Mutex::new([0u64; 6]);
    let failures = Mutex::new(BTreeMap::new());
    let start = Instant::now();
    let workers: usize = std::env::var("WORKERS").map_or(2, |w| w.parse().unwrap());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let mut runner = Runner::new(Seats::new(&profiles, &threads).unwrap(), Options::default());
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(file) = files.get(at) else { break };
                    let label: Arc<str> = file.display().to_string().into();
                    let cases = match load(&label, &std::fs::read(file).unwrap()) {
                        Ok(cases) => cases,
                        Err(error) => {
                            stat.lock().unwrap()[1] += 1;
                            failures.lock().unwrap().insert(label.to_string(), vec![error.to_string()]);
                            continue;
                        }
                    };
                    for case in cases {
                        let id = format!("{}::{}", case.file, case.name);
                        if !id.contains(&filter) {
                            continue;
                        }
                        let begin = Instant::now();
                        let verdict = runner.run(&case);
                        if begin.elapsed() > Duration::from_secs(5) {
                            eprintln!("slow {:?} {id}", begin.elapsed());
                        }
                        let mut stat = stat.lock().unwrap();
                        match verdict.outcome {
                            Outcome::Passed => stat[0] += 1,
                            Outcome::Failed => stat[1] += 1,
                            Outcome::Skipped(_) => stat[2] += 1,
                        }
                        stat[3] += verdict.executions;
                        stat[5] += u64::from(verdict.diverged);
                        let mut reasons: Vec<String> = verdict
                            .failures
                            .into_iter()
                            .map(|f| format!("{}@{} {}", f.profile, f.threads, f.reason))
                            .collect();
                        for (class, cause) in verdict.reported {
                            if let Some(cause) = cause {
                                stat[4] += 1;
                                reasons.push(format!("REPORTED {} {cause}", class.name()));
                            }
                        }
                        if !reasons.is_empty() {
                            failures.lock().unwrap().insert(id, reasons);
                        }
                    }
                }
            });
        }
    });
    for (id, reasons) in failures.into_inner().unwrap() {
        let first: Vec<String> = reasons.iter().take(3).map(|r| r.chars().take(500).collect()).collect();
        println!("{id}\n    {}", first.join("\n    "));
    }
    let stat = stat.into_inner().unwrap();
    println!(
        "{}: passed {} failed {} skipped {} executions {} reported {} diverged {} in {:?}",
        args[1],
        stat[0],
        stat[1],
        stat[2],
        stat[3],
        stat[4],
        stat[5],
        start.elapsed()
    );
}
