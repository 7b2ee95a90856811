//! Messages as transactions of a [`Vm`].

use crate::{
    frame::{Beginning, Kept, Root},
    key::{ActorKey, ActorValue},
    message::{Body, Call, Create, FrameId, Message, Outcome, Reply, Trail},
    rules::{Limits, Rules},
    run::{Frame, begin, precompile, reply, run},
    turn::Turn,
    tx::{settle, start},
};
use alloy_primitives::{Address, Bytes, KECCAK256_EMPTY, Log, U256};
use braid_core::{Effects, Hint, Mode, Stop, Trust, View, Vm, Write};
use braid_evm::{AccountDelta, AccountState, BlockInput, EvmError, TxResult};
use revm::{bytecode::Bytecode, interpreter::InstructionResult, primitives::hardfork::SpecId};

/// Why messages cannot be delivered. Never what a transaction or a contract does wrong.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ActorError {
    /// A message names a transaction that the block does not have, or another sender.
    #[error("the block has no transaction {0} of that sender")]
    NoSuchTransaction(u32),
    /// An answer to a frame that does not wait for it.
    #[error("{actor} has no frame {frame:?}")]
    NoFrame {
        /// The actor.
        actor: Address,
        /// The frame.
        frame: FrameId,
    },
}

/// How a transaction ended.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// It was executed. Its logs are those of all its messages.
    Executed(TxResult),
    /// It was not: it is invalid by itself, or its sender had another nonce or too little ether when it was
    /// delivered.
    NotExecuted(EvmError),
}

/// What a message did to its receiver: for comparisons.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The receiver's record before.
    pub before: AccountState,
    /// And after.
    pub after: AccountState,
    /// Changed slots: before, after.
    pub slots: Vec<(U256, U256, U256)>,
}

/// What a message gives to the caller of the block.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivered {
    /// The transaction that it belongs to; system calls follow the transactions.
    pub origin: u32,
    /// Its receiver.
    pub receiver: Address,
    /// Its logs.
    pub logs: Vec<Log>,
    /// The end of the transaction, in its last message to the sender.
    pub end: Option<Box<End>>,
    /// Ether that is nobody's any more: the base fee, and the blobs'.
    pub burnt: U256,
    /// Whether a frame has failed that had waited for an answer, so that its earlier steps stay.
    pub partial: bool,
    /// Ether added without a look: of a credit.
    pub credit: U256,
    /// What it changed, if that was asked for and it is no credit.
    pub change: Option<Box<Change>>,
}

/// The machine, set up for one block.
#[derive(Debug)]
pub struct ActorVm<'b> {
    pub(crate) rules: Rules<'b>,
    changes: bool,
}

impl<'b> ActorVm<'b> {
    /// Sets up for `input`, whose rules are Ethereum's up to Osaka.
    pub fn new(input: &'b BlockInput, limits: Limits) -> Self {
        ActorVm { rules: Rules::new(input, limits), changes: false }
    }

    /// Tells what each message changes.
    #[must_use]
    pub fn with_changes(mut self) -> Self {
        self.changes = true;
        self
    }

    /// The message that a transaction of the block is.
    pub fn transaction(&self, index: u32) -> Message {
        Message::new(index, self.rules.tx(index).caller, Body::Start)
    }

    /// A call by the protocol, with this much gas. `origin` is any number beyond the transactions', its own.
    pub(crate) fn system_call(&self, origin: u32, to: Address, input: Bytes, gas: u64) -> Message {
        let mut trail = Trail::default();
        trail.warm.add([((to, None), None)].into());
        let caller = self.rules.system.caller;
        let (value, is_static, depth) = (U256::ZERO, false, 0);
        Message::new(
            origin,
            to,
            Body::Call(Call { caller, waiting: None, value, input, gas, is_static, depth, trail }),
        )
    }
}

