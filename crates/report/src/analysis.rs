//! What the dependencies of a block allow, whoever runs it: written beside schedules, never mixed up with them.

use crate::{
    graph::{Graph, GraphError, Order},
    trace::Key,
};
use serde::{Deserialize, Serialize};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

/// Version of [`Analysis`] as a document. Fields may be added within one.
pub const ANALYSIS_VERSION: u32 = 1;

/// Numbers of virtual workers.
pub const WORKERS: [usize; 6] = [1, 2, 4, 8, 16, 32];

/// Locations that are asked what would follow if they commuted.
const HOT_MAX: usize = 16;

/// Edges that the document has; the graph itself has all.
const EDGES_KEPT: usize = 100_000;

/// Accesses that the document has.
const ACCESSES_KEPT: usize = 1_000_000;

/// What one transaction touches, in numbers of [`Facts::keys`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Locations whose content it depends on.
    pub reads: Vec<u32>,
    /// Locations that it changes.
    pub writes: Vec<u32>,
    /// How many more it touches, which nobody else does.
    #[serde(default)]
    pub private: u32,
}

/// What is known of a block that was run serially.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Text that names the block.
    pub input: String,
    /// All locations.
    pub keys: Vec<Key>,
    /// By transaction.
    pub access: Vec<Access>,
    /// Dependencies, with the numbers of `keys`; its weights are times of a serial run.
    pub graph: Graph,
}

/// Times on workers that nobody has and that cost nothing: schedules of the graph by a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Virtual {
    /// How many.
    pub workers: usize,
    /// Always the lowest transaction that may start.
    pub block_order_ns: u64,
    /// Always the one on which the heaviest chain hangs.
    pub critical_path_ns: u64,
}

/// A location that many need, and what would follow if changes to it commuted. Locations that draw the very same
/// edges, as the reserves of a pool and its balances do, are one entry: one of them alone would change nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hot {
    /// Index in [`Analysis::keys`].
    pub key: u32,
    /// Others that draw the same dependencies, in the order of their indices.
    #[serde(default)]
    pub with: Vec<u32>,
    /// Dependencies that it draws.
    pub edges: u64,
    /// Whether it holds the critical path together.
    pub critical: bool,
    /// The critical path without its edges.
    pub span_ns: u64,
    /// Times without its edges.
    #[serde(rename = "virtual")]
    pub on_workers: Vec<Virtual>,
}

/// Work, span and virtual times of a block.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Analysis {
    /// [`ANALYSIS_VERSION`].
    pub version: u32,
    /// Text that names the block.
    pub input: String,
    /// Transactions.
    pub txs: u32,
    /// Sum of the transactions' times in a serial run.
    pub work_ns: u64,
    /// The heaviest chain of transactions that need one another.
    pub span_ns: u64,
    /// The transactions of that chain.
    pub critical_path: Vec<u32>,
    /// Time of each transaction in a serial run.
    pub weights: Vec<u64>,
    /// Virtual times, never to be taken for measured ones.
    #[serde(rename = "virtual")]
    pub on_workers: Vec<Virtual>,
    /// Locations that more than one transaction touches.
    pub keys: Vec<Key>,
    /// What each transaction touches; empty if the block touches too much for a document.
    pub access: Vec<Access>,
    /// Dependencies: transaction, the earlier one that it needs, location. By transaction, up to a limit.
    pub edges: Vec<[u32; 3]>,
    /// All dependencies.
    pub edges_total: u64,
    /// The hottest locations: by what their commuting would win, then by dependencies.
    pub hot: Vec<Hot>,
}

/// An analysis that contradicts itself, as one that was edited by hand may.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnalysisError {
    /// Written by a version that this one does not know.
    #[error("analysis of version {0}: this program reads version {ANALYSIS_VERSION}")]
    Version(u32),
    /// An index that points nowhere.
    #[error("{what} {index} of the analysis refers to what is not there")]
    Index {
        /// The list it is in.
        what: &'static str,
        /// Its place there.
        index: usize,
    },
}

fn on_workers(graph: &Graph) -> Result<Vec<Virtual>, GraphError> {
    let one = |workers| {
        Ok(Virtual {
            workers,
            block_order_ns: graph.makespan(workers, Order::Block)?,
            critical_path_ns: graph.makespan(workers, Order::CriticalPath)?,
        })
    };
    WORKERS.into_iter().map(one).collect()
}

impl Analysis {
    /// Works the block out.
    ///
    /// # Errors
    /// [`GraphError::Impossible`] if a virtual time breaks its bounds, which is a defect.
    pub fn new(facts: Facts) -> Result<Self, GraphError> {
        let Facts { input, keys, access, graph } = facts;
        let mut edges = BTreeMap::<u32, u64>::new();
        for edge in graph.iter().flatten() {
            *edges.entry(edge.key).or_default() += 1;
        }
        let critical = graph.critical_keys();
        let mut analysis = Analysis {
            version: ANALYSIS_VERSION,
            input,
            txs: graph.len() as u32,
            work_ns: graph.work(),
            span_ns: graph.span(),
            critical_path: graph.critical_path(),
            weights: graph.weights().to_vec(),
            on_workers: on_workers(&graph)?,
            edges_total: edges.values().sum(),
            hot: hot(&graph, &critical)?,
            ..Analysis::default()
        };
        let with_tx = graph.iter().zip(0..).flat_map(|(needs, tx)| needs.iter().map(move |edge| (tx, edge)));
        analysis.edges = with_tx.take(EDGES_KEPT).map(|(tx, edge)| [tx, edge.on, edge.key]).collect();
        analysis.keep_shared(keys, access, &edges);
        Ok(analysis)
    }

