//! revm's reusable stacks, kept by their thread from block to block.

use revm::{
    context::{FrameStack, LocalContext},
    handler::EthFrame,
    interpreter::interpreter::EthInterpreter,
};
use std::cell::RefCell;

/// Most idle stacks that a thread keeps: blocks run inside of blocks, but hardly deeper.
const IDLE: usize = 2;

/// Deepest frames that are kept. Each has a stack of 32 KiB; the median depth on mainnet is 2, and 8 is the
/// 99.9th percentile (<https://ethresear.ch/t/evm-stack-and-memory-usage-statistics-report/24209>).
const KEPT_FRAMES: usize = 32;

/// Largest EVM memory that is kept, in bytes.
const KEPT_MEMORY: usize = 1 << 20;

/// revm's reusable stacks. They hold an `Rc`, so they stay with their thread.
///
/// Within a block they grow as its transactions need, and stay so: a block of deep calls would else pay for
/// the depth in each of them. When the worker is done with the block, what grew beyond the bounds is freed.
pub(crate) struct Stacks {
    pub(crate) frames: FrameStack<EthFrame<EthInterpreter>>,
    pub(crate) local: LocalContext,
    /// Most frames that were ever on the stack.
    pub(crate) deepest: usize,
}

impl Default for Stacks {
    fn default() -> Self {
        Stacks { frames: FrameStack::new(), local: LocalContext::default(), deepest: 0 }
    }
}

thread_local! {
    static KEPT: RefCell<Vec<Stacks>> = const { RefCell::new(Vec::new()) };
}

impl Stacks {
    /// Those that this thread kept, if it did.
    pub(crate) fn kept() -> Option<Self> {
        KEPT.with(|kept| kept.borrow_mut().pop())
    }

    /// Keeps them for a later block, as far as they are within the bounds.
    pub(crate) fn keep(mut self) {
        self.shrink();
        // The thread may be ending; then the stacks do too.
        let _ = KEPT.try_with(|kept| {
            let mut kept = kept.borrow_mut();
            if kept.len() < IDLE {
                kept.push(self);
            }
        });
    }

    fn shrink(&mut self) {
        if self.deepest > KEPT_FRAMES {
            self.frames = FrameStack::new();
            self.deepest = 0;
        }
        if self.local.shared_memory_buffer.borrow().capacity() > KEPT_MEMORY {
            self.local = LocalContext::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_outgrew_its_bound_is_freed_and_the_rest_is_kept() {
        let memory = |stacks: &Stacks| stacks.local.shared_memory_buffer.borrow().capacity();
        let mut stacks = Stacks { deepest: KEPT_FRAMES, ..Stacks::default() };
        stacks.local.shared_memory_buffer.borrow_mut().reserve_exact(KEPT_MEMORY);
        stacks.shrink();
        assert_eq!((stacks.deepest, memory(&stacks)), (KEPT_FRAMES, KEPT_MEMORY));

        stacks.deepest += 1;
        stacks.shrink();
        assert_eq!((stacks.deepest, memory(&stacks)), (0, KEPT_MEMORY));

        stacks.local.shared_memory_buffer.borrow_mut().reserve_exact(KEPT_MEMORY + 1);
        stacks.shrink();
        assert!(memory(&stacks) < KEPT_MEMORY);
    }

    #[test]
    fn a_thread_keeps_few() {
        for _ in 0..IDLE + 3 {
            Stacks::default().keep();
        }
        let kept = std::iter::from_fn(Stacks::kept).count();
        assert_eq!(kept, IDLE);
    }
}
