//! The counters as Prometheus reads them: OpenMetrics text, made at each scrape.
//!
//! The admin thread calls this; it reads atomics and takes no lock that a shard could
//! wait for. Every family has the label `shard`, and every value of a second label is
//! there from the start, at zero: a rate over a series that appears with its first event
//! misses that event.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::Registry,
};

use super::{Counter, Refused, ShardMetrics, process::ProcessCollector, topics::TopicCollector};
use crate::{ids::NodeId, router::Lane, topics::sessions, ws::CloseCode};

/// The content type of [`encode`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A registry of everything that the process tells: its shards, itself, its version.
pub fn registry(node: NodeId, shards: Vec<Arc<ShardMetrics>>) -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(ProcessCollector::new()));
    let ours = registry.sub_registry_with_prefix("ringgate");
    ours.register_collector(Box::new(TopicCollector::new(&shards)));
    ours.register_collector(Box::new(ShardCollector::new(node, shards)));
    registry
}

/// The text of a scrape, `# EOF` at its end.
pub fn encode(registry: &Registry) -> String {
    let mut body = String::new();
    // Writing to a string fails only where a collector does; what was written is whole
    // lines, and without its `# EOF` a scraper refuses it.
    if text::encode(&mut body, registry).is_err() {
        log::error!("metrics: a collector failed, this scrape is cut short");
    }
    body
}

/// Writes one counter sample; the encoder adds `_total`.
///
/// # Errors
/// The writer's.
pub fn counter(mut encoder: MetricEncoder, value: u64) -> fmt::Result {
    encoder.encode_counter::<NoLabelSet, u64, f64>(&value, None)
}

/// Reads the metrics of every shard.
#[derive(Debug)]
struct ShardCollector {
    node: String,
    /// With the value of its `shard` label.
    shards: Vec<(String, Arc<ShardMetrics>)>,
}

impl ShardCollector {
    fn new(node: NodeId, shards: Vec<Arc<ShardMetrics>>) -> Self {
        let label = |(index, shard): (usize, Arc<ShardMetrics>)| (index.to_string(), shard);
        let shards = shards.into_iter().enumerate().map(label).collect();
        Self { node: node.to_string(), shards }
    }
}

impl Collector for ShardCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        encoder
            .encode_descriptor("build", "What is running.", None, MetricType::Info)?
            .encode_info(&version)?;
        let node = [("node", self.node.as_str())];
        encoder
            .encode_descriptor("node", "Which gateway this is.", None, MetricType::Info)?
            .encode_info(&node)?;
        for (name, help, read) in GAUGES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (shard, metrics) in &self.shards {
                let labels = [("shard", shard.as_str())];
                family.encode_family(&labels)?.encode_gauge(&read(metrics))?;
            }
        }
        for (name, help, label, read) in LABELLED_GAUGES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (shard, metrics) in &self.shards {
                for (value, count) in read(metrics) {
                    let labels = [("shard", shard.as_str()), (label, value.as_str())];
                    family.encode_family(&labels)?.encode_gauge(&count)?;
                }
            }
        }
        for (name, help, read) in COUNTERS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (shard, metrics) in &self.shards {
                let labels = [("shard", shard.as_str())];
                counter(family.encode_family(&labels)?, read(metrics))?;
            }
        }
        for (name, help, label, read) in LABELLED_COUNTERS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (shard, metrics) in &self.shards {
                for (value, count) in read(metrics) {
                    let labels = [("shard", shard.as_str()), (label, value.as_str())];
                    counter(family.encode_family(&labels)?, count)?;
                }
            }
        }
        Ok(())
    }
}

/// Name, help, and where the value stands.
type Family = (&'static str, &'static str, fn(&ShardMetrics) -> u64);

