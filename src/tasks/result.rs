//! ▢ What a worker says about one chunk, parsed from a published or cached payload.

use std::borrow::Cow;

use serde::Deserialize;

use super::json::{self, Text};

/// One worker's answer, borrowing from its payload. Its `duration` is not read: no
/// server message carries it.
#[derive(Debug, PartialEq)]
pub struct WorkerResult<'a> {
    /// Whose, where the worker says so: it must on a channel of a whole shard.
    pub session_id: Option<Cow<'a, str>>,
    /// Which chunk.
    pub index: u32,
    /// What was recognised; may be empty.
    pub text: Cow<'a, str>,
    /// What went wrong, where the worker says so.
    pub error: Option<Cow<'a, str>>,
}

/// The payload is no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl<'a> WorkerResult<'a> {
    /// Reads one result. Only `chunk_index` must be there; an empty or `null` error is none.
    ///
    /// # Errors
    /// [`Malformed`]; no input panics (a malformed result once killed the process).
    pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        if !json::is_object(payload) {
            return Err(Malformed);
        }
        let raw: Raw<'a> = serde_json::from_slice(payload).map_err(|_| Malformed)?;
        let error = Some(raw.error.0).filter(|error| !error.is_empty());
        let session_id = Some(raw.session_id.0).filter(|id| !id.is_empty());
        Ok(Self { session_id, index: raw.chunk_index, text: raw.text.0, error })
    }
}

#[derive(Deserialize)]
struct Raw<'a> {
    chunk_index: u32,
    #[serde(borrow, default)]
    session_id: Text<'a>,
    #[serde(borrow, default)]
    text: Text<'a>,
    #[serde(borrow, default)]
    error: Text<'a>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_workers_publish() {
        let full = WorkerResult::parse(
            br#"{"chunk_index": 4, "text": "caf\u00e9", "duration": 0.2, "error": ""}"#,
        );
        let text = "caf\u{e9}".into();
        assert_eq!(full, Ok(WorkerResult { session_id: None, index: 4, text, error: None }));
        let failed = WorkerResult::parse(
            br#"{"session_id":"s","chunk_index":4,"text":null,"error":"decoder"}"#,
        );
        let (session_id, error) = (Some("s".into()), Some("decoder".into()));
        assert_eq!(failed, Ok(WorkerResult { session_id, index: 4, text: "".into(), error }));
    }

    #[test]
    fn refuses_what_is_no_result() {
        for bad in [
            &b""[..],
            b"hello",
            b"[4,\"text\",\"\"]",
            b"{\"text\":\"x\"}",
            b"{\"chunk_index\":-1}",
            b"{\"chunk_index\":4294967296}",
            b"{\"chunk_index\":1,\"text\":[]}",
            b"{\"chunk_index\":1,\"text\":\"\xff\"}",
            b"{\"chunk_index\":1,\"text\":\"\\ud800\"}",
        ] {
            assert_eq!(WorkerResult::parse(bad), Err(Malformed), "{}", bad.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(payload in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = WorkerResult::parse(&payload);
        }
    }
}
