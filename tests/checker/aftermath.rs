//! What must be left when every client has gone: nothing.

use std::{
    sync::atomic::Ordering::SeqCst,
    time::{Duration, Instant},
};

use redis::Connection;

use super::faults::Cast;
use super::model::Violation;
use super::processes::shards;
use super::report::Stage;
use crate::support::{gateway::http_get, stage::commands};

/// Beyond the longest deadline, after which results are no longer forwarded between cores.
const PATIENCE: Duration = Duration::from_secs(20);

/// Every gauge of things that are open.
const GAUGES: [&str; 13] = [
    "connections",
    "handshaking",
    "sessions",
    "sessions_detached",
    "session_text_bytes",
    "redis_subscriptions",
    "broker_pending_bytes",
    "outbox_bytes",
    "held_bytes",
    "kept_bytes",
    "session_claims",
    "session_directory",
    "session_forwards",
];

/// Those of the lanes between the cores.
const LANES: [&str; 2] = ["claims_held_bytes", "router_waiting"];

/// Counters that the table shows, summed over the gateways as they are at the end.
const COUNTERS: [(&str, &str); 8] = [
    ("gateways: chunks expired", "chunks_expired_total"),
    ("gateways: sessions resumed", "sessions_resumed_total"),
    ("gateways: sessions moved", "sessions_moved_in_total"),
    ("gateways: results forwarded", "results_forwarded_total"),
    ("gateways: resume expired", "resume_expired_total"),
    ("gateways: resume evicted", "resume_evicted_total"),
    ("gateways: Redis reconnects", "redis_reconnects_total"),
    ("gateways: stream requeued", "stream_requeued_total"),
];

const OUTCOMES: [(&str, &str); 4] = [
    ("gateways: results duplicate", "duplicate"),
    ("gateways: results late", "late"),
    ("gateways: results orphaned", "orphaned"),
    ("gateways: results malformed", "malformed"),
];

/// Looks at the gateways, at Redis and at the logs.
pub fn check(stage: &Stage, cast: &mut Cast) {
    let deadline = Instant::now() + stage.mode.chunk_deadline() + PATIENCE;
    let mut redis = commands(&cast.redis);
    loop {
        let left = left(stage, &mut redis);
        if left.is_empty() {
            break;
        }
        if Instant::now() > deadline {
            left.into_iter().for_each(|what| stage.violated(Violation(what)));
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    stage.count("chunks missing, answered later", stage.answered_late());
    for (door, gateway) in stage.doors.iter().enumerate() {
        let text = scrape(gateway.admin);
        for (what, counter) in COUNTERS {
            stage.count(what, sum(&text, counter, ""));
        }
        for (what, outcome) in OUTCOMES {
            stage.count(what, sum(&text, "results_total", &format!("outcome=\"{outcome}\"")));
        }
        let expired = sum(&text, "chunks_expired_total", "");
        let missing = stage.missing(door, gateway.life.load(SeqCst));
        if missing > expired {
            let what = format!("gateway {door}: {missing} acked chunks missing, {expired} expired");
            stage.violated(Violation(what));
        }
    }
    if std::env::var_os("CHECKER_TIMELINE").is_some() {
        for process in &cast.workers {
            println!("{}", process.last_words());
        }
    }
    for process in cast.gateways.iter_mut().chain(&mut cast.workers) {
        for line in process.panics() {
            stage.violated(Violation(line));
        }
        if let Err(what) = process.kill() {
            stage.violated(Violation(format!("{what}\n{}", process.last_words())));
        }
    }
}

/// What is still there, one line each.
fn left(stage: &Stage, redis: &mut Connection) -> Vec<String> {
    let kept = if stage.mode.per_shard { shards() } else { 0 };
    let mut left = Vec::new();
    for (door, gateway) in stage.doors.iter().enumerate() {
        let text = scrape(gateway.admin);
        for gauge in GAUGES.iter().chain(&LANES) {
            let kept = if *gauge == "redis_subscriptions" { kept } else { 0 };
            let count = sum(&text, gauge, "");
            if count != kept {
                left.push(format!("gateway {door}: {gauge} is {count}, not {kept}"));
            }
        }
    }
    let channels: Vec<String> = query(redis, &["PUBSUB", "CHANNELS"]);
    if channels.len() as u64 != 2 * kept {
        left.push(format!("{} channels in Redis: {:?}", channels.len(), channels.first()));
    }
    let waiting = match stage.mode.stream {
        true => waiting_in_stream(redis),
        false => query(redis, &["LLEN", "asr_chunk_queue"]),
    };
    if waiting > 0 {
        left.push(format!("{waiting} tasks are left in Redis"));
    }
    left
}

/// Unread or unacknowledged entries. The length says nothing: what is done is trimmed by whole
/// nodes, and the last one read stays. Nor does the lag: Redis 7.0 miscounts it when it loads an AOF
/// that it has rewritten, so what stands behind the last entry read is counted here.
fn waiting_in_stream(redis: &mut Connection) -> u64 {
    type Group = std::collections::HashMap<String, redis::Value>;
    let groups: Vec<Group> = query(redis, &["XINFO", "GROUPS", "asr_tasks"]);
    let [group] = &groups[..] else { panic!("not the one group of the workers: {groups:?}") };
    let (Some(redis::Value::Int(pending)), Some(redis::Value::BulkString(last))) =
        (group.get("pending"), group.get("last-delivered-id"))
    else {
        panic!("no numbers of the group: {group:?}");
    };
    let after = format!("({}", String::from_utf8_lossy(last));
    let unread: Vec<redis::Value> = query(redis, &["XRANGE", "asr_tasks", &after, "+"]);
    *pending as u64 + unread.len() as u64
}

fn query<T: redis::FromRedisValue>(redis: &mut Connection, words: &[&str]) -> T {
    redis::cmd(words[0]).arg(&words[1..]).query(redis).expect("Redis lives")
}

fn scrape(admin: std::net::SocketAddr) -> String {
    http_get(admin, "/metrics").1
}

/// A family, summed over the shards, of those series that have the label.
fn sum(text: &str, family: &str, label: &str) -> u64 {
    let prefix = format!("ringgate_{family}{{");
    let series = text.lines().filter(|line| line.starts_with(&prefix) && line.contains(label));
    let values: Vec<u64> =
        series.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
    assert!(!values.is_empty(), "no {family} in:\n{text}");
    values.into_iter().sum()
}
