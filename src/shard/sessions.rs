//! Sessions of topics: requests of clients of this shard, their way to the sessions' home, and
//! what becomes of them.
//!
//! A request that only another shard can answer waits in [`Phase::Waiting`]: its socket is not
//! read, and its handshake deadline goes on.

use std::sync::Arc;

use super::{
    RouteId, Shard,
    connection::{Pause, Phase, Waiting},
    input::Next,
};
use crate::{
    http::{Answer, Reader, Upload, announced_body, answer},
    ids::SocketId,
    limits::SESSION_BODY_BYTES_MAX,
    topics::sessions::{Action, Endpoint, Question, Refusal, Refused, Reply, WsAddress},
    ws::{self, Decoder, Head, Upgrade},
};

/// Who waits for the answer about a session.
#[derive(Debug)]
pub enum Asked {
    /// A request.
    Request {
        /// Who may read the answer.
        reader: Reader,
        /// Where the WebSocket of a new session is to be.
        address: Option<WsAddress>,
    },
    /// An upgrade, which has its place.
    Upgrade {
        /// To be answered.
        upgrade: Upgrade,
        /// Where.
        route: RouteId,
    },
}

impl Shard {
    /// Answers a request about sessions, or sees to it. `rest`: what has come behind its head.
    pub(super) fn on_session_request(
        &mut self,
        id: SocketId,
        endpoint: Endpoint<'_>,
        head: &Head<'_>,
        rest: &[u8],
    ) -> Next {
        let reader = match Reader::of(head, &self.options.origins) {
            Ok(reader) if self.sessions.api().is_some() => reader,
            Ok(_) => return self.refuse_request(id, &Reader::Any, &ws::Refusal::not_found()),
            Err(refusal) => return self.refuse_request(id, &Reader::Any, &refusal),
        };
        match (endpoint, head.method) {
            (_, "OPTIONS") => self.say(id, &reader.preflight(endpoint.methods())),
            (Endpoint::All, "POST") | (Endpoint::One(_), "GET" | "DELETE")
                if self.drain.is_some() =>
            {
                self.refuse_request(id, &reader, &ws::Refusal::draining())
            }
            (Endpoint::All, "POST") => self.on_post(id, reader, head, rest),
            (Endpoint::One(name), method @ ("GET" | "DELETE")) => {
                self.on_named(id, reader, name, head.query, method == "DELETE")
            }
            _ => {
                let methods = endpoint.methods();
                let refusal = Refusal::new(Refused::Method, format!("Use {methods}"));
                self.metrics.topic_sessions.refused(Refused::Method).inc();
                let answer = refusal.answer().field("Allow", methods);
                self.say(id, &reader.let_read(answer))
            }
        }
    }

    /// A request for a session: it is let in by its head, before a byte of its body is kept.
    fn on_post(&mut self, id: SocketId, reader: Reader, head: &Head<'_>, rest: &[u8]) -> Next {
        let awaits = match announced_body(head, SESSION_BODY_BYTES_MAX) {
            Ok(awaits) => awaits,
            Err(error) => return self.refuse_session(id, &reader, &error.into()),
        };
        let Some(body_bytes) = awaits.body_bytes else {
            let refusal = Refusal::new(Refused::LengthRequired, "Send a body and Content-Length");
            return self.refuse_session(id, &reader, &refusal);
        };
        if let Err(refusal) = self.admission.admit_request(self.now.ms) {
            return self.refuse_request(id, &reader, &refusal);
        }
        if let Some(body) = rest.get(..body_bytes) {
            return self.create_session(id, reader, head, body);
        }
        if awaits.wants_continue && rest.is_empty() {
            self.wire.gather_raw(id, |out| out.extend_from_slice(answer::CONTINUE));
        }
        Next::Upload(body_bytes)
    }

