//! Several shards with the lanes between them, their links to the broker and their clients.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Value, json};

use super::{broker::ModelLink, clients::FakeClients, *};
use crate::router::Lane;

/// One shard.
pub struct Node {
    pub topics: Topics,
    pub clients: FakeClients,
    pub link: ModelLink,
    pub metrics: Arc<ShardMetrics>,
    actions: Vec<Action>,
}

/// A connection: which shard, and there which.
pub type Client = (usize, SocketId);

/// All of it.
pub struct World {
    pub nodes: Vec<Node>,
    /// By sender, receiver and kind.
    lanes: BTreeMap<(usize, usize, usize), VecDeque<TopicMessage>>,
    /// Messages that a fan-out lane holds.
    pub lane_places: usize,
    /// Messages that wait for a peer past which a `Want` fails.
    pub want_places: usize,
    pub now_ms: u64,
    pub published: BTreeMap<String, u64>,
}

impl World {
    pub fn new(shards: usize, config: TopicsConfig) -> Self {
        let config = Arc::new(config);
        let node = |index: usize| {
            let metrics = Arc::new(ShardMetrics::default());
            let (tag, me) = (RouteTag::new(1).unwrap(), ShardId(index as u16));
            Node {
                topics: Topics::new(config.clone(), metrics.clone(), tag, me, shards),
                clients: FakeClients::default(),
                link: ModelLink::new(),
                metrics,
                actions: Vec::new(),
            }
        };
        Self {
            nodes: (0..shards).map(node).collect(),
            lanes: BTreeMap::new(),
            lane_places: usize::MAX,
            want_places: usize::MAX,
            now_ms: 1_000,
            published: BTreeMap::new(),
        }
    }

    pub fn now(&self) -> Now {
        Now { ms: self.now_ms, unix_ms: 0 }
    }

    /// Calls a shard's route, and carries out what it wants.
    pub fn with(
        &mut self,
        shard: usize,
        call: impl FnOnce(&mut Topics, Now, &mut FakeClients, &mut Vec<Action>),
    ) {
        let now = self.now();
        let Node { topics, clients, actions, .. } = &mut self.nodes[shard];
        call(topics, now, clients, actions);
        self.carry_out(shard);
    }

    fn carry_out(&mut self, shard: usize) {
        let now = self.now();
        loop {
            let Node { topics, clients, actions, link, .. } = &mut self.nodes[shard];
            for (id, _) in std::mem::take(&mut clients.closed) {
                topics.on_disconnect(id, actions);
            }
            while let Some(id) = clients.next_drained() {
                topics.on_drained(id, now, clients);
            }
            if actions.is_empty() {
                return;
            }
            for action in std::mem::take(actions) {
                let (to, message) = match action {
                    Action::Broker(command) => {
                        link.submit(command);
                        continue;
                    }
                    Action::Tell { to, message, .. } => (to, message),
                };
                let lane = message.lane();
                let queue = self.lanes.entry((shard, to.index(), lane as usize)).or_default();
                let places = match lane {
                    Lane::FanOut => self.lane_places,
                    Lane::Reply if message.can_fail() => self.want_places,
                    Lane::Reply => usize::MAX,
                };
                if queue.len() < places {
                    queue.push_back(message);
                } else {
                    topics.on_unsent(to, message, clients);
                }
            }
        }
    }

    pub fn open(&mut self, client: Client, limit_bytes: usize) {
        self.nodes[client.0].clients.open(client.1, limit_bytes);
    }

    pub fn close(&mut self, client: Client) {
        self.with(client.0, |topics, _, _, actions| topics.on_disconnect(client.1, actions));
        self.nodes[client.0].clients.forget(client.1);
    }

    pub fn say(&mut self, client: Client, message: &Value) {
        let payload = message.to_string();
        self.with(client.0, |topics, now, clients, actions| {
            topics.on_message(client.1, Kind::Text, payload.as_bytes(), now, clients, actions);
        });
    }

