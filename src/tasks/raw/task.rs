//! ▢ One task as the workers of the raw dialect read it.

use std::io::Write;

use crate::tasks::id::SessionId;

/// What one message of a client carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Data<'a> {
    /// A text frame.
    Text(&'a str),
    /// A binary frame.
    Binary(&'a [u8]),
}

/// `{"session_id","seq","kind":"text"|"binary","data","timestamp","reply_to"?}`, with
/// `timestamp_ms` since the Unix epoch and binary data as standard base64 with padding.
///
/// `reply_to`: the channel for its results where that is not the session's own; it must
/// not need escaping.
pub fn encode(
    session: &SessionId,
    seq: u64,
    data: Data<'_>,
    timestamp_ms: u64,
    reply_to: Option<&str>,
) -> Vec<u8> {
    let (kind, data_bytes) = match data {
        Data::Text(text) => ("text", text.len()),
        Data::Binary(bytes) => ("binary", base64_simd::STANDARD.encoded_length(bytes.len())),
    };
    // The keys, the longest id and the longest numbers need less than 256 bytes.
    let mut json = Vec::with_capacity(256 + reply_to.map_or(0, str::len) + data_bytes);
    // Writing into memory has no way to fail.
    let _ = write!(json, r#"{{"session_id":"{session}","seq":{seq},"kind":"{kind}","data":"#);
    match data {
        Data::Text(text) => {
            let _ = serde_json::to_writer(&mut json, text);
        }
        Data::Binary(bytes) => {
            json.push(b'"');
            base64_simd::STANDARD.encode_append(bytes, &mut json);
            json.push(b'"');
        }
    }
    let _ = write!(json, r#","timestamp":{timestamp_ms}"#);
    if let Some(reply_to) = reply_to {
        let _ = write!(json, r#","reply_to":"{reply_to}""#);
    }
    json.push(b'}');
    json
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    proptest! {
        #[test]
        fn text_goes_through_without_loss(text in any::<String>(), seq in any::<u64>()) {
            let id = SessionId::parse("a:b").unwrap();
            let task = encode(&id, seq, Data::Text(&text), 7, None);
            let expected = json!({
                "session_id": "a:b", "seq": seq, "kind": "text", "data": text, "timestamp": 7,
            });
            prop_assert_eq!(serde_json::from_slice::<Value>(&task).unwrap(), expected);
        }

        #[test]
        fn bytes_go_through_without_loss(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let id = SessionId::parse(&"x".repeat(128)).unwrap();
            let task = encode(&id, u64::MAX, Data::Binary(&bytes), u64::MAX, Some("r:1:2"));
            prop_assert!(task.len() <= 256 + 5 + bytes.len().div_ceil(3) * 4, "one allocation");
            let mut task: Value = serde_json::from_slice(&task).unwrap();
            let data = task["data"].take();
            let data = base64_simd::STANDARD.decode_to_vec(data.as_str().unwrap()).unwrap();
            prop_assert_eq!(data, bytes);
            let expected = json!({
                "session_id": id.as_str(), "seq": u64::MAX, "kind": "binary", "data": null,
                "timestamp": u64::MAX, "reply_to": "r:1:2",
            });
            prop_assert_eq!(task, expected);
        }
    }
}
