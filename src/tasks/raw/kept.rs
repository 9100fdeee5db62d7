//! ▢ What a raw session has for a client that may not be told yet: it is away, or its
//! session is not open.
//!
//! Bounded per session and per shard. Past a bound what comes is dropped until the client
//! is back, so that it misses one stretch at the end and none in between.

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

    /// Keeps a message, or drops it and counts it.
    pub fn keep(&mut self, kept: KeptFrame, cx: &mut Context<'_>) {
        let cost_bytes = kept.frame.len().saturating_add(RAW_KEPT_FRAME_BYTES);
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

    /// Takes everything out: the messages, and how many are missing after them.
    pub fn take(&mut self, cx: &mut Context<'_>) -> (VecDeque<KeptFrame>, u64) {
        let Self { frames, bytes, lost } = std::mem::take(self);
        cx.metrics.kept_bytes.sub(bytes as u64);
        (frames, lost)
    }
}
