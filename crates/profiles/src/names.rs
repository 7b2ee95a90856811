//! What locations are called, as far as a run of the block tells.
//!
//! The slot of a mapping's entry is the hash of its key and of the mapping's own slot (Solidity's layout of storage,
//! docs.soliditylang.org/en/latest/internals/layout_in_storage.html); who saw the input of the hash knows the entry.
//! Contracts that emitted ERC-20's `Transfer` are tokens, those that emitted `Sync` of Uniswap's second version
//! are pools, with reserves in slot 8.

use alloy_primitives::{Address, B256, U256, b256, keccak256};
use braid_evm::EvmKey;
use braid_report::Key;
use std::collections::{BTreeMap, BTreeSet};

/// Inputs of hashes that are remembered of one block.
const HASHES_MAX: usize = 1 << 20;

/// Mappings of mappings that a name goes through.
const DEPTH_MAX: usize = 4;

/// `Transfer(address,address,uint256)`.
const TRANSFER: B256 = b256!("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef");

/// `Sync(uint112,uint112)`.
const SYNC: B256 = b256!("1c411e9a96e071241c2f21f7726b17ae89e3cab4c78be50e062b03a9fffbbad1");

/// The slot in which such a pool keeps its reserves.
const RESERVES: U256 = U256::from_limbs([8, 0, 0, 0]);

/// What a block taught about its locations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// By hash, the two words that were hashed.
    hashed: BTreeMap<B256, [B256; 2]>,
    tokens: BTreeSet<Address>,
    /// Those who sent or received tokens.
    holders: BTreeSet<(Address, Address)>,
    pools: BTreeSet<Address>,
}

impl Names {
    /// Takes an input of KECCAK256, if it is of two words.
    pub(crate) fn hashes(&mut self, input: &[u8]) {
        if let ([first, second], []) = input.as_chunks::<32>()
            && self.hashed.len() < HASHES_MAX
        {
            self.hashed.insert(keccak256(input), [B256::from(*first), B256::from(*second)]);
        }
    }

    /// Takes a log.
    pub(crate) fn logs(&mut self, emitter: Address, topics: &[B256]) {
        match topics {
            [TRANSFER, from, to] if self.holders.len() < HASHES_MAX => {
                self.tokens.insert(emitter);
                for party in [from, to] {
                    self.holders.insert((emitter, Address::from_word(*party)));
                }
            }
            [SYNC] => {
                self.pools.insert(emitter);
            }
            _ => {}
        }
    }

    /// The location of a machine of this workspace.
    pub fn key(&self, key: &EvmKey) -> Key {
        match key {
            EvmKey::Account(address) => {
                Key::new(format!("{address}")).named(Some(format!("account {}", short(address))))
            }
            EvmKey::Slot { address, generation: 0, slot } => self.slot(*address, *slot),
            EvmKey::Slot { address, generation, slot } => {
                let Key { text, name } = self.slot(*address, *slot);
                Key::new(format!("{text} in life {generation}")).named(name)
            }
            EvmKey::Code(hash) => Key::new(format!("code {hash}")),
        }
    }

    /// A storage slot: `address[slot]`.
    pub fn slot(&self, address: Address, slot: U256) -> Key {
        let name = self.slot_name(address, slot);
        let name = name.unwrap_or_else(|| format!("slot {} of {}", word(&B256::from(slot)), short(&address)));
        Key::new(format!("{address}[{slot:#x}]")).named(Some(name))
    }

    fn slot_name(&self, address: Address, slot: U256) -> Option<String> {
        if slot == RESERVES && self.pools.contains(&address) {
            return Some(format!("reserves of pool {}", short(&address)));
        }
        let mut keys = Vec::new();
        let mut base = B256::from(slot);
        while let Some([key, below]) = self.hashed.get(&base).filter(|_| keys.len() < DEPTH_MAX) {
            keys.push(*key);
            base = *below;
        }
        keys.reverse();
        // A mapping stands in a slot with a small number; anything else was hashed for another reason.
        let base = u64::try_from(U256::from_be_bytes(base.0)).ok().filter(|base| *base < 1 << 16)?;
        let of = short(&address);
        match &keys[..] {
            [] => None,
            [holder] if self.is_holder(address, holder) => {
                let holder = short(&Address::from_word(*holder));
                Some(format!("token balance of {holder} in {of} (mapping at slot {base})"))
            }
            keys => {
                let keys: Vec<String> = keys.iter().map(word).collect();
                Some(format!("entry [{}] of {of} (mapping at slot {base})", keys.join("][")))
            }
        }
    }

