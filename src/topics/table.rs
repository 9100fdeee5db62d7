//! ▢ Who on this shard has subscribed to what: topics with their subscribers, connections with
//! their topics.
//!
//! The two lists of a subscription name each other's places, so that either end is given up
//! in O(1): the last of the list takes the free place, and its other end is told. A
//! subscription costs 44 bytes in them (up to twice that, as vectors grow), an interest about
//! 150 with its name, a connection about 100.

use std::collections::HashMap;

use slab::Slab;

use super::{
    Topic,
    flushes::{FlushKey, Waiting},
    message::InterestId,
    requests::Request,
};
use crate::{
    chunked::Chunked,
    ids::{ShardId, SocketId},
};

/// A topic that somebody on this shard wants.
pub struct Interest {
    /// Which.
    pub topic: Topic,
    /// Its name towards the home.
    pub id: InterestId,
    /// Who hears it for all shards.
    pub home: ShardId,
    /// The connection of the home to its broker on which it was confirmed last.
    pub live_in: Option<u64>,
    /// In no order.
    pub subscribers: Vec<Subscriber>,
}

/// One connection's subscription, where its topic has it.
#[derive(Debug)]
pub struct Subscriber {
    /// Whose.
    pub socket: SocketId,
    /// Where the connection has it.
    place: u32,
    /// What the connection missed and was not told yet.
    pub lost: Lost,
    /// Whose batches carry it; `None`: every message goes at once.
    pub flush: Option<FlushKey>,
    /// Its value in the next of them.
    pub waiting: Option<Waiting>,
}

const _: () = assert!(size_of::<Subscriber>() == 36, "the memory of a subscription is a promise");

/// How much a connection missed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lost {
    /// Nothing.
    Nothing,
    /// So many messages; a number that does not fit is the largest that does.
    Count(u32),
    /// Nobody knows.
    Unknown,
}

impl Lost {
    /// So many messages.
    pub fn count(messages: u64) -> Self {
        match u32::try_from(messages).unwrap_or(u32::MAX) {
            0 => Self::Nothing,
            count => Self::Count(count),
        }
    }

    /// Both.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, lost) | (lost, Self::Nothing) => lost,
            (Self::Count(one), Self::Count(other)) => Self::Count(one.saturating_add(other)),
            _ => Self::Unknown,
        }
    }
}

/// One connection's subscription, where the connection has it.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// Slot of the interest.
    interest: u32,
    /// Where the topic has it.
    place: u32,
}

/// What a connection has.
pub struct Connection {
    id: SocketId,
    held: Vec<Held>,
    /// Its batches, one for each period.
    pub flushes: Vec<FlushKey>,
    /// Its requests that the broker has not answered, the oldest first.
    pub requests: Vec<Request>,
}

/// Both ends of all subscriptions of one route on one shard.
#[derive(Default)]
pub struct Table {
    by_topic: HashMap<Topic, u32>,
    interests: Slab<Interest>,
    /// By the slot of the socket.
    connections: Chunked<Option<Box<Connection>>>,
    subscriptions: usize,
    numbers: u32,
}

impl Table {
    /// Pairs of a connection and a topic.
    pub fn subscriptions(&self) -> usize {
        self.subscriptions
    }

