//! Readers that stall and a Redis that goes away: who is told what, and who notices nothing.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::{thread, time::Duration};

use serde_json::{Value, json};

use support::{
    gateway::TestGateway,
    redis::RedisServer,
    topics::{Publisher, TopicsClient, gateway},
};

/// 2 KB a message: with 1,000 of them past every buffer of a socket that is not read.
fn padded(number: u64) -> String {
    format!("[{number},\"{}\"]", "x".repeat(20_000))
}

fn number_of(message: &Value) -> u64 {
    message["data"][0].as_u64().unwrap_or_else(|| panic!("{message}"))
}

/// One client stops reading, the others read on.
fn stall(gateway: &TestGateway, publisher: &mut Publisher) -> (TopicsClient, Vec<TopicsClient>) {
    let mut stalled = TopicsClient::on_shard(gateway, 0);
    let mut others: Vec<TopicsClient> =
        (0..2).map(|shard| TopicsClient::on_shard(gateway, shard)).collect();
    stalled.subscribe(&["t"]);
    others.iter_mut().for_each(|client| client.subscribe(&["t"]));
    for number in 0..1_000 {
        publisher.publish("t", &padded(number));
        for other in &mut others {
            assert_eq!(number_of(&other.receive()), number);
        }
    }
    (stalled, others)
}

#[test]
fn a_stalled_reader_is_told_what_it_missed_and_holds_nobody_up() {
    let redis = RedisServer::start();
    let gateway = gateway(&redis, "");
    let mut publisher = Publisher::new(&redis);
    let (mut stalled, others) = stall(&gateway, &mut publisher);
    let dropped = gateway.sum(|m| m.topics.dropped.slow_consumer.get());
    assert!(dropped > 0, "20 MB fit into the buffers of a socket");
    let (mut heard, mut lost) = (0, 0);
    while heard + lost < 1_000 {
        let message = stalled.receive();
        if message["op"] == "lost" {
            assert_eq!(message["topic"], "t");
            lost += message["count"].as_u64().unwrap();
        } else {
            assert_eq!(number_of(&message), heard + lost, "what is missing was told before");
            heard += 1;
        }
    }
    assert_eq!(lost, dropped);
    publisher.publish("t", &padded(1_000));
    assert_eq!(number_of(&stalled.receive()), 1_000, "and it goes on");
    stalled.close();
    others.into_iter().for_each(TopicsClient::close);
    gateway.until_quiet();
    assert_eq!(gateway.sum(|m| m.topics.lost_notices.get()), 1);
}

#[test]
fn with_close_a_stalled_reader_is_closed_with_4008_and_holds_nobody_up() {
    let redis = RedisServer::start();
    let gateway = gateway(&redis, "overflow = \"close\"\n");
    let mut publisher = Publisher::new(&redis);
    let (mut stalled, others) = stall(&gateway, &mut publisher);
    gateway.until("one subscriber less", |g| g.sum(|m| m.topics.subscriptions.get()) == 2);
    let mut next = 0;
    let code = loop {
        match stalled.client.socket.read().expect("a message") {
            tungstenite::Message::Text(text) => {
                assert_eq!(number_of(&serde_json::from_str(&text).unwrap()), next);
                next += 1;
            }
            tungstenite::Message::Close(frame) => break frame.map(|frame| u16::from(frame.code)),
            _ => {}
        }
    };
    assert_eq!(code, Some(4008));
    others.into_iter().for_each(TopicsClient::close);
    gateway.until_quiet();
    publisher.until_no_channels();
}

/// A conflated client that stalls gets the latest when it reads again, and nothing is lost.
#[test]
fn a_stalled_reader_of_batches_gets_the_latest_when_it_reads_again() {
    let redis = RedisServer::start();
    let gateway = gateway(&redis, "");
    let mut publisher = Publisher::new(&redis);
    let mut stalled = TopicsClient::on_shard(&gateway, 0);
    stalled.send(json!({"op": "subscribe", "topics": ["t"], "conflate_ms": 10}));
    assert_eq!(stalled.receive()["op"], "subscribed");
    let mut published = 0;
    // Until a batch finds the connection behind, and waits.
    let waits = |g: &TestGateway| {
        let done = g.sum(|m| m.topics.conflated.get() + m.topics.delivered.get());
        g.sum(|m| m.topics.published.get()).saturating_sub(done)
    };
    let mut waited = 0;
    while waited < 20 {
        publisher.publish("t", &padded(published));
        published += 1;
        thread::sleep(Duration::from_millis(11));
        waited = if waits(&gateway) > 0 { waited + 1 } else { 0 };
        assert!(published < 5_000, "it never came to a stop");
    }
    let mut last = None;
    while last != Some(published - 1) {
        let batch = stalled.receive();
        assert_eq!(batch.as_array().map(Vec::len), Some(1), "{batch:.100}");
        let number = number_of(&batch[0]);
        assert!(last.is_none_or(|last| last < number));
        last = Some(number);
    }
    assert_eq!(gateway.sum(|m| m.topics.lost_notices.get()), 0);
    assert_eq!(gateway.sum(|m| m.topics.dropped.slow_consumer.get()), 0);
    stalled.close();
    gateway.until_quiet();
}

