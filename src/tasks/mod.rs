//! ▢ The tasks route on one shard: every session of its connections.
//!
//! Place in the data path: client messages come in from `ws`, answers and results from
//! `broker`; out go [`Action`]s, which the shard carries out in order. This module knows
//! no socket beyond its name, no Redis, and no clock. It never waits: what takes time is
//! a state of a session, and a deadline on the wheel.
//!
//! Reads downward: [`Tasks`] finds the session (for a client's message in `requests`),
//! `session` decides, `chunks` remembers, `reply` and `task` write JSON; `command` and
//! `result` read it. `retain` has what is kept beyond the next message, each with its bound:
//! sessions without a connection (`detached`), results for clients that are behind (`flow`),
//! and the one channel of the shard (`shared`). `cores` lets a session of either dialect change
//! its shard: `moving` is this dialect's part in it, `held` what clients say while they wait,
//! `following` (with `forwards`) how results go after a session.
//! [`raw`] is the other dialect, beside all of that; ids, tickets, the table of sessions and
//! [`Action`] serve both.
//!
//! `chunks`, `command`, `reply`, `result` and `task` are public for the micro-benchmarks, which
//! measure them by themselves; whoever serves the route needs none of them.

pub mod chunks;
pub mod command;
mod config;
mod context;
mod cores;
mod detached;
mod flow;
mod following;
mod forwards;
mod held;
mod id;
pub(crate) mod json;
mod moving;
mod ordinals;
pub mod raw;
pub mod reply;
mod requests;
pub mod result;
mod retain;
mod session;
mod shared;
mod table;
pub mod task;
mod ticket;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use config::TasksConfig;
pub use cores::{Parcel, PeerMessage, Tenure};
pub use id::{BadSessionId, OpenIds, SessionId};
pub use ticket::{CHUNKS_MAX, RouteTag, SESSIONS_MAX};

use crate::broker::{self, Event, Ticket};
use crate::clock::Now;
use crate::ids::{ShardId, SocketId, SocketMap, SocketSet};
use crate::limits::{TASKS_TICK_MS, TASKS_WHEEL_SLOTS};
use crate::metrics::ShardMetrics;
use crate::wheel::Wheel;
use crate::ws::CloseCode;
use command::Modes;
use context::Context;
use cores::Cores;
use detached::Detached;
use flow::Flow;
use following::Following;
use held::Held;
use result::WorkerResult;
use session::{End, Session};
use shared::SharedChannel;
use table::{Named, Table};
use ticket::Purpose;

/// What the shard is to do. Actions are carried out in order.
#[derive(Debug)]
pub enum Action {
    /// Send a text message.
    Send {
        /// To whom; gone already: the message is nobody's.
        to: SocketId,
        /// JSON.
        text: Vec<u8>,
    },
    /// Send a binary message.
    SendBinary {
        /// As for a text.
        to: SocketId,
        /// Any bytes.
        bytes: Vec<u8>,
    },
    /// Close a connection. Its [`Tasks::on_disconnect`] follows as for any other.
    Close {
        /// Which.
        socket: SocketId,
        /// Why, for programs.
        code: CloseCode,
        /// Why, for people.
        reason: &'static str,
    },
    /// Tell another shard's part of this route.
    Tell {
        /// Which route.
        route: RouteTag,
        /// Which shard.
        to: ShardId,
        /// What.
        message: PeerMessage,
    },
    /// Submit a command.
    Broker(broker::Command),
    /// Call `on_drained` of the route when the outbox of a socket is nearly empty. Once; it
    /// may be so already.
    AwaitDrain(SocketId),
    /// Stop reading a socket. What was read already is still taken.
    Pause(SocketId),
    /// Read it again.
    Resume(SocketId),
}

/// A connection that has a session, or that lost one to another connection.
#[derive(Default)]
struct Connection {
    /// Slots of its sessions.
    sessions: Vec<u32>,
    /// The one whose chunks its binary frames are.
    binary: Option<u32>,
    flow: Flow,
    /// What it said while it waits for a session that another shard has.
    held: Option<Box<Held>>,
    paused: bool,
    /// A `Close` went out: what it still says is not heard.
    closing: bool,
}

/// All sessions of one tasks route on one shard.
pub struct Tasks {
    config: Arc<TasksConfig>,
    metrics: Arc<ShardMetrics>,
    route: RouteTag,
    table: Table<Session>,
    connections: SocketMap<Connection>,
    open_ids: OpenIds,
    /// Sessions without a connection.
    detached: Detached,
    /// Connections whose outbox is full.
    full: SocketSet,
    /// Bytes of result texts that all sessions keep.
    text_bytes: usize,
    shared: Option<SharedChannel>,
    /// `None` where there is one shard.
    cores: Option<Box<Cores<Modes>>>,
    /// Sessions whose results come to another shard than they are on.
    following: Following,
    wheel: Wheel,
    /// Slots whose deadline has come; kept for its allocation.
    due: Vec<u32>,
    broker_up: bool,
}