/// Name, help, the second label, and its values with their counts.
type LabelledFamily =
    (&'static str, &'static str, &'static str, fn(&ShardMetrics) -> Vec<(String, u64)>);

const GAUGES: [Family; 19] = [
    ("listening", "1 while the listener of the shard is open.", |m| m.connections.listening.get()),
    ("connections", "Open WebSockets.", |m| m.connections.open.get()),
    ("handshaking", "Sockets that have not been upgraded yet.", |m| {
        m.connections.handshaking.get()
    }),
    ("sessions", "Sessions between their start and their end.", |m| m.tasks.sessions.get()),
    ("sessions_detached", "Sessions without their connection, until they are resumed.", |m| {
        m.tasks.sessions_detached.get()
    }),
    ("session_text_bytes", "Bytes of result texts that sessions keep.", |m| {
        m.tasks.text_bytes.get()
    }),
    ("redis_subscriptions", "Result subscriptions in force or asked for.", |m| {
        m.broker.subscriptions.get()
    }),
    ("broker_up", "1 while the broker carries out commands.", |m| m.broker.up.get()),
    ("redis_canary", "1 once a message to itself came through Redis pub/sub.", |m| {
        m.broker.canary.get()
    }),
    ("broker_pending_bytes", "Bytes of commands that wait for their answer.", |m| {
        m.broker.pending_bytes.get()
    }),
    ("outbox_bytes", "Bytes waiting to be written to clients.", |m| {
        m.connections.outbox_bytes.get()
    }),
    ("kept_bytes", "Bytes kept for raw clients that are behind or away.", |m| {
        m.tasks.kept_bytes.get()
    }),
    ("held_bytes", "Bytes of partial frames and fragmented messages.", |m| {
        m.connections.held_bytes.get()
    }),
    ("session_claims", "Sessions claimed from other shards, not here yet.", |m| {
        m.tasks.claims.get()
    }),
    ("session_directory", "Sessions in the books of this shard.", |m| m.tasks.directory.get()),
    ("session_forwards", "Sessions that left, whose results follow them.", |m| {
        m.tasks.forwards.get()
    }),
    ("claims_held_bytes", "Bytes said by clients that wait for a session.", |m| {
        m.tasks.held_bytes.get()
    }),
    ("router_waiting", "Messages that wait for a full lane to another shard.", |m| {
        m.router.waiting.get()
    }),
    ("topic_session_bytes", "Bytes of sessions of topics.", |m| m.topic_sessions.bytes.get()),
];

const LABELLED_GAUGES: [LabelledFamily; 1] =
    [("topic_sessions", "Sessions of topics, made by a request.", "state", |m| {
        let sessions = &m.topic_sessions;
        vec![
            ("waiting".to_owned(), sessions.waiting.get()),
            ("connected".to_owned(), sessions.connected.get()),
        ]
    })];

/// The encoder adds `_total` to each name.
const COUNTERS: [Family; 41] = [
    ("accepted", "Sockets accepted.", |m| m.connections.accepted.get()),
    ("accept_errors", "Accepts that failed, and pauses of accepting.", |m| {
        m.connections.accept_errors.get()
    }),
    ("upgraded", "WebSockets upgraded.", |m| m.connections.upgraded.get()),
    ("messages_received", "Data messages from clients.", |m| m.connections.messages_in.get()),
    ("messages_sent", "Data messages to clients.", |m| m.connections.messages_out.get()),
    ("bytes_received", "Bytes read from client sockets.", |m| m.connections.bytes_in.get()),
    ("bytes_sent", "Bytes written to client sockets.", |m| m.connections.bytes_out.get()),
    ("pings_sent", "Heartbeat pings sent.", |m| m.connections.pings.get()),
    ("read_pauses", "Times a client too far ahead was not read.", |m| m.connections.pauses.get()),
    ("chunks", "Chunks accepted from clients, without repeats.", |m| m.tasks.chunks.get()),
    ("chunks_repeated", "Chunks that a client sent again.", |m| m.tasks.chunks_repeated.get()),
    ("chunks_expired", "Chunks given up at their deadline.", |m| m.tasks.chunks_expired.get()),
    ("sessions_resumed", "Sessions taken over by another connection.", |m| {
        m.tasks.sessions_resumed.get()
    }),
    ("resume_expired", "Detached sessions that nobody resumed in time.", |m| {
        m.tasks.resume_expired.get()
    }),
    ("resume_evicted", "Detached sessions that ended early to make room.", |m| {
        m.tasks.resume_evicted.get()
    }),
    ("acks", "Acks sent, of starts and of chunks.", |m| m.tasks.acks.get()),
    ("errors", "Error messages sent to clients.", |m| m.tasks.errors.get()),
    ("redis_reconnects", "Connections to Redis made after the first.", |m| {
        m.broker.reconnects.get()
    }),
    ("broker_failed", "Commands refused by the broker or for lack of room.", |m| {
        m.broker.failed.get()
    }),
    ("redis_writes", "Writes to Redis, each with all commands that were due.", |m| {
        m.broker.writes.get()
    }),
    ("redis_canary_retries", "Canary messages sent again, late or refused.", |m| {
        m.broker.canary_retries.get()
    }),
    ("stream_requeued", "Tasks of dead stream workers that were queued again.", |m| {
        m.broker.streams.requeued.get()
    }),
    ("stream_trimmed", "Acknowledged stream entries that were trimmed.", |m| {
        m.broker.streams.trimmed.get()
    }),
    ("ring_turns", "Turns of the shard's loop.", |m| m.ring.turns.get()),
    ("ring_completions", "Completions handled.", |m| m.ring.completions.get()),
    ("ring_enters", "System calls: io_uring_enter.", |m| m.ring.enters.get()),
    ("ring_parks", "Times the shard's loop went to sleep.", |m| m.ring.parks.get()),
    ("ring_buffer_waits", "Readable sockets that waited for a receive buffer.", |m| {
        m.ring.buffer_waits.get()
    }),
    ("ring_cq_overflows", "Completions kept aside by the kernel, the queue being full.", |m| {
        m.ring.overflows.get()
    }),
    ("claims_timed_out", "Clients told busy, their session not having come in time.", |m| {
        m.tasks.claims_timed_out.get()
    }),
    ("sessions_moved_in", "Sessions that came from another shard.", |m| {
        m.tasks.sessions_moved_in.get()
    }),
    ("sessions_moved_out", "Sessions that went to another shard.", |m| {
        m.tasks.sessions_moved_out.get()
    }),
    ("forwards_refused", "Sessions that left with no room for sending results after.", |m| {
        m.tasks.forwards_refused.get()
    }),
    ("results_forwarded", "Results sent after their session.", |m| m.tasks.results_forwarded.get()),
    ("router_undelivered", "Messages to other shards that could not be sent.", |m| {
        m.router.undelivered.get()
    }),
    ("router_wakes", "Batches of messages that other shards were told of.", |m| {
        m.router.wakes.get()
    }),
    ("topic_sessions_created", "Sessions of topics made.", |m| m.topic_sessions.created.get()),
    ("topic_sessions_used", "Sessions of topics taken by a WebSocket.", |m| {
        m.topic_sessions.used.get()
    }),
    ("topic_sessions_expired", "Sessions of topics that were not used in time.", |m| {
        m.topic_sessions.expired.get()
    }),
    ("topic_sessions_deleted", "Sessions of topics deleted, used or not.", |m| {
        m.topic_sessions.deleted.get()
    }),
    ("topic_sessions_abandoned", "Sessions of topics of which no client was told.", |m| {
        m.topic_sessions.abandoned.get()
    }),
];

const LABELLED_COUNTERS: [LabelledFamily; 9] = [
    ("refused", "Requests refused before the upgrade.", "reason", |m| {
        let count =
            |reason: Refused| (reason.label().to_owned(), m.connections.refused(reason).get());
        Refused::ALL.into_iter().map(count).collect()
    }),
    ("closed", "WebSockets closed, by close code; application: the peer's own.", "code", |m| {
        let count = |code: CloseCode| (code.label(), m.connections.closed(code).get());
        CloseCode::ALL.into_iter().map(count).collect()
    }),
    ("sessions_ended", "Sessions ended.", "outcome", |m| {
        outcomes([
            ("complete", &m.tasks.sessions_complete),
            ("partial", &m.tasks.sessions_partial),
            ("abandoned", &m.tasks.sessions_abandoned),
        ])
    }),
    ("stream_dropped", "Stream entries acknowledged without an answer.", "reason", |m| {
        let streams = &m.broker.streams;
        outcomes([("malformed", &streams.malformed), ("abandoned", &streams.abandoned)])
    }),
    ("results", "Results of workers.", "outcome", |m| {
        let results = &m.tasks.results;
        outcomes([
            ("delivered", &results.delivered),
            ("duplicate", &results.duplicate),
            ("orphaned", &results.orphaned),
            ("late", &results.late),
            ("malformed", &results.malformed),
            ("lost", &results.lost),
        ])
    }),
    ("router_sent", "Messages to other shards.", "lane", |m| lanes(&m.router.sent)),
    ("router_received", "Messages from other shards.", "lane", |m| lanes(&m.router.received)),
    ("router_full", "Messages that found their lane to another shard full.", "lane", |m| {
        lanes(&m.router.full)
    }),
    ("topic_sessions_refused", "Requests about sessions of topics refused.", "reason", |m| {
        let count = |reason: sessions::Refused| {
            (reason.label().to_owned(), m.topic_sessions.refused(reason).get())
        };
        sessions::Refused::ALL.into_iter().map(count).collect()
    }),
];

fn lanes(counters: &[Counter; Lane::COUNT]) -> Vec<(String, u64)> {
    let count = |lane: Lane| (lane.label().to_owned(), counters[lane as usize].get());
    Lane::ALL.into_iter().map(count).collect()
}

fn outcomes<const N: usize>(counters: [(&str, &Counter); N]) -> Vec<(String, u64)> {
    counters.into_iter().map(|(outcome, count)| (outcome.to_owned(), count.get())).collect()
}

#[cfg(test)]
mod tests;
