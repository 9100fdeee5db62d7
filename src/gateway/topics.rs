//! What topics routes need of the process: their settings.

use crate::{
    config::{self, Config},
    topics::{Overflow, TopicsConfig},
};

/// Settings of one topics route.
pub(super) fn config(config: &Config, route: &config::TopicsRoute) -> TopicsConfig {
    TopicsConfig {
        channel: route.channel.clone(),
        topics_per_connection: route.topics_per_connection,
        topics_per_subscribe: route.topics_per_connection,
        topics_per_shard: route.topics_per_shard,
        conflate_ms: route.conflate_ms,
        overflow: match route.overflow {
            config::Overflow::Drop => Overflow::Drop,
            config::Overflow::Close => Overflow::Close,
        },
        message_bytes: config.limits.message_bytes,
    }
}
