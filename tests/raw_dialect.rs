//! The raw dialect from end to end, on both brokers, with workers of the tests' own.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use serde_json::{Value, json};
use support::{
    client::{Client, exchange, upgrade_request},
    gateway::TestGateway,
    raw::{Hands, RAW, Worker, file},
    stage::{RedisStage, commands, publish},
};
use tungstenite::Message;

/// The same on both brokers. Every session is nameless and done at the end, so that
/// nothing may be left.
fn on_both_brokers(settings: &str, work: fn(&Value) -> Vec<Vec<u8>>, test: fn(&TestGateway)) {
    let file = file(settings);
    println!("on the embedded broker:");
    let gateway = TestGateway::start_with("0,1", &[], Some(&file));
    let worker = Worker::start(Hands::Embedded(gateway.worker_port().expect("embedded")), work);
    test(&gateway);
    gateway.until_quiet();
    drop(worker);
    drop(gateway);
    println!("on Redis:");
    let stage = RedisStage::without_worker("0,1", &[], Some(&file));
    let worker = Worker::start(Hands::Redis(Box::new(stage.commands())), work);
    test(&stage.gateway);
    stage.gateway.until_quiet();
    drop(worker);
}

/// Says what the task was, then its data three times, the last time with `done`.
fn thrice(task: &Value) -> Vec<Vec<u8>> {
    let key = if task["kind"] == "binary" { "data_base64" } else { "data" };
    let part = |done| json!({"seq": task["seq"], key: task["data"], "done": done});
    let results = [json!({"seq": task["seq"], "data": task.to_string()}), part(false), part(false)];
    results.into_iter().chain([part(true)]).map(|result| result.to_string().into_bytes()).collect()
}

/// Publishes the lines of its task, each with `SEQ` replaced.
fn by_dictation(task: &Value) -> Vec<Vec<u8>> {
    let seq = task["seq"].to_string();
    let lines = task["data"].as_str().expect("text").lines();
    lines.map(|line| line.replace("SEQ", &seq).into_bytes()).collect()
}

/// Answers nothing.
fn idle(_: &Value) -> Vec<Vec<u8>> {
    Vec::new()
}

fn next(client: &mut Client) -> Message {
    loop {
        match client.socket.read().expect("a message") {
            Message::Ping(_) | Message::Pong(_) => {}
            message => return message,
        }
    }
}

fn say(client: &mut Client, message: impl Into<Message>) {
    client.socket.send(message.into()).expect("sent");
}

/// A client and the id of its session, which its open frame must tell first.
fn connect(gateway: &TestGateway, path: &str) -> (Client, Value) {
    let mut client = Client::connect(gateway.address, path);
    let open = client.receive();
    assert_eq!(open["type"], "open", "{open}");
    assert!(open["session_id"].is_string(), "{open}");
    (client, open)
}

/// An error message without its text for people.
fn error(client: &mut Client) -> Value {
    let mut error = client.receive();
    error.as_object_mut().expect("an object").remove("message").expect("a text");
    error
}

#[test]
fn text_and_bytes_go_through_and_come_back_in_order() {
    on_both_brokers("", thrice, |gateway| {
        let (mut client, open) = connect(gateway, "/ws/raw?token=x");
        assert_eq!((&open["resumed"], &open["next_seq"]), (&json!(false), &json!(0)));
        let every_byte: Vec<u8> = (0..=255).collect();
        let big = "\u{1F600}\"\\\u{7}\n".repeat(20_000);
        let messages = [
            Message::text("plain"),
            Message::text(""),
            Message::text("\u{0}\"\\\u{7f}\u{2028}\u{e9}\u{1F600}"),
            Message::binary(every_byte),
            Message::binary(Vec::new()),
            Message::text(big),
        ];
        for (seq, message) in messages.into_iter().enumerate() {
            say(&mut client, message.clone());
            let task = client.receive();
            let (kind, data) = match &message {
                Message::Text(text) => ("text", text.as_str().to_owned()),
                other => {
                    ("binary", base64_simd::STANDARD.encode_to_string(other.clone().into_data()))
                }
            };
            assert_eq!(task["session_id"], open["session_id"]);
            assert_eq!((&task["seq"], &task["kind"]), (&json!(seq), &json!(kind)));
            assert!(task["data"] == data.as_str(), "lost on the way: {data:.80}");
            assert!(task["timestamp"].as_u64().is_some_and(|ms| ms > 1_600_000_000_000));
            assert_eq!(task.as_object().unwrap().len(), 5);
            for _ in 0..3 {
                assert!(next(&mut client) == message, "lost on the way back: {data:.80}");
            }
        }
        client.close();
    });
}

