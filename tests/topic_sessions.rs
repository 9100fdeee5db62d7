//! Sessions of topics from end to end: made by a request, used by a WebSocket on whichever
//! core, with the embedded broker and with Redis.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::{io::Write, net::TcpStream, thread};

use ringgate::{
    broker::embedded::WorkerPort, metrics::Refused as Upgrade, router::home_of,
    topics::sessions::Refused, ws::CloseCode,
};
use serde_json::{Value, json};
use support::{
    client::{Client, Refusal, masked, upgrade_request},
    gateway::TestGateway,
    http::{Answer, request},
    stage::RedisStage,
};
use tungstenite::Message;

const SESSIONS: &str = "/v1/sessions";
const TOPICS: &str = "/ws/topics";

/// What publishes, on either broker.
enum Publisher {
    Embedded(WorkerPort),
    Redis(Box<redis::Connection>),
}

impl Publisher {
    fn publish(&mut self, topic: &str, payload: &Value) {
        let channel = format!("prices:{topic}");
        match self {
            Self::Embedded(port) => port.publish(&channel, payload.to_string().into_bytes()),
            Self::Redis(redis) => {
                let mut publish = redis::cmd("PUBLISH");
                let payload = payload.to_string();
                let heard: u64 = publish.arg(channel).arg(payload).query(redis).expect("published");
                assert_eq!(heard, 1, "one core hears it for all");
            }
        }
    }
}

/// The configuration: a topics route with these settings, and another one.
fn file(lines: &str) -> String {
    format!(
        "[[route]]\npath = \"{TOPICS}\"\nkind = \"topics\"\nchannel = \"prices:{{topic}}\"\n{lines}\n\
         [[route]]\npath = \"/ws/news\"\nkind = \"topics\"\nchannel = \"news:{{topic}}\"\n"
    )
}

