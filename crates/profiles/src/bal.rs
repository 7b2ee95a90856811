//! `bal`: a block by its access list (EIP-7928), as clients run blocks from Amsterdam on.

use crate::{
    Engine, ExecError, Executed, Fidelity, Profile, WithRecord,
    ours::{PARTS_EACH, Ran, exec_error, pool},
};
use alloy_primitives::Bytes;
use alloy_rlp::Decodable;
use braid_core::{Cause, Control, StoreError};
use braid_evm::{
    AccessListError, AccessRecord, BlockAccessList, BlockFailure, BlockInput, BlockOutput, EvmError, EvmKey,
    EvmShared, ExecOptions, Place, PrescribedBlock, compare_access_lists, execute_block_with, record_block,
    record_replay, replay_block,
};
use braid_report::{Model, Recorder};
use braid_sched::{Prescribed, Serial};
use braid_work::PreState;
use revm::primitives::hardfork::SpecId;

/// The registry entry.
pub(crate) const PROFILE: Profile = Profile {
    name: "bal",
    article: "",
    real: "Ethereum from Amsterdam on; reth and ethrex run such blocks without detection of conflicts.",
    about: "Ethereum by block-level access lists (EIP-7928): every transaction sees its own pre-state from \
            the list, in any order and without detection of conflicts, and what it does is held against the \
            list. The list is decoded inside the timed region. A block that comes without one is first \
            recorded serially, off the clock. Forks before EIP-161, and what no list can tell, run serially \
            and count as fallbacks.",
    limits: "Forks before EIP-161, and what no list can tell, run serially and count as fallbacks.",
    fidelity: Fidelity::Faithful,
    scheduler: "prescribed",
    parallel: true,
    build: |threads| {
        let (replay, serial) = (Prescribed::new(pool(threads)?), Serial::new());
        let (shared, list) = (EvmShared::default(), PrescribedBlock::default());
        Ok(Box::new(Bal { replay, serial, shared, list, kept: None }))
    },
};

/// The list of a block.
struct Kept {
    bytes: Bytes,
    /// Of which block it is, roughly: one that is wrong is noticed.
    block: BlockId,
    /// It came with the block, so that a difference is the block's fault.
    given: bool,
}

/// Number, time, and where the transactions are.
type BlockId = (u64, u64, usize, usize);

fn id(input: &BlockInput) -> BlockId {
    let (number, time) = (input.env.number.as_limbs()[0], input.env.timestamp.as_limbs()[0]);
    (number, time, input.txs.as_ptr().addr(), input.txs.len())
}

/// A block, with its record if that was asked for.
type Done = Result<(BlockOutput, Option<AccessRecord>), BlockFailure>;

struct Bal {
    replay: Prescribed,
    serial: Serial,
    shared: EvmShared,
    /// Memory for lists.
    list: PrescribedBlock,
    kept: Option<Kept>,
}

impl Bal {
    fn serially(&self, record: bool, input: &BlockInput, pre: &PreState, control: &Control<'_>) -> Done {
        let (options, serial, shared) = (ExecOptions::default(), &self.serial, &self.shared);
        if record {
            let done = record_block(options, serial, shared, input, pre, &(), control);
            return done.map(|(output, record)| (output, Some(record)));
        }
        execute_block_with(options, serial, shared, input, pre, &(), control).map(|output| (output, None))
    }

    /// Reads the list of a block.
    fn decode(&mut self, bytes: &Bytes, input: &BlockInput) -> Result<(), BlockFailure> {
        // Twice as many parts as threads: they are of one length, not of one cost.
        let (replay, parts) = (&self.replay, usize::from(self.replay.threads()) * 2);
        let parts = if parts == 2 { 1 } else { parts };
        let decoded =
            self.list.decode_again(bytes, input, parts, &mut |count, work| replay.split(count, work));
        decoded.map_err(|error| BlockFailure {
            place: Place::Before,
            cause: Cause::Invalid(EvmError::from(error)),
        })
    }

    fn by_list(
        &mut self,
        bytes: &Bytes,
        record: bool,
        input: &BlockInput,
        pre: &PreState,
        control: &Control<'_>,
    ) -> Done {
        self.decode(bytes, input)?;
        let replay = &self.replay;
        let (options, list, shared) = (ExecOptions::default(), &self.list, &self.shared);
        if record {
            let done = record_replay(options, list, replay, shared, input, pre, &(), control);
            return done.map(|(output, record)| (output, Some(record)));
        }
        replay_block(options, list, replay, shared, input, pre, &(), control).map(|output| (output, None))
    }

    /// As [`Self::run`] without a record, watched: by the list that was prepared, or serially where there is none.
    fn watched(
        &mut self,
        input: &BlockInput,
        pre: &PreState,
        recorder: &Recorder<EvmKey>,
        control: &Control<'_>,
    ) -> Result<BlockOutput, BlockFailure> {
        let known = self.kept.as_ref().filter(|kept| kept.block == id(input)).map(|kept| kept.bytes.clone());
        let known = known.filter(|_| input.spec.is_enabled_in(SpecId::SPURIOUS_DRAGON));
        let options = ExecOptions::default();
        if let Some(bytes) = known {
            self.decode(&bytes, input)?;
            return replay_block(
                options,
                &self.list,
                &self.replay,
                &self.shared,
                input,
                pre,
                recorder,
                control,
            );
        }
        execute_block_with(options, &self.serial, &self.shared, input, pre, recorder, control)
    }

