//! What is posted to the admin port reaches those who subscribed over WebSocket.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use serde_json::{Value, json};
use support::{
    client::Client,
    gateway::TestGateway,
    redis::RedisServer,
    stage::{commands, gateway_on},
};

const ROUTES: &str = r#"
    [[route]]
    path = "/ws/topics"
    kind = "topics"
    channel = "ticks:{topic}"

    [[route]]
    path = "/ws/prices"
    kind = "topics"
    channel = "prices:{topic}"
"#;

/// Status and body of the answer.
fn post(gateway: &TestGateway, path: &str, body: &str) -> (String, Value) {
    let mut stream = TcpStream::connect(gateway.admin).expect("it listens");
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).expect("a status").to_owned();
    (status, serde_json::from_str(body).expect("JSON"))
}

fn subscribed(gateway: &TestGateway, path: &str, topic: &str) -> Client {
    let mut client = Client::connect(gateway.address, path);
    client.send(json!({"op": "subscribe", "topics": [topic]}));
    assert_eq!(client.receive(), json!({"op": "subscribed", "topics": [topic]}));
    client
}

#[test]
fn what_is_posted_reaches_the_subscribers_of_its_route_on_every_core() {
    let gateway = TestGateway::start_with("0-1", &[], Some(ROUTES));
    let mut here: Vec<Client> =
        (0..20).map(|_| subscribed(&gateway, "/ws/prices", "a/ä")).collect();
    assert!(gateway.each(|m| m.connections.open.get()).iter().all(|count| *count > 0));
    here.push(subscribed(&gateway, "/ws/prices", "b"));
    here.push(subscribed(&gateway, "/ws/topics", "a/ä"));
    let there = here.split_off(20);

    let path = "/v1/topics/a%2F%C3%A4?route=/ws/prices";
    for (body, data) in
        [("{\"price\": 1.50}", json!({"price": 1.5})), ("not JSON", json!("not JSON"))]
    {
        let (status, answer) = post(&gateway, path, body);
        let expected = json!({"topic": "a/ä", "channel": "prices:a/ä", "subscribers": 1});
        assert_eq!((status.as_str(), answer), ("200", expected), "the shard that owns the topic");
        for client in &mut here {
            assert_eq!(client.receive(), json!({"topic": "a/ä", "data": data}));
        }
    }
    here.into_iter().for_each(Client::close);
    gateway.until("given up", |g| g.sum(|m| m.broker.subscriptions.get()) == 2);
    assert_eq!(post(&gateway, path, "1").1["subscribers"], 0);
    // The others have heard nothing of it.
    for (mut client, path) in
        there.into_iter().zip(["/v1/topics/b?route=/ws/prices", "/v1/topics/a/%C3%A4"])
    {
        assert_eq!(post(&gateway, path, "7").1["subscribers"], 1);
        assert_eq!(client.receive()["data"], 7);
        client.close();
    }
    gateway.until_quiet();
}

#[test]
fn with_redis_the_command_that_is_told_publishes() {
    let redis = RedisServer::start();
    let gateway = gateway_on(&redis, "0", &[], Some(ROUTES));
    gateway.until("ready", |g| g.admin_get("/readyz").0.contains(" 200 "));
    let mut client = subscribed(&gateway, "/ws/topics", "AAPL");
    let (status, answer) = post(&gateway, "/v1/topics/AAPL", "1");
    assert_eq!((status.as_str(), &answer["code"]), ("409", &json!("use_redis")));
    let command = answer["command"].as_str().expect("a command");
    let (name, channel) = command.split_once(' ').expect("PUBLISH and a channel");
    let heard: u64 = redis::cmd(name).arg(channel).arg("2").query(&mut commands(&redis)).unwrap();
    assert_eq!(heard, 1);
    assert_eq!(client.receive(), json!({"topic": "AAPL", "data": 2}));
    client.close();
}
