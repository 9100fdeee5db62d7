//! The text that Prometheus scrapes, line by line.

use std::collections::{HashMap, HashSet};

use super::*;
use crate::{ids::NodeId, metrics::topics};

/// One scrape, checked line by line against the OpenMetrics grammar as far as this
/// process uses it (OpenMetrics 1.0.0, sections 4.1 to 4.3).
struct Scrape {
    /// Family name to type.
    families: HashMap<String, String>,
    /// `name{labels}` to value.
    samples: HashMap<String, f64>,
}

fn scrape(registry: &Registry) -> Scrape {
    let text = encode(registry);
    let body = text.strip_suffix("# EOF\n").expect("ends with # EOF");
    let mut scrape = Scrape { families: HashMap::new(), samples: HashMap::new() };
    let mut helped = HashSet::new();
    let mut current = String::new();
    for line in body.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').expect(line);
            assert!(!help.is_empty() && helped.insert(name.to_owned()), "HELP twice: {line}");
            current = name.to_owned();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect(line);
            assert_eq!(name, current, "TYPE follows its HELP");
            assert!(["counter", "gauge", "info", "histogram"].contains(&kind), "{line}");
            assert!(scrape.families.insert(name.to_owned(), kind.to_owned()).is_none(), "{line}");
        } else {
            let (series, value) = line.rsplit_once(' ').expect(line);
            let name = series.split('{').next().unwrap();
            check_labels(&series[name.len()..]);
            let suffixes: &[&str] = match scrape.families[&current].as_str() {
                "counter" => &["_total"],
                "info" => &["_info"],
                "histogram" => &["_sum", "_count", "_bucket"],
                _ => &[""],
            };
            let suffix = name.strip_prefix(&current).expect("samples stand under their family");
            assert!(suffixes.contains(&suffix), "{line}");
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{line}");
            let value = value.parse().expect(line);
            assert!(scrape.samples.insert(series.to_owned(), value).is_none(), "twice: {line}");
        }
    }
    scrape
}

fn check_labels(labels: &str) {
    if labels.is_empty() {
        return;
    }
    let inner = labels.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).expect(labels);
    for label in inner.split(',') {
        let (name, value) = label.split_once('=').expect(labels);
        assert!(name.chars().all(|c| c.is_ascii_lowercase()), "{labels}");
        assert!(value.len() > 2 && value.starts_with('"') && value.ends_with('"'), "{labels}");
    }
}

fn shards(count: usize) -> Vec<Arc<ShardMetrics>> {
    (0..count).map(|_| Arc::default()).collect()
}

#[test]
fn every_line_is_openmetrics() {
    let scrape = scrape(&registry(NodeId::random(), shards(3)));
    let ours = scrape.families.keys().filter(|name| name.starts_with("ringgate_")).count();
    let topics = topics::GAUGES.len() + topics::COUNTERS.len() + topics::OTHERS;
    let labelled = LABELLED_GAUGES.len() + LABELLED_COUNTERS.len();
    assert_eq!(ours, 2 + GAUGES.len() + COUNTERS.len() + labelled + topics);
    for (name, kind) in [
        ("process_resident_memory_bytes", "gauge"),
        ("process_cpu_seconds", "counter"),
        ("process_open_fds", "gauge"),
        ("process_max_fds", "gauge"),
        ("process_start_time_seconds", "gauge"),
    ] {
        assert_eq!(scrape.families[name], kind);
    }
    let build = concat!("ringgate_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}");
    assert_eq!(scrape.samples[build], 1.0);
}

#[test]
fn every_label_value_is_there_from_the_start() {
    let scrape = scrape(&registry(NodeId::random(), shards(2)));
    let of = |family: &str| {
        let start = format!("ringgate_{family}_total{{shard=\"1\",");
        scrape
            .samples
            .iter()
            .filter(|(series, value)| series.starts_with(&start) && **value == 0.0)
            .count()
    };
    assert_eq!(of("refused"), Refused::ALL.len());
    assert_eq!(of("closed"), CloseCode::ALL.len());
    assert_eq!(of("results"), 6);
    assert_eq!(of("sessions_ended"), 3);
    assert_eq!(of("topic_sessions_refused"), sessions::Refused::ALL.len());
}

