//! Net gas metering of SSTORE as Constantinople had it (EIP-1283) until Petersburg took it back.
//!
//! revm has no such fork. What it has is the same rule with other prices: EIP-2200 of Istanbul, whose
//! SSTORE also fails on 2300 gas or less. Here that rule runs on the prices of EIP-1283, without that
//! check, in a fork that is Petersburg otherwise.

use revm::{
    context_interface::{
        Host,
        cfg::{GasParams, gas_params::GasId},
    },
    interpreter::{
        InstructionContext, InstructionExecResult, InstructionResult,
        instructions::host::sstore_with_gas_accounting, interpreter::EthInterpreter,
    },
};

/// Price of a store that changes nothing, or changes a slot that this transaction changed before.
const SLOAD_GAS: u64 = 200;
/// Price of the first store that makes a zero slot something else.
const SSTORE_SET: u64 = 20_000;
/// Price of the first store to a slot that was not zero.
const SSTORE_RESET: u64 = 5_000;
/// Refund for a slot that becomes zero.
const CLEARS_SCHEDULE: u64 = 15_000;

/// Puts the prices of EIP-1283 in the place of those of a fork before Istanbul.
pub(crate) fn reprice(params: &mut GasParams) {
    params.override_gas([
        (GasId::sstore_static(), SLOAD_GAS),
        (GasId::sstore_set_without_load_cost(), SSTORE_SET - SLOAD_GAS),
        (GasId::sstore_reset_without_cold_load_cost(), SSTORE_RESET - SLOAD_GAS),
        (GasId::sstore_set_refund(), SSTORE_SET - SLOAD_GAS),
        (GasId::sstore_reset_refund(), SSTORE_RESET - SLOAD_GAS),
        (GasId::sstore_clearing_slot_refund(), CLEARS_SCHEDULE),
    ]);
}

/// SSTORE, metered by net changes on the prices that [`reprice`] set.
pub(crate) fn sstore<H: Host + ?Sized>(
    at: InstructionContext<'_, H, EthInterpreter>,
) -> InstructionExecResult {
    sstore_with_gas_accounting(at, |at, _, load| {
        // `true`: by net changes. Nothing is cold before Berlin.
        let params = at.host.gas_params();
        let (cost, refund) =
            (params.sstore_dynamic_gas(true, &load.data, false), params.sstore_refund(true, &load.data));
        if !at.interpreter.gas.record_regular_cost(cost) {
            return Err(InstructionResult::OutOfGas);
        }
        at.interpreter.gas.record_refund(refund);
        Ok(())
    })
}
