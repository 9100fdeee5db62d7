//! ▢ What one connection has yet to send: gathered over a turn, written at its end.
//!
//! At most one write is in flight per socket. What comes meanwhile gathers here and goes
//! out in the next one, so that a busy connection's messages share a system call. Shared
//! bytes stand among owned ones, in order, and are not copied, unless a copy is cheaper.

use bytes::Bytes;

use crate::{
    limits,
    ring::{Pieces, Spare, Write},
};

/// Frames of one connection that wait for the socket.
#[derive(Default, Debug)]
pub struct Outbox {
    /// What waits, unless it is one shared piece alone.
    pieces: Pieces,
    /// A shared piece while nothing else waits: as a rule nothing will, and it needs no list.
    alone: Option<Bytes>,
    /// Bytes that the ring is writing now; 0 where no write is in flight.
    in_flight_bytes: usize,
}

impl Outbox {
    /// Bytes that have not been written.
    pub fn bytes(&self) -> usize {
        let alone = self.alone.as_ref().map_or(0, Bytes::len);
        self.pieces.len() + alone + self.in_flight_bytes
    }

    /// Nothing waits and nothing is in flight: the outbox can be given up.
    pub fn is_idle(&self) -> bool {
        self.bytes() == 0
    }

    /// Where the next frame is appended. Asking whether it may is the caller's part.
    pub fn gather(&mut self) -> &mut Vec<u8> {
        if let Some(first) = self.alone.take() {
            append(&mut self.pieces, &first);
        }
        self.pieces.owned()
    }

    /// Appends bytes that others send as well.
    pub fn share(&mut self, bytes: &Bytes) {
        if let Some(first) = self.alone.take() {
            append(&mut self.pieces, &first);
        } else if self.pieces.is_empty() {
            self.alone = (!bytes.is_empty()).then(|| bytes.clone());
            return;
        }
        append(&mut self.pieces, bytes);
    }

    /// The next write: all that has gathered, unless one is in flight or there is nothing.
    #[inline(always)]
    pub fn take_write(&mut self) -> Option<Write> {
        if self.in_flight_bytes > 0 {
            return None;
        }
        self.in_flight_bytes = self.bytes();
        if let Some(alone) = self.alone.take() {
            Some(Write::Shared(alone))
        } else if self.pieces.is_empty() {
            None
        } else if self.pieces.is_owned() {
            Some(Write::Owned(std::mem::take(self.pieces.owned())))
        } else {
            Some(Write::Gathered(Box::new(std::mem::take(&mut self.pieces))))
        }
    }

    /// The write is done. What it leaves serves again where it can.
    #[inline(always)]
    pub fn written(&mut self, spare: Spare) {
        self.in_flight_bytes = 0;
        match spare {
            Spare::None => {}
            Spare::Buffer(buffer) => self.pieces.reuse_buffer(buffer),
            Spare::Pieces(pieces) => self.pieces.reuse(*pieces),
        }
    }

    /// What it takes beside what others share.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.pieces.capacity_bytes()
    }

    /// Whether its memory is small enough to be kept for the next connection.
    pub fn is_small(&self, limit_bytes: usize) -> bool {
        self.pieces.capacity_bytes() <= limit_bytes
    }
}

/// To copy a few bytes is cheaper than to share them: a handle is counted twice, and takes a
/// place in the list and an iovec.
fn append(pieces: &mut Pieces, bytes: &Bytes) {
    if bytes.len() < limits::COPIED_PIECE_BYTES {
        pieces.owned().extend_from_slice(bytes);
    } else {
        pieces.share(bytes.clone());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Owned(Vec<u8>),
        Shared(Bytes),
        Write,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let sizes = prop_oneof![0..40_usize, 0..2 * limits::COPIED_PIECE_BYTES];
        let bytes = sizes.prop_flat_map(|len| prop::collection::vec(any::<u8>(), len));
        let step = prop_oneof![
            bytes.clone().prop_map(Step::Owned),
            bytes.prop_map(|bytes| Step::Shared(bytes.into())),
            Just(Step::Write),
        ];
        prop::collection::vec(step, 0..60)
    }

    /// Stands for the ring: the bytes of a write, and what it leaves.
    fn carry_out(write: Write) -> (Vec<u8>, Spare) {
        match write {
            Write::Owned(mut buffer) => {
                let bytes = buffer.clone();
                buffer.clear();
                (bytes, Spare::Buffer(buffer))
            }
            Write::Shared(bytes) => (bytes.to_vec(), Spare::None),
            Write::Gathered(mut pieces) => {
                let bytes = pieces.to_vec();
                pieces.clear();
                (bytes, Spare::Pieces(pieces))
            }
        }
    }

    proptest! {
        /// However writes and messages interleave: everything goes out once, in order, and
        /// one write at a time.
        #[test]
        fn everything_goes_out_once_and_in_order(steps in steps()) {
            let (mut outbox, mut wire, mut expected) = (Outbox::default(), Vec::new(), Vec::new());
            let mut flying = None;
            for step in steps.into_iter().chain([Step::Write, Step::Write, Step::Write]) {
                match step {
                    Step::Owned(bytes) => {
                        outbox.gather().extend_from_slice(&bytes);
                        expected.extend_from_slice(&bytes);
                    }
                    Step::Shared(bytes) => {
                        outbox.share(&bytes);
                        expected.extend_from_slice(&bytes);
                    }
                    Step::Write => {
                        if let Some(write) = flying.take() {
                            let (bytes, spare) = carry_out(write);
                            wire.extend_from_slice(&bytes);
                            outbox.written(spare);
                        }
                        flying = outbox.take_write();
                        prop_assert!(flying.is_none() || outbox.take_write().is_none());
                    }
                }
                prop_assert_eq!(outbox.bytes(), expected.len() - wire.len());
                prop_assert_eq!(outbox.is_idle(), flying.is_none() && outbox.bytes() == 0);
            }
            prop_assert!(outbox.is_idle());
            prop_assert_eq!(wire, expected);
        }
    }

    #[test]
    fn a_large_piece_is_never_copied() {
        let large = Bytes::from(vec![7; limits::COPIED_PIECE_BYTES]);
        let mut outbox = Outbox::default();
        outbox.share(&large);
        match outbox.take_write() {
            Some(Write::Shared(bytes)) => assert_eq!(bytes.as_ptr(), large.as_ptr()),
            other => panic!("{other:?}"),
        }
        outbox.written(Spare::None);
        outbox.share(&large);
        outbox.gather().push(1);
        outbox.share(&large);
        let Some(Write::Gathered(pieces)) = outbox.take_write() else { panic!("not gathered") };
        let shared: Vec<_> = pieces.shared().map(|bytes| bytes.as_ptr()).collect();
        assert_eq!(shared, [large.as_ptr(); 2]);
    }

    #[test]
    fn small_pieces_that_meet_become_one_buffer() {
        let small = Bytes::from_static(b"abc");
        let mut outbox = Outbox::default();
        outbox.share(&small);
        outbox.share(&small);
        outbox.gather().push(b'd');
        match outbox.take_write() {
            Some(Write::Owned(bytes)) => assert_eq!(bytes, b"abcabcd"),
            other => panic!("{other:?}"),
        }
    }
}
