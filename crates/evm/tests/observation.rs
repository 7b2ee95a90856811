//! One test a clause: what an execution must not notice, and what it must.
//!
//! `keeps` asserts that a change of the state leaves the record true (and the effects the same);
//! `breaks` that it does not, and that the effects do differ, so that the observation was needed.

mod common;

use alloy_primitives::{Address, TxKind, U256, keccak256};
use braid_core::{Stop, Vm};
use braid_evm::{
    AccountState, BlockInput, EvmError, EvmKey, EvmOutput, EvmRules, EvmSeen, EvmShared, EvmTx, EvmVm, Status,
};
use common::{BENEFICIARY, World, block, execute, summary};
use revm::{
    bytecode::opcode as op,
    context::{CfgEnv, TxEnv},
    context_interface::{
        either::Either,
        result::InvalidTransaction,
        transaction::{Authorization, RecoveredAuthority, RecoveredAuthorization},
    },
    primitives::hardfork::SpecId,
};

const SENDER: Address = Address::repeat_byte(0x5e);
const RECIPIENT: Address = Address::repeat_byte(0x4e);
const CONTRACT: Address = Address::repeat_byte(0xc0);
const OTHER: Address = Address::repeat_byte(0x0f);

/// One transaction on one state.
struct Case {
    world: World,
    input: BlockInput,
    shared: EvmShared,
}

fn case(spec: SpecId, tx: TxEnv) -> Case {
    let mut world = World::default();
    world.add(SENDER, 10_000_000, 5, &[]);
    Case { world, input: block(spec, vec![tx]), shared: EvmShared::default() }
}

fn tx(to: Address, value: u64) -> TxEnv {
    TxEnv {
        caller: SENDER,
        nonce: 5,
        gas_limit: 200_000,
        gas_price: 8,
        kind: TxKind::Call(to),
        value: U256::from(value),
        chain_id: Some(1),
        ..TxEnv::default()
    }
}

/// Code from its parts.
fn code(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn push(address: Address) -> Vec<u8> {
    [&[op::PUSH20], address.as_slice()].concat()
}

/// Keeps the top of the stack in slot 0.
const KEEP: &[u8] = &[op::PUSH1, 0, op::SSTORE];

/// CALL of `to` with `value` and no data.
fn call(to: Address, value: u8) -> Vec<u8> {
    let zeros = [op::PUSH1, 0, op::PUSH1, 0, op::PUSH1, 0, op::PUSH1, 0, op::PUSH1, value];
    code(&[&zeros, &push(to), &[op::GAS, op::CALL]])
}

impl Case {
    fn with(mut self, address: Address, balance: u64, nonce: u64, code: &[u8]) -> Self {
        self.world.add(address, balance, nonce, code);
        self
    }

    fn vm(&self) -> EvmVm<'_> {
        EvmVm::new(&self.shared, &self.input)
    }

    fn seen(&self, address: Address) -> Option<EvmSeen> {
        let vm = self.vm();
        execute(&vm, &mut vm.worker(), &EvmTx::User(0), &self.world, false).1.seen(address)
    }

    fn status(&self) -> Status {
        let vm = self.vm();
        let (result, _) = execute(&vm, &mut vm.worker(), &EvmTx::User(0), &self.world, false);
        match result.expect("a valid transaction").output {
            Some(EvmOutput::User(result)) => result.status,
            other => panic!("{other:?}"),
        }
    }

    /// Whether the record holds after `change`, and whether the effects are the same.
    fn after(&self, change: impl FnOnce(&mut World)) -> (bool, bool) {
        let vm = self.vm();
        let mut worker = vm.worker();
        let (before, view) = execute(&vm, &mut worker, &EvmTx::User(0), &self.world, false);
        let mut world = self.world.clone();
        change(&mut world);
        let (after, _) = execute(&vm, &mut worker, &EvmTx::User(0), &world, false);
        (view.holds(&world), summary(&before) == summary(&after))
    }

    #[track_caller]
    fn keeps(&self, change: impl FnOnce(&mut World)) -> &Self {
        assert_eq!(self.after(change), (true, true), "(record holds, effects equal)");
        self
    }

    #[track_caller]
    fn breaks(&self, change: impl FnOnce(&mut World)) -> &Self {
        assert_eq!(self.after(change), (false, false), "(record holds, effects equal)");
        self
    }
}

