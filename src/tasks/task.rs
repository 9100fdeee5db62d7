//! ▢ One task as the workers of the list dialect read it.

use std::io::Write;

use super::id::SessionId;

/// `{"session_id","chunk_index","audio_data","timestamp"}`, with `timestamp_ms` since the
/// Unix epoch.
///
/// Nothing is escaped: an id has no character that JSON would escape, and `audio` must be
/// valid base64, which has none either. It goes through as received.
pub fn encode(session: &SessionId, index: u32, audio: &str, timestamp_ms: u64) -> Vec<u8> {
    // The keys, the longest id and the longest numbers need less than 256 bytes.
    let mut json = Vec::with_capacity(256 + audio.len());
    // Writing into memory has no way to fail.
    let _ = write!(json, r#"{{"session_id":"{session}","chunk_index":{index},"audio_data":""#);
    json.extend_from_slice(audio.as_bytes());
    let _ = write!(json, r#"","timestamp":{timestamp_ms}}}"#);
    json
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn is_the_json_that_workers_read() {
        let id = SessionId::parse(&"x".repeat(128)).unwrap();
        let task = encode(&id, u32::MAX, "+/A=", u64::MAX);
        let expected = json!({
            "session_id": id.as_str(),
            "chunk_index": u32::MAX,
            "audio_data": "+/A=",
            "timestamp": u64::MAX,
        });
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&task).unwrap(), expected);
        assert!(task.len() < 256, "one allocation");
    }
}
