//! Decisions read from bytes.

/// Turns bytes into decisions; when they are used up, all further decisions are zero. So every input is
/// one, a change of a byte changes one decision, and cutting an input off makes a simpler one.
#[derive(Clone, Debug)]
pub struct Choices<'a> {
    left: &'a [u8],
}

impl<'a> Choices<'a> {
    /// Decisions of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Choices { left: bytes }
    }

    /// Whether any byte is left.
    pub fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        match self.left.split_first() {
            Some((byte, left)) => {
                self.left = left;
                *byte
            }
            None => 0,
        }
    }

    /// The next eight bytes.
    pub fn word(&mut self) -> u64 {
        (0..8).fold(0, |word, _| word << 8 | u64::from(self.byte()))
    }

    /// A number below `bound`, which is at most 256.
    pub fn below(&mut self, bound: u64) -> u64 {
        u64::from(self.byte()) % bound.clamp(1, 256)
    }

    /// True in one of `n` cases, and when the bytes are used up false.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == n.clamp(1, 256) - 1
    }

    /// One of `from`, which is not empty.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// At most `most` of the next bytes.
    pub fn take(&mut self, most: usize) -> &'a [u8] {
        let (taken, left) = self.left.split_at(most.min(self.left.len()));
        self.left = left;
        taken
    }

    /// What is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.left)
    }
}
