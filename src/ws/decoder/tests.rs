//! Rules one by one here; [`chunking`] and [`oracle`] hold the properties.

use proptest::prelude::*;

use super::super::close::CloseCode;
use super::super::testing::ClientFrame;
use super::*;
use crate::limits::PARTIAL_RESERVE_BYTES;

mod chunking;
mod oracle;
mod scripts;

const LIMIT_BYTES: usize = 1 << 20;
const KEY: [u8; 4] = [1, 2, 3, 4];

/// An [`Event`] that owns what it carries.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Seen {
    Message(Kind, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

impl From<Event<'_>> for Seen {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Message { kind, payload } => Self::Message(kind, payload.to_vec()),
            Event::Ping(payload) => Self::Ping(payload.to_vec()),
            Event::Pong(payload) => Self::Pong(payload.to_vec()),
            Event::Close { code, reason } => Self::Close(code, reason.to_owned()),
        }
    }
}

/// Everything that `bytes`, as one input, makes `decoder` say, added to `seen`.
fn feed(
    decoder: &mut Decoder,
    bytes: &[u8],
    limit_bytes: usize,
    seen: &mut Vec<Seen>,
) -> Result<(), Violation> {
    let mut bytes = bytes.to_vec();
    let mut input = Input::new(&mut bytes);
    while let Some(event) = decoder.next(&mut input, limit_bytes)? {
        seen.push(event.into());
    }
    assert!(input.is_empty(), "the input is used up");
    Ok(())
}

/// What `bytes` come to as one input: events, then perhaps a violation.
fn decode(bytes: &[u8]) -> (Vec<Seen>, Option<Violation>) {
    let mut seen = Vec::new();
    let violation = feed(&mut Decoder::new(), bytes, LIMIT_BYTES, &mut seen).err();
    (seen, violation)
}

fn frame(fin: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    ClientFrame::new(fin, opcode, KEY, payload).bytes()
}

fn text(payload: &str) -> Seen {
    Seen::Message(Kind::Text, payload.into())
}

#[test]
fn a_whole_frame_is_handed_out_where_it_lies() {
    for opcode in [Opcode::Text, Opcode::Binary, Opcode::Ping, Opcode::Pong] {
        let mut bytes = frame(true, opcode, b"Hello");
        let range = bytes.as_ptr_range();
        let mut decoder = Decoder::new();
        let mut input = Input::new(&mut bytes);
        let payload = match decoder.next(&mut input, LIMIT_BYTES).unwrap().unwrap() {
            Event::Message { payload, .. } => &*payload,
            Event::Ping(payload) | Event::Pong(payload) => payload,
            Event::Close { .. } => unreachable!(),
        };
        assert_eq!(payload, b"Hello");
        assert!(range.contains(&payload.as_ptr()), "not a copy");
        assert_eq!(decoder.held_bytes(), 0, "nothing was allocated");
    }
}

#[test]
fn fragments_become_one_message_around_control_frames() {
    let bytes = [
        frame(false, Opcode::Text, "caf\u{e9}".as_bytes().split_at(4).0),
        frame(true, Opcode::Ping, b"?"),
        frame(false, Opcode::Continuation, b""),
        frame(true, Opcode::Pong, b"!"),
        frame(true, Opcode::Continuation, &"\u{e9}".as_bytes()[1..]),
        frame(true, Opcode::Binary, b""),
    ]
    .concat();
    let expected = vec![
        Seen::Ping(b"?".to_vec()),
        Seen::Pong(b"!".to_vec()),
        text("caf\u{e9}"),
        Seen::Message(Kind::Binary, Vec::new()),
    ];
    assert_eq!(decode(&bytes), (expected, None));
}

#[test]
fn fragments_out_of_order_break_the_protocol() {
    let first = frame(false, Opcode::Text, b"a");
    for (bytes, reason) in [
        (frame(true, Opcode::Continuation, b"a"), "continuation of no message"),
        (frame(false, Opcode::Continuation, b"a"), "continuation of no message"),
        (
            [first.clone(), frame(true, Opcode::Text, b"b")].concat(),
            "new message inside a fragmented one",
        ),
        (
            [first.clone(), frame(false, Opcode::Binary, b"b")].concat(),
            "new message inside a fragmented one",
        ),
        (
            [first, frame(true, Opcode::Continuation, b""), frame(true, Opcode::Continuation, b"")]
                .concat(),
            "continuation of no message",
        ),
    ] {
        let violation = decode(&bytes).1.expect("refused");
        assert_eq!((violation.code, violation.reason), (CloseCode::Protocol, reason));
    }
}

