//! Clients, a broker that is late or gone, lanes that are full and readers that are slow, in
//! any order: what holds of it in the end, and of every message.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::Value;

use super::{
    broker::FORBIDDEN,
    world::{Client, World},
    *,
};
use crate::router::Lane;

const SHARDS: usize = 3;
const CONNECTIONS: u32 = 3;
const TOPICS: [&str; 4] = ["a", "b", "c", FORBIDDEN];

#[derive(Clone, Debug)]
enum Step {
    Open(Client, usize),
    Close(Client),
    Subscribe(Client, Vec<&'static str>, u32),
    Unsubscribe(Client, Vec<&'static str>),
    Read(Client, usize),
    Publish(&'static str),
    Broker(usize),
    Hear(usize),
    Peer(usize, usize, bool),
    Lose(usize),
    ComeUp(usize),
    Advance(u64),
    Tick,
    Settle,
}

fn client() -> impl Strategy<Value = Client> {
    (0..SHARDS, 0..CONNECTIONS).prop_map(|(shard, slot)| (shard, SocketId { slot, generation: 0 }))
}

fn topics() -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::subsequence(&TOPICS[..], 1..=TOPICS.len())
}

fn step(faults: bool) -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (client(), if faults { 100..2_000usize } else { usize::MAX / 2..usize::MAX })
            .prop_map(|(client, limit)| Step::Open(client, limit)),
        1 => client().prop_map(Step::Close),
        6 => (client(), topics(), prop::sample::select(vec![0, 0, 0, 20, 500]))
            .prop_map(|(client, topics, ms)| Step::Subscribe(client, topics, ms)),
        3 => (client(), topics()).prop_map(|(client, topics)| Step::Unsubscribe(client, topics)),
        4 => (client(), 1..8usize).prop_map(|(client, count)| Step::Read(client, count)),
        20 => prop::sample::select(&TOPICS[..]).prop_map(Step::Publish),
        10 => (0..SHARDS).prop_map(Step::Broker),
        20 => (0..SHARDS).prop_map(Step::Hear),
        20 => (0..SHARDS, 0..SHARDS, any::<bool>()).prop_map(|(a, b, c)| Step::Peer(a, b, c)),
        1 => (0..SHARDS).prop_map(move |shard| if faults { Step::Lose(shard) } else { Step::Tick }),
        2 => (0..SHARDS).prop_map(Step::ComeUp),
        3 => (1..600u64).prop_map(Step::Advance),
        1 => Just(Step::Tick),
        1 => Just(Step::Settle),
    ]
}

/// What one connection knows of one topic.
#[derive(Default, Debug)]
struct Heard {
    last: Option<u64>,
    messages: u64,
    told_lost: u64,
    /// A gap of unknown size was told.
    gap: bool,
    /// Published before the subscription in force was confirmed.
    from: Option<u64>,
    conflated: bool,
}

/// What the connections have read, judged as it comes.
#[derive(Default)]
struct Ledger {
    heard: BTreeMap<(Client, String), Heard>,
    open: BTreeSet<Client>,
    /// What each connection wants, by what it said.
    wanted: BTreeMap<Client, BTreeSet<String>>,
    lost_notices: u64,
}

impl Ledger {
    fn read(&mut self, client: Client, messages: Vec<Value>) {
        for message in messages {
            match &message {
                Value::Array(batch) => {
                    assert!(!batch.is_empty());
                    let topics: BTreeSet<&str> =
                        batch.iter().map(|one| one["topic"].as_str().unwrap()).collect();
                    assert_eq!(topics.len(), batch.len(), "a topic twice in {message}");
                    batch.iter().for_each(|one| self.on_message(client, one));
                }
                _ if message.get("topic").is_some() && message.get("op").is_none() => {
                    self.on_message(client, &message);
                }
                _ => self.on_notice(client, &message),
            }
        }
    }

    fn of(&mut self, client: Client, topic: &Value) -> &mut Heard {
        self.heard.entry((client, topic.as_str().unwrap().into())).or_default()
    }

    fn on_message(&mut self, client: Client, message: &Value) {
        let number = message["data"].as_u64().unwrap();
        let heard = self.of(client, &message["topic"]);
        assert!(heard.last.is_none_or(|last| last < number), "{number} after {heard:?}");
        heard.last = Some(number);
        heard.messages += 1;
    }

