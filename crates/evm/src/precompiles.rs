//! revm's precompiles, behind a look at the address: every call asks whether its target is one, and revm hashes the
//! address to find out.

use crate::ctx::Ctx;
use alloy_primitives::Address;
use revm::{
    handler::{EthPrecompiles, PrecompileProvider},
    interpreter::{CallInputs, InterpreterResult},
    primitives::{AddressSet, hardfork::SpecId},
};

/// Whether `address` can be that of a precompile: they have two bytes at most (EIP-7951 has 0x100).
pub(crate) fn may_be_precompile(address: &Address) -> bool {
    address[..18] == [0; 18]
}

/// The precompiles of one block.
#[derive(Clone, Debug)]
pub(crate) struct ShortPrecompiles(pub(crate) EthPrecompiles);

impl<'a> PrecompileProvider<Ctx<'a>> for ShortPrecompiles {
    type Output = InterpreterResult;

    fn set_spec(&mut self, spec: SpecId) -> bool {
        <EthPrecompiles as PrecompileProvider<Ctx<'a>>>::set_spec(&mut self.0, spec)
    }

    fn run(&mut self, ctx: &mut Ctx<'a>, inputs: &CallInputs) -> Result<Option<InterpreterResult>, String> {
        if may_be_precompile(&inputs.bytecode_address) { self.0.run(ctx, inputs) } else { Ok(None) }
    }

    fn warm_addresses(&self) -> &AddressSet {
        self.0.warm_addresses()
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
}
