//! ▢ What is planned for: connections, and what each of those that are active does a second.
//!
//! Whoever makes a [`Traffic`] keeps its fields within the ranges that they name; `ringgate plan`
//! does so while it parses. Within them every figure that is computed from one is finite.

use serde::Serialize;

use crate::config::Results;

/// Most connections that are planned for.
pub const CONNECTIONS_MAX: u64 = 1_000_000_000;
/// Most shards.
pub const SHARDS_MAX: u64 = 4_096;
/// Most of anything a second, for one connection or one topic.
pub const RATE_MAX: f64 = 1e6;
/// Bytes of the largest payload: what `limits.message_bytes` may be.
pub const BYTES_MAX: f64 = (1_u64 << 30) as f64;

/// Text around the payload of one value of a topic: `{"topic":"AAPL1234","data":…}`.
const TOPIC_TEXT_BYTES: f64 = 30.0;
/// Around the base64 of a chunk, from the client, with a UUID as its session.
const CHUNK_TEXT_BYTES: f64 = 110.0;
/// A chunk's ack.
const ACK_BYTES: f64 = 100.0;
/// Around the text of a result, to the client.
const RESULT_TEXT_BYTES: f64 = 110.0;
/// Payload of a ping or pong.
const PING_BYTES: f64 = 8.0;

/// Connections and what they do.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Traffic {
    /// Open WebSockets, 1 to [`CONNECTIONS_MAX`].
    pub connections: u64,
    /// Shards, one a core, 1 to [`SHARDS_MAX`].
    pub shards: u64,
    /// Share of the connections that have any of the traffic below, 0 to 1. The rest are idle.
    pub active_share: f64,
    /// Seconds between two pings of one connection, 0.1 to 3600.
    pub ping_seconds: f64,
    /// Messages that are answered.
    pub echo: Option<Echo>,
    /// A session of the tasks route on each active connection.
    pub tasks: Option<Tasks>,
    /// Subscriptions of each active connection.
    pub topics: Option<Topics>,
}

/// Messages in, and an answer to each.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Echo {
    /// Messages that one active connection sends a second, to [`RATE_MAX`].
    pub messages_per_second: f64,
    /// Payload of each, and of each answer.
    pub bytes: f64,
    /// Answers to one message, 0 to 1000.
    pub replies: f64,
}

/// Chunks in, acks and results out.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Tasks {
    /// Chunks that one active connection sends a second, to [`RATE_MAX`].
    pub chunks_per_second: f64,
    /// Bytes of a chunk before base64.
    pub chunk_bytes: f64,
    /// Results that one active connection gets a second, to [`RATE_MAX`].
    pub results_per_second: f64,
    /// Bytes of a result's text.
    pub result_bytes: f64,
    /// How long a session lasts before its client starts another, 0.1 to 10⁶ s.
    pub session_seconds: f64,
    /// Where tasks wait.
    pub queue: QueueMode,
    /// How results come back.
    #[serde(serialize_with = "results_name")]
    pub results: Results,
}

/// Where tasks wait in Redis.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueMode {
    /// RPUSH and BLPOP.
    #[default]
    List,
    /// XADD and XREADGROUP.
    Stream,
}

/// Messages of topics, each to all who subscribed.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Topics {
    /// How many there are, 1 to 10⁸.
    pub topics: u64,
    /// Messages a second of one topic, to [`RATE_MAX`].
    pub messages_per_second: f64,
    /// Payload of each.
    pub bytes: f64,
    /// Topics of one active connection, at most `topics`.
    pub subscriptions: u64,
    /// Conflation in milliseconds; 0: every message at once.
    pub conflate_ms: u32,
}

/// Messages of one kind and size.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Stream {
    /// Of all connections together.
    pub per_second: f64,
    /// Payload of one.
    pub bytes: f64,
}

impl Stream {
    /// Payload of all of them.
    pub fn bytes_per_second(&self) -> f64 {
        self.per_second * self.bytes
    }
}

