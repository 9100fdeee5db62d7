//! New settings for a running shard: taken on a tick, without a connection noticing.
//!
//! They come over a lane of one place that is looked at once a tick, so that the data path
//! has neither a lock nor a look for them. What is under way keeps what it was begun with:
//! timers that run fire when they were to, and see the new periods then.

use crossbeam_channel::Sender;

use super::{Handler, Shard, ShardOptions};

/// What one shard is to take over.
#[derive(Debug)]
pub struct Reload {
    /// All of them, changed or not; `spin_us` is read at the start only.
    pub options: ShardOptions,
    /// This shard's share of the accept rate.
    pub upgrades_per_second: u32,
    /// This shard's share of what may wait for the broker.
    pub pending_bytes: usize,
    /// How long a client may take to read a full outbox.
    pub unread_ms: u64,
    /// Told once it is in force.
    pub done: Sender<()>,
}

impl Shard {
    /// Takes over what has come since the last tick.
    pub(super) fn take_reload(&mut self) {
        let Ok(reload) = self.reloads.try_recv() else { return };
        let Reload { options, upgrades_per_second, pending_bytes, unread_ms, done } = reload;
        let outbox_bytes = options.outbox_limit_bytes;
        self.wire.set_bounds(outbox_bytes, options.close_ms);
        self.admission.set_rate(upgrades_per_second);
        self.broker.set_pending_bytes(pending_bytes);
        for route in &mut self.routes {
            match &mut route.handler {
                Handler::Tasks(tasks) => tasks.set_unread(outbox_bytes, unread_ms),
                Handler::Raw(tasks) => tasks.set_unread(outbox_bytes, unread_ms),
                Handler::Topics(topics) => topics.set_message_bytes(options.message_limit_bytes),
                Handler::Echo => {}
            }
        }
        self.options = options;
        // Who asked may have given up waiting.
        let _ = done.try_send(());
    }
}
