//! ▢ Names that more than one module uses.

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

/// One shard of the process, in the order of `cores`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct ShardId(pub u16);

impl ShardId {
    /// Its place in tables of all shards.
    pub fn index(self) -> usize {
        self.0.into()
    }
}
