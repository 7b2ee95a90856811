//! A hash index from keys to positions in an arena, emptied in constant time.

/// Open addressing with linear probing over `epoch << 32 | position` cells. A cell of another epoch is
/// free, so clearing is one increment, however large the index has grown. Nothing is ever removed.
#[derive(Debug, Default)]
pub(crate) struct Index {
    cells: Vec<u64>,
    epoch: u32,
    len: usize,
}

const SMALLEST: usize = 32;

impl Index {
    /// Forgets everything, keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.len = 0;
        self.epoch = self.epoch.wrapping_add(1);
        if self.epoch == 0 {
            self.cells.fill(0);
            self.epoch = 1;
        }
    }

    /// What it takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.cells.capacity() * size_of::<u64>()
    }

    /// The position stored under `hash` for which `is` holds.
    pub(crate) fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
        if self.len == 0 {
            return None;
        }
        let mask = self.cells.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let cell = self.cells[at];
            if (cell >> 32) as u32 != self.epoch {
                return None;
            }
            if is(cell as u32) {
                return Some(cell as u32);
            }
            at = (at + 1) & mask;
        }
    }

    /// Stores `position`, which must not be stored yet; `hash_of` gives the hashes of earlier ones.
    pub(crate) fn insert(&mut self, hash: u64, position: u32, hash_of: impl Fn(u32) -> u64) {
        if self.epoch == 0 {
            self.clear();
        }
        if (self.len + 1) * 2 > self.cells.len() {
            let grown = (self.cells.len() * 2).max(SMALLEST);
            let old = std::mem::replace(&mut self.cells, vec![0; grown]);
            for cell in old {
                if (cell >> 32) as u32 == self.epoch {
                    self.place(hash_of(cell as u32), cell as u32);
                }
            }
        }
        self.place(hash, position);
        self.len += 1;
    }

    fn place(&mut self, hash: u64, position: u32) {
        let mask = self.cells.len() - 1;
        let mut at = hash as usize & mask;
        while (self.cells[at] >> 32) as u32 == self.epoch {
            at = (at + 1) & mask;
        }
        self.cells[at] = u64::from(self.epoch) << 32 | u64::from(position);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_inserted_and_forgets_on_clear() {
        let mut index = Index::default();
        // A hash with many collisions on purpose.
        let hash = |key: u32| u64::from(key % 7);
        for round in 0..3 {
            for key in 0..500 {
                assert_eq!(index.find(hash(key), |at| at == key), None, "round {round}");
                index.insert(hash(key), key, hash);
            }
            for key in 0..500 {
                assert_eq!(index.find(hash(key), |at| at == key), Some(key));
            }
            index.clear();
        }
    }

    #[test]
    fn survives_the_end_of_its_epochs() {
        let mut index = Index { epoch: u32::MAX, ..Index::default() };
        index.insert(1, 1, u64::from);
        index.clear();
        assert_eq!(index.epoch, 1);
        assert_eq!(index.find(1, |_| true), None);
        index.insert(1, 2, u64::from);
        assert_eq!(index.find(1, |_| true), Some(2));
    }
}
