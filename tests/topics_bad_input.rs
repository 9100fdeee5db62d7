//! Whatever clients say: they are told what is wrong with it, and the gateway goes on.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::io::Write;

use serde_json::{Value, json};
use tungstenite::Message;

use support::{
    client::{masked, raw_close_code, raw_upgraded},
    gateway::TestGateway,
    redis::RedisServer,
    topics::{Publisher, TopicsClient, gateway},
};

/// Says something, and expects one error of this code.
fn assert_refused(client: &mut TopicsClient, message: Message, code: &str) -> Value {
    let said: String = format!("{message:?}").chars().take(120).collect();
    client.client.socket.send(message).expect("sent");
    let error = client.receive();
    assert_eq!((&error["op"], &error["code"]), (&json!("error"), &json!(code)), "{said}: {error}");
    assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{said}");
    assert!(error.to_string().len() < 1_000, "{said}");
    error
}

fn still_there(client: &mut TopicsClient) {
    client.send(json!({"type": "ping"}));
    assert_eq!(client.receive(), json!({"type": "pong"}));
}

fn nothing_is_left(gateway: &TestGateway, redis: &RedisServer, client: TopicsClient) {
    assert_eq!(gateway.sum(|m| m.topics.subscriptions.get()), 0);
    client.close();
    gateway.until_quiet();
    assert_eq!(Publisher::new(redis).channels(), 0);
}

#[test]
fn messages_that_are_none_are_refused_and_the_connection_stays() {
    let redis = RedisServer::start();
    let gateway = gateway(&redis, "");
    let mut client = TopicsClient::on_shard(&gateway, 0);
    for text in [
        "",
        "hello",
        "[]",
        "null",
        "{\"op\":\"subscribe\"",
        r#"{"op":"subscribe"}"#,
        r#"{"op":"subscribe","topics":"a"}"#,
        r#"{"op":"subscribe","topics":[["a"]]}"#,
        r#"{"op":"subscribe","topics":["a"],"conflate_ms":-5}"#,
        r#"{"op":"subscribe","topics":["a"],"conflate_ms":1e9}"#,
        r#"{"op":"subscribe","topics":["a"],"conflate_ms":60001}"#,
        r#"{"op":["subscribe"],"topics":["a"]}"#,
    ] {
        assert_refused(&mut client, Message::text(text), "bad_message");
    }
    for text in [r#"{"op":"publish","topics":["a"]}"#, r#"{"type":"hello"}"#, "{}"] {
        assert_refused(&mut client, Message::text(text), "unknown_op");
    }
    let subscribe = json!({"op": "subscribe", "topics": ["a"]}).to_string();
    assert_refused(&mut client, Message::binary(subscribe), "bad_message");
    assert_refused(&mut client, Message::binary(vec![0xff; 100]), "bad_message");
    still_there(&mut client);
    assert_eq!(gateway.sum(|m| m.topics.errors.iter().map(|code| code.get()).sum()), 17);
    nothing_is_left(&gateway, &redis, client);
}

#[test]
fn names_that_are_no_topics_are_refused_with_the_whole_request() {
    let redis = RedisServer::start();
    let gateway = gateway(&redis, "");
    let mut client = TopicsClient::on_shard(&gateway, 1);
    let huge = "x".repeat(1_000_000);
    for name in
        ["", "a\u{0}b", "line\nbreak", "\u{7f}", &huge, "asr_result_s1", "ringgate:results:x"]
    {
        for op in ["subscribe", "unsubscribe"] {
            if op == "unsubscribe" && name.len() > 10 && name.len() < 100 {
                continue;
            }
            let message = json!({"op": op, "topics": ["good", name]}).to_string();
            assert_refused(&mut client, Message::text(message), "bad_topic");
        }
    }
    still_there(&mut client);
    nothing_is_left(&gateway, &redis, client);
    // Bytes that are no UTF-8 are no text message (RFC 6455 section 8.1).
    let mut raw = raw_upgraded(gateway.address, "/ws/topics");
    raw.write_all(&masked(0x81, b"{\"op\":\"subscribe\",\"topics\":[\"\xff\"]}")).unwrap();
    assert_eq!(raw_close_code(raw), Some(1007));
    gateway.until_quiet();
}

