//! What is in flight: the names of operations, and the buffers that they hold.

use bytes::Bytes;

use super::{buffers::Buffer, gather::Message, sockets::GENERATION_MASK, write::Pieces};
use crate::ids::SocketId;

/// An operation that the kernel holds a buffer of. It owns the buffer until the kernel
/// has answered, whatever becomes of the socket meanwhile.
pub(super) enum Operation {
    Read {
        socket: SocketId,
        buffer: Buffer,
    },
    Write {
        socket: SocketId,
        buffer: Vec<u8>,
        sent: usize,
    },
    /// Holds what has not been written.
    WriteShared {
        socket: SocketId,
        rest: Bytes,
    },
    WriteGathered {
        socket: SocketId,
        pieces: Box<Pieces>,
        message: Box<Message>,
    },
}

/// What a completion is about: the 64 bits that travel with a submission.
///
/// Top 8 bits: the kind. Below: 24 bits of generation and 32 of slot, or the index of an
/// [`Operation`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tag {
    Accept,
    Tick,
    Timer,
    /// The answer to moving the timer, which fires at its new time.
    MoveTimer,
    Poll(SocketId),
    /// The answer to a cancellation; what it cancelled answers for itself.
    CancelPoll(SocketId),
    CancelAccept,
    Operation(u32),
}

const ACCEPT: u64 = 1 << 56;
const TICK: u64 = 2 << 56;
const POLL: u64 = 3 << 56;
const CANCEL_POLL: u64 = 4 << 56;
const CANCEL_ACCEPT: u64 = 5 << 56;
const OPERATION: u64 = 6 << 56;
const TIMER: u64 = 7 << 56;
const MOVE_TIMER: u64 = 8 << 56;
const KIND_MASK: u64 = 0xff << 56;

impl Tag {
    pub fn encode(self) -> u64 {
        match self {
            Self::Accept => ACCEPT,
            Self::Tick => TICK,
            Self::Timer => TIMER,
            Self::MoveTimer => MOVE_TIMER,
            Self::Poll(id) => POLL | socket_bits(id),
            Self::CancelPoll(id) => CANCEL_POLL | socket_bits(id),
            Self::CancelAccept => CANCEL_ACCEPT,
            Self::Operation(index) => OPERATION | u64::from(index),
        }
    }

    /// `None` for bits that no submission of ours has carried.
    pub fn decode(bits: u64) -> Option<Self> {
        match bits & KIND_MASK {
            ACCEPT => Some(Self::Accept),
            TICK => Some(Self::Tick),
            TIMER => Some(Self::Timer),
            MOVE_TIMER => Some(Self::MoveTimer),
            POLL => Some(Self::Poll(socket_of(bits))),
            CANCEL_POLL => Some(Self::CancelPoll(socket_of(bits))),
            CANCEL_ACCEPT => Some(Self::CancelAccept),
            OPERATION => Some(Self::Operation(bits as u32)),
            _ => None,
        }
    }
}

fn socket_bits(id: SocketId) -> u64 {
    u64::from(id.generation & GENERATION_MASK) << 32 | u64::from(id.slot)
}

fn socket_of(bits: u64) -> SocketId {
    SocketId { slot: bits as u32, generation: (bits >> 32) as u32 & GENERATION_MASK }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn tags_survive_the_kernel(slot: u32, generation in 0..=GENERATION_MASK, index: u32) {
            let id = SocketId { slot, generation };
            for tag in [
                Tag::Poll(id), Tag::CancelPoll(id), Tag::Operation(index),
                Tag::Accept, Tag::CancelAccept, Tag::Tick, Tag::Timer, Tag::MoveTimer,
            ] {
                prop_assert_eq!(Tag::decode(tag.encode()), Some(tag));
            }
        }
    }
}