#[test]
fn a_client_is_not_read_while_too_much_is_unfinished() {
    on_both_brokers("inflight = 4", thrice, |gateway| {
        const TASKS: usize = 3_000;
        let mut clients: Vec<Client> = (0..3).map(|_| connect(gateway, RAW).0).collect();
        for client in &mut clients {
            let mut writer = client.socket.get_ref().try_clone().unwrap();
            let write = move || {
                use std::io::Write;
                for n in 0..TASKS {
                    let frame = support::client::masked(0x81, n.to_string().as_bytes());
                    writer.write_all(&frame).expect("written");
                }
            };
            let writing = std::thread::spawn(write);
            for n in 0..TASKS {
                assert_eq!(client.receive()["seq"], n);
                for _ in 0..3 {
                    assert_eq!(next(client), Message::text(n.to_string()));
                }
            }
            writing.join().unwrap();
        }
        assert!(gateway.sum(|m| m.connections.pauses.get()) > 0);
        let all = (3 * TASKS) as u64;
        assert_eq!(gateway.sum(|m| m.tasks.chunks.get()), all);
        assert_eq!(gateway.sum(|m| m.tasks.results.delivered.get()), 4 * all);
        clients.into_iter().for_each(Client::close);
    });
}

#[test]
fn bad_results_disturb_nothing() {
    on_both_brokers("", by_dictation, |gateway| {
        let (mut client, _) = connect(gateway, RAW);
        let dictation = [
            r#"{"seq":SEQ,"data":"first"}"#,
            "junk",
            "",
            "[]",
            "{\"seq\":SEQ",
            r#"{"data":"x","done":true}"#,
            r#"{"seq":"SEQ","data":"x","done":true}"#,
            r#"{"seq":SEQ}"#,
            r#"{"seq":SEQ,"data":"x","data_base64":"AA==","done":true}"#,
            r#"{"seq":SEQ,"data_base64":"AA=","done":true}"#,
            r#"{"seq":SEQ,"data":"\ud800","done":true}"#,
            r#"{"seq":SEQ,"data":7,"done":true}"#,
            r#"{"seq":99,"data":"x","done":true}"#,
            r#"{"seq":SEQ,"data":"x","session_id":"another","done":true}"#,
            r#"{"seq":SEQ,"n":0,"data":"second"}"#,
            r#"{"seq":SEQ,"n":0,"data":"second"}"#,
            r#"{"seq":SEQ,"data_base64":"AAE="}"#,
            r#"{"seq":SEQ,"done":true}"#,
            r#"{"seq":SEQ,"data":"too late"}"#,
        ];
        say(&mut client, dictation.join("\n"));
        say(&mut client, r#"{"seq":SEQ,"data":"next task","done":true}"#);
        let expected = [
            Message::text("first"),
            Message::text("second"),
            Message::binary(vec![0, 1]),
            Message::text("next task"),
        ];
        for message in expected {
            assert_eq!(next(&mut client), message);
        }
        let outcomes = [
            gateway.sum(|m| m.tasks.results.malformed.get()),
            gateway.sum(|m| m.tasks.results.orphaned.get()),
            gateway.sum(|m| m.tasks.results.duplicate.get()),
            gateway.sum(|m| m.tasks.results.late.get()),
            gateway.sum(|m| m.tasks.results.delivered.get()),
        ];
        assert_eq!(outcomes, [11, 2, 1, 1, 5]);
        client.close();
    });
}

#[test]
fn a_task_without_an_end_is_told_as_an_error() {
    on_both_brokers("chunk_deadline = \"300ms\"\ninflight = 1", idle, |gateway| {
        let (mut client, _) = connect(gateway, RAW);
        for seq in 0..3 {
            say(&mut client, "x");
            let expected = json!({"type": "error", "seq": seq, "code": "deadline"});
            assert_eq!(error(&mut client), expected);
        }
        assert_eq!(gateway.sum(|m| m.tasks.chunks_expired.get()), 3);
        client.close();
    });
}

#[test]
fn a_session_goes_on_where_its_client_left_it() {
    let stage = RedisStage::without_worker("0", &[], Some(&file("")));
    let mut redis = stage.commands();
    let (mut client, open) = connect(&stage.gateway, "/ws/raw?session=my%3Asession");
    assert_eq!(open["session_id"], "my:session");
    say(&mut client, "a");
    stage.gateway.until("taken", |g| g.sum(|m| m.tasks.chunks.get()) == 1);
    drop(client);
    stage.gateway.until("gone", |g| g.sum(|m| m.connections.open.get()) == 0);
    publish(&mut redis, "my:session", br#"{"seq":0,"data":"1"}"#);
    publish(&mut redis, "my:session", br#"{"seq":0,"data_base64":"Ag=="}"#);
    stage.gateway.until("kept", |g| g.sum(|m| m.tasks.kept_bytes.get()) > 64);
    let (mut client, open) = connect(&stage.gateway, "/ws/raw?session=my:session");
    assert_eq!((&open["resumed"], &open["next_seq"]), (&json!(true), &json!(1)));
    assert_eq!(next(&mut client), Message::text("1"));
    assert_eq!(next(&mut client), Message::binary(vec![2]));
    // And once more, from under a client that is still there.
    let (mut thief, open) = connect(&stage.gateway, "/ws/raw?session=my:session");
    assert_eq!((&open["resumed"], &open["next_seq"]), (&json!(true), &json!(1)));
    assert_eq!(client.close_code(), 4009);
    publish(&mut redis, "my:session", br#"{"seq":0,"data":"3","done":true}"#);
    assert_eq!(next(&mut thief), Message::text("3"));
    assert_eq!(stage.gateway.sum(|m| m.tasks.sessions.get()), 1);
    assert_eq!(stage.gateway.sum(|m| m.tasks.kept_bytes.get()), 0);
}

#[test]
fn what_a_client_missed_is_bounded_and_told() {
    let flags = [("outbox-bytes", "16KiB")];
    let stage = RedisStage::without_worker("0", &flags, Some(&file("")));
    let mut redis = stage.commands();
    let (mut client, _) = connect(&stage.gateway, "/ws/raw?session=s");
    say(&mut client, "a");
    stage.gateway.until("taken", |g| g.sum(|m| m.tasks.chunks.get()) == 1);
    drop(client);
    stage.gateway.until("gone", |g| g.sum(|m| m.connections.open.get()) == 0);
    for n in 0..300 {
        let data = format!("{n:03}{}", "-".repeat(1_000));
        publish(&mut redis, "s", json!({"seq": 0, "data": data}).to_string().as_bytes());
    }
    // Sixteen outboxes of 16 KiB, and 64 bytes beside each.
    let kept = (16 << 14) / (1_003 + 64);
    stage.gateway.until("some lost", |g| g.sum(|m| m.tasks.results.lost.get()) == 300 - kept);
    let (mut client, _) = connect(&stage.gateway, "/ws/raw?session=s");
    for n in 0..kept {
        let Message::Text(text) = next(&mut client) else { panic!("text") };
        assert!(text.starts_with(&format!("{n:03}-")), "{text:.10}");
    }
    assert_eq!(error(&mut client), json!({"type": "error", "code": "lost", "count": 300 - kept}));
}

#[test]
fn tasks_outlive_a_redis_that_was_lost() {
    let mut stage = RedisStage::without_worker("0", &[], Some(&file("")));
    let (mut client, open) = connect(&stage.gateway, RAW);
    let id = open["session_id"].as_str().unwrap();
    say(&mut client, "before");
    stage.gateway.until("taken", |g| g.sum(|m| m.tasks.chunks.get()) == 1);
    stage.redis.kill();
    stage.gateway.until("down", |g| g.sum(|m| m.broker.up.get()) == 0);
    say(&mut client, "meanwhile");
    stage.redis.restart();
    stage.gateway.until("both taken", |g| g.sum(|m| m.tasks.chunks.get()) == 2);
    let mut redis = commands(&stage.redis);
    let mut hands = Hands::Redis(Box::new(commands(&stage.redis)));
    for (seq, data) in [(0, "before"), (1, "meanwhile")] {
        let task = hands.take().expect("in the queue");
        assert_eq!((&task["seq"], &task["data"]), (&json!(seq), &json!(data)));
        let result = json!({"seq": seq, "data": data, "done": true}).to_string();
        assert_eq!(publish(&mut redis, id, result.as_bytes()), 1, "the subscription is restored");
        assert_eq!(next(&mut client), Message::text(data));
    }
    client.close();
    stage.gateway.until_quiet();
}

#[test]
fn a_name_that_is_none_is_refused_before_the_upgrade() {
    let gateway = TestGateway::start_with("0", &[], Some(&file("")));
    for bad in ["a%2Fb", "a%20b", "%ff", &"x".repeat(129)] {
        let request = format!("{}\r\n", upgrade_request(&format!("/ws/raw?session={bad}")));
        let answer = exchange(gateway.address, request.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("session must be 1 to 128"), "{answer}");
    }
    let (client, _) = connect(&gateway, "/ws/raw?session=");
    client.close();
    gateway.until_quiet();
}

#[test]
fn too_many_sessions_are_told_to_come_back() {
    let gateway = TestGateway::start_with("0", &[], Some(&file("sessions_per_shard = 1")));
    let (_first, _) = connect(&gateway, RAW);
    let mut second = Client::connect(gateway.address, RAW);
    assert_eq!(error(&mut second), json!({"type": "error", "code": "busy"}));
    assert_eq!(second.close_code(), 1013);
}

#[test]
fn a_burst_larger_than_the_outbox_reaches_a_client_that_reads() {
    let stage = RedisStage::without_worker("0", &[("outbox-bytes", "16KiB")], Some(&file("")));
    let mut redis = stage.commands();
    let (mut client, open) = connect(&stage.gateway, RAW);
    let channel = format!("asr_result_{}", open["session_id"].as_str().unwrap());
    say(&mut client, "a");
    stage.gateway.until("taken", |g| g.sum(|m| m.tasks.chunks.get()) == 1);
    let mut burst = redis::pipe();
    for n in 0..100 {
        let data = format!("{n:03}{}", "-".repeat(2_000));
        burst.publish(&channel, json!({"seq": 0, "data": data, "done": n == 99}).to_string());
    }
    let _: Vec<u64> = burst.query(&mut redis).expect("published");
    for n in 0..100 {
        let Message::Text(text) = next(&mut client) else { panic!("text") };
        assert!(text.starts_with(&format!("{n:03}-")), "{text:.10}");
    }
    client.close();
    stage.gateway.until_quiet();
}

/// Echoes with the id of the session, as a channel of a whole shard needs it.
fn echo(task: &Value) -> Vec<Vec<u8>> {
    let (id, seq, data) = (&task["session_id"], &task["seq"], &task["data"]);
    let result = json!({"session_id": id, "seq": seq, "data": data, "done": true});
    vec![result.to_string().into_bytes()]
}

#[test]
fn results_of_a_whole_shard_come_on_one_channel() {
    on_both_brokers("results = \"per-shard\"", echo, |gateway| {
        let mut clients: Vec<Client> = (0..20).map(|_| connect(gateway, RAW).0).collect();
        for round in 0..5 {
            for (n, client) in clients.iter_mut().enumerate() {
                say(client, format!("{n}-{round}"));
            }
        }
        for (n, client) in clients.iter_mut().enumerate() {
            for round in 0..5 {
                assert_eq!(next(client), Message::text(format!("{n}-{round}")));
            }
        }
        assert_eq!(gateway.sum(|m| m.broker.subscriptions.get()), 2, "one a shard");
        clients.into_iter().for_each(Client::close);
    });
}