    /// Leaves out the locations that one transaction alone touches: most are of that kind.
    fn keep_shared(&mut self, keys: Vec<Key>, access: Vec<Access>, edges: &BTreeMap<u32, u64>) {
        let mut touched = vec![0u32; keys.len()];
        for one in &access {
            let all: BTreeSet<u32> = one.reads.iter().chain(&one.writes).copied().collect();
            for key in all {
                if let Some(count) = touched.get_mut(key as usize) {
                    *count += 1;
                }
            }
        }
        let mut place = vec![None; keys.len()];
        for (at, key) in keys.into_iter().enumerate() {
            if touched[at] > 1 || edges.contains_key(&(at as u32)) {
                place[at] = Some(self.keys.len() as u32);
                self.keys.push(key);
            }
        }
        let moved = |key: u32| place.get(key as usize).copied().flatten();
        for edge in &mut self.edges {
            edge[2] = moved(edge[2]).unwrap_or(0);
        }
        for hot in &mut self.hot {
            for key in hot.with.iter_mut().chain([&mut hot.key]) {
                *key = moved(*key).unwrap_or(0);
            }
        }
        if access.iter().map(|one| one.reads.len() + one.writes.len()).sum::<usize>() > ACCESSES_KEPT {
            return;
        }
        let shared = |keys: &[u32]| -> Vec<u32> { keys.iter().filter_map(|key| moved(*key)).collect() };
        self.access = access
            .iter()
            .map(|one| {
                let all: BTreeSet<u32> = one.reads.iter().chain(&one.writes).copied().collect();
                let private = all.into_iter().filter(|key| moved(*key).is_none()).count() as u32;
                Access { reads: shared(&one.reads), writes: shared(&one.writes), private }
            })
            .collect();
    }

    /// Whether every index points somewhere.
    ///
    /// # Errors
    /// The first that does not.
    pub fn check(&self) -> Result<(), AnalysisError> {
        if self.version != ANALYSIS_VERSION {
            return Err(AnalysisError::Version(self.version));
        }
        let (keys, txs) = (self.keys.len(), self.txs as usize);
        let bad = |what, index| Err(AnalysisError::Index { what, index });
        let tx = |tx: u32| (tx as usize) < txs;
        let key = |key: u32| (key as usize) < keys;
        if self.weights.len() != txs {
            return bad("weight", self.weights.len().min(txs));
        }
        if let Some(at) = self.critical_path.iter().position(|one| !tx(*one)) {
            return bad("critical path", at);
        }
        if let Some(at) =
            self.edges.iter().position(|edge| edge[1] >= edge[0] || !tx(edge[0]) || !key(edge[2]))
        {
            return bad("edge", at);
        }
        if let Some(at) =
            self.hot.iter().position(|hot| !hot.with.iter().chain([&hot.key]).all(|one| key(*one)))
        {
            return bad("hot location", at);
        }
        let known = |one: &Access| one.reads.iter().chain(&one.writes).all(|one| key(*one));
        if self.access.len() > txs {
            return bad("access", txs);
        }
        match self.access.iter().position(|one| !known(one)) {
            Some(at) => bad("access", at),
            None => Ok(()),
        }
    }

    /// `work / span`: what no schedule that keeps to the dependencies exceeds. 1 for a block without work.
    pub fn parallelism(&self) -> f64 {
        if self.span_ns == 0 { 1.0 } else { self.work_ns as f64 / self.span_ns as f64 }
    }

    /// `min(threads, work / span)`.
    pub fn limit(&self, threads: usize) -> f64 {
        self.parallelism().min(threads as f64)
    }
}

