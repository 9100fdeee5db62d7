//! The clients of one generator: they connect, upgrade, send, receive and leave.
//!
//! A fleet keeps no script. It tells a [`Crowd`] what happened to whom, and the crowd calls
//! back into the fleet. Pings are answered, closes are answered, and nothing is retried.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tungstenite::handshake::derive_accept_key;

use super::{
    crowd::{Broken, ClientId, Crowd, End, OPEN_MS},
    inbound::{Frame, first_frame, response},
    outbound::{begin_connect, write_masked},
    peer::{Peer, State},
    target::{Sources, Target},
};
use crate::{
    ids::SocketId,
    metrics::ShardMetrics,
    ring::{Event, Received, Ring, RingOptions},
    ws::Opcode,
};

/// Any key will do: the server answers with its digest, and keeps nothing.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// The clients of one thread.
pub struct Fleet {
    ring: Ring,
    events: Vec<Event>,
    /// By slot.
    peers: Vec<Peer>,
    dirty: Vec<SocketId>,
    /// Connections that are not open, oldest first, with the time by which they must be.
    deadlines: VecDeque<(Instant, ClientId)>,
    /// Raw connections that were begun since the last turn.
    begun: Vec<ClientId>,
    sources: Sources,
    dialled: usize,
    /// Connections whose upgrade or request has not been answered.
    pub opening: usize,
    /// WebSockets that are open, and raw connections.
    pub open: usize,
    /// Connections that have said goodbye and are not closed yet.
    pub leaving: usize,
    /// Data messages received.
    pub messages: u64,
    /// Pings answered.
    pub pings: u64,
}

impl Fleet {
    /// Nobody yet; `expected`: how many connections there will be at once.
    ///
    /// # Errors
    /// No io_uring here.
    pub fn new(sources: Sources, expected: u32) -> io::Result<Self> {
        let options = RingOptions { registered_sockets: expected, ..RingOptions::default() };
        Ok(Self {
            ring: Ring::new(&options, Arc::new(ShardMetrics::default()))?,
            events: Vec::new(),
            peers: Vec::new(),
            dirty: Vec::new(),
            deadlines: VecDeque::new(),
            begun: Vec::new(),
            opening: 0,
            leaving: 0,
            sources,
            dialled: 0,
            open: 0,
            messages: 0,
            pings: 0,
        })
    }

    /// Begins a WebSocket of `user`; `on_open` or `on_end` follow.
    ///
    /// # Errors
    /// Out of descriptors or ports.
    pub fn connect(&mut self, target: &Target, user: u32) -> io::Result<ClientId> {
        let (path, (host, address)) = (&target.path, target.nth(self.dialled));
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        self.dial(address, State::Upgrading, user, request.into_bytes())
    }

    /// Begins a TCP connection of `user` that carries bytes and no frames; `on_open` follows at
    /// once, and every `on_message` has as many bytes as one read brought.
    ///
    /// # Errors
    /// Out of descriptors or ports.
    pub fn connect_raw(&mut self, target: &Target, user: u32) -> io::Result<ClientId> {
        let (_, address) = target.nth(self.dialled);
        let client = self.dial(address, State::Raw, user, Vec::new())?;
        self.open += 1;
        self.begun.push(client);
        Ok(client)
    }

    /// Makes one HTTP request on a connection of its own; `on_answer` and `on_end` follow.
    ///
    /// # Errors
    /// Out of descriptors or ports.
    pub fn request(
        &mut self,
        target: &Target,
        method: &str,
        path: &str,
        body: &str,
        user: u32,
    ) -> io::Result<ClientId> {
        let ((host, address), length) = (target.nth(self.dialled), body.len());
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        self.dial(address, State::Asking, user, request.into_bytes())
    }

    fn dial(
        &mut self,
        to: SocketAddr,
        state: State,
        user: u32,
        request: Vec<u8>,
    ) -> io::Result<ClientId> {
        let fd = begin_connect(to, &self.sources, self.dialled)?;
        self.dialled += 1;
        let socket = self.ring.adopt(fd)?;
        let slot = socket.slot as usize;
        if self.peers.len() <= slot {
            self.peers.resize_with(slot + 1, Peer::default);
        }
        let generation = socket.generation;
        self.peers[slot] = Peer { state, user, generation, gathered: request, ..Peer::default() };
        let client = ClientId { socket, user };
        if state != State::Raw {
            self.opening += 1;
            self.mark(socket);
            self.deadlines.push_back((Instant::now() + Duration::from_millis(OPEN_MS), client));
        }
        Ok(client)
    }

