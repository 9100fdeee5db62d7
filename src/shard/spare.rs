//! ▢ Outboxes of connections that have nothing to send, kept for the next ones that do.
//!
//! A message to thousands of connections needs as many outboxes for some milliseconds, so
//! they are bounded by their memory rather than by their number.

use crate::{limits, outbox::Outbox};

/// The pool of one shard. The last one given back is the first to be taken: it is still in
/// the cache.
#[derive(Default, Debug)]
pub(super) struct SpareOutboxes {
    #[expect(clippy::vec_box, reason = "a connection takes the box, not what is in it")]
    outboxes: Vec<Box<Outbox>>,
    bytes: usize,
}

impl SpareOutboxes {
    /// An outbox with nothing in it.
    pub fn take(&mut self) -> Box<Outbox> {
        let outbox = self.outboxes.pop();
        self.bytes -= outbox.as_ref().map_or(0, |outbox| outbox.memory_bytes());
        outbox.unwrap_or_default()
    }

    /// Keeps an idle outbox, unless its own memory or that of all together is too much.
    pub fn keep(&mut self, idle: Box<Outbox>) {
        let bytes = idle.memory_bytes();
        if idle.is_small(limits::SPARE_OUTBOX_BYTES)
            && self.bytes + bytes <= limits::SPARE_OUTBOXES_BYTES
        {
            self.bytes += bytes;
            self.outboxes.push(idle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::Spare;

    fn with_buffer(bytes: usize) -> Box<Outbox> {
        let mut outbox = Box::<Outbox>::default();
        outbox.written(Spare::Buffer(Vec::with_capacity(bytes)));
        outbox
    }

    #[test]
    fn the_pool_is_bounded_by_its_memory() {
        let mut spare = SpareOutboxes::default();
        spare.keep(with_buffer(limits::SPARE_OUTBOX_BYTES + 1));
        assert_eq!(spare.outboxes.len(), 0, "a large one is given up");
        for bytes in [0, 100, limits::SPARE_OUTBOX_BYTES] {
            let mut spare = SpareOutboxes::default();
            for _ in 0..100_000 {
                spare.keep(with_buffer(bytes));
            }
            let each = with_buffer(bytes).memory_bytes();
            assert_eq!(spare.outboxes.len(), limits::SPARE_OUTBOXES_BYTES / each);
            while spare.bytes > 0 {
                spare.take();
            }
            assert_eq!(spare.outboxes.len(), 0);
            spare.take();
        }
    }
}
