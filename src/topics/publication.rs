//! ▢ A published message, encoded once for all who want it.

use std::sync::Arc;

use bytes::Bytes;
use serde::de::IgnoredAny;

use super::{Topic, reply};
use crate::{
    limits::FRAME_HEADER_BYTES_MAX,
    ws::{Opcode, write_header},
};

/// One message of one topic: the whole text frame `{"topic":…,"data":…}`, made by the home of
/// the topic and shared by every shard and connection.
#[derive(Debug)]
pub struct Publication {
    /// The frame at the end of room for the longest header.
    bytes: Vec<u8>,
    /// Where the header starts.
    start: u8,
    received_us: u64,
    lossy: bool,
}

/// What stands before the JSON in [`Publication::bytes`].
const HEADER_ROOM: usize = FRAME_HEADER_BYTES_MAX;

impl Publication {
    /// Encodes `payload`: as it is where it is JSON, otherwise as a JSON string, in which
    /// bytes that are not UTF-8 stand as U+FFFD. `received_us`: when it came, by the clock of
    /// the process.
    pub fn encode(topic: &Topic, payload: &[u8], received_us: u64) -> Self {
        let data = Data::of(payload);
        let mut bytes = Vec::with_capacity(HEADER_ROOM + topic.as_str().len() + payload.len() + 32);
        bytes.resize(HEADER_ROOM, 0);
        bytes.extend_from_slice(br#"{"topic":"#);
        reply::write_string(&mut bytes, topic.as_str());
        bytes.extend_from_slice(br#","data":"#);
        match &data {
            Data::Json(json) => bytes.extend_from_slice(json.as_bytes()),
            Data::Text(text) => reply::write_string(&mut bytes, text),
            Data::Lossy(text) => reply::write_string(&mut bytes, text),
        }
        bytes.push(b'}');
        let mut header = Vec::with_capacity(HEADER_ROOM);
        write_header(&mut header, Opcode::Text, bytes.len() - HEADER_ROOM);
        let start = HEADER_ROOM - header.len();
        bytes[start..HEADER_ROOM].copy_from_slice(&header);
        let lossy = matches!(data, Data::Lossy(_));
        Self { bytes, start: start as u8, received_us, lossy }
    }

    /// The frame and, a part of it, the JSON as an element of a batch. Each call makes a
    /// counter of its own for the clones, so that those of one shard touch no cache line of
    /// another's.
    pub fn share(self: Arc<Self>) -> Shared {
        let (start, received_us) = (usize::from(self.start), self.received_us);
        let all = Bytes::from_owner(Owner(self));
        Shared { frame: all.slice(start..), element: all.slice(HEADER_ROOM..), received_us }
    }

    /// Bytes of the frame.
    pub fn frame_bytes(&self) -> usize {
        self.bytes.len() - usize::from(self.start)
    }

    /// Whether the payload was not UTF-8.
    pub fn is_lossy(&self) -> bool {
        self.lossy
    }
}

/// A publication as one shard holds it.
pub struct Shared {
    /// A whole text frame.
    pub frame: Bytes,
    /// Its payload.
    pub element: Bytes,
    /// When it came from the broker, in microseconds.
    pub received_us: u64,
}

struct Owner(Arc<Publication>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0.bytes
    }
}

enum Data<'a> {
    Json(&'a str),
    Text(&'a str),
    Lossy(String),
}

impl<'a> Data<'a> {
    fn of(payload: &'a [u8]) -> Self {
        let Ok(text) = simdutf8::basic::from_utf8(payload) else {
            return Self::Lossy(String::from_utf8_lossy(payload).into_owned());
        };
        // Reads by the grammar, and keeps nothing.
        match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => Self::Json(text),
            Err(_) => Self::Text(text),
        }
    }
}

/// A text frame for several connections that is not a publication.
pub fn notice_frame(text: &str) -> Bytes {
    let mut frame = Vec::with_capacity(HEADER_ROOM + text.len());
    crate::ws::write_frame(&mut frame, Opcode::Text, text.as_bytes());
    frame.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn element(payload: &[u8]) -> String {
        let topic = Topic::parse("t\"1").unwrap();
        let shared = Arc::new(Publication::encode(&topic, payload, 0)).share();
        let mut frame = Vec::new();
        crate::ws::write_frame(&mut frame, Opcode::Text, &shared.element);
        assert_eq!(shared.frame, frame);
        String::from_utf8(shared.element.to_vec()).unwrap()
    }

    #[test]
    fn json_goes_through_as_it_is_and_all_else_as_a_string() {
        for json in ["1", " {\"a\" :\n[1.50, null]}\r\n", "\"x\\ud800\"", "1e999", "[[[]]]"] {
            assert_eq!(element(json.as_bytes()), format!(r#"{{"topic":"t\"1","data":{json}}}"#));
        }
        for text in ["", " ", "NaN", "{\"a\":1", "{} {}", "a\"b\n", "01", "\u{feff}1", "'x'"] {
            let string = serde_json::to_string(text).unwrap();
            assert_eq!(element(text.as_bytes()), format!(r#"{{"topic":"t\"1","data":{string}}}"#));
        }
        assert_eq!(element(b"\"a\xff\""), "{\"topic\":\"t\\\"1\",\"data\":\"\\\"a\u{fffd}\\\"\"}");
    }

    #[test]
    fn deep_nesting_is_read_without_a_stack() {
        let deep = ["[".repeat(1 << 20), "]".repeat(1 << 20)].concat();
        assert!(element(deep.as_bytes()).ends_with("]]}"));
    }

    #[test]
    fn every_length_has_its_header() {
        for length in [0, 90, 100, 110, 65_000, 65_530, 70_000] {
            element("x".repeat(length).as_bytes());
        }
    }

    proptest! {
        #[test]
        fn any_payload_becomes_one_json_object(payload in prop::collection::vec(any::<u8>(), 0..60)) {
            let value: Value = serde_json::from_str(&element(&payload)).unwrap();
            let expected = match serde_json::from_slice::<Value>(&payload) {
                Ok(value) => value,
                Err(_) => Value::String(String::from_utf8_lossy(&payload).into_owned()),
            };
            prop_assert_eq!(&value["data"], &expected);
        }
    }
}
