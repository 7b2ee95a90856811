//! The short way beside the long one, on random transactions that are nearly plain transfers, and on random credits
//! and drains.

use crate::{
    AccountSeen, AccountState, BlockInput, EvmKey, EvmRules, EvmSeen, EvmShared, EvmTx, EvmValue, EvmVm,
    StepVm, SystemTx, access,
};
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, TxKind, U256};
use braid_core::{Effects, Halt, Read, ReadId, View, Vm};
use revm::{
    bytecode::Bytecode,
    context::{BlockEnv, CfgEnv, TxEnv},
    context_interface::{block::BlobExcessGasAndPrice, transaction::AccessListItem},
    primitives::hardfork::SpecId,
};
use std::{
    collections::{BTreeMap, HashMap},
    fmt::Debug,
    ops::Range,
    sync::Arc,
};

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % bound
    }

    fn one_in(&mut self, odds: u64) -> bool {
        self.below(odds) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// A state that records what is learned from it.
#[derive(Default)]
struct Recorder {
    state: HashMap<EvmKey, EvmValue>,
    is_final: bool,
    reads: Vec<EvmKey>,
    seen: BTreeMap<u32, EvmSeen>,
    assumed: Vec<(EvmKey, EvmSeen)>,
}

impl View<EvmKey, EvmValue> for Recorder {
    fn read(&mut self, key: &EvmKey) -> Result<Read<EvmValue>, Halt> {
        assert!(!self.reads.contains(key), "{key:?} is read twice");
        self.reads.push(*key);
        Ok(Read { id: ReadId(self.reads.len() as u32 - 1), value: self.state.get(key).cloned() })
    }

    fn narrow(&mut self, read: ReadId, seen: EvmSeen) {
        assert!(self.seen.insert(read.0, seen).is_none(), "narrowed twice");
    }

    fn assume(&mut self, key: &EvmKey, seen: EvmSeen) {
        self.assumed.push((*key, seen));
    }

    fn is_final(&self) -> bool {
        self.is_final
    }

    fn scan(&mut self, _: Range<EvmKey>) -> Result<Vec<(EvmKey, EvmValue)>, Halt> {
        unreachable!("the EVM scans nothing")
    }
}

const SPECS: [SpecId; 9] = [
    SpecId::FRONTIER,
    SpecId::TANGERINE,
    SpecId::SPURIOUS_DRAGON,
    SpecId::ISTANBUL,
    SpecId::BERLIN,
    SpecId::LONDON,
    SpecId::CANCUN,
    SpecId::PRAGUE,
    SpecId::OSAKA,
];

/// Three precompiles (or places for them), the rest are anything.
fn place(number: u8) -> Address {
    if number <= 3 { Address::with_last_byte(number) } else { Address::repeat_byte(number) }
}

fn address(rng: &mut Rng) -> Address {
    place(1 + rng.below(13) as u8)
}

fn state(rng: &mut Rng, codes: &[Bytecode]) -> HashMap<EvmKey, EvmValue> {
    let mut state = HashMap::new();
    for number in 1..=13 {
        if rng.one_in(5) {
            continue;
        }
        let balance = match rng.below(8) {
            0 => U256::ZERO,
            1 => U256::MAX - U256::from(rng.below(3)),
            2 => U256::from(rng.below(21_000 * 30)),
            _ => U256::from(1_u64 << 60),
        };
        let mut account =
            AccountState { exists: true, balance, nonce: rng.below(2), ..AccountState::default() };
        if rng.one_in(4) {
            let code = &codes[rng.below(codes.len() as u64) as usize];
            account.code_hash = code.hash_slow();
            state.insert(EvmKey::Code(account.code_hash), EvmValue::Code(code.clone()));
        }
        if rng.one_in(6) {
            account = AccountState { generation: 3, ..AccountState::default() };
        }
        state.insert(EvmKey::Account(place(number)), EvmValue::Account(account));
    }
    state
}

/// A plain transfer with few things wrong with it, or none.
fn transaction(rng: &mut Rng, env: &BlockEnv) -> TxEnv {
    let mut tx = TxEnv {
        tx_type: rng.pick(&[0, 0, 0, 1, 2, 2]),
        caller: address(rng),
        kind: TxKind::Call(address(rng)),
        gas_limit: rng.pick(&[21_000, 21_001, 60_000, 1 << 24]),
        gas_price: rng.pick(&[7, 8, 20]),
        gas_priority_fee: rng.pick(&[Some(0), Some(3), Some(7)]),
        value: U256::from(1 + rng.below(1000)),
        nonce: rng.below(2),
        chain_id: Some(1),
        ..TxEnv::default()
    };
    for _ in 0..rng.below(3) {
        match rng.below(16) {
            0 => tx.kind = TxKind::Create,
            1 => tx.kind = TxKind::Call(tx.caller),
            2 => tx.gas_price = rng.pick(&[0, 6, u128::MAX]),
            3 => tx.tx_type = rng.pick(&[3, 4]),
            4 => tx.gas_limit = rng.pick(&[20_999, 1 << 25]),
            5 => tx.gas_priority_fee = rng.pick(&[None, Some(21)]),
            6 => tx.value = U256::ZERO,
            7 => tx.value = U256::MAX - U256::from(rng.below(3)),
            8 => tx.value = U256::from(21_000 * rng.below(30)),
            9 => tx.nonce = rng.pick(&[2, u64::MAX]),
            10 => tx.chain_id = rng.pick(&[None, Some(5)]),
            11 => tx.data = Bytes::from_static(&[1, 0]),
            12 => tx.access_list.0.push(AccessListItem { address: address(rng), storage_keys: Vec::new() }),
            13 => tx.blob_hashes.push(B256::with_last_byte(1)),
            _ => {
                // What the sender has is just enough, or not quite.
                tx.gas_limit = 21_000;
                tx.gas_price = u128::from(env.basefee).max(10);
                tx.value =
                    U256::from(1_u64 << 60) - U256::from(21_000 * tx.gas_price) + U256::from(rng.below(2));
            }
        }
    }
    tx
}

/// What an execution gave, in words, and what it learned.
type Told = (String, HashMap<EvmKey, Option<EvmSeen>>, Vec<(EvmKey, EvmSeen)>);

fn run<M>(vm: &M, tx: &EvmTx, state: &HashMap<EvmKey, EvmValue>, is_final: bool) -> Told
where
    M: Vm<Tx = EvmTx, Key = EvmKey, Value = EvmValue>,
    M::Output: Debug,
{
    let mut view = Recorder { state: state.clone(), is_final, ..Recorder::default() };
    let mut effects = Effects::default();
    let mut worker = vm.worker();
    let told = match vm.execute(&mut worker, tx, &mut view, &mut effects) {
        Ok(()) => format!("{:?} {:?} {}", effects.writes, effects.output, effects.work),
        Err(stop) => format!("{stop:?}"),
    };
    let seen = |(at, key): (usize, &EvmKey)| (*key, view.seen.get(&(at as u32)).copied());
    (told, view.reads.iter().enumerate().map(seen).collect(), view.assumed)
}

/// The long way may have stopped before it read the payee; then the short one has learned nothing of it.
fn same(short: Told, long: Told, context: &str) {
    assert_eq!(short.0, long.0, "{context}");
    assert_eq!(short.2, long.2, "{context}");
    // Code is read once in all, and then shared.
    for (key, seen) in long.1.iter().filter(|(key, _)| !matches!(key, EvmKey::Code(_))) {
        assert_eq!(short.1.get(key), Some(seen), "{context}: {key:?}");
    }
    let nothing = Some(EvmSeen::Account(AccountSeen::NOTHING));
    for (key, seen) in short.1.into_iter().filter(|(key, _)| !matches!(key, EvmKey::Code(_))) {
        assert!(long.1.contains_key(&key) || seen == nothing, "{context}: {key:?}");
    }
}

#[test]
fn the_short_way_is_the_long_way() {
    let seed = std::env::var("BRAID_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1_u64);
    let codes = [
        Bytecode::new_legacy(Bytes::from_static(&[0])),
        Bytecode::new_legacy(Bytes::from_static(&[0x34, 0x5f, 0x55])),
        Bytecode::new_eip7702(place(9)),
        Bytecode::new_eip7702(place(2)),
    ];
    let shared = EvmShared::default();
    let mut taken = 0;
    let mut emptied = 0;
    let mut earned = [0; 2];
    let user = &EvmTx::User(0);
    for round in 0..100_000 {
        let mut rng = Rng(seed.wrapping_mul(1 << 32).wrapping_add(round));
        let spec = rng.pick(&SPECS);
        let mut env = BlockEnv { beneficiary: address(&mut rng), gas_limit: 1 << 30, ..BlockEnv::default() };
        env.basefee = if spec.is_enabled_in(SpecId::LONDON) { 7 } else { 0 };
        env.prevrandao = (!rng.one_in(50)).then(Default::default);
        env.blob_excess_gas_and_price =
            (!rng.one_in(50)).then_some(BlobExcessGasAndPrice { excess_blob_gas: 0, blob_gasprice: 1 });
        let tx = transaction(&mut rng, &env);
        let state = state(&mut rng, &codes);
        let context = format!("seed {seed}, round {round}: {spec:?} {tx:?} {env:?}");
        let is_final = rng.one_in(2);
        let input = BlockInput::new(1, spec, env, vec![tx]);
        let vm = || EvmVm::new(&shared, &input).with_touches();
        let mut long = vm();
        long.transfers = None;
        same(run(&vm(), user, &state, is_final), run(&long, user, &state, is_final), &context);

        let cfg = || CfgEnv::new_with_spec(spec).with_chain_id(1);
        let vm = StepVm::new(&shared, &input, cfg(), EvmRules::default()).expect("not a draft");
        let mut long = StepVm::new(&shared, &input, cfg(), EvmRules::default()).expect("not a draft");
        long.without_transfers();
        same(run(&vm, user, &state, is_final), run(&long, user, &state, is_final), &context);

        let mut view = Recorder { state: state.clone(), is_final, ..Recorder::default() };
        let vm = EvmVm::new(&shared, &input);
        let short = vm.transfer(&input.txs[0], &mut view, &mut Vec::new(), &mut access::Told::default());
        if let Ok(Ok(transfer)) = short {
            taken += 1;
            let to = state.get(&EvmKey::Account(transfer.to));
            emptied += u32::from(to.is_none());
            earned[0] += u32::from(transfer.from == transfer.beneficiary);
            earned[1] += u32::from(transfer.to == transfer.beneficiary);
            let code = |to: &EvmValue| matches!(to, EvmValue::Account(to) if to.code_hash == KECCAK256_EMPTY);
            assert!(to.is_none_or(code));
        }
    }
    // Enough are hits, some of them to new accounts, some from or to who gets the fee.
    assert!(taken > 1_000 && emptied > 200, "{taken} took the short way, {emptied} to new accounts");
    assert!(
        earned.iter().all(|count| *count > 200),
        "{earned:?} of them paid the fee to the sender, to the payee"
    );
}

#[test]
fn credits_and_drains_need_no_machine() {
    let seed = std::env::var("BRAID_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1_u64);
    let codes = [Bytecode::new_legacy(Bytes::from_static(&[0]))];
    let shared = EvmShared::default();
    let (mut credits, mut drains, mut nothing) = (0, 0, 0);
    for round in 0..20_000 {
        let mut rng = Rng(seed.wrapping_mul(1 << 32).wrapping_add(round));
        let spec = rng.pick(&SPECS);
        let mut state = state(&mut rng, &codes);
        let empty = rng.one_in(4);
        for value in state.values_mut() {
            if let EvmValue::Account(account) = value
                && empty
            {
                account.balance = U256::ZERO;
            }
        }
        let count = rng.below(6);
        let system = if rng.one_in(2) {
            let wei = |rng: &mut Rng| rng.pick(&[U256::ZERO, U256::ONE, U256::from(7), U256::MAX]);
            SystemTx::Credits((0..count).map(|_| (address(&mut rng), wei(&mut rng))).collect())
        } else {
            let mut from: Vec<_> = (0..count).map(|_| address(&mut rng)).collect();
            if !rng.one_in(3) {
                from.sort_unstable();
            }
            SystemTx::Drain { from, to: address(&mut rng) }
        };
        let env = BlockEnv { prevrandao: Some(B256::ZERO), ..BlockEnv::default() };
        let input = BlockInput::new(1, spec, env, Vec::new());
        let context = format!("seed {seed}, round {round}: {spec:?} {system:?} {state:?}");
        let vm = || EvmVm::new(&shared, &input).with_touches();
        let mut long = vm();
        long.plainly = false;
        let tx = EvmTx::System(Arc::new(system.clone()));
        same(run(&vm(), &tx, &state, true), run(&long, &tx, &state, true), &context);

        let mut view = Recorder { state, is_final: true, ..Recorder::default() };
        let told = &mut access::Told::default();
        let mut writes = Vec::new();
        let plain = system.run_plainly(spec, access::Wanted::All, &mut view, &mut writes, told);
        let plain = u32::from(plain.expect("nothing stops it"));
        match system {
            SystemTx::Credits(_) => credits += plain,
            SystemTx::Drain { to, .. } => {
                drains += plain;
                nothing += plain * u32::from(view.reads.contains(&EvmKey::Account(to)));
            }
            SystemTx::Call { .. } => unreachable!("not made"),
        }
    }
    assert!(credits > 1_000 && drains > 500 && nothing > 50, "{credits} {drains} {nothing}");
}