    /// Sends a text message with the next write.
    pub fn send_text(&mut self, client: ClientId, text: &str) {
        self.send_frame(client.socket, Opcode::Text, text.as_bytes());
    }

    /// Sends a binary message with the next write; over a raw connection just its bytes.
    pub fn send_binary(&mut self, client: ClientId, payload: &[u8]) {
        match self.peer(client.socket) {
            Some(peer) if peer.state == State::Raw => {
                peer.gathered.extend_from_slice(payload);
                self.mark(client.socket);
            }
            _ => self.send_frame(client.socket, Opcode::Binary, payload),
        }
    }

    /// Says goodbye with code 1000 and leaves; what is not open is only closed. Nothing more is
    /// told of the connection.
    pub fn leave(&mut self, client: ClientId) {
        let is_open = |peer: &Peer| matches!(peer.state, State::Open | State::Raw);
        if !self.peer(client.socket).is_some_and(|peer| is_open(peer)) {
            return self.hang_up(client);
        }
        self.send_frame(client.socket, Opcode::Close, &1000u16.to_be_bytes());
        self.part(client);
    }

    /// Nothing more is told of the connection, which is over once what it has to send is sent.
    fn part(&mut self, client: ClientId) {
        self.flush();
        let Some(peer) = self.peer(client.socket) else { return };
        let before = std::mem::replace(&mut peer.state, State::Leaving);
        let is_sent = !peer.is_writing && peer.gathered.is_empty();
        self.count_out(before);
        self.leaving += 1;
        self.deadlines.push_back((Instant::now() + Duration::from_millis(OPEN_MS), client));
        if is_sent {
            self.ring.finish(client.socket);
        }
    }

    /// Closes the socket without a word. Nothing more is told of the connection.
    pub fn hang_up(&mut self, client: ClientId) {
        if let Some(peer) = self.peer(client.socket) {
            let before = std::mem::replace(&mut peer.state, State::Over);
            self.count_out(before);
            self.ring.close(client.socket);
        }
    }

    /// Answers nothing from here on and sends nothing, as if the user were gone; the kernel still
    /// acknowledges. What comes is thrown away. `on_end` follows when the server has closed the
    /// connection, not when it says that it will.
    /// `false`: it is not open, and nothing was done.
    pub fn mute(&mut self, client: ClientId) -> bool {
        let peer = self.peer(client.socket).filter(|peer| peer.state == State::Open);
        peer.map(|peer| (peer.state, peer.gathered) = (State::Mute(None), Vec::new())).is_some()
    }

    /// Stops reading: TCP tells the server that this one is slow.
    pub fn stall(&mut self, client: ClientId) {
        self.ring.pause(client.socket);
    }

    /// Reads again.
    pub fn unstall(&mut self, client: ClientId) {
        self.ring.resume(client.socket);
    }

    /// One turn. `false`: nothing happened.
    ///
    /// # Errors
    /// Only what is wrong with the ring itself.
    pub fn turn(&mut self, crowd: &mut impl Crowd) -> io::Result<bool> {
        for client in std::mem::take(&mut self.begun) {
            if self.peer(client.socket).is_some_and(|peer| peer.state == State::Raw) {
                crowd.on_open(self, client);
            }
        }
        self.flush();
        let mut events = std::mem::take(&mut self.events);
        let any = self.ring.turn(&mut events)? > 0;
        for event in events.drain(..) {
            self.on_event(event, crowd);
        }
        self.events = events;
        self.expire(crowd);
        self.flush();
        Ok(any)
    }

    /// Sleeps until something happens, at most for `at_most`.
    ///
    /// # Errors
    /// Only what is wrong with the ring itself.
    pub fn wait(&mut self, at_most: Duration) -> io::Result<()> {
        self.ring.wait(at_most)
    }

