//! The handshake between a shard that goes to sleep and whoever has something for it.
//!
//! Lock-free and ours, so every interleaving of it is tested: `tests/wakeups.rs` includes
//! this file with loom's atomics in place of `super::atomic`.

use super::atomic::{AtomicBool, Ordering::Relaxed, Ordering::SeqCst, fence};

/// Whether a shard sleeps, or is about to.
///
/// The sender makes its message visible, fences, and looks at the flag; the sleeper sets
/// the flag, fences, and looks for messages. Of two fences one is the first: either the
/// sender sees the flag, or the sleeper sees the message. Every change is a swap, so that
/// the changes form one chain in which each has seen the one before; the sleeper's are rare.
#[derive(Debug)]
pub struct SleepFlag(AtomicBool);

impl SleepFlag {
    /// Of a shard that is awake.
    pub fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Sender, after its message is visible. `true`: the shard sleeps, and this sender is
    /// the one that must signal it.
    pub fn must_signal(&self) -> bool {
        fence(SeqCst);
        // The load first: a shard that is awake keeps the line shared with its senders.
        self.0.load(Relaxed) && self.0.swap(false, Relaxed)
    }

    /// Sleeper: it must look for messages afterwards, and may wait only if there are none.
    pub fn announce_sleep(&self) {
        self.0.swap(true, Relaxed);
        fence(SeqCst);
    }

    /// Sleeper: nobody needs to signal from now on.
    pub fn announce_awake(&self) {
        self.0.swap(false, Relaxed);
    }
}
