//! ▢ What a topics route needs of the connections that it serves.

use bytes::Bytes;

use crate::{ids::SocketId, ws::CloseCode};

/// The sockets of a shard, as far as a topics route goes. The shard's `Wire` is one, and so
/// is the record that tests keep.
pub trait Clients {
    /// Queues one whole frame, which is shared and not copied. `false`: it would take the
    /// connection over its bound of unsent bytes, or the connection takes no frames any more;
    /// nothing was queued. A connection with nothing unsent takes any frame.
    fn offer(&mut self, to: SocketId, frame: &Bytes) -> bool;

    /// Queues one text frame whose payload is a JSON array of `elements`, which are shared
    /// and not copied. As with [`offer`](Self::offer).
    fn offer_batch(&mut self, to: SocketId, elements: &[Bytes]) -> bool;

    /// Queues a text frame in any case: answers and notices, whose number whoever says them
    /// bounds. `false`: the connection takes no frames any more.
    fn say(&mut self, to: SocketId, text: &str) -> bool;

    /// Asks for one `on_drained` when most of what is unsent has been written; at once where
    /// it has.
    fn await_drain(&mut self, of: SocketId);

    /// Closes the connection, unless it is being closed.
    fn close(&mut self, id: SocketId, code: CloseCode, reason: &'static str);
}
