//! Our loop against revm's, on single instructions at every edge and on random code.

use alloy_primitives::{Address, Bytes, U256};
use revm::{
    bytecode::{Bytecode, opcode as op},
    interpreter::{
        CallInput, Gas, InputsImpl, InstructionResult, InstructionTable, Interpreter, InterpreterAction,
        SharedMemory,
        host::DummyHost,
        instruction_table,
        instructions::gas_table_spec,
        interpreter::{EthInterpreter, ExtBytecode},
        interpreter_types::Jumps,
    },
    primitives::hardfork::SpecId,
};
use std::collections::BTreeMap;

const TABLE: InstructionTable<EthInterpreter, DummyHost> = instruction_table();

/// One of each set of rules that these instructions know.
const SPECS: [SpecId; 6] = [
    SpecId::FRONTIER,
    SpecId::BYZANTIUM,
    SpecId::PETERSBURG,
    SpecId::LONDON,
    SpecId::SHANGHAI,
    SpecId::OSAKA,
];

/// splitmix64
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    fn word(&mut self) -> U256 {
        let limbs = [self.next(), self.next(), self.next(), self.next()];
        match self.below(10) {
            0 => U256::ZERO,
            1 => U256::MAX - U256::from(self.below(3)),
            2 => U256::from_limbs(limbs),
            3 => U256::from(1) << self.below(256) as usize,
            4 => U256::from(u64::MAX) + U256::from(self.below(2)),
            5 => U256::from_limbs([self.below(70), 0, 0, self.below(2) << 63]),
            6 => U256::from(limbs[0]),
            7 => U256::from(200 + self.below(120)),
            _ => U256::from(self.below(70)),
        }
    }
}

/// What a frame begins with.
#[derive(Clone, Debug)]
struct Start {
    spec: SpecId,
    code: Vec<u8>,
    stack: Vec<U256>,
    gas: u64,
    /// Bytes of memory of the frames around this one.
    below: usize,
    input: CallInput,
    returned: usize,
}

/// All that can be seen of a frame that has stopped.
#[derive(Debug, PartialEq)]
struct End {
    action: InterpreterAction,
    gas: Gas,
    stack: Vec<U256>,
    memory: Vec<u8>,
    pc: usize,
    returned: Bytes,
}

impl Start {
    fn new(code: &[u8], stack: &[U256], gas: u64, spec: SpecId) -> Self {
        let input = CallInput::Bytes(Bytes::from_static(b"something to read, longer than one word"));
        Start { spec, code: code.to_vec(), stack: stack.to_vec(), gas, below: 0, input, returned: 0 }
    }

    fn run(
        &self,
        run: impl FnOnce(&mut Interpreter<EthInterpreter>, &mut DummyHost) -> InterpreterAction,
    ) -> End {
        let code = ExtBytecode::new(Bytecode::new_legacy(Bytes::copy_from_slice(&self.code)));
        let input = InputsImpl {
            target_address: Address::repeat_byte(0x7a),
            caller_address: Address::repeat_byte(0x3c),
            call_value: U256::from(0x0102_0304_u64) << 100,
            input: self.input.clone(),
            ..InputsImpl::default()
        };
        let mut around = SharedMemory::new();
        around.resize(self.below);
        let mut interpreter =
            Interpreter::new(around.new_child_context(), code, input, false, self.spec, self.gas);
        interpreter.stack.data_mut().extend_from_slice(&self.stack);
        interpreter.return_data.0 = vec![1; self.returned].into();
        let action = run(&mut interpreter, &mut DummyHost::new(self.spec));
        End {
            action,
            gas: interpreter.gas,
            stack: interpreter.stack.data().clone(),
            memory: interpreter.memory.context_memory().to_vec(),
            pc: interpreter.bytecode.pc(),
            returned: interpreter.return_data.0.clone(),
        }
    }

