//! What an execution sees of a prescribed block.

use super::{
    Run,
    log::{Log, READ},
};
use crate::brake::Brake;
use braid_core::{
    Halt, Located, Probe, Read, ReadId, Reader, Sink, State, StoreError, Value, Versions, View, Vm, Written,
};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::ops::Range;

/// The prescribed state before a unit, with what earlier transactions of the unit wrote.
pub(super) struct PrescribedView<'v, 'a, M: Vm, S, L, K, P, R> {
    pub(super) run: &'v Run<'a, M, S, L, K, P>,
    pub(super) unit: u32,
    pub(super) reader: &'v mut R,
    pub(super) log: &'v mut Log<M::Key, M::Value>,
    pub(super) marks: &'v mut [u8],
    pub(super) written: &'v [Written<M::Value>],
    pub(super) index: &'v HashMap<u32, usize, RandomState>,
    pub(super) brake: Brake<'v>,
    pub(super) reads: u32,
    pub(super) halted: Option<Halt>,
    /// Why a location could not be seen.
    pub(super) refused: Option<M::Error>,
}

impl<'a, M, S, L, K, P, R> PrescribedView<'_, 'a, M, S, L, K, P, R>
where
    M: Vm,
    S: State<M::Key, M::Value>,
    L: Versions<M>,
    K: Sink<M>,
    P: Probe<M::Key>,
    R: Reader<M::Key, M::Value>,
{
    /// Keeps in mind why the execution stops.
    #[cold]
    fn halt(&mut self, halt: Halt) -> Halt {
        self.halted = Some(halt.clone());
        halt
    }

    /// A value that is not at a listed location.
    fn unlisted(
        &mut self,
        key: &M::Key,
        located: Result<Located<M::Value>, M::Error>,
    ) -> Result<Option<M::Value>, Halt> {
        match located {
            Ok(Located::Fixed(value)) => Ok(Some(value)),
            Ok(Located::Free | Located::At(_)) => {
                self.reader.get(key).map_err(|error| self.halt(error.into()))
            }
            Err(error) => {
                self.refused.get_or_insert(error);
                Err(self.halt(Halt::Undeclared))
            }
        }
    }
}

impl<M, S, L, K, P, R> View<M::Key, M::Value> for PrescribedView<'_, '_, M, S, L, K, P, R>
where
    M: Vm,
    S: State<M::Key, M::Value>,
    L: Versions<M>,
    K: Sink<M>,
    P: Probe<M::Key>,
    R: Reader<M::Key, M::Value>,
{
    /// Written so that the value is moved as seldom as can be: that is what most of a read takes.
    fn read(&mut self, key: &M::Key) -> Result<Read<M::Value>, Halt> {
        if let Err(halt) = self.brake.check() {
            return Err(self.halt(halt));
        }
        let id = ReadId(self.reads);
        self.reads += 1;
        let location = match self.run.versions.locate(key, self.unit) {
            Ok(Located::At(location)) => location,
            other => return self.unlisted(key, other).map(|value| Read { id, value }),
        };
        self.marks[location as usize] |= READ;
        if !self.written.is_empty()
            && let Some(at) = self.index.get(&location)
        {
            return Ok(Read { id, value: self.written[*at].2.clone() });
        }
        match self.run.before(location, self.unit, self.reader) {
            Ok(value) => {
                self.log.push(key, location, &value);
                Ok(Read { id, value })
            }
            Err(error) => Err(self.halt(error.into())),
        }
    }

    fn narrow(&mut self, _read: ReadId, _seen: <M::Value as Value>::Seen) {}

    fn assume(&mut self, key: &M::Key, _seen: <M::Value as Value>::Seen) {
        debug_assert!(false, "a final execution checks {key:?} instead of assuming");
    }

    /// What is seen is what is, or the list is wrong at an earlier transaction.
    fn is_final(&self) -> bool {
        true
    }

    fn scan(&mut self, _range: Range<M::Key>) -> Result<Vec<(M::Key, M::Value)>, Halt> {
        let halt = Halt::Store(StoreError::NoRanges);
        self.halted = Some(halt.clone());
        Err(halt)
    }
}