    fn on_notice(&mut self, client: Client, message: &Value) {
        match message["op"].as_str().unwrap() {
            "lost" => {
                self.lost_notices += 1;
                let heard = self.of(client, &message["topic"]);
                match message["count"].as_u64() {
                    Some(count) => heard.told_lost += count,
                    None => {
                        assert_eq!(message["reason"], "reconnect");
                        heard.gap = true;
                    }
                }
            }
            "subscribed" | "unsubscribed" => {}
            "error" => {
                let code = message["code"].as_str().unwrap();
                assert!(["refused", "busy", "broker_unavailable"].contains(&code), "{message}");
                if let Some(topic) = message["topic"].as_str() {
                    self.on_gone(client, topic);
                }
            }
            _ => panic!("{message}"),
        }
    }

    fn on_gone(&mut self, client: Client, topic: &str) {
        if let Some(wanted) = self.wanted.get_mut(&client) {
            wanted.remove(topic);
        }
        if let Some(heard) = self.heard.get_mut(&(client, topic.into())) {
            heard.from = None;
        }
    }

    fn on_closed(&mut self, client: Client) {
        self.open.remove(&client);
        self.wanted.remove(&client);
        self.heard.retain(|(other, _), _| *other != client);
    }
}

struct Run {
    world: World,
    ledger: Ledger,
}

impl Run {
    fn new(overflow: Overflow, lane_places: usize, want_places: usize) -> Self {
        let config = TopicsConfig { overflow, ..config("{topic}") };
        let mut world = World::new(SHARDS, config);
        (world.lane_places, world.want_places) = (lane_places, want_places);
        Self { world, ledger: Ledger::default() }
    }

