//! Hashes of tries, level by level: the nodes of many tries that do not wait for one another are hashed together
//! (`braid_keccak`), and tries and their parts are shared among workers.
//!
//! 1. A plan has the nodes of which what is said is stale, with their height above the lowest such below them: a node
//!    is encoded when all lower levels are known.
//! 2. Plans only read the tries, so that workers may share one. What they found out is written down at the end.

use super::{
    Crew,
    arena::{Link, Place, Trie},
};
use crate::{
    node::{Reference, put_branch, put_extension, put_leaf},
    together::{Level, Together},
};
use parking_lot::Mutex;

/// Less stale nodes than this for each worker are not shared.
const SHARE_MIN: usize = 48;

/// What is to be encoded.
#[derive(Clone, Copy, Debug)]
enum What {
    Leaf(u32),
    /// And where its stale children begin among `Plan::below`.
    Branch(u32, u32),
    /// The extension above a branch, which is the job with this number.
    Extension(u32, u32),
    Stub(u32),
}

/// A node to be encoded, and where what is found out is written down.
#[derive(Clone, Copy, Debug)]
struct Job {
    /// Number of the trie.
    trie: u32,
    what: What,
    depth: u8,
    /// None for a branch below an extension.
    place: Option<Place>,
}

/// Nodes to be hashed by one worker.
#[derive(Debug, Default)]
struct Plan {
    jobs: Vec<Job>,
    /// Jobs by height.
    levels: Vec<Vec<u32>>,
    /// Jobs of the stale children of branches.
    below: Vec<u32>,
    said: Vec<Reference>,
}

/// A stale node with all that is stale below it.
#[derive(Clone, Copy, Debug)]
struct Part {
    trie: u32,
    place: Place,
    link: Link,
    depth: u8,
    /// About how many nodes.
    weight: usize,
}

impl Plan {
    fn add(&mut self, job: Job, height: usize) -> (u32, usize) {
        let at = self.jobs.len() as u32;
        self.jobs.push(job);
        if self.levels.len() <= height {
            self.levels.resize_with(height + 1, Vec::new);
        }
        self.levels[height].push(at);
        (at, height)
    }

    /// Plans a part: the number of its job, and its height.
    fn take(&mut self, trie: &Trie, part: Part) -> (u32, usize) {
        let job = |what| Job { trie: part.trie, what, depth: part.depth, place: Some(part.place) };
        let at = match part.link {
            Link::Leaf(leaf) => return self.add(job(What::Leaf(leaf)), 0),
            Link::Stub(stub) => return self.add(job(What::Stub(stub)), 0),
            Link::Branch(at) => at,
            Link::Empty | Link::Hidden => unreachable!("what is not there is not stale"),
        };
        let branch = &trie.branches[at];
        let (mut below, mut count, mut height) = ([0; 16], 0, 0);
        for nibble in nibbles(branch.stale) {
            let child = part.child(at, branch.links[nibble], branch.end, nibble);
            let (job, above) = self.take(trie, child);
            below[count] = job;
            count += 1;
            height = height.max(above + 1);
        }
        let what = What::Branch(at, self.below.len() as u32);
        self.below.extend_from_slice(&below[..count]);
        if branch.end == part.depth {
            return self.add(job(what), height);
        }
        let (inner, _) = self.add(Job { place: None, depth: branch.end, ..job(what) }, height);
        self.add(job(What::Extension(at, inner)), height + 1)
    }

    /// Finds out what is said of all nodes.
    fn hash(&mut self, tries: &[&Trie]) {
        self.said.resize(self.jobs.len(), Reference::default());
        let (levels, mut together) = (std::mem::take(&mut self.levels), Together::default());
        let mut of = Of { plan: self, tries };
        levels.iter().for_each(|level| together.settle(level, &mut of));
    }

    fn encode(&self, out: &mut Vec<u8>, tries: &[&Trie], job: &Job) {
        let (trie, depth) = (tries[job.trie as usize], usize::from(job.depth));
        match job.what {
            What::Leaf(at) => put_leaf(out, &trie.leaves[at].key, depth, &trie.leaves[at].value),
            What::Stub(at) => {
                let stub = &trie.stubs[at];
                put_extension(out, &stub.key, depth, usize::from(stub.end), &stub.child);
            }
            What::Extension(at, inner) => {
                let branch = &trie.branches[at];
                put_extension(out, &branch.key, depth, branch.end(), &self.said[inner as usize]);
            }
            What::Branch(at, below) => {
                let (branch, mut below) = (&trie.branches[at], &self.below[below as usize..]);
                let children = nibbles(branch.present).map(|nibble| {
                    if branch.stale >> nibble & 1 == 0 {
                        return (nibble, branch.reference(nibble));
                    }
                    let job = below[0];
                    below = &below[1..];
                    (nibble, self.said[job as usize])
                });
                put_branch(out, children);
            }
        }
    }
}

