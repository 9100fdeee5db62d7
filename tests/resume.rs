//! Sessions that outlive their connection, from end to end: on both brokers, with a result
//! channel for each session and with one for the shard.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::{io::Write, net::TcpStream};

use ringgate::ws::CloseCode;
use serde_json::{Value, json};
use support::{
    client::{Client, heard, masked, raw_upgraded, silence},
    gateway::TestGateway,
    stage::{RedisStage, Worker, publish, result},
};
use tungstenite::Message;

const ASR: &str = "/ws/asr";

fn route(results: &str, more: &str) -> String {
    format!("[[route]]\npath = \"/ws/asr\"\nkind = \"tasks\"\nresults = \"{results}\"\n{more}")
}

/// Each broker with its worker, each way of the results.
fn everywhere(more: &str, test: impl Fn(&TestGateway)) {
    for results in ["per-session", "per-shard"] {
        let file = route(results, more);
        println!("{results} on the embedded broker:");
        let gateway = TestGateway::start_with("0", &[], Some(&file));
        test(&gateway);
        gateway.until_quiet();
        drop(gateway);
        println!("{results} on Redis:");
        let stage = RedisStage::without_worker("0", &[], Some(&file));
        let worker = Worker::start(&stage.redis);
        test(&stage.gateway);
        stage.gateway.until_quiet();
        drop(worker);
    }
}

/// The connection breaks; the gateway has noticed.
fn vanish(client: Client, gateway: &TestGateway) {
    drop(client);
    gateway.until("detached", |g| g.sum(|m| m.tasks.sessions_detached.get()) == 1);
}

fn about(message: &Value) -> (&str, u64) {
    let kind = message["type"].as_str().expect("a type");
    (kind, message["chunk_index"].as_u64().expect("an index"))
}

#[test]
fn a_client_that_comes_back_has_everything_once() {
    everywhere("", |gateway| {
        let mut first = Client::connect(gateway.address, ASR);
        first.start("s");
        first.chunk("s", 0, &silence(1));
        let told = [first.receive(), first.receive()];
        assert_eq!(told.each_ref().map(about), [("ack", 0), ("chunk_result", 0)]);
        first.chunk("s", 1, &silence(2));
        first.finish("s");
        gateway.until("queued", |g| g.sum(|m| m.tasks.chunks.get()) == 2);
        // Before or after its final result: then it has ended, and the cache tells.
        drop(first);
        gateway.until("gone", |g| g.sum(|m| m.connections.open.get()) == 0);
        gateway.until("answered", |g| g.sum(|m| m.tasks.results.delivered.get()) >= 2);

        let mut second = Client::connect(gateway.address, ASR);
        second.start("s");
        second.finish("s");
        let (mut before, last) = second.until_final();
        before.retain(|message| message["type"] == "chunk_result");
        let indexes: Vec<_> = before.iter().map(|m| m["chunk_index"].as_u64()).collect();
        assert_eq!(indexes, [Some(0), Some(1)], "each once: {before:?}");
        assert_eq!(last["text"], [heard(1), heard(2)].join(" "));
        assert_eq!((&last["complete"], &last["chunk_count"]), (&json!(true), &json!(2)));
        second.close();
    });
}

#[test]
fn a_session_goes_on_in_another_connection() {
    everywhere("", |gateway| {
        let mut old = Client::connect(gateway.address, ASR);
        old.start("s");
        old.chunk("s", 0, &silence(1));
        assert_eq!(about(&old.receive()), ("ack", 0));
        assert_eq!(about(&old.receive()), ("chunk_result", 0));
        let mut new = Client::connect(gateway.address, ASR);
        new.start("s");
        assert_eq!(old.close_code(), 4009);
        assert_eq!(about(&new.receive()), ("chunk_result", 0));
        new.chunk("s", 1, &silence(2));
        new.finish("s");
        let (before, last) = new.until_final();
        assert_eq!(before.iter().map(about).collect::<Vec<_>>(), [("ack", 1), ("chunk_result", 1)]);
        assert_eq!(last["text"], [heard(1), heard(2)].join(" "));
        assert_eq!(gateway.sum(|m| m.tasks.sessions_resumed.get()), 1);
        new.close();
    });
}

