//! ▢ What one write sends: bytes of its own, shared ones, or a list of both.
//!
//! Here is only what is said to the ring and what comes back; how the kernel is told of it
//! stands in `submit` and `gather`.

use bytes::Bytes;

/// What [`super::Ring::send`] is to write. The ring keeps it until all of it is written or the
/// socket is gone.
#[derive(Debug)]
pub enum Write {
    /// Bytes of this connection alone.
    Owned(Vec<u8>),
    /// Bytes that others may send as well; they are not copied.
    Shared(Bytes),
    /// Several pieces, in order, none of them copied.
    Gathered(Box<Pieces>),
}

impl From<Vec<u8>> for Write {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Owned(bytes)
    }
}

/// What is left of a write when it is done, emptied, to be used again.
#[derive(Debug)]
pub enum Spare {
    /// It was shared: nothing is.
    None,
    /// The buffer of an owned write.
    Buffer(Vec<u8>),
    /// The list of a gathered one.
    Pieces(Box<Pieces>),
}

impl Spare {
    /// A buffer for the next owned write: this one's, or a new one.
    pub fn into_buffer(self) -> Vec<u8> {
        match self {
            Self::Buffer(buffer) => buffer,
            Self::None | Self::Pieces(_) => Vec::new(),
        }
    }
}

/// Bytes that go out one after another though they lie apart: owned ones, all in one buffer,
/// and shared ones between them.
#[derive(Default, Debug)]
pub struct Pieces {
    owned: Vec<u8>,
    shared: Vec<SharedPiece>,
    shared_bytes: usize,
}

/// A shared piece in its place.
#[derive(Debug)]
struct SharedPiece {
    /// How many of the owned bytes go out before it.
    after: usize,
    bytes: Bytes,
}

impl Pieces {
    /// Bytes of all pieces.
    pub fn len(&self) -> usize {
        self.owned.len() + self.shared_bytes
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether all of it is owned.
    pub fn is_owned(&self) -> bool {
        self.shared.is_empty()
    }

    /// Where owned bytes are appended, behind all that is here. Appended to, never shortened.
    pub fn owned(&mut self) -> &mut Vec<u8> {
        &mut self.owned
    }

    /// Appends a piece without copying it.
    pub fn share(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.shared_bytes += bytes.len();
            self.shared.push(SharedPiece { after: self.owned.len(), bytes });
        }
    }

    /// Empties it; its memory stays.
    pub fn clear(&mut self) {
        self.owned.clear();
        self.shared.clear();
        self.shared_bytes = 0;
    }

    /// Memory that stays when it is emptied.
    pub fn capacity_bytes(&self) -> usize {
        self.owned.capacity() + self.shared.capacity() * size_of::<SharedPiece>()
    }

    /// Takes over the memory of `spare`, which is empty, where it has none itself.
    pub fn reuse(&mut self, spare: Self) {
        self.reuse_buffer(spare.owned);
        if self.shared.capacity() == 0 {
            self.shared = spare.shared;
        }
    }

    /// The same with an owned buffer alone.
    pub fn reuse_buffer(&mut self, spare: Vec<u8>) {
        if self.owned.capacity() == 0 {
            self.owned = spare;
        }
    }

    /// All of it, copied.
    pub fn to_vec(&self) -> Vec<u8> {
        let (mut all, mut place) = (Vec::with_capacity(self.len()), Place::default());
        while let Some((piece, behind)) = self.next(place) {
            all.extend_from_slice(piece);
            place = behind;
        }
        all
    }

    /// The shared pieces.
    pub fn shared(&self) -> impl Iterator<Item = &Bytes> {
        self.shared.iter().map(|piece| &piece.bytes)
    }

    /// The piece at `place`, and the place behind it; `None` at the end.
    pub(super) fn next(&self, place: Place) -> Option<(&[u8], Place)> {
        let shared = self.shared.get(place.shared);
        let until = shared.map_or(self.owned.len(), |piece| piece.after);
        if place.owned < until {
            return Some((&self.owned[place.owned..until], Place { owned: until, ..place }));
        }
        let rest = &shared?.bytes[place.into_shared..];
        Some((rest, Place { shared: place.shared + 1, into_shared: 0, ..place }))
    }

    /// The place `len` bytes behind `place`; the end where there are fewer.
    pub(super) fn advance(&self, mut place: Place, mut len: usize) -> Place {
        while let Some((piece, behind)) = self.next(place) {
            if len < piece.len() {
                let is_owned = behind.shared == place.shared;
                let within = if is_owned { &mut place.owned } else { &mut place.into_shared };
                *within += len;
                return place;
            }
            len -= piece.len();
            place = behind;
        }
        place
    }
}

/// How far a list of pieces has been written.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Place {
    owned: usize,
    shared: usize,
    into_shared: usize,
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Some pieces, owned and shared, and all their bytes.
    pub fn pieces(parts: &[(bool, Vec<u8>)]) -> (Pieces, Vec<u8>) {
        let (mut pieces, mut all) = (Pieces::default(), Vec::new());
        for (shared, bytes) in parts {
            if *shared {
                pieces.share(Bytes::copy_from_slice(bytes));
            } else {
                pieces.owned().extend_from_slice(bytes);
            }
            all.extend_from_slice(bytes);
        }
        (pieces, all)
    }

    proptest! {
        /// Whatever is written at a time, the rest begins where that ended.
        #[test]
        fn any_strides_give_the_same_bytes(
            parts in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..40)), 0..20),
            strides in prop::collection::vec(1_usize..60, 1..50),
        ) {
            let (mut pieces, all) = pieces(&parts);
            prop_assert_eq!(pieces.len(), all.len());
            prop_assert_eq!(pieces.is_empty(), all.is_empty());
            let (mut place, mut written) = (Place::default(), Vec::new());
            for stride in strides.iter().cycle().take(1 + all.len()) {
                let (mut at, mut left) = (place, *stride);
                while let Some((piece, behind)) = pieces.next(at) {
                    prop_assert!(!piece.is_empty());
                    let taken = left.min(piece.len());
                    written.extend_from_slice(&piece[..taken]);
                    left -= taken;
                    at = behind;
                }
                place = pieces.advance(place, *stride);
            }
            prop_assert!(pieces.next(place).is_none());
            prop_assert_eq!(&pieces.to_vec(), &all);
            prop_assert_eq!(written, all);
            pieces.clear();
            prop_assert!(pieces.is_empty() && pieces.is_owned());
        }
    }
}
