//! What the contract says of sessions, clause by clause.

use super::*;

fn client() -> SocketId {
    socket(1)
}

#[test]
fn a_session_without_an_id_gets_one() {
    let mut world = World::new(TasksConfig::default());
    world.say(client(), br#"{"action":"start"}"#);
    world.settle();
    let heard = world.heard(client());
    let id = heard[0]["session_id"].as_str().unwrap().to_owned();
    assert_eq!(uuid::Uuid::parse_str(&id).unwrap().get_version_num(), 4);
    world.chunk(client(), &id, 0, AUDIO);
    world.settle();
    assert_eq!(world.heard(client()), [ack(&id, 0)]);
}

#[test]
fn the_task_is_what_workers_read() {
    let mut world = World::new(TasksConfig::default());
    world.started(client(), "s");
    // A client whose JSON escapes the slash means the same audio.
    world.say(
        client(),
        br#"{"action":"chunk","session_id":"s","chunk_index":9,"audio_data":"\/+8="}"#,
    );
    let Some(Ask::Push { key, value, .. }) = world.submitted.front() else { panic!("a push") };
    assert_eq!(&**key, "asr_chunk_queue");
    let expected =
        r#"{"session_id":"s","chunk_index":9,"audio_data":"/+8=","timestamp":1700000000000}"#;
    assert_eq!(std::str::from_utf8(value), Ok(expected));
}

#[test]
fn nothing_is_acked_before_the_broker_has_it() {
    let mut world = World::new(TasksConfig::default());
    world.start(client(), "s");
    world.chunk(client(), "s", 0, AUDIO);
    world.chunk(client(), "s", 1, "");
    assert_eq!(world.heard(client()), Vec::<Value>::new());
    world.execute();
    world.execute();
    let [subscribed, pushed] = std::mem::take(&mut world.events).try_into().unwrap();
    // Even where the answers come in another order, the start ack is first.
    world.hear(pushed);
    assert_eq!(world.heard(client()), Vec::<Value>::new());
    world.hear(subscribed);
    let heard = world.heard(client());
    assert_eq!(heard[0]["status"], "session_started");
    assert_eq!(heard[1..], [ack("s", 0), ack("s", 1), chunk_result("s", 1, "")]);
}

#[test]
fn a_result_before_its_pushed_is_preceded_by_the_ack() {
    let mut world = World::new(TasksConfig::default());
    world.started(client(), "s");
    world.chunk(client(), "s", 0, AUDIO);
    world.execute();
    let pushed = world.events.pop().unwrap();
    world.publish("s", &result(0, "fast"));
    world.settle();
    assert_eq!(world.heard(client()), [ack("s", 0), chunk_result("s", 0, "fast")]);
    world.hear(pushed);
    assert!(world.heard(client()).is_empty());
    assert_eq!(world.metrics.tasks.chunks.get(), 1);
}

#[test]
fn a_repeated_chunk_is_acked_again_and_not_queued_again() {
    let mut world = World::new(TasksConfig::default());
    world.started(client(), "s");
    for _ in 0..3 {
        world.chunk(client(), "s", 4, AUDIO);
        world.settle();
    }
    assert_eq!(world.heard(client()), [ack("s", 4), ack("s", 4), ack("s", 4)]);
    assert_eq!(world.queue.len(), 1);
    let metrics = &world.metrics.tasks;
    assert_eq!((metrics.chunks.get(), metrics.chunks_repeated.get()), (1, 2));
}

#[test]
fn results_merge_in_the_order_of_the_indexes() {
    let mut world = World::new(TasksConfig::default());
    world.started(client(), "s");
    for index in [9, 2, 4, 0] {
        world.chunk(client(), "s", index, AUDIO);
    }
    world.settle();
    for (index, text) in [(4, "three"), (0, "one"), (9, ""), (2, "two"), (2, "again")] {
        world.answer("s", index, text);
    }
    world.publish("s", &result(77, "nobody's"));
    world.publish("s", r#"{"chunk_index":0,"text":"x","error":"late"}"#);
    world.settle();
    world.heard(client());
    world.finish(client(), "s");
    assert_eq!(world.heard(client()), [final_result("s", "one two three", 0.0, 4)]);
    let results = &world.metrics.tasks.results;
    assert_eq!(
        (results.delivered.get(), results.duplicate.get(), results.orphaned.get()),
        (4, 2, 1)
    );
    world.assert_empty();
}

#[test]
fn a_workers_error_is_an_answer() {
    let mut world = World::new(TasksConfig::default());
    world.started(client(), "s");
    world.chunk(client(), "s", 0, AUDIO);
    world.settle();
    world.publish("s", r#"{"chunk_index":0,"text":"","duration":0,"error":"no model"}"#);
    world.settle();
    let mut expected = chunk_result("s", 0, "");
    expected["error"] = "no model".into();
    assert_eq!(world.heard(client()), [ack("s", 0), expected]);
}

#[test]
fn a_client_that_comes_back_gets_what_it_missed() {
    let mut world = World::new(TasksConfig::default());
    for payload in [&result(1, "b"), &result(0, "a"), "junk", &result(1, "b")] {
        world.put_in_cache("s", payload);
    }
    world.start(client(), "s");
    // Nothing is lost to a finish that comes before the cache was read.
    world.finish(client(), "s");
    world.settle();
    let heard = world.heard(client());
    assert_eq!(heard[0]["status"], "session_started");
    let expected =
        [chunk_result("s", 1, "b"), chunk_result("s", 0, "a"), final_result("s", "a b", 0.0, 2)];
    assert_eq!(heard[1..], expected);
    world.assert_empty();
}

#[test]
fn another_connection_takes_a_session_over() {
    let mut world = World::new(TasksConfig::default());
    let (old, new) = (socket(1), socket(2));
    world.started(old, "s");
    for index in 0..3 {
        world.chunk(old, "s", index, AUDIO);
    }
    world.settle();
    world.answer("s", 1, "b");
    world.heard(old);
    world.start(new, "s");
    assert_eq!(world.closed, [(old, CloseCode::TakenOver)]);
    let heard = world.heard(new);
    assert_eq!(heard[0]["status"], "session_started");
    // Which of its acks and results the old one has read, nobody knows.
    assert_eq!(heard[1..], [ack("s", 0), chunk_result("s", 1, "b"), ack("s", 2)]);
    // What the old one still says is not heard, not even a start.
    world.chunk(old, "s", 5, AUDIO);
    world.start(old, "s");
    world.answer("s", 0, "a");
    world.drop_socket(old);
    world.answer("s", 2, "c");
    assert_eq!(world.heard(old), Vec::<Value>::new());
    world.finish(new, "s");
    let expected =
        [chunk_result("s", 0, "a"), chunk_result("s", 2, "c"), final_result("s", "a b c", 0.0, 3)];
    assert_eq!(world.heard(new), expected);
    assert_eq!(world.subscribes, 1);
    world.assert_empty();
}

#[test]
fn a_session_is_its_owners_alone() {
    let mut world = World::new(TasksConfig::default());
    let stranger = socket(2);
    world.started(client(), "s");
    world.chunk(stranger, "s", 0, AUDIO);
    world.finish(stranger, "s");
    let unknown = error(Some("s"), "session_not_found", "Session not found: s");
    assert_eq!(world.heard(stranger), [unknown.clone(), unknown]);
    assert!(world.heard(client()).is_empty());
    assert_eq!(world.metrics.tasks.errors.get(), 2);
}

#[test]
fn errors_have_the_texts_that_clients_know() {
    let mut world = World::new(TasksConfig::default());
    world.started(client(), "s");
    for (message, id, code, text) in [
        ("nonsense", None, "bad_message", "Invalid message format"),
        (r#"{"action":"a\"b"}"#, None, "unknown_action", "Unknown action: a\"b"),
        (r#"{"action":"finish"}"#, None, "session_not_found", "Session not found: "),
        (
            r#"{"action":"chunk","session_id":"s","chunk_index":-1}"#,
            Some("s"),
            "bad_chunk",
            "chunk_index out of range",
        ),
        (
            r#"{"action":"chunk","session_id":"s","audio_data":"A"}"#,
            Some("s"),
            "bad_chunk",
            "audio_data is not base64",
        ),
    ] {
        world.say(client(), message.as_bytes());
        assert_eq!(world.heard(client()), [error(id, code, text)]);
    }
    let long = json!({"action": "ä".repeat(10_000)}).to_string();
    world.say(client(), long.as_bytes());
    assert!(world.heard(client())[0]["message"].as_str().unwrap().len() < 300);
    assert!(!world.tasks.has_open_work(client()), "nothing of it was queued");
}

#[test]
fn every_table_has_its_limit() {
    let mut world = World::new(TasksConfig {
        sessions_per_connection: 2,
        sessions_per_shard: 3,
        chunks_per_session: 2,
        ..TasksConfig::default()
    });
    let other = socket(2);
    world.started(client(), "a");
    world.started(client(), "b");
    world.start(client(), "c");
    assert_eq!(world.heard(client()), [error(Some("c"), "busy", "System busy")]);
    world.started(other, "c");
    world.start(other, "d");
    assert_eq!(world.heard(other), [error(Some("d"), "busy", "System busy")]);
    for index in 0..3 {
        world.chunk(other, "c", index, "");
    }
    let heard = world.heard(other);
    assert_eq!(heard[4..], [error(Some("c"), "too_large", "Too many chunks in this session")]);
    world.drop_socket(client());
    world.drop_socket(other);
    world.assert_empty();
}

#[test]
fn a_text_beyond_the_limit_is_delivered_but_missing_in_the_merge() {
    let config = TasksConfig { session_text_bytes: 4, ..TasksConfig::default() };
    let mut world = World::new(config);
    world.started(client(), "s");
    for index in 0..3 {
        world.chunk(client(), "s", index, AUDIO);
    }
    world.settle();
    world.heard(client());
    for (index, text) in [(0, "abc"), (1, "de"), (2, "f")] {
        world.answer("s", index, text);
    }
    assert_eq!(world.heard(client())[1], chunk_result("s", 1, "de"));
    world.finish(client(), "s");
    let last = world.heard(client()).pop().unwrap();
    assert_eq!((&last["text"], &last["missing"]), (&json!("abc f"), &json!([1])));
    assert_eq!(world.metrics.tasks.sessions_partial.get(), 1);
}

#[test]
fn the_cache_is_read_before_a_chunk_is_given_up() {
    let config = TasksConfig { chunk_deadline_ms: 1_000, ..TasksConfig::default() };
    let mut world = World::new(config);
    world.started(client(), "s");
    world.chunk(client(), "s", 0, AUDIO);
    world.chunk(client(), "s", 1, AUDIO);
    world.settle();
    world.put_in_cache("s", &result(1, "cached"));
    world.heard(client());
    world.pass(750);
    assert!(world.submitted.is_empty(), "not before the deadline");
    world.pass(500);
    world.settle();
    assert_eq!(world.heard(client()), [chunk_result("s", 1, "cached")]);
    assert_eq!(world.metrics.tasks.chunks_expired.get(), 1);
    assert!(!world.tasks.has_open_work(client()));
    // Late is better than never.
    world.answer("s", 0, "late");
    assert_eq!(world.heard(client()), [chunk_result("s", 0, "late")]);
    assert_eq!(world.metrics.tasks.results.late.get(), 1);
    world.finish(client(), "s");
    assert_eq!(world.heard(client()), [final_result("s", "late cached", 1.25, 2)]);
}

#[test]
fn a_gap_in_the_subscription_is_read_from_the_cache() {
    let mut world = World::new(TasksConfig::default());
    world.started(client(), "s");
    world.chunk(client(), "s", 0, AUDIO);
    world.settle();
    world.hear(Event::Down { reason: "test".into() });
    world.put_in_cache("s", &result(0, "unheard"));
    world.start(client(), "t");
    world.hear(Event::Up);
    world.hear(Event::Subscribed("asr_result_s".into()));
    world.settle();
    let busy = error(Some("t"), "broker_unavailable", "System busy");
    assert_eq!(world.heard(client()), [ack("s", 0), busy, chunk_result("s", 0, "unheard")]);
    assert_eq!(world.subscribes, 1);
}

#[test]
fn a_broker_that_is_away_keeps_no_final_result_back() {
    let mut world = World::new(TasksConfig::default());
    world.started(client(), "s");
    world.chunk(client(), "s", 0, AUDIO);
    world.finish(client(), "s");
    world.pass(60_000 + crate::limits::TASKS_FINAL_LOOK_MS + 500);
    let heard = world.heard(client());
    assert_eq!((&heard[0]["complete"], &heard[0]["missing"]), (&json!(false), &json!([0])));
    // What comes afterwards is nobody's.
    world.settle();
    assert!(world.heard(client()).is_empty());
    world.assert_empty();
}

#[test]
fn a_refused_subscription_ends_the_session() {
    let mut world = World::new(TasksConfig::default());
    for (failure, code) in [
        (broker::Error::Full, "busy"),
        (broker::Error::Refused("ERR".into()), "broker_unavailable"),
    ] {
        world.start(client(), "s");
        world.execute();
        world.events.clear();
        world.hear(Event::SubscribeFailed("asr_result_s".into(), failure));
        assert_eq!(world.heard(client()), [error(Some("s"), code, "System busy")]);
        assert_eq!(world.tasks.sessions_of(client()), 0);
        world.assert_empty();
    }
}

#[test]
fn a_client_too_far_ahead_is_not_read() {
    let mut world = World::new(TasksConfig { inflight: 2, ..TasksConfig::default() });
    world.started(client(), "s");
    for index in 0..5 {
        world.chunk(client(), "s", index, AUDIO);
    }
    assert!(world.paused.contains(&client()));
    world.settle();
    assert_eq!(world.queue.len(), 5, "what was read is taken");
    for index in 0..3 {
        world.answer("s", index, "x");
        assert!(world.paused.contains(&client()));
    }
    world.answer("s", 3, "x");
    assert!(world.paused.is_empty());
}

#[test]
fn an_id_is_open_on_one_route_at_a_time() {
    let (mut world, other) = (World::new(TasksConfig::default()), RouteTag::new(6).unwrap());
    let ids = OpenIds::default();
    let tasks = Tasks::new(world.tasks.config.clone(), world.metrics.clone(), other);
    let mut tasks = tasks.with_open_ids(ids.clone());
    world.tasks.open_ids = ids;
    let mut start = |world: &World, client: SocketId| {
        let mut actions = Vec::new();
        let message = br#"{"action":"start","session_id":"s"}"#;
        tasks.on_message(client, Kind::Text, message, world.now, &mut actions);
        tasks.sessions_of(client)
    };
    world.started(client(), "s");
    assert_eq!(start(&world, socket(2)), 0);
    world.finish(client(), "s");
    assert_eq!(start(&world, socket(2)), 1);
    world.heard(client());
    world.start(client(), "s");
    let message = "session_id is open on another route";
    assert_eq!(world.heard(client()), [error(Some("s"), "bad_session_id", message)]);
}

#[test]
fn what_is_not_this_routes_is_given_back() {
    let mut world = World::new(TasksConfig::default());
    world.started(client(), "s");
    let stranger = RouteTag::new(6).unwrap();
    let key = ticket::SessionKey { slot: 0, generation: 0 };
    for event in [
        Event::Pushed(ticket::issue(stranger, key, Purpose::Push(0))),
        Event::Subscribed("asr_result_t".into()),
        Event::Message { channel: "prices:s".into(), payload: vec![] },
        Event::Up,
    ] {
        let given_back = world.tasks.on_event(event.clone(), world.now, &mut Vec::new());
        assert_eq!(given_back, Some(event));
    }
    world.hear(Event::Message { channel: "asr_result_gone".into(), payload: vec![] });
    assert_eq!(world.metrics.tasks.results.orphaned.get(), 1);
}