fn balance(address: Address, balance: u64) -> impl FnOnce(&mut World) {
    edit(address, move |account| account.balance = U256::from(balance))
}

fn nonce(address: Address, nonce: u64) -> impl FnOnce(&mut World) {
    edit(address, move |account| account.nonce = nonce)
}

fn gone(address: Address) -> impl FnOnce(&mut World) {
    move |world| world.set(address, AccountState::default())
}

fn edit(address: Address, edit: impl FnOnce(&mut AccountState)) -> impl FnOnce(&mut World) {
    move |world| {
        let mut account = world.account(address);
        account.exists = true;
        edit(&mut account);
        world.set(address, account);
    }
}

fn slot(address: Address, slot: u64, value: u64) -> impl FnOnce(&mut World) {
    move |world| world.set_slot(address, slot, value)
}

#[test]
fn a_transfer_sees_bounds_and_code_only() {
    let case = case(SpecId::OSAKA, tx(RECIPIENT, 100)).with(RECIPIENT, 50, 0, &[]);
    let most = 200_000 * 8 + 100;
    case.keeps(balance(SENDER, most))
        .keeps(balance(SENDER, 99_000_000))
        .breaks(balance(SENDER, most - 1))
        .keeps(balance(RECIPIENT, 0))
        .keeps(balance(RECIPIENT, 5000))
        .keeps(nonce(RECIPIENT, 9))
        .keeps(gone(RECIPIENT))
        .keeps(edit(RECIPIENT, |account| account.generation = 3))
        .breaks(|world| world.add(RECIPIENT, 50, 0, &[op::INVALID]))
        .keeps(balance(BENEFICIARY, 1))
        .keeps(nonce(BENEFICIARY, 1));
    assert_eq!(case.seen(BENEFICIARY), None, "a fee reads nothing");
}

#[test]
fn a_transfer_sees_whether_its_credit_overflows() {
    let case = case(SpecId::OSAKA, tx(RECIPIENT, 100));
    case.keeps(edit(RECIPIENT, |account| account.balance = U256::MAX - U256::from(100)))
        .breaks(edit(RECIPIENT, |account| account.balance = U256::MAX - U256::from(99)));
}

#[test]
fn a_transfer_of_nothing_sees_emptiness() {
    let full = case(SpecId::OSAKA, tx(RECIPIENT, 0)).with(RECIPIENT, 50, 0, &[]);
    full.keeps(balance(RECIPIENT, 1)).keeps(nonce(RECIPIENT, 4));
    let seen = full.seen(RECIPIENT);
    assert!(matches!(seen, Some(EvmSeen::Account(seen)) if seen.empty == Some(false)), "{seen:?}");
    // EIP-161 removes it then.
    full.breaks(balance(RECIPIENT, 0));
    let empty = case(SpecId::OSAKA, tx(RECIPIENT, 0));
    empty.keeps(gone(RECIPIENT)).breaks(edit(RECIPIENT, |_| ()));
    // Before EIP-161 a touch makes it exist.
    let old = case(SpecId::HOMESTEAD, tx(RECIPIENT, 0)).with(RECIPIENT, 50, 0, &[]);
    old.keeps(balance(RECIPIENT, 0)).keeps(nonce(RECIPIENT, 1)).breaks(gone(RECIPIENT));
}

#[test]
fn a_nonce_is_predicted_and_checked() {
    let case = case(SpecId::OSAKA, tx(RECIPIENT, 1));
    let Some(EvmSeen::Account(seen)) = case.seen(SENDER) else { panic!("the sender is read") };
    assert_eq!(seen.nonce, None, "predicted, not read");
    let vm = case.vm();
    for (state, error) in [
        (4, InvalidTransaction::NonceTooHigh { tx: 5, state: 4 }),
        (6, InvalidTransaction::NonceTooLow { tx: 5, state: 6 }),
    ] {
        let mut world = case.world.clone();
        nonce(SENDER, state)(&mut world);
        let (result, view) = execute(&vm, &mut vm.worker(), &EvmTx::User(0), &world, false);
        assert!(result.is_ok() && !view.holds(&world), "it runs as if the nonce were right");
        assert!(view.holds(&case.world));
        let (result, _) = execute(&vm, &mut vm.worker(), &EvmTx::User(0), &world, true);
        assert_eq!(result.err(), Some(Stop::Invalid(EvmError::Transaction(error))));
    }
}

