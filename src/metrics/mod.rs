//! Counters and gauges of the data path.
//!
//! Each shard owns one [`ShardMetrics`] and is its only writer, so that counting is a
//! plain load and store: no lock prefix, no shared cache line. The admin thread reads.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

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
}

/// The tasks route (`ringgate_sessions`, `ringgate_chunks_total`, …).
#[derive(Default, Debug)]
pub struct TaskMetrics {
    /// Sessions between their start and their end.
    pub sessions: Gauge,
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
    /// Bytes of commands that wait for their answer.
    pub pending_bytes: Gauge,
}
