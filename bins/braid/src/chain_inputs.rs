//! Blocks of blockchain tests as inputs: `FILE.json#NAME` is those on the way to the last block of a test,
//! `FILE.json#NAME/NUMBER` one of them; the name of the only test may be left out. Each comes with the whole state
//! before it, which the blocks before it make, one after another.

use crate::{
    inputs::problem,
    json::Problem,
    judge,
    rooted::{Rooting, Tries},
    sync::source,
    world::{Case, Checked, Refusal, Source},
};
use braid_core::Control;
use braid_evm::{BlockInput, ExecutedBlock};
use braid_profiles::{LeanEngine, bench::execute_once};
use braid_work::{
    Chain, ChainBlock, Expect, HashedState, PreState, Scope,
    chain::{Follower, Import},
};
use revm::primitives::hardfork::SpecId;
use std::{cell::RefCell, path::Path, rc::Rc, sync::Arc};

/// The blocks of the only test in a file of blockchain tests; `None` if the file is none.
pub(crate) fn only(file: &Path) -> Option<Result<Vec<Box<dyn Source>>, Refusal>> {
    match source::open(&file.display().to_string(), None) {
        Err(problem) if problem.kind == "vectors" => None,
        Err(problem) => Some(Err(Refusal::Input(problem))),
        Ok(import) => Some(blocks(file, &import, None).map_err(Refusal::Input)),
    }
}

/// The blocks that `name` stands for in a file of blockchain tests; `None` if the file is none.
pub(crate) fn resolve(file: &Path, name: &str) -> Option<Result<Vec<Box<dyn Source>>, Refusal>> {
    let whole = |name: &str| source::open(&format!("{}#{name}", file.display()), None);
    let part = |name: &str| {
        name.rsplit_once('/').and_then(|(name, number)| Some((name.to_owned(), number.parse::<u64>().ok()?)))
    };
    let (found, number) = match (whole(name), part(name)) {
        (Err(problem), Some((name, number))) if problem.kind == "not_found" => (whole(&name), Some(number)),
        (found, _) => (found, None),
    };
    let import = match found {
        Ok(import) => import,
        Err(problem) if problem.kind == "vectors" => return None,
        Err(problem) => return Some(Err(Refusal::Input(problem))),
    };
    Some(blocks(file, &import, number).map_err(Refusal::Input))
}

fn blocks(file: &Path, import: &Import, number: Option<u64>) -> Result<Vec<Box<dyn Source>>, Problem> {
    let mut encoded = Vec::new();
    for part in import.parts_from(1) {
        encoded.extend(part.map_err(|error| problem(&error))?.1);
    }
    let follower = Follower::new(import.genesis.chain.clone(), import.genesis.header.clone());
    let chain = Chain::of_blocks(import.name.clone(), Arc::default(), encoded, follower);
    let bad = |number: u64, kind: &str, message: String| Problem {
        kind: kind.to_owned(),
        file: Some(file.display().to_string()),
        item: Some(format!("block {number}")),
        message: format!("{}: block {number}: {message}", import.name),
    };
    let blocks: Result<Vec<ChainBlock>, Problem> = chain
        .blocks()
        .map(|block| block.map_err(|error| bad(error.number, error.error.kind(), error.to_string())))
        .collect();
    let blocks = blocks?;
    let chosen: Vec<usize> =
        (0..blocks.len()).filter(|at| number.is_none_or(|number| blocks[*at].number() == number)).collect();
    if let (true, Some(number)) = (chosen.is_empty(), number) {
        return Err(bad(number, "not_found", "no such block".to_owned()));
    }
    let genesis = &import.genesis.pre;
    let at = Progress { next: 0, pre: genesis.clone(), hashed: HashedState::new(genesis) };
    let (name, file) = (import.name.clone(), file.display().to_string());
    let test = Rc::new(Test { name, file, blocks, genesis: genesis.clone(), at: RefCell::new(at) });
    Ok(chosen
        .into_iter()
        .map(|at| Box::new(TestBlock { test: test.clone(), at }) as Box<dyn Source>)
        .collect())
}

