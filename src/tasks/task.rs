//! ▢ One task as workers read it: those of a list, and those of a stream (systems,
//! section 1).

use std::io::Write;

use super::id::SessionId;
use crate::broker::{Queue, Task};

/// Names the gateway in the field `origin` of a stream's entry.
const ORIGIN: &str = "ringgate";

/// The task of one chunk, with `timestamp_ms` since the Unix epoch. In a list it is
/// `{"session_id","chunk_index","audio_data","timestamp"}`; in a stream the fields `type`,
/// `task_id` (the session), `timestamp`, `origin`, and as `payload`
/// `{"chunk_index","audio_data"}`.
///
/// Nothing is escaped: an id has no character that JSON would escape, and `audio` must be
/// valid base64, which has none either. It goes through as received.
pub fn encode(
    queue: &Queue,
    session: &SessionId,
    index: u32,
    audio: &str,
    timestamp_ms: u64,
) -> Task {
    // The keys, the longest id and the longest numbers need less than 256 bytes.
    let mut json = Vec::with_capacity(256 + audio.len());
    // Writing into memory has no way to fail.
    let _ = match queue {
        Queue::List { .. } => {
            write!(json, r#"{{"session_id":"{session}","chunk_index":{index},"audio_data":""#)
        }
        Queue::Stream { .. } => write!(json, r#"{{"chunk_index":{index},"audio_data":""#),
    };
    json.extend_from_slice(audio.as_bytes());
    match queue {
        Queue::List { .. } => {
            let _ = write!(json, r#"","timestamp":{timestamp_ms}}}"#);
            Task::plain(json)
        }
        Queue::Stream { .. } => {
            json.extend_from_slice(br#""}"#);
            let fields = vec![
                ("type", "stream".into()),
                ("task_id", session.as_str().to_owned().into()),
                ("timestamp", timestamp_ms.to_string().into()),
                ("origin", ORIGIN.into()),
            ];
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
        let task = encode(queue, &id, u32::MAX, "+/A=", u64::MAX);
        assert!(task.payload.len() < 256, "one allocation");
        (id.as_str().to_owned(), task)
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
