//! Analysed code is shared by hash: between workers, and from block to block.

mod common;

use braid_core::Control;
use braid_evm::{EvmKey, EvmShared, execute_block};
use braid_sched::{BlockStm, Pool};
use common::{Asm, ETHER, Tapped, World, account, op};
use revm::primitives::hardfork::SpecId;
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

#[test]
fn code_is_asked_for_by_the_first_block_only() {
    let mut world = World::new(SpecId::OSAKA);
    let code = Asm::default().push(0).op(&[op::SLOAD]).push(1).op(&[op::ADD]).sstore(0).stop();
    for n in 0..40 {
        world.fund(account(n), ETHER);
        world.contract(account(100 + n), code.clone(), 0);
        world.call(account(n), 0, account(100 + n), 0);
    }
    let codes = AtomicU32::new(0);
    let count = |key: &EvmKey| {
        // Relaxed, here and below: a count that orders nothing.
        codes.fetch_add(u32::from(matches!(key, EvmKey::Code(_))), Ordering::Relaxed);
        Ok(())
    };
    let state = Tapped { pre: &world.pre, tap: count };
    let (scheduler, shared) = (BlockStm::new(Arc::new(Pool::new(4))), EvmShared::default());
    let run = || {
        let done = execute_block(&scheduler, &shared, &world.input, &state, &(), &Control::default());
        assert_eq!(done.expect("a valid block").results.len(), 40);
        codes.swap(0, Ordering::Relaxed)
    };
    let first = run();
    // At most once a worker: two may ask at the same time.
    assert!((1..=4).contains(&first), "40 accounts of one code asked {first} times");
    assert_eq!((run(), run()), (0, 0));
}
