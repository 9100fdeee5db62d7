//! What is in flight: the names of operations, and what writes hold.

use bytes::{Buf, Bytes};

use super::{
    buffers::{BUFFER_INDEX_MAX, BufferIndex},
    gather::{Message, Messages},
    sockets::GENERATION_MASK,
    write::{Pieces, Spare},
};
use crate::ids::SocketId;

/// A write that the kernel has the bytes of. It owns them until the kernel has answered,
/// whatever becomes of the socket meanwhile.
pub(super) struct WriteOperation {
    pub socket: SocketId,
    pub bytes: WriteBytes,
}

/// What is being written.
pub(super) enum WriteBytes {
    Owned {
        buffer: Vec<u8>,
        sent: usize,
    },
    /// Holds what has not been written.
    Shared(Bytes),
    Gathered {
        pieces: Box<Pieces>,
        message: Box<Message>,
    },
}

impl WriteBytes {
    /// Whether there is nothing to be written, and never was.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Owned { buffer, .. } => buffer.is_empty(),
            Self::Shared(rest) => rest.is_empty(),
            Self::Gathered { pieces, .. } => pieces.is_empty(),
        }
    }

    /// Notes that `len` more bytes are written. `true`: those were the last.
    pub fn advance(&mut self, len: usize) -> bool {
        match self {
            Self::Owned { buffer, sent } => {
                *sent += len;
                *sent >= buffer.len()
            }
            Self::Shared(rest) => {
                rest.advance(len.min(rest.len()));
                rest.is_empty()
            }
            Self::Gathered { pieces, message } => message.advance(pieces, len),
        }
    }

    /// What can be used again when it is over.
    pub fn into_spare(self, messages: &mut Messages) -> Spare {
        match self {
            Self::Owned { mut buffer, .. } => {
                buffer.clear();
                Spare::Buffer(buffer)
            }
            Self::Shared(_) => Spare::None,
            Self::Gathered { mut pieces, message } => {
                messages.give_back(message);
                pieces.clear();
                Spare::Pieces(pieces)
            }
        }
    }
}

/// The writes in flight, by index. As many places as there ever were at once.
#[derive(Default)]
pub(super) struct Writes {
    operations: Vec<Option<WriteOperation>>,
    free: Vec<u32>,
}

impl Writes {
    /// Takes a write in. Inlined, as [`super::Ring::push`] is: it is made where it stays.
    #[inline(always)]
    pub fn insert(&mut self, operation: WriteOperation) -> u32 {
        let index = self.free.pop().unwrap_or_else(|| self.grow());
        self.operations[index as usize] = Some(operation);
        index
    }

    /// Gives back a write that the kernel has answered; `None` where there is none of that
    /// index.
    #[inline(always)]
    pub fn remove(&mut self, index: u32) -> Option<WriteOperation> {
        let operation = self.operations.get_mut(index as usize)?.take();
        if operation.is_some() {
            self.free.push(index);
        }
        operation
    }

    /// Whether there is none.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.operations.iter().all(Option::is_none)
    }

    #[cold]
    fn grow(&mut self) -> u32 {
        self.operations.push(None);
        self.operations.len() as u32 - 1
    }
}

/// What a completion is about: the 64 bits that travel with a submission.
///
/// Top 8 bits: the kind. Below: 24 bits of generation and 32 of slot; or 24 of a buffer and
/// 32 of slot, which carries no other socket while a read is in flight; or the index of a
/// [`WriteOperation`].
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
    Read {
        slot: u32,
        buffer: BufferIndex,
    },
    Write(u32),
}

const ACCEPT: u64 = 1 << 56;
const TICK: u64 = 2 << 56;
const POLL: u64 = 3 << 56;
const CANCEL_POLL: u64 = 4 << 56;
const CANCEL_ACCEPT: u64 = 5 << 56;
const READ: u64 = 6 << 56;
const WRITE: u64 = 9 << 56;
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
            Self::Read { slot, buffer } => {
                READ | u64::from(buffer.0 & BUFFER_INDEX_MAX) << 32 | u64::from(slot)
            }
            Self::Write(index) => WRITE | u64::from(index),
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
            READ => {
                let buffer = BufferIndex((bits >> 32) as u32 & BUFFER_INDEX_MAX);
                Some(Self::Read { slot: bits as u32, buffer })
            }
            WRITE => Some(Self::Write(bits as u32)),
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
        fn tags_survive_the_kernel(slot: u32, generation in 0..=GENERATION_MASK, index: u32, buffer in 0..=BUFFER_INDEX_MAX) {
            let id = SocketId { slot, generation };
            for tag in [
                Tag::Poll(id), Tag::CancelPoll(id), Tag::Write(index),
                Tag::Read { slot, buffer: BufferIndex(buffer) },
                Tag::Accept, Tag::CancelAccept, Tag::Tick, Tag::Timer, Tag::MoveTimer,
            ] {
                prop_assert_eq!(Tag::decode(tag.encode()), Some(tag));
            }
        }
    }
}