    /// Whether nothing is left in it.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        let connections = (0..self.connections.len()).filter_map(|slot| self.connections.get(slot));
        self.by_topic.is_empty()
            && self.interests.is_empty()
            && self.subscriptions == 0
            && connections.flatten().count() == 0
    }

    /// The slot of the interest in `topic`.
    pub fn find(&self, topic: &Topic) -> Option<u32> {
        self.by_topic.get(topic).copied()
    }

    /// A new interest, without subscribers.
    pub fn insert(&mut self, topic: Topic, home: ShardId) -> InterestId {
        let entry = self.interests.vacant_entry();
        self.numbers = self.numbers.wrapping_add(1);
        // Bounded by the subscriptions of a shard.
        let id = InterestId { slot: entry.key() as u32, number: self.numbers };
        self.by_topic.insert(topic.clone(), id.slot);
        entry.insert(Interest { topic, id, home, live_in: None, subscribers: Vec::new() });
        id
    }

    /// Takes an interest that has no subscribers out of the table.
    pub fn remove_interest(&mut self, slot: u32) -> Option<Interest> {
        let interest = self.interests.try_remove(slot as usize)?;
        debug_assert!(interest.subscribers.is_empty());
        self.by_topic.remove(&interest.topic);
        Some(interest)
    }

    /// The interest in a slot.
    pub fn at(&mut self, slot: u32) -> Option<&mut Interest> {
        self.interests.get_mut(slot as usize)
    }

    /// The interest of that name, unless it is over.
    pub fn interest(&mut self, id: InterestId) -> Option<&mut Interest> {
        self.at(id.slot).filter(|interest| interest.id == id)
    }

    /// The connection of that name, if it has or awaits anything.
    pub fn connection(&mut self, id: SocketId) -> Option<&mut Connection> {
        self.connections.get_mut(id.slot)?.as_deref_mut().filter(|connection| connection.id == id)
    }

    /// The connection that a slot carries, for timers, which know slots only.
    pub fn id_at(&self, slot: u32) -> Option<SocketId> {
        self.connections.get(slot)?.as_ref().map(|connection| connection.id)
    }

    /// The connection of that name, which from now on has a place in the table.
    pub fn connect(&mut self, id: SocketId) -> Option<&mut Connection> {
        self.connections.grow_to(id.slot);
        let entry = self.connections.get_mut(id.slot)?;
        let connection = entry.get_or_insert_with(|| {
            let (held, flushes, requests) = (Vec::new(), Vec::new(), Vec::new());
            Box::new(Connection { id, held, flushes, requests })
        });
        debug_assert_eq!(connection.id, id, "the one before was not taken out");
        Some(connection)
    }

    /// Takes out a connection that has and awaits nothing.
    pub fn forget_if_idle(&mut self, id: SocketId) {
        let idle = self
            .connection(id)
            .is_some_and(|connection| connection.held.is_empty() && connection.requests.is_empty());
        if idle && let Some(entry) = self.connections.get_mut(id.slot) {
            *entry = None;
        }
    }

    /// How many topics a connection has.
    pub fn count_of(&mut self, id: SocketId) -> usize {
        self.connection(id).map_or(0, |connection| connection.held.len())
    }

    /// Calls `visit` with each subscription of a connection.
    pub fn each_of(&mut self, id: SocketId, mut visit: impl FnMut(&Topic, &mut Subscriber)) {
        let entry = self.connections.get(id.slot).and_then(Option::as_deref);
        let Some(connection) = entry.filter(|connection| connection.id == id) else { return };
        for held in &connection.held {
            if let Some(interest) = self.interests.get_mut(held.interest as usize)
                && let Some(subscriber) = interest.subscribers.get_mut(held.place as usize)
            {
                visit(&interest.topic, subscriber);
            }
        }
    }

    /// A connection's subscription to the topic in `slot`. Looks through the shorter of the
    /// two lists.
    pub fn subscriber(&mut self, id: SocketId, slot: u32) -> Option<&mut Subscriber> {
        let place = self.place(id, slot)?;
        self.at(slot)?.subscribers.get_mut(place)
    }

    fn place(&mut self, id: SocketId, slot: u32) -> Option<usize> {
        let held = self.connections.get(id.slot)?.as_deref().filter(|found| found.id == id)?;
        let subscribers = &self.interests.get(slot as usize)?.subscribers;
        if subscribers.len() < held.held.len() {
            return subscribers.iter().position(|subscriber| subscriber.socket == id);
        }
        let found = held.held.iter().find(|held| held.interest == slot)?;
        Some(found.place as usize)
    }

    /// Subscribes a connection to the topic in `slot`, to which it must not be subscribed.
    pub fn subscribe(&mut self, id: SocketId, slot: u32) {
        if self.connect(id).is_none() {
            return;
        }
        let Some(interest) = self.interests.get_mut(slot as usize) else { return };
        let entry = self.connections.get_mut(id.slot);
        let Some(connection) = entry.and_then(Option::as_deref_mut) else { return };
        let place = connection.held.len() as u32;
        connection.held.push(Held { interest: slot, place: interest.subscribers.len() as u32 });
        interest.subscribers.push(Subscriber {
            socket: id,
            place,
            lost: Lost::Nothing,
            flush: None,
            waiting: None,
        });
        self.subscriptions += 1;
    }

    /// Ends a subscription, if there is one. The interest stays, with or without others.
    pub fn unsubscribe(&mut self, id: SocketId, slot: u32) -> Option<Subscriber> {
        let place = self.place(id, slot)?;
        self.remove(slot, place)
    }

    /// Ends one subscription of a connection, any; the slot of its topic.
    pub fn unsubscribe_next(&mut self, id: SocketId) -> Option<(u32, Subscriber)> {
        let Held { interest, place } = *self.connection(id)?.held.last()?;
        let subscriber = self.remove(interest, place as usize)?;
        Some((interest, subscriber))
    }

    /// Ends the subscription of one subscriber of a topic, any.
    pub fn dismiss_next(&mut self, slot: u32) -> Option<Subscriber> {
        let last = self.at(slot)?.subscribers.len().checked_sub(1)?;
        self.remove(slot, last)
    }

    fn remove(&mut self, slot: u32, place: usize) -> Option<Subscriber> {
        let subscribers = &mut self.at(slot)?.subscribers;
        if place >= subscribers.len() {
            return None;
        }
        let removed = subscribers.swap_remove(place);
        // A crowd that has left does not keep its memory.
        if subscribers.capacity() > 64 && subscribers.len() < subscribers.capacity() / 4 {
            subscribers.shrink_to(subscribers.len() * 2);
        }
        let moved = subscribers.get(place).map(|moved| (moved.socket, moved.place as usize));
        if let Some((socket, moved_place)) = moved
            && let Some(connection) = self.connection(socket)
            && let Some(held) = connection.held.get_mut(moved_place)
        {
            held.place = place as u32;
        }
        let connection = self.connection(removed.socket)?;
        let held_place = removed.place as usize;
        connection.held.swap_remove(held_place);
        let moved = connection.held.get(held_place).copied();
        if let Some(moved) = moved
            && let Some(interest) = self.at(moved.interest)
            && let Some(subscriber) = interest.subscribers.get_mut(moved.place as usize)
        {
            subscriber.place = held_place as u32;
        }
        self.subscriptions -= 1;
        Some(removed)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn socket(slot: u32) -> SocketId {
        SocketId { slot, generation: 7 }
    }

    #[test]
    fn what_is_lost_adds_up_until_nobody_knows() {
        let (one, two) = (Lost::count(1), Lost::count(2));
        assert_eq!(one.and(two), Lost::Count(3));
        assert_eq!(Lost::Nothing.and(one).and(Lost::Nothing), one);
        assert_eq!(Lost::count(u64::MAX).and(one), Lost::Count(u32::MAX));
        assert_eq!(Lost::Unknown.and(two), Lost::Unknown);
    }

    proptest! {
        /// However subscriptions come and go at either end: the table has those that a set
        /// has, and each end finds the other.
        #[test]
        fn agrees_with_a_set(steps in prop::collection::vec((0..5u8, 0..6u32, 0..6u32), 1..200)) {
            let mut table = Table::default();
            let topics: Vec<u32> = (0..6)
                .map(|n| table.insert(Topic::parse(&n.to_string()).unwrap(), ShardId(0)).slot)
                .collect();
            let mut model = BTreeSet::new();
            for (what, connection, topic) in steps {
                let (id, slot) = (socket(connection), topics[topic as usize]);
                match what {
                    0..=1 => {
                        if table.subscriber(id, slot).is_none() {
                            prop_assert!(model.insert((connection, topic)));
                            table.subscribe(id, slot);
                        }
                    }
                    2 => {
                        let removed = table.unsubscribe(id, slot).map(|removed| removed.socket);
                        prop_assert_eq!(removed, model.remove(&(connection, topic)).then_some(id));
                    }
                    3 => {
                        while table.unsubscribe_next(id).is_some() {}
                        table.forget_if_idle(id);
                        model.retain(|(other, _)| *other != connection);
                    }
                    _ => {
                        while table.dismiss_next(slot).is_some() {}
                        model.retain(|(_, other)| *other != topic);
                    }
                }
                prop_assert_eq!(table.subscriptions(), model.len());
                for connection in 0..6 {
                    let id = socket(connection);
                    for (topic, &slot) in (0..).zip(&topics) {
                        let found = table.subscriber(id, slot).map(|found| found.socket);
                        prop_assert_eq!(found, model.contains(&(connection, topic)).then_some(id));
                    }
                    let mut held = BTreeSet::new();
                    table.each_of(id, |topic, found| {
                        assert_eq!(found.socket, id);
                        held.insert((connection, topic.as_str().parse::<u32>().unwrap()));
                    });
                    prop_assert_eq!(held.len(), table.count_of(id));
                    prop_assert!(held.is_subset(&model));
                }
            }
        }
    }
}