#[test]
fn a_bad_header_breaks_the_protocol() {
    let unmasked =
        ClientFrame { mask_key: None, ..ClientFrame::new(true, Opcode::Text, KEY, b"a") };
    let long = ClientFrame { length_bytes: 2, ..ClientFrame::new(true, Opcode::Text, KEY, b"a") };
    let reserved = ClientFrame { first: 0xC1, ..ClientFrame::new(true, Opcode::Text, KEY, b"a") };
    for bad in [unmasked, long, reserved] {
        let (seen, violation) = decode(&[frame(true, Opcode::Text, b"ok"), bad.bytes()].concat());
        assert_eq!(seen, [text("ok")], "what came before counts");
        assert_eq!(violation.map(|violation| violation.code), Some(CloseCode::Protocol), "{bad:?}");
    }
}

#[test]
fn nothing_is_parsed_after_a_close_frame() {
    let close = frame(true, Opcode::Close, b"\x03\xE8bye");
    let garbage = vec![0xFF; 50];
    let expected = [Seen::Close(Some(1000), "bye".to_owned())];
    for end in 0..=close.len() {
        let mut decoder = Decoder::new();
        let mut seen = Vec::new();
        feed(&mut decoder, &close[..end], LIMIT_BYTES, &mut seen).unwrap();
        let rest = [&close[end..], &garbage].concat();
        feed(&mut decoder, &rest, LIMIT_BYTES, &mut seen).unwrap();
        feed(&mut decoder, &garbage, LIMIT_BYTES, &mut seen).unwrap();
        assert_eq!(seen, expected, "split at {end}");
        assert_eq!(decoder.held_bytes(), size_of::<Partial>());
    }
}

#[test]
fn nothing_is_parsed_after_a_violation() {
    let mut decoder = Decoder::new();
    let mut seen = Vec::new();
    feed(&mut decoder, &frame(false, Opcode::Binary, &[7; 5000]), LIMIT_BYTES, &mut seen).unwrap();
    feed(&mut decoder, &[0xFF, 0x81], LIMIT_BYTES, &mut seen).unwrap_err();
    assert_eq!(decoder.held_bytes(), size_of::<Partial>(), "the message is given up");
    feed(&mut decoder, &frame(true, Opcode::Text, b"a"), LIMIT_BYTES, &mut seen).unwrap();
    assert_eq!(seen, []);
}

#[test]
fn a_close_frame_inside_a_message_gives_the_message_back() {
    let close = frame(true, Opcode::Close, b"\x03\xE8bye");
    for end in 0..=close.len() {
        let mut decoder = Decoder::new();
        let mut seen = Vec::new();
        let first = frame(false, Opcode::Binary, &[7; 5000]);
        for piece in [&first, &close[..end], &close[end..]] {
            feed(&mut decoder, piece, LIMIT_BYTES, &mut seen).unwrap();
        }
        assert_eq!(seen, [Seen::Close(Some(1000), "bye".to_owned())]);
        // The payload of a split close frame lives on until the next call.
        assert!(decoder.held_bytes() <= size_of::<Partial>() + 125, "split at {end}");
    }
}

#[test]
fn close_payloads_are_checked() {
    for (payload, expected) in [
        (&b""[..], Ok(Seen::Close(None, String::new()))),
        (b"\x03\xE9", Ok(Seen::Close(Some(1001), String::new()))),
        (b"\x13\x87\xE2\x82\xAC", Ok(Seen::Close(Some(4999), "\u{20ac}".to_owned()))),
        (b"\x03", Err(CloseCode::Protocol)),
        (b"\x03\xED", Err(CloseCode::Protocol)),
        (b"\x03\xE8\xE2\x82", Err(CloseCode::InvalidUtf8)),
    ] {
        let (seen, violation) = decode(&frame(true, Opcode::Close, payload));
        match expected {
            Ok(close) => assert_eq!((seen, violation), (vec![close], None)),
            Err(code) => assert_eq!(violation.map(|violation| violation.code), Some(code)),
        }
    }
}

