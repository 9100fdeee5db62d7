//! ▢ One task as the workers of the list dialect read it.

use std::io::Write;

use super::id::SessionId;

/// What a client sent of one chunk.
#[derive(Clone, Copy, Debug)]
pub enum Audio<'a> {
    /// Standard base64, which the caller has checked. It goes through as received.
    Base64(&'a str),
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
            Self::Base64(text) => text.len(),
            Self::Raw(bytes) => base64_simd::STANDARD.encoded_length(bytes.len()),
        }
    }
}

/// `{"session_id","chunk_index","audio_data","timestamp"}`, with `timestamp_ms` since the
/// Unix epoch, and `reply_to` where the worker is to publish there.
///
/// Nothing is escaped: neither ids nor base64 nor channels of the gateway have a character
/// that JSON would escape.
pub fn encode(
    session: &SessionId,
    index: u32,
    audio: Audio<'_>,
    timestamp_ms: u64,
    reply_to: Option<&str>,
) -> Vec<u8> {
    // The keys, the longest id and the longest numbers need less than 256 bytes.
    let reply_bytes = reply_to.map_or(0, |channel| channel.len() + 16);
    let mut json = Vec::with_capacity(256 + audio.encoded_bytes() + reply_bytes);
    // Writing into memory has no way to fail.
    let _ = write!(json, r#"{{"session_id":"{session}","chunk_index":{index},"audio_data":""#);
    match audio {
        Audio::Base64(text) => json.extend_from_slice(text.as_bytes()),
        Audio::Raw(bytes) => base64_simd::STANDARD.encode_append(bytes, &mut json),
    }
    let _ = write!(json, r#"","timestamp":{timestamp_ms}"#);
    if let Some(channel) = reply_to {
        let _ = write!(json, r#","reply_to":"{channel}""#);
    }
    json.push(b'}');
    json
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn is_the_json_that_workers_read() {
        let id = SessionId::parse(&"x".repeat(128)).unwrap();
        let task = encode(&id, u32::MAX, Audio::Base64("+/A="), u64::MAX, None);
        let mut expected = json!({
            "session_id": id.as_str(),
            "chunk_index": u32::MAX,
            "audio_data": "+/A=",
            "timestamp": u64::MAX,
        });
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&task).unwrap(), expected);
        assert!(task.len() < 256, "one allocation");
        let task = encode(&id, u32::MAX, Audio::Raw(&[0xfb, 0xf0]), u64::MAX, Some("a:b:0"));
        expected["audio_data"] = "+/A=".into();
        expected["reply_to"] = "a:b:0".into();
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&task).unwrap(), expected);
    }
}
