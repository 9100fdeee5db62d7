//! ▢ The topics that this shard hears for all shards.
//!
//! A topic is here from the first shard that wants it to the last: subscribed to with the
//! first, given up with the last, and every message handed to each of them once, in order.
//!
//! ```text
//! want → Subscribe ─Subscribed→ Live to who waits ─message→ Publish to who wants it
//!                       │ again: Gap to who was told
//! last unwant → Unsubscribe; while Subscribe has no answer, only after that
//! ```
//! An `Unsubscribe` so never meets a `Subscribe` of its channel on its way, whose answer could
//! be taken for the next one's.

use std::{collections::HashMap, sync::Arc};

use slab::Slab;

use super::{Action, Publication, Topic, TopicMessage, error::ErrorCode, message::InterestId};
use crate::{
    broker::{self, Command},
    ids::ShardId,
    limits::TOPICS_FORSAKEN_MAX,
    metrics::TopicMetrics,
    tasks::RouteTag,
};

/// A shard that wants a topic.
struct Wanted {
    shard: ShardId,
    interest: InterestId,
    /// Was told that the topic is live.
    told: bool,
    /// Messages that it was not sent and not told of.
    lost: u64,
}

struct HomeTopic {
    topic: Topic,
    channel: Arc<str>,
    wanted: Vec<Wanted>,
    /// A `Subscribe` has no answer.
    asked: bool,
    /// The connection to the broker on which it was confirmed last.
    confirmed_in: Option<u64>,
    /// On the list of those that owe somebody a word of what was lost.
    owes: bool,
}

/// What one shard hears for the others, and for itself.
pub struct Home {
    route: RouteTag,
    me: ShardId,
    shards: usize,
    by_channel: HashMap<Arc<str>, u32>,
    topics: Slab<HomeTopic>,
    /// How often the broker was lost.
    connection: u64,
    is_away: bool,
    owing: Vec<u32>,
}

impl Home {
    /// Of nothing.
    pub fn new(route: RouteTag, me: ShardId, shards: usize) -> Self {
        Self {
            route,
            me,
            shards,
            by_channel: HashMap::new(),
            topics: Slab::new(),
            connection: 0,
            is_away: true,
            owing: Vec::new(),
        }
    }

    /// Whether nothing is heard.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// Whether another shard hears something from here.
    pub fn serves_others(&self) -> bool {
        self.topics.iter().any(|(_, topic)| topic.wanted.iter().any(|w| w.shard != self.me))
    }

    /// A shard wants a topic, which is published on `channel`.
    pub fn on_want(
        &mut self,
        topic: Topic,
        channel: Arc<str>,
        (shard, interest): (ShardId, InterestId),
        metrics: &TopicMetrics,
        out: &mut Vec<Action>,
    ) {
        let slot = match self.by_channel.get(&channel) {
            Some(&slot) => slot,
            None => self.insert(topic, channel, out),
        };
        let (route, connection) = (self.route, self.connection);
        let Some(entry) = self.topics.get_mut(slot as usize) else { return };
        if entry.wanted.is_empty() {
            metrics.topics.inc();
        }
        entry.wanted.retain(|wanted| wanted.shard != shard);
        let told = entry.confirmed_in == Some(connection);
        entry.wanted.push(Wanted { shard, interest, told, lost: 0 });
        if told {
            out.push(tell(route, shard, TopicMessage::Live { interest }));
        }
    }

    fn insert(&mut self, topic: Topic, channel: Arc<str>, out: &mut Vec<Action>) -> u32 {
        // Bounded by the subscriptions of all shards.
        let slot = self.topics.insert(HomeTopic {
            topic,
            channel: channel.clone(),
            wanted: Vec::new(),
            asked: true,
            confirmed_in: None,
            owes: false,
        }) as u32;
        self.by_channel.insert(channel.clone(), slot);
        out.push(Action::Broker(Command::Subscribe { channel }));
        slot
    }

    /// A shard does not want a topic any more.
    pub fn on_unwant(
        &mut self,
        channel: &str,
        (shard, interest): (ShardId, InterestId),
        metrics: &TopicMetrics,
        out: &mut Vec<Action>,
    ) {
        let Some(&slot) = self.by_channel.get(channel) else { return };
        let Some(entry) = self.topics.get_mut(slot as usize) else { return };
        let before = entry.wanted.len();
        entry.wanted.retain(|wanted| (wanted.shard, wanted.interest) != (shard, interest));
        if entry.wanted.is_empty() && before > 0 {
            metrics.topics.dec();
            let asked = entry.asked;
            let forsaken = (self.topics.len() as u64).saturating_sub(metrics.topics.get());
            // A broker that is away for long must not fill the memory with what nobody wants.
            if !asked || (self.is_away && forsaken > TOPICS_FORSAKEN_MAX) {
                self.give_up(slot, out);
            }
        }
    }

    fn give_up(&mut self, slot: u32, out: &mut Vec<Action>) {
        if let Some(topic) = self.topics.try_remove(slot as usize) {
            self.by_channel.remove(&topic.channel);
            out.push(Action::Broker(Command::Unsubscribe { channel: topic.channel }));
        }
    }

    /// The broker is there: what is wanted is in force with each `Subscribed`.
    pub fn on_up(&mut self) {
        self.is_away = false;
    }

