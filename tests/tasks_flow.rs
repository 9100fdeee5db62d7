//! The tasks route from end to end, on both brokers, with the worker that belongs to each.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};
use support::{
    client::{Client, heard, silence},
    gateway::TestGateway,
    stage::{RedisStage, publish, result},
};
use tungstenite::Message;

const ASR: &str = "/ws/asr";

/// The same on the embedded broker with its built-in worker, and on Redis with a worker.
fn on_both_brokers(cores: &str, test: impl Fn(&TestGateway)) {
    println!("on the embedded broker:");
    let gateway = TestGateway::start(cores, &[]);
    test(&gateway);
    gateway.until_quiet();
    drop(gateway);
    println!("on Redis:");
    let stage = RedisStage::with_worker(cores, &[]);
    test(&stage.gateway);
    stage.gateway.until_quiet();
}

/// Session, type and index: what a message is about.
fn about(message: &Value) -> (String, String, u64) {
    let text = |key: &str| message[key].as_str().expect("a text").to_owned();
    (text("session_id"), text("type"), message["chunk_index"].as_u64().expect("an index"))
}

#[test]
fn sessions_one_after_another() {
    on_both_brokers("0", |gateway| {
        let mut client = Client::connect(gateway.address, ASR);
        for session in ["one", "two", "..", "A-z_0.9:"] {
            client.run_session(session);
        }
        assert_eq!(gateway.sum(|m| m.tasks.sessions_complete.get()), 4);
        client.close();
    });
}

#[test]
fn sessions_at_once_on_one_connection() {
    on_both_brokers("0", |gateway| {
        let mut client = Client::connect(gateway.address, ASR);
        let sessions: Vec<String> = (0..8).map(|n| format!("s{n}")).collect();
        for session in &sessions {
            client.start(session);
        }
        for index in 0..5 {
            for (n, session) in sessions.iter().enumerate() {
                client.chunk(session, index, &silence(1 + n));
            }
        }
        for session in &sessions {
            client.finish(session);
        }
        let mut acked = HashSet::new();
        let mut answered = HashSet::new();
        let mut finals = HashMap::new();
        while finals.len() < sessions.len() {
            let message = client.receive();
            let (session, kind, index) = about(&message);
            let chunk = (session.clone(), index);
            match kind.as_str() {
                "ack" => assert!(acked.insert(chunk), "acked twice: {message}"),
                "chunk_result" => {
                    assert!(acked.contains(&chunk), "a result before its ack: {message}");
                    assert!(answered.insert(chunk), "answered twice: {message}");
                }
                "final_result" => {
                    let count = answered.iter().filter(|(of, _)| *of == session).count();
                    assert_eq!(count, 5, "a final result before its last chunk's");
                    finals.insert(session, message);
                }
                _ => panic!("{message}"),
            }
        }
        for (n, session) in sessions.iter().enumerate() {
            assert_eq!(finals[session]["text"], vec![heard(1 + n); 5].join(" "));
            assert_eq!(finals[session]["complete"], true);
            assert_eq!(finals[session]["chunk_count"], 5);
        }
        client.close();
    });
}

#[test]
fn any_order_and_gaps_merge_in_index_order() {
    on_both_brokers("0", |gateway| {
        let mut client = Client::connect(gateway.address, ASR);
        client.start("s");
        for (index, tenths) in [(40, 4), (2, 2), (9, 3), (0, 1)] {
            client.chunk("s", index, &silence(tenths));
        }
        client.finish("s");
        let (before, last) = client.until_final();
        assert_eq!(before.len(), 8, "{before:?}");
        assert_eq!(last["text"], [heard(1), heard(2), heard(3), heard(4)].join(" "));
        assert_eq!((&last["complete"], last.get("missing")), (&json!(true), None));
        assert!(last["duration"].as_f64().is_some_and(|seconds| seconds >= 0.0), "{last}");
        client.close();
    });
}

