//! A gateway with topics is ready when a message has come through the pub/sub of a real
//! Redis, on every connection anew.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use support::{
    gateway::TestGateway,
    log,
    redis::RedisServer,
    stage::{commands, gateway_on},
};

const TOPICS: &str = "[[route]]\npath = \"/ws/topics\"\nkind = \"topics\"\n";
const TASKS: &str = "[[route]]\npath = \"/ws/asr\"\nkind = \"tasks\"\n";

fn readyz(gateway: &TestGateway) -> (String, String) {
    let (head, body) = gateway.admin_get("/readyz");
    (head.split(' ').nth(1).expect("a status").to_owned(), body)
}

fn channels(redis: &RedisServer) -> Vec<String> {
    redis::cmd("PUBSUB").arg("CHANNELS").query(&mut commands(redis)).expect("a list")
}

/// How often Redis was asked for it.
fn calls(redis: &RedisServer, command: &str) -> u64 {
    let mut info = redis::cmd("INFO");
    let stats: String = info.arg("commandstats").query(&mut commands(redis)).expect("stats");
    let prefix = format!("cmdstat_{command}:calls=");
    let line = stats.lines().find_map(|line| line.strip_prefix(&prefix));
    line.map_or(0, |rest| rest.split(',').next().expect("a count").parse().expect("a number"))
}

/// Makes, or changes, the user `app`, who may use pub/sub on the channels `allowed`.
fn set_user(redis: &RedisServer, allowed: &str) {
    let rules = ["SETUSER", "app", "on", ">pw", "~*", "+@all", "resetchannels", allowed];
    redis::cmd("ACL").arg(&rules).exec(&mut commands(redis)).expect("a user");
}

fn gateway_of_app(redis: &RedisServer, file: &str) -> TestGateway {
    let url = format!("redis://app:pw@127.0.0.1:{}/0", redis.port());
    TestGateway::start_with("0-1", &[("redis", &url)], Some(file))
}

#[test]
fn every_connection_is_proven_and_nothing_stays_subscribed() {
    let mut redis = RedisServer::start();
    let gateway = gateway_on(&redis, "0-1", &[], Some(TOPICS));
    gateway.until("ready", |g| readyz(g).0 == "200");
    assert_eq!(gateway.each(|m| m.broker.canary.get()), [1, 1]);
    gateway.until("given up", |_| channels(&redis).is_empty());
    assert_eq!([calls(&redis, "publish"), calls(&redis, "subscribe")], [2, 2], "one a shard");
    let (_, metrics) = gateway.admin_get("/metrics");
    assert!(metrics.contains("\nringgate_redis_canary{shard=\"1\"} 1\n"), "{metrics}");

    redis.kill();
    gateway.until("unproven", |g| g.each(|m| m.broker.canary.get()) == [0, 0]);
    redis.restart();
    gateway.until("ready again", |g| readyz(g).0 == "200");
    assert_eq!(gateway.each(|m| m.broker.canary.get()), [1, 1]);
    assert_eq!(calls(&redis, "publish"), 2, "one a connection");
    gateway.until("given up again", |_| channels(&redis).is_empty());
    assert_eq!(gateway.sum(|m| m.broker.canary_retries.get()), 0);
}

/// After a restart everything else works, and the gateway is not ready until what it
/// publishes to itself comes.
#[test]
fn after_a_restart_the_gateway_is_ready_only_with_its_canary() {
    log::collect();
    let mut redis = RedisServer::start();
    set_user(&redis, "&*");
    let gateway = gateway_of_app(&redis, &format!("{TASKS}{TOPICS}"));
    gateway.until("ready", |g| readyz(g).0 == "200");

    redis.kill();
    redis.restart();
    set_user(&redis, "&asr_result_*");
    gateway.until("up", |g| g.each(|m| m.broker.up.get()) == [1, 1]);
    gateway.until("refused", |g| readyz(g).1.contains("NOPERM"));
    let (status, body) = readyz(&gateway);
    assert_eq!(status, "503", "{body}");
    for shard in 0..2 {
        let reason = format!("shard {shard}: no canary message has come through Redis pub/sub yet");
        assert!(body.contains(&reason), "{body}");
    }
    assert!(body.contains("ACL SETUSER app ") && body.contains("&ringgate:*"), "{body}");
    gateway
        .until("tried again", |g| g.each(|m| m.broker.canary_retries.get()).iter().all(|n| *n > 1));
    let lines = log::lines_with(&[&format!(":{}/", redis.port()), "&ringgate:*"]);
    assert_eq!(lines.len(), 2, "once a shard: {lines:?}");
    assert_eq!(channels(&redis), [""; 0]);

    set_user(&redis, "&ringgate:*");
    gateway.until("ready", |g| readyz(g).0 == "200");
    gateway.until("given up", |_| channels(&redis).is_empty());
}

#[test]
fn without_a_topics_route_no_canary_is_needed() {
    log::collect();
    let redis = RedisServer::start();
    set_user(&redis, "&asr_result_*");
    let gateway = gateway_of_app(&redis, TASKS);
    gateway.until("ready", |g| readyz(g).0 == "200");
    assert_eq!([calls(&redis, "publish"), calls(&redis, "subscribe")], [0, 0]);
    assert_eq!(log::lines_with(&[&format!(":{}/", redis.port())]), [""; 0]);
}
