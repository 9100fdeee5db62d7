//! ▢ UTF-8 of text that arrives in pieces (RFC 3629, RFC 6455 section 8.1).
//!
//! The text itself is assembled elsewhere; this only remembers how much of it is known
//! to be good. At most three bytes at its end, the beginning of a character, are looked
//! at again with the next piece, so validating stays linear.

/// The first byte after which no text could be UTF-8 any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InvalidUtf8 {
    /// Where the offending sequence begins, in bytes from the start of the text.
    pub at_byte: usize,
}

/// How far a growing text has been validated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// Bytes of whole characters; what follows is at most three bytes of the next one.
    valid_bytes: usize,
}

impl Progress {
    /// Validates what was appended to `text` since the last call.
    ///
    /// # Errors
    /// As soon as the text cannot become UTF-8 whatever follows: `F4 90` and `ED A0`
    /// fail at their second byte, not when the character would have been complete.
    pub fn advance(&mut self, text: &[u8]) -> Result<(), InvalidUtf8> {
        let unseen = text.get(self.valid_bytes..).unwrap_or_default();
        match simdutf8::compat::from_utf8(unseen) {
            Ok(_) => self.valid_bytes = text.len(),
            Err(error) => {
                self.valid_bytes += error.valid_up_to();
                // No length: the end of the text is the beginning of a character.
                if error.error_len().is_some() {
                    return Err(InvalidUtf8 { at_byte: self.valid_bytes });
                }
            }
        }
        Ok(())
    }

    /// Whether `text`, all of it given to [`Self::advance`], may end here.
    pub fn is_complete(self, text: &[u8]) -> bool {
        self.valid_bytes == text.len()
    }
}

/// Whether a whole text is UTF-8; faster than [`Progress`], which has to find the place.
#[inline]
pub fn is_utf8(text: &[u8]) -> bool {
    simdutf8::basic::from_utf8(text).is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds `text` up to each of `ends` in turn; the end of the piece that failed.
    fn first_failing_end(text: &[u8], ends: impl Iterator<Item = usize>) -> (Option<usize>, bool) {
        let mut progress = Progress::default();
        for end in ends {
            if progress.advance(&text[..end]).is_err() {
                return (Some(end), false);
            }
            assert!(end - progress.valid_bytes <= 3, "carries more than three bytes");
        }
        (None, progress.is_complete(text))
    }

    /// Whether some text begins with `bytes`: whole characters, then what one of the
    /// 1,112,064 characters begins with. Written from the definition, with no table.
    fn is_prefix_of_some_text(bytes: &[u8]) -> bool {
        let good = std::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len);
        let tail = &bytes[good..];
        tail.len() < 4 && {
            let low = tail.iter().chain(&[0x80; 4]).take(4).copied().collect::<Vec<u8>>();
            let high = tail.iter().chain(&[0xBF; 4]).take(4).copied().collect::<Vec<u8>>();
            tail.is_empty()
                || (tail.len() + 1..=4).any(|n| {
                    std::str::from_utf8(&low[..n]).is_ok()
                        || std::str::from_utf8(&high[..n]).is_ok()
                })
        }
    }

    /// Text, random bytes, and text with a byte replaced or cut off.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let text = || prop::collection::vec(any::<char>(), 0..40).prop_map(String::from_iter);
        prop_oneof![
            text().prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..12),
            (text(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(text, at, byte)| {
                let mut bytes = text.into_bytes();
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
                bytes
            }),
            (text(), any::<prop::sample::Index>()).prop_map(|(text, end)| {
                let mut bytes = text.into_bytes();
                bytes.truncate(end.index(bytes.len() + 1));
                bytes
            }),
        ]
    }

    proptest! {
        #[test]
        fn agrees_with_std_at_every_split(text in bytes()) {
            let expected = std::str::from_utf8(&text).is_ok();
            prop_assert_eq!(is_utf8(&text), expected);
            for split in 0..=text.len() {
                let (failed, complete) =
                    first_failing_end(&text, [split, text.len()].into_iter());
                prop_assert_eq!(failed.is_none() && complete, expected, "split at {}", split);
            }
        }

        #[test]
        fn fails_at_the_first_byte_that_no_text_could_have(text in bytes()) {
            let expected = (1..=text.len()).find(|&end| !is_prefix_of_some_text(&text[..end]));
            prop_assert_eq!(first_failing_end(&text, 1..=text.len()).0, expected);
            let in_one_piece = Progress::default().advance(&text);
            prop_assert_eq!(in_one_piece.is_err(), expected.is_some());
        }
    }

    #[test]
    fn hopeless_beginnings_fail_before_their_character_is_complete() {
        let hopeless: [&[u8]; 8] = [
            b"\xF4\x90",
            b"\xED\xA0",
            b"\xE0\x80",
            b"\xF0\x80",
            b"\xC0",
            b"\xC1",
            b"\xF5",
            b"\x80",
        ];
        for bytes in hopeless {
            assert_eq!(Progress::default().advance(bytes), Err(InvalidUtf8 { at_byte: 0 }));
        }
    }
}
