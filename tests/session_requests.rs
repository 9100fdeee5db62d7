//! Requests for sessions of topics, good and bad, from end to end: to either core, and with
//! whatever no good client sends.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use ringgate::{metrics::Refused as Upgrade, router::home_of, topics::sessions::Refused};
use serde_json::json;
use support::{
    client::PATIENCE,
    gateway::TestGateway,
    http::{Answer, answer, request},
};

const SESSIONS: &str = "/v1/sessions";
const BODY: &str = r#"{"topics":["AAPL","MSFT"],"conflate_ms":500}"#;

/// Two cores with the topics route that these lines describe.
fn start(lines: &str, flags: &[(&'static str, &str)]) -> TestGateway {
    let file = format!("[[route]]\npath = \"/ws/topics\"\nkind = \"topics\"\n{lines}");
    TestGateway::start_with("0-1", flags, Some(&file))
}

fn connect(gateway: &TestGateway) -> TcpStream {
    TcpStream::connect(gateway.address).expect("it listens")
}

fn post(gateway: &TestGateway, body: &str) -> Answer {
    request(connect(gateway), "POST", SESSIONS, "", body)
}

fn get(gateway: &TestGateway, id: &str, query: &str) -> Answer {
    request(connect(gateway), "GET", &format!("{SESSIONS}/{id}{query}"), "", "")
}

fn delete(gateway: &TestGateway, id: &str, query: &str) -> Answer {
    request(connect(gateway), "DELETE", &format!("{SESSIONS}/{id}{query}"), "", "")
}

/// A user whose sessions live on that shard.
fn user_of(shard: usize) -> String {
    let names = (0..).map(|n| format!("user-{n}"));
    let mut at_home = names.filter(|name| home_of(&format!("user {name}"), 2).index() == shard);
    at_home.next().expect("there is one")
}

#[test]
fn a_session_is_made_found_and_deleted_from_either_core() {
    let gateway = start("", &[]);
    for home in 0..2 {
        let user = user_of(home);
        let body = json!({"topics": ["AAPL", "MSFT"], "conflate_ms": 500, "user_id": user});
        for (asked, other) in [(0, 1), (1, 0)] {
            let created =
                request(gateway.stream_to(asked), "POST", SESSIONS, "", &body.to_string());
            assert_eq!(created.status, 201, "{created:?}");
            assert_eq!(created.body["expires_in_s"], 30);
            let id = created.text("session_id");
            let url = format!("ws://test:80/ws/topics?session={id}&user_id={user}");
            assert_eq!(created.text("ws_url"), url);
            assert_eq!(created.field("location"), Some(format!("{SESSIONS}/{id}").as_str()));
            let target = format!("{SESSIONS}/{id}?user_id={user}");
            let found = request(gateway.stream_to(other), "GET", &target, "", "");
            assert_eq!(found.status, 200, "{found:?}");
            let left_s = found.body["expires_in_s"].as_u64();
            assert!(left_s.is_some_and(|left_s| (25..=30).contains(&left_s)), "{found:?}");
            let expected = json!({
                "session_id": id, "topics": ["AAPL", "MSFT"], "conflate_ms": 500,
                "state": "waiting", "expires_in_s": left_s,
            });
            assert_eq!(found.body, expected);
            let deleted = request(gateway.stream_to(asked), "DELETE", &target, "", "");
            assert_eq!((deleted.status, deleted.body), (204, json!(null)));
            request(gateway.stream_to(other), "GET", &target, "", "")
                .assert_error(404, "session_not_found");
        }
        let deleted = gateway.each(|m| m.topic_sessions.deleted.get());
        assert_eq!(deleted[home], 2, "its home keeps the books: {deleted:?}");
    }
    let created = gateway.each(|m| m.topic_sessions.created.get());
    assert_eq!(created, [2, 2], "either core is a home");
    assert!(gateway.each(|m| m.router.received[0].get()).iter().all(|count| *count > 0));
    gateway.until_quiet();
}

#[test]
fn a_session_of_another_user_is_not_there() {
    let gateway = start("", &[]);
    for home in 0..2 {
        let user = user_of(home);
        let made = post(&gateway, &json!({"topics": ["a"], "user_id": user}).to_string());
        let id = made.text("session_id");
        for query in ["", "?user_id=", "?user_id=somebody", "?user_id=%00", "?user=anna"] {
            get(&gateway, id, query).assert_error(404, "session_not_found");
            delete(&gateway, id, query).assert_error(404, "session_not_found");
        }
        let query = format!("?user_id={user}");
        let unknown = get(&gateway, &id.replace(&id[30..], "000000"), &query);
        assert_eq!(unknown.body, get(&gateway, id, "").body, "nobody can tell the two");
        assert_eq!(delete(&gateway, id, &query).status, 204);
    }
    let mine = post(&gateway, BODY);
    assert_eq!(get(&gateway, mine.text("session_id"), "?user_id=x").status, 200, "nobody's");
    assert_eq!(delete(&gateway, mine.text("session_id"), "").status, 204);
    gateway.until_quiet();
}

#[test]
fn an_unused_session_expires() {
    let gateway = start("session_ttl = \"1s\"\nsessions_per_user = 1", &[]);
    let made = post(&gateway, BODY);
    assert_eq!(made.body["expires_in_s"], 1);
    post(&gateway, BODY).assert_error(429, "session_quota");
    gateway.until("expired", |g| g.sum(|m| m.topic_sessions.expired.get()) == 1);
    get(&gateway, made.text("session_id"), "").assert_error(404, "session_not_found");
    let next = post(&gateway, BODY);
    assert_eq!((next.status, next.body["expires_in_s"].as_u64()), (201, Some(1)));
    gateway.until_quiet();
}

#[test]
fn quotas_are_kept_whichever_core_is_asked() {
    let gateway = start("sessions_per_user = 2\nsessions_max = 3", &[]);
    let of = |shard: usize, user: Option<&str>| {
        let body = json!({"topics": ["a"], "user_id": user}).to_string();
        request(gateway.stream_to(shard), "POST", SESSIONS, "", &body)
    };
    let anna = Some(user_of(0));
    let first = of(0, anna.as_deref());
    assert_eq!((first.status, of(1, anna.as_deref()).status), (201, 201));
    for shard in 0..2 {
        let refused = of(shard, anna.as_deref());
        refused.assert_error(429, "session_quota");
        assert!(refused.text("error").contains("At most 2"), "{refused:?}");
    }
    assert_eq!(of(0, None).status, 201);
    let bert = Some(user_of(1));
    for shard in 0..2 {
        of(shard, bert.as_deref()).assert_error(503, "session_limit");
    }
    let query = format!("?user_id={}", anna.as_deref().unwrap());
    assert_eq!(delete(&gateway, first.text("session_id"), &query).status, 204);
    assert_eq!(of(1, bert.as_deref()).status, 201, "there is room again");
    let refused = |reason| gateway.sum(|m| m.topic_sessions.refused(reason).get());
    assert_eq!((refused(Refused::Quota), refused(Refused::Limit)), (2, 2));
}

#[test]
fn a_body_comes_in_pieces_and_after_100_continue() {
    let gateway = start("", &[]);
    let head = format!("POST {SESSIONS} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n", BODY.len());
    let whole = format!("{head}\r\n{BODY} and what nobody asked for");
    for pieces in [1, 2, 3, 50] {
        let mut stream = connect(&gateway);
        stream.set_nodelay(true).unwrap();
        for piece in whole.as_bytes().chunks(whole.len().div_ceil(pieces)) {
            stream.write_all(piece).unwrap();
            std::thread::yield_now();
        }
        assert_eq!(answer(stream).status, 201);
    }
    for shard in 0..2 {
        let mut stream = gateway.stream_to(shard);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(format!("{head}Expect: 100-continue\r\n\r\n").as_bytes()).unwrap();
        let mut go_on = [0; 25];
        stream.read_exact(&mut go_on).expect("it says go on");
        assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(BODY.as_bytes()).unwrap();
        assert_eq!(answer(stream).status, 201);
    }
    gateway.until("nothing is held", |g| g.sum(|m| m.connections.held_bytes.get()) == 0);
}

#[test]
fn bodies_that_are_not_taken() {
    let gateway = start("", &[]);
    let ask = |fields: &str, body: &str| {
        let mut stream = connect(&gateway);
        let head = format!("POST {SESSIONS} HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}");
        let _ = stream.write_all(head.as_bytes());
        answer(stream)
    };
    ask("", BODY).assert_error(411, "length_required");
    let chunked = ask("Transfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n");
    chunked.assert_error(411, "length_required");
    assert!(chunked.text("error").contains("Content-Length"), "{chunked:?}");
    ask("Transfer-Encoding: gzip\r\n", "x").assert_error(501, "not_implemented");
    ask("Content-Length: 9\r\nTransfer-Encoding: chunked\r\n", "").assert_error(400, "bad_request");
    ask("Content-Length: x\r\n", "").assert_error(400, "bad_request");
    ask("Content-Length: 9\r\nExpect: x\r\n", "").assert_error(417, "expectation_failed");
    let large = ask("Content-Length: 65537\r\nExpect: 100-continue\r\n", "");
    large.assert_error(413, "too_large");
    assert!(large.text("error").contains("65536"), "{large:?}");
    let sent = ask("Content-Length: 8000000\r\n", &"x".repeat(8_000_000));
    sent.assert_error(413, "too_large");
    let largest = format!("{{\"topics\":[\"a\"]{}}}", " ".repeat(64 * 1024 - 16));
    assert_eq!((largest.len(), post(&gateway, &largest).status), (64 * 1024, 201));
    // Unfinished, and gone.
    let mut stream = connect(&gateway);
    stream
        .write_all(b"POST /v1/sessions HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n{")
        .unwrap();
    gateway.until("held", |g| g.sum(|m| m.connections.held_bytes.get()) > 0);
    drop(stream);
    gateway.until("let go", |g| g.sum(|m| m.connections.handshaking.get()) == 0);
    assert_eq!(gateway.sum(|m| m.connections.held_bytes.get()), 0);
}

#[test]
fn bodies_that_say_nonsense() {
    let gateway = start("", &[]);
    let many = json!({"topics": vec!["a"; 10_000]}).to_string();
    for (body, code) in [
        ("", "bad_request"),
        ("{", "bad_request"),
        ("[]", "bad_request"),
        ("\u{0}\u{ff}", "bad_request"),
        (r#"{"topics":"AAPL"}"#, "bad_request"),
        (r#"{"topics":[]}"#, "bad_request"),
        (r#"{"topics":[{"a":1}]}"#, "bad_request"),
        (r#"{"topics":["a"],"conflate_ms":60001}"#, "bad_request"),
        (r#"{"topics":["a"],"user_id":"a b"}"#, "bad_request"),
        (r#"{"topics":["a"],"x":1}"#, "bad_request"),
        (r#"{"topics":["a\u0000"]}"#, "bad_topic"),
        (r#"{"topics":["a"],"route":"/ws/other"}"#, "unknown_route"),
        (&many, "too_many_topics"),
    ] {
        post(&gateway, body).assert_error(400, code);
    }
    let refused = gateway.sum(|m| m.topic_sessions.refused(Refused::BadRequest).get());
    assert_eq!(refused, 10);
    gateway.until_quiet();
}

#[test]
fn methods_and_paths() {
    let gateway = start("", &[]);
    let ask = |method, target| request(connect(&gateway), method, target, "", "");
    for (method, target, allow) in [
        ("GET", SESSIONS, "POST, OPTIONS"),
        ("PUT", SESSIONS, "POST, OPTIONS"),
        ("POST", "/v1/sessions/x", "GET, DELETE, OPTIONS"),
        ("PATCH", "/v1/sessions/x", "GET, DELETE, OPTIONS"),
    ] {
        let refused = ask(method, target);
        refused.assert_error(405, "method_not_allowed");
        assert_eq!(refused.field("allow"), Some(allow), "{refused:?}");
    }
    let endless = format!("/v1/sessions/{}", "f".repeat(36));
    let long = format!("/v1/sessions/{}", "0".repeat(5_000));
    for target in ["/v1/sessions/", "/v1/sessions/../x", "/v1/sessions/%00", &endless, &long] {
        ask("GET", target).assert_error(404, "session_not_found");
    }
    ask("GET", "/v1/other").assert_error(404, "not_found");
    let plain = TestGateway::start("0", &[]);
    request(connect(&plain), "POST", SESSIONS, "", BODY).assert_error(404, "not_found");
}

#[test]
fn pages_of_other_origins() {
    let gateway = start("", &[("origins", "https://app.example")]);
    let good = "Origin: https://app.example\r\n";
    let made = request(connect(&gateway), "POST", SESSIONS, good, BODY);
    assert_eq!(made.status, 201);
    assert_eq!(made.field("access-control-allow-origin"), Some("https://app.example"));
    let refused = request(connect(&gateway), "POST", SESSIONS, good, "{}");
    refused.assert_error(400, "bad_request");
    assert!(refused.field("access-control-allow-origin").is_some(), "the page may read why");
    let before = format!("{good}Access-Control-Request-Method: DELETE\r\n");
    let preflight = request(connect(&gateway), "OPTIONS", "/v1/sessions/x", &before, "");
    assert_eq!((preflight.status, preflight.body.is_null()), (204, true));
    let methods = preflight.field("access-control-allow-methods");
    assert!(methods.is_some_and(|methods| methods.contains("DELETE")), "{preflight:?}");
    for method in ["POST", "OPTIONS"] {
        let bad = "Origin: https://evil.example\r\n";
        let refused = request(connect(&gateway), method, SESSIONS, bad, BODY);
        refused.assert_error(403, "origin");
        assert_eq!(refused.field("access-control-allow-origin"), None);
    }
    assert_eq!(gateway.sum(|m| m.connections.refused(Upgrade::Origin).get()), 2);
    let any = start("", &[]);
    let made = request(connect(&any), "POST", SESSIONS, "Origin: null\r\n", BODY);
    assert_eq!(made.field("access-control-allow-origin"), Some("null"));
}

#[test]
fn who_is_too_slow_or_too_many() {
    let gateway = start("", &[("handshake-deadline", "300ms")]);
    let mut slow = connect(&gateway);
    slow.write_all(b"POST /v1/sessions HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{").unwrap();
    answer(slow).assert_error(408, "handshake_timeout");
    let gateway = start("", &[("accepts-per-second", "4")]);
    let answers: Vec<Answer> = (0..12).map(|_| post(&gateway, BODY)).collect();
    let refused: Vec<&Answer> = answers.iter().filter(|answer| answer.status != 201).collect();
    assert!(refused.len() >= 2, "four at once, four a second");
    refused.iter().for_each(|answer| answer.assert_error(503, "accept_rate"));
    let id = answers[0].text("session_id");
    assert_eq!(delete(&gateway, id, "").status, 204, "who gives back is not held up");
}

#[test]
fn a_drain_refuses_what_is_under_way() {
    let gateway = start("", &[]);
    let (mut begun, idle) = (connect(&gateway), connect(&gateway));
    begun
        .write_all(b"POST /v1/sessions HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{")
        .unwrap();
    gateway.until("held", |g| g.sum(|m| m.connections.held_bytes.get()) > 0);
    assert_eq!(post(&gateway, BODY).status, 201);
    gateway.until("idle", |g| g.sum(|m| m.connections.handshaking.get()) == 2);
    gateway.ender().drain();
    answer(begun).assert_error(503, "draining");
    answer(idle).assert_error(503, "draining");
    gateway.until("ended", |g| g.sum(|m| m.topic_sessions.waiting.get()) == 0);
    gateway.wait().expect("it ends well");
}
