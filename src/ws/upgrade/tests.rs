//! Handshakes: those that are taken, and a table of those that are refused, each with its status.

use proptest::prelude::*;

use super::super::head::parse_head;
use super::*;

/// The example of RFC 6455 section 1.3.
const GOOD: [&str; 6] = [
    "GET /chat HTTP/1.1",
    "Host: server.example.com",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
];

fn answer(lines: &[&str]) -> Result<Upgrade, Refusal> {
    let request = format!("{}\r\n\r\n", lines.join("\r\n"));
    let (head, _) = parse_head(request.as_bytes())?.expect("complete");
    check_upgrade(&head)
}

/// The good request with the line that starts like `line` replaced by it.
fn with(line: &str) -> Vec<&str> {
    let name = line.split_inclusive([' ', ':']).next().unwrap_or(line);
    GOOD.into_iter().map(|good| if good.starts_with(name) { line } else { good }).collect()
}

/// The good request without the lines that start with `prefix`.
fn without(prefix: &str) -> Vec<&'static str> {
    GOOD.into_iter().filter(|good| !good.starts_with(prefix)).collect()
}

fn and(line: &str) -> Vec<&str> {
    GOOD.into_iter().chain([line]).collect()
}

#[test]
fn the_example_of_the_rfc_is_accepted() {
    let mut out = Vec::new();
    answer(&GOOD).unwrap().write_response(&mut out);
    let mut fields = [httparse::EMPTY_HEADER; 8];
    let mut response = httparse::Response::new(&mut fields);
    assert_eq!(response.parse(&out).unwrap().unwrap(), out.len(), "nothing after the head");
    assert_eq!(response.code, Some(101));
    let field = |name: &str| {
        let field = response.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        field.map(|field| std::str::from_utf8(field.value).unwrap())
    };
    assert_eq!(field("upgrade"), Some("websocket"));
    assert_eq!(field("connection"), Some("Upgrade"));
    assert_eq!(field("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(response.headers.len(), 3, "no extension, no subprotocol");
}

#[test]
fn what_browsers_and_proxies_send_is_accepted() {
    for lines in [
        with("Upgrade: WebSocket"),
        with("Upgrade: h2c, websocket"),
        with("Connection: keep-alive, upgrade"),
        with("Host:"),
        with("GET http://server.example.com/chat HTTP/1.1"),
        and("connection: keep-alive"),
        and("Content-Length: 0"),
        and("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"),
        and("Sec-WebSocket-Protocol: chat, superchat"),
        and("Origin: http://example.com"),
    ] {
        assert!(answer(&lines).is_ok(), "{lines:?}");
    }
}

#[test]
fn bad_handshakes_get_their_status() {
    for (expected, lines) in [
        (405, [&["POST /chat HTTP/1.1"], &GOOD[1..]].concat()),
        (400, with("GET /chat HTTP/1.0")),
        (400, without("Host")),
        (400, and("Host: other.example.com")),
        (426, without("Upgrade")),
        (426, with("Upgrade: h2c")),
        (426, vec![GOOD[0], GOOD[1]]),
        (400, without("Connection")),
        (400, with("Connection: keep-alive")),
        (400, with("Connection: not-upgrade")),
        (426, without("Sec-WebSocket-Version")),
        (426, with("Sec-WebSocket-Version: 8")),
        (426, with("Sec-WebSocket-Version: 13, 8")),
        (400, and("Sec-WebSocket-Version: 13")),
        (400, without("Sec-WebSocket-Key")),
        (400, and("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")),
        (400, with("Sec-WebSocket-Key:")),
        // 15, 17 and 18 bytes.
        (400, with("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j")),
        (400, with("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZWE=")),
        (400, with("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZWFh")),
        // No padding; bits after the last byte; not the alphabet; far too long.
        (400, with("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ")),
        (400, with("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR==")),
        (400, with("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j_-==")),
        (400, with("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==dGhlIHNhbXBsZSBub25jZQ==")),
        (400, and("Content-Length: 1")),
        (400, and("Content-Length: -0")),
        (400, and("Content-Length:")),
        (400, and("Transfer-Encoding: chunked")),
    ] {
        let lines: Vec<&str> = lines;
        let status = answer(&lines).map_err(|refusal| refusal.status);
        assert_eq!(status, Err(expected), "{lines:?}");
    }
}

proptest! {
    #[test]
    fn a_key_is_accepted_where_it_is_the_base64_of_16_bytes(
        nonce: [u8; 16],
        damage in prop::option::of((0usize..24, any::<char>())),
    ) {
        let mut key = base64_simd::STANDARD.encode_to_string(nonce);
        if let Some((at, damage)) = damage {
            key.replace_range(at..=at, damage.encode_utf8(&mut [0; 4]));
        }
        // From the definition: decoding and encoding again gives the same text.
        let expected = base64_simd::STANDARD
            .decode_to_vec(&key)
            .is_ok_and(|bytes| bytes.len() == 16 && base64_simd::STANDARD.encode_to_string(bytes) == key);
        prop_assert_eq!(is_nonce(&key), expected);
    }
}
