//! The topics route: a message on its way from its channel to the outboxes, at once and in batches.

use std::{hint::black_box, sync::Arc};

use bytes::Bytes;
use ringgate::{
    broker::{self, Event},
    clock::Now,
    ids::{ShardId, SocketId},
    metrics::ShardMetrics,
    tasks::RouteTag,
    topics::{Action, ChannelPattern, Clients, Publication, Topic, Topics, TopicsConfig},
    ws::{CloseCode, Kind},
};

use crate::{Bench, Run, inputs};

/// Subscribers of one topic, or topics of one subscriber.
const MANY: u32 = 100;
const PERIOD_MS: u64 = 500;

/// In the order of the data path.
pub const BENCHES: &[Bench] = &[
    Bench {
        name: "publication-encode",
        operation: "checking a price for JSON, and writing the frame that all get",
        prepare: encode,
    },
    Bench {
        name: "fan-out-100",
        operation: "a message for 100 subscribers, up to their outboxes",
        prepare: fan_out,
    },
    Bench {
        name: "conflate-100",
        operation: "a message for 100 subscribers with batches: it takes the place of an older one",
        prepare: conflate,
    },
    Bench {
        name: "batch-100",
        operation: "100 messages of 100 topics for one subscriber, and the batch of them",
        prepare: batch,
    },
];

/// Takes everything.
#[derive(Default)]
struct Everyone {
    frames: u64,
    elements: u64,
}

impl Clients for Everyone {
    fn offer(&mut self, _: SocketId, frame: &Bytes) -> bool {
        black_box(frame);
        self.frames += 1;
        true
    }

    fn offer_batch(&mut self, _: SocketId, elements: &[Bytes]) -> bool {
        self.elements += black_box(elements).len() as u64;
        true
    }

    fn say(&mut self, _: SocketId, text: &str) -> bool {
        black_box(text);
        true
    }

    fn await_drain(&mut self, _: SocketId) {}

    fn close(&mut self, _: SocketId, _: CloseCode, reason: &'static str) {
        panic!("nobody is to be closed: {reason}");
    }
}

/// A route on the one shard, and whom it serves.
struct Route {
    topics: Topics,
    everyone: Everyone,
    actions: Vec<Action>,
    now: Now,
}

impl Route {
    fn new() -> Self {
        let pattern = ChannelPattern::parse("prices:{topic}").expect("a pattern");
        let config = Arc::new(TopicsConfig::new(pattern));
        let tag = RouteTag::new(0).expect("the first route");
        Self {
            topics: Topics::new(config, Arc::new(ShardMetrics::default()), tag, ShardId(0), 1),
            everyone: Everyone::default(),
            actions: Vec::new(),
            now: Now { ms: 1_000, unix_ms: 1_700_000_000_000 },
        }
    }

    /// Subscribes a client, and says so for the broker.
    fn subscribe(&mut self, slot: u32, topic: u32, conflate_ms: u64) {
        let message =
            format!(r#"{{"op":"subscribe","topics":["T{topic}"],"conflate_ms":{conflate_ms}}}"#);
        let id = SocketId { slot, generation: 0 };
        let (topics, everyone) = (&mut self.topics, &mut self.everyone);
        topics.on_message(
            id,
            Kind::Text,
            message.as_bytes(),
            self.now,
            everyone,
            &mut self.actions,
        );
        for action in std::mem::take(&mut self.actions) {
            if let Action::Broker(broker::Command::Subscribe { channel }) = action {
                self.hear(Event::Subscribed(channel));
            }
        }
        assert!(self.topics.topics_of(id) > 0);
    }

    fn hear(&mut self, event: Event) {
        let (topics, everyone) = (&mut self.topics, &mut self.everyone);
        let back = topics.on_event(event, 1, self.now, everyone, &mut self.actions);
        debug_assert!(back.is_none(), "the route knows its own: {back:?}");
    }

    /// What a shard does of one message in a turn.
    fn publish(&mut self, channel: &Arc<str>, payload: &[u8]) {
        let (channel, payload) = (channel.clone(), black_box(payload).to_vec());
        self.hear(Event::Message { channel, payload });
        self.topics.written(2);
    }
}

fn encode() -> Run {
    let (topic, price) = (Topic::parse("AAPL").expect("a topic"), inputs::price(7));
    Box::new(move |iterations| {
        for _ in 0..iterations {
            black_box(Publication::encode(black_box(&topic), black_box(&price), 1));
        }
    })
}

fn fan_out() -> Run {
    let (mut route, price, channel) = (Route::new(), inputs::price(7), "prices:T0".into());
    for slot in 0..MANY {
        route.subscribe(slot, 0, 0);
    }
    route.publish(&channel, &price);
    assert_eq!(route.everyone.frames, u64::from(MANY));
    Box::new(move |iterations| {
        for _ in 0..iterations {
            route.publish(&channel, &price);
        }
    })
}

fn conflate() -> Run {
    let (mut route, price, channel) = (Route::new(), inputs::price(7), "prices:T0".into());
    for slot in 0..MANY {
        route.subscribe(slot, 0, PERIOD_MS);
    }
    route.publish(&channel, &price);
    assert_eq!((route.everyone.frames, route.everyone.elements), (0, 0), "they wait");
    Box::new(move |iterations| {
        for _ in 0..iterations {
            route.publish(&channel, &price);
        }
    })
}

fn batch() -> Run {
    let (mut route, price) = (Route::new(), inputs::price(7));
    let channels: Vec<Arc<str>> = (0..MANY).map(|n| format!("prices:T{n}").into()).collect();
    for topic in 0..MANY {
        route.subscribe(0, topic, PERIOD_MS);
    }
    let mut period = move || {
        for channel in &channels {
            route.publish(channel, &price);
        }
        route.now.ms += PERIOD_MS;
        route.topics.on_timer(route.now, &mut route.everyone);
        std::mem::take(&mut route.everyone.elements)
    };
    // A period later everything is due, whatever the phase of the socket.
    period();
    assert_eq!(period(), u64::from(MANY));
    Box::new(move |iterations| {
        for _ in 0..iterations {
            black_box(period());
        }
    })
}
