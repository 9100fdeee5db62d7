//! ▢ Requests of clients, from `subscribe` to the answer of the topic's home, and how
//! subscriptions end.

use std::num::NonZeroU32;

use super::{
    Action, Clients, ErrorCode, InterestId, Lost, Topic, TopicMessage, Topics,
    error::Problem,
    is_reserved, reply,
    requests::Request,
    table::{Connection, Subscriber},
};
use crate::{clock::Now, ids::SocketId, limits::TOPICS_ANSWER_MS, router::home_of};

impl Topics {
    /// Subscribes a connection to all of `topics`, or to none.
    ///
    /// # Errors
    /// What to tell the client; nothing has changed then.
    pub(super) fn subscribe(
        &mut self,
        id: SocketId,
        topics: Vec<Topic>,
        conflate_ms: Option<u32>,
        now: Now,
        clients: &mut impl Clients,
        actions: &mut Vec<Action>,
    ) -> Result<(), Problem> {
        self.check(id, &topics)?;
        let mut waits = Vec::new();
        for topic in &topics {
            let slot = self.join(id, topic, conflate_ms, actions);
            if let Some(conflate_ms) = conflate_ms {
                self.set_period(id, slot, conflate_ms, now, clients);
            }
            self.settle(now, clients, actions);
            if !self.is_live(slot) {
                waits.push(slot);
            }
        }
        if waits.is_empty() {
            clients.say(id, &reply::subscribed(&topics));
        } else if let Some(connection) = self.table.connect(id) {
            let deadline_ms = now.ms.saturating_add(TOPICS_ANSWER_MS);
            connection.requests.push(Request::new(topics, waits, deadline_ms));
            if connection.requests.len() == 1 {
                self.deadlines.arm(id.slot, deadline_ms);
            }
        }
        Ok(())
    }

    /// Whether there is room for all of it, and nothing that is no topic here.
    fn check(&mut self, id: SocketId, topics: &[Topic]) -> Result<(), Problem> {
        let config = &self.config;
        let mut new = 0;
        for topic in topics {
            let known = self.table.find(topic);
            if known.is_none() && is_reserved(&config.channel.channel_of(topic)) {
                let message = "its channel belongs to the gateway's own messages";
                return Err(Problem::about(topic.as_str(), ErrorCode::BadTopic, message));
            }
            new += usize::from(known.is_none_or(|slot| self.table.subscriber(id, slot).is_none()));
        }
        let max = config.topics_per_connection;
        if self.table.count_of(id) + new > max {
            let message = format!("at most {max} topics are allowed on one connection");
            return Err(Problem::new(ErrorCode::TooManyTopics, message));
        }
        let unanswered = self.table.connection(id).map_or(0, |connection| {
            connection.requests.iter().map(|request| request.topics().len()).sum()
        });
        if unanswered > max {
            let message = "too many requests of this connection have no answer yet";
            return Err(Problem::new(ErrorCode::Busy, message));
        }
        if self.table.subscriptions() + new > config.topics_per_shard {
            return Err(Problem::new(ErrorCode::Busy, "no room for more subscriptions"));
        }
        Ok(())
    }

    /// The slot of a topic to which the connection is subscribed now. What this shard did not
    /// want before, it asks the home for.
    fn join(
        &mut self,
        id: SocketId,
        topic: &Topic,
        conflate_ms: Option<u32>,
        actions: &mut Vec<Action>,
    ) -> u32 {
        let (slot, wanted) = match self.table.find(topic) {
            Some(slot) => (slot, None),
            None => {
                let channel = self.config.channel.channel_of(topic);
                let home = home_of(&channel, self.shards);
                let interest = self.table.insert(topic.clone(), home);
                (interest.slot, Some((home, interest)))
            }
        };
        if self.table.subscriber(id, slot).is_none() {
            self.table.subscribe(id, slot);
            self.metrics.topics.subscriptions.inc();
            let period_ms = NonZeroU32::new(conflate_ms.unwrap_or(self.config.conflate_ms));
            if let Some(period_ms) = period_ms {
                self.conflate(id, slot, period_ms);
            }
        }
        if let Some((home, interest)) = wanted {
            let message = TopicMessage::Want { from: self.me, topic: topic.clone(), interest };
            self.tell_home(home, message, actions);
        }
        slot
    }

