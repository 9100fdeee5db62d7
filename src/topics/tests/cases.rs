//! Named cases: races, limits, and what is told of what was lost.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    world::{Client, World},
    *,
};
use crate::router::{Lane, home_of};

/// Enough for everything.
const ROOM: usize = 1 << 20;

fn client(shard: usize, slot: u32) -> Client {
    (shard, SocketId { slot, generation: 0 })
}

/// Three shards, a client on two of them, and a topic whose home is shard 0.
fn world(config: TopicsConfig) -> (World, Client, Client, &'static str) {
    let mut world = World::new(3, config);
    let (here, there) = (client(0, 0), client(1, 0));
    world.open(here, ROOM);
    world.open(there, ROOM);
    (0..3).for_each(|shard| assert!(world.hear_broker(shard), "up"));
    let topics = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let topic = topics.into_iter().find(|topic| home_of(topic, 3) == ShardId(0)).unwrap();
    (world, here, there, topic)
}

fn subscribed(topic: &str) -> Value {
    json!({"op": "subscribed", "topics": [topic]})
}

fn lost(topic: &str, count: u64) -> Value {
    json!({"op": "lost", "topic": topic, "count": count})
}

fn gap(topic: &str) -> Value {
    json!({"op": "lost", "topic": topic, "count": null, "reason": "reconnect"})
}

fn message(topic: &str, data: u64) -> Value {
    json!({"topic": topic, "data": data})
}

fn end(mut world: World, clients: &[Client]) {
    clients.iter().for_each(|&client| world.close(client));
    world.settle();
    world.assert_empty();
}

#[test]
fn a_quick_unsubscribe_and_subscribe_does_not_end_unsubscribed() {
    let (mut world, here, there, topic) = world(config("{topic}"));
    for client in [here, there] {
        for _ in 0..3 {
            world.subscribe(client, &[topic], 0);
            world.unsubscribe(client, &[topic]);
        }
        world.subscribe(client, &[topic], 0);
    }
    world.settle();
    assert_eq!(world.in_force(), BTreeSet::from([topic.to_owned()]));
    world.publish(topic);
    world.settle();
    for client in [here, there] {
        assert_eq!(world.read(client, ROOM).pop(), Some(message(topic, 0)));
    }
    end(world, &[here, there]);
}

/// The home's answer to an interest that is over must not be taken for the next one's: what
/// is published between the two does not come.
#[test]
fn an_answer_to_an_earlier_interest_confirms_no_later_one() {
    let (mut world, here, there, topic) = world(config("{topic}"));
    world.subscribe(there, &[topic], 0);
    world.hear_peer(1, 0, Lane::Reply);
    world.nodes[0].link.step();
    world.hear_broker(0);
    // `Live` is on its way; the interest that it is for ends.
    world.unsubscribe(there, &[topic]);
    world.subscribe(there, &[topic], 0);
    world.read(there, ROOM);
    assert!(world.hear_peer(0, 1, Lane::Reply));
    assert_eq!(world.read(there, ROOM), [] as [Value; 0], "not confirmed yet");
    world.settle();
    assert_eq!(world.read(there, ROOM), [subscribed(topic)]);
    end(world, &[here, there]);
}

/// An UNSUBSCRIBE that crosses the answer of its SUBSCRIBE would leave that answer to be
/// taken for the next one's.
#[test]
fn nothing_is_unsubscribed_before_the_broker_has_answered() {
    let (mut world, here, there, topic) = world(config("{topic}"));
    world.subscribe(here, &[topic], 0);
    world.nodes[0].link.step();
    world.unsubscribe(here, &[topic]);
    world.read(here, ROOM);
    world.subscribe(here, &[topic], 0);
    assert_eq!(world.read(here, ROOM), [] as [Value; 0]);
    world.hear_broker(0);
    assert_eq!(world.read(here, ROOM), [subscribed(topic)]);
    // Had an UNSUBSCRIBE been on its way, this would be where it takes effect.
    world.nodes[0].link.step();
    world.publish(topic);
    assert!(world.hear_broker(0));
    assert_eq!(world.read(here, ROOM), [message(topic, 0)], "it is true");
    end(world, &[here, there]);
}

