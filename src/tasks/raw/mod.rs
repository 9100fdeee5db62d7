//! ▢ The raw dialect of a tasks route on one shard: every message of a client is a task,
//! and every result of a worker a message, as it is.
//!
//! Place in the data path: as its sibling, the sessions of the default dialect. Opened
//! connections and their messages come in from the shard, answers and results from
//! `broker`; out go [`Action`]s. It knows no socket beyond its name, no Redis, no clock,
//! and it does not look into what clients and workers say to each other.
//!
//! Reads downward: [`RawTasks`] finds the session, `session` decides, `unfinished` numbers
//! the tasks, `kept` holds what a client that is away will be told; `task` and `reply`
//! write JSON, `result` reads it. `moving` is this dialect's part in a session's change of its
//! shard, `ears` how results go after it.

mod config;
mod context;
mod ears;
mod kept;
mod moving;
mod reply;
mod result;
mod session;
mod task;
mod unfinished;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use config::RawConfig;
pub use session::Session as RawSession;

use super::cores::{self, Cores, Host, Refusal, Wish};
use super::detached::Detached;
use super::held::Held;
use super::id::{self, BadSessionId, OpenIds, SessionId};
use super::shared::SharedChannel;
use super::table::Table;
use super::ticket::{self, Purpose, RouteTag};
use super::{Action, table::Named};
use crate::broker::{Command, Event, Ticket};
use crate::clock::Now;
use crate::ids::{SocketId, SocketMap};
use crate::limits::{TASKS_TICK_MS, TASKS_WHEEL_SLOTS};
use crate::metrics::ShardMetrics;
use crate::wheel::Wheel;
use crate::ws::{CloseCode, Kind, query_value};
use context::Context;
use ears::Ears;
use result::WorkerResult;
use session::{End, Session};
use task::Data;

/// The session that a request names in its query (`?session=ID`). `None`: it names none,
/// or an empty one, and gets a new one.
///
/// # Errors
/// [`BadSessionId`]: what it names is none.
pub fn requested_session(query: Option<&str>) -> Result<Option<SessionId>, BadSessionId> {
    match query_value(query.unwrap_or_default(), "session") {
        Some(text) if !text.is_empty() => SessionId::parse(&text).map(Some),
        _ => Ok(None),
    }
}

/// All sessions of one raw route on one shard.
pub struct RawTasks {
    config: Arc<RawConfig>,
    metrics: Arc<ShardMetrics>,
    route: RouteTag,
    table: Table<Session>,
    /// The session of each connection. One that was told to close has none.
    owned: SocketMap<u32>,
    open_ids: OpenIds,
    /// Sessions whose client is away.
    detached: Detached,
    shared: Option<SharedChannel>,
    /// `None` where there is one shard.
    cores: Option<Box<Cores<()>>>,
    /// Connections whose session another shard has.
    waiting: SocketMap<Held>,
    /// Sessions that this shard hears for others.
    ears: Ears,
    wheel: Wheel,
    /// Slots whose deadline has come; kept for its allocation.
    due: Vec<u32>,
    broker_up: bool,
}

impl RawTasks {
    /// A route without sessions. `route` is its own among those that share the broker,
    /// `open_ids` are those of all routes of the shard.
    pub fn new(
        config: Arc<RawConfig>,
        metrics: Arc<ShardMetrics>,
        route: RouteTag,
        open_ids: OpenIds,
    ) -> Self {
        let shared = config.reply_to.clone().map(SharedChannel::new);
        Self {
            config,
            open_ids,
            detached: Detached::default(),
            shared,
            cores: None,
            waiting: SocketMap::default(),
            ears: Ears::default(),
            metrics,
            route,
            table: Table::default(),
            owned: SocketMap::default(),
            wheel: Wheel::new(TASKS_TICK_MS, TASKS_WHEEL_SLOTS),
            due: Vec::new(),
            broker_up: false,
        }
    }

