//! One promise a test.

use super::*;

fn client() -> SocketId {
    socket(1)
}

#[test]
fn the_open_frame_comes_once_results_are_heard() {
    let mut world = World::new(RawConfig::default());
    world.connect(client(), None);
    world.execute();
    assert!(world.heard(client()).is_empty(), "not before the subscription is confirmed");
    world.settle();
    let heard = world.heard(client());
    let Heard::Text(open) = &heard[0] else { panic!("{heard:?}") };
    let open: Value = serde_json::from_str(open).unwrap();
    let id = open["session_id"].as_str().unwrap();
    assert_eq!(uuid::Uuid::parse_str(id).unwrap().get_version_num(), 4);
    assert_eq!(heard, [opened(id, false, 0)]);
    assert!(!world.tasks.has_open_work(client()));
    // Nobody named it and nothing is open: it ends with its connection.
    world.disconnect(client());
    world.assert_empty();
    assert_eq!(world.metrics.tasks.sessions_complete.get(), 1);
}

#[test]
fn a_query_names_the_session() {
    let requested = |query| requested_session(query).map(|id| id.map(|id| id.to_string()));
    assert_eq!(requested(Some("token=x&session=a%3A1")), Ok(Some("a:1".into())));
    for none in [None, Some(""), Some("session="), Some("x=y")] {
        assert_eq!(requested(none), Ok(None));
    }
    for bad in ["session=a/b", "session=%ff", "session=a%20b", "session=%00"] {
        assert_eq!(requested(Some(bad)), Err(BadSessionId), "{bad}");
    }
}

#[test]
fn every_message_is_a_task_and_every_result_a_message() {
    let mut world = World::new(RawConfig::default());
    world.connected(client(), "s");
    world.say(client(), &text("say \"hi\"\n\u{1F600}"));
    world.say(client(), &Heard::Binary(vec![0xff, 0, 7]));
    world.settle();
    let task = |seq, kind, data| {
        json!({
            "session_id": "s", "seq": seq, "kind": kind, "data": data,
            "timestamp": 1_700_000_000_000_u64,
        })
    };
    let expected = [task(0, "text", "say \"hi\"\n\u{1F600}"), task(1, "binary", "/wAH")];
    assert_eq!(world.queue, expected);
    assert!(world.tasks.has_open_work(client()));
    world.publish("s", json!({"seq": 1, "data_base64": "AAE="}));
    world.publish("s", json!({"seq": 0, "data": "one\u{0}\"\u{e9}", "session_id": "s"}));
    world.publish("s", json!({"seq": 1, "data": "", "done": true}));
    world.publish("s", json!({"seq": 0, "data": "two"}));
    world.publish("s", json!({"seq": 0, "done": true}));
    let expected = [Heard::Binary(vec![0, 1]), text("one\u{0}\"\u{e9}"), text(""), text("two")];
    assert_eq!(world.heard(client()), expected);
    assert!(!world.tasks.has_open_work(client()));
    assert_eq!(world.metrics.tasks.results.delivered.get(), 5);
    assert_eq!(world.metrics.tasks.chunks.get(), 2);
}

#[test]
fn tasks_sent_before_the_open_frame_are_taken() {
    let mut world = World::new(RawConfig::default());
    world.connect(client(), Some("session=s"));
    world.refuse_with = Some(BrokerError::Full);
    world.say(client(), &text("a"));
    // A refusal by the shard's own bound overtakes the subscription.
    let Some(Ask::Push { ticket, .. }) = world.submitted.pop_back() else { panic!("a push") };
    world.hear(Event::PushFailed(ticket, BrokerError::Full));
    assert!(world.heard(client()).is_empty(), "the open frame is the first");
    world.settle();
    let heard = world.heard(client());
    assert_eq!((&heard[0], error_of(&heard[1])), (&opened("s", false, 1), refused(0, "busy")));
}

#[test]
fn a_refused_task_is_told_by_its_number() {
    let mut world = World::new(RawConfig::default());
    world.connected(client(), "s");
    for (seq, failure, code) in [
        (0, BrokerError::Full, "busy"),
        (1, BrokerError::Refused("OOM".into()), "broker_unavailable"),
    ] {
        world.refuse_with = Some(failure);
        world.say(client(), &text("a"));
        world.settle();
        assert_eq!(error_of(&world.heard(client())[0]), refused(seq, code));
        assert!(!world.tasks.has_open_work(client()));
    }
    assert_eq!((world.metrics.tasks.errors.get(), world.metrics.tasks.chunks.get()), (2, 0));
}

