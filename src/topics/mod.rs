//! ▢ The topics route on one shard: what is published on a channel reaches every connection
//! that asked.
//!
//! Place in the data path: client messages come in from `ws`, what is published from
//! `broker`; out go frames to [`Clients`] at once, and [`Action`]s, which the shard carries
//! out in order. This module knows no socket beyond its name, no Redis, and no clock.
//!
//! Every topic has a home, the same for all shards ([`home_of`](crate::router::home_of)): that shard alone is
//! subscribed to its channel, encodes each message once and hands it to the shards that want
//! it, itself among them.
//!
//! Reads downward: [`Topics`] (requests in `subscribing`, messages in `delivery`), `home` for
//! the topics that this shard hears for all, `table` for who has subscribed to what, `flushes`
//! for batches; `command` reads what clients say, `reply` and [`Publication`] write what they
//! are told.
//!
//! Must not: keep a message for who is too slow beyond the latest of each topic, or drop one
//! without counting it and telling who missed it.

mod clients;
mod command;
mod config;
mod delivery;
mod error;
mod flushes;
mod home;
mod message;
mod publication;
mod reply;
mod requests;
pub mod sessions;
mod subscribing;
mod table;
mod topic;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use self::{
    clients::Clients,
    config::{Overflow, TopicsConfig},
    error::ErrorCode,
    message::{Action, InterestId, TopicMessage},
    publication::Publication,
    sessions::Start,
    topic::{BadTopic, ChannelPattern, Topic, is_reserved},
};
use self::{
    command::Command,
    error::Problem,
    flushes::Flushes,
    home::Home,
    table::{Lost, Table},
};
use crate::{
    broker::Event,
    clock::Now,
    ids::{ShardId, SocketId},
    limits::{TICK_MS, TOPICS_ANSWER_MS},
    metrics::ShardMetrics,
    tasks::RouteTag,
    wheel::Wheel,
    ws::Kind,
};

/// All subscriptions of one topics route on one shard.
pub struct Topics {
    config: Arc<TopicsConfig>,
    metrics: Arc<ShardMetrics>,
    route: RouteTag,
    me: ShardId,
    shards: usize,
    table: Table,
    flushes: Flushes,
    home: Home,
    /// How often each home was away, by shard.
    away: Vec<u64>,
    /// Requests that wait for the broker, by the slot of their socket.
    deadlines: Wheel,
    due: Vec<u32>,
    /// What the home's part wants; it may be of this shard itself.
    out: Vec<Action>,
    /// When the messages came that were handed out since [`written`](Self::written).
    handed_out_us: Vec<u64>,
}

impl Topics {
    /// A route without subscriptions on shard `me` of `shards`. `tag`: its own among the
    /// routes of the process.
    pub fn new(
        config: Arc<TopicsConfig>,
        metrics: Arc<ShardMetrics>,
        tag: RouteTag,
        me: ShardId,
        shards: usize,
    ) -> Self {
        Self {
            config,
            metrics,
            route: tag,
            me,
            shards,
            table: Table::default(),
            flushes: Flushes::default(),
            home: Home::new(tag, me, shards),
            away: vec![0; shards],
            deadlines: Wheel::new(TICK_MS, (TOPICS_ANSWER_MS / TICK_MS + 2) as usize),
            due: Vec::new(),
            out: Vec::new(),
            handed_out_us: Vec::new(),
        }
    }

    /// Its own among the routes of the process; the same on every shard.
    pub fn tag(&self) -> RouteTag {
        self.route
    }

    /// A connection is open. With a start it is as if its first message were a `subscribe`.
    pub fn on_open(
        &mut self,
        id: SocketId,
        start: Option<Start>,
        now: Now,
        clients: &mut impl Clients,
        actions: &mut Vec<Action>,
    ) {
        let Some(Start { topics, conflate_ms }) = start else { return };
        if let Err(problem) = self.subscribe(id, topics, conflate_ms, now, clients, actions) {
            self.say_problem(id, &problem, clients);
        }
    }

