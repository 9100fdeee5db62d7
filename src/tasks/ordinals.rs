//! ▢ Which chunk came when: the ordinals of a session's chunks, by index.
//!
//! Nearly every client counts its chunks from zero and sends them in that order. Then index and
//! ordinal are the same number, and there is nothing to keep or to look up.

use std::collections::BTreeMap;

/// Index → ordinal. Ordinals are given in order, from zero.
#[derive(Debug)]
pub enum Ordinals {
    /// So many, each of which is the ordinal of its own index.
    InOrder(u32),
    /// Since a client left one out, or began elsewhere.
    Any(BTreeMap<u32, u32>),
}

impl Default for Ordinals {
    fn default() -> Self {
        Self::InOrder(0)
    }
}

impl Ordinals {
    /// The ordinal of `index`.
    pub fn of(&self, index: u32) -> Option<u32> {
        match self {
            Self::InOrder(count) => (index < *count).then_some(index),
            Self::Any(ordinals) => ordinals.get(&index).copied(),
        }
    }

    /// Gives `index`, which must have none, the next ordinal.
    pub fn push(&mut self, index: u32) {
        match self {
            Self::InOrder(count) if *count == index => *count += 1,
            Self::InOrder(count) => {
                let in_order = (0..*count).map(|ordinal| (ordinal, ordinal));
                *self = Self::Any(in_order.chain([(index, *count)]).collect());
            }
            Self::Any(ordinals) => {
                let next = ordinals.len() as u32;
                ordinals.insert(index, next);
            }
        }
    }

    /// The highest index.
    pub fn highest(&self) -> Option<u32> {
        match self {
            Self::InOrder(count) => count.checked_sub(1),
            Self::Any(ordinals) => ordinals.last_key_value().map(|(&index, _)| index),
        }
    }

    /// Indexes, ascending, each with its ordinal.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32)> {
        let (in_order, any) = match self {
            Self::InOrder(count) => (0..*count, None),
            Self::Any(ordinals) => (0..0, Some(ordinals)),
        };
        let any = any.into_iter().flatten().map(|(&index, &ordinal)| (index, ordinal));
        in_order.map(|ordinal| (ordinal, ordinal)).chain(any)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Runs in order, gaps and what comes late: always what a map alone would say.
        #[test]
        fn agrees_with_a_map(
            runs in prop::collection::vec((0..12_u32, 0..6_u32), 0..8),
            extreme in any::<bool>(),
        ) {
            let (mut ordinals, mut map) = (Ordinals::default(), BTreeMap::new());
            let indexes = runs.into_iter().flat_map(|(from, count)| from..from + count);
            for index in (0..3).chain(indexes).chain(extreme.then_some(u32::MAX)) {
                prop_assert_eq!(ordinals.of(index), map.get(&index).copied());
                if !map.contains_key(&index) {
                    map.insert(index, map.len() as u32);
                    ordinals.push(index);
                }
                prop_assert_eq!(ordinals.highest(), map.keys().last().copied());
            }
            let pairs: Vec<(u32, u32)> = map.into_iter().collect();
            prop_assert_eq!(ordinals.iter().collect::<Vec<_>>(), pairs);
        }
    }
}
