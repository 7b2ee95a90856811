//! What calls touched in other blocks, and from that what the next ones may: Artela's hint table, Pharos' access
//! list inference, Chiron's hints (arXiv 2401.14278).
//!
//! A call is known by the code that it calls and its selector. Each location that such calls touched is kept as a
//! *pattern*: an account or slot that is always the same, or one that follows from who sends, or from the
//! arguments, by the layout of Solidity's storage (a value of a mapping lies at `keccak256(key . slot)`, and
//! after it those of a structure). A pattern that at least half of the calls had is predicted.

use super::{declared, slot};
use crate::{BlockInput, EvmKey};
use alloy_primitives::{Address, B256, U256, keccak256};
use braid_core::{Hint, Mode};
use revm::context::TxEnv;
use std::collections::HashMap;

/// Words of a call's arguments that patterns may refer to.
const ARGUMENTS: usize = 6;
/// Slots that a mapping may have, and places in a structure of its values.
const MAPPINGS: u64 = 16;
const PLACES: u64 = 4;
/// Kinds of calls that are kept, and patterns of each: what comes first stays.
const MOST_CALLS: usize = 1 << 16;
const MOST_PATTERNS: usize = 256;
/// Locations of one transaction that are looked at.
const MOST_TOUCHED: usize = 512;

/// Tells blocks apart, so that none is predicted from itself: number, time, gas limit, transactions.
pub type BlockId = (u64, u64, u64, usize);

/// What calls touched.
#[derive(Clone, Debug, Default)]
pub struct Learned {
    calls: HashMap<(B256, [u8; 4]), Call>,
}

/// Calls of one kind.
#[derive(Clone, Debug, Default)]
struct Call {
    seen: Tally,
    patterns: HashMap<Pattern, (Mode, Tally)>,
}

/// How often, in all and by block.
#[derive(Clone, Debug, Default)]
struct Tally {
    all: u32,
    by_block: HashMap<BlockId, u32>,
}

impl Tally {
    fn count(&mut self, block: BlockId) {
        self.all += 1;
        *self.by_block.entry(block).or_default() += 1;
    }

    fn without(&self, block: &BlockId) -> u32 {
        self.all - self.by_block.get(block).copied().unwrap_or(0)
    }
}

/// A word that a call brings along.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Word {
    Caller,
    Target,
    Argument(u8),
}

/// An account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Who {
    Always(Address),
    Of(Word),
}

/// A slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Where {
    Always(U256),
    /// `place` words after the value of `key` in the mapping at `mapping`.
    Mapping {
        mapping: u8,
        key: Word,
        place: u8,
    },
    /// The same of a mapping of mappings.
    Nested {
        mapping: u8,
        keys: [Word; 2],
        place: u8,
    },
}

/// A location, as it follows from a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Pattern {
    who: Who,
    /// `None`: the account's record.
    slot: Option<Where>,
}

impl Learned {
    /// The identity of a block.
    pub fn id(input: &BlockInput) -> BlockId {
        let word = |value: U256| value.as_limbs()[0];
        (word(input.env.number), word(input.env.timestamp), input.env.gas_limit, input.txs.len())
    }

    /// Takes in what the transactions of a block touched: `touched` has a hint for each that is true. `code_hash`
    /// tells the code of an account before the block.
    pub fn learn(
        &mut self,
        input: &BlockInput,
        touched: &[Hint<EvmKey>],
        mut code_hash: impl FnMut(Address) -> Option<B256>,
    ) {
        let block = Learned::id(input);
        for (tx, truth) in input.txs.iter().zip(touched) {
            let Some((target, selector)) = call_of(tx) else { continue };
            let Some(code) = code_hash(target) else { continue };
            let kind = (code, selector);
            if self.calls.len() >= MOST_CALLS && !self.calls.contains_key(&kind) {
                continue;
            }
            let call = self.calls.entry(kind).or_default();
            call.seen.count(block);
            let words = Words::of(tx, target);
            let slots = words.slots();
            for (key, mode) in truth.access.iter().take(MOST_TOUCHED) {
                let Some(pattern) = words.pattern(key, &slots) else { continue };
                if call.patterns.len() >= MOST_PATTERNS && !call.patterns.contains_key(&pattern) {
                    continue;
                }
                let (known, tally) = call.patterns.entry(pattern).or_insert((*mode, Tally::default()));
                *known = known.with(*mode);
                tally.count(block);
            }
        }
    }

