//! Locations of actors: those of Ethereum, and what lives only while messages are delivered.

use crate::{frame::Parked, message::FrameId};
use alloy_primitives::{Address, U256};
use braid_core::Value;
use braid_evm::{AccountDelta, EvmKey, EvmSeen, EvmValue};
use std::sync::Arc;

/// One location.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ActorKey {
    /// A location of Ethereum's state.
    State(EvmKey),
    /// A suspended frame.
    Frame(Address, FrameId),
    /// A slot of transient storage (EIP-1153) of one transaction.
    Transient {
        /// The account.
        address: Address,
        /// The transaction.
        origin: u32,
        /// The slot.
        slot: U256,
    },
    /// In which transaction a contract was created last, if any of this block: EIP-6780 asks.
    Born(Address),
}

impl ActorKey {
    /// The record of an account.
    pub const fn account(address: Address) -> Self {
        ActorKey::State(EvmKey::Account(address))
    }

    /// The actor that this is a part of. Code belongs to nobody: it is named by its content, so that who writes it
    /// writes what anybody would.
    pub const fn owner(&self) -> Option<Address> {
        match self {
            ActorKey::State(EvmKey::Account(address) | EvmKey::Slot { address, .. })
            | ActorKey::Frame(address, _)
            | ActorKey::Transient { address, .. }
            | ActorKey::Born(address) => Some(*address),
            ActorKey::State(EvmKey::Code(_)) => None,
        }
    }
}

/// What a location holds.
#[derive(Clone, Debug, PartialEq)]
pub enum ActorValue {
    /// A value of Ethereum's state.
    State(EvmValue),
    /// A suspended frame: plain data, from which it is resumed as often as the scheduler asks.
    Frame(Arc<Parked>),
    /// Transient storage.
    Transient(U256),
    /// A transaction, by its position.
    Born(u32),
}

/// What an execution learned from a location.
#[derive(Clone, Debug)]
pub enum ActorSeen {
    /// Of Ethereum's state.
    State(EvmSeen),
    /// Everything.
    Exactly(ActorValue),
    /// That it is absent.
    Absent,
}

impl Value for ActorValue {
    type Delta = AccountDelta;
    type Seen = ActorSeen;

    fn apply(base: Option<Self>, delta: &AccountDelta) -> Option<Self> {
        let base = match base {
            Some(ActorValue::State(value)) => Some(value),
            None => None,
            Some(other) => unreachable!("an account delta on {other:?}"),
        };
        EvmValue::apply(base, delta).map(ActorValue::State)
    }

    fn exactly(value: Option<&Self>) -> ActorSeen {
        match value {
            Some(ActorValue::State(value)) => ActorSeen::State(EvmValue::exactly(Some(value))),
            Some(value) => ActorSeen::Exactly(value.clone()),
            None => ActorSeen::Absent,
        }
    }

    fn holds(seen: &ActorSeen, now: Option<&Self>) -> bool {
        match (seen, now) {
            (ActorSeen::State(seen), Some(ActorValue::State(now))) => EvmValue::holds(seen, Some(now)),
            (ActorSeen::State(seen), None) => EvmValue::holds(seen, None),
            (ActorSeen::Exactly(ActorValue::Frame(seen)), Some(ActorValue::Frame(now))) => {
                Arc::ptr_eq(seen, now) || seen == now
            }
            (ActorSeen::Exactly(seen), Some(now)) => seen == now,
            (ActorSeen::Absent, Some(ActorValue::State(now))) => EvmValue::holds(&EvmSeen::Absent, Some(now)),
            (ActorSeen::Absent, None) => true,
            (ActorSeen::State(_) | ActorSeen::Absent, Some(_)) | (ActorSeen::Exactly(_), None) => false,
        }
    }
}
