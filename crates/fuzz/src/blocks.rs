//! Blocks of any transactions over a few accounts and contracts, so that everything conflicts with
//! everything, on every engine under schedules that follow from the bytes.

use crate::{Choices, agree::agree, code};
use alloy_eips::{
    eip2935::HISTORY_STORAGE_ADDRESS, eip4788::BEACON_ROOTS_ADDRESS,
    eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS,
};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use braid_evm::{AccountState, After, BlockInput, EvmKey, EvmValue, Rites};
use braid_work::PreState;
use revm::{
    bytecode::Bytecode,
    context::{BlockEnv, TxEnv, either::Either, transaction::AccessListItem},
    context_interface::transaction::{Authorization, RecoveredAuthority, RecoveredAuthorization},
    primitives::hardfork::SpecId,
};

const SPECS: [SpecId; 14] = [
    SpecId::OSAKA,
    SpecId::PRAGUE,
    SpecId::CANCUN,
    SpecId::SHANGHAI,
    SpecId::MERGE,
    SpecId::LONDON,
    SpecId::BERLIN,
    SpecId::ISTANBUL,
    SpecId::PETERSBURG,
    SpecId::BYZANTIUM,
    SpecId::SPURIOUS_DRAGON,
    SpecId::TANGERINE,
    SpecId::HOMESTEAD,
    SpecId::FRONTIER,
];

const SENDERS: u64 = 6;
const CONTRACTS: u64 = 8;
/// Most transactions of a block.
const MAX_TXS: u64 = 32;
const ETHER: u128 = 1_000_000_000_000_000_000;
const GAS_PRICE: u128 = 10;
const BLOB_BASE_FEE_FRACTION: u64 = 5_007_716;

/// What a block calls before and after its transactions.
const SYSTEM: [Address; 4] = [
    HISTORY_STORAGE_ADDRESS,
    BEACON_ROOTS_ADDRESS,
    WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS,
    CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS,
];

/// Stores its input in slot 0 and returns nothing: all that these contracts need for a block to run.
const SYSTEM_CODE: [u8; 7] = [0x60, 0, 0x35, 0x60, 0, 0x55, 0x00];

fn account(n: u64) -> Address {
    Address::from_word(keccak256(n.to_be_bytes()))
}

fn contract(n: u64) -> Address {
    account(100 + n)
}

/// Anyone: senders, contracts, accounts that may not exist, the beneficiary, precompiles.
fn anyone(choices: &mut Choices<'_>) -> Address {
    match choices.below(12) {
        0..=3 => contract(choices.below(CONTRACTS)),
        4..=6 => account(choices.below(SENDERS)),
        7 => account(999),
        8 => account(200 + choices.below(3)),
        9 => choices.pick(&SYSTEM),
        10 => contract(0).create(choices.below(3)),
        _ => Address::with_last_byte(1 + choices.below(11) as u8),
    }
}

/// State before a block, and the block.
struct World {
    pre: PreState,
    input: BlockInput,
}

impl World {
    fn new(spec: SpecId) -> Self {
        let mut env = BlockEnv {
            number: U256::from(1000),
            timestamp: U256::from(1_000_000),
            beneficiary: account(999),
            gas_limit: 30_000_000,
            prevrandao: Some(B256::repeat_byte(7)),
            ..BlockEnv::default()
        };
        env.set_blob_excess_gas_and_price(0, BLOB_BASE_FEE_FRACTION);
        let mut input = BlockInput::new(1, spec, env, Vec::new());
        input.max_blob_gas = Some(6 * 131_072);
        input.block_hashes =
            (990..1000).map(|number| (number, keccak256(u64::to_be_bytes(number)))).collect();
        World { pre: PreState { block_hashes: input.block_hashes.clone(), ..PreState::default() }, input }
    }

    fn set(&mut self, address: Address, account: AccountState) {
        let account = AccountState { exists: true, ..account };
        self.pre.store.set(EvmKey::Account(address), Some(EvmValue::Account(account)));
    }

    /// A contract, its nonce 1, with slots that are not zero.
    fn contract(&mut self, address: Address, code: Vec<u8>, wei: u128, slots: &[(u64, u64)]) {
        let code_hash = keccak256(&code);
        let code = EvmValue::Code(Bytecode::new_raw(code.into()));
        self.pre.store.set(EvmKey::Code(code_hash), Some(code));
        for (slot, value) in slots {
            let key = EvmKey::Slot { address, generation: 0, slot: U256::from(*slot) };
            self.pre.store.set(key, Some(EvmValue::Slot(U256::from(*value))));
        }
        let (balance, has_storage) = (U256::from(wei), !slots.is_empty());
        self.set(
            address,
            AccountState { balance, nonce: 1, code_hash, has_storage, ..AccountState::default() },
        );
    }
}

