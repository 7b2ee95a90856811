//! What the interpreter runs in: block, transaction, rules and journal, all borrowed; and the few
//! instructions that have to say which part of an account they look at.

use crate::{
    eip1283, hash,
    journal::{Journal, Stopped},
};
use alloy_primitives::{Address, B256, Log, U256};
use revm::{
    Database as _,
    bytecode::opcode::{CALL, CREATE, CREATE2, EXTCODEHASH, KECCAK256, SSTORE},
    context::{BlockEnv, CfgEnv, LocalContext, TxEnv},
    context_interface::{
        Block, Cfg, ContextTr, Host, JournalTr, Transaction,
        cfg::GasParams,
        context::{ContextError, SStoreResult, SelfDestructResult, StateLoad},
        host::LoadError,
        journaled_state::{AccountInfoLoad, JournalLoadError},
        transaction::TransactionType,
    },
    handler::instructions::InstructionProvider,
    interpreter::{
        Instruction, InstructionContext, InstructionExecResult, InstructionResult, InstructionTable,
        instruction_table,
        instructions::{GasTable, contract, host},
        interpreter::EthInterpreter,
    },
    primitives::{constants::CALL_STACK_LIMIT, hardfork::SpecId},
};

/// For which part of the record an instruction loads an account without its code, or which it wants
/// besides the code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Ask {
    /// Nothing special: the balance, or the code if it is asked for.
    #[default]
    Plain,
    /// Besides the code, whether the account exists: CALL, if it would pay for a new account.
    Existence,
    /// The code hash, or zero if the account is empty: EXTCODEHASH.
    CodeHash,
}

/// The context of one execution. Building it moves a few pointers.
pub(crate) struct Ctx<'a> {
    pub(crate) block: &'a BlockEnv,
    pub(crate) tx: &'a TxEnv,
    pub(crate) cfg: &'a CfgEnv,
    pub(crate) journal: Journal<'a>,
    pub(crate) local: LocalContext,
    pub(crate) error: Result<(), ContextError<Stopped>>,
    chain: (),
    ask: Ask,
}

impl<'a> Ctx<'a> {
    pub(crate) fn new(
        block: &'a BlockEnv,
        tx: &'a TxEnv,
        cfg: &'a CfgEnv,
        journal: Journal<'a>,
        local: LocalContext,
    ) -> Self {
        Ctx { block, tx, cfg, journal, local, error: Ok(()), chain: (), ask: Ask::Plain }
    }

    /// Passes on why a load failed, keeping what the view said for the end of the frame.
    #[cold]
    fn failed(&mut self, failure: JournalLoadError<Stopped>) -> LoadError {
        let (load, stopped) = failure.into_parts();
        if let Some(stopped) = stopped {
            self.error = Err(stopped.into());
        }
        load
    }

    const TABLE: &'a InstructionTable<EthInterpreter, Ctx<'a>> = &table(false);
    const TABLE_EIP1283: &'a InstructionTable<EthInterpreter, Ctx<'a>> = &table(true);
}

impl<'a> ContextTr for Ctx<'a> {
    type Block = BlockEnv;
    type Tx = TxEnv;
    type Cfg = CfgEnv;
    type Db = crate::journal::Source<'a>;
    type Journal = Journal<'a>;
    type Chain = ();
    type Local = LocalContext;

    fn all(&self) -> (&BlockEnv, &TxEnv, &CfgEnv, &Self::Db, &Journal<'a>, &(), &LocalContext) {
        (self.block, self.tx, self.cfg, &self.journal.source, &self.journal, &self.chain, &self.local)
    }

    fn all_mut(&mut self) -> (&BlockEnv, &TxEnv, &CfgEnv, &mut Journal<'a>, &mut (), &mut LocalContext) {
        (self.block, self.tx, self.cfg, &mut self.journal, &mut self.chain, &mut self.local)
    }

    fn error(&mut self) -> &mut Result<(), ContextError<Stopped>> {
        &mut self.error
    }
}