/// The trail of a message, if it has one.
fn trail_of(body: &Body) -> Trail {
    match body {
        Body::Call(Call { trail, .. })
        | Body::Create(Create { trail, .. })
        | Body::Reply(Reply { trail, .. }) => trail.clone(),
        Body::Start | Body::Credit(_) | Body::Delegate { .. } | Body::Drain(_) => Trail::default(),
    }
}

/// Ends of turns that are more than their writes.
#[derive(Default)]
struct Ending {
    end: Option<End>,
    burnt: U256,
    /// Ether that the sender's ticket holds more (a transaction begins) or less (it ends).
    locked: U256,
    unlocked: U256,
}

fn handle(turn: &mut Turn<'_>, body: &Body) -> Result<Ending, Stop<ActorError>> {
    let mut ending = Ending::default();
    match body {
        Body::Start => {
            let before = turn.now.balance;
            ending.end = start(turn)?;
            let sent: U256 = turn.sends.iter().map(Message::value).sum();
            ending.locked = before - turn.now.balance - sent;
        }
        Body::Call(call) => called(turn, call)?,
        Body::Create(create) => created(turn, create)?,
        Body::Reply(answer) => {
            let parked = turn.take_frame(answer.frame)?;
            turn.receive(answer.value);
            turn.begin();
            match &parked.0 {
                Kept::Frames { root, frames } => {
                    let frames = frames.iter().cloned().map(Frame::Parked).collect();
                    run(turn, root.clone(), frames, Some(answer.outcome.clone()))?;
                }
                Kept::Sender(ticket) => {
                    let (end, burnt) = settle(turn, ticket, answer);
                    (ending.end, ending.burnt, ending.unlocked) = (Some(end), burnt, ticket.prepaid);
                }
            }
        }
        Body::Delegate { nonce, target } => {
            let code = turn.code(turn.now.code_hash)?;
            if turn.now.nonce == *nonce && (code.is_empty() || code.is_eip7702()) {
                let none = target.is_zero();
                turn.set_code(if none { Bytecode::default() } else { Bytecode::new_eip7702(*target) });
                turn.now.nonce += 1;
                turn.now.exists = true;
            }
        }
        Body::Drain(to) => {
            let balance = std::mem::take(&mut turn.now.balance);
            turn.send_credit(*to, balance);
        }
        // Has no turn.
        Body::Credit(_) => {}
    }
    Ok(ending)
}

fn called(turn: &mut Turn<'_>, call: &Call) -> Result<(), Stop<ActorError>> {
    let root = Root { waiting: call.waiting, value: call.value, creates: false };
    turn.begin();
    let checkpoint = turn.checkpoint();
    if !turn.receive(call.value) {
        reply(turn, &root, Outcome::failed(InstructionResult::OverflowPayment, 0), call.value);
        return Ok(());
    }
    if let Some(outcome) = precompile(turn, turn.address, &call.input, call.gas) {
        let back = if outcome.result.is_ok() { U256::ZERO } else { call.value };
        if !outcome.result.is_ok() {
            turn.undo(Some(&checkpoint));
        }
        reply(turn, &root, outcome, back);
        return Ok(());
    }
    let (code, hash, from) = turn.code_to_run(turn.address)?;
    if code.is_empty() {
        reply(turn, &root, Outcome::failed(InstructionResult::Stop, call.gas), U256::ZERO);
        return Ok(());
    }
    let beginning = Beginning {
        target: turn.address,
        caller: call.caller,
        code: (code, Some(hash), Some(from)),
        input: call.input.clone(),
        value: call.value,
        gas: call.gas,
        is_static: call.is_static,
        depth: call.depth,
    };
    let live = begin(turn, beginning, checkpoint);
    run(turn, root, vec![Frame::Live(Box::new(live))], None)
}

