//! Counters and gauges of the data path.
//!
//! Each shard owns one [`ShardMetrics`] and is its only writer, so that counting is a
//! plain load and store: no lock prefix, no shared cache line. The admin thread reads.

pub mod embedded;
mod histogram;
pub mod process;
pub mod prometheus;
pub mod queues;
pub mod topics;

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

pub use self::{histogram::Histogram, topics::TopicMetrics};
use crate::{router::Lane, topics::sessions, ws::CloseCode};

/// A count that only grows. One writer, any number of readers.
#[derive(Default, Debug)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`. Only the owning shard may call it: the sum of two writers would be lost.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A value that rises and falls. One writer, any number of readers.
#[derive(Default, Debug)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Adds one.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// Takes one away.
    #[inline]
    pub fn dec(&self) {
        self.sub(1);
    }

    /// Adds `n`.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Takes `n` away; below zero is a bug that a debug build reports.
    #[inline]
    pub fn sub(&self, n: u64) {
        let was = self.0.load(Relaxed);
        debug_assert!(was >= n, "gauge below zero: {was} - {n}");
        self.0.store(was.saturating_sub(n), Relaxed);
    }

    /// Replaces the value.
    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// The value now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What became of a worker's result (`ringgate_results_total{outcome}`).
#[derive(Default, Debug)]
pub struct ResultCounters {
    /// Sent to the client that owns the session.
    pub delivered: Counter,
    /// Its chunk had been answered already.
    pub duplicate: Counter,
    /// No session, or no chunk of that index.
    pub orphaned: Counter,
    /// Sent, but after its chunk had been given up.
    pub late: Counter,
    /// Not the JSON of a result.
    pub malformed: Counter,
    /// There was no room to keep it for its client, or the client did not come back for it
    /// (raw dialect).
    pub lost: Counter,
}

/// The tasks route (`ringgate_sessions`, `ringgate_chunks_total`, …).
#[derive(Default, Debug)]
pub struct TaskMetrics {
    /// Sessions between their start and their end.
    pub sessions: Gauge,
    /// Those of them that have lost their connection and may be taken over.
    pub sessions_detached: Gauge,
    /// Sessions taken over by another connection.
    pub sessions_resumed: Counter,
    /// Detached sessions that nobody took over in time.
    pub resume_expired: Counter,
    /// Detached sessions that ended early, to make room.
    pub resume_evicted: Counter,
    /// Bytes of result texts that sessions keep.
    pub text_bytes: Gauge,
    /// Sessions ended with every chunk answered.
    pub sessions_complete: Counter,
    /// Sessions ended with a final result that lacks chunks.
    pub sessions_partial: Counter,
    /// Sessions that ended without a final result (the client left, or the start failed).
    pub sessions_abandoned: Counter,
    /// Chunks accepted from clients, without repeats.
    pub chunks: Counter,
    /// Chunks that a client sent again.
    pub chunks_repeated: Counter,
    /// Chunks given up at their deadline.
    pub chunks_expired: Counter,
    /// Acks sent, of starts and of chunks.
    pub acks: Counter,
    /// Error messages sent to clients.
    pub errors: Counter,
    /// Results by outcome.
    pub results: ResultCounters,
    /// Bytes kept for clients that are behind or away (raw dialect).
    pub kept_bytes: Gauge,
    /// Sessions claimed from other shards and not here yet.
    pub claims: Gauge,
    /// Clients that were told `busy` because their claim took too long.
    pub claims_timed_out: Counter,
    /// Sessions that came from another shard.
    pub sessions_moved_in: Counter,
    /// Sessions that went to another shard.
    pub sessions_moved_out: Counter,
    /// Sessions whose owner is in the books of this shard.
    pub directory: Gauge,
    /// Sessions that have left and whose results are sent after them.
    pub forwards: Gauge,
    /// Sessions whose results are not, for lack of room.
    pub forwards_refused: Counter,
    /// Results that were sent after their session.
    pub results_forwarded: Counter,
    /// Bytes that clients said while they wait for a claim.
    pub held_bytes: Gauge,
}