impl Host for Ctx<'_> {
    fn basefee(&self) -> U256 {
        U256::from(self.block.basefee)
    }

    fn blob_gasprice(&self) -> U256 {
        U256::from(self.block.blob_gasprice().unwrap_or(0))
    }

    fn gas_limit(&self) -> U256 {
        U256::from(self.block.gas_limit)
    }

    fn difficulty(&self) -> U256 {
        self.block.difficulty
    }

    fn prevrandao(&self) -> Option<U256> {
        self.block.prevrandao.map(Into::into)
    }

    fn block_number(&self) -> U256 {
        self.block.number
    }

    fn timestamp(&self) -> U256 {
        self.block.timestamp
    }

    fn beneficiary(&self) -> Address {
        self.block.beneficiary
    }

    fn slot_num(&self) -> U256 {
        U256::from(self.block.slot_num())
    }

    fn chain_id(&self) -> U256 {
        U256::from(self.cfg.chain_id)
    }

    fn effective_gas_price(&self) -> U256 {
        U256::from(self.tx.effective_gas_price(u128::from(self.block.basefee)))
    }

    fn caller(&self) -> Address {
        self.tx.caller
    }

    fn blob_hash(&self, number: usize) -> Option<U256> {
        if self.tx.tx_type != TransactionType::Eip4844 as u8 {
            return None;
        }
        self.tx.blob_hashes.get(number).map(|hash| U256::from_be_bytes(hash.0))
    }

    fn max_initcode_size(&self) -> usize {
        self.cfg.max_initcode_size()
    }

    fn gas_params(&self) -> &GasParams {
        self.cfg.gas_params()
    }

    fn is_amsterdam_eip8037_enabled(&self) -> bool {
        false
    }

    fn block_hash(&mut self, number: u64) -> Option<B256> {
        match self.journal.source.block_hash(number) {
            Ok(hash) => Some(hash),
            Err(stopped) => {
                self.error = Err(stopped.into());
                None
            }
        }
    }

    fn selfdestruct(
        &mut self,
        address: Address,
        target: Address,
        skip_cold_load: bool,
    ) -> Result<StateLoad<SelfDestructResult>, LoadError> {
        self.journal.destroy(address, target, skip_cold_load).map_err(|failure| self.failed(failure))
    }

    fn log(&mut self, log: Log) {
        self.journal.log(log);
    }

    fn sstore_skip_cold_load(
        &mut self,
        address: Address,
        key: U256,
        value: U256,
        skip_cold_load: bool,
    ) -> Result<StateLoad<SStoreResult>, LoadError> {
        self.journal
            .sstore_skip_cold_load(address, key, value, skip_cold_load)
            .map_err(|failure| self.failed(failure))
    }

    fn sload_skip_cold_load(
        &mut self,
        address: Address,
        key: U256,
        skip_cold_load: bool,
    ) -> Result<StateLoad<U256>, LoadError> {
        self.journal
            .sload_skip_cold_load(address, key, skip_cold_load)
            .map_err(|failure| self.failed(failure))
    }

    fn tstore(&mut self, address: Address, key: U256, value: U256) {
        self.journal.tstore(address, key, value);
    }

    fn tload(&mut self, address: Address, key: U256) -> U256 {
        self.journal.tload(address, key)
    }

    /// Loads an account for an instruction. With code: for EXTCODESIZE, EXTCODECOPY and calls, which
    /// look at the code, and at existence if [`Ask::Existence`] was set. Without: for BALANCE and
    /// SELFBALANCE, or for EXTCODEHASH if [`Ask::CodeHash`] was set.
    fn load_account_info_skip_cold_load(
        &mut self,
        address: Address,
        load_code: bool,
        skip_cold_load: bool,
    ) -> Result<AccountInfoLoad<'_>, LoadError> {
        let ask = std::mem::take(&mut self.ask);
        let journal = &mut self.journal;
        let (at, is_cold) = match journal.load(address, skip_cold_load) {
            Ok(loaded) => loaded,
            Err(failure) => return Err(self.failed(failure)),
        };
        if load_code && let Err(stopped) = journal.load_code(at) {
            return Err(self.failed(JournalLoadError::DBError(stopped)));
        }
        let state_clear = journal.state_clear();
        let entry = journal.arenas.entry_mut(at);
        let mut is_empty = false;
        match ask {
            Ask::Existence => is_empty = if state_clear { entry.is_empty() } else { !entry.exists() },
            Ask::CodeHash => {
                entry.observe_code();
                if !entry.has_code() {
                    entry.is_empty();
                }
            }
            Ask::Plain if load_code => {}
            Ask::Plain => {
                entry.balance();
            }
        }
        Ok(AccountInfoLoad::new(&self.journal.arenas.entry(at).account.info, is_cold, is_empty))
    }
}