/// The locations with most edges and those of the critical path, with what would follow if they commuted.
fn hot(graph: &Graph, critical: &BTreeSet<u32>) -> Result<Vec<Hot>, GraphError> {
    let mut drawn = BTreeMap::<u32, Vec<(u32, u32)>>::new();
    for (tx, needs) in (0..).zip(graph.iter()) {
        for edge in needs {
            drawn.entry(edge.key).or_default().push((tx, edge.on));
        }
    }
    let mut together = BTreeMap::<Vec<(u32, u32)>, BTreeSet<u32>>::new();
    for (key, edges) in drawn {
        together.entry(edges).or_default().insert(key);
    }
    let mut groups: Vec<(u64, bool, BTreeSet<u32>)> = together
        .into_iter()
        .map(|(edges, keys)| (edges.len() as u64, !keys.is_disjoint(critical), keys))
        .collect();
    // Half of the places for the critical path, the rest for whoever draws most.
    groups.sort_by(|a, b| (!a.1, Reverse(a.0), &a.2).cmp(&(!b.1, Reverse(b.0), &b.2)));
    let rest = groups.split_off(groups.len().min(HOT_MAX / 2));
    let mut rest: Vec<_> = rest.into_iter().collect();
    rest.sort_by(|a, b| (Reverse(a.0), &a.2).cmp(&(Reverse(b.0), &b.2)));
    groups.extend(rest.into_iter().take(HOT_MAX / 2));
    let mut hot = Vec::with_capacity(groups.len());
    for (edges, critical, keys) in groups {
        let commuting = graph.without(&keys);
        let mut keys = keys.into_iter();
        hot.push(Hot {
            key: keys.next().unwrap_or_default(),
            with: keys.collect(),
            edges,
            critical,
            span_ns: commuting.span(),
            on_workers: on_workers(&commuting)?,
        });
    }
    hot.sort_by_key(|hot| (hot.span_ns, Reverse(hot.edges), hot.key));
    Ok(hot)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Edge;

    /// Transactions 0 to 3 in a chain by location 1, 4 and 5 by location 2; 0 is touched by one alone.
    fn facts() -> Facts {
        let edge = |on, key| vec![Edge { on, key }];
        let needs = [vec![], edge(0, 1), edge(1, 1), edge(2, 1), vec![], edge(4, 2)];
        let access = |keys: &[u32]| Access { reads: keys.to_vec(), writes: keys.to_vec(), private: 0 };
        Facts {
            input: "made up".to_owned(),
            keys: ["alone", "pool", "token"].map(Key::new).to_vec(),
            access: vec![
                access(&[0, 1]),
                access(&[1]),
                access(&[1]),
                access(&[1]),
                access(&[2]),
                access(&[2]),
            ],
            graph: Graph::new(needs, vec![100, 100, 100, 100, 50, 50]).unwrap(),
        }
    }

    #[test]
    fn what_if_the_pool_commuted() {
        let analysis = Analysis::new(facts()).unwrap();
        analysis.check().unwrap();
        assert_eq!((analysis.work_ns, analysis.span_ns), (500, 400));
        assert_eq!(analysis.critical_path, [0, 1, 2, 3]);
        assert_eq!((analysis.parallelism(), analysis.limit(1)), (1.25, 1.0));
        let eight = analysis.on_workers[3];
        assert_eq!(eight, Virtual { workers: 8, block_order_ns: 400, critical_path_ns: 400 });
        let pool = &analysis.hot[0];
        assert_eq!(analysis.keys[pool.key as usize].text, "pool");
        assert_eq!((pool.edges, pool.critical, pool.span_ns), (3, true, 100));
        assert_eq!(pool.on_workers[3].block_order_ns, 100);
        assert_eq!(
            (analysis.hot[1].edges, analysis.hot[1].critical, analysis.hot[1].span_ns),
            (1, false, 400)
        );
        // What one transaction alone touches is left out, and counted.
        assert_eq!(analysis.keys.len(), 2);
        assert_eq!((analysis.access[0].private, analysis.access[1].private), (1, 0));
        assert_eq!(analysis.edges[0], [1, 0, pool.key]);
    }

    #[test]
    fn locations_that_draw_the_same_edges_are_one() {
        let mut facts = facts();
        let edge = |on, key| Edge { on, key };
        let needs = [
            vec![],
            vec![edge(0, 1), edge(0, 3)],
            vec![edge(1, 1), edge(1, 3)],
            vec![edge(2, 1), edge(2, 3)],
            vec![],
            vec![edge(4, 2)],
        ];
        facts.keys.push(Key::new("balance of the pool"));
        facts.graph = Graph::new(needs, facts.graph.weights().to_vec()).unwrap();
        let analysis = Analysis::new(facts).unwrap();
        analysis.check().unwrap();
        assert_eq!((analysis.hot.len(), analysis.edges_total), (2, 7));
        let pool = &analysis.hot[0];
        let name = |key: u32| analysis.keys[key as usize].text.as_str();
        assert_eq!((name(pool.key), name(pool.with[0])), ("pool", "balance of the pool"));
        assert_eq!((pool.edges, pool.span_ns, pool.critical), (3, 100, true));
    }

    #[test]
    fn an_analysis_edited_by_hand_is_noticed() {
        let good = Analysis::new(facts()).unwrap();
        let edits: [fn(&mut Analysis); 7] = [
            |one| one.version = 2,
            |one| one.weights.clear(),
            |one| one.critical_path.push(6),
            |one| one.edges[0] = [1, 1, 0],
            |one| one.hot[0].key = 7,
            |one| one.access[2].reads.push(9),
            |one| one.keys.clear(),
        ];
        for edit in edits {
            let mut one = good.clone();
            edit(&mut one);
            assert!(one.check().is_err());
        }
        let text = serde_json::to_string(&good).unwrap();
        assert_eq!(serde_json::from_str::<Analysis>(&text).unwrap(), good);
    }
}