/// A blockchain test.
struct Test {
    name: String,
    file: String,
    blocks: Vec<ChainBlock>,
    genesis: PreState,
    /// As far as somebody asked.
    at: RefCell<Progress>,
}

/// The state before block `next`.
struct Progress {
    next: usize,
    pre: PreState,
    hashed: HashedState,
}

impl Test {
    /// The state before a block, and its tries.
    fn before(&self, at: usize) -> Result<(PreState, HashedState), Problem> {
        let mut progress = self.at.borrow_mut();
        if progress.next > at {
            let (pre, hashed) = (self.genesis.clone(), HashedState::new(&self.genesis));
            *progress = Progress { next: 0, pre, hashed };
        }
        for block in &self.blocks[progress.next..at] {
            progress.pre.block_hashes.clone_from(&block.input.block_hashes);
            let done = execute_once(&mut LeanEngine, &block.input, &progress.pre, &Control::default());
            let (done, _) = done.map_err(|error| {
                let (item, found) = (format!("block {}", block.number()), judge::problem(&error));
                let message = format!("{}: {item}: {}", self.name, found.message);
                Problem { item: Some(item), message, ..found }
            })?;
            let state = |error: braid_core::StoreError| Problem {
                kind: "state".to_owned(),
                file: None,
                item: Some(format!("block {}", block.number())),
                message: format!("{}: {error}", self.name),
            };
            progress.pre.apply(&done).map_err(state)?;
            progress.hashed.apply(&done);
            progress.next += 1;
        }
        let mut pre = progress.pre.clone();
        pre.block_hashes.clone_from(&self.blocks[at].input.block_hashes);
        Ok((pre, progress.hashed.clone()))
    }
}

/// One block of a test.
struct TestBlock {
    test: Rc<Test>,
    at: usize,
}

impl Source for TestBlock {
    fn name(&self) -> String {
        format!("{}/{}", self.test.name, self.test.blocks[self.at].number())
    }

    fn file(&self) -> Option<String> {
        Some(self.test.file.clone())
    }

    fn load(&self) -> Result<Box<dyn Case>, Problem> {
        let (pre, hashed) = self.test.before(self.at)?;
        let block = &self.test.blocks[self.at];
        let consensus = block.consensus.as_ref().map(|(_, block)| block);
        let expect = Expect {
            scope: Scope::FullBlock,
            block_hash: consensus.map(|block| block.hash),
            ..Expect::default()
        };
        let case = braid_work::Case {
            name: self.name(),
            path: None,
            input: block.input.clone(),
            raw: None,
            pre: None,
            header: consensus.map(|block| block.header.clone()),
            expect,
        };
        Ok(Box::new(TestCase { case, pre, hashed }))
    }
}

struct TestCase {
    case: braid_work::Case,
    pre: PreState,
    hashed: HashedState,
}

impl Case for TestCase {
    fn input(&self) -> &BlockInput {
        &self.case.input
    }

    fn pre(&self) -> &PreState {
        &self.pre
    }

    fn verify(&self, done: &ExecutedBlock) -> Vec<Checked> {
        let mut checked = crate::inputs::verified(&self.case, done);
        let Some(header) = &self.case.header else { return checked };
        let mut after = self.hashed.clone();
        after.apply(done);
        let root = after.root();
        if let Some(check) = checked.iter_mut().find(|check| check.name == "state_root") {
            check.held = Some(root == header.state_root);
            check.difference = (root != header.state_root)
                .then(|| format!("state_root: {root}, expected {}", header.state_root));
        }
        checked
    }

    fn rooting(&self) -> Option<Rooting<'_>> {
        Some(Rooting {
            tries: Tries::Whole(Box::new(self.hashed.clone())),
            clears_empty: self.case.input.spec.is_enabled_in(SpecId::SPURIOUS_DRAGON),
            expected: self.case.header.as_ref().map(|header| header.state_root),
        })
    }

    /// They were recovered when the chain was read, and their signatures are not kept.
    fn recover_senders(&self, _: usize) {}
}
