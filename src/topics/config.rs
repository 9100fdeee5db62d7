//! ▢ The settings of one topics route.

use super::ChannelPattern;

/// Settings of a topics route, the same on every shard.
#[derive(Clone, Debug)]
pub struct TopicsConfig {
    /// Where its topics are published. No two routes that share a broker may share a channel.
    pub channel: ChannelPattern,
    /// Topics that one connection may have. It bounds what a connection costs: each is 44
    /// bytes, its name where no other connection of the shard has it, and the latest value
    /// where it is conflated.
    pub topics_per_connection: usize,
    /// Topics of one `subscribe` or `unsubscribe`.
    pub topics_per_subscribe: usize,
    /// Subscriptions of all connections of one shard; past it `busy`.
    pub topics_per_shard: usize,
    /// Period of the batches of who does not ask for one; 0: every message at once. At most
    /// [`TOPICS_CONFLATE_MS_MAX`](crate::limits::TOPICS_CONFLATE_MS_MAX).
    pub conflate_ms: u32,
    /// What becomes of a message for a connection that is behind, where it is not conflated.
    pub overflow: Overflow,
    /// Payloads past this are dropped. As clients see it, a payload that is no JSON can be
    /// six times as long.
    pub message_bytes: usize,
}

impl TopicsConfig {
    /// A route with the default limits.
    pub fn new(channel: ChannelPattern) -> Self {
        Self {
            channel,
            topics_per_connection: 256,
            topics_per_subscribe: 256,
            topics_per_shard: 1_000_000,
            conflate_ms: 0,
            overflow: Overflow::Drop,
            message_bytes: 16 << 20,
        }
    }
}

/// What becomes of a message that finds its connection over the bound of unsent bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Overflow {
    /// It is dropped, and those that follow until the connection has read most of what is
    /// unsent. The client is told how many they were.
    Drop,
    /// The connection is closed with 4008.
    Close,
}
