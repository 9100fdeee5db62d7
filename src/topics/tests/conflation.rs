//! Batches: when they come, what is in them, and what they cost.

use std::{collections::BTreeMap, num::NonZeroU32};

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    super::flushes::{FlushKey, Flushes, Waiting},
    clients::FakeClients,
    world::World,
    *,
};
use crate::{limits::TOPICS_FLUSH_TICK_MS, metrics::TopicMetrics};

const ROOM: usize = 1 << 20;

fn socket(slot: u32) -> SocketId {
    SocketId { slot, generation: 0 }
}

fn value(number: u32) -> Bytes {
    Bytes::from(number.to_string())
}

fn period(ms: u32) -> NonZeroU32 {
    NonZeroU32::new(ms).unwrap()
}

#[test]
fn batches_of_many_connections_are_spread_over_the_period() {
    let (mut flushes, metrics) = (Flushes::default(), TopicMetrics::default());
    let mut clients = FakeClients::default();
    let mut sent = [0; 50];
    for slot in 0..1_000 {
        clients.open(socket(slot), ROOM);
        let key = flushes.join(socket(slot), period(500), &mut Vec::new());
        flushes.put(key, &mut None, value(1), 10_000);
    }
    while let Some(next_ms) = flushes.next_ms() {
        let before = metrics.flushes.get();
        flushes.expire(next_ms, &mut clients, &metrics);
        sent[(next_ms - 10_000) as usize / 10 % 50] += metrics.flushes.get() - before;
        assert!(next_ms <= 10_500 + TOPICS_FLUSH_TICK_MS, "late: {next_ms}");
    }
    assert_eq!(sent.iter().sum::<u64>(), 1_000);
    assert!(sent.iter().all(|count| (10..=30).contains(count)), "{sent:?}");
}

#[test]
fn a_batch_comes_once_a_period_and_only_with_something_in_it() {
    let mut world = World::new(1, config("{topic}"));
    let client = (0, socket(3));
    world.open(client, ROOM);
    world.subscribe(client, &["a", "b"], 500);
    world.settle();
    world.read(client, ROOM);
    assert_eq!(world.nodes[0].topics.next_flush_ms(), None);
    let mut times = Vec::new();
    for round in 0..300 {
        if round % 2 == 0 {
            world.publish("b");
            world.settle();
        }
        world.advance(10);
        if let [batch] = world.read(client, ROOM).as_slice() {
            assert_eq!(batch.as_array().map(Vec::len), Some(1));
            times.push(world.now_ms);
        }
    }
    assert!(times.len() >= 5, "{times:?}");
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 500), "{times:?}");
}

#[test]
fn the_latest_of_each_topic_comes_in_the_order_of_the_first_change() {
    let mut world = World::new(1, config("{topic}"));
    let client = (0, socket(0));
    world.open(client, ROOM);
    world.subscribe(client, &["a", "b", "c"], 100);
    world.settle();
    world.read(client, ROOM);
    for topic in ["b", "a", "b", "b", "a"] {
        world.publish(topic);
    }
    world.settle();
    world.advance(110);
    let batch = json!([{"topic": "b", "data": 2}, {"topic": "a", "data": 1}]);
    assert_eq!(world.read(client, ROOM), [batch]);
    let metrics = &world.nodes[0].metrics.topics;
    assert_eq!((metrics.published.get(), metrics.conflated.get()), (5, 3));
    assert_eq!((metrics.delivered.get(), metrics.flushes.get()), (2, 1));
}

#[test]
fn a_batch_waits_for_a_slow_reader_and_the_older_value_gives_way() {
    let mut world = World::new(1, config("{topic}"));
    let client = (0, socket(0));
    world.open(client, 60);
    world.subscribe(client, &["a"], 100);
    world.settle();
    // Unread: the answer stands before everything.
    for _ in 0..20 {
        world.publish("a");
        world.settle();
        world.advance(60);
    }
    let read = world.read(client, ROOM);
    assert!(read.len() <= 3, "{read:?}");
    assert_eq!(world.read(client, ROOM), [json!([{"topic": "a", "data": 19}])]);
    let metrics = &world.nodes[0].metrics.topics;
    assert_eq!(metrics.conflated.get() + metrics.delivered.get(), 20);
    assert_eq!((metrics.lost_notices.get(), metrics.dropped.slow_consumer.get()), (0, 0));
}

/// The bound would never have room for it beside anything else.
#[test]
fn a_batch_larger_than_the_bound_goes_when_nothing_else_is_unsent() {
    let mut world = World::new(1, config("{topic}"));
    let client = (0, socket(0));
    world.open(client, 300);
    let topics: Vec<String> = (0..30).map(|n| format!("t{n}")).collect();
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    world.subscribe(client, &names, 50);
    world.settle();
    world.read(client, ROOM);
    names.iter().for_each(|name| world.publish(name));
    world.settle();
    world.say(client, &json!({"type": "ping"}));
    world.advance(60);
    assert_eq!(world.read(client, 0), [] as [Value; 0]);
    world.advance(500);
    assert_eq!(world.read(client, ROOM), [json!({"type": "pong"})], "beside it there is no room");
    world.advance(500);
    assert_eq!(world.read(client, ROOM)[0].as_array().map(Vec::len), Some(30));
}

