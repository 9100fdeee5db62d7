//! ▢ One link to Redis: a connection, and after it the next.
//!
//! ```text
//! Waiting ─wants_dial→ Dialing ─on_connected→ Greeting ─all OK→ Up
//!    ↑ backoff            │ on_dial_failed        │                │
//!    └────────────────────┴──── on_closed ────────┴────────────────┘
//! ```
//! Replies come in the order of the commands, and so do the pushes that confirm a
//! SUBSCRIBE or UNSUBSCRIBE (Redis writes them in place of a reply; a refusal is an
//! ordinary error). So one FIFO tells what belongs to what; anything that does not fit its
//! front is a broken stream, and closing is the only safe answer to that.
//!
//! Must not: open, read or write a socket, or look at a clock.

mod answers;
mod greeting;
mod proof;
mod refusals;

use std::{fmt, sync::Arc};

use redis::cmd;

use super::{
    backoff::Backoff,
    canary::Canary,
    complaints::Complaints,
    frames::Frames,
    scripts::write_tidy,
    subscriptions::Subscriptions,
    target::Target,
    upkeep::{StreamUpkeep, Upkeep},
    work::{Held, Request, Sent, Work},
};
use crate::{
    broker::{Command, Error, Event, Queue},
    limits::{DOWN_REASONS_MAX, LINK_WRITE_BYTES},
    metrics::ShardMetrics,
};

/// Bounds of one link, from the configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkLimits {
    /// Bytes of pushes and fetches without an answer, held or on their way.
    pub pending_bytes: usize,
    /// Channels, and also `Subscribe`s without an answer.
    pub subscriptions: usize,
    /// Silence after which a connection with an unanswered command is given up.
    pub answer_timeout_ms: u64,
    /// Silence after which an idle connection is asked for a sign of life.
    pub ping_after_ms: u64,
}

impl Default for LinkLimits {
    fn default() -> Self {
        Self {
            pending_bytes: 64 * 1024 * 1024,
            subscriptions: 2_000_000,
            answer_timeout_ms: 5_000,
            ping_after_ms: 5_000,
        }
    }
}

/// Why the connection has to be closed. Its text is for the log and names the remedy where
/// there is one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LinkError {
    /// Redis does not let us in, or is not what is needed.
    Refused(String),
    /// Redis is there but carries out nothing for the time being (LOADING, MASTERDOWN, BUSY),
    /// or no writes (MISCONF).
    NotReady(String),
    /// No answer in time.
    Silent {
        /// How long nothing was heard.
        silence_ms: u64,
    },
    /// What came is not an answer to what was asked.
    Protocol(String),
}

impl fmt::Display for LinkError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(text) | Self::NotReady(text) => out.write_str(text),
            Self::Silent { silence_ms } => write!(out, "no answer from Redis for {silence_ms} ms"),
            Self::Protocol(text) => write!(out, "unexpected bytes from Redis: {text}"),
        }
    }
}

impl std::error::Error for LinkError {}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Waiting { until_ms: u64 },
    Dialing,
    Greeting,
    Up { since_ms: u64 },
}

/// A link to Redis. See the module for its states.
pub struct Link {
    target: Target,
    name: String,
    limits: LinkLimits,
    metrics: Arc<ShardMetrics>,
    state: State,
    backoff: Backoff,
    frames: Frames,
    /// Bytes of the handshake, of pings and of upkeep; commands are written when they are taken.
    greeting: Vec<u8>,
    work: Work,
    subscriptions: Subscriptions,
    heard_ms: u64,
    was_up: bool,
    /// Why it is down, as far as that was told since it was up.
    told_down: Vec<String>,
    queues: Vec<Queue>,
    upkeep: Upkeep,
    canary: Canary,
    complaints: Complaints,
}

impl Link {
    /// A link that has not dialled yet. `name` is for Redis's CLIENT LIST, `seed` for the
    /// spread of the pauses between attempts. The link is the one writer of
    /// `metrics.broker`.
    pub fn new(
        target: &Target,
        name: &str,
        limits: LinkLimits,
        metrics: Arc<ShardMetrics>,
        seed: u64,
    ) -> Self {
        // CLIENT SETNAME takes no blanks and no control characters.
        let graphic = |byte: char| if byte.is_ascii_graphic() { byte } else { '_' };
        Self {
            target: target.clone(),
            name: name.chars().map(graphic).collect(),
            limits,
            metrics,
            state: State::Waiting { until_ms: 0 },
            backoff: Backoff::new(seed),
            frames: Frames::default(),
            greeting: Vec::new(),
            work: Work::default(),
            subscriptions: Subscriptions::default(),
            heard_ms: 0,
            was_up: false,
            told_down: Vec::new(),
            queues: Vec::new(),
            upkeep: Upkeep::default(),
            canary: Canary::default(),
            complaints: Complaints::default(),
        }
    }