#[test]
fn what_finds_the_lane_full_is_told_before_the_next_message_or_by_itself() {
    let (mut world, here, there, topic) = world(config("{topic}"));
    for client in [here, there] {
        world.subscribe(client, &[topic], 0);
    }
    world.settle();
    for client in [here, there] {
        world.read(client, ROOM);
    }
    world.lane_places = 1;
    (0..4).for_each(|_| world.publish(topic));
    while world.hear_broker(0) {}
    world.hear_peer(0, 1, Lane::FanOut);
    world.publish(topic);
    world.hear_broker(0);
    world.hear_peer(0, 1, Lane::FanOut);
    let told = [message(topic, 0), lost(topic, 3), message(topic, 4)];
    assert_eq!(world.read(there, ROOM), told);
    let all: Vec<Value> = (0..5).map(|number| message(topic, number)).collect();
    assert_eq!(world.read(here, ROOM), all, "the others lose nothing");
    assert_eq!(world.nodes[0].metrics.topics.dropped.lane_full.get(), 3);

    (0..3).for_each(|_| world.publish(topic));
    while world.hear_broker(0) {}
    world.tick();
    assert_eq!(world.read(there, ROOM), [] as [Value; 0], "the lane is still full");
    world.hear_peer(0, 1, Lane::FanOut);
    world.tick();
    world.settle();
    assert_eq!(world.read(there, ROOM), [message(topic, 5), lost(topic, 2)]);
    end(world, &[here, there]);
}

#[test]
fn a_payload_over_the_bound_is_told_as_lost_everywhere() {
    let config = TopicsConfig { message_bytes: 1, ..config("{topic}") };
    let (mut world, here, there, topic) = world(config);
    for client in [here, there] {
        world.subscribe(client, &[topic], 0);
    }
    world.settle();
    for client in [here, there] {
        world.read(client, ROOM);
    }
    (0..12).for_each(|_| world.publish(topic));
    world.settle();
    world.tick();
    world.settle();
    for client in [here, there] {
        let read = world.read(client, ROOM);
        assert_eq!(read.last(), Some(&lost(topic, 2)), "10 and 11 have two digits");
        assert_eq!(read.len(), 11);
    }
    assert_eq!(world.nodes[0].metrics.topics.dropped.too_large.get(), 2);
    end(world, &[here, there]);
}

/// The connection that confirmed a topic is gone, so nothing is in force: who subscribes
/// meanwhile waits, on whichever shard.
#[test]
fn nobody_is_told_subscribed_while_the_broker_is_away() {
    let (mut world, here, there, topic) = world(config("{topic}"));
    for client in [here, there] {
        world.subscribe(client, &[topic], 0);
    }
    world.settle();
    for client in [here, there] {
        world.read(client, ROOM);
    }
    world.nodes[0].link.lose();
    world.hear_broker(0);
    world.hear_peer(0, 1, Lane::Reply);
    let late = [client(0, 1), client(1, 1)];
    for client in late {
        world.open(client, ROOM);
        world.subscribe(client, &[topic], 0);
        assert_eq!(world.read(client, ROOM), [] as [Value; 0]);
    }
    // Nor is a shard that wants it for the first time.
    let first = client(2, 0);
    world.open(first, ROOM);
    world.subscribe(first, &[topic], 0);
    assert!(world.hear_peer(2, 0, Lane::Reply));
    assert!(!world.hear_peer(0, 2, Lane::Reply) || world.read(first, ROOM).is_empty());
    world.publish(topic);
    world.settle();
    for client in late {
        let read = world.read(client, ROOM);
        assert_eq!(read, [gap(topic), subscribed(topic)]);
    }
    assert_eq!(world.read(first, ROOM), [subscribed(topic)], "it has missed nothing");
    for client in [here, there] {
        assert_eq!(world.read(client, ROOM), [gap(topic)]);
    }
    end(world, &[here, there, late[0], late[1], first]);
}

#[test]
fn a_request_that_the_broker_does_not_answer_is_given_up_in_time() {
    let (mut world, here, there, topic) = world(config("{topic}"));
    world.subscribe(here, &["live"], 0);
    world.settle();
    world.read(here, ROOM);
    world.subscribe(here, &["live", topic], 0);
    (0..TOPICS_ANSWER_MS / TICK_MS).for_each(|_| world.tick());
    world.tick();
    let read = world.read(here, ROOM);
    assert_eq!(
        (&read[0]["code"], &read[0]["topic"]),
        (&json!("broker_unavailable"), &json!(topic))
    );
    assert_eq!(read[1..], [subscribed("live")], "the rest of it is confirmed");
    world.settle();
    assert_eq!(world.in_force(), BTreeSet::from(["live".to_owned()]));
    end(world, &[here, there]);
}