#[test]
fn a_task_past_its_deadline_is_told_and_frees_its_place() {
    let config = RawConfig { task_deadline_ms: 1_000, inflight: 1, ..RawConfig::default() };
    let mut world = World::new(config);
    world.connected(client(), "s");
    world.say(client(), &text("a"));
    assert!(world.paused.contains(&client()));
    world.settle();
    world.publish("s", json!({"seq": 0, "data": "part"}));
    world.pass(750);
    assert_eq!(world.heard(client()), [text("part")], "not before the deadline");
    world.pass(500);
    assert_eq!(error_of(&world.heard(client())[0]), refused(0, "deadline"));
    assert!(world.paused.is_empty());
    // The client was told that nothing more will come.
    world.publish("s", json!({"seq": 0, "data": "late", "done": true}));
    assert!(world.heard(client()).is_empty());
    let metrics = &world.metrics.tasks;
    assert_eq!((metrics.chunks_expired.get(), metrics.results.late.get()), (1, 1));
}

#[test]
fn a_client_too_far_ahead_is_not_read() {
    let mut world = World::new(RawConfig { inflight: 2, ..RawConfig::default() });
    world.connected(client(), "s");
    for expected in [false, true, true] {
        world.say(client(), &text("a"));
        assert_eq!(world.paused.contains(&client()), expected);
    }
    world.settle();
    assert_eq!(world.queue.len(), 3, "what was read is taken");
    for (seq, expected) in [(0, true), (2, false)] {
        world.publish("s", json!({"seq": seq, "data": "x"}));
        assert!(world.paused.contains(&client()), "only the end of a task frees its place");
        world.publish("s", json!({"seq": seq, "done": true}));
        assert_eq!(world.paused.contains(&client()), expected);
    }
}

#[test]
fn what_is_no_result_disturbs_nothing() {
    let mut world = World::new(RawConfig::default());
    world.connected(client(), "s");
    world.say(client(), &text("a"));
    world.settle();
    for bad in [
        "",
        "junk",
        "[]",
        r#"{"data":"x","done":true}"#,
        r#"{"seq":0}"#,
        r#"{"seq":0,"data":"x","data_base64":"AA==","done":true}"#,
        r#"{"seq":0,"data_base64":"?","done":true}"#,
        r#"{"seq":0,"data":"\ud800","done":true}"#,
    ] {
        world.publish_bytes("s", bad.as_bytes().to_vec());
    }
    world.publish_bytes("s", vec![b' '; crate::limits::RAW_RESULT_BYTES + 1]);
    world.publish("s", json!({"seq": 1, "data": "x"}));
    world.publish("s", json!({"seq": 0, "data": "x", "session_id": "t", "done": true}));
    assert!(world.heard(client()).is_empty());
    world.publish("s", json!({"seq": 0, "data": "x", "done": true}));
    world.publish("s", json!({"seq": 0, "data": "x", "done": true}));
    assert_eq!(world.heard(client()), [text("x")]);
    let results = &world.metrics.tasks.results;
    let counts = (results.malformed.get(), results.orphaned.get(), results.late.get());
    assert_eq!((counts, results.delivered.get()), ((9, 2, 1), 1));
}

#[test]
fn two_workers_with_the_same_task_are_one_to_the_client() {
    let mut world = World::new(RawConfig::default());
    world.connected(client(), "s");
    world.say(client(), &text("a"));
    world.settle();
    for (number, done) in [(0, false), (0, false), (1, false), (1, false), (2, true), (2, true)] {
        let result = json!({"seq": 0, "n": number, "data": number.to_string(), "done": done});
        world.publish("s", result);
    }
    assert_eq!(world.heard(client()), [text("0"), text("1"), text("2")]);
    let results = &world.metrics.tasks.results;
    assert_eq!((results.duplicate.get(), results.late.get()), (2, 1));
}

#[test]
fn a_gap_in_numbered_results_is_told() {
    let mut world = World::new(RawConfig::default());
    world.connected(client(), "s");
    world.say(client(), &text("a"));
    world.settle();
    world.publish("s", json!({"seq": 0, "n": 0, "data": "0"}));
    world.hear(Event::Down { reason: "test".into() });
    world.hear(Event::Up);
    world.hear(Event::Subscribed("asr_result_s".into()));
    world.publish("s", json!({"seq": 0, "n": 3, "data": "3", "done": true}));
    let heard = world.heard(client());
    let lost = json!({"type": "error", "seq": 0, "code": "lost", "count": 2});
    assert_eq!((&heard[0], error_of(&heard[1]), &heard[2]), (&text("0"), lost, &text("3")));
}

