//! ▢ What a server sends to its clients: response heads with a body, then frames.
//!
//! Frames are handed on where they lie; only what has not come whole is kept.

use super::crowd::Broken;
use crate::ws::Opcode;

/// Largest response or frame that is put together.
const PIECE_BYTES_MAX: usize = 64 << 20;

/// One frame at the head of some bytes.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Frame<'b> {
    pub opcode: Opcode,
    pub payload: &'b [u8],
    /// Bytes of header and payload.
    pub len: usize,
}

/// The first frame of `bytes`; `None` where it is not all there.
pub(super) fn first_frame(bytes: &[u8]) -> Result<Option<Frame<'_>>, Broken> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    let opcode = match first {
        0x81 => Opcode::Text,
        0x82 => Opcode::Binary,
        0x88 => Opcode::Close,
        0x89 => Opcode::Ping,
        0x8A => Opcode::Pong,
        // Fragments and extensions: no server that is measured with this sends them.
        _ => return Err(Broken("a frame that this client does not know")),
    };
    let (payload_bytes, length_bytes) = match second {
        126 => match rest.first_chunk() {
            Some(length) => (u64::from(u16::from_be_bytes(*length)), 2),
            None => return Ok(None),
        },
        127 => match rest.first_chunk() {
            Some(length) => (u64::from_be_bytes(*length), 8),
            None => return Ok(None),
        },
        0..126 => (u64::from(*second), 0),
        _ => return Err(Broken("a masked frame from a server")),
    };
    let payload_bytes =
        usize::try_from(payload_bytes).ok().filter(|&bytes| bytes <= PIECE_BYTES_MAX);
    let payload_bytes = payload_bytes.ok_or(Broken("a frame of over 64 MiB"))?;
    let payload = rest.get(length_bytes..).and_then(|rest| rest.get(..payload_bytes));
    Ok(payload.map(|payload| Frame { opcode, payload, len: 2 + length_bytes + payload_bytes }))
}

/// A whole response at the head of some bytes.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Response<'b> {
    pub status: u16,
    /// The `Sec-WebSocket-Accept` of an upgrade.
    pub accept: Option<&'b [u8]>,
    /// The `Retry-After` in seconds; a date is taken for none.
    pub retry_after_s: Option<u32>,
    pub body: &'b [u8],
    /// Bytes of head and body.
    pub len: usize,
}

/// The response in `bytes`; `None` where it is not all there.
pub(super) fn response(bytes: &[u8]) -> Result<Option<Response<'_>>, Broken> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut fields);
    let head_bytes = match response.parse(bytes) {
        Ok(httparse::Status::Complete(head_bytes)) => head_bytes,
        Ok(httparse::Status::Partial) if bytes.len() < PIECE_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) | Err(_) => {
            return Err(Broken("no answer of an HTTP server"));
        }
    };
    let status = response.code.unwrap_or_default();
    let field = |name: &str| {
        let field = response.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        field.map(|field| field.value)
    };
    let text = |value: &[u8]| std::str::from_utf8(value).ok()?.trim().parse::<u32>().ok();
    let body_bytes = match field("content-length") {
        Some(value) => text(value).ok_or(Broken("a content length that is no number"))? as usize,
        None => 0,
    };
    if head_bytes.saturating_add(body_bytes) > PIECE_BYTES_MAX {
        return Err(Broken("an answer of over 64 MiB"));
    }
    let body = bytes.get(head_bytes..).and_then(|rest| rest.get(..body_bytes));
    let accept = field("sec-websocket-accept");
    let retry_after_s = field("retry-after").and_then(text);
    let len = head_bytes + body_bytes;
    Ok(body.map(|body| Response { status, accept, retry_after_s, body, len }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ws::write_frame;

    proptest! {
        #[test]
        fn what_the_gateway_writes_is_read_back(payload in prop::collection::vec(any::<u8>(), 0..70_000)) {
            let mut bytes = Vec::new();
            write_frame(&mut bytes, Opcode::Binary, &payload);
            let whole = bytes.len();
            let frame = first_frame(&bytes).unwrap().unwrap();
            prop_assert_eq!((frame.opcode, frame.payload, frame.len), (Opcode::Binary, &payload[..], whole));
            for cut in [1, 2, whole / 2, whole - 1] {
                prop_assert_eq!(first_frame(&bytes[..cut.min(whole - 1)]).unwrap(), None);
            }
        }

        #[test]
        fn rubbish_is_refused_and_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = (first_frame(&bytes), response(&bytes));
        }
    }

    #[test]
    fn an_answer_without_measure_is_refused_by_its_head() {
        let head = |bytes: u64| format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n");
        assert_eq!(response(head(1 << 20).as_bytes()), Ok(None));
        for bytes in [64 << 20, u64::from(u32::MAX)] {
            assert!(response(head(bytes).as_bytes()).is_err(), "{bytes}");
        }
    }

    #[test]
    fn a_response_needs_its_body() {
        let text = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nRetry-After: 7\r\n\r\n{}rest";
        for cut in 0..text.len() - 4 {
            assert_eq!(response(&text[..cut]).unwrap(), None, "{cut}");
        }
        let whole = response(text).unwrap().unwrap();
        assert_eq!((whole.status, whole.body, whole.len), (201, &b"{}"[..], text.len() - 4));
        assert_eq!(whole.retry_after_s, Some(7));
        assert!(response(b"+PONG\r\n").is_err());
    }
}