/// A plan and the tries that it is for.
struct Of<'a, 't> {
    plan: &'a mut Plan,
    tries: &'a [&'t Trie],
}

impl Level for Of<'_, '_> {
    fn encode(&mut self, node: u32, out: &mut Vec<u8>) {
        self.plan.encode(out, self.tries, &self.plan.jobs[node as usize]);
    }

    fn say(&mut self, node: u32, said: Reference) {
        self.plan.said[node as usize] = said;
    }
}

impl Part {
    /// A child of the branch that this part begins with.
    fn child(&self, branch: u32, link: Link, end: u8, nibble: usize) -> Part {
        let place = Place::Child(branch, nibble as u8);
        Part { trie: self.trie, place, link, depth: end + 1, weight: 0 }
    }
}

/// Set bits, ascending.
fn nibbles(mut mask: u16) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let next = mask.trailing_zeros() as usize;
        mask &= mask.wrapping_sub(1);
        (next < 16).then_some(next)
    })
}

/// Writes down what is said of a node.
fn write(trie: &mut Trie, place: Place, said: Reference) {
    match place {
        Place::Root => {
            trie.said = said;
            (trie.stale, trie.changed) = (false, 0);
        }
        Place::Child(branch, nibble) => trie.branches[branch].say(usize::from(nibble), &said),
    }
}

/// The stale tries, those with much to do in parts: below the branch at their root.
fn parts(tries: &[&mut Trie], workers: usize) -> (Vec<Part>, Vec<Part>) {
    let all: usize = tries.iter().map(|trie| trie.changed + 1).sum();
    let (mut parts, mut tops) = (Vec::new(), Vec::new());
    for (number, trie) in tries.iter().enumerate().filter(|(_, trie)| trie.stale) {
        let (trie, number) = (&**trie, number as u32);
        let weight = trie.changed + 1;
        let whole = Part { trie: number, place: Place::Root, link: trie.root, depth: 0, weight };
        match trie.root {
            Link::Branch(at) if workers > 1 && weight > all / (2 * workers) => {
                let branch = &trie.branches[at];
                let weight = weight / branch.stale.count_ones().max(1) as usize;
                let child =
                    |nibble| Part { weight, ..whole.child(at, branch.links[nibble], branch.end, nibble) };
                parts.extend(nibbles(branch.stale).map(child));
                tops.push(whole);
            }
            _ => parts.push(whole),
        }
    }
    (parts, tops)
}

/// Plans parts and finds out what is said of their nodes; writes it down.
fn settle(tries: &mut [&mut Trie], groups: &[Vec<Part>], crew: &mut Crew<'_>) {
    let shared: Vec<&Trie> = tries.iter().map(|trie| &**trie).collect();
    let work = |parts: &Vec<Part>| {
        let mut plan = Plan::default();
        for part in parts {
            plan.take(shared[part.trie as usize], *part);
        }
        plan.hash(&shared);
        plan
    };
    let plans: Vec<Mutex<Plan>> = groups.iter().map(|_| Mutex::default()).collect();
    crew.split(groups.len(), &|at| *plans[at].lock() = work(&groups[at]));
    for plan in plans.into_iter().map(Mutex::into_inner) {
        for (job, said) in plan.jobs.iter().zip(&plan.said) {
            if let Some(place) = job.place {
                write(tries[job.trie as usize], place, *said);
            }
        }
    }
}

/// Makes what is said of all nodes of these tries right.
pub(super) fn hash(tries: &mut [&mut Trie], crew: &mut Crew<'_>) {
    let all: usize = tries.iter().filter(|trie| trie.stale).map(|trie| trie.changed + 1).sum();
    let workers = crew.workers().min(all / SHARE_MIN).max(1);
    let (mut parts, tops) = parts(tries, workers);
    let mut groups: Vec<(usize, Vec<Part>)> = vec![(0, Vec::new()); workers];
    // The heaviest first, each to who has least.
    parts.sort_by_key(|part| std::cmp::Reverse(part.weight));
    for part in parts {
        let Some((weight, group)) = groups.iter_mut().min_by_key(|(weight, _)| *weight) else { continue };
        *weight += part.weight;
        group.push(part);
    }
    let groups: Vec<Vec<Part>> =
        groups.into_iter().map(|(_, group)| group).filter(|group| !group.is_empty()).collect();
    settle(tries, &groups, crew);
    // What is left of the tries that were taken apart: the branches at their roots.
    if !tops.is_empty() {
        settle(tries, &[tops], crew);
    }
}
