//! Blocks whose every version of every location is known beforehand.
//!
//! A block may come with a list of what its transactions change (EIP-7928). Then each transaction can run
//! by itself, in any order: what it sees is given, and what it does must be what is given for those after
//! it. By induction over the block, a transaction whose predecessors all did what the list says has seen
//! the truth; so the lowest that does not is the first at which the list is wrong.

use crate::{Block, BlockError, Control, Effects, Outcome, Probe, Sink, State, TxIndex, Vm, Write};

/// Where the value of a key comes from in a prescribed block.
#[derive(Clone, Debug, PartialEq)]
pub enum Located<V> {
    /// The location of this number, below [`Versions::locations`].
    At(u32),
    /// This value, whoever asks.
    Fixed(V),
    /// The state before the block, whoever asks: nothing in the block changes it.
    Free,
}

/// A location that a unit wrote: its number, the value before the unit, and the one after.
pub type Written<V> = (u32, Option<V>, Option<V>);

/// The prescribed versions of the locations of one block.
///
/// Versions may stand between *units* only: a unit is a run of consecutive transactions which see each
/// other's writes, mostly a single one.
///
/// All numbers that an implementation gives must be functions of its arguments. It need not be true: it is
/// held against what the transactions do.
pub trait Versions<M: Vm>: Sync {
    /// A number above those of all locations; they need not all be used.
    fn locations(&self) -> usize;

    /// The unit of a transaction: 0 for the first one, and the same or the next number for each next one.
    fn unit(&self, tx: TxIndex) -> u32;

    /// Work that a unit is likely to be, for the order of execution.
    fn weight(&self, unit: u32) -> u64;

    /// Where `key` is.
    ///
    /// # Errors
    /// If the block must not touch it.
    fn locate(&self, key: &M::Key, unit: u32) -> Result<Located<M::Value>, M::Error>;

    /// The key of a location in the state before the block.
    fn base_key(&self, location: u32) -> M::Key;

    /// The key of a location after the block.
    fn final_key(&self, location: u32) -> M::Key;

    /// The value of a location before `unit`; `base` asks for the one before the block, which may be kept.
    /// The number of units stands for the end of the block.
    ///
    /// # Errors
    /// That of `base`.
    fn before<E>(
        &self,
        location: u32,
        unit: u32,
        base: impl FnOnce() -> Result<Option<M::Value>, E>,
    ) -> Result<Option<M::Value>, E>;

    /// Checks that what `unit` wrote, each location once and all of them listed, is what is prescribed, and
    /// all of it.
    ///
    /// # Errors
    /// The first difference.
    fn check(&self, unit: u32, written: &[Written<M::Value>]) -> Result<(), M::Error>;

    /// Checks one write of a unit that is a single transaction, as [`Self::check`] would, without the value
    /// after it having to be made: how many prescribed changes it is, or `None` if it is for `check` to say.
    /// If it is `Some` for one write of a unit it is for all, and then [`Self::check_count`] comes last.
    fn check_write(
        &self,
        _unit: u32,
        _location: u32,
        _before: Option<&M::Value>,
        _write: &Write<M::Value>,
    ) -> Option<Result<u32, M::Error>> {
        None
    }

    /// Checks that `found` changes, at the locations `written`, are all that is prescribed after `unit`.
    ///
    /// # Errors
    /// The first that is missing.
    fn check_count(
        &self,
        _unit: u32,
        _found: u32,
        _written: &mut dyn Iterator<Item = u32>,
    ) -> Result<(), M::Error> {
        Ok(())
    }

    /// Names to `touch` the locations that a transaction touched although it neither read them from its
    /// view nor wrote them.
    ///
    /// # Errors
    /// If one is not listed.
    fn touched(&self, unit: u32, effects: &Effects<M>, touch: &mut dyn FnMut(u32)) -> Result<(), M::Error>;

    /// Checks the end of the block, which touched the locations for which `touched` says so.
    ///
    /// # Errors
    /// If that is less than what is listed.
    fn complete(&self, touched: &dyn Fn(u32) -> bool) -> Result<(), M::Error>;
}

/// Runs a block whose versions are prescribed.
pub trait Replay: Send + Sync {
    /// Runs `block`, delivering to `sink` in order.
    ///
    /// # Errors
    /// As [`Scheduler::run`](crate::Scheduler::run), as long as `versions` are true. Where they are not, the
    /// difference is the error of the lowest transaction that shows it, or of the one after the last if
    /// it shows in none.
    fn replay<M, S, L, K, P>(
        &self,
        block: &Block<'_, M, S>,
        versions: &L,
        sink: &mut K,
        probe: &P,
        control: &Control<'_>,
    ) -> Result<Outcome<M>, BlockError<M::Error>>
    where
        M: Vm,
        S: State<M::Key, M::Value>,
        L: Versions<M>,
        K: Sink<M>,
        P: Probe<M::Key>;
}
