//! The two ends of a transaction, at its sender: what is checked and prepaid, and what is settled.

use crate::{
    frame::{Kept, Ticket},
    message::{Body, Call, Create, Message, Outcome, Reply},
    turn::Turn,
    vm::{ActorError, End},
    warm::{Original, Place},
};
use alloy_primitives::{Address, Bytes, U256};
use braid_core::{Halt, Stop};
use braid_evm::{EvmError, Status, TxResult};
use revm::{
    Context, MainContext,
    context::TxEnv,
    context_interface::{
        Block, Cfg, Transaction,
        result::{InvalidHeader, InvalidTransaction},
        transaction::{AuthorizationTr, TransactionType},
    },
    database::EmptyDB,
    handler::validation::{validate_env, validate_initial_tx_gas_with_gas_params},
    interpreter::InitialAndFloorGas,
    primitives::{TxKind, hardfork::SpecId},
};
use std::collections::BTreeMap;

/// Why a transaction is not executed.
struct Refusal(EvmError);

impl From<InvalidTransaction> for Refusal {
    fn from(invalid: InvalidTransaction) -> Self {
        Refusal(EvmError::Transaction(invalid))
    }
}

impl From<InvalidHeader> for Refusal {
    fn from(invalid: InvalidHeader) -> Self {
        Refusal(EvmError::Header(invalid))
    }
}

/// A transaction at its sender. It is checked, prepaid, and sent on; or it fails alone, and nothing has happened.
pub(crate) fn start(turn: &mut Turn<'_>) -> Result<Option<End>, Stop<ActorError>> {
    let (tx, rules) = (turn.tx, turn.rules);
    if tx.caller != turn.address {
        return Err(Stop::Invalid(ActorError::NoSuchTransaction(turn.origin)));
    }
    let sender_code = turn.code(turn.now.code_hash)?;
    let gas = match check(turn, sender_code.is_empty() || sender_code.is_eip7702()) {
        Ok(gas) => gas,
        Err(Refusal(error)) => return Ok(Some(End::NotExecuted(error))),
    };
    let prepaid = match tx
        .gas_balance_spending(u128::from(rules.env.basefee), rules.env.blob_gasprice().unwrap_or(0))
    {
        Ok(prepaid) => prepaid,
        Err(error) => return Ok(Some(End::NotExecuted(EvmError::Transaction(error)))),
    };
    // `check` has compared the balance with more than both.
    turn.pay(prepaid);
    let nonce = turn.now.nonce;
    turn.now.nonce += 1;
    let to = match tx.kind {
        TxKind::Call(to) => to,
        TxKind::Create => tx.caller.create(nonce),
    };
    turn.trail.warm.add(touched(tx, to));
    let refund = authorize(turn)?;
    let waiting = (turn.address, turn.waiting());
    turn.put_frame(Kept::Sender(Ticket { floor: gas.floor_gas(), refund, prepaid }));
    turn.pay(tx.value);
    let (gas, value) = (tx.gas_limit - gas.initial_total_gas(), tx.value);
    let trail = turn.answering();
    let body = match tx.kind {
        TxKind::Call(_) => Body::Call(Call {
            caller: tx.caller,
            waiting: Some(waiting),
            value,
            input: tx.data.clone(),
            gas,
            is_static: false,
            depth: 0,
            trail,
        }),
        TxKind::Create => {
            let (creator, init_code) = (tx.caller, tx.data.clone());
            Body::Create(Create { creator, waiting, value, init_code, gas, depth: 0, trail })
        }
    };
    turn.sends.push(Message::new(turn.origin, to, body));
    Ok(None)
}

/// Whether the transaction may be executed. Its gas, if so.
fn check(turn: &Turn<'_>, may_send: bool) -> Result<InitialAndFloorGas, Refusal> {
    let (tx, rules) = (turn.tx, turn.rules);
    let mut context = Context::mainnet()
        .with_db(EmptyDB::default())
        .with_cfg(rules.cfg.clone())
        .with_block(rules.env.clone())
        .with_tx(tx.clone());
    validate_env::<_, Refusal>(&mut context)?;
    let cfg = &rules.cfg;
    let mut gas = validate_initial_tx_gas_with_gas_params(
        tx,
        rules.spec,
        cfg.gas_params(),
        cfg.is_eip7623_disabled(),
        false,
        cfg.tx_gas_limit_cap(),
        None,
    )?;
    if !rules.since(SpecId::PRAGUE) {
        gas.set_floor_gas(0);
    }
    // EIP-3607; EIP-7702 lets delegated accounts send.
    if !may_send {
        return Err(InvalidTransaction::RejectCallerWithCode.into());
    }
    let state = turn.now.nonce;
    if tx.nonce > state {
        return Err(InvalidTransaction::NonceTooHigh { tx: tx.nonce, state }.into());
    }
    if tx.nonce < state {
        return Err(InvalidTransaction::NonceTooLow { tx: tx.nonce, state }.into());
    }
    tx.ensure_enough_balance(turn.now.balance)?;
    Ok(gas)
}