    /// Runs it in both loops; `at` says what failed.
    fn check(&self, at: &str) -> Option<InstructionResult> {
        let gas = gas_table_spec(self.spec);
        let ours = self.run(|interpreter, host| super::run(interpreter, &TABLE, &gas, host));
        let theirs = self.run(|interpreter, host| interpreter.run_plain(&TABLE, &gas, host));
        assert_eq!(ours, theirs, "{at}: {self:?}");
        theirs.action.instruction_result()
    }
}

#[test]
fn every_instruction_at_every_edge() {
    let mut rng = Rng(1);
    let words: Vec<U256> = (0..1024).map(|_| rng.word()).collect();
    for spec in SPECS {
        for code in (0..=u8::MAX).filter(|code| *code != op::DIFFICULTY) {
            // An immediate, if it wants one, and something to jump to.
            let bytes = [&[code][..], &[op::JUMPDEST; 33]].concat();
            for depth in [0, 1, 2, 3, 7, 16, 17, 1022, 1023, 1024] {
                for gas in (0..14).chain([100_000]) {
                    let stack = &words[words.len() - depth..];
                    Start::new(&bytes, stack, gas, spec).check("single");
                }
            }
        }
    }
}

/// Amounts of gas at which one of a few instructions runs out of it, and enough.
const AMOUNTS: [u64; 20] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 19, 1000];

#[test]
fn pairs_at_every_edge() {
    let firsts: [&[u8]; 9] = [
        &[op::PUSH1, 5],
        &[op::PUSH2, 0, 5],
        &[op::PUSH2, 0, 4],
        &[op::PUSH2, 1, 5],
        &[op::POP],
        &[op::SWAP1],
        &[op::SWAP2],
        &[op::DUP2],
        &[op::ISZERO],
    ];
    for first in firsts {
        for second in (0..=u8::MAX).filter(|code| *code != op::DIFFICULTY) {
            let code = [first, &[second, op::POP, op::JUMPDEST, op::JUMPDEST, op::PUSH1]].concat();
            for depth in [0, 1, 2, 3, 1023, 1024] {
                for gas in AMOUNTS {
                    for top in [0, 1] {
                        let stack = vec![U256::from(top); depth];
                        Start::new(&code, &stack, gas, SpecId::OSAKA).check("pair");
                    }
                }
            }
        }
    }
}

#[test]
fn branches_at_every_edge() {
    let selector = [op::PUSH4, 0, 0, 0, 7];
    let tests: [&[u8]; 12] = [
        &[op::ISZERO],
        &[op::EQ],
        &[op::LT],
        &[op::GT],
        &[op::SLT],
        &[op::SGT],
        &[op::LT, op::ISZERO],
        &[op::SGT, op::ISZERO],
        &[op::EQ, op::NOT],
        &[&selector[..], &[op::EQ]].concat(),
        &[&selector[..], &[op::GT]].concat(),
        &[&[op::DUP1][..], &selector[..], &[op::EQ]].concat(),
    ];
    let words = [U256::ZERO, U256::from(7), U256::MAX, U256::from(1) << 255];
    for test in tests {
        for to in 0..16 {
            // JUMPDEST follows, so that it is gone to in either way, or to another one, or to none.
            let rest = [op::PUSH2, 0, to, op::JUMPI, op::JUMPDEST, op::PC, op::JUMPDEST, op::STOP];
            let code = [test, &rest].concat();
            for depth in [0, 1, 2, 3, 1022, 1023, 1024] {
                for gas in (0..26).chain([1000]) {
                    for (one, other) in [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 3), (3, 1)] {
                        let mut stack = vec![words[other]; depth];
                        if let Some(top) = stack.last_mut() {
                            *top = words[one];
                        }
                        Start::new(&code, &stack, gas, SpecId::OSAKA).check("branch");
                    }
                }
            }
        }
    }
}

