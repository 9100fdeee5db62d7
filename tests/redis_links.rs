//! A session costs Redis no connection: with one session and with five hundred on two
//! shards the gateway has one connection a shard, and has opened no other in between.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use redis::Connection;
use support::{client::Client, crowd::raise_descriptors, gateway::TestGateway, redis::RedisServer};

const SESSIONS: usize = 500;

/// What Redis knows of its connections.
#[derive(PartialEq, Debug)]
struct Links {
    /// Those of a gateway, by the name that they give themselves.
    named: usize,
    /// All that there are, the test's own among them.
    open: usize,
    /// All that there have ever been, closed ones too.
    ever: u64,
}

#[test]
fn sessions_with_channels_of_their_own_add_no_connection() {
    five_hundred_sessions_add_no_connection("per-session", SESSIONS);
}

#[test]
fn sessions_that_share_the_channel_of_their_shard_add_no_connection() {
    five_hundred_sessions_add_no_connection("per-shard", 2);
}

/// `channels`: what Redis has subscribers for while all sessions are open.
fn five_hundred_sessions_add_no_connection(results: &str, channels: usize) {
    raise_descriptors();
    let server = RedisServer::start();
    let route = format!(
        "[[route]]\npath = \"/ws/asr\"\nkind = \"tasks\"\nresume_ms = 0\nresults = \"{results}\"\n"
    );
    let gateway = TestGateway::start_with("0,1", &[("redis", &server.url())], Some(&route));
    gateway.until("both links up", |g| g.each(|m| m.broker.up.get()) == [1, 1]);
    let mut redis = redis::Client::open(server.url()).unwrap().get_connection().unwrap();

    let mut clients = vec![open(&gateway, 0)];
    let with_one = links(&mut redis);
    assert_eq!((with_one.named, with_one.open), (2, 3), "one a shard, and the test's own");
    clients.extend((1..SESSIONS).map(|index| open(&gateway, index)));
    let sessions = gateway.each(|m| m.tasks.sessions.get());
    assert_eq!(sessions.iter().sum::<u64>(), SESSIONS as u64);
    assert!(sessions.iter().all(|&count| count > 0), "both shards have sessions: {sessions:?}");
    let subscribed: Vec<String> = redis::cmd("PUBSUB").arg("CHANNELS").query(&mut redis).unwrap();
    assert_eq!(subscribed.len(), channels, "{subscribed:?}");
    let queued: usize = redis::cmd("LLEN").arg("asr_chunk_queue").query(&mut redis).unwrap();
    assert_eq!(queued, SESSIONS, "each session has a chunk in the queue");

    let with_all = links(&mut redis);
    println!("{results}: {sessions:?} sessions, {with_one:?}, then {with_all:?}");
    assert_eq!(with_all, with_one);
    clients.into_iter().for_each(Client::close);
    gateway.until_quiet();
    assert_eq!(links(&mut redis), with_one);
}

/// A session that has a chunk in the queue.
fn open(gateway: &TestGateway, index: usize) -> Client {
    let (mut client, session) = (Client::connect(gateway.address, "/ws/asr"), format!("s{index}"));
    client.start(&session);
    client.chunk(&session, 0, b"audio");
    let ack = client.receive();
    assert_eq!(ack["status"], "received", "{ack}");
    client
}

fn links(redis: &mut Connection) -> Links {
    let list: String = redis::cmd("CLIENT").arg("LIST").query(redis).unwrap();
    let stats: String = redis::cmd("INFO").arg("stats").query(redis).unwrap();
    let ever = stats.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
    Links {
        named: list.lines().filter(|line| line.contains(" name=ringgate-")).count(),
        open: list.lines().count(),
        ever: ever.and_then(|count| count.trim().parse().ok()).expect("a count"),
    }
}
