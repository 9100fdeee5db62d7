//! A session of 2,000 chunks costs Redis one SUBSCRIBE (systems, fault 1: one for every
//! chunk, until there were no descriptors left).

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};

use redis::Connection;
use ringgate::worker::{WorkOptions, redis as worker};
use support::{client::Client, gateway::TestGateway, redis::RedisServer};

const CHUNKS: u64 = 2_000;
/// Sent before their answers are read.
const BATCH: u64 = 50;

#[test]
fn fault_1_one_subscribe_for_a_session_of_any_length() {
    let server = RedisServer::start();
    let gateway = TestGateway::start("0", &[("redis", &server.url())]);
    gateway.until("the link up", |g| g.sum(|m| m.broker.up.get()) == 1);
    let stop = Arc::new(AtomicBool::new(false));
    let worker = {
        let (redis, stop) = (server.url(), stop.clone());
        let (queue, work) = ("asr_chunk_queue".to_owned(), WorkOptions::default());
        let options = worker::RedisWorkerOptions { redis, queue, concurrency: 1, work };
        thread::spawn(move || worker::run(options, stop))
    };
    let mut redis = redis::Client::open(server.url()).unwrap().get_connection().unwrap();

    assert_eq!(calls(&mut redis, "subscribe"), 0);
    let mut client = Client::connect(gateway.address, "/ws/asr");
    client.start("hour-long");
    let (mut acks, mut results, mut connections) = (0, 0, Vec::new());
    for first in (0..CHUNKS).step_by(BATCH as usize) {
        for index in first..first + BATCH {
            client.chunk("hour-long", index, &[1, 0, 255, 255]);
        }
        for _ in 0..2 * BATCH {
            match client.receive()["type"].as_str() {
                Some("ack") => acks += 1,
                Some("chunk_result") => results += 1,
                other => panic!("unexpected {other:?}"),
            }
        }
        connections.push(connected(&mut redis));
    }
    client.finish("hour-long");
    let (before, last) = client.until_final();
    assert!(before.is_empty(), "{before:?}");
    assert_eq!((acks, results), (CHUNKS, CHUNKS));
    assert_eq!((&last["complete"], &last["chunk_count"]), (&true.into(), &CHUNKS.into()));

    assert_eq!(calls(&mut redis, "subscribe"), 1);
    // The gateway's, the worker's and ours.
    assert!(connections.iter().all(|count| *count == 3), "{connections:?}");
    client.close();
    gateway.until_quiet();
    assert_eq!(calls(&mut redis, "unsubscribe"), 1);
    stop.store(true, Relaxed);
    worker.join().expect("the worker's thread").expect("the worker");
}

/// How often a command was called, of INFO commandstats.
fn calls(redis: &mut Connection, command: &str) -> u64 {
    let stats: String = redis::cmd("INFO").arg("commandstats").query(redis).expect("an answer");
    let prefix = format!("cmdstat_{command}:calls=");
    let line = stats.lines().find_map(|line| line.strip_prefix(&*prefix));
    line.and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or(0)
}

fn connected(redis: &mut Connection) -> usize {
    let list: String = redis::cmd("CLIENT").arg("LIST").query(redis).expect("an answer");
    list.lines().count()
}
