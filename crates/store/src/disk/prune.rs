//! Letting versions go before the ring is full.

use super::{error::DiskError, ledger::Event, moves::Moves, store::DiskStore};

impl DiskStore {
    /// Lets go of all versions but the latest `keep`, and those that somebody reads and what came after them; how
    /// many went. When this returns, that is durable. Room that they took is used by later commits.
    ///
    /// # Errors
    /// [`DiskError::Limit`] if none is to be kept; or as [`commit`](Self::commit).
    pub fn prune(&mut self, keep: usize) -> Result<usize, DiskError> {
        if keep == 0 {
            return Err(DiskError::Limit { what: "versions to keep", is: 0, limit: 1 });
        }
        self.writable(self.ledger.seq)?;
        let versions = &self.ledger.versions;
        let Some(wanted) = versions.get(versions.len().saturating_sub(keep)).map(|kept| kept.seq) else {
            return Ok(0);
        };
        let leased = self.leased()?;
        let oldest = {
            let mut readers = self.shared.readers.lock();
            let read = readers.pins.keys().next().copied().into_iter().chain(leased).min();
            let oldest = wanted.min(read.unwrap_or(wanted));
            // From here on nobody begins to read what goes.
            readers.floor = readers.floor.max(oldest);
            oldest
        };
        let going = self.ledger.versions.iter().filter(|version| version.seq < oldest).count();
        if going == 0 {
            return Ok(0);
        }
        self.let_go_before(oldest)?;
        Ok(going)
    }

    /// Lets go of all versions of commits before `oldest`, which nobody reads, durably.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub(super) fn let_go_before(&mut self, oldest: u64) -> Result<(), DiskError> {
        let event = Event::Prune(oldest);
        if let Err(error) = self.write(&event, &[]) {
            self.shared.readers.lock().floor = 0;
            return Err(error);
        }
        let gone = self.happen(&event)?;
        self.shared.readers.lock().roots.retain(|_, root| root.seq >= oldest);
        self.decay.commit(&Moves::default(), &[], &gone, std::iter::empty(), &[]);
        self.let_go(&gone);
        Ok(())
    }
}
