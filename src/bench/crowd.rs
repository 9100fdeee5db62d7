//! ▢ What a fleet tells those whose clients it holds.

use std::fmt;

use super::Fleet;
use crate::ids::SocketId;

/// How long a connection may take to be open, from its first packet.
pub(super) const OPEN_MS: u64 = 10_000;

/// One connection of one user.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClientId {
    pub(super) socket: SocketId,
    /// The user's number, chosen by the crowd; several connections may have it.
    pub user: u32,
}

/// What a server said that no client can go on after.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Broken(pub &'static str);

/// How a connection ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// The request was answered.
    Answered,
    /// The upgrade was answered with another status than 101, and so many seconds to wait, where
    /// the server said it (RFC 9110, 10.2.3).
    Refused(u16, Option<u32>),
    /// The server sent a close frame with this code.
    Closed(Option<u16>),
    /// Gone without a word: reset, refused, or FIN without a close frame.
    Lost(String),
    /// Not open in time.
    Slow,
    /// The server broke the protocol.
    Broken(&'static str),
}

impl fmt::Display for End {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered => out.write_str("closed after the answer"),
            Self::Refused(status, _) => write!(out, "refused with HTTP {status}"),
            Self::Closed(Some(code)) => write!(out, "closed by the server with {code}"),
            Self::Closed(None) => out.write_str("closed by the server without a code"),
            Self::Lost(why) => write!(out, "lost: {why}"),
            Self::Slow => write!(out, "not open after {} s", OPEN_MS / 1000),
            Self::Broken(why) => write!(out, "the server broke the protocol: {why}"),
        }
    }
}

/// Who the clients are, and what they do. Every connection has one `on_open` or `on_answer`
/// at most, and one `on_end` at the end, unless it was told to leave.
pub trait Crowd {
    /// The WebSocket is open.
    fn on_open(&mut self, fleet: &mut Fleet, client: ClientId);
    /// A text or binary message came.
    fn on_message(&mut self, fleet: &mut Fleet, client: ClientId, payload: &[u8]);
    /// The answer to [`Fleet::request`]; the connection ends after it.
    fn on_answer(&mut self, _fleet: &mut Fleet, _client: ClientId, _status: u16, _body: &[u8]) {}
    /// The connection is over.
    fn on_end(&mut self, fleet: &mut Fleet, client: ClientId, end: End);
}
