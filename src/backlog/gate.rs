//! ▢ The gate of one route: closed at one depth, open again at a lower one.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use super::{GateConfig, queue::QueueState};
use crate::{
    limits::{NEWCOMER_MS, QUEUE_RETRY_MAX_S, RETRY_AFTER_S},
    ws::Refusal,
};

/// Depths between which a gate stays as it is; `low < high`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Marks {
    /// Closes at this many tasks.
    pub high: u64,
    /// Opens under this many.
    pub low: u64,
}

impl Marks {
    /// Whether a gate is closed at this depth that `was_closed` before.
    pub fn closes(self, was_closed: bool, depth: u64) -> bool {
        depth >= if was_closed { self.low } else { self.high }
    }
}

/// The gate of one route, shared by all shards.
#[derive(Debug)]
pub struct Gate {
    route: String,
    queue: Arc<QueueState>,
    marks: Marks,
    require_workers: bool,
    closed: AtomicBool,
}

impl Gate {
    /// An open one, before the queue that `config` names.
    pub fn new(queue: Arc<QueueState>, config: &GateConfig) -> Self {
        let GateConfig { route, marks, require_workers, .. } = config.clone();
        Self { route, queue, marks, require_workers, closed: AtomicBool::new(false) }
    }

    /// Path of the route.
    pub fn route(&self) -> &str {
        &self.route
    }

    /// The queue behind it.
    pub fn queue(&self) -> &QueueState {
        &self.queue
    }

    /// Whether new connections are refused for the depth of the queue.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    /// Whether the route requires workers, and the last reading found none.
    pub fn lacks_workers(&self) -> bool {
        self.require_workers && self.queue.workers() == Some(0)
    }

    /// Lets in one connection, which `expected` tasks are expected of from then on.
    ///
    /// # Errors
    /// Why not; nothing is expected then.
    pub fn admit(&self, expected: u32, now_ms: u64) -> Result<(), Refusal> {
        if self.queue.is_stale(now_ms) {
            return Err(Refusal::broker_unavailable());
        }
        if self.lacks_workers() {
            return Err(Refusal::no_workers());
        }
        // Counted first and taken back on refusal: two shards that look at the same moment
        // see each other's newcomer.
        let others = self.queue.expect(expected);
        let depth = self.queue.waiting().saturating_add(others);
        if self.settle(depth) {
            self.queue.release(expected);
            return Err(Refusal::queue_full(self.retry_after_s()));
        }
        Ok(())
    }

    /// Opens or closes with what is known now.
    pub fn look(&self) {
        self.settle(self.queue.waiting().saturating_add(self.queue.expected()));
    }

    /// Closed, or not, at this depth.
    fn settle(&self, depth: u64) -> bool {
        let was_closed = self.closed.load(Relaxed);
        let closed = self.marks.closes(was_closed, depth);
        if closed != was_closed && self.closed.swap(closed, Relaxed) != closed {
            let (route, Marks { high, low }) = (&self.route, self.marks);
            if closed {
                log::warn!("{route}: refuses clients, {depth} tasks and queue_high = {high}");
            } else {
                log::info!("{route}: open again, {depth} tasks and queue_low = {low}");
            }
        }
        closed
    }

    /// When the queue should be under the low mark: at the rate at which it has drained of
    /// late, at least the second of newcomers, at most [`QUEUE_RETRY_MAX_S`].
    fn retry_after_s(&self) -> u32 {
        let waiting = self.queue.waiting();
        let Some(excess) = waiting.checked_sub(self.marks.low) else {
            return u32::try_from(NEWCOMER_MS.div_ceil(1000)).unwrap_or(RETRY_AFTER_S);
        };
        match self.queue.drain_ms(excess + 1) {
            Some(ms) => {
                u32::try_from(ms.div_ceil(1000)).unwrap_or(u32::MAX).clamp(1, QUEUE_RETRY_MAX_S)
            }
            None => RETRY_AFTER_S,
        }
    }
}
