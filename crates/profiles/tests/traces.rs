//! Traced execution: the trace of a transaction is that of serial under every schedule, and a tracer
//! changes nothing.

mod common;

use alloy_primitives::{Bytes, TxKind};
use braid_core::{Control, Scheduler};
use braid_evm::{BlockOutput, EvmShared, ExecOptions, TraceOptions, execute_block, execute_block_with};
use braid_sched::{BlockStm, Occ, Pool, Serial};
use common::{Asm, ETHER, World, account, op, schedule_seeds};
use revm::primitives::hardfork::SpecId;
use std::sync::Arc;

/// Transfers, a counter that everyone adds to, deployments, failures.
fn world(spec: SpecId) -> World {
    let mut world = World::new(spec);
    let (counter, fails) = (account(100), account(101));
    let code = Asm::default().push(0).op(&[op::SLOAD]).push(1).op(&[op::ADD]).sstore(0);
    world.contract(counter, code.call(account(102), 1).stop(), 20);
    world.contract(fails, vec![0xfe], 0);
    for n in 0..24 {
        world.fund(account(n), ETHER);
        match n % 4 {
            0 => world.call(account(n), 0, account(200 + n), 1),
            3 => world.call(account(n), 0, fails, 0),
            1 if n % 8 == 1 => {
                let deployed = Asm::default().push(1).sstore(0);
                world.tx(account(n), 0, TxKind::Create, 0, Bytes::from(deployed.deployer()))
            }
            _ => world.call(account(n), 0, counter, 0),
        };
    }
    world
}

fn run<C: Scheduler>(scheduler: &C, world: &World, trace: Option<TraceOptions>) -> BlockOutput {
    let options = ExecOptions { trace, ..ExecOptions::default() };
    let (shared, control) = (EvmShared::default(), Control::default());
    execute_block_with(options, scheduler, &shared, &world.input, &world.pre, &(), &control)
        .expect("a valid block")
}

#[test]
fn every_schedule_gives_the_traces_of_serial() {
    for spec in [SpecId::HOMESTEAD, SpecId::LONDON, SpecId::OSAKA, SpecId::AMSTERDAM] {
        let world = world(spec);
        let plain = execute_block(
            &Serial::new(),
            &EvmShared::default(),
            &world.input,
            &world.pre,
            &(),
            &Control::default(),
        );
        let plain = plain.expect("a valid block").into_block(&world.pre).unwrap();
        let all = TraceOptions { memory: true, return_data: true, ..TraceOptions::default() };
        let expected = run(&Serial::new(), &world, Some(all));
        assert_eq!(expected.traces.len(), world.input.txs.len());
        let traces = expected.traces.clone();
        let mut traced = expected.into_block(&world.pre).unwrap();
        traced.stats = plain.stats;
        assert_eq!(traced, plain, "{spec:?}");
        for threads in [2, 4] {
            for seed in schedule_seeds(4) {
                let at = format!("{spec:?} with {threads} threads; repeat with BRAID_SEED={seed}");
                let pool = Arc::new(Pool::new(threads));
                let stm = run(&BlockStm::new(pool.clone()).chaos(seed), &world, Some(all));
                assert!(stm.traces == traces, "block_stm {at}");
                let occ = run(&Occ::new(pool).chaos(seed), &world, Some(all));
                assert!(occ.traces == traces, "occ {at}");
            }
        }
    }
}

