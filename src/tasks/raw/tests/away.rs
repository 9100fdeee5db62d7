//! Clients that are away or behind: what waits for them, how long, and how much.

use super::*;

fn client() -> SocketId {
    socket(1)
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

#[test]
fn a_client_that_reads_too_slowly_is_closed() {
    let mut world = World::new(RawConfig { unread_bytes: 1, ..RawConfig::default() });
    world.connected(client(), "s");
    world.pass(9_000);
    world.drain(client());
    world.pass(20_000);
    assert!(world.closed.is_empty(), "nothing is unread");
    world.say(client(), &text("a"));
    world.settle();
    world.publish("s", json!({"seq": 0, "data": "0123456789", "done": true}));
    // 20 bytes with the longest header are 20 times what it may have unread.
    world.pass(199_500);
    assert!(world.closed.is_empty());
    world.pass(1_000);
    assert_eq!(world.closed, [(client(), CloseCode::SlowConsumer)]);
    world.disconnect(client());
    world.pass(60_250);
    world.assert_empty();
}

#[test]
fn the_session_that_was_left_first_gives_way() {
    let mut world = World::new(RawConfig { detached_per_shard: 2, ..RawConfig::default() });
    for (n, id) in ["a", "b", "c"].into_iter().enumerate() {
        world.connected(socket(n as u32), id);
    }
    for n in [1, 0, 2] {
        world.disconnect(socket(n));
    }
    assert_eq!(world.metrics.tasks.sessions_detached.get(), 2);
    for (n, id, resumed) in [(3, "a", true), (4, "b", false), (5, "c", true)] {
        world.connect(socket(n), Some(&format!("session={id}")));
        world.settle();
        assert_eq!(world.heard(socket(n)), [opened(id, resumed, 0)]);
    }
    assert_eq!(world.metrics.tasks.sessions_detached.get(), 0);
}

#[test]
fn results_that_wait_for_a_slow_client_are_open_work() {
    let one = 1 + crate::limits::FRAME_HEADER_BYTES_MAX;
    let mut world = World::new(RawConfig { unread_bytes: 2 * one, ..RawConfig::default() });
    world.connected(client(), "s");
    world.drain(client());
    world.say(client(), &text("a"));
    world.settle();
    for (data, done) in [("1", false), ("2", false), ("3", true)] {
        world.publish("s", json!({"seq": 0, "data": data, "done": done}));
    }
    assert_eq!(world.heard(client()), [text("1"), text("2")]);
    assert!(world.tasks.has_open_work(client()), "the third one has not been sent");
    world.drain(client());
    assert_eq!(world.heard(client()), [text("3")]);
    assert!(!world.tasks.has_open_work(client()));
}