    /// A client said something.
    pub fn on_message(
        &mut self,
        id: SocketId,
        kind: Kind,
        payload: &[u8],
        now: Now,
        clients: &mut impl Clients,
        actions: &mut Vec<Action>,
    ) {
        let command = match kind {
            Kind::Text => Command::parse(payload, self.config.topics_per_subscribe),
            Kind::Binary => Err(command::not_text()),
        };
        let outcome = command.and_then(|command| match command {
            Command::Subscribe { topics, conflate_ms } => {
                self.subscribe(id, topics, conflate_ms, now, clients, actions)
            }
            Command::Unsubscribe { topics } => {
                self.unsubscribe(id, &topics, clients, actions);
                Ok(())
            }
            Command::Ping => {
                clients.say(id, reply::PONG);
                Ok(())
            }
        });
        if let Err(problem) = outcome {
            self.say_problem(id, &problem, clients);
        }
    }

    /// A connection takes no messages any more. Everything that it has is given up.
    pub fn on_disconnect(&mut self, id: SocketId, actions: &mut Vec<Action>) {
        while let Some((slot, subscriber)) = self.table.unsubscribe_next(id) {
            self.release(&subscriber);
            self.leave_if_unwanted(slot, actions);
        }
        if let Some(connection) = self.table.connection(id) {
            connection.requests.clear();
            self.deadlines.disarm(id.slot);
        }
        self.table.forget_if_idle(id);
    }

    /// An event of the broker, read at `received_us` by the clock of the process. What is not
    /// this route's is given back: `Up` and `Down` always, for they are everybody's.
    #[must_use = "another route may want it"]
    pub fn on_event(
        &mut self,
        event: Event,
        received_us: u64,
        now: Now,
        clients: &mut impl Clients,
        actions: &mut Vec<Action>,
    ) -> Option<Event> {
        let (metrics, out) = (&self.metrics.topics, &mut self.out);
        let is_ours = match &event {
            Event::Up => {
                self.home.on_up();
                false
            }
            Event::Down { .. } => {
                self.home.on_down(out);
                false
            }
            Event::Subscribed(channel) => self.home.on_subscribed(channel, out),
            Event::SubscribeFailed(channel, error) => {
                self.home.on_refused(channel, error, metrics, out)
            }
            Event::Message { channel, payload } => {
                let limit_bytes = self.config.message_bytes;
                self.home.on_message(channel, payload, limit_bytes, received_us, metrics, out)
            }
            _ => false,
        };
        self.settle(now, clients, actions);
        (!is_ours).then_some(event)
    }

    /// Another shard says something.
    pub fn on_peer(
        &mut self,
        message: TopicMessage,
        now: Now,
        clients: &mut impl Clients,
        actions: &mut Vec<Action>,
    ) {
        self.hear(message, now, clients);
        self.settle(now, clients, actions);
    }

    /// A message to another shard could not be sent.
    pub fn on_unsent(&mut self, to: ShardId, message: TopicMessage, clients: &mut impl Clients) {
        match message {
            TopicMessage::Want { interest, .. } => {
                self.end_interest(interest, ErrorCode::Busy, clients);
            }
            TopicMessage::Publish { interest, of, lost_before, .. } => {
                self.metrics.topics.dropped.lane_full.inc();
                self.home.on_unsent(to, interest, of, lost_before.saturating_add(1));
            }
            TopicMessage::Lost { interest, of, count } => {
                self.home.on_unsent(to, interest, of, count);
            }
            // Only to a shard that has ended, and has nobody to tell.
            _ => {}
        }
    }

    /// A connection has read most of what was unsent.
    pub fn on_drained(&mut self, id: SocketId, now: Now, clients: &mut impl Clients) {
        self.tell_missed(id, clients);
        let flushes = self.table.connection(id).map(|c| c.flushes.clone()).unwrap_or_default();
        for key in flushes {
            self.flushes.on_drained(key, now.ms, clients, &self.metrics.topics);
        }
    }

    /// To be called about every 250 ms.
    pub fn on_tick(&mut self, now: Now, clients: &mut impl Clients, actions: &mut Vec<Action>) {
        self.home.on_tick(&mut self.out);
        self.settle(now, clients, actions);
        self.give_up_overdue(now, clients, actions);
        self.on_timer(now, clients);
    }

    /// Sends the batches that are due.
    pub fn on_timer(&mut self, now: Now, clients: &mut impl Clients) {
        self.flushes.expire(now.ms, clients, &self.metrics.topics);
    }

