//! What Redis may refuse: each is one clear line in the log, a reason in `/readyz`, and the
//! right answer to clients.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use serde_json::json;
use support::{
    client::{Client, silence},
    gateway::TestGateway,
    log,
    redis::RedisServer,
    stage::{commands, gateway_on, publish, result},
};

const ASR: &str = "/ws/asr";
const STREAM: &str = r#"
    [[route]]
    path = "/ws/asr"
    kind = "tasks"
    queue = { mode = "stream" }
"#;

fn readyz(gateway: &TestGateway) -> (String, String) {
    let (head, body) = gateway.admin_get("/readyz");
    (head.split(' ').nth(1).expect("a status").to_owned(), body)
}

/// The gateway is not ready and says why, in one line of the log and to clients.
fn assert_refused(gateway: &TestGateway, port: u16, words: &[&str]) {
    gateway.until("the reason", |g| readyz(g).1.contains(words[0]));
    let (status, body) = readyz(gateway);
    assert_eq!(status, "503");
    words.iter().for_each(|word| assert!(body.contains(word), "{word} in {body}"));
    let refusal = Client::try_connect(gateway.address, ASR).err().expect("refused");
    assert_eq!((refusal.status, refusal.body["code"].as_str()), (503, Some("broker_unavailable")));
    assert_one_line(port, words[0]);
}

fn assert_one_line(port: u16, word: &str) {
    let lines = log::lines_with(&[&format!(":{port}/"), word]);
    assert_eq!(lines.len(), 1, "{lines:?}");
}

fn config(redis: &RedisServer, values: &[&str]) {
    redis::cmd("CONFIG").arg("SET").arg(values).exec(&mut commands(redis)).unwrap();
}

/// Only gateways say HELLO here.
fn until_tried_again(gateway: &TestGateway, redis: &RedisServer) {
    let attempts = || -> u64 {
        let mut info = redis::cmd("INFO");
        let stats: String = info.arg("commandstats").query(&mut commands(redis)).unwrap();
        let line = stats.lines().find(|line| line.starts_with("cmdstat_hello:"));
        line.and_then(|line| line.split(['=', ',']).nth(1)?.parse().ok()).unwrap_or(0)
    };
    let before = attempts();
    gateway.until("more attempts", |_| attempts() >= before + 2);
}

#[test]
fn a_key_of_another_type() {
    log::collect();
    let redis = RedisServer::start();
    redis::cmd("RPUSH").arg(&["asr_tasks", "x"]).exec(&mut commands(&redis)).unwrap();
    let gateway = gateway_on(&redis, "0", &[], Some(STREAM));
    assert_refused(&gateway, redis.port(), &["asr_tasks", "holds a list", "wants a stream"]);
    until_tried_again(&gateway, &redis);
    assert_one_line(redis.port(), "asr_tasks");
    redis::cmd("DEL").arg("asr_tasks").exec(&mut commands(&redis)).unwrap();
    gateway.until("ready", |g| readyz(g).0 == "200");
}

#[test]
fn a_wrong_password() {
    log::collect();
    let redis = RedisServer::start_with(&["--requirepass", "s3cret"]);
    let url = format!("redis://:wr0ng@127.0.0.1:{}/0", redis.port());
    let gateway = TestGateway::start("0", &[("redis", &url)]);
    assert_refused(&gateway, redis.port(), &["WRONGPASS", "password of the redis option"]);
    assert_eq!(log::lines_with(&["wr0ng"]), [""; 0]);
}

#[test]
fn a_database_that_is_not_there() {
    log::collect();
    let redis = RedisServer::start();
    let url = format!("redis://127.0.0.1:{}/99", redis.port());
    let gateway = TestGateway::start("0", &[("redis", &url)]);
    assert_refused(&gateway, redis.port(), &["database 99", "databases"]);
    until_tried_again(&gateway, &redis);
    assert_one_line(redis.port(), "database 99");
}

/// A primary that becomes a replica: what was not taken yet waits for the next primary.
#[test]
fn a_read_only_replica() {
    log::collect();
    let (redis, primary) = (RedisServer::start(), RedisServer::start());
    let gateway = gateway_on(&redis, "0", &[], None);
    gateway.until("ready", |g| readyz(g).0 == "200");
    let mut client = Client::connect(gateway.address, ASR);
    client.start("s");
    let port = primary.port().to_string();
    let replicate = ["127.0.0.1", port.as_str()];
    redis::cmd("REPLICAOF").arg(&replicate).exec(&mut commands(&redis)).unwrap();
    client.chunk("s", 0, &silence(1));
    gateway.until("it is noticed", |g| readyz(g).0 == "503");
    assert_refused(&gateway, redis.port(), &["its role is replica", "read-only", "primary"]);
    redis::cmd("REPLICAOF").arg(&["NO", "ONE"]).exec(&mut commands(&redis)).unwrap();
    gateway.until("ready", |g| readyz(g).0 == "200");
    assert_eq!(client.receive()["status"], "received");
    client.close();
}

#[test]
fn too_many_clients() {
    log::collect();
    let redis = RedisServer::start_with(&["--maxclients", "2"]);
    let others = [commands(&redis), commands(&redis)];
    let gateway = gateway_on(&redis, "0", &[], None);
    assert_refused(&gateway, redis.port(), &["max number of clients", "maxclients"]);
    drop(others);
    gateway.until("ready", |g| readyz(g).0 == "200");
    assert_one_line(redis.port(), "max number of clients");
}

#[test]
fn no_memory_left() {
    log::collect();
    for file in [None, Some(STREAM)] {
        let redis = RedisServer::start();
        let gateway = gateway_on(&redis, "0", &[], file);
        gateway.until("ready", |g| readyz(g).0 == "200");
        let mut client = Client::connect(gateway.address, ASR);
        client.start("s");
        config(&redis, &["maxmemory", "1"]);
        for index in 0..20 {
            client.chunk("s", index, &silence(1));
            let refused = client.receive();
            assert_eq!((&refused["type"], &refused["code"]), (&json!("error"), &json!("busy")));
            assert_eq!(refused["rejected_chunk"], index);
        }
        assert_eq!(readyz(&gateway).0, "200", "what was queued can be worked on");
        let lines = log::lines_with(&[&format!(":{}/", redis.port()), "OOM", "busy"]);
        assert_eq!(lines.len(), 1, "{lines:?}");
        config(&redis, &["maxmemory", "0"]);
        client.chunk("s", 0, &silence(1));
        assert_eq!(client.receive()["status"], "received");
        client.close();
    }
}

/// Redis cuts a subscriber off that it cannot get rid of its messages to.
#[test]
fn a_full_output_buffer() {
    log::collect();
    let redis = RedisServer::start();
    let gateway = gateway_on(&redis, "0", &[], None);
    gateway.until("ready", |g| readyz(g).0 == "200");
    let mut client = Client::connect(gateway.address, ASR);
    client.start("s");
    client.chunk("s", 0, &silence(1));
    assert_eq!(client.receive()["status"], "received");
    config(&redis, &["client-output-buffer-limit", "pubsub 1mb 1mb 1"]);
    let huge = vec![b' '; 32 << 20];
    publish(&mut commands(&redis), "s", &huge);
    gateway.until("back again", |g| g.sum(|m| m.broker.reconnects.get()) == 1);
    gateway.until("ready", |g| readyz(g).0 == "200");
    assert_one_line(redis.port(), "client-output-buffer-limit");
    // The session has not noticed.
    gateway.until("subscribed", |_| publish(&mut commands(&redis), "s", &result(0, "there")) == 1);
    assert_eq!(client.receive()["text"], "there");
    client.close();
}
