//! Messages in rounds: as from one queue, whatever runs the rounds, with how many threads.
#![cfg(not(any(feature = "shuttle", feature = "loom")))]

use braid_core::{Block, BlockError, Bound, Cause, Control, Effects, Scheduler, Sink, TxIndex, Vm};
use braid_sched::{
    Adaptive, Batch, BlockStm, Delivery, DeliveryError, Graph, Occ, OccRounds, Policy, Pool, Rounds, Serial,
    Waits,
};
use braid_testkit::{Actors, Mail, MailOutput, Num, Recorder, Rng, ToyError, ToyState, check_events};
use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicBool},
};

/// Runs the same test for every scheduler.
macro_rules! each {
    ($threads:expr, $seed:expr, $scheduler:ident => $body:expr) => {{
        let (pool, seed): (_, u64) = (Arc::new(Pool::new($threads)), $seed);
        {
            let $scheduler = Serial::new();
            $body
        };
        {
            let $scheduler = Occ::new(pool.clone()).chaos(seed);
            $body
        };
        {
            let $scheduler = BlockStm::new(pool.clone()).chaos(seed);
            $body
        };
        {
            let $scheduler = BlockStm::new(pool.clone()).waits(Waits::Resume).chaos(seed);
            $body
        };
        {
            let $scheduler = Adaptive::new(pool.clone());
            $body
        };
        {
            let $scheduler = Batch::new(pool.clone()).chaos(seed);
            $body
        };
        {
            let $scheduler = OccRounds::new(pool.clone()).chaos(seed);
            $body
        };
        for policy in Policy::ALL {
            {
                let $scheduler = Graph::new(pool.clone(), policy).chaos(seed);
                $body
            }
        }
    }};
}

/// Keeps outputs, in the order of delivery.
#[derive(Default)]
struct Received(Vec<MailOutput>);

impl<M: Vm<Output = MailOutput, Error = ToyError>> Sink<M> for Received {
    fn admit(&mut self, index: TxIndex) -> Result<(), ToyError> {
        assert_eq!(index as usize, self.0.len(), "asked in order, over all rounds");
        Ok(())
    }

    fn commit(&mut self, index: TxIndex, effects: &mut Effects<M>) {
        assert_eq!(index as usize, self.0.len(), "delivered in order, over all rounds");
        self.0.push(effects.output.take().expect("a message has an output"));
    }
}

type Ran<M> = Result<Delivery<M>, DeliveryError<ToyError>>;

fn run<M, S>(rounds: &Rounds<S>, vm: &M, mails: &[Mail]) -> (Ran<M>, Vec<MailOutput>)
where
    M: Vm<Tx = Mail, Key = u64, Value = Num, Output = MailOutput, Error = ToyError>,
    S: Scheduler,
{
    let (state, recorder, mut received) = (ToyState::default(), Recorder::default(), Received::default());
    let block = Block::new(vm, mails, &state);
    let result = rounds.run(&block, &mut received, &recorder, &Control::default());
    let count = result.as_ref().map_or(0, |delivery| delivery.messages as usize);
    check_events(&recorder.take(), count, result.is_ok()).expect("well-formed over all rounds");
    (result, received.0)
}

/// Delivers on `vm`, and compares with the queue.
fn equals_the_queue<M, S>(scheduler: S, vm: &M, actors: Actors, mails: &[Mail])
where
    M: Vm<Tx = Mail, Key = u64, Value = Num, Output = MailOutput, Error = ToyError>,
    S: Scheduler,
{
    let name = scheduler.name();
    let (outputs, values) = actors.deliver(mails, 100_000).expect("it ends");
    let (result, received) = run(&Rounds::new(scheduler), vm, mails);
    let delivery = result.unwrap_or_else(|error| panic!("{name}: {error:?}"));
    assert_eq!(received, outputs, "{name}");
    let value = |value: &Option<Num>| value.expect("nothing is deleted").0;
    let changes: BTreeMap<u64, i64> = delivery.changes.iter().map(|(key, now)| (*key, value(now))).collect();
    assert_eq!((changes, delivery.messages as usize), (values.clone(), outputs.len()), "{name}");
    assert_eq!(delivery.changes.len(), values.len(), "{name}: each key once");
}

#[test]
fn a_delivery_is_that_of_one_queue() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let actors = Actors { count: 1 + rng.below(12) };
        let mails = actors.mails(&mut rng);
        let threads = [1, 2, 4, 8][seed as usize % 4];
        println!("seed {seed}, {actors:?}, {threads} threads");
        each!(threads, seed + 1, scheduler => equals_the_queue(scheduler, &Bound(actors), actors, &mails));
        // Without enforcement the hints are guesses.
        each!(threads, seed + 1, scheduler => equals_the_queue(scheduler, &actors, actors, &mails));
    }
}

