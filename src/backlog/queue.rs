//! ▢ What every shard knows of one queue: the last reading, and what has happened since.
//!
//! Read by every shard at each admission, written by whoever has an answer of the broker.
//! Pushes are counted by each shard alone, in counters of its own, so that a chunk costs
//! no shared cache line; only admissions add them up.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

use crate::{
    broker::{Backlog, Queue},
    limits::{QUEUE_DRAIN_MEMORY_MS, QUEUE_READ_MS, QUEUE_READ_SLACK_MS, QUEUE_STALE_MS},
    metrics::Counter,
};

/// One queue, as this process knows it.
#[derive(Debug)]
pub struct QueueState {
    queue: Queue,
    wants_workers: bool,
    shards: Box<[Pushes]>,
    /// Depth in the upper half, and in the lower one the pushes that had been answered when
    /// it was asked for; both modulo 2^32. In one word, because they mean nothing apart.
    reading: AtomicU64,
    /// Readings so far.
    reads: AtomicU64,
    failed: AtomicU64,
    late: AtomicU64,
    /// When the last reading was asked for, or since when one is waited for.
    fresh_ms: AtomicU64,
    /// From when on the next one may be asked for.
    next_read_ms: AtomicU64,
    /// Tasks that newcomers are expected to bring.
    expected: AtomicU64,
    /// Live workers plus one; zero while that is not known.
    workers: AtomicU64,
    drained: AtomicU64,
    drained_over_ms: AtomicU64,
}

/// One shard's pushes to a queue. The shard is the only writer.
#[derive(Default, Debug)]
#[repr(align(64))]
pub struct Pushes {
    /// Handed to the broker.
    pub submitted: Counter,
    /// Of these, those that it has answered.
    pub answered: Counter,
}

/// How readings went, for the metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadCounts {
    /// Answered.
    pub read: u64,
    /// Answered with an error.
    pub failed: u64,
    /// Turns that a shard let pass because its last question was still open.
    pub late: u64,
}

/// A question that is on its way: when it was asked, and what it is sure to include.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Asked {
    at_ms: u64,
    answered: u32,
}

impl QueueState {
    /// A queue of which nothing is known: as if it were empty, until it was read.
    pub fn new(queue: Queue, wants_workers: bool, shards: usize) -> Self {
        Self {
            queue,
            wants_workers,
            shards: (0..shards).map(|_| Pushes::default()).collect(),
            reading: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            late: AtomicU64::new(0),
            fresh_ms: AtomicU64::new(0),
            next_read_ms: AtomicU64::new(0),
            expected: AtomicU64::new(0),
            workers: AtomicU64::new(0),
            drained: AtomicU64::new(0),
            drained_over_ms: AtomicU64::new(0),
        }
    }

    /// Where the tasks wait.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Whether some route wants to know who works.
    pub fn wants_workers(&self) -> bool {
        self.wants_workers
    }

    /// The counters of shard number `shard`.
    ///
    /// # Panics
    /// There are fewer shards.
    pub fn pushes(&self, shard: usize) -> &Pushes {
        &self.shards[shard]
    }

    /// The depth that was last read; `None` before the first reading.
    pub fn depth(&self) -> Option<u64> {
        (self.reads.load(Acquire) > 0).then(|| unpack(self.reading.load(Acquire)).0.into())
    }

    /// Live workers, where that is asked for and known.
    pub fn workers(&self) -> Option<u64> {
        self.workers.load(Relaxed).checked_sub(1)
    }

    /// How readings went so far.
    pub fn counts(&self) -> ReadCounts {
        let get = |count: &AtomicU64| count.load(Relaxed);
        ReadCounts { read: get(&self.reads), failed: get(&self.failed), late: get(&self.late) }
    }

