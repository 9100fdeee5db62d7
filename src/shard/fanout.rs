//! Frames of topics on their way out: one to many, shared, past no bound but their own.

use bytes::Bytes;

use super::{connection::Connection, wire::Wire};
use crate::{
    ids::SocketId,
    limits::FRAME_HEADER_BYTES_MAX,
    outbox::Outbox,
    topics::Clients,
    ws::{CloseCode, Opcode, write_header},
};

impl Clients for Wire {
    fn offer(&mut self, to: SocketId, frame: &Bytes) -> bool {
        self.offer_bytes(to, frame.len(), |outbox| outbox.share(frame))
    }

    fn offer_batch(&mut self, to: SocketId, elements: &[Bytes]) -> bool {
        let separators = elements.len().saturating_sub(1);
        let payload = elements.iter().map(Bytes::len).sum::<usize>() + separators + 2;
        self.offer_bytes(to, payload + FRAME_HEADER_BYTES_MAX, |outbox| {
            let out = outbox.gather();
            write_header(out, Opcode::Text, payload);
            out.push(b'[');
            for (index, element) in elements.iter().enumerate() {
                if index > 0 {
                    outbox.gather().push(b',');
                }
                outbox.share(element);
            }
            outbox.gather().push(b']');
        })
    }

    fn say(&mut self, to: SocketId, text: &str) -> bool {
        let taken = self.gather(to, Opcode::Text, text.as_bytes());
        self.metrics.connections.messages_out.add(u64::from(taken));
        taken
    }

    fn await_drain(&mut self, of: SocketId) {
        Wire::await_drain(self, of);
    }

    fn close(&mut self, id: SocketId, code: CloseCode, reason: &'static str) {
        Wire::close(self, id, code, reason, self.now_ms);
    }
}

impl Wire {
    /// Queues one frame of `bytes` where the connection may have it.
    fn offer_bytes(&mut self, to: SocketId, bytes: usize, write: impl FnOnce(&mut Outbox)) -> bool {
        let limit = self.outbox_limit_bytes();
        let has_room = |connection: &Connection| {
            let unsent = connection.outbox.as_ref().map_or(0, |outbox| outbox.bytes());
            connection.is_open() && (unsent == 0 || unsent.saturating_add(bytes) <= limit)
        };
        let taken = self.queue(to, has_room, write);
        self.metrics.connections.messages_out.add(u64::from(taken));
        taken
    }
}

#[cfg(test)]
mod tests;