#[test]
fn a_client_that_comes_back_gets_what_came_meanwhile() {
    let mut world = World::new(RawConfig { inflight: 2, ..RawConfig::default() });
    world.connected(client(), "s");
    world.say(client(), &text("a"));
    world.say(client(), &text("b"));
    world.settle();
    world.disconnect(client());
    world.publish("s", json!({"seq": 0, "data": "1"}));
    world.publish("s", json!({"seq": 1, "data_base64": "Ag==", "done": true}));
    let results = &world.metrics.tasks.results;
    assert_eq!((results.delivered.get(), world.metrics.tasks.kept_bytes.get() > 0), (0, true));
    world.connect(socket(2), Some("session=s"));
    let expected = [opened("s", true, 2), text("1"), Heard::Binary(vec![2])];
    assert_eq!(world.heard(socket(2)), expected);
    world.say(socket(2), &text("c"));
    assert!(world.paused.contains(&socket(2)), "its place is still taken");
    world.settle();
    assert_eq!(world.queue.last().unwrap()["seq"], 2);
    world.publish("s", json!({"seq": 0, "done": true}));
    world.publish("s", json!({"seq": 2, "data": "3", "done": true}));
    assert_eq!(world.heard(socket(2)), [text("3")]);
    assert!(world.paused.is_empty() && world.closed.is_empty());
    world.disconnect(socket(2));
    world.pass(60_250);
    world.assert_empty();
    assert_eq!(world.metrics.tasks.sessions_complete.get(), 1);
}

#[test]
fn a_session_ends_when_its_client_stays_away() {
    let mut world = World::new(RawConfig::default());
    world.connected(client(), "s");
    world.say(client(), &text("a"));
    world.settle();
    world.disconnect(client());
    world.publish("s", json!({"seq": 0, "data": "1"}));
    world.pass(59_000);
    assert_eq!(world.metrics.tasks.sessions.get(), 1);
    world.pass(1_250);
    world.assert_empty();
    let metrics = &world.metrics.tasks;
    assert_eq!((metrics.sessions_abandoned.get(), metrics.results.lost.get()), (1, 1));
    // A client that comes back after that starts anew.
    world.connected(client(), "s");
}

#[test]
fn an_unnamed_session_is_kept_for_what_is_open() {
    let mut world = World::new(RawConfig::default());
    world.connect(client(), None);
    world.say(client(), &text("a"));
    world.settle();
    let id = world.queue[0]["session_id"].as_str().unwrap().to_owned();
    world.disconnect(client());
    world.publish(&id, json!({"seq": 0, "data": "1", "done": true}));
    world.connect(socket(2), Some(&format!("session={id}")));
    assert_eq!(world.heard(socket(2)), [opened(&id, true, 1), text("1")]);
    world.disconnect(socket(2));
    world.assert_empty();
}

#[test]
fn without_resume_a_session_ends_with_its_connection() {
    let mut world = World::new(RawConfig { resume_ms: 0, ..RawConfig::default() });
    world.connected(client(), "s");
    world.say(client(), &text("a"));
    world.disconnect(client());
    world.assert_empty();
    assert_eq!(world.metrics.tasks.sessions_abandoned.get(), 1);
}

#[test]
fn what_is_kept_is_bounded_and_the_loss_is_told() {
    let one = 1 + crate::limits::RAW_KEPT_FRAME_BYTES;
    let mut world = World::new(RawConfig { kept_bytes: 2 * one, ..RawConfig::default() });
    world.connected(client(), "s");
    world.say(client(), &text("a"));
    world.settle();
    world.disconnect(client());
    for data in ["1", "2", "333", "4"] {
        world.publish("s", json!({"seq": 0, "data": data}));
    }
    assert_eq!(world.metrics.tasks.kept_bytes.get(), 2 * one as u64);
    world.connect(socket(2), Some("session=s"));
    let heard = world.heard(socket(2));
    assert_eq!(heard[..3], [opened("s", true, 1), text("1"), text("2")]);
    assert_eq!(error_of(&heard[3]), json!({"type": "error", "code": "lost", "count": 2}));
    let results = &world.metrics.tasks.results;
    assert_eq!((results.delivered.get(), results.lost.get()), (2, 2));
    world.publish("s", json!({"seq": 0, "data": "5", "done": true}));
    assert_eq!(world.heard(socket(2)), [text("5")]);
}

