//! Clients of a topics route, and who publishes for them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::Message;

use super::{
    client::{Client, PATIENCE},
    gateway::TestGateway,
    redis::RedisServer,
};

/// The route of these tests, whose channels are the names of the topics.
pub const ROUTE: &str = "[[route]]\npath = \"/ws/topics\"\nkind = \"topics\"\n";

/// A gateway on two cores with the route, and with `settings` of it.
pub fn gateway(redis: &RedisServer, settings: &str) -> TestGateway {
    gateway_with(redis, &format!("{ROUTE}{settings}"))
}

/// With any file.
pub fn gateway_with(redis: &RedisServer, file: &str) -> TestGateway {
    let gateway = TestGateway::start_with("0-1", &[("redis", &redis.url())], Some(file));
    gateway.until("the links to Redis", |g| g.each(|m| m.broker.up.get()) == [1, 1]);
    gateway
}

/// A client that knows how to wait for a topic's next message.
pub struct TopicsClient {
    pub client: Client,
    /// Messages of other topics that came while one was waited for.
    passed: Vec<Value>,
}

impl TopicsClient {
    pub fn on_shard(gateway: &TestGateway, shard: usize) -> Self {
        let stream = gateway.stream_to(shard);
        let client = Client::over(stream, gateway.address, "/ws/topics").expect("upgraded");
        Self { client, passed: Vec::new() }
    }

    pub fn send(&mut self, message: Value) {
        self.client.send(message);
    }

    pub fn receive(&mut self) -> Value {
        self.client.receive()
    }

    /// The next text, as it is.
    pub fn receive_text(&mut self) -> String {
        loop {
            match self.client.socket.read().expect("a message") {
                Message::Text(text) => return text.to_string(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    /// Subscribes, every message at once, and awaits the answer.
    pub fn subscribe(&mut self, topics: &[&str]) {
        self.send(json!({"op": "subscribe", "topics": topics, "conflate_ms": 0}));
        assert_eq!(self.receive(), json!({"op": "subscribed", "topics": topics}));
    }

    /// The data of the next message of `topic`.
    pub fn next_of(&mut self, topic: &str) -> Value {
        if let Some(place) = self.passed.iter().position(|message| message["topic"] == topic) {
            return self.passed.remove(place)["data"].take();
        }
        loop {
            let mut message = self.receive();
            assert!(message.get("op").is_none(), "{message}");
            if message["topic"] == topic {
                return message["data"].take();
            }
            self.passed.push(message);
        }
    }

    pub fn close(self) {
        self.client.close();
    }
}

/// A connection to Redis that publishes and counts.
pub struct Publisher {
    connection: redis::Connection,
}

impl Publisher {
    pub fn new(server: &RedisServer) -> Self {
        let client = redis::Client::open(server.url()).unwrap();
        Self { connection: client.get_connection().unwrap() }
    }

    /// Says how many connections heard it.
    pub fn publish(&mut self, channel: &str, payload: &str) -> u64 {
        self.publish_bytes(channel, payload.as_bytes())
    }

    pub fn publish_bytes(&mut self, channel: &str, payload: &[u8]) -> u64 {
        redis::cmd("PUBLISH").arg(channel).arg(payload).query(&mut self.connection).unwrap()
    }

    /// Publishes all of it with one write.
    pub fn publish_all(&mut self, channel: &str, payloads: impl Iterator<Item = String>) {
        let mut pipe = redis::pipe();
        for payload in payloads {
            pipe.cmd("PUBLISH").arg(channel).arg(payload).ignore();
        }
        pipe.query::<()>(&mut self.connection).unwrap();
    }

    /// Channels that somebody is subscribed to, but for the gateway's own.
    pub fn channels(&mut self) -> usize {
        let channels: Vec<String> =
            redis::cmd("PUBSUB").arg("CHANNELS").query(&mut self.connection).unwrap();
        channels.iter().filter(|channel| !channel.starts_with("ringgate:")).count()
    }

    /// Awaits that nobody is subscribed to anything.
    pub fn until_no_channels(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.channels() > 0 {
            assert!(Instant::now() < deadline, "still subscribed to {}", self.channels());
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}
