//! Bytes of a client on their way in: request head, then frames, then the route.

use super::{
    Handler, RouteId, Shard,
    connection::{PartialHead, Pause, Phase, WebSocket},
    wire::tick_of,
};
use crate::{
    http::Upload,
    ids::SocketId,
    ring::Received,
    tasks::raw::requested_session,
    topics::sessions::Endpoint,
    ws::{
        self, CloseCode, Decoder, Head, Input, Kind, Opcode, Refusal, Upgrade, Violation,
        check_upgrade, parse_head, write_json_ok,
    },
};

impl Shard {
    /// Takes one read's worth of bytes, and lets the ring read on.
    pub(super) fn on_received(&mut self, id: SocketId, mut received: Received) {
        if let Some(connection) = self.wire.connections.get_mut(id) {
            let bytes = received.bytes_mut();
            connection.heard = tick_of(self.now.ms);
            match &mut connection.phase {
                Phase::Open(socket) => {
                    let (decoder, route) = (std::mem::take(&mut socket.decoder), socket.route);
                    self.metrics.connections.bytes_in.add(bytes.len() as u64);
                    self.on_frames(id, decoder, route, bytes);
                }
                Phase::Closing(socket) => {
                    let decoder = std::mem::take(&mut socket.decoder);
                    self.on_frames_after_close(id, decoder, bytes);
                }
                Phase::Handshake(partial) => {
                    let partial = partial.take();
                    self.on_request_bytes(id, partial, bytes);
                }
                Phase::Upload(_) => self.on_upload_bytes(id, bytes),
                Phase::Broker => {
                    let (now_ms, events) = (self.now.ms, &mut self.broker_events);
                    self.broker.on_bytes(bytes, &mut self.wire, now_ms, events);
                }
                // One that waits is not read.
                Phase::Waiting(_) | Phase::Lingering | Phase::Terminated | Phase::Vacant => {}
            }
        }
        self.wire.ring.recycle(id, received);
    }

    fn on_request_bytes(
        &mut self,
        id: SocketId,
        mut partial: Option<Box<PartialHead>>,
        bytes: &mut [u8],
    ) {
        // Nearly always the whole head comes at once and is parsed where it lies.
        let request = match &mut partial {
            None => &mut *bytes,
            Some(partial) => {
                partial.0.extend_from_slice(bytes);
                &mut partial.0
            }
        };
        let (next, head_bytes) = match parse_head(request) {
            Ok(Some((head, head_bytes))) => {
                let rest = request.get(head_bytes..).unwrap_or_default();
                (self.on_request(id, &head, rest), head_bytes)
            }
            Ok(None) => {
                let partial = partial.unwrap_or_else(|| Box::new(PartialHead(bytes.to_vec())));
                return self.keep_head(id, partial);
            }
            Err(refusal) => return self.refuse(id, &refusal),
        };
        match next {
            Next::Frames(route) => {
                let rest = request.get_mut(head_bytes..).unwrap_or_default();
                self.on_frames(id, Decoder::new(), route, rest);
            }
            Next::Upload(body_bytes) => {
                let upload = Upload::new(request, head_bytes, body_bytes);
                self.keep_upload(id, Box::new(upload));
            }
            Next::Wait => self.keep_rest(id, request.get(head_bytes..).unwrap_or_default()),
            Next::Nothing => {}
        }
    }

    fn keep_head(&mut self, id: SocketId, partial: Box<PartialHead>) {
        if let Some(connection) = self.wire.connections.get_mut(id) {
            connection.phase = Phase::Handshake(Some(partial));
        }
    }

    /// Answers a request whose head is whole, or sees to it. `rest`: what has come behind it.
    fn on_request(&mut self, id: SocketId, head: &Head<'_>, rest: &[u8]) -> Next {
        if head.path == HEALTH_PATH {
            self.answer_health(id, head);
            return Next::Nothing;
        }
        if let Some(endpoint) = Endpoint::of(head.path) {
            return self.on_session_request(id, endpoint, head, rest);
        }
        match self.admit(id, head) {
            Ok((route, upgrade)) => self.on_upgrade(id, route, upgrade, head.query),
            Err(refusal) => {
                self.refuse(id, &refusal);
                Next::Nothing
            }
        }
    }