#[test]
fn the_error_for_too_little_balance_tells_the_balance() {
    let case = case(SpecId::OSAKA, tx(RECIPIENT, 99_000_000));
    case.keeps(nonce(RECIPIENT, 1)).breaks(balance(SENDER, 10_000_001));
}

#[test]
fn a_sender_with_code_is_rejected() {
    let case = case(SpecId::OSAKA, tx(RECIPIENT, 1));
    case.breaks(|world| world.add(SENDER, 10_000_000, 5, &[op::STOP]));
}

#[test]
fn a_fee_of_nothing_touches_the_beneficiary() {
    let mut transfer = tx(RECIPIENT, 1);
    transfer.gas_price = 7;
    let mut case = case(SpecId::OSAKA, transfer).with(BENEFICIARY, 10, 0, &[]);
    case.keeps(balance(BENEFICIARY, 3)).keeps(nonce(BENEFICIARY, 1)).breaks(balance(BENEFICIARY, 0));
    case.input.env.basefee = 6;
    case.keeps(balance(BENEFICIARY, 0));
}

#[test]
fn balance_is_exact() {
    for (spec, body) in [
        (SpecId::HOMESTEAD, code(&[&push(OTHER), &[op::BALANCE]])),
        (SpecId::OSAKA, code(&[&push(OTHER), &[op::BALANCE]])),
    ] {
        let case =
            case(spec, tx(CONTRACT, 0)).with(OTHER, 9, 1, &[]).with(CONTRACT, 5, 1, &code(&[&body, KEEP]));
        case.breaks(balance(OTHER, 10)).keeps(nonce(OTHER, 2)).keeps(balance(CONTRACT, 77));
    }
    let own = case(SpecId::OSAKA, tx(CONTRACT, 3)).with(CONTRACT, 5, 1, &code(&[&[op::SELFBALANCE], KEEP]));
    own.breaks(balance(CONTRACT, 6));
}

#[test]
fn a_call_sees_the_code_and_no_balance() {
    let case = case(SpecId::OSAKA, tx(CONTRACT, 4))
        .with(CONTRACT, 100, 1, &code(&[&call(OTHER, 0), KEEP]))
        .with(OTHER, 0, 1, &[op::STOP]);
    case.keeps(balance(CONTRACT, 0))
        .keeps(nonce(CONTRACT, 7))
        .keeps(balance(OTHER, 12))
        .keeps(nonce(OTHER, 12))
        .breaks(|world| world.add(OTHER, 0, 1, &[op::INVALID]));
}

#[test]
fn a_call_with_value_sees_emptiness_and_a_bound() {
    let payer = code(&[&call(OTHER, 30), KEEP]);
    let case = case(SpecId::OSAKA, tx(CONTRACT, 10)).with(CONTRACT, 100, 1, &payer).with(OTHER, 5, 0, &[]);
    // Ten of the thirty come with the transaction.
    case.keeps(balance(CONTRACT, 20))
        .keeps(balance(CONTRACT, 500))
        .breaks(balance(CONTRACT, 19))
        .keeps(balance(OTHER, 1))
        .keeps(nonce(OTHER, 1))
        .breaks(balance(OTHER, 0));
    let poor =
        self::case(SpecId::OSAKA, tx(CONTRACT, 10)).with(CONTRACT, 15, 1, &payer).with(OTHER, 5, 0, &[]);
    poor.keeps(balance(CONTRACT, 19)).keeps(balance(CONTRACT, 0)).breaks(balance(CONTRACT, 20));
}

