//! Reads that are answered later.

use std::{
    collections::VecDeque,
    fmt::Debug,
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// A read that has come in.
#[derive(Debug)]
pub struct Done {
    /// The name under which it was begun.
    pub tag: u64,
    /// All of its bytes, or what the device says; [`io::ErrorKind::UnexpectedEof`] if the medium ends before.
    pub result: io::Result<Box<[u8]>>,
}

/// Reads of one medium that are under way, for one thread. To drop it ends them: it returns when nobody writes to
/// their buffers any more.
pub trait ReadQueue: Debug + Send {
    /// Begins to read `len` bytes from `offset` on, under a name. May wait until it is begun, but not for bytes.
    ///
    /// # Errors
    /// If it cannot be begun; then nothing comes in for it.
    fn begin(&mut self, tag: u64, offset: u64, len: usize) -> io::Result<()>;

    /// Appends what has come in; waits for that, at most for `timeout`, if nothing has and something is under way.
    ///
    /// # Errors
    /// If the queue is of no use any more: what is under way never comes in.
    fn collect(&mut self, timeout: Duration, done: &mut Vec<Done>) -> io::Result<()>;

    /// Reads under way.
    fn under_way(&self) -> usize;
}

/// Threads that read: enough that a device is busy, few enough for any process.
const THREADS: usize = 32;

#[derive(Debug)]
struct Job {
    file: Arc<File>,
    tag: u64,
    offset: u64,
    len: usize,
    inbox: Arc<Inbox>,
}

#[derive(Debug, Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    quit: bool,
}

#[derive(Debug, Default)]
struct Board {
    jobs: Mutex<Jobs>,
    bell: Condvar,
}

/// What came in for one queue.
#[derive(Debug, Default)]
struct Inbox {
    done: Mutex<Vec<Done>>,
    bell: Condvar,
}

/// What is in the lock is whole whoever panicked, for no critical section here can.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Threads that do the reads of a file one by one each: for systems without `io_uring`.
#[derive(Debug)]
pub(super) struct Threads {
    board: Arc<Board>,
    threads: Vec<JoinHandle<()>>,
}

impl Threads {
    /// As many as can be had, one at least.
    pub(super) fn new() -> io::Result<Self> {
        let board = Arc::new(Board::default());
        let mut threads = Vec::new();
        for at in 0..THREADS {
            let board = board.clone();
            let thread = std::thread::Builder::new().name(format!("braid-read-{at}"));
            match thread.stack_size(64 << 10).spawn(move || board.serve()) {
                Ok(thread) => threads.push(thread),
                Err(error) if threads.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        Ok(Threads { board, threads })
    }

    /// A queue for reads of `file`.
    pub(super) fn queue(self: &Arc<Self>, file: Arc<File>) -> ThreadQueue {
        ThreadQueue { threads: self.clone(), file, inbox: Arc::default(), under_way: 0 }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        locked(&self.board.jobs).quit = true;
        self.board.bell.notify_all();
        for thread in self.threads.drain(..) {
            // It ends by returning.
            drop(thread.join());
        }
    }
}

impl Board {
    fn serve(&self) {
        let mut jobs = locked(&self.jobs);
        loop {
            if let Some(job) = jobs.waiting.pop_front() {
                drop(jobs);
                job.run();
                jobs = locked(&self.jobs);
            } else if jobs.quit {
                return;
            } else {
                jobs = self.bell.wait(jobs).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

impl Job {
    fn run(self) {
        let mut bytes = vec![0; self.len].into_boxed_slice();
        let result = self.file.read_exact_at(&mut bytes, self.offset).map(|()| bytes);
        locked(&self.inbox.done).push(Done { tag: self.tag, result });
        self.inbox.bell.notify_one();
    }
}

/// A queue whose reads are done by [`Threads`]. Whoever drops it leaves them to the threads, who own the buffers.
#[derive(Debug)]
pub(super) struct ThreadQueue {
    threads: Arc<Threads>,
    file: Arc<File>,
    inbox: Arc<Inbox>,
    under_way: usize,
}

impl ReadQueue for ThreadQueue {
    fn begin(&mut self, tag: u64, offset: u64, len: usize) -> io::Result<()> {
        let job = Job { file: self.file.clone(), tag, offset, len, inbox: self.inbox.clone() };
        locked(&self.threads.board.jobs).waiting.push_back(job);
        self.threads.board.bell.notify_one();
        self.under_way += 1;
        Ok(())
    }

    fn collect(&mut self, timeout: Duration, done: &mut Vec<Done>) -> io::Result<()> {
        let mut inbox = locked(&self.inbox.done);
        if inbox.is_empty() && self.under_way > 0 && !timeout.is_zero() {
            let waited = self.inbox.bell.wait_timeout_while(inbox, timeout, |done| done.is_empty());
            inbox = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        self.under_way -= inbox.len();
        done.append(&mut inbox);
        Ok(())
    }

    fn under_way(&self) -> usize {
        self.under_way
    }
}

/// Waits until `at`. The last part is spent awake, for a sleep is that inexact.
pub(super) fn wait_until(at: Instant) {
    const COARSE: Duration = Duration::from_micros(120);
    loop {
        match at.saturating_duration_since(Instant::now()) {
            Duration::ZERO => return,
            left if left > COARSE => std::thread::sleep(left - COARSE),
            _ => std::thread::yield_now(),
        }
    }
}
