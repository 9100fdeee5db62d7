//! ▢ What the gateway itself tells a raw client: JSON in text frames, each with a `type`.

use serde::Serialize;

use crate::broker::Error as BrokerError;
use crate::ids::SocketId;
use crate::tasks::Action;
use crate::tasks::id::SessionId;
use crate::ws::CloseCode;

/// One message to a client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    /// UTF-8.
    Text(Vec<u8>),
    /// Any bytes.
    Binary(Vec<u8>),
}

impl Frame {
    /// What the shard is to do with it.
    pub fn sent_to(self, to: SocketId) -> Action {
        match self {
            Self::Text(text) => Action::Send { to, text },
            Self::Binary(bytes) => Action::SendBinary { to, bytes },
        }
    }

    /// Bytes of its payload.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(payload) | Self::Binary(payload) => payload.len(),
        }
    }
}

/// The `code` of an error message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// A limit of the gateway or the broker is reached; later it may work.
    Busy,
    /// The broker is away or refused.
    BrokerUnavailable,
    /// The id is open on another route.
    BadSessionId,
    /// The task was not done in time; nothing more will come of it.
    Deadline,
    /// Results are missing here.
    Lost,
}

impl ErrorCode {
    /// What a failure of the broker is to a client.
    pub fn of(error: &BrokerError) -> Self {
        match error {
            BrokerError::Full => Self::Busy,
            BrokerError::Refused(_) => Self::BrokerUnavailable,
        }
    }

    fn message(self) -> &'static str {
        match self {
            Self::Busy => "System busy",
            Self::BrokerUnavailable => "The broker is not available",
            Self::BadSessionId => "The session is open on another route",
            Self::Deadline => "Not done in time",
            Self::Lost => "Results were lost",
        }
    }
}

/// There is no room for a session now.
pub fn close_for_now(socket: SocketId) -> Action {
    Action::Close { socket, code: CloseCode::TryAgainLater, reason: "no session" }
}

/// The session is open and its results will be heard; `next_seq` is the number of the
/// client's next message, and `resumed` says whether the session is an earlier one.
pub fn open(session: &SessionId, resumed: bool, next_seq: u64) -> Frame {
    encode(&Open { kind: "open", session_id: session.as_str(), resumed, next_seq })
}

/// A task was refused, or given up; without a `seq` it is about the connection.
pub fn error(code: ErrorCode, seq: Option<u64>) -> Frame {
    encode(&Error { kind: "error", seq, code, count: None, message: code.message() })
}

/// So many results are missing here: of one task, or of the whole session.
pub fn lost(count: u64, seq: Option<u64>) -> Frame {
    let code = ErrorCode::Lost;
    encode(&Error { kind: "error", seq, code, count: Some(count), message: code.message() })
}

fn encode(message: &impl Serialize) -> Frame {
    // Writing strings and numbers into memory has no way to fail.
    Frame::Text(serde_json::to_vec(message).unwrap_or_default())
}

#[derive(Serialize)]
struct Open<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    session_id: &'a str,
    resumed: bool,
    next_seq: u64,
}

#[derive(Serialize)]
struct Error {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    code: ErrorCode,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    message: &'static str,
}
