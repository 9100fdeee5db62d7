//! Frame headers: the rules of RFC 6455 section 5.2, one by one.

use proptest::prelude::*;

use super::super::testing::ClientFrame;
use super::*;

const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

fn reason(bytes: &[u8]) -> &'static str {
    Header::parse(bytes).expect_err("should be refused").reason
}

#[test]
fn the_example_of_the_rfc() {
    // Section 5.7: a single-frame masked text message, "Hello".
    let bytes = [0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58];
    let header = Header { fin: true, opcode: Opcode::Text, payload_bytes: 5, mask_key: KEY };
    assert_eq!(Header::parse(&bytes), Ok(Some((header, 6))));
}

#[test]
fn reserved_bits_are_refused_at_the_first_byte() {
    for bit in [0x10, 0x20, 0x40] {
        assert_eq!(reason(&[0x81 | bit]), "reserved bits are set");
    }
}

#[test]
fn only_registered_opcodes_are_known() {
    for bits in 0..16u8 {
        let known = matches!(bits, 0..=2 | 8..=10);
        assert_eq!(Header::parse(&[0x80 | bits]).is_ok(), known, "opcode {bits:x}");
    }
}

#[test]
fn control_frames_are_whole_and_short() {
    for opcode in [0x8, 0x9, 0xA] {
        assert_eq!(reason(&[opcode]), "fragmented control frame");
        assert_eq!(reason(&[0x80 | opcode, 0x80 | 126]), "control frame is too long");
        assert_eq!(reason(&[0x80 | opcode, 0x80 | 127]), "control frame is too long");
        assert_eq!(Header::parse(&[0x80 | opcode, 0x80 | 125]), Ok(None));
    }
}

#[test]
fn a_frame_without_mask_is_refused_before_its_length_is_there() {
    assert_eq!(reason(&[0x82, 126]), "frame is not masked");
}

#[test]
fn lengths_are_minimal() {
    for length in [0u16, 125] {
        let [a, b] = length.to_be_bytes();
        assert_eq!(reason(&[0x82, 0xFE, a, b]), "length is not encoded minimally");
    }
    for length in [0u64, 125, 126, 0xFFFF] {
        let mut bytes = vec![0x82, 0xFF];
        bytes.extend(length.to_be_bytes());
        assert_eq!(reason(&bytes), "length is not encoded minimally");
    }
}

#[test]
fn the_top_bit_of_a_length_is_zero() {
    let mut bytes = vec![0x82, 0xFF];
    bytes.extend((1u64 << 63).to_be_bytes());
    assert_eq!(reason(&bytes), "length has its top bit set");
    bytes.truncate(2);
    bytes.extend((u64::MAX >> 1).to_be_bytes());
    bytes.extend(KEY);
    let (header, header_bytes) = Header::parse(&bytes).unwrap().unwrap();
    assert_eq!((header.payload_bytes, header_bytes), (u64::MAX >> 1, HEADER_BYTES_MAX));
}

#[test]
fn written_lengths_are_minimal_at_every_boundary() {
    for payload_bytes in [0, 1, 125, 126, 127, 0xFFFF, 0x1_0000, 0x1_0001] {
        let mut out = Vec::new();
        write_frame(&mut out, Opcode::Binary, &vec![7; payload_bytes]);
        // Turned into a client's frame, our own parser has to accept it.
        out[1] |= MASKED;
        let header_bytes = out.len() - payload_bytes;
        out.splice(header_bytes..header_bytes, KEY);
        let header = Header {
            fin: true,
            opcode: Opcode::Binary,
            payload_bytes: payload_bytes as u64,
            mask_key: KEY,
        };
        assert_eq!(Header::parse(&out), Ok(Some((header, header_bytes + 4))));
    }
}

proptest! {
    #[test]
    fn a_valid_header_is_read_back(
        fin: bool,
        opcode in prop::sample::select(vec![Opcode::Continuation, Opcode::Text, Opcode::Binary]),
        mask_key: [u8; 4],
        payload_bytes in prop_oneof![0usize..300, 65_500usize..65_600],
    ) {
        let bytes = ClientFrame::new(fin, opcode, mask_key, &vec![0; payload_bytes]).bytes();
        let header = Header { fin, opcode, payload_bytes: payload_bytes as u64, mask_key };
        prop_assert_eq!(Header::parse(&bytes), Ok(Some((header, bytes.len() - payload_bytes))));
    }

    /// Never a panic, and never a different answer once there was one.
    #[test]
    fn more_bytes_never_change_the_answer(
        first in prop_oneof![any::<u8>(), Just(0x82)],
        second in prop_oneof![any::<u8>(), Just(0xFE), Just(0xFF)],
        rest in prop::collection::vec(prop_oneof![any::<u8>(), Just(0)], 0..20),
    ) {
        let mut bytes = vec![first, second];
        bytes.extend(rest);
        let whole = Header::parse(&bytes);
        let mut answered = false;
        for end in 0..=bytes.len() {
            let parsed = Header::parse(&bytes[..end]);
            answered |= parsed != Ok(None);
            if answered {
                prop_assert_eq!(parsed, whole, "at {}", end);
            }
        }
        if bytes.len() >= HEADER_BYTES_MAX {
            prop_assert!(answered, "no header is longer");
        }
    }
}