fn start(lines: &str, flags: &[(&'static str, &str)]) -> TestGateway {
    TestGateway::start_with("0-1", flags, Some(&file(lines)))
}

/// Two cores on each broker.
fn everywhere(test: impl Fn(&TestGateway, &mut Publisher)) {
    println!("on the embedded broker:");
    let gateway = start("", &[]);
    let port = gateway.worker_port().expect("embedded");
    test(&gateway, &mut Publisher::Embedded(port));
    gateway.until_quiet();
    drop(gateway);
    println!("on Redis:");
    let stage = RedisStage::without_worker("0-1", &[], Some(&file("")));
    test(&stage.gateway, &mut Publisher::Redis(Box::new(stage.commands())));
    stage.gateway.until_quiet();
}

/// A user whose sessions live on that shard.
fn user_of(shard: usize) -> String {
    let names = (0..).map(|n| format!("user-{n}"));
    let mut at_home = names.filter(|name| home_of(&format!("user {name}"), 2).index() == shard);
    at_home.next().expect("there is one")
}

fn ask(gateway: &TestGateway, shard: usize, method: &str, target: &str) -> Answer {
    request(gateway.stream_to(shard), method, target, "", "")
}

/// A session of that user, made by that shard: path and query of its WebSocket, and of itself.
fn make(
    gateway: &TestGateway,
    shard: usize,
    user: Option<&str>,
    topics: &Value,
) -> (String, String) {
    let body = json!({"topics": topics, "user_id": user}).to_string();
    let made = request(gateway.stream_to(shard), "POST", SESSIONS, "", &body);
    assert_eq!(made.status, 201, "{made:?}");
    let url = made.text("ws_url").strip_prefix("ws://test:80").expect("the host of the request");
    let query = user.map(|user| format!("?user_id={user}")).unwrap_or_default();
    (url.to_owned(), format!("{SESSIONS}/{}{query}", made.text("session_id")))
}

fn connect_to(gateway: &TestGateway, shard: usize, target: &str) -> Result<Client, Refusal> {
    Client::over(gateway.stream_to(shard), gateway.address, target)
}

fn assert_refused(outcome: Result<Client, Refusal>, status: u16, code: &str) {
    let refusal = outcome.err().expect("no WebSocket");
    assert_eq!((refusal.status, refusal.body["code"].as_str()), (status, Some(code)));
}

#[test]
fn a_websocket_starts_subscribed_whichever_core_it_lands_on() {
    everywhere(|gateway, publisher| {
        let mut turn = 0;
        for (home, asked, used) in (0..8).map(|n| (n & 1, n >> 1 & 1, n >> 2)) {
            turn += 1;
            let user = user_of(home);
            let topics = json!(["AAPL", format!("T{turn}")]);
            let (url, session) = make(gateway, asked, Some(&user), &topics);
            let mut client = connect_to(gateway, used, &url).expect("upgraded");
            let subscribed = client.receive();
            assert_eq!(subscribed, json!({"op": "subscribed", "topics": topics}));
            for (topic, data) in [("AAPL", json!({"price": turn})), (&format!("T{turn}"), json!(7))]
            {
                publisher.publish(topic, &data);
                assert_eq!(client.receive(), json!({"topic": topic, "data": data}));
            }
            let found = ask(gateway, 1 - used, "GET", &session);
            assert_eq!((found.status, found.text("state")), (200, "connected"));
            assert_eq!((&found.body["topics"], found.body.get("expires_in_s")), (&topics, None));
            assert_refused(connect_to(gateway, 1 - used, &url), 409, "session_used");
            if turn % 2 == 0 {
                assert_eq!(ask(gateway, asked, "DELETE", &session).status, 204);
                assert_eq!(client.close_code(), CloseCode::Normal.number());
            } else {
                client.close();
            }
            gateway.until("it has ended", |g| g.sum(|m| m.topic_sessions.connected.get()) == 0);
            ask(gateway, used, "GET", &session).assert_error(404, "session_not_found");
            assert_refused(connect_to(gateway, used, &url), 404, "session_not_found");
        }
        assert_eq!(gateway.each(|m| m.topic_sessions.used.get()), [4, 4], "both are homes");
        assert_eq!(gateway.each(|m| m.connections.upgraded.get()), [4, 4], "both were landed on");
        assert_eq!(gateway.sum(|m| m.topic_sessions.refused(Refused::Used).get()), 8);
    });
}

#[test]
fn a_session_may_ask_for_batches() {
    everywhere(|gateway, publisher| {
        let body = json!({"topics": ["a", "b"], "conflate_ms": 50}).to_string();
        let made = request(gateway.stream_to(0), "POST", SESSIONS, "", &body);
        let url = made.text("ws_url").strip_prefix("ws://test:80").unwrap();
        let mut client = connect_to(gateway, 1, url).expect("upgraded");
        assert_eq!(client.receive()["op"], "subscribed");
        publisher.publish("a", &json!(1));
        let batch = client.receive();
        assert_eq!(batch, json!([{"topic": "a", "data": 1}]), "an array");
        client.close();
    });
}

#[test]
fn a_session_is_for_its_user_its_route_and_its_time() {
    let gateway = start("session_ttl = \"1s\"", &[]);
    for home in 0..2 {
        let user = user_of(home);
        let (url, session) = make(&gateway, home, Some(&user), &json!(["a"]));
        let id = session.split(['/', '?']).nth(3).unwrap();
        for shard in 0..2 {
            for target in [
                format!("{TOPICS}?session={id}"),
                format!("{TOPICS}?session={id}&user_id=somebody"),
                url.replace(TOPICS, "/ws/news"),
                format!("{TOPICS}?session=&user_id={user}"),
                format!("{TOPICS}?session={}&user_id={user}", "0".repeat(36)),
                format!("{TOPICS}?session=ffff{}&user_id={user}", "0".repeat(32)),
            ] {
                assert_refused(connect_to(&gateway, shard, &target), 404, "session_not_found");
            }
        }
        gateway.until("expired", |g| g.sum(|m| m.topic_sessions.waiting.get()) == 0);
        for shard in 0..2 {
            assert_refused(connect_to(&gateway, shard, &url), 404, "session_not_found");
        }
    }
    assert_eq!(gateway.sum(|m| m.topic_sessions.used.get()), 0);
    gateway.until_quiet();
}

#[test]
fn a_deleted_session_is_not_used() {
    let gateway = start("", &[]);
    for shard in 0..2 {
        let (url, session) = make(&gateway, shard, None, &json!(["a"]));
        assert_eq!(ask(&gateway, 1 - shard, "DELETE", &session).status, 204);
        assert_refused(connect_to(&gateway, shard, &url), 404, "session_not_found");
    }
    gateway.until_quiet();
}

#[test]
fn many_who_come_at_once_use_it_once() {
    let gateway = start("sessions_per_user = 100", &[]);
    for round in 0..10 {
        let (url, _) = make(&gateway, round % 2, Some(&user_of(round / 5)), &json!(["a"]));
        let come = || Client::try_connect(gateway.address, &url);
        let outcomes: Vec<_> = thread::scope(|scope| {
            let clients: Vec<_> = (0..8).map(|_| scope.spawn(come)).collect();
            clients.into_iter().map(|client| client.join().expect("it was answered")).collect()
        });
        let used = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(used, 1, "in round {round}");
        let others = outcomes.into_iter().filter(Result::is_err);
        others.for_each(|outcome| assert_refused(outcome, 409, "session_used"));
    }
    assert!(gateway.each(|m| m.connections.upgraded.get()).iter().all(|count| *count > 0));
    gateway.until_quiet();
}

#[test]
fn a_full_gateway_uses_no_session_up() {
    let gateway = start("", &[("connections", "1")]);
    let (url, _) = make(&gateway, 0, Some(&user_of(0)), &json!(["a"]));
    let only = Client::connect(gateway.address, TOPICS);
    for shard in 0..2 {
        assert_refused(connect_to(&gateway, shard, &url), 503, "connection_limit");
    }
    only.close();
    gateway.until("room", |g| g.sum(|m| m.connections.open.get()) == 0);
    // Who waits for a session holds a place, and gives it back.
    for shard in [0, 1, 0, 1] {
        let unknown = format!("{TOPICS}?session={:036}", 1 - shard);
        assert_refused(connect_to(&gateway, shard, &unknown), 404, "session_not_found");
        gateway.until("gone", |g| g.sum(|m| m.connections.handshaking.get()) == 0);
    }
    let client = connect_to(&gateway, 1, &url).expect("upgraded");
    client.close();
    gateway.until_quiet();
}

#[test]
fn what_is_said_too_early_is_heard() {
    let gateway = start("", &[]);
    for shard in 0..2 {
        let (url, _) = make(&gateway, 0, Some(&user_of(0)), &json!(["a"]));
        let mut stream = gateway.stream_to(shard);
        let mut bytes = format!("{}\r\n", upgrade_request(&url)).into_bytes();
        bytes.extend(masked(0x81, br#"{"type":"ping"}"#));
        bytes.extend(masked(0x88, &1000u16.to_be_bytes()));
        stream.write_all(&bytes).unwrap();
        let heard = read_all(stream);
        assert!(heard.contains("101 Switching") && heard.contains("\"pong\""), "{heard}");
    }
    gateway.until_quiet();
}

fn read_all(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    stream.set_read_timeout(Some(support::client::PATIENCE)).unwrap();
    std::io::Read::read_to_end(&mut stream, &mut bytes).expect("to the end");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn clients_that_vanish_leave_no_session() {
    let gateway = start("sessions_per_user = 100", &[]);
    for round in 0..20 {
        let (url, _) = make(&gateway, round % 2, Some(&user_of(round / 2 % 2)), &json!(["a"]));
        let mut stream = gateway.stream_to(round % 2);
        stream.write_all(format!("{}\r\n", upgrade_request(&url)).as_bytes()).unwrap();
        if round % 3 == 0 {
            // With what it has not read, this is a reset.
            let mut one = [0];
            std::io::Read::read_exact(&mut stream, &mut one).expect("an answer");
        }
        drop(stream);
    }
    gateway.until("all are used", |g| g.sum(|m| m.topic_sessions.used.get()) == 20);
    gateway.until_quiet();
}

#[test]
fn a_drain_closes_who_has_a_session_and_forgets_the_others() {
    let gateway = start("", &[("drain", "300ms")]);
    let (url, _) = make(&gateway, 0, Some(&user_of(1)), &json!(["a"]));
    let mut client = connect_to(&gateway, 0, &url).expect("upgraded");
    assert_eq!(client.receive()["op"], "subscribed");
    make(&gateway, 0, Some(&user_of(0)), &json!(["a"]));
    let idle = gateway.stream_to(1);
    gateway.ender().drain();
    support::http::answer(idle).assert_error(503, "draining");
    assert_eq!(client.close_code(), CloseCode::Restart.number());
    assert!(gateway.sum(|m| m.connections.refused(Upgrade::Draining).get()) > 0);
    gateway.until("nothing is left", |g| {
        g.sum(|m| m.topic_sessions.waiting.get() + m.topic_sessions.connected.get()) == 0
    });
    gateway.wait().expect("it ends well");
}

#[test]
fn a_plain_client_needs_no_session() {
    everywhere(|gateway, publisher| {
        let mut client = connect_to(gateway, 1, TOPICS).expect("upgraded");
        client.socket.send(Message::text(r#"{"op":"subscribe","topics":["x"]}"#)).unwrap();
        assert_eq!(client.receive(), json!({"op": "subscribed", "topics": ["x"]}));
        publisher.publish("x", &json!("y"));
        assert_eq!(client.receive(), json!({"topic": "x", "data": "y"}));
        client.close();
    });
}
