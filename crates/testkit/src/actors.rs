//! Actors that send each other messages with money in them, and an oracle that delivers them one by one.

use crate::{Num, Rng, ToyError, toy::mix};
use braid_core::{Binding, Effects, Hint, Mode, Stop, Trust, View, Vm, Write};
use std::collections::{BTreeMap, VecDeque};

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mail {
    /// The actor that receives it.
    pub to: u64,
    /// The money in it. Invalid if negative.
    pub value: i64,
    /// How far it goes: it is passed on while this is positive.
    pub hops: u32,
    /// Messages that it makes of itself, at every hop.
    pub fan: u64,
    /// Its name: made of that of its parent and its number there.
    pub tag: u64,
}

/// What a message tells: its name and that of its parent's, what the receiver had and had seen before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailOutput {
    /// The name of the message.
    pub tag: u64,
    /// The receiver.
    pub to: u64,
    /// What the receiver had before.
    pub balance: i64,
    /// A digest of all messages that it received before, in order.
    pub log: i64,
    /// The names of the messages that were sent.
    pub sent: Vec<u64>,
}

/// The machine: a message adds its money to its receiver, which keeps a log, and passes some of what it has on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Actors {
    /// How many actors there are.
    pub count: u64,
}

impl Actors {
    /// Where the money of an actor is.
    pub const fn balance(actor: u64) -> u64 {
        2 * actor
    }

    /// Where its log is.
    pub const fn log(actor: u64) -> u64 {
        2 * actor + 1
    }

    /// What a message does to an actor that has `balance` and `log`, and what it sends.
    fn handle(&self, mail: &Mail, balance: i64, log: i64) -> (i64, i64, Vec<Mail>) {
        let mut balance = balance + mail.value;
        let log = mix(log as u64, mail.tag) as i64;
        let mut sent = Vec::new();
        if mail.hops > 0 {
            for child in 0..mail.fan {
                let tag = mix(mail.tag, child + 1);
                // Whom it goes to depends on what the receiver has seen: only the true order gives the true ones.
                let to = (log as u64 ^ tag) % self.count.max(1);
                let value = balance / 2;
                balance -= value;
                sent.push(Mail { to, value, hops: mail.hops - 1, fan: mail.fan, tag });
            }
        }
        (balance, log, sent)
    }

    /// Messages to begin with.
    pub fn mails(&self, rng: &mut Rng) -> Vec<Mail> {
        let mail = |rng: &mut Rng| Mail {
            to: rng.below(self.count),
            value: rng.below(1000) as i64,
            hops: rng.below(6) as u32,
            fan: 1 + rng.below(2),
            tag: rng.bits(),
        };
        (0..1 + rng.below(12)).map(|_| mail(rng)).collect()
    }

    /// Delivers messages one by one from one queue, whose end takes what they send: all outputs, and the final
    /// values of all locations. Gives up after `most` messages.
    pub fn deliver(&self, mails: &[Mail], most: usize) -> Option<(Vec<MailOutput>, BTreeMap<u64, i64>)> {
        let mut queue: VecDeque<Mail> = mails.iter().copied().collect();
        let (mut outputs, mut values) = (Vec::new(), BTreeMap::new());
        while let Some(mail) = queue.pop_front() {
            if outputs.len() == most {
                return None;
            }
            let of = |key| values.get(&key).copied().unwrap_or(0);
            let (balance, log) = (of(Actors::balance(mail.to)), of(Actors::log(mail.to)));
            let (new_balance, new_log, sent) = self.handle(&mail, balance, log);
            values.extend([(Actors::balance(mail.to), new_balance), (Actors::log(mail.to), new_log)]);
            let names = sent.iter().map(|mail| mail.tag).collect();
            outputs.push(MailOutput { tag: mail.tag, to: mail.to, balance, log, sent: names });
            queue.extend(sent);
        }
        Some((outputs, values))
    }
}

impl Vm for Actors {
    type Tx = Mail;
    type Key = u64;
    type Value = Num;
    type Output = MailOutput;
    type Error = ToyError;
    type Worker = ();

    fn worker(&self) {}

    /// A message touches its receiver and nobody else.
    fn hint(&self, mail: &Mail) -> Hint<u64> {
        let access = vec![(Actors::balance(mail.to), Mode::Write), (Actors::log(mail.to), Mode::Write)];
        Hint { trust: Trust::Binding, access }
    }

    fn execute(
        &self,
        (): &mut (),
        mail: &Mail,
        view: &mut dyn View<u64, Num>,
        effects: &mut Effects<Self>,
    ) -> Result<(), Stop<ToyError>> {
        let (at, log_at) = (Actors::balance(mail.to), Actors::log(mail.to));
        let number = |value: Option<Num>| value.map_or(0, |value| value.0);
        let balance = number(view.read(&at)?.value);
        let log = number(view.read(&log_at)?.value);
        if mail.value < 0 {
            return Err(Stop::Invalid(ToyError::Invalid(mail.to)));
        }
        let (new_balance, new_log, sent) = self.handle(mail, balance, log);
        effects.writes.extend([(at, Write::Put(Num(new_balance))), (log_at, Write::Put(Num(new_log)))]);
        let names = sent.iter().map(|mail| mail.tag).collect();
        effects.output = Some(MailOutput { tag: mail.tag, to: mail.to, balance, log, sent: names });
        effects.spawn.extend(sent);
        effects.work = 1;
        Ok(())
    }
}

impl Binding for Actors {
    fn absent(&self, _mail: &Mail, key: &u64) -> ToyError {
        ToyError::Consumed(*key)
    }
}