    /// What `tx` of `block` may touch, by what calls of its kind touched in other blocks, besides what it declares
    /// itself.
    pub fn hint(
        &self,
        block: &BlockId,
        tx: &TxEnv,
        code_hash: impl FnOnce(Address) -> Option<B256>,
    ) -> Hint<EvmKey> {
        let mut hint = declared(tx);
        let Some((target, selector)) = call_of(tx) else { return hint };
        let Some(call) = code_hash(target).and_then(|code| self.calls.get(&(code, selector))) else {
            return hint;
        };
        let seen = call.seen.without(block);
        if seen == 0 {
            return hint;
        }
        let words = Words::of(tx, target);
        let likely = call.patterns.iter().filter(|(_, (_, tally))| tally.without(block) * 2 >= seen);
        let mut found: Vec<(EvmKey, Mode)> =
            likely.filter_map(|(pattern, (mode, _))| Some((words.key(pattern)?, *mode))).collect();
        // The table has no order of its own.
        found.sort_unstable_by_key(|(key, _)| *key);
        hint.access.append(&mut found);
        hint
    }

    /// Kinds of calls that are known.
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }
}

/// Target and selector of a call; `None` for what is none.
fn call_of(tx: &TxEnv) -> Option<(Address, [u8; 4])> {
    let target = *tx.kind.to()?;
    Some((target, *tx.data.first_chunk::<4>()?))
}

/// The words of one call.
struct Words(Vec<(Word, B256)>);

impl Words {
    fn of(tx: &TxEnv, target: Address) -> Self {
        let mut words = vec![(Word::Caller, tx.caller.into_word()), (Word::Target, target.into_word())];
        let arguments = tx.data[4..].as_chunks::<32>().0.iter().take(ARGUMENTS).zip(0..);
        words.extend(arguments.map(|(word, at)| (Word::Argument(at), B256::from(word))));
        Words(words)
    }

    fn value(&self, word: Word) -> Option<B256> {
        self.0.iter().find(|(name, _)| *name == word).map(|(_, value)| *value)
    }

    /// Slots of mappings that the words may lead to.
    fn slots(&self) -> HashMap<U256, Where> {
        let mut slots = HashMap::new();
        for mapping in 0..MAPPINGS as u8 {
            for (key, value) in &self.0 {
                let outer = entry(*value, U256::from(mapping).into());
                for place in 0..PLACES as u8 {
                    let at = U256::from_be_bytes(outer.0).wrapping_add(U256::from(place));
                    slots.entry(at).or_insert(Where::Mapping { mapping, key: *key, place });
                }
                for (inner, value) in &self.0 {
                    let nested = U256::from_be_bytes(entry(*value, outer).0);
                    slots.entry(nested).or_insert(Where::Nested { mapping, keys: [*key, *inner], place: 0 });
                }
            }
        }
        slots
    }

    /// What `key` looks like from this call. Slots of later lives of an account are not predicted.
    fn pattern(&self, key: &EvmKey, slots: &HashMap<U256, Where>) -> Option<Pattern> {
        match key {
            EvmKey::Account(address) => Some(Pattern { who: self.who(*address), slot: None }),
            EvmKey::Slot { address, generation: 0, slot } => {
                let place = slots.get(slot).copied().unwrap_or(Where::Always(*slot));
                Some(Pattern { who: self.who(*address), slot: Some(place) })
            }
            EvmKey::Slot { .. } | EvmKey::Code(_) => None,
        }
    }

