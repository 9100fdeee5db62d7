//! One core: its listener, its connections, its broker, and the loop that turns.
//!
//! Everything a shard does happens in `Shard::turn`, on one thread, synchronously:
//! completions become events, bytes become frames, frames become calls of the route,
//! the route's actions become effects, and at the end every socket that has something to
//! send gets one write. Nothing in here waits; only [`run()`] does, when there is nothing to
//! do.
//!
//! Files, downward along the data path: [`listener`], [`admission`] ▢, [`connection`] ▢,
//! `input` (bytes to route), [`sessions`] (requests about sessions of topics), `effects`
//! (actions to bytes), `topic_routes` (what
//! the topics routes want), `fanout` (shared frames to outboxes), [`wire`] (bytes to sockets),
//! [`broker`], and beside it `peers` (the other shards), `heartbeat` (deadlines), [`reload`],
//! `drain`, `teardown`.

pub mod admission;
pub mod broker;
pub mod connection;
mod drain;
mod effects;
mod fanout;
mod heartbeat;
mod input;
pub mod listener;
mod peers;
pub mod reload;
mod run;
pub mod sessions;
mod spare;
mod teardown;
mod topic_routes;
pub mod wire;

use std::{
    io,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use crossbeam_channel::Receiver;

use self::{
    admission::Admission,
    broker::BrokerPort,
    connection::{Phase, Tick},
    drain::Drain,
    peers::Peers,
    reload::Reload,
    wire::Wire,
};
pub use self::{run::run, wire::tick_of};
use crate::{
    backlog::ShardBacklog,
    broker::Event as BrokerEvent,
    clock::{Clock, Now},
    ids::SocketId,
    limits,
    metrics::{Refused, ShardMetrics},
    ring::{Event, Ring},
    router::{Message, Router},
    tasks::{Action, Tasks, raw::RawTasks},
    topics::{
        self, Topics,
        sessions::{self as topic_sessions, Sessions},
    },
    ws::{CloseCode, Refusal},
};

/// Index of a route in the shard's table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RouteId(u16);

/// A path and who answers there.
pub struct Route {
    /// Of the request, without the query.
    pub path: String,
    /// Who takes its messages.
    pub handler: Handler,
}

/// Who takes the messages of a route.
pub enum Handler {
    /// Every message goes back as it came. For diagnosis and benchmarks.
    Echo,
    /// The tasks protocol.
    Tasks(Box<Tasks>),
    /// Its raw dialect.
    Raw(Box<RawTasks>),
    /// The topics protocol.
    Topics(Box<Topics>),
}

/// Settings of a shard, already divided by the number of shards where they are shared.
#[derive(Clone, Debug)]
pub struct ShardOptions {
    /// A message past this is refused with 1009.
    pub message_limit_bytes: usize,
    /// Unsent bytes at which a client counts as slow.
    pub outbox_limit_bytes: usize,
    /// Bytes of partial messages over all connections.
    pub held_limit_bytes: usize,
    /// Sockets that have not been upgraded.
    pub handshakes_max: u64,
    /// From the connect to the end of the request head.
    pub handshake_ms: u64,
    /// Between two pings.
    pub ping_ms: u64,
    /// Silence after which a connection is closed.
    pub idle_ms: u64,
    /// For the peer's answer to a close.
    pub close_ms: u64,
    /// For open work after SIGTERM.
    pub drain_ms: u64,
    /// How long the loop spins before it sleeps.
    pub spin_us: u64,
    /// Allowed values of `Origin`; empty: any.
    pub origins: Vec<String>,
}

/// What the shard shares with the rest of the process.
#[derive(Clone)]
pub struct Shared {
    /// Set once by SIGTERM; the shard's waker follows.
    pub draining: Arc<AtomicBool>,
    /// Set by the second SIGTERM: end at once.
    pub ending: Arc<AtomicBool>,
    /// The process's clock.
    pub clock: Clock,
}

/// What a shard is made of.
pub struct ShardParts {
    /// The engine, which nothing has used yet.
    pub ring: Ring,
    /// Where it accepts.
    pub listener: OwnedFd,
    /// In the order in which a request's path is compared with them.
    pub routes: Vec<Route>,
    /// What carries its tasks.
    pub broker: BrokerPort,
    /// Its end of the lanes to the other shards.
    pub router: Router<Message>,
    /// Who is let in.
    pub admission: Admission,
    /// What waits for the workers of each route, by its index.
    pub backlog: ShardBacklog,
    /// Its part in the sessions of topics.
    pub sessions: Sessions,
    /// Settings.
    pub options: ShardOptions,
    /// Where new settings come from: looked at on each tick.
    pub reloads: Receiver<Reload>,
    /// What it shares with the process.
    pub shared: Shared,
    /// Its counters.
    pub metrics: Arc<ShardMetrics>,
}

/// One core's worth of gateway.
pub struct Shard {
    wire: Wire,
    routes: Vec<Route>,
    broker: BrokerPort,
    peers: Peers,
    admission: Admission,
    backlog: ShardBacklog,
    sessions: Sessions,
    options: ShardOptions,
    reloads: Receiver<Reload>,
    shared: Shared,
    metrics: Arc<ShardMetrics>,
    now: Now,
    /// When the shard last ran again after it had stood still.
    listening_since: Tick,
    drain: Option<Drain>,
    broker_events: Vec<BrokerEvent>,
    actions: Vec<Action>,
    session_actions: Vec<topic_sessions::Action>,
    topic_actions: Vec<topics::Action>,
    /// When this turn began, where there are topics.
    now_us: u64,
    due: Vec<u32>,
}

impl Shard {
    /// A shard that accepts. Must be made on the thread that runs it.
    ///
    /// # Errors
    /// The listener could not be handed to the ring.
    pub fn new(parts: ShardParts) -> io::Result<Self> {
        let ShardParts { mut ring, listener, routes, broker, router, .. } = parts;
        let ShardParts { admission, backlog, sessions, options, reloads, shared, metrics, .. } =
            parts;
        router.attach(ring.waker().clone());
        ring.listen(listener)?;
        metrics.connections.listening.set(1);
        let wire = Wire::new(ring, metrics.clone(), options.outbox_limit_bytes, options.close_ms);
        let now = shared.clock.now();
        let mut shard = Self {
            wire,
            routes,
            broker,
            peers: Peers::new(router),
            admission,
            backlog,
            sessions,
            options,
            reloads,
            shared,
            metrics,
            now,
            listening_since: 0,
            drain: None,
            broker_events: Vec::new(),
            actions: Vec::new(),
            session_actions: Vec::new(),
            topic_actions: Vec::new(),
            now_us: 0,
            due: Vec::new(),
        };
        // The first attempt to reach the broker does not wait for a tick.
        shard.broker.on_tick(&mut shard.wire, now.ms, &mut shard.broker_events);
        Ok(shard)
    }

    /// One turn. `true`: something happened, so look again before sleeping.
    ///
    /// # Errors
    /// Only what is wrong with the ring itself.
    fn turn(&mut self) -> io::Result<bool> {
        let mut busy = self.wire.ring.begin_turn()?;
        self.note_written();
        busy |= self.broker.has_news() || self.peers.has_news();
        if busy {
            self.read_clock();
        }
        while let Some(event) = self.wire.ring.next_event()? {
            self.on_event(event)?;
        }
        self.broker.collect(&mut self.wire, self.now.ms, &mut self.broker_events);
        // Or what peers have for those who have just left would count as dropped.
        self.tell_left();
        busy |= self.hear_peers();
        busy |= self.carry_out();
        busy |= self.flush_peers();
        self.broker.flush(&mut self.wire, self.now.ms);
        self.wire.flush();
        self.arm_flushes()?;
        // What that brought waits here and nowhere else: nobody would wake the shard for it.
        Ok(busy || !self.broker_events.is_empty())
    }

    /// Ticks come every [`limits::TICK_MS`]: a longer gap means that the process was stopped
    /// or that a turn took long, and what came meanwhile has not been read.
    fn read_clock(&mut self) {
        let before_ms = self.now.ms;
        self.now = self.shared.clock.now();
        self.wire.now_ms = self.now.ms;
        self.now_us = self.shared.clock.now_us();
        if self.now.ms.saturating_sub(before_ms) > limits::STALL_MS {
            log::warn!("the shard stood still for {} ms", self.now.ms - before_ms);
            self.listening_since = tick_of(self.now.ms);
            self.backlog.be_patient(self.now.ms);
        }
    }

    #[inline(always)]
    fn on_event(&mut self, event: Event) -> io::Result<()> {
        match event {
            Event::Received(id, received) => self.on_received(id, received),
            Event::Sent(id, spare) => self.wire.sent(id, spare),
            Event::Accepted(id) => self.on_accepted(id),
            Event::PeerFinished(id) => self.hang_up(id, "closed by the peer"),
            Event::Failed(id, errno) => self.hang_up(id, &errno.to_string()),
            Event::Freed(id) => self.tear_down(id),
            Event::AcceptStopped(errno) => {
                self.metrics.connections.accept_errors.inc();
                log::warn!("accepting pauses: {errno}; raise LimitNOFILE or lower `connections`");
            }
            Event::Tick => self.on_tick()?,
            Event::Timer => self.flush_topics(),
        }
        Ok(())
    }

    fn on_accepted(&mut self, id: SocketId) {
        let metrics = &self.metrics.connections;
        metrics.accepted.inc();
        metrics.handshaking.inc();
        self.wire.connections.insert(id, Phase::Handshake(None), tick_of(self.now.ms));
        if self.drain.is_some() {
            // Came in while the listener was being closed.
            self.refuse(id, &Refusal::draining());
        } else if metrics.handshaking.get() > self.options.handshakes_max {
            metrics.refused(Refused::HandshakeLimit).inc();
            self.wire.terminate(id, CloseCode::TryAgainLater);
        } else {
            self.wire.wheel.arm(id.slot, self.now.ms + self.options.handshake_ms);
        }
    }

    fn on_tick(&mut self) -> io::Result<()> {
        self.shared.clock.set();
        self.take_reload();
        self.expire_connections();
        for route in &mut self.routes {
            match &mut route.handler {
                Handler::Tasks(tasks) => tasks.on_tick(self.now, &mut self.actions),
                Handler::Raw(tasks) => tasks.on_tick(self.now, &mut self.actions),
                Handler::Topics(topics) => {
                    topics.on_tick(self.now, &mut self.wire, &mut self.topic_actions);
                }
                Handler::Echo => {}
            }
        }
        self.broker.on_tick(&mut self.wire, self.now.ms, &mut self.broker_events);
        if tick_of(self.now.ms).is_multiple_of(limits::PURGE_TICKS) {
            give_back_memory();
        }
        self.backlog.on_tick(self.now.ms);
        self.sessions.on_tick(self.now.ms);
        if self.broker.is_up() {
            self.ask_for_backlog();
        }
        if self.shared.draining.load(Relaxed) {
            return self.start_drain();
        }
        // Where accepting had stopped for lack of descriptors, try again.
        self.wire.ring.accept()
    }

    fn has_open_work(&self, id: SocketId) -> bool {
        self.routes.iter().any(|route| match &route.handler {
            Handler::Tasks(tasks) => tasks.has_open_work(id),
            Handler::Raw(tasks) => tasks.has_open_work(id),
            Handler::Topics(_) | Handler::Echo => false,
        })
    }
}

/// Lets the allocator return what a burst has left to the system. mimalloc does that a while
/// after memory was freed, but only when it is asked for another page of its own; a shard
/// that has become quiet would never ask. The block is not touched, and costs a microsecond.
fn give_back_memory() {
    std::hint::black_box(Vec::<u8>::with_capacity(limits::PURGE_BLOCK_BYTES));
}
