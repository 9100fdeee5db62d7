//! What is said to somebody who may not hear it any more, or has not heard what comes before.

use super::*;

fn client() -> SocketId {
    socket(1)
}

fn next() -> SocketId {
    socket(2)
}

#[test]
fn a_final_result_is_not_said_to_a_connection_that_is_being_closed() {
    let mut world = World::new(TasksConfig::default());
    world.started(client(), "taken");
    world.started(client(), "other");
    world.chunk(client(), "other", 0, AUDIO);
    world.settle();
    world.finish(client(), "other");
    world.heard(client());
    // The one session goes to another connection, so this one is closed; it has the other
    // session until its socket is gone.
    world.started(next(), "taken");
    assert_eq!(world.closed, [(client(), CloseCode::TakenOver)]);
    world.answer("other", 0, "done");
    assert_eq!(world.heard(client()), Vec::<Value>::new());
    assert_eq!(world.metrics.tasks.sessions_complete.get(), 0);
    world.drop_socket(client());
    world.start(next(), "other");
    let told = world.heard(next());
    assert_eq!(
        told[1..],
        [chunk_result("other", 0, "done"), final_result("other", "done", 0.0, 1)]
    );
    world.drop_socket(next());
    world.assert_empty();
}

#[test]
fn a_client_that_was_closed_for_not_reading_finds_its_final_result() {
    let mut world =
        World::new(TasksConfig { outbox_bytes: 1_000, unread_ms: 2_000, ..TasksConfig::default() });
    world.clients_read = false;
    world.started(client(), "s");
    (0..2).for_each(|index| world.chunk(client(), "s", index, AUDIO));
    world.settle();
    world.finish(client(), "s");
    world.answer("s", 0, &"x".repeat(1_000));
    world.pass(5_000);
    assert_eq!(world.closed, [(client(), CloseCode::SlowConsumer)]);
    world.heard(client());
    // It reads now, too late: its close frame is out.
    world.read_all(client());
    world.answer("s", 1, "y");
    assert_eq!(world.heard(client()), Vec::<Value>::new());
    world.drop_socket(client());
    world.clients_read = true;
    world.start(next(), "s");
    assert_eq!(world.heard(next()).last().unwrap()["type"], "final_result");
    world.assert_empty();
}

#[test]
fn results_that_wait_for_a_slow_client_are_open_work() {
    let mut world = World::new(TasksConfig { outbox_bytes: 1_000, ..TasksConfig::default() });
    world.clients_read = false;
    world.started(client(), "s");
    (0..2).for_each(|index| world.chunk(client(), "s", index, AUDIO));
    world.settle();
    (0..2).for_each(|index| world.answer("s", index, &"x".repeat(1_000)));
    assert!(world.tasks.has_open_work(client()), "the second one has not been sent");
    world.read_all(client());
    assert!(!world.tasks.has_open_work(client()));
    world.drop_socket(client());
    world.assert_empty();
}

#[test]
fn a_concluded_session_that_is_not_heard_tells_its_next_owner() {
    let config = TasksConfig { finish_deadline_ms: 1_000, ..TasksConfig::default() };
    let mut world = World::new(config);
    // The broker answers nothing.
    world.start(client(), "s");
    world.finish(client(), "s");
    world.drop_socket(client());
    world.pass(10_000);
    world.start(next(), "s");
    world.pass(1_000);
    assert_eq!(world.heard(next()).last().map(|m| m["type"].clone()), Some("final_result".into()));
    world.assert_empty();
}

#[test]
fn without_its_subscription_a_start_is_not_acked() {
    let mut world = World::new(TasksConfig { chunk_deadline_ms: 1_000, ..TasksConfig::default() });
    world.started(client(), "s");
    world.chunk(client(), "s", 0, AUDIO);
    world.settle();
    world.heard(client());
    // As on the shard to which it moves while the broker is away.
    let slot = world.tasks.table.find("s").unwrap();
    world.tasks.table.get_mut(slot).unwrap().leave();
    world.drop_socket(client());
    world.start(next(), "s");
    world.pass(1_500);
    let Some(Ask::Fetch { ticket, .. }) = world.submitted.pop_front() else { return };
    world.hear(Event::FetchFailed(ticket, broker::Error::Full));
    assert_eq!(world.heard(next()), Vec::<Value>::new());
}
