//! `braid run --stream`: execute chains, successive blocks overlapped.
//!
//! Its times are those of whole chains, recovery and hashing included, on engines that keep what they learn
//! from block to block (or, told so, forget it). They are never mixed with those of single blocks: documents and records say `stream`.

mod pipeline;
#[cfg(test)]
mod tests;

use crate::{
    Exit, ORACLE, Session,
    args::{Check, RunArgs},
    diverge::Divergence,
    engines,
    inputs::problem,
    json::{Problem, SCHEMA, Status, StreamDocument, StreamResult},
    pipeline::{Failure, recoverers},
    progress::Ui,
    record::Record,
    render,
};
use braid_profiles::Profile;
use braid_work::{Chain, chain};
use pipeline::{DEPTH, Manner, Run, one_by_one, stream};

/// What `run` has settled before it knows what kind of run it is.
pub(crate) struct Setting<'a> {
    pub(crate) profile: &'a Profile,
    pub(crate) oracle: &'a Profile,
    pub(crate) threads: usize,
    pub(crate) seed: u64,
}

/// Carries the command out.
pub(crate) fn run(args: &RunArgs, setting: &Setting<'_>, session: &Session<'_>, ui: &mut Ui<'_>) -> Exit {
    let (mut streams, mut exit) = (Vec::with_capacity(args.input.len()), Exit::Ok);
    ui.start(args.input.len());
    for (seed, text) in (0..).map(|index| setting.seed.wrapping_add(index)).zip(&args.input) {
        ui.item(text);
        let (result, alone) = match chain(text) {
            Ok(chain) => match one(&chain, args, &Setting { seed, ..*setting }, session, ui) {
                Some(done) => done,
                None => {
                    ui.finish();
                    ui.error("interrupted");
                    return Exit::Interrupted;
                }
            },
            Err(error) => (unreadable(text, setting, problem(&error)), false),
        };
        exit = exit.and(report(&result, alone, seed, ui));
        streams.push(result);
    }
    ui.finish();
    let document = StreamDocument { schema: SCHEMA, command: "stream", streams };
    if args.json {
        ui.result(&crate::to_json(&document));
    } else {
        ui.result(&render::stream(&document.streams, ui.color_out));
    }
    let record = Record::new(session.arguments, setting.seed, &document, Vec::new());
    if !record.keep(args.record.as_deref(), session.cache.as_deref(), ui) {
        exit = exit.and(Exit::Failure);
    }
    exit
}

fn report(result: &StreamResult, alone: bool, seed: u64, ui: &mut Ui<'_>) -> Exit {
    let Some(problem) = &result.error else { return Exit::Ok };
    if alone {
        Divergence::new(&result.input, &result.profile, result.threads, seed, problem).streamed().report(ui);
        return Exit::Diverged;
    }
    ui.error(problem.of(&result.input));
    Exit::Failure
}

/// Streams one chain and holds it against the oracle, if that was asked. With the result goes whether a
/// parallel engine alone was wrong. `None` if interrupted.
fn one(
    chain: &Chain,
    args: &RunArgs,
    setting: &Setting<'_>,
    session: &Session<'_>,
    ui: &mut Ui<'_>,
) -> Option<(StreamResult, bool)> {
    let Setting { profile, oracle, threads, seed } = *setting;
    let compare = args.check == Check::Serial && profile.name != oracle.name;
    let mut engine = match engines::build(profile, threads) {
        Ok(engine) => engine,
        Err(error) => return Some((unreadable(&chain.name, setting, crate::judge::problem(&error)), false)),
    };
    let all = chain.len();
    let progress = |done: usize| ui.detail(|| format!("{} block {done} of {all}", chain.name));
    let (learning, recoverers) = (!args.forget, recoverers());
    let manner = Manner { seed, learning, recoverers, prints: compare };
    let done = stream(chain, engine.as_mut(), manner, session.cancel, progress);
    if done.failed.as_ref().is_some_and(|failure| failure.interrupted) {
        return None;
    }
    let mut result = told(chain, setting, &manner, &done);
    if !compare {
        return Some((result, false));
    }
    let mut engine = match engines::build(oracle, 1) {
        Ok(engine) => engine,
        Err(error) => return Some((unreadable(&chain.name, setting, crate::judge::problem(&error)), false)),
    };
    let serial = one_by_one(chain, engine.as_mut(), &session.control());
    if serial.failed.as_ref().is_some_and(|failure| failure.interrupted) {
        return None;
    }
    let difference = difference(&done, &serial);
    let alone = difference.is_some() && profile.parallel;
    if let Some(problem) = difference {
        (result.status, result.error) = (Status::Diverged, Some(problem));
    }
    Some((result, alone))
}

/// The first block in which two runs of a chain differ.
fn difference(done: &Run, serial: &Run) -> Option<Problem> {
    let at = |kind: &str, block: u64, message: String| Problem {
        kind: format!("different_{kind}"),
        file: None,
        item: Some(format!("block {block}")),
        message: format!("block {block}: {message}"),
    };
    let differ = done.prints.iter().zip(&serial.prints).find(|(one, other)| one != other);
    if let Some(((block, _), _)) = differ {
        return Some(at("result", *block, format!("not what {ORACLE} makes of it, one block after another")));
    }
    match (&done.failed, &serial.failed) {
        (None, None) => None,
        (Some(one), Some(other)) if (one.block, &one.kind) == (other.block, &other.kind) => None,
        (Some(one), Some(other)) => Some(at(
            "error",
            one.block,
            format!("{}; serial: block {}: {}", one.message, other.block, other.message),
        )),
        (Some(one), None) => Some(at("error", one.block, format!("{}; serial executes it", one.message))),
        (None, Some(other)) => Some(at("error", other.block, format!("executed; serial: {}", other.message))),
    }
}

fn told(chain: &Chain, setting: &Setting<'_>, manner: &Manner, done: &Run) -> StreamResult {
    let nanos = |time: std::time::Duration| Some(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    let problem = |failure: &Failure| Problem {
        kind: failure.kind.clone(),
        file: None,
        item: Some(match &failure.item {
            Some(item) => format!("block {}, {item}", failure.block),
            None => format!("block {}", failure.block),
        }),
        message: format!("block {}: {}", failure.block, failure.message),
    };
    StreamResult {
        input: chain.name.clone(),
        profile: setting.profile.name.to_owned(),
        threads: setting.threads,
        recoverers: Some(manner.recoverers),
        learning: Some(manner.learning),
        depth: DEPTH,
        blocks: Some(done.blocks),
        txs: Some(done.txs),
        gas_used: Some(done.gas_used),
        elapsed_ns: nanos(done.elapsed),
        recover_ns: nanos(done.recover),
        execute_ns: nanos(done.execute),
        hash_ns: nanos(done.hash),
        status: if done.failed.is_some() { Status::Invalid } else { Status::Ok },
        error: done.failed.as_ref().map(problem),
    }
}

fn unreadable(input: &str, setting: &Setting<'_>, problem: Problem) -> StreamResult {
    StreamResult {
        input: input.to_owned(),
        profile: setting.profile.name.to_owned(),
        threads: setting.threads,
        recoverers: None,
        learning: None,
        depth: DEPTH,
        blocks: None,
        txs: None,
        gas_used: None,
        elapsed_ns: None,
        recover_ns: None,
        execute_ns: None,
        hash_ns: None,
        status: Status::Unreadable,
        error: Some(problem),
    }
}
