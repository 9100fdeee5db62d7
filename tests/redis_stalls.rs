//! What stops Redis, or the way to it, for a while: afterwards everything goes on at once,
//! and nobody was told that it would not.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::time::{Duration, Instant};

use serde_json::json;
use support::{
    client::{Client, silence},
    gateway::TestGateway,
    redis::RedisServer,
    stage::{commands, gateway_on, publish, result},
};

const ASR: &str = "/ws/asr";

fn is_ready(gateway: &TestGateway) -> bool {
    gateway.admin_get("/readyz").0.contains(" 200 ")
}

fn config(redis: &RedisServer, values: &[&str]) {
    redis::cmd("CONFIG").arg("SET").arg(values).exec(&mut commands(redis)).unwrap();
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

/// A script that runs for long: what Redis answers meanwhile refuses no command as such.
#[test]
fn a_script_that_keeps_redis_busy() {
    let redis = RedisServer::start();
    let gateway = gateway_on(&redis, "0", &[], None);
    gateway.until("ready", is_ready);
    let mut client = Client::connect(gateway.address, ASR);
    client.start("s");
    config(&redis, &["busy-reply-threshold", "20"]);
    let mut runs = commands(&redis);
    let script = std::thread::spawn(move || {
        let endless = redis::cmd("EVAL").arg("while true do end").arg(0).exec(&mut runs);
        assert!(endless.is_err(), "it was killed");
    });
    gateway.until("busy", |_| redis::cmd("GET").arg("x").exec(&mut commands(&redis)).is_err());
    client.chunk("s", 0, &silence(1));
    client.send(json!({"action": "start", "session_id": "t"}));
    gateway.until("it is noticed", |g| !is_ready(g));
    redis::cmd("SCRIPT").arg("KILL").exec(&mut commands(&redis)).unwrap();
    script.join().unwrap();
    let mut answers = [client.receive(), client.receive()];
    answers.sort_by_key(|answer| answer["session_id"].to_string());
    assert_eq!(answers.map(|answer| answer["status"].clone()), ["received", "session_started"]);
    gateway.until("subscribed", |_| publish(&mut commands(&redis), "s", &result(0, "there")) == 1);
    assert_eq!(client.receive()["text"], "there");
    client.close();
}

/// No disk to save to: Redis refuses PING and every write until it is mended.
#[test]
fn a_full_disk() {
    let redis = RedisServer::start_with(&["--dbfilename", "there"]);
    let gateway = gateway_on(&redis, "0", &[], None);
    gateway.until("ready", is_ready);
    let mut client = Client::connect(gateway.address, ASR);
    client.start("s");
    // A directory in the place of its file is as good as a full disk.
    let directory: Vec<String> =
        redis::cmd("CONFIG").arg(&["GET", "dir"]).query(&mut commands(&redis)).unwrap();
    std::fs::create_dir_all(format!("{}/there/full", directory[1])).unwrap();
    config(&redis, &["save", "3600 1"]);
    redis::cmd("BGSAVE").exec(&mut commands(&redis)).unwrap();
    gateway.until("writes are refused", |_| {
        redis::cmd("SET").arg(&["x", "y"]).exec(&mut commands(&redis)).is_err()
    });
    client.chunk("s", 0, &silence(1));
    gateway.until("it is noticed", |g| g.admin_get("/readyz").1.contains("MISCONF"));
    config(&redis, &["stop-writes-on-bgsave-error", "no"]);
    assert_eq!(client.receive()["status"], "received");
    client.close();
}

/// A cluster without the queue's slot: not ready, rather than ready and refusing every task.
#[test]
fn a_cluster_that_does_not_have_the_queue() {
    let bus = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let bus = bus.to_string();
    let redis =
        RedisServer::start_with(&["--cluster-enabled", "yes", "--cluster-port", bus.as_str()]);
    let gateway = gateway_on(&redis, "0", &[], None);
    gateway.until("the reason", |g| g.admin_get("/readyz").1.contains("without cluster mode"));
    assert!(!is_ready(&gateway));
    let slots = ["ADDSLOTSRANGE", "0", "16383"];
    redis::cmd("CLUSTER").arg(&slots).exec(&mut commands(&redis)).unwrap();
    gateway.until("ready", is_ready);
}
