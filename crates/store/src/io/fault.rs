//! A medium that fails on purpose, for tests of whatever stands on one.
//!
//! 1. It keeps what is durable and, in order, what was written since the last sync.
//! 2. A crash comes at a chosen write or sync, which fails, as does all after it. What survives is drawn sector
//!    by sector: each sector holds what it held after any one of the writes to it since the last sync, or
//!    before them all; or page by page, as a system writes back. So writes are lost, torn and reordered.
//! 3. Growth of the medium survives as far as a sector in it does.
//! 4. A sync that fails although the power does not leaves what was written before it to chance: reads see it, and
//!    later syncs pass over it, as those of a system do that holds its pages for clean after an error.
//! 5. Everything drawn comes from the seed.

use super::Medium;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    io::{Error, ErrorKind, Result},
    sync::Arc,
};

/// Bytes that a device writes wholly or not at all.
pub const SECTOR: usize = 512;

/// Sectors that a system writes back together.
const SECTORS_PAGE: u64 = 8;

/// What goes wrong, and when.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// The power fails at this write or sync, counted from 0 since the medium was made or restarted.
    pub crash_at: Option<u64>,
    /// Bytes that the device holds; a write that reaches beyond is cut there and fails.
    pub capacity: Option<u64>,
    /// Each of so many reads fails: 1 fails all of them.
    pub read_error_every: Option<u64>,
    /// Syncs fail, although the power does not.
    pub sync_fails: bool,
    /// This write or sync fails, counted as for a crash, and nothing else; of a write a part is done.
    pub fails_at: Option<u64>,
    /// Writes fail as on a read-only file system.
    pub read_only: bool,
}

#[derive(Debug, Default)]
struct Disk {
    /// What reads see.
    image: Vec<u8>,
    /// For each sector written since the last sync: what it held before, and after each write.
    pending: BTreeMap<u64, Vec<[u8; SECTOR]>>,
    /// The same of sectors that a sync which failed has left behind.
    dropped: BTreeMap<u64, Vec<[u8; SECTOR]>>,
    durable_len: usize,
    faults: Faults,
    writes: u64,
    reads: u64,
    down: bool,
    random: u64,
}

/// A medium in memory that fails as it is told. Clones are handles on the same one.
#[derive(Clone, Debug)]
pub struct FaultMedium(Arc<Mutex<Disk>>);

impl FaultMedium {
    /// An empty medium that fails as `faults` say and draws what survives from `seed`.
    pub fn new(seed: u64, faults: Faults) -> Self {
        FaultMedium(Arc::new(Mutex::new(Disk { faults, random: seed, ..Disk::default() })))
    }

    /// Changes what goes wrong from here on.
    pub fn set_faults(&self, faults: Faults) {
        self.0.lock().faults = faults;
    }

    /// Writes and syncs so far.
    pub fn writes(&self) -> u64 {
        self.0.lock().writes
    }

    /// Whether the power has failed.
    pub fn is_down(&self) -> bool {
        self.0.lock().down
    }

    /// What is left after a crash at this moment (or at the one that has come), as a medium without faults.
    pub fn restart(&self) -> FaultMedium {
        let mut disk = self.0.lock();
        let image = disk.survivors();
        let (random, durable_len) = (disk.draw(), image.len());
        FaultMedium(Arc::new(Mutex::new(Disk { image, durable_len, random, ..Disk::default() })))
    }

    /// A copy of what reads see, without faults and all of it durable.
    pub fn copy(&self) -> FaultMedium {
        let disk = self.0.lock();
        let (image, durable_len) = (disk.image.clone(), disk.image.len());
        FaultMedium(Arc::new(Mutex::new(Disk { image, durable_len, random: disk.random, ..Disk::default() })))
    }

    /// Turns one bit over: bit `bit % 8` of byte `bit / 8`.
    ///
    /// # Panics
    /// If the medium ends before it.
    pub fn flip(&self, bit: u64) {
        self.0.lock().image[(bit / 8) as usize] ^= 1 << (bit % 8);
    }
}

fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Disk {
    /// SplitMix64.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.random)
    }

    fn survivors(&mut self) -> Vec<u8> {
        let mut left = self.image.clone();
        let mut pending = std::mem::take(&mut self.dropped);
        pending.append(&mut self.pending);
        // Now and then everything survives or nothing does, or whole pages, which sector by sector is unlikely.
        let (mood, pages) = (self.draw() % 8, self.draw());
        let mut len = self.durable_len;
        for (sector, held) in pending {
            let choice = match mood {
                0 => 0,
                1 => held.len() - 1,
                2 | 3 => (mixed(pages ^ (sector / SECTORS_PAGE)) % held.len() as u64) as usize,
                _ => (self.draw() % held.len() as u64) as usize,
            };
            let from = sector as usize * SECTOR;
            let to = (from + SECTOR).min(left.len());
            if let Some(place) = left.get_mut(from..to) {
                place.copy_from_slice(&held[choice][..to - from]);
                if choice > 0 {
                    len = len.max(to);
                }
            }
        }
        left.truncate(len);
        left
    }

    fn sector(&self, number: usize) -> [u8; SECTOR] {
        let (mut held, from) = ([0; SECTOR], number * SECTOR);
        if let Some(there) = self.image.get(from..) {
            let len = there.len().min(SECTOR);
            held[..len].copy_from_slice(&there[..len]);
        }
        held
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len();
        let sectors = offset / SECTOR..end.div_ceil(SECTOR);
        for sector in sectors.clone() {
            if !self.pending.contains_key(&(sector as u64)) {
                let held = self.dropped.remove(&(sector as u64));
                let held = held.unwrap_or_else(|| vec![self.sector(sector)]);
                self.pending.insert(sector as u64, held);
            }
        }
        if self.image.len() < end {
            self.image.resize(end, 0);
        }
        self.image[offset..end].copy_from_slice(bytes);
        for sector in sectors {
            let held = self.sector(sector);
            self.pending.entry(sector as u64).or_default().push(held);
        }
    }

    /// Counts a write or sync; what fails at it.
    fn count(&mut self) -> Result<Option<&'static str>> {
        if self.down {
            return Err(Error::other("the power has failed"));
        }
        self.down = self.faults.crash_at == Some(self.writes);
        let fails = self.faults.fails_at == Some(self.writes);
        self.writes += 1;
        Ok(match self.down {
            true => Some("the power has failed"),
            false => fails.then_some("write error"),
        })
    }
}

impl Medium for FaultMedium {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<()> {
        let mut disk = self.0.lock();
        disk.reads += 1;
        let reads = disk.reads;
        if disk.faults.read_error_every.is_some_and(|every| reads.is_multiple_of(every)) {
            return Err(Error::other("read error"));
        }
        let from = offset as usize;
        let there = disk.image.get(from..from + into.len()).ok_or(Error::from(ErrorKind::UnexpectedEof))?;
        into.copy_from_slice(there);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut disk = self.0.lock();
        if disk.faults.read_only {
            return Err(Error::from(ErrorKind::ReadOnlyFilesystem));
        }
        let failure = disk.count()?;
        let room = disk.faults.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(offset));
        let mut fits = room.min(bytes.len() as u64) as usize;
        if failure.is_some() && !disk.down {
            fits = (disk.draw() % (fits as u64 + 1)) as usize / SECTOR * SECTOR;
        }
        disk.write(offset as usize, &bytes[..fits]);
        match () {
            () if failure.is_some() => Err(Error::other(failure.unwrap_or_default())),
            () if fits < bytes.len() => Err(Error::from(ErrorKind::StorageFull)),
            () => Ok(()),
        }
    }

    fn sync(&self) -> Result<()> {
        let mut disk = self.0.lock();
        let failure = disk.count()?.or(disk.faults.sync_fails.then_some("sync error"));
        if let Some(failure) = failure {
            let left = std::mem::take(&mut disk.pending);
            disk.dropped.extend(left);
            return Err(Error::other(failure));
        }
        disk.pending.clear();
        disk.durable_len = disk.image.len();
        Ok(())
    }

    fn len(&self) -> Result<u64> {
        Ok(self.0.lock().image.len() as u64)
    }

    fn set_len(&self, len: u64) -> Result<()> {
        let mut disk = self.0.lock();
        if disk.faults.read_only {
            return Err(Error::from(ErrorKind::ReadOnlyFilesystem));
        }
        if let Some(failure) = disk.count()? {
            return Err(Error::other(failure));
        }
        disk.image.resize(len as usize, 0);
        // Kept simple: a change of length is durable at once.
        disk.durable_len = disk.image.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn synced_bytes_survive_and_unsynced_sectors_may() {
        let (mut lost, mut kept, mut torn) = (0, 0, 0);
        for seed in 0..200 {
            let medium = FaultMedium::new(seed, Faults { crash_at: Some(2), ..Faults::default() });
            medium.write_at(0, &[1; 4 * SECTOR]).unwrap();
            medium.sync().unwrap();
            medium.write_at(SECTOR as u64, &[2; 2 * SECTOR]).unwrap_err();
            medium.sync().unwrap_err();
            let mut left = [0; 4 * SECTOR];
            medium.restart().read_at(0, &mut left).unwrap();
            assert!(left[..SECTOR].iter().chain(&left[3 * SECTOR..]).all(|byte| *byte == 1), "seed {seed}");
            let sectors = [left[SECTOR], left[2 * SECTOR]];
            for sector in [1, 2] {
                let bytes = &left[sector * SECTOR..][..SECTOR];
                assert!(bytes.iter().all(|byte| *byte == bytes[0]), "seed {seed}: half a sector");
            }
            match sectors {
                [1, 1] => lost += 1,
                [2, 2] => kept += 1,
                _ => torn += 1,
            }
        }
        assert!(lost > 10 && kept > 10 && torn > 10, "{lost} lost, {kept} kept, {torn} torn");
    }

    #[test]
    fn a_full_device_takes_what_fits() {
        let medium = FaultMedium::new(1, Faults { capacity: Some(10), ..Faults::default() });
        assert_eq!(medium.write_at(8, &[7; 4]).unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(medium.len().unwrap(), 10);
        medium.set_faults(Faults { read_only: true, ..Faults::default() });
        assert_eq!(medium.write_at(0, &[7]).unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
    }
}
