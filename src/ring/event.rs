//! What the engine tells the shard.

use super::{buffers::Received, write::Spare};
use crate::ids::SocketId;

/// A Linux error number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Errno(pub i32);

impl std::fmt::Display for Errno {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::io::Error::from_raw_os_error(self.0).fmt(f)
    }
}

/// One thing that happened. Events of one socket come in the order in which they
/// happened; `Freed` is always its last.
#[derive(Debug)]
pub enum Event {
    /// A client connected. Its socket is watched for input already.
    Accepted(SocketId),
    /// Bytes came. Give them back with [`super::Ring::recycle`] when they are handled.
    Received(SocketId, Received),
    /// The peer will send no more (FIN). What is queued to it can still be written.
    PeerFinished(SocketId),
    /// A read or a write failed: the connection is of no use. The shard closes it.
    Failed(SocketId, Errno),
    /// All of a write is written; what memory it had comes back to be used again.
    Sent(SocketId, Spare),
    /// No operation is in flight any more and the descriptor is closed. The slot may
    /// carry another socket from now on.
    Freed(SocketId),
    /// Accepting stopped and starts again only on [`super::Ring::accept`].
    AcceptStopped(Errno),
    /// The tick period has passed once more.
    Tick,
    /// The moment has come for which the timer was armed, or an earlier one: it has to be
    /// armed again.
    Timer,
}
