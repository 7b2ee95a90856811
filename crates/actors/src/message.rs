//! What actors send each other.

use crate::warm::Warm;
use alloy_primitives::{Address, Bytes, U256};
use revm::interpreter::InstructionResult;
use std::sync::Arc;

/// Names a suspended frame among those of its actor: the transaction, and the number of the message, among those of
/// the transaction that are waited for, in which it was suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameId {
    /// Position of the transaction; system calls follow the transactions.
    pub origin: u32,
    /// Number of the message.
    pub step: u32,
}

/// A message: cheap to clone.
#[derive(Clone, Debug)]
pub struct Message {
    /// The transaction that it belongs to, as in [`FrameId::origin`].
    pub origin: u32,
    /// Its receiver.
    pub to: Address,
    pub(crate) body: Arc<Body>,
}

#[derive(Debug)]
pub(crate) enum Body {
    /// A transaction, to its sender.
    Start,
    /// A call: of a contract or of a transaction, or of the protocol, which waits for no answer.
    Call(Call),
    /// A contract to be created at the receiver's address.
    Create(Create),
    /// An answer.
    Reply(Reply),
    /// Ether for which nobody waits.
    Credit(U256),
    /// Code that the receiver has authorized (EIP-7702): its nonce, and the account whose code it is to run; zero
    /// for none.
    Delegate { nonce: u64, target: Address },
    /// Sends all its ether to this account (the DAO fork).
    Drain(Address),
}

/// What travels along the one thread of control that a transaction has.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Trail {
    /// What was touched.
    pub(crate) warm: Warm,
    /// Number of the message.
    pub(crate) step: u32,
    /// Messages that the transaction has sent, answers not counted.
    pub(crate) sent: u32,
    /// Bytes that were copied for the transaction: frames that were suspended, data of calls.
    pub(crate) copied: u64,
}

/// Where an answer goes.
pub(crate) type Waiting = (Address, FrameId);

#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) caller: Address,
    /// Who waits for the answer; the protocol does not.
    pub(crate) waiting: Option<Waiting>,
    /// In the message, and nowhere else.
    pub(crate) value: U256,
    pub(crate) input: Bytes,
    pub(crate) gas: u64,
    pub(crate) is_static: bool,
    pub(crate) depth: usize,
    pub(crate) trail: Trail,
}

#[derive(Debug)]
pub(crate) struct Create {
    pub(crate) creator: Address,
    pub(crate) waiting: Waiting,
    pub(crate) value: U256,
    pub(crate) init_code: Bytes,
    pub(crate) gas: u64,
    pub(crate) depth: usize,
    pub(crate) trail: Trail,
}

#[derive(Debug)]
pub(crate) struct Reply {
    /// The receiver's frame that waits for it.
    pub(crate) frame: FrameId,
    pub(crate) outcome: Outcome,
    /// What comes back of the value, if the callee failed.
    pub(crate) value: U256,
    pub(crate) trail: Trail,
}

/// How a frame ended.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) result: InstructionResult,
    pub(crate) output: Bytes,
    /// Gas that was not used; nothing after a halt.
    pub(crate) gas: u64,
    /// Refund counter; nothing unless it succeeded.
    pub(crate) refund: i64,
    /// The address of the contract, if one was created.
    pub(crate) created: Option<Address>,
}

impl Outcome {
    /// A call that failed before it began: the gas comes back, unless it is a halt.
    pub(crate) const fn failed(result: InstructionResult, gas: u64) -> Self {
        let gas = if result.is_halt() { 0 } else { gas };
        Outcome { result, output: Bytes::new(), gas, refund: 0, created: None }
    }
}

impl Message {
    pub(crate) fn new(origin: u32, to: Address, body: Body) -> Self {
        Message { origin, to, body: Arc::new(body) }
    }

    /// The ether in it.
    pub fn value(&self) -> U256 {
        match &*self.body {
            Body::Call(Call { value, .. })
            | Body::Create(Create { value, .. })
            | Body::Reply(Reply { value, .. })
            | Body::Credit(value) => *value,
            Body::Start | Body::Delegate { .. } | Body::Drain(_) => U256::ZERO,
        }
    }

    /// Its kind, in a word.
    pub fn kind(&self) -> &'static str {
        match &*self.body {
            Body::Start => "start",
            Body::Call(_) => "call",
            Body::Create(_) => "create",
            Body::Reply(_) => "reply",
            Body::Credit(_) => "credit",
            Body::Delegate { .. } => "delegate",
            Body::Drain(_) => "drain",
        }
    }
}
