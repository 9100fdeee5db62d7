//! What is published reaches everyone who subscribed, on whichever core, through a real Redis:
//! every message once and in order from `subscribed` on.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use support::{
    client::Client,
    gateway::TestGateway,
    redis::RedisServer,
    topics::{Publisher, TopicsClient, gateway},
};

#[test]
fn every_subscriber_on_every_core_gets_every_message_once_and_in_order() {
    let redis = RedisServer::start();
    let gateway = gateway(&redis, "");
    let mut publisher = Publisher::new(&redis);
    let mut clients: Vec<TopicsClient> =
        (0..6).map(|nth| TopicsClient::on_shard(&gateway, nth % 2)).collect();
    for client in &mut clients {
        client.subscribe(&["a", "b"]);
    }
    assert_eq!(publisher.channels(), 2, "one subscription a topic for the whole process");
    assert_eq!(gateway.sum(|m| m.topics.topics.get()), 2);
    assert_eq!(gateway.sum(|m| m.topics.subscriptions.get()), 12);
    for number in 0..500 {
        assert_eq!(publisher.publish("a", &number.to_string()), 1);
        publisher.publish("b", &format!("{{\"n\": {number}}}"));
    }
    for client in &mut clients {
        for number in 0..500 {
            assert_eq!(client.next_of("a"), json!(number));
            assert_eq!(client.next_of("b"), json!({"n": number}));
        }
    }
    assert_eq!(gateway.sum(|m| m.topics.published.get()), 1_000);
    assert_eq!(gateway.sum(|m| m.topics.delivered.get()), 6_000);
    assert_eq!(gateway.sum(|m| m.topics.lost_notices.get()), 0);
    for client in clients {
        client.close();
    }
    gateway.until_quiet();
    publisher.until_no_channels();
}

/// The publisher never stops while clients come, and each of them gets what follows its
/// `subscribed` without a gap.
#[test]
fn from_subscribed_on_nothing_is_missing() {
    let redis = RedisServer::start();
    let gateway = gateway(&redis, "");
    let (stop, stopped) = mpsc::channel::<()>();
    let mut publisher = Publisher::new(&redis);
    let publishing = thread::spawn(move || {
        let mut number = 0u64;
        while stopped.try_recv().is_err() {
            publisher.publish("t", &number.to_string());
            number += 1;
            thread::sleep(Duration::from_micros(300));
        }
    });
    let mut counts = Publisher::new(&redis);
    for round in 0..20 {
        let mut client = TopicsClient::on_shard(&gateway, round % 2);
        client.send(json!({"op": "subscribe", "topics": ["t"]}));
        let mut last = None;
        let mut confirmed = 0;
        while confirmed < 50 {
            let message = client.receive();
            if message["op"] == "subscribed" {
                confirmed = 1;
                continue;
            }
            let number = message["data"].as_u64().expect("a number");
            assert!(last.is_none_or(|last| number == last + 1), "{number} after {last:?}");
            last = Some(number);
            confirmed += usize::from(confirmed > 0);
        }
        client.close();
    }
    stop.send(()).unwrap();
    publishing.join().unwrap();
    gateway.until_quiet();
    counts.until_no_channels();
}

#[test]
fn topics_that_are_left_and_wanted_again_at_once_stay_subscribed() {
    let redis = RedisServer::start();
    let gateway = gateway(&redis, "");
    let mut publisher = Publisher::new(&redis);
    let mut client = TopicsClient::on_shard(&gateway, 0);
    let topics: Vec<String> = (0..50).map(|nth| format!("t{nth}")).collect();
    for _ in 0..20 {
        client.send(json!({"op": "subscribe", "topics": topics}));
        client.send(json!({"op": "unsubscribe", "topics": topics}));
    }
    client.send(json!({"op": "subscribe", "topics": topics}));
    client.send(json!({"type": "ping"}));
    let mut pong = false;
    // The answer to the last request comes last, or its topics are none of those.
    let mut unsubscribed = 0;
    loop {
        let message = client.receive();
        pong |= message["type"] == "pong";
        unsubscribed += usize::from(message["op"] == "unsubscribed");
        if message["op"] == "subscribed" && unsubscribed == 20 {
            break;
        }
    }
    assert!(pong || client.receive()["type"] == "pong");
    for topic in &topics {
        assert_eq!(publisher.publish(topic, "1"), 1, "{topic}");
        assert_eq!(client.next_of(topic), json!(1));
    }
    client.close();
    gateway.until_quiet();
    publisher.until_no_channels();
}

