//! What a transaction has touched (EIP-2929), as it travels with its messages.
//!
//! Every suspended frame keeps the set as it was when the frame began, so versions share their parts: a set is a
//! few sorted layers, each at least twice as long as the next, and adding to it never changes a layer.

use alloy_primitives::{Address, U256};
use std::{collections::BTreeMap, sync::Arc};

/// An account, or one of its slots.
pub(crate) type Place = (Address, Option<U256>);

/// What a slot held when the transaction first looked at it; `None` for accounts, and for slots that an access list
/// named and nobody has looked at.
pub(crate) type Original = Option<U256>;

type Layer = Vec<(Place, Original)>;

/// A persistent set of places.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Warm {
    layers: Vec<Arc<Layer>>,
}

impl Warm {
    /// What is known of `place`, if it is warm.
    pub(crate) fn get(&self, place: &Place) -> Option<Original> {
        self.layers.iter().rev().find_map(|layer| {
            let at = layer.binary_search_by(|(there, _)| there.cmp(place)).ok()?;
            Some(layer[at].1)
        })
    }

    /// Adds places; of one that is there already, what is newer counts.
    pub(crate) fn add(&mut self, places: BTreeMap<Place, Original>) {
        if places.is_empty() {
            return;
        }
        let mut top: Layer = places.into_iter().collect();
        while let Some(below) = self.layers.pop_if(|below| below.len() < 2 * top.len()) {
            top = merge(&below, &top);
        }
        self.layers.push(Arc::new(top));
    }
}

/// Both, in order; `new` counts where they agree.
fn merge(old: &[(Place, Original)], new: &[(Place, Original)]) -> Layer {
    let mut merged = Vec::with_capacity(old.len() + new.len());
    let mut rest = new;
    for item in old {
        let before = rest.partition_point(|(place, _)| *place < item.0);
        merged.extend_from_slice(&rest[..before]);
        rest = &rest[before..];
        if rest.first().is_none_or(|(place, _)| *place != item.0) {
            merged.push(*item);
        }
    }
    merged.extend_from_slice(rest);
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use braid_testkit::Rng;

    fn place(n: u64) -> Place {
        (Address::with_last_byte(n as u8 % 5), (!n.is_multiple_of(3)).then(|| U256::from(n)))
    }

    #[test]
    fn it_is_a_map_whose_versions_stay() {
        for seed in 0..50 {
            let mut rng = Rng::new(seed);
            let (mut warm, mut map) = (Warm::default(), BTreeMap::new());
            let mut kept = Vec::new();
            for _ in 0..60 {
                let news: BTreeMap<Place, Original> = (0..rng.below(8))
                    .map(|_| (place(rng.below(100)), Some(U256::from(rng.below(9)))))
                    .collect();
                map.extend(news.clone());
                warm.add(news);
                kept.push((warm.clone(), map.clone()));
            }
            for (warm, map) in kept {
                for n in 0..100 {
                    assert_eq!(warm.get(&place(n)), map.get(&place(n)).copied(), "seed {seed}");
                }
                let long = warm.layers.windows(2).all(|pair| pair[0].len() >= 2 * pair[1].len());
                assert!(long, "seed {seed}: layers are not geometric");
            }
        }
    }
}