    /// A client has connected: its session is opened, or taken from whoever had it.
    pub fn on_open(
        &mut self,
        socket: SocketId,
        requested: Option<SessionId>,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let open = requested.as_ref().and_then(|id| self.table.find(id.as_str()));
        let open = open.filter(|&slot| !cores::is_leaving(self.cores.as_deref(), slot));
        if let Some(slot) = open {
            return self.resume(slot, socket, now, actions);
        }
        let named = requested.is_some();
        let id = requested.unwrap_or_else(|| cores::fresh_id(self.cores.as_deref()));
        if self.open_ids.is_elsewhere(id.as_str(), self.route) {
            return self.refuse(socket, Refusal::OnOtherRoute, &id, actions);
        }
        if !self.has_room(actions) {
            return self.refuse(socket, Refusal::Busy, &id, actions);
        }
        let wish = Wish { from: socket, id, named, request: () };
        match self.cores {
            Some(_) => cores::claim(self, wish, now, actions),
            None => self.open(wish, None, now, actions),
        }
    }

    fn resume(&mut self, slot: u32, by: SocketId, now: Now, actions: &mut Vec<Action>) {
        if let Some(socket) = self.table.get(slot).and_then(Session::owner) {
            self.owned.remove(&socket);
            let code = CloseCode::TakenOver;
            actions.push(Action::Close { socket, code, reason: "session taken over" });
        }
        self.owned.insert(by, slot);
        self.metrics.tasks.sessions_resumed.inc();
        self.with(slot, now, actions, |session, cx| {
            session.resume(by, cx);
            None
        });
    }

    /// A client's data message: one task. `kind` is Text only where `payload` is UTF-8.
    pub fn on_message(
        &mut self,
        from: SocketId,
        kind: Kind,
        payload: &[u8],
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        if self.waiting.contains_key(&from) {
            return self.hold_message(from, kind, payload, actions);
        }
        // None: it has been told to close.
        let Some(&slot) = self.owned.get(&from) else { return };
        let data = match kind {
            Kind::Text => simdutf8::basic::from_utf8(payload).map(Data::Text),
            Kind::Binary => Ok(Data::Binary(payload)),
        };
        // The decoder has checked that; what is not text could only be bytes.
        let data = data.unwrap_or(Data::Binary(payload));
        self.with(slot, now, actions, |session, cx| {
            session.task(data, cx);
            None
        });
    }

    /// An event of the broker. What is not this route's is given back: `Up` and `Down`
    /// always, answers to other routes' tickets, channels of no session of this route.
    #[must_use = "another route may want it"]
    pub fn on_event(&mut self, event: Event, now: Now, actions: &mut Vec<Action>) -> Option<Event> {
        match &event {
            Event::Up => {
                self.broker_up = true;
                self.ask_for_shared(actions);
                return Some(event);
            }
            Event::Down { .. } => {
                self.broker_up = false;
                if let Some(shared) = &mut self.shared {
                    shared.on_down();
                }
                return Some(event);
            }
            Event::Pushed(ticket) | Event::PushFailed(ticket, _) if self.route.owns(*ticket) => {
                self.on_answer(*ticket, &event, now, actions);
            }
            Event::Subscribed(channel)
            | Event::SubscribeFailed(channel, _)
            | Event::Message { channel, .. } => {
                if self.shared.as_ref().is_some_and(|shared| shared.is(channel)) {
                    return self.on_shared(event, now, actions);
                }
                let Some(id) = id::of_channel(channel) else { return Some(event) };
                if let Some(slot) = self.table.find(id) {
                    self.on_channel(slot, &event, now, actions);
                } else if let Some(ear) = self.ear_of(id) {
                    if let Event::Message { payload, .. } = event {
                        self.overhear(ear, payload, now, actions);
                    }
                } else {
                    return Some(event);
                }
            }
            _ => return Some(event),
        }
        None
    }

    /// Its own among the routes that share the broker; the same on every shard.
    pub fn tag(&self) -> RouteTag {
        self.route
    }

    /// The connection whose session a ticket is for, while both are there.
    pub fn owner_of(&self, ticket: Ticket) -> Option<SocketId> {
        let (key, _) = ticket::read(ticket);
        self.table.get(self.table.slot_of(key)?)?.owner()
    }

