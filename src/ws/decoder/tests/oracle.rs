//! Against tungstenite, in the server's role over a stream in memory.

use std::io::{self, Read, Write};

use tungstenite::protocol::{Role, WebSocketContext};
use tungstenite::{Error, Message};

use super::scripts::{damaged_bytes, scripts};
use super::*;

/// What the client has sent; answers are thrown away.
struct Wire<'a>(&'a [u8]);

impl Read for Wire<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() { Err(io::ErrorKind::WouldBlock.into()) } else { self.0.read(into) }
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the oracle reads, up to the end or its first complaint.
fn oracle(bytes: &[u8]) -> (Vec<Seen>, Option<Error>) {
    let mut wire = Wire(bytes);
    let mut context = WebSocketContext::new(Role::Server, None);
    let mut seen = Vec::new();
    loop {
        seen.push(match context.read(&mut wire) {
            Ok(Message::Text(text)) => Seen::Message(Kind::Text, text.as_bytes().to_vec()),
            Ok(Message::Binary(bytes)) => Seen::Message(Kind::Binary, bytes.to_vec()),
            Ok(Message::Ping(payload)) => Seen::Ping(payload.to_vec()),
            Ok(Message::Pong(payload)) => Seen::Pong(payload.to_vec()),
            Ok(Message::Close(frame)) => Seen::Close(
                frame.as_ref().map(|frame| frame.code.into()),
                frame.map_or(String::new(), |frame| frame.reason.to_string()),
            ),
            Ok(Message::Frame(_)) => unreachable!("only for writing"),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                return (seen, None);
            }
            Err(Error::ConnectionClosed) => return (seen, None),
            Err(error) => return (seen, Some(error)),
        });
    }
}

proptest! {
    #[test]
    fn valid_streams_give_the_same_messages(script in scripts()) {
        let bytes = script.bytes();
        let (expected, complaint) = oracle(&bytes);
        prop_assert!(complaint.is_none(), "{:?}", complaint);
        prop_assert_eq!(decode(&bytes), (expected, None));
    }

    /// The oracle is laxer (length encodings, for one), so it may read on where we stop;
    /// but whatever we let through it has to let through as well.
    #[test]
    fn damaged_streams_get_no_further_than_with_the_oracle(bytes in damaged_bytes()) {
        let (seen, violation) = decode(&bytes);
        // Registered since, and not known to it.
        prop_assume!(!matches!(seen.last(), Some(Seen::Close(Some(1014), _))));
        let (theirs, complaint) = oracle(&bytes);
        prop_assert!(theirs.starts_with(&seen), "{:?}", theirs);
        prop_assert!(complaint.is_none() || violation.is_some(), "{:?}", complaint);
    }
}