#[test]
fn a_message_past_the_limit_is_refused_by_the_header_that_announces_it() {
    let mut decoder = Decoder::new();
    let mut seen = Vec::new();
    let exact = frame(true, Opcode::Binary, &[0; 100]);
    feed(&mut decoder, &exact, 100, &mut seen).unwrap();
    assert_eq!(seen.len(), 1);
    let too_big = frame(true, Opcode::Binary, &[0; 101]);
    let violation = feed(&mut decoder, &too_big[..6], 100, &mut seen).unwrap_err();
    assert_eq!(violation.code, CloseCode::TooBig);

    // Over fragments, and with lengths whose sum would overflow.
    for last in [
        &frame(true, Opcode::Continuation, &[0; 41])[..6],
        b"\x80\xFF\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF\0\0\0\0",
    ] {
        let mut decoder = Decoder::new();
        for opcode in [Opcode::Binary, Opcode::Continuation] {
            feed(&mut decoder, &frame(false, opcode, &[0; 30]), 100, &mut seen).unwrap();
        }
        let violation = feed(&mut decoder, last, 100, &mut seen).unwrap_err();
        assert_eq!(violation.code, CloseCode::TooBig);
    }
    assert_eq!(seen.len(), 1);
}

#[test]
fn control_frames_do_not_count_towards_the_limit() {
    let mut seen = Vec::new();
    feed(&mut Decoder::new(), &frame(true, Opcode::Ping, &[0; 125]), 0, &mut seen).unwrap();
    assert_eq!(seen.len(), 1);
}

#[test]
fn text_fails_at_its_first_bad_byte() {
    for bad in [&b"\xF4\x90"[..], b"\xED\xA0", b"\xC0", b"a\xFF"] {
        // The frame is announced longer than what arrives of it.
        let bytes = frame(true, Opcode::Text, &[bad, &[b'x'; 200]].concat());
        let bad_end = 8 + bad.len();
        let mut decoder = Decoder::new();
        feed(&mut decoder, &bytes[..bad_end - 1], LIMIT_BYTES, &mut Vec::new()).unwrap();
        let last = &bytes[bad_end - 1..bad_end];
        let violation = feed(&mut decoder, last, LIMIT_BYTES, &mut Vec::new()).unwrap_err();
        assert_eq!(violation.code, CloseCode::InvalidUtf8);
    }
}

#[test]
fn text_may_not_end_inside_a_character() {
    let whole = frame(true, Opcode::Text, b"\xE2\x82");
    let fragmented =
        [frame(false, Opcode::Text, b"\xE2"), frame(true, Opcode::Continuation, b"\x82")].concat();
    for bytes in [whole, fragmented] {
        let (seen, violation) = decode(&bytes);
        assert_eq!(seen, []);
        assert_eq!(violation, Some(Violation::INVALID_UTF8));
    }
}

#[test]
fn an_announced_length_reserves_nothing() {
    let bytes = frame(true, Opcode::Binary, &vec![0; LIMIT_BYTES]);
    let mut decoder = Decoder::new();
    feed(&mut decoder, &bytes[..14], LIMIT_BYTES, &mut Vec::new()).unwrap();
    assert_eq!(decoder.held_bytes(), size_of::<Partial>());
    feed(&mut decoder, &bytes[14..15], LIMIT_BYTES, &mut Vec::new()).unwrap();
    assert!(decoder.held_bytes() <= size_of::<Partial>() + 1 + PARTIAL_RESERVE_BYTES);
}

/// A 16 MiB message in one-byte fragments must not be copied once a fragment.
#[test]
fn memory_grows_by_doubling() {
    let mut decoder = Decoder::new();
    let mut growths = 0;
    let mut held_before = 0;
    for sent in 0..100_000 {
        let opcode = if sent == 0 { Opcode::Binary } else { Opcode::Continuation };
        feed(&mut decoder, &frame(false, opcode, b"a"), LIMIT_BYTES, &mut Vec::new()).unwrap();
        let held = decoder.held_bytes();
        assert!(held <= size_of::<Partial>() + 2 * (sent + 1) + PARTIAL_RESERVE_BYTES);
        growths += usize::from(held != held_before);
        held_before = held;
    }
    assert!(growths < 20, "{growths} reallocations");
}

#[test]
fn a_known_length_is_not_exceeded() {
    let bytes = frame(true, Opcode::Binary, &[7; 5000]);
    let mut decoder = Decoder::new();
    for piece in bytes[..bytes.len() - 1].chunks(100) {
        feed(&mut decoder, piece, LIMIT_BYTES, &mut Vec::new()).unwrap();
        assert!(decoder.held_bytes() <= size_of::<Partial>() + 5000);
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(&bytes);
    }
}
