//! Access lists (EIP-7928): decoding, and a block run by one.

use alloy_eips::eip7928::validate_block_access_list;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use alloy_rlp::Decodable;
use braid_core::Control;
use braid_evm::{
    AccessListError, AccountState, After, BlockAccessList, BlockInput, EvmKey, EvmValue, PrescribedBlock,
    Rites, access_list_rlp,
};
use braid_profiles::{Engine, ExecError, profile};
use braid_work::PreState;
use revm::{
    bytecode::Bytecode,
    context::{BlockEnv, TxEnv},
    primitives::hardfork::SpecId,
};
use std::cell::RefCell;

/// Threads that the block is run with.
const THREADS: [usize; 2] = [1, 3];

/// `slot 0 += 1; slot 1 = slot 2; selfdestruct to the caller if called without value`.
const CODE: [u8; 22] = [
    0x5f, 0x54, 0x60, 1, 0x01, 0x5f, 0x55, 0x60, 2, 0x54, 0x60, 1, 0x55, 0x34, 0x60, 20, 0x57, 0x33, 0xff,
    0x00, 0x5b, 0x00,
];

struct Fixed {
    input: BlockInput,
    pre: PreState,
    /// The list of the block.
    list: Bytes,
    engines: Vec<Box<dyn Engine>>,
}

fn account(n: u8) -> Address {
    Address::repeat_byte(n)
}

/// A block in which a contract is called, destroyed, called where it was; one is deployed; wei is withdrawn.
fn block() -> (BlockInput, PreState) {
    let mut pre = PreState::default();
    let mut put = |address: Address, state: AccountState| {
        let state = AccountState { exists: true, ..state };
        pre.store.set(EvmKey::Account(address), Some(EvmValue::Account(state)));
    };
    for n in 1..=3 {
        put(account(n), AccountState { balance: U256::from(1u64 << 60), ..AccountState::default() });
    }
    let (contract, code_hash) = (account(9), keccak256(CODE));
    put(contract, AccountState { nonce: 1, code_hash, has_storage: true, ..AccountState::default() });
    let code = Bytecode::new_raw(CODE.to_vec().into());
    pre.store.set(EvmKey::Code(code_hash), Some(EvmValue::Code(code)));
    let key = EvmKey::Slot { address: contract, generation: 0, slot: U256::from(2) };
    pre.store.set(key, Some(EvmValue::Slot(U256::from(7))));
    let tx = |from: u8, nonce, kind, value, data: &'static [u8]| TxEnv {
        caller: account(from),
        nonce,
        kind,
        value: U256::from(value),
        data: Bytes::from_static(data),
        gas_limit: 200_000,
        gas_price: 10,
        chain_id: Some(1),
        ..TxEnv::default()
    };
    let call = TxKind::Call(contract);
    let txs = vec![
        tx(1, 0, call, 1, &[]),
        tx(2, 0, call, 1, &[]),
        tx(3, 0, call, 0, &[]),
        tx(1, 1, call, 1, &[]),
        // Deploys one byte of code: STOP.
        tx(2, 1, TxKind::Create, 0, &[0x60, 1, 0x5f, 0xf3]),
    ];
    let env = BlockEnv {
        beneficiary: account(8),
        gas_limit: 30_000_000,
        prevrandao: Some(B256::ZERO),
        ..BlockEnv::default()
    };
    let mut input = BlockInput::new(1, SpecId::SHANGHAI, env, txs);
    let withdrawals = vec![(account(1), 5), (account(7), 6)];
    input.rites = Rites { after: Some(After { withdrawals, ..After::default() }), ..Rites::default() };
    (input, pre)
}

fn engine(name: &str, threads: usize) -> Box<dyn Engine> {
    let built = profile(name).and_then(|profile| (profile.build)(threads));
    built.unwrap_or_else(|error| panic!("{name}: {error}"))
}

impl Fixed {
    fn new() -> Self {
        let (input, pre) = block();
        let recorded = engine("serial", 1).execute_recorded(&input, &pre, &Control::default());
        let Some(Ok((_, list))) = recorded else { panic!("the block is valid") };
        let engines = THREADS.map(|threads| engine("bal", threads)).into();
        Fixed { input, pre, list: access_list_rlp(&list), engines }
    }
}

/// The list of the block of this target, by name.
pub fn access_lists() -> Vec<(&'static str, Vec<u8>)> {
    let list = Fixed::new().list.to_vec();
    let half = list[..list.len() / 2].to_vec();
    vec![("whole", list), ("half", half), ("empty", vec![0xc0])]
}

/// A list: what decodes is canonical and in order, by alloy's decoder too; and the block runs by it if and
/// only if it is the block's.
pub(crate) fn access_list(data: &[u8]) {
    thread_local! {
        static FIXED: RefCell<Option<Fixed>> = const { RefCell::new(None) };
    }
    FIXED.with_borrow_mut(|fixed| {
        // Taken out, so that a panic leaves none behind.
        let mut all = fixed.take().unwrap_or_else(Fixed::new);
        decode(data, &all.input);
        let bytes = Bytes::copy_from_slice(data);
        let mut first: Option<Result<(), ExecError>> = None;
        for engine in &mut all.engines {
            engine.prepare(&all.input, &all.pre, Some(&bytes));
            let done = engine.execute(&all.input, &all.pre, &Control::default()).map(drop);
            assert_eq!(done.is_ok(), bytes == all.list, "{done:?}");
            assert_eq!(*first.get_or_insert_with(|| done.clone()), done);
        }
        *fixed = Some(all);
    });
}

fn decode(data: &[u8], input: &BlockInput) {
    let decoded = PrescribedBlock::decode(data, input).map(drop);
    let mut rest = data;
    let theirs = BlockAccessList::decode(&mut rest).ok().filter(|_| rest.is_empty());
    let canonical = theirs.is_some_and(|list| {
        validate_block_access_list(&list, input.txs.len()).is_ok() && access_list_rlp(&list).as_ref() == data
    });
    match decoded {
        Ok(()) => assert!(canonical, "decoded, though not canonical"),
        Err(AccessListError::Size { .. } | AccessListError::Items { .. }) => {}
        Err(error) => assert!(!canonical, "canonical, but {error}"),
    }
}
