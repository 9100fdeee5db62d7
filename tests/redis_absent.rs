//! Redis that is not there yet, that dies, and that comes back.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use support::{
    client::{Client, silence},
    gateway::TestGateway,
    redis::RedisServer,
    stage::{RedisStage, Worker, commands, gateway_on},
};

const ASR: &str = "/ws/asr";

fn readyz(gateway: &TestGateway) -> (String, String) {
    let (head, body) = gateway.admin_get("/readyz");
    (head.split(' ').nth(1).expect("a status").to_owned(), body)
}

#[test]
fn redis_may_come_after_the_gateway() {
    let mut redis = RedisServer::absent();
    let gateway = gateway_on(&redis, "0", &[("echo", "/echo")], None);
    let (status, body) = readyz(&gateway);
    assert_eq!(status, "503");
    assert!(body.contains("broker unavailable"), "{body}");
    let refusal = Client::try_connect(gateway.address, ASR).err().expect("no broker");
    assert_eq!((refusal.status, refusal.body["code"].as_str()), (503, Some("broker_unavailable")));
    assert!(refusal.retry_after.is_some());
    // What needs no broker works without one.
    Client::connect(gateway.address, "/echo").close();

    redis.restart();
    gateway.until("ready", |g| readyz(g).0 == "200");
    let worker = Worker::start(&redis);
    let mut client = Client::connect(gateway.address, ASR);
    client.run_session("s");
    client.close();
    gateway.until_quiet();
    drop(worker);
}

#[test]
fn a_session_outlives_redis() {
    let mut redis = RedisServer::start();
    let gateway = gateway_on(&redis, "0", &[], None);
    gateway.until("ready", |g| readyz(g).0 == "200");
    let mut client = Client::connect(gateway.address, ASR);
    for session in ["a", "b", "c"] {
        client.start(session);
    }
    client.chunk("a", 0, &silence(1));
    assert_eq!(client.receive()["status"], "received");
    assert_eq!(gateway.sum(|m| m.broker.subscriptions.get()), 3);

    redis.kill();
    gateway.until("the loss is noticed", |g| readyz(g).0 == "503");
    let refusal = Client::try_connect(gateway.address, ASR).err().expect("no broker");
    assert_eq!(refusal.body["code"], "broker_unavailable");
    client.chunk("a", 1, &silence(2));
    client.send(serde_json::json!({"action": "start", "session_id": "new"}));
    let refused = client.receive();
    assert_eq!(
        (refused["type"].as_str(), refused["code"].as_str()),
        (Some("error"), Some("broker_unavailable"))
    );
    client.chunk("b", 0, &silence(3));

    redis.restart();
    gateway.until("ready again", |g| readyz(g).0 == "200");
    let mut acked = [client.receive(), client.receive()].map(|ack| {
        (ack["session_id"].to_string(), ack["chunk_index"].as_u64(), ack["status"].to_string())
    });
    acked.sort();
    let received =
        |session: &str, index| (format!("\"{session}\""), Some(index), "\"received\"".to_owned());
    assert_eq!(acked, [received("a", 1), received("b", 0)]);
    assert_eq!(gateway.sum(|m| m.broker.subscriptions.get()), 3);
    assert_eq!(gateway.sum(|m| m.broker.reconnects.get()), 1);
    let channels: Vec<String> =
        redis::cmd("PUBSUB").arg("CHANNELS").query(&mut commands(&redis)).unwrap();
    assert_eq!(channels.len(), 3, "{channels:?}");

    let worker = Worker::start(&redis);
    for (session, chunks) in [("a", 2), ("b", 1), ("c", 0)] {
        client.finish(session);
        let last = loop {
            let message = client.receive();
            if message["type"] == "final_result" {
                break message;
            }
        };
        assert_eq!((&last["session_id"], &last["complete"]), (&session.into(), &true.into()));
        assert_eq!(last["chunk_count"], chunks);
    }
    client.run_session("new");
    client.close();
    gateway.until_quiet();
    assert_eq!(gateway.closed(), [(1005, 1)]);
    drop(worker);
}

#[test]
fn one_connection_to_redis_a_shard_however_many_sessions() {
    let stage = RedisStage::without_worker("0-1", &[], None);
    let mut clients = Vec::new();
    for n in 0..40 {
        let mut client = Client::connect(stage.gateway.address, ASR);
        for m in 0..3 {
            client.start(&format!("s{n}-{m}"));
        }
        clients.push(client);
    }
    assert!(stage.gateway.each(|m| m.tasks.sessions.get()).iter().all(|count| *count > 0));
    let mut redis = stage.commands();
    let list: String = redis::cmd("CLIENT").arg("LIST").query(&mut redis).unwrap();
    let gateways = list.lines().filter(|line| line.contains("name=ringgate-")).count();
    assert_eq!((gateways, list.lines().count()), (2, 3), "two shards and this test: {list}");
    let subscribed: u64 = stage.gateway.sum(|m| m.broker.subscriptions.get());
    assert_eq!(subscribed, 120);
    clients.into_iter().for_each(Client::close);
    stage.gateway.until_quiet();
}
