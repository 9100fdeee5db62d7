//! ▢ What a client's message leads to: its session is found, opened, taken over, or it is
//! told why not.

use super::command::{BadCommand, Command};
use super::id::{BadSessionId, SessionId};
use super::reply::{self, ErrorCode, SYSTEM_BUSY};
use super::session::Session;
use super::{Action, SESSIONS_MAX, Tasks};
use crate::clock::Now;
use crate::ids::SocketId;
use crate::limits::TASKS_ECHO_CHARS;
use crate::ws::CloseCode;

impl Tasks {
    /// A client's data message, text or binary alike.
    pub fn on_message(
        &mut self,
        from: SocketId,
        payload: &[u8],
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        if self.connections.get(&from).is_some_and(|connection| connection.closing) {
            return;
        }
        match Command::parse(payload) {
            Ok(Command::Start { session_id }) => self.start(from, &session_id, now, actions),
            Ok(Command::Chunk { session_id, index, audio }) => {
                let Some(slot) = self.own(from, &session_id, actions) else { return };
                self.with(slot, now, actions, |session, cx| {
                    session.chunk(index, &audio, cx);
                    None
                });
            }
            Ok(Command::Finish { session_id }) => {
                let Some(slot) = self.own(from, &session_id, actions) else { return };
                self.with(slot, now, actions, Session::finish);
            }
            Err(BadCommand::Format) => {
                let message = "Invalid message format";
                self.refuse(from, ErrorCode::BadMessage, message, None, actions);
            }
            Err(BadCommand::UnknownAction(action)) => {
                let message = format!("Unknown action: {}", shortened(&action));
                self.refuse(from, ErrorCode::UnknownAction, &message, None, actions);
            }
        }
    }

    fn start(&mut self, from: SocketId, text: &str, now: Now, actions: &mut Vec<Action>) {
        let named = !text.is_empty();
        let id = match if named { SessionId::parse(text) } else { Ok(SessionId::random()) } {
            Ok(id) => id,
            Err(BadSessionId) => {
                let message = "session_id must be 1 to 128 of A-Z a-z 0-9 . _ : -";
                return self.refuse(from, ErrorCode::BadSessionId, message, None, actions);
            }
        };
        let open = self.table.find(id.as_str());
        if let Some(slot) = open
            && self.table.get(slot).and_then(Session::owner) == Some(from)
        {
            return self.with(slot, now, actions, |session, cx| {
                session.start_again(cx);
                None
            });
        }
        let full = self.sessions_of(from) >= self.config.sessions_per_connection.max(1) as usize;
        let shard_full = self.table.len() >= self.sessions_per_shard() && open.is_none();
        if full || shard_full {
            return self.refuse(from, ErrorCode::Busy, SYSTEM_BUSY, Some(&id), actions);
        }
        if let Some(slot) = open {
            return self.take_over(slot, from, now, actions);
        }
        if !self.broker_up {
            let code = ErrorCode::BrokerUnavailable;
            return self.refuse(from, code, SYSTEM_BUSY, Some(&id), actions);
        }
        let slot = self.table.insert(|key| Session::new(key, id, from, named, now.ms));
        self.connections.entry(from).or_default().sessions.push(slot);
        self.metrics.tasks.sessions.inc();
        self.with(slot, now, actions, |session, cx| {
            session.subscribe(cx);
            None
        });
    }

    fn take_over(&mut self, slot: u32, by: SocketId, now: Now, actions: &mut Vec<Action>) {
        let old = self.table.get(slot).and_then(Session::owner);
        if let Some((socket, connection)) =
            old.and_then(|old| self.connections.get_mut(&old).map(|connection| (old, connection)))
        {
            connection.sessions.retain(|&other| other != slot);
            connection.closing = true;
            let code = CloseCode::TakenOver;
            actions.push(Action::Close { socket, code, reason: "session taken over" });
        }
        self.connections.entry(by).or_default().sessions.push(slot);
        self.with(slot, now, actions, |session, cx| {
            session.take_over(by, cx);
            None
        });
    }

    /// The session of that id, if it is this connection's: nobody sees another's.
    fn own(&self, from: SocketId, text: &str, actions: &mut Vec<Action>) -> Option<u32> {
        let slot = self.table.find(text).filter(|&slot| {
            self.table.get(slot).is_some_and(|session| session.owner() == Some(from))
        });
        if slot.is_none() {
            let message = format!("Session not found: {}", shortened(text));
            let id = SessionId::parse(text).ok();
            let code = ErrorCode::SessionNotFound;
            self.refuse(from, code, &message, id.as_ref(), actions);
        }
        slot
    }

    fn refuse(
        &self,
        to: SocketId,
        code: ErrorCode,
        message: &str,
        session: Option<&SessionId>,
        actions: &mut Vec<Action>,
    ) {
        self.metrics.tasks.errors.inc();
        let error = reply::Error { code, message, session, rejected_chunk: None };
        actions.push(Action::Send { to, text: reply::error(&error) });
    }

    fn sessions_per_shard(&self) -> usize {
        self.config.sessions_per_shard.clamp(1, SESSIONS_MAX) as usize
    }
}

/// As much of a client's text as an error message repeats; JSON takes care of the rest.
fn shortened(text: &str) -> &str {
    text.char_indices().nth(TASKS_ECHO_CHARS).map_or(text, |(end, _)| &text[..end])
}
