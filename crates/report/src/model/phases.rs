//! Simulation of schedules with barriers: batches and rounds.

use super::{Conflicts, First, Simulated, Waits, listed, merge};
use braid_core::Mode;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    ops::Range,
};

/// The batches of a block: where each ends.
pub(super) fn closed(conflicts: &Conflicts, most: usize) -> Vec<usize> {
    let count = conflicts.len();
    // By location, the last position that uses it, and that writes it; counted from one.
    let mut last = vec![(0usize, 0usize); conflicts.locations()];
    let hint = |at: usize| conflicts.hints.get(at).map_or(&[][..], Vec::as_slice);
    let (mut ends, mut start) = (Vec::new(), 0);
    for at in 0..count {
        let met = |(location, mode): &(u32, Mode)| {
            let (used, written) = last[*location as usize];
            (if *mode == Mode::Read { written } else { used }) > start
        };
        if at - start == most.max(1) || hint(at).iter().any(met) {
            ends.push(at);
            start = at;
        }
        for (location, mode) in hint(at) {
            let (used, written) = &mut last[*location as usize];
            *used = at + 1;
            if *mode != Mode::Read {
                *written = at + 1;
            }
        }
    }
    if count > start {
        ends.push(count);
    }
    ends
}

/// Each batch is executed on the state before it, its members begun in order; if one needs another, all are done again
/// one by one.
pub(super) fn batches(conflicts: &Conflicts, weights: &[u64], most: usize, workers: usize) -> Simulated {
    let (mut done, mut start) = (Simulated::default(), 0);
    for end in closed(conflicts, most) {
        let members = &weights[start..end];
        let total = super::total(members);
        done.time += listed(members, workers);
        done.busy += total;
        done.executions += members.len() as u64;
        let conflict = |needs: &Vec<u32>| needs.iter().any(|on| *on as usize >= start);
        if conflicts.needs[start..end].iter().any(conflict) {
            done.time += total;
            done.busy += total;
            done.executions += members.len() as u64;
        }
        start = end;
    }
    done
}

/// In a round, whatever does not stand is begun in order. What it needs is seen if that stands, or has been executed
/// again in this round before; one that needs what is to be executed again stops there, at no cost, and has to run in
/// the next round. Then all that saw what stands does so itself.
pub(super) fn rounds(
    conflicts: &Conflicts,
    weights: &[u64],
    (most, part): (u32, usize),
    workers: usize,
) -> Simulated {
    let mut done = Simulated::default();
    let mut start = 0;
    while start < weights.len() {
        let end = weights.len().min(start.saturating_add(part.max(1)));
        let mut left: Vec<usize> = (start..end).collect();
        // When the last execution ended, of those that have one.
        let mut ended = vec![None; end];
        ended[..start].fill(Some(0));
        let mut rounds = 0;
        while !left.is_empty() && rounds < most {
            rounds += 1;
            left = round(conflicts, weights, left, &mut ended, workers, &mut done);
        }
        for at in &left {
            done.time += weights[*at];
            done.busy += weights[*at];
            done.executions += 1;
        }
        if !left.is_empty() {
            // The rest of the block goes one by one as well.
            let rest = &weights[end..];
            let total = super::total(rest);
            return Simulated {
                time: done.time + total,
                busy: done.busy + total,
                executions: done.executions + rest.len() as u64,
            };
        }
        start = end;
    }
    done
}

/// One round; what is left for the next.
fn round(
    conflicts: &Conflicts,
    weights: &[u64],
    tasks: Vec<usize>,
    ended: &mut [Option<u64>],
    workers: usize,
    done: &mut Simulated,
) -> Vec<usize> {
    let began = done.time;
    let mut free: BinaryHeap<Reverse<u64>> =
        (0..workers.max(1).min(tasks.len())).map(|_| Reverse(began)).collect();
    // What each of this round's tasks saw, and when it ended.
    let mut now: Vec<Option<(u64, u64)>> = vec![None; ended.len()];
    let in_round = |at: usize| tasks.binary_search(&at).is_ok();
    let mut last = began;
    for &at in &tasks {
        let Some(Reverse(begin)) = free.pop() else { break };
        let needs = || conflicts.needs[at].iter().map(|on| *on as usize);
        // An estimate: it has run before, and not again so far.
        let is_estimate =
            |on: usize| in_round(on) && ended[on].is_some() && now[on].is_none_or(|(_, end)| end > begin);
        if needs().any(is_estimate) {
            free.push(Reverse(begin));
            continue;
        }
        let end = begin.saturating_add(weights[at]);
        now[at] = Some((begin, end));
        done.busy += weights[at];
        done.executions += 1;
        last = last.max(end);
        free.push(Reverse(end));
    }
    done.time = last;
    let mut stands: Vec<bool> = (0..ended.len()).map(|at| ended[at].is_some() && !in_round(at)).collect();
    let mut left = Vec::new();
    for &at in &tasks {
        let Some((begin, end)) = now[at] else {
            left.push(at);
            continue;
        };
        let seen = |on: &u32| {
            let on = *on as usize;
            stands[on] && now[on].is_none_or(|(_, end)| end <= begin)
        };
        stands[at] = conflicts.needs[at].iter().all(seen);
        ended[at] = Some(end);
        if !stands[at] {
            left.push(at);
        }
    }
    left
}

/// The rounds of a delivery: each ends before the first message that needs one of its own.
fn delivered(conflicts: &Conflicts) -> Vec<Range<usize>> {
    let (mut rounds, mut start) = (Vec::new(), 0);
    for (at, needs) in conflicts.needs.iter().enumerate() {
        if needs.iter().any(|on| *on as usize >= start) {
            rounds.push(start..at);
            start = at;
        }
    }
    rounds.push(start..conflicts.len());
    rounds
}

/// One round by itself, its locations numbered from zero.
fn alone(conflicts: &Conflicts, round: Range<usize>) -> Conflicts {
    let mut numbers = BTreeMap::new();
    let mut hints = vec![Vec::new(); round.len()];
    for (mine, all) in hints.iter_mut().zip(conflicts.hints.iter().take(round.end).skip(round.start)) {
        for (location, mode) in all {
            let next = numbers.len() as u32;
            mine.push((*numbers.entry(*location).or_insert(next), *mode));
        }
    }
    Conflicts { before: 0, needs: vec![Vec::new(); round.len()], hints }
}

/// Round after round, each by locks in the order of the messages.
pub(super) fn delivery(conflicts: &Conflicts, weights: &[u64], workers: usize) -> Simulated {
    let mut done = Simulated::default();
    for round in delivered(conflicts) {
        let members = &weights[round.clone()];
        let one = merge::hinted(&alone(conflicts, round), members, workers, Waits::Locks, First::InBlock);
        done.time = done.time.saturating_add(one.time);
        done.busy = done.busy.saturating_add(one.busy);
        done.executions += one.executions;
    }
    done
}

/// The heaviest line of each round, one after the other.
pub(super) fn lines(conflicts: &Conflicts, weights: &[u64]) -> u64 {
    let rounds = delivered(conflicts).into_iter();
    let heaviest = rounds.map(|round| {
        let (waits, _) = alone(conflicts, round.clone()).waits(Waits::Locks);
        let mut ends: Vec<u64> = Vec::with_capacity(waits.len());
        for (on, weight) in waits.iter().zip(&weights[round]) {
            let ready = on.iter().filter_map(|on| ends.get(*on as usize)).max();
            ends.push(ready.copied().unwrap_or(0).saturating_add(*weight));
        }
        ends.into_iter().max().unwrap_or(0)
    });
    heaviest.fold(0, u64::saturating_add)
}