    /// Time since the last reading was asked for, or since one is waited for.
    pub fn age_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.fresh_ms.load(Relaxed))
    }

    /// Whether the depth has been unknown for too long.
    pub fn is_stale(&self, now_ms: u64) -> bool {
        self.age_ms(now_ms) > QUEUE_STALE_MS
    }

    /// Tasks in the queue for all that this node knows: the last reading, and every push
    /// that may be missing from it.
    pub fn waiting(&self) -> u64 {
        let (depth, included) = unpack(self.reading.load(Acquire));
        let submitted = self.total(|pushes| &pushes.submitted);
        // Another shard's counter may be seen later than the reading that includes it.
        let since = (submitted.wrapping_sub(included) as i32).max(0);
        u64::from(depth) + since as u64
    }

    /// Tasks that newcomers are expected to bring.
    pub fn expected(&self) -> u64 {
        self.expected.load(Relaxed)
    }

    /// Expects `tasks` more. What had been expected before.
    pub fn expect(&self, tasks: u32) -> u64 {
        self.expected.fetch_add(tasks.into(), AcqRel)
    }

    /// Expects `tasks` less: they have come, or will not.
    pub fn release(&self, tasks: u32) {
        if tasks > 0 {
            let before = self.expected.fetch_sub(tasks.into(), AcqRel);
            debug_assert!(before >= tasks.into(), "more released than was expected");
        }
    }

    /// Takes the turn at asking, if it is due. One shard gets it.
    pub fn take_turn(&self, now_ms: u64) -> Option<Asked> {
        let due_ms = self.next_read_ms.load(Relaxed);
        let next_ms = now_ms.saturating_add(QUEUE_READ_MS - QUEUE_READ_SLACK_MS);
        let taken = now_ms >= due_ms
            && self.next_read_ms.compare_exchange(due_ms, next_ms, Relaxed, Relaxed).is_ok();
        taken.then(|| Asked { at_ms: now_ms, answered: self.total(|pushes| &pushes.answered) })
    }

    /// A shard let its turn pass.
    pub fn on_late(&self) {
        self.late.fetch_add(1, Relaxed);
    }

    /// The broker could not say.
    pub fn on_failed(&self) {
        self.failed.fetch_add(1, Relaxed);
    }

    /// The answer to a question. An older one than the last is not news.
    pub fn on_reading(&self, asked: Asked, backlog: &Backlog) {
        self.workers.store(backlog.workers.map_or(0, |count| count.saturating_add(1)), Relaxed);
        let before_ms = self.fresh_ms.fetch_max(asked.at_ms, AcqRel);
        if before_ms > asked.at_ms && self.reads.load(Acquire) > 0 {
            return;
        }
        let depth = u32::try_from(backlog.depth).unwrap_or(u32::MAX);
        let before = self.reading.swap(pack(depth, asked.answered), AcqRel);
        if self.reads.fetch_add(1, Release) > 0 {
            self.learn_drain(before, depth, asked, asked.at_ms.saturating_sub(before_ms));
        }
    }

    /// Since now, at the earliest, the depth counts as unknown.
    pub fn be_patient(&self, now_ms: u64) {
        self.fresh_ms.fetch_max(now_ms, Relaxed);
    }

    /// How long workers need for so many tasks at their present rate, in milliseconds.
    /// `None` while the rate is not known, or none.
    pub fn drain_ms(&self, tasks: u64) -> Option<u64> {
        let over_ms = self.drained_over_ms.load(Relaxed);
        tasks.saturating_mul(over_ms).checked_div(self.drained.load(Relaxed))
    }

    /// What left the queue between two readings: work done. Only while there was some to
    /// do, or the rate would be that of the clients.
    fn learn_drain(&self, before: u64, depth: u32, asked: Asked, over_ms: u64) {
        let (depth_before, answered_before) = unpack(before);
        if depth_before == 0 || over_ms == 0 {
            return;
        }
        let pushed = asked.answered.wrapping_sub(answered_before) as i32;
        let left = i64::from(depth_before) + i64::from(pushed.max(0)) - i64::from(depth);
        let drained = self.drained.load(Relaxed).saturating_add(left.max(0) as u64);
        let over_ms = self.drained_over_ms.load(Relaxed).saturating_add(over_ms);
        // Halving both keeps the rate and lets the past fade.
        let fade = u64::from(over_ms > QUEUE_DRAIN_MEMORY_MS);
        self.drained.store(drained >> fade, Relaxed);
        self.drained_over_ms.store(over_ms >> fade, Relaxed);
    }

    fn total(&self, which: impl Fn(&Pushes) -> &Counter) -> u32 {
        let counts = self.shards.iter().map(|pushes| which(pushes).get());
        counts.fold(0, |sum, count| sum.wrapping_add(count as u32))
    }
}

fn pack(depth: u32, answered: u32) -> u64 {
    u64::from(depth) << 32 | u64::from(answered)
}

fn unpack(reading: u64) -> (u32, u32) {
    ((reading >> 32) as u32, reading as u32)
}
