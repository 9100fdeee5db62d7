//! Request heads: byte by byte as at once, and every limit at its edge.

use proptest::prelude::*;

use super::*;

const REQUEST: &str = "GET /ws/asr?session=a%20b&x HTTP/1.1\r\nHost: example.org\r\n\
                       Connection: keep-alive, Upgrade\r\nconnection: x\r\nX-Latin: caf\u{e9}\r\n\r\n";

fn head(request: &str) -> Head<'_> {
    parse_head(request.as_bytes()).unwrap().expect("complete").0
}

fn status(request: &[u8]) -> u16 {
    parse_head(request).expect_err("should be refused").status
}

#[test]
fn a_head_is_taken_apart() {
    let frames_after = format!("{REQUEST}\u{1}frames");
    let (head, head_bytes) = parse_head(frames_after.as_bytes()).unwrap().unwrap();
    assert_eq!(head_bytes, REQUEST.len());
    assert_eq!((head.method, head.version), ("GET", Version::Http11));
    assert_eq!((head.path, head.query), ("/ws/asr", Some("session=a%20b&x")));
    assert_eq!(head.single("HOST"), Ok(Some("example.org")));
    assert_eq!(head.single("origin"), Ok(None));
    assert!(head.lists("Connection", "UPGRADE") && head.lists("connection", "x"));
    assert!(!head.lists("connection", "keep") && !head.lists("upgrade", "websocket"));
    assert_eq!(head.single("Connection").unwrap_err().status, 400, "stands twice");
}

#[test]
fn a_value_that_is_not_text_is_refused_only_where_it_is_asked_for() {
    let request = b"GET / HTTP/1.1\r\nOrigin: \xFF\r\nHost: a\r\n\r\n";
    let (head, _) = parse_head(request).unwrap().unwrap();
    assert_eq!(head.single("host"), Ok(Some("a")));
    assert_eq!(head.single("origin").unwrap_err().status, 400);
}

#[test]
fn targets_may_be_absolute() {
    for (target, expected) in [
        ("/", Some(("/", None))),
        ("/a/b?", Some(("/a/b", Some("")))),
        ("/a?b=http://c/?d", Some(("/a", Some("b=http://c/?d")))),
        ("http://host:1/a?b", Some(("/a", Some("b")))),
        ("WSS://host", Some(("/", None))),
        ("ws://host?b", Some(("/", Some("b")))),
        ("*", None),
        ("host:443", None),
        ("ftp://host/a", None),
        ("a/b", None),
    ] {
        assert_eq!(split_target(target), expected, "{target}");
    }
    assert_eq!(status(b"OPTIONS * HTTP/1.1\r\n\r\n"), 400);
}

#[test]
fn http_1_0_is_understood_and_other_versions_are_not() {
    assert_eq!(head("GET /healthz HTTP/1.0\r\n\r\n").version, Version::Http10);
    assert_eq!(status(b"GET / HTTP/2.0\r\n\r\n"), 400);
}

#[test]
fn garbage_is_refused_at_once() {
    // A TLS client, a NUL, a header without a name, a folded line.
    for garbage in [&b"\x16\x03\x01"[..], b"\0", b"GET / HTTP/1.1\r\n:", b"GET / HTTP/1.1\r\n a"] {
        assert_eq!(status(garbage), 400, "{garbage:?}");
    }
}

#[test]
fn a_head_may_have_8_kib_and_not_a_byte_more() {
    let padded = |bytes: usize| {
        let frame = "GET / HTTP/1.1\r\nA: \r\n\r\n".len();
        format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(bytes - frame))
    };
    let longest = padded(HEAD_BYTES_MAX);
    assert_eq!(parse_head(longest.as_bytes()).unwrap().unwrap().1, HEAD_BYTES_MAX);
    let too_long = padded(HEAD_BYTES_MAX + 1);
    assert_eq!(status(too_long.as_bytes()), 431);
    assert_eq!(status(&too_long.as_bytes()[..HEAD_BYTES_MAX]), 431, "no end was seen");
    assert_eq!(parse_head(&too_long.as_bytes()[..HEAD_BYTES_MAX - 1]), Ok(None));
}

#[test]
fn a_head_may_have_64_fields_and_not_one_more() {
    let with = |fields: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(fields));
    assert!(parse_head(with(HEAD_FIELDS_MAX).as_bytes()).unwrap().is_some());
    assert_eq!(status(with(HEAD_FIELDS_MAX + 1).as_bytes()), 431);
}

/// Requests, and requests with some bytes replaced.
fn requests() -> impl Strategy<Value = Vec<u8>> {
    let damage = (0..REQUEST.len(), prop_oneof![any::<u8>(), Just(b'\r'), Just(b'\n'), Just(b':')]);
    prop::collection::vec(damage, 0..3).prop_map(|damages| {
        let mut request = REQUEST.as_bytes().to_vec();
        for (at, byte) in damages {
            request[at] = byte;
        }
        request
    })
}

proptest! {
    /// Once there is an answer, more bytes never change it; and it comes byte by byte
    /// as it does at once.
    #[test]
    fn byte_by_byte_equals_whole(request in requests()) {
        let whole = parse_head(&request);
        let bytewise = (0..=request.len())
            .map(|end| parse_head(&request[..end]))
            .find(|answer| *answer != Ok(None))
            .unwrap_or(Ok(None));
        match (&whole, &bytewise) {
            // The reason may become known earlier than the text that describes it best.
            (Err(whole), Err(bytewise)) => prop_assert_eq!(whole.status, bytewise.status),
            _ => prop_assert_eq!(&whole, &bytewise),
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        text in "[ -~\r\n]{0,200}",
    ) {
        let _ = parse_head(&bytes);
        let _ = parse_head(text.as_bytes());
        let _ = split_target(&text);
    }
}
