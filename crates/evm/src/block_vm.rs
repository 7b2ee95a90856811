//! The machine that blocks run on: [`EvmVm`], whose workers can note what transactions touch and change.

use crate::{
    EvmError, EvmKey, EvmOutput, EvmTx, EvmValue, EvmVm, EvmWorker,
    access::{Book, NoteAt, NoteWriter, Told},
};
use braid_core::{Effects, Hint, Stop, View, Vm};
use std::{sync::Arc, time::Duration};

/// [`EvmVm`] with notes.
#[derive(Debug)]
pub(crate) struct BlockVm<'b> {
    vm: EvmVm<'b>,
    /// Where the notes come to, if some are wanted.
    book: Option<Arc<Book>>,
}

impl<'b> BlockVm<'b> {
    /// Notes are wanted if there is a `book`.
    pub(crate) fn new(vm: EvmVm<'b>, book: Option<Arc<Book>>) -> Self {
        BlockVm { vm, book }
    }
}

/// Output of a transaction, and where its note is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BlockTx {
    pub(crate) output: EvmOutput,
    /// Means nothing if no notes are wanted.
    pub(crate) note: NoteAt,
}

/// Scratch of one thread.
#[derive(Debug)]
pub(crate) struct BlockWorker<'b> {
    worker: EvmWorker<'b>,
    writer: Option<NoteWriter>,
}

impl<'b> Vm for BlockVm<'b> {
    type Tx = EvmTx;
    type Key = EvmKey;
    type Value = EvmValue;
    type Output = BlockTx;
    type Error = EvmError;
    type Worker = BlockWorker<'b>;

    fn worker(&self) -> BlockWorker<'b> {
        BlockWorker { worker: self.vm.worker(), writer: self.book.as_ref().map(Book::writer) }
    }

    fn hint(&self, tx: &EvmTx) -> Hint<EvmKey> {
        self.vm.hint(tx)
    }

    fn weigh(&self, tx: &EvmTx) -> Option<Duration> {
        self.vm.weigh(tx)
    }

    fn execute(
        &self,
        BlockWorker { worker, writer }: &mut BlockWorker<'b>,
        tx: &EvmTx,
        view: &mut dyn View<EvmKey, EvmValue>,
        effects: &mut Effects<Self>,
    ) -> Result<(), Stop<EvmError>> {
        let notes = writer.as_mut().map(|writer| {
            writer.notes.open();
            &mut writer.notes
        });
        let told = Told { notes, ..Told::default() };
        let (output, work) = self.vm.run_tx(worker, tx, view, &mut effects.writes, told)?;
        let note = writer.as_mut().map_or(NoteAt::default(), NoteWriter::seal);
        (effects.output, effects.work) = (Some(BlockTx { output, note }), work);
        Ok(())
    }
}