#[test]
fn a_trace_has_one_line_for_each_instruction() {
    let mut world = World::new(SpecId::LONDON);
    world.fund(account(0), ETHER);
    world.contract(account(1), Asm::default().push(7).push(1).op(&[op::ADD]).sstore(3).stop(), 0);
    world.call(account(0), 0, account(1), 0);
    let output = run(&Serial::new(), &world, Some(TraceOptions::default()));
    let expected = r#"{"pc":0,"op":96,"gas":"0xef038","gasCost":"0x3","memSize":0,"stack":[],"depth":1,"refund":0,"opName":"PUSH1"}
{"pc":2,"op":96,"gas":"0xef035","gasCost":"0x3","memSize":0,"stack":["0x7"],"depth":1,"refund":0,"opName":"PUSH1"}
{"pc":4,"op":1,"gas":"0xef032","gasCost":"0x3","memSize":0,"stack":["0x7","0x1"],"depth":1,"refund":0,"opName":"ADD"}
{"pc":5,"op":96,"gas":"0xef02f","gasCost":"0x3","memSize":0,"stack":["0x8"],"depth":1,"refund":0,"opName":"PUSH1"}
{"pc":7,"op":85,"gas":"0xef02c","gasCost":"0x5654","memSize":0,"stack":["0x8","0x3"],"depth":1,"refund":0,"opName":"SSTORE"}
{"pc":8,"op":0,"gas":"0xe99d8","gasCost":"0x0","memSize":0,"stack":[],"depth":1,"refund":0,"opName":"STOP"}
{"output":"","gasUsed":"0x5660"}
"#;
    assert_eq!(String::from_utf8(output.traces[0].clone()).unwrap(), expected);

    // Without the stack; and cut off after the second line.
    let bare = TraceOptions { stack: false, limit: 150, ..TraceOptions::default() };
    let output = run(&Serial::new(), &world, Some(bare));
    let text = String::from_utf8(output.traces[0].clone()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].contains(r#""stack":null"#), "{text}");
    assert_eq!(lines[2..], [r#"{"truncated":true,"limit":150}"#, r#"{"output":"","gasUsed":"0x5660"}"#]);
    assert!(run(&Serial::new(), &world, None).traces.is_empty());
}

#[test]
fn a_trace_says_why_an_instruction_failed_and_what_is_refunded() {
    let mut world = World::new(SpecId::LONDON);
    let (outer, inner) = (account(1), account(2));
    world.fund(account(0), ETHER);
    world.contract(inner, Asm::default().push(0).sstore(0).stop(), 0);
    world.slot(inner, 0, 1);
    // The inner call clears a slot; then the outer one jumps to nowhere.
    let code = Asm::default().call(inner, 0).op(&[op::POP]).push(1).push(0xff).op(&[op::JUMPI]);
    world.contract(outer, code.stop(), 0);
    world.call(account(0), 0, outer, 0);
    let output = run(&Serial::new(), &world, Some(TraceOptions::default()));
    let text = String::from_utf8(output.traces[0].clone()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let inner_stop = lines.iter().find(|line| line.contains(r#""depth":2"#) && line.contains("STOP"));
    assert!(inner_stop.is_some_and(|line| line.contains(r#""refund":4800"#)), "{text}");
    let jump = lines[lines.len() - 2];
    assert!(jump.contains(r#""opName":"JUMPI","error":"invalid jump destination""#), "{text}");
    assert!(jump.contains(r#""depth":1,"refund":4800"#), "{text}");
    assert!(lines[lines.len() - 1].ends_with(r#""error":"invalid jump destination"}"#), "{text}");
}

#[test]
fn a_tracer_refuses_creation_where_storage_is_left() {
    let mut world = World::new(SpecId::OSAKA);
    let (deployer, factory) = (account(0), account(1));
    world.fund(deployer, ETHER);
    world.fund(deployer.create(0), 1);
    world.slot(deployer.create(0), 0, 1);
    world.contract(factory, Asm::default().push(0).push(0).push(0).op(&[op::CREATE]).sstore(0).stop(), 0);
    let taken = factory.create(1);
    world.fund(taken, 1);
    world.slot(taken, 0, 1);
    world.slot(factory, 0, 5);
    world.tx(deployer, 0, TxKind::Create, 0, Asm::default().push(1).sstore(0).deployer());
    world.call(deployer, 1, factory, 0);
    let plain = run(&Serial::new(), &world, None).into_block(&world.pre).unwrap();
    let traced = run(&Serial::new(), &world, Some(TraceOptions::default())).into_block(&world.pre).unwrap();
    assert_eq!(plain, traced);
    assert_eq!(plain.results[0].status, braid_evm::Status::Halt);
    assert_eq!(common::slot_after(&plain, factory, 0), Some(alloy_primitives::U256::ZERO));
}
