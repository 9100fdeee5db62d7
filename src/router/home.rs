//! ▢ Which shard answers for a name: every shard computes the same, and none has to be asked.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::ids::ShardId;

/// The home of `name` among `shards` shards. The same in the whole process for its life,
/// and in no other process for certain: it must not be stored.
///
/// A client that chooses its names can choose their home. What a home does for a name is
/// small and bounded, so all that this buys is an uneven load of that.
pub fn home_of(name: &str, shards: usize) -> ShardId {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    // The upper half times the number of shards: as even as the hash, without a division.
    let scaled = (hasher.finish() >> 32) * shards.max(1) as u64;
    ShardId((scaled >> 32) as u16)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_name_has_one_home(name in ".{0,40}", shards in 1usize..1000) {
            let home = home_of(&name, shards);
            prop_assert!(home.index() < shards);
            prop_assert_eq!(home, home_of(&name, shards));
        }
    }

    #[test]
    fn homes_are_spread() {
        let mut names = [0; 7];
        for n in 0..7_000 {
            names[home_of(&format!("session-{n}"), 7).index()] += 1;
        }
        assert!(names.iter().all(|count| (800..1_200).contains(count)), "{names:?}");
    }
}