    /// Health is answered whatever the limits: it takes no place and is no refusal.
    fn answer_health(&mut self, id: SocketId, head: &Head<'_>) {
        if head.method == "GET" {
            self.wire.gather_raw(id, |out| write_json_ok(out, r#"{"status":"ok"}"#));
            self.wire.linger(id, self.now.ms);
        } else {
            self.refuse(id, &Refusal::method());
        }
    }

    /// Route, handshake, origin, then whether there is room: a request that could never
    /// succeed is told so even when the gateway is full.
    fn admit(&mut self, id: SocketId, head: &Head<'_>) -> Result<(RouteId, Upgrade), Refusal> {
        let route = self.routes.iter().position(|route| route.path == head.path);
        let route = route.ok_or_else(Refusal::not_found)?;
        let upgrade = check_upgrade(head)?;
        let origins = &self.options.origins;
        if !origins.is_empty()
            && let Some(origin) = head.single("Origin")?
            && !origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))
        {
            return Err(Refusal::origin());
        }
        if self.drain.is_some() {
            return Err(Refusal::draining());
        }
        let handler = &self.routes[route].handler;
        if matches!(handler, Handler::Raw(_)) && requested_session(head.query).is_err() {
            return Err(Refusal::bad_handshake("session must be 1 to 128 of A-Z a-z 0-9 . _ : -"));
        }
        if !matches!(handler, Handler::Echo) && !self.broker.is_up() {
            return Err(Refusal::broker_unavailable());
        }
        self.admission.admit(self.now.ms)?;
        let let_in = self.backlog.admit(route, id, self.now.ms);
        let_in.inspect_err(|_| self.admission.leave())?;
        Ok((RouteId(route as u16), upgrade))
    }

    pub(super) fn open(&mut self, id: SocketId, route: RouteId, upgrade: &Upgrade) {
        let ping_due = self.first_ping(id);
        self.wire.gather_raw(id, |out| upgrade.write_response(out));
        let Some(connection) = self.wire.connections.get_mut(id) else { return };
        connection.admitted = true;
        connection.holds_place = false;
        connection.phase = Phase::Open(WebSocket { decoder: Decoder::new(), ping_due, route });
        self.metrics.connections.handshaking.dec();
        self.metrics.connections.open.inc();
        self.metrics.connections.upgraded.inc();
        self.arm_heartbeat(id);
    }

    /// On a raw route the connection is the session, which begins with it.
    pub(super) fn open_session(&mut self, id: SocketId, route: RouteId, query: Option<&str>) {
        if let Handler::Raw(tasks) = &mut self.routes[route.0 as usize].handler {
            // What is no id was refused before the upgrade.
            let requested = requested_session(query).unwrap_or_default();
            tasks.on_open(id, requested, self.now, &mut self.actions);
        }
    }

    /// Answers with the reason, as JSON, and lets the client read it.
    pub(super) fn refuse(&mut self, id: SocketId, refusal: &Refusal) {
        self.metrics.connections.refused(refusal.reason).inc();
        self.wire.gather_raw(id, |out| refusal.write_response(out));
        self.wire.linger(id, self.now.ms);
    }

