//! What is said of which Redis.

use std::collections::BTreeMap;

use super::*;
use crate::doctor::redis::{Facts, judge};

/// A Redis as `tuning/redis.conf` sets it up, with some settings changed.
fn report(version: &str, changed: &[(&str, &str)]) -> Report {
    let mut settings: BTreeMap<String, String> = [
        (
            "client-output-buffer-limit",
            "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
        ),
        ("maxmemory", "1073741824"),
        ("maxmemory-policy", "noeviction"),
        ("maxclients", "10000"),
        ("appendonly", "yes"),
        ("appendfsync", "everysec"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    settings.extend(changed.iter().map(|(name, value)| ((*name).into(), (*value).into())));
    let facts = Facts { ping_us: 80, version: version.into(), settings: Ok(settings) };
    judged(&facts)
}

fn judged(facts: &Facts) -> Report {
    let wanted = Wanted { connections: CONNECTIONS, shards: 2 };
    let checks = judge(facts, &wanted);
    assert!(checks.iter().all(|check| !check.value.is_empty() && !check.wanted.is_empty()));
    Report { connections: CONNECTIONS, shards: 2, checks, left_out: Vec::new() }
}

#[test]
fn a_good_redis_has_nothing_to_complain_about() {
    assert_eq!(report("7.4.1", &[]).complaints(), Vec::<&str>::new());
}

#[test]
fn each_version_lacks_what_it_lacks() {
    let level = |version| report(version, &[]).get("redis version").level;
    assert_eq!(level("5.0.14"), Level::Fail);
    assert_eq!([level("6.0.16"), level("6.2.7"), level("unknown")], [Level::Warn; 3]);
    assert_eq!([level("7.0.15"), level("7.2.0"), level("8.0.1")], [Level::Ok; 3]);
    assert!(report("7.0.15", &[]).get("redis version").note.is_some(), "workers of a stream");
}

#[test]
fn queues_must_not_be_evicted() {
    let level = |policy, bound| {
        let changed = [("maxmemory-policy", policy), ("maxmemory", bound)];
        report("7.4.1", &changed).get("redis maxmemory-policy").level
    };
    assert_eq!(level("allkeys-lru", "1073741824"), Level::Fail);
    assert_eq!(level("allkeys-lru", "0"), Level::Warn, "nothing is evicted until it is bounded");
    assert_eq!(level("volatile-lru", "1073741824"), Level::Warn, "results have a time to live");
    assert_eq!(level("noeviction", "0"), Level::Ok);
}

#[test]
fn the_rest_is_warned_about() {
    for (setting, value, name) in [
        ("client-output-buffer-limit", "normal 0 0 0 pubsub 0 0 0", "redis output buffer"),
        (
            "client-output-buffer-limit",
            "normal 0 0 0 pubsub 33554432 1048576 60",
            "redis output buffer",
        ),
        ("client-output-buffer-limit", "nonsense", "redis output buffer"),
        ("maxclients", "100", "redis maxclients"),
        ("appendonly", "no", "redis appendonly"),
        ("appendfsync", "no", "redis appendonly"),
    ] {
        let report = report("7.4.1", &[(setting, value)]);
        assert_eq!(report.complaints(), [name], "{setting} {value}");
        assert_eq!(report.get(name).level, Level::Warn);
    }
}

#[test]
fn a_slow_redis_and_a_secretive_one_are_told() {
    let facts =
        Facts { ping_us: 1_001, version: "7.4.1".into(), settings: Err("NOPERM".to_owned()) };
    let report = judged(&facts);
    assert_eq!(report.complaints(), ["redis ping", "redis settings"]);
    assert_eq!(report.get("redis settings").value, "NOPERM");
}