/// The shard's broker (`ringgate_broker_…`, `ringgate_redis_…`).
#[derive(Default, Debug)]
pub struct BrokerMetrics {
    /// 1 while commands are carried out.
    pub up: Gauge,
    /// Subscriptions in force or asked for.
    pub subscriptions: Gauge,
    /// Connections to Redis made after the first.
    pub reconnects: Counter,
    /// Commands refused by the broker or for lack of room.
    pub failed: Counter,
    /// Times that commands were handed to the socket of Redis, each time all that were due:
    /// commands by writes is how deep the pipeline is.
    pub writes: Counter,
    /// Bytes of commands that wait for their answer.
    pub pending_bytes: Gauge,
    /// Why it is away, for `/readyz`.
    pub down_reason: Reason,
    /// 1 once a message of the link to itself has come through Redis pub/sub on the present
    /// connection; 0 without topics routes, which alone need it.
    pub canary: Gauge,
    /// Times that it was sent again: it did not come, or was refused.
    pub canary_retries: Counter,
    /// Why it has not come, where that is known, for `/readyz`.
    pub canary_reason: Reason,
    /// The upkeep of streams; of one shard of the process, zero on the others.
    pub streams: StreamMetrics,
}

/// The upkeep of streams (`ringgate_stream_…`).
#[derive(Default, Debug)]
pub struct StreamMetrics {
    /// Tasks of dead workers that were queued again.
    pub requeued: Counter,
    /// Entries that are no task, acknowledged so that they are not handed out for ever.
    pub malformed: Counter,
    /// Tasks that had been queued again too often, acknowledged without an answer.
    pub abandoned: Counter,
    /// Acknowledged entries that were trimmed.
    pub trimmed: Counter,
}

/// A text for people that changes a few times a day: behind a lock, which is not on the
/// data path.
#[derive(Default, Debug)]
pub struct Reason(Mutex<String>);

impl Reason {
    /// Replaces the text.
    pub fn set(&self, text: &str) {
        let mut reason = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reason.clear();
        reason.push_str(text);
    }

    /// There is no reason any more.
    pub fn clear(&self) {
        self.set("");
    }

    /// The text, if there is one.
    pub fn get(&self) -> Option<String> {
        let reason = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (!reason.is_empty()).then(|| reason.clone())
    }
}

/// Why a request was refused before the upgrade (`ringgate_refused_total{reason}`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum Refused {
    /// 400.
    BadHandshake,
    /// 403: the origin is not allowed.
    Origin,
    /// 404.
    NotFound,
    /// 405.
    Method,
    /// 408.
    Slow,
    /// 426.
    Version,
    /// 431.
    HeaderTooLarge,
    /// 503: `connections` reached.
    ConnectionLimit,
    /// 503: `accepts_per_second` reached.
    AcceptRate,
    /// 503: the broker is away.
    BrokerUnavailable,
    /// 503: more tasks wait than `queue_high`.
    QueueFull,
    /// 503: no worker is there.
    NoWorkers,
    /// 503: the gateway is draining.
    Draining,
    /// No answer: closed at once, more sockets in their handshake than `handshakes`.
    HandshakeLimit,
}

impl Refused {
    /// Every reason, in the order of their discriminants.
    pub const ALL: [Self; 14] = [
        Self::BadHandshake,
        Self::Origin,
        Self::NotFound,
        Self::Method,
        Self::Slow,
        Self::Version,
        Self::HeaderTooLarge,
        Self::ConnectionLimit,
        Self::AcceptRate,
        Self::BrokerUnavailable,
        Self::QueueFull,
        Self::NoWorkers,
        Self::Draining,
        Self::HandshakeLimit,
    ];

    /// The metric label, and the `code` of the JSON answer.
    pub const fn label(self) -> &'static str {
        match self {
            Self::BadHandshake => "bad_handshake",
            Self::Origin => "origin",
            Self::NotFound => "not_found",
            Self::Method => "method_not_allowed",
            Self::Slow => "handshake_timeout",
            Self::Version => "unsupported_version",
            Self::HeaderTooLarge => "header_too_large",
            Self::ConnectionLimit => "connection_limit",
            Self::AcceptRate => "accept_rate",
            Self::BrokerUnavailable => "broker_unavailable",
            Self::QueueFull => "queue_full",
            Self::NoWorkers => "no_workers",
            Self::Draining => "draining",
            Self::HandshakeLimit => "handshake_limit",
        }
    }
}

