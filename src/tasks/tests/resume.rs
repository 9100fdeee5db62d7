//! Sessions without their connection, and clients that are behind with reading.

use super::*;

fn client() -> SocketId {
    socket(1)
}

fn next() -> SocketId {
    socket(2)
}

fn kinds(messages: &[Value]) -> Vec<(&str, u64)> {
    let kind = |message: &Value| message["status"].as_str().is_some_and(|s| s == "session_started");
    messages
        .iter()
        .map(|message| match kind(message) {
            true => ("start", 0),
            false => (message["type"].as_str().unwrap(), message["chunk_index"].as_u64().unwrap()),
        })
        .collect()
}

#[test]
fn what_came_while_nobody_was_there_is_told_to_the_next() {
    let mut world = World::new(TasksConfig::default());
    world.started(client(), "s");
    for index in 0..4 {
        world.chunk(client(), "s", index, AUDIO);
    }
    // Two have been accepted and not acked, one is answered, when the connection goes.
    world.execute();
    world.execute();
    world.publish("s", &result(0, "a"));
    for event in std::mem::take(&mut world.events) {
        world.hear(event);
    }
    assert_eq!(kinds(&world.heard(client())), [("ack", 0), ("ack", 1), ("chunk_result", 0)]);
    world.drop_socket(client());
    assert_eq!(world.metrics.tasks.sessions_detached.get(), 1);
    world.settle();
    world.answer("s", 2, "c");
    assert!(world.sent.is_empty(), "there is nobody");
    world.start(next(), "s");
    let told = world.heard(next());
    let expected = [
        ("start", 0),
        ("chunk_result", 0),
        ("ack", 1),
        ("ack", 2),
        ("chunk_result", 2),
        ("ack", 3),
    ];
    assert_eq!(kinds(&told), expected);
    let metrics = &world.metrics.tasks;
    assert_eq!((metrics.sessions_detached.get(), metrics.sessions_resumed.get()), (0, 1));
    assert_eq!((world.subscribes, world.queue.len()), (1, 4));
    // What it asks for the second time is acked and not queued again.
    world.chunk(next(), "s", 3, AUDIO);
    world.answer("s", 1, "b");
    world.answer("s", 3, "d");
    world.finish(next(), "s");
    let told = world.heard(next());
    assert_eq!(told.last().unwrap()["text"], "a b c d");
    world.drop_socket(next());
    world.assert_empty();
}

#[test]
fn a_finish_from_before_has_its_final_result() {
    let mut world = World::new(TasksConfig::default());
    world.started(client(), "s");
    world.chunk(client(), "s", 0, AUDIO);
    world.settle();
    world.finish(client(), "s");
    world.drop_socket(client());
    world.pass(2_000);
    world.answer("s", 0, "done");
    world.pass(3_000);
    world.heard(client());
    world.start(next(), "s");
    let told = world.heard(next());
    assert_eq!(kinds(&told), [("start", 0), ("chunk_result", 0), ("final_result", 0)]);
    assert_eq!(told[2], final_result("s", "done", 2.0, 1), "the time when it was done");
    assert_eq!(world.metrics.tasks.sessions_complete.get(), 1);
    world.assert_empty();
}

#[test]
fn a_finish_deadline_that_passes_while_nobody_is_there_waits_too() {
    let config = TasksConfig { finish_deadline_ms: 1_000, ..TasksConfig::default() };
    let mut world = World::new(config);
    world.started(client(), "s");
    world.chunk(client(), "s", 0, AUDIO);
    world.settle();
    world.finish(client(), "s");
    world.drop_socket(client());
    world.heard(client());
    world.pass(1_250);
    world.settle();
    assert_eq!(world.metrics.tasks.chunks_expired.get(), 1);
    world.pass(20_000);
    world.start(next(), "s");
    let told = world.heard(next());
    assert_eq!(kinds(&told), [("start", 0), ("ack", 0), ("final_result", 0)]);
    assert_eq!((&told[2]["complete"], &told[2]["missing"]), (&json!(false), &json!([0])));
    assert_eq!(told[2]["duration"], 1.25);
    assert_eq!(world.metrics.tasks.chunks_expired.get(), 1, "counted once");
    world.assert_empty();
}

#[test]
fn nobody_comes_and_the_session_ends() {
    let mut world = World::new(TasksConfig { resume_ms: 5_000, ..TasksConfig::default() });
    world.started(client(), "s");
    world.drop_socket(client());
    world.pass(4_750);
    assert_eq!(world.metrics.tasks.sessions.get(), 1);
    world.pass(500);
    let metrics = &world.metrics.tasks;
    assert_eq!((metrics.resume_expired.get(), metrics.sessions_abandoned.get()), (1, 1));
    world.settle();
    assert!(world.subscriptions.is_empty());
    // A new life.
    world.started(next(), "s");
    world.drop_socket(next());
    world.assert_empty();
}

