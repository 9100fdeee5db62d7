//! One server's connections in a closed loop: every connection has a fixed number of messages in
//! flight, and each reply is answered with the next message.
//!
//! Messages are framed once, before the clock runs. Replies are counted by length; the header of
//! every reply that starts a read is checked, and the whole of one in [`CHECK_EVERY`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use ringgate::{
    ids::SocketId,
    metrics::ShardMetrics,
    ring::{Event, Ring, RingOptions},
};
use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::connect::{self, Endpoint};
use crate::frames::{MASK, frame};
use crate::{Deadline, Failure};

/// One reply in so many is compared byte for byte.
const CHECK_EVERY: u64 = 1024;
/// A reply that takes longer than this is lost.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);
/// Of every message.
const BINARY: OpCode = OpCode::Data(Data::Binary);

/// What is sent, and how much of it at once.
#[derive(Clone, Copy)]
pub struct Shape {
    /// How many connections.
    pub connections: u32,
    /// Bytes of payload of a message.
    pub bytes: u32,
    /// Messages in flight on a connection.
    pub inflight: u32,
}

struct Connection {
    id: SocketId,
    /// Bytes of an unfinished reply.
    partial_bytes: usize,
    /// Send times of the messages in flight, oldest first.
    sent_at: VecDeque<Instant>,
    /// The buffer of the last write, to be used for the next.
    spare: Vec<u8>,
}

/// All connections to one server.
pub struct Loop {
    ring: Ring,
    events: Vec<Event>,
    /// By the slot of their sockets, which a new ring gives in order.
    connections: Vec<Connection>,
    /// As many messages as may be in flight, framed and masked, one behind the other.
    messages_wire: Vec<u8>,
    message_bytes: usize,
    reply: Vec<u8>,
    /// Replies so far.
    pub messages: u64,
    /// From message to reply.
    pub latency_ns: Histogram<u64>,
    /// Replies are not answered: the loop runs empty.
    ending: bool,
}

impl Loop {
    /// Opens all connections.
    pub fn open(endpoint: &Endpoint, shape: Shape, deadline: Deadline) -> Result<Self, Failure> {
        let payload: Vec<u8> = (0..shape.bytes).map(|index| index as u8).collect();
        let message = frame(BINARY, &payload, Some(MASK))?;
        let reply = if endpoint.raw { message.clone() } else { frame(BINARY, &payload, None)? };
        let options =
            RingOptions { registered_sockets: shape.connections, ..RingOptions::default() };
        let mut ring = Ring::new(&options, Arc::new(ShardMetrics::default()))?;
        let mut connections = Vec::new();
        for index in 0..shape.connections {
            deadline.check()?;
            let opened = connect::open(endpoint, 1, index)?;
            if !opened.surplus.is_empty() {
                return Err("the server sent something before it was asked".into());
            }
            let id = ring.adopt(opened.stream.into())?;
            let sent_at = VecDeque::with_capacity(shape.inflight as usize);
            connections.push(Connection { id, partial_bytes: 0, sent_at, spare: Vec::new() });
        }
        Ok(Self {
            ring,
            events: Vec::new(),
            connections,
            messages_wire: message.repeat(shape.inflight as usize),
            message_bytes: message.len(),
            reply,
            messages: 0,
            latency_ns: Histogram::new_with_bounds(1, 60_000_000_000, 3)?,
            ending: false,
        })
    }

    /// Sends the first messages of every connection.
    pub fn start(&mut self) -> Result<(), Failure> {
        self.ending = false;
        let (now, count) = (Instant::now(), self.messages_wire.len() / self.message_bytes);
        (0..self.connections.len()).try_for_each(|index| self.send(index, count, now))
    }

    /// Keeps the loop going.
    pub fn run_for(&mut self, time: Duration, deadline: Deadline) -> Result<(), Failure> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.turn()?;
            deadline.check()?;
        }
        Ok(())
    }

    /// Lets the loop run empty.
    pub fn finish(&mut self) -> Result<(), Failure> {
        self.ending = true;
        let give_up = Instant::now() + REPLY_TIMEOUT;
        loop {
            let waits = |connection: &&Connection| !connection.sent_at.is_empty();
            let count = self.connections.iter().filter(waits).count();
            if count == 0 {
                return Ok(());
            }
            if Instant::now() > give_up {
                return Err(
                    format!("{count} connections wait {REPLY_TIMEOUT:?} for a reply").into()
                );
            }
            self.turn()?;
        }
    }

    /// Spins rather than sleeps: a server that has to wake its load pays for it, most of all on a
    /// virtual machine, and by the pattern of its writes rather than by their number; clients on
    /// other machines are not for the server to wake.
    fn turn(&mut self) -> Result<(), Failure> {
        let mut events = std::mem::take(&mut self.events);
        if self.ring.turn(&mut events)? == 0 {
            std::hint::spin_loop();
        }
        events.drain(..).try_for_each(|event| self.on_event(event))?;
        self.events = events;
        Ok(())
    }

    fn on_event(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Received(id, mut received) => {
                let taken = self.receive(id.slot as usize, received.bytes_mut());
                self.ring.recycle(id, received);
                taken
            }
            Event::Sent(id, spare) => {
                self.connections[id.slot as usize].spare = spare.into_buffer();
                Ok(())
            }
            other => connect::ended(&other),
        }
    }

    /// Takes what has come on one connection, and sends as many messages as it had replies.
    fn receive(&mut self, index: usize, received: &[u8]) -> Result<(), Failure> {
        let connection = &mut self.connections[index];
        let whole = connection.partial_bytes == 0 && received.len() >= self.reply.len();
        if whole && !is_reply(received, &self.reply, self.messages.is_multiple_of(CHECK_EVERY)) {
            return Err(format!("connection {}: not the echo of what was sent", index + 1).into());
        }
        let bytes = connection.partial_bytes + received.len();
        let replies = bytes / self.reply.len();
        connection.partial_bytes = bytes % self.reply.len();
        if replies > connection.sent_at.len() {
            return Err(format!("connection {}: more replies than messages", index + 1).into());
        }
        let now = Instant::now();
        for sent_at in connection.sent_at.drain(..replies) {
            self.latency_ns.saturating_record((now - sent_at).as_nanos() as u64);
        }
        self.messages += replies as u64;
        if replies == 0 || self.ending { Ok(()) } else { self.send(index, replies, now) }
    }

    /// Sends `count` messages. A reply comes after its message was written, so the connection has
    /// no write in flight.
    fn send(&mut self, index: usize, count: usize, now: Instant) -> Result<(), Failure> {
        let connection = &mut self.connections[index];
        let mut wire = std::mem::take(&mut connection.spare);
        wire.extend_from_slice(&self.messages_wire[..count * self.message_bytes]);
        connection.sent_at.extend(std::iter::repeat_n(now, count));
        self.ring
            .send(connection.id, wire)
            .map_err(|_| format!("connection {}: a write was still in flight", index + 1).into())
    }
}

fn is_reply(received: &[u8], reply: &[u8], all: bool) -> bool {
    if all { received.starts_with(reply) } else { received[..2] == reply[..2] }
}
