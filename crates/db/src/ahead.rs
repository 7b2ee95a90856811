//! The state root of a block, begun while the block is executed.
//!
//! 1. The writes of transactions that are final are handed on in order ([`Told::feed`]). They show which accounts and
//!    slots the root will need, and mostly what slots will hold.
//! 2. A thread of the lowest priority, which runs where no worker does, reveals the ways to them in the tries of a
//!    witness, sets slots, and hashes storage tries. It works in small steps and stops when execution ends.
//! 3. Then the changes of the block are made, whatever was done ahead: a slot that was set otherwise is set again, and
//!    one that ends as it began is put back. So what was fed decides how long that takes, and not what the root is.
//! 4. Slots are removed at the end only, as without all this: a witness need not have the nodes that removing and
//!    adding again would ask for. If it lacks one all the same, all is done again without what was done ahead.
//! 5. A version of the store on disk is begun in the same way ([`version_ahead`]): the ways to accounts are gone, and
//!    storages updated ([`Begun`]).

use crate::{
    DbError,
    tries::{WitnessTries, hashed},
};
use alloy_primitives::{Address, B256, U256};
use braid_core::Write;
use braid_evm::{AccountDiff, EvmKey, EvmValue};
use braid_store::{
    disk::{Begun, Prepared},
    trie::Crew,
};
use braid_work::{
    Witness,
    witness::{WitnessError, state_root_after},
};
use parking_lot::Mutex;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::{
    collections::BTreeMap,
    sync::{
        LazyLock,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    time::{Duration, Instant},
};

/// Writes that are handed on together.
const BATCH: usize = 32;
/// Locations between two looks at whether execution has ended.
const STEP: usize = 16;

/// One write, as far as roots are concerned.
enum Fed {
    Account(Address),
    Slot(Address, U256, U256),
}

/// Hands on what transactions write.
#[derive(Debug)]
pub struct Told {
    batch: Vec<Fed>,
    to: Sender<Vec<Fed>>,
}

impl std::fmt::Debug for Fed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fed::Account(address) => write!(f, "{address}"),
            Fed::Slot(address, slot, value) => write!(f, "{address} {slot}: {value}"),
        }
    }
}

impl Told {
    /// Takes the writes of the next transaction; see [`braid_evm::Feed`].
    pub fn feed(&mut self, writes: &[(EvmKey, Write<EvmValue>)]) {
        for (key, write) in writes {
            match (key, write) {
                (EvmKey::Account(address), _) => self.batch.push(Fed::Account(*address)),
                (EvmKey::Slot { address, generation: 0, slot }, Write::Put(EvmValue::Slot(value))) => {
                    self.batch.push(Fed::Slot(*address, *slot, *value));
                }
                // Of another life, or gone: that is for the end.
                _ => {}
            }
        }
        if self.batch.len() >= BATCH {
            // Nobody listens any more only if the rooter panicked, which its join tells.
            drop(self.to.send(std::mem::take(&mut self.batch)));
        }
    }
}

/// How a root that was begun ahead came to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AheadStats {
    /// For how long the root was worked on while the block was executed.
    pub ahead: Duration,
    /// And after that.
    pub after: Duration,
    /// Accounts and slots that were looked at ahead.
    pub locations: usize,
    /// Whether all was done again without what was done ahead.
    pub again: bool,
}

/// Works on some locations; what fails is left for the end.
fn take(tries: &mut WitnessTries<'_>, fed: &[Fed]) {
    let addresses: Vec<Address> = fed
        .iter()
        .map(|fed| match fed {
            Fed::Account(address) | Fed::Slot(address, ..) => *address,
        })
        .collect();
    let slots: Vec<[u8; 32]> = fed
        .iter()
        .map(|fed| match fed {
            Fed::Account(_) => [0; 32],
            Fed::Slot(_, slot, _) => slot.to_be_bytes(),
        })
        .collect();
    for ((fed, key), slot_key) in fed.iter().zip(hashed(&addresses)).zip(hashed(&slots)) {
        // What cannot be done ahead is met again at the end, and told there.
        drop(match *fed {
            Fed::Account(address) => tries.look(address, key),
            Fed::Slot(_, _, value) if value.is_zero() => Ok(()),
            Fed::Slot(address, slot, value) => tries.set_ahead((address, key), (slot, slot_key), value),
        });
    }
}

/// What can be worked on before all changes are known.
trait Ahead: Send {
    /// Works on some locations; what fails is left for the end.
    fn take(&mut self, fed: &[Fed]);

    /// Does a little of what can be done besides; whether there is more.
    fn step(&mut self) -> bool;
}

impl Ahead for WitnessTries<'_> {
    fn take(&mut self, fed: &[Fed]) {
        take(self, fed);
    }

    fn step(&mut self) -> bool {
        self.hash_one()
    }
}

impl Ahead for Begun {
    fn take(&mut self, fed: &[Fed]) {
        let changes: Vec<(Address, Option<(U256, U256)>)> = fed
            .iter()
            .map(|fed| match fed {
                Fed::Account(address) => (*address, None),
                Fed::Slot(address, slot, value) => (*address, Some((*slot, *value))),
            })
            .collect();
        self.tell(&changes);
    }

    fn step(&mut self) -> bool {
        Begun::step(self)
    }
}