    /// When [`on_timer`](Self::on_timer) is to be called, by the clock of [`Now::ms`].
    pub fn next_flush_ms(&self) -> Option<u64> {
        self.flushes.next_ms()
    }

    /// What was handed out is with the sockets, at `now_us` by the clock of the process: once
    /// at the end of a turn.
    pub fn written(&mut self, now_us: u64) {
        let ends = &crate::metrics::topics::FAN_OUT_BUCKETS_US;
        for received_us in self.handed_out_us.drain(..) {
            self.metrics.topics.fan_out.observe(ends, now_us.saturating_sub(received_us));
        }
    }

    /// Whether [`written`](Self::written) has something to note.
    pub fn has_handed_out(&self) -> bool {
        !self.handed_out_us.is_empty()
    }

    /// Topics of a connection.
    pub fn topics_of(&mut self, id: SocketId) -> usize {
        self.table.count_of(id)
    }

    /// Whether other shards hear topics from this one.
    pub fn serves_others(&self) -> bool {
        self.home.serves_others()
    }

    /// Another bound of payloads, for what is published from now on.
    pub fn set_message_bytes(&mut self, message_bytes: usize) {
        Arc::make_mut(&mut self.config).message_bytes = message_bytes;
    }

    /// The shard ends, and its connections have gone.
    pub fn end_all(&mut self, actions: &mut Vec<Action>) {
        self.home.end(&self.metrics.topics, actions);
    }

    /// Carries out what the home's part wants of this shard itself; the rest goes out.
    fn settle(&mut self, now: Now, clients: &mut impl Clients, actions: &mut Vec<Action>) {
        let mut out = std::mem::take(&mut self.out);
        for action in out.drain(..) {
            match action {
                Action::Tell { to, message, .. } if to == self.me => {
                    self.hear(message, now, clients);
                }
                action => actions.push(action),
            }
        }
        // What a shard hears from a home asks nothing of one.
        debug_assert!(self.out.is_empty());
        self.out = out;
    }

    fn hear(&mut self, message: TopicMessage, now: Now, clients: &mut impl Clients) {
        match message {
            TopicMessage::Want { .. } | TopicMessage::Unwant { .. } => self.hear_as_home(message),
            TopicMessage::Live { interest } => self.on_live(interest, clients),
            TopicMessage::Refused { interest, why } => {
                self.end_interest(interest, why, clients);
            }
            TopicMessage::Gap { interest } => {
                self.on_lost(interest, Lost::Unknown, clients);
                self.on_live(interest, clients);
            }
            TopicMessage::Away { home } => {
                if let Some(times) = self.away.get_mut(home.index()) {
                    *times += 1;
                }
            }
            TopicMessage::Publish { interest, publication, lost_before, .. } => {
                self.on_lost(interest, Lost::count(lost_before), clients);
                self.deliver(interest, publication, now, clients);
            }
            TopicMessage::Lost { interest, count, .. } => {
                self.on_lost(interest, Lost::count(count), clients);
            }
        }
    }

    /// To a home. Where that is this shard, the answer is in `out`.
    fn tell_home(&mut self, home: ShardId, message: TopicMessage, actions: &mut Vec<Action>) {
        if home == self.me {
            self.hear_as_home(message);
        } else {
            actions.push(Action::Tell { route: self.route, to: home, message });
        }
    }

    fn hear_as_home(&mut self, message: TopicMessage) {
        let metrics = &self.metrics.topics;
        match message {
            TopicMessage::Want { from, topic, interest } => {
                let channel = self.config.channel.channel_of(&topic);
                self.home.on_want(topic, channel, (from, interest), metrics, &mut self.out);
            }
            TopicMessage::Unwant { from, topic, interest } => {
                let channel = self.config.channel.channel_of(&topic);
                self.home.on_unwant(&channel, (from, interest), metrics, &mut self.out);
            }
            _ => {}
        }
    }

    fn say_problem(&self, id: SocketId, problem: &Problem, clients: &mut impl Clients) {
        self.metrics.topics.errors[problem.code as usize].inc();
        clients.say(id, &reply::error(problem));
    }
}
