//! ▢ What the gateway tells a client: one function a message, each returns its JSON.
//!
//! `chunk_index` stands on every server message, because old clients read it from each.

use serde::Serialize;

use super::chunks::Summary;
use super::id::SessionId;
use crate::decimal;

/// The `code` of an error message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The message is not one of the protocol, or comes at the wrong time.
    BadMessage,
    /// No such `action`.
    UnknownAction,
    /// This connection has no such session.
    SessionNotFound,
    /// The id is not one.
    BadSessionId,
    /// The index is out of range or the audio is not base64.
    BadChunk,
    /// The session has as many chunks as it can have.
    TooLarge,
    /// A limit of the gateway or the broker is reached; later it may work.
    Busy,
    /// The broker is away or refused.
    BrokerUnavailable,
}

/// An error message.
#[derive(Debug)]
pub struct Error<'a> {
    /// For programs.
    pub code: ErrorCode,
    /// For people; four of the texts are known to old clients.
    pub message: &'a str,
    /// Whose, where that is known.
    pub session: Option<&'a SessionId>,
    /// The chunk that the broker did not take: the client may send it again.
    pub rejected_chunk: Option<u32>,
}

/// The text that old clients know for "not now".
pub const SYSTEM_BUSY: &str = "System busy";

/// The session is open and its results will be heard. `next_chunk`: the index of the next
/// binary frame, for a client that sends such.
pub fn start_ack(session: &SessionId, next_chunk: Option<u32>) -> Vec<u8> {
    encode(&Ack {
        kind: "ack",
        session_id: session.as_str(),
        chunk_index: 0,
        status: "session_started",
        next_chunk,
    })
}

/// The broker has the chunk. Written by hand, for there is one for every chunk; no id has a
/// character that JSON would escape.
pub fn chunk_ack(session: &SessionId, chunk_index: u32) -> Vec<u8> {
    let (head, middle) = (br#"{"type":"ack","session_id":""#, br#"","chunk_index":"#);
    let (id, tail) = (session.as_str().as_bytes(), br#","status":"received"}"#);
    let fixed_bytes = head.len() + middle.len() + tail.len();
    let mut json = Vec::with_capacity(fixed_bytes + id.len() + decimal::DIGITS_MAX);
    json.extend_from_slice(head);
    json.extend_from_slice(id);
    json.extend_from_slice(middle);
    decimal::append(&mut json, chunk_index.into());
    json.extend_from_slice(tail);
    json
}

/// A worker's answer.
pub fn chunk_result(
    session: &SessionId,
    chunk_index: u32,
    text: &str,
    error: Option<&str>,
) -> Vec<u8> {
    let session_id = session.as_str();
    encode(&ChunkResult { kind: "chunk_result", session_id, chunk_index, text, error })
}

/// The end of a session. `duration_ms` is since its start.
pub fn final_result(session: &SessionId, summary: &Summary, duration_ms: u64) -> Vec<u8> {
    let complete = summary.missing_count == 0;
    encode(&FinalResult {
        kind: "final_result",
        session_id: session.as_str(),
        chunk_index: 0,
        text: &summary.text,
        duration: duration_ms as f64 / 1e3,
        chunk_count: summary.chunks,
        complete,
        missing: (!complete).then_some(&summary.missing),
        missing_count: (!complete).then_some(summary.missing_count),
    })
}

/// Something was refused; the connection and its sessions stay, unless the text says so.
pub fn error(error: &Error<'_>) -> Vec<u8> {
    encode(&ErrorReply {
        kind: "error",
        session_id: error.session.map(SessionId::as_str),
        chunk_index: 0,
        message: error.message,
        code: error.code,
        rejected_chunk: error.rejected_chunk,
    })
}

fn encode(message: &impl Serialize) -> Vec<u8> {
    // Writing strings and numbers into memory has no way to fail.
    serde_json::to_vec(message).unwrap_or_default()
}

#[derive(Serialize)]
struct Ack<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    session_id: &'a str,
    chunk_index: u32,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_chunk: Option<u32>,
}

#[derive(Serialize)]
struct ChunkResult<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    session_id: &'a str,
    chunk_index: u32,
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

#[derive(Serialize)]
struct FinalResult<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    session_id: &'a str,
    chunk_index: u32,
    text: &'a str,
    duration: f64,
    chunk_count: usize,
    complete: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<&'a Vec<u32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    missing_count: Option<usize>,
}

#[derive(Serialize)]
struct ErrorReply<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<&'a str>,
    chunk_index: u32,
    message: &'a str,
    code: ErrorCode,
    #[serde(skip_serializing_if = "Option::is_none")]
    rejected_chunk: Option<u32>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_ack_of_a_chunk_is_what_serde_would_write(
            id in "[A-Za-z0-9._:-]{1,128}", chunk_index: u32,
        ) {
            let id = SessionId::parse(&id).unwrap();
            let expected = encode(&Ack {
                kind: "ack",
                session_id: id.as_str(),
                chunk_index,
                status: "received",
                next_chunk: None,
            });
            let ack = chunk_ack(&id, chunk_index);
            prop_assert_eq!(String::from_utf8(ack), String::from_utf8(expected));
        }
    }
}