    fn on_event(&mut self, event: Event, crowd: &mut impl Crowd) {
        match event {
            Event::Received(id, received) => self.on_received(id, received, crowd),
            Event::Sent(id, spare) => {
                let Some(peer) = self.peer(id) else { return };
                peer.is_writing = false;
                if !peer.gathered.is_empty() {
                    self.mark(id);
                } else if peer.state == State::Leaving {
                    // FIN behind the close frame; the socket is closed when the server's is here.
                    self.ring.finish(id);
                } else {
                    peer.gathered = spare.into_buffer();
                }
            }
            Event::PeerFinished(id) => {
                self.end(id, End::Lost("closed without a close frame".into()), crowd);
            }
            Event::Failed(id, errno) => self.end(id, End::Lost(errno.to_string()), crowd),
            Event::Freed(id) => {
                if let Some(peer) = self.peer(id) {
                    let before = std::mem::take(peer).state;
                    self.count_out(before);
                }
            }
            Event::Accepted(_) | Event::AcceptStopped(_) | Event::Tick | Event::Timer => {}
        }
    }

    fn on_received(&mut self, id: SocketId, mut received: Received, crowd: &mut impl Crowd) {
        if let Some(peer) = self.peer(id) {
            let mut partial = std::mem::take(&mut peer.partial);
            let bytes = received.bytes_mut();
            let taken = if partial.is_empty() {
                let taken = self.take(id, bytes, crowd);
                partial.extend_from_slice(bytes.get(taken..).unwrap_or_default());
                0
            } else {
                partial.extend_from_slice(bytes);
                self.take(id, &partial, crowd)
            };
            partial.drain(..taken);
            if let Some(peer) = self.peer(id)
                && !partial.is_empty()
            {
                peer.partial = partial;
            }
        }
        self.ring.recycle(id, received);
    }

    /// Takes whole pieces from the head of `bytes`; how many bytes that were.
    fn take(&mut self, id: SocketId, bytes: &[u8], crowd: &mut impl Crowd) -> usize {
        let mut taken = 0;
        loop {
            let rest = bytes.get(taken..).unwrap_or_default();
            let state = self.peer(id).map_or(State::Over, |peer| peer.state);
            let step = match state {
                _ if rest.is_empty() => return taken,
                State::Upgrading | State::Asking => self.take_response(id, rest, crowd),
                State::Open => self.take_frame(id, rest, crowd),
                State::Mute(_) => self.ignore_frame(id, rest),
                State::Raw => {
                    let user = self.peer(id).map_or(0, |peer| peer.user);
                    crowd.on_message(self, ClientId { socket: id, user }, rest);
                    return bytes.len();
                }
                State::Leaving | State::Vacant | State::Over => return bytes.len(),
            };
            match step {
                Ok(Some(len)) => taken += len,
                Ok(None) => return taken,
                Err(Broken(why)) => {
                    self.end(id, End::Broken(why), crowd);
                    return bytes.len();
                }
            }
        }
    }

    fn take_response(
        &mut self,
        id: SocketId,
        bytes: &[u8],
        crowd: &mut impl Crowd,
    ) -> Result<Option<usize>, Broken> {
        let Some(response) = response(bytes)? else { return Ok(None) };
        let Some(peer) = self.peer(id) else { return Ok(Some(response.len)) };
        let client = ClientId { socket: id, user: peer.user };
        if peer.state == State::Asking {
            crowd.on_answer(self, client, response.status, response.body);
            self.end(id, End::Answered, crowd);
        } else if response.status != 101 {
            self.end(id, End::Refused(response.status, response.retry_after_s), crowd);
        } else if response.accept != Some(derive_accept_key(KEY.as_bytes()).as_bytes()) {
            return Err(Broken("a wrong Sec-WebSocket-Accept"));
        } else {
            peer.state = State::Open;
            self.open += 1;
            self.opening -= 1;
            crowd.on_open(self, client);
        }
        Ok(Some(response.len))
    }