#[test]
fn another_connection_takes_a_session_over() {
    let mut world = World::new(RawConfig { inflight: 1, ..RawConfig::default() });
    world.connected(client(), "s");
    world.say(client(), &text("a"));
    world.connect(socket(2), Some("session=s"));
    assert_eq!(world.closed, [(client(), CloseCode::TakenOver)]);
    assert_eq!(world.heard(socket(2)), [opened("s", true, 1)]);
    assert!(world.paused.contains(&socket(2)));
    // What the old one still says is not heard, and its end is nobody's.
    world.say(client(), &text("b"));
    world.disconnect(client());
    world.settle();
    assert_eq!(world.queue.len(), 1);
    world.publish("s", json!({"seq": 0, "data": "1", "done": true}));
    assert_eq!(world.heard(socket(2)), [text("1")]);
    assert!(world.heard(client()).is_empty() && world.paused.is_empty());
}

#[test]
fn the_table_has_its_limit() {
    let mut world = World::new(RawConfig { sessions_per_shard: 1, ..RawConfig::default() });
    world.connected(client(), "s");
    world.connect(socket(2), Some("session=t"));
    let heard = world.heard(socket(2));
    assert_eq!(error_of(&heard[0]), json!({"type": "error", "code": "busy"}));
    assert_eq!(world.closed, [(socket(2), CloseCode::TryAgainLater)]);
    world.say(socket(2), &text("a"));
    world.disconnect(socket(2));
    assert!(world.submitted.is_empty());
    // One that is there already is not one more.
    world.connect(socket(3), Some("session=s"));
    assert_eq!(world.heard(socket(3)), [opened("s", true, 0)]);
}

#[test]
fn a_refused_subscription_ends_the_connection() {
    let mut world = World::new(RawConfig::default());
    for (failure, code) in
        [(BrokerError::Full, "busy"), (BrokerError::Refused("ERR".into()), "broker_unavailable")]
    {
        world.connect(client(), Some("session=s"));
        world.execute();
        world.events.clear();
        world.hear(Event::SubscribeFailed("asr_result_s".into(), failure));
        let heard = world.heard(client());
        assert_eq!(error_of(&heard[0]), json!({"type": "error", "code": code}));
        assert_eq!(world.closed.pop(), Some((client(), CloseCode::TryAgainLater)));
        world.disconnect(client());
        world.assert_empty();
    }
}

#[test]
fn what_is_not_this_routes_is_given_back() {
    let mut world = World::new(RawConfig::default());
    world.connected(client(), "s");
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
}

#[test]
fn what_a_client_behind_cannot_take_waits_for_it() {
    let one = 1 + crate::limits::FRAME_HEADER_BYTES_MAX;
    let mut world = World::new(RawConfig { unread_bytes: 2 * one, ..RawConfig::default() });
    world.connected(client(), "s");
    world.drain(client());
    world.say(client(), &text("a"));
    world.settle();
    for data in ["1", "2", "3", "4", "5"] {
        world.publish("s", json!({"seq": 0, "data": data}));
    }
    for expected in [vec![text("1"), text("2")], vec![text("3"), text("4")], vec![text("5")]] {
        assert_eq!(world.heard(client()), expected);
        world.drain(client());
    }
    world.publish("s", json!({"seq": 0, "data": "6", "done": true}));
    assert_eq!(world.heard(client()), [text("6")]);
    let metrics = &world.metrics.tasks;
    assert_eq!((metrics.results.delivered.get(), metrics.kept_bytes.get()), (6, 0));
}

#[test]
fn a_client_that_does_not_read_is_closed_and_may_come_back() {
    let kept_bytes = 2 * (1 + crate::limits::RAW_KEPT_FRAME_BYTES);
    let mut world = World::new(RawConfig { unread_bytes: 1, kept_bytes, ..RawConfig::default() });
    world.connected(client(), "s");
    world.say(client(), &text("a"));
    world.settle();
    for data in ["1", "2", "3", "4"] {
        world.publish("s", json!({"seq": 0, "data": data}));
    }
    assert_eq!(world.closed, [(client(), CloseCode::SlowConsumer)]);
    world.disconnect(client());
    world.connect(socket(2), Some("session=s"));
    let mut heard = world.heard(socket(2));
    while !world.awaited.is_empty() {
        world.awaited.remove(&client());
        world.drain(socket(2));
        heard.extend(world.heard(socket(2)));
    }
    assert_eq!(heard[..3], [opened("s", true, 1), text("1"), text("2")]);
    assert_eq!(error_of(&heard[3]), json!({"type": "error", "code": "lost", "count": 2}));
    assert_eq!(heard.len(), 4);
}
