//! What some forks ask of the yardstick beyond plain revm: prices of Constantinople, gas of system calls
//! up to Osaka, gas of blocks from Amsterdam on, deposit contracts of test networks.

use super::{Evm, LeanBlock, LeanError, commit};
use alloy_eips::eip6110;
use alloy_primitives::{Address, B256, Bytes, Log, U256, address, b256};
use braid_evm::BlockInput;
use braid_work::DbError;
use revm::{
    Database, MainnetEvm,
    bytecode::opcode::SSTORE,
    context::{
        ContextSetters, Transaction, TxEnv,
        result::{EVMError, ExecutionResult, ResultGas},
    },
    context_interface::cfg::gas_params::GasId,
    handler::{Handler, MainnetContext, MainnetHandler, SystemCallTx},
    interpreter::{
        Instruction, InstructionContext, InstructionExecResult, InstructionResult,
        instructions::host::sstore_with_gas_accounting, interpreter::EthInterpreter,
    },
    primitives::hardfork::SpecId,
};

/// Deposit contracts (EIP-6110) of Sepolia, Holesky and Hoodi; other chains have mainnet's.
const DEPOSITS: [(u64, Address); 3] = [
    (11_155_111, address!("0x7f02C3E3c98b133055B8B348B2Ac625669Ed295D")),
    (17_000, address!("0x4242424242424242424242424242424242424242")),
    (560_048, address!("0x00000000219ab540356cBB839Cbe05303d7705Fa")),
];

/// The contract whose logs are deposits (EIP-6110).
pub(super) fn deposit_contract(chain_id: u64) -> Address {
    let own = DEPOSITS.iter().find(|(chain, _)| *chain == chain_id);
    own.map_or(eip6110::MAINNET_DEPOSIT_CONTRACT_ADDRESS, |(_, contract)| *contract)
}

/// Keccak-256 of `DepositEvent(bytes,bytes,bytes,bytes,bytes)`.
const DEPOSIT_EVENT: B256 = b256!("0x649bbc62d0e31342afea4e5cd82d4049e7e1ee912fc0889aa790803be39038c5");

/// Checks that deposit events are laid out as EIP-6110 wants them; an ABI decoder takes other layouts too.
pub(super) fn laid_out<'a>(
    contract: Address,
    mut logs: impl Iterator<Item = &'a Log>,
) -> Result<(), LeanError> {
    let bad = |log: &Log| {
        let word = |at: usize| log.data.data.get(at..at + 32).map(U256::from_be_slice);
        let is = |at, value: u64| word(at) == Some(U256::from(value));
        let heads = is(0, 160) && is(32, 256) && is(64, 320) && is(96, 384) && is(128, 512);
        let lengths = is(160, 48) && is(256, 32) && is(320, 8) && is(384, 96) && is(512, 8);
        let deposit = log.address == contract && log.topics().first() == Some(&DEPOSIT_EVENT);
        deposit && !(log.data.data.len() == 576 && heads && lengths)
    };
    if logs.any(bad) {
        return Err(LeanError::SystemCall("eip6110", "a deposit event of another layout".into()));
    }
    Ok(())
}

/// What a block has left of its gas. EIP-8037 counts regular and state gas apart, each up to the block's
/// limit, and EIP-7778 counts without refunds; before Amsterdam, all gas is regular.
pub(super) struct GasLeft {
    amsterdam: bool,
    limit: u64,
    regular: u64,
    state: u64,
    blob: u64,
}

impl GasLeft {
    pub(super) fn of(input: &BlockInput) -> Self {
        let (limit, amsterdam) = (input.env.gas_limit, input.spec.is_enabled_in(SpecId::AMSTERDAM));
        let blob = input.max_blob_gas.unwrap_or(u64::MAX);
        GasLeft { amsterdam, limit, regular: limit, state: limit, blob }
    }

    /// Whether the transaction at `index`, which uses at most `cap` regular gas (EIP-7825), fits.
    pub(super) fn admit(&self, index: usize, tx: &TxEnv, cap: u64) -> Result<(), LeanError> {
        let (gas, blob_gas) = (tx.gas_limit, tx.total_blob_gas());
        let (regular, state) = if self.amsterdam { (gas.min(cap), gas) } else { (gas, 0) };
        for (what, least, needs, left) in [
            ("gas", regular, gas, self.regular),
            ("gas", state, gas, self.state),
            ("blob gas", blob_gas, blob_gas, self.blob),
        ] {
            if least > left {
                return Err(LeanError::NotAdmitted(index, what, needs, left));
            }
        }
        Ok(())
    }

    pub(super) fn charge(&mut self, tx: &TxEnv, gas: &ResultGas) {
        if self.amsterdam {
            self.regular = self.regular.saturating_sub(gas.block_regular_gas_used());
            self.state = self.state.saturating_sub(gas.block_state_gas_used());
        } else {
            self.regular = self.regular.saturating_sub(gas.tx_gas_used());
        }
        self.blob -= tx.total_blob_gas();
    }

    /// As the header has it.
    pub(super) fn used(&self) -> u64 {
        self.limit - self.regular.min(self.state)
    }
}

/// As revm's `system_call_commit`, but with the 30 million gas of EIP-4788 and its followers up to Osaka.
pub(super) fn system_call(
    evm: &mut Evm<'_>,
    contract: Address,
    data: Bytes,
    done: &mut LeanBlock,
) -> Result<ExecutionResult, EVMError<DbError>> {
    let mut tx = TxEnv::new_system_tx(contract, data);
    if !evm.ctx.cfg.spec.is_enabled_in(SpecId::AMSTERDAM) {
        tx.gas_limit = 30_000_000;
    }
    evm.ctx.set_tx(tx);
    let result = MainnetHandler::<_, EVMError<DbError>, _>::default().run_system_call(evm)?;
    commit(evm, done);
    Ok(result)
}

/// Whether a block of Petersburg is one of Constantinople.
pub(crate) fn is_constantinople(input: &BlockInput) -> bool {
    input.rules.eip1283 && !input.spec.is_enabled_in(SpecId::ISTANBUL)
}

/// Constantinople, for a machine that is set up for Petersburg.
pub(crate) fn meter_as_in_constantinople<DB: Database, I>(evm: &mut MainnetEvm<MainnetContext<DB>, I>) {
    evm.ctx.cfg.gas_params.override_gas([(GasId::sstore_static(), 200)]);
    evm.instruction.insert_instruction(SSTORE, Instruction::new(sstore_eip1283), 0);
}

/// SSTORE at the prices of EIP-1283, of which the 200 that are always due are charged already.
fn sstore_eip1283<DB: Database>(
    at: InstructionContext<'_, MainnetContext<DB>, EthInterpreter>,
) -> InstructionExecResult {
    sstore_with_gas_accounting(at, |at, _, load| {
        let (original, current, new) =
            (load.data.original_value, load.data.present_value, load.data.new_value);
        let gas = &mut at.interpreter.gas;
        if current == new {
            return Ok(());
        }
        if original == current {
            if !gas.record_regular_cost(if original.is_zero() { 19_800 } else { 4_800 }) {
                return Err(InstructionResult::OutOfGas);
            }
            if !original.is_zero() && new.is_zero() {
                gas.record_refund(15_000);
            }
            return Ok(());
        }
        if !original.is_zero() {
            if current.is_zero() {
                gas.record_refund(-15_000);
            } else if new.is_zero() {
                gas.record_refund(15_000);
            }
        }
        if original == new {
            gas.record_refund(if original.is_zero() { 19_800 } else { 4_800 });
        }
        Ok(())
    })
}