    /// More of a body.
    pub(super) fn on_upload_bytes(&mut self, id: SocketId, bytes: &[u8]) {
        let Some(connection) = self.wire.connections.get_mut(id) else { return };
        let phase = std::mem::replace(&mut connection.phase, Phase::Handshake(None));
        let Phase::Upload(mut upload) = phase else { return };
        self.metrics.connections.held_bytes.sub(upload.held_bytes() as u64);
        upload.push(bytes);
        let Some((head, body)) = upload.whole() else { return self.keep_upload(id, upload) };
        match Reader::of(&head, &self.options.origins) {
            Ok(reader) => self.create_session(id, reader, &head, body),
            Err(refusal) => self.refuse_request(id, &Reader::Any, &refusal),
        };
    }

    /// Keeps what has come of a body, within the shard's bound on partial messages.
    pub(super) fn keep_upload(&mut self, id: SocketId, upload: Box<Upload>) {
        let Some(connection) = self.wire.connections.get_mut(id) else { return };
        let gauge = &self.metrics.connections.held_bytes;
        gauge.add(upload.held_bytes() as u64);
        connection.phase = Phase::Upload(upload);
        if gauge.get() > self.options.held_limit_bytes as u64 {
            self.refuse_session(id, &Reader::Any, &Refusal::memory());
        }
    }

    fn create_session(
        &mut self,
        id: SocketId,
        reader: Reader,
        head: &Head<'_>,
        body: &[u8],
    ) -> Next {
        // Without an address its peer is gone.
        let from = self.wire.ring.peer_address(id).ok_or_else(Refusal::busy);
        let api = self.sessions.api().ok_or_else(Refusal::not_found);
        match api.and_then(|api| api.wish(head, body, from?)) {
            Ok((wish, address)) => {
                let asked = Asked::Request { reader, address: Some(address) };
                self.ask(id, Question::Create(wish), asked)
            }
            Err(refusal) => self.refuse_session(id, &reader, &refusal),
        }
    }

    fn on_named(
        &mut self,
        id: SocketId,
        reader: Reader,
        name: &str,
        query: Option<&str>,
        end: bool,
    ) -> Next {
        let api = self.sessions.api().ok_or_else(Refusal::not_found);
        match api.and_then(|api| api.question(name, query, end)) {
            Ok(question) => self.ask(id, question, Asked::Request { reader, address: None }),
            Err(refusal) => self.refuse_session(id, &reader, &refusal),
        }
    }

    /// An upgrade that was let in: it takes the session that its query names, or begins
    /// without one.
    pub(super) fn on_upgrade(
        &mut self,
        id: SocketId,
        route: RouteId,
        upgrade: Upgrade,
        query: Option<&str>,
    ) -> Next {
        let path = &self.routes[route.0 as usize].path;
        let question = self.sessions.api().and_then(|api| api.taken(query, path));
        let Some(question) = question else {
            self.open(id, route, &upgrade);
            self.open_session(id, route, query);
            return Next::Frames(route);
        };
        if let Some(connection) = self.wire.connections.get_mut(id) {
            connection.holds_place = true;
        }
        match question {
            Ok(question) => self.ask(id, question, Asked::Upgrade { upgrade, route }),
            Err(refusal) => self.refuse_session(id, &Reader::Any, &refusal),
        }
    }

    fn ask(&mut self, id: SocketId, question: Question, asked: Asked) -> Next {
        let (now_ms, actions) = (self.now.ms, &mut self.session_actions);
        if let Some(reply) = self.sessions.ask(id, question, now_ms, actions) {
            return self.on_reply(id, asked, reply);
        }
        if let Some(connection) = self.wire.connections.get_mut(id) {
            connection.phase = Phase::Waiting(Box::new(Waiting { asked, rest: Vec::new() }));
        }
        self.wire.pause(id, Pause::Session);
        Next::Wait
    }

    /// Keeps what a client said behind a request that waits: one read's worth at most, for it
    /// is not read on.
    pub(super) fn keep_rest(&mut self, id: SocketId, rest: &[u8]) {
        if let Some(connection) = self.wire.connections.get_mut(id)
            && let Phase::Waiting(waiting) = &mut connection.phase
            && matches!(waiting.asked, Asked::Upgrade { .. })
        {
            waiting.rest.extend_from_slice(rest);
        }
    }