#[test]
fn payloads_go_through_as_they_are_or_as_strings() {
    let redis = RedisServer::start();
    let gateway = gateway(&redis, "");
    let mut publisher = Publisher::new(&redis);
    let mut client = TopicsClient::on_shard(&gateway, 1);
    client.subscribe(&["t"]);
    for (payload, expected) in [
        (
            &b"{ \"a\" : [1, 2.50]\n}"[..],
            r#"{"topic":"t","data":{ "a" : [1, 2.50]
}}"#,
        ),
        (b"plain text", r#"{"topic":"t","data":"plain text"}"#),
        (b"", r#"{"topic":"t","data":""}"#),
        (b"null", r#"{"topic":"t","data":null}"#),
        (b"\xff\"", "{\"topic\":\"t\",\"data\":\"\u{fffd}\\\"\"}"),
    ] {
        publisher.publish_bytes("t", payload);
        assert_eq!(client.receive_text(), expected);
    }
    assert_eq!(gateway.sum(|m| m.topics.lossy.get()), 1);
    let large = format!("\"{}\"", "x".repeat(16_000_000));
    publisher.publish("t", &large);
    assert_eq!(client.receive_text().len(), large.len() + r#"{"topic":"t","data":}"#.len());
    publisher.publish_bytes("t", &vec![b'1'; (16 << 20) + 1]);
    assert_eq!(client.receive(), json!({"op": "lost", "topic": "t", "count": 1}));
    publisher.publish("t", "2");
    assert_eq!(client.receive(), json!({"topic": "t", "data": 2}));
    assert_eq!(gateway.sum(|m| m.topics.dropped.too_large.get()), 1);
    client.close();
    gateway.until_quiet();
}

#[test]
fn conflation_sends_the_latest_of_each_topic_in_one_batch() {
    let redis = RedisServer::start();
    let gateway = gateway(&redis, "");
    let mut publisher = Publisher::new(&redis);
    let mut client = TopicsClient::on_shard(&gateway, 0);
    client.send(json!({"op": "subscribe", "topics": ["a", "b", "c"], "conflate_ms": 200}));
    assert_eq!(client.receive()["op"], "subscribed");
    let started = Instant::now();
    let (mut last, mut batches): (_, Vec<Instant>) = (json!({}), Vec::new());
    let mut number = 0;
    while started.elapsed() < Duration::from_secs(2) {
        for topic in ["a", "b"] {
            publisher.publish(topic, &number.to_string());
        }
        number += 1;
        thread::sleep(Duration::from_millis(5));
    }
    let deadline = json!(number - 1);
    while last["a"] != deadline || last["b"] != deadline {
        let message = client.receive();
        let batch = message.as_array().expect("an array, also of one");
        let topics: Vec<&Value> = batch.iter().map(|one| &one["topic"]).collect();
        assert!(topics.iter().all(|topic| **topic == "a" || **topic == "b"), "{message}");
        assert!(topics.len() <= 2 && (topics.len() < 2 || topics[0] != topics[1]), "{message}");
        for one in batch {
            let before = &last[one["topic"].as_str().unwrap()];
            assert!(before.is_null() || before.as_u64() < one["data"].as_u64(), "{message}");
            last[one["topic"].as_str().unwrap()] = one["data"].clone();
        }
        batches.push(Instant::now());
    }
    assert!((8..=13).contains(&batches.len()), "{} batches in 2 s", batches.len());
    let (published, conflated, delivered) = (
        gateway.sum(|m| m.topics.published.get()),
        gateway.sum(|m| m.topics.conflated.get()),
        gateway.sum(|m| m.topics.delivered.get()),
    );
    assert_eq!(published, conflated + delivered);
    client.close();
    gateway.until_quiet();
}

#[test]
fn the_embedded_broker_carries_topics_too() {
    let gateway = TestGateway::start_with("0-1", &[], Some(support::topics::ROUTE));
    gateway.until("the broker", |g| g.each(|m| m.broker.up.get()) == [1, 1]);
    let port = gateway.worker_port().expect("no Redis");
    let mut clients: Vec<TopicsClient> =
        (0..2).map(|shard| TopicsClient::on_shard(&gateway, shard)).collect();
    clients.iter_mut().for_each(|client| client.subscribe(&["a", "b"]));
    for number in 0..300 {
        for topic in ["a", "b"] {
            port.publish(topic, number.to_string().into_bytes());
        }
    }
    for client in &mut clients {
        for number in 0..300 {
            assert_eq!(client.next_of("a"), json!(number));
            assert_eq!(client.next_of("b"), json!(number));
        }
    }
    clients.into_iter().for_each(TopicsClient::close);
    gateway.until_quiet();
}

/// A route of its own kind beside another: neither hears the other's.
#[test]
fn two_routes_with_channels_of_their_own_do_not_mix() {
    let redis = RedisServer::start();
    let file = r#"
[[route]]
path = "/prices"
kind = "topics"
channel = "prices:{topic}"
conflate_ms = 50

[[route]]
path = "/news"
kind = "topics"
channel = "news:{topic}"
"#;
    let gateway = support::topics::gateway_with(&redis, file);
    let mut publisher = Publisher::new(&redis);
    let mut prices = Client::connect(gateway.address, "/prices");
    let mut news = Client::connect(gateway.address, "/news");
    for client in [&mut prices, &mut news] {
        client.send(json!({"op": "subscribe", "topics": ["t"]}));
        assert_eq!(client.receive()["op"], "subscribed");
    }
    publisher.publish("news:t", "1");
    publisher.publish("prices:t", "2");
    assert_eq!(news.receive(), json!({"topic": "t", "data": 1}));
    assert_eq!(prices.receive(), json!([{"topic": "t", "data": 2}]));
    prices.close();
    news.close();
    gateway.until_quiet();
}