/// The instructions of one execution: revm's, four of them wrapped, KECCAK256 by what the worker remembers, and
/// SSTORE if EIP-1283 is in force.
pub(crate) struct Instructions<'a> {
    table: &'a InstructionTable<EthInterpreter, Ctx<'a>>,
    gas: &'a GasTable,
}

impl<'a> Instructions<'a> {
    pub(crate) fn new(gas: &'a GasTable, eip1283: bool) -> Self {
        Instructions { table: if eip1283 { Ctx::TABLE_EIP1283 } else { Ctx::TABLE }, gas }
    }
}

impl<'a> InstructionProvider for Instructions<'a> {
    type Context = Ctx<'a>;
    type InterpreterTypes = EthInterpreter;

    fn instruction_table(&self) -> &InstructionTable<EthInterpreter, Ctx<'a>> {
        self.table
    }

    fn gas_table(&self) -> &GasTable {
        self.gas
    }
}

const fn table<'a>(eip1283: bool) -> InstructionTable<EthInterpreter, Ctx<'a>> {
    let mut table = instruction_table::<EthInterpreter, Ctx<'a>>();
    table[KECCAK256 as usize] = Instruction::new(hash::keccak);
    table[CALL as usize] = Instruction::new(call);
    table[EXTCODEHASH as usize] = Instruction::new(extcodehash);
    table[CREATE as usize] = Instruction::new(create::<false>);
    table[CREATE2 as usize] = Instruction::new(create::<true>);
    if eip1283 {
        table[SSTORE as usize] = Instruction::new(eip1283::sstore);
    }
    table
}

type At<'i, 'a> = InstructionContext<'i, Ctx<'a>, EthInterpreter>;

/// CALL pays for a new account if it transfers value to one, or, before EIP-161, in any case.
fn call<'a>(at: At<'_, 'a>) -> InstructionExecResult {
    let transfers = at.interpreter.stack.peek(2).is_ok_and(|value| !value.is_zero());
    let state_clear = at.interpreter.runtime_flag.spec_id.is_enabled_in(SpecId::SPURIOUS_DRAGON);
    if transfers || !state_clear {
        at.host.ask = Ask::Existence;
    }
    let host = at.host;
    let result =
        contract::call::<CALL, _, _>(InstructionContext { interpreter: at.interpreter, host: &mut *host });
    // It may have failed before it loaded anything.
    host.ask = Ask::Plain;
    result
}

fn extcodehash<'a>(at: At<'_, 'a>) -> InstructionExecResult {
    let host = at.host;
    host.ask = Ask::CodeHash;
    let result = host::extcodehash(InstructionContext { interpreter: at.interpreter, host: &mut *host });
    host.ask = Ask::Plain;
    result
}

/// The frame that CREATE asks for compares its endowment with the balance unseen by the journal; so
/// the comparison is recorded here, unless the frame fails before it.
fn create<'a, const IS_CREATE2: bool>(at: At<'_, 'a>) -> InstructionExecResult {
    let (interpreter, host) = (at.interpreter, at.host);
    let value = interpreter.stack.peek(0);
    let result = contract::create::<IS_CREATE2, _, _>(InstructionContext {
        interpreter: &mut *interpreter,
        host: &mut *host,
    });
    let fits = interpreter.input.depth < CALL_STACK_LIMIT as usize;
    if let (Ok(value), Err(InstructionResult::Suspend), true) = (value, result, fits)
        && let Some(creator) = host.journal.arenas.find(&interpreter.input.target_address)
    {
        host.journal.arenas.entry_mut(creator).covers(value);
    }
    result
}
