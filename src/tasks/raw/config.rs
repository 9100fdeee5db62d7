//! ▢ The settings of one route of the raw dialect.

use std::sync::Arc;

use super::RawTasks;
use crate::{broker::Queue, limits};

/// Settings of a raw route, the same on every shard. Every number is at least one; zero
/// counts as one where it would stop everything.
#[derive(Clone, Debug)]
pub struct RawConfig {
    /// Where tasks are appended. The workers must read the same.
    pub queue: Queue,
    /// The channel on which workers publish the results of all raw sessions of the shard;
    /// it goes with each task. `None`: a channel for each session.
    pub reply_to: Option<Arc<str>>,
    /// How long a task may take until its `done`, from its acceptance by the broker.
    pub task_deadline_ms: u64,
    /// Unfinished tasks of a session at which its socket is not read.
    pub inflight: u32,
    /// Sessions that one shard can have at once, those included whose client is away; at
    /// most [`SESSIONS_MAX`](crate::tasks::SESSIONS_MAX).
    pub sessions_per_shard: u32,
    /// How long a session waits for its client to come back; 0: it does not.
    pub resume_ms: u64,
    /// Sessions whose client is away that one shard keeps; past it the one that was left
    /// first ends.
    pub detached_per_shard: u32,
    /// Bytes with which a client may be behind before its messages wait in the session.
    pub unread_bytes: usize,
    /// How long a client may take to read as much; past it close 4008.
    pub unread_ms: u64,
    /// Bytes that wait in a session for a client that is behind or away. Past it a client
    /// that is behind is closed, and what comes for one that is away is dropped.
    pub kept_bytes: usize,
}

impl Default for RawConfig {
    fn default() -> Self {
        Self {
            queue: Queue::List { key: "raw_task_queue".into() },
            reply_to: None,
            task_deadline_ms: 60_000,
            inflight: 64,
            sessions_per_shard: 100_000,
            resume_ms: 60_000,
            detached_per_shard: 50_000,
            unread_bytes: 256 << 10,
            unread_ms: 10_000,
            kept_bytes: 4 << 20,
        }
    }
}

impl RawConfig {
    /// Sets the bounds of clients that are behind with reading.
    pub fn set_unread(&mut self, outbox_bytes: usize, unread_ms: u64) {
        (self.unread_bytes, self.unread_ms) = (outbox_bytes, unread_ms);
        self.kept_bytes = outbox_bytes.saturating_mul(limits::RAW_KEPT_OUTBOXES);
    }
}

impl RawTasks {
    /// Likewise, of a route that is open, for what its clients are told from now on.
    pub fn set_unread(&mut self, outbox_bytes: usize, unread_ms: u64) {
        Arc::make_mut(&mut self.config).set_unread(outbox_bytes, unread_ms);
    }
}
