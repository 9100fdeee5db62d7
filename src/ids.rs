//! ▢ Names: of things that are freed and used again, of shards, and of this process.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};

/// One socket of one shard: a slot of its table and the generation of that slot.
///
/// A name outlives its socket: whoever holds one past the close finds that the
/// generation has moved on, and nothing happens to the socket that came after.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct SocketId {
    /// Index into the shard's tables.
    pub slot: u32,
    /// How often this slot had been freed when the name was given, modulo 2^24.
    pub generation: u32,
}

/// What is known by socket. Each message looks some of it up, and no peer chooses its own slot
/// or generation, so a hash need not withstand an enemy.
pub type SocketMap<V> = HashMap<SocketId, V, BuildHasherDefault<SocketHasher>>;

/// Sockets, likewise.
pub type SocketSet = HashSet<SocketId, BuildHasherDefault<SocketHasher>>;

/// Spreads slots and generations over all bits of a hash (Fibonacci hashing).
#[derive(Default, Debug)]
pub struct SocketHasher(u64);

impl Hasher for SocketHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u32(byte.into()));
    }

    fn write_u32(&mut self, number: u32) {
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        self.0 = (self.0.rotate_left(32) ^ u64::from(number)).wrapping_mul(GOLDEN);
    }

    fn finish(&self) -> u64 {
        // The low bits choose the bucket, and a product has little in them.
        self.0 ^ self.0 >> 32
    }
}

/// One shard of the process, in the order of `cores`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct ShardId(pub u16);

impl ShardId {
    /// Its place in tables of all shards.
    pub fn index(self) -> usize {
        self.0.into()
    }
}

/// This process among all gateways that share a Redis: 64 random bits, so that nobody has
/// to give them names.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NodeId(u64);

impl NodeId {
    /// A new one.
    pub fn random() -> Self {
        // Six bits of a random UUID are fixed, not at the same place in its halves.
        let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
        Self(high ^ low)
    }

    /// The channel on which results for one shard of this process are published (contract,
    /// tasks route).
    pub fn results_channel(self, shard: usize) -> String {
        format!("ringgate:results:{self}:{shard}")
    }

    /// The channel on which one shard of this process publishes to itself, to see that
    /// pub/sub works.
    pub fn canary_channel(self, shard: usize) -> String {
        format!("ringgate:canary:{self}:{shard}")
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;

    #[test]
    fn slots_and_generations_are_spread() {
        let buckets: HashSet<u64> = (0..4_096)
            .map(|n| {
                let id = SocketId { slot: n % 64, generation: n / 64 };
                BuildHasherDefault::<SocketHasher>::default().hash_one(id) % 4_096
            })
            .collect();
        // Of 4,096 throws at random into as many buckets, 63 % hit one that was empty.
        assert!(buckets.len() > 2_400, "{} of 4,096 buckets", buckets.len());
    }

    #[test]
    fn nodes_and_shards_have_channels_of_their_own() {
        let (one, other) = (NodeId::random(), NodeId::random());
        assert_ne!(one, other);
        assert_ne!(one.results_channel(0), other.results_channel(0));
        assert_ne!(one.results_channel(0), one.results_channel(1));
        assert_ne!(one.canary_channel(0), one.canary_channel(1));
        assert_eq!(NodeId(0xab).results_channel(3), "ringgate:results:00000000000000ab:3");
    }
}