#[test]
fn extcodehash_sees_emptiness_of_accounts_without_code() {
    let asks = code(&[&push(OTHER), &[op::EXTCODEHASH], KEEP]);
    let plain = case(SpecId::OSAKA, tx(CONTRACT, 0)).with(CONTRACT, 0, 1, &asks).with(OTHER, 5, 0, &[]);
    plain.keeps(balance(OTHER, 6)).keeps(nonce(OTHER, 6)).breaks(balance(OTHER, 0));
    let coded =
        case(SpecId::OSAKA, tx(CONTRACT, 0)).with(CONTRACT, 0, 1, &asks).with(OTHER, 5, 1, &[op::STOP]);
    coded.keeps(balance(OTHER, 0)).keeps(nonce(OTHER, 0)).breaks(|world| world.add(OTHER, 5, 1, &[]));
    let sized = code(&[&push(OTHER), &[op::EXTCODESIZE], KEEP]);
    let sized = case(SpecId::OSAKA, tx(CONTRACT, 0)).with(CONTRACT, 0, 1, &sized).with(OTHER, 5, 0, &[]);
    sized.keeps(gone(OTHER)).breaks(|world| world.add(OTHER, 5, 0, &[op::STOP]));
}

/// CREATE with `value` and no code.
fn creates(value: u8) -> Vec<u8> {
    code(&[&[op::PUSH1, 0, op::PUSH1, 0, op::PUSH1, value, op::CREATE], KEEP])
}

#[test]
fn a_creation_sees_the_creators_nonce_and_a_free_place() {
    let place = CONTRACT.create(3);
    let case = case(SpecId::OSAKA, tx(CONTRACT, 0)).with(CONTRACT, 50, 3, &creates(20));
    case.keeps(balance(CONTRACT, 20))
        .breaks(balance(CONTRACT, 19))
        .breaks(nonce(CONTRACT, 4))
        .keeps(balance(place, 9))
        .keeps(|world| world.set(place, AccountState::default()))
        .breaks(nonce(place, 1))
        .breaks(edit(place, |account| account.generation = 1))
        .breaks(edit(place, |account| account.has_storage = true));
    let poor = self::case(SpecId::OSAKA, tx(CONTRACT, 0)).with(CONTRACT, 19, 3, &creates(20));
    poor.keeps(balance(CONTRACT, 0)).keeps(nonce(CONTRACT, 4)).breaks(balance(CONTRACT, 20));
}

#[test]
fn a_creating_transaction_uses_its_own_nonce() {
    let mut create = tx(RECIPIENT, 7);
    create.kind = TxKind::Create;
    let case = case(SpecId::OSAKA, create);
    let Some(EvmSeen::Account(seen)) = case.seen(SENDER) else { panic!("the sender is read") };
    assert_eq!(seen.nonce, None);
    case.keeps(balance(SENDER, 200_000 * 8 + 7)).breaks(nonce(SENDER.create(5), 1));
}

#[test]
fn storage_left_behind_is_a_collision_unless_switched_off() {
    let mut create = tx(RECIPIENT, 0);
    create.kind = TxKind::Create;
    let mut case = case(SpecId::LONDON, create);
    let place = SENDER.create(5);
    assert_eq!(case.status(), Status::Success);
    case.world.set_slot(place, 1, 1);
    assert_eq!(case.status(), Status::Halt);
    let cfg = CfgEnv::new_with_spec(SpecId::LONDON).with_chain_id(1);
    let rules = EvmRules { eip7610: false, ..EvmRules::default() };
    let vm = EvmVm::with_cfg(&case.shared, &case.input, cfg, rules);
    let (result, view) = execute(&vm, &mut vm.worker(), &EvmTx::User(0), &case.world, false);
    let Some(EvmOutput::User(result)) = result.unwrap().output else { panic!("a user's transaction") };
    assert_eq!((result.status, result.created), (Status::Success, Some(place)));
    assert!(matches!(view.seen(place), Some(EvmSeen::Account(seen)) if seen.has_storage.is_none()));
}

#[test]
fn destruction_moves_an_exact_balance_and_ends_the_generation() {
    let dies = code(&[&push(OTHER), &[op::SELFDESTRUCT]]);
    let case = case(SpecId::LONDON, tx(CONTRACT, 2)).with(CONTRACT, 9, 1, &dies).with(OTHER, 1, 0, &[]);
    case.breaks(balance(CONTRACT, 10))
        .keeps(nonce(CONTRACT, 2))
        .breaks(edit(CONTRACT, |account| account.generation = 1))
        .keeps(balance(OTHER, 3))
        .keeps(nonce(OTHER, 3))
        .breaks(gone(OTHER));
    // From Cancun on it only sends.
    let sends = self::case(SpecId::OSAKA, tx(CONTRACT, 2)).with(CONTRACT, 9, 1, &dies).with(OTHER, 1, 0, &[]);
    sends.breaks(balance(CONTRACT, 10)).keeps(edit(CONTRACT, |account| account.generation = 1));
    // To itself, and it stays: nothing moves.
    let stays =
        self::case(SpecId::OSAKA, tx(CONTRACT, 2)).with(CONTRACT, 9, 1, &[op::ADDRESS, op::SELFDESTRUCT]);
    stays.keeps(balance(CONTRACT, 0));
}

