//! The documented faults of the system that this route replaces, by their numbers.

use super::*;

#[test]
fn fault_1_a_session_subscribes_once_however_long_it_is() {
    let mut world = World::new(TasksConfig::default());
    let client = socket(1);
    world.started(client, "s");
    for index in 0..300 {
        world.chunk(client, "s", index.into(), AUDIO);
        world.settle();
        world.answer("s", index, "x");
    }
    assert_eq!(world.subscribes, 1);
    world.finish(client, "s");
    world.assert_empty();
}

#[test]
fn fault_8_a_failed_push_is_not_pending() {
    let mut world = World::new(TasksConfig::default());
    let client = socket(1);
    world.started(client, "s");
    for (error, code) in [
        (broker::Error::Full, "busy"),
        (broker::Error::Refused("OOM".into()), "broker_unavailable"),
    ] {
        world.refuse_with = Some(error);
        world.chunk(client, "s", 7, AUDIO);
        world.settle();
        let mut expected = super::error(Some("s"), code, "System busy");
        expected["rejected_chunk"] = 7.into();
        assert_eq!(world.heard(client), [expected], "an error and no ack");
        assert!(!world.tasks.has_open_work(client));
    }
    // The client may send it again.
    world.refuse_with = None;
    world.chunk(client, "s", 7, AUDIO);
    world.settle();
    assert_eq!(world.heard(client), [ack("s", 7)]);
    world.answer("s", 7, "seven");
    assert_eq!(world.heard(client), [chunk_result("s", 7, "seven")]);
    // And a finish does not wait for one that failed; it is named.
    world.refuse_with = Some(broker::Error::Full);
    world.chunk(client, "s", 8, AUDIO);
    world.finish(client, "s");
    world.settle();
    let last = world.heard(client).pop().unwrap();
    assert_eq!((&last["complete"], &last["missing"]), (&json!(false), &json!([8])));
    assert_eq!((&last["chunk_count"], &last["text"]), (&json!(1), &json!("seven")));
    world.assert_empty();
}

#[test]
fn fault_9_a_second_start_leaks_no_subscription() {
    let mut world = World::new(TasksConfig { resume_ms: 0, ..TasksConfig::default() });
    let client = socket(1);
    world.started(client, "a");
    world.started(client, "b");
    world.started(client, "a");
    assert_eq!((world.subscribes, world.subscriptions.len()), (2, 2));
    assert_eq!(world.tasks.sessions_of(client), 2);
    assert_eq!(world.metrics.tasks.sessions.get(), 2);
    world.drop_socket(client);
    assert_eq!(world.metrics.tasks.sessions_abandoned.get(), 2);
    world.assert_empty();
}

#[test]
fn fault_10_finish_waits_without_blocking() {
    let mut world = World::new(TasksConfig::default());
    let client = socket(1);
    world.started(client, "s");
    world.started(client, "other");
    world.chunk(client, "s", 0, AUDIO);
    world.settle();
    world.finish(client, "s");
    world.finish(client, "s");
    world.pass(1_500);
    assert_eq!(world.heard(client), [ack("s", 0)]);
    // The connection is served meanwhile.
    world.chunk(client, "other", 0, "");
    assert_eq!(world.heard(client), [ack("other", 0), chunk_result("other", 0, "")]);
    world.answer("s", 0, "hello");
    let expected = [chunk_result("s", 0, "hello"), final_result("s", "hello", 1.5, 1)];
    assert_eq!(world.heard(client), expected);
    world.drop_socket(client);
    world.assert_empty();
}

#[test]
fn fault_11_a_malformed_result_harms_nobody() {
    let mut world = World::new(TasksConfig::default());
    let client = socket(1);
    world.started(client, "s");
    world.chunk(client, "s", 0, AUDIO);
    world.settle();
    for payload in ["", "{", "[]", "null", r#"{"chunk_index":"0"}"#, r#"{"text":"x"}"#] {
        world.publish("s", payload);
    }
    world.settle();
    assert_eq!(world.metrics.tasks.results.malformed.get(), 6);
    assert_eq!(world.heard(client), [ack("s", 0)]);
    world.answer("s", 0, "still here");
    assert_eq!(world.heard(client), [chunk_result("s", 0, "still here")]);
}

#[test]
fn fault_12_a_session_id_is_no_path() {
    let mut world = World::new(TasksConfig::default());
    let client = socket(1);
    for bad in ["../../x", "a/b", "a\\b", "a b", "é", &"x".repeat(129)] {
        world.start(client, bad);
        let heard = world.heard(client);
        assert_eq!(heard.len(), 1);
        assert_eq!(heard[0]["code"], "bad_session_id", "{bad}");
        assert_eq!(heard[0].get("session_id"), None);
    }
    assert!(world.submitted.is_empty() && world.tasks.sessions_of(client) == 0);
    world.started(client, "..");
}

#[test]
fn fault_15_complete_and_partial_are_told_apart() {
    let mut world = World::new(TasksConfig::default());
    let client = socket(1);
    world.started(client, "whole");
    world.started(client, "part");
    for index in 0..150 {
        world.chunk(client, "part", index, AUDIO);
    }
    world.chunk(client, "whole", 0, AUDIO);
    world.settle();
    world.answer("whole", 0, "all");
    world.answer("part", 3, "three");
    world.finish(client, "whole");
    world.finish(client, "part");
    // A client that waits for its final result gets one, whatever the workers do.
    world.pass(60_250);
    world.settle();
    let mut finals = world.heard(client);
    finals.retain(|message| message["type"] == "final_result");
    assert_eq!(finals[0], final_result("whole", "all", 0.0, 1));
    let missing: Vec<u32> = (0..=100).filter(|&index| index != 3).collect();
    let mut expected = final_result("part", "three", 60.25, 150);
    expected["complete"] = false.into();
    expected["missing"] = json!(missing);
    expected["missing_count"] = 149.into();
    assert_eq!(finals[1], expected);
    let metrics = &world.metrics.tasks;
    assert_eq!((metrics.sessions_complete.get(), metrics.sessions_partial.get()), (1, 1));
    assert_eq!(metrics.chunks_expired.get(), 149);
    world.assert_empty();
}
