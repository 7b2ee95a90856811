//! Accounts as actors: the EVM's contracts run unchanged, but a call is a message and its result an answer.
//!
//! The design is that of the article which Braid's survey started from (MegaETH: "each account a micro-VM"); no public
//! source describes its rules, so they are written down here, and with their reasons in `docs/ACTORS.md`. By design
//! the result is not Ethereum's. What it has to equal is the delivery of the same messages one by one.
//!
//! 1. An actor is an account with its storage. A message has one receiver, and writes that actor only (code apart,
//!    which is named by its content). It may read others: as the messages before it, in the order of delivery, have
//!    left them.
//! 2. Messages are delivered in rounds ([`braid_sched::Rounds`]): first the transactions, in block order, each to its
//!    sender; then what they send, in the order of (sender's number, position there); and so on.
//! 3. The sender's nonce, code and balance are checked and gas, blobs and value prepaid in its first message. A
//!    transaction that fails there fails alone, and nothing has happened.
//! 4. CALL and STATICCALL are messages, with the value and the gas in them (63/64, the stipend, as ever). The frame is
//!    suspended, as plain data, in a location of the caller; the answer resumes it, whatever others have done to the
//!    caller meanwhile. A call of oneself or of one that waits is a new frame on the state that is there.
//! 5. DELEGATECALL, CALLCODE and precompiled contracts run where they are called. So what is suspended is a stack of
//!    frames. Ether for a precompiled contract's account is a message that nobody waits for.
//! 6. CREATE and CREATE2 are messages to the new address; the creator's nonce counts whatever comes of it. A contract
//!    is there, without code, while its init code waits.
//! 7. SELFDESTRUCT sends all ether in a message that nobody waits for. If it ends the account (before Cancun, or if
//!    this transaction created it), it is gone at the end of the turn, not of the transaction.
//! 8. A frame that fails undoes what its actor did since the frame began or last waited, whichever is later: changes,
//!    logs, ether on its way. What was done before that stays.
//! 9. The answer to a failed call carries the value back: all of it if the frame never waited, otherwise what the
//!    callee still has of it.
//! 10. Gas, refunds, and what was touched (EIP-2929) travel with the one thread of control that a transaction has, so
//!     that gas is Ethereum's. The last answer settles: the sender gets back what is left, the beneficiary its share in
//!     a message, and the base fee is burnt.
//! 11. Limits ([`Limits`]): depth, messages, bytes copied. A call beyond one of them fails and its gas comes back.
//! 12. An authorization (EIP-7702) is a message to its authority, before the call. The refund goes by what the sender
//!     sees.
//! 13. System calls before the block and the DAO drain are messages of the first round, before the transactions. System
//!     calls after it, withdrawals and rewards are delivered when all else is quiet.
#![forbid(unsafe_code)]

mod block;
mod effects;
mod frame;
mod host;
mod key;
mod message;
mod rules;
mod run;
mod turn;
mod tx;
mod vm;
mod warm;

pub use block::{ActorBlock, ActorBlockError, Mail, deliver, mail, messages_before};
pub use effects::{EvmOutcome, TxEffects, differing, evm_outcomes};
pub use frame::Parked;
pub use key::{ActorKey, ActorSeen, ActorValue};
pub use message::{FrameId, Message};
pub use rules::Limits;
pub use vm::{ActorError, ActorVm, Change, Delivered, End};