#[test]
fn a_chunk_that_the_broker_refused_meanwhile_is_told() {
    let mut world = World::new(TasksConfig::default());
    world.started(client(), "s");
    world.refuse_with = Some(broker::Error::Full);
    world.chunk(client(), "s", 3, AUDIO);
    world.drop_socket(client());
    world.settle();
    world.refuse_with = None;
    world.start(next(), "s");
    let told = world.heard(next());
    assert_eq!((&told[1]["code"], &told[1]["rejected_chunk"]), (&json!("busy"), &json!(3)));
    world.chunk(next(), "s", 3, AUDIO);
    world.settle();
    assert_eq!(world.heard(next()), [ack("s", 3)]);
}

#[test]
fn detached_sessions_are_bounded_and_the_oldest_ends() {
    let mut world = World::new(TasksConfig {
        detached_per_shard: 2,
        sessions_per_shard: 4,
        ..TasksConfig::default()
    });
    for (n, id) in ["a", "b", "c"].into_iter().enumerate() {
        world.started(socket(n as u32), id);
    }
    // The order of the disconnects counts, and a resume takes out of it.
    for n in [1, 0] {
        world.drop_socket(socket(n));
    }
    world.started(socket(5), "b");
    world.drop_socket(socket(5));
    world.drop_socket(socket(2));
    let open = |world: &World| -> Vec<&str> {
        ["a", "b", "c"].into_iter().filter(|id| world.tasks.table.find(id).is_some()).collect()
    };
    assert_eq!(open(&world), ["b", "c"]);
    // One more session than the shard can have: again the oldest of them gives way.
    for n in 10..13 {
        world.started(socket(n), &format!("new{n}"));
    }
    assert_eq!(open(&world), ["c"]);
    assert_eq!(world.metrics.tasks.resume_evicted.get(), 2);
    world.started(socket(13), "new13");
    world.start(socket(14), "new14");
    assert_eq!(world.heard(socket(14))[0]["code"], "busy", "those that are there stay");
    (10..15).for_each(|n| world.drop_socket(socket(n)));
    world.assert_empty();
}

#[test]
fn texts_are_bounded_over_all_sessions() {
    let mut world = World::new(TasksConfig { text_bytes_per_shard: 100, ..TasksConfig::default() });
    for (n, id) in ["left", "here"].into_iter().enumerate() {
        world.started(socket(n as u32), id);
        (0..3).for_each(|index| world.chunk(socket(n as u32), id, index, AUDIO));
    }
    world.settle();
    world.answer("left", 0, &"x".repeat(60));
    world.drop_socket(socket(0));
    world.answer("here", 0, &"y".repeat(40));
    assert_eq!(world.metrics.tasks.text_bytes.get(), 100);
    assert_eq!(world.metrics.tasks.resume_evicted.get(), 0, "it fits exactly");
    world.answer("here", 1, "z");
    assert_eq!(world.metrics.tasks.resume_evicted.get(), 1);
    assert_eq!(world.metrics.tasks.text_bytes.get(), 41);
    // With nobody left to give way, what does not fit is delivered and not kept.
    world.answer("here", 2, &"w".repeat(60));
    assert_eq!(world.heard(socket(1)).last().unwrap()["text"], "w".repeat(60));
    world.finish(socket(1), "here");
    assert_eq!(world.heard(socket(1))[0]["missing"], json!([2]));
    world.assert_empty();
}

#[test]
fn results_wait_in_their_session_while_the_outbox_is_full() {
    let mut world = World::new(TasksConfig { outbox_bytes: 1_000, ..TasksConfig::default() });
    world.clients_read = false;
    world.started(client(), "s");
    for index in 0..10 {
        world.chunk(client(), "s", index, AUDIO);
    }
    world.settle();
    world.read_all(client());
    world.heard(client());
    // A message larger than the outbox is no reason to close, nor is the one behind it.
    for index in 0..10 {
        world.answer("s", index, &format!("{index}").repeat(2_000));
    }
    world.finish(client(), "s");
    assert_eq!(kinds(&world.heard(client())), [("chunk_result", 0)]);
    for index in 1..10 {
        world.read_all_once(client());
        assert_eq!(kinds(&world.heard(client())), [("chunk_result", index)]);
    }
    world.read_all_once(client());
    let told = world.heard(client());
    assert_eq!(kinds(&told), [("final_result", 0)]);
    assert_eq!(told[0]["text"].as_str().unwrap().len(), 10 * 2_000 + 9);
    assert!(world.closed.is_empty());
    world.read_all(client());
    world.assert_empty();
}

#[test]
fn a_client_that_does_not_read_is_closed_in_the_end() {
    let mut world =
        World::new(TasksConfig { outbox_bytes: 1_000, unread_ms: 2_000, ..TasksConfig::default() });
    world.clients_read = false;
    world.started(client(), "s");
    world.chunk(client(), "s", 0, AUDIO);
    world.settle();
    // Three times the outbox has three times as long.
    world.answer("s", 0, &"x".repeat(2_500));
    world.pass(5_750);
    assert!(world.closed.is_empty());
    world.pass(500);
    assert_eq!(world.closed, [(client(), CloseCode::SlowConsumer)]);
    world.pass(10_000);
    assert_eq!(world.closed.len(), 1, "once");
    world.drop_socket(client());
    // Nothing is lost to one who comes back.
    world.clients_read = true;
    world.start(next(), "s");
    assert_eq!(kinds(&world.heard(next())), [("start", 0), ("chunk_result", 0)]);
    world.drop_socket(next());
    world.assert_empty();
}
