//! Gas that a transaction costs before it runs. revm's rules, which count the zero bytes of the calldata once for
//! each price they are part of, byte by byte; here they are counted once, many at a time.

use revm::{
    context::{CfgEnv, TxEnv},
    context_interface::{Cfg, result::InvalidTransaction, transaction::TransactionType},
    interpreter::InitialAndFloorGas,
    primitives::hardfork::SpecId,
};

/// Intrinsic gas and floor (EIP-7623) of `tx`, up to Osaka.
///
/// # Errors
/// If its gas limit does not cover them.
pub(crate) fn intrinsic_gas(tx: &TxEnv, cfg: &CfgEnv) -> Result<InitialAndFloorGas, InvalidTransaction> {
    let params = cfg.gas_params();
    let mut accounts = 0;
    let mut slots = 0;
    if tx.tx_type != TransactionType::Legacy as u8 {
        accounts = tx.access_list.len() as u64;
        slots = tx.access_list.iter().map(|item| item.storage_keys.len() as u64).sum();
    }
    let (len, zeros) = (tx.data.len(), zeros(&tx.data));
    let rate = params.tx_token_non_zero_byte_multiplier();
    let tokens = zeros + (len as u64 - zeros) * rate;
    let floor_tokens =
        if params.tx_floor_token_zero_byte_multiplier() == rate { len as u64 * rate } else { tokens };

    let create = tx.kind.is_create();
    let bare = params.initial_tx_gas(&[], create, accounts, slots, tx.authorization_list.len() as u64, None);
    let initcode = if create { params.tx_initcode_cost(len) } else { 0 };
    let initial_gas = bare.initial_total_gas() + tokens * params.tx_token_cost() + initcode;
    let gas_floor = if cfg.is_eip7623_disabled() {
        0
    } else {
        bare.floor_gas() + floor_tokens * params.tx_floor_cost_per_token()
    };
    let gas_limit = tx.gas_limit;
    if initial_gas > gas_limit {
        return Err(InvalidTransaction::CallGasCostMoreThanGasLimit { gas_limit, initial_gas });
    }
    if cfg.spec.is_enabled_in(SpecId::PRAGUE) && gas_floor > gas_limit {
        return Err(InvalidTransaction::GasFloorMoreThanGasLimit { gas_floor, gas_limit });
    }
    Ok(InitialAndFloorGas::new(initial_gas, gas_floor))
}

/// How many of `bytes` are zero.
fn zeros(bytes: &[u8]) -> u64 {
    // Sums of bytes, so that the machine adds many at once; of few enough not to overflow.
    let count = |chunk: &[u8]| chunk.iter().map(|byte| u8::from(*byte == 0)).sum::<u8>();
    bytes.chunks(128).map(|chunk| u64::from(count(chunk))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{Address, B256, TxKind};
    use revm::{
        context_interface::{
            either::Either,
            transaction::{AccessListItem, Authorization, RecoveredAuthority, RecoveredAuthorization},
        },
        handler::validation::validate_initial_tx_gas_with_gas_params,
    };

    /// Calldata of many lengths and mixtures, all kinds and types, limits on both sides of what is needed.
    #[test]
    fn is_that_of_revm() {
        let authorization = || {
            let inner = Authorization { chain_id: Default::default(), address: Address::ZERO, nonce: 0 };
            Either::Right(RecoveredAuthorization::new_unchecked(inner, RecoveredAuthority::Invalid))
        };
        let mut refused = 0;
        for spec in (SpecId::FRONTIER as u8..=SpecId::OSAKA as u8).filter_map(SpecId::try_from_u8) {
            let cfg = CfgEnv::new_with_spec(spec);
            for round in 0..1000_usize {
                let len = [0, 1, 4, 68, 127, 128, 129, 256, 300, 5000][round % 10];
                let odds = [1, 2, 3, 256][round / 10 % 4];
                let data: Vec<u8> = (0..len).map(|at| ((at * 7 + round) % odds) as u8).collect();
                let item =
                    AccessListItem { address: Address::ZERO, storage_keys: vec![B256::ZERO; round % 3] };
                let mut tx = TxEnv {
                    tx_type: (round % 5) as u8,
                    kind: if round % 7 == 0 { TxKind::Create } else { TxKind::Call(Address::ZERO) },
                    data: data.into(),
                    access_list: vec![item; round / 4 % 3].into(),
                    authorization_list: (0..round / 8 % 3).map(|_| authorization()).collect(),
                    gas_limit: u64::MAX,
                    ..TxEnv::default()
                };
                let need = intrinsic_gas(&tx, &cfg).expect("all the gas there is");
                for limit in [need.initial_total_gas(), need.floor_gas(), u64::MAX] {
                    for gas_limit in [limit, limit.saturating_sub(1)] {
                        tx.gas_limit = gas_limit;
                        let (ours, cap) = (intrinsic_gas(&tx, &cfg), cfg.tx_gas_limit_cap());
                        let params = cfg.gas_params();
                        let revms = validate_initial_tx_gas_with_gas_params(
                            &tx, spec, params, false, false, cap, None,
                        );
                        refused += u32::from(ours.is_err());
                        assert_eq!(format!("{ours:?}"), format!("{revms:?}"), "{spec:?} {round} {tx:?}");
                    }
                }
            }
        }
        assert!(refused > 1000);
    }
}