#[test]
fn a_repeated_index_is_acked_again_and_not_queued_again() {
    on_both_brokers("0", |gateway| {
        let mut client = Client::connect(gateway.address, ASR);
        client.start("s");
        client.chunk("s", 3, &silence(1));
        let first = [client.receive(), client.receive()];
        assert_eq!(first[0]["status"], "received");
        assert_eq!(first[1]["text"], heard(1));
        for _ in 0..3 {
            client.chunk("s", 3, &silence(2));
            assert_eq!(client.receive(), first[0]);
        }
        client.finish("s");
        let (between, last) = client.until_final();
        assert!(between.is_empty(), "{between:?}");
        assert_eq!((&last["text"], &last["chunk_count"]), (&json!(heard(1)), &json!(1)));
        assert_eq!(gateway.sum(|m| m.tasks.chunks.get()), 1);
        assert_eq!(gateway.sum(|m| m.tasks.chunks_repeated.get()), 3);
        client.close();
    });
}

#[test]
fn no_audio_is_answered_without_a_worker() {
    let stage = RedisStage::without_worker("0", &[], None);
    let mut client = Client::connect(stage.gateway.address, ASR);
    client.start("s");
    client.chunk("s", 5, b"");
    assert_eq!(about(&client.receive()), ("s".into(), "ack".into(), 5));
    let answer = client.receive();
    assert_eq!(about(&answer), ("s".into(), "chunk_result".into(), 5));
    assert_eq!((&answer["text"], answer.get("error")), (&json!(""), None));
    client.finish("s");
    let (_, last) = client.until_final();
    assert_eq!((&last["complete"], &last["text"]), (&json!(true), &json!("")));
    let queued: u64 =
        redis::cmd("LLEN").arg("asr_chunk_queue").query(&mut stage.commands()).unwrap();
    assert_eq!(queued, 0);
    client.close();
    stage.gateway.until_quiet();
}

#[test]
fn a_session_without_a_name_gets_one() {
    on_both_brokers("0", |gateway| {
        let mut client = Client::connect(gateway.address, ASR);
        let mut names = HashSet::new();
        for start in [
            json!({"action": "start"}),
            json!({"action": "start", "session_id": ""}),
            json!({"action": "start", "session_id": null, "user_id": "u"}),
        ] {
            client.send(start);
            let ack = client.receive();
            let name = ack["session_id"].as_str().expect("a name").to_owned();
            let parsed = uuid::Uuid::parse_str(&name).expect("a UUID");
            assert_eq!(parsed.get_version_num(), 4);
            client.chunk(&name, 0, &silence(1));
            client.finish(&name);
            let (_, last) = client.until_final();
            assert_eq!((&last["session_id"], &last["complete"]), (&json!(name), &json!(true)));
            names.insert(name);
        }
        assert_eq!(names.len(), 3);
        client.close();
    });
}

#[test]
fn binary_frames_and_query_strings_make_no_difference() {
    on_both_brokers("0", |gateway| {
        let mut client = Client::connect(gateway.address, "/ws/asr?token=x&session=y");
        let audio = base64_simd::STANDARD.encode_to_string(silence(1));
        for message in [
            json!({"action": "start", "session_id": "s"}),
            json!({"action": "chunk", "session_id": "s", "chunk_index": 0, "audio_data": audio}),
            json!({"action": "finish", "session_id": "s"}),
        ] {
            client.socket.send(Message::binary(message.to_string())).unwrap();
        }
        // Text frames all the same: `receive` takes no others.
        let (before, last) = client.until_final();
        assert_eq!((before.len(), &last["text"]), (3, &json!(heard(1))));
        client.close();
    });
}

#[test]
fn results_from_before_the_start_are_delivered_once() {
    let stage = RedisStage::without_worker("0", &[], None);
    let mut redis = stage.commands();
    for cached in [result(0, "early"), result(1, "bird")] {
        let key = "asr:results:back";
        redis::cmd("RPUSH").arg(key).arg(cached).exec(&mut redis).unwrap();
    }
    let mut client = Client::connect(stage.gateway.address, ASR);
    client.start("back");
    for (index, text) in [(0, "early"), (1, "bird")] {
        let message = client.receive();
        assert_eq!(about(&message), ("back".into(), "chunk_result".into(), index));
        assert_eq!(message["text"], text);
    }
    assert_eq!(publish(&mut redis, "back", &result(0, "early")), 1);
    stage.gateway.until("the duplicate", |g| g.sum(|m| m.tasks.results.duplicate.get()) == 1);
    // The client sends again what it does not know to have arrived.
    client.chunk("back", 1, &silence(1));
    assert_eq!(about(&client.receive()), ("back".into(), "ack".into(), 1));
    client.finish("back");
    let (between, last) = client.until_final();
    assert!(between.is_empty(), "{between:?}");
    assert_eq!((&last["text"], &last["complete"]), (&json!("early bird"), &json!(true)));
    client.close();
    stage.gateway.until_quiet();
}

