//! ▢ The settings of one tasks route.

use std::sync::Arc;

use super::Tasks;
use crate::broker::Queue;

/// Settings of a tasks route on one shard. Every number is at least one; zero counts as
/// one where it would stop everything.
#[derive(Clone, Debug)]
pub struct TasksConfig {
    /// Where tasks are appended. The workers must read the same.
    pub queue: Queue,
    /// The channel on which workers publish the results of all sessions; it goes with each
    /// task. The shard's own. `None`: a channel for each session.
    pub reply_to: Option<Arc<str>>,
    /// How long a chunk waits for its answer, from its acceptance by the broker.
    pub chunk_deadline_ms: u64,
    /// How long a session waits for its answers after `finish`.
    pub finish_deadline_ms: u64,
    /// How long a session lives on without its connection; 0: it ends with it.
    pub resume_ms: u64,
    /// Sessions without a connection that one shard keeps; past it the one that was left
    /// first ends.
    pub detached_per_shard: u32,
    /// Unanswered chunks of a session beyond which its socket is not read.
    pub inflight: u32,
    /// Sessions that one connection can have at once.
    pub sessions_per_connection: u32,
    /// Sessions that one shard can have at once, over all connections; at most
    /// [`SESSIONS_MAX`](super::SESSIONS_MAX).
    pub sessions_per_shard: u32,
    /// Different chunk indexes that one session can have; at most
    /// [`CHUNKS_MAX`](super::CHUNKS_MAX). Each costs about 64 bytes besides its text.
    pub chunks_per_session: u32,
    /// Bytes of result texts kept for a session's merge. A result past it is delivered,
    /// but missing in the final text, which then says so.
    pub session_text_bytes: usize,
    /// Bytes of result texts kept over all sessions of the shard. Past it detached
    /// sessions end, the one that was left first before the others; with none left it is
    /// as with `session_text_bytes`.
    pub text_bytes_per_shard: usize,
    /// Unsent bytes of a client at which its results wait in their sessions.
    pub outbox_bytes: usize,
    /// How long a client may take to read `outbox_bytes`; past it close 4008.
    pub unread_ms: u64,
    /// Put between two texts of the merge.
    pub merge_separator: String,
}

impl Default for TasksConfig {
    fn default() -> Self {
        Self {
            queue: Queue::List { key: "asr_chunk_queue".into() },
            reply_to: None,
            chunk_deadline_ms: 60_000,
            finish_deadline_ms: 60_000,
            resume_ms: 60_000,
            detached_per_shard: 50_000,
            inflight: 1_024,
            sessions_per_connection: 16,
            sessions_per_shard: 250_000,
            chunks_per_session: 100_000,
            session_text_bytes: 16 << 20,
            text_bytes_per_shard: 256 << 20,
            outbox_bytes: 256 << 10,
            unread_ms: 10_000,
            merge_separator: " ".into(),
        }
    }
}

impl Tasks {
    /// Other bounds of clients that are behind with reading, for what they are told from
    /// now on.
    pub fn set_unread(&mut self, outbox_bytes: usize, unread_ms: u64) {
        let config = Arc::make_mut(&mut self.config);
        (config.outbox_bytes, config.unread_ms) = (outbox_bytes, unread_ms);
    }
}