    /// Carries out what the sessions want. `true`: there was something.
    pub(super) fn carry_out_sessions(&mut self) -> bool {
        let mut any = false;
        while !self.session_actions.is_empty() {
            any = true;
            let mut actions = std::mem::take(&mut self.session_actions);
            for action in actions.drain(..) {
                match action {
                    Action::Tell { to, message } => self.tell_sessions(to, message),
                    Action::Reply { to, reply } => self.on_awaited_reply(to, reply),
                    Action::Close(id) => {
                        let code = ws::CloseCode::Normal;
                        self.wire.close(id, code, "session deleted", self.now.ms);
                    }
                }
            }
        }
        any
    }

    fn on_awaited_reply(&mut self, id: SocketId, reply: Reply) {
        let Some(Waiting { asked, mut rest }) = self.take_waiting(id) else {
            // It has gone meanwhile: what it was given goes back.
            return self.sessions.on_left(id, &mut self.session_actions);
        };
        if let Next::Frames(route) = self.on_reply(id, asked, reply) {
            self.on_frames(id, Decoder::new(), route, &mut rest);
        }
        self.wire.resume(id, Pause::Session);
    }

    fn on_reply(&mut self, id: SocketId, asked: Asked, reply: Reply) -> Next {
        match (asked, reply) {
            (Asked::Upgrade { upgrade, route }, Reply::Taken { start, .. }) => {
                self.open(id, route, &upgrade);
                self.open_topics(id, route, Arc::unwrap_or_clone(start));
                Next::Frames(route)
            }
            (Asked::Upgrade { .. }, Reply::Refused(refusal)) => {
                self.refuse_session(id, &Reader::Any, &refusal)
            }
            (Asked::Request { reader, .. }, Reply::Refused(refusal)) => {
                self.refuse_session(id, &reader, &refusal)
            }
            (Asked::Request { reader, address }, reply) => {
                self.say(id, &reader.let_read(reply.answer(address.as_ref())))
            }
            // The answer to another question: there is none such.
            (Asked::Upgrade { .. }, _) => {
                self.refuse_session(id, &Reader::Any, &Refusal::not_found())
            }
        }
    }

    /// The home of a session did not answer in time.
    pub(super) fn give_up_waiting(&mut self, id: SocketId) {
        let Some(reader) = self.stop_waiting(id) else { return };
        self.refuse_session(id, &reader, &Refusal::busy());
    }

    /// A drain has begun while a request waits.
    pub(super) fn refuse_waiting(&mut self, id: SocketId, refusal: &ws::Refusal) {
        let Some(reader) = self.stop_waiting(id) else { return };
        self.refuse_request(id, &reader, refusal);
    }

    /// Nobody waits for the answer any more. Who may read what is said instead.
    fn stop_waiting(&mut self, id: SocketId) -> Option<Reader> {
        let Waiting { asked, .. } = self.take_waiting(id)?;
        self.sessions.on_left(id, &mut self.session_actions);
        Some(match asked {
            Asked::Request { reader, .. } => reader,
            Asked::Upgrade { .. } => Reader::Any,
        })
    }

    fn take_waiting(&mut self, id: SocketId) -> Option<Waiting> {
        let connection = self.wire.connections.get_mut(id)?;
        if !matches!(connection.phase, Phase::Waiting(_)) {
            return None;
        }
        match std::mem::replace(&mut connection.phase, Phase::Handshake(None)) {
            Phase::Waiting(waiting) => Some(*waiting),
            _ => None,
        }
    }

    fn refuse_session(&mut self, id: SocketId, reader: &Reader, refusal: &Refusal) -> Next {
        self.metrics.topic_sessions.refused(refusal.reason).inc();
        self.say(id, &reader.let_read(refusal.answer()))
    }

    /// With what an upgrade would be refused with.
    fn refuse_request(&mut self, id: SocketId, reader: &Reader, refusal: &ws::Refusal) -> Next {
        self.metrics.connections.refused(refusal.reason).inc();
        self.say(id, &reader.let_read(Answer::refusal(refusal)))
    }

    /// Answers, and lets the client read it.
    fn say(&mut self, id: SocketId, answer: &Answer) -> Next {
        self.wire.gather_raw(id, |out| answer.write(out));
        self.wire.linger(id, self.now.ms);
        Next::Nothing
    }
}

#[cfg(test)]
mod tests;