/// Code of common instructions and pairs, destinations good and bad, and now and then any byte.
fn code(rng: &mut Rng) -> Vec<u8> {
    let plain: Vec<u8> = (op::ADD..=op::SIGNEXTEND).chain(op::LT..=op::SAR).collect();
    let pushed = [op::JUMP, op::JUMPI, op::ADD, op::MSTORE, op::MLOAD, op::AND, op::EQ, op::SHR, op::MSTORE8];
    let others = [
        op::GAS,
        op::PC,
        op::MSIZE,
        op::CALLER,
        op::ADDRESS,
        op::CALLVALUE,
        op::CALLDATASIZE,
        op::CALLDATALOAD,
        op::RETURNDATASIZE,
        op::RETURN,
        op::REVERT,
        op::KECCAK256,
        op::SLOAD,
        op::SSTORE,
        op::CALL,
        op::MCOPY,
        op::PUSH0,
        op::STOP,
    ];
    let mut code = Vec::new();
    for _ in 0..1 + rng.below(60) {
        match rng.below(16) {
            0..=3 => code.push(op::DUP1 + rng.below(6) as u8),
            4 => code.push(op::SWAP1 + rng.below(4) as u8),
            5 => code.push(op::POP),
            6 => code.push(op::JUMPDEST),
            7..=8 => code.push(rng.pick(&plain)),
            9..=11 => {
                // A small number: an amount, an offset, or a destination.
                let to = rng.below(120) as u8;
                match rng.below(3) {
                    0 => code.extend([op::PUSH1, to]),
                    1 => code.extend([op::PUSH2, u8::from(rng.below(9) == 0), to]),
                    _ => code.extend([op::PUSH4, 0, 0, 0, to]),
                }
                if rng.below(3) > 0 {
                    code.push(rng.pick(&pushed));
                }
            }
            12 => {
                let bytes = 1 + rng.below(32);
                code.push(op::PUSH1 + bytes as u8 - 1);
                code.extend((0..bytes).map(|_| rng.next() as u8));
            }
            13 => code.extend([op::ISZERO, op::PUSH2, 0, rng.below(120) as u8, op::JUMPI]),
            14 => code.push(rng.pick(&others)),
            // Revm's own host of tests has nothing for DIFFICULTY.
            _ if rng.below(20) == 0 => {
                code.push(Some(rng.next() as u8).filter(|code| *code != op::DIFFICULTY).unwrap_or_default())
            }
            _ => code.extend([op::DUP1 + rng.below(16) as u8, op::SWAP1 + rng.below(16) as u8]),
        }
    }
    code
}

#[test]
fn random_code() {
    let runs = std::env::var("BRAID_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(60_000);
    let first = std::env::var("BRAID_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    let mut seen = BTreeMap::new();
    for seed in first..first + runs {
        let mut rng = Rng(seed);
        let code = code(&mut rng);
        let depth = match rng.below(4) {
            0 => rng.below(3),
            1 => 1010 + rng.below(15),
            _ => 4 + rng.below(20),
        };
        let stack: Vec<U256> = (0..depth).map(|_| rng.word()).collect();
        let gas = match rng.below(3) {
            0 => rng.below(60),
            1 => rng.below(600),
            _ => 6000,
        };
        let mut start = Start::new(&code, &stack, gas, rng.pick(&SPECS));
        start.below = rng.pick(&[0, 0, 64, 1024]);
        if start.below > 0 && rng.below(2) == 0 {
            start.input = CallInput::SharedBuffer(0..start.below / 2);
        }
        start.returned = rng.pick(&[0, 7]);
        let end = start.check(&format!("seed {seed} (BRAID_SEED)"));
        *seen.entry(end.map(|end| format!("{end:?}")).unwrap_or_default()).or_insert(0_u64) += 1;
    }
    // All ends are there, or the generator is off.
    if runs >= 60_000 {
        for end in [
            "",
            "Stop",
            "Return",
            "Revert",
            "OutOfGas",
            "MemoryOOG",
            "InvalidOperandOOG",
            "StackUnderflow",
            "StackOverflow",
            "InvalidJump",
            "NotActivated",
            "OpcodeNotFound",
        ] {
            assert!(seen.get(end).is_some_and(|times| *times >= 20), "{end:?}: {seen:?}");
        }
    }
}
