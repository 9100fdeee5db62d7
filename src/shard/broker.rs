//! A shard's way to its broker: a socket on the shard's own ring to Redis, or lanes to
//! the broker inside the process.

use std::{io, os::fd::OwnedFd, time::Duration};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{
    connection::Phase,
    wire::{Wire, tick_of},
};
use crate::{
    broker::{
        Command, Event,
        embedded::Port,
        redis::{Link, Target, dial::spawn_dial},
    },
    ids::SocketId,
    limits,
    ring::Waker,
    ws::CloseCode,
};

/// Either broker, as the turn loop sees it.
pub enum BrokerPort {
    /// Redis over the shard's one connection.
    Redis(Box<RedisPort>),
    /// The embedded broker.
    Embedded(Box<Port>),
}

/// The link, its socket, and the attempt to get one.
pub struct RedisPort {
    link: Link,
    target: Target,
    socket: Option<SocketId>,
    dialled: (Sender<io::Result<OwnedFd>>, Receiver<io::Result<OwnedFd>>),
    waker: Waker,
}

impl BrokerPort {
    /// To Redis. `waker`: of the shard, for the thread that dials.
    pub fn redis(link: Link, target: Target, waker: Waker) -> Self {
        // One attempt at a time, so one answer.
        let dialled = bounded(1);
        Self::Redis(Box::new(RedisPort { link, target, socket: None, dialled, waker }))
    }

    /// Another bound of what waits for the broker, for what comes.
    pub fn set_pending_bytes(&mut self, pending_bytes: usize) {
        match self {
            Self::Redis(redis) => redis.link.set_pending_bytes(pending_bytes),
            Self::Embedded(port) => port.set_pending_bytes(pending_bytes),
        }
    }

    /// Whether commands are carried out now.
    pub fn is_up(&self) -> bool {
        match self {
            Self::Redis(redis) => redis.link.is_up(),
            Self::Embedded(port) => port.is_up(),
        }
    }

    /// Sockets of the ring that are the broker's and no client's.
    pub fn sockets(&self) -> usize {
        usize::from(matches!(self, Self::Redis(redis) if redis.socket.is_some()))
    }

    /// Takes a command; what fails at once is among the events.
    pub fn submit(&mut self, command: Command, events: &mut Vec<Event>) {
        match self {
            Self::Redis(redis) => redis.link.submit(command, events),
            Self::Embedded(port) => port.submit(command),
        }
    }

    /// Once a turn: what other threads have for us.
    pub fn collect(&mut self, wire: &mut Wire, now_ms: u64, events: &mut Vec<Event>) {
        match self {
            Self::Redis(redis) => redis.collect(wire, now_ms, events),
            Self::Embedded(port) => collect_some(port, events),
        }
    }

    /// At the end of a turn: what is due to the broker, in one write.
    pub fn flush(&mut self, wire: &mut Wire, now_ms: u64) {
        match self {
            Self::Redis(redis) => redis.flush(wire, now_ms),
            Self::Embedded(port) => port.flush(),
        }
    }

    /// Whether another thread has left something since the last turn.
    pub fn has_news(&self) -> bool {
        match self {
            Self::Redis(redis) => !redis.dialled.1.is_empty(),
            Self::Embedded(port) => port.has_news(),
        }
    }

    /// Bytes from the broker's socket.
    pub fn on_bytes(
        &mut self,
        bytes: &[u8],
        wire: &mut Wire,
        now_ms: u64,
        events: &mut Vec<Event>,
    ) {
        if let Self::Redis(redis) = self
            && let Err(error) = redis.link.on_bytes(bytes, now_ms, events)
        {
            redis.hang_up(&error.to_string(), wire, now_ms, events);
        }
    }

    /// The broker's socket ended.
    pub fn on_closed(
        &mut self,
        reason: &str,
        wire: &mut Wire,
        now_ms: u64,
        events: &mut Vec<Event>,
    ) {
        if let Self::Redis(redis) = self {
            redis.let_go(wire);
            redis.link.on_lost(reason, now_ms, events);
        }
    }

    /// Every tick: silence is noticed, an attempt to connect is made when it is time.
    pub fn on_tick(&mut self, wire: &mut Wire, now_ms: u64, events: &mut Vec<Event>) {
        let Self::Redis(redis) = self else { return };
        if let Err(error) = redis.link.on_tick(now_ms) {
            redis.hang_up(&error.to_string(), wire, now_ms, events);
        }
        redis.dial_if_wanted(now_ms, events);
    }
}

/// As much as one read from a socket brings, for which outboxes have room.
fn collect_some(port: &mut Port, events: &mut Vec<Event>) {
    let mut room_bytes = limits::EMBEDDED_TURN_BYTES;
    while room_bytes > 0
        && let Some(event) = port.try_next()
    {
        if let Event::Message { payload, .. } = &event {
            room_bytes = room_bytes.saturating_sub(payload.len() + limits::COMMAND_OVERHEAD_BYTES);
        }
        events.push(event);
    }
}

impl RedisPort {
    fn collect(&mut self, wire: &mut Wire, now_ms: u64, events: &mut Vec<Event>) {
        if let Ok(dialled) = self.dialled.1.try_recv() {
            match dialled.and_then(|fd| wire.ring.adopt(fd)) {
                Ok(id) => {
                    wire.connections.insert(id, Phase::Broker, tick_of(now_ms));
                    self.socket = Some(id);
                    self.link.on_connected(now_ms);
                }
                Err(error) => self.link.on_dial_failed(&error.to_string(), now_ms, events),
            }
        }
    }

    fn flush(&mut self, wire: &mut Wire, now_ms: u64) {
        // One write at a time: what is not taken yet is bounded by the link.
        if let Some(id) = self.socket
            && self.link.has_output()
            && wire.connections.get_mut(id).is_some_and(|c| c.has_nothing_to_send())
        {
            wire.gather_raw(id, |out| self.link.take_output(now_ms, out));
        }
    }

    fn hang_up(&mut self, reason: &str, wire: &mut Wire, now_ms: u64, events: &mut Vec<Event>) {
        self.let_go(wire);
        self.link.on_closed(reason, now_ms, events);
    }

    fn let_go(&mut self, wire: &mut Wire) {
        if let Some(id) = self.socket.take() {
            wire.terminate(id, CloseCode::Abnormal);
        }
    }

    fn dial_if_wanted(&mut self, now_ms: u64, events: &mut Vec<Event>) {
        if !self.link.wants_dial(now_ms) {
            return;
        }
        let (sender, waker) = (self.dialled.0.clone(), self.waker.clone());
        let timeout = Duration::from_millis(limits::DIAL_TIMEOUT_MS);
        let started = spawn_dial(self.target.clone(), timeout, move |dialled| {
            // Full only if the shard has ended.
            let _ = sender.try_send(dialled);
            waker.wake();
        });
        if let Err(error) = started {
            self.link.on_dial_failed(&error.to_string(), now_ms, events);
        }
    }
}