#[test]
fn a_slot_is_exact_and_of_its_generation() {
    let body = code(&[&[op::PUSH1, 3, op::SLOAD], KEEP]);
    let mut case = case(SpecId::OSAKA, tx(CONTRACT, 0)).with(CONTRACT, 0, 1, &body);
    case.world.set_slot(CONTRACT, 3, 6);
    case.breaks(slot(CONTRACT, 3, 7))
        .keeps(slot(CONTRACT, 4, 7))
        .breaks(edit(CONTRACT, |account| account.generation = 1));
    // A blind store reads the slot for its gas.
    let blind = self::case(SpecId::OSAKA, tx(CONTRACT, 0)).with(
        CONTRACT,
        0,
        1,
        &[op::PUSH1, 5, op::PUSH1, 0, op::SSTORE],
    );
    blind.breaks(slot(CONTRACT, 0, 1));
}

#[test]
fn an_authority_is_seen_by_code_and_nonce() {
    let mut sets_code = tx(RECIPIENT, 0);
    sets_code.tx_type = 4;
    sets_code.gas_priority_fee = Some(1);
    let inner = Authorization { chain_id: U256::ZERO, address: CONTRACT, nonce: 2 };
    sets_code.authorization_list =
        vec![Either::Right(RecoveredAuthorization::new_unchecked(inner, RecoveredAuthority::Valid(OTHER)))];
    let case = case(SpecId::OSAKA, sets_code).with(OTHER, 8, 2, &[]).with(RECIPIENT, 1, 0, &[]);
    case.keeps(balance(OTHER, 0)).breaks(nonce(OTHER, 3)).breaks(|world| world.add(OTHER, 8, 2, &[op::STOP]));
}

#[test]
fn what_a_cold_load_costs_too_much_to_see_is_not_read() {
    let mut cheap = tx(CONTRACT, 0);
    cheap.gas_limit = 21_000 + 3 + 100 + 50;
    let asks = code(&[&push(OTHER), &[op::BALANCE]]);
    let case = case(SpecId::OSAKA, cheap).with(CONTRACT, 0, 1, &asks);
    assert_eq!(case.status(), Status::Halt);
    assert_eq!(case.seen(OTHER), None);
}

#[test]
fn missing_code_is_a_failure_of_the_store() {
    let mut case = case(SpecId::OSAKA, tx(CONTRACT, 0));
    let code_hash = keccak256(b"nobody has this");
    case.world.set(CONTRACT, AccountState { exists: true, code_hash, ..AccountState::default() });
    let vm = case.vm();
    let (result, view) = execute(&vm, &mut vm.worker(), &EvmTx::User(0), &case.world, false);
    let missing = braid_core::StoreError::Missing { what: "code", item: code_hash.to_string() };
    assert_eq!(result.err(), Some(Stop::Halt(braid_core::Halt::Store(missing))));
    assert!(view.reads.contains(&(EvmKey::Code(code_hash), EvmSeen::Absent)));
}

#[test]
fn block_hashes_come_from_the_input() {
    let body = code(&[&[op::PUSH2, 3, 0xe0, op::BLOCKHASH], KEEP]);
    let mut case = case(SpecId::OSAKA, tx(CONTRACT, 0)).with(CONTRACT, 0, 1, &body);
    let written = |case: &Case| {
        let vm = case.vm();
        let (result, _) = execute(&vm, &mut vm.worker(), &EvmTx::User(0), &case.world, true);
        let mut world = case.world.clone();
        world.apply(&result.unwrap().writes);
        world.slot(CONTRACT, U256::ZERO)
    };
    assert_eq!(written(&case), U256::from(992 * 77));
    case.input.block_hashes.remove(&992);
    assert_eq!(written(&case), U256::ZERO);
}