impl Tasks {
    /// A route without sessions. `route` is its own among those that share the broker.
    pub fn new(config: Arc<TasksConfig>, metrics: Arc<ShardMetrics>, route: RouteTag) -> Self {
        let shared = config.reply_to.clone().map(SharedChannel::new);
        Self {
            config,
            metrics,
            route,
            table: Table::default(),
            connections: SocketMap::default(),
            open_ids: OpenIds::default(),
            detached: Detached::default(),
            full: SocketSet::default(),
            text_bytes: 0,
            shared,
            cores: None,
            following: Following::default(),
            wheel: Wheel::new(TASKS_TICK_MS, TASKS_WHEEL_SLOTS),
            due: Vec::new(),
            broker_up: true,
        }
    }

    /// Shares session ids with the other routes of the shard. Before the first session.
    pub fn with_open_ids(self, open_ids: OpenIds) -> Self {
        Self { open_ids, ..self }
    }

    /// An event of the broker. What is not this route's is given back: `Up` and `Down`
    /// always, for they are everybody's, and what befalls the channel of the shard;
    /// answers to other routes' tickets; results for no session of this route. A result that every route gives back
    /// belongs in [`count_orphan`](Self::count_orphan).
    #[must_use = "another route may want it"]
    pub fn on_event(&mut self, event: Event, now: Now, actions: &mut Vec<Action>) -> Option<Event> {
        match &event {
            Event::Up => {
                self.broker_up = true;
                self.ask_for_shared(actions);
            }
            Event::Down { .. } => {
                self.broker_up = false;
                if let Some(shared) = &mut self.shared {
                    shared.on_down();
                }
            }
            Event::Pushed(ticket)
            | Event::PushFailed(ticket, _)
            | Event::Fetched(ticket, _)
            | Event::FetchFailed(ticket, _)
            | Event::Observed(ticket, _)
            | Event::ObserveFailed(ticket, _) => {
                if self.route.owns(*ticket) {
                    self.on_answer(*ticket, &event, now, actions);
                    return None;
                }
            }
            Event::Subscribed(channel)
            | Event::SubscribeFailed(channel, _)
            | Event::Message { channel, .. } => {
                if self.shared.as_ref().is_some_and(|shared| shared.is(channel)) {
                    return self.on_shared(event, now, actions);
                }
                if let Some(slot) = id::of_channel(channel).and_then(|id| self.table.find(id)) {
                    self.with(slot, now, actions, |session, cx| match &event {
                        Event::Subscribed(_) => session.on_subscribed(cx),
                        Event::SubscribeFailed(_, error) => {
                            Some(session.on_subscribe_failed(error, cx))
                        }
                        Event::Message { payload, .. } => match WorkerResult::parse(payload) {
                            Ok(result) => session.on_result(&result, cx),
                            Err(_) => {
                                cx.metrics.results.malformed.inc();
                                None
                            }
                        },
                        _ => None,
                    });
                    return None;
                }
                if let Event::Message { channel, payload } = &event
                    && let Some(id) = id::of_channel(channel)
                    && self.forward(id, payload, now, actions)
                {
                    return None;
                }
            }
        }
        Some(event)
    }

    /// Counts an event that every route of the shard has given back: a result for a
    /// session that has ended. For once per event, on any of the routes.
    pub fn count_orphan(&self, event: &Event) {
        if let Event::Message { .. } = event {
            self.metrics.tasks.results.orphaned.inc();
        }
    }

    /// To be called about every 250 ms: deadlines of sessions, and of clients that do not
    /// read.
    pub fn on_tick(&mut self, now: Now, actions: &mut Vec<Action>) {
        let mut due = std::mem::take(&mut self.due);
        self.wheel.expire(now.ms, &mut due);
        for slot in due.drain(..) {
            self.with(slot, now, actions, Session::on_deadline);
        }
        self.due = due;
        cores::on_tick(self, now, actions);
        self.end_forwards(now, actions);
        self.close_slow(now, actions);
        if self.broker_up {
            self.ask_for_shared(actions);
        }
    }

    /// Its own among the routes that share the broker; the same on every shard.
    pub fn tag(&self) -> RouteTag {
        self.route
    }

    /// Sessions that are open on a connection.
    pub fn sessions_of(&self, socket: SocketId) -> usize {
        self.connections.get(&socket).map_or(0, |connection| connection.sessions.len())
    }

    /// The connection whose session a ticket is for, while both are there.
    pub fn owner_of(&self, ticket: Ticket) -> Option<SocketId> {
        let (key, _) = ticket::read(ticket);
        self.table.get(self.table.slot_of(key)?)?.owner()
    }

    /// Whether the client of a connection waits for something: a start, an answer, an end.
    pub fn has_open_work(&self, socket: SocketId) -> bool {
        let Some(connection) = self.connections.get(&socket) else { return false };
        if connection.held.is_some() {
            return true;
        }
        let mut sessions = connection.sessions.iter().filter_map(|&slot| self.table.get(slot));
        sessions.any(Session::has_open_work)
    }