    fn step(&mut self, step: Step) {
        self.take(step);
        self.note_confirmed();
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Open(client, limit_bytes) => {
                if self.ledger.open.insert(client) {
                    self.world.open(client, limit_bytes);
                    self.ledger.wanted.insert(client, BTreeSet::new());
                }
            }
            Step::Close(client) => self.close(client),
            Step::Subscribe(client, topics, ms) if self.ledger.open.contains(&client) => {
                self.subscribe(client, &topics, ms);
            }
            Step::Unsubscribe(client, topics) if self.ledger.open.contains(&client) => {
                self.read(client, usize::MAX);
                self.world.unsubscribe(client, &topics);
                topics.iter().for_each(|topic| self.ledger.on_gone(client, topic));
            }
            Step::Read(client, count) => self.read(client, count),
            Step::Publish(topic) => self.world.publish(topic),
            Step::Broker(shard) => drop(self.world.nodes[shard].link.step()),
            Step::Hear(shard) => drop(self.world.hear_broker(shard)),
            Step::Peer(from, to, fan_out) => {
                let lane = if fan_out { Lane::FanOut } else { Lane::Reply };
                self.world.hear_peer(from, to, lane);
            }
            Step::Lose(shard) => self.world.nodes[shard].link.lose(),
            Step::ComeUp(shard) => self.world.nodes[shard].link.come_up(),
            Step::Advance(ms) => self.world.advance(ms),
            Step::Tick => self.world.tick(),
            Step::Settle => self.settle(),
            Step::Subscribe(..) | Step::Unsubscribe(..) => {}
        }
    }

    fn subscribe(&mut self, client: Client, topics: &[&'static str], ms: u32) {
        // What was said before is read before, so that it is not taken for an answer to this.
        self.read(client, usize::MAX);
        self.world.subscribe(client, topics, ms);
        for topic in topics {
            let wanted = self.ledger.wanted.get_mut(&client).unwrap();
            let is_new = wanted.insert(topic.to_string());
            let heard = self.ledger.heard.entry((client, topic.to_string())).or_default();
            if is_new {
                *heard = Heard { last: heard.last, ..Heard::default() };
            }
            heard.conflated |= ms > 0;
        }
        self.read(client, usize::MAX);
    }

    fn close(&mut self, client: Client) {
        if self.ledger.open.contains(&client) {
            self.world.close(client);
            self.ledger.on_closed(client);
        }
    }

    fn read(&mut self, client: Client, count: usize) {
        if self.ledger.open.contains(&client) {
            let messages = self.world.read(client, count);
            self.ledger.read(client, messages);
        }
    }

    /// Whatever is published from now on on what was just confirmed has to come.
    fn note_confirmed(&mut self) {
        for shard in 0..SHARDS {
            for (id, text) in std::mem::take(&mut self.world.nodes[shard].clients.said) {
                let said: Value = serde_json::from_str(&text).unwrap();
                let topics = said["topics"].as_array().filter(|_| said["op"] == "subscribed");
                for topic in topics.into_iter().flatten() {
                    let published = self.world.published.get(topic.as_str().unwrap()).copied();
                    let heard = self.ledger.of((shard, id), topic);
                    heard.from.get_or_insert(published.unwrap_or(0));
                }
            }
        }
    }

    /// All arrives, all is read.
    fn settle(&mut self) {
        let (lanes, wants) = (self.world.lane_places, self.world.want_places);
        (self.world.lane_places, self.world.want_places) = (usize::MAX, usize::MAX);
        // Batches of 500 ms, each refused once and held.
        for _ in 0..6 {
            self.world.settle();
            self.note_confirmed();
            self.world.tick();
            for client in self.ledger.open.clone() {
                self.read(client, usize::MAX);
                self.read(client, usize::MAX);
            }
        }
        (self.world.lane_places, self.world.want_places) = (lanes, wants);
    }

    /// What holds when all has settled.
    fn assert_settled(&mut self, strict: bool) {
        let wanted: BTreeSet<String> = self.ledger.wanted.values().flatten().cloned().collect();
        assert_eq!(self.world.in_force(), wanted, "the broker's channels are those wanted");
        let topics: u64 =
            self.world.nodes.iter().map(|node| node.metrics.topics.topics.get()).sum();
        assert_eq!(topics, wanted.len() as u64);
        for ((client, topic), heard) in &self.ledger.heard {
            if !self.ledger.wanted[client].contains(topic) {
                continue;
            }
            let published = self.world.published.get(topic).copied().unwrap_or(0);
            let from = heard.from.unwrap_or_else(|| panic!("{client:?} {topic} not confirmed"));
            let has_latest = published == from || heard.last == Some(published - 1);
            let is_all = match heard.conflated {
                true => has_latest || heard.told_lost > 0,
                false => heard.messages + heard.told_lost >= published - from,
            };
            assert!(is_all || heard.gap, "{topic} of {published}: {heard:?}");
            assert!(heard.messages <= published);
            if strict {
                assert_eq!((heard.told_lost, heard.gap), (0, false), "{topic}: {heard:?}");
            }
        }
    }

    fn end(&mut self) {
        for client in self.ledger.open.clone() {
            self.close(client);
        }
        self.world.settle();
        self.world.assert_empty();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_goes_wrong_is_told_and_nothing_is_left(
        steps in prop::collection::vec(step(true), 1..250),
        lane_places in 0..4usize,
        want_places in 1..6usize,
    ) {
        let mut run = Run::new(Overflow::Drop, lane_places, want_places);
        steps.into_iter().for_each(|step| run.step(step));
        run.settle();
        run.assert_settled(false);
        run.end();
    }

    /// Where nothing goes wrong, nothing is lost, nobody is told so, and every message comes.
    #[test]
    fn without_faults_every_message_comes_once(
        steps in prop::collection::vec(step(false), 1..250),
    ) {
        let mut run = Run::new(Overflow::Drop, usize::MAX, usize::MAX);
        steps.into_iter().for_each(|step| run.step(step));
        run.settle();
        run.assert_settled(true);
        prop_assert_eq!(run.ledger.lost_notices, 0);
        run.end();
    }

    /// With `close`, who reads too slowly goes, and takes nothing with him.
    #[test]
    fn closing_slow_consumers_leaves_nothing(
        steps in prop::collection::vec(step(true), 1..250),
    ) {
        let mut run = Run::new(Overflow::Close, 2, 4);
        for step in steps {
            run.step(step);
            for client in run.ledger.open.clone() {
                if run.world.nodes[client.0].clients.is_closed(client.1) {
                    run.close(client);
                }
            }
        }
        run.end();
    }
}
