//! Streams as queues: what is written there, how much waits, and what a key must be.

use ringgate::broker::{Backlog, Command, Event, Queue, Task, Ticket, redis::LinkLimits};

use crate::{
    harness::{Client, Redis, RedisClient},
    support::redis::RedisServer,
    words::{expect, is_down, is_up, until},
};

/// Its id, and its fields with their values.
pub type Entry = (String, Vec<String>);

pub fn stream() -> Queue {
    Queue::Stream { key: "tasks".into(), group: "workers".into() }
}

pub fn started() -> (Redis, redis::Connection) {
    let redis = Redis { server: RedisServer::start() };
    let commands = redis.worker();
    (redis, commands)
}

/// A link that knows its queue, not up yet.
pub fn client_of(redis: &Redis, queue: Queue) -> RedisClient {
    let mut client = redis.client_with(&redis.server.url(), LinkLimits::default());
    client.link = client.link.with_queues(vec![queue]);
    client
}

pub fn task(number: u64) -> Task {
    let fields = vec![("type", "stream".into()), ("task_id", format!("s{number}").into())];
    Task { payload: format!("{{\"chunk_index\":{number}}}").into_bytes(), fields }
}

pub fn push(ticket: u64) -> Command {
    Command::Push { ticket: Ticket(ticket), queue: stream(), task: task(ticket) }
}

pub fn push_all(client: &mut RedisClient, count: u64) {
    (0..count).for_each(|ticket| client.submit(push(ticket)));
    let answers: Vec<Event> = (0..count).map(|ticket| Event::Pushed(Ticket(ticket))).collect();
    expect(client, &answers);
}

pub fn observe(client: &mut RedisClient, heartbeats: Option<&str>) -> Backlog {
    let heartbeats = heartbeats.map(Into::into);
    client.submit(Command::Observe { ticket: Ticket(9), queue: stream(), heartbeats });
    until(client, &mut Vec::new(), |event| match event {
        Event::Observed(Ticket(9), backlog) => Some(*backlog),
        other => panic!("{other:?}"),
    })
}

/// Reads as a worker does; the ids.
pub fn read(redis: &mut redis::Connection, consumer: &str, count: usize) -> Vec<String> {
    let mut read = redis::cmd("XREADGROUP");
    read.arg(&["GROUP", "workers", consumer, "COUNT"]).arg(count).arg(&["STREAMS", "tasks", ">"]);
    let streams: Option<Vec<(String, Vec<Entry>)>> = read.query(redis).unwrap();
    streams.into_iter().flatten().flat_map(|(_, entries)| entries).map(|(id, _)| id).collect()
}

pub fn acknowledge(redis: &mut redis::Connection, ids: &[String]) {
    redis::cmd("XACK").arg("tasks").arg("workers").arg(ids).exec(redis).unwrap();
}

pub fn length(redis: &mut redis::Connection) -> u64 {
    redis::cmd("XLEN").arg("tasks").query(redis).unwrap()
}

#[test]
fn an_entry_has_the_fields_of_its_task() {
    let (redis, mut commands) = started();
    let mut client = client_of(&redis, stream());
    expect(&mut client, &[Event::Up]);
    client.submit(push(7));
    expect(&mut client, &[Event::Pushed(Ticket(7))]);
    let entries: Vec<Entry> =
        redis::cmd("XRANGE").arg(&["tasks", "-", "+"]).query(&mut commands).unwrap();
    let fields = ["type", "stream", "task_id", "s7", "payload", "{\"chunk_index\":7}"];
    assert_eq!(entries[0].1, fields);
    assert_eq!(client.metrics().broker.pending_bytes.get(), 0);
}

#[test]
fn the_depth_of_a_stream_is_what_is_unread_and_what_is_unacknowledged() {
    let (redis, mut commands) = started();
    let mut client = client_of(&redis, stream());
    expect(&mut client, &[Event::Up]);
    assert_eq!(observe(&mut client, None), Backlog { depth: 0, workers: None });
    push_all(&mut client, 100);
    let taken = read(&mut commands, "one", 30);
    assert_eq!(observe(&mut client, None).depth, 100);
    acknowledge(&mut commands, &taken[..20]);
    assert_eq!(observe(&mut client, None).depth, 80);
    // An unread entry that is deleted: Redis no longer knows the lag.
    let newest: Vec<Entry> = redis::cmd("XREVRANGE")
        .arg(&["tasks", "+", "-", "COUNT", "2"])
        .query(&mut commands)
        .unwrap();
    redis::cmd("XDEL").arg(&["tasks", &newest[1].0]).exec(&mut commands).unwrap();
    let depth = observe(&mut client, None).depth;
    assert!((79..=109).contains(&depth), "an upper bound: {depth}");
    let rest = read(&mut commands, "one", 100);
    acknowledge(&mut commands, &rest);
    acknowledge(&mut commands, &taken);
    assert_eq!(observe(&mut client, None).depth, 0);
}

/// Fault 7, first half: 5,001 acknowledged entries that still stand in the stream looked
/// like a backlog, and everything was refused for ever.
#[test]
fn fault_7_acknowledged_entries_are_no_backlog() {
    let (redis, mut commands) = started();
    let mut client = client_of(&redis, stream());
    expect(&mut client, &[Event::Up]);
    push_all(&mut client, 5_001);
    assert_eq!(observe(&mut client, None).depth, 5_001);
    let taken = read(&mut commands, "one", 5_001);
    assert_eq!(observe(&mut client, None).depth, 5_001, "taken is not done");
    acknowledge(&mut commands, &taken);
    assert_eq!(length(&mut commands), 5_001, "nothing trims here");
    assert_eq!(observe(&mut client, None).depth, 0);
}

