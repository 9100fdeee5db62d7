//! Binary frames as chunks, and sessions without chunk acks.

use super::*;

fn client() -> SocketId {
    socket(1)
}

fn start_ack(id: &str, next_chunk: Option<u32>) -> Value {
    let mut ack = json!({
        "type": "ack", "session_id": id, "chunk_index": 0, "status": "session_started",
    });
    if let Some(next_chunk) = next_chunk {
        ack["next_chunk"] = next_chunk.into();
    }
    ack
}

fn started(world: &mut World, id: &str) {
    world.start_as(client(), id, json!({"binary": true}));
    world.settle();
    assert_eq!(world.heard(client()), [start_ack(id, Some(0))]);
}

fn frame(world: &mut World, from: SocketId, audio: &[u8]) {
    world.say_in(Kind::Binary, from, audio);
    world.settle();
}

#[test]
fn binary_frames_are_counted_and_encoded() {
    let mut world = World::new(TasksConfig::default());
    started(&mut world, "s");
    // Even one that would be a command elsewhere.
    for audio in [&b"\xfb\xf0"[..], b"", br#"{"action":"finish","session_id":"s"}"#] {
        frame(&mut world, client(), audio);
    }
    let queued: Vec<_> =
        world.queue.iter().map(|task| (&task["chunk_index"], &task["audio_data"])).collect();
    let long = "eyJhY3Rpb24iOiJmaW5pc2giLCJzZXNzaW9uX2lkIjoicyJ9";
    assert_eq!(queued, [(&json!(0), &json!("+/A=")), (&json!(2), &json!(long))]);
    let expected = [ack("s", 0), ack("s", 1), chunk_result("s", 1, ""), ack("s", 2)];
    assert_eq!(world.heard(client()), expected);
    // A text frame is a command still, and counts.
    world.chunk(client(), "s", 7, AUDIO);
    frame(&mut world, client(), b"x");
    assert_eq!(world.heard(client()), [ack("s", 7), ack("s", 8)]);
    world.finish(client(), "s");
    frame(&mut world, client(), b"late");
    let refused = error(Some("s"), "bad_message", "Session is finishing");
    assert_eq!(world.heard(client()), [refused]);
    for index in [0, 2, 7, 8] {
        world.answer("s", index, "x");
    }
    assert_eq!(world.heard(client()).last().unwrap()["text"], "x x x x");
    // With the session its binary frames are over.
    frame(&mut world, client(), br#"{"action":"start","session_id":"t"}"#);
    assert_eq!(world.heard(client()), [start_ack("t", None)]);
    world.drop_socket(client());
    world.assert_empty();
}

#[test]
fn one_binary_session_at_a_time() {
    let mut world = World::new(TasksConfig::default());
    started(&mut world, "s");
    world.started(client(), "text");
    world.start_as(client(), "t", json!({"binary": true}));
    let message = "Another binary session is open on this connection";
    let refused = error(Some("t"), "bad_message", message);
    assert_eq!(world.heard(client()), std::slice::from_ref(&refused));
    world.start_as(client(), "text", json!({"binary": true}));
    assert_eq!(world.heard(client())[0]["code"], "bad_message");
    // Nor by taking over one that is binary.
    world.start_as(socket(2), "t", json!({"binary": true}));
    world.settle();
    world.start(client(), "t");
    assert_eq!(world.heard(client()), [refused]);
    assert!(world.closed.is_empty());
    // The session itself may say so again, or leave off.
    world.start_as(client(), "s", json!({"binary": true}));
    world.start_as(client(), "s", json!({"binary": false}));
    world.start_as(client(), "text", json!({"binary": true}));
    let acks = [start_ack("s", Some(0)), start_ack("s", None), start_ack("text", Some(0))];
    assert_eq!(world.heard(client()), acks);
    frame(&mut world, client(), b"x");
    assert_eq!(world.heard(client()), [ack("text", 0)]);
}

#[test]
fn the_count_goes_on_after_a_resume_and_after_the_cache() {
    let mut world = World::new(TasksConfig::default());
    started(&mut world, "s");
    frame(&mut world, client(), b"x");
    frame(&mut world, client(), b"y");
    world.drop_socket(client());
    // What it was, it stays.
    let next = socket(2);
    world.start(next, "s");
    assert_eq!(world.heard(next), [start_ack("s", Some(2)), ack("s", 0), ack("s", 1)]);
    frame(&mut world, next, b"z");
    assert_eq!(world.heard(next), [ack("s", 2)]);

    world.heard(client());
    // Its life is over, and workers have cached an answer: the ack waits for that.
    world.put_in_cache("old", &result(4, "four"));
    world.start_as(client(), "old", json!({"binary": true}));
    world.execute();
    let subscribed = world.events.pop().unwrap();
    world.hear(subscribed);
    assert_eq!(world.heard(client()), Vec::<Value>::new());
    world.settle();
    let told = [start_ack("old", Some(5)), chunk_result("old", 4, "four")];
    assert_eq!(world.heard(client()), told);
    frame(&mut world, client(), b"five");
    assert_eq!(world.heard(client()), [ack("old", 5)]);
}

#[test]
fn no_index_after_the_last_one() {
    let mut world = World::new(TasksConfig::default());
    started(&mut world, "s");
    world.chunk(client(), "s", u32::MAX.into(), "");
    world.heard(client());
    frame(&mut world, client(), b"x");
    assert_eq!(world.heard(client()), [error(Some("s"), "bad_chunk", "no chunk_index is left")]);
}

#[test]
fn without_acks_only_chunk_acks_are_missing() {
    let mut world = World::new(TasksConfig::default());
    world.start_as(client(), "s", json!({"acks": false}));
    world.settle();
    assert_eq!(world.heard(client()), [start_ack("s", None)]);
    world.chunk(client(), "s", 0, AUDIO);
    world.chunk(client(), "s", 0, AUDIO);
    world.chunk(client(), "s", 1, "");
    world.settle();
    assert_eq!(world.heard(client()), [chunk_result("s", 1, "")]);
    world.answer("s", 0, "zero");
    assert_eq!(world.heard(client()), [chunk_result("s", 0, "zero")]);
    assert_eq!(world.metrics.tasks.acks.get(), 1);
    world.drop_socket(client());
    world.start(client(), "s");
    let told = [start_ack("s", None), chunk_result("s", 0, "zero"), chunk_result("s", 1, "")];
    assert_eq!(world.heard(client()), told);
    world.start_as(client(), "s", json!({"acks": true}));
    world.chunk(client(), "s", 0, AUDIO);
    assert_eq!(world.heard(client()), [start_ack("s", None), ack("s", 0)]);
}
