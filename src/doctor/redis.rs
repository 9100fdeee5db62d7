//! What Redis is and how it is set up: one connection, questions only (PING, INFO, CONFIG GET).

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use redis::{Client, Connection, RedisResult};

use super::{
    Check, Level, Question, bytes,
    host::{Host, sysctl_path},
    wanted::Wanted,
};
use crate::{
    broker::redis::{Address, Target},
    config::RedisUrl,
    limits::{DOCTOR_PINGS, WORKER_ANSWER_TIMEOUT_MS, WORKER_CONNECT_TIMEOUT_MS},
};

/// Median of a PING past which Redis is not near: every ack of a chunk waits as long.
const PING_MAX_US: u64 = 1_000;
/// `client-output-buffer-limit pubsub`: at once, and for a minute. Redis's own; what a link
/// asks for at once is a thirtieth of it (`limits::SUBSCRIBE_WINDOW`).
const PUBSUB_HARD_BYTES: u64 = 32 << 20;
const PUBSUB_SOFT_BYTES: u64 = 8 << 20;
/// The settings that are asked for.
const SETTINGS: [&str; 6] = [
    "client-output-buffer-limit",
    "maxmemory",
    "maxmemory-policy",
    "maxclients",
    "appendonly",
    "appendfsync",
];

/// What Redis said of itself.
pub(super) struct Facts {
    pub(super) ping_us: u64,
    pub(super) version: String,
    /// A managed Redis may refuse `CONFIG`: the error then.
    pub(super) settings: Result<BTreeMap<String, String>, String>,
}

pub(super) fn checks(question: &Question<'_>, url: &RedisUrl) -> Vec<Check> {
    match facts(url) {
        Ok(facts) => {
            let mut checks = judge(&facts, &question.wanted);
            checks.extend(is_here(url).then(|| overcommit(question.host)));
            checks
        }
        Err(error) => vec![
            Check::new("redis", Level::Fail, error)
                .wants(format!("an answer from {url}"))
                .fix("start it, or give --redis the right URL"),
        ],
    }
}

fn facts(url: &RedisUrl) -> RedisResult<Facts> {
    let client = Client::open(url.expose())?;
    let timeout = Duration::from_millis(WORKER_CONNECT_TIMEOUT_MS);
    let mut redis = client.get_connection_with_timeout(timeout)?;
    let timeout = Some(Duration::from_millis(WORKER_ANSWER_TIMEOUT_MS));
    redis.set_read_timeout(timeout)?;
    redis.set_write_timeout(timeout)?;
    let ping_us = ping_us(&mut redis)?;
    let info: String = redis::cmd("INFO").arg("server").query(&mut redis)?;
    let version = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
    let version = version.unwrap_or("unknown").trim().to_owned();
    let mut settings = BTreeMap::new();
    for name in SETTINGS {
        let answer: RedisResult<BTreeMap<String, String>> =
            redis::cmd("CONFIG").arg("GET").arg(name).query(&mut redis);
        match answer {
            Ok(answer) => settings.extend(answer),
            Err(error) => {
                return Ok(Facts { ping_us, version, settings: Err(error.to_string()) });
            }
        }
    }
    Ok(Facts { ping_us, version, settings: Ok(settings) })
}

