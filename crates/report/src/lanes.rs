//! What a block takes besides its workers: execution as a whole, the state root, the disk.

use serde::{Deserialize, Serialize};

/// Most spans that a schedule may have.
pub const SPANS_MAX: usize = 4096;

/// A part of what a node does with a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// The transactions, and what the block does around them.
    Execution,
    /// The root of the state after the block.
    Root,
    /// Making it durable.
    Disk,
}

impl Lane {
    /// All, in the order in which they are drawn.
    pub const ALL: [Lane; 3] = [Lane::Execution, Lane::Root, Lane::Disk];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Lane::Execution => "execution",
            Lane::Root => "root",
            Lane::Disk => "disk",
        }
    }
}

/// Something that was done in a lane. Times are nanoseconds since the beginning of the block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Where it belongs.
    pub lane: Lane,
    /// What was done, in a few words.
    pub what: String,
    /// Its start.
    pub start_ns: u64,
    /// Its end.
    pub end_ns: u64,
    /// For how much of that it was at work, if it is known to have had pauses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy_ns: Option<u64>,
}

impl Span {
    /// What begins at `start_ns` and is at work for `time_ns`.
    pub fn new(lane: Lane, what: &str, start_ns: u64, time_ns: u64) -> Self {
        Span {
            lane,
            what: what.to_owned(),
            start_ns,
            end_ns: start_ns.saturating_add(time_ns),
            busy_ns: None,
        }
    }

    /// For how long it was at work.
    pub fn work_ns(&self) -> u64 {
        self.busy_ns.unwrap_or_else(|| self.end_ns.saturating_sub(self.start_ns))
    }

    /// What is wrong with its times, if anything.
    pub(crate) fn wrong(&self) -> Option<&'static str> {
        if self.end_ns < self.start_ns {
            return Some("ends before it starts");
        }
        (self.work_ns() > self.end_ns - self.start_ns).then_some("is at work for longer than it lasts")
    }
}

/// How long the root of one block took.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootTimes {
    /// What it was computed from: `witness`, `state` (tries of a whole state in memory) or `store` (on disk).
    pub from: String,
    /// From the beginning of the block to its root.
    pub rooted_ns: u64,
    /// At work on it while the block was executed, on a thread besides the workers.
    #[serde(default)]
    pub ahead_ns: u64,
    /// At work on it afterwards.
    #[serde(default)]
    pub after_ns: u64,
    /// Accounts and slots that were looked at ahead.
    #[serde(default)]
    pub locations: usize,
}

/// How long it took to make one block durable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskTimes {
    /// Block, receipts and code, synced by themselves.
    pub archive_ns: u64,
    /// Handing pages and journal of the state to the system.
    pub write_ns: u64,
    /// Waiting for the device.
    pub sync_ns: u64,
    /// Bytes of the state that were written.
    #[serde(default)]
    pub bytes: u64,
}

impl RootTimes {
    /// For how long it was worked on, on all threads.
    pub fn work_ns(&self) -> u64 {
        self.ahead_ns.saturating_add(self.after_ns)
    }
}

impl DiskTimes {
    /// All of it, one after another.
    pub fn total_ns(&self) -> u64 {
        self.archive_ns.saturating_add(self.write_ns).saturating_add(self.sync_ns)
    }

    /// What is drawn, from `start_ns` on.
    pub fn spans(&self, start_ns: u64) -> Vec<Span> {
        let parts = [("archive", self.archive_ns), ("write", self.write_ns), ("sync", self.sync_ns)];
        let mut at = start_ns;
        let span = |(what, time)| {
            let span = Span::new(Lane::Disk, what, at, time);
            at = span.end_ns;
            span
        };
        parts.into_iter().map(span).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_follow_one_another_and_wrong_times_are_found() {
        let disk = DiskTimes { archive_ns: 5, write_ns: 7, sync_ns: 11, bytes: 1 };
        let spans = disk.spans(100);
        let times: Vec<(u64, u64)> = spans.iter().map(|span| (span.start_ns, span.end_ns)).collect();
        assert_eq!((times, disk.total_ns()), (vec![(100, 105), (105, 112), (112, 123)], 23));
        assert!(spans.iter().all(|span| span.lane == Lane::Disk && span.wrong().is_none()));
        let span = Span::new(Lane::Root, "ahead", 10, 5);
        assert_eq!((span.wrong(), span.work_ns()), (None, 5));
        assert!(Span { end_ns: 9, ..span.clone() }.wrong().is_some());
        assert!(Span { busy_ns: Some(6), ..span.clone() }.wrong().is_some());
        assert_eq!(Span { busy_ns: Some(2), ..span }.work_ns(), 2);
        let text = serde_json::to_value(Span::new(Lane::Execution, "x", 0, 1)).unwrap();
        assert_eq!((&text["lane"], text.get("busy_ns")), (&"execution".into(), None));
        assert_eq!(Lane::ALL.map(Lane::name), ["execution", "root", "disk"]);
    }
}