#[test]
fn money_is_conserved_and_order_kept() {
    let (mut delivered, mut spread) = (0, 0);
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let actors = Actors { count: 1 + rng.below(12) };
        let mails = actors.mails(&mut rng);
        let scheduler = Graph::new(Arc::new(Pool::new(4)), Policy::Critical).chaos(seed + 1);
        let (result, received) = run(&Rounds::new(scheduler), &Bound(actors), &mails);
        let delivery = result.expect("it ends");
        let balances = delivery.changes.iter().filter(|(key, _)| key % 2 == 0);
        let held: i64 = balances.map(|(_, value)| value.expect("there").0).sum();
        assert_eq!(held, mails.iter().map(|mail| mail.value).sum::<i64>(), "seed {seed}");
        // Who was sent first comes first, whoever receives: by parent, and by number there.
        let sent: Vec<u64> = mails
            .iter()
            .map(|mail| mail.tag)
            .chain(received.iter().flat_map(|one| one.sent.clone()))
            .collect();
        let tags: Vec<u64> = received.iter().map(|one| one.tag).collect();
        assert_eq!(tags, sent, "seed {seed}");
        delivered += received.len();
        spread += u32::from(delivery.rounds > 3);
    }
    assert!(delivered > 1000 && spread > 20, "{delivered} {spread}");
}

/// A message that goes back and forth for ever.
const ENDLESS: Mail = Mail { to: 0, value: 5, hops: u32::MAX, fan: 1, tag: 1 };

#[test]
fn what_never_ends_meets_a_limit() {
    let vm = Bound(Actors { count: 2 });
    each!(2, 1, scheduler => {
        let (result, received) = run(&Rounds::new(scheduler).rounds(50), &vm, &[ENDLESS, ENDLESS]);
        assert_eq!(result.expect_err("endless"), DeliveryError::Rounds { left: 2, limit: 50 });
        assert_eq!(received.len(), 100);
    });
    let flood = Mail { fan: 2, ..ENDLESS };
    each!(2, 1, scheduler => {
        let (result, received) = run(&Rounds::new(scheduler).messages(1000), &vm, &[flood]);
        // 1 + 2 + 4 + ... + 256, and 512 more.
        assert_eq!(result.expect_err("endless"), DeliveryError::Messages { sent: 1023, limit: 1000 });
        assert_eq!(received.len(), 511);
    });
}

#[test]
fn an_error_names_the_message_over_all_rounds() {
    let actors = Actors { count: 3 };
    let fine = Mail { hops: 2, fan: 1, ..ENDLESS };
    let mails = [fine, Mail { value: -1, ..fine }];
    each!(3, 1, scheduler => {
        let (result, received) = run(&Rounds::new(scheduler), &actors, &mails);
        let error = BlockError { tx: 1, cause: Cause::Invalid(ToyError::Invalid(0)) };
        assert_eq!(result.expect_err("invalid"), DeliveryError::Message(error));
        assert_eq!(received.len(), 1);
    });
    // The state fails in the second round: somewhere beyond the first two messages.
    let (first, _) = actors.deliver(&[fine, fine], 100).expect("it ends");
    let lost = first.iter().map(|one| one.to).find(|to| *to != 0).expect("it leaves the first actor");
    let at = first.iter().position(|one| one.to == lost).expect("found above") as u32;
    let mut state = ToyState::default();
    state.broken.insert(Actors::balance(lost));
    each!(3, 1, scheduler => {
        let (mails, mut received) = ([fine, fine], Received::default());
        let block = Block::new(&actors, &mails, &state);
        let error = Rounds::new(scheduler).run(&block, &mut received, &(), &Control::default()).expect_err("broken");
        let DeliveryError::Message(BlockError { tx, cause: Cause::Store(_) }) = error else { panic!("{error:?}") };
        assert_eq!((tx, received.0.len() as u32), (at, at));
    });
}

#[test]
fn nothing_to_deliver_is_a_delivery() {
    let (result, received) = run(&Rounds::new(Serial::new()).rounds(0), &Actors { count: 1 }, &[]);
    let delivery = result.expect("nothing to fail");
    assert_eq!((delivery.rounds, delivery.messages, received.len()), (0, 0, 0));
}

#[test]
fn a_delivery_can_be_cancelled() {
    let cancel = AtomicBool::new(true);
    let control = Control { cancel: Some(&cancel), ..Control::default() };
    let (vm, state) = (Actors { count: 2 }, ToyState::default());
    let block = Block::new(&vm, &[ENDLESS], &state);
    let ended = Rounds::new(Serial::new()).run(&block, &mut Received::default(), &(), &control);
    assert_eq!(
        ended.expect_err("cancelled"),
        DeliveryError::Message(BlockError { tx: 0, cause: Cause::Cancelled })
    );
}