/// What is warm from the beginning (EIP-2929, EIP-2930).
fn touched(tx: &TxEnv, to: Address) -> BTreeMap<Place, Original> {
    let mut places = BTreeMap::from([((tx.caller, None), None), ((to, None), None)]);
    if tx.tx_type != TransactionType::Legacy as u8 {
        for item in &tx.access_list.0 {
            places.insert((item.address, None), None);
            for key in &item.storage_keys {
                places.insert((item.address, Some((*key).into())), None);
            }
        }
    }
    places
}

/// EIP-7702: a message to each authority. Returns the refund for those that exist, as far as the sender can see.
fn authorize(turn: &mut Turn<'_>) -> Result<u64, Halt> {
    let tx = turn.tx;
    if tx.tx_type != TransactionType::Eip7702 as u8 {
        return Ok(0);
    }
    let mut existing = 0;
    for authorization in &tx.authorization_list {
        let chain_id = authorization.chain_id();
        if !chain_id.is_zero() && chain_id != U256::from(turn.rules.cfg.chain_id) {
            continue;
        }
        let (nonce, target) =
            (AuthorizationTr::nonce(authorization), AuthorizationTr::address(authorization));
        let Some(authority) = AuthorizationTr::authority(authorization).filter(|_| nonce != u64::MAX) else {
            continue;
        };
        turn.touch(authority);
        let (_, code) = turn.look_at_code(authority)?;
        let account = turn.look(authority, |account, seen| {
            seen.nonce = Some(account.nonce);
            seen.exists = Some(account.exists);
        })?;
        if account.nonce == nonce && account.exists && (code.is_empty() || code.is_eip7702()) {
            existing += 1;
        }
        turn.sends.push(Message::new(turn.origin, authority, Body::Delegate { nonce, target }));
    }
    Ok(turn.rules.cfg.gas_params().tx_eip7702_auth_refund_regular().saturating_mul(existing))
}

/// The end of a transaction at its sender: gas that is left comes back, and the beneficiary gets its share.
/// Returns the result, and what is burnt.
pub(crate) fn settle(turn: &mut Turn<'_>, ticket: &Ticket, reply: &Reply) -> (End, U256) {
    let (tx, rules) = (turn.tx, turn.rules);
    let params = rules.cfg.gas_params();
    let Outcome { result, output, gas, refund, created } = &reply.outcome;
    let spent = tx.gas_limit - gas;
    let refund = u64::try_from(*refund).unwrap_or(0).saturating_add(ticket.refund);
    let used = (spent - refund.min(spent / params.max_refund_quotient())).max(ticket.floor);
    let basefee = u128::from(rules.env.basefee);
    let price = tx.effective_gas_price(basefee);
    // None of these overflows: the sender has paid gas limit times price.
    let of = |price: u128, gas: u64| U256::from(price.saturating_mul(u128::from(gas)));
    turn.receive(of(price, tx.gas_limit - used));
    let tip = if rules.since(SpecId::LONDON) { price.saturating_sub(basefee) } else { price };
    let fee = of(tip, used);
    if !fee.is_zero() {
        turn.send_credit(rules.env.beneficiary, fee);
    }
    let burnt = ticket.prepaid - of(price, tx.gas_limit - used) - fee;
    let status = if result.is_ok() {
        Status::Success
    } else if result.is_revert() {
        Status::Revert
    } else {
        Status::Halt
    };
    let output = if status == Status::Halt { Bytes::new() } else { output.clone() };
    let created = created.filter(|_| status == Status::Success);
    (End::Executed(TxResult { status, gas_used: used, logs: Vec::new(), output, created }), burnt)
}