    fn is_holder(&self, token: Address, holder: &B256) -> bool {
        let address = Address::from_word(*holder);
        address.into_word() == *holder && self.holders.contains(&(token, address))
    }
}

/// First and last digits of an address.
pub(crate) fn short(address: &Address) -> String {
    let text = address.to_string();
    format!("{}…{}", &text[..8], &text[text.len() - 4..])
}

/// A mapping's key: an address, a small number, or first and last digits.
fn word(word: &B256) -> String {
    let number = U256::from_be_bytes(word.0);
    if let Ok(small) = u32::try_from(number) {
        return small.to_string();
    }
    let address = Address::from_word(*word);
    if address.into_word() == *word && !address.0.starts_with(&[0; 8]) {
        return short(&address);
    }
    let text = word.to_string();
    format!("{}…{}", &text[..8], &text[text.len() - 4..])
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: Address = Address::repeat_byte(0x70);
    const HOLDER: Address = Address::repeat_byte(0x41);

    fn entry(names: &mut Names, key: B256, base: B256) -> B256 {
        let input = [key.0, base.0].concat();
        names.hashes(&input);
        keccak256(input)
    }

    fn name(names: &Names, slot: B256) -> Option<String> {
        names.slot_name(TOKEN, slot.into())
    }

    #[test]
    fn entries_of_mappings_are_called_by_their_keys() {
        let mut names = Names::default();
        let base = B256::with_last_byte(3);
        let balance = entry(&mut names, HOLDER.into_word(), base);
        assert_eq!(
            name(&names, balance).unwrap(),
            "entry [0x414141…4141] of 0x707070…7070 (mapping at slot 3)"
        );
        names.logs(TOKEN, &[TRANSFER, HOLDER.into_word(), B256::ZERO]);
        assert_eq!(
            name(&names, balance).unwrap(),
            "token balance of 0x414141…4141 in 0x707070…7070 (mapping at slot 3)"
        );
        let spender = entry(&mut names, B256::with_last_byte(9), balance);
        assert_eq!(
            name(&names, spender).unwrap(),
            "entry [0x414141…4141][9] of 0x707070…7070 (mapping at slot 3)"
        );
    }

    #[test]
    fn what_is_not_known_has_no_name() {
        let mut names = Names::default();
        assert_eq!(name(&names, B256::with_last_byte(8)), None);
        names.logs(TOKEN, &[SYNC]);
        assert_eq!(name(&names, B256::with_last_byte(8)).unwrap(), "reserves of pool 0x707070…7070");
        // Hashed with something that is no slot of a mapping; not of two words; deeper than names go.
        let other = entry(&mut names, HOLDER.into_word(), B256::repeat_byte(7));
        assert_eq!(name(&names, other), None);
        names.hashes(&[1; 63]);
        assert_eq!(names.hashed.len(), 1);
        let mut deep = B256::ZERO;
        for _ in 0..=DEPTH_MAX {
            deep = entry(&mut names, B256::with_last_byte(1), deep);
        }
        assert_eq!(name(&names, deep), None);
    }

    #[test]
    fn locations_of_the_machine_have_exact_texts() {
        let names = Names::default();
        let text = |key| names.key(&key).text;
        assert_eq!(text(EvmKey::Account(HOLDER)), HOLDER.to_string());
        let slot = |generation| EvmKey::Slot { address: HOLDER, generation, slot: U256::from(255) };
        assert_eq!(text(slot(0)), format!("{HOLDER}[0xff]"));
        assert_eq!(text(slot(2)), format!("{HOLDER}[0xff] in life 2"));
        assert_eq!(names.slot(TOKEN, U256::from(2)).label(), "slot 2 of 0x707070…7070");
        let hash = B256::repeat_byte(0xab);
        assert_eq!(names.slot(TOKEN, hash.into()).label(), "slot 0xababab…abab of 0x707070…7070");
        assert_eq!(text(EvmKey::Code(B256::ZERO)), format!("code {}", B256::ZERO));
    }
}