/// WebSocket messages of all connections together, by their kind.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Flows {
    /// Pings; as many pongs come back.
    pub pings: Stream,
    /// Messages that are answered.
    pub messages: Stream,
    /// Their answers.
    pub replies: Stream,
    /// Chunks.
    pub chunks: Stream,
    /// Acks of chunks.
    pub acks: Stream,
    /// Results.
    pub results: Stream,
    /// Sessions of tasks that begin, and as many that end.
    pub session_starts: f64,
    /// Messages or batches of topics, as they are written.
    pub fan_out: Stream,
    /// Values of topics in them.
    pub deliveries: Stream,
    /// Messages of topics as Redis sends them, once each.
    pub publications: Stream,
}

impl Traffic {
    /// Connections that are not idle.
    pub fn active(&self) -> f64 {
        match self.echo.is_some() || self.tasks.is_some() || self.topics.is_some() {
            true => self.connections as f64 * self.active_share,
            false => 0.0,
        }
    }

    /// Topics that somebody may want.
    pub fn live_topics(&self) -> f64 {
        let wanted = |topics: Topics| self.active() * topics.subscriptions as f64;
        self.topics.map_or(0.0, |topics| wanted(topics).min(topics.topics as f64))
    }

    /// Pairs of a connection and a topic.
    pub fn subscriptions(&self) -> f64 {
        self.topics.map_or(0.0, |topics| self.active() * topics.subscriptions as f64)
    }

    /// Open sessions of tasks.
    pub fn sessions(&self) -> f64 {
        if self.tasks.is_some() { self.active() } else { 0.0 }
    }

    /// What passes a second.
    pub fn flows(&self) -> Flows {
        let pings = self.connections as f64 / self.ping_seconds;
        let mut flows = Flows { pings: stream(pings, PING_BYTES), ..Flows::default() };
        let active = self.active();
        if let Some(Echo { messages_per_second, bytes, replies }) = self.echo {
            flows.messages = stream(active * messages_per_second, bytes);
            flows.replies = stream(active * messages_per_second * replies, bytes);
        }
        if let Some(tasks) = self.tasks {
            let chunks = active * tasks.chunks_per_second;
            flows.chunks = stream(chunks, tasks.base64_bytes() + CHUNK_TEXT_BYTES);
            flows.session_starts = self.sessions() / tasks.session_seconds;
            flows.acks = stream(chunks, ACK_BYTES);
            let results = active * tasks.results_per_second;
            flows.results = stream(results, tasks.result_bytes + RESULT_TEXT_BYTES);
        }
        if let Some(topics) = self.topics {
            let bytes = topics.bytes + TOPIC_TEXT_BYTES;
            let deliveries = self.subscriptions() * topics.values_per_second();
            let frames = deliveries.min(active * topics.batches_per_second());
            flows.deliveries = stream(deliveries, bytes);
            flows.fan_out = stream(frames, share(deliveries * bytes, frames));
            flows.publications =
                stream(self.live_topics() * topics.messages_per_second, topics.bytes);
        }
        flows
    }
}

impl Tasks {
    /// A chunk's audio as it travels, to the gateway and to Redis.
    pub fn base64_bytes(&self) -> f64 {
        (self.chunk_bytes / 3.0).ceil() * 4.0
    }
}

impl Topics {
    /// Values of one topic that one subscriber gets a second, at most.
    fn values_per_second(&self) -> f64 {
        self.messages_per_second.min(self.batches_per_second())
    }

    /// Batches that one subscriber gets a second, at most.
    fn batches_per_second(&self) -> f64 {
        match self.conflate_ms {
            0 => f64::INFINITY,
            period_ms => 1000.0 / f64::from(period_ms),
        }
    }
}

impl QueueMode {
    /// As it stands in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Stream => "stream",
        }
    }
}

fn stream(per_second: f64, bytes: f64) -> Stream {
    Stream { per_second, bytes }
}

/// Nothing of nothing is nothing.
fn share(whole: f64, parts: f64) -> f64 {
    if parts > 0.0 { whole / parts } else { 0.0 }
}

fn results_name<S: serde::Serializer>(results: &Results, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match results {
        Results::PerSession => "per-session",
        Results::PerShard => "per-shard",
    })
}