#[test]
fn a_finish_from_before_the_break_has_its_final_result() {
    for results in ["per-session", "per-shard"] {
        let file = route(results, "");
        let stage = RedisStage::without_worker("0", &[], Some(&file));
        let gateway = &stage.gateway;
        let mut redis = stage.commands();
        let mut first = Client::connect(gateway.address, ASR);
        first.start("s");
        first.chunk("s", 0, &silence(1));
        assert_eq!(about(&first.receive()), ("ack", 0));
        first.finish("s");
        vanish(first, gateway);
        // As a worker does it: where the task says.
        let task: Vec<u8> =
            redis::cmd("LPOP").arg("asr_chunk_queue").query(&mut redis).expect("a task");
        let task: Value = serde_json::from_slice(&task).expect("JSON");
        match task.get("reply_to") {
            None => assert_eq!(publish(&mut redis, "s", &result(0, "late")), 1),
            Some(channel) => {
                let mut payload: Value = serde_json::from_slice(&result(0, "late")).unwrap();
                payload["session_id"] = "s".into();
                let channel = channel.as_str().expect("a name");
                assert!(channel.starts_with("ringgate:results:"), "{channel}");
                redis::cmd("PUBLISH")
                    .arg(channel)
                    .arg(payload.to_string())
                    .exec(&mut redis)
                    .unwrap();
            }
        }
        gateway.until("answered", |g| g.sum(|m| m.tasks.results.delivered.get()) == 1);
        let mut second = Client::connect(gateway.address, ASR);
        second.start("s");
        let (before, last) = second.until_final();
        assert_eq!(before.iter().map(about).collect::<Vec<_>>(), [("chunk_result", 0)]);
        assert_eq!((&last["text"], &last["complete"]), (&json!("late"), &json!(true)));
        second.close();
        gateway.until_quiet();
    }
}

#[test]
fn nobody_comes_back_and_nothing_is_left() {
    everywhere("resume_ms = 300", |gateway| {
        let mut client = Client::connect(gateway.address, ASR);
        client.start("s");
        client.chunk("s", 0, &silence(1));
        assert_eq!(about(&client.receive()), ("ack", 0));
        vanish(client, gateway);
        gateway.until("expired", |g| g.sum(|m| m.tasks.resume_expired.get()) == 1);
        // Counted a little later in the same turn.
        gateway.until("abandoned", |g| g.sum(|m| m.tasks.sessions_abandoned.get()) == 1);
    });
}

#[test]
fn one_subscription_a_shard() {
    let file = route("per-shard", "");
    let mut stage = RedisStage::without_worker("0", &[], Some(&file));
    let channels = |stage: &RedisStage| -> Vec<String> {
        redis::cmd("PUBSUB").arg("CHANNELS").query(&mut stage.commands()).unwrap()
    };
    let mut client = Client::connect(stage.gateway.address, ASR);
    (0..10).for_each(|n| client.start(&format!("s{n}")));
    let before = channels(&stage);
    assert_eq!(before.len(), 1, "{before:?}");
    // It is restored before the next start is acked.
    stage.redis.kill();
    stage.redis.restart();
    let up = |g: &TestGateway| g.sum(|m| m.broker.up.get());
    stage.gateway.until("noticed", |g| g.sum(|m| m.broker.reconnects.get()) == 1 && up(g) == 1);
    client.start("after");
    assert_eq!(channels(&stage), before);
    let worker = Worker::start(&stage.redis);
    client.chunk("after", 0, &silence(1));
    client.finish("after");
    assert_eq!(client.until_final().1["text"], heard(1));
    client.close();
    drop(worker);
}

#[test]
fn binary_frames_are_chunks() {
    everywhere("", |gateway| {
        let mut client = Client::connect(gateway.address, ASR);
        client.send(json!({"action": "start", "session_id": "s", "binary": true, "acks": false}));
        let ack = client.receive();
        assert_eq!((&ack["status"], &ack["next_chunk"]), (&json!("session_started"), &json!(0)));
        for tenths in 1..=3 {
            client.socket.send(Message::binary(silence(tenths))).unwrap();
        }
        client.finish("s");
        let (before, last) = client.until_final();
        let told: Vec<_> = before.iter().map(about).collect();
        assert_eq!(told, [("chunk_result", 0), ("chunk_result", 1), ("chunk_result", 2)]);
        assert_eq!(last["text"], [heard(1), heard(2), heard(3)].join(" "));
        client.close();
    });
}