    pub fn subscribe(&mut self, client: Client, topics: &[&str], conflate_ms: u32) {
        let message = json!({"op": "subscribe", "topics": topics, "conflate_ms": conflate_ms});
        self.say(client, &message);
    }

    pub fn unsubscribe(&mut self, client: Client, topics: &[&str]) {
        self.say(client, &json!({"op": "unsubscribe", "topics": topics}));
    }

    /// Publishes the next number of a topic, from 0 on.
    pub fn publish(&mut self, topic: &str) {
        let number = self.published.entry(topic.into()).or_default();
        let payload = number.to_string();
        *number += 1;
        self.nodes.iter_mut().for_each(|node| node.link.publish(topic, payload.as_bytes()));
    }

    pub fn read(&mut self, client: Client, count: usize) -> Vec<Value> {
        let read = self.nodes[client.0].clients.read(client.1, count);
        self.carry_out(client.0);
        read
    }

    /// A shard hears one event of its broker.
    pub fn hear_broker(&mut self, shard: usize) -> bool {
        let Some(event) = self.nodes[shard].link.next_event() else { return false };
        let is_for_all = matches!(event, Event::Up | Event::Down { .. });
        self.with(shard, |topics, now, clients, actions| {
            let back = topics.on_event(event, 0, now, clients, actions);
            // A message of what was given up a moment ago is nobody's.
            assert!(back.is_some() || !is_for_all);
        });
        true
    }

    /// A shard hears one message of another.
    pub fn hear_peer(&mut self, from: usize, to: usize, lane: Lane) -> bool {
        let lane = self.lanes.get_mut(&(from, to, lane as usize));
        let Some(message) = lane.and_then(VecDeque::pop_front) else { return false };
        self.with(to, |topics, now, clients, actions| {
            topics.on_peer(message, now, clients, actions);
        });
        true
    }

    pub fn advance(&mut self, ms: u64) {
        self.now_ms += ms;
        for shard in 0..self.nodes.len() {
            self.with(shard, |topics, now, clients, _| topics.on_timer(now, clients));
        }
    }

    pub fn tick(&mut self) {
        self.advance(TICK_MS);
        for shard in 0..self.nodes.len() {
            self.with(shard, |topics, now, clients, actions| topics.on_tick(now, clients, actions));
        }
    }

    /// Everything that is under way arrives.
    pub fn settle(&mut self) {
        loop {
            let mut busy = false;
            for shard in 0..self.nodes.len() {
                self.nodes[shard].link.come_up();
                while self.nodes[shard].link.step() {
                    busy = true;
                }
                while self.hear_broker(shard) {
                    busy = true;
                }
                for other in 0..self.nodes.len() {
                    for lane in Lane::ALL {
                        while self.hear_peer(shard, other, lane) {
                            busy = true;
                        }
                    }
                }
            }
            if !busy {
                return;
            }
        }
    }

    /// The channels that the broker has subscribers for, each of one shard alone.
    pub fn in_force(&self) -> BTreeSet<String> {
        let all = self.nodes.iter().flat_map(|node| &node.link.in_force);
        let channels: Vec<String> = all.map(|channel| channel.to_string()).collect();
        let different: BTreeSet<String> = channels.iter().cloned().collect();
        assert_eq!(channels.len(), different.len(), "subscribed to twice: {channels:?}");
        different
    }

    /// Nobody is here any more: nothing may be left.
    pub fn assert_empty(&self) {
        assert_eq!(self.in_force(), BTreeSet::new());
        for node in &self.nodes {
            assert!(node.topics.table.is_empty(), "a table is not empty");
            assert!(node.topics.flushes.is_empty(), "a flush is left");
            assert!(node.topics.home.is_empty(), "a topic is left at home");
            assert!(!node.topics.serves_others());
            let metrics = &node.metrics.topics;
            assert_eq!((metrics.topics.get(), metrics.subscriptions.get()), (0, 0));
        }
    }
}