/// The median.
fn ping_us(redis: &mut Connection) -> RedisResult<u64> {
    let mut times = Vec::with_capacity(DOCTOR_PINGS);
    for _ in 0..DOCTOR_PINGS {
        let start = Instant::now();
        redis::cmd("PING").exec(redis)?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    let median = times.get(DOCTOR_PINGS / 2).copied().unwrap_or_default();
    Ok(u64::try_from(median.as_micros()).unwrap_or(u64::MAX))
}

/// The part that asks nobody.
pub(super) fn judge(facts: &Facts, wanted: &Wanted) -> Vec<Check> {
    let mut checks = vec![ping(facts.ping_us), version(&facts.version)];
    match &facts.settings {
        Ok(settings) => {
            let get = |name: &str| settings.get(name).map_or("", String::as_str);
            checks.push(output_buffer(get("client-output-buffer-limit")));
            checks.push(policy(get("maxmemory"), get("maxmemory-policy")));
            checks.push(clients(get("maxclients"), wanted));
            checks.push(durability(get("appendonly"), get("appendfsync")));
        }
        Err(error) => checks.push(
            Check::new("redis settings", Level::Warn, error)
                .wants("noeviction, and the rest of tuning/redis.conf")
                .fix("allow this user CONFIG GET, or look at what the provider has set"),
        ),
    }
    checks
}

fn ping(median_us: u64) -> Check {
    let level = if median_us <= PING_MAX_US { Level::Ok } else { Level::Warn };
    Check::new("redis ping", level, format!("{median_us} us, median of {DOCTOR_PINGS}"))
        .wants(format!("{PING_MAX_US} us or less"))
        .fix("a Redis nearer to the gateway, or with a core of its own")
}

/// docs/queues.md says what each version lacks.
fn version(text: &str) -> Check {
    let mut parts = text.split('.').map(str::parse::<u32>);
    let found = parts.next().and_then(Result::ok).zip(parts.next().and_then(Result::ok));
    let (level, note) = match found {
        None => (Level::Warn, Some("not a version of Redis: is it compatible?")),
        Some(found) if found < (6, 0) => (Level::Fail, Some("no RESP3: HELLO 3 is refused")),
        Some(found) if found < (6, 2) => (Level::Warn, Some("lists work, streams do not")),
        Some(found) if found < (7, 0) => (Level::Warn, Some("a stream's depth is not exact")),
        Some(found) if found < (7, 2) => (Level::Ok, Some("7.2 counts a stream's workers exactly")),
        Some(_) => (Level::Ok, None),
    };
    let check = Check::new("redis version", level, text).wants("7.0 or newer").fix("upgrade Redis");
    match note {
        Some(note) => check.note(note),
        None => check,
    }
}

/// `normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60`.
fn output_buffer(text: &str) -> Check {
    let mut words = text.split_whitespace().skip_while(|word| *word != "pubsub").skip(1);
    let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
    let name = "redis output buffer";
    let check = match (number(), number(), number()) {
        (Some(hard), Some(soft), Some(seconds)) => {
            // 0 is no limit: then it is Redis that a gateway which stands still can fill.
            let is_enough = |limit: u64, least: u64| limit == 0 || limit >= least;
            let is_ok = is_enough(hard, PUBSUB_HARD_BYTES) && is_enough(soft, PUBSUB_SOFT_BYTES);
            let level = if is_ok && hard > 0 { Level::Ok } else { Level::Warn };
            Check::new(name, level, format!("{} / {}, {seconds} s", bytes(hard), bytes(soft)))
        }
        _ => Check::new(name, Level::Warn, format!("not understood: {text:?}")),
    };
    let least = "client-output-buffer-limit 'pubsub 33554432 8388608 60'";
    check.wants("32 MiB / 8192 KiB or more for pubsub, bounded").fix(format!("CONFIG SET {least}"))
}

/// Queues have no time to live, and nobody would be told that one is gone.
fn policy(maxmemory: &str, policy: &str) -> Check {
    let is_bounded = maxmemory.parse::<u64>().is_ok_and(|bytes| bytes > 0);
    let level = match policy {
        "noeviction" => Level::Ok,
        // Only what has a time to live: results that a client may still come back for.
        other if other.starts_with("volatile-") || !is_bounded => Level::Warn,
        _ => Level::Fail,
    };
    let bound = match maxmemory.parse() {
        Ok(0) => "no maxmemory".to_owned(),
        Ok(limit) => format!("maxmemory {}", bytes(limit)),
        Err(_) => format!("maxmemory {maxmemory:?}"),
    };
    Check::new("redis maxmemory-policy", level, format!("{policy}, {bound}"))
        .wants("noeviction")
        .note("anything else may evict queues or results")
        .fix("CONFIG SET maxmemory-policy noeviction")
}

fn clients(text: &str, wanted: &Wanted) -> Check {
    let need = wanted.redis_clients();
    let level = match text.parse::<u64>() {
        Ok(found) if found >= need => Level::Ok,
        _ => Level::Warn,
    };
    Check::new("redis maxclients", level, text)
        .wants(format!("{need} or more, workers included"))
        .fix(format!("CONFIG SET maxclients {need}"))
}

/// What an ack to a client is worth when Redis itself dies.
fn durability(appendonly: &str, appendfsync: &str) -> Check {
    let (level, value, note) = match (appendonly, appendfsync) {
        ("yes", "always") => (Level::Ok, "yes, fsync always", "acknowledged is on the disk"),
        ("yes", "everysec") => {
            (Level::Ok, "yes, fsync every second", "a crash of the host loses up to a second")
        }
        ("yes", _) => {
            (Level::Warn, "yes, fsync when the kernel likes", "a crash of the host loses more")
        }
        _ => (Level::Warn, "no", "acknowledged is in memory alone: what a crash of Redis loses"),
    };
    Check::new("redis appendonly", level, value)
        .wants("yes, everysec or always")
        .note(note)
        .fix("CONFIG SET appendonly yes; CONFIG SET appendfsync everysec")
}

fn is_here(url: &RedisUrl) -> bool {
    let target = Target::parse(url.expose());
    let local = |host: &str| host == "localhost" || host.starts_with("127.") || host == "::1";
    target.is_ok_and(|target| match target.address {
        Address::Tcp { host, .. } => local(&host),
        Address::Unix(_) => true,
    })
}

/// Rewriting the append-only file forks: it is refused where the copy would not fit, although
/// almost none of it is ever made.
fn overcommit(host: &Host) -> Check {
    let name = "redis overcommit_memory";
    let check = match host.number::<u64>(&sysctl_path("vm.overcommit_memory")) {
        Ok(found) => Check::new(name, if found == 1 { Level::Ok } else { Level::Warn }, found)
            .fix("sysctl -w vm.overcommit_memory=1"),
        Err(why) => Check::unread(name, &why),
    };
    check.wants("1, on the host of Redis")
}
