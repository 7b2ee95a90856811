//! Fetching from a local endpoint that serves recorded answers, well and badly: answers made from a
//! made-up chain, and from real blocks where the data is there.

mod chain;
mod faults;
mod node;
mod real;
mod server;
mod trips;
mod wrong;

use braid_fetch::{BlockReport, Endpoint, FetchError, Method, Observer, Options, Outcome, Summary};
use node::Node;
use server::{Fault, Server};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        LazyLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

/// The made-up chain, built once.
static NODE: LazyLock<Node> = LazyLock::new(chain::node);

/// A temporary folder, removed when dropped.
pub(crate) struct Temp(pub(crate) PathBuf);

impl Temp {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        // Relaxed: only uniqueness within the process matters.
        let unique = format!("braid-fetch-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(unique);
        fs::create_dir_all(&path).expect("a temporary folder");
        Temp(path)
    }

    /// Names of what is inside, hidden ones but the lock included, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("the folder");
        let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
        let mut names: Vec<String> =
            entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
        names.retain(|name| name != ".fetch.lock");
        names.sort();
        names
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A server for `node`, without faults.
pub(crate) fn serve(node: Node) -> Server {
    serve_badly(node, |_, _| None)
}

/// A server for `node` with faults, by first method and number of the request.
pub(crate) fn serve_badly(
    node: Node,
    faults: impl Fn(&str, usize) -> Option<Fault> + Send + Sync + 'static,
) -> Server {
    Server::new(move |method, params| node.answer(method, params), faults)
}

pub(crate) fn options(server: &Server, out: &Path, method: Method) -> Options {
    let endpoint = Endpoint::new(&server.url(), &[]).expect("an endpoint");
    let timeout = Duration::from_secs(20);
    Options { method, retries: 3, timeout, ..Options::new(endpoint, out.into()) }
}

/// Fetches with what goes for most tests.
pub(crate) fn fetch(server: &Server, out: &Temp, range: &str, method: Method) -> Summary {
    run(range, &options(server, &out.0, method))
}

pub(crate) fn run(range: &str, options: &Options) -> Summary {
    let range = range.parse().expect("a range");
    braid_fetch::fetch(&range, options, &AtomicBool::new(false), &mut ())
}

/// The blocks of the made-up chain, as a range.
pub(crate) fn all() -> String {
    format!("{}..{}", chain::FIRST, chain::FIRST + chain::BLOCKS)
}

pub(crate) fn fetched(summary: &Summary) -> usize {
    let fetched = |block: &&BlockReport| block.outcome == Outcome::Fetched;
    summary.blocks.iter().filter(fetched).count()
}

/// Panics unless all blocks were fetched.
#[track_caller]
pub(crate) fn assert_fetched(summary: &Summary, blocks: usize) {
    assert_eq!((fetched(summary), &summary.stopped), (blocks, &None), "{summary:#?}");
    assert_eq!(summary.blocks.len(), blocks);
}

/// The error of the only block, or of the fetch.
#[track_caller]
pub(crate) fn error_of(summary: &Summary) -> FetchError {
    match (&summary.stopped, summary.blocks.as_slice()) {
        (Some(error), _) => error.clone(),
        (None, [BlockReport { outcome: Outcome::Failed(error), .. }]) => error.clone(),
        _ => panic!("no error: {summary:#?}"),
    }
}

/// Sets a flag when the block is done with.
pub(crate) struct StopAfter<'a>(pub(crate) u64, pub(crate) &'a AtomicBool);

impl Observer for StopAfter<'_> {
    fn done(&mut self, report: &BlockReport) {
        if report.number == self.0 {
            self.1.store(true, Ordering::SeqCst);
        }
    }
}