    /// The broker is away: nothing is in force.
    pub fn on_down(&mut self, out: &mut Vec<Action>) {
        if std::mem::replace(&mut self.is_away, true) {
            return;
        }
        self.connection += 1;
        // Each is restored, and the answer to that is awaited like the first one.
        self.topics.iter_mut().for_each(|(_, topic)| topic.asked = true);
        let home = self.me;
        let shards = (0..self.shards).map(|shard| ShardId(shard as u16));
        out.extend(shards.map(|shard| tell(self.route, shard, TopicMessage::Away { home })));
    }

    /// A channel is in force, for the first time or again. `false`: it is not one of these.
    pub fn on_subscribed(&mut self, channel: &str, out: &mut Vec<Action>) -> bool {
        let Some(&slot) = self.by_channel.get(channel) else { return false };
        let (route, connection) = (self.route, self.connection);
        let Some(entry) = self.topics.get_mut(slot as usize) else { return false };
        entry.asked = false;
        entry.confirmed_in = Some(connection);
        if entry.wanted.is_empty() {
            self.give_up(slot, out);
            return true;
        }
        for Wanted { shard, interest, told, .. } in &mut entry.wanted {
            let interest = *interest;
            let message = match std::mem::replace(told, true) {
                true => TopicMessage::Gap { interest },
                false => TopicMessage::Live { interest },
            };
            out.push(tell(route, *shard, message));
        }
        true
    }

    /// The broker refuses a channel. `false`: it is not one of these.
    pub fn on_refused(
        &mut self,
        channel: &str,
        error: &broker::Error,
        metrics: &TopicMetrics,
        out: &mut Vec<Action>,
    ) -> bool {
        let Some(slot) = self.by_channel.remove(channel) else { return false };
        let Some(entry) = self.topics.try_remove(slot as usize) else { return false };
        if !entry.wanted.is_empty() {
            metrics.topics.dec();
        }
        let why = match error {
            broker::Error::Full => ErrorCode::Busy,
            broker::Error::Refused(_) => ErrorCode::Refused,
        };
        let refused = entry.wanted.into_iter().map(|Wanted { shard, interest, .. }| {
            tell(self.route, shard, TopicMessage::Refused { interest, why })
        });
        out.extend(refused);
        true
    }

    /// Something was published: one message for each shard that wants it. `false`: on another
    /// channel than these.
    pub fn on_message(
        &mut self,
        channel: &str,
        payload: &[u8],
        limit_bytes: usize,
        received_us: u64,
        metrics: &TopicMetrics,
        out: &mut Vec<Action>,
    ) -> bool {
        let Some(&slot) = self.by_channel.get(channel) else { return false };
        let route = self.route;
        let Some(entry) = self.topics.get_mut(slot as usize) else { return false };
        metrics.published.inc();
        if payload.len() > limit_bytes {
            metrics.dropped.too_large.inc();
            entry.wanted.iter_mut().for_each(|wanted| wanted.lost += 1);
            self.owe(slot);
            return true;
        }
        let publication = Arc::new(Publication::encode(&entry.topic, payload, received_us));
        metrics.lossy.add(u64::from(publication.is_lossy()));
        out.extend(entry.wanted.iter_mut().map(|wanted| {
            let message = TopicMessage::Publish {
                interest: wanted.interest,
                of: slot,
                publication: publication.clone(),
                lost_before: std::mem::take(&mut wanted.lost),
            };
            tell(route, wanted.shard, message)
        }));
        true
    }

    /// A message to a shard found the lane full: it goes down as lost.
    pub fn on_unsent(&mut self, to: ShardId, interest: InterestId, of: u32, lost: u64) {
        let entry = self.topics.get_mut(of as usize);
        // It may be another topic's place by now, but not with this interest.
        let wanted = entry.and_then(|entry| {
            entry.wanted.iter_mut().find(|w| (w.shard, w.interest) == (to, interest))
        });
        if let Some(wanted) = wanted {
            wanted.lost = wanted.lost.saturating_add(lost);
            self.owe(of);
        }
    }

    fn owe(&mut self, slot: u32) {
        if let Some(entry) = self.topics.get_mut(slot as usize)
            && !std::mem::replace(&mut entry.owes, true)
        {
            self.owing.push(slot);
        }
    }

    /// Every tick: what was lost and not told of with a later message is told by itself.
    pub fn on_tick(&mut self, out: &mut Vec<Action>) {
        let route = self.route;
        for slot in std::mem::take(&mut self.owing) {
            let Some(entry) = self.topics.get_mut(slot as usize) else { continue };
            entry.owes = false;
            for wanted in entry.wanted.iter_mut().filter(|wanted| wanted.lost > 0) {
                let (interest, count) = (wanted.interest, std::mem::take(&mut wanted.lost));
                let message = TopicMessage::Lost { interest, of: slot, count };
                out.push(tell(route, wanted.shard, message));
            }
        }
    }

    /// The shard ends.
    pub fn end(&mut self, metrics: &TopicMetrics, out: &mut Vec<Action>) {
        let wanted = self.topics.iter().filter(|(_, topic)| !topic.wanted.is_empty()).count();
        metrics.topics.sub(wanted as u64);
        self.by_channel.clear();
        let channels = self.topics.drain().map(|topic| topic.channel);
        out.extend(channels.map(|channel| Action::Broker(Command::Unsubscribe { channel })));
    }
}

fn tell(route: RouteTag, to: ShardId, message: TopicMessage) -> Action {
    Action::Tell { route, to, message }
}
