//! What no good client sends, and no good worker: each is answered clearly, disturbs nobody
//! else on the shard, and leaves nothing behind.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
};

use ringgate::metrics::Refused;
use serde_json::{Value, json};
use support::{
    client::{
        Client, PATIENCE, exchange, header, masked, raw_close_code, raw_upgraded, silence,
        upgrade_request,
    },
    gateway::TestGateway,
    stage::{RedisStage, publish, result},
};
use tungstenite::Message;

const ASR: &str = "/ws/asr";
const ECHO: &str = "/echo";

/// A gateway of one shard with a bystander who is in the middle of a session.
struct Scene {
    gateway: TestGateway,
    bystander: Client,
}

impl Scene {
    fn start() -> Self {
        Self::start_with(&[])
    }

    fn start_with(flags: &[(&'static str, &str)]) -> Self {
        let mut all = vec![("echo", ECHO)];
        all.extend(flags);
        let gateway = TestGateway::start("0", &all);
        let mut bystander = Client::connect(gateway.address, ASR);
        bystander.run_session("before");
        bystander.start("during");
        Self { gateway, bystander }
    }

    /// The bystander's session goes on, and after that nothing is left.
    fn end(mut self) -> TestGateway {
        self.bystander.chunk("during", 0, &silence(1));
        self.bystander.finish("during");
        let (before, last) = self.bystander.until_final();
        assert_eq!(before.len(), 2, "{before:?}");
        assert_eq!(last["complete"], true, "{last}");
        self.bystander.run_session("after");
        self.bystander.close();
        self.gateway.until_quiet();
        self.gateway
    }

    /// A request is refused with this status, code and one header field, and counted.
    fn refuses(&self, request: &str, status: u16, reason: Refused, field: &str) {
        let refused = |g: &TestGateway| g.sum(|m| m.connections.refused(reason).get());
        let before = refused(&self.gateway);
        let answer = exchange(self.gateway.address, request.as_bytes());
        assert_refusal(&answer, status, reason);
        assert!(answer.contains(field), "{answer}");
        assert_eq!(refused(&self.gateway), before + 1);
    }

    /// A broken frame ends its connection with this code, at once.
    fn breaks(&self, what: &str, bytes: &[u8], code: u16) {
        let mut peer = raw_upgraded(self.gateway.address, ECHO);
        peer.write_all(bytes).unwrap();
        assert_eq!(raw_close_code(peer), Some(code), "{what}");
    }
}

fn assert_refusal(answer: &str, status: u16, reason: Refused) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    let body = answer.split_once("\r\n\r\n").expect("a body").1;
    let body: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(body["code"], reason.label(), "{body}");
    assert!(body["error"].as_str().is_some_and(|text| !text.is_empty()), "{body}");
}

#[test]
fn garbage_instead_of_http() {
    let scene = Scene::start();
    for garbage in
        ["\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}", "hello\r\n\r\n", "GET / HTTP/9.9\r\n\r\n"]
    {
        scene.refuses(garbage, 400, Refused::BadHandshake, "application/json");
    }
    scene.end();
}

#[test]
fn half_a_handshake() {
    let scene = Scene::start_with(&[("handshake-deadline", "300ms")]);
    scene.refuses("GET /ws/asr HT", 408, Refused::Slow, "application/json");
    scene.refuses(&upgrade_request(ASR), 408, Refused::Slow, "application/json");
    scene.refuses("", 408, Refused::Slow, "application/json");
    scene.end();
}

#[test]
fn a_header_of_a_megabyte_is_refused_while_it_is_still_sent() {
    let scene = Scene::start();
    let mut peer = TcpStream::connect(scene.gateway.address).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer.write_all(upgrade_request(ASR).as_bytes()).unwrap();
    peer.write_all(b"Cookie: ").unwrap();
    for _ in 0..128 {
        peer.write_all(&[b'x'; 8192]).expect("what is too much is read and thrown away");
    }
    let mut answer = String::new();
    peer.read_to_string(&mut answer).expect("the answer is not lost to a reset");
    assert_refusal(&answer, 431, Refused::HeaderTooLarge);
    drop(peer);
    scene.end();
}

#[test]
fn requests_that_cannot_become_a_websocket() {
    let scene = Scene::start();
    let good = upgrade_request(ASR);
    let version = format!("{}\r\n", good.replace("Version: 13", "Version: 8"));
    scene.refuses(&version, 426, Refused::Version, "Sec-WebSocket-Version: 13\r\n");
    let plain = "GET /ws/asr HTTP/1.1\r\nHost: test\r\n\r\n";
    scene.refuses(plain, 426, Refused::Version, "Sec-WebSocket-Version: 13\r\n");
    let unknown = format!("{}\r\n", upgrade_request("/ws/other"));
    scene.refuses(&unknown, 404, Refused::NotFound, "application/json");
    let post = format!("{}\r\n", good.replace("GET ", "POST "));
    scene.refuses(&post, 405, Refused::Method, "Allow: GET\r\n");
    let no_key = format!("{}\r\n", good.replace("dGhlIHNhbXBsZSBub25jZQ==", "short"));
    scene.refuses(&no_key, 400, Refused::BadHandshake, "application/json");
    scene.end();
}

#[test]
fn an_origin_that_is_not_allowed() {
    let scene = Scene::start_with(&[("origins", "https://good.example")]);
    let from = |origin: &str| format!("{}Origin: {origin}\r\n\r\n", upgrade_request(ASR));
    for bad in ["https://evil.example", "https://good.example.evil.example", "null"] {
        scene.refuses(&from(bad), 403, Refused::Origin, "application/json");
    }
    let mut peer = TcpStream::connect(scene.gateway.address).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer.write_all(from("https://good.example").as_bytes()).unwrap();
    let mut status = [0; 13];
    peer.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 101 ");
    drop(peer);
    scene.end();
}

#[test]
fn frames_that_break_the_protocol() {
    let scene = Scene::start();
    let after = |first: u8, second: Vec<u8>| [masked(first, b"a"), second].concat();
    let cases = [
        ("unmasked", vec![0x81, 1, b'a']),
        ("RSV1", masked(0xc1, b"a")),
        ("RSV2", masked(0xa1, b"a")),
        ("RSV3", masked(0x91, b"a")),
        ("opcode 3", masked(0x83, b"a")),
        ("opcode 11", masked(0x8b, b"a")),
        ("a ping of 126 bytes", masked(0x89, &[0; 126])),
        ("a fragmented ping", masked(0x09, b"a")),
        ("a continuation of nothing", masked(0x80, b"a")),
        ("a message inside fragments", after(0x01, masked(0x81, b"b"))),
        ("a length of 16 bits that fits 7", vec![0x82, 0x80 | 126, 0, 5, 1, 2, 3, 4]),
        ("a length of 64 bits that fits 16", vec![0x82, 0x80 | 127, 0, 0, 0, 0, 0, 0, 1, 0]),
        ("a length with its top bit", vec![0x82, 0x80 | 127, 0x80, 0, 0, 0, 0, 0, 0, 0]),
        ("a close of one byte", masked(0x88, &[3])),
        ("close code 999", masked(0x88, &999u16.to_be_bytes())),
        ("close code 1005", masked(0x88, &1005u16.to_be_bytes())),
        ("close code 1006", masked(0x88, &1006u16.to_be_bytes())),
        ("close code 5000", masked(0x88, &5000u16.to_be_bytes())),
    ];
    for (what, bytes) in &cases {
        scene.breaks(what, bytes, 1002);
    }
    let gateway = scene.end();
    assert_eq!(gateway.closed(), [(1002, cases.len() as u64), (1005, 1)]);
}

#[test]
fn text_that_is_not_utf8() {
    let scene = Scene::start();
    scene.breaks("at once", &masked(0x81, b"ab\xff"), 1007);
    scene.breaks("a surrogate", &masked(0x81, b"\xed\xa0\x80"), 1007);
    scene.breaks("cut off at the end", &masked(0x81, b"ab\xc3"), 1007);
    let split = [masked(0x01, b"\xc3"), masked(0x80, b"(")].concat();
    scene.breaks("split over frames", &split, 1007);
    // Nothing more comes after the bad byte, and yet the verdict does.
    let announced = masked(0x81, &[&[b'a'; 100][..], b"\xff", &[b'b'; 899]].concat());
    scene.breaks("at the first bad byte", &announced[..header(0x81, 1000).len() + 101], 1007);
    let second = masked(0x80, &[&b"\xa9"[..], b"\xfe", &[b'b'; 998]].concat());
    let fragments = [&masked(0x01, b"\xc3")[..], &second[..header(0x80, 1000).len() + 2]].concat();
    scene.breaks("at the first bad byte of a later fragment", &fragments, 1007);
    scene.breaks("in a close reason", &masked(0x88, b"\x03\xe8\xff"), 1007);
    let gateway = scene.end();
    assert_eq!(gateway.closed(), [(1005, 1), (1007, 7)]);
}

#[test]
fn a_message_that_is_too_long_by_its_header_alone() {
    let scene = Scene::start_with(&[("message-bytes", "64KiB")]);
    scene.breaks("one frame", &header(0x82, 65_537), 1009);
    scene.breaks("terabytes", &header(0x82, 1 << 40), 1009);
    let fragments = [masked(0x02, &[0; 60_000]), header(0x80, 5_537)].concat();
    scene.breaks("the sum of fragments", &fragments, 1009);
    let mut just = Client::connect(scene.gateway.address, ECHO);
    let message = Message::binary(vec![7; 65_536]);
    just.socket.send(message.clone()).unwrap();
    assert_eq!(just.socket.read().unwrap(), message, "the limit itself is allowed");
    just.close();
    scene.end();
}

#[test]
fn frames_after_a_close_are_ignored() {
    let scene = Scene::start();
    let mut peer = raw_upgraded(scene.gateway.address, ECHO);
    let close = masked(0x88, &1000u16.to_be_bytes());
    peer.write_all(&[close, masked(0x81, b"late"), masked(0x83, b"broken")].concat()).unwrap();
    let mut answer = Vec::new();
    peer.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, [0x88, 2, 0x03, 0xe8], "one close frame and nothing else");
    peer.write_all(&masked(0x81, b"later")).expect("still not reset");
    peer.shutdown(Shutdown::Write).unwrap();
    drop(peer);
    let gateway = scene.end();
    assert_eq!(gateway.closed(), [(1000, 1), (1005, 1)]);
}

