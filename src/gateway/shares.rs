//! What one shard gets of the limits of the process: at its start and with each reload.

use crate::{config::Config, shard::ShardOptions};

/// Settings of every shard.
pub(super) fn options(config: &Config) -> ShardOptions {
    let (limits, timing, shards) = (&config.limits, &config.timing, config.cores.len());
    ShardOptions {
        message_limit_bytes: limits.message_bytes,
        outbox_limit_bytes: limits.outbox_bytes,
        held_limit_bytes: limits.held_bytes / shards,
        handshakes_max: (limits.handshakes / shards).max(1) as u64,
        handshake_ms: timing.handshake_ms,
        ping_ms: timing.ping_ms,
        idle_ms: timing.idle_ms,
        close_ms: timing.close_ms,
        drain_ms: timing.drain_ms,
        spin_us: config.ring.spin_us,
        origins: config.origins.clone(),
    }
}

/// One shard's part of what may wait for the broker.
pub(super) fn pending_bytes(config: &Config) -> usize {
    config.limits.broker_pending_bytes / config.cores.len()
}

/// One shard's part of the accept rate; the first ones carry the remainder.
pub(super) fn upgrades_per_second(config: &Config, index: usize) -> u32 {
    let (rate, shards) = (config.limits.accepts_per_second, config.cores.len());
    (rate / shards + usize::from(index < rate % shards)).max(1) as u32
}