const SHORT_DEADLINES: &str = r#"
    [[route]]
    path = "/ws/asr"
    kind = "tasks"
    finish_deadline = "400ms"

    [[route]]
    path = "/ws/hasty"
    kind = "tasks"
    chunk_deadline = "300ms"
"#;

#[test]
fn a_silent_worker_ends_no_later_than_the_finish_deadline() {
    let stage = RedisStage::without_worker("0", &[], Some(SHORT_DEADLINES));
    let mut redis = stage.commands();
    let mut client = Client::connect(stage.gateway.address, ASR);
    client.start("s");
    for index in [0, 5, 9] {
        client.chunk("s", index, &silence(1));
        assert_eq!(client.receive()["status"], "received");
    }
    publish(&mut redis, "s", &result(5, "five"));
    assert_eq!(client.receive()["text"], "five");
    client.finish("s");
    let (between, last) = client.until_final();
    assert!(between.is_empty(), "{between:?}");
    assert_eq!((&last["text"], &last["complete"]), (&json!("five"), &json!(false)));
    assert_eq!((&last["missing"], &last["missing_count"]), (&json!([0, 9]), &json!(2)));
    assert_eq!(last["chunk_count"], 3);
    assert_eq!(stage.gateway.sum(|m| m.tasks.sessions_partial.get()), 1);
    client.close();
    stage.gateway.until_quiet();
}

#[test]
fn a_chunk_past_its_deadline_is_looked_for_in_the_cache_and_given_up() {
    let stage = RedisStage::without_worker("0", &[], Some(SHORT_DEADLINES));
    let mut redis = stage.commands();
    let mut client = Client::connect(stage.gateway.address, "/ws/hasty");
    client.start("s");
    // Cached, but the message itself was lost.
    redis::cmd("RPUSH").arg("asr:results:s").arg(result(1, "found")).exec(&mut redis).unwrap();
    for index in 0..2 {
        client.chunk("s", index, &silence(1));
        assert_eq!(client.receive()["status"], "received");
    }
    assert_eq!(client.receive()["text"], "found");
    stage.gateway.until("one chunk given up", |g| g.sum(|m| m.tasks.chunks_expired.get()) == 1);
    publish(&mut redis, "s", &result(0, "late"));
    assert_eq!(client.receive()["text"], "late");
    assert_eq!(stage.gateway.sum(|m| m.tasks.results.late.get()), 1);
    client.finish("s");
    let (_, last) = client.until_final();
    assert_eq!(last["text"], "late found");
    client.close();
    stage.gateway.until_quiet();
}

#[test]
fn two_shards_at_work() {
    on_both_brokers("0-1", |gateway| {
        let open = |g: &TestGateway| g.each(|m| m.connections.open.get());
        let mut clients = Vec::new();
        while open(gateway).iter().any(|count| *count < 4) {
            assert!(clients.len() < 200, "the kernel spreads connections: {:?}", open(gateway));
            clients.push(Client::connect(gateway.address, ASR));
        }
        for (n, client) in clients.iter_mut().enumerate() {
            client.start(&format!("s{n}"));
            for index in 0..3 {
                client.chunk(&format!("s{n}"), index, &silence(1 + n % 50));
            }
            client.finish(&format!("s{n}"));
        }
        for (n, client) in clients.iter_mut().enumerate() {
            let (before, last) = client.until_final();
            assert_eq!(before.len(), 6, "{before:?}");
            for message in before.iter().chain([&last]) {
                assert_eq!(message["session_id"], format!("s{n}"), "another's: {message}");
            }
            assert_eq!(last["text"], vec![heard(1 + n % 50); 3].join(" "));
        }
        let chunks = gateway.each(|m| m.tasks.chunks.get());
        assert!(chunks.iter().all(|count| *count >= 12), "{chunks:?}");
        assert_eq!(chunks.iter().sum::<u64>(), 3 * clients.len() as u64);
        clients.into_iter().for_each(Client::close);
    });
}