/// The block that the bytes spell out.
fn world(choices: &mut Choices<'_>) -> World {
    let spec = match choices.one_in(2) {
        true => choices.pick(&SPECS),
        false => choices.pick(&SPECS[..3]),
    };
    let mut world = World::new(spec);
    if choices.one_in(5) {
        world.input.env.beneficiary = account(choices.below(SENDERS));
    }
    if choices.one_in(6) {
        world.input.env.gas_limit = 60_000 * (1 + choices.below(20));
    }
    if choices.one_in(3) {
        // The last one is more than any transaction pays.
        world.input.env.basefee = choices.pick(&[1, 1, 2, 3, 5, 7, 10, 11]);
    }
    for n in 0..SENDERS {
        let wei = choices.pick(&[ETHER, ETHER, ETHER, ETHER, 40_000_000, 21_000_000]);
        world.set(account(n), AccountState { balance: U256::from(wei), ..AccountState::default() });
    }
    rites(choices, &mut world);
    let count = 1 + choices.below(MAX_TXS);
    let used = 1 + choices.below(CONTRACTS);
    for n in 0..used {
        let mut body = code::contract(choices, &mut anyone).0;
        body.push(0);
        let wei = choices.pick(&[0, 0, 60, 10_000]);
        let slots: &[(u64, u64)] = choices.pick(&[&[], &[(0, 1)][..], &[(1, 2), (2, 7)][..]]);
        world.contract(contract(n), body, wei, slots);
    }
    let mut nonces = [0; SENDERS as usize];
    for _ in 0..count {
        let tx = transaction(choices, spec, &mut nonces);
        world.input.txs.push(tx);
    }
    // Decided last, so that what came before means what it means without.
    if choices.one_in(3) {
        match spec {
            SpecId::OSAKA => world.input.spec = SpecId::AMSTERDAM,
            SpecId::PETERSBURG => world.input.rules.eip1283 = true,
            _ => {}
        }
    }
    world
}

/// What surrounds the transactions, in half of the blocks.
fn rites(choices: &mut Choices<'_>, world: &mut World) {
    if choices.one_in(2) {
        return;
    }
    let from = |spec| world.input.spec.is_enabled_in(spec);
    let (merge, shanghai) = (from(SpecId::MERGE), from(SpecId::SHANGHAI));
    let (cancun, prague) = (from(SpecId::CANCUN), from(SpecId::PRAGUE));
    let mut payments = |amounts: &[u128]| -> Vec<(Address, u128)> {
        (0..choices.below(4)).map(|_| (anyone(choices), choices.pick(amounts))).collect()
    };
    let rewards = if merge { Vec::new() } else { payments(&[ETHER / 32, 2 * ETHER]) };
    let withdrawals = if shanghai { payments(&[0, 1, ETHER]) } else { Vec::new() };
    let drained = payments(&[0]).into_iter().map(|(address, _)| address).collect();
    if cancun {
        for address in SYSTEM {
            world.contract(address, SYSTEM_CODE.to_vec(), 0, &[]);
        }
    }
    world.input.rites = Rites {
        parent_hash: prague.then_some(B256::repeat_byte(3)),
        parent_beacon_root: cancun.then_some(B256::repeat_byte(4)),
        dao_drain: (world.input.spec == SpecId::HOMESTEAD).then(|| (drained, contract(0))),
        after: Some(After { rewards, withdrawals, requests: prague }),
    };
}

fn transaction(choices: &mut Choices<'_>, spec: SpecId, nonces: &mut [u64; SENDERS as usize]) -> TxEnv {
    let sender = choices.below(SENDERS);
    let nonce = nonces[sender as usize];
    nonces[sender as usize] += 1;
    let (kind, data) = match choices.below(8) {
        0 => (TxKind::Create, Bytes::from(code::contract(choices, &mut anyone).deployer())),
        1 => {
            // Input that is init code, for contracts that create.
            let init = code::contract(choices, &mut anyone).deployer();
            (TxKind::Call(contract(choices.below(CONTRACTS))), init.into())
        }
        2..=5 => (TxKind::Call(contract(choices.below(CONTRACTS))), vec![choices.below(3) as u8; 32].into()),
        _ => (TxKind::Call(anyone(choices)), Bytes::new()),
    };
    let mut tx = TxEnv {
        caller: account(sender),
        nonce,
        kind,
        value: U256::from(choices.pick(&[0u128, 0, 0, 0, 1, 1, 77, 30_000_000])),
        data,
        gas_limit: choices.pick(&[150_000, 400_000, 400_000, 150_000, 100_000, 60_000, 30_000, 21_000]),
        gas_price: GAS_PRICE,
        chain_id: Some(1),
        ..TxEnv::default()
    };
    typed(choices, &mut tx, spec, nonces);
    if choices.one_in(60) {
        tx.nonce = tx.nonce.wrapping_add(choices.pick(&[1, u64::MAX]));
    }
    tx
}

