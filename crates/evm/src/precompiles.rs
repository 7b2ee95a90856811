//! Precompiles, asked less often.
//!
//! Every call asks whether its target is a precompile, so that question is answered by a look at the address where
//! revm hashes it. And what a long computation gave, it gives again for the same input: a transaction that is
//! executed again, or a signature that is checked twice, finds the answer. Whole inputs are compared, and nothing
//! outlives the block.

use crate::ctx::Ctx;
use alloy_primitives::{Address, Bytes};
use foldhash::fast::RandomState;
use hashbrown::{Equivalent, HashMap};
use parking_lot::Mutex;
use revm::{
    handler::{EthPrecompiles, PrecompileProvider, precompile_output_to_interpreter_result},
    interpreter::{CallInputs, InterpreterResult},
    precompile::{PrecompileOutput, PrecompileStatus, Precompiles},
    primitives::{AddressSet, hardfork::SpecId},
};
use std::hash::{Hash, Hasher};

/// Whether `address` can be that of a precompile: they have two bytes at most (EIP-7951 has 0x100).
pub(crate) fn may_be_precompile(address: &Address) -> bool {
    address[..18] == [0; 18]
}

/// Least gas of what is remembered: ECRECOVER's. What costs less takes hardly longer than a look-up.
const LEAST_GAS: u64 = 3000;

/// Longest input that is remembered, in bytes: 21 pairs of points.
const LONGEST: usize = 4096;

/// Most bytes of inputs and outputs that a block's answers take.
const MOST_BYTES: usize = 1 << 20;

/// An input of a precompile.
#[derive(Debug)]
struct Asked {
    address: u16,
    input: Box<[u8]>,
}

/// The same, borrowed.
struct Ask<'i> {
    address: u16,
    input: &'i [u8],
}

impl Hash for Asked {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Ask { address: self.address, input: &self.input }.hash(state);
    }
}

impl Hash for Ask<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u16(self.address);
        state.write(self.input);
    }
}

impl PartialEq for Asked {
    fn eq(&self, other: &Self) -> bool {
        self.address == other.address && self.input == other.input
    }
}

impl Eq for Asked {}

impl Equivalent<Asked> for Ask<'_> {
    fn equivalent(&self, key: &Asked) -> bool {
        self.address == key.address && *self.input == *key.input
    }
}

/// What precompiles answered in one block, for all its workers.
#[derive(Debug, Default)]
pub(crate) struct Answers(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    answers: HashMap<Asked, (u64, Bytes), RandomState>,
    bytes: usize,
}

impl Answers {
    fn get(&self, ask: &Ask<'_>, gas_limit: u64) -> Option<PrecompileOutput> {
        let table = self.0.lock();
        let (gas, bytes) = table.answers.get(ask)?;
        // A lower limit is for the precompile to refuse.
        (*gas <= gas_limit).then(|| PrecompileOutput::new(*gas, bytes.clone(), 0))
    }

    fn put(&self, ask: &Ask<'_>, output: &PrecompileOutput) {
        if output.status != PrecompileStatus::Success || output.gas_used < LEAST_GAS {
            return;
        }
        let mut table = self.0.lock();
        let size = ask.input.len() + output.bytes.len() + size_of::<(Asked, u64, Bytes)>();
        if table.bytes + size > MOST_BYTES {
            return;
        }
        table.bytes += size;
        let asked = Asked { address: ask.address, input: ask.input.into() };
        table.answers.insert(asked, (output.gas_used, output.bytes.clone()));
    }
}

/// The precompiles of one block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockPrecompiles<'a> {
    pub(crate) all: &'static Precompiles,
    pub(crate) spec: SpecId,
    pub(crate) answers: &'a Answers,
}

