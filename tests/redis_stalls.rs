//! What stops Redis, or the way to it, for a while: afterwards everything goes on at once,
//! and nobody was told that it would not.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::time::{Duration, Instant};

use serde_json::json;
use support::{client::Client, gateway::TestGateway, redis::RedisServer, stage::gateway_on};

const ASR: &str = "/ws/asr";

fn is_ready(gateway: &TestGateway) -> bool {
    gateway.admin_get("/readyz").0.contains(" 200 ")
}

/// More starts than may have their SUBSCRIBE on the way: those that wait must not stop the
/// link, which once took the next look at what is to be restored for something to write.
#[test]
fn starts_past_the_window_of_subscriptions_go_on_when_redis_does() {
    const SESSIONS: u64 = 6_000;
    let file = "[[route]]\npath = \"/ws/asr\"\nkind = \"tasks\"\nresume_ms = 0\n\
                sessions_per_connection = 10_000\n";
    let redis = RedisServer::start();
    let gateway = gateway_on(&redis, "0", &[("outbox-bytes", "64MiB")], Some(file));
    gateway.until("ready", is_ready);
    let mut client = Client::connect(gateway.address, ASR);
    redis.freeze();
    for number in 0..SESSIONS {
        client.send(json!({"action": "start", "session_id": format!("s{number}")}));
    }
    gateway.until("all asked for", |g| g.sum(|m| m.broker.subscriptions.get()) == SESSIONS);
    redis.thaw();
    let thawed = Instant::now();
    for _ in 0..SESSIONS {
        assert_eq!(client.receive()["status"], "session_started");
    }
    assert!(thawed.elapsed() < Duration::from_secs(4), "took {:?}", thawed.elapsed());
    assert_eq!(gateway.sum(|m| m.broker.reconnects.get()), 0);
}