    fn who(&self, address: Address) -> Who {
        let word = address.into_word();
        self.0
            .iter()
            .find(|(_, value)| *value == word)
            .map_or(Who::Always(address), |(name, _)| Who::Of(*name))
    }

    /// The location of a pattern in this call; `None` if the call is too short for it.
    fn key(&self, pattern: &Pattern) -> Option<EvmKey> {
        let address = match pattern.who {
            Who::Always(address) => address,
            Who::Of(word) => Address::from_word(self.value(word)?),
        };
        let Some(place) = pattern.slot else { return Some(EvmKey::Account(address)) };
        let at = match place {
            Where::Always(at) => at,
            Where::Mapping { mapping, key, place } => {
                let outer = entry(self.value(key)?, U256::from(mapping).into());
                U256::from_be_bytes(outer.0).wrapping_add(U256::from(place))
            }
            Where::Nested { mapping, keys: [outer, inner], place } => {
                let outer = entry(self.value(outer)?, U256::from(mapping).into());
                U256::from_be_bytes(entry(self.value(inner)?, outer).0).wrapping_add(U256::from(place))
            }
        };
        Some(slot(address, at))
    }
}

/// Where the value of `key` lies in the mapping at `mapping`.
fn entry(key: B256, mapping: B256) -> B256 {
    let mut input = [0; 64];
    input[..32].copy_from_slice(&key.0);
    input[32..].copy_from_slice(&mapping.0);
    keccak256(input)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{Bytes, TxKind, address};
    use braid_core::Trust;
    use revm::{context::BlockEnv, primitives::hardfork::SpecId};

    const TOKEN: Address = address!("00000000000000000000000000000000000000aa");

    fn transfer(from: u64, to: u64) -> TxEnv {
        let who = |number: u64| Address::from_word(B256::from(U256::from(number)));
        let data = [&[1, 2, 3, 4][..], who(to).into_word().as_slice(), &[0; 32]].concat();
        TxEnv { caller: who(from), kind: TxKind::Call(TOKEN), data: Bytes::from(data), ..TxEnv::default() }
    }

    fn balance(of: u64) -> EvmKey {
        slot(TOKEN, U256::from_be_bytes(entry(B256::from(U256::from(of)), U256::from(3).into()).0))
    }

    fn touched(from: u64, to: u64) -> Hint<EvmKey> {
        let paused = slot(TOKEN, U256::from(7));
        let access = vec![(paused, Mode::Read), (balance(from), Mode::Write), (balance(to), Mode::Write)];
        Hint { trust: Trust::Guess, access }
    }

    #[test]
    fn balances_of_a_token_are_predicted_from_other_calls() {
        let block = |number: u64, pairs: &[(u64, u64)]| {
            let txs = pairs.iter().map(|(from, to)| transfer(*from, *to)).collect();
            let mut input = BlockInput::new(1, SpecId::CANCUN, BlockEnv::default(), txs);
            input.env.number = U256::from(number);
            input
        };
        let code = |address| (address == TOKEN).then_some(B256::repeat_byte(9));
        let mut learned = Learned::default();
        let first = block(1, &[(100, 200), (300, 400)]);
        learned.learn(&first, &[touched(100, 200), touched(300, 400)], code);

        let own = learned.hint(&Learned::id(&first), &first.txs[0], code);
        assert_eq!(own.access.len(), 2, "a block is not predicted from itself: {own:?}");

        let next = block(2, &[(500, 600)]);
        let hint = learned.hint(&Learned::id(&next), &next.txs[0], code);
        for (key, mode) in touched(500, 600).access {
            assert!(hint.access.contains(&(key, mode)), "{key:?} is missing from {hint:?}");
        }
        let other = learned.hint(&Learned::id(&next), &next.txs[0], |_| Some(B256::repeat_byte(8)));
        assert_eq!(other.access.len(), 2, "other code is another call");
    }
}