/// Works ahead until execution ends.
fn run(ahead: &mut dyn Ahead, from: &Receiver<Vec<Fed>>, ended: &AtomicBool) -> (usize, Duration) {
    let (mut locations, mut busy) = (0, Duration::ZERO);
    // Relaxed: the flag carries no data; a late look only delays the stop.
    let ended = || ended.load(Ordering::Relaxed);
    while let Ok(mut batch) = from.recv() {
        let start = Instant::now();
        batch.extend(from.try_iter().flatten());
        for step in batch.chunks(STEP) {
            if ended() {
                break;
            }
            ahead.take(step);
            locations += step.len();
        }
        while !ended() && ahead.step() {}
        busy += start.elapsed();
    }
    (locations, busy)
}

/// The thread that works ahead, for one block at a time; none if there can be none. It runs only where nobody else
/// wants to: if the system refuses that, execution is slowed down, and no more.
static ROOTER: LazyLock<Mutex<Option<ThreadPool>>> = LazyLock::new(|| {
    let start = |_| {
        #[cfg(target_os = "linux")]
        let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 19);
    };
    let name = |_| "braid-root".to_owned();
    Mutex::new(ThreadPoolBuilder::new().num_threads(1).thread_name(name).start_handler(start).build().ok())
});

/// A block that was executed while its root was begun.
#[derive(Debug)]
pub struct BegunRoot<'a> {
    tries: WitnessTries<'a>,
    stats: AheadStats,
}

/// The state root after a block, and how it came to be.
#[derive(Debug)]
pub struct Rooted<'a> {
    /// The root.
    pub root: B256,
    /// The tries after the block; none if the root was found without them (`AheadStats::again`).
    pub tries: Option<WitnessTries<'a>>,
    /// What it took.
    pub stats: AheadStats,
}

/// Nothing was done ahead.
impl<'a> From<WitnessTries<'a>> for BegunRoot<'a> {
    fn from(tries: WitnessTries<'a>) -> Self {
        BegunRoot { tries, stats: AheadStats::default() }
    }
}

impl<'a> BegunRoot<'a> {
    /// The root after the block, which changed this, whatever was told of it. With `clears_empty` (EIP-161) an account
    /// that ends empty is not in the state. A crew hashes.
    ///
    /// # Errors
    /// As [`state_root_after`].
    pub fn finish(
        self,
        witness: &Witness,
        diff: &BTreeMap<Address, AccountDiff>,
        clears_empty: bool,
        crew: &mut Crew<'_>,
    ) -> Result<Rooted<'a>, WitnessError> {
        let BegunRoot { mut tries, mut stats } = self;
        let start = Instant::now();
        let (root, tries) = match tries.root_after(diff, clears_empty, crew) {
            Ok(root) => (root, Some(tries)),
            Err(_) => (state_root_after(witness, diff, clears_empty)?, None),
        };
        (stats.again, stats.after) = (tries.is_none(), start.elapsed());
        Ok(Rooted { root, tries, stats })
    }
}

/// Executes a block by `execute`, which is given what takes the writes of transactions as they become final, and begins
/// its state root meanwhile. `tries` are those of its witness.
///
/// # Errors
/// That of `execute`.
pub fn root_ahead<'a, T, E>(
    mut tries: WitnessTries<'a>,
    execute: impl FnOnce(&mut Told) -> Result<T, E>,
) -> Result<(T, BegunRoot<'a>), E> {
    let (done, stats) = meanwhile(&mut tries, execute);
    Ok((done?, BegunRoot { tries, stats }))
}

/// A version of the store on disk, begun while its block was executed.
#[derive(Debug)]
pub struct BegunVersion {
    pub(crate) begun: Begun,
    pub(crate) stats: AheadStats,
}

/// A version that can be committed, and how its root came to be.
pub type PreparedAhead = Result<(Prepared, AheadStats), DbError>;

/// Executes a block by `execute`, which is given what takes the writes of transactions as they become final, and works
/// on the version after it meanwhile.
///
/// # Errors
/// That of `execute`.
pub fn version_ahead<T, E>(
    mut begun: Begun,
    execute: impl FnOnce(&mut Told) -> Result<T, E>,
) -> Result<(T, BegunVersion), E> {
    let (done, stats) = meanwhile(&mut begun, execute);
    Ok((done?, BegunVersion { begun, stats }))
}

/// Executes while `ahead` is worked on.
fn meanwhile<T>(ahead: &mut dyn Ahead, execute: impl FnOnce(&mut Told) -> T) -> (T, AheadStats) {
    let (to, from) = channel();
    let ended = AtomicBool::new(false);
    let mut told = Told { batch: Vec::with_capacity(BATCH), to };
    let mut stats = AheadStats::default();
    // If it works for another block, nothing is done ahead: waiting for it could take for ever, as that block may be
    // the one from inside of which this one is executed.
    let done = match ROOTER.try_lock().as_deref() {
        Some(Some(rooter)) => rooter.in_place_scope(|scope| {
            let stats = &mut stats;
            let (ended, from) = (&ended, from);
            scope.spawn(move |_| (stats.locations, stats.ahead) = run(ahead, &from, ended));
            let done = execute(&mut told);
            ended.store(true, Ordering::Relaxed);
            drop(told);
            done
        }),
        _ => execute(&mut told),
    };
    (done, stats)
}
