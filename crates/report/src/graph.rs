//! What a dependency graph allows: work, span, and the time on so many workers that nobody has.
//!
//! Transactions are weighed nodes; an edge leads from a transaction to an earlier one that it needs to have
//! ended. *Work* is the sum of the weights, *span* the heaviest chain. A schedule by a list (Graham, "Bounds on
//! Multiprocessing Timing Anomalies", 1969) starts, whenever a worker is free, the first of its list that may
//! start: at least `max(span, work / workers)` and at most `work / workers + span`. Both bounds are checked for
//! every schedule made here.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap},
};

/// Most edges of a graph.
pub const EDGES_MAX: usize = 1 << 23;

/// The list from which a worker takes what may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By place in the block.
    Block,
    /// By the heaviest chain that hangs on it.
    CriticalPath,
}

/// Why there is no graph, or why a time cannot be true.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// A transaction that needs itself, a later one, or one that is not there.
    #[error("transaction {tx} cannot need transaction {on}")]
    Edge {
        /// Which.
        tx: u32,
        /// What it is said to need.
        on: u32,
    },
    /// More than [`EDGES_MAX`].
    #[error("more than {EDGES_MAX} dependencies, at transaction {tx}")]
    TooMany {
        /// The transaction that has one too many.
        tx: u32,
    },
    /// Fewer or more weights than transactions.
    #[error("{weights} weights for {txs} transactions")]
    Weights {
        /// Of these.
        weights: usize,
        /// For these.
        txs: usize,
    },
    /// A time that no schedule of this conflict model can have.
    #[error("{what}: {time_ns} ns are below the {bound_ns} ns that {bound} takes")]
    Impossible {
        /// What was measured or computed.
        what: String,
        /// Its time.
        time_ns: u64,
        /// What it is held against.
        bound: &'static str,
        /// Time of that.
        bound_ns: u64,
    },
}

/// The heaviest chain: transactions in block order, each given by those that it needs, all earlier. Weights that
/// are missing count nothing, as do edges that do not lead back.
pub fn span<I>(needs: impl IntoIterator<Item = I>, weights: &[u64]) -> u64
where
    I: IntoIterator<Item = u32>,
{
    ends(needs, weights).into_iter().max().unwrap_or(0)
}

/// When each transaction ends at the earliest.
fn ends<I>(needs: impl IntoIterator<Item = I>, weights: &[u64]) -> Vec<u64>
where
    I: IntoIterator<Item = u32>,
{
    let mut ends: Vec<u64> = Vec::with_capacity(weights.len());
    for (index, needed) in needs.into_iter().enumerate() {
        let ready = needed.into_iter().filter_map(|tx| ends.get(tx as usize)).max();
        let weight = weights.get(index).copied().unwrap_or(0);
        ends.push(ready.copied().unwrap_or(0).saturating_add(weight));
    }
    ends
}

/// An edge: what it leads to, and the number of the location that draws it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// The earlier transaction.
    pub on: u32,
    /// The location.
    pub key: u32,
}

/// The dependencies of a block. Edges are kept by transaction, one for each location that draws it.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    edges: Vec<Edge>,
    /// Where the edges of a transaction end.
    ends: Vec<usize>,
    weights: Vec<u64>,
}

/// The successors of each transaction, and how many it waits for itself.
struct Forward {
    starts: Vec<usize>,
    to: Vec<u32>,
    waits_for: Vec<u32>,
}