/// Fault 7, from Redis itself: 7.0.15 miscounts what a group has read when it loads an AOF that it
/// has rewritten, and a queue that is empty keeps a lag. Here it is told the wrong number.
#[test]
fn fault_7_a_lag_that_redis_miscounts_is_no_backlog() {
    let (redis, mut commands) = started();
    let mut client = client_of(&redis, stream());
    expect(&mut client, &[Event::Up]);
    push_all(&mut client, 200);
    let taken = read(&mut commands, "one", 200);
    acknowledge(&mut commands, &taken);
    let last = taken.last().expect("200 entries");
    let miscount = |commands: &mut redis::Connection| {
        let set = ["SETID", "tasks", "workers", last, "ENTRIESREAD", "50"];
        redis::cmd("XGROUP").arg(&set).exec(commands).unwrap();
    };
    miscount(&mut commands);
    let groups: String = redis::cmd("EVAL")
        .arg("return tostring(redis.call('XINFO','GROUPS','tasks')[1][12])")
        .arg(0)
        .query(&mut commands)
        .unwrap();
    assert_eq!(groups, "150", "or this test shows nothing");
    assert_eq!(observe(&mut client, None).depth, 0);
    // What is unread now counts, with what may be miscounted, up to all that is there.
    push_all(&mut client, 10);
    let depth = observe(&mut client, None).depth;
    assert!((10..=210).contains(&depth), "{depth}");
    redis::cmd("XTRIM").arg(&["tasks", "MAXLEN", "10"]).exec(&mut commands).unwrap();
    assert_eq!(observe(&mut client, None).depth, 10);
}

/// Fault 5, for a stream: a worker in good health on another queue is nobody's here.
#[test]
fn fault_5_only_workers_of_this_queue_are_counted() {
    let (redis, mut commands) = started();
    let mut client = client_of(&redis, stream());
    expect(&mut client, &[Event::Up]);
    let pattern = Some("worker:*:heartbeat");
    assert_eq!(observe(&mut client, pattern).workers, Some(0));
    redis::cmd("SET").arg(&["worker:w1:heartbeat", "{}", "EX", "30"]).exec(&mut commands).unwrap();
    read(&mut commands, "w1", 1);
    assert_eq!(observe(&mut client, pattern).workers, Some(1), "it had no task yet");
    // It reads another queue from now on, and here a task waits.
    let mut other = redis::cmd("XGROUP");
    other.arg(&["DELCONSUMER", "tasks", "workers", "w1"]).exec(&mut commands).unwrap();
    let mut old = redis::cmd("XADD");
    old.arg(&["tasks", "1-1", "task_id", "s", "payload", "{}"]).exec(&mut commands).unwrap();
    assert_eq!(observe(&mut client, pattern), Backlog { depth: 1, workers: Some(0) });
    read(&mut commands, "w2", 1);
    push_all(&mut client, 1);
    read(&mut commands, "w1", 1);
    assert_eq!(observe(&mut client, pattern), Backlog { depth: 2, workers: Some(2) });
    assert_eq!(observe(&mut client, None).workers, None, "not asked for");
}

#[test]
fn a_group_that_is_there_already_is_used_as_it_is() {
    let (redis, mut commands) = started();
    for start in ["1", "1"] {
        let mut create = redis::cmd("XGROUP");
        create.arg(&["CREATE", "tasks", "workers", start, "MKSTREAM"]);
        let _ = create.exec(&mut commands);
        let mut client = client_of(&redis, stream());
        expect(&mut client, &[Event::Up]);
    }
}

#[test]
fn a_key_of_another_type_is_named_and_found_again_when_it_is_right() {
    let (redis, mut commands) = started();
    let list = Queue::List { key: "tasks".into() };
    for (make, found, queue, fix) in [
        (vec!["RPUSH", "tasks", "x"], "list", stream(), "mode = \"list\""),
        (vec!["XADD", "tasks", "*", "a", "b"], "stream", list, "mode = \"stream\""),
        (vec!["SET", "tasks", "x"], "string", stream(), "another key"),
    ] {
        redis::cmd(make[0]).arg(&make[1..]).exec(&mut commands).unwrap();
        let mut client = client_of(&redis, queue.clone());
        let mut events = Vec::new();
        let reason = until(&mut client, &mut events, is_down);
        let wants = format!("wants a {}", queue.mode());
        for part in ["\"tasks\"", &format!("holds a {found}"), &wants, fix] {
            assert!(reason.contains(part), "{part} in {reason}");
        }
        let shown = client.metrics().broker.down_reason.get();
        assert_eq!(shown, Some(reason));
        redis::cmd("DEL").arg("tasks").exec(&mut commands).unwrap();
        until(&mut client, &mut events, is_up);
        assert_eq!(client.metrics().broker.down_reason.get(), None);
        assert_eq!(events, [], "it was told once");
        redis::cmd("DEL").arg("tasks").exec(&mut commands).unwrap();
    }
}

/// The type changes while the link is up: the task is not refused, it waits.
#[test]
fn a_task_outlives_a_key_that_becomes_another_type() {
    let (redis, mut commands) = started();
    let mut client = client_of(&redis, stream());
    expect(&mut client, &[Event::Up]);
    redis::cmd("SET").arg(&["tasks", "x"]).exec(&mut commands).unwrap();
    client.submit(push(1));
    let mut events = Vec::new();
    until(&mut client, &mut events, is_down);
    let reason = until(&mut client, &mut events, is_down);
    assert!(reason.contains("holds a string"), "{reason}");
    redis::cmd("DEL").arg("tasks").exec(&mut commands).unwrap();
    until(&mut client, &mut events, |event| (*event == Event::Pushed(Ticket(1))).then_some(()));
    assert_eq!(length(&mut commands), 1);
}