#[test]
fn too_many_topics_are_refused_and_the_limit_is_named() {
    let redis = RedisServer::start();
    let gateway = gateway(&redis, "");
    let mut client = TopicsClient::on_shard(&gateway, 0);
    let names = |from: usize, to: usize| (from..to).map(|n| format!("t{n}")).collect::<Vec<_>>();
    let message = json!({"op": "subscribe", "topics": names(0, 10_000)}).to_string();
    let error = assert_refused(&mut client, Message::text(message), "too_many_topics");
    assert!(error["message"].as_str().unwrap().contains("256"), "{error}");
    assert_eq!(gateway.sum(|m| m.topics.subscriptions.get()), 0, "none of them");
    client.send(json!({"op": "subscribe", "topics": names(0, 200)}));
    assert_eq!(client.receive()["op"], "subscribed");
    let message = json!({"op": "subscribe", "topics": names(200, 300)}).to_string();
    let error = assert_refused(&mut client, Message::text(message), "too_many_topics");
    assert!(error["message"].as_str().unwrap().contains("256"), "{error}");
    // What it has already does not count again.
    client.send(json!({"op": "subscribe", "topics": names(100, 256)}));
    assert_eq!(client.receive()["topics"].as_array().map(Vec::len), Some(156));
    assert_eq!(gateway.sum(|m| m.topics.subscriptions.get()), 256);
    client.send(json!({"op": "unsubscribe", "topics": names(0, 256)}));
    assert_eq!(client.receive()["op"], "unsubscribed");
    nothing_is_left(&gateway, &redis, client);
}

#[test]
fn the_same_topic_twice_is_once_and_what_is_not_there_is_left() {
    let redis = RedisServer::start();
    let gateway = gateway(&redis, "");
    let mut publisher = Publisher::new(&redis);
    let mut client = TopicsClient::on_shard(&gateway, 0);
    client.send(json!({"op": "subscribe", "topics": ["t", "t", "u", "t"]}));
    assert_eq!(client.receive(), json!({"op": "subscribed", "topics": ["t", "u"]}));
    client.send(json!({"op": "subscribe", "topics": ["t"]}));
    assert_eq!(client.receive(), json!({"op": "subscribed", "topics": ["t"]}));
    assert_eq!(gateway.sum(|m| m.topics.subscriptions.get()), 2);
    publisher.publish("t", "1");
    publisher.publish("u", "2");
    assert_eq!(client.receive(), json!({"topic": "t", "data": 1}));
    assert_eq!(client.receive(), json!({"topic": "u", "data": 2}));
    // Another period takes effect, there and back.
    client.send(json!({"op": "subscribe", "topics": ["t"], "conflate_ms": 20}));
    assert_eq!(client.receive()["op"], "subscribed");
    publisher.publish("t", "3");
    assert_eq!(client.receive(), json!([{"topic": "t", "data": 3}]));
    client.send(json!({"op": "subscribe", "topics": ["t"], "conflate_ms": 0}));
    assert_eq!(client.receive()["op"], "subscribed");
    publisher.publish("t", "4");
    assert_eq!(client.receive(), json!({"topic": "t", "data": 4}));
    client.send(json!({"op": "unsubscribe", "topics": ["never", "t", "t", "u"]}));
    assert_eq!(client.receive(), json!({"op": "unsubscribed", "topics": ["never", "t", "u"]}));
    client.send(json!({"op": "unsubscribe", "topics": ["t"]}));
    assert_eq!(client.receive(), json!({"op": "unsubscribed", "topics": ["t"]}));
    client.send(json!({"op": "subscribe", "topics": []}));
    assert_eq!(client.receive(), json!({"op": "subscribed", "topics": []}));
    publisher.until_no_channels();
    nothing_is_left(&gateway, &redis, client);
}

/// Redis may refuse a channel to the gateway's user: that topic's clients are told, others
/// notice nothing.
#[test]
fn a_topic_that_redis_refuses_is_told_and_takes_no_other_with_it() {
    let redis = RedisServer::start();
    let mut admin = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let rules = ["default", "resetchannels", "&good*", "&ringgate:*"];
    redis::cmd("ACL").arg("SETUSER").arg(&rules).query::<()>(&mut admin).unwrap();
    let gateway = gateway(&redis, "");
    let mut client = TopicsClient::on_shard(&gateway, 0);
    client.send(json!({"op": "subscribe", "topics": ["good1", "secret", "good2"]}));
    let error = client.receive();
    assert_eq!((&error["code"], &error["topic"]), (&json!("refused"), &json!("secret")));
    assert_eq!(client.receive(), json!({"op": "subscribed", "topics": ["good1", "good2"]}));
    let mut publisher = Publisher::new(&redis);
    assert_eq!(publisher.publish("good2", "1"), 1);
    assert_eq!(client.receive(), json!({"topic": "good2", "data": 1}));
    client.close();
    gateway.until_quiet();
}