    pub(super) fn on_frames(
        &mut self,
        id: SocketId,
        mut decoder: Decoder,
        route: RouteId,
        bytes: &mut [u8],
    ) {
        let held = decoder.held_bytes();
        let mut input = Input::new(bytes);
        let outcome = loop {
            match decoder.next(&mut input, self.options.message_limit_bytes) {
                Ok(Some(ws::Event::Message { kind, payload })) => {
                    self.metrics.connections.messages_in.inc();
                    match &mut self.routes[route.0 as usize].handler {
                        Handler::Echo => {
                            let opcode = match kind {
                                Kind::Text => Opcode::Text,
                                Kind::Binary => Opcode::Binary,
                            };
                            if self.wire.gather(id, opcode, payload) {
                                self.metrics.connections.messages_out.inc();
                            }
                        }
                        Handler::Tasks(tasks) => {
                            tasks.on_message(id, kind, payload, self.now, &mut self.actions);
                        }
                        Handler::Raw(tasks) => {
                            tasks.on_message(id, kind, payload, self.now, &mut self.actions);
                        }
                        Handler::Topics(topics) => {
                            let (wire, actions) = (&mut self.wire, &mut self.topic_actions);
                            topics.on_message(id, kind, payload, self.now, wire, actions);
                        }
                    }
                }
                Ok(Some(ws::Event::Ping(payload))) => {
                    self.wire.gather(id, Opcode::Pong, payload);
                }
                Ok(Some(ws::Event::Pong(_))) => {}
                Ok(Some(ws::Event::Close { code, .. })) => break Outcome::PeerClosed(code),
                Ok(None) => break Outcome::Open,
                Err(violation) => break Outcome::Violation(violation),
            }
        };
        self.keep_decoder(id, decoder, held);
        match outcome {
            Outcome::Open => {}
            Outcome::PeerClosed(code) => self.on_peer_close(id, code),
            Outcome::Violation(violation) => self.fail(id, &violation),
        }
        self.wire.hold_back_if_behind(id);
    }

    /// Puts the decoder back, which held `before` bytes when it was taken. The shard's
    /// bound on partial messages: who would carry it over is told to come back.
    fn keep_decoder(&mut self, id: SocketId, decoder: Decoder, before: usize) {
        let after = decoder.held_bytes();
        if before == 0 && after == 0 {
            // What was left in its place is the same.
            return;
        }
        let Some(connection) = self.wire.connections.get_mut(id) else { return };
        let (Phase::Open(socket) | Phase::Closing(socket)) = &mut connection.phase else { return };
        socket.decoder = decoder;
        if before == after {
            return;
        }
        let gauge = &self.metrics.connections.held_bytes;
        gauge.add(after as u64);
        gauge.sub(before as u64);
        if after > before && gauge.get() > self.options.held_limit_bytes as u64 {
            self.wire.close(
                id,
                CloseCode::TryAgainLater,
                "out of memory for messages",
                self.now.ms,
            );
        }
    }

    /// We have said goodbye; only the peer's close frame is of interest.
    fn on_frames_after_close(&mut self, id: SocketId, mut decoder: Decoder, bytes: &mut [u8]) {
        let held = decoder.held_bytes();
        let mut input = Input::new(bytes);
        let done = loop {
            match decoder.next(&mut input, self.options.message_limit_bytes) {
                Ok(Some(ws::Event::Close { .. })) | Err(_) => break true,
                Ok(Some(_)) => {}
                Ok(None) => break false,
            }
        };
        self.keep_decoder(id, decoder, held);
        if done {
            self.wire.linger(id, self.now.ms);
        }
    }

    /// RFC 6455 section 5.5.1: a close frame is answered with one of the same code.
    fn on_peer_close(&mut self, id: SocketId, code: Option<u16>) {
        self.wire.answer_close(id, code, self.now.ms);
        self.wire.linger(id, self.now.ms);
    }

    /// The peer broke the protocol: it is told how, and nothing more is heard from it.
    fn fail(&mut self, id: SocketId, violation: &Violation) {
        self.wire.close(id, violation.code, violation.reason, self.now.ms);
        self.wire.linger(id, self.now.ms);
    }

    /// The sessions of a connection want it read, or not.
    pub(super) fn set_paused(&mut self, id: SocketId, paused: bool) {
        if paused {
            self.wire.pause(id, Pause::Inflight);
        } else {
            self.wire.resume(id, Pause::Inflight);
        }
    }
}

const HEALTH_PATH: &str = "/healthz";

/// What becomes of a request whose head is whole.
pub(super) enum Next {
    /// A WebSocket: what follows are frames.
    Frames(RouteId),
    /// So many bytes of a body follow.
    Upload(usize),
    /// It waits for another shard.
    Wait,
    /// It is answered.
    Nothing,
}

enum Outcome {
    Open,
    PeerClosed(Option<u16>),
    Violation(Violation),
}