    /// Puts a subscription, which has none, into the batches of a period.
    fn conflate(&mut self, id: SocketId, slot: u32, period_ms: NonZeroU32) {
        let Some(connection) = self.table.connection(id) else { return };
        let key = self.flushes.join(id, period_ms, &mut connection.flushes);
        if let Some(subscriber) = self.table.subscriber(id, slot) {
            subscriber.flush = Some(key);
        }
    }

    /// Another period for a subscription. A value that waits goes with it, or out at once.
    fn set_period(
        &mut self,
        id: SocketId,
        slot: u32,
        period_ms: u32,
        now: Now,
        clients: &mut impl Clients,
    ) {
        let period_ms = NonZeroU32::new(period_ms);
        let Some(subscriber) = self.table.subscriber(id, slot) else { return };
        let (flush, waiting) = (subscriber.flush, subscriber.waiting);
        if flush.and_then(|key| self.flushes.period_ms(key)) == period_ms {
            return;
        }
        (subscriber.flush, subscriber.waiting) = (None, None);
        let value = flush.and_then(|key| {
            let connection = self.table.connection(id)?;
            self.flushes.leave(key, waiting, &mut connection.flushes)
        });
        if let Some(period_ms) = period_ms {
            self.conflate(id, slot, period_ms);
        }
        let Some(value) = value else { return };
        let Some(subscriber) = self.table.subscriber(id, slot) else { return };
        match subscriber.flush {
            Some(key) => {
                self.flushes.put(key, &mut subscriber.waiting, value, now.ms);
            }
            None if clients.offer_batch(id, &[value]) => self.metrics.topics.delivered.inc(),
            None => {
                self.metrics.topics.dropped.slow_consumer.inc();
                subscriber.miss(Lost::count(1), self.config.overflow, clients);
            }
        }
    }

    /// Ends subscriptions of a connection. One that it does not have has ended already.
    pub(super) fn unsubscribe(
        &mut self,
        id: SocketId,
        topics: &[Topic],
        clients: &mut impl Clients,
        actions: &mut Vec<Action>,
    ) {
        for topic in topics {
            if let Some(slot) = self.table.find(topic) {
                self.end_subscription(id, slot, topic, clients, actions);
            }
        }
        clients.say(id, &reply::unsubscribed(topics));
        self.table.forget_if_idle(id);
    }

    fn end_subscription(
        &mut self,
        id: SocketId,
        slot: u32,
        topic: &Topic,
        clients: &mut impl Clients,
        actions: &mut Vec<Action>,
    ) {
        if let Some(subscriber) = self.table.unsubscribe(id, slot) {
            self.release(&subscriber);
            self.update_requests(id, clients, |request| request.on_gone(slot, topic));
            self.leave_if_unwanted(slot, actions);
        }
    }

    /// What a subscription had beside its places in the table.
    pub(super) fn release(&mut self, subscriber: &Subscriber) {
        self.metrics.topics.subscriptions.dec();
        if let Some(key) = subscriber.flush
            && let Some(connection) = self.table.connection(subscriber.socket)
        {
            let value = self.flushes.leave(key, subscriber.waiting, &mut connection.flushes);
            self.metrics.topics.dropped.unsubscribed.add(u64::from(value.is_some()));
        }
    }

    /// The last subscriber of a topic has left: so does this shard.
    pub(super) fn leave_if_unwanted(&mut self, slot: u32, actions: &mut Vec<Action>) {
        if !self.table.at(slot).is_some_and(|interest| interest.subscribers.is_empty()) {
            return;
        }
        let Some(interest) = self.table.remove_interest(slot) else { return };
        let message =
            TopicMessage::Unwant { from: self.me, topic: interest.topic, interest: interest.id };
        self.tell_home(interest.home, message, actions);
        // To itself, a home that gives something up says nothing.
        actions.append(&mut self.out);
    }

    fn is_live(&mut self, slot: u32) -> bool {
        let Some(interest) = self.table.at(slot) else { return false };
        interest.live_in.is_some()
            && interest.live_in == self.away.get(interest.home.index()).copied()
    }