impl Graph {
    /// The edges of each transaction in block order, and their weights in nanoseconds.
    ///
    /// # Errors
    /// [`GraphError`] if an edge does not lead to an earlier transaction, or there are too many.
    pub fn new<I>(needs: impl IntoIterator<Item = I>, weights: Vec<u64>) -> Result<Self, GraphError>
    where
        I: IntoIterator<Item = Edge>,
    {
        let mut graph = Graph { weights, ..Graph::default() };
        for (tx, needed) in (0..).zip(needs) {
            let mut mine: Vec<Edge> = needed.into_iter().take(EDGES_MAX + 1).collect();
            mine.sort_unstable();
            mine.dedup();
            if let Some(edge) = mine.iter().find(|edge| edge.on >= tx) {
                return Err(GraphError::Edge { tx, on: edge.on });
            }
            if graph.edges.len() + mine.len() > EDGES_MAX {
                return Err(GraphError::TooMany { tx });
            }
            graph.edges.extend(mine);
            graph.ends.push(graph.edges.len());
        }
        if graph.weights.len() != graph.ends.len() {
            return Err(GraphError::Weights { weights: graph.weights.len(), txs: graph.ends.len() });
        }
        Ok(graph)
    }

    /// Number of transactions.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Times of the transactions in nanoseconds.
    pub fn weights(&self) -> &[u64] {
        &self.weights
    }

    /// What the transaction needs, by the earlier transaction.
    pub fn needs(&self, tx: usize) -> &[Edge] {
        let begin = tx.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.edges[begin..self.ends[tx]]
    }

    /// By transaction, what it needs.
    pub fn iter(&self) -> impl Iterator<Item = &[Edge]> {
        (0..self.len()).map(|tx| self.needs(tx))
    }

    /// The same block if changes to these locations commuted: without the edges that they alone draw.
    pub fn without(&self, keys: &BTreeSet<u32>) -> Graph {
        let mut graph = Graph { weights: self.weights.clone(), ..Graph::default() };
        for needed in self.iter() {
            graph.edges.extend(needed.iter().filter(|edge| !keys.contains(&edge.key)));
            graph.ends.push(graph.edges.len());
        }
        graph
    }

    /// The same dependencies with other times; what has none takes no time.
    pub fn weighing(&self, mut weights: Vec<u64>) -> Graph {
        weights.resize(self.len(), 0);
        Graph { weights, ..self.clone() }
    }

    /// Sum of the weights.
    pub fn work(&self) -> u64 {
        self.weights.iter().fold(0, |sum, weight| sum.saturating_add(*weight))
    }

    /// The heaviest chain.
    pub fn span(&self) -> u64 {
        span(self.iter().map(|needed| needed.iter().map(|edge| edge.on)), &self.weights)
    }

    /// The transactions of a heaviest chain, first one first; of several, the one that ends in the earliest.
    pub fn critical_path(&self) -> Vec<u32> {
        let ends = ends(self.iter().map(|needed| needed.iter().map(|edge| edge.on)), &self.weights);
        let heaviest =
            |txs: &mut dyn Iterator<Item = u32>| txs.max_by_key(|tx| (ends[*tx as usize], Reverse(*tx)));
        let mut path = Vec::new();
        let mut next = heaviest(&mut (0..self.len() as u32));
        while let Some(tx) = next {
            path.push(tx);
            next = heaviest(&mut self.needs(tx as usize).iter().map(|edge| edge.on));
        }
        path.reverse();
        path
    }

    /// Locations that draw edges of the critical path, and that nothing else draws as well.
    pub fn critical_keys(&self) -> BTreeSet<u32> {
        let mut keys = BTreeSet::new();
        for pair in self.critical_path().windows(2) {
            let drawn = self.needs(pair[1] as usize).iter().filter(|edge| edge.on == pair[0]);
            keys.extend(drawn.map(|edge| edge.key));
        }
        keys
    }