#[test]
fn after_a_restart_of_redis_every_topic_is_heard_again_and_the_gap_is_told() {
    let mut redis = RedisServer::start();
    let gateway = gateway(&redis, "");
    let topics: Vec<String> = (0..30).map(|nth| format!("t{nth}")).collect();
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    let mut clients: Vec<TopicsClient> =
        (0..4).map(|nth| TopicsClient::on_shard(&gateway, nth % 2)).collect();
    clients.iter_mut().for_each(|client| client.subscribe(&names));
    let mut number = 0;
    for round in 0..3 {
        if round > 0 {
            redis.kill();
            gateway.until("both links down", |g| g.each(|m| m.broker.up.get()) == [0, 0]);
            redis.restart();
            for client in &mut clients {
                let mut told: Vec<String> =
                    names.iter().map(|_| gap_of(&client.receive())).collect();
                told.sort();
                let mut expected = topics.clone();
                expected.sort();
                assert_eq!(told, expected, "one notice for each topic");
            }
        }
        let mut publisher = Publisher::new(&redis);
        assert_eq!(publisher.channels(), topics.len());
        for _ in 0..20 {
            for topic in &topics {
                assert_eq!(publisher.publish(topic, &number.to_string()), 1);
            }
            for client in &mut clients {
                for topic in &topics {
                    assert_eq!(client.next_of(topic), json!(number));
                }
            }
            number += 1;
        }
    }
    clients.into_iter().for_each(TopicsClient::close);
    gateway.until_quiet();
    Publisher::new(&redis).until_no_channels();
}

fn gap_of(message: &Value) -> String {
    let (count, reason) = (&message["count"], &message["reason"]);
    assert!(message["op"] == "lost" && count.is_null() && reason == "reconnect", "{message}");
    message["topic"].as_str().unwrap().to_owned()
}

/// Connections stay while Redis is away; what they ask for meanwhile comes into force with it.
#[test]
fn what_is_subscribed_while_redis_is_away_is_confirmed_when_it_is_back() {
    let mut redis = RedisServer::start();
    let gateway = gateway(&redis, "");
    let mut clients: Vec<TopicsClient> =
        (0..2).map(|shard| TopicsClient::on_shard(&gateway, shard)).collect();
    clients[0].subscribe(&["old"]);
    redis.kill();
    gateway.until("both links down", |g| g.each(|m| m.broker.up.get()) == [0, 0]);
    for client in &mut clients {
        client.send(json!({"op": "subscribe", "topics": ["old", "new"]}));
        client.send(json!({"type": "ping"}));
        assert_eq!(client.receive(), json!({"type": "pong"}), "no answer before that");
    }
    redis.restart();
    assert_eq!(gap_of(&clients[0].receive()), "old");
    for client in &mut clients {
        assert_eq!(client.receive(), json!({"op": "subscribed", "topics": ["old", "new"]}));
    }
    let mut publisher = Publisher::new(&redis);
    for topic in ["old", "new"] {
        assert_eq!(publisher.publish(topic, "1"), 1);
        for client in &mut clients {
            assert_eq!(client.receive(), json!({"topic": topic, "data": 1}));
        }
    }
    clients.into_iter().for_each(TopicsClient::close);
    gateway.until_quiet();
}

#[test]
fn what_redis_does_not_confirm_in_time_is_given_up() {
    let mut redis = RedisServer::start();
    let gateway = gateway(&redis, "");
    let mut client = TopicsClient::on_shard(&gateway, 0);
    client.subscribe(&["old"]);
    redis.kill();
    gateway.until("both links down", |g| g.each(|m| m.broker.up.get()) == [0, 0]);
    client.send(json!({"op": "subscribe", "topics": ["a", "b"]}));
    for topic in ["a", "b"] {
        let error = client.receive();
        assert_eq!(
            (&error["code"], &error["topic"]),
            (&json!("broker_unavailable"), &json!(topic))
        );
    }
    redis.restart();
    assert_eq!(gap_of(&client.receive()), "old");
    let mut publisher = Publisher::new(&redis);
    assert_eq!(publisher.channels(), 1, "nobody wants what was given up");
    client.close();
    gateway.until_quiet();
}

/// A burst larger than the bound of unsent bytes, to clients that do read.
#[test]
fn a_burst_past_the_outbox_reaches_clients_that_read() {
    let redis = RedisServer::start();
    let gateway = gateway(&redis, "");
    let mut clients: Vec<TopicsClient> =
        (0..4).map(|nth| TopicsClient::on_shard(&gateway, nth % 2)).collect();
    clients.iter_mut().for_each(|client| client.subscribe(&["t"]));
    let readers: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            thread::spawn(move || {
                let (mut heard, mut lost) = (0, 0);
                while heard + lost < 20_000 {
                    let message = client.receive();
                    match message["op"].as_str() {
                        Some(_) => lost += message["count"].as_u64().unwrap(),
                        None => heard += 1,
                    }
                }
                client.close();
                (heard, lost)
            })
        })
        .collect();
    let mut publisher = Publisher::new(&redis);
    let payload = |number: u64| format!("[{number},\"{}\"]", "x".repeat(400));
    publisher.publish_all("t", (0..20_000).map(payload));
    for reader in readers {
        let (heard, lost) = reader.join().unwrap();
        println!("{heard} heard, {lost} lost");
    }
    gateway.until_quiet();
}