impl<'a> PrecompileProvider<Ctx<'a>> for BlockPrecompiles<'a> {
    type Output = InterpreterResult;

    fn set_spec(&mut self, spec: SpecId) -> bool {
        let mut precompiles = EthPrecompiles { precompiles: self.all, spec: self.spec };
        let changed = <EthPrecompiles as PrecompileProvider<Ctx<'a>>>::set_spec(&mut precompiles, spec);
        (self.all, self.spec) = (precompiles.precompiles, precompiles.spec);
        changed
    }

    fn run(&mut self, ctx: &mut Ctx<'a>, inputs: &CallInputs) -> Result<Option<InterpreterResult>, String> {
        let address = &inputs.bytecode_address;
        if !may_be_precompile(address) || self.all.get(address).is_none() {
            return Ok(None);
        }
        let mut plain = EthPrecompiles { precompiles: self.all, spec: self.spec };
        let number = u16::from_be_bytes([address[18], address[19]]);
        // Hashes and copies take no longer than a look-up, and an input that is long longer to compare.
        if (2..=4).contains(&number) {
            return plain.run(ctx, inputs);
        }
        let input = inputs.input.as_bytes(ctx);
        if input.len() > LONGEST {
            drop(input);
            return plain.run(ctx, inputs);
        }
        let ask = Ask { address: number, input: &input };
        if let Some(output) = self.answers.get(&ask, inputs.gas_limit) {
            return Ok(Some(precompile_output_to_interpreter_result(output, inputs.gas_limit)));
        }
        let Some(precompile) = self.all.get(address) else { return Ok(None) };
        let output = precompile.execute(&input, inputs.gas_limit, inputs.reservoir);
        let output = output.map_err(|error| error.to_string())?;
        self.answers.put(&ask, &output);
        drop(input);
        // As in revm: the reason of a failure is told of the transaction's own call.
        if let Some(reason) = output.halt_reason()
            && !reason.is_oog()
            && ctx.journal.arenas.depth == 1
        {
            ctx.local.precompile_error_message = Some(reason.to_string());
        }
        Ok(Some(precompile_output_to_interpreter_result(output, inputs.gas_limit)))
    }

    fn warm_addresses(&self) -> &AddressSet {
        self.all.addresses_set()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_precompiles_have_short_addresses() {
        for spec in (SpecId::FRONTIER as u8..=SpecId::AMSTERDAM as u8).filter_map(SpecId::try_from_u8) {
            let precompiles = EthPrecompiles::new(spec);
            assert!(!precompiles.warm_addresses().is_empty());
            assert!(precompiles.warm_addresses().iter().all(may_be_precompile), "{spec:?}");
        }
    }

    #[test]
    fn an_answer_is_for_its_address_its_input_and_enough_gas() {
        let answers = Answers::default();
        let ask = |address, input| Ask { address, input };
        let output = PrecompileOutput::new(5000, Bytes::from_static(b"answer"), 0);
        answers.put(&ask(1, b"input"), &output);
        assert_eq!(answers.get(&ask(1, b"input"), 5000), Some(output.clone()));
        assert_eq!(answers.get(&ask(1, b"input"), 4999), None);
        assert_eq!(answers.get(&ask(2, b"input"), 5000), None);
        assert_eq!(answers.get(&ask(1, b"inputs"), 5000), None);

        let cheap = PrecompileOutput { gas_used: LEAST_GAS - 1, ..output.clone() };
        answers.put(&ask(1, b"cheap"), &cheap);
        assert_eq!(answers.get(&ask(1, b"cheap"), 5000), None);
        let reverted = PrecompileOutput { status: PrecompileStatus::Revert, ..output };
        answers.put(&ask(1, b"reverted"), &reverted);
        assert_eq!(answers.get(&ask(1, b"reverted"), 5000), None);
    }

    #[test]
    fn answers_are_bounded() {
        let answers = Answers::default();
        let output = PrecompileOutput::new(LEAST_GAS, Bytes::from_static(&[7; 32]), 0);
        for at in 0..20_000_u32 {
            answers.put(&Ask { address: 1, input: &[at.to_be_bytes(); 32].concat() }, &output);
        }
        let table = answers.0.lock();
        assert!(table.bytes <= MOST_BYTES && table.answers.len() > 1000);
    }
}