#[test]
fn what_waits_for_the_broker_is_bounded() {
    let config = TopicsConfig { topics_per_connection: 3, ..config("{topic}") };
    let (mut world, here, there, topic) = world(config);
    for _ in 0..4 {
        world.subscribe(here, &[topic], 0);
    }
    assert_eq!(world.read(here, ROOM), [] as [Value; 0]);
    world.subscribe(here, &[topic], 0);
    assert_eq!(world.read(here, ROOM)[0]["code"], "busy");
    world.settle();
    assert_eq!(world.read(here, ROOM), [(); 4].map(|()| subscribed(topic)));
    end(world, &[here, there]);
}

#[test]
fn limits_are_those_of_the_shard_and_of_the_connection() {
    let config =
        TopicsConfig { topics_per_connection: 3, topics_per_shard: 4, ..config("{topic}") };
    let (mut world, here, there, _) = world(config);
    world.subscribe(here, &["a", "b", "c"], 0);
    world.settle();
    world.read(here, ROOM);
    world.subscribe(here, &["c", "d"], 0);
    assert_eq!(world.read(here, ROOM)[0]["code"], "too_many_topics");
    let other = client(0, 1);
    world.open(other, ROOM);
    world.subscribe(other, &["a", "b"], 0);
    assert_eq!(world.read(other, ROOM)[0]["code"], "busy");
    world.subscribe(other, &["a"], 0);
    assert_eq!(world.read(other, ROOM), [subscribed("a")]);
    end(world, &[here, there, other]);
}

/// A home that has more to hear than it can is no home: its clients are told, and the topic
/// can be asked for again.
#[test]
fn a_want_that_finds_no_room_is_told_busy() {
    let (mut world, here, there, topic) = world(config("{topic}"));
    world.want_places = 0;
    world.subscribe(there, &[topic], 0);
    let read = world.read(there, ROOM);
    assert_eq!((&read[0]["code"], &read[0]["topic"]), (&json!("busy"), &json!(topic)));
    world.want_places = 1;
    world.subscribe(there, &[topic], 0);
    world.settle();
    assert_eq!(world.read(there, ROOM), [subscribed(topic)]);
    end(world, &[here, there]);
}

#[test]
fn a_connection_may_begin_subscribed() {
    let (mut world, here, there, _) = world(config("{topic}"));
    let start = Start { topics: vec![topic("x"), topic("y")], conflate_ms: Some(100) };
    world.with(there.0, |topics, now, clients, actions| {
        topics.on_open(there.1, Some(start), now, clients, actions);
    });
    world.settle();
    assert_eq!(world.read(there, ROOM), [json!({"op": "subscribed", "topics": ["x", "y"]})]);
    world.publish("x");
    world.settle();
    world.advance(100 + 10);
    assert_eq!(world.read(there, ROOM), [json!([message("x", 0)])]);
    end(world, &[here, there]);
}

/// A message that finds room after one that did not must not come before the notice.
#[test]
fn what_was_missed_is_told_before_the_next_message_of_the_topic() {
    let (mut world, here, there, topic) = world(config("{topic}"));
    let slow = client(0, 7);
    world.open(slow, 200);
    world.subscribe(slow, &[topic], 0);
    world.settle();
    world.read(slow, ROOM);
    (0..20).for_each(|_| world.publish(topic));
    world.settle();
    // Room for one, and far from drained.
    let mut read = world.read(slow, 1);
    world.publish(topic);
    world.settle();
    read.extend(world.read(slow, ROOM));
    world.publish(topic);
    world.settle();
    read.extend(world.read(slow, ROOM));
    let heard = read.len() as u64 - 2;
    let before = (0..heard).map(|number| message(topic, number));
    let expected: Vec<Value> =
        before.chain([lost(topic, 21 - heard), message(topic, 21)]).collect();
    assert_eq!(read, expected);
    end(world, &[here, there, slow]);
}

/// A notice of its own for every message would be more than the messages.
#[test]
fn a_slow_reader_has_one_notice_for_all_that_it_missed_in_a_row() {
    let (mut world, here, there, topic) = world(config("{topic}"));
    let slow = client(0, 7);
    world.open(slow, 150);
    for client in [here, slow] {
        world.subscribe(client, &[topic], 0);
    }
    world.settle();
    for client in [here, slow] {
        world.read(client, ROOM);
    }
    (0..50).for_each(|_| world.publish(topic));
    world.settle();
    assert_eq!(world.read(here, ROOM).len(), 50, "nobody else is held up");
    let heard = world.read(slow, ROOM);
    assert!((2..10).contains(&heard.len()), "{heard:?}");
    assert_eq!(world.read(slow, ROOM), [lost(topic, 50 - heard.len() as u64)]);
    world.publish(topic);
    world.settle();
    assert_eq!(world.read(slow, ROOM), [message(topic, 50)]);
    end(world, &[here, there, slow]);
}
