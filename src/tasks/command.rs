//! ▢ What a client asks for, parsed from one WebSocket message.
//!
//! As lenient as the system that it replaces: unknown keys are ignored, an absent or
//! `null` text is empty, an absent index is zero. `user_id` (default `anonymous`) is
//! among the unknown keys: no worker is told of it, and no decision hangs on it.

mod flat;

use std::borrow::Cow;

use serde::Deserialize;

use super::json::{self, Text};
use super::task::Base64;

/// One message of a client, borrowing from its payload.
#[derive(Debug, PartialEq)]
pub enum Command<'a> {
    /// Open a session, or come back to it.
    Start {
        /// As the client gave it; empty: the gateway makes one.
        session_id: Cow<'a, str>,
        /// What it wants to be different.
        modes: Modes,
    },
    /// One piece of audio.
    Chunk {
        /// As the client gave it.
        session_id: Cow<'a, str>,
        /// As the client gave it; only `0..=u32::MAX` is an index.
        index: i64,
        /// As the client gave it; `None`: not base64.
        audio: Option<Base64<'a>>,
    },
    /// No chunk will follow.
    Finish {
        /// As the client gave it.
        session_id: Cow<'a, str>,
    },
}

/// What a `start` says about its session; `None`: nothing, so that it stays as it was, or
/// as it is by default.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Modes {
    /// Whether each binary frame is a chunk; by default not.
    pub binary: Option<bool>,
    /// Whether chunks are acked; by default so.
    pub acks: Option<bool>,
}

/// Why a message is no command.
#[derive(Debug, PartialEq)]
pub enum BadCommand<'a> {
    /// Not a JSON object, or a known key with a value of another type.
    Format,
    /// An `action` that there isn't.
    UnknownAction(Cow<'a, str>),
}

impl<'a> Command<'a> {
    /// Reads one message.
    ///
    /// # Errors
    /// [`BadCommand`]; no input panics.
    pub fn parse(payload: &'a [u8]) -> Result<Self, BadCommand<'a>> {
        flat::parse_chunk(payload).map_or_else(|| Self::parse_any(payload), Ok)
    }

    fn parse_any(payload: &'a [u8]) -> Result<Self, BadCommand<'a>> {
        if !json::is_object(payload) {
            return Err(BadCommand::Format);
        }
        let raw: Raw<'a> = serde_json::from_slice(payload).map_err(|_| BadCommand::Format)?;
        let session_id = raw.session_id.0;
        match &*raw.action.0 {
            "start" => {
                let modes = Modes { binary: raw.binary, acks: raw.acks };
                Ok(Self::Start { session_id, modes })
            }
            "chunk" => {
                let index = raw.chunk_index.unwrap_or(0);
                let audio = match raw.audio_data.0 {
                    Cow::Borrowed(text) => Base64::check(text.as_bytes()),
                    Cow::Owned(text) => Base64::check(text.into_bytes()),
                };
                Ok(Self::Chunk { session_id, index, audio })
            }
            "finish" => Ok(Self::Finish { session_id }),
            _ => Err(BadCommand::UnknownAction(raw.action.0)),
        }
    }
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow, default)]
    action: Text<'a>,
    #[serde(borrow, default)]
    session_id: Text<'a>,
    chunk_index: Option<i64>,
    #[serde(borrow, default)]
    audio_data: Text<'a>,
    binary: Option<bool>,
    acks: Option<bool>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_clients_send() {
        let start = Command::parse(br#" {"action":"start","session_id":"s","user_id":7,"x":[]}"#);
        let modes = Modes::default();
        assert_eq!(start, Ok(Command::Start { session_id: "s".into(), modes }));
        let start = Command::parse(br#"{"action":"start","binary":true,"acks":false}"#);
        let told = Modes { binary: Some(true), acks: Some(false) };
        assert_eq!(start, Ok(Command::Start { session_id: "".into(), modes: told }));
        for absent in [r#"{"action":"start"}"#, r#"{"action":"start","session_id":null}"#] {
            let start = Command::parse(absent.as_bytes());
            assert_eq!(start, Ok(Command::Start { session_id: "".into(), modes }));
        }
        let chunk = Command::parse(br#"{"audio_data":"AA==","chunk_index":3,"action":"chunk"}"#);
        let audio = Base64::check(b"AA==".as_slice());
        assert_eq!(chunk, Ok(Command::Chunk { session_id: "".into(), index: 3, audio }));
        let escaped = Command::parse(br#"{"action":"chunk","audio_data":"\/\/8="}"#);
        let audio = Base64::check(b"//8=".as_slice());
        assert_eq!(escaped, Ok(Command::Chunk { session_id: "".into(), index: 0, audio }));
        let absent = Command::parse(br#"{"action":"chunk","audio_data":null}"#);
        let audio = Base64::check(b"".as_slice());
        assert_eq!(absent, Ok(Command::Chunk { session_id: "".into(), index: 0, audio }));
        let other = Command::parse(br#"{"action":"chunk","audio_data":"AAA"}"#);
        assert_eq!(other, Ok(Command::Chunk { session_id: "".into(), index: 0, audio: None }));
        let finish = Command::parse(br#"{"action":"finish","session_id":"s"}"#);
        assert_eq!(finish, Ok(Command::Finish { session_id: "s".into() }));
    }

    #[test]
    fn refuses_what_is_no_command() {
        for bad in [
            "",
            "{",
            "null",
            r#"["start","s",0,""]"#,
            r#"{"action":"start","session_id":1}"#,
            r#"{"action":"start","binary":1}"#,
            r#"{"action":"start","acks":"no"}"#,
            r#"{"action":"chunk","chunk_index":3.0}"#,
            r#"{"action":"chunk","chunk_index":"3"}"#,
            r#"{"action":"chunk","chunk_index":9223372036854775808}"#,
            r#"{"action":"chunk","audio_data":{}}"#,
        ] {
            assert_eq!(Command::parse(bad.as_bytes()), Err(BadCommand::Format), "{bad}");
        }
        let unknown = Command::parse(br#"{"action":"stop"}"#);
        assert_eq!(unknown, Err(BadCommand::UnknownAction("stop".into())));
        assert_eq!(Command::parse(b"{}"), Err(BadCommand::UnknownAction("".into())));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(payload in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Command::parse(&payload);
        }
    }
}