    fn on_answer(&mut self, ticket: Ticket, event: &Event, now: Now, actions: &mut Vec<Action>) {
        let (key, purpose) = ticket::read(ticket);
        // None: the session has ended; nobody waits for the answer any more.
        let Some(slot) = self.table.slot_of(key) else { return };
        self.with(slot, now, actions, |session, cx| match (purpose, event) {
            (Purpose::Push(ordinal), Event::Pushed(_)) => {
                session.on_pushed(ordinal, cx);
                None
            }
            (Purpose::Push(ordinal), Event::PushFailed(_, error)) => {
                session.on_push_failed(ordinal, error, cx)
            }
            (Purpose::Fetch, Event::Fetched(_, values)) => session.on_fetched(Some(values), cx),
            (Purpose::Fetch, Event::FetchFailed(..)) => session.on_fetched(None, cx),
            _ => None,
        });
    }

    /// Does something to a session, and then what follows from any change of one: its end,
    /// its next deadline, its client's flow.
    fn with(
        &mut self,
        slot: u32,
        now: Now,
        actions: &mut Vec<Action>,
        change: impl FnOnce(&mut Session, &mut Context<'_>) -> Option<End>,
    ) {
        let text_limit_bytes = self.text_limit_bytes(slot);
        let Some(session) = self.table.get_mut(slot) else { return };
        let (config, metrics) = (&*self.config, &self.metrics.tasks);
        let (owner, kept_bytes) = (session.owner(), session.text_bytes());
        // Also of an owner that is being closed: what it is not told, the next one is.
        let mut nobodys = Flow::closed();
        let mut cx = Context {
            config,
            metrics,
            now,
            route: self.route,
            flow: owner
                .and_then(|owner| self.connections.get_mut(&owner))
                .filter(|connection| !connection.closing)
                .map_or(&mut nobodys, |connection| &mut connection.flow),
            text_limit_bytes,
            shared_confirmed: self.shared.as_ref().map(SharedChannel::is_confirmed),
            actions,
        };
        let end = change(session, &mut cx);
        // Texts are only added until the end of their session.
        let added_bytes = session.text_bytes().saturating_sub(kept_bytes);
        self.text_bytes += added_bytes;
        metrics.text_bytes.add(added_bytes as u64);
        match end {
            Some(end) => self.end(slot, end, actions),
            None => {
                if let Some(deadline_ms) = session.new_alarm_ms() {
                    self.wheel.arm(slot, deadline_ms);
                }
            }
        }
        if let Some(owner) = owner {
            self.regulate(owner, actions);
        }
        self.make_room_for_texts(actions);
        self.say_heard(slot, now, actions);
        cores::after_change(self, slot, now, actions);
    }

    /// The one teardown of a session.
    fn end(&mut self, slot: u32, end: End, actions: &mut Vec<Action>) {
        let Some(session) = self.table.remove(slot) else { return };
        self.wheel.disarm(slot);
        if let Some(channel) = session.channel().cloned() {
            actions.push(Action::Broker(broker::Command::Unsubscribe { channel }));
        }
        self.following.relayed.remove(&slot);
        cores::on_ended(self, slot, &session, actions);
        self.open_ids.remove(session.id());
        self.forget_detachment(session.detachment());
        let metrics = &self.metrics.tasks;
        let kept_bytes = session.text_bytes();
        self.text_bytes = self.text_bytes.saturating_sub(kept_bytes);
        metrics.text_bytes.sub(kept_bytes as u64);
        metrics.sessions.dec();
        match end {
            End::Complete => metrics.sessions_complete.inc(),
            End::Partial => metrics.sessions_partial.inc(),
            End::Abandoned => metrics.sessions_abandoned.inc(),
        }
        let owner = session.owner().and_then(|owner| self.connections.get_mut(&owner));
        if let Some(connection) = owner {
            connection.lose(slot);
        }
    }

    /// Pauses a connection with a session that has too many unanswered chunks, or that waits
    /// for one; resumes it when each has fewer than `inflight`. Watches one whose outbox is full. Forgets one
    /// that has nothing left.
    fn regulate(&mut self, socket: SocketId, actions: &mut Vec<Action>) {
        let Some(connection) = self.connections.get_mut(&socket) else { return };
        let inflight = self.config.inflight.max(1);
        let unanswered = connection.sessions.iter().filter_map(|&slot| self.table.get(slot));
        let most = unanswered.map(Session::unanswered).max().unwrap_or(0);
        if connection.closing {
            return;
        }
        let waits = connection.held.as_ref().is_some_and(|held| held.is_waiting());
        if !connection.paused && (waits || most > inflight) {
            connection.paused = true;
            actions.push(Action::Pause(socket));
        } else if connection.paused && !waits && most < inflight {
            connection.paused = false;
            actions.push(Action::Resume(socket));
        }
        if connection.flow.is_full() {
            self.full.insert(socket);
        } else if connection.sessions.is_empty() && connection.held.is_none() {
            self.connections.remove(&socket);
        }
    }
}

impl Connection {
    /// A session of it has ended, or is another's.
    fn lose(&mut self, slot: u32) {
        self.sessions.retain(|&other| other != slot);
        self.binary = self.binary.filter(|&binary| binary != slot);
    }
}