    /// The home says that a topic is in force.
    pub(super) fn on_live(&mut self, interest: InterestId, clients: &mut impl Clients) {
        let Some(entry) = self.table.interest(interest) else { return };
        entry.live_in = self.away.get(entry.home.index()).copied();
        for nth in 0..entry.subscribers.len() {
            let entry = self.table.interest(interest);
            let subscriber = entry.and_then(|entry| entry.subscribers.get(nth));
            let Some(id) = subscriber.map(|subscriber| subscriber.socket) else { break };
            self.update_requests(id, clients, |request| request.on_live(interest.slot));
        }
    }

    /// The topic does not come, for `why`: whoever subscribed is told, and has it no more.
    pub(super) fn end_interest(
        &mut self,
        interest: InterestId,
        why: ErrorCode,
        clients: &mut impl Clients,
    ) {
        let Some(topic) = self.table.interest(interest).map(|entry| entry.topic.clone()) else {
            return;
        };
        let problem = Problem::about(
            topic.as_str(),
            why,
            match why {
                ErrorCode::Refused => "the broker refuses the topic",
                _ => "no room for more topics at the moment",
            },
        );
        while let Some(subscriber) = self.table.dismiss_next(interest.slot) {
            self.release(&subscriber);
            let id = subscriber.socket;
            self.say_problem(id, &problem, clients);
            self.update_requests(id, clients, |r| r.on_gone(interest.slot, &topic));
            self.table.forget_if_idle(id);
        }
        self.table.remove_interest(interest.slot);
    }

    /// Changes the requests of a connection, and answers those that are done then.
    fn update_requests(
        &mut self,
        id: SocketId,
        clients: &mut impl Clients,
        change: impl FnMut(&mut Request),
    ) {
        let Some(connection) = self.table.connection(id) else { return };
        if connection.requests.is_empty() {
            return;
        }
        connection.requests.iter_mut().for_each(change);
        for done in connection.requests.extract_if(.., |request| request.is_done()) {
            // Whoever has given up all of it, or was told why not, has an answer.
            if !done.topics().is_empty() {
                clients.say(id, &reply::subscribed(done.topics()));
            }
        }
        match first_deadline_ms(connection) {
            Some(deadline_ms) => self.deadlines.arm(id.slot, deadline_ms),
            None => self.deadlines.disarm(id.slot),
        }
    }

    /// Every tick: requests that have waited too long.
    pub(super) fn give_up_overdue(
        &mut self,
        now: Now,
        clients: &mut impl Clients,
        actions: &mut Vec<Action>,
    ) {
        let mut due = std::mem::take(&mut self.due);
        self.deadlines.expire(now.ms, &mut due);
        for slot in due.drain(..) {
            if let Some(id) = self.table.id_at(slot) {
                self.give_up_requests(id, now, clients, actions);
            }
        }
        self.due = due;
    }

    fn give_up_requests(
        &mut self,
        id: SocketId,
        now: Now,
        clients: &mut impl Clients,
        actions: &mut Vec<Action>,
    ) {
        while let Some(connection) = self.table.connection(id) {
            if connection.requests.first().is_none_or(|request| request.deadline_ms > now.ms) {
                break;
            }
            let mut request = connection.requests.remove(0);
            for slot in request.waits().to_vec() {
                let Some(topic) = self.table.at(slot).map(|entry| entry.topic.clone()) else {
                    continue;
                };
                let message = "the broker has not answered in time";
                let code = ErrorCode::BrokerUnavailable;
                self.say_problem(id, &Problem::about(topic.as_str(), code, message), clients);
                self.end_subscription(id, slot, &topic, clients, actions);
                request.on_gone(slot, &topic);
            }
            if !request.topics().is_empty() {
                clients.say(id, &reply::subscribed(request.topics()));
            }
        }
        if let Some(deadline_ms) = self.table.connection(id).and_then(|c| first_deadline_ms(c)) {
            self.deadlines.arm(id.slot, deadline_ms);
        }
        self.table.forget_if_idle(id);
    }
}

fn first_deadline_ms(connection: &Connection) -> Option<u64> {
    connection.requests.first().map(|request| request.deadline_ms)
}