#[test]
fn a_socket_that_is_not_read_slows_no_other() {
    let stage = RedisStage::without_worker("0", &[], Some(&route("per-session", "inflight = 2")));
    let (gateway, mut redis) = (&stage.gateway, stage.commands());
    let mut ahead = Client::connect(gateway.address, ASR);
    ahead.start("ahead");
    (0..50).for_each(|index| ahead.chunk("ahead", index, &silence(1)));
    gateway.until("paused", |g| g.sum(|m| m.connections.pauses.get()) > 0);
    let mut other = Client::connect(gateway.address, ASR);
    other.start("other");
    for index in 0..50 {
        other.chunk("other", index, &silence(1));
        assert_eq!(about(&other.receive()), ("ack", index));
        publish(&mut redis, "other", &result(index, "x"));
        assert_eq!(about(&other.receive()), ("chunk_result", index));
    }
    let queued = gateway.sum(|m| m.tasks.chunks.get()) - 50;
    assert!(queued < 50, "the other one was paused all the while: {queued}");
    for index in 0..50 {
        gateway.until("the next one", |g| g.sum(|m| m.tasks.chunks.get()) > 50 + index);
        publish(&mut redis, "ahead", &result(index, "y"));
    }
    ahead.finish("ahead");
    assert_eq!(ahead.until_final().1["chunk_count"], 50);
    ahead.close();
    other.close();
}

/// A client says goodbye with a finish unanswered, and lets its socket stand.
#[test]
fn nothing_is_said_to_a_connection_that_is_closing() {
    let stage = RedisStage::without_worker("0", &[], Some(&route("per-session", "")));
    let (gateway, mut redis) = (&stage.gateway, stage.commands());
    let mut leaving = raw_upgraded(gateway.address, ASR);
    let say = |stream: &mut TcpStream, message: Value| {
        stream.write_all(&masked(0x81, message.to_string().as_bytes())).expect("sent");
    };
    say(&mut leaving, json!({"action": "start", "session_id": "s"}));
    let chunk =
        json!({"action": "chunk", "session_id": "s", "chunk_index": 0, "audio_data": "AAAA"});
    say(&mut leaving, chunk);
    say(&mut leaving, json!({"action": "finish", "session_id": "s"}));
    gateway.until("acked", |g| g.sum(|m| m.tasks.acks.get()) == 2);
    leaving.write_all(&masked(0x88, &1000u16.to_be_bytes())).expect("sent");
    gateway.until("left", |g| g.sum(|m| m.tasks.sessions_detached.get()) == 1);
    assert_eq!(gateway.sum(|m| m.connections.open.get()), 1, "its socket is there");
    assert_eq!(publish(&mut redis, "s", &result(0, "late")), 1);
    gateway.until("answered", |g| g.sum(|m| m.tasks.results.delivered.get()) == 1);

    let mut back = Client::connect(gateway.address, ASR);
    back.start("s");
    let (before, last) = back.until_final();
    assert_eq!(before.iter().map(about).collect::<Vec<_>>(), [("chunk_result", 0)]);
    assert_eq!((&last["text"], &last["complete"]), (&json!("late"), &json!(true)));
    back.close();
    drop(leaving);
    gateway.until_quiet();
}

#[test]
fn long_results_and_bursts_close_nobody_who_reads() {
    let flags = [("outbox-bytes", "4KiB"), ("unread-deadline", "10s")];
    let stage = RedisStage::without_worker("0", &flags, Some(&route("per-session", "")));
    let (gateway, mut redis) = (&stage.gateway, stage.commands());
    let mut client = Client::connect(gateway.address, ASR);
    client.start("s");
    for index in 0..40 {
        client.chunk("s", index, &silence(1));
        assert_eq!(about(&client.receive()), ("ack", index));
    }
    let long = "x".repeat(100 << 10);
    for index in 0..40 {
        publish(&mut redis, "s", &result(index, &long));
    }
    gateway.until("answered", |g| g.sum(|m| m.tasks.results.delivered.get()) == 40);
    let waiting = gateway.sum(|m| m.connections.outbox_bytes.get());
    assert!(waiting < 2 * long.len() as u64, "{waiting} bytes in one outbox");
    for index in 0..40 {
        assert_eq!(about(&client.receive()), ("chunk_result", index));
    }
    // The same again for one who comes back, and the final result on top.
    let mut next = Client::connect(gateway.address, ASR);
    next.start("s");
    next.finish("s");
    let (before, last) = next.until_final();
    let told: Vec<_> = before.iter().map(about).collect();
    assert_eq!(told, (0..40).map(|index| ("chunk_result", index)).collect::<Vec<_>>());
    assert_eq!(last["text"].as_str().map(str::len), Some(40 * long.len() + 39));
    // A session without chunks: the connection serves on.
    next.start("after");
    next.finish("after");
    assert_eq!(next.until_final().1["chunk_count"], 0);
    next.close();
    assert_eq!(client.close_code(), 4009);
    gateway.until_quiet();
    assert_eq!(gateway.sum(|m| m.connections.closed(CloseCode::SlowConsumer).get()), 0);
}
