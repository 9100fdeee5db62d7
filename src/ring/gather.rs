//! How the kernel is told of a gathered write: a message header over a list of iovecs.
//!
//! Both must stay where they are until the kernel has answered, so they share a box, which
//! belongs to the operation, as the pieces do that they point to.

use super::write::{Pieces, Place};
use crate::limits;

/// Header and iovecs of one gathered write, and how far it has come.
pub(super) struct Message {
    written: Place,
    header: libc::msghdr,
    iovecs: Vec<libc::iovec>,
}

impl Message {
    /// What the next SENDMSG takes: `pieces` from where the last one stopped, as many as one
    /// may have. What it points to must outlive the operation: this box, unasked again, and
    /// the pieces, unchanged.
    pub fn point_at(&mut self, pieces: &Pieces) -> *const libc::msghdr {
        self.iovecs.clear();
        let mut place = self.written;
        while self.iovecs.len() < limits::WRITE_PIECES_MAX
            && let Some((piece, behind)) = pieces.next(place)
        {
            let base = piece.as_ptr().cast_mut().cast();
            self.iovecs.push(libc::iovec { iov_base: base, iov_len: piece.len() });
            place = behind;
        }
        self.header.msg_iov = self.iovecs.as_mut_ptr();
        self.header.msg_iovlen = self.iovecs.len() as _;
        &raw const self.header
    }

    /// Notes that `len` more bytes of `pieces` are written. `true`: those were the last.
    pub fn advance(&mut self, pieces: &Pieces, len: usize) -> bool {
        self.written = pieces.advance(self.written, len);
        pieces.next(self.written).is_none()
    }
}

/// Messages of writes that are done, for the next ones.
#[derive(Default)]
pub(super) struct Messages {
    #[expect(clippy::vec_box, reason = "an operation takes the box, not what is in it")]
    spare: Vec<Box<Message>>,
}

impl Messages {
    /// One for a write that has not begun.
    pub fn take(&mut self) -> Box<Message> {
        self.spare.pop().unwrap_or_else(|| {
            // SAFETY: a msghdr is numbers and pointers, for which zero means that there is
            // none: no address, no control data, no flags.
            let header = unsafe { std::mem::zeroed() };
            Box::new(Message { written: Place::default(), header, iovecs: Vec::new() })
        })
    }

    /// Takes one back whose operation has been joined.
    pub fn give_back(&mut self, mut message: Box<Message>) {
        message.written = Place::default();
        if self.spare.len() < limits::SPARE_MESSAGES {
            self.spare.push(message);
        }
    }
}