    /// The queues that the link is to be used for. On every connection it sees to it that
    /// they are lists and streams as they should be, and that groups are there; until then
    /// it is not up.
    #[must_use]
    pub fn with_queues(mut self, queues: Vec<Queue>) -> Self {
        self.queues = queues;
        self
    }

    /// Streams that this link is to look after. One link of a process is enough.
    #[must_use]
    pub fn with_upkeep(mut self, streams: Vec<StreamUpkeep>) -> Self {
        self.upkeep = Upkeep::of(streams);
        self
    }

    /// On every connection, a message to itself on `channel`, which nobody else subscribes
    /// to: `metrics.broker.canary` says whether it has come through.
    #[must_use]
    pub fn with_canary(mut self, channel: &str) -> Self {
        self.canary = Canary::on(channel);
        self
    }

    /// Another bound of pushes and fetches without an answer, for those that come.
    pub fn set_pending_bytes(&mut self, pending_bytes: usize) {
        self.limits.pending_bytes = pending_bytes;
    }

    /// Whether commands are carried out now.
    pub fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }

    /// Takes a command. What fails for lack of room is told at once.
    pub fn submit(&mut self, command: Command, events: &mut Vec<Event>) {
        match command {
            Command::Push { ticket, queue, task } => {
                self.request(Request::Push { ticket, queue, task }, events);
            }
            Command::Fetch { ticket, key } => self.request(Request::Fetch { ticket, key }, events),
            Command::Observe { ticket, queue, heartbeats } => {
                self.request(Request::Observe { ticket, queue, heartbeats }, events);
            }
            Command::Subscribe { channel } => self.subscribe(channel, events),
            Command::Unsubscribe { channel } => {
                // A new connection has no subscriptions: nothing to take back there.
                if self.subscriptions.remove(&channel) && self.is_up() {
                    self.work.hold(Held::Unsubscribe(channel));
                }
                self.work.drop_stale(&self.subscriptions);
            }
        }
        self.set_gauges();
    }

    fn request(&mut self, request: Request, events: &mut Vec<Event>) {
        let pending_bytes = self.work.pending_bytes().saturating_add(request.cost_bytes());
        if pending_bytes > self.limits.pending_bytes {
            self.metrics.broker.failed.inc();
            events.push(request.failed(Error::Full));
        } else {
            self.work.hold(Held::Request(request));
        }
    }

    fn subscribe(&mut self, channel: Arc<str>, events: &mut Vec<Event>) {
        let limit = self.limits.subscriptions;
        let known = self.subscriptions.find(&channel);
        if self.work.asked() >= limit || (known.is_none() && self.subscriptions.len() >= limit) {
            self.metrics.broker.failed.inc();
            events.push(Event::SubscribeFailed(channel, Error::Full));
            return;
        }
        let asked = known.unwrap_or_else(|| self.subscriptions.insert(channel));
        self.work.hold(Held::Subscribe(asked));
    }

    /// Whether to dial now: `true` once for each attempt, which then ends with
    /// `on_connected` or `on_dial_failed`.
    pub fn wants_dial(&mut self, now_ms: u64) -> bool {
        let due = matches!(self.state, State::Waiting { until_ms } if until_ms <= now_ms);
        if due {
            self.state = State::Dialing;
        }
        due
    }

    /// When `wants_dial` will say yes, where that is only a matter of time.
    pub fn dials_at_ms(&self) -> Option<u64> {
        match self.state {
            State::Waiting { until_ms } => Some(until_ms),
            _ => None,
        }
    }

    /// A socket is there. The link says hello on it; commands follow when Redis has
    /// answered all of that well.
    pub fn on_connected(&mut self, now_ms: u64) {
        self.state = State::Greeting;
        self.heard_ms = now_ms;
        self.frames = Frames::default();
        self.greet(now_ms);
    }

    /// The attempt to connect failed.
    pub fn on_dial_failed(&mut self, reason: &str, now_ms: u64, events: &mut Vec<Event>) {
        self.on_closed(reason, now_ms, events);
    }

    /// Bytes came from Redis.
    ///
    /// # Errors
    /// The caller closes the socket and says so with `on_closed`. `events` holds what was
    /// understood before.
    pub fn on_bytes(
        &mut self,
        bytes: &[u8],
        now_ms: u64,
        events: &mut Vec<Event>,
    ) -> Result<(), LinkError> {
        self.heard_ms = now_ms;
        let mut values = Vec::new();
        let read = self.frames.read(bytes, &mut values);
        let handled = values.into_iter().try_for_each(|value| self.on_value(value, now_ms, events));
        let result = match (handled, read) {
            (Ok(()), Err(error)) => Err(self.on_frame_error(error, events)),
            (handled, _) => handled,
        };
        self.send_canary(now_ms);
        self.set_gauges();
        result
    }

    /// The socket ended and nobody here closed it: as `on_closed`, with what is known of it.
    pub fn on_lost(&mut self, reason: &str, now_ms: u64, events: &mut Vec<Event>) {
        let known = match self.state {
            State::Up { .. } if self.subscriptions.len() > 0 => {
                "Redis ended, restarted, or cut the connection off; where its log says \
                 \"output buffer limits\", raise client-output-buffer-limit pubsub"
            }
            State::Up { .. } => "Redis ended, restarted, or cut the connection off",
            _ => "before Redis had let us in; it may have reached its maxclients",
        };
        self.on_closed(&format!("{reason}: {known}"), now_ms, events);
    }

    /// The socket is closed, by whichever side. What it did not answer is held again.
    pub fn on_closed(&mut self, reason: &str, now_ms: u64, events: &mut Vec<Event>) {
        let up_ms = match self.state {
            State::Up { since_ms } => now_ms.saturating_sub(since_ms),
            State::Waiting { .. } => return,
            _ => 0,
        };
        let until_ms = now_ms.saturating_add(self.backoff.failed(up_ms));
        self.state = State::Waiting { until_ms };
        self.frames = Frames::default();
        self.greeting = Vec::new();
        self.work.connection_lost();
        self.upkeep.connection_lost();
        self.canary.connection_lost();
        self.metrics.broker.canary_reason.clear();
        let told = format!("{}: {reason}", self.target);
        self.metrics.broker.down_reason.set(&told);
        // Attempts that fail for a reason that was told are not news.
        if !self.told_down.iter().any(|earlier| earlier == reason) {
            if self.told_down.len() < DOWN_REASONS_MAX {
                self.told_down.push(reason.to_string());
            }
            events.push(Event::Down { reason: told });
        }
        self.set_gauges();
    }

    /// To be called every 250 ms or so.
    ///
    /// # Errors
    /// Redis has been silent for too long: as for `on_bytes`.
    pub fn on_tick(&mut self, now_ms: u64) -> Result<(), LinkError> {
        let silence_ms = now_ms.saturating_sub(self.heard_ms);
        match self.work.oldest() {
            // Redis answers in order and without pause, so as long as anything comes, the
            // oldest answer is on its way: a queue of many large ones is not silence.
            Some((_, sent_ms)) => {
                let silence_ms = silence_ms.min(now_ms.saturating_sub(*sent_ms));
                if silence_ms > self.limits.answer_timeout_ms {
                    return Err(LinkError::Silent { silence_ms });
                }
            }
            None if self.is_up() && silence_ms >= self.limits.ping_after_ms => {
                cmd("PING").write_packed_command(&mut self.greeting);
                self.work.sent(Sent::Ping, now_ms);
            }
            None => {}
        }
        if self.is_up() {
            for stream in self.upkeep.begin(now_ms) {
                write_tidy(stream, &mut self.greeting);
                self.work.sent(Sent::Tidy(stream.key.clone()), now_ms);
            }
        }
        self.send_canary(now_ms);
        Ok(())
    }

    /// Whether `take_output` may give bytes. It need not: what was held may mean nothing any
    /// more, and of what is looked through for restoring, nothing may have to be restored.
    pub fn has_output(&self) -> bool {
        !self.greeting.is_empty() || (self.is_up() && self.work.is_sendable(&self.subscriptions))
    }

    /// Appends what is due to `output`, which is for the socket of now alone: on a close
    /// the caller throws away what is left of it, and the link says it again where needed.
    ///
    /// Gives about [`LINK_WRITE_BYTES`] at a time, so the caller should have written one
    /// output before it takes the next; the rest is bounded here.
    pub fn take_output(&mut self, now_ms: u64, output: &mut Vec<u8>) {
        self.metrics.broker.writes.inc();
        output.append(&mut self.greeting);
        if self.is_up() {
            self.work.send(&mut self.subscriptions, now_ms, output, LINK_WRITE_BYTES);
            // What was looked through last may not have had to be restored.
            if self.send_canary(now_ms) {
                self.work.send(&mut self.subscriptions, now_ms, output, LINK_WRITE_BYTES);
            }
        }
    }

    fn come_up(&mut self, now_ms: u64, events: &mut Vec<Event>) {
        self.state = State::Up { since_ms: now_ms };
        self.subscriptions.start_restoring();
        self.canary.connected();
        if std::mem::replace(&mut self.was_up, true) {
            self.metrics.broker.reconnects.inc();
        }
        self.told_down.clear();
        self.metrics.broker.down_reason.clear();
        events.push(Event::Up);
    }

    fn set_gauges(&self) {
        let broker = &self.metrics.broker;
        broker.up.set(u64::from(self.is_up()));
        broker.canary.set(u64::from(self.canary.is_proven()));
        broker.subscriptions.set(self.subscriptions.len() as u64);
        broker.pending_bytes.set(self.work.pending_bytes() as u64);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let broker = &self.metrics.broker;
        broker.up.set(0);
        broker.canary.set(0);
        broker.subscriptions.set(0);
        broker.pending_bytes.set(0);
    }
}

#[cfg(test)]
mod tests;
