//! How streams are looked after: what is trimmed, what is queued again, what is never lost.

use std::collections::HashSet;

use ringgate::broker::{Event, redis::StreamUpkeep};

use crate::{
    harness::{Client, Redis, RedisClient},
    streams::{Entry, acknowledge, client_of, length, observe, push_all, read, started, stream},
    words::expect,
};

/// A link that looks after the stream, and is up.
fn keeper(redis: &Redis, claim_idle_ms: u64) -> RedisClient {
    let mut client = client_of(redis, stream());
    let stream = StreamUpkeep { key: "tasks".into(), group: "workers".into(), claim_idle_ms };
    client.link = client.link.with_upkeep(vec![stream]);
    expect(&mut client, &[Event::Up]);
    client
}

/// Turns until `done`.
fn turn_until(client: &mut RedisClient, what: &str, mut done: impl FnMut(&RedisClient) -> bool) {
    let deadline = std::time::Instant::now() + crate::harness::PATIENCE;
    while !done(client) {
        assert!(std::time::Instant::now() < deadline, "waited in vain: {what}");
        assert_eq!(client.turn(), [], "{what}");
    }
}

/// Scripts that the server has run.
fn rounds(redis: &mut redis::Connection) -> u64 {
    let stats: String = redis::cmd("INFO").arg("commandstats").query(redis).unwrap();
    let line = stats.lines().find(|line| line.starts_with("cmdstat_eval:"));
    line.and_then(|line| line.split(['=', ',']).nth(1)?.parse().ok()).unwrap_or(0)
}

/// Fault 7, second half: with stalled workers 3,000 of 8,000 unread tasks were trimmed away.
#[test]
fn fault_7_unread_tasks_are_never_trimmed() {
    let (redis, mut commands) = started();
    let mut client = keeper(&redis, 3_600_000);
    push_all(&mut client, 8_000);
    let stalled = read(&mut commands, "stalled", 5);
    let before = rounds(&mut commands);
    turn_until(&mut client, "two rounds", |_| rounds(&mut commands) >= before + 2);
    assert_eq!(length(&mut commands), 8_000);
    assert_eq!(observe(&mut client, None).depth, 8_000);
    // What is acknowledged goes; what a stalled worker holds stays, and all after it.
    let done = read(&mut commands, "busy", 3_000);
    acknowledge(&mut commands, &done);
    let before = rounds(&mut commands);
    turn_until(&mut client, "two rounds", |_| rounds(&mut commands) >= before + 2);
    assert_eq!((length(&mut commands), client.metrics().broker.streams.trimmed.get()), (8_000, 0));
    acknowledge(&mut commands, &stalled);
    let trimmed = |client: &RedisClient| client.metrics().broker.streams.trimmed.get();
    turn_until(&mut client, "trimmed", |client| trimmed(client) > 2_800);
    assert_eq!(length(&mut commands) + trimmed(&client), 8_000);
    assert_eq!(read(&mut commands, "busy", 10_000).len(), 4_995, "each unread task is there");
    assert_eq!(observe(&mut client, None).depth, 4_995);
}

#[test]
fn what_another_group_has_not_read_is_not_trimmed_either() {
    let (redis, mut commands) = started();
    let mut client = keeper(&redis, 3_600_000);
    let mut create = redis::cmd("XGROUP");
    create.arg(&["CREATE", "tasks", "auditors", "0"]).exec(&mut commands).unwrap();
    push_all(&mut client, 1_000);
    let done = read(&mut commands, "one", 1_000);
    acknowledge(&mut commands, &done);
    let before = rounds(&mut commands);
    turn_until(&mut client, "two rounds", |_| rounds(&mut commands) >= before + 2);
    assert_eq!(length(&mut commands), 1_000);
    redis::cmd("XGROUP").arg(&["DESTROY", "tasks", "auditors"]).exec(&mut commands).unwrap();
    turn_until(&mut client, "trimmed", |_| length(&mut commands) <= 100);
}

#[test]
fn tasks_of_dead_workers_are_queued_again_and_what_is_no_task_is_not() {
    let (redis, mut commands) = started();
    let mut client = keeper(&redis, 100);
    push_all(&mut client, 300);
    redis::cmd("XADD").arg(&["tasks", "*", "task_id", "s"]).exec(&mut commands).unwrap();
    redis::cmd("XADD").arg(&["tasks", "*", "payload", "{}"]).exec(&mut commands).unwrap();
    let mut tired = redis::cmd("XADD");
    tired.arg(&["tasks", "*", "task_id", "killer", "payload", "{}", "requeued", "5"]);
    tired.exec(&mut commands).unwrap();
    let taken: HashSet<String> = read(&mut commands, "dead", 1_000).into_iter().collect();
    assert_eq!(taken.len(), 303);
    turn_until(&mut client, "all are dealt with", |client| {
        let streams = &client.metrics().broker.streams;
        streams.requeued.get() + streams.malformed.get() + streams.abandoned.get() == 303
    });
    let streams = &client.metrics().broker.streams;
    let counts = (streams.requeued.get(), streams.malformed.get(), streams.abandoned.get());
    assert_eq!(counts, (300, 2, 1));
    assert_eq!(observe(&mut client, None).depth, 300, "nothing is pending");
    let again = read(&mut commands, "alive", 1_000);
    assert_eq!(again.len(), 300);
    let mut sessions = HashSet::new();
    for id in &again {
        let entries: Vec<Entry> =
            redis::cmd("XRANGE").arg(&["tasks", id, id]).query(&mut commands).unwrap();
        let fields = &entries[0].1;
        assert_eq!(fields[..4], ["requeued", "1", "type", "stream"]);
        assert_eq!((fields.len(), &*fields[6]), (8, "payload"));
        sessions.insert(fields[5].clone());
    }
    assert_eq!(sessions.len(), 300, "each once");
    acknowledge(&mut commands, &again);
}

#[test]
fn two_gateways_queue_each_task_again_once() {
    let (redis, mut commands) = started();
    let mut one = keeper(&redis, 100);
    let mut two = keeper(&redis, 100);
    push_all(&mut one, 1_000);
    assert_eq!(read(&mut commands, "dead", 1_000).len(), 1_000);
    let requeued = |client: &RedisClient| client.metrics().broker.streams.requeued.get();
    let deadline = std::time::Instant::now() + crate::harness::PATIENCE;
    while requeued(&one) + requeued(&two) < 1_000 {
        assert!(std::time::Instant::now() < deadline, "waited in vain");
        one.turn();
        two.turn();
    }
    assert_eq!(requeued(&one) + requeued(&two), 1_000);
    assert!(requeued(&one) > 0 && requeued(&two) > 0, "both had their share");
    assert_eq!(read(&mut commands, "alive", 10_000).len(), 1_000);
}

#[test]
fn a_group_that_was_deleted_is_made_again_and_begins_with_the_first_entry() {
    let (redis, mut commands) = started();
    let mut client = keeper(&redis, 3_600_000);
    redis::cmd("FLUSHALL").exec(&mut commands).unwrap();
    push_all(&mut client, 3);
    assert_eq!(observe(&mut client, None).depth, 3);
    turn_until(&mut client, "the group is there", |_| {
        let groups: redis::RedisResult<Vec<redis::Value>> =
            redis::cmd("XINFO").arg(&["GROUPS", "tasks"]).query(&mut commands);
        groups.is_ok_and(|groups| groups.len() == 1)
    });
    assert_eq!(read(&mut commands, "one", 10).len(), 3);
}