#[test]
fn values_stand_under_their_shard_and_label() {
    let shards = shards(2);
    let registry = registry(NodeId::random(), shards.clone());
    shards[1].connections.open.set(7);
    shards[1].connections.closed(CloseCode::Restart).add(2);
    shards[1].connections.refused(Refused::Draining).add(3);
    shards[1].topic_sessions.connected.set(4);
    shards[1].topic_sessions.refused(sessions::Refused::Quota).add(5);
    shards[0].tasks.results.late.inc();
    shards[0].tasks.sessions_partial.inc();
    shards[0].ring.enters.add(u64::from(u32::MAX) * 4);
    let expected = [
        (r#"ringgate_connections{shard="0"}"#, 0.0),
        (r#"ringgate_connections{shard="1"}"#, 7.0),
        (r#"ringgate_closed_total{shard="1",code="1012"}"#, 2.0),
        (r#"ringgate_closed_total{shard="0",code="1012"}"#, 0.0),
        (r#"ringgate_refused_total{shard="1",reason="draining"}"#, 3.0),
        (r#"ringgate_topic_sessions{shard="1",state="connected"}"#, 4.0),
        (r#"ringgate_topic_sessions{shard="1",state="waiting"}"#, 0.0),
        (r#"ringgate_topic_sessions_refused_total{shard="1",reason="session_quota"}"#, 5.0),
        (r#"ringgate_results_total{shard="0",outcome="late"}"#, 1.0),
        (r#"ringgate_sessions_ended_total{shard="0",outcome="partial"}"#, 1.0),
        (r#"ringgate_ring_enters_total{shard="0"}"#, f64::from(u32::MAX) * 4.0),
    ];
    let scrape = scrape(&registry);
    for (series, value) in expected {
        assert_eq!(scrape.samples.get(series), Some(&value), "{series}");
    }
    shards[1].connections.open.dec();
    assert_eq!(self::scrape(&registry).samples[r#"ringgate_connections{shard="1"}"#], 6.0);
}

/// A family that reads another family's counter would pass every other test.
#[test]
fn no_two_families_read_the_same_value() {
    let metrics = ShardMetrics::default();
    let (c, t, b, r) = (&metrics.connections, &metrics.tasks, &metrics.broker, &metrics.ring);
    let gauges = [
        &c.listening,
        &c.open,
        &c.handshaking,
        &c.outbox_bytes,
        &c.held_bytes,
        &t.sessions,
        &t.sessions_detached,
        &t.text_bytes,
        &t.kept_bytes,
        &b.up,
        &b.subscriptions,
        &b.canary,
        &b.pending_bytes,
        &t.claims,
        &t.directory,
        &t.forwards,
        &t.held_bytes,
        &metrics.router.waiting,
        &metrics.topic_sessions.bytes,
    ];
    let counters = [
        &c.accepted,
        &c.accept_errors,
        &c.upgraded,
        &c.messages_in,
        &c.messages_out,
        &c.bytes_in,
        &c.bytes_out,
        &c.pings,
        &c.pauses,
        &t.chunks,
        &t.chunks_repeated,
        &t.chunks_expired,
        &t.sessions_resumed,
        &t.resume_expired,
        &t.resume_evicted,
        &t.acks,
        &t.errors,
        &b.reconnects,
        &b.failed,
        &b.writes,
        &b.canary_retries,
        &b.streams.requeued,
        &b.streams.trimmed,
        &r.turns,
        &r.completions,
        &r.enters,
        &r.parks,
        &r.buffer_waits,
        &r.overflows,
        &metrics.router.wakes,
        &metrics.router.undelivered,
        &t.claims_timed_out,
        &t.sessions_moved_in,
        &t.sessions_moved_out,
        &t.forwards_refused,
        &t.results_forwarded,
        &metrics.topic_sessions.created,
        &metrics.topic_sessions.used,
        &metrics.topic_sessions.expired,
        &metrics.topic_sessions.deleted,
        &metrics.topic_sessions.abandoned,
    ];
    (1..).zip(gauges).for_each(|(value, gauge)| gauge.set(value));
    (101..).zip(counters).for_each(|(value, counter)| counter.add(value));
    let read: HashSet<u64> =
        GAUGES.iter().chain(&COUNTERS).map(|(_, _, read)| read(&metrics)).collect();
    let written: HashSet<u64> =
        (1..).take(gauges.len()).chain((101..).take(counters.len())).collect();
    assert_eq!(read, written);
}