/// The sockets of the public port.
#[derive(Default, Debug)]
pub struct ConnectionMetrics {
    /// 1 while the shard's listener is open; `/readyz` asks for it.
    pub listening: Gauge,
    /// WebSockets between their upgrade and the end of their socket.
    pub open: Gauge,
    /// Sockets that have not been upgraded (yet).
    pub handshaking: Gauge,
    /// Sockets accepted.
    pub accepted: Counter,
    /// Accepts that failed, and times accepting was paused for lack of descriptors.
    pub accept_errors: Counter,
    /// WebSockets upgraded.
    pub upgraded: Counter,
    refused: [Counter; Refused::ALL.len()],
    closed: [Counter; CloseCode::ALL.len()],
    /// Data messages from clients.
    pub messages_in: Counter,
    /// Data messages to clients.
    pub messages_out: Counter,
    /// Bytes read from client sockets.
    pub bytes_in: Counter,
    /// Bytes written to client sockets.
    pub bytes_out: Counter,
    /// Heartbeat pings sent.
    pub pings: Counter,
    /// Bytes waiting in outboxes.
    pub outbox_bytes: Gauge,
    /// Bytes of partial frames and fragmented messages.
    pub held_bytes: Gauge,
    /// Times a socket was not read because its client was too far ahead.
    pub pauses: Counter,
}

impl ConnectionMetrics {
    /// The count of one refusal reason.
    pub fn refused(&self, reason: Refused) -> &Counter {
        &self.refused[reason as usize]
    }

    /// The count of one close code.
    pub fn closed(&self, code: CloseCode) -> &Counter {
        &self.closed[code as usize]
    }
}

/// The ring engine (`ringgate_ring_…`).
#[derive(Default, Debug)]
pub struct RingMetrics {
    /// Turns of the loop.
    pub turns: Counter,
    /// Completions handled.
    pub completions: Counter,
    /// `io_uring_enter` calls.
    pub enters: Counter,
    /// Times the loop went to sleep.
    pub parks: Counter,
    /// Readable sockets that had to wait for a receive buffer.
    pub buffer_waits: Counter,
    /// Completions that the kernel had to keep aside because the queue was full.
    pub overflows: Counter,
}

/// The lanes to and from the other shards (`ringgate_router_…`), by kind of lane.
#[derive(Default, Debug)]
pub struct RouterMetrics {
    /// Messages put into a lane.
    pub sent: [Counter; Lane::COUNT],
    /// Messages taken out of a lane.
    pub received: [Counter; Lane::COUNT],
    /// Messages that their sender got back, the lane being full.
    pub full: [Counter; Lane::COUNT],
    /// Times that a peer was told of a batch.
    pub wakes: Counter,
    /// Messages that wait for a full lane.
    pub waiting: Gauge,
    /// Messages that could not be sent: results past the limit, and whatever was for a
    /// shard that has ended.
    pub undelivered: Counter,
}

/// Sessions of topics (`ringgate_topic_sessions…`). Those at home on the shard, whichever shard
/// was asked; refusals by the shard that was.
#[derive(Default, Debug)]
pub struct TopicSessionMetrics {
    /// Sessions without a WebSocket so far.
    pub waiting: Gauge,
    /// Sessions that have their WebSocket.
    pub connected: Gauge,
    /// Bytes that they cost.
    pub bytes: Gauge,
    /// Sessions made.
    pub created: Counter,
    /// Sessions taken by a WebSocket.
    pub used: Counter,
    /// Sessions that were not used in time.
    pub expired: Counter,
    /// Sessions deleted, used or not.
    pub deleted: Counter,
    /// Sessions whose client had left before it was told of them.
    pub abandoned: Counter,
    refused: [Counter; sessions::Refused::ALL.len()],
}

impl TopicSessionMetrics {
    /// The count of one reason for refusing a request about a session.
    pub fn refused(&self, reason: sessions::Refused) -> &Counter {
        &self.refused[reason as usize]
    }
}

/// All of one shard.
#[derive(Default, Debug)]
pub struct ShardMetrics {
    /// Sockets of the public port.
    pub connections: ConnectionMetrics,
    /// The tasks route.
    pub tasks: TaskMetrics,
    /// The topics routes.
    pub topics: TopicMetrics,
    /// The shard's broker.
    pub broker: BrokerMetrics,
    /// The ring engine.
    pub ring: RingMetrics,
    /// Lanes to and from the other shards.
    pub router: RouterMetrics,
    /// Sessions of topics.
    pub topic_sessions: TopicSessionMetrics,
}
