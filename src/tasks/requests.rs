//! ▢ What a client's message leads to: its session is found, opened, taken over, or it is
//! told why not.

use super::command::{BadCommand, Command, Modes};
use super::cores::{self, Refusal, Tenure, Wish};
use super::id::{BadSessionId, SessionId};
use super::reply::{self, ErrorCode, SYSTEM_BUSY};
use super::retain::close;
use super::session::Session;
use super::{Action, SESSIONS_MAX, Tasks};
use crate::clock::Now;
use crate::ids::SocketId;
use crate::limits::TASKS_ECHO_CHARS;
use crate::ws::{CloseCode, Kind};

impl Tasks {
    /// A client's data message. A binary one is a chunk where the connection has a session
    /// that wants it so, and otherwise as good as a text.
    pub fn on_message(
        &mut self,
        from: SocketId,
        kind: Kind,
        payload: &[u8],
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        if let Some(connection) = self.connections.get(&from) {
            if connection.closing {
                return;
            }
            if connection.held.is_some() && self.hold_message(from, kind, payload, actions) {
                return;
            }
            let binary = self.connections.get(&from).and_then(|connection| connection.binary);
            if let (Kind::Binary, Some(slot)) = (kind, binary) {
                return self.with(slot, now, actions, |session, cx| {
                    session.binary_chunk(payload, cx);
                    None
                });
            }
        }
        match Command::parse(payload) {
            Ok(Command::Start { session_id, modes }) => {
                self.start(from, &session_id, modes, now, actions);
            }
            Ok(Command::Chunk { session_id, index, audio }) => {
                let Some(slot) = self.own(from, &session_id, actions) else { return };
                self.with(slot, now, actions, |session, cx| {
                    session.chunk(index, audio.as_ref(), cx);
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

    fn start(
        &mut self,
        from: SocketId,
        text: &str,
        modes: Modes,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let named = !text.is_empty();
        let id = match if named {
            SessionId::parse(text)
        } else {
            Ok(cores::fresh_id(self.cores.as_deref()))
        } {
            Ok(id) => id,
            Err(BadSessionId) => {
                let message = "session_id must be 1 to 128 of A-Z a-z 0-9 . _ : -";
                return self.refuse(from, ErrorCode::BadSessionId, message, None, actions);
            }
        };
        if self.open_ids.is_elsewhere(id.as_str(), self.route) {
            return self.refuse_wish(from, Refusal::OnOtherRoute, &id, actions);
        }
        let open = self
            .table
            .find(id.as_str())
            .filter(|&slot| !cores::is_leaving(self.cores.as_deref(), slot));
        if self.has_other_binary(from, open, modes) {
            return self.refuse_other_binary(from, &id, actions);
        }
        if let Some(slot) = open
            && self.table.get(slot).and_then(Session::owner) == Some(from)
        {
            self.set_modes(slot, from, modes);
            return self.with(slot, now, actions, |session, cx| {
                session.start_again(cx);
                None
            });
        }
        let full = self.sessions_of(from) >= self.config.sessions_per_connection.max(1) as usize;
        if full || (open.is_none() && !self.make_room(actions)) {
            return self.refuse(from, ErrorCode::Busy, SYSTEM_BUSY, Some(&id), actions);
        }
        if let Some(slot) = open {
            return self.take_over(slot, from, modes, now, actions);
        }
        if !self.broker_up {
            let code = ErrorCode::BrokerUnavailable;
            return self.refuse(from, code, SYSTEM_BUSY, Some(&id), actions);
        }
        let wish = Wish { from, id, named, request: modes };
        match self.cores {
            Some(_) => cores::claim(self, wish, now, actions),
            None => self.open_session(wish, None, now, actions),
        }
    }

    /// Makes a session that there is not.
    pub(super) fn open_session(
        &mut self,
        wish: Wish<Modes>,
        tenure: Option<Tenure>,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let Wish { from, id, named, request: modes } = wish;
        self.following.stop(&id);
        self.open_ids.insert(id.clone(), self.route);
        let slot = self.table.insert(|key| Session::new(key, id, from, named, now.ms).of(tenure));
        self.connections.entry(from).or_default().sessions.push(slot);
        self.set_modes(slot, from, modes);
        self.metrics.tasks.sessions.inc();
        self.with(slot, now, actions, Session::subscribe);
    }

    fn take_over(
        &mut self,
        slot: u32,
        by: SocketId,
        modes: Modes,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        self.take_from_owner(slot, actions);
        self.give_to(slot, by, modes, now, actions);
    }

    /// Takes a session from its owner, who is closed, or from nobody.
    pub(super) fn take_from_owner(&mut self, slot: u32, actions: &mut Vec<Action>) {
        let old = self.table.get(slot).and_then(Session::owner);
        if let Some((socket, connection)) =
            old.and_then(|old| self.connections.get_mut(&old).map(|connection| (old, connection)))
        {
            connection.lose(slot);
            if !std::mem::replace(&mut connection.closing, true) {
                actions.push(close(socket, CloseCode::TakenOver, "session taken over"));
            }
        }
        let detachment = self.table.get_mut(slot).and_then(Session::release);
        self.forget_detachment(detachment);
    }

    /// Gives a session that is nobody's its owner.
    pub(super) fn give_to(
        &mut self,
        slot: u32,
        by: SocketId,
        modes: Modes,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let Some(session) = self.table.get_mut(slot) else { return };
        session.attach(by);
        self.connections.entry(by).or_default().sessions.push(slot);
        self.set_modes(slot, by, modes);
        self.metrics.tasks.sessions_resumed.inc();
        self.with(slot, now, actions, Session::resume);
    }

    /// Whether a binary frame of `from` would be the chunk of two sessions.
    pub(super) fn has_other_binary(&self, from: SocketId, open: Option<u32>, modes: Modes) -> bool {
        let session = open.and_then(|slot| self.table.get(slot));
        let binary = modes.binary.unwrap_or_else(|| session.is_some_and(Session::is_binary));
        let other = self.connections.get(&from).and_then(|connection| connection.binary);
        binary && other.is_some() && other != open
    }

    pub(super) fn refuse_other_binary(
        &self,
        from: SocketId,
        id: &SessionId,
        actions: &mut Vec<Action>,
    ) {
        let message = "Another binary session is open on this connection";
        self.refuse(from, ErrorCode::BadMessage, message, Some(id), actions);
    }

    fn set_modes(&mut self, slot: u32, of: SocketId, modes: Modes) {
        let Some(session) = self.table.get_mut(slot) else { return };
        session.set_modes(modes);
        let Some(connection) = self.connections.get_mut(&of) else { return };
        if session.is_binary() {
            connection.binary = Some(slot);
        } else {
            connection.binary = connection.binary.filter(|&binary| binary != slot);
        }
    }

    /// Whether the shard can have one more session. One that is nobody's gives way.
    pub(super) fn make_room(&mut self, actions: &mut Vec<Action>) -> bool {
        self.table.len() < self.sessions_per_shard() || self.end_oldest_detached(actions)
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

    pub(super) fn refuse_wish(
        &self,
        to: SocketId,
        why: Refusal,
        id: &SessionId,
        actions: &mut Vec<Action>,
    ) {
        let (code, message) = match why {
            Refusal::Busy => (ErrorCode::Busy, SYSTEM_BUSY),
            Refusal::BrokerUnavailable => (ErrorCode::BrokerUnavailable, SYSTEM_BUSY),
            Refusal::OnOtherRoute => {
                (ErrorCode::BadSessionId, "session_id is open on another route")
            }
        };
        self.refuse(to, code, message, Some(id), actions);
    }

    pub(super) fn refuse(
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