    fn take_frame(
        &mut self,
        id: SocketId,
        bytes: &[u8],
        crowd: &mut impl Crowd,
    ) -> Result<Option<usize>, Broken> {
        let Some(Frame { opcode, payload, len }) = first_frame(bytes)? else { return Ok(None) };
        let user = self.peer(id).map_or(0, |peer| peer.user);
        match opcode {
            Opcode::Ping => {
                self.pings += 1;
                self.send_frame(id, Opcode::Pong, payload);
            }
            Opcode::Close => {
                self.send_frame(id, Opcode::Close, payload);
                let client = ClientId { socket: id, user };
                self.part(client);
                crowd.on_end(self, client, End::Closed(close_code(payload)));
            }
            Opcode::Pong | Opcode::Continuation => {}
            Opcode::Text | Opcode::Binary => {
                self.messages += 1;
                crowd.on_message(self, ClientId { socket: id, user }, payload);
            }
        }
        Ok(Some(len))
    }

    /// Of a frame to a user who is gone only a goodbye is noted.
    fn ignore_frame(&mut self, id: SocketId, bytes: &[u8]) -> Result<Option<usize>, Broken> {
        let Some(Frame { opcode, payload, len }) = first_frame(bytes)? else { return Ok(None) };
        if let Some(peer) = self.peer(id).filter(|_| opcode == Opcode::Close) {
            peer.state = State::Mute(Some(close_code(payload)));
        }
        Ok(Some(len))
    }

    /// The connection is over: its crowd is told, unless it knows.
    fn end(&mut self, id: SocketId, end: End, crowd: &mut impl Crowd) {
        let Some(peer) = self.peer(id) else { return };
        let (before, user) = (std::mem::replace(&mut peer.state, State::Over), peer.user);
        let end = match before {
            State::Mute(Some(code)) => End::Closed(code),
            _ => end,
        };
        self.ring.close(id);
        self.count_out(before);
        if !matches!(before, State::Leaving | State::Vacant | State::Over) {
            crowd.on_end(self, ClientId { socket: id, user }, end);
        }
    }

    /// A connection in this state is no more.
    fn count_out(&mut self, before: State) {
        match before {
            State::Open | State::Raw | State::Mute(_) => self.open -= 1,
            State::Upgrading | State::Asking => self.opening -= 1,
            State::Leaving => self.leaving -= 1,
            State::Vacant | State::Over => {}
        }
    }

    fn expire(&mut self, crowd: &mut impl Crowd) {
        let is_due = |(until, _): &(Instant, ClientId)| *until <= Instant::now();
        while let Some((until, client)) = self.deadlines.pop_front() {
            let state = self.peer(client.socket).map_or(State::Over, |peer| peer.state);
            if !matches!(state, State::Upgrading | State::Asking | State::Leaving) {
                continue;
            }
            if !is_due(&(until, client)) {
                self.deadlines.push_front((until, client));
                return;
            }
            self.end(client.socket, End::Slow, crowd);
        }
    }

    fn send_frame(&mut self, id: SocketId, opcode: Opcode, payload: &[u8]) {
        let Some(peer) = self.peer(id).filter(|peer| peer.state == State::Open) else { return };
        write_masked(&mut peer.gathered, opcode, payload);
        self.mark(id);
    }

    fn mark(&mut self, id: SocketId) {
        if let Some(peer) = self.peer(id)
            && !std::mem::replace(&mut peer.is_dirty, true)
        {
            self.dirty.push(id);
        }
    }

    fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for id in dirty.drain(..) {
            let Some(peer) = self.peer(id) else { continue };
            peer.is_dirty = false;
            if peer.is_writing || peer.gathered.is_empty() {
                continue;
            }
            peer.is_writing = true;
            let write = std::mem::take(&mut peer.gathered);
            // It is being closed otherwise, and nobody waits for the bytes.
            let _ = self.ring.send(id, write);
        }
        self.dirty = dirty;
    }

    fn peer(&mut self, id: SocketId) -> Option<&mut Peer> {
        let peer = self.peers.get_mut(id.slot as usize)?;
        (peer.generation == id.generation && peer.state != State::Vacant).then_some(peer)
    }
}

fn close_code(payload: &[u8]) -> Option<u16> {
    payload.first_chunk().map(|code| u16::from_be_bytes(*code))
}
