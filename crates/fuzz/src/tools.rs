//! Inputs of the tools: transitions, vectors, archives of vectors.

use crate::files::{in_folder, write};
use braid_core::Control;
use braid_profiles::{Engine, profile};
use braid_t8n::{Inputs, Rules, Source, Sources, Tracing, Transition, transition};
use braid_vectors::{archive as archives, skips};
use std::{cell::RefCell, ops::ControlFlow, sync::Arc};

/// Forks of which a transition has one, by the sum of its bytes.
const FORKS: [&str; 7] = ["Frontier", "SpuriousDragon", "Berlin", "London", "Shanghai", "Cancun", "Osaka"];

/// Most gas of a block that is executed, and most transactions.
const MAX_GAS: u64 = 5_000_000;
const MAX_TXS: usize = 20;

/// The engine that is held against the first.
const ENGINES: [(&str, usize); 2] = [("lean", 1), ("aptos", 2)];

fn transitions(inputs: &Inputs, rules: &Rules) -> Vec<Result<Transition, String>> {
    thread_local! {
        static BUILT: RefCell<Vec<Box<dyn Engine>>> = const { RefCell::new(Vec::new()) };
    }
    // Taken out, so that a panic leaves none behind.
    let mut engines = BUILT.take();
    if engines.is_empty() {
        let build = |(name, threads): (&str, usize)| {
            let built = profile(name).and_then(|profile| (profile.build)(threads));
            built.unwrap_or_else(|error| panic!("{name}: {error}"))
        };
        engines = ENGINES.into_iter().map(build).collect();
    }
    let one = |engine: &mut Box<dyn Engine>| {
        let control = Control::default();
        transition(inputs.clone(), rules, Tracing::default(), engine.as_mut(), 1, &control)
            .map_err(|error| error.to_string())
    };
    let done = engines.iter_mut().map(one).collect();
    BUILT.set(engines);
    done
}

/// What `evm t8n` reads from its standard input: state, environment, transactions.
pub(crate) fn t8n(data: &[u8]) {
    let sources = Sources { alloc: Source::Stdin, env: Source::Stdin, txs: Source::Stdin };
    let inputs = match sources.read(&mut &*data) {
        Ok(inputs) => inputs,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    if inputs.env.current_gas_limit > MAX_GAS || inputs.txs.0.len() > MAX_TXS {
        return;
    }
    let sum: usize = data.iter().map(|byte| usize::from(*byte)).sum();
    let rules = Rules { fork: FORKS[sum % FORKS.len()].to_owned(), chain_id: 1, reward: None };
    let done = transitions(&inputs, &rules);
    let (first, others) = done.split_first().unwrap_or_else(|| unreachable!("there are engines"));
    for ((name, _), other) in ENGINES[1..].iter().zip(others) {
        match (first, other) {
            (Ok(first), Ok(other)) => {
                assert_eq!(first.alloc, other.alloc, "{name} under {}", rules.fork);
                assert_eq!(first.body, other.body, "{name} under {}", rules.fork);
                let (one, two) = (format!("{:?}", first.result), format!("{:?}", other.result));
                assert_eq!(one, two, "{name} under {}", rules.fork);
            }
            (Err(first), Err(other)) => {
                // What failed is the same; of why, plain revm has words of its own.
                let what = |error: &str| error.split(" failed: ").next().map(str::to_owned);
                assert_eq!(what(first), what(other), "{name} under {}", rules.fork);
            }
            (Ok(_), Err(error)) => panic!("{name} under {}: {error}, lean has none", rules.fork),
            (Err(error), Ok(_)) => panic!("{name} under {} has no error, lean: {error}", rules.fork),
        }
    }
}

fn cases(label: &str, data: &[u8]) {
    let label = Arc::from(label);
    match braid_vectors::load(&label, data) {
        Ok(cases) => cases.iter().for_each(|case| {
            assert!(!case.name.is_empty() || data.windows(2).any(|two| two == b"\"\""));
            let _ = skips::skipped(case);
        }),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A file of test vectors.
pub(crate) fn vectors(data: &[u8]) {
    cases("fuzz.json", data);
}

/// An archive of such files, compressed or not.
pub(crate) fn archive(data: &[u8]) {
    in_folder(|folder| {
        for name in ["a.tar.zst", "a.tar"] {
            let path = folder.join(name);
            write(&path, data);
            let mut members = 0;
            let visited = archives::visit(&path, &mut |_| true, &mut |member| {
                members += 1;
                cases(&member.path, &member.bytes);
                if members < 50 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            if let Err(error) = visited {
                assert!(!error.to_string().is_empty());
            }
        }
    });
}
