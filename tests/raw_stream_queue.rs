//! The raw dialect over a stream of Redis: what stands in an entry, and what becomes of one
//! whose worker died.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use serde_json::{Value, json};
use support::{
    client::Client,
    gateway::TestGateway,
    redis::RedisServer,
    stage::{commands, gateway_on, publish},
};
use tungstenite::Message;

const STREAM: &str = r#"
    [[route]]
    path = "/ws/raw"
    kind = "tasks"
    dialect = "raw"
    queue = { mode = "stream", key = "raw_tasks", group = "raw_workers", claim_idle = "200ms" }
    chunk_deadline = "CHUNK_DEADLINE"
    resume_ms = 0
"#;

/// An entry of the stream, as a worker reads it.
struct Entry {
    id: String,
    fields: Vec<(String, String)>,
}

impl Entry {
    fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(field, _)| field == name);
        found.map(|(_, value)| value.as_str())
    }

    fn task(&self) -> Value {
        serde_json::from_str(self.field("payload").expect("a payload")).expect("a task is JSON")
    }
}

fn started(deadline: &str) -> (RedisServer, TestGateway, redis::Connection) {
    let redis = RedisServer::start();
    let file = STREAM.replace("CHUNK_DEADLINE", deadline);
    let gateway = gateway_on(&redis, "0-1", &[], Some(&file));
    gateway.until("broker up", |g| g.each(|m| m.broker.up.get()).iter().all(|up| *up == 1));
    let commands = commands(&redis);
    (redis, gateway, commands)
}

/// Takes up to ten entries, as soon as there are some.
fn take(redis: &mut redis::Connection, worker: &str) -> Vec<Entry> {
    type Entries = Vec<(String, Vec<String>)>;
    let mut read = redis::cmd("XREADGROUP");
    read.arg(&["GROUP", "raw_workers", worker, "COUNT", "10", "BLOCK", "5000"]);
    read.arg(&["STREAMS", "raw_tasks", ">"]);
    let streams: Option<Vec<(String, Entries)>> = read.query(redis).expect("read");
    let entries = streams.into_iter().flatten().flat_map(|(_, entries)| entries);
    let pairs =
        |flat: &[String]| flat.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
    entries.map(|(id, flat)| Entry { id, fields: pairs(&flat) }).collect()
}

/// Answers with the task's own data, and acknowledges.
fn answer(redis: &mut redis::Connection, entry: &Entry) {
    let task = entry.task();
    let id = task["session_id"].as_str().expect("an id");
    let result = json!({"seq": task["seq"], "n": 0, "data": task["data"], "done": true});
    assert_eq!(publish(redis, id, result.to_string().as_bytes()), 1);
    redis::cmd("XACK").arg(&["raw_tasks", "raw_workers", &entry.id]).exec(redis).unwrap();
}

fn pending(redis: &mut redis::Connection) -> u64 {
    let mut pending = redis::cmd("XPENDING");
    let summary: (u64, redis::Value, redis::Value, redis::Value) =
        pending.arg(&["raw_tasks", "raw_workers"]).query(redis).unwrap();
    summary.0
}

fn connected(gateway: &TestGateway) -> (Client, String) {
    let mut client = Client::connect(gateway.address, "/ws/raw");
    let open = client.receive();
    (client, open["session_id"].as_str().expect("an id").to_owned())
}

#[test]
fn a_task_is_one_entry_and_its_result_comes_back() {
    let (_redis, gateway, mut commands) = started("60s");
    let (mut client, id) = connected(&gateway);
    let messages = [Message::text("a \"b\" \u{1F600}"), Message::binary(vec![0, 255, 7])];
    for (seq, message) in messages.into_iter().enumerate() {
        client.socket.send(message.clone()).expect("sent");
        let entries = take(&mut commands, "w");
        assert_eq!(entries.len(), 1);
        let names: Vec<&str> = entries[0].fields.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["type", "task_id", "origin", "payload"]);
        assert_eq!(entries[0].field("type"), Some("raw"));
        assert_eq!(entries[0].field("task_id"), Some(id.as_str()));
        assert_eq!(entries[0].field("origin"), Some("ringgate"));
        let task = entries[0].task();
        let (kind, data) = match &message {
            Message::Text(text) => ("text", text.as_str().to_owned()),
            other => ("binary", base64_simd::STANDARD.encode_to_string(other.clone().into_data())),
        };
        assert_eq!((&task["session_id"], &task["seq"]), (&json!(id), &json!(seq)));
        assert_eq!((&task["kind"], &task["data"]), (&json!(kind), &json!(data)));
        assert!(task["timestamp"].is_u64(), "{task}");
        answer(&mut commands, &entries[0]);
        assert_eq!(client.socket.read().expect("a result"), Message::text(data));
    }
    assert_eq!(pending(&mut commands), 0);
    client.close();
    gateway.until_quiet();
}

#[test]
fn tasks_that_a_worker_lost_are_queued_again_as_they_were() {
    let (_redis, gateway, mut commands) = started("60s");
    let (mut client, _) = connected(&gateway);
    for n in 0..4 {
        client.socket.send(Message::text(n.to_string())).expect("sent");
    }
    gateway.until("queued", |g| g.sum(|m| m.tasks.chunks.get()) == 4);
    let lost = take(&mut commands, "dead");
    assert_eq!(lost.len(), 4);
    gateway.until("queued again", |g| g.sum(|m| m.broker.streams.requeued.get()) == 4);
    let mut again = Vec::new();
    while again.len() < lost.len() {
        again.extend(take(&mut commands, "alive"));
    }
    for (before, again) in lost.iter().zip(&again) {
        assert_eq!(again.field("requeued"), Some("1"));
        assert_eq!(again.fields[1..], before.fields, "nothing else has changed");
        answer(&mut commands, again);
    }
    for n in 0..4 {
        assert_eq!(client.socket.read().expect("a result"), Message::text(n.to_string()));
    }
    let streams = |g: &TestGateway| {
        g.sum(|m| m.broker.streams.malformed.get() + m.broker.streams.abandoned.get())
    };
    assert_eq!((streams(&gateway), pending(&mut commands)), (0, 0), "none was taken for junk");
    client.close();
    gateway.until_quiet();
}

/// A task that kills its worker is given up after five times, and its client hears of it.
#[test]
fn a_task_that_nobody_survives_is_abandoned() {
    let (_redis, gateway, mut commands) = started("8s");
    let (mut client, _) = connected(&gateway);
    client.socket.send(Message::text("poison")).expect("sent");
    for times in 0..=5u64 {
        let entries = take(&mut commands, "victim");
        assert_eq!(entries.len(), 1);
        let requeued = (times > 0).then(|| times.to_string());
        assert_eq!(entries[0].field("requeued"), requeued.as_deref());
    }
    gateway.until("abandoned", |g| g.sum(|m| m.broker.streams.abandoned.get()) == 1);
    assert_eq!(gateway.sum(|m| m.broker.streams.malformed.get()), 0);
    assert_eq!(pending(&mut commands), 0);
    let error = client.receive();
    assert_eq!((&error["code"], &error["seq"]), (&json!("deadline"), &json!(0)), "{error}");
    client.close();
    gateway.until_quiet();
}
