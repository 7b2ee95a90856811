//! Analysed code is shared by hash: between workers, and from block to block.

mod common;

use braid_core::{Control, Reader, State, StoreError};
use braid_evm::{EvmKey, EvmShared, EvmValue, execute_block};
use braid_sched::{BlockStm, Pool};
use braid_work::PreState;
use common::{Asm, ETHER, World, account, op};
use revm::primitives::hardfork::SpecId;
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

/// Counts how often code is asked for.
struct Counting<'a> {
    pre: &'a PreState,
    codes: AtomicU32,
}

impl State<EvmKey, EvmValue> for Counting<'_> {
    type Reader<'b>
        = &'b Self
    where
        Self: 'b;

    fn reader(&self) -> Result<&Self, StoreError> {
        Ok(self)
    }
}

impl Reader<EvmKey, EvmValue> for &Counting<'_> {
    fn get(&mut self, key: &EvmKey) -> Result<Option<EvmValue>, StoreError> {
        if matches!(key, EvmKey::Code(_)) {
            // Relaxed: a count that orders nothing.
            self.codes.fetch_add(1, Ordering::Relaxed);
        }
        Ok(self.pre.store.get(key).cloned())
    }
}

#[test]
fn code_is_asked_for_by_the_first_block_only() {
    let mut world = World::new(SpecId::OSAKA);
    let code = Asm::default().push(0).op(&[op::SLOAD]).push(1).op(&[op::ADD]).sstore(0).stop();
    for n in 0..40 {
        world.fund(account(n), ETHER);
        world.contract(account(100 + n), code.clone(), 0);
        world.call(account(n), 0, account(100 + n), 0);
    }
    let state = Counting { pre: &world.pre, codes: AtomicU32::new(0) };
    let (scheduler, shared) = (BlockStm::new(Arc::new(Pool::new(4))), EvmShared::default());
    let run = || {
        let done = execute_block(&scheduler, &shared, &world.input, &state, &(), &Control::default());
        assert_eq!(done.expect("a valid block").results.len(), 40);
        state.codes.swap(0, Ordering::Relaxed)
    };
    let first = run();
    // At most once a worker: two may ask at the same time.
    assert!((1..=4).contains(&first), "40 accounts of one code asked {first} times");
    assert_eq!((run(), run()), (0, 0));
}