    fn on_answer(&mut self, ticket: Ticket, event: &Event, now: Now, actions: &mut Vec<Action>) {
        let (key, purpose) = ticket::read(ticket);
        // None: the session has ended; nobody waits for the answer any more.
        let Some(slot) = self.table.slot_of(key) else { return };
        let Purpose::Push(ordinal) = purpose else { return };
        self.with(slot, now, actions, |session, cx| {
            match event {
                Event::Pushed(_) => session.on_pushed(ordinal, cx),
                Event::PushFailed(_, error) => session.on_push_failed(ordinal, error, cx),
                _ => {}
            }
            None
        });
    }

    fn on_channel(&mut self, slot: u32, event: &Event, now: Now, actions: &mut Vec<Action>) {
        match event {
            Event::Subscribed(_) => self.with(slot, now, actions, |session, cx| {
                session.on_subscribed(cx);
                None
            }),
            Event::SubscribeFailed(_, error) => {
                self.with(slot, now, actions, |session, cx| session.on_subscribe_failed(error, cx))
            }
            Event::Message { payload, .. } => self.on_result(slot, payload, now, actions),
            _ => {}
        }
    }

    fn on_result(&mut self, slot: u32, payload: &[u8], now: Now, actions: &mut Vec<Action>) {
        match WorkerResult::parse(payload) {
            Ok(result) => self.with(slot, now, actions, |session, cx| {
                session.on_result(&result, cx);
                None
            }),
            Err(result::Malformed) => {
                self.metrics.tasks.results.malformed.inc();
                let id = self.table.get(slot).map_or("", |session| session.id().as_str());
                log::debug!("session {id}: malformed result of {} bytes", payload.len());
            }
        }
    }

    /// Something about the channel of the shard, which other raw routes may share.
    fn on_shared(
        &mut self,
        mut event: Event,
        now: Now,
        actions: &mut Vec<Action>,
    ) -> Option<Event> {
        match &mut event {
            Event::Message { payload, .. } => {
                let Ok(result) = WorkerResult::parse(payload) else {
                    self.metrics.tasks.results.malformed.inc();
                    return None;
                };
                let id = result.session_id.as_deref();
                let Some(slot) = id.and_then(|id| self.table.find(id)) else {
                    let Some(ear) = id.and_then(|id| self.ear_of(id)) else { return Some(event) };
                    self.overhear(ear, std::mem::take(payload), now, actions);
                    return None;
                };
                self.with(slot, now, actions, |session, cx| {
                    session.on_result(&result, cx);
                    None
                });
                return None;
            }
            Event::Subscribed(_) => {
                self.shared.iter_mut().for_each(SharedChannel::on_subscribed);
            }
            _ => self.shared.iter_mut().for_each(SharedChannel::on_refused),
        }
        for slot in self.table.slots() {
            self.on_channel(slot, &event, now, actions);
        }
        Some(event)
    }

    fn ask_for_shared(&mut self, actions: &mut Vec<Action>) {
        let command = self.shared.as_mut().and_then(SharedChannel::ask);
        actions.extend(command.map(Action::Broker));
    }

    /// The shard ends, and every session with it.
    pub fn end_all(&mut self, now: Now, actions: &mut Vec<Action>) {
        for slot in self.table.slots() {
            self.with(slot, now, actions, Session::give_up);
        }
    }

    /// Nobody can come back any more: sessions whose client is away end.
    pub fn end_away(&mut self, now: Now, actions: &mut Vec<Action>) {
        while let Some(oldest) = self.detached.oldest() {
            self.with(oldest, now, actions, Session::give_up);
        }
    }

    /// A connection takes no more messages, whoever ended it: its session waits for another,
    /// or ends.
    pub fn on_disconnect(&mut self, socket: SocketId, now: Now, actions: &mut Vec<Action>) {
        self.forget_waiting(socket);
        let Some(slot) = self.owned.remove(&socket) else { return };
        self.leave_alone(slot, now, actions);
    }