fn created(turn: &mut Turn<'_>, create: &Create) -> Result<(), Stop<ActorError>> {
    let root = Root { waiting: Some(create.waiting), value: create.value, creates: true };
    turn.begin();
    let checkpoint = turn.checkpoint();
    let was = turn.now;
    let taken = was.nonce != 0 || was.code_hash != KECCAK256_EMPTY || (turn.rules.eip7610 && was.has_storage);
    if taken || !turn.receive(create.value) {
        reply(turn, &root, Outcome::failed(InstructionResult::CreateCollision, 0), create.value);
        return Ok(());
    }
    turn.born = true;
    turn.now.exists = true;
    turn.now.generation += 1;
    turn.now.has_storage = false;
    turn.now.nonce = u64::from(turn.rules.since(SpecId::SPURIOUS_DRAGON));
    let beginning = Beginning {
        target: turn.address,
        caller: create.creator,
        code: (Bytecode::new_legacy(create.init_code.clone()), None, None),
        input: Bytes::new(),
        value: create.value,
        gas: create.gas,
        is_static: false,
        depth: create.depth,
    };
    let live = begin(turn, beginning, checkpoint);
    run(turn, root, vec![Frame::Live(Box::new(live))], None)
}

impl<'b> Vm for ActorVm<'b> {
    type Tx = Message;
    type Key = ActorKey;
    type Value = ActorValue;
    type Output = Delivered;
    type Error = ActorError;
    type Worker = ();

    fn worker(&self) {}

    /// The receiver, by its record: two messages to one actor wait for each other, unless both are credits. What
    /// else it reads is not known.
    fn hint(&self, message: &Message) -> Hint<ActorKey> {
        let mode = if matches!(*message.body, Body::Credit(_)) { Mode::Add } else { Mode::Write };
        Hint { trust: Trust::Guess, access: vec![(ActorKey::account(message.to), mode)] }
    }

    fn execute(
        &self,
        (): &mut (),
        message: &Message,
        view: &mut dyn View<ActorKey, ActorValue>,
        effects: &mut Effects<Self>,
    ) -> Result<(), Stop<ActorError>> {
        let (origin, receiver) = (message.origin, message.to);
        let mut delivered = Delivered {
            origin,
            receiver,
            logs: Vec::new(),
            end: None,
            burnt: U256::ZERO,
            partial: false,
            credit: U256::ZERO,
            change: None,
        };
        if let Body::Credit(credit) = &*message.body {
            let delta = AccountDelta { credit: *credit, ..AccountDelta::default() };
            effects.writes.push((ActorKey::account(receiver), Write::Add(delta)));
            delivered.credit = *credit;
            effects.output = Some(delivered);
            return Ok(());
        }
        let mut turn = Turn::new(&self.rules, message, trail_of(&message.body), view)?;
        let Ending { end, burnt, locked, unlocked } = handle(&mut turn, &message.body)?;
        turn.end(&mut effects.writes);
        let sent: U256 = turn.sends.iter().map(Message::value).sum();
        debug_assert_eq!(
            turn.before.balance + message.value() + unlocked,
            turn.now.balance + sent + burnt + locked,
            "ether is conserved in {} to {receiver} of {origin}",
            message.kind()
        );
        debug_assert!(
            effects.writes.iter().all(|(key, _)| key.owner().is_none_or(|owner| owner == receiver)),
            "{} to {receiver} writes nobody else: {:?}",
            message.kind(),
            effects.writes
        );
        if self.changes {
            let changed = turn.slots.iter().filter(|(_, cell)| cell.before != cell.now);
            let slots = changed.map(|(slot, cell)| (*slot, cell.before, cell.now)).collect();
            delivered.change = Some(Box::new(Change { before: turn.before, after: turn.now, slots }));
        }
        delivered.logs = std::mem::take(&mut turn.logs);
        (delivered.end, delivered.burnt) = (end.map(Box::new), burnt);
        delivered.partial = turn.partial;
        effects.spawn = std::mem::take(&mut turn.sends);
        (effects.output, effects.work) = (Some(delivered), 1);
        Ok(())
    }
}
