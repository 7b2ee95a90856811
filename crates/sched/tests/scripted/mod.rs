//! A machine whose transactions are numbers, and do what a test says: for schedules that are forced step by step.

use braid_core::{Effects, Halt, Sink, Stop, TxIndex, View, Vm, Write};
use braid_testkit::{Num, ToyError};
use std::time::{Duration, Instant};

/// No schedule needs as long for what a transaction waits for.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `come`; whether it came in time.
pub(crate) fn until(come: impl Fn() -> bool) -> bool {
    within(PATIENCE, come)
}

/// As [`until`], for so long at most.
pub(crate) fn within(patience: Duration, come: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    while !come() {
        std::thread::yield_now();
        if start.elapsed() > patience {
            return false;
        }
    }
    true
}

/// What a transaction does: its output, and what it puts where.
pub(crate) type Did = (i64, Vec<(u64, Num)>);

/// Transaction `n` does what the script says of `n`.
pub(crate) struct Scripted<F, const RANGES: bool = false>(pub(crate) F);

impl<F, const RANGES: bool> Vm for Scripted<F, RANGES>
where
    F: Fn(u32, &mut dyn View<u64, Num>) -> Result<Did, Halt> + Sync,
{
    type Tx = u32;
    type Key = u64;
    type Value = Num;
    type Output = i64;
    type Error = ToyError;
    type Worker = ();
    const RANGES: bool = RANGES;

    fn worker(&self) {}

    fn execute(
        &self,
        (): &mut (),
        tx: &u32,
        view: &mut dyn View<u64, Num>,
        effects: &mut Effects<Self>,
    ) -> Result<(), Stop<ToyError>> {
        let (output, puts) = (self.0)(*tx, view)?;
        effects.output = Some(output);
        effects.writes.extend(puts.into_iter().map(|(key, value)| (key, Write::Put(value))));
        Ok(())
    }
}

/// Takes outputs in order, and tells of each.
pub(crate) struct Outputs<F>(pub(crate) Vec<i64>, pub(crate) F);

impl<M: Vm<Output = i64>, F: FnMut() + Send> Sink<M> for Outputs<F> {
    fn commit(&mut self, index: TxIndex, effects: &mut Effects<M>) {
        assert_eq!(index as usize, self.0.len(), "in order");
        self.0.extend(effects.output.take());
        (self.1)();
    }
}
