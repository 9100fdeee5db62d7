//! How the bytes are cut into inputs makes no difference.

use super::scripts::{damaged_bytes, scripts};
use super::*;

/// What `bytes` come to when they arrive in pieces of these lengths, over and over.
fn decode_in_pieces(
    bytes: &[u8],
    pieces: &[usize],
    limit_bytes: usize,
) -> (Vec<Seen>, Option<Violation>, Decoder) {
    let mut decoder = Decoder::new();
    let mut seen = Vec::new();
    let mut rest = bytes;
    for piece in pieces.iter().cycle() {
        let (piece, after) = rest.split_at((*piece).min(rest.len()));
        if let Err(violation) = feed(&mut decoder, piece, limit_bytes, &mut seen) {
            return (seen, Some(violation), decoder);
        }
        let arrived_bytes = bytes.len() - after.len();
        let held_bytes_max = size_of::<Partial>() + 2 * arrived_bytes + PARTIAL_RESERVE_BYTES;
        assert!(decoder.held_bytes() <= held_bytes_max, "memory follows what has arrived");
        if after.is_empty() {
            break;
        }
        rest = after;
    }
    (seen, None, decoder)
}

fn pieces() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        Just(vec![1]),
        prop::collection::vec(1usize..20, 1..8),
        prop::collection::vec(1usize..3000, 1..8),
    ]
}

proptest! {
    #[test]
    fn valid_streams_give_what_was_meant_and_leave_nothing(
        script in scripts(),
        pieces in pieces(),
    ) {
        let bytes = script.bytes();
        for pieces in [pieces, vec![bytes.len().max(1)]] {
            let (seen, violation, decoder) = decode_in_pieces(&bytes, &pieces, LIMIT_BYTES);
            prop_assert_eq!(violation, None);
            prop_assert_eq!(&seen, &script.expected);
            if !script.has_close() {
                prop_assert_eq!(decoder.held_bytes(), 0);
                prop_assert!(decoder.0.is_none());
            }
        }
    }

    #[test]
    fn damaged_streams_give_the_same_events_and_the_same_violation(
        bytes in damaged_bytes(),
        pieces in pieces(),
        limit_bytes in prop_oneof![Just(LIMIT_BYTES), 0usize..300],
    ) {
        let mut whole = Vec::new();
        let whole_violation = feed(&mut Decoder::new(), &bytes, limit_bytes, &mut whole).err();
        let (seen, violation, _) = decode_in_pieces(&bytes, &pieces, limit_bytes);
        prop_assert_eq!(seen, whole);
        prop_assert_eq!(violation, whole_violation);
    }

    #[test]
    fn a_violation_comes_with_the_first_input_that_shows_it(bytes in damaged_bytes()) {
        // Fed byte by byte, the violation comes at some byte; what ends before that byte
        // must be innocent, and what ends with it guilty, as one input.
        let mut decoder = Decoder::new();
        let shown = (0..bytes.len()).find(|&at| {
            feed(&mut decoder, &bytes[at..=at], LIMIT_BYTES, &mut Vec::new()).is_err()
        });
        if let Some(at) = shown {
            prop_assert_eq!(decode(&bytes[..at]).1, None);
            prop_assert!(decode(&bytes[..=at]).1.is_some());
        } else {
            prop_assert_eq!(decode(&bytes).1, None);
        }
    }

    #[test]
    fn the_limit_holds_over_all_frames_of_a_message(
        script in scripts(),
        pieces in pieces(),
        limit_bytes in 0usize..400,
    ) {
        // Control frames inside the message that is too big may still come through.
        let too_big = |seen: &&Seen| matches!(seen, Seen::Message(_, p) if p.len() > limit_bytes);
        let (seen, violation, _) = decode_in_pieces(&script.bytes(), &pieces, limit_bytes);
        let offender = script.expected.iter().position(|seen| too_big(&seen));
        prop_assert_eq!(violation.map(|v| v.code), offender.map(|_| CloseCode::TooBig));
        prop_assert!(seen.len() <= offender.unwrap_or(usize::MAX));
        prop_assert_eq!(&seen, &script.expected[..seen.len()]);
    }
}
