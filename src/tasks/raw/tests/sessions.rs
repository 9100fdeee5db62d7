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
fn results_come_on_a_channel_of_the_shard() {
    let reply_to: Arc<str> = "ringgate:results:n:0:raw".into();
    let config = RawConfig { reply_to: Some(reply_to.clone()), ..RawConfig::default() };
    let mut world = World::new(config);
    world.hear(Event::Up);
    world.connect(client(), Some("session=s"));
    assert!(world.heard(client()).is_empty(), "not before it is in force");
    world.settle();
    assert_eq!(world.heard(client()), [opened("s", false, 0)]);
    world.connected(socket(2), "t");
    assert_eq!(world.subscriptions.iter().collect::<Vec<_>>(), [&reply_to]);
    world.say(socket(2), &text("a"));
    world.settle();
    assert_eq!(world.queue[0]["reply_to"], &*reply_to);
    for result in [
        json!({"session_id": "t", "seq": 0, "data": "1", "done": true}),
        json!({"session_id": "gone", "seq": 0, "data": "1"}),
        json!({"seq": 0, "data": "whose?"}),
        json!({"session_id": "t"}),
    ] {
        let payload = result.to_string().into_bytes();
        world.hear(Event::Message { channel: reply_to.clone(), payload });
    }
    assert_eq!(world.heard(socket(2)), [text("1")]);
    let results = &world.metrics.tasks.results;
    let counts = (results.delivered.get(), results.orphaned.get(), results.malformed.get());
    assert_eq!(counts, (1, 2, 1));
    let mut actions = Vec::new();
    world.tasks.end_all(world.now, &mut actions);
    assert!(actions.is_empty(), "the channel stays");
    world.subscriptions.clear();
    world.assert_empty();
}

#[test]
fn a_refused_channel_of_the_shard_is_asked_for_again() {
    let reply_to: Arc<str> = "ringgate:results:n:0:raw".into();
    let config = RawConfig { reply_to: Some(reply_to.clone()), ..RawConfig::default() };
    let mut world = World::new(config);
    world.hear(Event::Up);
    world.connect(client(), Some("session=s"));
    world.submitted.clear();
    world.hear(Event::SubscribeFailed(reply_to, BrokerError::Full));
    assert_eq!(error_of(&world.heard(client())[0]), json!({"type": "error", "code": "busy"}));
    assert_eq!(world.closed, [(client(), CloseCode::TryAgainLater)]);
    world.disconnect(client());
    world.pass(250);
    world.settle();
    world.connected(client(), "s");
}

#[test]
fn an_id_is_open_on_one_route_at_a_time() {
    let mut world = World::new(RawConfig::default());
    let open_ids = OpenIds::default();
    let (config, metrics) = (Arc::new(RawConfig::default()), world.metrics.clone());
    world.tasks = RawTasks::new(config, metrics, RouteTag::new(5).unwrap(), open_ids.clone());
    let id = SessionId::parse("s").unwrap();
    open_ids.insert(id.clone(), RouteTag::new(6).unwrap());
    world.connect(client(), Some("session=s"));
    let expected = json!({"type": "error", "code": "bad_session_id"});
    assert_eq!(error_of(&world.heard(client())[0]), expected);
    assert_eq!(world.closed, [(client(), CloseCode::TryAgainLater)]);
    open_ids.remove(&id);
    world.connected(socket(2), "s");
    assert!(open_ids.is_elsewhere(id.as_str(), RouteTag::new(6).unwrap()));
}