    fn run(&mut self, record: bool, input: &BlockInput, pre: &PreState, control: &Control<'_>) -> Done {
        let known = self.kept.take_if(|kept| kept.block == id(input));
        if !input.spec.is_enabled_in(SpecId::SPURIOUS_DRAGON) {
            let given = known.as_ref().is_some_and(|kept| kept.given);
            let done = self.serially(record || given, input, pre, control)?;
            return fallback(done, record, known.as_ref(), input, pre);
        }
        if let Some(kept) = known {
            let done = self.by_list(&kept.bytes, record, input, pre, control);
            let given = kept.given;
            let done = match (&done, given) {
                (Err(failure), true) if is_inexpressible(failure) => {
                    fallback(self.serially(true, input, pre, control)?, record, Some(&kept), input, pre)
                }
                (Err(failure), false) if is_of_list(failure) => {
                    self.record_and_run(record, input, pre, control)
                }
                _ => done,
            };
            if self.kept.is_none() {
                self.kept = Some(kept);
            }
            return done;
        }
        self.record_and_run(record, input, pre, control)
    }

    /// For a block whose list is not known: records it, and runs the block by it.
    fn record_and_run(
        &mut self,
        record: bool,
        input: &BlockInput,
        pre: &PreState,
        control: &Control<'_>,
    ) -> Done {
        let done = self.serially(true, input, pre, control)?;
        let bytes = done.1.as_ref().map_or(Ok(Bytes::new()), |made| made.rlp(pre)).map_err(after)?;
        match self.by_list(&bytes, record, input, pre, control) {
            Err(failure) if is_of_list(&failure) => fallback(done, record, None, input, pre),
            by_list => {
                self.kept = Some(Kept { bytes, block: id(input), given: false });
                by_list
            }
        }
    }
}

/// A state that failed after the last transaction.
fn after(error: StoreError) -> BlockFailure {
    BlockFailure { place: Place::After, cause: Cause::Store(error) }
}

/// A block that was run serially, held against the list that came with it; with its own if `record`.
fn fallback(
    (mut output, made): (BlockOutput, Option<AccessRecord>),
    record: bool,
    kept: Option<&Kept>,
    input: &BlockInput,
    pre: &PreState,
) -> Done {
    output.stats.fallbacks += 1;
    if let (Some(kept), Some(made)) = (kept.filter(|kept| kept.given), &made) {
        let fail =
            |place, error: AccessListError| BlockFailure { place, cause: Cause::Invalid(error.into()) };
        PrescribedBlock::decode(&kept.bytes, input).map_err(|error| fail(Place::Before, error))?;
        let encoding = |reason| fail(Place::Before, AccessListError::Encoding { account: 0, reason });
        let given = BlockAccessList::decode(&mut kept.bytes.as_ref()).map_err(encoding)?;
        let found = made.list(pre).map_err(after)?;
        compare_access_lists(&given, &found).map_err(|error| fail(Place::After, error))?;
    }
    Ok((output, made.filter(|_| record)))
}

fn of_list(failure: &BlockFailure) -> Option<&AccessListError> {
    match &failure.cause {
        Cause::Invalid(EvmError::AccessList(error)) => Some(error),
        _ => None,
    }
}

fn is_of_list(failure: &BlockFailure) -> bool {
    of_list(failure).is_some()
}

fn is_inexpressible(failure: &BlockFailure) -> bool {
    matches!(of_list(failure), Some(AccessListError::Inexpressible { .. }))
}

impl Engine for Bal {
    fn execute(
        &mut self,
        input: &BlockInput,
        pre: &PreState,
        control: &Control<'_>,
    ) -> Result<Box<dyn Executed>, ExecError> {
        let output = self.run(false, input, pre, control);
        let (output, _) = output.map_err(|failure| exec_error(failure, input.txs.len()))?;
        Ok(Box::new(Ran(output)))
    }

    fn record(
        &mut self,
        input: &BlockInput,
        pre: &PreState,
        control: &Control<'_>,
    ) -> Option<Result<WithRecord, ExecError>> {
        let done = self.run(true, input, pre, control);
        let done = done.map(|(output, record)| {
            let executed: Box<dyn Executed> = Box::new(Ran(output));
            (executed, record.unwrap_or_default())
        });
        Some(done.map_err(|failure| exec_error(failure, input.txs.len())))
    }

    fn encode(&mut self, record: &AccessRecord, pre: &PreState) -> Result<Bytes, StoreError> {
        match usize::from(self.replay.threads()) {
            1 => record.rlp(pre),
            threads => {
                let replay = &self.replay;
                record.rlp_in_parts(pre, threads * PARTS_EACH, &mut |count, work| replay.split(count, work))
            }
        }
    }

    fn execute_watched(
        &mut self,
        input: &BlockInput,
        pre: &PreState,
        recorder: &Recorder<EvmKey>,
        control: &Control<'_>,
    ) -> Option<Result<Box<dyn Executed>, ExecError>> {
        let output = self.watched(input, pre, recorder, control);
        let output = output.map_err(|failure| exec_error(failure, input.txs.len()));
        Some(output.map(|output| Box::new(Ran(output)) as Box<dyn Executed>))
    }

    fn model(&self) -> Option<Model> {
        Some(Model::Values)
    }

    fn prepare(&mut self, input: &BlockInput, pre: &PreState, access_list: Option<&Bytes>) {
        let block = id(input);
        if let Some(bytes) = access_list {
            self.kept = Some(Kept { bytes: bytes.clone(), block, given: true });
        } else if let Ok((_, Some(made))) = self.serially(true, input, pre, &Control::default())
            && let Ok(bytes) = made.rlp(pre)
        {
            self.kept = Some(Kept { bytes, block, given: false });
        }
    }
}