    fn forward(&self) -> Forward {
        let mut waits_for = vec![0; self.len()];
        let mut starts = vec![0usize; self.len() + 1];
        // Several locations may draw one edge; edges of a transaction are sorted, so those are neighbours.
        let pairs = || {
            self.iter().enumerate().flat_map(|(tx, needed)| {
                let first = |at: usize| at == 0 || needed[at - 1].on != needed[at].on;
                (0..needed.len()).filter(move |at| first(*at)).map(move |at| (needed[at].on as usize, tx))
            })
        };
        for (on, tx) in pairs() {
            starts[on + 1] += 1;
            waits_for[tx] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let (mut fill, mut to) = (starts.clone(), vec![0; starts[self.len()]]);
        for (on, tx) in pairs() {
            to[fill[on]] = tx as u32;
            fill[on] += 1;
        }
        Forward { starts, to, waits_for }
    }

    /// Time of the schedule by a list on `workers` workers that cost nothing themselves. Virtual: never to be put
    /// beside measured times without saying so.
    ///
    /// # Errors
    /// [`GraphError::Impossible`] if the schedule breaks its own bounds, which is a defect.
    pub fn makespan(&self, workers: usize, order: Order) -> Result<u64, GraphError> {
        let workers = workers.max(1);
        let Forward { starts, to, mut waits_for } = self.forward();
        let after = |tx: usize| &to[starts[tx]..starts[tx + 1]];
        let rank: Vec<u64> = match order {
            Order::Block => vec![0; self.len()],
            Order::CriticalPath => {
                let mut tail = vec![0u64; self.len()];
                for tx in (0..self.len()).rev() {
                    let below = after(tx).iter().map(|next| tail[*next as usize]).max().unwrap_or(0);
                    tail[tx] = below.saturating_add(self.weights[tx]);
                }
                tail
            }
        };
        let entry = |tx: u32| (rank[tx as usize], Reverse(tx));
        let mut ready: BinaryHeap<_> =
            (0..self.len() as u32).filter(|tx| waits_for[*tx as usize] == 0).map(entry).collect();
        let mut running: BinaryHeap<Reverse<(u64, u32)>> = BinaryHeap::with_capacity(workers);
        let mut now = 0u64;
        loop {
            while running.len() < workers {
                let Some((_, Reverse(tx))) = ready.pop() else { break };
                running.push(Reverse((now.saturating_add(self.weights[tx as usize]), tx)));
            }
            let Some(Reverse((end, mut tx))) = running.pop() else { break };
            now = end;
            // All that end at this moment, before anything starts: the list decides, not the order of ends.
            loop {
                for next in after(tx as usize) {
                    waits_for[*next as usize] -= 1;
                    if waits_for[*next as usize] == 0 {
                        ready.push(entry(*next));
                    }
                }
                match running.pop() {
                    Some(Reverse((end, other))) if end == now => tx = other,
                    Some(later) => break running.push(later),
                    None => break,
                }
            }
        }
        self.check_virtual(now, workers)?;
        Ok(now)
    }

    /// Holds the time of a schedule on `workers` workers, in which no transaction starts before those that it needs
    /// have ended, against work and span.
    ///
    /// # Errors
    /// [`GraphError::Impossible`].
    pub fn check_time(
        &self,
        what: impl Into<String>,
        time_ns: u64,
        workers: usize,
    ) -> Result<(), GraphError> {
        let share = self.work().div_ceil(workers.max(1) as u64);
        for (bound, bound_ns) in [("the critical path", self.span()), ("a worker's share of the work", share)]
        {
            if time_ns < bound_ns {
                return Err(GraphError::Impossible { what: what.into(), time_ns, bound, bound_ns });
            }
        }
        Ok(())
    }

    fn check_virtual(&self, time_ns: u64, workers: usize) -> Result<(), GraphError> {
        let what = format!("virtual schedule on {workers} workers");
        self.check_time(what.as_str(), time_ns, workers)?;
        let most = (self.work() / workers as u64).saturating_add(self.span());
        if time_ns > most {
            let bound = "the longest schedule by a list";
            return Err(GraphError::Impossible { what, time_ns: most, bound, bound_ns: time_ns });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(needs: &[&[(u32, u32)]], weights: &[u64]) -> Graph {
        let edges = |list: &&[(u32, u32)]| list.iter().map(|&(on, key)| Edge { on, key }).collect::<Vec<_>>();
        Graph::new(needs.iter().map(edges), weights.to_vec()).unwrap()
    }

    #[test]
    fn a_chain_and_a_crowd() {
        // 0 <- 1 <- 2 by location 5, three free ones.
        let graph = graph(&[&[], &[(0, 5)], &[(1, 5), (0, 6)], &[], &[], &[]], &[10, 10, 10, 4, 4, 4]);
        assert_eq!((graph.work(), graph.span()), (42, 30));
        assert_eq!(graph.critical_path(), [0, 1, 2]);
        assert_eq!(graph.critical_keys(), BTreeSet::from([5]));
        assert_eq!(graph.makespan(1, Order::Block), Ok(42));
        assert_eq!(graph.makespan(2, Order::Block), Ok(30));
        assert_eq!(graph.makespan(32, Order::CriticalPath), Ok(30));
        let commuting = graph.without(&BTreeSet::from([5]));
        assert_eq!(commuting.span(), 20);
        assert_eq!(commuting.makespan(6, Order::Block), Ok(20));
    }

    #[test]
    fn the_order_of_the_list_matters() {
        // Block order starts the short ones first and is left with the long one.
        let graph = graph(&[&[], &[], &[]], &[4, 4, 8]);
        assert_eq!(graph.makespan(2, Order::Block), Ok(12));
        assert_eq!(graph.makespan(2, Order::CriticalPath), Ok(8));
    }

    #[test]
    fn impossible_times_are_told() {
        let graph = graph(&[&[], &[(0, 0)], &[]], &[5, 5, 2]);
        assert_eq!(graph.check_time("run", 10, 2), Ok(()));
        let error = graph.check_time("run", 9, 2).unwrap_err();
        assert_eq!(error.to_string(), "run: 9 ns are below the 10 ns that the critical path takes");
        assert!(matches!(graph.check_time("run", 11, 1), Err(GraphError::Impossible { bound_ns: 12, .. })));
        assert!(graph.check_virtual(100, 2).is_err());
    }

    #[test]
    fn edges_lead_back() {
        let edge = |on| vec![Edge { on, key: 0 }];
        let error = Graph::new([edge(0)], vec![1]).unwrap_err();
        assert_eq!(error, GraphError::Edge { tx: 0, on: 0 });
        assert!(matches!(Graph::new([vec![]], vec![]), Err(GraphError::Weights { weights: 0, txs: 1 })));
        let empty = Graph::new(Vec::<Vec<Edge>>::new(), Vec::new()).unwrap();
        assert_eq!((empty.makespan(8, Order::Block), empty.span()), (Ok(0), 0));
    }

    /// Any graph: bounds hold (they are checked inside), one worker does all the work, more are never worse than
    /// the bound says, and as many as there are transactions reach the span.
    #[test]
    fn random_graphs_keep_their_bounds() {
        for seed in 0..300u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1;
            let mut random = |below: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state % below
            };
            let count = 1 + random(40) as u32;
            let needs: Vec<Vec<Edge>> = (0..count)
                .map(|tx| {
                    let edges = if tx == 0 { 0 } else { random(4) };
                    let edge = |_| Edge { on: random(u64::from(tx)) as u32, key: random(6) as u32 };
                    (0..edges).map(edge).collect()
                })
                .collect();
            let weights: Vec<u64> = (0..count).map(|_| random(100)).collect();
            let graph = Graph::new(needs, weights).unwrap();
            for order in [Order::Block, Order::CriticalPath] {
                assert_eq!(graph.makespan(1, order), Ok(graph.work()), "seed {seed}");
                assert_eq!(graph.makespan(count as usize, order), Ok(graph.span()), "seed {seed}");
                for workers in 2..8 {
                    graph.makespan(workers, order).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
                }
            }
            let path = graph.critical_path();
            let weight: u64 = path.iter().map(|tx| graph.weights()[*tx as usize]).sum();
            assert_eq!(weight, graph.span(), "seed {seed}");
            for key in 0..6 {
                assert!(graph.without(&BTreeSet::from([key])).span() <= graph.span(), "seed {seed}");
            }
        }
    }
}
