//! The load that the speech gateway failed under (systems, fault 15): 500 users, started
//! 10 ms apart, ten chunks each without a pause, over a real Redis.
//!
//! Complete, partial and failed are three figures: a session that ended without its text is
//! no success, and one that ended with half of it is not either.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use redis::Connection;
use ringgate::worker::{WorkOptions, redis as worker};
use serde_json::Value;
use support::{
    client::Client,
    crowd::{Crowd, raise_descriptors},
    gateway::TestGateway,
    redis::RedisServer,
};

const USERS: usize = 500;
const APART: Duration = Duration::from_millis(10);
const CHUNKS: u64 = 10;
const CHUNK_BYTES: usize = 3_200;

/// How a user's session ended.
#[derive(PartialEq, Debug)]
enum Ending {
    Complete,
    Partial(String),
    Failed(String),
}

#[test]
fn fault_15_complete_partial_and_failed_are_three_figures_for_500_users() {
    raise_descriptors();
    let server = RedisServer::start();
    let gateway = TestGateway::start("0,1", &[("redis", &server.url())]);
    gateway.until("both links up", |g| g.each(|m| m.broker.up.get()) == [1, 1]);
    let stop = Arc::new(AtomicBool::new(false));
    let worker = spawn_worker(server.url(), stop.clone());
    let mut redis = connect(&server);

    let address = gateway.address;
    let users = Crowd::start(USERS, APART, move |user| {
        let mut client = Client::connect(address, "/ws/asr");
        let ending = stream(&mut client, &format!("load-{user}"), user as i16);
        client.close();
        ending
    });
    let (mut links, mut sessions_max, mut per_shard) = (Vec::new(), 0, [0, 0]);
    let look = || {
        let sessions = gateway.each(|m| m.tasks.sessions.get());
        if sessions.iter().sum::<u64>() > 0 {
            links.push(link_count(&mut redis));
        }
        sessions_max = sessions_max.max(sessions.iter().sum());
        per_shard = [per_shard[0].max(sessions[0]), per_shard[1].max(sessions[1])];
    };
    let (endings, took) = users.watch(look, || Ending::Failed("panicked".to_owned()));

    let complete = endings.iter().filter(|e| matches!(e, Ending::Complete)).count();
    let partial = endings.iter().filter(|e| matches!(e, Ending::Partial(_))).count();
    let failed = endings.iter().filter(|e| matches!(e, Ending::Failed(_))).count();
    println!(
        "{USERS} users in {:.1} s: complete {complete}, partial {partial}, failed {failed}; \
         at most {sessions_max} sessions at once, {per_shard:?} by shard",
        took.as_secs_f64()
    );
    let first_bad = endings.iter().find(|ending| **ending != Ending::Complete);
    assert_eq!((complete, partial, failed), (USERS, 0, 0), "the first: {first_bad:?}");
    assert!(!links.is_empty(), "never looked while the load was on");
    assert!(links.iter().all(|count| *count == 2), "connections to Redis: {links:?}");
    let upgraded = gateway.each(|m| m.connections.upgraded.get());
    assert!(upgraded.iter().all(|count| *count > 0), "both shards have users: {upgraded:?}");
    assert_eq!(upgraded.iter().sum::<u64>(), USERS as u64);
    assert_eq!(gateway.sum(|m| m.tasks.sessions_complete.get()), USERS as u64);
    assert_eq!(gateway.sum(|m| m.tasks.chunks.get()), USERS as u64 * CHUNKS);
    assert_eq!(gateway.sum(|m| m.tasks.results.delivered.get()), USERS as u64 * CHUNKS);

    gateway.until_quiet();
    let channels: Vec<String> = query(&mut redis, &["PUBSUB", "CHANNELS"]);
    let patterns: u64 = query(&mut redis, &["PUBSUB", "NUMPAT"]);
    assert_eq!((channels, patterns), (Vec::new(), 0));
    assert_eq!(link_count(&mut redis), 2);
    stop.store(true, Relaxed);
    let tally = worker.join().expect("the worker's thread").expect("the worker");
    assert_eq!((tally.done, tally.lost), (USERS as u64 * CHUNKS, 0));
}

/// One session; what each answer may be and in which order is judged here.
fn stream(client: &mut Client, session: &str, level: i16) -> Ending {
    client.start(session);
    for index in 0..CHUNKS {
        client.chunk(session, index, &audio(level, index));
    }
    client.finish(session);
    let (messages, last) = client.until_final();
    let mut acked = HashMap::new();
    let mut texts: HashMap<u64, String> = HashMap::new();
    for message in messages.iter().chain([&last]) {
        if message["session_id"] != session {
            return Ending::Failed(format!("a message of another session: {message}"));
        }
    }
    for message in &messages {
        let Some(index) = message["chunk_index"].as_u64() else {
            return Ending::Failed(format!("no chunk_index: {message}"));
        };
        let repeated = match message["type"].as_str() {
            Some("ack") => acked.insert(index, ()).is_some(),
            Some("chunk_result") if !acked.contains_key(&index) => {
                return Ending::Failed(format!("a result before its ack: {message}"));
            }
            Some("chunk_result") => texts.insert(index, text_of(message)).is_some(),
            _ => return Ending::Failed(format!("unexpected: {message}")),
        };
        if repeated {
            return Ending::Failed(format!("twice: {message}"));
        }
    }
    let all: Vec<_> = (0..CHUNKS).filter_map(|index| texts.get(&index).cloned()).collect();
    if last["complete"] != true || all.len() as u64 != CHUNKS || acked.len() as u64 != CHUNKS {
        return Ending::Partial(format!("{} acks, {} results, {last}", acked.len(), all.len()));
    }
    let merged = text_of(&last);
    if all.iter().any(|text| text.is_empty() || !merged.contains(text.as_str())) {
        return Ending::Failed(format!("the merged text lacks one of {all:?}: {last}"));
    }
    Ending::Complete
}

/// A square wave of a user's own level, so that users' texts differ.
fn audio(user: i16, index: u64) -> Vec<u8> {
    let level = 500 + user * 50 + index as i16;
    let sample = |n: usize| if n.is_multiple_of(2) { level } else { -level };
    (0..CHUNK_BYTES / 2).flat_map(|n| sample(n).to_le_bytes()).collect()
}

fn text_of(message: &Value) -> String {
    message["text"].as_str().unwrap_or_default().to_owned()
}

fn spawn_worker(
    redis: String,
    stop: Arc<AtomicBool>,
) -> thread::JoinHandle<Result<ringgate::worker::Tally, worker::WorkerError>> {
    let options = worker::RedisWorkerOptions {
        redis,
        queue: "asr_chunk_queue".to_owned(),
        concurrency: 1,
        work: WorkOptions::default(),
    };
    thread::spawn(move || worker::run(options, stop))
}

fn connect(server: &RedisServer) -> Connection {
    redis::Client::open(server.url()).expect("a URL").get_connection().expect("Redis")
}

fn query<T: redis::FromRedisValue>(redis: &mut Connection, words: &[&str]) -> T {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    command.query(redis).expect("an answer")
}

/// Connections of the gateway, by the name that they give themselves.
fn link_count(redis: &mut Connection) -> usize {
    let list: String = query(redis, &["CLIENT", "LIST"]);
    list.lines().filter(|line| line.contains(" name=ringgate-")).count()
}
