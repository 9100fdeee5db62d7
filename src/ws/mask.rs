//! ▢ Masking of client frames (RFC 6455 section 5.3).
//!
//! The key is XORed over the payload; a word at a time, which the compiler widens to
//! whatever vectors the machine has.

/// A masking key, turned to the byte of the payload that comes next, so that a payload
/// can be unmasked in pieces of any length.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mask([u8; 4]);

impl Mask {
    /// The key of a frame, at the first byte of its payload.
    #[inline]
    pub const fn new(key: [u8; 4]) -> Self {
        Self(key)
    }

    /// Unmasks the next `payload.len()` bytes of the frame in place and moves on.
    /// Masking is its own inverse.
    #[inline]
    pub fn apply(&mut self, payload: &mut [u8]) {
        let key = self.0;
        let half = u64::from(u32::from_ne_bytes(key));
        let word_key = half << 32 | half;
        let (words, tail) = payload.as_chunks_mut::<8>();
        for word in words {
            *word = (u64::from_ne_bytes(*word) ^ word_key).to_ne_bytes();
        }
        for (byte, key_byte) in tail.iter_mut().zip([key, key].as_flattened()) {
            *byte ^= key_byte;
        }
        self.0.rotate_left(payload.len() % 4);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn equals_the_rfc_formula_in_pieces_of_any_length(
            key: [u8; 4],
            payload in prop::collection::vec(any::<u8>(), 0..200),
            cuts in prop::collection::vec(0usize..40, 0..12),
        ) {
            // Section 5.3: octet i is XORed with octet i mod 4 of the key.
            let expected: Vec<u8> =
                payload.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect();
            let mut unmasked = payload;
            let mut mask = Mask::new(key);
            let mut rest = unmasked.as_mut_slice();
            for cut in cuts {
                let (piece, after) = rest.split_at_mut(cut.min(rest.len()));
                mask.apply(piece);
                rest = after;
            }
            mask.apply(rest);
            prop_assert_eq!(unmasked, expected);
        }
    }
}
