//! Reads through `io_uring`: a few hundred under way, submitted and collected by one system call.
//!
//! 1. The ring belongs to one queue, which one thread at a time uses.
//! 2. A read has a place in `slots` from the moment in which it is pushed to the ring until the kernel has said that
//!    it is over. The place owns the buffer, which is a heap allocation of its own and does not move, and whose bytes
//!    nobody looks at meanwhile (they are [`UnsafeCell`]s).
//! 3. The file is open as long as the queue is there.
//! 4. A queue that is dropped first waits for all its reads. If even that fails, buffers and ring are leaked.
//! 5. No more reads are in the ring than its completion queue has room for; the others wait in `backlog`.

use super::queue::{Done, ReadQueue};
use io_uring::{IoUring, Probe, opcode, types};
use std::{
    cell::UnsafeCell,
    collections::VecDeque,
    fmt,
    fs::File,
    io,
    mem::{self, ManuallyDrop},
    os::fd::AsRawFd,
    sync::Arc,
    time::Duration,
};

/// Reads of one queue in the ring.
const ENTRIES: u32 = 256;

/// Attempts to wait for the reads of a queue that is dropped, a second each.
const LAST_WAITS: u32 = 60;

/// A read in the ring.
struct Slot {
    tag: u64,
    offset: u64,
    buffer: Box<[UnsafeCell<u8>]>,
    /// Bytes that have come in.
    filled: usize,
}

/// A queue on a ring of its own.
pub(super) struct UringQueue {
    ring: ManuallyDrop<IoUring>,
    file: Arc<File>,
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    backlog: VecDeque<(u64, u64, usize)>,
    under_way: usize,
}

impl fmt::Debug for UringQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UringQueue").field("under_way", &self.under_way).finish_non_exhaustive()
    }
}

/// Whether this system has all that is needed: containers often forbid it.
pub(super) fn works() -> bool {
    let Ok(ring) = IoUring::new(2) else { return false };
    let mut probe = Probe::new();
    let knows = ring.submitter().register_probe(&mut probe).is_ok();
    knows && probe.is_supported(opcode::Read::CODE) && ring.params().is_feature_ext_arg()
}

impl UringQueue {
    pub(super) fn new(file: Arc<File>) -> io::Result<Self> {
        let ring = ManuallyDrop::new(IoUring::new(ENTRIES)?);
        let (slots, free, backlog) = (Vec::new(), Vec::new(), VecDeque::new());
        Ok(UringQueue { ring, file, slots, free, backlog, under_way: 0 })
    }

    fn in_ring(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Pushes the read of a slot, or what is left of it, to the ring.
    fn push(&mut self, at: usize) -> io::Result<()> {
        let Some(slot) = self.slots.get(at).and_then(Option::as_ref) else { return Ok(()) };
        let rest = &slot.buffer[slot.filled..];
        let (len, to) = (rest.len() as u32, UnsafeCell::raw_get(rest.as_ptr()));
        let entry = opcode::Read::new(types::Fd(self.file.as_raw_fd()), to, len)
            .offset(slot.offset + slot.filled as u64)
            .build()
            .user_data(at as u64);
        loop {
            // SAFETY: `to` points to `len` bytes of a buffer that stays where it is, and that nobody else reads
            // or writes, until the completion with this `user_data` was taken from the ring (rules 2 and 4); the
            // file is open as long (rule 3).
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return Ok(());
            }
            self.ring.submit()?;
        }
    }

    /// Moves reads from the backlog into the ring.
    fn refill(&mut self, done: &mut Vec<Done>) {
        while self.in_ring() < ENTRIES as usize
            && let Some((tag, offset, len)) = self.backlog.pop_front()
        {
            if let Err(error) = self.enter(tag, offset, len) {
                self.under_way -= 1;
                done.push(Done { tag, result: Err(error) });
            }
        }
    }

