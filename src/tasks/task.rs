//! ▢ One task as workers read it: those of a list, and those of a stream (systems,
//! section 1).

use std::borrow::Cow;

use super::id::SessionId;
use crate::broker::{Queue, Task};
use crate::decimal;

/// Names the gateway in the field `origin` of a stream's entry.
pub const ORIGIN: &str = "ringgate";

/// Standard base64 (RFC 4648 section 4), padded, possibly of nothing: plain ASCII, none of which
/// JSON would escape.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Base64<'a>(Cow<'a, [u8]>);

impl<'a> Base64<'a> {
    /// `None` where it is something else.
    pub fn check(text: impl Into<Cow<'a, [u8]>>) -> Option<Self> {
        let text = text.into();
        base64_simd::STANDARD.check(&text).is_ok().then_some(Self(text))
    }

    /// Of no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What a client sent of one chunk.
#[derive(Clone, Copy, Debug)]
pub enum Audio<'a> {
    /// It goes through as received.
    Base64(&'a Base64<'a>),
    /// The bytes themselves.
    Raw(&'a [u8]),
}

impl Audio<'_> {
    /// Whether there is nothing to recognise.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Base64(text) => text.is_empty(),
            Self::Raw(bytes) => bytes.is_empty(),
        }
    }

    fn encoded_bytes(&self) -> usize {
        match self {
            Self::Base64(text) => text.0.len(),
            Self::Raw(bytes) => base64_simd::STANDARD.encoded_length(bytes.len()),
        }
    }

    fn append_to(self, json: &mut Vec<u8>) {
        match self {
            Self::Base64(text) => json.extend_from_slice(&text.0),
            Self::Raw(bytes) => base64_simd::STANDARD.encode_append(bytes, json),
        }
    }
}

/// The task of one chunk, with `timestamp_ms` since the Unix epoch. In a list it is
/// `{"session_id","chunk_index","audio_data","timestamp"}`; in a stream the fields `type`,
/// `task_id` (the session), `timestamp`, `origin`, and as `payload`
/// `{"chunk_index","audio_data"}`. In both `reply_to` is added where the worker is to
/// publish there.
///
/// Nothing is escaped: neither ids nor base64 nor channels of the gateway have a character
/// that JSON would escape.
pub fn encode(
    queue: &Queue,
    session: &SessionId,
    index: u32,
    audio: Audio<'_>,
    timestamp_ms: u64,
    reply_to: Option<&str>,
) -> Task {
    // The keys, the longest id and the longest numbers need less than 256 bytes.
    let reply_bytes = reply_to.map_or(0, |channel| channel.len() + 16);
    let mut json = Vec::with_capacity(256 + audio.encoded_bytes() + reply_bytes);
    json.push(b'{');
    if let Queue::List { .. } = queue {
        json.extend_from_slice(br#""session_id":""#);
        json.extend_from_slice(session.as_str().as_bytes());
        json.extend_from_slice(br#"","#);
    }
    json.extend_from_slice(br#""chunk_index":"#);
    decimal::append(&mut json, index.into());
    json.extend_from_slice(br#","audio_data":""#);
    audio.append_to(&mut json);
    json.push(b'"');
    match queue {
        Queue::List { .. } => {
            json.extend_from_slice(br#","timestamp":"#);
            decimal::append(&mut json, timestamp_ms);
            if let Some(channel) = reply_to {
                json.extend_from_slice(br#","reply_to":""#);
                json.extend_from_slice(channel.as_bytes());
                json.push(b'"');
            }
            json.push(b'}');
            Task::plain(json)
        }
        Queue::Stream { .. } => {
            json.push(b'}');
            let mut fields = vec![
                ("type", "stream".into()),
                ("task_id", session.as_str().to_owned().into()),
                ("timestamp", timestamp_ms.to_string().into()),
                ("origin", ORIGIN.into()),
            ];
            fields.extend(reply_to.map(|channel| ("reply_to", channel.to_owned().into())));
            Task { payload: json, fields }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn longest(queue: &Queue) -> (String, Task) {
        let id = SessionId::parse(&"x".repeat(128)).unwrap();
        let audio = Base64::check(b"+/A=".as_slice()).unwrap();
        let task = encode(queue, &id, u32::MAX, Audio::Base64(&audio), u64::MAX, None);
        assert!(task.payload.len() < 256, "one allocation");
        (id.as_str().to_owned(), task)
    }

    #[test]
    fn bytes_are_encoded_and_a_channel_is_named() {
        let id = SessionId::parse("s").unwrap();
        let encode =
            |queue: Queue| encode(&queue, &id, 7, Audio::Raw(&[0xfb, 0xf0]), 9, Some("a:b:0"));
        let task = encode(Queue::List { key: "q".into() });
        let expected = json!({"session_id": "s", "chunk_index": 7, "audio_data": "+/A=",
            "timestamp": 9, "reply_to": "a:b:0"});
        assert_eq!(serde_json::from_slice::<Value>(&task.payload).unwrap(), expected);
        let task = encode(Queue::Stream { key: "q".into(), group: "g".into() });
        let expected = json!({"chunk_index": 7, "audio_data": "+/A="});
        assert_eq!(serde_json::from_slice::<Value>(&task.payload).unwrap(), expected);
        assert_eq!(task.fields.last().unwrap(), &("reply_to", "a:b:0".into()));
    }

    #[test]
    fn is_the_json_that_the_workers_of_a_list_read() {
        let (id, task) = longest(&Queue::List { key: "q".into() });
        let expected = json!({
            "session_id": id,
            "chunk_index": u32::MAX,
            "audio_data": "+/A=",
            "timestamp": u64::MAX,
        });
        assert_eq!(serde_json::from_slice::<Value>(&task.payload).unwrap(), expected);
        assert!(task.fields.is_empty());
    }

    #[test]
    fn is_the_entry_that_the_workers_of_a_stream_read() {
        let (id, task) = longest(&Queue::Stream { key: "q".into(), group: "g".into() });
        let expected = json!({"chunk_index": u32::MAX, "audio_data": "+/A="});
        assert_eq!(serde_json::from_slice::<Value>(&task.payload).unwrap(), expected);
        let fields: Vec<(&str, &str)> =
            task.fields.iter().map(|(name, text)| (*name, &**text)).collect();
        let timestamp = u64::MAX.to_string();
        assert_eq!(
            fields,
            [
                ("type", "stream"),
                ("task_id", &id),
                ("timestamp", &timestamp),
                ("origin", "ringgate")
            ]
        );
    }
}