#[test]
fn a_value_goes_with_its_subscription_to_another_period_and_not_past_its_end() {
    let mut world = World::new(1, config("{topic}"));
    let client = (0, socket(0));
    world.open(client, ROOM);
    world.subscribe(client, &["a", "b"], 60_000);
    world.settle();
    world.read(client, ROOM);
    ["a", "b"].into_iter().for_each(|topic| world.publish(topic));
    world.settle();
    world.subscribe(client, &["a"], 0);
    let subscribed = json!({"op": "subscribed", "topics": ["a"]});
    assert_eq!(world.read(client, ROOM), [json!([{"topic": "a", "data": 0}]), subscribed]);
    world.subscribe(client, &["b"], 20);
    world.read(client, ROOM);
    world.advance(30);
    assert_eq!(world.read(client, ROOM), [json!([{"topic": "b", "data": 0}])]);
    world.publish("b");
    world.settle();
    world.unsubscribe(client, &["b"]);
    world.read(client, ROOM);
    world.advance(30);
    assert_eq!(world.read(client, ROOM), [] as [Value; 0]);
    assert_eq!(world.nodes[0].metrics.topics.dropped.unsubscribed.get(), 1);
    world.close(client);
    world.settle();
    world.assert_empty();
}

#[derive(Clone, Debug)]
enum Step {
    Join(u32),
    Leave(u32),
    Put(u32),
    Advance(u64),
    Read,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..6u32).prop_map(Step::Join),
        3 => (0..6u32).prop_map(Step::Leave),
        10 => (0..6u32).prop_map(Step::Put),
        1 => (1..80u64).prop_map(Step::Advance),
        1 => Just(Step::Read),
    ]
}

/// A subscription as its topic has it.
struct Member {
    key: FlushKey,
    waiting: Option<Waiting>,
}

proptest! {
    /// One connection, one period: whatever comes, goes and is refused, what is read is the
    /// latest value of each who is still there, and the batch never grows beyond them.
    #[test]
    fn batches_agree_with_a_map(limit in 4..40usize, steps in prop::collection::vec(step(), 1..300)) {
        let (mut flushes, metrics) = (Flushes::default(), TopicMetrics::default());
        let mut clients = FakeClients::default();
        let id = socket(5);
        clients.open(id, limit);
        let (mut members, mut known) = (BTreeMap::<u32, Member>::new(), Vec::new());
        let mut latest = BTreeMap::new();
        let (mut now_ms, mut number, mut conflated, mut gone) = (1_000, 0, 0, 0);
        for step in steps {
            match step {
                Step::Join(who) => {
                    members.entry(who).or_insert_with(|| Member {
                        key: flushes.join(id, period(50), &mut known),
                        waiting: None,
                    });
                }
                Step::Leave(who) => {
                    if let Some(member) = members.remove(&who) {
                        let value = flushes.leave(member.key, member.waiting, &mut known);
                        prop_assert!(value.is_none() || value == latest.remove(&who));
                        latest.remove(&who);
                        gone += u64::from(value.is_some());
                    }
                }
                Step::Put(who) => {
                    if let Some(member) = members.get_mut(&who) {
                        // So that values are told apart by who has them.
                        let value = value(number * 10 + who);
                        conflated += u64::from(
                            flushes.put(member.key, &mut member.waiting, value.clone(), now_ms),
                        );
                        latest.insert(who, value);
                        number += 1;
                    }
                }
                Step::Advance(ms) => {
                    now_ms += ms;
                    flushes.expire(now_ms, &mut clients, &metrics);
                }
                Step::Read => {}
            }
            for batch in clients.read(id, if matches!(step, Step::Read) { ROOM } else { 0 }) {
                for read in batch.as_array().unwrap() {
                    let who = read.as_u64().unwrap() as u32 % 10;
                    // What was read is the latest, unless a newer one waits.
                    if latest.get(&who) == Some(&Bytes::from(read.to_string())) {
                        latest.remove(&who);
                    }
                }
            }
            while let Some(drained) = clients.next_drained() {
                prop_assert_eq!(drained, id);
                for &key in &known.clone() {
                    flushes.on_drained(key, now_ms, &mut clients, &metrics);
                }
            }
        }
        // Whoever is still there gets his latest.
        for _ in 0..6 {
            now_ms += 200;
            flushes.expire(now_ms, &mut clients, &metrics);
            for batch in clients.read(id, ROOM) {
                for read in batch.as_array().unwrap() {
                    let who = read.as_u64().unwrap() as u32 % 10;
                    if latest.get(&who) == Some(&Bytes::from(read.to_string())) {
                        latest.remove(&who);
                    }
                }
            }
            while clients.next_drained().is_some() {
                for &key in &known.clone() {
                    flushes.on_drained(key, now_ms, &mut clients, &metrics);
                }
            }
        }
        prop_assert!(latest.is_empty(), "{latest:?}");
        prop_assert_eq!(u64::from(number), conflated + gone + metrics.delivered.get());
        for (_, member) in members {
            flushes.leave(member.key, member.waiting, &mut known);
        }
        prop_assert!(flushes.is_empty() && known.is_empty());
    }
}

/// Whoever comes and goes all the time leaves no row of empty places.
#[test]
fn a_batch_does_not_grow_with_those_who_left() {
    let mut flushes = Flushes::default();
    let id = socket(0);
    let mut known = Vec::new();
    let mut last = None;
    for number in 0..10_000 {
        let mut waiting = None;
        let key = flushes.join(id, period(60_000), &mut known);
        flushes.put(key, &mut waiting, value(number), 0);
        if let Some((key, waiting)) = last.replace((key, waiting)) {
            flushes.leave(key, waiting, &mut known);
        }
    }
    let (key, _) = last.unwrap();
    assert!(flushes.places(key) < 100, "{}", flushes.places(key));
}