    fn enter(&mut self, tag: u64, offset: u64, len: usize) -> io::Result<()> {
        let buffer = (0..len).map(|_| UnsafeCell::new(0)).collect();
        let slot = Some(Slot { tag, offset, buffer, filled: 0 });
        let at = match self.free.pop() {
            Some(at) => {
                self.slots[at] = slot;
                at
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        };
        self.push(at).inspect_err(|_| {
            // It is not in the ring.
            self.slots[at] = None;
            self.free.push(at);
        })
    }

    /// Submits what was pushed, waits if `wait` says how long.
    fn submit(&mut self, wait: Option<Duration>) -> io::Result<()> {
        let submitted = match wait {
            None => self.ring.submit(),
            Some(timeout) => {
                let time = types::Timespec::new().sec(timeout.as_secs()).nsec(timeout.subsec_nanos());
                self.ring.submitter().submit_with_args(1, &types::SubmitArgs::new().timespec(&time))
            }
        };
        match submitted {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // The time is over, a signal came, or there is no room at the moment.
                Some(ETIME | EINTR | EAGAIN | EBUSY) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// Takes what is over from the ring.
    fn reap(&mut self, done: &mut Vec<Done>) -> io::Result<()> {
        loop {
            let Some(entry) = self.ring.completion().next() else { return Ok(()) };
            let (at, result) = (entry.user_data() as usize, entry.result());
            let Some(slot) = self.slots.get_mut(at).and_then(Option::as_mut) else { continue };
            let came = usize::try_from(result).unwrap_or(0);
            slot.filled += came.min(slot.buffer.len() - slot.filled);
            let whole = slot.filled == slot.buffer.len();
            let again = matches!(-result, EINTR | EAGAIN);
            if (came > 0 && !whole) || again {
                // Rule 2 holds on: the slot is in the ring again.
                match self.push(at) {
                    Ok(()) => continue,
                    Err(error) => {
                        self.over(at, Err(error), done);
                        continue;
                    }
                }
            }
            let result = match result {
                _ if whole => Ok(()),
                error if error < 0 => Err(io::Error::from_raw_os_error(-error)),
                _ => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            };
            self.over(at, result, done);
        }
    }

    /// The kernel is done with a slot.
    fn over(&mut self, at: usize, result: io::Result<()>, done: &mut Vec<Done>) {
        let Some(slot) = self.slots[at].take() else { return };
        self.free.push(at);
        self.under_way -= 1;
        let bytes = |cells: Box<[UnsafeCell<u8>]>| cells.into_iter().map(UnsafeCell::into_inner).collect();
        done.push(Done { tag: slot.tag, result: result.map(|()| bytes(slot.buffer)) });
    }
}

/// Numbers of the errors of Linux that are no failures here.
const EINTR: i32 = 4;
const EAGAIN: i32 = 11;
const EBUSY: i32 = 16;
const ETIME: i32 = 62;

impl ReadQueue for UringQueue {
    fn begin(&mut self, tag: u64, offset: u64, len: usize) -> io::Result<()> {
        if self.in_ring() < ENTRIES as usize {
            self.enter(tag, offset, len)?;
        } else {
            self.backlog.push_back((tag, offset, len));
        }
        self.under_way += 1;
        Ok(())
    }

    fn collect(&mut self, timeout: Duration, done: &mut Vec<Done>) -> io::Result<()> {
        let before = done.len();
        if !self.ring.submission().is_empty() {
            self.submit(None)?;
        }
        self.reap(done)?;
        if done.len() == before && self.in_ring() > 0 && !timeout.is_zero() {
            self.submit(Some(timeout))?;
            self.reap(done)?;
        }
        self.refill(done);
        Ok(())
    }

    fn under_way(&self) -> usize {
        self.under_way
    }
}

impl Drop for UringQueue {
    fn drop(&mut self) {
        self.backlog.clear();
        let mut done = Vec::new();
        for _ in 0..LAST_WAITS {
            if self.in_ring() == 0 {
                // SAFETY: it is not used after this; the kernel has no read of ours left (rule 4).
                unsafe { ManuallyDrop::drop(&mut self.ring) };
                return;
            }
            // An error is met by the next attempt again.
            drop(self.submit(Some(Duration::from_secs(1))));
            drop(self.reap(&mut done));
            done.clear();
        }
        mem::forget(mem::take(&mut self.slots));
        mem::forget(self.file.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(bytes: &[u8]) -> Arc<File> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Arc::new(file)
    }

    #[test]
    fn more_reads_than_entries_come_in_whole() {
        if !works() {
            eprintln!("SKIPPED: this system allows no io_uring");
            return;
        }
        let bytes: Vec<u8> = (0..1000 * 64u32).map(|at| (at / 64 * 7 + at) as u8).collect();
        let mut queue = UringQueue::new(file(&bytes)).unwrap();
        for tag in 0..1000 {
            queue.begin(tag, tag * 64, 64).unwrap();
        }
        let mut done = Vec::new();
        while queue.under_way() > 0 {
            queue.collect(Duration::from_secs(1), &mut done).unwrap();
        }
        assert_eq!(done.len(), 1000);
        done.sort_by_key(|done| done.tag);
        for (tag, read) in done.into_iter().enumerate() {
            assert_eq!((read.tag, &read.result.unwrap()[..]), (tag as u64, &bytes[tag * 64..][..64]));
        }
    }

    #[test]
    fn a_dropped_queue_waits_for_the_kernel() {
        if !works() {
            return;
        }
        let file = file(&[1; 1 << 20]);
        for _ in 0..50 {
            let mut queue = UringQueue::new(file.clone()).unwrap();
            for tag in 0..300 {
                queue.begin(tag, tag * 4096 % (1 << 20), 4096).unwrap();
            }
            queue.submit(None).unwrap();
        }
    }
}