/// Gives a transaction a type that the rules have, and what belongs to it.
fn typed(choices: &mut Choices<'_>, tx: &mut TxEnv, spec: SpecId, nonces: &mut [u64; SENDERS as usize]) {
    let is_call = tx.kind.is_call();
    let known = [SpecId::BERLIN, SpecId::LONDON, SpecId::CANCUN, SpecId::PRAGUE];
    let types = known.iter().filter(|from| spec.is_enabled_in(**from)).count() as u64;
    let ty = choices.below(2 * (types + 1)).min(types) as u8;
    tx.tx_type = match ty {
        3 | 4 if !is_call => 2,
        ty => ty,
    };
    if tx.tx_type >= 1 && choices.one_in(3) {
        let item = |choices: &mut Choices<'_>| AccessListItem {
            address: anyone(choices),
            storage_keys: (0..choices.below(3)).map(|slot| B256::from(U256::from(slot))).collect(),
        };
        tx.access_list.0 = (0..1 + choices.below(3)).map(|_| item(choices)).collect();
    }
    if tx.tx_type >= 2 {
        tx.gas_priority_fee = Some(choices.pick(&[0, 1, GAS_PRICE]));
    }
    match tx.tx_type {
        3 => {
            let mut hash = B256::repeat_byte(9);
            hash[0] = 1;
            tx.blob_hashes = vec![hash; 1 + choices.below(3) as usize];
            tx.max_fee_per_blob_gas = 1;
        }
        4 => {
            let count = 1 + choices.below(3);
            tx.authorization_list =
                (0..count).map(|_| Either::Right(authorization(choices, nonces))).collect();
        }
        _ => {}
    }
}

/// Right more often than not; what is wrong makes an authorization void, not the block.
fn authorization(choices: &mut Choices<'_>, nonces: &mut [u64; SENDERS as usize]) -> RecoveredAuthorization {
    let authority = choices.below(SENDERS);
    let nonce = nonces[authority as usize];
    let address = match choices.below(6) {
        0 => Address::ZERO,
        1 => account(choices.below(SENDERS)),
        2 => Address::with_last_byte(1 + choices.below(9) as u8),
        _ => contract(choices.below(CONTRACTS)),
    };
    let chain = choices.pick(&[0, 1, 1, 1, 0, 2]);
    // One that is of another chain, or says so wrongly, counts for nothing.
    nonces[authority as usize] += u64::from(chain < 2 && !choices.one_in(10));
    let chain_id = U256::from(chain);
    let inner = Authorization { chain_id, address, nonce };
    RecoveredAuthorization::new_unchecked(inner, RecoveredAuthority::Valid(account(authority)))
}

/// The block on every engine.
pub(crate) fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let seed = u64::from(choices.byte());
    let World { pre, mut input } = world(&mut choices);
    if let Err(error) = agree(&mut input, &pre, seed) {
        // Only what the block may be blamed for: transactions, system calls.
        use braid_profiles::ExecError as E;
        assert!(matches!(error, E::Invalid { .. } | E::SystemCall { .. }), "{error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use braid_evm::Status;
    use braid_testkit::Rng;

    /// Bytes at random give blocks that run, and that do all that blocks do.
    #[test]
    fn random_bytes_make_blocks_worth_running() {
        let (mut ran, mut blocks, mut failed, mut created, mut logs, mut delegated) = (0, 0, 0, 0, 0, 0);
        let (mut wiped, mut deployed, mut slots) = (0, 0, 0);
        let mut specs = std::collections::BTreeSet::new();
        for seed in 0..150 {
            let mut rng = Rng::new(seed);
            let bytes: Vec<u8> = (0..2500).map(|_| rng.bits() as u8).collect();
            let World { pre, mut input } = world(&mut Choices::new(&bytes));
            let Ok(block) = agree(&mut input, &pre, seed) else { continue };
            specs.insert((input.spec as u8, input.rules.eip1283));
            blocks += 1;
            ran += block.results.len();
            failed += block.results.iter().filter(|result| result.status != Status::Success).count();
            created += block.results.iter().filter(|result| result.created.is_some()).count();
            logs += block.results.iter().map(|result| result.logs.len()).sum::<usize>();
            wiped += block.diff.values().filter(|diff| diff.wiped || diff.account.is_none()).count();
            slots += block.diff.values().map(|diff| diff.storage.len()).sum::<usize>();
            deployed += block.codes.len();
            delegated += block.codes.values().filter(|code| code.starts_with(&[0xef, 1, 0])).count();
        }
        let told = format!(
            "{blocks} blocks, {ran} transactions, {failed} failed, {created} created, {logs} logs, {wiped} wiped, \
             {slots} slots, {deployed} codes, {delegated} delegations"
        );
        assert!(blocks > 75 && ran > 700, "{told}");
        assert!(ran > 4 * failed && failed > 50 && created > 50 && logs > 15, "{told}");
        // All that are listed, the draft after them, and Constantinople.
        assert!(specs.len() >= SPECS.len(), "{specs:?}");
        for special in [(SpecId::AMSTERDAM as u8, false), (SpecId::PETERSBURG as u8, true)] {
            assert!(specs.contains(&special), "{specs:?}");
        }
        assert!(slots > 100 && deployed > 60 && delegated > 20 && wiped > 2, "{told}");
    }
}