    /// The client of a session is away: it waits, or ends.
    fn leave_alone(&mut self, slot: u32, now: Now, actions: &mut Vec<Action>) {
        self.with(slot, now, actions, Session::leave);
        while self.detached.len() > self.config.detached_per_shard.max(1) as usize
            && let Some(oldest) = self.detached.oldest()
        {
            self.metrics.tasks.resume_evicted.inc();
            self.with(oldest, now, actions, Session::give_up);
        }
    }

    /// What [`Action::AwaitDrain`] asked for.
    pub fn on_drained(&mut self, socket: SocketId, now: Now, actions: &mut Vec<Action>) {
        let Some(&slot) = self.owned.get(&socket) else { return };
        self.with(slot, now, actions, |session, cx| {
            session.on_drained(cx);
            None
        });
    }

    /// To be called about every 250 ms: deadlines of tasks, and of clients that are away.
    pub fn on_tick(&mut self, now: Now, actions: &mut Vec<Action>) {
        let mut due = std::mem::take(&mut self.due);
        self.wheel.expire(now.ms, &mut due);
        for slot in due.drain(..) {
            self.with(slot, now, actions, Session::on_deadline);
        }
        self.due = due;
        cores::on_tick(self, now, actions);
        self.tell_missed(now, actions);
        // Where it was refused, it is asked for again.
        if self.broker_up {
            self.ask_for_shared(actions);
        }
    }

    /// Whether the client of a connection waits for something: its open frame, a result.
    pub fn has_open_work(&self, socket: SocketId) -> bool {
        let session = self.owned.get(&socket).and_then(|&slot| self.table.get(slot));
        session.is_some_and(Session::has_open_work) || self.waiting.contains_key(&socket)
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
        let Some(session) = self.table.get_mut(slot) else { return };
        let (config, metrics) = (&*self.config, &self.metrics.tasks);
        let shared_confirmed = self.shared.as_ref().map(SharedChannel::is_confirmed);
        let route = self.route;
        let mut cx = Context { config, metrics, now, route, shared_confirmed, actions };
        let mut end = change(session, &mut cx);
        if end.is_none()
            && let Some(socket) = session.take_slow_owner()
        {
            self.owned.remove(&socket);
            end = session.leave(&mut cx);
            let code = CloseCode::SlowConsumer;
            cx.actions.push(Action::Close { socket, code, reason: "slow consumer" });
        }
        if let Some(end) = end {
            return self.end(slot, end, actions);
        }
        if let Some(deadline_ms) = session.new_alarm_ms(&cx) {
            self.wheel.arm(slot, deadline_ms);
        }
        match (session.is_away(), session.detachment) {
            (true, None) => {
                session.detachment = Some(self.detached.insert(slot));
                metrics.sessions_detached.inc();
            }
            (false, Some(number)) => {
                session.detachment = None;
                self.detached.remove(number);
                metrics.sessions_detached.dec();
            }
            _ => {}
        }
        if let (Some(paused), Some(owner)) =
            (session.new_paused(config.inflight.max(1)), session.owner())
        {
            actions.push(if paused { Action::Pause(owner) } else { Action::Resume(owner) });
        }
        cores::after_change(self, slot, now, actions);
    }

    /// The one teardown of a session.
    fn end(&mut self, slot: u32, end: End, actions: &mut Vec<Action>) {
        let Some(session) = self.table.remove(slot) else { return };
        self.wheel.disarm(slot);
        if let Some(owner) = session.owner() {
            self.owned.remove(&owner);
        }
        if let Some(channel) = session.channel().cloned() {
            actions.push(Action::Broker(Command::Unsubscribe { channel }));
        }
        self.stop_hearing(session.heard, actions);
        cores::on_ended(self, slot, &session, actions);
        self.open_ids.remove(session.id());
        let metrics = &self.metrics.tasks;
        if let Some(number) = session.detachment {
            self.detached.remove(number);
            metrics.sessions_detached.dec();
        }
        metrics.sessions.dec();
        match end {
            End::Complete => metrics.sessions_complete.inc(),
            End::Abandoned => metrics.sessions_abandoned.inc(),
        }
    }
}
