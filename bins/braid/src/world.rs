//! What the commands act on: the profiles there are, and inputs by name. The commands see inputs
//! through these traits only, so that their tests can make up their own.

use crate::{json::Problem, rooted::Rooting};
use alloy_primitives::Bytes;
use braid_evm::{BlockInput, ExecutedBlock};
use braid_profiles::{Profile, bench::Given};
use braid_work::PreState;

/// Profiles and inputs.
pub(crate) struct World<'a> {
    /// All profiles, [`ORACLE`](crate::ORACLE) among them.
    pub(crate) profiles: &'a [Profile],
    /// Profiles whose result is not Ethereum's: only those that are named take part, and not everywhere.
    pub(crate) own_rules: &'a [Profile],
    /// Where inputs come from.
    pub(crate) inputs: &'a dyn Inputs,
}

/// Finds inputs.
pub(crate) trait Inputs {
    /// The blocks that `text` names, none of them loaded yet.
    fn resolve(&self, text: &str) -> Result<Vec<Box<dyn Source>>, Refusal>;

    /// The built-in sample.
    fn sample(&self) -> Result<Vec<Box<dyn Source>>, Refusal>;
}

/// Why the text of an input names nothing.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The text itself is wrong: the command line is.
    Usage(String),
    /// What it names is not there or not as it should be.
    Input(Problem),
}

/// A block that can be loaded.
pub(crate) trait Source {
    /// Text that, given as an input, names this block alone.
    fn name(&self) -> String;

    /// The file or folder it is in, if it is in one.
    fn file(&self) -> Option<String>;

    /// Loads it.
    fn load(&self) -> Result<Box<dyn Case>, Problem>;
}

/// A loaded block with the state it runs on.
pub(crate) trait Case {
    /// The block.
    fn input(&self) -> &BlockInput;

    /// The state before it.
    fn pre(&self) -> &PreState;

    /// The access list that came with it (EIP-7928), as RLP.
    fn access_list(&self) -> Option<&Bytes> {
        None
    }

    /// Block, state and list.
    fn given(&self) -> Given<'_> {
        Given { input: self.input(), pre: self.pre(), access_list: self.access_list() }
    }

    /// Holds a result against what the input records. The names are the same for all inputs.
    fn verify(&self, done: &ExecutedBlock) -> Vec<Checked>;

    /// What the root of the state after the block can be computed from, if there is anything.
    fn rooting(&self) -> Option<Rooting<'_>> {
        None
    }

    /// Recovers the senders from the signatures, if there are any.
    fn recover_senders(&self, threads: usize);
}

/// What came of one check.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    /// Its name.
    pub(crate) name: &'static str,
    /// Whether it held; `None` if the input does not allow it.
    pub(crate) held: Option<bool>,
    /// If it did not: the first difference.
    pub(crate) difference: Option<String>,
}