#[test]
fn messages_that_are_not_of_the_protocol() {
    let scene = Scene::start();
    let mut client = Client::connect(scene.gateway.address, ASR);
    client.start("mine");
    let long = "x".repeat(129);
    let chunk = |session: &str, index: Value, audio: &str| {
        json!({"action": "chunk", "session_id": session, "chunk_index": index, "audio_data": audio})
            .to_string()
    };
    let start = |session: &str| json!({"action": "start", "session_id": session}).to_string();
    let finish = |session: &str| json!({"action": "finish", "session_id": session}).to_string();
    const FORMAT: &str = "Invalid message format";
    const ID: &str = "session_id must be 1 to 128 of A-Z a-z 0-9 . _ : -";
    let cases = [
        ("hello".into(), "bad_message", FORMAT.to_owned(), None),
        (String::new(), "bad_message", FORMAT.into(), None),
        ("[]".into(), "bad_message", FORMAT.into(), None),
        (r#"{"action":"start","session_id":7}"#.into(), "bad_message", FORMAT.into(), None),
        (chunk("mine", json!("0"), ""), "bad_message", FORMAT.into(), None),
        ("{}".into(), "unknown_action", "Unknown action: ".into(), None),
        (r#"{"action":"dance"}"#.into(), "unknown_action", "Unknown action: dance".into(), None),
        (start("../../x"), "bad_session_id", ID.into(), None),
        (start(&long), "bad_session_id", ID.into(), None),
        (start("sp ace"), "bad_session_id", ID.into(), None),
        (start("line\r\nfeed"), "bad_session_id", ID.into(), None),
        (finish(""), "session_not_found", "Session not found: ".into(), None),
        (finish("../../x"), "session_not_found", "Session not found: ../../x".into(), None),
        (finish(&long), "session_not_found", format!("Session not found: {}", &long[1..]), None),
        (chunk("", json!(0), ""), "session_not_found", "Session not found: ".into(), None),
        // Another connection's.
        (finish("during"), "session_not_found", "Session not found: during".into(), Some("during")),
        (
            chunk("mine", json!(0), "!!"),
            "bad_chunk",
            "audio_data is not base64".into(),
            Some("mine"),
        ),
        (
            chunk("mine", json!(0), "AAA"),
            "bad_chunk",
            "audio_data is not base64".into(),
            Some("mine"),
        ),
        (
            chunk("mine", json!(-1), ""),
            "bad_chunk",
            "chunk_index out of range".into(),
            Some("mine"),
        ),
    ];
    for (message, code, text, session) in cases {
        client.socket.send(Message::text(message.clone())).unwrap();
        let answer = client.receive();
        let mut expected =
            json!({"type": "error", "chunk_index": 0, "code": code, "message": text});
        if let Some(session) = session {
            expected["session_id"] = session.into();
        }
        assert_eq!(answer, expected, "for {message}");
    }
    // Neither the session nor the connection has taken harm.
    client.chunk("mine", 0, &silence(1));
    client.finish("mine");
    assert_eq!(client.until_final().1["complete"], true);
    client.close();
    scene.end();
}

#[test]
fn results_that_are_none() {
    let stage = RedisStage::without_worker("0", &[], None);
    let mut redis = stage.commands();
    let mut client = Client::connect(stage.gateway.address, ASR);
    client.start("s");
    for index in 0..2 {
        client.chunk("s", index, &silence(1));
        assert_eq!(client.receive()["chunk_index"], index);
    }
    let huge = vec![b'{'; 8 << 20];
    let malformed: [&[u8]; 9] = [
        b"",
        b"not JSON",
        b"[0,\"text\"]",
        b"{}",
        b"{\"text\":\"x\"}",
        b"{\"chunk_index\":-1,\"text\":\"x\"}",
        b"{\"chunk_index\":0,\"text\":[]}",
        b"{\"chunk_index\":0,\"text\":\"\xff\"}",
        &huge,
    ];
    for payload in malformed {
        assert_eq!(publish(&mut redis, "s", payload), 1);
    }
    assert_eq!(publish(&mut redis, "s", &result(77, "a chunk that there isn't")), 1);
    assert_eq!(publish(&mut redis, "nobody", &result(0, "lost")), 0);
    assert_eq!(publish(&mut redis, "../s", &result(0, "lost")), 0);
    let long = "word ".repeat(400_000);
    publish(&mut redis, "s", &result(1, &long));
    // It is more than an outbox holds: what follows it before it is read would be too much.
    assert_eq!(client.receive()["text"], long);
    stage.gateway.until("it is written", |g| g.sum(|m| m.connections.outbox_bytes.get()) == 0);
    publish(&mut redis, "s", &result(0, "first"));
    publish(&mut redis, "s", &result(0, "again"));
    assert_eq!(client.receive()["text"], "first");
    stage.gateway.until("the second answer", |g| g.sum(|m| m.tasks.results.duplicate.get()) == 1);
    client.finish("s");
    let (between, last) = client.until_final();
    assert_eq!((between.len(), &last["complete"]), (0, &json!(true)));
    assert_eq!(last["text"], format!("first {long}"));
    let count = |value: fn(&ringgate::metrics::ShardMetrics) -> u64| stage.gateway.sum(value);
    assert_eq!(count(|m| m.tasks.results.malformed.get()), malformed.len() as u64);
    assert_eq!(count(|m| m.tasks.results.orphaned.get()), 1);
    assert_eq!(count(|m| m.tasks.results.delivered.get()), 2);
    assert_eq!(count(|m| m.broker.reconnects.get()), 0, "a huge result breaks no link");
    client.close();
    stage.gateway.until_quiet();
}

/// With one channel for all sessions of a shard a result names its session, which may be
/// anybody's, and any of these would reach the route.
#[test]
fn results_for_sessions_that_are_not_there() {
    let file = "[[route]]\npath = \"/ws/asr\"\nkind = \"tasks\"\nresults = \"per-shard\"\n";
    let stage = RedisStage::without_worker("0", &[], Some(file));
    let mut redis = stage.commands();
    let mut client = Client::connect(stage.gateway.address, ASR);
    for session in ["over", "s"] {
        client.start(session);
        client.chunk(session, 0, &silence(1));
        assert_eq!(client.receive()["status"], "received");
    }
    let task: String = redis::cmd("LPOP").arg("asr_chunk_queue").query(&mut redis).unwrap();
    let task: Value = serde_json::from_str(&task).expect("JSON");
    let channel = task["reply_to"].as_str().expect("a channel").to_owned();
    let mut say = |payload: &[u8]| {
        let heard: u64 =
            redis::cmd("PUBLISH").arg(&channel).arg(payload).query(&mut redis).unwrap();
        assert_eq!(heard, 1);
    };
    let of = |session: &str, index: u64| {
        json!({"session_id": session, "chunk_index": index, "text": "hm", "error": ""}).to_string()
    };
    say(of("over", 0).as_bytes());
    assert_eq!(client.receive()["text"], "hm");
    client.finish("over");
    assert_eq!(client.until_final().1["complete"], true);

    let orphans = [of("over", 0), of("nobody", 0), of("../s", 0), of("", 0), of("s", 7)];
    orphans.iter().for_each(|payload| say(payload.as_bytes()));
    let huge = of(&"x".repeat(4 << 20), 0);
    say(huge.as_bytes());
    let malformed: [&[u8]; 3] = [
        b"{\"session_id\":\"s\",\"chunk_index\":0,\"text\":\"\xff\"}",
        b"{\"session_id\":7,\"chunk_index\":0,\"text\":\"x\"}",
        b"{\"session_id\":\"s\"}",
    ];
    malformed.iter().for_each(|payload| say(payload));
    say(of("s", 0).as_bytes());
    say(of("s", 0).as_bytes());
    assert_eq!(client.receive()["session_id"], "s", "and nothing before it");
    let count = |value: fn(&ringgate::metrics::ShardMetrics) -> u64| stage.gateway.sum(value);
    stage.gateway.until("the second", |g| g.sum(|m| m.tasks.results.duplicate.get()) == 1);
    assert_eq!(count(|m| m.tasks.results.orphaned.get()), orphans.len() as u64 + 1);
    assert_eq!(count(|m| m.tasks.results.malformed.get()), malformed.len() as u64);
    assert_eq!(count(|m| m.tasks.results.delivered.get()), 2);
    client.finish("s");
    let (between, last) = client.until_final();
    assert_eq!((between.len(), &last["text"]), (0, &json!("hm")));
    client.close();
    stage.gateway.until_quiet();
}
