//! Which state a block needs: executed on an origin that is asked as it goes.

use crate::{
    FetchError,
    origin::{Recorder, Touched},
};
use braid_core::{Cause, Control};
use braid_evm::{BlockInput, EvmShared, ExecutedBlock, Place, execute_block};
use braid_profiles::lean;
use braid_sched::Serial;
use std::{collections::BTreeMap, sync::atomic::AtomicBool};

/// How often a block is executed again for what turned out to be missing. Block hashes are looked up all
/// at once when an execution fails, and nothing else that an execution asks for can change it.
const ROUNDS: usize = 8;

/// Ancestors that BLOCKHASH reaches.
const HASHES: u64 = 256;

/// What a block needs and what it does.
#[derive(Debug)]
pub(crate) struct Discovered {
    /// The state before it that it asks for.
    pub(crate) touched: Touched,
    /// The block executed on that by Braid's own serial engine.
    pub(crate) done: ExecutedBlock,
}

/// Finds out what `input` (block `number`) needs of the state behind `recorder`, and completes its
/// block hashes.
///
/// # Errors
/// If the state cannot be had, or the block does not execute on it.
pub(crate) fn discover(
    number: u64,
    input: &mut BlockInput,
    recorder: &Recorder<'_>,
    cancel: &AtomicBool,
) -> Result<Discovered, FetchError> {
    let failed = |reason: String| FetchError::Check { number, check: "execution", reason };
    let control = Control { cancel: Some(cancel), deadline: None };
    for _ in 0..ROUNDS {
        let output = execute_block(&Serial::new(), &EvmShared::default(), input, recorder, &(), &control);
        let output = match output {
            Ok(output) => output,
            Err(failure) => {
                if let Some(error) = recorder.take_error() {
                    return Err(error);
                }
                if failure.cause == Cause::Cancelled {
                    return Err(FetchError::Cancelled);
                }
                if relearned(number, input, recorder)? {
                    continue;
                }
                return Err(failed(format!("{}: {}", place(failure.place), cause(&failure.cause))));
            }
        };
        let touched = recorder.touched()?;
        let pre = touched.pre_state(number, input.block_hashes.clone())?;
        let oracle = match lean::run(input, &pre) {
            Ok(oracle) => oracle,
            Err(_) if relearned(number, input, recorder)? => continue,
            Err(error) => return Err(failed(error.to_string())),
        };
        if !complete(number, input, recorder, &oracle)? {
            let done = output.into_block(&pre).map_err(|error| failed(error.to_string()))?;
            return Ok(Discovered { touched, done });
        }
    }
    Err(failed(format!("still asks for more state after {ROUNDS} executions")))
}

/// After a failed execution: it may have failed for a block hash that was not there. Whether there are
/// any now that there were not. If there are none to be had, the failure stands as it is.
fn relearned(number: u64, input: &mut BlockInput, recorder: &Recorder<'_>) -> Result<bool, FetchError> {
    match learn_hashes(number, input, recorder, number.saturating_sub(HASHES)) {
        Err(FetchError::Cancelled) => Err(FetchError::Cancelled),
        other => Ok(other.unwrap_or(false)),
    }
}

fn place(place: Place) -> String {
    match place {
        Place::Before => "before the first transaction".into(),
        Place::Tx(tx) => format!("transaction {tx}"),
        Place::After => "after the last transaction".into(),
    }
}

fn cause(cause: &Cause<braid_evm::EvmError>) -> String {
    match cause {
        Cause::Invalid(error) => error.to_string(),
        Cause::Store(error) => error.to_string(),
        other => format!("{other:?}"),
    }
}

/// Looks up what the oracle asked for and Braid's engine did not; whether there was any such thing.
fn complete(
    number: u64,
    input: &mut BlockInput,
    recorder: &Recorder<'_>,
    oracle: &lean::LeanBlock,
) -> Result<bool, FetchError> {
    let mut new = false;
    // What a witness does not have, the node's own execution did not ask for either: it cannot matter.
    let mut note = |asked: Result<bool, FetchError>| match asked {
        Ok(first) => {
            new |= first;
            Ok(())
        }
        Err(FetchError::Incomplete { .. }) => Ok(()),
        Err(error) => Err(error),
    };
    // In order, so that the node is asked in the same order every time.
    let accounts: BTreeMap<_, _> = oracle.cache.accounts.iter().collect();
    for (address, account) in accounts {
        note(recorder.account(*address))?;
        let mut slots: Vec<_> = account.storage.keys().copied().collect();
        slots.sort_unstable();
        for slot in slots {
            note(recorder.slot(*address, slot))?;
        }
    }
    let asked = oracle.cache.block_hashes.keys().filter_map(|asked| u64::try_from(*asked).ok());
    let missing = asked.filter(|asked| !input.block_hashes.contains_key(asked)).min();
    let first = missing.filter(|first| *first < number && number - *first <= HASHES);
    Ok(match first {
        Some(first) => learn_hashes(number, input, recorder, first)? || new,
        None => new,
    })
}

/// Enters the hashes of the blocks from `first` on; whether any was not known.
fn learn_hashes(
    number: u64,
    input: &mut BlockInput,
    recorder: &Recorder<'_>,
    first: u64,
) -> Result<bool, FetchError> {
    if (first..number).all(|number| input.block_hashes.contains_key(&number)) {
        return Ok(false);
    }
    input.block_hashes.extend(recorder.block_hashes(first)?);
    Ok(true)
}
