//! ▢ What a raw session has for a client that may not be told yet: it is away or behind, or
//! its session is not open.
//!
//! Bounded per session and per shard. Past a bound what comes is dropped until the client
//! has had the rest, so that it misses one stretch and knows where.

use std::collections::VecDeque;

use super::context::Context;
use super::reply::Frame;
use crate::limits::{RAW_KEPT_FRAME_BYTES, RAW_KEPT_SHARD_BYTES};

/// One message that is kept.
#[derive(Debug)]
pub struct KeptFrame {
    /// As it will be sent.
    pub frame: Frame,
    /// A worker's result, and no message of the gateway.
    pub is_result: bool,
}

impl KeptFrame {
    fn cost_bytes(&self) -> usize {
        self.frame.len().saturating_add(RAW_KEPT_FRAME_BYTES)
    }
}

/// Messages in the order in which they will be sent.
#[derive(Default, Debug)]
pub struct Kept {
    frames: VecDeque<KeptFrame>,
    bytes: usize,
    lost: u64,
}

impl Kept {
    /// Whether there is something to tell.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.lost == 0
    }

    /// Whether something had to be dropped, of which the client has not been told.
    pub fn has_lost(&self) -> bool {
        self.lost > 0
    }

    /// Keeps a message, or drops it and counts it.
    pub fn keep(&mut self, kept: KeptFrame, cx: &mut Context<'_>) {
        let cost_bytes = kept.cost_bytes();
        let session_bytes = self.bytes.saturating_add(cost_bytes);
        let shard_bytes = cx.metrics.kept_bytes.get().saturating_add(cost_bytes as u64);
        let fits = session_bytes <= cx.config.kept_bytes && shard_bytes <= RAW_KEPT_SHARD_BYTES;
        if self.lost > 0 || !fits {
            self.lost += 1;
            cx.metrics.results.lost.add(u64::from(kept.is_result));
            return;
        }
        self.bytes = session_bytes;
        cx.metrics.kept_bytes.add(cost_bytes as u64);
        self.frames.push_back(kept);
    }

    /// Takes the next message out.
    pub fn take_next(&mut self, cx: &mut Context<'_>) -> Option<KeptFrame> {
        let kept = self.frames.pop_front()?;
        let cost_bytes = kept.cost_bytes();
        self.bytes -= cost_bytes;
        cx.metrics.kept_bytes.sub(cost_bytes as u64);
        Some(kept)
    }

    /// How many messages are missing after those that were kept; they are told now.
    pub fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// What it counts for in the shard's gauge.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many results there are.
    pub fn results(&self) -> u64 {
        self.frames.iter().filter(|kept| kept.is_result).count() as u64
    }

    /// The client will not be told: results count as lost.
    pub fn abandon(&mut self, cx: &mut Context<'_>) {
        while let Some(kept) = self.take_next(cx) {
            cx.metrics.results.lost.add(u64::from(kept.is_result));
        }
    }
}
