//! What an execution sees that runs between versions.

use crate::{
    attempt::{Log, ReadRecord, ScanRecord, Told},
    brake::Brake,
    cells::{Cells, Open, Resolved},
    chaos::Chaos,
    commit::scan,
};
use braid_core::{Halt, Key, Read, ReadId, Reader, TxIndex, Value, View};
use std::ops::Range;

/// The nearest lower version at each read. Recorded, unless what it sees is known to be true.
pub(crate) struct VersionView<'a, K, V: Value, R> {
    pub(crate) tx: TxIndex,
    pub(crate) cells: &'a Cells<K, V>,
    pub(crate) reader: &'a mut R,
    pub(crate) brake: Brake<'a>,
    pub(crate) chaos: &'a mut Chaos,
    pub(crate) log: &'a mut Log<K, V>,
    /// Everything that it reads is final, or will be: there is nothing to record and nothing to assume.
    pub(crate) exact: bool,
    pub(crate) reads: u32,
    pub(crate) halted: Option<Halt>,
    /// The location at which it was halted for want of a version.
    pub(crate) blocked: Option<K>,
}

impl<'a, K: Key, V: Value, R: Reader<K, V>> VersionView<'a, K, V, R> {
    fn resolve(&mut self, key: &K) -> Result<(Open<'a, K, V>, Option<V>), Halt> {
        self.brake.check()?;
        self.chaos.point();
        let mut cell = self.cells.open(key);
        let mut found = cell.resolve(self.tx);
        if let Resolved::Unread = found {
            let loc = cell.loc;
            drop(cell);
            cell = self.cells.load(loc, key, self.reader)?;
            found = cell.resolve(self.tx);
        }
        match found {
            Resolved::Value(value) => Ok((cell, value)),
            Resolved::Estimate(on) => {
                self.blocked = Some(*key);
                Err(Halt::Blocked(on))
            }
            Resolved::Unread => unreachable!("a loaded location resolves"),
        }
    }

    fn value(&mut self, key: &K) -> Result<Option<V>, Halt> {
        let (cell, value) = self.resolve(key)?;
        if !self.exact {
            let (loc, stamp) = (cell.loc, cell.stamp_for(self.tx));
            drop(cell);
            let seen = V::exactly(value.as_ref());
            self.log.reads.push(ReadRecord { loc, stamp, told: Told::Watched, seen });
        }
        Ok(value)
    }
}

impl<K: Key, V: Value, R: Reader<K, V>> View<K, V> for VersionView<'_, K, V, R> {
    fn read(&mut self, key: &K) -> Result<Read<V>, Halt> {
        let value = self.value(key).inspect_err(|halt| self.halted = Some(halt.clone()))?;
        self.reads += 1;
        Ok(Read { id: ReadId(self.reads - 1), value })
    }

    fn narrow(&mut self, read: ReadId, seen: V::Seen) {
        if self.exact {
            return;
        }
        if let Some(record) = self.log.reads.get_mut(read.0 as usize) {
            record.seen = seen;
        } else {
            debug_assert!(false, "{read:?} was not handed out");
        }
    }

    fn assume(&mut self, key: &K, seen: V::Seen) {
        debug_assert!(!self.exact, "an exact execution checks {key:?} instead of assuming");
        let mut cell = self.cells.open(key);
        let loc = cell.loc;
        if cell.committed().is_none() {
            drop(cell);
            // Here rather than at the commit. If it fails now, it fails there as well.
            if let Ok(value) = self.reader.get(key) {
                cell = self.cells.at(loc);
                cell.fill(value);
            }
        }
        self.log.assumed.push((*key, loc, seen));
    }

    fn is_final(&self) -> bool {
        self.exact
    }

    fn scan(&mut self, range: Range<K>) -> Result<Vec<(K, V)>, Halt> {
        let tx = self.tx;
        let scanned =
            self.brake.check().and_then(|()| scan(self.cells, self.reader, &range, |cell| cell.resolve(tx)));
        let found = scanned.inspect_err(|halt| {
            self.halted = Some(halt.clone());
            self.blocked = Some(range.start);
        })?;
        if !self.exact {
            let seen = found.iter().map(|(key, value)| (*key, V::exactly(Some(value)))).collect();
            self.log.scans.push(ScanRecord { range, found: seen });
        }
        Ok(found)
    }
}
